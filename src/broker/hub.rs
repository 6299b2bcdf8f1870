//! The one publish path, as a pure core: who is connected, who gets what, what has to be safe before an acknowledgement.
//!
//! Inputs are the methods that take `now`; outputs are collected in [`Outputs`] and in each client's list until the task that owns
//! the hub carries them out. Local subscribers get a message at once; its publisher is answered when the store has it.
//!
//! `sessions` lets clients in and out, `publishing` matches and delivers, `subscriptions` is what its name says, `settling` takes the store's
//! answers; `outflow` and `intake` are the two directions of a session that is kept.

mod intake;
mod kept;
mod outflow;
mod outlets;
mod publishing;
mod seats;
mod sessions;
mod settling;
mod subscriptions;
mod sys;
#[cfg(test)]
mod tests;
mod wills;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::Limits;
use super::durable::{AckTo, Durable, Owner};
use super::local_room::LocalRoom;
use super::retained::Retained;
use super::routing::{Routes, Subscription};
use super::selector::Outgoing;
use super::sys::Sys;
use super::words::{Admission, FromClient, Key, Published, Seat, ToClient};
use crate::model::{Filter, Message, Monotonic, Publisher, QoS, Timestamp, Topic};
use crate::mqtt::Reason;
use crate::store::{Append, BrokerWrite, Intake, Refusal, SessionId, Urgency, Work};

use outflow::Bounds;
use outlets::Outlet;
use publishing::{Job, Match, Origin};
use seats::{Endpoint, LocalSeat, Seats, Turn};
use subscriptions::Request;

/// Room that a client's list keeps when it is empty.
const LIST_KEPT: usize = 256;

/// The hub's state.
pub(super) struct Hub {
    limits: Limits,
    bounds: Bounds,
    seats: Seats,
    /// Sessions by client identifier.
    clients: HashMap<Arc<str>, Seat>,
    /// How many of them have a connection, and how many are kept.
    connected: usize,
    kept: usize,
    /// Sessions that ended because their client stayed away.
    expired: u64,
    /// Seconds that a session may outlive its connection; `None` when there is no store to keep it.
    session_expiry_s: Option<u32>,
    last_session: SessionId,
    /// When what was on disk was taken up.
    began: Monotonic,
    /// Sessions without a connection, by when they end.
    ending: BTreeSet<(Monotonic, Seat)>,
    /// Wills of clients that are away, by when they are due.
    wills: BTreeSet<(Monotonic, Seat)>,
    routes: Routes,
    retained: Retained,
    sys: Sys,
    /// Somebody has just subscribed to `$SYS` topics.
    sys_asked: bool,
    /// An outlet wants some of them.
    sys_forwarded: bool,
    outlets: Vec<Outlet>,
    durable: Durable,
    /// Clients with retained messages to come and room for them.
    feeding: VecDeque<Key>,
    /// Requests that are answered when their change is on disk.
    requests: HashMap<u64, Request>,
    next_request: u64,
    /// Writes that were refused and are to be tried again, and when.
    again: Vec<(BrokerWrite, AckTo)>,
    again_at: Option<Monotonic>,
    /// Sessions whose next page depends on the next commit.
    awaiting_commit: Vec<Owner>,
    /// No store, or none any more.
    store_gone: bool,
    /// The wall time; `None` while the clock has not been set.
    wall: Option<Timestamp>,
    /// Scratch of [`Hub::publish`]: who matched, by seat, and what is to be written.
    matched: Vec<Match>,
    jobs: Vec<Job>,
    outgoing: Vec<Outgoing>,
    epoch: u64,
    /// What the owner has to carry out.
    pub out: Outputs,
}

