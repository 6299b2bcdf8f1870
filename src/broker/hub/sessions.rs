//! Clients come, take over, leave and come back; sessions are kept for them, and end.
//!
//! A session that may outlive its connection is on disk before its client is let in, and so is the end of the one before it. What is kept in
//! memory for a client that is away is its subscriptions and a few numbers.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::super::durable::AckTo;
use super::super::words::{Admission, Greeting, Key, Seat, ToClient};
use super::Hub;
use super::intake::{Arrival, Released};
use super::kept::{self, Kept};
use super::seats::{Client, Endpoint, Entering, Turn};
use super::subscriptions;
use crate::model::Monotonic;
use crate::mqtt::{Reason, Received, Will};
use crate::store::{BrokerState, BrokerWrite, SessionId, Urgency};

impl Hub {
    /// Takes up what the store had kept. From now on sessions are kept, for at most `session_expiry_s`.
    pub fn restore(&mut self, state: BrokerState, session_expiry_s: u32, now: Monotonic) {
        self.began = now;
        self.session_expiry_s = Some(session_expiry_s);
        self.last_session = SessionId(state.last_session);
        let mut lost = Vec::new();
        for session in state.sessions {
            let record = &session.record;
            self.last_session = self.last_session.max(record.id);
            let kept = Kept::restored(&session, self.wall, now);
            let client = Client {
                subscriptions: session
                    .subscriptions
                    .iter()
                    .map(|s| (s.filter.clone(), kept::subscription(s)))
                    .collect(),
                subscription_bytes: session.subscriptions.iter().map(|s| subscriptions::cost(&s.filter)).sum(),
                ..new_client(record.client_id.clone(), record.will.clone())
            };
            let seat = self.seats.seat(Endpoint::Client(Client { connected: false, ..client })).seat();
            for stored in &session.subscriptions {
                self.routes.subscribe(&stored.filter, seat, kept::subscription(stored));
            }
            self.clients.insert(record.client_id.clone(), seat);
            self.kept += 1;
            self.ending.extend(kept.ends_at.map(|at| (at, seat)));
            if let Some((_, client)) = self.seats.occupant(seat) {
                client.kept = Some(Box::new(kept));
            }
            // It was lost with the broker if not before.
            let since_s = kept::elapsed_s(record.left_at, self.wall);
            if let Some(will) = self.postpone_will(seat, since_s, now) {
                lost.push((seat, will));
            }
        }
        for stored in state.retained {
            let topic = stored.message.topic.clone();
            let published = Arc::new(kept::retained(stored, self.wall, now));
            // More than the limits of today allow stays on disk, for when they are wider again.
            if self.retained.set(&published, true).is_err() {
                self.out.retained_refused += 1;
                self.out.retained_refused_topic = Some(topic);
            }
        }
        for (seat, will) in lost {
            self.publish_will(Some(will), now);
            self.write_absence(seat);
        }
        self.expire(now);
    }

    /// A client comes in; [`Outputs::admitted`](super::Outputs::admitted) tells what became of it. One with the same identifier has to go,
    /// and its will is published [MQTT-3.1.4-3], but for one with a delay when the session goes on.
    pub fn connect(&mut self, greeting: Greeting, now: Monotonic) -> Key {
        self.sys.stir();
        let expiry_s = self.session_expiry_s.map_or(0, |most| greeting.expiry_s.min(most));
        let (mut will, mut forgotten) = (None, false);
        let resumed = match self.clients.get(&greeting.client_id).copied() {
            None => None,
            Some(seat) => {
                let was_connected = self.take_over(seat);
                if !greeting.clean_start && self.is_kept(seat) {
                    // The client is back before the delay of its will has passed [MQTT-3.1.3-9], unless there is none.
                    let delayed =
                        self.seats.occupant(seat).is_some_and(|(_, c)| c.will.as_ref().is_some_and(|w| w.delay_s > 0));
                    will = self.take_will(seat).filter(|_| was_connected && !delayed);
                    Some(seat)
                } else {
                    forgotten = self.is_kept(seat);
                    self.end_session(seat, now);
                    None
                }
            }
        };
        let key = match resumed {
            Some(seat) => self.resume(seat, greeting.will, expiry_s),
            None => self.enter(greeting, expiry_s, forgotten, now),
        };
        self.publish_will(will, now);
        key
    }

    /// The connection that a session has, if any, is no longer its. Whether there was one.
    fn take_over(&mut self, seat: Seat) -> bool {
        let Some((key, client)) = self.seats.occupant(seat).filter(|(_, client)| client.connected) else {
            return false;
        };
        client.connected = false;
        let mut last_words = std::mem::take(&mut client.list);
        last_words.push(ToClient::Close(Reason::SESSION_TAKEN_OVER));
        self.count_connected(self.connected - 1);
        self.out.parting.push((key, last_words));
        self.seats.reseat(seat);
        true
    }

    fn is_kept(&mut self, seat: Seat) -> bool {
        self.seats.occupant(seat).is_some_and(|(_, client)| client.kept.is_some())
    }

