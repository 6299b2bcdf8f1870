//! When something that repeats is due: on a grid from the start, so that nothing drifts. Pure.

use std::time::Duration;

use crate::model::Monotonic;

/// Then the next read is due this soon: before the last one has been answered, and not so soon that a device with nothing to
/// ask for would keep the line spinning.
const AT_ONCE: Duration = Duration::from_micros(50);
/// A read off the grid (the first, or a repeated one) makes the next grid point superfluous when it is this close.
const CLOSE: Duration = Duration::from_millis(500);

/// The grid of one interval: `origin + n × interval`. The first read is due at once, whatever the grid says.
#[derive(Debug, Clone)]
pub struct Grid {
    interval: Duration,
    origin: Monotonic,
    due: Monotonic,
}

impl Grid {
    /// The shortest interval that can be configured means "as fast as it goes".
    pub const CONTINUOUS: Duration = Duration::from_millis(1);

    /// Due at `start`, then on the grid that begins `offset` after it.
    pub fn new(start: Monotonic, offset: Duration, interval: Duration) -> Grid {
        Grid { interval: interval.max(Grid::CONTINUOUS), origin: start + offset, due: start }
    }

    /// The interval, never zero.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// When the next read is due.
    pub fn due(&self) -> Monotonic {
        self.due
    }

    /// The read that is due begins now. Moves on to the next grid point; returns how many passed without a read.
    pub fn take(&mut self, now: Monotonic) -> u64 {
        if self.interval == Grid::CONTINUOUS {
            self.due = now + AT_ONCE;
            return 0;
        }
        let on_grid = self.after(self.due - Duration::from_nanos(1)) == self.due;
        let mut next = self.after(now);
        if !on_grid && next.since(now) < CLOSE.min(self.interval / 2) {
            next = next + self.interval;
        }
        let passed = next.since(self.due).as_nanos() / self.interval.as_nanos();
        self.due = next;
        u64::try_from(passed.saturating_sub(1)).unwrap_or(u64::MAX)
    }

    /// A read is wanted by `moment`, also off the grid.
    pub fn want_by(&mut self, moment: Monotonic) {
        self.due = self.due.min(moment);
    }

    /// The first grid point after `now`.
    fn after(&self, now: Monotonic) -> Monotonic {
        if now < self.origin {
            return self.origin;
        }
        let steps = now.since(self.origin).as_nanos() / self.interval.as_nanos() + 1;
        let nanos = self.interval.as_nanos().saturating_mul(steps);
        self.origin + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic::from_millis(ms)
    }

    fn grid(offset: u64) -> Grid {
        Grid::new(at(0), Duration::from_millis(offset), Duration::from_secs(1))
    }

    #[test]
    fn reads_that_begin_late_do_not_shift_the_next_ones() {
        let mut grid = grid(0);
        for n in 0..1000 {
            assert_eq!(grid.due(), at(n * 1000));
            assert_eq!(grid.take(at(n * 1000 + n % 900)), 0);
        }
    }

    #[test]
    fn intervals_that_passed_are_counted_and_never_made_up_for() {
        let mut grid = grid(0);
        grid.take(at(0));
        assert_eq!(grid.take(at(3_500)), 2);
        assert_eq!(grid.due(), at(4_000));
        assert_eq!(grid.take(at(4_000)), 0);
    }

    #[test]
    fn the_first_read_is_at_once_and_the_grid_follows_at_a_distance() {
        let mut near = grid(300);
        assert_eq!((near.due(), near.take(at(10))), (at(0), 0));
        assert_eq!(near.due(), at(1_300));
        let mut far = grid(700);
        assert_eq!((far.take(at(10)), far.due()), (0, at(700)));
    }

    #[test]
    fn the_shortest_interval_is_as_fast_as_it_goes_and_skips_nothing() {
        let mut grid = Grid::new(at(0), Duration::ZERO, Duration::from_millis(1));
        for now in [0, 7, 8, 300] {
            assert_eq!(grid.take(at(now)), 0);
            assert!(grid.due() > at(now) && grid.due() < at(now + 1));
        }
    }

    #[test]
    fn a_read_wanted_earlier_leaves_the_grid_where_it_is() {
        let mut grid = Grid::new(at(0), Duration::ZERO, Duration::from_secs(60));
        grid.take(at(0));
        grid.want_by(at(1_500));
        assert_eq!(grid.due(), at(1_500));
        assert_eq!(grid.take(at(1_600)), 0);
        assert_eq!(grid.due(), at(60_000));
    }
}