/// What there is to do besides the clients' lists.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    /// Clients whose list ([`Hub::take_list`]) has something in it.
    pub touched: Vec<Key>,
    /// Clients that wait to be let in, and what became of that.
    pub admitted: Vec<(Key, Result<Admission, Reason>)>,
    /// Connections that are no longer a client's, and what they are still to be told.
    pub parting: Vec<(Key, Vec<ToClient>)>,
    /// Connections that are gone.
    pub removed: Vec<Key>,
    /// To be written; the answer is a [`CommitReport`](crate::store::CommitReport).
    pub appends: Vec<Append>,
    /// To be read; the answer is for [`Hub::page_came`].
    pub pages: Vec<PageWanted>,
    /// For the outlet with this index, now or never.
    pub live: Vec<(usize, Message)>,
    /// For subscriptions of the gateway itself; room for it is taken.
    pub local: Vec<(Key, Arc<Published>, Publisher)>,
    /// Messages that a subscription of the gateway had no room for; their publishers are told.
    pub local_refused: u64,
    /// What became of the gateway's own messages that asked.
    pub settled: Vec<(u64, Result<(), Refusal>)>,
    /// Messages that had to be kept and that the store refused: how many, and why the first was.
    pub refused: (u64, Option<Refusal>),
    /// Retained messages that found no room.
    pub retained_refused: u64,
    /// The topic of the last of them.
    pub retained_refused_topic: Option<Topic>,
    /// Messages for which the backlog of a kept session had no room, and the clients for which that began.
    pub backlog_dropped: u64,
    pub overflowing: Vec<Arc<str>>,
    /// Messages that were damaged on disk.
    pub damaged: u64,
    /// PUBLISH packets taken from clients.
    pub received: u64,
    /// The bytes of their payloads.
    pub received_bytes: u64,
}

/// Part of the backlog of a session that is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageWanted {
    pub owner: Owner,
    /// The first number.
    pub from: u64,
    /// Comes back with the answer.
    pub asked: u64,
}

impl Hub {
    /// Nobody connected, nothing retained, and no session is kept until [`Hub::restore`].
    pub fn new(limits: Limits, mut outlets: Vec<Outlet>) -> Hub {
        Hub {
            limits,
            sys: Sys::default(),
            sys_asked: false,
            sys_forwarded: sys::is_forwarded(&mut outlets),
            bounds: kept::bounds(&limits, 0),
            seats: Seats::default(),
            clients: HashMap::new(),
            connected: 0,
            kept: 0,
            expired: 0,
            session_expiry_s: None,
            last_session: SessionId(0),
            began: Monotonic::default(),
            ending: BTreeSet::new(),
            wills: BTreeSet::new(),
            routes: Routes::default(),
            retained: Retained::new(limits.retained_messages, limits.retained_bytes),
            outlets,
            durable: Durable::default(),
            feeding: VecDeque::new(),
            requests: HashMap::new(),
            next_request: 0,
            again: Vec::new(),
            again_at: None,
            awaiting_commit: Vec::new(),
            store_gone: false,
            wall: None,
            matched: Vec::new(),
            jobs: Vec::new(),
            outgoing: Vec::new(),
            epoch: 0,
            out: Outputs::default(),
        }
    }

    /// From now on these limits hold, and so many seconds at most for sessions, where any are kept. What is held already stays, also where it is
    /// more.
    pub fn configure(&mut self, limits: Limits, session_expiry_s: u32) {
        self.limits = limits;
        self.retained.resize(limits.retained_messages, limits.retained_bytes);
        self.session_expiry_s = self.session_expiry_s.map(|_| session_expiry_s);
        self.bounds = kept::bounds(&limits, self.connected);
    }

