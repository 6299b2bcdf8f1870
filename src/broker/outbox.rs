//! What waits between the hub and one connection, bounded by count and bytes, and by what all of them share.
//!
//! The hub puts a whole batch in under one short lock and wakes the connection once; the connection takes all of it at once. A
//! message counts until it is written into the connection's send buffer, so the bound covers both sides of the hand-over.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::pool::Pool;
use super::words::ToClient;
use crate::model::QoS;

/// Entries that an empty mailbox keeps room for.
const ROOM_KEPT: usize = 64;

/// Bytes that may wait for a client even when the pool is used up by others.
const SHARE: usize = 64 << 10;

/// One connection's mailbox.
#[derive(Debug)]
pub(super) struct Outbox {
    entries: Mutex<VecDeque<ToClient>>,
    wake: Notify,
    messages: AtomicUsize,
    bytes: AtomicUsize,
    max_messages: usize,
    max_bytes: usize,
    pool: Arc<Pool>,
    overflowed: AtomicBool,
    /// The connection has drained it to a quarter.
    relaxed: Notify,
    /// It did not do so in the time it was given.
    lagging: AtomicBool,
    /// The highest number of a kept session that the connection has written.
    sent: AtomicU64,
}

/// What became of [`Outbox::put`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Put {
    /// Messages for which there was no room.
    pub dropped: u64,
    /// Whether a QoS 1 or 2 message was among them for the first time since there was room.
    pub overflow_began: bool,
    /// It is more than half full, or all together are, and its reader is quick enough to be waited for.
    pub pressed: bool,
    /// All together left no room for it.
    pub starved: bool,
}

impl Outbox {
    pub fn new(max_messages: usize, max_bytes: usize, pool: Arc<Pool>) -> Outbox {
        Outbox {
            entries: Mutex::default(),
            wake: Notify::new(),
            messages: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            max_messages,
            max_bytes,
            pool,
            overflowed: AtomicBool::new(false),
            relaxed: Notify::new(),
            lagging: AtomicBool::new(false),
            sent: AtomicU64::new(0),
        }
    }

    /// Moves `list` in and wakes the connection. Acknowledgements, retained messages that were asked for and numbered ones always find room:
    /// there are only as many as the client caused, or the hub lets be in flight.
    pub fn put(&self, list: &mut Vec<ToClient>) -> Put {
        let mut result = Put::default();
        // The hub alone adds, so what is read here can only have become less.
        let (mut messages, mut bytes) = (self.messages.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        let (messages_before, bytes_before) = (messages, bytes);
        {
            let mut entries = self.entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            for entry in list.drain(..) {
                if let ToClient::Deliver(delivery) = &entry {
                    let cost = delivery.published.cost();
                    let starved = bytes + cost > SHARE && !self.pool.has_room(bytes - bytes_before + cost);
                    // One that is larger than the queue goes alone.
                    let large = bytes + cost > self.max_bytes && bytes > 0;
                    let full = messages >= self.max_messages || large || starved;
                    if full && !delivery.from_retained && delivery.n == 0 {
                        result.starved |= starved;
                        result.dropped += 1;
                        if delivery.qos > QoS::AtMostOnce && !self.overflowed.swap(true, Ordering::Relaxed) {
                            result.overflow_began = true;
                        }
                        continue;
                    }
                    messages += 1;
                    bytes += cost;
                }
                entries.push_back(entry);
            }
            // Before the connection can take and release them.
            self.messages.fetch_add(messages - messages_before, Ordering::Relaxed);
            self.bytes.fetch_add(bytes - bytes_before, Ordering::Relaxed);
            self.pool.take(bytes - bytes_before);
        }
        self.wake.notify_one();
        if messages > self.max_messages / 2 || bytes > self.max_bytes / 2 || self.uses_up_the_pool(bytes) {
            result.pressed = !self.lagging.load(Ordering::Relaxed);
        } else if self.is_relaxed() {
            self.lagging.store(false, Ordering::Relaxed);
        }
        result
    }

    fn is_relaxed(&self) -> bool {
        let (messages, bytes) = (self.messages.load(Ordering::Relaxed), self.bytes());
        messages <= self.max_messages / 4 && bytes <= self.max_bytes / 4 && !self.uses_up_the_pool(bytes)
    }

    fn uses_up_the_pool(&self, bytes: usize) -> bool {
        bytes > SHARE && self.pool.is_pressed()
    }

    /// What the messages in it cost.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns when the connection has drained it to a quarter.
    pub async fn drained(&self) {
        while !self.is_relaxed() {
            self.relaxed.notified().await;
        }
        // One notification wakes one, and several may wait.
        self.relaxed.notify_one();
    }

    /// Its reader was waited for in vain: not again before it has caught up.
    pub fn set_lagging(&self) {
        self.lagging.store(true, Ordering::Relaxed);
    }

    /// Moves everything to the end of `into`.
    pub fn take(&self, into: &mut VecDeque<ToClient>) {
        let mut entries = self.entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if into.is_empty() {
            std::mem::swap(&mut *entries, into);
        } else {
            into.append(&mut entries);
        }
    }

    /// Gives back the room that a burst took.
    pub fn shrink(&self) {
        self.entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner).shrink_to(ROOM_KEPT);
    }

