//! What a rule may know of a message: what its topic says, and its payload, read when a rule first asks and then kept for the others. Pure.

use std::sync::OnceLock;

use super::json::{Json, NoJson, TOO_DEEP};
use crate::model::{Message, Timestamp, Topic};

/// Larger payloads are forwarded as they are; no rule looks into them.
pub const MAX_READ: usize = 256 << 10;

/// The members of a payload that say when it was; they belong to it whatever is chosen of it, and are no values.
pub(super) const TIMES: [&str; 4] = ["ts", "clock", "boot", "uptime_ms"];

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Values: of a device, or of one of its points.
    Reading,
    /// `online` or `offline`: of a device, or of the gateway itself.
    Availability,
    /// Ends in `/set`.
    Command,
    /// Ends in `/result`.
    Result,
    /// The gateway's health, and gaps.
    Health,
    /// All else.
    Other,
}

impl Kind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Kind; 6] =
        [Kind::Reading, Kind::Availability, Kind::Command, Kind::Result, Kind::Health, Kind::Other];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Reading => "reading",
            Kind::Availability => "availability",
            Kind::Command => "command",
            Kind::Result => "result",
            Kind::Health => "health",
            Kind::Other => "other",
        }
    }
}

/// What a local topic says (`DESIGN.md` §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'t> {
    /// What its messages are.
    pub kind: Kind,
    /// The device that it names.
    pub device: Option<&'t str>,
    /// The point that it names.
    pub point: Option<&'t str>,
}

impl<'t> Place<'t> {
    /// Of `topic` in a gateway whose topics begin with `root`.
    pub fn of(topic: &'t str, root: &str) -> Place<'t> {
        let other = Place { kind: Kind::Other, device: None, point: None };
        let Some(below) = topic.strip_prefix(root).and_then(|rest| rest.strip_prefix('/')) else { return other };
        let mut levels = below.split('/');
        let first = levels.next().filter(|level| !level.is_empty());
        let (second, third, more) = (levels.next(), levels.next(), levels.next());
        let (Some(device), None) = (first, more) else { return other };
        if device == "gateway" {
            let kind = match (second, third) {
                (Some("state"), None) => Kind::Availability,
                (Some("health" | "gap"), None) => Kind::Health,
                _ => Kind::Other,
            };
            return Place { kind, ..other };
        }
        let of = |kind, point| Place { kind, device: Some(device), point };
        match (second, third) {
            (None, _) => of(Kind::Reading, None),
            (Some("availability"), None) => of(Kind::Availability, None),
            (Some("set"), None) => of(Kind::Command, None),
            (Some("result"), None) => of(Kind::Result, None),
            (Some(""), _) => other,
            (Some(point), None) => of(Kind::Reading, Some(point)),
            (Some(point), Some("set")) => of(Kind::Command, Some(point)),
            (Some(point), Some("result")) => of(Kind::Result, Some(point)),
            _ => other,
        }
    }
}

/// A message, as rules see it.
#[derive(Debug)]
pub struct Subject<'m> {
    /// The message itself.
    pub message: &'m Message,
    /// What its topic says.
    pub place: Place<'m>,
    /// When it came, if the clock is set.
    pub arrived: Option<Timestamp>,
    json: OnceLock<Result<Json<'m>, Unread>>,
}

/// Why there is no JSON to look into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// More than [`MAX_READ`].
    #[error("the payload has {0} bytes, and rules look into at most {max}", max = MAX_READ)]
    TooLarge(usize),
    /// It is text or bytes.
    #[error(transparent)]
    NoJson(#[from] NoJson),
}

impl Unread {
    /// Whether there may be JSON in it all the same.
    pub(super) fn hides_json(self) -> bool {
        matches!(self, Unread::TooLarge(_) | Unread::NoJson(NoJson { what: TOO_DEEP, .. }))
    }
}

impl<'m> Subject<'m> {
    /// A message in a gateway whose topics begin with `root`.
    pub fn new(message: &'m Message, root: &Topic, arrived: Option<Timestamp>) -> Subject<'m> {
        Subject { message, place: Place::of(&message.topic, root), arrived, json: OnceLock::new() }
    }

    /// The payload as JSON.
    pub fn json(&self) -> Result<&Json<'m>, Unread> {
        let message = self.message;
        let read = self.json.get_or_init(|| match message.payload.len() {
            large if large > MAX_READ => Err(Unread::TooLarge(large)),
            _ => Json::parse(&message.payload).map_err(Unread::from),
        });
        read.as_ref().map_err(|error| *error)
    }

    /// The time of a reading's own response; of other messages, when they came.
    pub fn time(&self) -> Option<Timestamp> {
        let own = self.json().ok().and_then(|json| json.get("ts")).and_then(Json::as_text);
        own.and_then(Timestamp::from_rfc3339).or(self.arrived)
    }

    /// Of a point's reading what it says; of a device's, `bad` when one of its points is.
    pub fn quality(&self) -> Option<&str> {
        if self.place.kind != Kind::Reading {
            return None;
        }
        let json = self.json().ok()?;
        if let Some(said) = json.get("quality").and_then(Json::as_text) {
            return Some(said);
        }
        let bad = json.get("bad").and_then(Json::members)?;
        Some(if bad.is_empty() { "good" } else { "bad" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_says_what_its_messages_are_about() {
        use Kind::*;
        for (topic, kind, device, point) in [
            ("fw/p7/boiler", Reading, Some("boiler"), None),
            ("fw/p7/boiler/flow", Reading, Some("boiler"), Some("flow")),
            ("fw/p7/boiler/flow/set", Command, Some("boiler"), Some("flow")),
            ("fw/p7/boiler/set", Command, Some("boiler"), None),
            ("fw/p7/boiler/flow/result", Result, Some("boiler"), Some("flow")),
            ("fw/p7/boiler/availability", Availability, Some("boiler"), None),
            ("fw/p7/gateway/state", Availability, None, None),
            ("fw/p7/gateway/health", Health, None, None),
            ("fw/p7/gateway/gap", Health, None, None),
            ("fw/p7/gateway", Other, None, None),
            ("fw/p7", Other, None, None),
            ("fw/p70/boiler", Other, None, None),
            ("fw/p7/boiler/flow/a/b", Other, None, None),
            ("fw/p7//flow", Other, None, None),
            ("fw/p7/boiler/", Other, None, None),
            ("other/boiler", Other, None, None),
        ] {
            assert_eq!(Place::of(topic, "fw/p7"), Place { kind, device, point }, "{topic}");
        }
    }
}
