//! What a queue keeps when it can't keep everything: bounds by size and by age, as pure decisions.
//!
//! Rows in flight never come here: whoever asks offers only the rows that may go. The caller deletes, counts and reports.

use std::time::Duration;

use super::episode::GapReason;
use crate::model::{Message, Timestamp, WhenFull};

/// What a row costs beside its topic, payload and properties: its number, flags, time and checksum, and SQLite's headers. Measured:
/// 28 bytes at 20-byte payloads, 45 at 200; more where few rows fill a page (357 at 1,000, 1,095 at 3,000), which is not accounted.
pub const ROW_OVERHEAD: u64 = 64;

/// The bounds of one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that its rows may take, as [`row_bytes`] counts them.
    pub max_size: u64,
    /// Rows that have waited longer are dropped.
    pub max_age: Duration,
    /// What goes when there is no room.
    pub when_full: WhenFull,
}

/// What a queue may hold in one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Bytes that its rows may take; less than [`Limits::max_size`] when others have a part of it, or the disk.
    pub max_size: u64,
    /// What goes when there is no room.
    pub when_full: WhenFull,
    /// What sets the bound.
    pub reason: GapReason,
}

/// A stored row that is not in flight, as the policy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub n: u64,
    /// Its size as accounted.
    pub bytes: u64,
    /// When it was queued; `None` when the clock had not been set then.
    pub queued: Option<Timestamp>,
}

/// What becomes of a message that has just come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It is stored.
    Keep,
    /// It was taken, and gave way to a later one of the same group.
    Overtaken,
    /// There is no room for it.
    Refuse,
}

/// What a group of arrivals does to a queue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admission {
    /// So many of the stored candidates go, oldest first.
    pub drop_stored: usize,
    /// One verdict an arrival, in their order.
    pub arrivals: Vec<Arrival>,
}

/// The bytes that a row is accounted with: `content` is the length of topic, payload and encoded properties.
pub fn row_bytes(content: usize) -> u64 {
    content as u64 + ROW_OVERHEAD
}

/// [`row_bytes`] of a message whose encoded properties take `properties` bytes.
pub fn message_bytes(message: &Message, properties: usize) -> u64 {
    row_bytes(message.topic.len() + message.payload.len() + properties)
}

/// How many bytes of candidates [`admit`] needs to see, at most, for arrivals of these sizes.
pub fn shortfall(limits: &Bound, stored_bytes: u64, arriving: &[u64]) -> u64 {
    match limits.when_full {
        WhenFull::DropNewest => 0,
        WhenFull::DropOldest => {
            let storable: u64 = arriving.iter().filter(|bytes| **bytes <= limits.max_size).sum();
            (stored_bytes + storable).saturating_sub(limits.max_size)
        }
    }
}

/// How many bytes of stored rows are above the bound and go, if the oldest go.
pub fn surplus(limits: &Bound, stored_bytes: u64) -> u64 {
    match limits.when_full {
        WhenFull::DropNewest => 0,
        WhenFull::DropOldest => stored_bytes.saturating_sub(limits.max_size),
    }
}

/// How many of the candidates, oldest first, make up `needed` bytes; all of them, if they do not.
pub fn give_up(needed: u64, candidates: &[Candidate]) -> usize {
    let mut bytes = 0;
    let enough = candidates.iter().position(|candidate| {
        bytes += candidate.bytes;
        bytes >= needed
    });
    enough.map_or(candidates.len(), |last| last + 1)
}

/// Decides, as if the arrivals came one by one, which are kept and which stored rows make room for them.
///
/// `stored_bytes` counts all rows of the queue, those in flight included. `candidates` are the oldest rows that may go: all
/// of them, or as many as [`shortfall`] asks for.
pub fn admit(limits: &Bound, stored_bytes: u64, candidates: &[Candidate], arriving: &[u64]) -> Admission {
    let mut admission = Admission { drop_stored: 0, arrivals: Vec::with_capacity(arriving.len()) };
    let mut bytes = stored_bytes;
    // The oldest arrival that is still kept; those before it are overtaken or refused.
    let mut oldest_arrival = 0;
    for (i, &size) in arriving.iter().enumerate() {
        while size <= limits.max_size && bytes + size > limits.max_size && limits.when_full == WhenFull::DropOldest {
            if let Some(candidate) = candidates.get(admission.drop_stored) {
                admission.drop_stored += 1;
                bytes = bytes.saturating_sub(candidate.bytes);
            } else if oldest_arrival < i {
                if admission.arrivals[oldest_arrival] == Arrival::Keep {
                    admission.arrivals[oldest_arrival] = Arrival::Overtaken;
                    bytes -= arriving[oldest_arrival];
                }
                oldest_arrival += 1;
            } else {
                break;
            }
        }
        let fits = bytes + size <= limits.max_size;
        bytes += if fits { size } else { 0 };
        admission.arrivals.push(if fits { Arrival::Keep } else { Arrival::Refuse });
    }
    admission
}

