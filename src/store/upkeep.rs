//! When the database file is made smaller and its log is cut: after a burst or an outage, and never in the way of what waits. Pure.
//!
//! Pages that hold nothing are used again, but SQLite gives none back by itself. `auto_vacuum` would, and costs a page or two more in every
//! commit; so the file is rebuilt once little is left in it, which takes as long as it takes to write that little.

use std::time::Duration;

use super::space::Files;
use crate::model::Monotonic;

/// How often it is looked at, if anything was written.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A file that holds at most so many bytes is rebuilt: about 0.1 s on an SSD and 1 s on a card, in which nothing is committed.
const MOST_KEPT: u64 = 16 << 20;

/// Less than this to be won is not worth it.
const LEAST_WON: u64 = 16 << 20;

/// Between two rebuilds.
const REBUILD_EVERY: Duration = Duration::from_secs(600);

/// A log that is larger is cut when it has been brought into the file. SQLite goes on in it from its beginning when it reaches 4 MiB.
const LOG: u64 = 5 << 20;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chore {
    /// Bring the log into the file and cut it.
    CutLog,
    /// Rebuild the file without the pages that hold nothing, and cut the log.
    Rebuild,
}

/// When to look, and what to do.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// Something was written since the last look.
    look_at: Option<Monotonic>,
    rebuilt: Option<Monotonic>,
}

impl Upkeep {
    /// Something was written.
    pub(super) fn written(&mut self, now: Monotonic) {
        self.look_at.get_or_insert(now + LOOK_EVERY);
    }

    /// When it wants to look.
    pub(super) fn deadline(&self) -> Option<Monotonic> {
        self.look_at
    }

    /// Whether to look now; it was looked then.
    pub(super) fn is_due(&mut self, now: Monotonic) -> bool {
        self.look_at.take_if(|at| *at <= now).is_some()
    }

    /// What to do about files that look like this.
    pub(super) fn chore(&mut self, now: Monotonic, files: Files) -> Option<Chore> {
        let Files { pages, unused, log, .. } = files;
        let rested = self.rebuilt.is_none_or(|last| now.since(last) >= REBUILD_EVERY);
        if unused >= LEAST_WON && pages.saturating_sub(unused) <= MOST_KEPT {
            if rested {
                self.rebuilt = Some(now);
                return Some(Chore::Rebuild);
            }
            // Also if nothing is written until then.
            self.look_at.get_or_insert(self.rebuilt.unwrap_or(now) + REBUILD_EVERY);
        }
        (log > LOG).then_some(Chore::CutLog)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAINED: Files = Files { pages: 2 << 30, unused: (2 << 30) - 100_000, file: 2 << 30, log: 4 << 20 };

    fn s(seconds: u64) -> Monotonic {
        Monotonic::from_millis(seconds * 1000)
    }

    #[test]
    fn a_file_that_was_drained_is_rebuilt_and_then_left_alone_for_a_while() {
        let mut upkeep = Upkeep::default();
        assert!(!upkeep.is_due(s(100)) && upkeep.deadline().is_none(), "nothing was written");
        upkeep.written(s(100));
        upkeep.written(s(104));
        assert_eq!(upkeep.deadline(), Some(s(105)));
        assert!(upkeep.is_due(s(105)) && !upkeep.is_due(s(106)));
        assert_eq!(upkeep.chore(s(105), DRAINED), Some(Chore::Rebuild));
        assert_eq!(upkeep.chore(s(300), DRAINED), None);
        assert_eq!(upkeep.deadline(), Some(s(705)), "and looked at again when its time has come");
        assert_eq!(upkeep.chore(s(705), DRAINED), Some(Chore::Rebuild));
    }

    #[test]
    fn a_file_with_much_in_it_or_little_to_win_is_not_rebuilt() {
        let mut upkeep = Upkeep::default();
        assert_eq!(upkeep.chore(s(0), Files { unused: 1 << 30, ..DRAINED }), None);
        assert_eq!(upkeep.chore(s(0), Files { pages: 10 << 20, unused: 9 << 20, ..Files::default() }), None);
    }

    #[test]
    fn a_log_that_has_grown_is_cut() {
        let files = Files { pages: 1 << 20, log: 16 << 20, ..Files::default() };
        assert_eq!(Upkeep::default().chore(s(0), files), Some(Chore::CutLog));
    }
}
