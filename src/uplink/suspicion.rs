//! Which message is it that the cloud ends the connection for? Pure.
//!
//! A 3.1.1 broker has no way to refuse a message that is too large or on a topic that is not allowed: it closes the connection, and the
//! same message comes first on the next one. So, after a few connections that the cloud ended without having acknowledged anything, rows
//! go one at a time. A row on which that happens again and again is under suspicion; it is convicted when the cloud takes another one
//! and then closes the same connection on this one. A cloud that takes nothing at all convicts nobody.

/// So many connections in a row that the cloud ended with nothing acknowledged make it worth looking.
const IN_A_ROW: u8 = 3;

/// So many with the same row alone in flight make it worth trying another one.
const ALONE: u8 = 3;

/// What is suspected of the rows in flight.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    in_a_row: u8,
    trial: Option<Trial>,
}

#[derive(Debug)]
struct Trial {
    /// Rows up to here go alone.
    until: u64,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The oldest row goes alone. So often the connection ended on it.
    Oldest(u8),
    /// Another one goes, so many behind it.
    Other(usize),
    /// That one was taken: the oldest goes on the same connection.
    Again,
}

/// What the end of a connection shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// Nothing yet.
    Nothing,
    /// The oldest row gets connections closed, and others do not.
    Oldest,
}

impl Suspicion {
    /// While rows go one at a time: which one, counted from the oldest.
    pub(super) fn alone(&self) -> Option<usize> {
        self.trial.as_ref().map(|trial| match trial.stage {
            Stage::Oldest(_) | Stage::Again => 0,
            Stage::Other(behind) => behind,
        })
    }

    /// There is no row so far behind.
    pub(super) fn nobody_there(&mut self) {
        if let Some(trial) = &mut self.trial {
            trial.stage = Stage::Oldest(0);
        }
    }

    /// The cloud took row `n`; the last row that was taken off the queue is not needed to know.
    pub(super) fn settled(&mut self, n: u64) {
        self.in_a_row = 0;
        let Some(trial) = &mut self.trial else { return };
        trial.stage = match trial.stage {
            Stage::Other(_) => Stage::Again,
            Stage::Oldest(_) | Stage::Again if n >= trial.until => {
                self.trial = None;
                return;
            }
            Stage::Oldest(_) | Stage::Again => Stage::Oldest(0),
        };
    }

    /// A connection has ended on which rows were in flight, the last of them `newest`. `by_cloud`: the cloud closed it. `taken`: it had acknowledged
    /// something before.
    pub(super) fn ended(&mut self, by_cloud: bool, taken: bool, newest: u64) -> Finding {
        let Some(trial) = &mut self.trial else {
            if taken {
                self.in_a_row = 0;
            } else if by_cloud {
                self.in_a_row += 1;
                if self.in_a_row >= IN_A_ROW {
                    self.trial = Some(Trial { until: newest, stage: Stage::Oldest(0) });
                }
            }
            return Finding::Nothing;
        };
        let (stage, finding) = match trial.stage {
            Stage::Again if by_cloud => (Stage::Oldest(0), Finding::Oldest),
            // The other one is gone; the next will do as well.
            Stage::Again => (Stage::Other(1), Finding::Nothing),
            stage if !by_cloud => (stage, Finding::Nothing),
            Stage::Oldest(times) if times + 1 < ALONE => (Stage::Oldest(times + 1), Finding::Nothing),
            Stage::Oldest(_) => (Stage::Other(1), Finding::Nothing),
            Stage::Other(behind) => (Stage::Other(behind + 1), Finding::Nothing),
        };
        trial.stage = stage;
        finding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cloud that closes the connection on `bad` rows; the rows that were put aside, and those that it took, in order.
    fn play(rows: std::ops::RangeInclusive<u64>, window: usize, is_bad: impl Fn(u64) -> bool) -> (Vec<u64>, Vec<u64>) {
        let mut open: Vec<u64> = rows.collect();
        let (mut aside, mut taken) = (Vec::new(), Vec::new());
        let mut suspicion = Suspicion::default();
        for _connection in 0..2_000 {
            let mut acknowledged = false;
            let finding = loop {
                if open.is_empty() {
                    return (aside, taken);
                }
                let flight: Vec<u64> = match suspicion.alone() {
                    None => open.iter().copied().take(window).collect(),
                    Some(at) if at >= open.len() => {
                        suspicion.nobody_there();
                        continue;
                    }
                    Some(at) => vec![open[at]],
                };
                // What came before a bad row was read by the cloud, but its acknowledgements are lost with the connection.
                if flight.iter().any(|n| is_bad(*n)) {
                    break suspicion.ended(true, acknowledged, *flight.last().expect("not empty"));
                }
                for n in flight {
                    open.retain(|other| *other != n);
                    taken.push(n);
                    suspicion.settled(n);
                }
                acknowledged = true;
            };
            if finding == Finding::Oldest {
                aside.push(open.remove(0));
            }
        }
        (aside, taken)
    }

    #[test]
    fn the_row_that_ends_connections_is_found_wherever_it_stands() {
        for bad in [1, 2, 7, 29] {
            let (aside, taken) = play(1..=30, 10, |n| n == bad);
            assert_eq!(aside, [bad]);
            let mut sorted = taken.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq((1..=30).filter(|n| *n != bad)));
            assert!(taken.is_sorted(), "the order is kept: {taken:?}");
        }
    }

    #[test]
    fn several_in_a_row_are_found_one_by_one() {
        let (mut aside, taken) = play(1..=12, 4, |n| (3..=6).contains(&n));
        aside.sort_unstable();
        assert_eq!((aside, taken.len()), (vec![3, 4, 5, 6], 8));
    }

    #[test]
    fn a_cloud_that_closes_on_everything_convicts_nobody() {
        assert_eq!(play(1..=12, 4, |_| true), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_row_that_is_alone_in_the_queue_is_kept() {
        assert_eq!(play(1..=1, 4, |_| true), (Vec::new(), Vec::new()));
    }

    #[test]
    fn connections_that_end_otherwise_or_after_an_acknowledgement_raise_no_suspicion() {
        let mut suspicion = Suspicion::default();
        for _ in 0..20 {
            suspicion.ended(false, false, 9);
            suspicion.ended(true, false, 9);
            suspicion.ended(true, true, 9);
        }
        assert_eq!(suspicion.alone(), None);
    }

    #[test]
    fn a_link_that_was_bad_for_a_while_and_recovers_costs_no_message() {
        let mut suspicion = Suspicion::default();
        for _ in 0..7 {
            assert_eq!(suspicion.ended(true, false, 9), Finding::Nothing);
        }
        assert_eq!(suspicion.alone(), Some(2));
        // All is well again: the other one is taken, and then the oldest, and the rest one by one.
        suspicion.settled(3);
        assert_eq!(suspicion.alone(), Some(0));
        suspicion.settled(1);
        suspicion.settled(2);
        suspicion.settled(9);
        assert_eq!(suspicion.alone(), None);
    }
}
