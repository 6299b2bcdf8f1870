//! The broker's state as the writer has it: what is on disk, in counters and numbers, and what a group commit makes of it.
//!
//! Which writes are allowed is decided here, before anything is written. Rows, messages and records are not held in memory.

mod load;
mod write;

use std::collections::{BTreeSet, HashMap, HashSet};

use super::channel::{Refusal, Ticket};
use super::plan::{Plan, Removals};
use super::policy::message_bytes;
use super::properties;
use super::ranges::Ranges;
use super::sqlite::Mark;
use super::state::{BrokerWrite, SessionId, StoredRetained};
use crate::model::Topic;

pub(super) use write::Written;

/// What is known of the broker's state on disk.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Ledger {
    sessions: HashMap<SessionId, Known>,
    retained: HashMap<Topic, Kept>,
    /// The number of the next row in `retained`.
    next_retained: i64,
    last_session: u64,
    /// What deliveries and retained messages are accounted with.
    bytes: u64,
    max_bytes: u64,
    /// What they may take on the disk beyond that.
    room: u64,
    /// Sessions that are gone and still have deliveries: those go a portion a commit.
    dying: BTreeSet<SessionId>,
    /// What has still to be taken away: a commit that should have done it has failed.
    carried: Removals,
}

/// A session on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    next_n: u64,
    depth: u64,
    bytes: u64,
    recorded: Ranges,
    received: BTreeSet<u16>,
}

/// A retained message on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kept {
    id: i64,
    bytes: u64,
}

impl Default for Known {
    fn default() -> Known {
        Known { next_n: 1, depth: 0, bytes: 0, recorded: Ranges::default(), received: BTreeSet::new() }
    }
}

impl Ledger {
    /// Whether there is something to do that nobody sends a word about.
    pub(super) fn has_leftovers(&self) -> bool {
        !self.dying.is_empty() || !self.carried.is_empty()
    }

    /// Tells how many bytes more there is room for on the disk.
    pub(super) fn set_room(&mut self, room: u64) {
        self.room = room;
    }

