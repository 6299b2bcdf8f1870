//! Collects how every part is doing into one snapshot, for health messages, the web pages and the demo.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::notify;
use super::progress::{Hung, Progress};
use crate::broker::Broker;
use crate::clock::Clock;
use crate::model::{BusStatus, Monotonic, Name, Snapshot, UplinkStatus};
use crate::process;

/// Reports that the hub did not take for so long mean that it is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// The ends of all status channels.
pub struct StatusBoard {
    gateway: Name,
    clock: Clock,
    broker: Arc<Broker>,
    /// One a bus, in the order of the file.
    pub buses: Vec<watch::Receiver<BusStatus>>,
    /// One an uplink, with the count of QoS 0 messages that found its channel full.
    pub uplinks: Vec<(watch::Receiver<UplinkStatus>, Arc<AtomicU64>)>,
    /// Every task that lives as long as the gateway.
    pub progress: Progress,
    last_beat_ms: AtomicU64,
}

impl StatusBoard {
    /// A board without buses and uplinks.
    pub fn new(gateway: Name, clock: Clock, broker: Arc<Broker>) -> StatusBoard {
        let progress = Progress::new(notify::patience());
        progress.watch("the broker's hub".into(), broker.pulse(), Duration::ZERO, clock.now());
        let last_beat_ms = AtomicU64::new(0);
        StatusBoard { gateway, clock, broker, buses: Vec::new(), uplinks: Vec::new(), progress, last_beat_ms }
    }

    /// Tells that the reports still get through the hub.
    pub fn beat(&self, now: Monotonic) {
        self.last_beat_ms.store(u64::try_from(now.0.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The tasks that make no progress.
    pub fn hung(&self, now: Monotonic) -> Vec<Hung> {
        self.progress.hung(now)
    }

    /// Everything, now. Takes microseconds.
    pub fn snapshot(&self) -> Snapshot {
        let now = self.clock.now();
        let silence = now.since(Monotonic::from_millis(self.last_beat_ms.load(Ordering::Relaxed)));
        let stuck = (silence > STUCK_AFTER).then(|| {
            format!(
                "the broker's hub has taken no message of the gateway for {} s; is the disk answering?",
                silence.as_secs()
            )
        });
        let uplink = |(status, overflowed): &(watch::Receiver<UplinkStatus>, Arc<AtomicU64>)| {
            let mut status = status.borrow().clone();
            status.dropped_qos0 += overflowed.load(Ordering::Relaxed);
            status
        };
        Snapshot {
            gateway: self.gateway.clone(),
            version: env!("CARGO_PKG_VERSION"),
            taken: self.clock.wall(),
            clock_synced: self.clock.is_synced(),
            uptime: now.0,
            resident_bytes: process::resident_bytes(),
            stuck: stuck.into_iter().chain(self.hung(now).iter().map(Hung::to_string)).collect(),
            buses: self.buses.iter().map(|bus| bus.borrow().clone()).collect(),
            broker: Some(self.broker.status()),
            uplinks: self.uplinks.iter().map(uplink).collect(),
        }
    }
}
