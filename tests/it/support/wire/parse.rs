//! Reads what a broker sends, strictly: what the standard does not allow a server to send fails the test that received it.

use std::collections::HashSet;

use super::{Publish, Version, first, property};

/// A packet from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    ConnAck(ConnAck),
    Publish(Publish),
    /// PUBACK, PUBREC, PUBREL and PUBCOMP.
    Ack(Ack),
    SubAck {
        id: u16,
        codes: Vec<u8>,
        properties: Properties,
    },
    /// Without codes in 3.1.1.
    UnsubAck {
        id: u16,
        codes: Vec<u8>,
        properties: Properties,
    },
    PingResp,
    /// MQTT 5 alone.
    Disconnect {
        reason: u8,
        properties: Properties,
    },
}

/// CONNACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnAck {
    pub session_present: bool,
    pub code: u8,
    pub properties: Properties,
}

/// An acknowledgement in the exchange of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// One of [`first`]'s.
    pub first: u8,
    pub id: u16,
    /// 0 in 3.1.1.
    pub reason: u8,
    pub properties: Properties,
}

/// Properties in their order.
pub type Properties = Vec<(u8, Value)>;

/// The value of a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Number(u32),
    Text(String),
    Binary(Vec<u8>),
    Pair(String, String),
}

impl ConnAck {
    /// The number of a property, if it is there.
    pub fn number(&self, id: u8) -> Option<u32> {
        self.properties.iter().find(|(i, _)| *i == id).map(|(_, value)| match value {
            Value::Number(n) => *n,
            other => panic!("property {id:#x} is {other:?}"),
        })
    }
}

/// How long the packet at the start of `bytes` is; `None` while that can't be known.
pub fn length(bytes: &[u8]) -> Option<usize> {
    let mut body = 0;
    for (i, byte) in bytes.iter().skip(1).take(4).enumerate() {
        body |= usize::from(byte & 0x7F) << (7 * i);
        if byte & 0x80 == 0 {
            assert!(i == 0 || *byte != 0, "a length in more bytes than it needs [MQTT-1.5.5-1]: {bytes:x?}");
            return Some(2 + i + body);
        }
    }
    assert!(bytes.len() < 5, "a remaining length of more than four bytes: {:x?}", &bytes[..5]);
    None
}

/// Reads one whole packet.
pub fn packet(version: Version, bytes: &[u8]) -> Packet {
    let header = 1 + bytes[1..].iter().position(|byte| byte & 0x80 == 0).unwrap_or_default() + 1;
    let mut reader = Reader { bytes: &bytes[header..], whole: bytes };
    let packet = reader.packet(version, bytes[0]);
    assert!(reader.bytes.is_empty(), "bytes after the end of {packet:?}: {bytes:x?}");
    packet
}

/// Reads properties that are known to be well-formed, or panics.
pub fn properties(bytes: &[u8]) -> Properties {
    Reader { bytes, whole: bytes }.list()
}

struct Reader<'a> {
    bytes: &'a [u8],
    whole: &'a [u8],
}

