//! Writing PUBLISH: the one packet that is written for every message and subscriber, straight from where the message lies.

use bytes::{BufMut, BytesMut};

use super::{CodecError, Publish, Version};
use crate::model::{Message, Properties, QoS};

/// The largest remaining length that a fixed header can hold (§1.5.5).
const MAX_REMAINING: usize = 268_435_455;

/// A PUBLISH that borrows everything.
#[derive(Debug, Clone, Copy)]
pub struct PublishRef<'a> {
    /// Whether this is a repetition.
    pub dup: bool,
    /// Its level.
    pub qos: QoS,
    /// Retain.
    pub retain: bool,
    /// 0 at QoS 0, else 1 to 65,535.
    pub packet_id: u16,
    /// Empty only with an alias.
    pub topic: &'a str,
    /// MQTT 5 only.
    pub topic_alias: Option<u16>,
    /// Its content.
    pub payload: &'a [u8],
    /// MQTT 5 only; the expiry in it is not looked at.
    pub properties: Option<&'a Properties>,
    /// What is left of the message's expiry, in seconds. MQTT 5 only.
    pub message_expiry_s: Option<u32>,
    /// MQTT 5 only.
    pub subscription_ids: &'a [u32],
}

impl<'a> PublishRef<'a> {
    /// The packet that carries `message` at its own level; `packet_id` is 0 for QoS 0.
    pub fn new(message: &'a Message, packet_id: u16) -> PublishRef<'a> {
        PublishRef {
            dup: false,
            qos: message.qos,
            retain: message.retain,
            packet_id,
            topic: &message.topic,
            topic_alias: None,
            payload: &message.payload,
            properties: message.properties.as_deref(),
            message_expiry_s: message.properties.as_ref().and_then(|p| p.message_expiry_s),
            subscription_ids: &[],
        }
    }

    pub(super) fn of(packet: &'a Publish) -> PublishRef<'a> {
        PublishRef {
            dup: packet.dup,
            qos: packet.qos,
            retain: packet.retain,
            packet_id: packet.packet_id,
            topic: packet.topic.as_deref().unwrap_or(""),
            topic_alias: packet.topic_alias,
            payload: &packet.payload,
            properties: packet.properties.as_deref(),
            message_expiry_s: packet.properties.as_ref().and_then(|p| p.message_expiry_s),
            subscription_ids: &packet.subscription_ids,
        }
    }

    fn properties_len(&self) -> Result<usize, CodecError> {
        let mut n = 3 * usize::from(self.topic_alias.is_some()) + 5 * usize::from(self.message_expiry_s.is_some());
        for id in self.subscription_ids {
            n += 1 + varint_len(*id as usize);
        }
        if let Some(p) = self.properties {
            n += 2 * usize::from(p.payload_is_utf8);
            for text in [p.content_type.as_deref(), p.response_topic.as_deref()].into_iter().flatten() {
                n += 1 + sized_len(text.as_bytes())?;
            }
            if let Some(data) = &p.correlation_data {
                n += 1 + sized_len(data)?;
            }
            for (name, value) in &p.user {
                n += 1 + sized_len(name.as_bytes())? + sized_len(value.as_bytes())?;
            }
        }
        Ok(n)
    }

    fn put_properties(&self, out: &mut BytesMut, len: usize) {
        put_varint(out, len);
        if let Some(alias) = self.topic_alias {
            out.put_u8(0x23);
            out.put_u16(alias);
        }
        if let Some(seconds) = self.message_expiry_s {
            out.put_u8(0x02);
            out.put_u32(seconds);
        }
        for id in self.subscription_ids {
            out.put_u8(0x0B);
            put_varint(out, *id as usize);
        }
        let Some(p) = self.properties else { return };
        if p.payload_is_utf8 {
            out.put_slice(&[0x01, 1]);
        }
        if let Some(text) = &p.content_type {
            out.put_u8(0x03);
            put_sized(out, text.as_bytes());
        }
        if let Some(topic) = &p.response_topic {
            out.put_u8(0x08);
            put_sized(out, topic.as_bytes());
        }
        if let Some(data) = &p.correlation_data {
            out.put_u8(0x09);
            put_sized(out, data);
        }
        for (name, value) in &p.user {
            out.put_u8(0x26);
            put_sized(out, name.as_bytes());
            put_sized(out, value.as_bytes());
        }
    }

    /// Appends the packet to `out`, or leaves `out` as it was when the packet has no form or more than `limit` bytes.
    pub(super) fn encode(&self, version: Version, limit: usize, out: &mut BytesMut) -> Result<(), CodecError> {
        let (properties, remaining) = self.lengths(version)?;
        let size = 1 + varint_len(remaining) + remaining;
        if size > limit {
            return Err(CodecError::PeerLimit { size, limit });
        }
        out.reserve(size);
        out.put_u8(0x30 | u8::from(self.dup) << 3 | (self.qos as u8) << 1 | u8::from(self.retain));
        put_varint(out, remaining);
        put_sized(out, self.topic.as_bytes());
        if self.qos != QoS::AtMostOnce {
            out.put_u16(self.packet_id);
        }
        if version == Version::V5 {
            self.put_properties(out, properties);
        }
        out.put_slice(self.payload);
        Ok(())
    }

    /// The length of the properties and of everything after the fixed header.
    fn lengths(&self, version: Version) -> Result<(usize, usize), CodecError> {
        if (self.packet_id == 0) != (self.qos == QoS::AtMostOnce) {
            return Err(CodecError::Unencodable("a packet id belongs to QoS 1 and 2, and only to them"));
        }
        if self.topic.is_empty() && (self.topic_alias.is_none() || version == Version::V311) {
            return Err(CodecError::Unencodable("a PUBLISH has a topic or an alias for one"));
        }
        let properties = if version == Version::V5 { self.properties_len()? } else { 0 };
        let mut remaining = sized_len(self.topic.as_bytes())? + self.payload.len();
        if self.qos != QoS::AtMostOnce {
            remaining += 2;
        }
        if version == Version::V5 {
            remaining += varint_len(properties) + properties;
        }
        if remaining > MAX_REMAINING {
            return Err(CodecError::Unencodable("MQTT packets end at 268,435,455 bytes"));
        }
        Ok((properties, remaining))
    }
}

/// The bytes that a PUBLISH takes on the wire.
pub fn encoded_publish_len(packet: &PublishRef<'_>, version: Version) -> Result<usize, CodecError> {
    let (_, remaining) = packet.lengths(version)?;
    Ok(1 + varint_len(remaining) + remaining)
}

fn sized_len(bytes: &[u8]) -> Result<usize, CodecError> {
    if bytes.len() > usize::from(u16::MAX) {
        return Err(CodecError::Unencodable("strings of MQTT end at 65,535 bytes"));
    }
    Ok(2 + bytes.len())
}

fn put_sized(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u16(u16::try_from(bytes.len()).expect("sized_len has refused what is longer"));
    out.put_slice(bytes);
}

fn varint_len(value: usize) -> usize {
    match value {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}

fn put_varint(out: &mut BytesMut, mut value: usize) {
    loop {
        let low = (value & 0x7F) as u8;
        value >>= 7;
        out.put_u8(if value > 0 { low | 0x80 } else { low });
        if value == 0 {
            return;
        }
    }
}
