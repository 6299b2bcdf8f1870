//! How many lines one place in the program may write. Pure: it is given the time.
//!
//! journald drops what comes too fast, whoever it is from, and then the one line that explains the others may be gone. So the place that
//! floods is held back, and every other is heard.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::model::Monotonic;

/// A place may write so many lines in each [`PERIOD`]: a tenth of what journald takes of a whole service by itself.
pub(super) const LINES: u32 = 1_000;
/// journald's own period.
pub(super) const PERIOD: Duration = Duration::from_secs(30);

/// Counts lines by place.
#[derive(Debug)]
pub(super) struct Quota<Place> {
    begun: Monotonic,
    counts: HashMap<Place, u32>,
}

impl<Place: Eq + Hash + Clone> Quota<Place> {
    pub(super) fn new(now: Monotonic) -> Quota<Place> {
        Quota { begun: now, counts: HashMap::new() }
    }

    /// Whether a line of `place` may be written now.
    pub(super) fn admits(&mut self, place: Place) -> bool {
        let count = self.counts.entry(place).or_default();
        *count = count.saturating_add(1);
        *count <= LINES
    }

    /// At the end of a period, the places that were held back and how many lines of each; then the next period begins.
    pub(super) fn held_back(&mut self, now: Monotonic) -> Vec<(Place, u32)> {
        if now.since(self.begun) < PERIOD {
            return Vec::new();
        }
        self.begun = now;
        let over = self.counts.drain().filter(|(_, count)| *count > LINES);
        over.map(|(place, count)| (place, count - LINES)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_floods_is_held_back_and_the_others_are_heard() {
        let mut quota = Quota::new(Monotonic::default());
        let written = (0..LINES + 7).filter(|_| quota.admits("flood")).count();
        assert_eq!(written, LINES as usize);
        assert!(quota.admits("other"));
        assert_eq!(quota.held_back(Monotonic::from_millis(29_999)), []);
        assert_eq!(quota.held_back(Monotonic::from_millis(30_000)), [("flood", 7)]);
        assert!(quota.admits("flood"), "a new period");
        assert_eq!(quota.held_back(Monotonic::from_millis(60_000)), []);
    }
}
