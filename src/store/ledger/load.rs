//! The ledger and the broker's state as they are found: at the start, and again after a commit that failed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tracing::{debug, error};

use super::{Kept, Known, Ledger};
use crate::model::Topic;
use crate::store::broker_row::{SessionColumns, SubscriptionColumns};
use crate::store::plan::Removals;
use crate::store::policy::row_bytes;
use crate::store::sqlite::{BrokerTables, Database, DbError};
use crate::store::state::{BrokerState, SessionId, SessionRecord, SessionState, StoredSubscription};

impl Ledger {
    /// Reads everything but the deliveries. What is damaged is left out, and the log says so.
    pub(in crate::store) async fn load(
        database: &mut Database,
        max_bytes: u64,
    ) -> Result<(Ledger, BrokerState), DbError> {
        let mut tables = database.broker_tables().await?;
        let mut damage = Damage::default();
        let records = damage.records(std::mem::take(&mut tables.sessions));
        let mut subscriptions = damage.subscriptions(std::mem::take(&mut tables.subscriptions));
        let mut ledger = Ledger { max_bytes, room: u64::MAX, next_retained: 1, ..Ledger::default() };
        ledger.take(&tables, records.iter().map(|record| record.id));
        let mut retained = Vec::new();
        for columns in database.retained().await? {
            let (id, bytes) = (columns.id, columns.stored_bytes());
            ledger.next_retained = ledger.next_retained.max(id.saturating_add(1));
            let topic = columns.topic.clone();
            match columns.check() {
                Ok(message) => {
                    ledger.keep(message.message.topic.clone(), Kept { id, bytes });
                    retained.push(message);
                }
                Err(why) => {
                    damage.note("a retained message", &topic, &why);
                    damage.retained.push(id);
                }
            }
        }
        damage.told();
        // What can't be read is not read again at the next start.
        ledger.carried.gone.extend(&damage.sessions);
        if let Err(problem) = database.delete_retained(&damage.retained).await {
            debug!(error = %problem, "damaged retained messages stay in the file, and are told again at the next start");
        }
        let ends: HashMap<SessionId, u64> = tables.ends.iter().map(|(session, first, _)| (*session, *first)).collect();
        let state = |record: SessionRecord| {
            let (id, known) = (record.id, ledger.sessions.get(&record.id).cloned().unwrap_or_default());
            SessionState {
                record,
                subscriptions: subscriptions.remove(&id).unwrap_or_default(),
                received: known.received.into_iter().collect(),
                recorded: known.recorded.numbers().collect(),
                depth: known.depth,
                bytes: known.bytes,
                first_n: ends.get(&id).copied().unwrap_or(known.next_n),
                next_n: known.next_n,
            }
        };
        let sessions = records.into_iter().map(state).collect();
        let state = BrokerState { sessions, retained, last_session: ledger.last_session, damaged: damage.rows };
        Ok((ledger, state))
    }

    /// Reads again what is on disk, after a commit of which nobody knows what became. What is carried is kept as far as there is
    /// something to be taken away.
    pub(in crate::store) async fn reload(&mut self, database: &mut Database) -> Result<(), DbError> {
        let tables = database.broker_tables().await?;
        let mut fresh = Ledger { max_bytes: self.max_bytes, room: self.room, next_retained: 1, ..Ledger::default() };
        let sessions: Vec<SessionId> =
            tables.sessions.iter().filter_map(|row| u64::try_from(row.id).ok().map(SessionId)).collect();
        fresh.take(&tables, sessions.into_iter());
        for (id, topic, content) in database.retained_sizes().await? {
            fresh.next_retained = fresh.next_retained.max(id.saturating_add(1));
            if let Ok(topic) = Topic::new(&topic) {
                fresh.keep(topic, Kept { id, bytes: row_bytes(content) });
            }
        }
        fresh.carry(std::mem::take(&mut self.carried));
        *self = fresh;
        Ok(())
    }

