//! Whether a device is there: what its answers and silences mean. Pure.

use std::time::Duration;

use super::backoff::Backoff;
use crate::model::{Fault, Monotonic};

/// So many failed polls in a row make a device offline (`DESIGN.md` §8).
const FAILED_POLLS: u32 = 3;
const FIRST_PROBE: Duration = Duration::from_secs(1);
const RAREST_PROBE: Duration = Duration::from_secs(60);

/// What is known about a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It has neither answered nor been given up yet.
    Unknown,
    /// Its last answer is not further back than two failed polls.
    Online,
    /// Given up; it is probed.
    Offline(Fault),
}

/// The health of one device.
#[derive(Debug)]
pub struct Liveness {
    health: Health,
    failed_polls: u32,
    probes: Backoff,
    probe_at: Monotonic,
    lost_with_line: bool,
}

impl Liveness {
    /// Nothing is known.
    pub fn new() -> Liveness {
        Liveness {
            health: Health::Unknown,
            failed_polls: 0,
            probes: Backoff::new(FIRST_PROBE, RAREST_PROBE),
            probe_at: Monotonic::default(),
            lost_with_line: false,
        }
    }

    /// What is known.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Whether its last poll failed: asking it again may cost the others a timeout.
    pub fn is_suspect(&self) -> bool {
        self.failed_polls > 0
    }

    /// When an offline device is to be asked again.
    pub fn probe_at(&self) -> Monotonic {
        self.probe_at
    }

    /// Whether it went with its line and the line is back: then it is asked like one that nothing is known about.
    pub fn lost_with_line(&self) -> bool {
        self.lost_with_line
    }

    /// It answered, if only with a refusal. Returns whether it has just come online.
    pub fn answered(&mut self) -> bool {
        self.failed_polls = 0;
        self.lost_with_line = false;
        self.probes.reset();
        let is_new = self.health != Health::Online;
        self.health = Health::Online;
        is_new
    }

    /// A poll, or a probe, brought no answer. Returns whether it has just gone offline, or is offline for another
    /// reason now that its line is back.
    pub fn poll_failed(&mut self, now: Monotonic, fault: Fault) -> bool {
        self.failed_polls += 1;
        let before = self.health;
        let was_offline = matches!(before, Health::Offline(_));
        if !was_offline && self.failed_polls < FAILED_POLLS {
            return false;
        }
        self.health = Health::Offline(fault);
        self.probe_at = now + self.probes.wait();
        let was_lost = std::mem::take(&mut self.lost_with_line);
        !was_offline || (was_lost && before != self.health)
    }

    /// A device that speaks by itself has not done so in time. Returns whether it has just gone offline, or is offline for
    /// another reason now that its line is back.
    pub fn overdue(&mut self, fault: Fault) -> bool {
        let before = std::mem::replace(&mut self.health, Health::Offline(fault));
        let was_lost = std::mem::take(&mut self.lost_with_line);
        !matches!(before, Health::Offline(_)) || (was_lost && before != self.health)
    }

    /// The line is gone, and every device with it. Returns whether this one has just gone offline.
    pub fn line_gone(&mut self) -> bool {
        if matches!(self.health, Health::Offline(_)) {
            return false;
        }
        self.health = Health::Offline(Fault::Disconnected);
        self.failed_polls = 0;
        self.probes.reset();
        self.lost_with_line = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Monotonic {
        Monotonic::from_millis(s * 1000)
    }

    #[test]
    fn three_failed_polls_in_a_row_make_a_device_offline_once() {
        let mut device = Liveness::new();
        assert!(device.answered());
        assert!(!device.answered());
        assert!(!device.poll_failed(at(1), Fault::Timeout));
        assert!(device.is_suspect());
        assert!(!device.answered());
        assert!(!device.is_suspect());
        let gone: Vec<bool> = (2..7).map(|second| device.poll_failed(at(second), Fault::Crc)).collect();
        assert_eq!(gone, [false, false, true, false, false]);
        assert_eq!(device.health(), Health::Offline(Fault::Crc));
    }

    #[test]
    fn probes_become_rarer_up_to_once_a_minute_and_start_over_after_an_answer() {
        let mut device = Liveness::new();
        let mut now = at(0);
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            while !matches!(device.health(), Health::Offline(_)) && device.failed_polls < FAILED_POLLS - 1 {
                device.poll_failed(now, Fault::Timeout);
            }
            device.poll_failed(now, Fault::Timeout);
            assert_eq!(device.probe_at().since(now), Duration::from_secs(wait));
            now = device.probe_at();
        }
        assert!(device.answered());
        for _ in 0..3 {
            device.poll_failed(now, Fault::Timeout);
        }
        assert_eq!(device.probe_at().since(now), Duration::from_secs(1));
    }

    #[test]
    fn a_lost_line_takes_a_device_along_at_once_but_not_one_that_was_offline_already() {
        let mut device = Liveness::new();
        assert!(device.line_gone());
        assert!(!device.line_gone());
        assert!(device.lost_with_line());
        assert!(device.poll_failed(at(1), Fault::Timeout), "the line is back, and the reason is another");
        assert!(!device.lost_with_line());
        let mut dead = Liveness::new();
        for _ in 0..3 {
            dead.poll_failed(at(0), Fault::Timeout);
        }
        assert!(!dead.line_gone());
        assert_eq!(dead.health(), Health::Offline(Fault::Timeout));
        assert!(!dead.lost_with_line());
    }
}
