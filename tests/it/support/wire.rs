//! MQTT as bytes: packets are built and read here without the code under test, so that a test can also say what no client would say.
//!
//! Reading is strict. Whatever the broker sends in any test has the reserved bits, lengths, properties and reason codes that the
//! standard allows it, or the test fails.

mod client;
mod parse;

pub use client::{Wire, unique};
pub use fieldway::mqtt::Version;
pub use parse::{Ack, ConnAck, Packet, Value};

/// MQTT 3.1.1 and 5.
pub const BOTH: [Version; 2] = [Version::V311, Version::V5];

/// First bytes of packets, flags included.
pub mod first {
    pub const CONNECT: u8 = 0x10;
    pub const PUBLISH: u8 = 0x30;
    pub const PUBACK: u8 = 0x40;
    pub const PUBREC: u8 = 0x50;
    pub const PUBREL: u8 = 0x62;
    pub const PUBCOMP: u8 = 0x70;
    pub const SUBSCRIBE: u8 = 0x82;
    pub const UNSUBSCRIBE: u8 = 0xA2;
    pub const PINGREQ: u8 = 0xC0;
    pub const DISCONNECT: u8 = 0xE0;
    pub const AUTH: u8 = 0xF0;
}

/// Property identifiers of MQTT 5 (§2.2.2.2).
pub mod property {
    pub const PAYLOAD_FORMAT: u8 = 0x01;
    pub const MESSAGE_EXPIRY: u8 = 0x02;
    pub const CONTENT_TYPE: u8 = 0x03;
    pub const RESPONSE_TOPIC: u8 = 0x08;
    pub const CORRELATION_DATA: u8 = 0x09;
    pub const SUBSCRIPTION_ID: u8 = 0x0B;
    pub const SESSION_EXPIRY: u8 = 0x11;
    pub const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub const AUTH_METHOD: u8 = 0x15;
    pub const AUTH_DATA: u8 = 0x16;
    pub const REQUEST_PROBLEM_INFO: u8 = 0x17;
    pub const WILL_DELAY: u8 = 0x18;
    pub const REQUEST_RESPONSE_INFO: u8 = 0x19;
    pub const RESPONSE_INFO: u8 = 0x1A;
    pub const SERVER_REFERENCE: u8 = 0x1C;
    pub const REASON_STRING: u8 = 0x1F;
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub const TOPIC_ALIAS: u8 = 0x23;
    pub const MAXIMUM_QOS: u8 = 0x24;
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    pub const USER: u8 = 0x26;
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub const WILDCARDS_AVAILABLE: u8 = 0x28;
    pub const SUBSCRIPTION_IDS_AVAILABLE: u8 = 0x29;
    pub const SHARED_AVAILABLE: u8 = 0x2A;
}

/// A variable byte integer (§1.5.5).
pub fn varint(mut n: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let byte = (n % 128) as u8;
        n /= 128;
        out.push(if n > 0 { byte | 0x80 } else { byte });
        if n == 0 {
            return out;
        }
    }
}

/// A string or binary with its two bytes of length.
pub fn sized(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let length = u16::try_from(bytes.len()).expect("a field of MQTT has at most 65,535 bytes");
    [&length.to_be_bytes(), bytes].concat()
}

/// A packet of these parts behind its fixed header.
pub fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&[first], &varint(body.len())[..], &body].concat()
}

/// A property of one byte, and so on by the size of the value.
pub fn byte(id: u8, value: u8) -> Vec<u8> {
    vec![id, value]
}
pub fn two(id: u8, value: u16) -> Vec<u8> {
    [&[id], &value.to_be_bytes()[..]].concat()
}
pub fn four(id: u8, value: u32) -> Vec<u8> {
    [&[id], &value.to_be_bytes()[..]].concat()
}
pub fn variable(id: u8, value: usize) -> Vec<u8> {
    [&[id], &varint(value)[..]].concat()
}
pub fn text(id: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    [&[id], &sized(value)[..]].concat()
}
pub fn user(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    [&[property::USER], &sized(name)[..], &sized(value)].concat()
}

/// CONNECT.
#[derive(Debug, Clone)]
pub struct Connect {
    pub version: Version,
    pub clean: bool,
    pub keep_alive: u16,
    pub client_id: Vec<u8>,
    /// Without their length; nothing in 3.1.1.
    pub properties: Vec<u8>,
    pub will: Option<Will>,
    pub user: Option<Vec<u8>>,
    pub password: Option<Vec<u8>>,
}

/// The will in a CONNECT.
#[derive(Debug, Clone)]
pub struct Will {
    pub topic: Vec<u8>,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub properties: Vec<u8>,
}

impl Will {
    pub fn new(topic: &str, payload: &str) -> Will {
        Will { topic: topic.into(), payload: payload.into(), qos: 0, retain: false, properties: Vec::new() }
    }
}

impl Connect {
    /// With a clean start and no keep-alive.
    pub fn new(version: Version, client_id: &str) -> Connect {
        Connect {
            version,
            clean: true,
            keep_alive: 0,
            client_id: client_id.into(),
            properties: Vec::new(),
            will: None,
            user: None,
            password: None,
        }
    }

    /// A session that outlives its connection: Clean Session 0 in 3.1.1, an expiry of an hour in MQTT 5; resumed if there is one.
    pub fn persistent(version: Version, client_id: &str) -> Connect {
        let properties = match version {
            Version::V311 => Vec::new(),
            Version::V5 => four(property::SESSION_EXPIRY, 3_600),
        };
        Connect { clean: false, properties, ..Connect::new(version, client_id) }
    }

