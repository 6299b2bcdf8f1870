//! The pulse of a task that lives as long as the gateway: it beats each time the task's loop comes round.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts the rounds of a task's loop. Clones are one pulse: the task beats it, whoever watches over the task reads it.
///
/// An idle loop has to come round, too: it wakes up at least every [`Pulse::EVERY`].
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// The longest that an idle loop may rest.
    pub const EVERY: Duration = Duration::from_secs(3);

    /// The loop came round.
    pub fn beat(&self) {
        // Nothing else is handed over with it, so it needs no order.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it has beaten; wraps after some thousand years.
    pub fn beats(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether nobody but the caller holds it: the task has ended.
    pub fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_are_one_pulse_and_it_is_known_when_the_task_is_gone() {
        let ours = Pulse::default();
        let theirs = ours.clone();
        theirs.beat();
        assert_eq!(ours.beats(), 1);
        assert!(!ours.is_alone());
        drop(theirs);
        assert!(ours.is_alone());
    }
}
