//! A message on its way through the hub: retained, matched, delivered, written where that is wanted, and then acknowledged.

use std::sync::Arc;

use super::super::access;
use super::super::durable::{AckTo, Owner};
use super::super::routing::{Found, Subscription};
use super::super::sys::ROOT;
use super::super::words::{Delivery, Published, Seat, SubscriptionIds, ToClient};
use super::kept::{self, Kept};
use super::outflow::{Bounds, Handed};
use super::seats::{Client, Endpoint};
use super::{Hub, Outputs, PageWanted};
use crate::model::{Message, Monotonic, Publisher, QoS, Timestamp};
use crate::mqtt::Reason;
use crate::store::{Append, BrokerWrite, Refusal, StoredRetained, Ticket, Urgency, Work};

/// Whose message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A client's: its session sits here.
    Client(Seat),
    /// The will of a client, or from a cloud.
    Elsewhere,
    /// The gateway's own. It publishes its retained messages again after a restart, so they are not written.
    Gateway,
}

/// A session that gets a message, and how.
pub(super) struct Match {
    seat: Seat,
    qos: QoS,
    retain_as_published: bool,
    ids: SubscriptionIds,
}

/// What became of a message here.
struct Delivered {
    /// Somebody was subscribed to it.
    somebody: bool,
    /// One who may not miss anything had no room for it.
    refused: bool,
}

/// Something to be written, and who hears of it.
pub(super) type Job = (Work, AckTo);

impl Match {
    fn of(seat: Seat, subscription: &Subscription) -> Match {
        let &Subscription { qos, retain_as_published, id, .. } = subscription;
        Match { seat, qos, retain_as_published, ids: SubscriptionIds::of(id) }
    }
}

impl Hub {
    /// `by` is who is told to those that ask who published it.
    pub(super) fn publish(
        &mut self,
        from: Origin,
        by: &Publisher,
        message: Message,
        ack: Option<AckTo>,
        now: Monotonic,
    ) {
        let published = Arc::new(Published { message, at: now });
        let message = &published.message;
        if message.retain && !self.retain(from, &published) {
            self.out.retained_refused += 1;
            self.out.retained_refused_topic = Some(message.topic.clone());
            // Who wants to know is told that it was not taken at all, rather than that it was and an older one stays.
            if let (Some(ack), true) = (ack, from != Origin::Gateway) {
                return self.settle(ack, Some(Refusal::QueueFull), Reason::QUOTA_EXCEEDED, now);
            }
        }
        let Delivered { somebody, refused } = self.deliver(from, by, &published);
        let forwarded = self.offer(by, &published.message, now);
        if let (Some(ack), true) = (ack, refused) {
            // The others have it. Its publisher has to know that one who may not miss it does not.
            self.write_jobs(false, None);
            return self.settle(ack, Some(Refusal::QueueFull), Reason::QUOTA_EXCEEDED, now);
        }
        let together = match ack {
            Some(AckTo::Intake(Owner { session, .. }, packet_id)) => {
                self.jobs.push((Work::Broker(BrokerWrite::Received { session, packet_id }), AckTo::Nobody));
                true
            }
            Some(AckTo::Once(_, intake)) => {
                self.jobs.push((Work::Received(intake), AckTo::Nobody));
                true
            }
            _ => false,
        };
        let waits = self.write_jobs(together, ack);
        if let (Some(ack), false) = (ack, waits) {
            let known = somebody || forwarded || published.message.retain;
            self.settle(ack, None, if known { Reason::SUCCESS } else { Reason::NO_MATCHING_SUBSCRIBERS }, now);
        }
    }

    /// Keeps a retained message, or takes one away. False when there is no room.
    fn retain(&mut self, from: Origin, published: &Arc<Published>) -> bool {
        if published.message.topic.starts_with(ROOT) {
            return self.sys.retained.set(published, false).is_ok();
        }
        let on_disk = from != Origin::Gateway && self.session_expiry_s.is_some();
        let Ok(was_on_disk) = self.retained.set(published, on_disk) else { return false };
        let message = &published.message;
        let write = if on_disk && !message.payload.is_empty() {
            BrokerWrite::Retained(StoredRetained { message: message.clone(), at: self.wall })
        } else if was_on_disk {
            BrokerWrite::Unretained(message.topic.clone())
        } else {
            return true;
        };
        self.jobs.push((Work::Broker(write), AckTo::Nobody));
        true
    }

    /// Hands what has gathered in `jobs` to the store; `together`, all of it or nothing is done. Whether `ack` waits for any of it.
    pub(super) fn write_jobs(&mut self, together: bool, ack: Option<AckTo>) -> bool {
        if self.jobs.is_empty() {
            return false;
        }
        let mut jobs = std::mem::take(&mut self.jobs);
        let urgency = if ack.is_some() { Urgency::Awaited } else { Urgency::Batched };
        let mut first = None;
        if together && jobs.len() > 1 {
            let ticket = self.durable.ticket();
            first = Some(ticket);
            let mut works = Vec::with_capacity(jobs.len());
            for (work, waits) in jobs.drain(..) {
                works.push(work);
                self.await_job(waits);
            }
            self.out.appends.push(Append { ticket, what: Work::Together(works), urgency });
        }
        for (what, waits) in jobs.drain(..) {
            let ticket = self.durable.ticket();
            first.get_or_insert(ticket);
            self.out.appends.push(Append { ticket, what, urgency });
            self.await_job(waits);
        }
        self.jobs = jobs;
        if let (Some(first), Some(ack)) = (first, ack) {
            self.durable.wait(first, ack);
        }
        true
    }

