//! The control packets of MQTT 3.1.1 and 5 as this program speaks of them: one set of types for both versions.
//!
//! What a version does not carry is absent or at its default. A packet that was received is never sent on: what goes out is
//! built afresh from its message.

use bytes::Bytes;

use super::Reason;
use crate::model::{Filter, Message, Properties, QoS, Topic};

/// The protocol that a connection speaks. 3.1 (level 3) is served as 3.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Version {
    V311,
    V5,
}

/// A name and a value that mean something to the applications alone.
pub type UserProperties = Vec<(String, String)>;

/// Any control packet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the specification")]
pub enum Packet {
    Connect(Box<Connect>),
    ConnAck(Box<ConnAck>),
    Publish(Publish),
    PubAck(Ack),
    PubRec(Ack),
    PubRel(Ack),
    PubComp(Ack),
    Subscribe(Subscribe),
    SubAck(SubAck),
    Unsubscribe(Unsubscribe),
    UnsubAck(SubAck),
    PingReq,
    PingResp,
    Disconnect(Disconnect),
    Auth(Auth),
}

/// CONNECT (§3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// The version that the client speaks.
    pub version: Version,
    /// Clean Start, or Clean Session in 3.1.1.
    pub clean_start: bool,
    /// Seconds; 0 turns the mechanism off.
    pub keep_alive_s: u16,
    /// May be empty: the server assigns one.
    pub client_id: String,
    /// User Name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Bytes>,
    /// What to publish when the connection is lost.
    pub will: Option<Box<Will>>,
    /// Session Expiry Interval in seconds; `u32::MAX` never ends.
    pub session_expiry_s: u32,
    /// How many QoS 1 and 2 messages the client takes at once, 1 to 65,535.
    pub receive_maximum: u16,
    /// The largest packet that the client takes, in bytes.
    pub maximum_packet_size: Option<u32>,
    /// The highest topic alias that the server may use.
    pub topic_alias_maximum: u16,
    /// Whether reason strings and user properties may come on any packet.
    pub request_problem_information: bool,
    /// Whether Response Information is asked for.
    pub request_response_information: bool,
    /// Asks for extended authentication.
    pub authentication_method: Option<String>,
    /// Belongs to the method.
    pub authentication_data: Option<Bytes>,
    /// User Properties.
    pub user: UserProperties,
}

impl Connect {
    /// A CONNECT with a clean start, no keep-alive and nothing optional.
    pub fn new(version: Version, client_id: impl Into<String>) -> Connect {
        Connect {
            version,
            clean_start: true,
            keep_alive_s: 0,
            client_id: client_id.into(),
            username: None,
            password: None,
            will: None,
            session_expiry_s: 0,
            receive_maximum: u16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_problem_information: true,
            request_response_information: false,
            authentication_method: None,
            authentication_data: None,
            user: Vec::new(),
        }
    }
}

/// The message that a server publishes when a client is lost (§3.1.2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Topic, payload, QoS, retain flag and properties.
    pub message: Message,
    /// Will Delay Interval in seconds.
    pub delay_s: u32,
}

/// CONNACK (§3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the server had a session of this client.
    pub session_present: bool,
    /// Success, or why not.
    pub reason: Reason,
    /// Session Expiry Interval in seconds, when it differs from what was asked for.
    pub session_expiry_s: Option<u32>,
    /// How many QoS 1 and 2 messages the server takes at once.
    pub receive_maximum: u16,
    /// The highest level that the server takes.
    pub maximum_qos: QoS,
    /// Whether retained messages are kept.
    pub retain_available: bool,
    /// The largest packet that the server takes, in bytes.
    pub maximum_packet_size: Option<u32>,
    /// The identifier given to a client that came without one.
    pub assigned_client_id: Option<String>,
    /// The highest topic alias that the client may use.
    pub topic_alias_maximum: u16,
    /// Why, in words.
    pub reason_string: Option<String>,
    /// Another server that the client should use.
    pub server_reference: Option<String>,
    /// Whether wildcards may be subscribed to.
    pub wildcards_available: bool,
    /// Whether subscription identifiers are understood.
    pub subscription_ids_available: bool,
    /// Whether `$share/…` is understood.
    pub shared_available: bool,
    /// The keep-alive in seconds that the client has to use instead of its own.
    pub server_keep_alive_s: Option<u16>,
    /// User Properties.
    pub user: UserProperties,
}

