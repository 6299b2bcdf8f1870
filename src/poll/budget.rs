//! How much of a bus's time may be spent on devices that don't answer. Pure.

use std::time::Duration;

use crate::model::Monotonic;

/// One part in so many of the time is for probes: 5 % (`DESIGN.md` §8).
const ONE_PART_IN: u32 = 20;

/// A share of the time that gathers while it is not spent, up to what one probe takes: so probes never come in a row.
#[derive(Debug)]
pub struct Budget {
    credit: Duration,
    most: Duration,
    counted_to: Monotonic,
}

impl Budget {
    /// Begins with enough for one probe, which takes up to `probe`.
    pub fn new(now: Monotonic, probe: Duration) -> Budget {
        Budget { credit: probe, most: probe, counted_to: now }
    }

    /// Sets `cost` aside, if so much has gathered.
    pub fn reserve(&mut self, now: Monotonic, cost: Duration) -> bool {
        self.count(now);
        let is_enough = self.credit >= cost;
        if is_enough {
            self.credit -= cost;
        }
        is_enough
    }

    /// Gives back what was set aside and not spent.
    pub fn give_back(&mut self, left: Duration) {
        self.credit = (self.credit + left).min(self.most);
    }

    /// When `cost` will have gathered.
    pub fn allows_at(&mut self, now: Monotonic, cost: Duration) -> Monotonic {
        self.count(now);
        now + cost.saturating_sub(self.credit) * ONE_PART_IN
    }

    fn count(&mut self, now: Monotonic) {
        self.credit = (self.credit + now.since(self.counted_to) / ONE_PART_IN).min(self.most);
        self.counted_to = self.counted_to.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_get_a_twentieth_of_the_time() {
        let probe = Duration::from_millis(500);
        let mut budget = Budget::new(Monotonic::default(), probe);
        let mut probes = 0;
        for second in 0..1000 {
            let now = Monotonic::from_millis(second * 1000);
            if budget.reserve(now, probe) {
                probes += 1;
                assert_eq!(budget.allows_at(now, probe), now + Duration::from_secs(10));
            }
        }
        // 5 % of 1000 s is 100 probes, and one was there from the start, of which the last interval has not gathered.
        assert_eq!(probes, 100);
    }

    #[test]
    fn what_gathers_is_enough_for_one_probe_and_no_more() {
        let long = Duration::from_secs(5);
        let mut budget = Budget::new(Monotonic::default(), long);
        let later = Monotonic::from_millis(1_000_000);
        assert!(budget.reserve(later, long));
        assert!(!budget.reserve(later, Duration::from_millis(1)));
        budget.give_back(Duration::from_millis(4_990));
        assert!(budget.reserve(later, Duration::from_millis(4_990)));
    }
}
