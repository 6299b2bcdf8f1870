//! A store without a disk: it keeps what the hub has written in maps, forgets what was not committed, and answers like the real one.

use std::collections::{BTreeMap, BTreeSet};

use crate::broker::hub::Hub;
use crate::model::{Filter, Monotonic, Topic};
use crate::store::{
    Append, BrokerState, BrokerWrite, CommitReport, Page, Refusal, SessionId, SessionRecord, SessionState,
    StoredDelivery, StoredRetained, StoredSubscription, Work,
};

/// What is kept, and what waits to be.
#[derive(Default)]
pub(in crate::broker) struct Disk {
    pending: Vec<Append>,
    sessions: BTreeMap<SessionId, Session>,
    retained: BTreeMap<Topic, StoredRetained>,
    last_session: u64,
    /// Removals that were refused: they are done with the next commit.
    owed: Vec<BrokerWrite>,
}

struct Session {
    record: SessionRecord,
    subscriptions: BTreeMap<Filter, StoredSubscription>,
    received: BTreeSet<u16>,
    queued: BTreeMap<u64, StoredDelivery>,
    recorded: BTreeSet<u64>,
    last_n: u64,
}

impl Disk {
    /// Takes what the hub wants written.
    pub fn take(&mut self, hub: &mut Hub) {
        self.pending.append(&mut hub.out.appends);
    }

    /// Commits everything that waits, or refuses it, and reports.
    pub fn commit(&mut self, hub: &mut Hub, refuse: bool, now: Monotonic) {
        self.take(hub);
        if !refuse {
            std::mem::take(&mut self.owed).into_iter().for_each(|write| self.write(write));
        }
        let Some(through) = self.pending.last().map(|append| append.ticket) else { return };
        let mut refused = Vec::new();
        for Append { ticket, what, .. } in std::mem::take(&mut self.pending) {
            if refuse {
                refused.push((ticket, Refusal::Storage("the test says no".into())));
                self.note(what);
            } else {
                self.work(what);
            }
        }
        hub.report(&CommitReport { through, refused }, now);
    }

    /// Answers for the pages that the hub has asked for.
    pub fn read(&mut self, hub: &mut Hub, now: Monotonic) -> bool {
        let pages = std::mem::take(&mut hub.out.pages);
        let busy = !pages.is_empty();
        for wanted in pages {
            let page = self.page(wanted.owner.session, wanted.from, 3);
            hub.page_came(wanted.owner, wanted.asked, Some(page), now);
        }
        busy
    }

    fn page(&self, session: SessionId, from: u64, most: usize) -> Page {
        let Some(session) = self.sessions.get(&session) else { return Page::default() };
        let mut rows = session.queued.range(from..);
        let deliveries: Vec<_> = rows.by_ref().take(most).map(|(n, delivery)| (*n, delivery.clone())).collect();
        Page { deliveries, damaged: Vec::new(), next: rows.next().map(|(n, _)| *n) }
    }

    /// The process is killed: what was not committed is gone. What the next one finds.
    pub fn crash(&mut self) -> BrokerState {
        self.pending.clear();
        self.owed.clear();
        BrokerState {
            sessions: self.sessions.values().map(Session::state).collect(),
            retained: self.retained.values().cloned().collect(),
            last_session: self.last_session,
            damaged: 0,
        }
    }

    /// Sessions and retained messages.
    pub fn counts(&self) -> (usize, usize) {
        (self.sessions.len(), self.retained.len())
    }

    fn work(&mut self, work: Work) {
        match work {
            Work::Message { .. } | Work::Piece { .. } | Work::Close { .. } => {}
            Work::Broker(write) => self.write(write),
            Work::Received(_) => unreachable!("there is no uplink here"),
            Work::Together(all) => all.into_iter().for_each(|work| self.work(work)),
        }
    }

    /// What takes something away is tried again when it was refused.
    fn note(&mut self, work: Work) {
        match work {
            Work::Broker(
                write @ (BrokerWrite::SessionGone(_)
                | BrokerWrite::Unsubscribed { .. }
                | BrokerWrite::Done { .. }
                | BrokerWrite::Released { .. }
                | BrokerWrite::Unretained(_)),
            ) => self.owed.push(write),
            Work::Together(all) => all.into_iter().for_each(|work| self.note(work)),
            _ => {}
        }
    }

    fn write(&mut self, write: BrokerWrite) {
        match write {
            BrokerWrite::Session(record) => {
                self.last_session = self.last_session.max(record.id.0);
                match self.sessions.get_mut(&record.id) {
                    Some(session) => session.record = record,
                    None => drop(self.sessions.insert(record.id, Session::new(record))),
                }
            }
            BrokerWrite::SessionGone(id) => drop(self.sessions.remove(&id)),
            BrokerWrite::Retained(retained) => {
                self.retained.insert(retained.message.topic.clone(), retained);
            }
            BrokerWrite::Unretained(topic) => drop(self.retained.remove(&topic)),
            BrokerWrite::Subscribed { session, subscription } => {
                self.with(session, |s| drop(s.subscriptions.insert(subscription.filter.clone(), subscription)));
            }
            BrokerWrite::Unsubscribed { session, filter } => {
                self.with(session, |s| drop(s.subscriptions.remove(&filter)));
            }
            BrokerWrite::Queued { session, n, delivery } => self.with(session, |s| {
                assert!(n > s.last_n, "number {n} after {}", s.last_n);
                s.last_n = n;
                s.queued.insert(n, delivery);
            }),
            BrokerWrite::Recorded { session, n } => self.with(session, |s| {
                assert!(s.queued.remove(&n).is_some(), "the PUBREC of {n}, which is not there");
                s.recorded.insert(n);
            }),
            BrokerWrite::Done { session, n } => self.with(session, |s| {
                s.queued.remove(&n);
                s.recorded.remove(&n);
            }),
            BrokerWrite::Received { session, packet_id } => {
                self.with(session, |s| assert!(s.received.insert(packet_id), "{packet_id} is handled twice"));
            }
            BrokerWrite::Released { session, packet_id } => {
                self.with(session, |s| {
                    s.received.remove(&packet_id);
                });
            }
        }
    }

    fn with(&mut self, session: SessionId, change: impl FnOnce(&mut Session)) {
        if let Some(session) = self.sessions.get_mut(&session) {
            change(session);
        }
    }
}

impl Session {
    fn new(record: SessionRecord) -> Session {
        Session {
            record,
            subscriptions: BTreeMap::new(),
            received: BTreeSet::new(),
            queued: BTreeMap::new(),
            recorded: BTreeSet::new(),
            last_n: 0,
        }
    }

    fn state(&self) -> SessionState {
        let next_n = self.last_n + 1;
        let first = [self.queued.keys().next(), self.recorded.first()].into_iter().flatten().min();
        SessionState {
            record: self.record.clone(),
            subscriptions: self.subscriptions.values().cloned().collect(),
            received: self.received.iter().copied().collect(),
            recorded: self.recorded.iter().copied().collect(),
            depth: self.queued.len() as u64,
            bytes: self.queued.values().map(StoredDelivery::stored_bytes).sum(),
            first_n: first.copied().unwrap_or(next_n),
            next_n,
        }
    }
}
