//! CONNECT and its answer: what is granted, what is refused, and how each version is told.

use std::sync::Arc;

use bytes::Bytes;

use super::{Closing, Complaint, Machine, State, TOPIC_ALIASES};
use crate::broker::access::Rights;
use crate::broker::logins::{Login, Refusal};
use crate::broker::words::Greeting;
use crate::model::{Message, Monotonic, QoS};
use crate::mqtt::{Codec, CodecError, ConnAck, Connect, Packet, Reason, ServerKeepAlive, Version};

impl Machine {
    pub(super) fn connect(&mut self, connect: Connect, now: Monotonic) -> Option<Greeting> {
        self.codec.set_limit(self.limits.packet_size);
        self.codec.set_peer_limit(connect.maximum_packet_size.map_or(usize::MAX, |size| size as usize));
        self.outbound.connected(connect.receive_maximum);
        self.login = Login { user: connect.username, password: connect.password };
        if let Some(method) = connect.authentication_method {
            self.turn_away(Reason::BAD_AUTHENTICATION_METHOD, Complaint::Authentication(method));
            return None;
        }
        let mut will = connect.will.map(|will| will.message);
        if let Some(will) = &mut will {
            if will.qos == QoS::ExactlyOnce && connect.version == Version::V5 {
                self.turn_away(Reason::QOS_NOT_SUPPORTED, Complaint::QoS2);
                return None;
            }
            // 3.1.1 has no code for this, and nobody is given more than QoS 1 anyway.
            will.qos = will.qos.min(QoS::AtLeastOnce);
            // Out of the read buffer, which it would keep in memory for as long as the client is there.
            will.payload = Bytes::copy_from_slice(&will.payload);
            if let Err(complaint) = self.check_topic(&will.topic) {
                self.turn_away(Reason::TOPIC_NAME_INVALID, complaint);
                return None;
            }
        }
        let is_v5 = connect.version == Version::V5;
        let assigned = connect.client_id.is_empty().then(|| format!("auto-{:032x}", self.random));
        let imposed = self.server_keep_alive_s.filter(|_| is_v5);
        self.keep_alive = Some(ServerKeepAlive::new(imposed.unwrap_or(connect.keep_alive_s), now));
        let client_id: Arc<str> = assigned.as_deref().unwrap_or(&connect.client_id).into();
        self.state = State::AwaitsHub(Box::new(ConnAck {
            // Sessions end with their connection, and a client that hoped for more is told.
            session_expiry_s: (connect.session_expiry_s > 0).then_some(0),
            receive_maximum: self.limits.in_flight_in,
            maximum_qos: QoS::AtLeastOnce,
            maximum_packet_size: Some(u32::try_from(self.limits.packet_size).unwrap_or(u32::MAX)),
            assigned_client_id: assigned,
            topic_alias_maximum: TOPIC_ALIASES,
            shared_available: false,
            server_keep_alive_s: imposed,
            ..ConnAck::new(Reason::SUCCESS)
        }));
        // A will to a `$` topic would be dropped like a message to it.
        Some(Greeting { client_id, will: will.filter(|will| !will.topic.starts_with('$')) })
    }

    /// What it said to say who it is. To be asked after [`Machine::receive`] returned a greeting.
    pub fn take_login(&mut self) -> Login {
        std::mem::take(&mut self.login)
    }

    /// It is somebody with these rights. Its will is a publish like any other, so a will that it has no right to keeps it out.
    pub fn grant(&mut self, rights: Rights, will: Option<&Message>) -> Result<(), Refusal> {
        if let Some(will) = will
            && !rights.may_publish(&will.topic)
        {
            self.refused = Some(will.topic.to_string());
            return Err(Refusal { reason: Reason::NOT_AUTHORIZED, why: "it may not publish its will" });
        }
        self.rights = rights;
        Ok(())
    }

    /// It is not let in, which whoever decided that has logged.
    pub fn deny(&mut self, refusal: Refusal) {
        self.turn_away(refusal.reason, Complaint::Refused(refusal.why));
    }

    /// The hub has let the client in.
    pub fn admitted(&mut self) {
        if let State::AwaitsHub(answer) = std::mem::replace(&mut self.state, State::Open) {
            self.send(&Packet::ConnAck(answer));
        }
    }

    /// CONNECT can't be granted.
    fn turn_away(&mut self, reason: Reason, complaint: Complaint) {
        let answer = ConnAck { reason_string: Some(complaint.to_string()), ..ConnAck::new(reason) };
        self.send(&Packet::ConnAck(Box::new(answer)));
        self.closing = Some(Closing { lost: false, complaint: Some(complaint) });
    }

    /// What came is no packet.
    pub(super) fn refuse(&mut self, error: CodecError) {
        if matches!(self.state, State::Open) {
            return self.expel(error.reason(), Complaint::Codec(error));
        }
        match (&error, self.codec.version()) {
            (CodecError::UnsupportedVersion { .. } | CodecError::EmptyClientId, _) => {
                Codec::encode_refusal(&error, &mut self.out);
                self.closing = Some(Closing { lost: false, complaint: Some(Complaint::Codec(error)) });
            }
            (_, Some(Version::V5)) => self.turn_away(error.reason(), Complaint::Codec(error)),
            _ => self.closing = Some(Closing { lost: false, complaint: Some(Complaint::Codec(error)) }),
        }
    }
}
