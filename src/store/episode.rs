//! Loss by policy, told once: drops that follow one another are one episode with one log line and one gap report, or one
//! report an hour while it lasts. Pure.

use std::time::Duration;

use crate::model::{Monotonic, Timestamp};

/// An episode is over when nothing was dropped for so long.
const QUIET: Duration = Duration::from_secs(60);

/// An episode that goes on is reported so often.
const REPORT_EVERY: Duration = Duration::from_secs(3600);

/// Why messages were given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// The queue was at `max_size`.
    QueueFull,
    /// The disk had no room for more.
    DiskFull,
    /// They were larger than `max_size`.
    TooLarge,
    /// They had waited longer than `max_age`.
    TooOld,
    /// They were put aside: refused by the cloud for good, or damaged on disk.
    SetAside,
    /// The database was damaged, and they could not be salvaged from it.
    Damaged,
}

impl GapReason {
    const COUNT: usize = 6;

    /// The word in payloads and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            GapReason::QueueFull => "queue_full",
            GapReason::DiskFull => "disk_full",
            GapReason::TooLarge => "too_large",
            GapReason::TooOld => "too_old",
            GapReason::SetAside => "set_aside",
            GapReason::Damaged => "damaged",
        }
    }

    pub(super) fn code(self) -> i64 {
        match self {
            GapReason::QueueFull => 0,
            GapReason::TooOld => 1,
            GapReason::SetAside => 2,
            GapReason::Damaged => 3,
            GapReason::DiskFull => 4,
            GapReason::TooLarge => 5,
        }
    }

    pub(super) fn from_code(code: i64) -> GapReason {
        match code {
            1 => GapReason::TooOld,
            2 => GapReason::SetAside,
            3 => GapReason::Damaged,
            4 => GapReason::DiskFull,
            5 => GapReason::TooLarge,
            _ => GapReason::QueueFull,
        }
    }
}

/// Messages that were given up and never reach the uplink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// How many.
    pub dropped: u64,
    /// When the oldest of them was queued, if the clock was set.
    pub from: Option<Timestamp>,
    /// When the newest of them was queued.
    pub to: Option<Timestamp>,
    /// Why.
    pub reason: GapReason,
}

impl Loss {
    fn add(&mut self, more: &Loss) {
        self.dropped += more.dropped;
        self.from = earliest(self.from, more.from);
        self.to = self.to.max(more.to);
    }
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

/// The losses of one queue, gathered into episodes.
#[derive(Debug, Clone, Default)]
pub(super) struct Episode {
    untold: Option<Loss>,
    running: Option<Running>,
    /// When each reason occurred last: two that take turns are each in the log once.
    last: [Option<Monotonic>; GapReason::COUNT],
}

#[derive(Debug, Clone, Copy)]
struct Running {
    last: Monotonic,
    told: Monotonic,
}

impl Episode {
    /// Takes up a loss that an earlier process did not get to report.
    pub(super) fn resume(untold: Option<Loss>) -> Episode {
        Episode { untold, ..Episode::default() }
    }

    /// Notes a loss. True when an episode begins with it: say so in the log. A finished episode of another reason has to be
    /// collected with [`Episode::due`] before.
    pub(super) fn note(&mut self, now: Monotonic, loss: Loss) -> bool {
        match &mut self.untold {
            Some(untold) => untold.add(&loss),
            None => self.untold = Some(loss),
        }
        let last = self.last[loss.reason as usize].replace(now);
        let begins = last.is_none_or(|last| now.since(last) >= QUIET);
        let told = self.running.map_or(now, |running| running.told);
        self.running = Some(Running { last: now, told });
        begins
    }

