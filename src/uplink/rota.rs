//! Which of an uplink's servers is tried next. Pure.
//!
//! The list of the configuration is an order of preference. A server that works is stayed with until it fails: changing servers costs the
//! session, and with it what QoS 2 promises. One that fails is followed by the others, from the first on; when all have failed, the round is over
//! and everybody is left alone for a while.

use std::collections::VecDeque;

/// The servers by their place in the list.
#[derive(Debug)]
pub(super) struct Rota {
    servers: usize,
    current: usize,
    /// Still to be tried in this round.
    left: VecDeque<usize>,
}

impl Rota {
    /// Of so many servers, at least one.
    pub(super) fn new(servers: usize) -> Rota {
        Rota { servers, current: 0, left: (1..servers).collect() }
    }

    /// The one that it is the turn of.
    pub(super) fn current(&self) -> usize {
        self.current
    }

    /// The current one can't be used. True when that was the last of a round: wait before the next one begins, with the first of the list.
    pub(super) fn failed(&mut self) -> bool {
        match self.left.pop_front() {
            Some(next) => {
                self.current = next;
                false
            }
            None => {
                *self = Rota::new(self.servers);
                true
            }
        }
    }

    /// A connection ended. One that was `good`, on which something was acknowledged or that had held for long, is worth another try at the same
    /// server, and a new round begins with it. True when to wait before.
    pub(super) fn ended(&mut self, good: bool) -> bool {
        if !good {
            return self.failed();
        }
        self.left = (0..self.servers).filter(|server| *server != self.current).collect();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The servers that are tried until a round is over.
    fn round(rota: &mut Rota) -> Vec<usize> {
        let mut tried = vec![rota.current()];
        while !rota.failed() {
            tried.push(rota.current());
        }
        tried
    }

    #[test]
    fn a_round_goes_through_the_list_and_the_next_one_begins_with_the_first() {
        let mut rota = Rota::new(3);
        assert_eq!(round(&mut rota), [0, 1, 2]);
        assert_eq!(round(&mut rota), [0, 1, 2]);
        assert_eq!(round(&mut Rota::new(1)), [0]);
    }

    #[test]
    fn a_server_that_worked_is_tried_again_before_the_others_in_their_order() {
        let mut rota = Rota::new(3);
        assert!(!rota.failed());
        assert!(rota.ended(true), "after a pause");
        assert_eq!(round(&mut rota), [1, 0, 2]);
        assert_eq!(round(&mut rota), [0, 1, 2]);
    }

    #[test]
    fn a_server_that_accepts_and_drops_is_a_failed_one() {
        let mut rota = Rota::new(2);
        assert!(!rota.ended(false));
        assert_eq!(rota.current(), 1);
        assert!(rota.ended(false), "that was the last one");
        assert_eq!(rota.current(), 0);
        let mut alone = Rota::new(1);
        assert!(alone.ended(false) && alone.ended(true));
    }
}
