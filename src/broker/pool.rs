//! What waits for all clients together, in bytes: the bound on what many slow ones can cost, however much each may.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Shared by all mailboxes of a broker.
#[derive(Debug)]
pub(super) struct Pool {
    used: AtomicUsize,
    max: AtomicUsize,
}

impl Pool {
    /// Of so many bytes.
    pub fn new(max: usize) -> Pool {
        Pool { used: AtomicUsize::new(0), max: AtomicUsize::new(max) }
    }

    /// From now on it is of so many bytes.
    pub fn resize(&self, max: usize) {
        self.max.store(max, Relaxed);
    }

    /// Whether so much more fits.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.used.load(Relaxed) + bytes <= self.max.load(Relaxed)
    }

    /// Whether it is more than half full.
    pub fn is_pressed(&self) -> bool {
        self.used.load(Relaxed) > self.max.load(Relaxed) / 2
    }

    /// Takes room, whether there is any or not.
    pub fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Relaxed);
    }

    /// Gives it back.
    pub fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Relaxed);
    }
}
