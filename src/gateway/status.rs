//! Collects how every part is doing into one snapshot, for health messages, the web pages, the control socket and the demo.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use super::notify;
use super::progress::{Hung, Progress};
use super::rates::Rates;
use super::uplinks::Tallies;
use crate::broker::Broker;
use crate::clock::Clock;
use crate::model::{BusStatus, Monotonic, Name, Snapshot, UplinkStatus};
use crate::process;

/// Reports that the hub did not take for so long mean that it is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// Where an uplink tells how it is doing, and the count of QoS 0 messages that found its channel full.
pub type UplinkWatch = (watch::Receiver<UplinkStatus>, Arc<AtomicU64>);

/// The ends of all status channels.
pub struct StatusBoard {
    gateway: Name,
    clock: Clock,
    broker: Arc<Broker>,
    /// Changed when the gateway starts and at a reload; held for a copy.
    parts: RwLock<Parts>,
    rates: Mutex<Rates>,
    /// Every task that has to make progress.
    pub progress: Progress,
    last_beat_ms: AtomicU64,
}

/// The parts that come and go with the configuration, in the order of the file.
#[derive(Default)]
pub struct Parts {
    /// One a bus.
    pub buses: Vec<watch::Receiver<BusStatus>>,
    /// One an uplink.
    pub uplinks: Vec<UplinkWatch>,
    /// The counters of its rules.
    pub rules: Vec<Tallies>,
}

impl StatusBoard {
    /// A board without buses and uplinks.
    pub fn new(gateway: Name, clock: Clock, broker: Arc<Broker>) -> StatusBoard {
        let (parts, rates) = (RwLock::default(), Mutex::default());
        let progress = Progress::new(notify::patience());
        progress.watch("the broker's hub".into(), broker.pulse(), Duration::ZERO, clock.now());
        StatusBoard { gateway, clock, broker, parts, rates, progress, last_beat_ms: AtomicU64::new(0) }
    }

    /// From now on it is about these.
    pub fn show(&self, parts: Parts) {
        *self.parts.write().unwrap_or_else(PoisonError::into_inner) = parts;
    }

    /// The counters of all bridge rules.
    pub fn rules(&self) -> Vec<Tallies> {
        self.parts.read().unwrap_or_else(PoisonError::into_inner).rules.clone()
    }

    /// Tells that the reports still get through the hub. To be called about once a second.
    pub fn beat(&self, now: Monotonic) {
        self.last_beat_ms.store(u64::try_from(now.0.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let parts = self.parts.read().unwrap_or_else(PoisonError::into_inner);
        let acknowledged: Vec<(Name, u64)> = (parts.uplinks.iter())
            .map(|(status, _)| {
                let status = status.borrow();
                (status.uplink.clone(), status.acknowledged)
            })
            .collect();
        drop(parts);
        let counters = acknowledged.iter().map(|(name, count)| (name, *count));
        self.rates.lock().unwrap_or_else(PoisonError::into_inner).look(now, counters);
    }

    /// Messages that the cloud acknowledges in a second, as the mean of the last ten; `None` until that is known.
    pub fn rate(&self, uplink: &Name) -> Option<f64> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner).of(uplink)
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
        let uplink = |(status, overflowed): &UplinkWatch| {
            let mut status = status.borrow().clone();
            status.dropped_qos0 += overflowed.load(Ordering::Relaxed);
            status
        };
        let parts = self.parts.read().unwrap_or_else(PoisonError::into_inner);
        Snapshot {
            gateway: self.gateway.clone(),
            version: env!("CARGO_PKG_VERSION"),
            taken: self.clock.wall(),
            clock_synced: self.clock.is_synced(),
            uptime: now.0,
            resident_bytes: process::resident_bytes(),
            stuck: stuck.into_iter().chain(self.hung(now).iter().map(Hung::to_string)).collect(),
            buses: parts.buses.iter().map(|bus| bus.borrow().clone()).collect(),
            broker: Some(self.broker.status()),
            uplinks: parts.uplinks.iter().map(uplink).collect(),
        }
    }
}
