//! The hub's part in the `$SYS` topics: whether anybody watches, what there is to tell, and telling it the way of every message.

use std::time::Duration;

use super::super::sys::{Holdings, Sys, Totals, message};
use super::super::words::Published;
use super::Hub;
use super::outlets::Outlet;
use super::publishing::Origin;
use crate::model::{Filter, Message, Monotonic, Publisher};

/// The first level of the broker's own topics.
const LEVEL: &str = "$SYS";

/// Whether an outlet wants any of the topics: then they are published as if somebody had subscribed.
pub(super) fn is_forwarded(outlets: &mut [Outlet]) -> bool {
    let leaves = Sys::default().leaves(&Totals::default(), &Holdings::default(), Duration::ZERO);
    let messages: Vec<Message> = leaves.iter().filter_map(message).collect();
    outlets.iter_mut().any(|(_, selector)| messages.iter().any(|message| selector.wants(message)))
}

impl Hub {
    /// Whether the counters are to be looked at: the interval has passed, or somebody has just subscribed to what they say.
    pub fn wants_totals(&self, now: Monotonic) -> bool {
        self.sys_asked || self.sys.is_due(now)
    }

    /// Looks at the counters. Publishes what changed, if it is time for that and anybody watches.
    pub fn totals(&mut self, totals: &Totals, now: Monotonic) {
        let is_due = self.sys.is_due(now);
        if is_due {
            self.sys.look(totals, now);
        }
        let asked = std::mem::take(&mut self.sys_asked);
        if !asked && !self.is_sys_watched() {
            return;
        }
        let leaves = self.sys.leaves(totals, &self.holdings(), now.since(Monotonic::default()));
        if asked {
            // A new subscriber is given what is true now, and nobody else is told before it is time.
            for message in leaves.iter().filter_map(message) {
                // It has room for all of them.
                let _ = self.sys.retained.set(&Published { message, at: now }.into(), false);
            }
        }
        if is_due {
            for message in self.sys.changes(leaves) {
                self.publish(Origin::Gateway, &Publisher::Gateway, message, None, now);
            }
        }
    }

    /// Somebody has subscribed to this.
    pub(super) fn note_watcher(&mut self, filter: &Filter) {
        self.sys_asked |= filter.split('/').next() == Some(LEVEL);
    }

    pub(super) fn is_sys_watched(&self) -> bool {
        self.sys_forwarded || self.routes.begins_with(LEVEL)
    }

    fn holdings(&self) -> Holdings {
        let (clients, subscriptions, retained) = self.counts();
        let shared = self.routes.shared_len();
        Holdings {
            connected: clients as u64,
            disconnected: self.clients.len().saturating_sub(self.connected) as u64,
            expired: self.expired,
            subscriptions: (subscriptions - shared) as u64,
            shared_subscriptions: shared as u64,
            retained: (retained + self.sys.retained.len()) as u64,
            stored: (retained + self.sys.retained.len()) as u64,
            stored_bytes: (self.retained.payload_bytes() + self.sys.retained.payload_bytes()) as u64,
        }
    }
}
