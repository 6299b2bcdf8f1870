//! How many requests may be under way at a time, and what it means when one of several stays unanswered. Pure.

use std::sync::Arc;

use crate::driver::Request;

/// After so many requests that were lost beside others and answered alone, the other end takes one at a time.
const LOST: u32 = 3;
/// So many answers beside others since the last that was lost, and those are forgotten.
const GOOD: u32 = 1000;
/// A lost request that was not repeated within so many answers will not be, and says nothing.
const PATIENCE: u32 = 100;

/// The depth of a line.
#[derive(Debug)]
pub struct Overlap {
    depth: usize,
    /// Requests that were lost beside others and answered when they were repeated alone.
    lost: u32,
    /// Answers since the last of them.
    good: u32,
    /// Was lost, and has not been repeated yet; and the answers since. Until then one is sent at a time.
    doubt: Option<(Arc<Request>, u32)>,
}

impl Overlap {
    /// Up to `depth` at a time, at least one.
    pub fn new(depth: usize) -> Overlap {
        Overlap { depth: depth.max(1), lost: 0, good: 0, doubt: None }
    }

    /// How many may be under way.
    pub fn depth(&self) -> usize {
        if self.doubt.is_some() { 1 } else { self.depth }
    }

    /// A request was not answered in time; `is_alone` when nothing could be under way beside it.
    pub fn unanswered(&mut self, request: &Arc<Request>, is_alone: bool) {
        if !is_alone {
            self.doubt = Some((Arc::clone(request), 0));
        } else if self.is_doubted(request) {
            // It is the request, and not its company.
            self.doubt = None;
        }
    }

    /// A request was answered. Returns whether it is one at a time from now on.
    pub fn answered(&mut self, request: &Arc<Request>) -> bool {
        if self.is_doubted(request) {
            self.doubt = None;
            self.good = 0;
            self.lost += 1;
            let is_enough = self.lost == LOST && self.depth > 1;
            self.depth = if is_enough { 1 } else { self.depth };
            return is_enough;
        }
        self.good = self.good.saturating_add(1);
        if self.good == GOOD {
            self.lost = 0;
        }
        if let Some((_, answers)) = &mut self.doubt {
            *answers += 1;
        }
        self.doubt = self.doubt.take().filter(|(_, answers)| *answers < PATIENCE);
        false
    }

    fn is_doubted(&self, request: &Arc<Request>) -> bool {
        self.doubt.as_ref().is_some_and(|(lost, _)| Arc::ptr_eq(lost, request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RegisterTable;

    fn request(address: u16) -> Arc<Request> {
        Arc::new(Request { table: RegisterTable::Holding, address, count: 1, points: vec![0] })
    }

    #[test]
    fn an_end_that_loses_what_is_sent_beside_others_is_asked_one_at_a_time() {
        let (mut overlap, one, other) = (Overlap::new(8), request(1), request(2));
        for round in 1..=3 {
            assert_eq!(overlap.depth(), 8);
            overlap.unanswered(&one, false);
            assert_eq!(overlap.depth(), 1, "until that is settled");
            assert!(!overlap.answered(&other));
            assert_eq!(overlap.answered(&one), round == 3);
        }
        assert_eq!(overlap.depth(), 1);
    }

    #[test]
    fn a_request_that_is_not_answered_alone_either_says_nothing_about_the_others() {
        let (mut overlap, one) = (Overlap::new(4), request(1));
        for _ in 0..10 {
            overlap.unanswered(&one, false);
            overlap.unanswered(&one, true);
            assert_eq!(overlap.depth(), 4);
        }
        overlap.unanswered(&one, false);
        assert!((0..PATIENCE).all(|_| !overlap.answered(&request(2))));
        assert_eq!(overlap.depth(), 4, "it is not asked any more");
    }

    #[test]
    fn a_lost_answer_now_and_then_changes_nothing() {
        let (mut overlap, one, other) = (Overlap::new(4), request(1), request(2));
        for _ in 0..10 {
            overlap.unanswered(&one, false);
            assert!(!overlap.answered(&one));
            assert!((0..GOOD).all(|_| !overlap.answered(&other)));
        }
        assert_eq!(overlap.depth(), 4);
    }
}
