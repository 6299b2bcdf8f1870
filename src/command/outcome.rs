//! What a command came to: its status, the value that was read back, and what to tell whoever sent it. Pure.

use std::fmt::{self, Write as _};

use crate::model::{Device, Fault, NotSent, Sample, Stamp, WriteEnd, Written, mark_unsynced};

/// The status in a result (`DESIGN.md` §5). The worst of several is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It is as it was to be, as the device shows.
    Done,
    /// It was not tried: it is not allowed, or makes no sense.
    Rejected,
    /// It was not tried: it was too old.
    Expired,
    /// It was tried, and is not so.
    Failed,
    /// It was sent, and nobody knows whether it was done.
    Unknown,
}

impl Status {
    /// The word in results, logs and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Done => "done",
            Status::Rejected => "rejected",
            Status::Expired => "expired",
            Status::Failed => "failed",
            Status::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one point, or a whole command, came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// In one word.
    pub status: Status,
    /// What was read back, as JSON.
    pub value: Option<String>,
    /// Why it is not done, and what to try.
    pub error: Option<String>,
}

impl Outcome {
    /// Without a value.
    pub fn because(status: Status, error: impl Into<String>) -> Outcome {
        Outcome { status, value: None, error: Some(error.into()) }
    }

    /// Of one value that the bus has dealt with.
    pub fn of(device: &Device, written: &Written) -> Outcome {
        let is_read = device.points.get(written.point).is_none_or(|point| point.is_read());
        let value = match &written.read_back {
            Some(Sample::Good(value)) => Some(value.to_string()),
            _ => None,
        };
        let (status, error) = match (&written.end, &written.read_back) {
            (WriteEnd::NotSent(why), _) => not_sent(why),
            (WriteEnd::Refused(fault), _) => (Status::Failed, refused(*fault)),
            (_, Some(Sample::Good(_))) if written.is_as_wanted => {
                return Outcome { status: Status::Done, value, error: None };
            }
            (WriteEnd::Acknowledged, None) if !is_read => {
                return Outcome { status: Status::Done, value: None, error: None };
            }
            (WriteEnd::Acknowledged, Some(Sample::Good(other))) => {
                let words = format!("the device took it without complaint, and reads {other} all the same");
                (Status::Failed, words)
            }
            (WriteEnd::Unanswered(fault), Some(Sample::Good(other))) => {
                (Status::Failed, format!("the device did not confirm it ({fault}), and reads {other}"))
            }
            (WriteEnd::Acknowledged, read) => {
                let fault = fault(read.as_ref());
                let hint = match fault {
                    Some(Fault::IllegalAddress | Fault::IllegalFunction | Fault::IllegalValue) => {
                        "; a point that can't be read is written with `write: { only: true }`"
                    }
                    _ => "",
                };
                let why = fault.map_or("the line went", Fault::as_str);
                (Status::Unknown, format!("the device took it, and could not be read afterwards ({why}){hint}"))
            }
            (WriteEnd::Unanswered(fault), _) => {
                let words = format!("the device did not confirm it ({fault}) and could not be read afterwards");
                (Status::Unknown, format!("{words}: it may or may not be done, and was not sent again"))
            }
        };
        Outcome { status, value, error: Some(error) }
    }
}

fn fault(read: Option<&Sample>) -> Option<Fault> {
    match read {
        Some(Sample::Bad(fault)) => Some(*fault),
        _ => None,
    }
}

fn not_sent(why: &NotSent) -> (Status, String) {
    match why {
        NotSent::Unfit(why) => (Status::Rejected, why.clone()),
        NotSent::BesideUnfit => {
            (Status::Rejected, "not sent, because another value of the same command can't be written".into())
        }
        NotSent::TooLate => (Status::Expired, "it expired while it waited for the bus, and was not sent".into()),
        NotSent::Offline(fault) => (Status::Failed, format!("the device is offline ({fault}); it was not sent")),
        NotSent::LineDown(why) => (Status::Failed, format!("it was not sent: {why}")),
        NotSent::AfterFailure => (Status::Failed, "not sent, because another value of the same command failed".into()),
        NotSent::Stopping => (Status::Failed, "it was not sent: the gateway is being stopped".into()),
    }
}

fn refused(fault: Fault) -> String {
    let hint = match fault {
        Fault::IllegalFunction => "it does not know this way of writing, or can't write this table",
        Fault::IllegalAddress => "it has no such address, or it is read only there",
        Fault::IllegalValue => "it does not take this value",
        Fault::Busy => "it is busy; try again later, with a new id",
        Fault::GatewayPath => "the gateway before it has no way to it",
        _ => "see its manual",
    };
    format!("the device refuses it ({fault}): {hint}")
}

