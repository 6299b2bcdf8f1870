//! `fieldway check`: tells everything that is wrong with a configuration, and touches nothing.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::queue;
use crate::broker;
use crate::clock::Clock;
use crate::config::{self, Config, Look, Place, Report};
use crate::log::{self, Severity};
use crate::model::Timestamp;

/// Where the package installs its configuration.
pub const DEFAULT_FILE: &str = "/etc/fieldway/gateway.yaml";

/// Wrong usage or configuration.
const EXIT_WRONG: u8 = 2;

/// Checks a configuration and shows every problem in it, each with its line and what to try.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The configuration to check
    #[arg(value_name = "FILE", conflicts_with = "config")]
    pub file: Option<PathBuf>,
    /// The same, as other commands have it
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
    pub config: PathBuf,
    /// Print the result to standard output as JSON
    #[arg(long)]
    pub json: bool,
}

/// Checks and prints; 0 when there is no problem, 2 when there is one. Errors when the output can't be written.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let file = args.file.as_deref().unwrap_or(&args.config);
    let result = config::load(file, &|name| std::env::var(name).ok());
    let warnings = result.as_ref().map(|config| warnings(config, Clock::start().wall())).unwrap_or_default();
    let exit = if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_WRONG) };
    match &result {
        _ if args.json => writeln!(io::stdout(), "{:#}", json(file, &result, &warnings))?,
        Ok(config) => {
            for (place, warning) in &warnings {
                let place = place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
                log::tell(Severity::Warning, &format!("warning: {place}{warning}\n"))?;
            }
            writeln!(io::stdout(), "{}", summary(config))?;
        }
        Err(report) => log::tell(Severity::Error, &report.render(look()))?,
    }
    Ok(exit)
}

/// What is not wrong, but not as it should be either.
fn warnings(config: &Config, now: Timestamp) -> Vec<(Option<Place>, String)> {
    let mut warnings = broker::certificate_warnings(&config.broker.listeners, now);
    warnings.extend(queue::orphans(&config.gateway.data_dir, config).into_iter().map(|(uplink, messages)| {
        let warning = format!(
            "{messages} messages wait for an uplink {uplink:?}, which is not in this configuration: the gateway deletes them when it starts \
             with it; if the uplink was renamed or misspelt, give it its old name"
        );
        (None, warning)
    }));
    warnings
}

/// Colours where someone looks, unless they asked for none (no-color.org).
pub fn look() -> Look {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted && io::stderr().is_terminal() { Look::Colour } else { Look::Plain }
}

/// "gateway.yaml: 3 buses, 12 devices, 214 points, 1 uplink: no problems"
pub fn summary(config: &Config) -> String {
    let counts = counts(config).map(|(one, many, n)| format!("{n} {}", if n == 1 { one } else { many }));
    format!("{}: {}: no problems", config.file.display(), counts.join(", "))
}

fn counts(config: &Config) -> [(&'static str, &'static str, usize); 4] {
    let points = config.devices.iter().map(|device| device.points.len()).sum();
    [
        ("bus", "buses", config.buses.len()),
        ("device", "devices", config.devices.len()),
        ("point", "points", points),
        ("uplink", "uplinks", config.uplinks.len()),
    ]
}

fn json(file: &Path, result: &Result<Config, Report>, warnings: &[(Option<Place>, String)]) -> serde_json::Value {
    let mut out = serde_json::json!({ "file": file.display().to_string(), "ok": result.is_ok() });
    match result {
        Ok(config) => {
            counts(config).into_iter().for_each(|(_, many, n)| out[many] = n.into());
            let warnings = warnings.iter().map(|(place, warning)| {
                serde_json::json!({ "line": place.as_ref().map(|place| place.line), "message": warning })
            });
            out["warnings"] = warnings.collect();
        }
        Err(report) => {
            let problems = report.problems().iter().map(|problem| {
                let place = report.place(problem);
                serde_json::json!({
                    "line": place.as_ref().map(|place| place.line),
                    "column": place.as_ref().map(|place| place.column),
                    "message": problem.title,
                    "cause": problem.label,
                    "help": problem.help,
                })
            });
            out["problems"] = problems.collect();
            out["count"] = report.count().into();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Outside;

    fn parse(text: &str) -> Result<Config, Report> {
        config::parse(text.as_bytes(), Path::new("gateway.yaml"), &Outside::nothing())
    }

    #[test]
    fn json_has_what_the_report_has() {
        let wrong = json(Path::new("gateway.yaml"), &parse("gateway: { id: a }\nbusses: {}\n"), &[]);
        assert_eq!(wrong["ok"], false);
        assert_eq!(wrong["count"], 1);
        assert_eq!(wrong["problems"][0]["line"], 2);
        assert_eq!(wrong["problems"][0]["column"], 1);
        assert_eq!(wrong["problems"][0]["help"][0], "did you mean `buses`?");
        let right = json(Path::new("gateway.yaml"), &parse("gateway: { id: a }\n"), &[]);
        assert_eq!(right["ok"], true);
        assert_eq!(right["points"], 0);
    }

    #[test]
    fn the_summary_counts_in_plain_words() {
        let text = "gateway: { id: a }\nbuses: { b: { tcp: plc, protocol: modbus-tcp } }\n\
                    devices: { d: { bus: b, points: { p: { holding: 1 }, q: { coil: 1 } } } }\n";
        let config = parse(text).expect("a good configuration");
        assert_eq!(summary(&config), "gateway.yaml: 1 bus, 1 device, 2 points, 0 uplinks: no problems");
    }
}
