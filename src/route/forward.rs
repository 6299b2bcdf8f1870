//! The forward rules of one uplink: what leaves of each message, now or later. A pure machine.
//!
//! Rules are asked in their order; the first that takes a message is the last that sees it, unless it says `continue`. What waits here
//! (the latest of `every`, windows of `aggregate`) is in memory; pieces of batches are handed out at once, to be kept.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;

use super::compress;
use super::fold::Window;
use super::format::{Content, Format};
use super::hops;
use super::json::Json;
use super::rule::{ForwardRule, Miss};
use super::subject::{Subject, TIMES};
use super::tally::Tally;
use crate::model::{Message, Monotonic, Name, Publisher, QoS, Stamp, Topic};

/// Something that leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaving {
    /// At QoS 0: now or never.
    Live(Message),
    /// To be queued.
    Queued {
        /// As it leaves.
        message: Message,
        /// Before what is queued without.
        is_urgent: bool,
    },
    /// A piece of a batch, to be kept until the batch closes.
    Piece {
        /// The batch; numbers rise.
        batch: u64,
        /// How its pieces are put together; see [`super::bundle`].
        bundle: u8,
        /// Whether the batch is urgent.
        is_urgent: bool,
        /// Topic, QoS and retain flag of the batch, and this piece as payload.
        message: Message,
    },
    /// The batch has all its pieces.
    Close {
        /// Which.
        batch: u64,
        /// As of its pieces.
        is_urgent: bool,
    },
}

/// What the rules have to know of the gateway.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The gateway's id.
    pub gateway: Name,
    /// The topics of its readings begin with this.
    pub root: Topic,
    /// The topic of its state. Presence reaches the cloud as will and birth. Queued, an old `offline` could arrive after the new `online`.
    pub presence: Topic,
    /// The uplink.
    pub uplink: Name,
}

/// Topics that one rule thins out, folds or compares at a time. Messages on more are forwarded as they come, and not folded.
const MAX_TOPICS: usize = 10_000;
/// Batches that one uplink has open at a time; a further one closes the oldest.
const MAX_BATCHES: usize = 256;

/// The rules of one uplink, and what waits in them.
#[derive(Debug)]
pub struct Forwarder {
    rules: Vec<(ForwardRule, Arc<Tally>)>,
    around: Surroundings,
    timers: BTreeSet<(Monotonic, Timer)>,
    held: HashMap<(usize, Topic), Held>,
    windows: HashMap<(usize, Topic), Window>,
    /// What left last, by rule and topic, of rules with `on_change`.
    last: HashMap<(usize, u64), u64>,
    batches: HashMap<BatchKey, Open>,
    next_batch: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Held(usize, Topic),
    Window(usize, Topic),
    Batch(u64),
}

/// A rule that thins out has sent something of this topic, and perhaps has something newer.
#[derive(Debug)]
struct Held {
    newer: Option<(Message, Option<Mark>)>,
}

/// What `on_change` compares: of which topic a message is, and what it says but for the time.
#[derive(Debug, Clone, Copy)]
struct Mark {
    topic: u64,
    what: u64,
}

type BatchKey = (usize, Topic);

#[derive(Debug)]
struct Open {
    batch: u64,
    pieces: usize,
    bytes: usize,
    until: Monotonic,
}

impl Forwarder {
    /// Nothing waits yet. `first_batch` is above the number of any batch that was ever kept.
    pub fn new(rules: Vec<ForwardRule>, around: Surroundings, first_batch: u64) -> Forwarder {
        let rules = rules.into_iter().map(|rule| (rule, Arc::default())).collect();
        Forwarder {
            rules,
            around,
            timers: BTreeSet::new(),
            held: HashMap::new(),
            windows: HashMap::new(),
            last: HashMap::new(),
            batches: HashMap::new(),
            next_batch: first_batch,
        }
    }

    /// Whether a rule is about this topic.
    pub fn wants(&self, topic: &str) -> bool {
        self.rules.iter().any(|(rule, _)| rule.take.topic.matches(topic))
    }

