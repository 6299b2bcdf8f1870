//! What one queue's part of a transaction comes to. It counts once the transaction is committed.

use super::channel::Ticket;
use super::claims::Acknowledged;
use super::episode::{Episode, GapReason, Loss};
use super::policy::Candidate;
use super::record::Record;
use super::sqlite::{DbError, Transaction};
use crate::model::{Monotonic, Stamp};

/// What a queue will be once the transaction is committed.
pub(super) struct Outcome {
    /// Tickets that were not kept.
    pub refused: Vec<Ticket>,
    /// Losses whose episode ended because another began.
    pub told: Vec<Loss>,
    pub record: Record,
    pub episode: Episode,
    pub begun: Vec<GapReason>,
    pub acknowledged: Option<Acknowledged>,
    pub kept: u64,
    pub head_moved: bool,
}

impl Outcome {
    /// Nothing has been done yet.
    pub(super) fn new(
        record: Record,
        episode: Episode,
        acknowledged: Option<Acknowledged>,
        head_moved: bool,
    ) -> Outcome {
        let (refused, told, begun) = (Vec::new(), Vec::new(), Vec::new());
        Outcome { refused, told, record, episode, begun, acknowledged, kept: 0, head_moved }
    }

    /// Deletes what the cloud has, and keeps apart what it will never take.
    pub(super) async fn delete_acknowledged(&mut self, tx: &mut Transaction<'_>, stamp: Stamp) -> Result<(), DbError> {
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
        self.record.fresh &= !acknowledged.seasoned;
        self.record.recorded = acknowledged.recorded;
        self.acknowledged = Some(acknowledged);
        Ok(())
    }

    /// Gives up rows that are stored.
    pub(super) async fn drop_stored(
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
    pub(super) fn lose(&mut self, now: Monotonic, loss: Loss) {
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
