//! Messages to the client: what is written when, and how it acknowledges them.

use super::{Freed, Machine, SEND_BUFFER};
use crate::broker::words::{Delivery, FromClient, ToClient};
use crate::model::{Monotonic, QoS, Topic};
use crate::mqtt::{Ack, CodecError, Packet, PublishRef, Reason, Receipt, TopicName};

impl Machine {
    /// Writes waiting messages as far as the send buffer and the window allow.
    pub fn pump(&mut self, now: Monotonic) -> Freed {
        while self.out.len() < SEND_BUFFER && self.closing.is_none() {
            match self.queue.front() {
                None => break,
                Some(ToClient::Deliver(delivery)) if delivery.qos > QoS::AtMostOnce && !self.outbound.can_send() => {
                    break;
                }
                Some(_) => {}
            }
            match self.queue.pop_front() {
                Some(ToClient::Deliver(delivery)) => self.deliver(&delivery, now),
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

    fn deliver(&mut self, delivery: &Delivery, now: Monotonic) {
        self.freed.messages += 1;
        self.freed.bytes += delivery.published.cost();
        let published = &delivery.published;
        let waited_s = u32::try_from(now.since(published.at).as_secs()).unwrap_or(u32::MAX);
        let mut packet = PublishRef {
            qos: delivery.qos,
            retain: delivery.retain,
            subscription_ids: delivery.subscription_ids.as_slice(),
            ..PublishRef::new(&published.message, 0)
        };
        if let Some(seconds) = &mut packet.message_expiry_s {
            if *seconds <= waited_s {
                self.tally.dropped += 1;
                return;
            }
            *seconds -= waited_s;
        }
        if packet.qos > QoS::AtMostOnce {
            match self.outbound.send((), packet.qos) {
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
                self.outbound.withdraw(packet.packet_id);
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
        self.outbound.acknowledge(ack.packet_id);
        self.progressed(now);
    }

    pub(super) fn pubrec(&mut self, ack: Ack, now: Monotonic) {
        self.progressed(now);
        if ack.reason.is_failure() {
            self.outbound.refused(ack.packet_id);
            return;
        }
        match self.outbound.receipt(ack.packet_id) {
            Receipt::Record(()) => {
                self.outbound.recorded(ack.packet_id);
                self.send(&Packet::PubRel(Ack::success(ack.packet_id)));
            }
            Receipt::BeingRecorded => {}
            Receipt::Again => self.send(&Packet::PubRel(Ack::success(ack.packet_id))),
            Receipt::Unknown => self.send(&Packet::PubRel(self.ack(ack.packet_id, Reason::PACKET_ID_NOT_FOUND))),
        }
    }

    pub(super) fn pubcomp(&mut self, ack: Ack, now: Monotonic) {
        self.outbound.complete(ack.packet_id);
        self.progressed(now);
    }
}