    /// So much has been written or dropped by the connection.
    pub fn release(&self, messages: usize, bytes: usize) {
        let left = self.messages.fetch_sub(messages, Ordering::Relaxed) - messages;
        let left_bytes = self.bytes.fetch_sub(bytes, Ordering::Relaxed) - bytes;
        self.pool.give(bytes);
        if left <= self.max_messages / 2 && left_bytes <= self.max_bytes / 2 {
            self.overflowed.store(false, Ordering::Relaxed);
        }
        if self.is_relaxed() {
            self.relaxed.notify_one();
        }
    }

    /// Whether QoS 1 or 2 messages have been dropped and the queue has not drained to a half since.
    pub fn is_overflowed(&self) -> bool {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// The connection has written messages up to this number.
    pub fn note_sent(&self, n: u64) {
        self.sent.store(n, Ordering::Relaxed);
    }

    /// The highest number that was written.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Returns when something may have been put in since the last call.
    pub async fn changed(&self) {
        self.wake.notified().await;
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.pool.give(self.bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::{Delivery, Published, SubscriptionIds};
    use super::*;
    use crate::model::{Message, Monotonic, Topic};
    use crate::mqtt::{Reason, Received};

    fn outbox(max_messages: usize, max_bytes: usize) -> Outbox {
        Outbox::new(max_messages, max_bytes, Arc::new(Pool::new(1 << 30)))
    }

    fn delivery(qos: QoS, from_retained: bool) -> ToClient {
        let message = Message::new(Topic::new("t").unwrap(), "x", qos, false);
        let published = Arc::new(Published { message, at: Monotonic::default() });
        ToClient::Deliver(Delivery {
            published,
            qos,
            retain: false,
            from_retained,
            n: 0,
            dup: false,
            subscription_ids: SubscriptionIds::None,
        })
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted_and_the_beginning_is_told_once() {
        let outbox = outbox(2, 1 << 20);
        let mut list: Vec<_> = (0..4).map(|_| delivery(QoS::AtLeastOnce, false)).collect();
        assert_eq!(outbox.put(&mut list), Put { dropped: 2, overflow_began: true, pressed: true, starved: false });
        assert_eq!(
            outbox.put(&mut vec![delivery(QoS::AtLeastOnce, false)]),
            Put { dropped: 1, overflow_began: false, pressed: true, starved: false }
        );
        assert!(outbox.is_overflowed());
        let mut taken = VecDeque::new();
        outbox.take(&mut taken);
        assert_eq!(taken.len(), 2);
        // Taken but not written: still no room.
        assert_eq!(outbox.put(&mut vec![delivery(QoS::AtMostOnce, false)]).dropped, 1);
        outbox.release(2, 2 * 98);
        assert!(!outbox.is_overflowed());
        assert_eq!(outbox.put(&mut vec![delivery(QoS::AtMostOnce, false)]).dropped, 0);
    }

    #[test]
    fn acknowledgements_and_retained_messages_find_room_in_a_full_box() {
        let outbox = outbox(0, 0);
        let mut list = vec![ToClient::Release(Received(0), Reason::SUCCESS), delivery(QoS::AtMostOnce, true)];
        assert_eq!(outbox.put(&mut list).dropped, 0);
        let mut taken = VecDeque::new();
        outbox.take(&mut taken);
        assert_eq!(taken.len(), 2);
    }

    #[tokio::test]
    async fn a_reader_that_was_waited_for_in_vain_is_waited_for_again_once_it_has_caught_up() {
        let outbox = outbox(8, 1 << 20);
        let fill = |n| outbox.put(&mut (0..n).map(|_| delivery(QoS::AtMostOnce, false)).collect());
        assert!(!fill(4).pressed && fill(1).pressed);
        outbox.set_lagging();
        assert!(!fill(1).pressed);
        outbox.release(2, 2 * 98);
        assert!(!fill(1).pressed, "it has not caught up yet");
        outbox.release(5, 5 * 98);
        outbox.drained().await;
        assert!(!fill(1).pressed && fill(4).pressed);
    }

    #[tokio::test]
    async fn what_all_hold_together_is_bounded_and_everyone_keeps_a_share() {
        // 700 messages of 98 bytes are a little more than a share; the pool has room for 1,000.
        let pool = Arc::new(Pool::new(1_000 * 98));
        let boxes = [(); 2].map(|()| Outbox::new(1_000_000, 1 << 30, pool.clone()));
        let fill = |outbox: &Outbox, n| outbox.put(&mut (0..n).map(|_| delivery(QoS::AtMostOnce, false)).collect());
        assert_eq!(fill(&boxes[0], 900), Put { pressed: true, ..Put::default() });
        let second = fill(&boxes[1], 700);
        assert_eq!((second.dropped, second.starved), (700 - (SHARE / 98) as u64, true));
        // Room that comes back is there for all, also that of a mailbox that is gone.
        boxes[0].release(850, 850 * 98);
        assert!(!fill(&boxes[1], 1).starved);
        drop(boxes);
        assert!(pool.has_room(1_000 * 98) && !pool.has_room(1_000 * 98 + 1));
    }
}
