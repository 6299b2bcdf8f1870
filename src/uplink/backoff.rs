//! When to try again after a connection failed or was lost: full jitter from 1 s to 60 s. Pure; chance is passed in.

use std::time::Duration;

/// The first delay is at most this.
const FIRST: Duration = Duration::from_secs(1);

/// A connection that lasted so long was a good one.
const GOOD_AFTER: Duration = Duration::from_secs(60);

/// Where [`Backoff::be_patient`] begins: at delays of up to 8 s.
const PATIENT: u32 = 3;

/// Growing delays. Gateways that lost the same broker in the same moment spread over the whole delay when they come back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    failures: u32,
    longest: Duration,
}

impl Backoff {
    /// Delays grow to `longest`.
    pub(super) fn new(longest: Duration) -> Backoff {
        Backoff { failures: 0, longest }
    }

    /// How long to wait now; `chance` is from 0.0 up to 1.0.
    pub(super) fn next(&mut self, chance: f64) -> Duration {
        let most = FIRST.saturating_mul(1 << self.failures.min(16)).min(self.longest);
        self.failures += 1;
        most.mul_f64(chance.clamp(0.0, 1.0))
    }

    /// The peer has acknowledged something. A mere CONNACK proves nothing: a broker that accepts and drops would be called in a
    /// tight loop.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The cloud asked for patience, though it acknowledged something else a moment ago.
    pub(super) fn be_patient(&mut self) {
        self.failures = self.failures.max(PATIENT);
    }

    /// A connection that outlived the longest delay was a good one, though there was nothing to acknowledge on it.
    pub(super) fn is_long(lasted: Duration) -> bool {
        lasted >= GOOD_AFTER
    }

    /// A connection ended that had held for `lasted`.
    pub(super) fn ended_after(&mut self, lasted: Duration) {
        if Backoff::is_long(lasted) {
            self.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_from_one_second_to_sixty_and_chance_spreads_them_from_zero() {
        let mut backoff = Backoff::new(Duration::from_secs(60));
        let longest: Vec<u64> = (0..9).map(|_| backoff.next(1.0).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff.next(0.0), Duration::ZERO);
        assert_eq!(backoff.next(0.5), Duration::from_secs(30));
    }

    #[test]
    fn an_acknowledgement_or_a_long_connection_begins_anew() {
        let mut backoff = Backoff::new(Duration::from_secs(60));
        for _ in 0..5 {
            backoff.next(1.0);
        }
        backoff.ended_after(Duration::from_secs(59));
        assert_eq!(backoff.next(1.0), Duration::from_secs(32));
        backoff.ended_after(Duration::from_secs(60));
        assert_eq!(backoff.next(1.0), Duration::from_secs(1));
        backoff.next(1.0);
        backoff.reset();
        backoff.be_patient();
        assert_eq!(backoff.next(1.0), Duration::from_secs(8));
        backoff.reset();
        assert_eq!(backoff.next(1.0), Duration::from_secs(1));
    }
}
