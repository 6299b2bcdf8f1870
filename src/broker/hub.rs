//! The one publish path, as a pure core: who is connected, who gets what, what has to be safe before an acknowledgement.
//!
//! Inputs are the methods that take `now`; outputs are collected in [`Outputs`] and in each client's list until the task that owns
//! the hub carries them out. Local subscribers get a message at once; its publisher is answered when the store has it.

mod seats;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::Limits;
use super::durable::{AckTo, Durable};
use super::local_room::LocalRoom;
use super::retained::Retained;
use super::routing::{Routes, Subscription};
use super::words::{Delivery, FromClient, Greeting, Key, Published, SubscriptionIds, ToClient};
use crate::model::{Filter, Message, Monotonic, Publisher, QoS, Topic};
use crate::mqtt::{Reason, SubAck};
use crate::store::{Append, CommitReport, QueueId, Refusal, Urgency};

use seats::{Client, Endpoint, LocalSeat, Seats, Turn};

/// Room that a client's list keeps when it is empty.
const LIST_KEPT: usize = 256;

/// Chooses what an outlet gets of a message.
pub type Select = Box<dyn Fn(&Message) -> Option<Message> + Send>;

/// The hub's state.
pub(super) struct Hub {
    limits: Limits,
    seats: Seats,
    clients: HashMap<Arc<str>, Key>,
    routes: Routes,
    retained: Retained,
    outlets: Vec<(QueueId, Select)>,
    durable: Durable,
    /// Clients with retained messages to come and room for them.
    feeding: VecDeque<Key>,
    /// Scratch of [`Hub::publish`]: who matched, by slot.
    matched: Vec<Match>,
    epoch: u64,
    /// What the owner has to carry out.
    pub out: Outputs,
}

/// What there is to do besides the clients' lists.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    /// Clients whose list ([`Hub::take_list`]) has something in it.
    pub touched: Vec<Key>,
    /// Clients that are gone once their list has been delivered.
    pub removed: Vec<Key>,
    /// To be written; the answer is a [`CommitReport`].
    pub appends: Vec<Append>,
    /// For the outlet with this index, now or never.
    pub live: Vec<(usize, Message)>,
    /// For subscriptions of the gateway itself; room for it is taken.
    pub local: Vec<(Key, Arc<Published>, Publisher)>,
    /// Messages that a subscription of the gateway had no room for; their publishers are told.
    pub local_refused: u64,
    /// What became of the gateway's own messages that asked.
    pub settled: Vec<(u64, Result<(), Refusal>)>,
    /// Messages that an outlet wanted and the store refused.
    pub refused: Vec<Refusal>,
    /// Retained messages that found no room.
    pub retained_refused: u64,
    /// The topic of the last of them.
    pub retained_refused_topic: Option<Topic>,
    /// PUBLISH packets taken from clients.
    pub received: u64,
}

/// What became of a message here.
struct Delivered {
    /// Somebody was subscribed to it.
    somebody: bool,
    /// One who may not miss anything had no room for it.
    refused: bool,
}

struct Match {
    key: Key,
    qos: QoS,
    retain_as_published: bool,
    ids: SubscriptionIds,
}

impl Hub {
    /// Nobody connected, nothing retained.
    pub fn new(limits: Limits, outlets: Vec<(QueueId, Select)>) -> Hub {
        Hub {
            limits,
            seats: Seats::default(),
            clients: HashMap::new(),
            routes: Routes::default(),
            retained: Retained::new(limits.retained_messages, limits.retained_bytes),
            outlets,
            durable: Durable::default(),
            feeding: VecDeque::new(),
            matched: Vec::new(),
            epoch: 0,
            out: Outputs::default(),
        }
    }

