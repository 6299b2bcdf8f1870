//! A plan's statements, in the order in which they have to be: what goes, then what comes, then the counters.

use std::collections::{BTreeMap, BTreeSet};

use super::{Kept, Ledger, retained_bytes};
use crate::model::Topic;
use crate::store::broker_row::{DeliveryRow, RetainedColumns, SessionColumns, SubscriptionColumns};
use crate::store::plan::{Plan, SessionRemovals};
use crate::store::ranges::Ranges;
use crate::store::sqlite::{DbError, Freed, Mark, SessionRange, Transaction};
use crate::store::state::SessionId;

/// Deliveries of a session that is gone which one commit deletes: about 5 ms of work.
const PORTION: u32 = 4096;

/// What a plan's part of a transaction comes to. It counts once the transaction is committed.
pub(in crate::store) struct Written {
    pub(super) marks: Vec<Mark>,
    pub(super) retained: Vec<(Topic, Option<Kept>)>,
    pub(super) dying: BTreeSet<SessionId>,
    pub(super) last_session: u64,
}

impl Ledger {
    /// Carries a plan out. Nothing of the ledger changes before [`Ledger::settle`].
    pub(in crate::store) async fn write(&self, tx: &mut Transaction<'_>, plan: &Plan<'_>) -> Result<Written, DbError> {
        let dying = self.remove_sessions(tx, plan).await?;
        let mut freed = self.remove(tx, plan).await?;
        let last_session = save_records(tx, plan).await?;
        freed.extend(add(tx, plan).await?);
        let retained = self.retain(tx, plan).await?;
        let marks = self.marks(plan, &freed);
        tx.save_marks(&marks).await?;
        Ok(Written { marks, retained, dying, last_session })
    }

    /// Removes sessions that are gone, and some of what earlier ones have left. Returns those of which something is left.
    async fn remove_sessions(&self, tx: &mut Transaction<'_>, plan: &Plan<'_>) -> Result<BTreeSet<SessionId>, DbError> {
        let mut dying = self.dying.clone();
        for session in &plan.removals.gone {
            tx.forget_session(*session).await?;
            if self.sessions.get(session).is_none_or(|known| known.depth > 0) {
                dying.insert(*session);
            }
        }
        let mut left = u64::from(PORTION);
        while let Some(session) = dying.first().copied().filter(|_| left > 0) {
            let deleted = tx.delete_deliveries(session, u32::try_from(left).unwrap_or(PORTION)).await?;
            if deleted < left {
                dying.remove(&session);
            }
            left -= deleted.min(left);
        }
        Ok(dying)
    }

    async fn remove(&self, tx: &mut Transaction<'_>, plan: &Plan<'_>) -> Result<Vec<Freed>, DbError> {
        let removals = &plan.removals.sessions;
        let ranges = |numbers: fn(&SessionRemovals) -> &Ranges, wanted: &dyn Fn(SessionId) -> bool| {
            let sessions = removals.iter().filter(|(session, _)| wanted(**session));
            let of = |(session, removed): (&SessionId, _)| {
                let session = *session;
                numbers(removed).iter().map(move |(first, last)| (session, first, last))
            };
            sessions.flat_map(of).collect::<Vec<SessionRange>>()
        };
        let freed = tx.finish(&ranges(|removed| &removed.done, &|_| true)).await?;
        let has_recorded = |session| self.sessions.get(&session).is_some_and(|known| !known.recorded.is_empty());
        tx.complete(&ranges(|removed| &removed.done, &has_recorded)).await?;
        tx.release(&ranges(|removed| &removed.released, &|_| true)).await?;
        for (session, removed) in removals {
            for filter in &removed.unsubscribed {
                tx.unsubscribe(*session, filter).await?;
            }
        }
        Ok(freed)
    }

    async fn retain(&self, tx: &mut Transaction<'_>, plan: &Plan<'_>) -> Result<Vec<(Topic, Option<Kept>)>, DbError> {
        let mut changed = Vec::new();
        let mut unretained = Ranges::default();
        for topic in &plan.removals.unretained {
            if let Some(kept) = self.retained.get(topic) {
                unretained.insert(kept.id.unsigned_abs());
                changed.push((topic.clone(), None));
            }
        }
        for (first, last) in unretained.iter() {
            tx.unretain(first, last).await?;
        }
        let mut next = self.next_retained;
        let mut rows = Vec::with_capacity(plan.additions.retained.len());
        for (topic, retained) in &plan.additions.retained {
            let id = self.retained.get(*topic).map_or(next, |kept| kept.id);
            next = next.max(id + 1);
            rows.push(RetainedColumns::of(id, retained));
            changed.push(((*topic).clone(), Some(Kept { id, bytes: retained_bytes(retained) })));
        }
        tx.retain(&rows).await?;
        Ok(changed)
    }

    /// The counters of every session of which deliveries come or go, or that is new.
    fn marks(&self, plan: &Plan<'_>, freed: &[Freed]) -> Vec<Mark> {
        let mut marks: BTreeMap<SessionId, Mark> = BTreeMap::new();
        let before = |session: SessionId| {
            let known = self.sessions.get(&session);
            let (next_n, depth, bytes) = known.map_or((1, 0, 0), |known| (known.next_n, known.depth, known.bytes));
            Mark { session, next_n: plan.next_n.get(&session).copied().unwrap_or(next_n), depth, bytes }
        };
        for (session, added) in &plan.additions.sessions {
            if !added.queued.is_empty() || (added.record.is_some() && !self.sessions.contains_key(session)) {
                let mark = marks.entry(*session).or_insert_with(|| before(*session));
                mark.depth += added.queued.len() as u64;
                mark.bytes += added.queued.values().map(|delivery| delivery.stored_bytes()).sum::<u64>();
            }
        }
        for Freed { session, rows, bytes } in freed {
            let mark = marks.entry(*session).or_insert_with(|| before(*session));
            mark.depth = mark.depth.saturating_sub(*rows);
            mark.bytes = mark.bytes.saturating_sub(*bytes);
        }
        // An empty session has no bytes, whatever damaged rows claimed to be.
        marks.values_mut().filter(|mark| mark.depth == 0).for_each(|mark| mark.bytes = 0);
        marks.into_values().collect()
    }
}

/// Writes new and changed sessions and subscriptions. Returns the highest session number, 0 for none.
async fn save_records(tx: &mut Transaction<'_>, plan: &Plan<'_>) -> Result<u64, DbError> {
    let mut last = 0;
    for (session, added) in &plan.additions.sessions {
        if let Some(record) = added.record {
            tx.save_session(&SessionColumns::of(record)).await?;
            last = last.max(session.0);
        }
        for subscription in added.subscribed.values() {
            tx.subscribe(&SubscriptionColumns::of(*session, subscription)).await?;
        }
    }
    if last > 0 {
        tx.save_last_session(last).await?;
    }
    Ok(last)
}

async fn add(tx: &mut Transaction<'_>, plan: &Plan<'_>) -> Result<Vec<Freed>, DbError> {
    let (mut rows, mut recorded, mut received) = (Vec::new(), Vec::new(), Vec::new());
    for (session, added) in &plan.additions.sessions {
        rows.extend(added.queued.iter().map(|(n, delivery)| DeliveryRow::of(*session, *n, delivery)));
        recorded.extend(added.recorded.iter().map(|(first, last)| (*session, first, last)));
        received.extend(added.received.iter().map(|id| (*session, *id)));
    }
    tx.queue(&rows).await?;
    tx.receive(&received).await?;
    tx.record(&recorded).await
}
