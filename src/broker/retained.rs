//! The last message of each topic that was published with the retain flag (§3.3.1.3). All of them are in memory; which are on disk too is
//! noted, so that their end is written there.
//!
//! Bounded by count and bytes; what does not fit is refused, and the message before it stays. Reading goes topic by topic from a
//! cursor, so that any number reaches a new subscriber without a second copy of the list.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::words::Published;
use crate::model::{Filter, Monotonic, Topic};

/// All retained messages.
#[derive(Debug)]
pub(super) struct Retained {
    by_topic: BTreeMap<Topic, Kept>,
    expiring: BTreeSet<(Monotonic, Topic)>,
    bytes: usize,
    payload_bytes: usize,
    max_messages: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Kept {
    published: Arc<Published>,
    on_disk: bool,
}

/// There is no room for a retained message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// How far a [`Retained::scan`] came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// All topics have been looked at.
    Done,
    /// This was the last; go on behind it.
    Until(Topic),
}

impl Retained {
    pub fn new(max_messages: usize, max_bytes: usize) -> Retained {
        Retained {
            by_topic: BTreeMap::new(),
            expiring: BTreeSet::new(),
            bytes: 0,
            payload_bytes: 0,
            max_messages,
            max_bytes,
        }
    }

    /// From now on so much fits; what is there stays.
    pub fn resize(&mut self, max_messages: usize, max_bytes: usize) {
        (self.max_messages, self.max_bytes) = (max_messages, max_bytes);
    }

    pub fn len(&self) -> usize {
        self.by_topic.len()
    }

    /// The bytes of all payloads.
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// Keeps a message in place of the one before it; one with an empty payload takes that away and is not kept [MQTT-3.3.1-6].
    /// `on_disk` is whether it is written too. Returns whether the one before it was.
    pub fn set(&mut self, published: &Arc<Published>, on_disk: bool) -> Result<bool, Full> {
        let topic = &published.message.topic;
        if published.message.payload.is_empty() {
            return Ok(self.remove(topic));
        }
        let (messages, bytes) = match self.by_topic.get(topic) {
            Some(old) => (self.by_topic.len(), self.bytes - old.published.cost() + published.cost()),
            None => (self.by_topic.len() + 1, self.bytes + published.cost()),
        };
        if messages > self.max_messages || bytes > self.max_bytes {
            return Err(Full);
        }
        let was_on_disk = self.remove(topic);
        if let Some(at) = published.expires_at() {
            self.expiring.insert((at, topic.clone()));
        }
        self.by_topic.insert(topic.clone(), Kept { published: published.clone(), on_disk });
        self.bytes = bytes;
        self.payload_bytes += published.message.payload.len();
        Ok(was_on_disk)
    }

    /// Whether it was on disk.
    fn remove(&mut self, topic: &str) -> bool {
        let Some(Kept { published, on_disk }) = self.by_topic.remove(topic) else { return false };
        self.bytes -= published.cost();
        self.payload_bytes -= published.message.payload.len();
        if let Some(at) = published.expires_at() {
            self.expiring.remove(&(at, published.message.topic.clone()));
        }
        on_disk
    }

    /// All messages, in the order of their topics.
    pub fn messages(&self) -> impl Iterator<Item = Arc<Published>> {
        self.by_topic.values().map(|kept| kept.published.clone())
    }

    /// When the next message expires.
    pub fn next_expiry(&self) -> Option<Monotonic> {
        self.expiring.first().map(|(at, _)| *at)
    }

    /// Forgets what has expired. Returns the topics whose message was on disk.
    pub fn expire(&mut self, now: Monotonic) -> Vec<Topic> {
        let mut on_disk = Vec::new();
        while let Some((at, topic)) = self.expiring.first().cloned()
            && at <= now
        {
            if self.remove(&topic) {
                on_disk.push(topic);
            }
        }
        on_disk
    }

