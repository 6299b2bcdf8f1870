//! What the broker counts: written by the hub and the connections, read by whoever wants to know how it is doing.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::sys::Totals;
use crate::model::BrokerStatus;

/// The counters of one broker. The first three go up and down.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub clients: AtomicU64,
    pub subscriptions: AtomicU64,
    pub retained: AtomicU64,
    /// PUBLISH packets from clients, and their payloads.
    pub received: AtomicU64,
    pub received_bytes: AtomicU64,
    /// PUBLISH packets to clients, and their payloads.
    pub sent: AtomicU64,
    pub sent_bytes: AtomicU64,
    pub dropped: AtomicU64,
    /// Packets of any kind, and everything that went over the sockets.
    pub packets_in: AtomicU64,
    pub packets_out: AtomicU64,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    /// Connections accepted.
    pub sockets: AtomicU64,
}

impl Counters {
    /// Adds, if there is something to add.
    pub fn add(counter: &AtomicU64, n: u64) {
        if n > 0 {
            counter.fetch_add(n, Relaxed);
        }
    }

    /// For the health report and the metrics.
    pub fn status(&self) -> BrokerStatus {
        BrokerStatus {
            clients: self.clients.load(Relaxed),
            subscriptions: self.subscriptions.load(Relaxed),
            retained: self.retained.load(Relaxed),
            received: self.received.load(Relaxed),
            sent: self.sent.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
        }
    }

    /// For the `$SYS` topics.
    pub fn totals(&self) -> Totals {
        Totals {
            bytes_received: self.bytes_in.load(Relaxed),
            bytes_sent: self.bytes_out.load(Relaxed),
            messages_received: self.packets_in.load(Relaxed),
            messages_sent: self.packets_out.load(Relaxed),
            publish_received: self.received.load(Relaxed),
            publish_sent: self.sent.load(Relaxed),
            publish_dropped: self.dropped.load(Relaxed),
            publish_bytes_received: self.received_bytes.load(Relaxed),
            publish_bytes_sent: self.sent_bytes.load(Relaxed),
            sockets: self.sockets.load(Relaxed),
        }
    }
}