impl ConnAck {
    /// A CONNACK that offers everything and says nothing.
    pub fn new(reason: Reason) -> ConnAck {
        ConnAck {
            session_present: false,
            reason,
            session_expiry_s: None,
            receive_maximum: u16::MAX,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            maximum_packet_size: None,
            assigned_client_id: None,
            topic_alias_maximum: 0,
            reason_string: None,
            server_reference: None,
            wildcards_available: true,
            subscription_ids_available: true,
            shared_available: true,
            server_keep_alive_s: None,
            user: Vec::new(),
        }
    }
}

/// PUBLISH (§3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Whether this is a repetition.
    pub dup: bool,
    /// Its level.
    pub qos: QoS,
    /// Retain.
    pub retain: bool,
    /// 0 at QoS 0, else 1 to 65,535.
    pub packet_id: u16,
    /// `None` when the alias stands for it.
    pub topic: Option<Topic>,
    /// A number for the topic, from 1.
    pub topic_alias: Option<u16>,
    /// Its content.
    pub payload: Bytes,
    /// The properties that belong to the message.
    pub properties: Option<Box<Properties>>,
    /// The identifiers of the subscriptions that matched; only a server sends them.
    pub subscription_ids: Vec<u32>,
}

impl Publish {
    /// The packet that carries `message` at its own level; `packet_id` is 0 for QoS 0.
    pub fn new(message: &Message, packet_id: u16) -> Publish {
        Publish {
            dup: false,
            qos: message.qos,
            retain: message.retain,
            packet_id,
            topic: Some(message.topic.clone()),
            topic_alias: None,
            payload: message.payload.clone(),
            properties: message.properties.clone(),
            subscription_ids: Vec::new(),
        }
    }

    /// The message in it, on the topic that it names or that its alias stands for.
    pub fn into_message(self, topic: Topic) -> Message {
        Message { topic, payload: self.payload, qos: self.qos, retain: self.retain, properties: self.properties }
    }
}

/// PUBACK, PUBREC, PUBREL and PUBCOMP (§3.4 to §3.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// What is acknowledged, 1 to 65,535.
    pub packet_id: u16,
    /// Always success in 3.1.1.
    pub reason: Reason,
}

impl Ack {
    /// Success for `packet_id`.
    pub fn success(packet_id: u16) -> Ack {
        Ack { packet_id, reason: Reason::SUCCESS }
    }
}

/// SUBSCRIBE (§3.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// 1 to 65,535.
    pub packet_id: u16,
    /// Comes back with each message that matches, 1 to 268,435,455.
    pub subscription_id: Option<u32>,
    /// At least one.
    pub filters: Vec<(Filter, SubscribeOptions)>,
    /// User Properties.
    pub user: UserProperties,
}

/// What a client wants of a subscription (§3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// The highest level wanted.
    pub qos: QoS,
    /// Not the client's own messages.
    pub no_local: bool,
    /// Leave the retain flag as it was published.
    pub retain_as_published: bool,
    /// Whether retained messages are wanted at once.
    pub retain_handling: RetainHandling,
}

impl SubscribeOptions {
    /// What 3.1.1 means by a subscription at `qos`.
    pub fn new(qos: QoS) -> SubscribeOptions {
        SubscribeOptions { qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Send }
    }
}

/// Whether retained messages are sent when a subscription is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetainHandling {
    /// Yes.
    Send,
    /// If there was no such subscription before.
    SendIfNew,
    /// No.
    DoNotSend,
}

/// SUBACK and UNSUBACK (§3.9, §3.11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck {
    /// That of the request.
    pub packet_id: u16,
    /// One for each filter, in the order of the request. An UNSUBACK of 3.1.1 carries none.
    pub reasons: Vec<Reason>,
}

/// UNSUBSCRIBE (§3.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// 1 to 65,535.
    pub packet_id: u16,
    /// At least one.
    pub filters: Vec<Filter>,
    /// User Properties.
    pub user: UserProperties,
}

/// DISCONNECT (§3.14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect {
    /// Why; always success in 3.1.1.
    pub reason: Reason,
    /// Session Expiry Interval in seconds; only a client sends it.
    pub session_expiry_s: Option<u32>,
    /// Why, in words.
    pub reason_string: Option<String>,
    /// Another server that the client should use; only a server sends it.
    pub server_reference: Option<String>,
}

impl Disconnect {
    /// With a reason and nothing else.
    pub fn new(reason: Reason) -> Disconnect {
        Disconnect { reason, session_expiry_s: None, reason_string: None, server_reference: None }
    }
}

/// AUTH (§3.15), MQTT 5 only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// Success, continue or re-authenticate.
    pub reason: Reason,
    /// Authentication Method.
    pub method: Option<String>,
    /// Authentication Data.
    pub data: Option<Bytes>,
}
