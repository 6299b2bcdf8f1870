//! When to commit: at once for whoever waits, otherwise when `commit_every` is over or enough has gathered. Pure.

use std::time::Duration;

use super::channel::Urgency;
use crate::model::Monotonic;

/// A group commit takes at most so many rows: their statement takes about 10 ms.
pub(super) const MAX_ROWS: usize = 4096;

/// And ends with the row that takes it above so many bytes.
pub(super) const MAX_BYTES: u64 = 4 << 20;

/// What waits for the next commit.
#[derive(Debug, Default)]
pub(super) struct Batch {
    rows: usize,
    bytes: u64,
    at_once: bool,
    deadline: Option<Monotonic>,
}

impl Batch {
    /// A row came whose queue commits every `commit_every`.
    pub(super) fn row(&mut self, now: Monotonic, bytes: u64, urgency: Urgency, commit_every: Duration) {
        self.rows += 1;
        self.bytes += bytes;
        self.at_once |= urgency == Urgency::Awaited;
        self.within(now, commit_every);
    }

    /// Something else is to be committed within `delay`.
    pub(super) fn within(&mut self, now: Monotonic, delay: Duration) {
        let deadline = now + delay;
        self.deadline = Some(self.deadline.map_or(deadline, |earlier| earlier.min(deadline)));
    }

    /// How many more rows it takes.
    pub(super) fn room(&self) -> usize {
        if self.bytes >= MAX_BYTES { 0 } else { MAX_ROWS.saturating_sub(self.rows) }
    }

    /// Whether to commit now.
    pub(super) fn is_due(&self, now: Monotonic) -> bool {
        self.at_once || self.room() == 0 || self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// When it will be due by itself.
    pub(super) fn deadline(&self) -> Option<Monotonic> {
        self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_millis(250);

    #[test]
    fn readings_wait_for_the_interval_of_the_first_of_them() {
        let mut batch = Batch::default();
        batch.row(Monotonic::from_millis(100), 10, Urgency::Batched, EVERY);
        batch.row(Monotonic::from_millis(300), 10, Urgency::Batched, EVERY);
        assert!(!batch.is_due(Monotonic::from_millis(349)));
        assert!(batch.is_due(Monotonic::from_millis(350)));
        assert_eq!(batch.deadline(), Some(Monotonic::from_millis(350)));
    }

    #[test]
    fn a_client_that_waits_is_not_kept_waiting() {
        let mut batch = Batch::default();
        batch.row(Monotonic::from_millis(0), 10, Urgency::Batched, EVERY);
        batch.row(Monotonic::from_millis(0), 10, Urgency::Awaited, EVERY);
        assert!(batch.is_due(Monotonic::from_millis(0)));
    }

    #[test]
    fn enough_rows_or_bytes_end_the_wait() {
        let mut many = Batch::default();
        for _ in 0..MAX_ROWS {
            assert!(!many.is_due(Monotonic::default()));
            many.row(Monotonic::default(), 1, Urgency::Batched, EVERY);
        }
        assert!(many.is_due(Monotonic::default()));
        assert_eq!(many.room(), 0);
        let mut large = Batch::default();
        large.row(Monotonic::default(), MAX_BYTES, Urgency::Batched, EVERY);
        assert!(large.is_due(Monotonic::default()));
    }
}
