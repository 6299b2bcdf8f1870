//! The way that a message has come, so that none comes back to where it was. Pure.
//!
//! Every message that leaves by MQTT 5 names the gateway that sent it in the user property `gateway`. What is accepted from a cloud
//! carries on whom it has passed in `fieldway-hops`, from the first to the last. A gateway that finds itself there refuses the message.
//! MQTT 3.1.1 has no room for that: there, what an uplink brought never leaves by it again, and what it sent is known when it comes back
//! ([`Echoes`]).

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::model::{Message, Monotonic, Properties};

/// The user property with the gateways that a message has passed, separated by spaces.
pub const HOPS: &str = "fieldway-hops";
/// The user property with the gateway that sent it last.
pub const SENDER: &str = "gateway";
/// What a sender adds beside it: of no meaning beyond the next hop.
const MARKS: [&str; 3] = [SENDER, "epoch", "n"];

/// A message passes at most so many gateways.
pub const MAX_HOPS: usize = 8;

/// Why a message goes no further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Round {
    /// It has been here.
    #[error("it has passed this gateway before: {0}")]
    Back(String),
    /// It has been at too many places.
    #[error("it has passed {MAX_HOPS} gateways: {0}")]
    TooFar(String),
}

/// The gateways that a message from a cloud has passed, first to last.
pub fn path(properties: Option<&Properties>) -> Vec<&str> {
    let user = properties.map(|properties| properties.user.as_slice()).unwrap_or_default();
    let hops = user.iter().filter(|(name, _)| name == HOPS).flat_map(|(_, value)| value.split(' '));
    let sender = user.iter().filter(|(name, _)| name == SENDER).map(|(_, value)| value.as_str());
    let mut path: Vec<&str> = hops.filter(|id| !id.is_empty()).collect();
    // The last of them: a gateway that passed one on left none of an earlier sender.
    path.extend(sender.last());
    path
}

/// Whether a message may go on from the gateway `own`.
pub fn may_pass(own: &str, path: &[&str]) -> Result<(), Round> {
    if path.contains(&own) {
        return Err(Round::Back(path.join(" ")));
    }
    if path.len() >= MAX_HOPS {
        return Err(Round::TooFar(path.join(" ")));
    }
    Ok(())
}

/// What came from a cloud, as it is published here: the way that it has come is kept, and the sender's marks are not.
pub fn arrived(properties: Option<Box<Properties>>) -> Option<Box<Properties>> {
    let mut properties = properties?;
    let passed = path(Some(&properties)).join(" ");
    properties.user.retain(|(name, _)| name != HOPS && !MARKS.contains(&name.as_str()));
    if !passed.is_empty() {
        properties.user.push((HOPS.into(), passed));
    }
    (*properties != Properties::default()).then_some(properties)
}

/// Whether a local message carries a way that leads through `own`: it was here, and came back by a client.
pub fn has_been_at(own: &str, message: &Message) -> bool {
    let user = message.properties.as_deref().map(|properties| properties.user.as_slice()).unwrap_or_default();
    user.iter().any(|(name, value)| name == HOPS && value.split(' ').any(|id| id == own))
}

/// Messages that were sent by MQTT 3.1.1 to topics that are also subscribed to: each will come back once.
#[derive(Debug, Default)]
pub struct Echoes {
    expected: HashMap<u64, u32>,
    order: VecDeque<(Monotonic, u64)>,
}

/// An echo comes back within this time of its message, or when it has waited in the broker; then it counts as new.
const ECHO_WITHIN: Duration = Duration::from_secs(300);
/// And while it is among the last so many.
const MAX_ECHOES: usize = 65_536;

impl Echoes {
    /// A message goes out.
    pub fn sent(&mut self, now: Monotonic, topic: &str, payload: &[u8]) {
        self.forget(now);
        let mark = mark(topic, payload);
        *self.expected.entry(mark).or_default() += 1;
        self.order.push_back((now, mark));
    }

    /// Whether a message that came in is one that went out. Each is so once.
    pub fn is_echo(&mut self, now: Monotonic, topic: &str, payload: &[u8]) -> bool {
        self.forget(now);
        let mark = mark(topic, payload);
        let Some(count) = self.expected.get_mut(&mark).filter(|count| **count > 0) else { return false };
        *count -= 1;
        true
    }

    fn forget(&mut self, now: Monotonic) {
        while let Some(&(at, mark)) = self.order.front()
            && (self.order.len() > MAX_ECHOES || now.since(at) > ECHO_WITHIN)
        {
            self.order.pop_front();
            if let Some(count) = self.expected.get_mut(&mark) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.expected.remove(&mark);
                }
            }
        }
    }
}

fn mark(topic: &str, payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (topic, payload).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(user: &[(&str, &str)]) -> Option<Box<Properties>> {
        let user = user.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Some(Box::new(Properties { user, ..Properties::default() }))
    }

    #[test]
    fn the_way_of_a_message_grows_with_each_gateway_and_ends_where_it_was() {
        let from_a = arrived(with(&[("gateway", "a"), ("epoch", "1"), ("n", "7"), ("own", "x")]));
        assert_eq!(from_a, with(&[("own", "x"), (HOPS, "a")]));
        let from_b = with(&[("own", "x"), (HOPS, "a"), ("gateway", "b"), ("epoch", "2"), ("n", "1")]);
        assert_eq!(path(from_b.as_deref()), ["a", "b"]);
        assert!(may_pass("a", &path(from_b.as_deref())).is_err() && may_pass("c", &path(from_b.as_deref())).is_ok());
        assert_eq!(arrived(with(&[("n", "1")])), None);
        assert!(matches!(may_pass("x", &["y"; MAX_HOPS]), Err(Round::TooFar(_))));
    }

    #[test]
    fn each_message_that_went_out_is_known_once_when_it_comes_back() {
        let mut echoes = Echoes::default();
        let now = Monotonic::from_millis(0);
        echoes.sent(now, "a", b"1");
        echoes.sent(now, "a", b"1");
        assert!(!echoes.is_echo(now, "a", b"2") && !echoes.is_echo(now, "b", b"1"));
        assert!(echoes.is_echo(now, "a", b"1") && echoes.is_echo(now, "a", b"1"));
        assert!(!echoes.is_echo(now, "a", b"1"));
        echoes.sent(now, "a", b"1");
        assert!(!echoes.is_echo(Monotonic::from_millis(301_000), "a", b"1"));
    }
}