    /// The ticket that was given out last is for this.
    fn await_job(&mut self, waits: AckTo) {
        let ticket = self.durable.last();
        if let AckTo::Owed(owner, ..) = waits {
            if let Some((_, kept)) = self.owned(owner) {
                kept.last_ticket = ticket;
            }
            self.durable.wait(ticket, waits);
        }
    }

    /// Gives a message to all who subscribed to it, once each.
    fn deliver(&mut self, from: Origin, by: &Publisher, published: &Arc<Published>) -> Delivered {
        self.epoch += 1;
        let (seats, matched, epoch) = (&mut self.seats, &mut self.matched, self.epoch);
        self.routes.matches(&published.message.topic, |found| {
            let (seat, subscription) = match found {
                Found::One(seat, subscription) => (seat, subscription),
                // A copy of its own, whatever else the chosen member subscribed to (§4.8.2).
                Found::OneOf(group) => {
                    let Some((seat, subscription)) = group.choose(|seat| seats.is_online(seat)) else { return };
                    matched.push(Match::of(seat, subscription));
                    return;
                }
            };
            if subscription.no_local && from == Origin::Client(seat) {
                return;
            }
            let Some(slot) = seats.slot(seat) else { return };
            if slot.seen.0 == epoch {
                let seen = &mut matched[slot.seen.1];
                seen.qos = seen.qos.max(subscription.qos);
                seen.retain_as_published |= subscription.retain_as_published;
                seen.ids.add(subscription.id);
                return;
            }
            slot.seen = (epoch, matched.len());
            matched.push(Match::of(seat, subscription));
        });
        let mut delivered = Delivered { somebody: !matched.is_empty(), refused: false };
        let mut matched = std::mem::take(matched);
        for found in matched.drain(..) {
            let Some(slot) = self.seats.slot(found.seat) else { continue };
            let key = slot.key(found.seat);
            match &mut slot.endpoint {
                Some(Endpoint::Client(client)) => {
                    let delivery = Delivery {
                        published: published.clone(),
                        qos: published.message.qos.min(found.qos),
                        retain: published.message.retain && found.retain_as_published,
                        from_retained: false,
                        n: 0,
                        dup: false,
                        subscription_ids: found.ids,
                    };
                    match &mut client.kept {
                        Some(kept) if delivery.qos > QoS::AtMostOnce => {
                            let owner = kept.owner(found.seat);
                            self.jobs.extend(owe(
                                owner,
                                kept,
                                &client.id,
                                delivery,
                                &self.bounds,
                                self.wall,
                                &mut self.out,
                            ));
                            self.hand(found.seat);
                        }
                        // At QoS 0, who is away misses it.
                        _ if client.connected => {
                            if client.list.is_empty() {
                                self.out.touched.push(key);
                            }
                            client.list.push(ToClient::Deliver(delivery));
                        }
                        _ => {}
                    }
                }
                Some(Endpoint::Local(local)) => {
                    if local.room.as_ref().is_none_or(|room| room.take(published)) {
                        self.out.local.push((key, published.clone(), access::named(by)));
                    } else {
                        delivered.refused = true;
                        self.out.local_refused += 1;
                    }
                }
                None => {}
            }
        }
        self.matched = matched;
        delivered
    }

    /// Gives the connection of a kept session what it may have now, and asks for what it will need next.
    pub(super) fn hand(&mut self, seat: Seat) {
        let Some((key, client)) = self.seats.occupant(seat) else { return };
        let Client { kept: Some(kept), list, .. } = client else { return };
        let was_empty = list.is_empty();
        while let Some(handed) = kept.outflow.hand(&self.bounds) {
            list.push(match handed {
                Handed::Message(delivery) => ToClient::Deliver(delivery),
                Handed::PubRel(n) => ToClient::PubRel(n),
            });
        }
        if was_empty && !list.is_empty() {
            self.out.touched.push(key);
        }
        if let Some(wanted) = kept.outflow.wanted(self.durable.is_settled(kept.last_ticket)) {
            let owner = kept.owner(seat);
            self.out.pages.push(PageWanted { owner, from: wanted.from, asked: wanted.asked });
        }
    }
}

/// Counts a message as owed to a kept session. What is to be written for it; nothing when its backlog is full.
pub(super) fn owe(
    owner: Owner,
    kept: &mut Kept,
    client_id: &Arc<str>,
    delivery: Delivery,
    bounds: &Bounds,
    wall: Option<Timestamp>,
    out: &mut Outputs,
) -> Option<Job> {
    let (cost, stored) = (delivery.published.cost(), kept::stored(&delivery, wall));
    let Some(n) = kept.outflow.owe(delivery, bounds) else {
        out.backlog_dropped += 1;
        if !std::mem::replace(&mut kept.overflowing, true) {
            out.overflowing.push(client_id.clone());
        }
        return None;
    };
    kept.overflowing = false;
    // Until it has a ticket, it is not settled.
    kept.last_ticket = Ticket(u64::MAX);
    let write = BrokerWrite::Queued { session: owner.session, n, delivery: stored };
    Some((Work::Broker(write), AckTo::Owed(owner, n, cost)))
}
