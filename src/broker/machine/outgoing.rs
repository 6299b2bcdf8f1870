//! Messages to the client: what is written when, and how it acknowledges them.

use super::{Freed, Machine, SEND_BUFFER, State};
use crate::broker::words::{Delivery, FromClient, ToClient};
use crate::model::{Monotonic, QoS, Topic};
use crate::mqtt::{Ack, Acked, CodecError, Packet, PublishRef, Reason, Receipt, TopicName};

/// The packet ids of numbered deliveries.
const NUMBERED_IDS: u64 = 60_000;

impl Machine {
    /// Writes waiting messages as far as the send buffer and the window allow.
    pub fn pump(&mut self, now: Monotonic) -> Freed {
        while self.out.len() < SEND_BUFFER && self.closing.is_none() && matches!(self.state, State::Open) {
            let may_go = match self.queue.front() {
                None => break,
                Some(ToClient::Deliver(delivery)) if delivery.qos > QoS::AtMostOnce => self.may_send(delivery.n),
                Some(ToClient::PubRel(n)) => self.may_send(*n),
                Some(_) => true,
            };
            if !may_go {
                break;
            }
            match self.queue.pop_front() {
                Some(ToClient::Deliver(delivery)) => self.deliver(&delivery, now),
                Some(ToClient::PubRel(n)) => self.release_again(n),
                Some(ToClient::More) => self.to_hub.push(FromClient::Ready),
                _ => {}
            }
        }
        let held = !self.wants_read();
        if std::mem::replace(&mut self.held, held) && !held {
            self.heard(now);
        }
        std::mem::take(&mut self.freed)
    }

    /// Whether the window has room, and the message's id, if it has one of its own, is free.
    fn may_send(&self, n: u64) -> bool {
        self.outbound.can_send() && (n == 0 || !self.outbound.id_in_use(packet_id(n)))
    }

    fn deliver(&mut self, delivery: &Delivery, now: Monotonic) {
        self.freed.messages += 1;
        self.freed.bytes += delivery.published.cost();
        let published = &delivery.published;
        // What it subscribed to may be more than it may read, by a denial or from a time when it had other rights.
        if !self.rights.may_read(&published.message.topic) {
            return self.done(delivery.n);
        }
        let waited_s = u32::try_from(now.since(published.at).as_secs()).unwrap_or(u32::MAX);
        let mut packet = PublishRef {
            dup: delivery.dup,
            qos: delivery.qos,
            retain: delivery.retain,
            subscription_ids: delivery.subscription_ids.as_slice(),
            ..PublishRef::new(&published.message, 0)
        };
        if let Some(seconds) = &mut packet.message_expiry_s {
            // What may have been sent is sent again whatever its age: the client may know its id.
            if *seconds <= waited_s && !delivery.dup {
                self.tally.dropped += 1;
                return self.done(delivery.n);
            }
            *seconds = seconds.saturating_sub(waited_s).max(1);
        }
        if packet.qos > QoS::AtMostOnce {
            self.sent = self.sent.max(delivery.n);
            let sent = match delivery.n {
                0 => self.outbound.send(0, packet.qos),
                n => self.outbound.send_as(packet_id(n), n, packet.qos).map(|()| packet_id(n)),
            };
            match sent {
                Ok(id) => packet.packet_id = id,
                // The caller has seen room; if there were none, the message would be lost silently.
                Err(_) => return self.close(Reason::UNSPECIFIED),
            }
        }
        match self.write(&packet, &published.message.topic) {
            Ok(()) => {
                self.tally.packets_out += 1;
                self.tally.sent += 1;
                self.tally.sent_bytes += published.message.payload.len() as u64;
            }
            // Larger than the client takes [MQTT-3.1.2-25]: to it, it has been delivered.
            Err(_) => {
                self.tally.dropped += 1;
                let withdrawn = self.outbound.withdraw(packet.packet_id);
                self.finished(withdrawn);
            }
        }
    }

    /// Writes a message under the shortest name that its topic has.
    fn write(&mut self, packet: &PublishRef<'_>, topic: &Topic) -> Result<(), CodecError> {
        let name = self.our_aliases.name(topic);
        let named = match name {
            TopicName::Full => None,
            TopicName::Assigning(alias) => Some(PublishRef { topic_alias: Some(alias), ..*packet }),
            TopicName::Alias(alias) => Some(PublishRef { topic: "", topic_alias: Some(alias), ..*packet }),
        };
        match (named.map(|named| self.codec.encode_publish(&named, &mut self.out)), name) {
            (Some(Ok(())), TopicName::Assigning(alias)) => self.our_aliases.assign(alias, topic),
            (Some(Ok(())), _) => {}
            // With its alias a packet may be larger than the client takes, by three bytes, and without it not.
            (Some(Err(_)) | None, _) => self.codec.encode_publish(packet, &mut self.out)?,
        }
        Ok(())
    }

    pub(super) fn puback(&mut self, ack: Ack, now: Monotonic) {
        let acked = self.outbound.acknowledge(ack.packet_id);
        self.finished(acked);
        self.progressed(now);
    }

    pub(super) fn pubrec(&mut self, ack: Ack, now: Monotonic) {
        self.progressed(now);
        if ack.reason.is_failure() {
            let refused = self.outbound.refused(ack.packet_id);
            return self.finished(refused);
        }
        match self.outbound.receipt(ack.packet_id) {
            // The hub says when that is kept.
            Receipt::Record(&n) if n > 0 => self.to_hub.push(FromClient::Recorded(n)),
            Receipt::Record(_) => {
                self.outbound.recorded(ack.packet_id);
                self.send(&Packet::PubRel(Ack::success(ack.packet_id)));
            }
            Receipt::BeingRecorded => {}
            Receipt::Again => self.send(&Packet::PubRel(Ack::success(ack.packet_id))),
            Receipt::Unknown => self.send(&Packet::PubRel(self.ack(ack.packet_id, Reason::PACKET_ID_NOT_FOUND))),
        }
    }

    pub(super) fn pubcomp(&mut self, ack: Ack, now: Monotonic) {
        let acked = self.outbound.complete(ack.packet_id);
        self.finished(acked);
        self.progressed(now);
    }

    /// A PUBREC that came on an earlier connection: PUBREL, in its turn.
    fn release_again(&mut self, n: u64) {
        let id = packet_id(n);
        match self.outbound.release_as(id, n) {
            Ok(()) => self.send(&Packet::PubRel(Ack::success(id))),
            Err(_) => self.close(Reason::UNSPECIFIED),
        }
    }

    /// The PUBREC of this delivery is safe.
    pub(super) fn recorded(&mut self, n: u64) {
        let id = packet_id(n);
        if self.outbound.recorded(id) {
            self.send(&Packet::PubRel(Ack::success(id)));
        }
    }

    fn finished(&mut self, acked: Acked<u64>) {
        if let Acked::Message(n) = acked {
            self.done(n);
        }
    }

    /// Tells the hub of a session that is kept that it need not keep this any longer.
    fn done(&mut self, n: u64) {
        if n == 0 {
            return;
        }
        match self.to_hub.last_mut() {
            Some(FromClient::Done(_, last)) if *last + 1 == n => *last = n,
            _ => self.to_hub.push(FromClient::Done(n, n)),
        }
    }
}

/// The packet id of a numbered delivery: the same on every connection, and after a restart.
fn packet_id(n: u64) -> u16 {
    // The remainder is below 60,000.
    1 + (n % NUMBERED_IDS) as u16
}
