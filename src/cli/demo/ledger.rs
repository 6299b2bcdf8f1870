//! Does the cloud get what was published here: all of it, in order? Compares the two sides message by message, and the
//! numbers that the uplink gave them. Pure.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::model::Message;

/// Both sides so far.
#[derive(Debug, Default)]
pub struct Ledger {
    topics: HashMap<String, Topic>,
    tally: Tally,
    epoch: Option<String>,
    /// The highest number so far, and the numbers that were passed over.
    last: u64,
    passed_over: HashSet<u64>,
}

/// What the comparison has found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages published here.
    pub published: u64,
    /// Of these, messages that the cloud has.
    pub arrived: u64,
    /// Messages that the cloud got more than once. QoS 1 allows it.
    pub repeated: u64,
    /// Messages whose successor on the same topic is at the cloud, and they are not.
    pub missing: u64,
    /// Messages that arrived after a later one of the same topic.
    pub late: u64,
    /// Messages at the cloud that nobody published here.
    pub strange: u64,
}

impl Tally {
    /// Messages that are still on their way.
    pub fn waiting(&self) -> u64 {
        self.published.saturating_sub(self.arrived + self.missing)
    }

    /// Whether nothing is missing, late or strange.
    pub fn is_clean(&self) -> bool {
        self.missing == 0 && self.late == 0 && self.strange == 0
    }
}

#[derive(Debug, Default)]
struct Topic {
    /// Published and not yet arrived, oldest first.
    expected: VecDeque<u64>,
    /// Passed over by a later one.
    skipped: HashSet<u64>,
    /// The latest that arrived; see [`REMEMBERED`].
    arrived: VecDeque<u64>,
}

/// Numbers that one jump may leave out; whoever jumps further has shown enough.
const MOST_PASSED_OVER: usize = 65_536;

/// Arrivals that a topic remembers, to know a repetition: more than an uplink may have in flight.
const REMEMBERED: usize = 1024;

impl Topic {
    fn remember(&mut self, print: u64) {
        if self.arrived.len() == REMEMBERED {
            self.arrived.pop_front();
        }
        self.arrived.push_back(print);
    }
}

impl Ledger {
    /// A message on the local broker; `topic` without the root.
    pub fn published(&mut self, topic: &str, message: &Message) {
        self.tally.published += 1;
        self.topics.entry(topic.into()).or_default().expected.push_back(fingerprint(message));
    }

    /// A message at the cloud; `topic` without the root.
    pub fn arrived(&mut self, topic: &str, message: &Message) {
        self.check_number(message);
        let entry = self.topics.entry(topic.into()).or_default();
        let print = fingerprint(message);
        if let Some(at) = entry.expected.iter().position(|expected| *expected == print) {
            self.tally.missing += at as u64;
            self.tally.arrived += 1;
            entry.skipped.extend(entry.expected.drain(..at));
            entry.expected.pop_front();
            entry.remember(print);
        } else if entry.skipped.remove(&print) {
            self.tally.missing -= 1;
            self.tally.late += 1;
            self.tally.arrived += 1;
            entry.remember(print);
        } else if entry.arrived.contains(&print) {
            self.tally.repeated += 1;
        } else if !entry.arrived.is_empty() {
            // Before the first match, this is what was published before anyone watched.
            self.tally.strange += 1;
        }
    }

    /// What has been found so far.
    pub fn tally(&self) -> Tally {
        // A number that was passed over and never came is missing even when its topic said nothing since.
        Tally { missing: self.tally.missing.max(self.passed_over.len() as u64), ..self.tally }
    }

    /// Whether the uplink's own numbers have no gap and no turn (`DESIGN.md` §6).
    fn check_number(&mut self, message: &Message) {
        let property = |key: &str| {
            let user = message.properties.as_ref().map(|properties| &properties.user)?;
            user.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
        };
        let Some(number) = property("n").and_then(|n| n.parse::<u64>().ok()) else { return };
        if property("epoch") != self.epoch.as_deref() {
            self.epoch = property("epoch").map(Into::into);
            self.last = number.saturating_sub(1);
        }
        if number > self.last {
            self.passed_over.extend((self.last + 1..number).take(MOST_PASSED_OVER));
            self.last = number;
        } else {
            self.passed_over.remove(&number);
        }
    }
}

fn fingerprint(message: &Message) -> u64 {
    let mut hasher = DefaultHasher::new();
    message.payload.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Properties, QoS, Topic as TopicName};

    fn message(payload: &str, n: u64) -> Message {
        let mut message = Message::new(TopicName::new("t").unwrap(), payload.to_string(), QoS::AtLeastOnce, false);
        let user = vec![("epoch".into(), "e1".into()), ("n".into(), n.to_string())];
        message.properties = Some(Box::new(Properties { user, ..Properties::default() }));
        message
    }

    /// Publishes 1 to 5 on one topic and lets `arrivals` arrive.
    fn after(arrivals: &[u64]) -> Tally {
        let mut ledger = Ledger::default();
        for n in 1..=5 {
            ledger.published("t", &message(&n.to_string(), 0));
        }
        for n in arrivals {
            ledger.arrived("t", &message(&n.to_string(), *n));
        }
        ledger.tally()
    }

    #[test]
    fn all_in_order_is_clean() {
        let tally = after(&[1, 2, 3, 4, 5]);
        assert!(tally.is_clean() && tally.arrived == 5 && tally.waiting() == 0, "{tally:?}");
    }

    #[test]
    fn what_is_on_its_way_is_waiting_and_not_missing() {
        let tally = after(&[1, 2]);
        assert!(tally.is_clean() && tally.waiting() == 3, "{tally:?}");
    }

    #[test]
    fn a_repetition_is_allowed_and_counted() {
        let tally = after(&[1, 2, 3, 2, 3, 4, 5]);
        assert!(tally.is_clean() && tally.repeated == 2 && tally.arrived == 5, "{tally:?}");
    }

    #[test]
    fn a_gap_is_missing() {
        let tally = after(&[1, 2, 4, 5]);
        assert!(!tally.is_clean() && tally.missing == 1 && tally.waiting() == 0, "{tally:?}");
    }

    #[test]
    fn a_turn_is_late() {
        let tally = after(&[1, 3, 2, 4, 5]);
        assert!(!tally.is_clean() && (tally.late, tally.missing) == (1, 0), "{tally:?}");
    }

    #[test]
    fn what_nobody_published_is_strange() {
        assert_eq!(after(&[1, 77]).strange, 1);
    }

    #[test]
    fn what_came_before_anyone_watched_is_let_pass() {
        let mut ledger = Ledger::default();
        ledger.published("t", &message("b", 0));
        ledger.arrived("t", &message("a", 6));
        ledger.arrived("t", &message("b", 7));
        assert!(ledger.tally().is_clean(), "{:?}", ledger.tally());
    }

    #[test]
    fn a_missing_number_is_noticed_even_when_its_topic_stays_silent() {
        let mut ledger = Ledger::default();
        for (topic, n) in [("a", 1), ("b", 2), ("c", 3)] {
            ledger.published(topic, &message("x", n));
        }
        ledger.arrived("a", &message("x", 1));
        ledger.arrived("c", &message("x", 3));
        assert_eq!(ledger.tally().missing, 1);
    }
}
