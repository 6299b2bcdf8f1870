//! Subscribing, unsubscribing, and the retained messages that a new subscription is owed.

use super::super::durable::{AckTo, Owner};
use super::super::retained::Scan;
use super::super::routing::{Subscription, Wanted};
use super::super::words::{Delivery, Key, SubscriptionIds, ToClient};
use super::Hub;
use super::kept;
use super::publishing::owe;
use super::seats::{Client, Feed, Turn};
use crate::model::{Filter, Monotonic, QoS};
use crate::mqtt::{Reason, RetainHandling, SubAck, SubscribeOptions};
use crate::store::{Append, BrokerWrite, Urgency, Work};

/// Retained messages that one client is sent before it has to ask for more, and their bytes.
const FEED_MESSAGES: usize = 64;
const FEED_BYTES: usize = 256 << 10;
/// Topics that are looked at for one client before others have their turn.
const FEED_SCAN: usize = 512;
/// What a level of a filter costs in the tree that nobody else's filter shares, in bytes.
const LEVEL_COST: usize = 640;
/// A kept session that is owed more than this is given no further retained messages until it has caught up.
const FEED_OWED: usize = 1_000;

/// A change of subscriptions that is being written; the answer follows.
pub(super) struct Request {
    key: Key,
    owner: Owner,
    what: Change,
}

enum Change {
    Subscribe { ack: SubAck, feeds: Vec<Feed>, undo: Vec<(Filter, Option<Subscription>)> },
    Unsubscribe { ack: SubAck },
}

impl Hub {
    /// Whether [`Hub::feed`] has something to do.
    pub fn is_feeding(&self) -> bool {
        !self.feeding.is_empty()
    }

    /// Gives one client the next of the retained messages it is owed. Short: call it again between other inputs.
    pub fn feed(&mut self, now: Monotonic) {
        let Some(key) = self.feeding.pop_front() else { return };
        let Some(client) = self.seats.client(key) else { return };
        client.turn = Turn::Idle;
        let Client { id, feeds, list, kept, turn, .. } = client;
        let Some(feed) = feeds.front_mut() else { return };
        if kept.as_ref().is_some_and(|kept| kept.outflow.owed() > FEED_OWED) {
            *turn = Turn::AwaitsDone;
            return;
        }
        let was_empty = list.is_empty();
        let (mut messages, mut bytes) = (0, 0);
        let retained = if feed.filter.starts_with("$SYS/") { &self.sys.retained } else { &self.retained };
        let scan = retained.scan(&feed.filter, feed.after.as_ref(), FEED_SCAN, |published| {
            if published.expires_at().is_some_and(|at| at <= now) {
                return true;
            }
            let delivery = Delivery {
                published: published.clone(),
                qos: published.message.qos.min(feed.subscription.qos),
                retain: true,
                from_retained: true,
                n: 0,
                dup: false,
                subscription_ids: SubscriptionIds::of(feed.subscription.id),
            };
            match kept {
                Some(kept) if delivery.qos > QoS::AtMostOnce => {
                    let owner = kept.owner(key.seat());
                    self.jobs.extend(owe(owner, kept, id, delivery, &self.bounds, self.wall, &mut self.out));
                }
                _ => list.push(ToClient::Deliver(delivery)),
            }
            messages += 1;
            bytes += published.cost();
            messages < FEED_MESSAGES && bytes < FEED_BYTES
        });
        match scan {
            Scan::Done => drop(feeds.pop_front()),
            Scan::Until(topic) => feed.after = Some(topic),
        }
        if was_empty && !list.is_empty() {
            self.out.touched.push(key);
        }
        let more = !feeds.is_empty();
        self.write_jobs(false, None);
        self.hand(key.seat());
        // After the last portion too: a client that subscribes again and again without reading is given the next only when this one is gone.
        let turn = if messages > 0 {
            self.tell(key, ToClient::More);
            Turn::AwaitsReady
        } else if more {
            self.feeding.push_back(key);
            Turn::Queued
        } else {
            Turn::Idle
        };
        if let Some(client) = self.seats.client(key) {
            client.turn = turn;
        }
    }

