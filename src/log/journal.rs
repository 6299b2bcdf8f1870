//! Log lines into the systemd journal, with their fields: `journalctl DEVICE=boiler` finds its lines. The only file that names the journal's crate.
//!
//! A thread of its own writes, so that a journal that does not answer holds up nobody: what it can't take in time is dropped and counted.

use std::fmt::{Debug, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use log::kv::{Error as KeyError, Key, Source, Value, VisitSource};
use log::{Level as Priority, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::quota::{PERIOD, Quota};
use crate::clock::Clock;

/// Fields that become fields of the journal, in capital letters. Every field is in the text of the line as well; these are few, because the
/// journal has names that mean something to systemd.
const FIELDS: [&str; 7] = ["device", "point", "bus", "uplink", "error", "listener", "client"];

/// Lines that may wait for the journal.
const WAITING: usize = 4_096;
/// How long the end of the program waits for the last lines.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Whether standard error leads to the journal, as systemd has it for services (`JOURNAL_STREAM`, systemd.exec(5)).
pub(super) fn is_ours() -> bool {
    connected_to_journal()
}

/// The subscriber's end.
pub(super) struct Journal {
    lines: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

/// Keeps the program until its last lines are written. Dropped at its end.
pub(super) struct Flush(SyncSender<Entry>);

/// What the thread is given.
enum Entry {
    Line(Line),
    Flush(SyncSender<()>),
}

struct Line {
    metadata: &'static Metadata<'static>,
    message: String,
    fields: Vec<(&'static str, String)>,
}

/// Connects to the journal and starts the thread that writes.
pub(super) fn open(clock: Clock) -> std::io::Result<(Journal, Flush)> {
    let journal = JournalLog::empty()?.with_syslog_identifier("fieldway".into());
    let (lines, waiting) = sync_channel(WAITING);
    let dropped = Arc::new(AtomicU64::new(0));
    let scribe = Scribe { journal, quota: Quota::new(clock.now()), clock, dropped: dropped.clone() };
    std::thread::Builder::new().name("journal".into()).spawn(move || scribe.write(&waiting))?;
    Ok((Journal { lines: lines.clone(), dropped }, Flush(lines)))
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let line = Line::of(event);
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Entry::Line(line)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let (done, written) = sync_channel(1);
        if self.0.try_send(Entry::Flush(done)).is_ok() {
            // Too late or too many: the program ends all the same.
            let _ = written.recv_timeout(LAST_WORDS);
        }
    }
}

/// Writes.
struct Scribe {
    journal: JournalLog,
    quota: Quota<&'static str>,
    clock: Clock,
    dropped: Arc<AtomicU64>,
}

impl Scribe {
    fn write(mut self, entries: &Receiver<Entry>) {
        loop {
            match entries.recv_timeout(PERIOD) {
                Ok(Entry::Line(line)) if self.quota.admits(line.metadata.name()) => self.put(&line),
                Ok(Entry::Line(_)) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Entry::Flush(done)) => drop(done.send(())),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.confess();
        }
    }

    fn put(&self, line: &Line) {
        let metadata = line.metadata;
        let message = format_args!("{}", line.message);
        let record = Record::builder()
            .args(message)
            .level(priority(metadata.level()))
            .target(metadata.target())
            .module_path_static(metadata.module_path())
            .file_static(metadata.file())
            .line(metadata.line())
            .key_values(line)
            .build();
        // There is nobody left to tell that a log line could not be written.
        let _ = self.journal.journal_send(&record);
    }

    /// Tells how many lines are missing.
    fn confess(&mut self) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            self.say(format_args!("the journal was too slow: {dropped} log lines are missing"));
        }
        for (place, lines) in self.quota.held_back(self.clock.now()) {
            self.say(format_args!("too many lines at once: {lines} more of {place} are missing"));
        }
    }

    fn say(&self, message: std::fmt::Arguments<'_>) {
        let record = Record::builder().args(message).level(Priority::Warn).target(module_path!()).build();
        let _ = self.journal.journal_send(&record);
    }
}

/// The crate writes syslog's "notice" for `Info` and "info" for `Debug`; syslog's own words are one lower.
fn priority(level: &Level) -> Priority {
    match *level {
        Level::ERROR => Priority::Error,
        Level::WARN => Priority::Warn,
        Level::INFO => Priority::Debug,
        Level::DEBUG | Level::TRACE => Priority::Trace,
    }
}

impl Line {
    fn of(event: &Event<'_>) -> Line {
        let mut reader = Reader { message: String::new(), said: String::new(), fields: Vec::new() };
        event.record(&mut reader);
        let Reader { mut message, said, fields } = reader;
        message.push_str(&said);
        Line { metadata: event.metadata(), message, fields }
    }
}

/// The line's fields for the crate.
impl Source for Line {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), KeyError> {
        self.fields
            .iter()
            .try_for_each(|(name, value)| visitor.visit_pair(Key::from_str(name), Value::from(value.as_str())))
    }
}

