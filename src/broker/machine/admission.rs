//! CONNECT and its answer: what is granted, what is refused, and how each version is told.

use std::sync::Arc;

use bytes::Bytes;

use super::{Closing, Complaint, Machine, OUR_TOPIC_ALIASES, State, TOPIC_ALIASES, incoming};
use crate::broker::access::Rights;
use crate::broker::logins::{Login, Refusal};
use crate::broker::words::{Admission, Greeting};
use crate::model::{Message, Monotonic};
use crate::mqtt::{Codec, CodecError, ConnAck, Connect, OutgoingAliases, Packet, Reason, ServerKeepAlive, Version};

impl Machine {
    pub(super) fn connect(&mut self, connect: Connect, now: Monotonic) -> Option<Greeting> {
        self.codec.set_limit(self.limits.packet_size);
        self.codec.set_peer_limit(connect.maximum_packet_size.map_or(usize::MAX, |size| size as usize));
        self.outbound.connected(connect.receive_maximum);
        self.login = Login { user: connect.username, password: connect.password };
        self.our_aliases = OutgoingAliases::new(connect.topic_alias_maximum.min(OUR_TOPIC_ALIASES));
        if let Some(method) = connect.authentication_method {
            self.turn_away(Reason::BAD_AUTHENTICATION_METHOD, Complaint::Authentication(method));
            return None;
        }
        let mut will = connect.will;
        if let Some(will) = will.as_mut().map(|will| &mut will.message) {
            // Out of the read buffer, which it would keep in memory for as long as the client is there.
            will.payload = Bytes::copy_from_slice(&will.payload);
            if let Some(data) = will.properties.as_mut().and_then(|p| p.correlation_data.as_mut()) {
                *data = Bytes::copy_from_slice(data);
            }
            if let Err(complaint) = self.check_topic(&will.topic) {
                self.turn_away(Reason::TOPIC_NAME_INVALID, complaint);
                return None;
            }
            if !incoming::is_as_indicated(&will.payload, will.properties.as_deref()) {
                self.turn_away(
                    Reason::PAYLOAD_FORMAT_INVALID,
                    Complaint::Protocol("a will that is not UTF-8, as it says"),
                );
                return None;
            }
        }
        let is_v5 = connect.version == Version::V5;
        let assigned = connect.client_id.is_empty().then(|| format!("auto-{:032x}", self.random));
        // A shorter one is the client's to choose: it wants to be missed sooner.
        let is_shorter = |most: u16| connect.keep_alive_s > 0 && connect.keep_alive_s < most;
        let imposed = self.server_keep_alive_s.filter(|most| is_v5 && !is_shorter(*most));
        self.keep_alive = Some(ServerKeepAlive::new(imposed.unwrap_or(connect.keep_alive_s), now));
        let client_id: Arc<str> = assigned.as_deref().unwrap_or(&connect.client_id).into();
        // In 3.1.1 a session ends with its connection or it doesn't; for how long it is kept then is for the broker to say.
        self.expiry_s = match (connect.version, connect.clean_start) {
            (Version::V5, _) => connect.session_expiry_s,
            (Version::V311, true) => 0,
            (Version::V311, false) => u32::MAX,
        };
        self.state = State::AwaitsHub(Box::new(ConnAck {
            receive_maximum: self.limits.in_flight_in,
            maximum_packet_size: Some(u32::try_from(self.limits.packet_size).unwrap_or(u32::MAX)),
            assigned_client_id: assigned,
            topic_alias_maximum: TOPIC_ALIASES,
            server_keep_alive_s: imposed,
            ..ConnAck::new(Reason::SUCCESS)
        }));
        // A will to a `$` topic would be dropped like a message to it.
        Some(Greeting {
            client_id,
            clean_start: connect.clean_start,
            expiry_s: self.expiry_s,
            will: will.filter(|will| !will.message.topic.starts_with('$')),
        })
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
            self.denied = Some(will.topic.to_string());
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
    pub fn admitted(&mut self, admission: &Admission) {
        self.kept = admission.kept;
        admission.received.iter().for_each(|packet_id| self.inbound.restore(*packet_id));
        if let State::AwaitsHub(mut answer) = std::mem::replace(&mut self.state, State::Open) {
            answer.session_present = admission.session_present;
            answer.session_expiry_s = (admission.expiry_s != self.expiry_s).then_some(admission.expiry_s);
            self.send(&Packet::ConnAck(answer));
        }
    }

    /// The hub has not let the client in.
    pub fn refused(&mut self, reason: Reason) {
        self.turn_away(reason, Complaint::SessionNotKept);
    }

    /// CONNECT can't be granted.
    fn turn_away(&mut self, reason: Reason, complaint: Complaint) {
        let answer = ConnAck { reason_string: Some(complaint.to_string()), ..ConnAck::new(reason) };
        // If the words are too long for the client, the code has to do [MQTT-3.2.2-19].
        if self.codec.encode(&Packet::ConnAck(Box::new(answer)), &mut self.out).is_err() {
            self.send(&Packet::ConnAck(Box::new(ConnAck::new(reason))));
        }
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
