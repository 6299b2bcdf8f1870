//! Bytes to packets and back, for both ends and both versions. This file and its two halves are all that names the codec crate.
//!
//! The crate parses what has arrived whole and passed [`super::frame`]'s checks; conversion then refuses what it lets pass: NUL,
//! wildcards in topic names, impossible filters. PUBLISH and the four acknowledgements are written here, without copies in between.

#[cfg(test)]
mod tests;
mod v311;
mod v5;

use bytes::{BufMut, BytesMut};
use bytestring::ByteString;
use rmqtt_codec::error::{DecodeError, EncodeError};
use tokio_util::codec::{Decoder, Encoder};

pub use super::error::CodecError;
use super::{Ack, Packet, PublishRef, Reason, Version, frame};
use crate::model::{Filter, QoS, Topic};

/// Which end of a connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Role {
    Server,
    Client,
}

/// The codec of one connection.
#[derive(Debug)]
pub struct Codec {
    role: Role,
    inner: Inner,
    limit: usize,
    peer_limit: usize,
    failed: Option<CodecError>,
}

#[derive(Debug)]
enum Inner {
    /// Waiting for CONNECT.
    Unknown,
    V311(rmqtt_codec::v3::Codec),
    V5(rmqtt_codec::v5::Codec),
}

impl Inner {
    fn new(version: Version) -> Inner {
        // 0 is the crate's "no limit": the frame was measured before, and what is written is measured after.
        match version {
            Version::V311 => Inner::V311(rmqtt_codec::v3::Codec::new(0)),
            Version::V5 => Inner::V5(rmqtt_codec::v5::Codec::new(0, 0)),
        }
    }
}

impl Codec {
    /// For a server: the version is unknown until CONNECT. Packets of more than `limit` bytes, header included, are refused.
    pub fn server(limit: usize) -> Codec {
        Codec { role: Role::Server, inner: Inner::Unknown, limit, peer_limit: usize::MAX, failed: None }
    }

    /// For a client that speaks `version`.
    pub fn client(version: Version, limit: usize) -> Codec {
        Codec { role: Role::Client, inner: Inner::new(version), limit, peer_limit: usize::MAX, failed: None }
    }

    /// The version spoken; `None` before a server has seen CONNECT.
    pub fn version(&self) -> Option<Version> {
        match self.inner {
            Inner::Unknown => None,
            Inner::V311(_) => Some(Version::V311),
            Inner::V5(_) => Some(Version::V5),
        }
    }

    /// Changes the largest packet taken, in bytes.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The largest packet that the peer takes, in bytes: its Maximum Packet Size.
    pub fn set_peer_limit(&mut self, limit: usize) {
        self.peer_limit = limit;
    }