    /// The report that is due: at the end of an episode, hourly within one, before one for another reason.
    pub(super) fn due(&mut self, now: Monotonic, next: Option<GapReason>) -> Option<Loss> {
        let untold = self.untold?;
        let over = self.running.is_none_or(|running| now.since(running.last) >= QUIET);
        let changes = next.is_some_and(|next| next != untold.reason);
        if over {
            self.running = None;
        }
        let hourly = self.running.is_some_and(|running| now.since(running.told) >= REPORT_EVERY);
        if !(over || changes || hourly) {
            return None;
        }
        if let Some(running) = &mut self.running {
            running.told = now;
        }
        self.untold.take()
    }

    /// Puts a report back that could not be handed over; it is due again after a quiet time.
    pub(super) fn put_back(&mut self, now: Monotonic, loss: Loss) {
        match &mut self.untold {
            Some(untold) => untold.add(&loss),
            None => self.untold = Some(loss),
        }
        self.running.get_or_insert(Running { last: now, told: now }).last = now;
    }

    /// When [`Episode::due`] wants to be asked again.
    pub(super) fn deadline(&self) -> Option<Monotonic> {
        self.untold?;
        Some(
            self.running
                .map_or(Monotonic::default(), |running| (running.last + QUIET).min(running.told + REPORT_EVERY)),
        )
    }

    /// What is not yet reported, to be kept on disk.
    pub(super) fn untold(&self) -> Option<Loss> {
        self.untold
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_reasons_that_take_turns_are_each_logged_once() {
        let mut episode = Episode::default();
        let reasons = [GapReason::QueueFull, GapReason::TooLarge];
        let begun = (0..120).filter(|n| episode.note(s(*n), loss(1, 1, reasons[*n as usize % 2])));
        assert_eq!(begun.count(), 2);
    }

    use super::*;

    fn loss(dropped: u64, at: i64, reason: GapReason) -> Loss {
        Loss { dropped, from: Some(Timestamp(at)), to: Some(Timestamp(at)), reason }
    }

    fn s(seconds: u64) -> Monotonic {
        Monotonic::from_millis(seconds * 1000)
    }

    #[test]
    fn drops_that_follow_one_another_are_one_episode_with_one_report() {
        let mut episode = Episode::default();
        assert!(episode.note(s(0), loss(2, 10, GapReason::QueueFull)));
        assert!(!episode.note(s(30), loss(3, 40, GapReason::QueueFull)));
        assert_eq!(episode.deadline(), Some(s(90)));
        assert_eq!(episode.due(s(89), None), None);
        let told = episode.due(s(90), None).expect("60 s without a drop end it");
        assert_eq!((told.dropped, told.from, told.to), (5, Some(Timestamp(10)), Some(Timestamp(40))));
        assert_eq!(episode.due(s(500), None), None);
        assert_eq!(episode.deadline(), None);
        assert!(episode.note(s(501), loss(1, 50, GapReason::QueueFull)), "a new one");
    }

    #[test]
    fn an_episode_that_does_not_end_is_reported_every_hour_and_logged_once() {
        let mut episode = Episode::default();
        let mut reports = 0;
        let mut begun = 0;
        for second in (0..3 * 3600).step_by(10) {
            begun += u32::from(episode.note(s(second), loss(1, 1, GapReason::QueueFull)));
            reports += u32::from(episode.due(s(second), None).is_some());
        }
        assert_eq!((begun, reports), (1, 2));
    }

    #[test]
    fn another_reason_ends_the_episode_before_it_begins_its_own() {
        let mut episode = Episode::default();
        episode.note(s(0), loss(1, 1, GapReason::QueueFull));
        let told = episode.due(s(1), Some(GapReason::TooOld)).expect("the first one is told apart");
        assert_eq!(told.reason, GapReason::QueueFull);
        assert!(episode.note(s(1), loss(1, 1, GapReason::TooOld)));
    }

    #[test]
    fn what_a_dead_process_left_untold_is_told_at_once() {
        let mut episode = Episode::resume(Some(loss(7, 1, GapReason::QueueFull)));
        assert_eq!(episode.deadline(), Some(s(0)));
        assert_eq!(episode.due(s(0), None).map(|l| l.dropped), Some(7));
    }
}
