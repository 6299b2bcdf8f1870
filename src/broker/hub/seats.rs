//! Who is there: connected clients and the gateway's own subscriptions, each in a numbered seat.
//!
//! A seat that was left is given to somebody else under a new generation, so that a late word from the one before is not heard.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::super::local_room::LocalRoom;
use super::super::routing::Subscription;
use super::super::words::{Key, ToClient};
use crate::model::{Filter, Message, Topic};

/// All seats.
#[derive(Default)]
pub(super) struct Seats {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

/// One seat.
pub(super) struct Slot {
    generation: u32,
    pub endpoint: Option<Endpoint>,
    /// For the hub's matching: the number of the last message that found this seat, and its place among those found.
    pub seen: (u64, usize),
}

/// Who sits in a seat.
pub(super) enum Endpoint {
    Client(Client),
    Local(LocalSeat),
}

/// A subscription of the gateway itself.
pub(super) struct LocalSeat {
    pub filter: Filter,
    /// With it nothing is lost: what finds no room is refused. Without, it is dropped.
    pub room: Option<Arc<LocalRoom>>,
}

/// A client and what the hub has for it.
pub(super) struct Client {
    pub id: Arc<str>,
    pub will: Option<Message>,
    pub subscriptions: HashMap<Filter, Subscription>,
    /// What they cost.
    pub subscription_bytes: usize,
    pub feeds: VecDeque<Feed>,
    pub turn: Turn,
    pub list: Vec<ToClient>,
}

/// Where a client stands with its retained messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is owed none.
    Idle,
    /// It is in the hub's queue, once.
    Queued,
    /// [`ToClient::More`] has been sent and not been answered: what it was given has not been written yet.
    AwaitsReady,
}

/// Retained messages on their way to a new subscription.
pub(super) struct Feed {
    pub filter: Filter,
    pub subscription: Subscription,
    pub after: Option<Topic>,
}

impl Seats {
    /// Gives somebody a seat.
    pub fn seat(&mut self, endpoint: Endpoint) -> Key {
        if let Some(slot) = self.free.pop() {
            let place = &mut self.slots[slot as usize];
            place.endpoint = Some(endpoint);
            return Key { slot, generation: place.generation };
        }
        self.slots.push(Slot { generation: 0, endpoint: Some(endpoint), seen: (0, 0) });
        Key { slot: self.slots.len() as u32 - 1, generation: 0 }
    }

    /// The seat is empty from now on.
    pub fn vacate(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key.slot as usize) else { return };
        if slot.generation == key.generation && slot.endpoint.take().is_some() {
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(key.slot);
        }
    }

    /// The seat with this number, whoever sits there.
    pub fn slot(&mut self, key: Key) -> Option<&mut Slot> {
        self.slots.get_mut(key.slot as usize)
    }

    /// Who sits there, if it is still the one that `key` was given to.
    pub fn endpoint(&self, key: Key) -> Option<&Endpoint> {
        self.slots.get(key.slot as usize).filter(|slot| slot.generation == key.generation)?.endpoint.as_ref()
    }

    /// The client that `key` was given to, connected or with its last list to come.
    pub fn client(&mut self, key: Key) -> Option<&mut Client> {
        match self.slots.get_mut(key.slot as usize) {
            Some(Slot { generation, endpoint: Some(Endpoint::Client(client)), .. })
                if *generation == key.generation =>
            {
                Some(client)
            }
            _ => None,
        }
    }
}
