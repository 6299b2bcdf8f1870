//! The only file that asks the time. Everything else is given it.
//!
//! [`Clock`] hands out monotonic moments and stamps and sleeps until a moment. It follows tokio's clock, so a test that
//! pauses or advances tokio's time moves the whole gateway with it.

mod alarm;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use crate::model::{BootId, Monotonic, SinceBoot, Stamp, Timestamp};

pub use alarm::Alarm;

/// 2026-01-01T00:00:00Z. A wall clock before it has not been set: this software is younger.
const YOUNGEST_PLAUSIBLE_MS: i64 = 1_767_225_600_000;

/// The process's clock. Cheap to copy; all copies share one origin.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
    boot: Option<BootId>,
}

impl Clock {
    /// Starts the monotonic clock at zero.
    pub fn start() -> Clock {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        Clock { origin: Instant::now(), boot: boot.as_deref().and_then(BootId::parse) }
    }

    /// Now, on the monotonic clock.
    pub fn now(&self) -> Monotonic {
        Monotonic(self.origin.elapsed())
    }

    /// Now, on the wall clock.
    pub fn wall(&self) -> Timestamp {
        let since_epoch = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        };
        Timestamp(since_epoch)
    }

    /// All clocks at once, for a reading.
    pub fn stamp(&self) -> Stamp {
        let wall = self.wall();
        Stamp { monotonic: self.now(), since_boot: self.since_boot(), wall, synced: is_plausible(wall) }
    }

    /// How long the machine has run; it goes on while the machine sleeps, and nobody sets it.
    fn since_boot(&self) -> Option<SinceBoot> {
        let boot = self.boot?;
        let uptime = clock_gettime(ClockId::Boottime);
        Some(SinceBoot { boot, uptime_ms: uptime.tv_sec.saturating_mul(1000) + uptime.tv_nsec / 1_000_000 })
    }

    /// Whether the wall clock has been set since the machine started.
    pub fn is_synced(&self) -> bool {
        is_plausible(self.wall())
    }

    /// Sleeps until `moment`; returns at once when it has passed.
    pub async fn sleep_until(&self, moment: Monotonic) {
        tokio::time::sleep_until(self.origin + moment.0).await;
    }

    /// Sleeps for `duration`.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

fn is_plausible(wall: Timestamp) -> bool {
    wall.0 >= YOUNGEST_PLAUSIBLE_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn sleeping_until_a_moment_ends_at_that_moment() {
        let clock = Clock::start();
        clock.sleep_until(Monotonic::from_millis(1500)).await;
        assert_eq!(clock.now(), Monotonic::from_millis(1500));
    }

    #[test]
    fn a_clock_from_before_the_software_is_not_believed() {
        assert!(!is_plausible(Timestamp(0)));
        assert!(is_plausible(Timestamp(1_795_187_045_123)));
    }
}
