//! Sets of numbers that mostly follow one another, kept as ranges. Pure.

use std::collections::BTreeMap;

/// A set of numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(
    /// First to last of each range. No two touch.
    BTreeMap<u64, u64>,
);

impl Ranges {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, n: u64) -> bool {
        self.0.range(..=n).next_back().is_some_and(|(_, last)| *last >= n)
    }

    /// Adds a number.
    pub(super) fn insert(&mut self, n: u64) {
        let before = self.0.range(..=n).next_back().map(|(first, last)| (*first, *last));
        if before.is_some_and(|(_, last)| last >= n) {
            return;
        }
        let first = before.filter(|(_, last)| last + 1 == n).map_or(n, |(first, _)| first);
        let last = n.checked_add(1).and_then(|next| self.0.remove(&next)).unwrap_or(n);
        self.0.insert(first, last);
    }

    /// Takes the numbers from `first` to `last` away.
    pub(super) fn remove(&mut self, first: u64, last: u64) {
        while let Some((&start, &end)) = self.0.range(..=last).next_back()
            && end >= first
        {
            self.0.remove(&start);
            if end > last {
                self.0.insert(last + 1, end);
            }
            if start < first {
                self.0.insert(start, first - 1);
            }
        }
    }

    /// Takes every number from `n` on away.
    pub(super) fn cut_from(&mut self, n: u64) {
        self.0.split_off(&n);
        if let Some(mut entry) = self.0.last_entry() {
            let last = *entry.get();
            entry.insert(last.min(n.saturating_sub(1)));
        }
    }

    /// The ranges, first to last, rising.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(first, last)| (*first, *last))
    }

    /// Every number, rising.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.iter().flat_map(|(first, last)| first..=last)
    }
}

impl FromIterator<u64> for Ranges {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Ranges {
        let mut ranges = Ranges::default();
        numbers.into_iter().for_each(|n| ranges.insert(n));
        ranges
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_hold_what_a_set_of_numbers_holds(steps in prop::collection::vec((0u8..8, 0u64..24, 0u64..5), 0..60)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (what, n, more) in steps {
                match what {
                    0 | 1 => { ranges.remove(n, n + more); set.retain(|m| *m < n || *m > n + more); }
                    2 => { ranges.cut_from(n); set.retain(|m| *m < n); }
                    _ => { ranges.insert(n); set.insert(n); }
                }
                prop_assert!(ranges.numbers().eq(set.iter().copied()), "{ranges:?} {set:?}");
                let all: Vec<_> = ranges.iter().collect();
                prop_assert!(all.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "two ranges touch: {all:?}");
            }
            prop_assert_eq!(ranges.is_empty(), set.is_empty());
        }
    }

    #[test]
    fn the_ends_of_the_numbers_are_numbers_too() {
        let ranges: Ranges = [u64::MAX, u64::MAX - 1, 0].into_iter().collect();
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(0, 0), (u64::MAX - 1, u64::MAX)]);
    }
}
