//! What the hub decided for clients and the gateway's own subscribers, carried out: nothing of it can wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{debug, warn};

use super::HubTask;
use crate::broker::counters::Counters;
use crate::broker::words::{Shown, ToClient};
use crate::mqtt::Reason;

/// How long publishers are held for a subscriber to drain its queue to a quarter.
const PATIENCE: Duration = Duration::from_millis(50);

impl HubTask {
    /// Lets clients in, or not.
    pub(super) fn admit(&mut self) {
        for (key, outcome) in std::mem::take(&mut self.hub.out.admitted) {
            let is_in = outcome.is_ok();
            let Some(admitted) = self.entering.remove(&key) else { continue };
            // Its task is gone already: nobody else would say goodbye.
            if admitted.send(outcome).is_err() && is_in {
                self.hub.disconnect(key, true, None, self.clock.now());
            }
        }
    }

    /// Carries out everything that can't wait.
    pub(super) fn flush(&mut self) {
        self.admit();
        for (key, mut last_words) in std::mem::take(&mut self.hub.out.parting) {
            self.entering.remove(&key);
            if let Some(outbox) = self.outboxes.remove(&key) {
                outbox.put(&mut last_words);
            }
        }
        self.read_pages();
        let mut touched = std::mem::take(&mut self.hub.out.touched);
        let mut starved = false;
        for key in touched.drain(..) {
            let Some(id) = self.hub.take_list(key, &mut self.list) else { continue };
            let Some(outbox) = self.outboxes.get(&key) else {
                self.list.clear();
                continue;
            };
            if self.list.is_empty() {
                continue;
            }
            let put = outbox.put(&mut self.list);
            if put.pressed {
                self.pressed.push(outbox.clone());
            }
            self.counters.dropped.fetch_add(put.dropped, Ordering::Relaxed);
            starved |= put.starved;
            if put.overflow_began {
                warn!(
                    client = %Shown(&id),
                    "a subscriber is slower than what it subscribed to; messages for it are dropped until it catches up"
                );
            }
        }
        self.hub.out.touched = touched;
        if starved {
            self.relieve();
        }
        for key in std::mem::take(&mut self.hub.out.removed) {
            self.outboxes.remove(&key);
            self.entering.remove(&key);
        }
        for (outlet, message) in self.hub.out.live.drain(..) {
            let (live, dropped) = &self.outlets[outlet];
            if live.try_send(message).is_err() {
                dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        for (key, published, by) in std::mem::take(&mut self.hub.out.local) {
            let Some(reader) = self.locals.get(&key) else { continue };
            if !reader.give(&published, by) {
                self.locals.remove(&key);
                self.hub.unsubscribe_local(key);
            }
        }
        for (token, outcome) in self.hub.out.settled.drain(..) {
            if let Some(done) = self.waiting.remove(&token) {
                // Whoever asked may have gone; then nobody needs the answer.
                let _ = done.send(outcome);
            }
        }
        self.tell_refusals();
        self.count();
    }

    /// What waits for all clients together has reached its bound: the one that holds most of it has to go, and one at a time.
    pub(super) fn relieve(&mut self) {
        if self.condemned.upgrade().is_some() {
            return;
        }
        let Some(outbox) = self.outboxes.values().max_by_key(|outbox| outbox.bytes()) else { return };
        self.condemned = Arc::downgrade(outbox);
        warn!(
            bytes = outbox.bytes(),
            "the messages that wait for slow subscribers have no more room; the slowest is disconnected"
        );
        outbox.put(&mut vec![ToClient::Close(Reason::QUOTA_EXCEEDED)]);
    }

    pub(super) fn tell_refusals(&mut self) {
        let (refused, why) = std::mem::take(&mut self.hub.out.refused);
        if refused > 0 {
            self.counters.dropped.fetch_add(refused, Ordering::Relaxed);
            if !std::mem::replace(&mut self.refusing, true) {
                let why = why.map(tracing::field::display);
                warn!(error = why, "messages that have to be kept are refused; their publishers are told");
            }
        }
        let refused = std::mem::take(&mut self.hub.out.local_refused);
        if refused > 0 {
            self.counters.dropped.fetch_add(refused, Ordering::Relaxed);
            debug!(messages = refused, "commands come faster than they can be looked at; their publishers are told");
        }
        let dropped = std::mem::take(&mut self.hub.out.backlog_dropped) + std::mem::take(&mut self.hub.out.damaged);
        self.counters.dropped.fetch_add(dropped, Ordering::Relaxed);
        for client in self.hub.out.overflowing.drain(..) {
            warn!(
                client = %Shown(&client),
                "as much waits for a client as is kept for one; further messages for it are dropped until it fetches some"
            );
        }
        let retained = std::mem::take(&mut self.hub.out.retained_refused);
        if retained > 0 {
            self.counters.dropped.fetch_add(retained, Ordering::Relaxed);
            if !std::mem::replace(&mut self.retained_full, true) {
                let topic = self.hub.out.retained_refused_topic.take();
                warn!(
                    topic = %Shown(topic.as_deref().unwrap_or("")),
                    "no room for more retained messages; subscribers got this one, later ones will not"
                );
            }
        }
    }

    pub(super) fn count(&mut self) {
        let (clients, subscriptions, retained) = self.hub.counts();
        self.counters.clients.store(clients as u64, Ordering::Relaxed);
        self.counters.subscriptions.store(subscriptions as u64, Ordering::Relaxed);
        self.counters.retained.store(retained as u64, Ordering::Relaxed);
        Counters::add(&self.counters.received, std::mem::take(&mut self.hub.out.received));
        Counters::add(&self.counters.received_bytes, std::mem::take(&mut self.hub.out.received_bytes));
    }

    /// Gives subscribers whose queue fills the time to catch up, so that a burst between quick clients loses nothing: those who published
    /// meanwhile are held, and nobody else. A subscriber that does not catch up is not waited for again before it has.
    pub(super) fn pace(&mut self) {
        let (turns, pressed) = (std::mem::take(&mut self.turns), std::mem::take(&mut self.pressed));
        if pressed.is_empty() || turns.is_empty() {
            return;
        }
        let (clock, until) = (self.clock, self.clock.now() + PATIENCE);
        self.holds.spawn(async move {
            for outbox in pressed {
                tokio::select! {
                    () = outbox.drained() => {}
                    () = clock.sleep_until(until) => outbox.set_lagging(),
                }
            }
            drop(turns);
        });
    }
}