    /// What a group commit has to do for `works`, in their order. Those of the `excluded` tickets are left out, and so are those
    /// that can't be: the refusals say which and why.
    pub(super) fn plan<'a>(
        &self,
        works: &'a [(Ticket, BrokerWrite)],
        excluded: &HashSet<Ticket>,
    ) -> (Plan<'a>, Vec<(Ticket, Refusal)>) {
        let mut plan = Plan::after(self.carried.clone());
        let mut refused = Vec::new();
        let mut bytes = self.bytes;
        let most = self.max_bytes.min(self.bytes.saturating_add(self.room));
        for (ticket, write) in works.iter().filter(|(ticket, _)| !excluded.contains(ticket)) {
            match self.admit(&plan, write, &mut bytes, most) {
                Ok(on_disk) => plan.apply(write, on_disk),
                Err(refusal) => refused.push((*ticket, refusal)),
            }
        }
        (plan, refused)
    }

    /// Whether a write can be; and if so, whether what it takes away may be on disk.
    fn admit(&self, plan: &Plan, write: &BrokerWrite, bytes: &mut u64, most: u64) -> Result<bool, Refusal> {
        let known = |session: &SessionId| self.sessions.get(session).filter(|_| !plan.removals.gone.contains(session));
        let exists = |session: &SessionId| {
            let made_now = plan.additions.sessions.get(session).is_some_and(|adding| adding.record.is_some());
            if made_now || known(session).is_some() { Ok(()) } else { Err(storage("there is no such session")) }
        };
        let mut take = |more: u64| {
            let fits = *bytes + more <= most;
            *bytes += if fits { more } else { 0 };
            if fits { Ok(()) } else { Err(Refusal::QueueFull) }
        };
        match write {
            BrokerWrite::Session(record) => {
                if exists(&record.id).is_err() && record.id.0 <= self.last_session {
                    return Err(storage("the number of this session was used before"));
                }
            }
            BrokerWrite::Queued { session, n, delivery } => {
                exists(session)?;
                let next = plan.next_n.get(session).or(known(session).map(|known| &known.next_n));
                if *n < next.copied().unwrap_or(1) {
                    return Err(storage("the number of this delivery was used before"));
                }
                take(delivery.stored_bytes())?;
            }
            BrokerWrite::Retained(retained) => {
                let before = self.retained.get(&retained.message.topic).map_or(0, |kept| kept.bytes);
                take(retained_bytes(retained).saturating_sub(before))?;
            }
            BrokerWrite::Subscribed { session, .. }
            | BrokerWrite::Recorded { session, .. }
            | BrokerWrite::Received { session, .. } => exists(session)?,
            BrokerWrite::SessionGone(session) | BrokerWrite::Unsubscribed { session, .. } => {
                return Ok(known(session).is_some());
            }
            BrokerWrite::Done { session, n } => return Ok(known(session).is_some_and(|known| *n < known.next_n)),
            BrokerWrite::Released { session, packet_id } => {
                return Ok(known(session).is_some_and(|known| known.received.contains(packet_id)));
            }
            BrokerWrite::Unretained(topic) => return Ok(self.retained.contains_key(topic)),
        }
        Ok(true)
    }

    /// Nothing of the plan has to be written: what is left of it are numbers that are used now.
    pub(super) fn pass(&mut self, plan: &Plan) {
        for (session, next) in &plan.next_n {
            if let Some(known) = self.sessions.get_mut(session) {
                known.next_n = *next;
            }
        }
    }

    /// The transaction is committed: what it did is so.
    pub(super) fn settle(&mut self, plan: &Plan, written: Written) {
        for session in &plan.removals.gone {
            let known = self.sessions.remove(session);
            self.bytes = self.bytes.saturating_sub(known.map_or(0, |known| known.bytes));
        }
        self.dying = written.dying;
        for Mark { session, next_n, depth, bytes } in written.marks {
            let known = self.sessions.entry(session).or_default();
            self.bytes = self.bytes.saturating_sub(known.bytes) + bytes;
            (known.next_n, known.depth, known.bytes) = (next_n, depth, bytes);
        }
        for (session, removed) in &plan.removals.sessions {
            let Some(known) = self.sessions.get_mut(session) else { continue };
            removed.done.iter().for_each(|(first, last)| known.recorded.remove(first, last));
            known.received.retain(|id| !removed.released.contains(u64::from(*id)));
        }
        for (session, added) in &plan.additions.sessions {
            let Some(known) = self.sessions.get_mut(session) else { continue };
            added.recorded.numbers().for_each(|n| known.recorded.insert(n));
            known.received.extend(&added.received);
        }
        self.pass(plan);
        for (topic, kept) in written.retained {
            let before = match kept {
                Some(kept) => {
                    self.bytes += kept.bytes;
                    self.next_retained = self.next_retained.max(kept.id + 1);
                    self.retained.insert(topic, kept)
                }
                None => self.retained.remove(&topic),
            };
            self.bytes = self.bytes.saturating_sub(before.map_or(0, |kept| kept.bytes));
        }
        self.last_session = self.last_session.max(written.last_session);
        self.carried = Removals::default();
    }

    /// None of these writes was kept: what they were to take away is carried on. If their commit was tried, `tried`, it may be on disk all
    /// the same; then what they add is to be taken away too, and [`Ledger::reload`] has to come before the next one.
    pub(super) fn refuse(&mut self, works: &[(Ticket, BrokerWrite)], tried: bool) {
        let (plan, _) = self.plan(works, &HashSet::new());
        self.carried = if tried { plan.undone(|id| !self.sessions.contains_key(&id)) } else { plan.removals };
    }
}

fn retained_bytes(retained: &StoredRetained) -> u64 {
    message_bytes(&retained.message, properties::encoded_len(retained.message.properties.as_deref()))
}

fn storage(why: &str) -> Refusal {
    Refusal::Storage(why.to_owned())
}
