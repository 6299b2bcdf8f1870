//! Messages from the client: what is taken, and when each is answered.

use bytes::Bytes;

use super::{Complaint, Machine};
use crate::broker::words::FromClient;
use crate::model::{Properties, QoS};
use crate::mqtt::{Ack, Answer, Arrival, Packet, Publish, Reason, Received, Version};

impl Machine {
    pub(super) fn publish(&mut self, mut publish: Publish) {
        let topic = match self.aliases.resolve(publish.topic.take(), publish.topic_alias) {
            Ok(topic) => topic,
            Err(reason) => return self.expel(reason, Complaint::Protocol("a topic alias that stands for nothing")),
        };
        if let Err(complaint) = self.check_topic(&topic) {
            return self.expel(Reason::TOPIC_NAME_INVALID, complaint);
        }
        let received = match publish.qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some(self.inbound.receive(publish.packet_id)),
            QoS::ExactlyOnce => match self.inbound.receive_once(publish.packet_id) {
                Arrival::New(received) => Some(received),
                Arrival::Repeated => None,
            },
        };
        let open = self.inbound.len().max(self.inbound.unanswered());
        if self.version() == Version::V5 && open > usize::from(self.limits.in_flight_in) {
            return self.expel(Reason::RECEIVE_MAXIMUM_EXCEEDED, Complaint::ReceiveMaximum);
        }
        if publish.qos == QoS::ExactlyOnce && received.is_none() {
            return self.answer();
        }
        if topic.starts_with('$') || !self.rights.may_publish(&topic) {
            self.denied = Some(topic.to_string());
            return self.reject(received, Reason::NOT_AUTHORIZED);
        }
        if !is_as_indicated(&publish.payload, publish.properties.as_deref()) {
            return self.reject(received, Reason::PAYLOAD_FORMAT_INVALID);
        }
        // Out of the read buffer, which a queued or retained message would otherwise keep in memory whole: it may be sixty times as large.
        publish.payload = Bytes::copy_from_slice(&publish.payload);
        if let Some(data) = publish.properties.as_mut().and_then(|p| p.correlation_data.as_mut()) {
            *data = Bytes::copy_from_slice(data);
        }
        let once = (self.kept && publish.qos == QoS::ExactlyOnce).then_some(publish.packet_id);
        self.to_hub.push(FromClient::Publish { message: publish.into_message(topic), received, once });
    }

    /// A message that goes nowhere. Its sender is told if there is a way to: 3.1.1 has none, nor has QoS 0.
    fn reject(&mut self, received: Option<Received>, reason: Reason) {
        self.tally.dropped += 1;
        if let Some(received) = received {
            let v5 = self.version() == Version::V5;
            self.release(received, if v5 { reason } else { Reason::SUCCESS });
        }
    }

    /// A message is safe, or refused.
    pub(super) fn release(&mut self, received: Received, reason: Reason) {
        self.inbound.release(received, reason);
        self.answer();
    }

    fn answer(&mut self) {
        while let Some(Answer { packet_id, qos, reason }) = self.inbound.next_answer() {
            if reason.is_failure() && self.version() == Version::V311 {
                return self.expel(reason, Complaint::NotKept);
            }
            let ack = self.ack(packet_id, reason);
            self.send(&if qos == QoS::ExactlyOnce { Packet::PubRec(ack) } else { Packet::PubAck(ack) });
        }
    }

    pub(super) fn pubrel(&mut self, ack: Ack) {
        if !self.inbound.pubrel(ack.packet_id) {
            return self.send(&Packet::PubComp(self.ack(ack.packet_id, Reason::PACKET_ID_NOT_FOUND)));
        }
        if self.kept {
            self.to_hub.push(FromClient::PubRel(ack.packet_id));
        } else {
            self.complete(ack.packet_id);
        }
    }

    /// The PUBREL of this packet id is safe.
    pub(super) fn complete(&mut self, packet_id: u16) {
        if self.inbound.complete(packet_id) {
            self.send(&Packet::PubComp(Ack::success(packet_id)));
        }
    }

    /// In 3.1.1 there is but one answer.
    pub(super) fn ack(&self, packet_id: u16, reason: Reason) -> Ack {
        Ack { packet_id, reason: if self.version() == Version::V5 { reason } else { Reason::SUCCESS } }
    }
}

/// Whether a payload that says that it is text is UTF-8 (§3.3.2.3.2).
pub(super) fn is_as_indicated(payload: &[u8], properties: Option<&Properties>) -> bool {
    !properties.is_some_and(|p| p.payload_is_utf8) || std::str::from_utf8(payload).is_ok()
}