    /// Takes one packet off the front of `src`; `None` when it is not whole yet.
    ///
    /// Nothing is reserved for a packet that was only announced. After an error every further call returns it again.
    pub fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Packet>, CodecError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.decode_one(src).inspect_err(|error| self.failed = Some(error.clone()))
    }

    fn decode_one(&mut self, src: &mut BytesMut) -> Result<Option<Packet>, CodecError> {
        let Some(&first) = src.first() else { return Ok(None) };
        if self.version().is_none() && first != frame::CONNECT << 4 {
            return Err(CodecError::NotConnect);
        }
        let Some(header) = frame::header(src)? else { return Ok(None) };
        frame::check_direction(self.role, header.kind)?;
        let size = header.header + header.body;
        if size > self.limit {
            return Err(CodecError::TooLarge { size, limit: self.limit });
        }
        if src.len() < size {
            return Ok(None);
        }
        let body = &mut src[header.header..size];
        let mut clean_start_lent = false;
        match (self.version(), header.kind) {
            (None, _) => {
                let shape = frame::connect(body)?;
                clean_start_lent = shape.clean_start_lent;
                self.inner = Inner::new(shape.version);
            }
            (Some(_), frame::CONNECT) => return Err(CodecError::Protocol("a second CONNECT [MQTT-3.1.0-2]")),
            (Some(Version::V5), frame::PUBLISH) => frame::publish_v5(first, body)?,
            (Some(Version::V311), frame::SUBSCRIBE) => frame::subscribe_v311(body)?,
            (Some(version), kind) => frame::check_length(version, kind, header.body)?,
        }
        let refusal = match (self.role, self.version(), header.kind, body) {
            (Role::Client, Some(Version::V5), frame::PUBACK | frame::PUBREC, [_, _, reason, ..]) if *reason >= 0x80 => {
                // A broker may give any reason, allowed there (§3.4.2.1) or not: mosquitto says 0x95, packet too large. It is a refusal all the same.
                Some(Reason(std::mem::replace(reason, Reason::UNSPECIFIED.0)))
            }
            _ => None,
        };
        let mut packet = match &mut self.inner {
            Inner::Unknown => return Err(CodecError::NotConnect),
            Inner::V311(codec) => v311::from_wire(taken(codec.decode(src))?)?,
            Inner::V5(codec) => v5::from_wire(taken(codec.decode(src))?)?,
        };
        if let (Packet::PubAck(ack) | Packet::PubRec(ack), Some(reason)) = (&mut packet, refusal) {
            ack.reason = reason;
        }
        if let (Packet::Connect(connect), true) = (&mut packet, clean_start_lent) {
            connect.clean_start = false;
        }
        if let (Role::Server, Packet::Publish(publish)) = (self.role, &packet)
            && !publish.subscription_ids.is_empty()
        {
            return Err(CodecError::Protocol("a client can't send subscription identifiers [MQTT-3.3.4-6]"));
        }
        Ok(Some(packet))
    }

    /// Appends a packet to `out`. On an error `out` is as it was.
    pub fn encode(&mut self, packet: &Packet, out: &mut BytesMut) -> Result<(), CodecError> {
        match packet {
            Packet::Publish(publish) => return self.encode_publish(&PublishRef::of(publish), out),
            Packet::PubAck(ack) => return self.encode_ack(0x40, *ack, out),
            Packet::PubRec(ack) => return self.encode_ack(0x50, *ack, out),
            Packet::PubRel(ack) => return self.encode_ack(0x62, *ack, out),
            Packet::PubComp(ack) => return self.encode_ack(0x70, *ack, out),
            _ => {}
        }
        let start = out.len();
        let written = match &mut self.inner {
            Inner::Unknown => Err(CodecError::Unencodable("the version is not known before CONNECT")),
            Inner::V311(codec) => written(codec.encode(v311::to_wire(packet)?, out)),
            Inner::V5(codec) => written(codec.encode(v5::to_wire(packet)?, out)),
        };
        let size = out.len() - start;
        let checked = match written {
            Ok(()) if size > self.peer_limit => Err(CodecError::PeerLimit { size, limit: self.peer_limit }),
            other => other,
        };
        if checked.is_err() {
            out.truncate(start);
        }
        checked
    }

    /// Appends a PUBLISH to `out` from where its message lies. On an error `out` is as it was.
    pub fn encode_publish(&self, packet: &PublishRef<'_>, out: &mut BytesMut) -> Result<(), CodecError> {
        let version = self.version().ok_or(CodecError::Unencodable("the version is not known before CONNECT"))?;
        packet.encode(version, self.peer_limit, out)
    }

    fn encode_ack(&self, first: u8, ack: Ack, out: &mut BytesMut) -> Result<(), CodecError> {
        let [high, low] = ack.packet_id.to_be_bytes();
        match (self.version(), ack.reason.0) {
            _ if ack.packet_id == 0 => Err(CodecError::Unencodable("packet id 0 acknowledges nothing")),
            (Some(_), 0) => {
                out.put_slice(&[first, 2, high, low]);
                Ok(())
            }
            (Some(Version::V5), reason) => {
                out.put_slice(&[first, 3, high, low, reason]);
                Ok(())
            }
            _ => Err(CodecError::Unencodable("MQTT 3.1.1 has no way to refuse in an acknowledgement")),
        }
    }

    /// Appends the CONNACK for a CONNECT that this codec refused to decode, where the standard has one; the connection is then to be closed.
    ///
    /// Levels above 5 are told in MQTT 5's form, others in that of 3.1.1.
    pub fn encode_refusal(error: &CodecError, out: &mut BytesMut) {
        match error {
            CodecError::UnsupportedVersion { level } if *level > 5 => out.put_slice(&[0x20, 3, 0, 0x84, 0]),
            CodecError::UnsupportedVersion { .. } => out.put_slice(&[0x20, 2, 0, 1]),
            CodecError::EmptyClientId => out.put_slice(&[0x20, 2, 0, 2]),
            _ => {}
        }
    }
}