/// How many of the candidates, oldest first, are too old; `now` is the time to hold against a row's.
///
/// A row from before the clock was set has no age of its own; it is older than any row behind it.
pub fn expired(limits: &Limits, now: impl Fn(u64) -> Timestamp, candidates: &[Candidate]) -> usize {
    let max_age_ms = i64::try_from(limits.max_age.as_millis()).unwrap_or(i64::MAX);
    let mut expired = 0;
    for (i, candidate) in candidates.iter().enumerate() {
        match candidate.queued {
            Some(queued) if now(candidate.n).0.saturating_sub(queued.0) > max_age_ms => expired = i + 1,
            Some(_) => break,
            None => {}
        }
    }
    expired
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::VecDeque;

    use super::*;

    fn limits(max_size: u64, when_full: WhenFull) -> Bound {
        Bound { max_size, when_full, reason: GapReason::QueueFull }
    }

    fn candidates(sizes: &[u64]) -> Vec<Candidate> {
        sizes.iter().enumerate().map(|(i, &bytes)| Candidate { n: i as u64 + 1, bytes, queued: None }).collect()
    }

    #[test]
    fn drop_oldest_gives_up_just_enough_of_the_oldest() {
        let verdict = admit(&limits(100, WhenFull::DropOldest), 90, &candidates(&[10, 20, 30]), &[35]);
        assert_eq!(verdict, Admission { drop_stored: 2, arrivals: vec![Arrival::Keep] });
    }

    #[test]
    fn drop_newest_refuses_what_does_not_fit_and_still_takes_smaller_ones() {
        let verdict = admit(&limits(100, WhenFull::DropNewest), 90, &candidates(&[90]), &[20, 10, 1]);
        assert_eq!(verdict.drop_stored, 0);
        assert_eq!(verdict.arrivals, [Arrival::Refuse, Arrival::Keep, Arrival::Refuse]);
    }

    #[test]
    fn rows_in_flight_stay_even_when_that_leaves_no_room() {
        let verdict = admit(&limits(100, WhenFull::DropOldest), 95, &[], &[10]);
        assert_eq!(verdict, Admission { drop_stored: 0, arrivals: vec![Arrival::Refuse] });
    }

    #[test]
    fn a_message_larger_than_the_whole_queue_is_refused_and_costs_the_others_nothing() {
        let verdict = admit(&limits(100, WhenFull::DropOldest), 50, &candidates(&[50]), &[101, 10]);
        assert_eq!(verdict, Admission { drop_stored: 0, arrivals: vec![Arrival::Refuse, Arrival::Keep] });
    }

    #[test]
    fn rows_older_than_the_bound_go_and_a_row_without_a_time_goes_with_the_older_ones_behind_it() {
        let at = |n, queued: Option<i64>| Candidate { n, bytes: 1, queued: queued.map(Timestamp) };
        let rows = [at(1, None), at(2, Some(1_000)), at(3, None), at(4, Some(50_000))];
        let limits = Limits { max_size: 100, max_age: Duration::from_secs(60), when_full: WhenFull::DropOldest };
        assert_eq!(expired(&limits, |_| Timestamp(61_000), &rows), 0);
        assert_eq!(expired(&limits, |_| Timestamp(61_001), &rows), 2);
        assert_eq!(expired(&limits, |_| Timestamp(200_000), &rows), 4);
        assert_eq!(expired(&limits, |_| Timestamp(200_000), &[at(1, None)]), 0, "nothing says that it is old");
    }

    proptest! {
        /// One by one, over a plain deque: the group decision must come to the same.
        #[test]
        fn a_group_is_decided_as_its_messages_would_be_one_by_one(
            stored in prop::collection::vec(1u64..60, 0..12),
            in_flight in 0usize..5,
            arriving in prop::collection::vec(1u64..130, 0..12),
            oldest: bool,
        ) {
            let limits = limits(120, if oldest { WhenFull::DropOldest } else { WhenFull::DropNewest });
            let in_flight = in_flight.min(stored.len());
            let total: u64 = stored.iter().sum();
            prop_assume!(total <= limits.max_size);

            let needed = shortfall(&limits, total, &arriving);
            let mut offered = Vec::new();
            let mut offered_bytes = 0;
            for candidate in candidates(&stored[in_flight..]) {
                if offered_bytes >= needed { break; }
                offered_bytes += candidate.bytes;
                offered.push(candidate);
            }
            let verdict = admit(&limits, total, &offered, &arriving);

            let mut model: VecDeque<(bool, usize, u64)> =
                stored[in_flight..].iter().enumerate().map(|(i, &b)| (true, i, b)).collect();
            let held: u64 = stored[..in_flight].iter().sum();
            let mut expected = vec![Arrival::Keep; arriving.len()];
            let mut dropped = 0;
            for (i, &size) in arriving.iter().enumerate() {
                let sum = |m: &VecDeque<(bool, usize, u64)>| m.iter().map(|e| e.2).sum::<u64>() + held;
                while oldest && size <= limits.max_size && sum(&model) + size > limits.max_size {
                    match model.pop_front() {
                        Some((true, ..)) => dropped += 1,
                        Some((false, j, _)) => expected[j] = Arrival::Overtaken,
                        None => break,
                    }
                }
                if sum(&model) + size <= limits.max_size { model.push_back((false, i, size)) } else { expected[i] = Arrival::Refuse }
            }
            prop_assert_eq!(verdict.arrivals, expected);
            prop_assert_eq!(verdict.drop_stored, dropped);
        }
    }
}