    /// A client comes in with a new session; `forgotten` is whether it had one that was kept and is not wanted any more.
    fn enter(&mut self, greeting: Greeting, expiry_s: u32, forgotten: bool, now: Monotonic) -> Key {
        let id = greeting.client_id.clone();
        let key = self.seats.seat(Endpoint::Client(new_client(greeting.client_id, greeting.will)));
        self.clients.insert(id, key.seat());
        self.count_connected(self.connected + 1);
        if expiry_s == 0 {
            match self.out.appends.last_mut() {
                // Before that is written, a crash would bring the old session back.
                Some(append) if forgotten => {
                    append.urgency = Urgency::Awaited;
                    self.durable.wait(self.durable.last(), AckTo::Admission(key));
                }
                _ => self.admit(key, true, now),
            }
            return key;
        }
        if self.kept >= self.limits.sessions {
            self.admit(key, false, now);
            return key;
        }
        self.last_session.0 += 1;
        let mut kept = Kept::new(self.last_session, expiry_s);
        kept.outflow.connect();
        self.kept += 1;
        if let Some(client) = self.seats.client(key) {
            client.kept = Some(Box::new(kept));
        }
        self.write_entry(key);
        key
    }

    fn resume(&mut self, seat: Seat, will: Option<Box<Will>>, expiry_s: u32) -> Key {
        let key = self.seats.reseat(seat);
        let Some((_, client)) = self.seats.occupant(seat) else { return key };
        client.connected = true;
        client.will = will;
        client.list.clear();
        client.turn = Turn::Idle;
        if !client.feeds.is_empty() {
            client.turn = Turn::Queued;
            self.feeding.push_back(key);
        }
        if let Some(kept) = &mut client.kept {
            if !matches!(client.entering, Some(Entering::Back { .. })) {
                client.entering = Some(Entering::Back { expiry_s: kept.expiry_s });
            }
            kept.expiry_s = expiry_s;
            kept.left_at = None;
            if let Some(at) = kept.ends_at.take() {
                self.ending.remove(&(at, seat));
            }
            kept.outflow.connect();
        }
        self.count_connected(self.connected + 1);
        self.write_entry(key);
        key
    }

    /// Has it written that a session has a connection; the client is let in when it is.
    fn write_entry(&mut self, key: Key) {
        let Some(client) = self.seats.client(key) else { return };
        let Some(kept) = &client.kept else { return };
        let record = kept.record(client.id.clone(), None, u64::MAX, client.will.clone());
        self.write(BrokerWrite::Session(record), Urgency::Awaited, AckTo::Admission(key));
    }

    /// A client is let in, or sent away because its session can't be kept.
    pub(super) fn admit(&mut self, key: Key, granted: bool, now: Monotonic) {
        let Some(client) = self.seats.client(key) else { return };
        let Some(entering) = client.entering.take() else { return };
        let session_present = entering != Entering::New;
        let mut admission = Admission { key, session_present, expiry_s: 0, kept: false, received: Vec::new() };
        if let Some(kept) = &client.kept {
            admission.expiry_s = kept.expiry_s;
            admission.kept = true;
            admission.received = kept.intake.held();
        }
        if granted {
            self.sys.connected(self.connected);
            self.out.admitted.push((key, Ok(admission)));
            return self.hand(key.seat());
        }
        client.will = None;
        self.out.admitted.push((key, Err(Reason::QUOTA_EXCEEDED)));
        if let Entering::Back { expiry_s } = entering {
            if let Some(kept) = &mut client.kept {
                // Who was not let in has changed nothing: with no expiry, say, its session would end here.
                kept.expiry_s = expiry_s;
            }
            self.part(key);
            self.leave(key.seat(), now);
        } else {
            self.end_session(key.seat(), now);
        }
    }

    /// A client is gone. Its will is published if it is `lost`. `expiry_s` is there when it changed its mind about its session, and `sent` is
    /// the highest number that it was sent. Nothing happens when it was taken over before.
    pub fn disconnect(&mut self, key: Key, lost: bool, expiry_s: Option<u32>, now: Monotonic) {
        let most = self.session_expiry_s.unwrap_or(0);
        let Some(client) = self.seats.client(key) else { return };
        // A client that says goodbye has no will any more, also after a crash: that is written as soon as it can be.
        let had_will = !lost && client.will.take().is_some();
        if let (Some(kept), Some(asked)) = (&mut client.kept, expiry_s) {
            kept.expiry_s = asked.min(most);
        }
        self.part(key);
        self.leave(key.seat(), now);
        if had_will && let Some(append) = self.out.appends.last_mut() {
            append.urgency = Urgency::Awaited;
        }
    }

    /// A connection has sent messages up to this number of its session.
    pub fn note_sent(&mut self, key: Key, n: u64) {
        if let Some(kept) = self.seats.client(key).and_then(|client| client.kept.as_mut()) {
            kept.outflow.note_sent(n);
        }
    }

    /// Whose connection a client identifier is, if it has one.
    pub fn connection_of(&mut self, client_id: &str) -> Option<Key> {
        let seat = *self.clients.get(client_id)?;
        self.seats.occupant(seat).filter(|(_, client)| client.connected).map(|(key, _)| key)
    }

