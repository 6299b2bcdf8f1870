//! How much a subscription of the gateway itself may have waiting, when nothing of it may be lost.
//!
//! The hub takes room before it puts a message in, and the reader gives it back: what finds no room is refused, and its publisher
//! is told so instead of being acknowledged.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::words::Published;

/// Messages that can wait at most: each costs [`LEAST_COST`] or more.
pub(super) const MESSAGES: usize = 8_192;
/// What an empty message costs, in bytes.
const LEAST_COST: usize = 96;
/// Bytes above which nothing more is taken; the last message may pass it.
const BYTES: usize = MESSAGES * LEAST_COST;

/// The bytes that wait.
#[derive(Debug, Default)]
pub(super) struct LocalRoom(AtomicUsize);

impl LocalRoom {
    /// Takes room for a message, if there is any.
    pub fn take(&self, published: &Published) -> bool {
        // The hub alone takes, so what is read here can only have become less.
        let is_there = self.0.load(Ordering::Relaxed) < BYTES;
        if is_there {
            self.0.fetch_add(cost(published), Ordering::Relaxed);
        }
        is_there
    }

    /// The reader has it.
    pub fn give_back(&self, published: &Published) {
        self.0.fetch_sub(cost(published), Ordering::Relaxed);
    }
}

fn cost(published: &Published) -> usize {
    published.cost().max(LEAST_COST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Message, Monotonic, QoS, Topic};

    #[test]
    fn there_is_room_until_so_many_bytes_wait_and_again_when_they_are_read() {
        let payload = vec![0; BYTES - 200];
        let message = Message::new(Topic::new("t").unwrap(), payload, QoS::AtLeastOnce, false);
        let published = Published { message, at: Monotonic::default() };
        let room = LocalRoom::default();
        assert!(room.take(&published) && room.take(&published), "the last one may pass the limit");
        assert!(!room.take(&published));
        room.give_back(&published);
        assert!(room.take(&published));
    }
}
