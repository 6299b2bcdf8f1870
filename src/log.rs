//! Log lines: in the journal where systemd started the program, else on the terminal, for people or one JSON object a line. Where they go and
//! how they look; never what is logged.
//!
//! On a terminal, standard error carries them, so that what a command prints on standard output stays clean.

mod journal;
mod quota;

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write as _};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::clock::Clock;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people: the journal under systemd, else time of day (UTC), level, text and fields, in colour on a terminal.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Why logging can't start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter can't be read.
    #[error(
        "{filter:?} is no log level: {why}. Use error, warn, info, debug or trace, or a filter such as fieldway::uplink=debug"
    )]
    Filter {
        /// As it was given.
        filter: String,
        /// What is wrong with it.
        why: tracing_subscriber::filter::ParseError,
    },
    /// It was started before.
    #[error("logging has been started already")]
    Started,
}

/// Starts logging for the whole process. `level` is a level for the gateway's own lines, or a filter such as
/// `info,fieldway::uplink=debug`; other crates speak from `warn` up unless the filter names them.
///
/// Keep what it returns until the program ends: dropping it waits, for half a second at most, until the last lines are written.
pub fn start(format: LogFormat, level: &str) -> Result<Logging, LogError> {
    let filter: Targets =
        directives(level).parse().map_err(|why| LogError::Filter { filter: level.into(), why })?;
    let clock = Clock::start();
    if format == LogFormat::Human
        && journal::is_ours()
        && let Ok((layer, flush)) = journal::open(clock)
    {
        tracing_subscriber::registry().with(filter).with(layer).try_init().map_err(|_| LogError::Started)?;
        return Ok(Logging { _flush: Some(flush) });
    }
    let (registry, lines) = (tracing_subscriber::registry().with(filter), fmt::layer().with_writer(io::stderr));
    match format {
        LogFormat::Human => {
            let colour = is_coloured(io::stderr().is_terminal(), std::env::var_os("NO_COLOR").as_deref());
            registry.with(lines.with_ansi(colour).with_target(false).with_timer(TimeOfDay(clock))).try_init()
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false);
            registry.with(lines.with_timer(Full(clock))).try_init()
        }
    }
    .map_err(|_| LogError::Started)?;
    Ok(Logging { _flush: None })
}

/// Logging, as long as it is kept.
#[must_use = "dropping it ends logging"]
pub struct Logging {
    _flush: Option<journal::Flush>,
}

/// How bad a text for people is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It does not work.
    Error,
    /// It works, but.
    Warning,
}

/// Writes a text for people, such as a report, to standard error. In the journal each of its lines is an entry with this priority.
///
/// Errors when standard error is closed.
pub fn tell(severity: Severity, text: &str) -> io::Result<()> {
    let text = if journal::is_ours() { with_priority(severity, text) } else { Cow::Borrowed(text) };
    io::stderr().write_all(text.as_bytes())
}

/// What journald reads as a priority stands at the beginning of a line (sd-daemon(3)).
fn with_priority(severity: Severity, text: &str) -> Cow<'_, str> {
    let mark = match severity {
        Severity::Error => "<3>",
        Severity::Warning => "<4>",
    };
    text.lines().filter(|line| !line.trim().is_empty()).flat_map(|line| [mark, line, "\n"]).collect()
}

/// The directives for `level`: ours as asked for, everyone else from `warn` up.
fn directives(level: &str) -> String {
    let level = level.trim();
    match level.to_ascii_lowercase().as_str() {
        "" => "warn,fieldway=info".into(),
        // Who wants fewer lines than warnings wants that of everyone.
        quiet @ ("off" | "error") => quiet.into(),
        word @ ("warn" | "info" | "debug" | "trace") => format!("warn,fieldway={word}"),
        _ => format!("warn,fieldway=info,{level}"),
    }
}

/// Colour is for terminals, and for nobody who set `NO_COLOR` (no-color.org: to anything but nothing).
fn is_coloured(terminal: bool, no_color: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty)
}

/// `15:04:05Z`: a person who watches knows the day.
struct TimeOfDay(Clock);

impl FormatTime for TimeOfDay {
    fn format_time(&self, w: &mut Writer<'_>) -> std::fmt::Result {
        let full = self.0.wall().to_string();
        let time = full.split_once('T').and_then(|(_, time)| time.split_once('.'));
        w.write_str(time.map_or(full.as_str(), |(seconds, _)| seconds))?;
        w.write_char('Z')
    }
}

/// `2026-11-20T15:04:05.123Z`
struct Full(Clock);

impl FormatTime for Full {
    fn format_time(&self, w: &mut Writer<'_>) -> std::fmt::Result {
        write!(w, "{}", self.0.wall())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_for_our_own_lines_and_a_filter_is_taken_as_it_is() {
        assert_eq!(directives("info"), "warn,fieldway=info");
        assert_eq!(directives(" DEBUG "), "warn,fieldway=debug");
        assert_eq!(directives("error"), "error");
        assert_eq!(directives("fieldway::uplink=trace"), "warn,fieldway=info,fieldway::uplink=trace");
        for level in ["info", "off", "sqlx=info", "debug,fieldway::poll=trace"] {
            assert!(directives(level).parse::<Targets>().is_ok(), "{level}");
        }
    }

    #[test]
    fn a_wrong_filter_is_an_error_that_quotes_it_and_says_what_to_write() {
        let Err(error) = start(LogFormat::Human, "fieldway=loud") else { panic!("there is no such level") };
        let error = error.to_string();
        assert!(error.contains("\"fieldway=loud\"") && error.contains("Use error, warn, info"), "{error}");
    }

    #[test]
    fn colour_is_for_terminals_and_only_when_it_is_wanted() {
        assert!(is_coloured(true, None));
        assert!(is_coloured(true, Some(OsStr::new(""))));
        assert!(!is_coloured(true, Some(OsStr::new("1"))));
        assert!(!is_coloured(false, None));
    }

    #[test]
    fn each_line_of_a_report_has_its_priority_in_the_journal() {
        assert_eq!(with_priority(Severity::Error, "error: x\n\n  --> y\n"), "<3>error: x\n<3>  --> y\n");
        assert_eq!(with_priority(Severity::Warning, "w"), "<4>w\n");
    }

    #[test]
    fn people_see_the_time_of_day() {
        let mut text = String::new();
        TimeOfDay(Clock::start()).format_time(&mut Writer::new(&mut text)).unwrap();
        assert!(text.len() == 9 && text.ends_with('Z') && text.matches(':').count() == 2, "{text}");
    }
}
