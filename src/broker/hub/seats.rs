//! Who is there: clients, connected or with a session that is kept for them, and the gateway's own subscriptions, each in a numbered seat.
//!
//! A seat belongs to a session. Each of its connections sits there under a new generation, and so does whoever gets the seat after it, so
//! that a late word from the one before is not heard.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::super::local_room::LocalRoom;
use super::super::routing::Subscription;
use super::super::words::{Key, Seat, ToClient};
use super::kept::Kept;
use crate::model::{Filter, Monotonic, Topic};
use crate::mqtt::Will;

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
    /// Whether there is a connection.
    pub connected: bool,
    pub will: Option<Box<Will>>,
    /// When that is to be published, while the client is away and may come back before.
    pub will_at: Option<Monotonic>,
    pub subscriptions: HashMap<Filter, Subscription>,
    /// What they cost.
    pub subscription_bytes: usize,
    pub feeds: VecDeque<Feed>,
    pub turn: Turn,
    /// While it waits to be let in.
    pub entering: Option<Entering>,
    /// What lies ready for the connection.
    pub list: Vec<ToClient>,
    /// What is kept of a session that may outlive its connection.
    pub kept: Option<Box<Kept>>,
}

/// What a client that waits to be let in comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entering {
    /// A session that there was not.
    New,
    /// Its session, which outlives its connection by so many seconds again if this one is turned away.
    Back { expiry_s: u32 },
}

/// Where a client stands with its retained messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is owed none.
    Idle,
    /// It is in the hub's queue, once.
    Queued,
    /// More is owed to its kept session than is good for it: it goes on when some of that is done.
    AwaitsDone,
    /// [`ToClient::More`] has been sent and not been answered: what it was given has not been written yet.
    AwaitsReady,
}

/// Retained messages on their way to a new subscription.
pub(super) struct Feed {
    pub filter: Filter,
    pub subscription: Subscription,
    pub after: Option<Topic>,
}

impl Slot {
    /// Who sits here, if this is the slot of `seat`.
    pub fn key(&self, seat: Seat) -> Key {
        Key { slot: seat.0, generation: self.generation }
    }
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

    /// Seats that there are, taken or not.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// The seat is empty from now on.
    pub fn vacate(&mut self, seat: Seat) {
        let Some(slot) = self.slots.get_mut(seat.0 as usize) else { return };
        if slot.endpoint.take().is_some() {
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(seat.0);
        }
    }

    /// Another connection takes the seat: the one before it is not heard any more.
    pub fn reseat(&mut self, seat: Seat) -> Key {
        match self.slots.get_mut(seat.0 as usize) {
            Some(slot) => {
                slot.generation = slot.generation.wrapping_add(1);
                Key { slot: seat.0, generation: slot.generation }
            }
            None => Key { slot: seat.0, generation: 0 },
        }
    }

    /// The seat with this number, whoever sits there.
    pub fn slot(&mut self, seat: Seat) -> Option<&mut Slot> {
        self.slots.get_mut(seat.0 as usize)
    }

    /// Who sits there, if it is still the one that `key` was given to.
    pub fn endpoint(&self, key: Key) -> Option<&Endpoint> {
        self.slots.get(key.slot as usize).filter(|slot| slot.generation == key.generation)?.endpoint.as_ref()
    }

    /// Whether somebody is there who can be sent something now.
    pub fn is_online(&self, seat: Seat) -> bool {
        match self.slots.get(seat.0 as usize).and_then(|slot| slot.endpoint.as_ref()) {
            Some(Endpoint::Client(client)) => client.connected,
            Some(Endpoint::Local(_)) => true,
            None => false,
        }
    }

    /// The client whose connection `key` is.
    pub fn client(&mut self, key: Key) -> Option<&mut Client> {
        match self.slots.get_mut(key.slot as usize) {
            Some(Slot { generation, endpoint: Some(Endpoint::Client(client)), .. })
                if *generation == key.generation && client.connected =>
            {
                Some(client)
            }
            _ => None,
        }
    }

    /// The client of this seat, connected or not, and the key of its last connection.
    pub fn occupant(&mut self, seat: Seat) -> Option<(Key, &mut Client)> {
        match self.slots.get_mut(seat.0 as usize)? {
            Slot { generation, endpoint: Some(Endpoint::Client(client)), .. } => {
                Some((Key { slot: seat.0, generation: *generation }, client))
            }
            _ => None,
        }
    }
}