    /// Takes the sessions that are whole, and their numbers. Deliveries of others are to go.
    fn take(&mut self, tables: &BrokerTables, sessions: impl Iterator<Item = SessionId>) {
        self.sessions = sessions.map(|session| (session, Known::default())).collect();
        for mark in &tables.marks {
            if let Some(known) = self.sessions.get_mut(&mark.session) {
                (known.next_n, known.depth, known.bytes) = (mark.next_n.max(1), mark.depth, mark.bytes);
            }
        }
        for (session, n) in &tables.recorded {
            if let Some(known) = self.sessions.get_mut(session) {
                known.recorded.insert(*n);
                known.next_n = known.next_n.max(n + 1);
            }
        }
        for (session, packet_id) in &tables.received {
            if let (Some(known), Ok(id)) = (self.sessions.get_mut(session), u16::try_from(*packet_id)) {
                known.received.insert(id);
            }
        }
        let mut has_rows = BTreeSet::new();
        for (session, first, last) in &tables.ends {
            match self.sessions.get_mut(session) {
                Some(known) => {
                    has_rows.insert(*session);
                    // They are written in one transaction; should they still disagree, no number may be given out twice.
                    known.next_n = known.next_n.max(last.saturating_add(1));
                    known.depth = known.depth.clamp(1, (last - first).saturating_add(1));
                }
                None => _ = self.dying.insert(*session),
            }
        }
        for (session, known) in &mut self.sessions {
            if !has_rows.contains(session) {
                (known.depth, known.bytes) = (0, 0);
            }
        }
        self.bytes = self.sessions.values().map(|known| known.bytes).sum();
        let used = self.sessions.keys().chain(&self.dying).map(|session| session.0).max();
        self.last_session = tables.last_session.max(used.unwrap_or(0));
    }

    fn keep(&mut self, topic: Topic, kept: Kept) {
        self.bytes += kept.bytes;
        let before = self.retained.insert(topic, kept);
        self.bytes -= before.map_or(0, |kept| kept.bytes);
    }

    fn carry(&mut self, mut carried: Removals) {
        carried.gone.retain(|session| self.sessions.contains_key(session));
        carried.unretained.retain(|topic| self.retained.contains_key(topic));
        carried.sessions.retain(|session, removed| {
            let Some(known) = self.sessions.get(session) else { return false };
            removed.done.cut_from(known.next_n);
            removed.released =
                removed.released.numbers().filter(|id| known.received.iter().any(|r| u64::from(*r) == *id)).collect();
            !removed.is_empty()
        });
        self.carried = carried;
    }
}

/// What was found damaged.
#[derive(Default)]
struct Damage {
    rows: u64,
    first: Option<String>,
    sessions: Vec<SessionId>,
    retained: Vec<i64>,
}

impl Damage {
    fn note(&mut self, what: &str, whose: &str, why: &str) {
        self.rows += 1;
        self.first.get_or_insert_with(|| format!("{what} ({whose:?}): {why}"));
    }

    /// One line, however many they are.
    fn told(&self) {
        if let Some(first) = &self.first {
            error!(
                rows = self.rows,
                first,
                "rows of the broker's state in queue.db are damaged and left out: sessions with all that waits for them, \
                 subscriptions or retained messages are lost"
            );
        }
    }

    fn records(&mut self, sessions: Vec<SessionColumns>) -> Vec<SessionRecord> {
        let mut records = Vec::with_capacity(sessions.len());
        for columns in sessions {
            let (id, client_id) = (columns.id, columns.client_id.clone());
            match columns.check() {
                Ok(record) => records.push(record),
                Err(why) => {
                    self.note("a session", &client_id, &why);
                    self.sessions.extend(u64::try_from(id).ok().map(SessionId));
                }
            }
        }
        records
    }

    fn subscriptions(&mut self, rows: Vec<SubscriptionColumns>) -> BTreeMap<SessionId, Vec<StoredSubscription>> {
        let mut subscriptions: BTreeMap<SessionId, Vec<StoredSubscription>> = BTreeMap::new();
        for columns in rows {
            let filter = columns.filter.clone();
            match columns.check() {
                Ok((session, subscription)) => subscriptions.entry(session).or_default().push(subscription),
                Err(why) => self.note("a subscription", &filter, &why),
            }
        }
        subscriptions
    }
}