    pub fn keep_alive(self, seconds: u16) -> Connect {
        Connect { keep_alive: seconds, ..self }
    }

    /// With these properties too.
    pub fn with(mut self, property: Vec<u8>) -> Connect {
        self.properties.extend(property);
        self
    }

    pub fn will(self, will: Will) -> Connect {
        Connect { will: Some(will), ..self }
    }

    /// The connect flags that belong to the fields.
    pub fn flags(&self) -> u8 {
        let will = self.will.as_ref().map_or(0, |will| 0x04 | will.qos << 3 | u8::from(will.retain) << 5);
        u8::from(self.clean) << 1 | will | u8::from(self.password.is_some()) << 6 | u8::from(self.user.is_some()) << 7
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.bytes_with_flags(self.flags())
    }

    /// With connect flags that may contradict the fields.
    pub fn bytes_with_flags(&self, flags: u8) -> Vec<u8> {
        let level = if self.version == Version::V5 { 5 } else { 4 };
        let mut body = [&sized("MQTT")[..], &[level, flags], &self.keep_alive.to_be_bytes()].concat();
        let properties = |body: &mut Vec<u8>, list: &[u8]| {
            if self.version == Version::V5 {
                body.extend(varint(list.len()));
                body.extend(list);
            }
        };
        properties(&mut body, &self.properties);
        body.extend(sized(&self.client_id));
        if let Some(will) = &self.will {
            properties(&mut body, &will.properties);
            body.extend(sized(&will.topic));
            body.extend(sized(&will.payload));
        }
        for field in [&self.user, &self.password].into_iter().flatten() {
            body.extend(sized(field));
        }
        packet(first::CONNECT, &[&body])
    }
}

/// PUBLISH, to be sent or received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    pub dup: bool,
    pub qos: u8,
    pub retain: bool,
    pub topic: Vec<u8>,
    /// 0 at QoS 0.
    pub id: u16,
    /// Without their length; nothing in 3.1.1.
    pub properties: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Publish {
    pub fn new(topic: &str, payload: impl AsRef<[u8]>) -> Publish {
        let payload = payload.as_ref().to_vec();
        Publish { dup: false, qos: 0, retain: false, topic: topic.into(), id: 0, properties: Vec::new(), payload }
    }

    /// At QoS 1 or 2.
    pub fn qos(self, qos: u8, id: u16) -> Publish {
        Publish { qos, id, ..self }
    }

    pub fn retained(self) -> Publish {
        Publish { retain: true, ..self }
    }

    pub fn dup(self) -> Publish {
        Publish { dup: true, ..self }
    }

    /// With this property too.
    pub fn with(mut self, property: Vec<u8>) -> Publish {
        self.properties.extend(property);
        self
    }

    pub fn bytes(&self, version: Version) -> Vec<u8> {
        let first = first::PUBLISH | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        let id = if self.qos > 0 { self.id.to_be_bytes().to_vec() } else { Vec::new() };
        let properties = match version {
            Version::V311 => Vec::new(),
            Version::V5 => [varint(self.properties.len()), self.properties.clone()].concat(),
        };
        packet(first, &[&sized(&self.topic), &id, &properties, &self.payload])
    }

    /// Its topic as text.
    pub fn topic(&self) -> &str {
        std::str::from_utf8(&self.topic).expect("a topic is UTF-8")
    }

    /// Its payload as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("a test sends text")
    }

    /// The values of one property, in order.
    pub fn property(&self, id: u8) -> Vec<Value> {
        parse::properties(&self.properties).into_iter().filter(|(i, _)| *i == id).map(|(_, value)| value).collect()
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP in its short form.
pub fn ack(first: u8, id: u16) -> Vec<u8> {
    packet(first, &[&id.to_be_bytes()])
}

/// One of them with a reason code (MQTT 5).
pub fn ack_with(first: u8, id: u16, reason: u8) -> Vec<u8> {
    packet(first, &[&id.to_be_bytes(), &[reason]])
}

/// SUBSCRIBE: each filter with its options byte, whose lowest two bits are the QoS.
pub fn subscribe(version: Version, id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    subscribe_with(version, id, &[], filters)
}

/// SUBSCRIBE with properties.
pub fn subscribe_with(version: Version, id: u16, properties: &[u8], filters: &[(&str, u8)]) -> Vec<u8> {
    let list: Vec<u8> =
        filters.iter().flat_map(|(filter, options)| [&sized(filter)[..], &[*options]].concat()).collect();
    packet(first::SUBSCRIBE, &[&id.to_be_bytes(), &lead(version, properties), &list])
}

/// UNSUBSCRIBE.
pub fn unsubscribe(version: Version, id: u16, filters: &[&str]) -> Vec<u8> {
    let list: Vec<u8> = filters.iter().flat_map(sized).collect();
    packet(first::UNSUBSCRIBE, &[&id.to_be_bytes(), &lead(version, &[]), &list])
}

/// DISCONNECT in order.
pub fn disconnect() -> Vec<u8> {
    packet(first::DISCONNECT, &[])
}

/// DISCONNECT with a reason and properties (MQTT 5).
pub fn disconnect_with(reason: u8, properties: &[u8]) -> Vec<u8> {
    packet(first::DISCONNECT, &[&[reason], &varint(properties.len()), properties])
}

fn lead(version: Version, properties: &[u8]) -> Vec<u8> {
    match version {
        Version::V311 => Vec::new(),
        Version::V5 => [&varint(properties.len())[..], properties].concat(),
    }
}
