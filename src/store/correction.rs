//! Times from before the clock was set, made right when a row is read. Pure.
//!
//! What is in the file is never rewritten. When the clock is set, it is kept when this start of the machine began, and from which number
//! on that applies; a row reads the same from then on, also after a crash, so that what is sent again is what was sent.

use std::collections::BTreeMap;

use super::row::{Entry, Row};
use crate::model::{BootId, Stamp, correct};

/// So many rows may have been sent and not acknowledged by an earlier process: as many as a window may have.
const IN_FLIGHT: u64 = 10_000;

/// Rows that a reader may take while a transaction runs.
const READ_MEANWHILE: u64 = 10_000;

/// What is known of one start of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// When it began, in milliseconds since 1970.
    pub began: i64,
    /// Rows below this number may have been sent with the times as they were.
    pub from_n: u64,
}

/// What is known of each, for one queue.
pub(super) type Corrections = BTreeMap<BootId, Known>;

/// Makes the times of a row right, as far as they are known.
pub(super) fn make_right(corrections: &Corrections, entry: Entry) -> Entry {
    let Entry::Whole(mut row) = entry else { return entry };
    let began = |boot| corrections.get(&boot).filter(|known| row.n >= known.from_n).map(|known| known.began);
    if let Some(payload) = correct(&row.message.payload, began) {
        row.message.payload = payload.into();
    }
    Entry::Whole(Row { ..row })
}

/// Waits for the clock of this boot to be set.
#[derive(Debug, Clone)]
pub(super) struct ClockWatch {
    /// Nothing is left to find out.
    settled: bool,
    /// Rows up to this number may have been sent before this process began.
    suspect: u64,
    pending: Option<(BootId, Known)>,
}

impl ClockWatch {
    /// At the start of the process. `is_known`: when this boot began was found out before. `first`: no other process of this boot has had the
    /// queue, whose rows go from above `done` to `last`; `sent`: some of them may have been sent.
    pub(super) fn new(is_known: bool, first: bool, sent: bool, done: u64, last: u64) -> ClockWatch {
        let suspect = if first || !sent { done } else { last.min(done + IN_FLIGHT) };
        // An empty queue holds nothing from before.
        ClockWatch { settled: is_known, suspect, pending: None }
    }

    /// Whether the clock is still to be looked at now and then.
    pub(super) fn watches(&self) -> bool {
        !self.settled
    }

    /// Looks at the clock. `cursor` is the last row that was handed out, and `depth` how many rows there are; `began_synced` tells that
    /// no row of this boot can carry marks.
    pub(super) fn look(&mut self, stamp: Stamp, cursor: u64) {
        if self.settled || !stamp.synced {
            return;
        }
        let Some(since) = stamp.since_boot else { return self.settle() };
        let began = stamp.wall.0.saturating_sub(since.uptime_ms);
        self.pending.get_or_insert((since.boot, Known { began, from_n: cursor.max(self.suspect) + 1 }));
    }

    /// What is to be kept with the next commit.
    pub(super) fn pending(&self) -> Option<(BootId, Known)> {
        self.pending
    }

    /// It is kept. Returns what is known now, unless the reader has meanwhile taken rows that it is to apply to: then it is to be kept again.
    pub(super) fn kept(&mut self, cursor: u64) -> Option<(BootId, Known)> {
        let (_, known) = self.pending.as_mut()?;
        if cursor >= known.from_n {
            known.from_n = cursor + READ_MEANWHILE;
            return None;
        }
        self.settle();
        self.pending.take()
    }

    /// There is nothing to find out.
    pub(super) fn settle(&mut self) {
        self.settled = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Message, Monotonic, QoS, SinceBoot, Timestamp, Topic, mark_unsynced};

    const BOOT: BootId = BootId(7);

    fn stamp(uptime_ms: i64, wall: i64, synced: bool) -> Stamp {
        let since_boot = Some(SinceBoot { boot: BOOT, uptime_ms });
        Stamp { monotonic: Monotonic::default(), since_boot, wall: Timestamp(wall), synced }
    }

    fn row(n: u64) -> Entry {
        let mut payload = format!("{{\"ts\":\"{}\"", Timestamp(5));
        mark_unsynced(&mut payload, Some(SinceBoot { boot: BOOT, uptime_ms: 5 }));
        let topic = Topic::new("t").expect("a topic");
        Entry::Whole(Row { n, queued: None, message: Message::new(topic, payload + "}", QoS::AtLeastOnce, false) })
    }

    #[test]
    fn when_the_clock_is_set_what_was_not_handed_out_is_made_right_and_what_was_stays() {
        let mut watch = ClockWatch::new(false, true, true, 0, 0);
        watch.look(stamp(1_000, 1_000, false), 3);
        assert_eq!(watch.pending(), None);
        watch.look(stamp(2_000, 1_795_187_002_000, true), 3);
        let known = Known { began: 1_795_187_000_000, from_n: 4 };
        assert_eq!(watch.pending(), Some((BOOT, known)));
        assert_eq!(watch.kept(3), Some((BOOT, known)));
        assert!(!watch.watches() && watch.pending().is_none());
        let corrections = Corrections::from([(BOOT, known)]);
        assert_eq!(make_right(&corrections, row(3)), row(3));
        let Entry::Whole(right) = make_right(&corrections, row(4)) else { panic!("it is whole") };
        assert_eq!(right.message.payload, r#"{"ts":"2026-11-20T15:03:20.005Z"}"#);
    }

    #[test]
    fn rows_that_were_handed_out_before_it_was_kept_stay_as_they_are() {
        let mut watch = ClockWatch::new(false, true, true, 0, 0);
        watch.look(stamp(2_000, 1_795_187_002_000, true), 3);
        assert_eq!(watch.kept(9), None);
        let (_, again) = watch.pending().expect("it is to be kept again");
        assert!(again.from_n > 9);
        assert_eq!(watch.kept(20), Some((BOOT, again)));
    }

    #[test]
    fn what_an_earlier_process_may_have_sent_stays_as_it_is() {
        let from = |first, sent| {
            let mut watch = ClockWatch::new(false, first, sent, 100, 50_000);
            watch.look(stamp(2_000, 1_795_187_002_000, true), 100);
            watch.pending().map(|(_, known)| known.from_n)
        };
        assert_eq!(from(false, true), Some(100 + IN_FLIGHT + 1));
        assert_eq!(from(false, false), Some(101), "an uplink that was never connected has sent nothing");
        assert_eq!(from(true, true), Some(101), "an earlier boot's rows are not concerned");
    }
}