    /// A client has acknowledged messages, and may be given more.
    pub(super) fn go_on_feeding(&mut self, key: Key) {
        let Some(client) = self.seats.client(key) else { return };
        if client.turn == Turn::AwaitsDone && client.kept.as_ref().is_none_or(|kept| kept.outflow.owed() <= FEED_OWED) {
            client.turn = Turn::Queued;
            self.feeding.push_back(key);
        }
    }

    pub(super) fn subscribe(
        &mut self,
        key: Key,
        packet_id: u16,
        id: Option<u32>,
        filters: Vec<Result<(Filter, SubscribeOptions), Reason>>,
    ) {
        let mut reasons = Vec::with_capacity(filters.len());
        let (mut feeds, mut undo, mut works) = (Vec::new(), Vec::new(), Vec::new());
        for filter in filters {
            let (filter, options) = match filter {
                Ok(wanted) => wanted,
                Err(refused) => {
                    reasons.push(refused);
                    continue;
                }
            };
            let Some(client) = self.seats.client(key) else { return };
            let before = client.subscriptions.get(&filter).copied();
            let subscription = Subscription {
                qos: options.qos,
                no_local: options.no_local,
                retain_as_published: options.retain_as_published,
                id,
            };
            let session = client.kept.as_ref().map(|kept| kept.id);
            if let Err(refused) = self.add(key, &filter, subscription) {
                reasons.push(refused);
                continue;
            }
            reasons.push(Reason(options.qos as u8));
            let is_shared = Wanted::of(&filter).is_ok_and(|wanted| wanted.group.is_some());
            let retained_wanted = match options.retain_handling {
                // "No Retained Messages are sent to the Session when it first subscribes" to a shared one (§4.8.2).
                _ if is_shared => false,
                RetainHandling::Send => true,
                RetainHandling::SendIfNew => before.is_none(),
                RetainHandling::DoNotSend => false,
            };
            if retained_wanted {
                self.note_watcher(&filter);
                feeds.push(Feed { filter: filter.clone(), subscription, after: None });
            }
            if let Some(session) = session {
                let subscription = kept::stored_subscription(filter.clone(), &subscription);
                works.push(Work::Broker(BrokerWrite::Subscribed { session, subscription }));
                undo.push((filter, before));
            }
        }
        let ack = SubAck { packet_id, reasons };
        if works.is_empty() {
            self.tell(key, ToClient::SubAck(ack));
            self.start_feeds(key, feeds);
        } else {
            self.ask(key, Change::Subscribe { ack, feeds, undo }, works);
        }
    }

    pub(super) fn unsubscribe(&mut self, key: Key, packet_id: u16, filters: Vec<Filter>) {
        let mut works = Vec::new();
        let mut reasons = Vec::with_capacity(filters.len());
        for filter in filters {
            reasons.push(if self.remove(key, &filter) { Reason::SUCCESS } else { Reason::NO_SUBSCRIPTION_EXISTED });
            if let (Some(&Reason::SUCCESS), Some(client)) = (reasons.last(), self.seats.client(key))
                && let Some(session) = client.kept.as_ref().map(|kept| kept.id)
            {
                works.push(Work::Broker(BrokerWrite::Unsubscribed { session, filter }));
            }
        }
        let ack = SubAck { packet_id, reasons };
        if works.is_empty() {
            self.tell(key, ToClient::UnsubAck(ack));
        } else {
            self.ask(key, Change::Unsubscribe { ack }, works);
        }
    }

    /// Answers a request once all of it is on disk.
    fn ask(&mut self, key: Key, what: Change, mut works: Vec<Work>) {
        let Some(owner) = self.seats.client(key).and_then(|client| Some(client.kept.as_ref()?.owner(key.seat())))
        else {
            return;
        };
        let ticket = self.durable.ticket();
        let one = if works.len() == 1 { works.pop() } else { None };
        let what_to_write = one.unwrap_or(Work::Together(works));
        self.out.appends.push(Append { ticket, what: what_to_write, urgency: Urgency::Awaited });
        self.next_request += 1;
        self.requests.insert(self.next_request, Request { key, owner, what });
        self.durable.wait(ticket, AckTo::Request(self.next_request));
    }

