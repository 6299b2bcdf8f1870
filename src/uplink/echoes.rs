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
    /// When each that has not come back went out, oldest first.
    expected: HashMap<u64, VecDeque<Monotonic>>,
    /// All that went out, oldest first, also those that have come back.
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
            // One that has come back has nothing here any more, and must not take away what a later one of the same text has.
            if let Some(open) = self.expected.get_mut(&mark) {
                if open.front().is_some_and(|oldest| *oldest <= at) {
                    open.pop_front();
                }
                if open.is_empty() {
                    self.expected.remove(&mark);
                }
            }
        }
    }

    /// A message goes out. `again` is one of QoS 2 that went out before: whether or not that arrived, it is published once.
    pub(super) fn sent(&mut self, message: &Message, again: bool) {
        if self.filters.iter().any(|filter| filter.matches(&message.topic)) {
            let mark = mark(message);
            let open = self.expected.entry(mark).or_default();
            if again {
                open.pop_front();
            }
            open.push_back(self.now);
            self.order.push_back((self.now, mark));
        }
    }

    /// Whether a message that came in is one that went out. Each is so once.
    pub(super) fn is_echo(&mut self, message: &Message) -> bool {
        self.expected.get_mut(&mark(message)).and_then(VecDeque::pop_front).is_some()
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
            echoes.sent(&message(topic, payload), false);
        }
        assert!(!echoes.is_echo(&message("a", "2")) && !echoes.is_echo(&message("b", "1")));
        assert!(echoes.is_echo(&message("a", "1")) && echoes.is_echo(&message("a", "1")));
        assert!(!echoes.is_echo(&message("a", "1")));
        echoes.sent(&message("a", "1"), false);
        echoes.set_now(Monotonic::from_millis(61_000));
        assert!(!echoes.is_echo(&message("a", "1")));
    }

    #[test]
    fn a_heartbeat_of_a_minute_is_known_each_time_it_comes_back() {
        let message = Message::new(Topic::new("a").expect("a topic"), "1", QoS::AtLeastOnce, false);
        let mut echoes = Echoes::new(vec![Filter::new("a").expect("a filter")]);
        for minute in 0..5 {
            let at = minute * 60_000;
            echoes.set_now(Monotonic::from_millis(at));
            echoes.sent(&message, false);
            echoes.set_now(Monotonic::from_millis(at + 50));
            assert!(echoes.is_echo(&message), "minute {minute}");
            assert!(!echoes.is_echo(&message), "minute {minute}: another's");
        }
    }

    #[test]
    fn what_went_out_twice_at_qos_2_comes_back_once() {
        let message = Message::new(Topic::new("a").expect("a topic"), "1", QoS::ExactlyOnce, false);
        let mut echoes = Echoes::new(vec![Filter::new("a").expect("a filter")]);
        echoes.sent(&message, false);
        echoes.set_now(Monotonic::from_millis(59_000));
        echoes.sent(&message, true);
        echoes.set_now(Monotonic::from_millis(61_000));
        assert!(echoes.is_echo(&message));
        assert!(!echoes.is_echo(&message), "another's");
    }
}
