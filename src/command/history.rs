//! The commands that had an `id`, for a while: a repeated one gets the first result again. Pure.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::model::{Monotonic, Topic};

/// An id is known for so long; `docs/topics.md` promises it.
const WINDOW: Duration = Duration::from_secs(600);
/// So many are known at most, and so many bytes of them: then the oldest are forgotten.
const MOST: usize = 10_000;
const MOST_BYTES: usize = 4 << 20;

/// Known ids, each for one topic.
#[derive(Debug, Default)]
pub struct History {
    known: HashMap<(Topic, Arc<str>), Known>,
    /// When each came, the oldest first.
    order: VecDeque<(Monotonic, (Topic, Arc<str>))>,
    bytes: usize,
}

/// What is known of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It is being carried out, under this token.
    Running(u64),
    /// This was its result.
    Done(Bytes),
}

impl History {
    /// What is known of a command to that topic with that id.
    pub fn find(&mut self, now: Monotonic, topic: &Topic, id: &str) -> Option<&Known> {
        self.forget(now);
        self.known.get(&(topic.clone(), Arc::from(id)))
    }

    /// A command has come; it replaces one with the same id.
    pub fn note(&mut self, now: Monotonic, topic: &Topic, id: &str, known: Known) {
        let key = (topic.clone(), Arc::from(id));
        self.bytes += cost(&key, &known);
        match self.known.insert(key.clone(), known) {
            Some(before) => self.bytes -= cost(&key, &before),
            None => self.order.push_back((now, key)),
        }
        self.forget(now);
    }

    fn forget(&mut self, now: Monotonic) {
        while let Some((since, _)) = self.order.front() {
            let is_old = now.since(*since) >= WINDOW;
            if !is_old && self.order.len() <= MOST && self.bytes <= MOST_BYTES {
                return;
            }
            if let Some((_, key)) = self.order.pop_front()
                && let Some(known) = self.known.remove(&key)
            {
                self.bytes -= cost(&key, &known);
            }
        }
    }
}

fn cost((topic, id): &(Topic, Arc<str>), known: &Known) -> usize {
    const FIXED: usize = 200;
    let result = match known {
        Known::Running(_) => 0,
        Known::Done(payload) => payload.len(),
    };
    FIXED + topic.len() + id.len() + result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> Topic {
        Topic::new(text).unwrap()
    }

    #[test]
    fn an_id_is_known_for_its_topic_and_for_ten_minutes() {
        let mut history = History::default();
        let at = |s: u64| Monotonic::from_millis(s * 1000);
        history.note(at(0), &topic("a/set"), "1", Known::Running(7));
        history.note(at(1), &topic("a/set"), "1", Known::Done("ok".into()));
        assert_eq!(history.find(at(599), &topic("a/set"), "1"), Some(&Known::Done("ok".into())));
        assert_eq!(history.find(at(599), &topic("b/set"), "1"), None);
        assert_eq!(history.find(at(600), &topic("a/set"), "1"), None);
        assert_eq!((history.bytes, history.order.len()), (0, 0));
    }

    #[test]
    fn a_flood_of_ids_is_bounded_and_the_oldest_go_first() {
        let mut history = History::default();
        let now = Monotonic::from_millis(5);
        for n in 0..MOST + 10 {
            history.note(now, &topic("a/set"), &n.to_string(), Known::Done(Bytes::new()));
        }
        assert_eq!(history.known.len(), MOST);
        assert!(
            history.find(now, &topic("a/set"), "9").is_none() && history.find(now, &topic("a/set"), "10").is_some()
        );
        for n in 0..100 {
            history.note(now, &topic("a/set"), &format!("large {n}"), Known::Done(vec![0; 100_000].into()));
        }
        assert!(history.bytes <= MOST_BYTES && history.known.len() <= 42, "{}", history.known.len());
    }
}
