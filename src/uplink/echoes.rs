//! What an uplink has sent to topics that it is also subscribed to, and so will be sent back. Pure.
//!
//! MQTT 5 has No Local and user properties for that. MQTT 3.1.1 has neither (§3.8): there, each message that went out is known, once, when
//! it comes back.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::model::{Filter, Message, Monotonic};

/// An echo comes back within this time of its message; later it counts as another's.
const ECHO_WITHIN: Duration = Duration::from_secs(60);
/// And while it is among the last so many.
const MAX_ECHOES: usize = 65_536;

/// Messages that will come back.
#[derive(Debug, Default)]
pub(super) struct Echoes {
    /// What is subscribed to.
    filters: Vec<Filter>,
    expected: HashMap<u64, u32>,
    order: VecDeque<(Monotonic, u64)>,
    now: Monotonic,
}

impl Echoes {
    /// For these subscriptions.
    pub(super) fn new(filters: Vec<Filter>) -> Echoes {
        Echoes { filters, ..Echoes::default() }
    }

    /// It is now so late.
    pub(super) fn set_now(&mut self, now: Monotonic) {
        self.now = now;
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

    /// A message goes out.
    pub(super) fn sent(&mut self, message: &Message) {
        if self.filters.iter().any(|filter| filter.matches(&message.topic)) {
            let mark = mark(message);
            *self.expected.entry(mark).or_default() += 1;
            self.order.push_back((self.now, mark));
        }
    }

    /// Whether a message that came in is one that went out. Each is so once.
    pub(super) fn is_echo(&mut self, message: &Message) -> bool {
        let Some(count) = self.expected.get_mut(&mark(message)).filter(|count| **count > 0) else { return false };
        *count -= 1;
        true
    }
}

fn mark(message: &Message) -> u64 {
    let mut hasher = DefaultHasher::new();
    (message.topic.as_str(), &message.payload[..]).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{QoS, Topic};

    #[test]
    fn each_message_that_went_out_is_known_once_when_it_comes_back() {
        let message = |topic: &str, payload: &'static str| {
            Message::new(Topic::new(topic).expect("a topic"), payload, QoS::AtLeastOnce, false)
        };
        let mut echoes = Echoes::new(vec![Filter::new("a/#").expect("a filter")]);
        for (topic, payload) in [("a", "1"), ("a", "1"), ("b", "1")] {
            echoes.sent(&message(topic, payload));
        }
        assert!(!echoes.is_echo(&message("a", "2")) && !echoes.is_echo(&message("b", "1")));
        assert!(echoes.is_echo(&message("a", "1")) && echoes.is_echo(&message("a", "1")));
        assert!(!echoes.is_echo(&message("a", "1")));
        echoes.sent(&message("a", "1"));
        echoes.set_now(Monotonic::from_millis(61_000));
        assert!(!echoes.is_echo(&message("a", "1")));
    }
}
