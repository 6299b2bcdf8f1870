//! One queue as the writer has it, and its part of a group commit.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, warn};

use super::channel::Ticket;
use super::claims::Acknowledged;
use super::episode::{Episode, GapReason, Loss};
use super::open::QueueSpec;
use super::policy::{self, Arrival, Candidate};
use super::queue::Shared;
use super::record::Record;
use super::row::Stored;
use super::sqlite::{Database, DbError, Transaction};
use crate::model::{Monotonic, QueueStatus, Stamp, Timestamp};

/// Candidates for dropping are looked at so many at a time.
const CANDIDATES: u32 = 256;

/// More rows than a group commit takes.
const REFUSED: u32 = 2 * super::batch::MAX_ROWS as u32;

/// So many rounds of rows that are too old go in one commit; the rest follows in later ones.
const AGE_ROUNDS: usize = 16;

/// Between two looks at the oldest row's age lie a hundredth of `max_age`, at least the first and at most the second of these,
/// and never more than the third: the wall clock may have been set.
const AGE_CHECK: (Duration, Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(60), Duration::from_secs(3600));

/// One queue.
pub(super) struct Slot {
    pub spec: QueueSpec,
    pub record: Record,
    pub shared: Arc<Shared>,
    /// Messages for the next commit, in the order they came.
    pub arriving: Vec<(Ticket, Stored)>,
    pub episode: Episode,
    /// The record is to be written even if nothing else happens.
    pub dirty: bool,
    /// Rows from this number on came with a commit that was reported as failed.
    refused_from: Option<u64>,
    committed: watch::Sender<u64>,
    status: watch::Sender<QueueStatus>,
    /// When the first row was queued: `None` for no row, `Some(None)` for a row from before the clock was set.
    head: Option<Option<Timestamp>>,
    check_age_at: Option<Monotonic>,
    queued: u64,
}

/// What a queue's part of a transaction comes to. It counts once the transaction is committed.
pub(super) struct Outcome {
    /// Tickets that were not kept.
    pub refused: Vec<Ticket>,
    /// Losses whose episode ended because another began.
    pub told: Vec<Loss>,
    record: Record,
    episode: Episode,
    begun: Vec<GapReason>,
    acknowledged: Option<Acknowledged>,
    kept: u64,
    head_moved: bool,
}

impl Slot {
    pub(super) fn new(
        spec: QueueSpec,
        record: Record,
        shared: Arc<Shared>,
        committed: watch::Sender<u64>,
        status: watch::Sender<QueueStatus>,
    ) -> Slot {
        let episode = Episode::resume(record.untold);
        Slot {
            spec,
            record,
            shared,
            arriving: Vec::new(),
            episode,
            dirty: false,
            refused_from: None,
            committed,
            status,
            head: None,
            check_age_at: None,
            queued: 0,
        }
    }

    /// Takes a message for the next commit and says what it is accounted with.
    pub(super) fn arrive(&mut self, ticket: Ticket, stored: Stored) -> u64 {
        let bytes = stored.bytes;
        self.arriving.push((ticket, stored));
        bytes
    }

    /// When the oldest row's age is to be looked at.
    pub(super) fn age_deadline(&self) -> Option<Monotonic> {
        self.check_age_at
    }

    /// Takes over what the file says after a commit that has failed. Rows of that commit may be there all the same; since they were
    /// refused, they are to go.
    pub(super) fn reload(&mut self, record: &Record) {
        if record.next_n > self.record.next_n {
            self.refused_from = Some(self.refused_from.unwrap_or(self.record.next_n));
        }
        self.record = record.clone();
    }

    fn wants_age_check(&self, stamp: Stamp) -> bool {
        self.check_age_at.is_some_and(|at| at <= stamp.monotonic) && stamp.synced
    }

    /// Whether a commit now has something to do here.
    pub(super) fn has_work(&self, stamp: Stamp) -> bool {
        let waits = !self.arriving.is_empty() || self.dirty || self.refused_from.is_some();
        waits || self.wants_age_check(stamp) || self.shared.claims().has_acknowledged()
    }

    /// Does this queue's part of a transaction, without the messages of `excluded` tickets; `None` when it has none. Nothing of the slot
    /// changes but that rows may be marked as being dropped, which [`Slot::settle`] or [`Slot::undo`] ends.
    pub(super) async fn write(
        &mut self,
        tx: &mut Transaction<'_>,
        stamp: Stamp,
        excluded: &HashSet<Ticket>,
    ) -> Result<Option<Outcome>, DbError> {
        if !self.has_work(stamp) {
            return Ok(None);
        }
        let acknowledged = self.shared.claims().acknowledged();
        let check_age = self.wants_age_check(stamp);
        let mut outcome = Outcome {
            refused: Vec::new(),
            told: Vec::new(),
            record: self.record.clone(),
            episode: self.episode.clone(),
            begun: Vec::new(),
            acknowledged,
            kept: 0,
            head_moved: self.head.is_none(),
        };
        self.delete_refused(&mut outcome, tx).await?;
        outcome.delete_acknowledged(tx, stamp).await?;
        if check_age {
            self.drop_too_old(&mut outcome, tx, stamp).await?;
        }
        self.append(&mut outcome, tx, stamp, excluded).await?;
        outcome.record.untold = outcome.episode.untold();
        tx.save(&outcome.record).await?;
        Ok(Some(outcome))
    }