    /// The counters of each rule, in their order.
    pub fn tallies(&self) -> Vec<Arc<Tally>> {
        self.rules.iter().map(|(_, tally)| tally.clone()).collect()
    }

    /// Whether this uplink may have a message at all.
    fn is_for_us(&self, by: &Publisher, message: &Message) -> bool {
        let came_here = matches!(by, Publisher::Uplink(name) if *name == self.around.uplink);
        !came_here
            && message.topic != self.around.presence
            && !hops::has_been_at(&self.around.gateway, &self.around.uplink, message)
    }

    /// A message was published here.
    pub fn take(&mut self, by: &Publisher, message: &Message, at: Stamp, out: &mut Vec<Leaving>) {
        if !self.is_for_us(by, message) {
            return;
        }
        let around = self.around.clone();
        let subject = Subject::new(message, &around.root, at.synced.then_some(at.wall));
        for index in 0..self.rules.len() {
            match self.offer(index, &subject, at, out) {
                Ok(()) => {
                    let (rule, tally) = &self.rules[index];
                    tally.take();
                    if !rule.take.goes_on {
                        return;
                    }
                }
                Err(miss) => self.rules[index].1.miss(miss),
            }
        }
    }

    /// Gives a message to one rule.
    fn offer(&mut self, index: usize, subject: &Subject<'_>, at: Stamp, out: &mut Vec<Leaving>) -> Result<(), Miss> {
        let (rule, _) = &self.rules[index];
        let gateway = self.around.gateway.clone();
        let topic = rule.take.judge(subject, &gateway)?;
        let content = rule.content(subject, &gateway)?;
        let source = &subject.message.topic;
        if let Some(aggregate) = &rule.aggregate {
            let window = aggregate.window;
            return self.fold(index, &content, source, at, window);
        }
        let message = shape(rule, &content, topic)?;
        let mark = rule.pace.on_change.then(|| mark(rule, &content));
        let every = rule.pace.every;
        let key = (index, source.clone());
        if every.is_some()
            && let Some(held) = self.held.get_mut(&key)
        {
            // Whether it is news shows when it would leave.
            held.newer = Some((message, mark));
            return Ok(());
        }
        if self.leaves(index, message, mark, at.monotonic, out)
            && let Some(every) = every
            && self.held.len() < MAX_TOPICS
        {
            self.timers.insert((at.monotonic + every, Timer::Held(index, source.clone())));
            self.held.insert(key, Held { newer: None });
        }
        Ok(())
    }

    fn fold(
        &mut self,
        index: usize,
        content: &Content<'_, '_>,
        source: &Topic,
        at: Stamp,
        window: std::time::Duration,
    ) -> Result<(), Miss> {
        let json = content.json().ok_or(Miss::Nothing)?;
        let key = (index, source.clone());
        let is_new = !self.windows.contains_key(&key);
        if is_new && self.windows.len() >= MAX_TOPICS {
            return Err(Miss::TooManyTopics(MAX_TOPICS));
        }
        let open = self.windows.entry(key.clone()).or_default();
        if !open.take(json, at) {
            if is_new {
                self.windows.remove(&key);
            }
            return Err(Miss::Nothing);
        }
        if is_new {
            self.timers.insert((at.monotonic + window, Timer::Window(index, source.clone())));
        }
        Ok(())
    }

    /// Lets a message go, unless it says no more than what left last of its topic. Returns whether it left.
    fn leaves(
        &mut self,
        index: usize,
        message: Message,
        mark: Option<Mark>,
        now: Monotonic,
        out: &mut Vec<Leaving>,
    ) -> bool {
        if let Some(Mark { topic, what }) = mark {
            if self.last.get(&(index, topic)) == Some(&what) {
                return false;
            }
            if self.last.len() >= 10 * MAX_TOPICS {
                // Told once more rather than never.
                self.last.clear();
            }
            self.last.insert((index, topic), what);
        }
        self.emit(index, message, now, out);
        true
    }