    /// Clients, subscriptions and retained messages held now.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.clients.len(), self.routes.len(), self.retained.len())
    }

    /// A client comes in. One with the same identifier has to go, and its will is published [MQTT-3.1.4-3].
    pub fn connect(&mut self, greeting: Greeting, now: Monotonic) -> Key {
        if let Some(old) = self.clients.get(&greeting.client_id).copied() {
            self.tell(old, ToClient::Close(Reason::SESSION_TAKEN_OVER));
            self.disconnect(old, true, now);
        }
        let id = greeting.client_id.clone();
        let key = self.seats.seat(Endpoint::Client(Client {
            id: greeting.client_id,
            will: greeting.will,
            subscriptions: HashMap::new(),
            subscription_bytes: 0,
            feeds: VecDeque::new(),
            turn: Turn::Idle,
            list: Vec::new(),
        }));
        self.clients.insert(id, key);
        key
    }

    /// A client is gone. Its will is published if it is `lost`. Nothing happens when it was taken over before.
    pub fn disconnect(&mut self, key: Key, lost: bool, now: Monotonic) {
        if !self.is_connected(key) {
            return;
        }
        let Some(client) = self.seats.client(key) else { return };
        let will = client.will.take();
        let subscriptions = std::mem::take(&mut client.subscriptions);
        let id = client.id.clone();
        subscriptions.keys().for_each(|filter| self.routes.unsubscribe(filter, key));
        self.clients.remove(&id);
        self.out.removed.push(key);
        if let (Some(will), true) = (will, lost) {
            self.publish(None, Publisher::Client { id, user: None }, will, None, now);
        }
    }

    /// The owner has delivered the last list of a client in [`Outputs::removed`].
    pub fn forget(&mut self, key: Key) {
        self.seats.vacate(key);
    }

    /// Something from a client. From one that is gone it is ignored: it was not acknowledged.
    pub fn client_says(&mut self, key: Key, input: FromClient, now: Monotonic) {
        if !self.is_connected(key) {
            return;
        }
        match input {
            FromClient::Publish { message, received } => {
                self.out.received += 1;
                let by = self.publisher(key);
                self.publish(Some(key), by, message, received.map(|r| AckTo::Client(key, r)), now);
            }
            FromClient::Subscribe { packet_id, id, filters } => {
                let mut reasons = Vec::with_capacity(filters.len());
                let mut feeds = Vec::new();
                for filter in filters {
                    reasons.push(match filter {
                        Ok((filter, options)) => self.subscribe(key, filter, options, id, &mut feeds),
                        Err(refused) => refused,
                    });
                }
                self.tell(key, ToClient::SubAck(SubAck { packet_id, reasons }));
                self.start_feeds(key, feeds);
            }
            FromClient::Unsubscribe { packet_id, filters } => {
                let reasons = filters.iter().map(|filter| self.unsubscribe(key, filter)).collect();
                self.tell(key, ToClient::UnsubAck(SubAck { packet_id, reasons }));
            }
            FromClient::Ready => {
                if let Some(client) = self.seats.client(key)
                    && client.turn == Turn::AwaitsReady
                {
                    client.turn = Turn::Queued;
                    self.feeding.push_back(key);
                }
            }
        }
    }

    /// A message of the gateway itself, or one that it passes on for somebody. With a `token`, [`Outputs::settled`] tells what
    /// became of it.
    pub fn publish_local(&mut self, by: Publisher, message: Message, token: Option<u64>, now: Monotonic) {
        self.publish(None, by, message, token.map(AckTo::Local), now);
    }

    /// A subscription of the gateway itself. It sees messages as they are published, retain flag included, and none from before.
    /// With `room`, what finds none is refused rather than dropped.
    pub fn subscribe_local(&mut self, filter: Filter, room: Option<Arc<LocalRoom>>) -> Key {
        let key = self.seats.seat(Endpoint::Local(LocalSeat { filter: filter.clone(), room }));
        let all = Subscription { qos: QoS::ExactlyOnce, no_local: false, retain_as_published: true, id: None };
        self.routes.subscribe(&filter, key, all);
        key
    }

    /// Nobody reads that subscription any more.
    pub fn unsubscribe_local(&mut self, key: Key) {
        if let Some(Endpoint::Local(seat)) = self.seats.endpoint(key) {
            self.routes.unsubscribe(&seat.filter, key);
            self.seats.vacate(key);
        }
    }

    /// The store has settled some appends.
    pub fn report(&mut self, report: &CommitReport) {
        self.out.refused.extend(report.refused.iter().map(|(_, refusal)| refusal.clone()));
        let mut settled = Vec::new();
        self.durable.report(report, |ack, refusal| settled.push((ack, refusal.cloned())));
        for (ack, refusal) in settled {
            self.settle(ack, refusal, Reason::SUCCESS);
        }
    }

    /// No report will come any more: nothing that waits is safe.
    pub fn store_is_gone(&mut self) {
        let report = self.durable.refuse_all("the store has stopped");
        self.report(&report);
    }

    /// When [`Hub::expire`] has something to do.
    pub fn next_expiry(&self) -> Option<Monotonic> {
        self.retained.next_expiry()
    }

    /// Forgets retained messages that have expired.
    pub fn expire(&mut self, now: Monotonic) {
        self.retained.expire(now);
    }

    /// What a client in [`Outputs::touched`] is to be given, and who it is. Leaves the list empty.
    pub fn take_list(&mut self, key: Key, into: &mut Vec<ToClient>) -> Option<Arc<str>> {
        let client = self.seats.client(key)?;
        into.append(&mut client.list);
        // A burst must not leave its room behind for each client.
        client.list.shrink_to(LIST_KEPT);
        Some(client.id.clone())
    }

    fn publish(&mut self, from: Option<Key>, by: Publisher, message: Message, ack: Option<AckTo>, now: Monotonic) {
        let published = Arc::new(Published { message, at: now });
        let message = &published.message;
        if message.retain && self.retained.set(&published).is_err() {
            self.out.retained_refused += 1;
            self.out.retained_refused_topic = Some(message.topic.clone());
        }
        let Delivered { somebody, refused } = self.deliver(from, &by, &published);

        let mut first = None;
        let mut forwarded = false;
        for (index, (queue, select)) in self.outlets.iter().enumerate() {
            let Some(selected) = select(message) else { continue };
            forwarded = true;
            if selected.qos == QoS::AtMostOnce {
                self.out.live.push((index, selected));
                continue;
            }
            let ticket = self.durable.ticket();
            first.get_or_insert(ticket);
            let urgency = if ack.is_some() { Urgency::Awaited } else { Urgency::Batched };
            self.out.appends.push(Append { ticket, queue: *queue, message: selected, urgency });
        }
        match (ack, first) {
            (None, _) => {}
            // The others have it. Its publisher has to know that one who may not miss it does not.
            (Some(ack), _) if refused => self.settle(ack, Some(Refusal::QueueFull), Reason::QUOTA_EXCEEDED),
            (Some(ack), Some(first)) => self.durable.wait(first, ack),
            (Some(ack), None) => {
                let known = somebody || forwarded || message.retain;
                self.settle(ack, None, if known { Reason::SUCCESS } else { Reason::NO_MATCHING_SUBSCRIBERS });
            }
        }
    }

    /// Puts a message on the lists of all who subscribed to it, once each.
    fn deliver(&mut self, from: Option<Key>, by: &Publisher, published: &Arc<Published>) -> Delivered {
        self.epoch += 1;
        let (seats, matched, epoch) = (&mut self.seats, &mut self.matched, self.epoch);
        self.routes.matches(&published.message.topic, |key, subscription| {
            if subscription.no_local && from == Some(key) {
                return;
            }
            let Some(slot) = seats.slot(key) else { return };
            if slot.seen.0 == epoch {
                let seen = &mut matched[slot.seen.1];
                seen.qos = seen.qos.max(subscription.qos);
                seen.retain_as_published |= subscription.retain_as_published;
                seen.ids.add(subscription.id);
                return;
            }
            slot.seen = (epoch, matched.len());
            matched.push(Match {
                key,
                qos: subscription.qos,
                retain_as_published: subscription.retain_as_published,
                ids: SubscriptionIds::of(subscription.id),
            });
        });
        let mut delivered = Delivered { somebody: !matched.is_empty(), refused: false };
        for found in matched.drain(..) {
            let Some(slot) = seats.slot(found.key) else { continue };
            match &mut slot.endpoint {
                Some(Endpoint::Client(client)) => {
                    if client.list.is_empty() {
                        self.out.touched.push(found.key);
                    }
                    client.list.push(ToClient::Deliver(Delivery {
                        published: published.clone(),
                        qos: published.message.qos.min(found.qos),
                        retain: published.message.retain && found.retain_as_published,
                        from_retained: false,
                        subscription_ids: found.ids,
                    }));
                }
                Some(Endpoint::Local(seat)) => {
                    if seat.room.as_ref().is_none_or(|room| room.take(published)) {
                        self.out.local.push((found.key, published.clone(), by.clone()));
                    } else {
                        delivered.refused = true;
                        self.out.local_refused += 1;
                    }
                }
                None => {}
            }
        }
        delivered
    }

    fn publisher(&mut self, key: Key) -> Publisher {
        match self.seats.client(key) {
            Some(client) => Publisher::Client { id: client.id.clone(), user: None },
            None => Publisher::Gateway,
        }
    }

    fn settle(&mut self, ack: AckTo, refusal: Option<Refusal>, success: Reason) {
        match (ack, refusal) {
            (AckTo::Client(key, received), None) => self.tell(key, ToClient::Release(received, success)),
            (AckTo::Client(key, received), Some(_)) => {
                self.tell(key, ToClient::Release(received, Reason::QUOTA_EXCEEDED));
            }
            (AckTo::Local(token), None) => self.out.settled.push((token, Ok(()))),
            (AckTo::Local(token), Some(refusal)) => self.out.settled.push((token, Err(refusal))),
        }
    }

    fn tell(&mut self, key: Key, what: ToClient) {
        let Some(client) = self.seats.client(key) else { return };
        if client.list.is_empty() {
            self.out.touched.push(key);
        }
        client.list.push(what);
    }

    /// Whether it holds its identifier: it was not taken over with only its last list to come.
    fn is_connected(&self, key: Key) -> bool {
        match self.seats.endpoint(key) {
            Some(Endpoint::Client(client)) => self.clients.get(&client.id) == Some(&key),
            _ => false,
        }
    }
}