/// Reads an event: its text, and its fields both behind the text and by themselves.
struct Reader {
    message: String,
    said: String,
    fields: Vec<(&'static str, String)>,
}

impl Reader {
    fn take(&mut self, field: &Field, value: String) {
        let name = field.name();
        if name == "message" {
            self.message = value;
            return;
        }
        // As on a terminal. Quoted where a reader could not tell where it ends.
        let bare = !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"');
        let written = if bare { write!(self.said, " {name}={value}") } else { write!(self.said, " {name}={value:?}") };
        written.expect("a String takes everything");
        if FIELDS.contains(&name) {
            self.fields.push((name, value));
        }
    }
}

impl Visit for Reader {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.take(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// The lines that `work` logs.
    fn lines(room: usize, work: impl FnOnce()) -> (Vec<Line>, u64) {
        let (lines, waiting) = sync_channel(room);
        let dropped = Arc::new(AtomicU64::new(0));
        let layer = Journal { lines, dropped: dropped.clone() };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        let lines = waiting.try_iter().filter_map(|entry| match entry {
            Entry::Line(line) => Some(line),
            Entry::Flush(_) => None,
        });
        (lines.collect(), dropped.load(Ordering::Relaxed))
    }

    #[test]
    fn a_line_has_its_fields_in_its_text_and_by_themselves() {
        let error = std::io::Error::other("no such file");
        let (lines, _) = lines(8, || {
            tracing::warn!(bus = "line1", device = %"boiler", error = %error, seconds = 3, priority = "high", "the bus is gone");
        });
        let line = &lines[0];
        assert_eq!(
            line.message,
            "the bus is gone bus=line1 device=boiler error=\"no such file\" seconds=3 priority=high"
        );
        let fields: Vec<_> = line.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(fields, [("bus", "line1"), ("device", "boiler"), ("error", "no such file")]);
    }

    #[test]
    fn what_a_client_chose_can_neither_break_a_line_nor_colour_it() {
        let (lines, _) = lines(8, || tracing::info!(client = "a\nERROR: b\x1b[31m", "a client came"));
        assert_eq!(lines[0].message, r#"a client came client="a\nERROR: b\u{1b}[31m""#);
    }

    #[test]
    fn a_journal_that_does_not_answer_costs_lines_and_holds_up_nobody() {
        let (lines, dropped) = lines(2, || (0..5).for_each(|n| tracing::info!(n, "a line")));
        assert_eq!((lines.len(), dropped), (2, 3));
    }

    #[test]
    fn priorities_are_those_of_syslog() {
        // The crate's: Error 3, Warn 4, Info 5, Debug 6, Trace 7.
        for (level, expected) in [
            (Level::ERROR, Priority::Error),
            (Level::WARN, Priority::Warn),
            (Level::INFO, Priority::Debug),
            (Level::DEBUG, Priority::Trace),
        ] {
            assert_eq!(priority(&level), expected, "{level}");
        }
    }
}
