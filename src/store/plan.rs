//! What a group commit has to do to the broker's state: the net effect of many writes. Pure.
//!
//! A delivery that is acknowledged before it is committed is never written; of ten retained messages of one topic the last is.
//! What takes something away is kept apart from what adds: it may be done again and again with the same result, so a commit that
//! failed leaves it to the next one.

use std::collections::{BTreeMap, BTreeSet};

use super::ranges::Ranges;
use super::state::{BrokerWrite, SessionId, SessionRecord, StoredDelivery, StoredRetained, StoredSubscription};
use crate::model::{Filter, Topic};

/// What is taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Removals {
    pub gone: BTreeSet<SessionId>,
    pub sessions: BTreeMap<SessionId, SessionRemovals>,
    pub unretained: BTreeSet<Topic>,
}

/// What is taken away of one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SessionRemovals {
    pub unsubscribed: BTreeSet<Filter>,
    pub done: Ranges,
    pub released: Ranges,
}

/// What is added, once everything that goes is gone.
#[derive(Debug, Default)]
pub(super) struct Additions<'a> {
    pub sessions: BTreeMap<SessionId, SessionAdditions<'a>>,
    pub retained: BTreeMap<&'a Topic, &'a StoredRetained>,
}

/// What is added to one session.
#[derive(Debug, Default)]
pub(super) struct SessionAdditions<'a> {
    pub record: Option<&'a SessionRecord>,
    pub subscribed: BTreeMap<&'a Filter, &'a StoredSubscription>,
    pub queued: BTreeMap<u64, &'a StoredDelivery>,
    pub recorded: Ranges,
    pub received: BTreeSet<u16>,
}

/// The net effect of writes that came one after the other.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    pub removals: Removals,
    pub additions: Additions<'a>,
    /// The next number of each session that was handed deliveries, also of those that are not written.
    pub next_n: BTreeMap<SessionId, u64>,
}

impl Removals {
    pub(super) fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.sessions.is_empty() && self.unretained.is_empty()
    }

    fn of(&mut self, session: SessionId) -> &mut SessionRemovals {
        self.sessions.entry(session).or_default()
    }
}

impl SessionRemovals {
    pub(super) fn is_empty(&self) -> bool {
        self.unsubscribed.is_empty() && self.done.is_empty() && self.released.is_empty()
    }
}

impl<'a> Plan<'a> {
    /// Begins with what an earlier commit has left.
    pub(super) fn after(removals: Removals) -> Plan<'a> {
        Plan { removals, ..Plan::default() }
    }

    /// Nothing has to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.removals.is_empty() && self.additions.sessions.is_empty() && self.additions.retained.is_empty()
    }

    /// Adds a write to the effect. It is known to be allowed: its session exists, and the number of a delivery is new. `on_disk` tells
    /// whether what it takes away may be there already.
    pub(super) fn apply(&mut self, write: &'a BrokerWrite, on_disk: bool) {
        match write {
            BrokerWrite::Session(record) => self.adding(record.id).record = Some(record),
            BrokerWrite::SessionGone(session) => {
                self.additions.sessions.remove(session);
                self.removals.sessions.remove(session);
                self.next_n.remove(session);
                if on_disk {
                    self.removals.gone.insert(*session);
                }
            }
            BrokerWrite::Subscribed { session, subscription } => {
                self.adding(*session).subscribed.insert(&subscription.filter, subscription);
            }
            BrokerWrite::Unsubscribed { session, filter } => {
                self.taking_back(*session, |adding| _ = adding.subscribed.remove(filter));
                if on_disk {
                    self.removals.of(*session).unsubscribed.insert(filter.clone());
                }
            }
            BrokerWrite::Queued { session, n, delivery } => {
                self.next_n.insert(*session, n + 1);
                self.adding(*session).queued.insert(*n, delivery);
            }
            BrokerWrite::Recorded { session, n } => self.adding(*session).recorded.insert(*n),
            BrokerWrite::Done { session, n } => {
                self.taking_back(*session, |adding| {
                    adding.recorded.remove(*n, *n);
                    adding.queued.remove(n);
                });
                if on_disk {
                    self.removals.of(*session).done.insert(*n);
                }
            }
            BrokerWrite::Received { session, packet_id } => {
                self.adding(*session).received.insert(*packet_id);
            }
            BrokerWrite::Released { session, packet_id } => {
                self.taking_back(*session, |adding| _ = adding.received.remove(packet_id));
                if on_disk {
                    self.removals.of(*session).released.insert(u64::from(*packet_id));
                }
            }
            BrokerWrite::Retained(retained) => {
                self.additions.retained.insert(&retained.message.topic, retained);
            }
            BrokerWrite::Unretained(topic) => {
                self.additions.retained.remove(topic);
                if on_disk {
                    self.removals.unretained.insert(topic.clone());
                }
            }
        }
    }

    fn adding(&mut self, session: SessionId) -> &mut SessionAdditions<'a> {
        self.additions.sessions.entry(session).or_default()
    }

    /// Takes something back that was to be added; a session to which nothing is added any more is left out.
    fn taking_back(&mut self, session: SessionId, take: impl FnOnce(&mut SessionAdditions<'a>)) {
        let Some(adding) = self.additions.sessions.get_mut(&session) else { return };
        take(adding);
        if adding.is_empty() {
            self.additions.sessions.remove(&session);
        }
    }

    /// What is left to do when this plan's commit has failed, though it may be on disk all the same: what it takes away is to be
    /// taken away, and so is what it adds, since that was refused. `is_new` tells which sessions did not exist before.
    ///
    /// A subscription, a retained message and a changed session are left as they are then: what was there before is not known here.
    pub(super) fn undone(self, is_new: impl Fn(SessionId) -> bool) -> Removals {
        let Plan { mut removals, additions, .. } = self;
        for (session, adding) in additions.sessions {
            if adding.record.is_some() && is_new(session) {
                removals.sessions.remove(&session);
                removals.gone.insert(session);
                continue;
            }
            if adding.queued.is_empty() && adding.received.is_empty() {
                continue;
            }
            let undo = removals.of(session);
            adding.queued.keys().for_each(|n| undo.done.insert(*n));
            adding.received.iter().for_each(|id| undo.released.insert(u64::from(*id)));
        }
        removals
    }
}

impl SessionAdditions<'_> {
    fn is_empty(&self) -> bool {
        self.record.is_none()
            && self.subscribed.is_empty()
            && self.queued.is_empty()
            && self.recorded.is_empty()
            && self.received.is_empty()
    }
}
