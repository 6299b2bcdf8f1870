//! Subscribing, unsubscribing, and the retained messages that a new subscription is owed.

use super::super::retained::Scan;
use super::super::routing::{Subscription, Wanted};
use super::super::words::{Delivery, Key, SubscriptionIds, ToClient};
use super::Hub;
use super::seats::{Feed, Turn};
use crate::model::{Filter, Monotonic};
use crate::mqtt::{Reason, RetainHandling, SubscribeOptions};

/// Retained messages that one client is sent before it has to ask for more, and their bytes.
const FEED_MESSAGES: usize = 64;
const FEED_BYTES: usize = 256 << 10;
/// Topics that are looked at for one client before others have their turn.
const FEED_SCAN: usize = 512;
/// What a level of a filter costs in the tree that nobody else's filter shares, in bytes.
const LEVEL_COST: usize = 640;

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
        let Some(feed) = client.feeds.front_mut() else { return };
        let retained = if feed.filter.starts_with("$SYS/") { &self.sys.retained } else { &self.retained };
        if client.list.is_empty() {
            self.out.touched.push(key);
        }
        let (mut messages, mut bytes) = (0, 0);
        let scan = retained.scan(&feed.filter, feed.after.as_ref(), FEED_SCAN, |published| {
            if published.expires_at().is_some_and(|at| at <= now) {
                return true;
            }
            client.list.push(ToClient::Deliver(Delivery {
                published: published.clone(),
                qos: published.message.qos.min(feed.subscription.qos),
                retain: true,
                from_retained: true,
                subscription_ids: SubscriptionIds::of(feed.subscription.id),
            }));
            messages += 1;
            bytes += published.cost();
            messages < FEED_MESSAGES && bytes < FEED_BYTES
        });
        match scan {
            Scan::Done => drop(client.feeds.pop_front()),
            Scan::Until(topic) => feed.after = Some(topic),
        }
        // After the last portion too: a client that subscribes again and again without reading is given the next only when this one is gone.
        if messages > 0 {
            client.list.push(ToClient::More);
            client.turn = Turn::AwaitsReady;
        } else if !client.feeds.is_empty() {
            client.turn = Turn::Queued;
            self.feeding.push_back(key);
        }
    }

    pub(super) fn subscribe(
        &mut self,
        key: Key,
        filter: Filter,
        options: SubscribeOptions,
        id: Option<u32>,
        feeds: &mut Vec<Feed>,
    ) -> Reason {
        let is_shared = Wanted::of(&filter).is_ok_and(|wanted| wanted.group.is_some());
        let (most, most_bytes) = (self.limits.subscriptions, self.limits.subscription_bytes);
        let Some(client) = self.seats.client(key) else { return Reason::UNSPECIFIED };
        let subscription = Subscription {
            qos: options.qos,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            id,
        };
        let is_new = !client.subscriptions.contains_key(&filter);
        if is_new {
            let bytes = client.subscription_bytes + cost(&filter);
            if client.subscriptions.len() >= most || bytes > most_bytes {
                return Reason::QUOTA_EXCEEDED;
            }
            client.subscription_bytes = bytes;
        }
        client.subscriptions.insert(filter.clone(), subscription);
        self.routes.subscribe(&filter, key, subscription);
        let retained_wanted = match options.retain_handling {
            // "No Retained Messages are sent to the Session when it first subscribes" to a shared one (§4.8.2).
            _ if is_shared => false,
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => is_new,
            RetainHandling::DoNotSend => false,
        };
        if retained_wanted {
            self.note_watcher(&filter);
            feeds.push(Feed { filter, subscription, after: None });
        }
        Reason(options.qos as u8)
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

    pub(super) fn unsubscribe(&mut self, key: Key, filter: &Filter) -> Reason {
        let Some(client) = self.seats.client(key) else { return Reason::UNSPECIFIED };
        client.feeds.retain(|feed| feed.filter != *filter);
        if client.subscriptions.remove(filter).is_none() {
            return Reason::NO_SUBSCRIPTION_EXISTED;
        }
        client.subscription_bytes -= cost(filter);
        self.routes.unsubscribe(filter, key);
        Reason::SUCCESS
    }
}

/// What a subscription is taken to cost, in bytes: its text is held for the client and, by levels, in the tree.
fn cost(filter: &Filter) -> usize {
    2 * filter.len() + LEVEL_COST * filter.split('/').count()
}
