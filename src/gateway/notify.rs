//! What systemd is told: that the gateway is ready, what it does, and, while every task makes progress, that it is alive (sd_notify(3)).
//! The only file that names the notify crate.
//!
//! Without systemd all of this does nothing. When it can't be told, the gateway goes on: systemd acts upon silence by itself.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use super::sentence;
use super::status::StatusBoard;
use crate::clock::Clock;
use crate::model::Snapshot;

/// How often tasks are looked at and the status is told, at most; three times in a watchdog's period if that is shorter.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A task may be silent for so long when nobody has set a watchdog.
const PATIENCE: Duration = Duration::from_secs(30);

/// The listeners are bound and the buses run.
pub fn ready(snapshot: &Snapshot) {
    tell(&[NotifyState::Ready, NotifyState::Status(&sentence::of(snapshot))]);
}

/// The configuration is read again; [`ready`] ends that, whether it was taken or refused.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now, NotifyState::Status("reading the configuration again")]),
        // `Type=notify-reload` would wait for ever for a reload without its time.
        Err(error) => debug!(%error, "systemd is not told of the reload"),
    }
}

/// The gateway stops.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// For how long a task may be silent: systemd's own patience with us (`WatchdogSec=`).
pub(super) fn patience() -> Duration {
    sd_notify::watchdog_enabled().unwrap_or(PATIENCE)
}

/// Feeds the watchdog while no task is hung, and keeps the status true, until `cancel`.
///
/// A hung task is told in the log, and then nothing is fed: when it goes on in time all is well, else systemd ends the process with
/// SIGABRT and starts it again.
pub(super) async fn mind(board: Arc<StatusBoard>, clock: Clock, cancel: CancellationToken) -> Result<(), Infallible> {
    let every = sd_notify::watchdog_enabled().map_or(LOOK_EVERY, |period| LOOK_EVERY.min(period / 3));
    let mut told = String::new();
    let mut known = BTreeSet::new();
    loop {
        let hung = board.hung(clock.now());
        if hung.is_empty() {
            tell(&[NotifyState::Watchdog]);
        }
        for task in hung.iter().filter(|task| !known.contains(&task.name)) {
            error!(
                task = %task.name, seconds = task.silence.as_secs(),
                "a part of the gateway makes no progress; unless that changes, systemd's watchdog restarts the gateway"
            );
        }
        let still: BTreeSet<String> = hung.into_iter().map(|task| task.name).collect();
        known.difference(&still).for_each(|task| info!(%task, "the part makes progress again"));
        known = still;
        let status = sentence::of(&board.snapshot());
        if status != told {
            tell(&[NotifyState::Status(&status)]);
            told = status;
        }
        if cancel.run_until_cancelled(clock.sleep(every)).await.is_none() {
            return Ok(());
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "systemd could not be told");
    }
}
