//! One queue as the writer has it, and its part of a group commit. An uplink has two of them: [`Tenant`](super::tenant::Tenant).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, warn};

use super::age::Ages;
use super::channel::Ticket;
use super::correction::ClockWatch;
use super::episode::{Episode, GapReason, Loss};
use super::open::QueueSpec;
use super::outcome::Outcome;
use super::policy::{self, Arrival, Bound, Candidate};
use super::queue::Shared;
use super::record::Record;
use super::row::Stored;
use super::sqlite::{Database, DbError, Transaction};
use crate::model::{Monotonic, Stamp, Timestamp};

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
    ages: Ages,
    pub clock_watch: ClockWatch,
    /// When the first row was queued: `None` for no row, `Some(None)` for a row from before the clock was set.
    head: Option<Option<Timestamp>>,
    check_age_at: Option<Monotonic>,
    queued: u64,
}

impl Slot {
    pub(super) fn new(
        spec: QueueSpec,
        record: Record,
        shared: Arc<Shared>,
        committed: watch::Sender<u64>,
        clock_watch: ClockWatch,
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
            ages: Ages::default(),
            clock_watch,
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
        let waits = waits || self.clock_watch.pending().is_some();
        waits || self.wants_age_check(stamp) || self.shared.claims().has_acknowledged()
    }

    /// Does the first half of this queue's part of a transaction: everything that goes by itself. Nothing of the slot changes but that
    /// rows may be marked as being dropped, which [`Slot::settle`] or [`Slot::undo`] ends.
    pub(super) async fn reclaim(&mut self, tx: &mut Transaction<'_>, stamp: Stamp) -> Result<Outcome, DbError> {
        let acknowledged = self.shared.claims().acknowledged();
        let mut outcome = Outcome::new(self.record.clone(), self.episode.clone(), acknowledged, self.head.is_none());
        self.delete_refused(&mut outcome, tx).await?;
        outcome.delete_acknowledged(tx, stamp).await?;
        if self.wants_age_check(stamp) {
            self.drop_too_old(&mut outcome, tx, stamp).await?;
        }
        Ok(outcome)
    }

    /// The end of its part: watermarks and counters, if they have changed.
    pub(super) async fn save(&self, outcome: &mut Outcome, tx: &mut Transaction<'_>) -> Result<(), DbError> {
        outcome.record.untold = outcome.episode.untold();
        if let Some((boot, known)) = self.clock_watch.pending() {
            tx.save_clock(self.record.id, boot, known).await?;
        }
        if outcome.record == self.record && !self.dirty {
            return Ok(());
        }
        tx.save(&outcome.record).await
    }

    async fn drop_too_old(&self, outcome: &mut Outcome, tx: &mut Transaction<'_>, stamp: Stamp) -> Result<(), DbError> {
        for _ in 0..AGE_ROUNDS {
            let floor = self.shared.claims().floor();
            let candidates = tx.candidates(self.record.id, floor, CANDIDATES).await?;
            let now = |n| self.ages.now_for(n, stamp.wall);
            let expired = policy::expired(&self.spec.limits, now, &candidates);
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

    /// What the messages that wait for this commit are accounted with, as far as each of them fits into `most`.
    pub(super) fn arriving_bytes(&self, excluded: &HashSet<Ticket>, most: u64) -> u64 {
        let arriving = self.arriving.iter().filter(|(ticket, _)| !excluded.contains(ticket));
        arriving.map(|(_, stored)| stored.bytes).filter(|bytes| *bytes <= most).sum()
    }

    /// Gives rows up, oldest first, until the queue is within `bound`: its room is wanted by others.
    pub(super) async fn yield_room(
        &self,
        outcome: &mut Outcome,
        tx: &mut Transaction<'_>,
        stamp: Stamp,
        bound: &Bound,
    ) -> Result<(), DbError> {
        let needed = policy::surplus(bound, outcome.record.bytes);
        if needed == 0 {
            return Ok(());
        }
        loop {
            let candidates = self.candidates(tx, needed).await?;
            let going = policy::give_up(needed, &candidates);
            if self.begin_drop(&candidates[..going]) {
                return outcome.drop_stored(tx, &candidates[..going], stamp.monotonic, bound.reason).await;
            }
        }
    }

    /// Makes room by the policy, and appends what is kept.
    pub(super) async fn append(
        &self,
        outcome: &mut Outcome,
        tx: &mut Transaction<'_>,
        stamp: Stamp,
        excluded: &HashSet<Ticket>,
        bound: &Bound,
    ) -> Result<(), DbError> {
        let arriving: Vec<_> = self.arriving.iter().filter(|(ticket, _)| !excluded.contains(ticket)).collect();
        if arriving.is_empty() {
            return Ok(());
        }
        let sizes: Vec<u64> = arriving.iter().map(|(_, stored)| stored.bytes).collect();
        let needed = policy::shortfall(bound, outcome.record.bytes, &sizes);
        let (candidates, verdict) = loop {
            let candidates = self.candidates(tx, needed).await?;
            let verdict = policy::admit(bound, outcome.record.bytes, &candidates, &sizes);
            // The reader may have taken some of them meanwhile: then they are in flight, and others have to go.
            if verdict.drop_stored == 0 || self.begin_drop(&candidates[..verdict.drop_stored]) {
                break (candidates, verdict);
            }
        };
        outcome.drop_stored(tx, &candidates[..verdict.drop_stored], stamp.monotonic, bound.reason).await?;

        let mut rows = Vec::with_capacity(arriving.len());
        for ((ticket, stored), arrival) in arriving.into_iter().zip(&verdict.arrivals) {
            if *arrival != Arrival::Keep {
                let queued = (stored.ts != 0).then_some(Timestamp(stored.ts));
                let too_large = stored.bytes > self.spec.limits.max_size;
                let reason = if too_large { GapReason::TooLarge } else { bound.reason };
                outcome.lose(stamp.monotonic, Loss { dropped: 1, from: queued, to: queued, reason });
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
        claims.end_drop(true);
        if let Some((boot, known)) = self.clock_watch.kept(claims.cursor()) {
            self.shared.correct(boot, known);
        }
        drop(claims);
        self.shared.announce();
        for reason in outcome.begun {
            match reason {
                GapReason::DiskFull => warn!(
                    uplink = %self.spec.name,
                    "the disk is nearly full: the queue does not grow any more, and messages are dropped as when_full says; free some space"
                ),
                GapReason::TooLarge => warn!(
                    uplink = %self.spec.name,
                    "a message is larger than the whole queue may be and is dropped; raise queue.max_size, or forward something smaller"
                ),
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
        self.shared.claims().end_drop(false);
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

    /// Looks when its age is to be looked at, and whether the wall clock was set.
    pub(super) fn look_at_clock(&mut self, stamp: Stamp) {
        self.ages.observe(stamp, self.record.next_n - 1);
        self.clock_watch.look(stamp, self.shared.claims().cursor());
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
    }

    /// When the oldest row was queued, if it is known and its clock was set.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.head.flatten()
    }

    /// Messages queued since the start.
    pub(super) fn queued(&self) -> u64 {
        self.queued
    }
}
