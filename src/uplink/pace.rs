//! `rate_limit`: how many messages may go now. A token bucket with a small bucket, so that no second of the wire sees more than its rate. Pure.

use std::time::Duration;

use crate::config::Rate;
use crate::model::Monotonic;

/// A message may go so much earlier than its turn: then a timer that is late costs nothing, and a fast rate goes in few writes. Not more, because
/// clouds count by the second, and a burst on top of the rate would be too much for them.
const BURST: Duration = Duration::from_millis(10);

/// How fast an uplink sends. It outlives connections, so that a flapping one is no way around it.
#[derive(Debug)]
pub(super) struct Pace {
    /// `None` without a limit.
    limit: Option<Limit>,
}

#[derive(Debug)]
struct Limit {
    /// Between two messages.
    every: Duration,
    /// When the next message would go if all went evenly.
    turn: Monotonic,
}

impl Pace {
    /// At most this rate; `None`: whatever the cloud takes.
    pub(super) fn new(rate: Option<Rate>) -> Pace {
        let limit = rate.map(|Rate { messages, per }| Limit {
            every: (per / messages.max(1)).max(Duration::from_nanos(1)),
            turn: Monotonic::default(),
        });
        Pace { limit }
    }

    /// How many messages may go now.
    pub(super) fn room(&self, now: Monotonic) -> usize {
        let Some(limit) = &self.limit else { return usize::MAX };
        let Some(late) = (now + BURST).0.checked_sub(limit.turn.0) else { return 0 };
        let due = late.min(BURST).as_nanos() / limit.every.as_nanos() + 1;
        usize::try_from(due).unwrap_or(usize::MAX)
    }

    /// So many went.
    pub(super) fn sent(&mut self, messages: usize, now: Monotonic) {
        let Some(limit) = &mut self.limit else { return };
        let begin = limit.turn.max(now);
        limit.turn = begin + limit.every.saturating_mul(u32::try_from(messages).unwrap_or(u32::MAX));
    }

    /// When there will be room; `None` when there is.
    pub(super) fn next(&self, now: Monotonic) -> Option<Monotonic> {
        let limit = self.limit.as_ref()?;
        let next = limit.turn - BURST;
        (next > now).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(messages: u32, seconds: u64) -> Pace {
        Pace::new(Some(Rate { messages, per: Duration::from_secs(seconds) }))
    }

    #[test]
    fn a_hundred_a_second_are_one_every_ten_milliseconds() {
        let mut pace = rate(100, 1);
        let now = Monotonic::from_millis(5_000);
        assert_eq!((pace.room(now), pace.next(now)), (2, None));
        pace.sent(2, now);
        assert_eq!((pace.room(now), pace.next(now)), (0, Some(Monotonic::from_millis(5_010))));
        assert_eq!(pace.room(Monotonic::from_millis(5_010)), 1);
        // A pause saves up no more than it did at first.
        assert_eq!(pace.room(Monotonic::from_millis(60_000)), 2);
    }

    #[test]
    fn a_fast_rate_goes_in_small_bursts_and_a_slow_one_waits_its_minute() {
        let mut fast = rate(100_000, 1);
        let now = Monotonic::from_millis(100);
        assert_eq!(fast.room(now), 1_001);
        fast.sent(1_001, now);
        assert_eq!(fast.room(now), 0);
        assert_eq!(fast.room(Monotonic::from_millis(101)), 100);
        let mut slow = rate(2, 60);
        assert_eq!(slow.room(now), 1);
        slow.sent(1, now);
        assert_eq!(slow.next(now), Some(Monotonic::from_millis(30_090)));
    }

    #[test]
    fn without_a_limit_there_is_always_room() {
        let mut free = Pace::new(None);
        free.sent(1_000_000, Monotonic::default());
        assert_eq!((free.room(Monotonic::default()), free.next(Monotonic::default())), (usize::MAX, None));
    }

    proptest! {
        /// Whoever sends all that there is room for, whenever it looks, never sends more than the rate in any second, and never starves.
        #[test]
        fn no_second_sees_more_than_its_rate(messages in 1_u32..5_000, looks in prop::collection::vec(0_u64..400, 1..300)) {
            let mut pace = rate(messages, 1);
            let (mut now, mut sent) = (0, Vec::new());
            for pause in looks {
                now += pause;
                let at = Monotonic::from_millis(now);
                let room = pace.room(at);
                pace.sent(room, at);
                sent.push((now, room as u64));
                prop_assert!(room > 0 || pace.next(at).is_some());
                let second: u64 = sent.iter().filter(|(then, _)| now - then < 1_000).map(|(_, count)| count).sum();
                let burst = u64::from(messages) / 100 + 2;
                prop_assert!(second <= u64::from(messages) + burst, "{second} in the second before {now} ms");
            }
        }
    }
}
