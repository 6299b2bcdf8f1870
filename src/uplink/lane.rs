//! The rows of one queue that are on their way, by number: up to where all are settled, and up to where those at QoS 2 have their
//! PUBREC. Pure.
//!
//! One number tells a crash what it needs to know: every row at QoS 2 up to [`Lane::recorded`] has its PUBREC. It is on disk before any of
//! their PUBRELs goes out, so that what may have been released is never published again to the same session.

use std::collections::VecDeque;

/// What is known of the rows that left the queue and are not settled, and of those that were settled behind them.
#[derive(Debug)]
pub(super) struct Lane {
    /// By rising number. The first is not settled.
    open: VecDeque<Open>,
    /// The last row that was taken off the queue.
    passed: u64,
    recorded: u64,
    /// So many at the front of `open` wait for no PUBREC.
    receipts: usize,
    /// So many at the front of `open` were given to [`Lane::next_release`], or need not be.
    released: usize,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    n: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No PUBREC is to be recorded: QoS 1.
    Plain,
    /// At QoS 2, without a PUBREC.
    Sent,
    /// With it.
    Receipted,
    Settled,
}

impl Lane {
    /// Every row up to `done` is settled, and those at QoS 2 up to `recorded` have their PUBREC.
    pub(super) fn new(done: u64, recorded: u64) -> Lane {
        Lane { open: VecDeque::new(), passed: done, recorded, receipts: 0, released: 0 }
    }

    /// Row `n` was taken off the queue, and does not go out.
    pub(super) fn pass(&mut self, n: u64) {
        self.passed = n;
    }

    /// Row `n` was taken off the queue and is on its way. `once`: its PUBREC is to be recorded.
    pub(super) fn start(&mut self, n: u64, once: bool) {
        self.passed = n;
        self.open.push_back(Open { n, state: if once { State::Sent } else { State::Plain } });
    }

    /// Row `n` was taken off the queue; its PUBREC was on disk before this process started.
    pub(super) fn start_recorded(&mut self, n: u64) {
        self.passed = n;
        self.open.push_back(Open { n, state: State::Receipted });
        self.count_receipts();
    }

    fn find(&mut self, n: u64) -> Option<&mut Open> {
        let place = self.open.binary_search_by_key(&n, |open| open.n).ok()?;
        self.open.get_mut(place)
    }

    /// The first PUBREC of a row came.
    pub(super) fn receipt(&mut self, n: u64) {
        if let Some(open) = self.find(n).filter(|open| open.state == State::Sent) {
            open.state = State::Receipted;
        }
        self.count_receipts();
    }

    fn count_receipts(&mut self) {
        while let Some(open) = self.open.get(self.receipts)
            && open.state != State::Sent
        {
            if open.state == State::Receipted {
                self.recorded = self.recorded.max(open.n);
            }
            self.receipts += 1;
        }
    }

    /// A row is finished, or was given up.
    pub(super) fn settle(&mut self, n: u64) {
        if let Some(open) = self.find(n) {
            open.state = State::Settled;
        }
        while self.open.pop_front_if(|open| open.state == State::Settled).is_some() {
            self.receipts = self.receipts.saturating_sub(1);
            self.released = self.released.saturating_sub(1);
        }
        self.count_receipts();
    }

    /// The next row whose PUBREL may go out now that PUBRECs are on disk up to `on_disk`.
    pub(super) fn next_release(&mut self, on_disk: u64) -> Option<u64> {
        while self.released < self.receipts {
            let Open { n, state } = self.open[self.released];
            if state == State::Receipted && n > on_disk {
                return None;
            }
            self.released += 1;
            if state == State::Receipted {
                return Some(n);
            }
        }
        None
    }

    /// The cloud has lost the session, and with it every PUBREC; up to `to` they stay recorded all the same.
    pub(super) fn forget_receipts(&mut self, to: u64) {
        for open in self.open.iter_mut().filter(|open| open.state == State::Receipted) {
            open.state = State::Sent;
        }
        (self.recorded, self.receipts, self.released) = (to, 0, 0);
        self.count_receipts();
    }