    /// A request was written, or refused.
    pub(super) fn answer(&mut self, number: u64, written: bool) {
        let Some(Request { key, owner, what }) = self.requests.remove(&number) else { return };
        match what {
            Change::Subscribe { ack, feeds, .. } if written => {
                self.tell(key, ToClient::SubAck(ack));
                self.start_feeds(key, feeds);
            }
            Change::Subscribe { mut ack, undo, .. } => {
                self.undo(owner, undo);
                ack.reasons.iter_mut().filter(|r| !r.is_failure()).for_each(|r| *r = Reason::QUOTA_EXCEEDED);
                self.tell(key, ToClient::SubAck(ack));
            }
            Change::Unsubscribe { mut ack } => {
                if !written {
                    // It is over, but a crash would bring it back: the store goes on trying.
                    ack.reasons.iter_mut().for_each(|r| *r = Reason::UNSPECIFIED);
                }
                self.tell(key, ToClient::UnsubAck(ack));
            }
        }
    }

    fn undo(&mut self, owner: Owner, undo: Vec<(Filter, Option<Subscription>)>) {
        for (filter, before) in undo.into_iter().rev() {
            if self.owned(owner).is_none() {
                return;
            }
            // One that was asked for since stands. If it is refused too, it goes back to what was before both.
            if let Some(since) = self.asked_since(owner, &filter) {
                if since.is_some() {
                    *since = before;
                }
                continue;
            }
            let Some((_, client)) = self.seats.occupant(owner.seat) else { return };
            match before {
                Some(before) => {
                    // Unless it was unsubscribed meanwhile.
                    if let Some(subscription) = client.subscriptions.get_mut(&filter) {
                        *subscription = before;
                        self.routes.subscribe(&filter, owner.seat, before);
                    }
                }
                None if client.subscriptions.remove(&filter).is_some() => {
                    client.subscription_bytes -= cost(&filter);
                    self.routes.unsubscribe(&filter, owner.seat);
                }
                None => {}
            }
        }
    }

    /// What the first request of a session that still waits and names this filter would go back to.
    fn asked_since(&mut self, owner: Owner, filter: &Filter) -> Option<&mut Option<Subscription>> {
        let asked = self.requests.iter_mut().filter(|(_, request)| request.owner == owner);
        let named = asked.filter_map(|(number, request)| match &mut request.what {
            Change::Subscribe { undo, .. } => {
                undo.iter_mut().find(|(named, _)| named == filter).map(|(_, before)| (*number, before))
            }
            Change::Unsubscribe { .. } => None,
        });
        named.min_by_key(|(number, _)| *number).map(|(_, before)| before)
    }

    fn add(&mut self, key: Key, filter: &Filter, subscription: Subscription) -> Result<(), Reason> {
        let (most, most_bytes) = (self.limits.subscriptions, self.limits.subscription_bytes);
        let Some(client) = self.seats.client(key) else { return Err(Reason::UNSPECIFIED) };
        if !client.subscriptions.contains_key(filter) {
            let bytes = client.subscription_bytes + cost(filter);
            if client.subscriptions.len() >= most || bytes > most_bytes {
                return Err(Reason::QUOTA_EXCEEDED);
            }
            client.subscription_bytes = bytes;
        }
        client.subscriptions.insert(filter.clone(), subscription);
        self.routes.subscribe(filter, key.seat(), subscription);
        Ok(())
    }

    pub(super) fn start_feeds(&mut self, key: Key, feeds: Vec<Feed>) {
        let Some(client) = self.seats.client(key) else { return };
        for feed in feeds {
            // Subscribing again starts again.
            client.feeds.retain(|old| old.filter != feed.filter);
            client.feeds.push_back(feed);
        }
        if client.turn == Turn::Idle && !client.feeds.is_empty() {
            client.turn = Turn::Queued;
            self.feeding.push_back(key);
        }
    }

    fn remove(&mut self, key: Key, filter: &Filter) -> bool {
        let Some(client) = self.seats.client(key) else { return false };
        client.feeds.retain(|feed| feed.filter != *filter);
        if client.subscriptions.remove(filter).is_none() {
            return false;
        }
        client.subscription_bytes -= cost(filter);
        self.routes.unsubscribe(filter, key.seat());
        true
    }
}

/// What a subscription is taken to cost, in bytes: its text is held for the client and, by levels, in the tree.
pub(super) fn cost(filter: &Filter) -> usize {
    2 * filter.len() + LEVEL_COST * filter.split('/').count()
}
