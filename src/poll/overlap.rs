//! How many requests may be under way at a time, and what it means when one of several stays unanswered. Pure.

/// After so many requests that were lost beside others and answered alone, the other end takes one at a time.
const LOST: u32 = 3;
/// So many answers beside others in a row, and what was lost before is forgotten.
const GOOD: u32 = 1000;

/// The depth of a line.
#[derive(Debug)]
pub struct Overlap {
    depth: usize,
    /// Requests that were lost beside others and answered when they were repeated alone.
    lost: u32,
    /// Answers since the last of them.
    good: u32,
    /// One was lost, and has not been repeated yet.
    is_in_doubt: bool,
}

impl Overlap {
    /// Up to `depth` at a time, at least one.
    pub fn new(depth: usize) -> Overlap {
        Overlap { depth: depth.max(1), lost: 0, good: 0, is_in_doubt: false }
    }

    /// How many may be under way.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// A request that was sent beside others was not answered.
    pub fn unanswered(&mut self) {
        self.is_in_doubt = self.depth > 1;
        self.good = 0;
    }

    /// A request was answered.
    pub fn answered(&mut self) {
        self.good = (self.good + 1).min(GOOD);
        if self.good == GOOD {
            self.lost = 0;
        }
    }

    /// A repeated request was answered while nothing else was under way. Returns whether it is one at a time from now on.
    pub fn answered_alone(&mut self) -> bool {
        if !std::mem::take(&mut self.is_in_doubt) {
            return false;
        }
        self.lost += 1;
        if self.lost < LOST {
            return false;
        }
        self.depth = 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_loses_what_is_sent_beside_others_is_asked_one_at_a_time() {
        let mut overlap = Overlap::new(8);
        for round in 1..=3 {
            assert_eq!(overlap.depth(), 8);
            overlap.unanswered();
            assert_eq!(overlap.answered_alone(), round == 3);
        }
        assert_eq!(overlap.depth(), 1);
        overlap.unanswered();
        assert!(!overlap.answered_alone(), "told once");
    }

    #[test]
    fn a_lost_answer_now_and_then_changes_nothing() {
        let mut overlap = Overlap::new(4);
        for _ in 0..10 {
            overlap.unanswered();
            assert!(!overlap.answered_alone());
            (0..GOOD).for_each(|_| overlap.answered());
        }
        assert_eq!(overlap.depth(), 4);
    }
}
