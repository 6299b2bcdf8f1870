//! How a row looks on the wire: its PUBLISH, marked so that the cloud can tell a repetition from a new message. Pure.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;

use super::delivery;
use super::echoes::Echoes;
use crate::model::{Message, Properties, QoS, Timestamp, Topic};
use crate::mqtt::{Codec, CodecError, OutgoingAliases, PublishRef, TopicName, Version};
use crate::store::Row;

/// Topics that have an alias at once, at most: a gateway has many topics, and a cloud may have many gateways.
const ALIASES: u16 = 256;

/// Messages at QoS 2 that are under way with MQTT 3.1.1, at most. A broker of 3.1.1 can't announce how many it takes, nor refuse one: mosquitto
/// 2.0 answers more than its `max_inflight_messages`, usually 20, with PUBREC and throws them away.
const MOST_ONCE_V311: u16 = 16;

/// And with MQTT 5: brokers look through those that they hold for each that comes. Beyond this, mosquitto gets slower with each more.
const MOST_ONCE_V5: u16 = 500;

/// What is the same for every row of a connection.
#[derive(Debug)]
pub(super) struct Envelope {
    version: Version,
    gateway: String,
    epoch: String,
    retain_available: bool,
    aliases: OutgoingAliases,
    /// The properties of a row that has none of its own; only the last value changes from row to row.
    marks: Properties,
    /// What will be sent back, where the protocol has no other way to tell.
    echoes: Option<Arc<Mutex<Echoes>>>,
}

/// What a row goes out under.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// 1 to [`delivery::ROW_IDS`].
    pub packet_id: u16,
    /// It is a repetition.
    pub dup: bool,
    /// 1 or 2.
    pub qos: QoS,
}

/// Why a row can never be sent to this cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unfit(CodecError);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            CodecError::PeerLimit { size, limit } => {
                write!(f, "it makes a packet of {size} bytes, and the cloud takes at most {limit}")
            }
            other => write!(f, "it can't be sent: {other}"),
        }
    }
}

impl Envelope {
    /// For the queue generation `epoch` of this gateway.
    pub(super) fn new(version: Version, gateway: &str, epoch: u32) -> Envelope {
        let epoch = epoch.to_string();
        let user = mark(gateway, &epoch, String::new()).to_vec();
        let marks = Properties { user, ..Properties::default() };
        let (retain_available, aliases, echoes) = (true, OutgoingAliases::default(), None);
        Envelope { version, gateway: gateway.to_owned(), epoch, retain_available, aliases, marks, echoes }
    }

    /// Notes what goes out in `echoes`.
    pub(super) fn with_echoes(self, echoes: Option<Arc<Mutex<Echoes>>>) -> Envelope {
        Envelope { echoes, ..self }
    }

    /// How many messages at QoS 2 may be under way: see [`MOST_ONCE_V311`] and [`MOST_ONCE_V5`].
    pub(super) fn most_once(&self) -> u16 {
        if self.version == Version::V311 { MOST_ONCE_V311 } else { MOST_ONCE_V5 }
    }

    /// A connection was made. `retain_available` is whether the cloud keeps retained messages; one that does not refuses the flag.
    /// `topic_alias_maximum` is the most that it announced.
    pub(super) fn connected(&mut self, retain_available: bool, topic_alias_maximum: u16) {
        self.retain_available = retain_available;
        let v5 = self.version == Version::V5;
        self.aliases = OutgoingAliases::new(if v5 { topic_alias_maximum.min(ALIASES) } else { 0 });
    }

    /// Appends the PUBLISH of a row at QoS 1 or 2 to `out`. `wall` is now, if the clock is set: what is left of an expiry depends on it.
    pub(super) fn write(
        &mut self,
        codec: &Codec,
        row: &Row,
        head: Head,
        wall: Option<Timestamp>,
        out: &mut BytesMut,
    ) -> Result<(), Unfit> {
        let Head { packet_id, dup, qos } = head;
        debug_assert!((1..=delivery::ROW_IDS).contains(&packet_id), "{packet_id} is not a row's");
        let mut own;
        let properties = match (&row.message.properties, self.version) {
            (_, Version::V311) => None,
            (None, Version::V5) => {
                if let Some((_, n)) = self.marks.user.last_mut() {
                    n.clear();
                    // Writing to a String does not fail.
                    let _ = write!(n, "{}", row.n);
                }
                Some(&self.marks)
            }
            (Some(properties), Version::V5) => {
                own = properties.clone();
                own.user.extend(mark(&self.gateway, &self.epoch, row.n.to_string()));
                Some(&*own)
            }
        };
        let packet = PublishRef {
            dup,
            qos,
            retain: row.message.retain && self.retain_available,
            properties,
            message_expiry_s: expiry_left(row, wall),
            ..PublishRef::new(&row.message, packet_id)
        };
        encode(&mut self.aliases, codec, packet, &row.message.topic, out).map_err(Unfit)?;
        self.note_sent(&row.message, dup && qos == QoS::ExactlyOnce);
        Ok(())
    }

    fn note_sent(&self, message: &Message, again: bool) {
        if let Some(echoes) = &self.echoes {
            echoes.lock().unwrap_or_else(PoisonError::into_inner).sent(message, again);
        }
    }

    /// Appends the PUBLISH of a message that is in no queue.
    pub(super) fn write_plain(
        &self,
        codec: &Codec,
        message: &Message,
        packet_id: u16,
        out: &mut BytesMut,
    ) -> Result<(), CodecError> {
        let retain = message.retain && self.retain_available;
        let mut own = message.properties.as_deref().cloned().unwrap_or_default();
        own.user.push(("gateway".into(), self.gateway.clone()));
        let properties = (self.version == Version::V5).then_some(&own);
        codec.encode_publish(&PublishRef { retain, properties, ..PublishRef::new(message, packet_id) }, out)?;
        self.note_sent(message, false);
        Ok(())
    }
}

/// Appends a PUBLISH, under an alias for its topic where there is one.
fn encode(
    aliases: &mut OutgoingAliases,
    codec: &Codec,
    packet: PublishRef<'_>,
    topic: &Topic,
    out: &mut BytesMut,
) -> Result<(), CodecError> {
    match aliases.name(topic) {
        TopicName::Full => {}
        TopicName::Alias(alias) => {
            return codec.encode_publish(&PublishRef { topic: "", topic_alias: Some(alias), ..packet }, out);
        }
        TopicName::Assigning(alias) => {
            if codec.encode_publish(&PublishRef { topic_alias: Some(alias), ..packet }, out).is_ok() {
                aliases.assign(alias, topic);
                return Ok(());
            }
            // Those three bytes may have been too many.
        }
    }
    codec.encode_publish(&packet, out)
}

fn mark(gateway: &str, epoch: &str, n: String) -> [(String, String); 3] {
    [("gateway".into(), gateway.into()), ("epoch".into(), epoch.into()), ("n".into(), n)]
}

/// The expiry less the time in the queue (MQTT 5, §3.3.2.3.3). What has expired goes out with the shortest expiry: whether it is
/// still wanted is the cloud's to say.
fn expiry_left(row: &Row, wall: Option<Timestamp>) -> Option<u32> {
    let expiry = row.message.properties.as_ref()?.message_expiry_s?;
    let waited_ms = match (wall, row.queued) {
        (Some(wall), Some(queued)) => wall.0.saturating_sub(queued.0),
        _ => 0,
    };
    let waited_s = u32::try_from(waited_ms / 1000).unwrap_or(if waited_ms < 0 { 0 } else { u32::MAX });
    Some(expiry.saturating_sub(waited_s).max(1))
}
