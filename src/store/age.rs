//! By which time a row's age is told, when the wall clock may be set while rows wait. Pure.
//!
//! A row carries the wall time at which it was queued. When the clock is set forward by a year, rows from before look a year old, and
//! nothing says which of the two times was right. They are given the benefit of the doubt: kept too long is better than dropped by mistake,
//! and `max_size` still holds.

use crate::model::{Stamp, Timestamp};

/// The wall clock may run ahead of the monotonic one by so much between two looks, in milliseconds, before it counts as set.
const DRIFT: i64 = 60_000;

/// What is known of jumps of the wall clock.
#[derive(Debug, Clone, Default)]
pub(super) struct Ages {
    /// Wall time less monotonic time, when it was last looked at.
    offset: Option<i64>,
    /// By how much the clock was set forward, in milliseconds.
    jumped: i64,
    /// Rows up to this number were queued before that.
    before: u64,
}

impl Ages {
    /// Looks at the clock. `last` is the number of the last row that was queued.
    pub(super) fn observe(&mut self, stamp: Stamp, last: u64) {
        if !stamp.synced {
            return;
        }
        let monotonic = i64::try_from(stamp.monotonic.0.as_millis()).unwrap_or(i64::MAX);
        let offset = stamp.wall.0.saturating_sub(monotonic);
        let jump = self.offset.map_or(0, |before| offset.saturating_sub(before));
        self.offset = Some(offset);
        if jump > DRIFT {
            self.before = last;
        }
        if jump.abs() > DRIFT {
            self.jumped = self.jumped.saturating_add(jump).max(0);
        }
    }

    /// The time to hold against when row `n` was queued; `wall` is now.
    pub(super) fn now_for(&self, n: u64, wall: Timestamp) -> Timestamp {
        if n <= self.before { Timestamp(wall.0.saturating_sub(self.jumped)) } else { wall }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Monotonic;

    const YEAR: i64 = 365 * 86_400_000;

    fn stamp(seconds: u64, wall: i64) -> Stamp {
        Stamp {
            monotonic: Monotonic::from_millis(seconds * 1000),
            since_boot: None,
            wall: Timestamp(wall),
            synced: true,
        }
    }

    #[test]
    fn a_clock_that_is_set_forward_makes_no_row_old() {
        let mut ages = Ages::default();
        ages.observe(stamp(0, 0), 5);
        ages.observe(stamp(1000, 1_000_000), 6);
        assert_eq!(ages.now_for(6, Timestamp(1_000_000)), Timestamp(1_000_000));
        ages.observe(stamp(1001, YEAR + 1_001_000), 7);
        assert_eq!(ages.now_for(7, Timestamp(YEAR + 1_001_000)), Timestamp(1_001_000));
        assert_eq!(ages.now_for(8, Timestamp(YEAR + 1_001_000)), Timestamp(YEAR + 1_001_000), "queued after it");
    }

    #[test]
    fn a_clock_that_jumps_and_comes_back_is_as_before() {
        let mut ages = Ages::default();
        ages.observe(stamp(0, 0), 5);
        ages.observe(stamp(1, YEAR), 5);
        ages.observe(stamp(2, 2_000), 9);
        assert_eq!(ages.now_for(5, Timestamp(2_000)).0 / 10_000, 0);
        assert_eq!(ages.now_for(9, Timestamp(2_000)), Timestamp(2_000));
    }

    #[test]
    fn a_clock_that_is_set_for_the_first_time_is_no_jump() {
        let mut ages = Ages::default();
        ages.observe(Stamp { synced: false, ..stamp(0, 0) }, 5);
        ages.observe(stamp(1, YEAR), 5);
        assert_eq!(ages.now_for(5, Timestamp(YEAR)), Timestamp(YEAR));
    }
}