impl<'a> Reader<'a> {
    fn packet(&mut self, version: Version, first: u8) -> Packet {
        let v5 = version == Version::V5;
        match first {
            0x20 => {
                let flags = self.byte();
                assert!(flags <= 1, "reserved bits of CONNACK [MQTT-3.2.2-1]: {:x?}", self.whole);
                let code = self.byte();
                let properties = if v5 && !self.bytes.is_empty() { self.properties(CONNACK) } else { Vec::new() };
                assert!(if code < 0x80 && v5 { code == 0 } else { v5 || code <= 5 }, "CONNACK with {code:#x}");
                assert!(code == 0 || flags == 0, "session present in a refusal [MQTT-3.2.2-6]");
                Packet::ConnAck(ConnAck { session_present: flags == 1, code, properties })
            }
            0x30..=0x3F => Packet::Publish(self.publish(v5, first)),
            first::PUBACK | first::PUBREC | first::PUBREL | first::PUBCOMP => {
                let id = self.id();
                let reason = if v5 && !self.bytes.is_empty() { self.byte() } else { 0 };
                let properties = if self.bytes.is_empty() { Vec::new() } else { self.properties(REASON) };
                let allowed: &[u8] = match first {
                    first::PUBACK | first::PUBREC => &[0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
                    _ => &[0, 0x92],
                };
                assert!(allowed.contains(&reason), "no reason code of this packet: {:x?}", self.whole);
                Packet::Ack(Ack { first, id, reason, properties })
            }
            0x90 => {
                let id = self.id();
                let properties = if v5 { self.properties(REASON) } else { Vec::new() };
                let codes = self.rest();
                let allowed: &[u8] = match version {
                    Version::V311 => &[0, 1, 2, 0x80],
                    Version::V5 => &[0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2],
                };
                assert!(codes.iter().all(|code| allowed.contains(code)), "[MQTT-3.9.3-2]: {:x?}", self.whole);
                Packet::SubAck { id, codes, properties }
            }
            0xB0 => {
                let id = self.id();
                let properties = if v5 { self.properties(REASON) } else { Vec::new() };
                let codes = self.rest();
                let allowed: &[u8] = if v5 { &[0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91] } else { &[] };
                assert!(codes.iter().all(|code| allowed.contains(code)), "[MQTT-3.11.3-2]: {:x?}", self.whole);
                Packet::UnsubAck { id, codes, properties }
            }
            0xD0 => Packet::PingResp,
            0xE0 => {
                assert!(v5, "a 3.1.1 server has no DISCONNECT to send");
                let reason = if self.bytes.is_empty() { 0 } else { self.byte() };
                // [MQTT-3.14.2-2]: no Session Expiry Interval from a server.
                let properties = if self.bytes.is_empty() { Vec::new() } else { self.properties(DISCONNECT) };
                let allowed = [0, 0x8B, 0x8D, 0x8E, 0x87, 0x89, 0x98].contains(&reason)
                    || (0x80..=0x83).contains(&reason)
                    || (0x8F..=0x90).contains(&reason)
                    || (0x93..=0xA2).contains(&reason);
                assert!(allowed, "no reason of a server's DISCONNECT [MQTT-3.14.2-1]: {:x?}", self.whole);
                Packet::Disconnect { reason, properties }
            }
            _ => panic!("a server can't send this [MQTT-2.1.3-1]: {:x?}", self.whole),
        }
    }

    fn publish(&mut self, v5: bool, first: u8) -> Publish {
        let qos = first >> 1 & 3;
        let dup = first & 8 != 0;
        assert!(qos < 3, "QoS 3 [MQTT-3.3.1-4]: {:x?}", self.whole);
        assert!(qos > 0 || !dup, "DUP at QoS 0 [MQTT-3.3.1-2]: {:x?}", self.whole);
        let topic = self.sized().to_vec();
        let named = std::str::from_utf8(&topic).expect("a topic is UTF-8");
        assert!(!named.contains(['\0', '+', '#']), "[MQTT-3.3.2-2]: {named:?}");
        let id = if qos > 0 { self.id() } else { 0 };
        let mut raw: &[u8] = &[];
        if v5 {
            let before = self.bytes;
            let list = self.properties(PUBLISH);
            let used = before.len() - self.bytes.len();
            let lead = 1 + before.iter().position(|byte| byte & 0x80 == 0).unwrap_or_default();
            raw = &before[lead..used];
            let aliased = list.iter().any(|(id, value)| *id == property::TOPIC_ALIAS && *value != Value::Number(0));
            assert!(aliased || !topic.is_empty(), "neither topic nor alias: {:x?}", self.whole);
        } else {
            assert!(!topic.is_empty(), "an empty topic [MQTT-4.7.3-1]");
        }
        let (properties, payload) = (raw.to_vec(), self.rest());
        Publish { dup, qos, retain: first & 1 != 0, topic, id, properties, payload }
    }

    /// Properties with their length; only `allowed` ones, and only user properties and subscription identifiers more than once.
    fn properties(&mut self, allowed: &[u8]) -> Properties {
        let length = self.varint();
        let (own, rest) = self.bytes.split_at_checked(length).expect("properties end in their packet");
        self.bytes = rest;
        let list = Reader { bytes: own, whole: self.whole }.list();
        let mut seen = HashSet::new();
        for (id, _) in &list {
            assert!(allowed.contains(id), "property {id:#x} does not belong here: {:x?}", self.whole);
            let repeatable = matches!(*id, property::USER | property::SUBSCRIPTION_ID);
            assert!(seen.insert(*id) || repeatable, "property {id:#x} twice: {:x?}", self.whole);
        }
        list
    }

    fn list(mut self) -> Properties {
        let mut out = Vec::new();
        while !self.bytes.is_empty() {
            let id = self.byte();
            out.push((id, self.value(id)));
        }
        out
    }

    fn value(&mut self, id: u8) -> Value {
        match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2A => Value::Number(self.byte().into()),
            0x13 | 0x21..=0x23 => Value::Number(self.id_or_zero().into()),
            0x02 | 0x11 | 0x18 | 0x27 => {
                Value::Number(u32::from(self.id_or_zero()) << 16 | u32::from(self.id_or_zero()))
            }
            0x0B => Value::Number(self.varint() as u32),
            0x09 | 0x16 => Value::Binary(self.sized().to_vec()),
            0x03 | 0x08 | 0x12 | 0x15 | 0x1A | 0x1C | 0x1F => Value::Text(self.text()),
            0x26 => Value::Pair(self.text(), self.text()),
            _ => panic!("there is no property {id:#x}: {:x?}", self.whole),
        }
    }