/// The result of the crate's decoder for a frame that is whole.
fn taken<P>(result: Result<Option<(P, u32)>, DecodeError>) -> Result<P, CodecError> {
    match result {
        Ok(Some((packet, _))) => Ok(packet),
        // The frame was whole, so this can't be; if it were, waiting for more would hang the connection.
        Ok(None) => Err(CodecError::Malformed("the packet ends before its content does")),
        Err(error) => Err(match error {
            DecodeError::InvalidTopicFilter => {
                CodecError::Protocol("at least one topic filter is needed, and none is empty")
            }
            DecodeError::InvalidTopicName => CodecError::TopicName(crate::model::TopicError::Empty),
            DecodeError::Utf8Error => CodecError::Malformed("text that is not UTF-8 [MQTT-1.5.4-1]"),
            DecodeError::InvalidLength => CodecError::Malformed("the packet ends before its content does"),
            DecodeError::PacketIdRequired => CodecError::Malformed("packet id 0 [MQTT-2.2.1-3]"),
            _ => CodecError::Malformed("a value or property that the packet can't have"),
        }),
    }
}

fn written(result: Result<(), EncodeError>) -> Result<(), CodecError> {
    result.map_err(|error| match error {
        EncodeError::InvalidLength => CodecError::Unencodable("strings of MQTT end at 65,535 bytes"),
        _ => CodecError::Unencodable("a field is out of range"),
    })
}

/// A text without NUL [MQTT-1.5.4-2].
fn text(from: ByteString) -> Result<String, CodecError> {
    if from.contains('\0') {
        return Err(CodecError::Malformed("a text with the NUL character [MQTT-1.5.4-2]"));
    }
    Ok(from.into())
}

fn opt_text(from: Option<ByteString>) -> Result<Option<String>, CodecError> {
    from.map(text).transpose()
}

fn user(from: Vec<(ByteString, ByteString)>) -> Result<Vec<(String, String)>, CodecError> {
    from.into_iter().map(|(name, value)| Ok((text(name)?, text(value)?))).collect()
}

fn to_user(from: &[(String, String)]) -> Vec<(ByteString, ByteString)> {
    from.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect()
}

fn topic(from: &str) -> Result<Topic, CodecError> {
    Topic::new(from).map_err(CodecError::TopicName)
}

fn filter(from: &str) -> Result<Filter, CodecError> {
    Filter::new(from).map_err(CodecError::TopicFilter)
}

fn qos(from: rmqtt_codec::types::QoS) -> QoS {
    match from {
        rmqtt_codec::types::QoS::AtMostOnce => QoS::AtMostOnce,
        rmqtt_codec::types::QoS::AtLeastOnce => QoS::AtLeastOnce,
        rmqtt_codec::types::QoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

fn to_qos(from: QoS) -> rmqtt_codec::types::QoS {
    match from {
        QoS::AtMostOnce => rmqtt_codec::types::QoS::AtMostOnce,
        QoS::AtLeastOnce => rmqtt_codec::types::QoS::AtLeastOnce,
        QoS::ExactlyOnce => rmqtt_codec::types::QoS::ExactlyOnce,
    }
}

fn packet_id(from: u16) -> Result<std::num::NonZeroU16, CodecError> {
    std::num::NonZeroU16::new(from).ok_or(CodecError::Unencodable("packet id 0"))
}