    /// Calls `found` with messages that match `filter`, in the order of their topics, from behind `after` on. Stops when `found` says so
    /// (`false`), or after having looked at `most` topics.
    pub fn scan(
        &self,
        filter: &Filter,
        after: Option<&Topic>,
        most: usize,
        mut found: impl FnMut(&Arc<Published>) -> bool,
    ) -> Scan {
        // The text before the first wildcard starts every topic that can match. `a/#` matches `a` too.
        let literal = filter.split(['+', '#']).next().unwrap_or("");
        let literal = if literal.len() < filter.len() { literal.trim_end_matches('/') } else { literal };
        let from: Bound<&str> = match after {
            Some(topic) => Bound::Excluded(topic),
            None => Bound::Included(literal),
        };
        let mut looked_at = 0;
        for (topic, Kept { published, .. }) in self.by_topic.range::<str, _>((from, Bound::Unbounded)) {
            if !topic.starts_with(literal) {
                break;
            }
            looked_at += 1;
            let go_on = !filter.matches(topic) || found(published);
            if !go_on || looked_at >= most {
                return Scan::Until(topic.clone());
            }
        }
        Scan::Done
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{Message, Properties, QoS};

    fn published(topic: &str, payload: &str, expiry_s: Option<u32>) -> Arc<Published> {
        let mut message = Message::new(Topic::new(topic).unwrap(), payload.to_string(), QoS::AtMostOnce, true);
        message.properties =
            expiry_s.map(|s| Box::new(Properties { message_expiry_s: Some(s), ..Properties::default() }));
        Arc::new(Published { message, at: Monotonic::default() })
    }

    fn all(retained: &Retained, filter: &str, step: usize) -> Vec<String> {
        let filter = Filter::new(filter).unwrap();
        let (mut topics, mut after) = (Vec::new(), None);
        loop {
            let scan = retained.scan(&filter, after.as_ref(), step, |p| {
                topics.push(p.message.topic.to_string());
                topics.len() % 3 != 0
            });
            match scan {
                Scan::Done => return topics,
                Scan::Until(topic) => after = Some(topic),
            }
        }
    }

    proptest! {
        #[test]
        fn a_scan_in_steps_finds_each_matching_topic_once(
            topics in prop::collection::btree_set("([ab$]?)(/[ab]?){0,3}", 0..30),
            filter in "([ab+]?)(/[ab+]?){0,2}(/#)?",
            step in 1usize..5,
        ) {
            let Ok(filter) = Filter::new(&filter) else { return Ok(()) };
            let mut retained = Retained::new(100, 1 << 20);
            let topics: Vec<String> = topics.into_iter().filter(|t| !t.is_empty()).collect();
            topics.iter().for_each(|t| assert!(!retained.set(&published(t, "x", None), false).unwrap()));
            let expected: Vec<String> = topics.into_iter().filter(|t| filter.matches(t)).collect();
            prop_assert_eq!(all(&retained, &filter, step), expected);
        }
    }

    #[test]
    fn an_empty_message_takes_the_retained_one_away() {
        let mut retained = Retained::new(10, 1 << 20);
        retained.set(&published("a", "x", None), false).unwrap();
        retained.set(&published("a", "", None), false).unwrap();
        assert_eq!((retained.len(), retained.bytes, retained.payload_bytes()), (0, 0, 0));
    }

    #[test]
    fn what_does_not_fit_is_refused_and_the_old_message_stays() {
        let mut retained = Retained::new(1, 200);
        retained.set(&published("a", "x", None), false).unwrap();
        assert_eq!(retained.set(&published("b", "x", None), false), Err(Full));
        assert_eq!(retained.set(&published("a", &"x".repeat(200), None), false), Err(Full));
        assert_eq!(all(&retained, "#", 9), ["a"]);
        retained.set(&published("a", "yy", None), false).unwrap();
    }

    #[test]
    fn an_expired_message_is_forgotten_unless_it_was_replaced() {
        let second = Monotonic(Duration::from_secs(1));
        let mut retained = Retained::new(10, 1 << 20);
        retained.set(&published("a", "x", Some(1)), false).unwrap();
        retained.set(&published("b", "x", Some(1)), false).unwrap();
        retained.set(&published("b", "y", None), false).unwrap();
        assert_eq!(retained.next_expiry(), Some(second));
        retained.expire(second);
        assert_eq!((all(&retained, "#", 9), retained.next_expiry()), (vec!["b".to_string()], None));
    }
}