    fn byte(&mut self) -> u8 {
        let (byte, rest) = self.bytes.split_first().unwrap_or_else(|| panic!("ends too early: {:x?}", self.whole));
        self.bytes = rest;
        *byte
    }

    fn id(&mut self) -> u16 {
        let id = self.id_or_zero();
        assert!(id > 0, "packet id 0: {:x?}", self.whole);
        id
    }

    fn id_or_zero(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn varint(&mut self) -> usize {
        let mut value = 0;
        for i in 0..4 {
            let byte = self.byte();
            value |= usize::from(byte & 0x7F) << (7 * i);
            if byte & 0x80 == 0 {
                assert!(i == 0 || byte != 0, "not the shortest form [MQTT-1.5.5-1]: {:x?}", self.whole);
                return value;
            }
        }
        panic!("a number of more than four bytes: {:x?}", self.whole)
    }

    fn sized(&mut self) -> &'a [u8] {
        let length = usize::from(self.id_or_zero());
        let (own, rest) = self.bytes.split_at_checked(length).expect("a field ends in its packet");
        self.bytes = rest;
        own
    }

    fn text(&mut self) -> String {
        String::from_utf8(self.sized().to_vec()).expect("text is UTF-8")
    }

    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes).to_vec()
    }
}

const REASON: &[u8] = &[property::REASON_STRING, property::USER];
const DISCONNECT: &[u8] = &[property::REASON_STRING, property::USER, property::SERVER_REFERENCE];
const CONNACK: &[u8] = &[
    property::SESSION_EXPIRY,
    property::RECEIVE_MAXIMUM,
    property::MAXIMUM_QOS,
    property::RETAIN_AVAILABLE,
    property::MAXIMUM_PACKET_SIZE,
    property::ASSIGNED_CLIENT_ID,
    property::TOPIC_ALIAS_MAXIMUM,
    property::REASON_STRING,
    property::USER,
    property::WILDCARDS_AVAILABLE,
    property::SUBSCRIPTION_IDS_AVAILABLE,
    property::SHARED_AVAILABLE,
    property::SERVER_KEEP_ALIVE,
    property::RESPONSE_INFO,
    property::SERVER_REFERENCE,
    property::AUTH_METHOD,
    property::AUTH_DATA,
];
const PUBLISH: &[u8] = &[
    property::PAYLOAD_FORMAT,
    property::MESSAGE_EXPIRY,
    property::TOPIC_ALIAS,
    property::RESPONSE_TOPIC,
    property::CORRELATION_DATA,
    property::USER,
    property::SUBSCRIPTION_ID,
    property::CONTENT_TYPE,
];
