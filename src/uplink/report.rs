//! What an uplink says about itself: its state and counters to whoever watches, and to the log each cause once.

use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::model::{AcceptStatus, Monotonic, Name, QueueStatus, UplinkState, UplinkStatus};

/// Counters are published no more often than this; a change of state at once.
const PUBLISH_EVERY: Duration = Duration::from_millis(250);

/// Causes of one trouble that are told. A flapping link ends in different ways, and an address may change each time.
const CAUSES: usize = 8;

/// A connection that lasted so long has ended whatever trouble there was before: the next trouble is news.
const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// The voice of one uplink.
pub(super) struct Report {
    uplink: Name,
    status: watch::Sender<UplinkStatus>,
    queue: watch::Receiver<QueueStatus>,
    /// The counters as they are now; `status` may lag behind.
    pub counters: Counters,
    /// The same of what comes down.
    pub accept: AcceptStatus,
    state: UplinkState,
    /// What was told of the trouble that there is, at most [`CAUSES`]. The same again is no news.
    told: Vec<String>,
    /// Whether the log's last word was trouble.
    in_trouble: bool,
    published: Option<Monotonic>,
    stale: bool,
}

/// Counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub sent: u64,
    pub acknowledged: u64,
    pub dropped_qos0: u64,
    pub connects: u64,
}

impl Report {
    pub(super) fn new(
        uplink: Name,
        status: watch::Sender<UplinkStatus>,
        queue: watch::Receiver<QueueStatus>,
    ) -> Report {
        Report {
            uplink,
            status,
            queue,
            counters: Counters::default(),
            accept: AcceptStatus::default(),
            state: UplinkState::Starting,
            told: Vec::new(),
            in_trouble: false,
            published: None,
            stale: true,
        }
    }

    /// CONNACK came.
    pub(super) fn online(&mut self, now: Monotonic, address: &str) {
        self.counters.connects += 1;
        if self.in_trouble || self.counters.connects == 1 {
            info!(uplink = %self.uplink, cloud = address, "connected");
        } else {
            debug!(uplink = %self.uplink, cloud = address, "connected again");
        }
        self.in_trouble = false;
        self.state = UplinkState::Online;
        self.publish(now);
    }

    /// The connection is lost, or could not be made. `lasted` says for how long there was one.
    pub(super) fn offline(&mut self, now: Monotonic, why: String, lasted: Option<Duration>) {
        if lasted.is_some_and(|lasted| lasted >= SETTLED_AFTER) {
            self.told.clear();
        }
        if self.told.contains(&why) || self.told.len() >= CAUSES {
            debug!(uplink = %self.uplink, error = %why, "the cloud is still away");
        } else {
            warn!(uplink = %self.uplink, error = %why, "the cloud is away; messages wait in the queue, and it is tried again");
            self.in_trouble = true;
            self.told.push(why.clone());
        }
        self.state = UplinkState::Offline(why);
        self.publish(now);
    }

    /// The uplink was stopped.
    pub(super) fn stopped(&mut self, now: Monotonic) {
        self.state = UplinkState::Offline("stopped".into());
        self.publish(now);
    }

    /// The queue or a counter has changed: published now or, when that was done a moment ago, at [`Report::deadline`].
    pub(super) fn changed(&mut self, now: Monotonic) {
        self.stale = true;
        self.tick(now);
    }

    /// Publishes what is due.
    pub(super) fn tick(&mut self, now: Monotonic) {
        if self.stale && self.published.is_none_or(|last| now.since(last) >= PUBLISH_EVERY) {
            self.publish(now);
        }
    }

    /// When [`Report::tick`] wants to be called.
    pub(super) fn deadline(&self) -> Option<Monotonic> {
        self.stale.then(|| self.published.unwrap_or_default() + PUBLISH_EVERY)
    }

    fn publish(&mut self, now: Monotonic) {
        let Counters { sent, acknowledged, dropped_qos0, connects } = self.counters;
        self.published = Some(now);
        self.stale = false;
        self.status.send_replace(UplinkStatus {
            uplink: self.uplink.clone(),
            state: self.state.clone(),
            sent,
            acknowledged,
            dropped_qos0,
            connects,
            queue: self.queue.borrow().clone(),
            accept: self.accept.clone(),
        });
    }
}
