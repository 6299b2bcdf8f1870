//! Whether the cloud is still there: keep-alive pings, and a stall timer for a connection that takes and never answers. Pure.
//!
//! A half-open connection hung a client without these for more than 90 s.

use std::time::Duration;

use crate::model::Monotonic;
use crate::mqtt::{ClientKeepAlive, KeepAliveStep};

/// How long a PINGRESP may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The timers of one connection.
#[derive(Debug)]
pub(super) struct Liveness {
    keep_alive: ClientKeepAlive,
    stall_after: Duration,
    /// When something was last acknowledged, or last went out that will be.
    progress: Monotonic,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pulse {
    /// Nothing before this moment.
    Wait(Option<Monotonic>),
    /// Send a PINGREQ.
    Ping,
    /// The connection is dead; the text says why it is thought so.
    Dead(&'static str),
}

impl Liveness {
    /// For a connection that was made now.
    pub(super) fn new(keep_alive: Duration, stall_after: Duration, now: Monotonic) -> Liveness {
        Liveness { keep_alive: ClientKeepAlive::new(keep_alive, ANSWER_WITHIN, now), stall_after, progress: now }
    }

    /// Bytes went out; `of_queue` says whether messages of the queue were among them.
    pub(super) fn wrote(&mut self, now: Monotonic, of_queue: bool) {
        self.keep_alive.sent(now);
        if of_queue {
            self.progress = now;
        }
    }

    /// A packet came.
    pub(super) fn heard(&mut self, now: Monotonic) {
        self.keep_alive.heard(now);
    }

    /// An acknowledgement came, or the first message went out after a pause.
    pub(super) fn progressed(&mut self, now: Monotonic) {
        self.progress = now;
    }

    /// What to do; `awaits_ack` says whether an acknowledgement is outstanding.
    pub(super) fn step(&mut self, now: Monotonic, awaits_ack: bool) -> Pulse {
        let stalled = self.progress + self.stall_after;
        if awaits_ack && now >= stalled {
            return Pulse::Dead("it acknowledges nothing any more");
        }
        let stalled = awaits_ack.then_some(stalled);
        match self.keep_alive.step(now) {
            KeepAliveStep::Wait(until) => Pulse::Wait(Some(stalled.map_or(until, |stalled| stalled.min(until)))),
            KeepAliveStep::Off => Pulse::Wait(stalled),
            KeepAliveStep::Ping => Pulse::Ping,
            KeepAliveStep::Dead => Pulse::Dead("it does not answer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    fn liveness() -> Liveness {
        Liveness::new(Duration::from_secs(60), Duration::from_secs(20), s(0))
    }

    #[test]
    fn messages_that_are_never_acknowledged_end_the_connection_though_pings_are_answered() {
        let mut liveness = liveness();
        liveness.wrote(s(1), true);
        liveness.heard(s(15));
        assert_eq!(liveness.step(s(20), true), Pulse::Wait(Some(s(21))));
        assert!(matches!(liveness.step(s(21), true), Pulse::Dead(_)));
    }

    #[test]
    fn a_slow_link_that_still_takes_bytes_or_acknowledges_is_not_dead() {
        let mut liveness = liveness();
        for second in (0..300).step_by(10) {
            liveness.wrote(s(second), true);
            liveness.heard(s(second));
            assert!(matches!(liveness.step(s(second + 9), true), Pulse::Wait(_)));
        }
        liveness.progressed(s(305));
        assert!(matches!(liveness.step(s(310), true), Pulse::Wait(_)));
        liveness.wrote(s(324), false);
        assert!(matches!(liveness.step(s(325), true), Pulse::Dead(_)), "QoS 0 traffic proves nothing");
    }

    #[test]
    fn an_idle_connection_pings_and_ends_without_an_answer() {
        let mut liveness = liveness();
        assert_eq!(liveness.step(s(30), false), Pulse::Wait(Some(s(60))));
        assert_eq!(liveness.step(s(60), false), Pulse::Ping);
        assert_eq!(liveness.step(s(61), false), Pulse::Wait(Some(s(70))));
        assert!(matches!(liveness.step(s(70), false), Pulse::Dead(_)));
    }
}