/// The payload of a result. `whole` is about the command, `points` about the points of one for several.
pub fn result(id: Option<&str>, whole: &Outcome, points: Option<&[(&str, Outcome)]>, stamp: Stamp) -> String {
    let mut out = String::from("{");
    if let Some(id) = id {
        put(&mut out, format_args!("\"id\":{id},"));
    }
    put(&mut out, format_args!("\"status\":\"{}\"", whole.status));
    if let Some(value) = &whole.value {
        put(&mut out, format_args!(",\"value\":{value}"));
    }
    if let Some(points) = points {
        object(&mut out, "values", points.iter().filter_map(|(name, at)| Some((*name, at.value.clone()?))));
    }
    if let Some(error) = &whole.error {
        put(&mut out, format_args!(",\"error\":{}", quoted(error)));
    }
    if let Some(points) = points.filter(|points| points.iter().any(|(_, at)| at.error.is_some())) {
        let errors = points.iter().filter_map(|(name, at)| Some((*name, quoted(at.error.as_deref()?))));
        object(&mut out, "errors", errors);
    }
    put(&mut out, format_args!(",\"ts\":\"{}\"", stamp.wall));
    if !stamp.synced {
        mark_unsynced(&mut out, stamp.since_boot);
    }
    out.push('}');
    out
}

/// Names are plain ASCII, and values JSON.
fn object<'a>(out: &mut String, key: &str, members: impl Iterator<Item = (&'a str, String)>) {
    put(out, format_args!(",\"{key}\":{{"));
    for (i, (name, value)) in members.enumerate() {
        put(out, format_args!("{}\"{name}\":{value}", if i == 0 { "" } else { "," }));
    }
    out.push('}');
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn put(out: &mut String, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a String can't fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Monotonic, Name, Point, PointType, Publish, Quirks, RegisterSource, RegisterTable, Source, Timestamp, Value,
        Write,
    };

    fn device(only: bool) -> Device {
        let name = |text| Name::new(text).unwrap();
        let source = Source::Register(RegisterSource::new(RegisterTable::Holding, 0, PointType::U16));
        let write = Some(Write { only, ..Write::default() });
        Device {
            name: name("boiler"),
            bus: name("bus"),
            unit_id: 1,
            max_registers: 125,
            quirks: Quirks::default(),
            publish: Publish::default(),
            points: vec![Point { write, ..Point::new(name("setpoint"), source) }],
        }
    }

    fn outcome(only: bool, end: WriteEnd, read_back: Option<Sample>) -> (Status, Option<String>) {
        let is_as_wanted = read_back == Some(Sample::Good(Value::Integer(45)));
        let outcome = Outcome::of(&device(only), &Written { point: 0, end, read_back, is_as_wanted });
        assert_eq!(outcome.error.is_none(), outcome.status == Status::Done);
        (outcome.status, outcome.value)
    }

    #[test]
    fn only_what_the_device_shows_is_done() {
        let reads = |value: i128| Some(Sample::Good(Value::Integer(value)));
        let bad = |fault| Some(Sample::Bad(fault));
        let unanswered = || WriteEnd::Unanswered(Fault::Timeout);
        let value = |value: &str| Some(value.to_owned());
        for (end, read, expected) in [
            (WriteEnd::Acknowledged, reads(45), (Status::Done, value("45"))),
            (WriteEnd::Acknowledged, reads(40), (Status::Failed, value("40"))),
            (WriteEnd::Acknowledged, bad(Fault::Timeout), (Status::Unknown, None)),
            (WriteEnd::Acknowledged, None, (Status::Unknown, None)),
            (unanswered(), reads(45), (Status::Done, value("45"))),
            (unanswered(), reads(40), (Status::Failed, value("40"))),
            (unanswered(), bad(Fault::Timeout), (Status::Unknown, None)),
            (unanswered(), None, (Status::Unknown, None)),
            (WriteEnd::Refused(Fault::IllegalValue), None, (Status::Failed, None)),
            (WriteEnd::NotSent(NotSent::Offline(Fault::Timeout)), None, (Status::Failed, None)),
            (WriteEnd::NotSent(NotSent::TooLate), None, (Status::Expired, None)),
            (WriteEnd::NotSent(NotSent::Unfit("no".into())), None, (Status::Rejected, None)),
        ] {
            assert_eq!(outcome(false, end.clone(), read.clone()), expected, "{end:?} {read:?}");
        }
        assert_eq!(outcome(true, WriteEnd::Acknowledged, None), (Status::Done, None), "it can't be read");
        assert_eq!(outcome(true, unanswered(), None), (Status::Unknown, None));
    }

    #[test]
    fn a_result_is_json_and_says_what_there_is_to_say() {
        let stamp = |synced| Stamp {
            monotonic: Monotonic::default(),
            since_boot: None,
            wall: Timestamp(1_795_187_045_123),
            synced,
        };
        let done = Outcome { status: Status::Done, value: Some("45.0".into()), error: None };
        assert_eq!(
            result(Some("\"a\""), &done, None, stamp(true)),
            r#"{"id":"a","status":"done","value":45.0,"ts":"2026-11-20T15:04:05.123Z"}"#
        );
        let failed = Outcome::because(Status::Failed, "a \"b\"");
        let points = [("pump", Outcome { value: Some("true".into()), ..done }), ("mode", failed.clone())];
        assert_eq!(
            result(None, &failed, Some(&points), stamp(false)),
            r#"{"status":"failed","values":{"pump":true},"error":"a \"b\"","errors":{"mode":"a \"b\""},"ts":"2026-11-20T15:04:05.123Z","clock":"unsynced"}"#
        );
    }
}