    async fn drop_too_old(&self, outcome: &mut Outcome, tx: &mut Transaction<'_>, stamp: Stamp) -> Result<(), DbError> {
        for _ in 0..AGE_ROUNDS {
            let floor = self.shared.claims().floor();
            let candidates = tx.candidates(self.record.id, floor, CANDIDATES).await?;
            let expired = policy::expired(&self.spec.limits, stamp.wall, &candidates);
            if expired == 0 || !self.begin_drop(&candidates[..expired]) {
                return Ok(());
            }
            outcome.drop_stored(tx, &candidates[..expired], stamp.monotonic, GapReason::TooOld).await?;
            if expired < candidates.len() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Deletes rows of a commit that was reported as failed, unless the reader has come upon them.
    async fn delete_refused(&self, outcome: &mut Outcome, tx: &mut Transaction<'_>) -> Result<(), DbError> {
        let Some(first) = self.refused_from else { return Ok(()) };
        let mut rows = tx.candidates(self.record.id, first - 1, REFUSED).await?;
        rows.retain(|row| row.n < self.record.next_n);
        if self.begin_drop(&rows)
            && let (Some(first), Some(last)) = (rows.first(), rows.last())
        {
            let deleted = tx.delete(self.record.id, first.n, last.n).await?;
            outcome.record.remove(deleted, rows.iter().map(|row| row.bytes).sum());
        }
        Ok(())
    }

    /// Makes room by the policy, and appends what is kept.
    async fn append(
        &self,
        outcome: &mut Outcome,
        tx: &mut Transaction<'_>,
        stamp: Stamp,
        excluded: &HashSet<Ticket>,
    ) -> Result<(), DbError> {
        let arriving: Vec<_> = self.arriving.iter().filter(|(ticket, _)| !excluded.contains(ticket)).collect();
        if arriving.is_empty() {
            return Ok(());
        }
        let limits = &self.spec.limits;
        let sizes: Vec<u64> = arriving.iter().map(|(_, stored)| stored.bytes).collect();
        let needed = policy::shortfall(limits, outcome.record.bytes, &sizes);
        let (candidates, verdict) = loop {
            let candidates = self.candidates(tx, needed).await?;
            let verdict = policy::admit(limits, outcome.record.bytes, &candidates, &sizes);
            // The reader may have taken some of them meanwhile: then they are in flight, and others have to go.
            if verdict.drop_stored == 0 || self.begin_drop(&candidates[..verdict.drop_stored]) {
                break (candidates, verdict);
            }
        };
        outcome.drop_stored(tx, &candidates[..verdict.drop_stored], stamp.monotonic, GapReason::QueueFull).await?;

        let mut rows = Vec::with_capacity(arriving.len());
        for ((ticket, stored), arrival) in arriving.into_iter().zip(&verdict.arrivals) {
            if *arrival != Arrival::Keep {
                let queued = (stored.ts != 0).then_some(Timestamp(stored.ts));
                let loss = Loss { dropped: 1, from: queued, to: queued, reason: GapReason::QueueFull };
                outcome.lose(stamp.monotonic, loss);
            }
            if *arrival == Arrival::Refuse {
                outcome.refused.push(*ticket);
                continue;
            }
            let n = outcome.record.next_n;
            outcome.record.next_n += 1;
            if *arrival == Arrival::Keep {
                outcome.record.depth += 1;
                outcome.record.bytes += stored.bytes;
                rows.push((n, stored));
            }
        }
        outcome.kept = rows.len() as u64;
        tx.append(self.record.id, &rows).await
    }

    /// Rows that may go, oldest first, until they make up `needed` bytes.
    async fn candidates(&self, tx: &mut Transaction<'_>, needed: u64) -> Result<Vec<Candidate>, DbError> {
        let mut found: Vec<Candidate> = Vec::new();
        let mut bytes = 0;
        let mut above = self.shared.claims().floor();
        while bytes < needed {
            let more = tx.candidates(self.record.id, above, CANDIDATES).await?;
            let Some(last) = more.last() else { break };
            above = last.n;
            bytes += more.iter().map(|candidate| candidate.bytes).sum::<u64>();
            found.extend(more);
        }
        Ok(found)
    }

    fn begin_drop(&self, rows: &[Candidate]) -> bool {
        match rows {
            [] => true,
            [first, .., last] | [first @ last] => self.shared.claims().begin_drop(first.n, last.n),
        }
    }

    /// The transaction is committed: what it did is so.
    pub(super) fn settle(&mut self, outcome: Outcome) {
        let mut claims = self.shared.claims();
        if let Some(acknowledged) = &outcome.acknowledged {
            claims.deleted(acknowledged);
        }
        claims.end_drop();
        drop(claims);
        self.shared.announce();
        for reason in outcome.begun {
            match reason {
                GapReason::QueueFull => warn!(
                    uplink = %self.spec.name,
                    "the queue is full and messages are dropped, as when_full says; raise queue.max_size, or find out why the uplink is slow or away"
                ),
                GapReason::TooOld => {
                    warn!(uplink = %self.spec.name, "messages have waited longer than queue.max_age and are dropped");
                }
                // Whoever put them aside, or salvaged the others, has said why.
                GapReason::SetAside | GapReason::Damaged => debug!(uplink = %self.spec.name, "messages were given up"),
            }
        }
        if outcome.head_moved {
            self.head = None;
        }
        self.record = outcome.record;
        self.episode = outcome.episode;
        self.queued += outcome.kept;
        self.dirty = false;
        self.refused_from = None;
        self.arriving.clear();
        self.committed.send_replace(self.record.next_n - 1);
    }

    /// The transaction is undone. The messages that came are still there; the writer decides on them.
    pub(super) fn undo(&mut self) {
        self.shared.claims().end_drop();
        // The reader may wait for rows that were about to be dropped.
        self.committed.send_replace(self.record.next_n - 1);
    }

    /// Whether the oldest row has to be looked up for [`Slot::refresh`].
    pub(super) fn needs_refresh(&self) -> bool {
        self.head.is_none() && self.record.depth > 0
    }

    /// Looks up since when the oldest row waits.
    pub(super) async fn refresh(&mut self, database: &mut Database) -> Result<(), DbError> {
        if self.needs_refresh() {
            let first = database.first_above(self.record.id, self.record.done).await?;
            self.head = first.map(|ts| (ts != 0).then_some(Timestamp(ts)));
        }
        Ok(())
    }

    /// Tells whoever watches how the queue is doing, and when its age is to be looked at.
    pub(super) fn publish(&mut self, stamp: Stamp, error: Option<&str>) {
        if self.record.depth == 0 {
            self.head = None;
            self.check_age_at = None;
        } else if self.check_age_at.is_none_or(|at| at <= stamp.monotonic) {
            let max_age = self.spec.limits.max_age;
            let soonest = (max_age / 100).clamp(AGE_CHECK.0, AGE_CHECK.1);
            let left = self.head.flatten().filter(|_| stamp.synced).map_or(max_age, |queued| {
                let waited = u64::try_from(stamp.wall.0.saturating_sub(queued.0)).unwrap_or(0);
                max_age.saturating_sub(Duration::from_millis(waited))
            });
            self.check_age_at = Some(stamp.monotonic + left.max(soonest).min(AGE_CHECK.2));
        }
        self.status.send_replace(QueueStatus {
            depth: self.record.depth,
            bytes: self.record.bytes,
            oldest: self.head.flatten(),
            queued: self.queued,
            dropped: self.record.dropped,
            set_aside: self.record.set_aside,
            error: error.map(str::to_owned),
        });
    }
}

impl Outcome {
    async fn delete_acknowledged(&mut self, tx: &mut Transaction<'_>, stamp: Stamp) -> Result<(), DbError> {
        let Some(acknowledged) = self.acknowledged.take() else { return Ok(()) };
        for (n, reason) in &acknowledged.aside {
            tx.set_aside(self.record.id, *n, reason).await?;
            self.record.set_aside += 1;
            let queued = stamp.synced.then_some(stamp.wall);
            self.note(stamp.monotonic, Loss { dropped: 1, from: queued, to: queued, reason: GapReason::SetAside });
        }
        if acknowledged.through > self.record.done {
            let rows = tx.delete(self.record.id, self.record.done + 1, acknowledged.through).await?;
            self.record.remove(rows, acknowledged.bytes);
            self.record.done = acknowledged.through;
            self.head_moved = true;
        }
        if let Some(server) = &acknowledged.seasoned {
            self.record.fresh = false;
            self.record.server.clone_from(server);
        }
        self.record.recorded = acknowledged.recorded;
        self.acknowledged = Some(acknowledged);
        Ok(())
    }

    async fn drop_stored(
        &mut self,
        tx: &mut Transaction<'_>,
        rows: &[Candidate],
        now: Monotonic,
        reason: GapReason,
    ) -> Result<(), DbError> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
        let deleted = tx.delete(self.record.id, first.n, last.n).await?;
        self.record.remove(deleted, rows.iter().map(|row| row.bytes).sum());
        self.head_moved = true;
        let mut times = rows.iter().filter_map(|row| row.queued);
        let from = times.next();
        self.lose(now, Loss { dropped: deleted, from, to: times.next_back().or(from), reason });
        Ok(())
    }

    /// Counts messages that the policy gave up.
    fn lose(&mut self, now: Monotonic, loss: Loss) {
        self.record.dropped += loss.dropped;
        self.note(now, loss);
    }

    fn note(&mut self, now: Monotonic, loss: Loss) {
        self.told.extend(self.episode.due(now, Some(loss.reason)));
        if self.episode.note(now, loss) {
            self.begun.push(loss.reason);
        }
    }
}