    fn count_connected(&mut self, connected: usize) {
        self.connected = connected;
        self.bounds = kept::bounds(&self.limits, connected);
    }

    /// The connection is over.
    fn part(&mut self, key: Key) {
        self.out.removed.push(key);
        let Some(client) = self.seats.client(key) else { return };
        client.connected = false;
        client.list = Vec::new();
        client.turn = Turn::Idle;
        self.count_connected(self.connected - 1);
        self.seats.reseat(key.seat());
    }

    /// A session without a connection is kept, or ends.
    fn leave(&mut self, seat: Seat, now: Monotonic) {
        let wall = self.wall;
        let Some((_, client)) = self.seats.occupant(seat) else { return };
        let Some(kept) = client.kept.as_mut().filter(|kept| kept.expiry_s > 0) else {
            return self.end_session(seat, now);
        };
        kept.outflow.rest();
        kept.left(now, 0);
        kept.left_at = wall;
        self.ending.extend(kept.ends_at.map(|at| (at, seat)));
        let will = self.postpone_will(seat, 0, now);
        self.publish_will(will, now);
        self.write_absence(seat);
    }

    /// Has it written that a session has no connection, and whether a will waits.
    pub(super) fn write_absence(&mut self, seat: Seat) {
        let Some((_, client)) = self.seats.occupant(seat) else { return };
        let Some(kept) = &client.kept else { return };
        let record = kept.record(client.id.clone(), kept.left_at, kept.outflow.sent(), client.will.clone());
        self.write(BrokerWrite::Session(record), Urgency::Batched, AckTo::Nobody);
    }

    /// A session is over, and with it its subscriptions and all that waits for it.
    pub(super) fn end_session(&mut self, seat: Seat, now: Monotonic) {
        let will = self.take_will(seat);
        let Some((key, client)) = self.seats.occupant(seat) else { return };
        let connected = client.connected;
        let (id, kept) = (client.id.clone(), client.kept.take());
        for filter in std::mem::take(&mut client.subscriptions).keys() {
            self.routes.unsubscribe(filter, seat);
        }
        if connected {
            self.part(key);
        }
        self.clients.remove(&id);
        if let Some(kept) = kept {
            self.kept -= 1;
            if let Some(at) = kept.ends_at {
                self.ending.remove(&(at, seat));
            }
            self.write(BrokerWrite::SessionGone(kept.id), Urgency::Batched, AckTo::Nobody);
        }
        self.seats.vacate(seat);
        self.publish_will(will, now);
    }

    /// A QoS 2 message from a kept session: who waits for it to be safe, or nothing when it is a repetition.
    pub(super) fn take_in(&mut self, key: Key, packet_id: u16, received: Received) -> Option<AckTo> {
        let client = self.seats.client(key)?;
        let Some(kept) = &mut client.kept else { return Some(AckTo::Client(key, received)) };
        match kept.intake.receive(packet_id, key, received) {
            Arrival::New => Some(AckTo::Intake(kept.owner(key.seat()), packet_id)),
            Arrival::Waits => None,
            Arrival::Safe => {
                self.tell(key, ToClient::Release(received, Reason::SUCCESS));
                None
            }
        }
    }

    pub(super) fn released(&mut self, key: Key, packet_id: u16) {
        let Some(kept) = self.seats.client(key).and_then(|client| client.kept.as_mut()) else { return };
        match kept.intake.release(packet_id) {
            Released::Write => {
                let owner = kept.owner(key.seat());
                let write = BrokerWrite::Released { session: owner.session, packet_id };
                // Until it is on disk, a crash would have the id's next message taken for a repetition.
                self.write(write, Urgency::Awaited, AckTo::Released(owner, packet_id));
            }
            Released::BeingWritten => {}
            Released::Unknown => self.tell(key, ToClient::Complete(packet_id)),
        }
    }

    pub(super) fn pubrec_came(&mut self, key: Key, n: u64) {
        let Some(kept) = self.seats.client(key).and_then(|client| client.kept.as_mut()) else { return };
        if kept.outflow.record(n) {
            let owner = kept.owner(key.seat());
            let write = BrokerWrite::Recorded { session: owner.session, n };
            self.write(write, Urgency::Awaited, AckTo::Recorded(owner, n));
        }
    }

    pub(super) fn done(&mut self, key: Key, first: u64, last: u64) {
        for n in first..=last {
            let Some(kept) = self.seats.client(key).and_then(|client| client.kept.as_mut()) else { return };
            if kept.outflow.done(n) {
                let session = kept.id;
                self.write(BrokerWrite::Done { session, n }, Urgency::Batched, AckTo::Nobody);
            }
        }
        self.hand(key.seat());
        self.go_on_feeding(key);
    }
}

/// A client that has just come.
fn new_client(id: Arc<str>, will: Option<Box<Will>>) -> Client {
    Client {
        id,
        connected: true,
        will,
        will_at: None,
        subscriptions: HashMap::new(),
        subscription_bytes: 0,
        feeds: VecDeque::new(),
        turn: Turn::Idle,
        entering: Some(Entering::New),
        list: Vec::new(),
        kept: None,
    }
}