    /// Clients connected, subscriptions and retained messages held now.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.connected, self.routes.len(), self.retained.len())
    }

    /// The wall time from here on; `None` when the clock has not been set.
    pub fn set_wall(&mut self, wall: Option<Timestamp>) {
        self.wall = wall;
    }

    /// Something from a client. From one that is gone it is ignored: it was not acknowledged.
    pub fn client_says(&mut self, key: Key, input: FromClient, now: Monotonic) {
        let Some(client) = self.seats.client(key) else { return };
        match input {
            FromClient::Publish { message, received, once } => {
                let by = Publisher::Client { id: client.id.clone(), user: None };
                self.sys.stir();
                self.out.received += 1;
                self.out.received_bytes += message.payload.len() as u64;
                let ack = match (received, once) {
                    (Some(received), Some(packet_id)) => match self.take_in(key, packet_id, received) {
                        Some(ack) => Some(ack),
                        None => return,
                    },
                    (received, _) => received.map(|received| AckTo::Client(key, received)),
                };
                self.publish(Origin::Client(key.seat()), &by, message, ack, now);
            }
            FromClient::PubRel(packet_id) => self.released(key, packet_id),
            FromClient::Recorded(n) => self.pubrec_came(key, n),
            FromClient::Done(first, last) => self.done(key, first, last),
            FromClient::Subscribe { packet_id, id, filters } => self.subscribe(key, packet_id, id, filters),
            FromClient::Unsubscribe { packet_id, filters } => self.unsubscribe(key, packet_id, filters),
            FromClient::Ready => {
                if client.turn == Turn::AwaitsReady {
                    client.turn = Turn::Queued;
                    self.feeding.push_back(key);
                }
            }
        }
    }

    /// A message of the gateway itself, or one that it passes on for somebody. With a `token`, [`Outputs::settled`] tells what
    /// became of it.
    pub fn publish_local(&mut self, by: &Publisher, message: Message, token: Option<u64>, now: Monotonic) {
        self.sys.stir();
        let from = if *by == Publisher::Gateway { Origin::Gateway } else { Origin::Elsewhere };
        self.publish(from, by, message, token.map(AckTo::Local), now);
    }

    /// A cloud's message at QoS 2: that it came is written together with all that it causes.
    pub fn publish_once(&mut self, by: &Publisher, message: Message, token: u64, intake: Intake, now: Monotonic) {
        self.sys.stir();
        self.publish(Origin::Elsewhere, by, message, Some(AckTo::Once(token, intake)), now);
    }

    /// A subscription of the gateway itself. It sees messages as they are published, retain flag included, and none from before.
    /// With `room`, what finds none is refused rather than dropped.
    pub fn subscribe_local(&mut self, filter: Filter, room: Option<Arc<LocalRoom>>) -> Key {
        let key = self.seats.seat(Endpoint::Local(LocalSeat { filter: filter.clone(), room }));
        let all = Subscription { qos: QoS::ExactlyOnce, no_local: false, retain_as_published: true, id: None };
        self.routes.subscribe(&filter, key.seat(), all);
        key
    }

    /// Nobody reads that subscription any more.
    pub fn unsubscribe_local(&mut self, key: Key) {
        if let Some(Endpoint::Local(local)) = self.seats.endpoint(key) {
            self.routes.unsubscribe(&local.filter, key.seat());
            self.seats.vacate(key.seat());
        }
    }

    /// When there is something to do for no other reason than the time.
    pub fn next_due(&self) -> Option<Monotonic> {
        let session = self.ending.first().map(|(at, _)| *at);
        let will = self.wills.first().map(|(at, _)| *at);
        let sys = self.sys.next_due(self.is_sys_watched());
        [self.retained.next_expiry(), session, will, self.again_at, sys, self.outlets_due()].into_iter().flatten().min()
    }

    /// Forgets retained messages and sessions that have expired, publishes wills whose time has come, and tries again what was refused.
    pub fn expire(&mut self, now: Monotonic) {
        for topic in self.retained.expire(now) {
            self.write(BrokerWrite::Unretained(topic), Urgency::Batched, AckTo::Nobody);
        }
        self.publish_due_wills(now);
        self.tick_outlets(now);
        while let Some((at, seat)) = self.ending.first().copied()
            && at <= now
        {
            self.expired += 1;
            self.end_session(seat, now);
        }
        if self.again_at.is_some_and(|at| at <= now) {
            self.again_at = None;
            for (write, ack) in std::mem::take(&mut self.again) {
                self.write(write, Urgency::Awaited, ack);
            }
            self.look_for_pages();
        }
    }

    /// What a client in [`Outputs::touched`] is to be given, and who it is. Leaves the list empty.
    pub fn take_list(&mut self, key: Key, into: &mut Vec<ToClient>) -> Option<Arc<str>> {
        let client = self.seats.client(key)?;
        into.append(&mut client.list);
        // A burst must not leave its room behind for each client.
        client.list.shrink_to(LIST_KEPT);
        Some(client.id.clone())
    }

    /// Has one thing written; `ack` hears of it.
    fn write(&mut self, write: BrokerWrite, urgency: Urgency, ack: AckTo) {
        let ticket = self.durable.ticket();
        self.out.appends.push(Append { ticket, what: Work::Broker(write), urgency });
        self.durable.wait(ticket, ack);
    }

    fn tell(&mut self, key: Key, what: ToClient) {
        let Some(client) = self.seats.client(key) else { return };
        if client.list.is_empty() {
            self.out.touched.push(key);
        }
        client.list.push(what);
    }
}
