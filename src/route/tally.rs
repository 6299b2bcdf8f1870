//! What rules have done, in counters that are written here and read elsewhere.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::rule::Miss;

/// The counters of one rule.
#[derive(Debug, Default)]
pub struct Tally {
    taken: AtomicU64,
    left: AtomicU64,
    unmatched: AtomicU64,
    unclear: AtomicU64,
    unshaped: AtomicU64,
    last: Mutex<Option<Miss>>,
}

/// The counters of one rule at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that it took.
    pub taken: u64,
    /// Messages that left by it: fewer where it thins out, folds or batches.
    pub left: u64,
    /// Messages on its topics that `when` was false for.
    pub unmatched: u64,
    /// Messages that `when` could not tell of: a field is missing, or the payload is no JSON.
    pub unclear: u64,
    /// Messages that could not be brought into the form that it wants.
    pub unshaped: u64,
    /// Why the last of these two was not.
    pub last_reason: Option<String>,
}

impl Tally {
    pub(super) fn take(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn miss(&self, miss: Miss) {
        let counter = match &miss {
            Miss::Topic | Miss::Excepted(_) => return,
            Miss::When => {
                self.unmatched.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Miss::Unclear(_) => &self.unclear,
            _ => &self.unshaped,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        // Its text is made when somebody asks.
        if let Ok(mut last) = self.last.lock() {
            *last = Some(miss);
        }
    }

    /// The counters now.
    pub fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            taken: of(&self.taken),
            left: of(&self.left),
            unmatched: of(&self.unmatched),
            unclear: of(&self.unclear),
            unshaped: of(&self.unshaped),
            last_reason: self.last.lock().ok().and_then(|last| last.as_ref().map(Miss::to_string)),
        }
    }
}
