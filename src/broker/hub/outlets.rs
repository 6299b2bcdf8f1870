//! What the uplinks get: asked of their selectors for each message and when their time comes, and handed to the store or sent at once.

use super::super::durable::AckTo;
use super::super::selector::{Outgoing, Selector};
use super::{Hub, sys};
use crate::model::{Message, Monotonic, Priority, Publisher, Stamp};
use crate::store::{Piece, QueueId, Work};

/// An uplink's queue, and what it wants.
pub(super) type Outlet = (QueueId, Box<dyn Selector>);

impl Hub {
    fn stamp(&self, now: Monotonic) -> Stamp {
        Stamp { monotonic: now, since_boot: None, wall: self.wall.unwrap_or_default(), synced: self.wall.is_some() }
    }

    /// Offers a message to every uplink. Whether one of them has it now.
    pub(super) fn offer(&mut self, by: &Publisher, message: &Message, now: Monotonic) -> bool {
        let at = self.stamp(now);
        let before = (self.out.live.len(), self.jobs.len());
        for index in 0..self.outlets.len() {
            let mut outgoing = std::mem::take(&mut self.outgoing);
            self.outlets[index].1.take(by, message, at, &mut outgoing);
            self.send_out(index, outgoing);
        }
        before != (self.out.live.len(), self.jobs.len())
    }

    /// Offers what is retained to one uplink; `old`, only what was so when the hub started.
    pub fn offer_retained(&mut self, index: usize, old: bool, now: Monotonic) {
        if index >= self.outlets.len() {
            return;
        }
        let began = self.began;
        let messages: Vec<_> = self.retained.messages().filter(|kept| !old || kept.at <= began).collect();
        let at = self.stamp(now);
        for published in messages {
            let mut outgoing = std::mem::take(&mut self.outgoing);
            self.outlets[index].1.take(&Publisher::Gateway, &published.message, at, &mut outgoing);
            self.send_out(index, outgoing);
        }
        self.write_jobs(false, None);
    }

    /// From now on this is the uplink with that index; one more than there are is a new one. What waited in the selector before it is handed to
    /// the store.
    pub fn set_outlet(&mut self, index: usize, outlet: Outlet, now: Monotonic) {
        let at = self.stamp(now);
        if index < self.outlets.len() {
            let mut outgoing = std::mem::take(&mut self.outgoing);
            self.outlets[index].1.flush(at, &mut outgoing);
            self.send_out(index, outgoing);
            self.write_jobs(false, None);
            self.outlets[index] = outlet;
        } else {
            self.outlets.push(outlet);
        }
        self.sys_forwarded = sys::is_forwarded(&mut self.outlets);
    }

    /// When an uplink's selector lets something go by itself.
    pub(super) fn outlets_due(&self) -> Option<Monotonic> {
        self.outlets.iter().filter_map(|(_, selector)| selector.next_due()).min()
    }

    /// Lets the selectors let go what is due.
    pub(super) fn tick_outlets(&mut self, now: Monotonic) {
        let at = self.stamp(now);
        for index in 0..self.outlets.len() {
            if self.outlets[index].1.next_due().is_some_and(|due| due <= now) {
                let mut outgoing = std::mem::take(&mut self.outgoing);
                self.outlets[index].1.tick(at, &mut outgoing);
                self.send_out(index, outgoing);
            }
        }
        self.write_jobs(false, None);
    }

    /// The hub stops: what waits in the selectors is handed to the store.
    pub fn flush_outlets(&mut self, now: Monotonic) {
        let at = self.stamp(now);
        for index in 0..self.outlets.len() {
            let mut outgoing = std::mem::take(&mut self.outgoing);
            self.outlets[index].1.flush(at, &mut outgoing);
            self.send_out(index, outgoing);
        }
        self.write_jobs(false, None);
    }

    fn send_out(&mut self, index: usize, mut outgoing: Vec<Outgoing>) {
        let queue = self.outlets[index].0;
        for outgoing in outgoing.drain(..) {
            let work = match outgoing {
                Outgoing::Live(message) => {
                    self.out.live.push((index, message));
                    continue;
                }
                Outgoing::Queued { message, is_urgent } => Work::Message { queue: class(queue, is_urgent), message },
                Outgoing::Piece { batch, bundle, is_urgent, message } => {
                    Work::Piece { queue: class(queue, is_urgent), piece: Piece { batch, bundle, message } }
                }
                Outgoing::Close { batch, is_urgent } => Work::Close { queue: class(queue, is_urgent), batch },
            };
            self.jobs.push((work, AckTo::Nobody));
        }
        self.outgoing = outgoing;
    }
}

fn class(queue: QueueId, is_urgent: bool) -> QueueId {
    queue.of(if is_urgent { Priority::High } else { Priority::Normal })
}
