//! Two kinds of time, never mixed: a monotonic one that orders and schedules, a wall time that is only ever printed.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment on the monotonic clock: the time since some fixed point in this process. It never jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Monotonic(pub Duration);

impl Monotonic {
    /// A moment so many milliseconds after the origin; handy in tests and tables.
    pub const fn from_millis(ms: u64) -> Monotonic {
        Monotonic(Duration::from_millis(ms))
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub fn since(self, earlier: Monotonic) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Monotonic {
    type Output = Monotonic;
    fn add(self, by: Duration) -> Monotonic {
        Monotonic(self.0.saturating_add(by))
    }
}

impl Sub<Duration> for Monotonic {
    type Output = Monotonic;
    fn sub(self, by: Duration) -> Monotonic {
        Monotonic(self.0.saturating_sub(by))
    }
}

/// Wall time in UTC, in milliseconds since 1970-01-01T00:00:00Z. It can jump and it can be wrong: it orders nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The moment that an RFC 3339 text names, such as `2026-11-20T15:04:05Z` or `2026-11-20T16:04:05.123+01:00`.
    pub fn from_rfc3339(text: &str) -> Option<Timestamp> {
        chrono::DateTime::parse_from_rfc3339(text).ok().map(|moment| Timestamp(moment.timestamp_millis()))
    }

    /// The same in nanoseconds since 1970, for programs that say them; `None` also outside the years 1677 to 2262.
    pub fn nanos_from_rfc3339(text: &str) -> Option<i64> {
        chrono::DateTime::parse_from_rfc3339(text).ok()?.timestamp_nanos_opt()
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds, `2026-11-20T15:04:05.123Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match chrono::DateTime::from_timestamp_millis(self.0) {
            Some(at) => write!(f, "{}", at.format("%Y-%m-%dT%H:%M:%S%.3fZ")),
            // Outside chrono's range of 262,000 years: still a number that says what it is.
            None => write!(f, "@{}ms", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_print_as_utc_with_milliseconds() {
        assert_eq!(Timestamp(1_795_187_045_123).to_string(), "2026-11-20T15:04:05.123Z");
        assert_eq!(Timestamp::from_rfc3339("2026-11-20T16:04:05.123+01:00"), Some(Timestamp(1_795_187_045_123)));
        assert_eq!(["now", "2026-11-20", "2026-11-20T15:04:05"].map(Timestamp::from_rfc3339), [None; 3]);
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp(i64::MAX).to_string(), format!("@{}ms", i64::MAX));
    }

    #[test]
    fn monotonic_differences_never_go_below_zero() {
        let (a, b) = (Monotonic::from_millis(5), Monotonic::from_millis(9));
        assert_eq!(b.since(a), Duration::from_millis(4));
        assert_eq!(a.since(b), Duration::ZERO);
        assert_eq!(a - Duration::from_secs(1), Monotonic::from_millis(0));
    }
}
