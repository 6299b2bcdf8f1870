//! Waiting to a few hundredths of a millisecond, for the silence between two frames on a serial line.
//!
//! The runtime's timers count milliseconds and round up, so a silence of 1.75 ms would take up to 3. Where the system has
//! timers that can be waited for like a socket (Linux: timerfd), one of these is used: nothing spins, and nothing ticks
//! while nobody waits. It follows the system's clock: tests that pause time take [`Alarm::coarse`].

use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::unix::AsyncFd;

use super::Clock;
use crate::model::Monotonic;

/// One timer; one wait at a time.
#[derive(Debug)]
pub struct Alarm {
    timer: Option<AsyncFd<OwnedFd>>,
}

impl Alarm {
    /// The runtime's own timer: a millisecond or so late.
    pub fn coarse() -> Alarm {
        Alarm { timer: None }
    }

    /// The system's best; the runtime's own where there is none, or no descriptor is left. Needs a runtime.
    pub fn precise() -> Alarm {
        Alarm { timer: system::timer() }
    }

    /// Waits until `moment`, never less. May be dropped while it waits.
    pub async fn wait_until(&mut self, clock: Clock, moment: Monotonic) {
        loop {
            let left = moment.since(clock.now());
            if left.is_zero() {
                return;
            }
            match &self.timer {
                Some(timer) if system::wait(timer, left).await.is_ok() => {}
                // A timer that fails once is not tried again.
                Some(_) => self.timer = None,
                None => clock.sleep_until(moment).await,
            }
        }
    }
}

#[cfg(target_os = "linux")]
mod system {
    use super::{AsyncFd, Duration, OwnedFd};
    use rustix::io::{Errno, read};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };
    use tokio::io::Interest;

    // Its successor is unsafe because a type could lie about its descriptor. An owned descriptor can't.
    #[expect(deprecated, reason = "the successor is an unsafe function, and this crate has no unsafe code")]
    pub fn timer() -> Option<AsyncFd<OwnedFd>> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).ok()?;
        AsyncFd::with_interest(timer, Interest::READABLE).ok()
    }

    pub async fn wait(timer: &AsyncFd<OwnedFd>, left: Duration) -> std::io::Result<()> {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos().into() };
        // Setting it forgets an earlier setting that nobody waited for to its end.
        timerfd_settime(
            timer.get_ref(),
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: zero, it_value: value },
        )?;
        loop {
            let mut ready = timer.readable().await?;
            match read(timer.get_ref(), &mut [0; 8][..]) {
                Ok(_) => return Ok(()),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::{AsyncFd, Duration, OwnedFd};

    pub fn timer() -> Option<AsyncFd<OwnedFd>> {
        None
    }

    pub async fn wait(_: &AsyncFd<OwnedFd>, _: Duration) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_precise_wait_is_never_short_and_one_that_was_dropped_does_not_shorten_the_next() {
        let clock = Clock::start();
        let mut alarm = Alarm::precise();
        for micros in [300, 1_750, 2_005] {
            let moment = clock.now() + Duration::from_micros(micros);
            alarm.wait_until(clock, moment).await;
            assert!(clock.now() >= moment);
            let dropped = clock.now() + Duration::from_micros(100);
            tokio::select! {
                biased;
                () = alarm.wait_until(clock, dropped) => {}
                () = std::future::ready(()) => {}
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_coarse_wait_follows_paused_time() {
        let clock = Clock::start();
        Alarm::coarse().wait_until(clock, Monotonic::from_millis(250)).await;
        assert_eq!(clock.now(), Monotonic::from_millis(250));
    }
}
