//! Who still makes progress: every task that lives as long as the gateway has a pulse here, and a task whose pulse has stopped is
//! named. What follows from that is for others: the watchdog is not fed, and the health page says so.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::{Monotonic, Pulse};

/// The register of all pulses.
#[derive(Debug)]
pub struct Progress {
    patience: Duration,
    tasks: Mutex<Vec<Watched>>,
}

/// One task.
#[derive(Debug)]
struct Watched {
    name: String,
    /// What one round of its loop may take beside the register's patience.
    allowance: Duration,
    pulse: Pulse,
    seen: u64,
    changed: Monotonic,
}

/// A task whose pulse has stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hung {
    /// Which: "bus line1", "the store".
    pub name: String,
    /// For how long nothing of it was seen.
    pub silence: Duration,
}

impl Progress {
    /// An empty register. A task that was silent for more than `patience` is hung.
    pub fn new(patience: Duration) -> Progress {
        // Shorter than a few beats, and a busy machine would look like a hung task.
        Progress { patience: patience.max(3 * Pulse::EVERY), tasks: Mutex::default() }
    }

    /// Watches over a task until it drops its end of `pulse`. One round of its loop may take `allowance` longer than others.
    pub fn watch(&self, name: String, pulse: Pulse, allowance: Duration, now: Monotonic) {
        let seen = pulse.beats();
        self.tasks().push(Watched { name, allowance, pulse, seen, changed: now });
    }

    /// The tasks that are hung at `now`. To be asked every few seconds: what happened between two looks is seen at the second.
    pub fn hung(&self, now: Monotonic) -> Vec<Hung> {
        let mut tasks = self.tasks();
        // A task that has ended makes no progress either, but that is its owner's to tell.
        tasks.retain(|task| !task.pulse.is_alone());
        let patience = self.patience;
        tasks.iter_mut().filter_map(|task| task.look(patience, now)).collect()
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    fn look(&mut self, patience: Duration, now: Monotonic) -> Option<Hung> {
        let beats = self.pulse.beats();
        if beats != self.seen {
            (self.seen, self.changed) = (beats, now);
        }
        let silence = now.since(self.changed);
        (silence > patience + self.allowance).then(|| Hung { name: self.name.clone(), silence })
    }
}

impl std::fmt::Display for Hung {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} has made no progress for {} s", self.name, self.silence.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    fn register() -> (Progress, Pulse, Pulse) {
        let progress = Progress::new(Duration::from_secs(30));
        let (line, store) = (Pulse::default(), Pulse::default());
        progress.watch("bus line1".into(), line.clone(), Duration::from_secs(10), at(0));
        progress.watch("the store".into(), store.clone(), Duration::ZERO, at(0));
        (progress, line, store)
    }

    #[test]
    fn a_task_whose_pulse_stops_is_named_and_the_others_are_not() {
        let (progress, line, _store) = register();
        for second in 1..=30 {
            line.beat();
            assert_eq!(progress.hung(at(second)), []);
        }
        line.beat();
        let hung = progress.hung(at(31));
        assert_eq!(hung, [Hung { name: "the store".into(), silence: Duration::from_secs(31) }]);
        assert_eq!(hung[0].to_string(), "the store has made no progress for 31 s");
    }

    #[test]
    fn a_task_that_goes_on_is_not_hung_any_more() {
        let (progress, line, store) = register();
        assert_eq!(progress.hung(at(35)).len(), 1, "the bus has ten seconds more");
        assert_eq!(progress.hung(at(41)).len(), 2);
        store.beat();
        line.beat();
        assert_eq!(progress.hung(at(42)), []);
    }

    #[test]
    fn a_task_that_has_ended_is_forgotten() {
        let (progress, line, store) = register();
        drop((line, store));
        assert_eq!(progress.hung(at(100)), []);
    }

    #[test]
    fn no_watchdog_makes_it_so_impatient_that_a_busy_machine_looks_hung() {
        let progress = Progress::new(Duration::from_millis(100));
        let pulse = Pulse::default();
        progress.watch("the hub".into(), pulse.clone(), Duration::ZERO, at(0));
        assert_eq!(progress.hung(at(9)), []);
        assert_eq!(progress.hung(at(10)).len(), 1);
    }
}