    /// Every row at QoS 2 up to here has its PUBREC.
    pub(super) fn recorded(&self) -> u64 {
        self.recorded
    }

    /// Every row up to here is settled.
    pub(super) fn done(&self) -> u64 {
        self.open.front().map_or(self.passed, |open| open.n - 1)
    }

    /// The last row that was taken off the queue.
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_receipt_counts_when_those_before_it_have_theirs_and_rows_at_qos_1_are_passed_over() {
        let mut lane = Lane::new(10, 4);
        for (n, once) in [(11, true), (12, false), (13, true), (15, true)] {
            lane.start(n, once);
        }
        lane.receipt(13);
        assert_eq!((lane.recorded(), lane.done(), lane.next_release(99)), (4, 10, None));
        lane.receipt(11);
        assert_eq!(lane.recorded(), 13);
        assert_eq!((lane.next_release(10), lane.next_release(11), lane.next_release(11)), (None, Some(11), None));
        lane.settle(11);
        assert_eq!((lane.done(), lane.next_release(13), lane.next_release(99)), (11, Some(13), None));
        // It goes out at QoS 1 or is put aside: no PUBREC will come.
        lane.settle(15);
        lane.settle(12);
        lane.settle(13);
        assert_eq!((lane.done(), lane.recorded()), (15, 13));
    }

    #[test]
    fn a_session_that_is_lost_takes_its_receipts_with_it() {
        let mut lane = Lane::new(0, 0);
        (1..=3).for_each(|n| lane.start(n, true));
        lane.receipt(1);
        lane.receipt(2);
        assert_eq!(lane.next_release(1), Some(1));
        lane.forget_receipts(0);
        assert_eq!((lane.recorded(), lane.next_release(9)), (0, None));
        lane.receipt(1);
        assert_eq!((lane.recorded(), lane.next_release(1)), (1, Some(1)));
    }

    proptest! {
        /// Against the plain definition, over the whole list.
        #[test]
        fn the_watermarks_are_what_their_names_say(steps in prop::collection::vec((0u8..4, 0usize..30), 0..300)) {
            let mut lane = Lane::new(0, 0);
            // Number, at QoS 2, receipted, released, settled.
            let mut model: Vec<(u64, bool, bool, bool, bool)> = Vec::new();
            let mut recorded = 0;
            for (what, pick) in steps {
                let next = model.len() as u64 + 1;
                match what {
                    0 => {
                        lane.start(next, pick % 3 > 0);
                        model.push((next, pick % 3 > 0, false, false, false));
                    }
                    _ if model.is_empty() => {}
                    1 | 2 => {
                        let at = pick % model.len();
                        let row = &mut model[at];
                        if row.4 {
                            continue;
                        }
                        if what == 1 {
                            row.2 |= row.1;
                            lane.receipt(row.0);
                        } else {
                            row.4 = true;
                            lane.settle(row.0);
                        }
                    }
                    _ => {
                        let on_disk = recorded;
                        let first_missing = model.iter().position(|r| r.1 && !r.2 && !r.4).unwrap_or(model.len());
                        let expected: Vec<u64> =
                            model[..first_missing].iter().filter(|r| r.2 && !r.3 && !r.4 && r.0 <= on_disk).map(|r| r.0).collect();
                        let got: Vec<u64> = std::iter::from_fn(|| lane.next_release(on_disk)).collect();
                        prop_assert_eq!(&got, &expected);
                        model.iter_mut().filter(|r| got.contains(&r.0)).for_each(|r| r.3 = true);
                    }
                }
                let through = model.iter().take_while(|r| !r.1 || r.2 || r.4).filter(|r| r.2 && !r.4).map(|r| r.0).max();
                recorded = recorded.max(through.unwrap_or(0));
                prop_assert_eq!(lane.recorded(), recorded);
                let open = model.iter().find(|r| !r.4).map_or(model.len() as u64, |r| r.0 - 1);
                prop_assert_eq!(lane.done(), open);
            }
        }
    }
}