    /// Lets a message go by a rule: alone, or into a batch.
    fn emit(&mut self, index: usize, message: Message, now: Monotonic, out: &mut Vec<Leaving>) {
        let (rule, tally) = &self.rules[index];
        let is_urgent = rule.is_urgent;
        let Some(limits) = rule.batch else {
            tally.leave();
            out.push(match message.qos {
                QoS::AtMostOnce => Leaving::Live(message),
                _ => Leaving::Queued { message, is_urgent },
            });
            return;
        };
        let bundle = rule.format.bundle().code(rule.compress);
        let key = (index, message.topic.clone());
        let bytes = message.payload.len();
        if self.batches.get(&key).is_some_and(|open| open.bytes + bytes > limits.size) {
            self.close(&key, out);
        }
        if !self.batches.contains_key(&key) {
            if self.batches.len() >= MAX_BATCHES {
                let oldest = self.batches.iter().min_by_key(|(_, open)| open.batch).map(|(key, _)| key.clone());
                oldest.into_iter().for_each(|oldest| self.close(&oldest, out));
            }
            let until = now + limits.delay;
            self.timers.insert((until, Timer::Batch(self.next_batch)));
            self.batches.insert(key.clone(), Open { batch: self.next_batch, pieces: 0, bytes: 0, until });
            self.next_batch += 1;
        }
        let Some(open) = self.batches.get_mut(&key) else { return };
        open.pieces += 1;
        open.bytes += bytes;
        let is_full = open.pieces >= limits.messages || open.bytes >= limits.size;
        out.push(Leaving::Piece { batch: open.batch, bundle, is_urgent, message });
        if is_full {
            self.close(&key, out);
        }
    }

    fn close(&mut self, key: &BatchKey, out: &mut Vec<Leaving>) {
        let Some(open) = self.batches.remove(key) else { return };
        self.timers.remove(&(open.until, Timer::Batch(open.batch)));
        let (rule, tally) = &self.rules[key.0];
        tally.leave();
        out.push(Leaving::Close { batch: open.batch, is_urgent: rule.is_urgent });
    }

    /// When something leaves for no other reason than the time.
    pub fn next_due(&self) -> Option<Monotonic> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Lets go what is due.
    pub fn tick(&mut self, at: Stamp, out: &mut Vec<Leaving>) {
        while let Some((due, _)) = self.timers.first()
            && *due <= at.monotonic
            && let Some((due, timer)) = self.timers.pop_first()
        {
            self.expire(due, timer, at, out);
        }
    }

    fn expire(&mut self, due: Monotonic, timer: Timer, at: Stamp, out: &mut Vec<Leaving>) {
        match timer {
            Timer::Held(index, topic) => {
                let key = (index, topic.clone());
                let Some(held) = self.held.get_mut(&key) else { return };
                let has_left = match held.newer.take() {
                    Some((message, mark)) => self.leaves(index, message, mark, at.monotonic, out),
                    None => false,
                };
                if has_left {
                    let every = self.rules[index].0.pace.every.unwrap_or_default();
                    // On its grid, unless that was long ago.
                    let next = if at.monotonic.since(due) < every { due + every } else { at.monotonic + every };
                    self.timers.insert((next, Timer::Held(index, topic)));
                } else {
                    self.held.remove(&key);
                }
            }
            Timer::Window(index, topic) => {
                if let Some(window) = self.windows.remove(&(index, topic.clone())) {
                    self.conclude(index, topic, window, at, out);
                }
            }
            Timer::Batch(batch) => {
                let key = self.batches.iter().find(|(_, open)| open.batch == batch).map(|(key, _)| key.clone());
                key.into_iter().for_each(|key| self.close(&key, out));
            }
        }
    }

    /// What a window comes to leaves as if it had been published on the window's topic.
    fn conclude(&mut self, index: usize, topic: Topic, window: Window, at: Stamp, out: &mut Vec<Leaving>) {
        let (rule, tally) = &self.rules[index];
        let Some(aggregate) = &rule.aggregate else { return };
        match concluded(rule, &self.around, topic, window.close(&aggregate.values), at) {
            Ok(message) => self.emit(index, message, at.monotonic, out),
            Err(miss) => tally.miss(miss),
        }
    }

    /// Lets everything go that waits: the gateway stops, or its rules change.
    pub fn flush(&mut self, at: Stamp, out: &mut Vec<Leaving>) {
        for (due, timer) in std::mem::take(&mut self.timers) {
            self.expire(due, timer, at, out);
        }
        let open: Vec<BatchKey> = self.batches.keys().cloned().collect();
        open.iter().for_each(|key| self.close(key, out));
        self.timers.clear();
        self.held.clear();
    }

    /// The gateway's state as the cloud sees it, for will and birth; `None` when no rule forwards it.
    pub fn presence(&self, state: &Message) -> Option<Message> {
        let subject = Subject::new(state, &self.around.root, None);
        self.rules.iter().find_map(|(rule, _)| {
            let topic = rule.take.judge(&subject, &self.around.gateway).ok()?;
            Some(Message { topic, retain: rule.take.retain.of(state.retain), ..state.clone() })
        })
    }
}

/// What a window on `topic` comes to, as it leaves.
pub(super) fn concluded(
    rule: &ForwardRule,
    around: &Surroundings,
    topic: Topic,
    json: Json<'static>,
    at: Stamp,
) -> Result<Message, Miss> {
    let message = Message::new(topic, Bytes::new(), rule.take.qos, false);
    let subject = Subject::new(&message, &around.root, at.synced.then_some(at.wall));
    let to = rule.take.to.apply(&message.topic, &rule.take.topic, &around.gateway, subject.place)?;
    shape(rule, &Content { subject: &subject, shaped: Some(json), gateway: &around.gateway }, to)
}

/// Of a message as it would leave by a rule with `on_change`.
fn mark(rule: &ForwardRule, content: &Content<'_, '_>) -> Mark {
    let hash = |feed: &dyn Fn(&mut DefaultHasher)| {
        let mut hasher = DefaultHasher::new();
        feed(&mut hasher);
        hasher.finish()
    };
    let is_time = |key: &str| TIMES.contains(&key) || rule.fields.is_new_name_of(key, &TIMES);
    let topic = hash(&|hasher| content.subject.message.topic.hash(hasher));
    let what = match content.json() {
        Some(Json::Object(members)) => {
            let kept = members.iter().filter(|(key, _)| !is_time(key));
            let kept = Json::Object(kept.cloned().collect()).to_string();
            hash(&|hasher| kept.hash(hasher))
        }
        _ => hash(&|hasher| content.subject.message.payload.hash(hasher)),
    };
    Mark { topic, what }
}

/// The message that a rule makes of a payload: alone, or as a piece of its batch.
pub(super) fn shape(rule: &ForwardRule, content: &Content<'_, '_>, topic: Topic) -> Result<Message, Miss> {
    let original = content.subject.message;
    let (qos, retain) = (rule.take.qos, rule.take.retain);
    if rule.batch.is_some() {
        let payload = content.piece(rule.format, rule.names_topics())?;
        // Many messages with flags of their own: only `always` says it for all.
        return Ok(Message::new(topic, payload, qos, retain == super::RetainRule::Always));
    }
    let payload = content.encode(rule.format)?;
    let payload = if rule.compress { compress::zstd(&payload).into() } else { payload };
    let properties = hops::leaving(original.properties.clone()).map(|mut properties| {
        // What the payload was before says nothing of what it is now.
        if rule.compress || rule.format != Format::Json {
            properties.payload_is_utf8 = false;
            properties.content_type = None;
        }
        properties
    });
    Ok(Message { topic, payload, qos, retain: retain.of(original.retain), properties })
}

#[cfg(test)]
mod tests;
