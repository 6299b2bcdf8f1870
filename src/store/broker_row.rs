//! Rows of the broker's state: words to columns and back, each with a checksum over all of it.

use bytes::Bytes;

use super::policy::row_bytes;
use super::properties;
use super::row::seal;
use super::state::{SessionId, SessionRecord, StoredDelivery, StoredRetained, StoredSubscription};
use crate::model::{Filter, Message, QoS, Timestamp, Topic};
use crate::mqtt::{RetainHandling, SubscribeOptions, Will};

/// Which table a checksum is of.
const SESSION: u8 = 1;
const SUBSCRIPTION: u8 = 2;
const DELIVERY: u8 = 3;
const RETAINED: u8 = 4;

/// The layout of the column `will`.
const WILL_VERSION: u8 = 1;

/// A row of `sessions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SessionColumns {
    pub id: i64,
    pub client_id: String,
    pub user: Option<String>,
    pub expiry_s: i64,
    pub left_at: i64,
    pub sent: i64,
    pub will: Option<Vec<u8>>,
    pub crc32: u32,
}

/// A row of `subscriptions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SubscriptionColumns {
    pub session: i64,
    pub filter: String,
    pub options: i64,
    pub id: Option<i64>,
    pub crc32: u32,
}

/// A row of `deliveries`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeliveryColumns {
    pub session: i64,
    pub n: i64,
    pub topic: String,
    pub payload: Vec<u8>,
    pub flags: i64,
    pub ts: i64,
    pub ids: Option<Vec<u8>>,
    pub properties: Option<Vec<u8>>,
    pub crc32: u32,
}

/// A row of `retained`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RetainedColumns {
    pub id: i64,
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: i64,
    pub ts: i64,
    pub properties: Option<Vec<u8>>,
    pub crc32: u32,
}

impl SessionColumns {
    pub(super) fn of(record: &SessionRecord) -> SessionColumns {
        let mut columns = SessionColumns {
            id: number(record.id.0),
            client_id: record.client_id.to_string(),
            user: record.user.as_deref().map(str::to_owned),
            expiry_s: i64::from(record.expiry_s),
            left_at: record.left_at.map_or(0, |at| at.0),
            sent: number(record.sent),
            will: record.will.as_deref().map(encode_will),
            crc32: 0,
        };
        columns.crc32 = columns.seal();
        columns
    }

    fn seal(&self) -> u32 {
        let parts = [Some(self.client_id.as_bytes()), self.user.as_ref().map(String::as_bytes), self.will.as_deref()];
        seal(SESSION, &[self.id, self.expiry_s, self.left_at, self.sent], &parts)
    }

    pub(super) fn check(self) -> Result<SessionRecord, String> {
        same(self.seal(), self.crc32)?;
        let will = self.will.map(|will| decode_will(will.into()).ok_or("its will can't be read")).transpose()?;
        Ok(SessionRecord {
            id: SessionId(unsigned(self.id)?),
            client_id: self.client_id.into(),
            user: self.user.map(Into::into),
            expiry_s: u32::try_from(self.expiry_s).map_err(|_| format!("its expiry is {}", self.expiry_s))?,
            left_at: time(self.left_at),
            sent: if self.sent == i64::MAX { u64::MAX } else { unsigned(self.sent)? },
            will: will.map(Box::new),
        })
    }
}

impl SubscriptionColumns {
    pub(super) fn of(session: SessionId, subscription: &StoredSubscription) -> SubscriptionColumns {
        let SubscribeOptions { qos, no_local, retain_as_published, retain_handling } = subscription.options;
        // As the wire has them (§3.8.3.1).
        let handling = match retain_handling {
            RetainHandling::Send => 0,
            RetainHandling::SendIfNew => 1,
            RetainHandling::DoNotSend => 2,
        };
        let options = qos as i64 | i64::from(no_local) << 2 | i64::from(retain_as_published) << 3 | handling << 4;
        let mut columns = SubscriptionColumns {
            session: number(session.0),
            filter: subscription.filter.to_string(),
            options,
            id: subscription.id.map(i64::from),
            crc32: 0,
        };
        columns.crc32 = columns.seal();
        columns
    }

    fn seal(&self) -> u32 {
        let filter = Some(self.filter.as_bytes());
        seal(SUBSCRIPTION, &[self.session, self.options, self.id.unwrap_or(-1)], &[filter])
    }

    pub(super) fn check(self) -> Result<(SessionId, StoredSubscription), String> {
        same(self.seal(), self.crc32)?;
        let options = SubscribeOptions {
            qos: qos(self.options & 3)?,
            no_local: self.options & 4 != 0,
            retain_as_published: self.options & 8 != 0,
            retain_handling: match self.options >> 4 {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                other => return Err(format!("its retain handling is {other}")),
            },
        };
        let filter = Filter::new(&self.filter).map_err(|e| format!("its filter is invalid: {e}"))?;
        let id = self.id.map(u32::try_from).transpose().map_err(|_| "its identifier is too large")?;
        Ok((SessionId(unsigned(self.session)?), StoredSubscription { filter, options, id }))
    }
}

/// What is worked out of a delivery once, on its way into the table. Topic and payload are taken from where they are.
pub(super) struct DeliveryRow<'a> {
    pub session: i64,
    pub n: i64,
    pub delivery: &'a StoredDelivery,
    pub flags: i64,
    pub ts: i64,
    pub ids: Option<Vec<u8>>,
    pub properties: Option<Vec<u8>>,
    pub crc32: u32,
}

impl<'a> DeliveryRow<'a> {
    pub(super) fn of(session: SessionId, n: u64, delivery: &'a StoredDelivery) -> DeliveryRow<'a> {
        let StoredDelivery { message, qos, retain, subscription_ids, queued } = delivery;
        let flags = *qos as i64 | i64::from(*retain) << 2 | (message.qos as i64) << 3 | i64::from(message.retain) << 5;
        let ids: Vec<u8> = subscription_ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let ids = (!ids.is_empty()).then_some(ids);
        let properties = properties::encode(message.properties.as_deref());
        let (session, n, ts) = (number(session.0), number(n), queued.map_or(0, |ts| ts.0));
        let content = [message.topic.as_bytes(), &message.payload];
        let crc32 = seal_delivery([session, n, flags, ts], content, ids.as_deref(), properties.as_deref());
        DeliveryRow { session, n, delivery, flags, ts, ids, properties, crc32 }
    }
}

fn seal_delivery(numbers: [i64; 4], content: [&[u8]; 2], ids: Option<&[u8]>, properties: Option<&[u8]>) -> u32 {
    seal(DELIVERY, &numbers, &[Some(content[0]), Some(content[1]), ids, properties])
}

impl DeliveryColumns {
    /// What the row is accounted with, in bytes.
    pub(super) fn stored_bytes(&self) -> u64 {
        let length = |column: &Option<Vec<u8>>| column.as_ref().map_or(0, Vec::len);
        row_bytes(self.topic.len() + self.payload.len() + length(&self.ids) + length(&self.properties))
    }

    /// The delivery's number. The index that found it has it too, so it is sure.
    pub(super) fn number(&self) -> u64 {
        unsigned(self.n).unwrap_or(0)
    }

    pub(super) fn check(self) -> Result<StoredDelivery, String> {
        let DeliveryColumns { session, n, topic, payload, flags, ts, ids, properties, crc32 } = self;
        let content = [topic.as_bytes(), &payload];
        same(seal_delivery([session, n, flags, ts], content, ids.as_deref(), properties.as_deref()), crc32)?;
        let subscription_ids = ids.unwrap_or_default();
        Ok(StoredDelivery {
            message: message(&topic, payload, qos(flags >> 3 & 3)?, flags & 32 != 0, properties)?,
            qos: qos(flags & 3)?,
            retain: flags & 4 != 0,
            subscription_ids: subscription_ids.as_chunks().0.iter().map(|id| u32::from_le_bytes(*id)).collect(),
            queued: time(ts),
        })
    }
}

impl RetainedColumns {
    pub(super) fn of(id: i64, retained: &StoredRetained) -> RetainedColumns {
        let Message { topic, payload, qos, properties, .. } = &retained.message;
        let mut columns = RetainedColumns {
            id,
            topic: topic.to_string(),
            payload: payload.to_vec(),
            qos: *qos as i64,
            ts: retained.at.map_or(0, |at| at.0),
            properties: properties::encode(properties.as_deref()),
            crc32: 0,
        };
        columns.crc32 = columns.seal();
        columns
    }

    fn seal(&self) -> u32 {
        let parts = [Some(self.topic.as_bytes()), Some(&self.payload[..]), self.properties.as_deref()];
        seal(RETAINED, &[self.id, self.qos, self.ts], &parts)
    }

    /// What the row is accounted with, in bytes.
    pub(super) fn stored_bytes(&self) -> u64 {
        row_bytes(self.topic.len() + self.payload.len() + self.properties.as_ref().map_or(0, Vec::len))
    }

    pub(super) fn check(self) -> Result<StoredRetained, String> {
        same(self.seal(), self.crc32)?;
        let message = message(&self.topic, self.payload, qos(self.qos)?, true, self.properties)?;
        Ok(StoredRetained { message, at: time(self.ts) })
    }
}

fn message(topic: &str, payload: Vec<u8>, qos: QoS, retain: bool, column: Option<Vec<u8>>) -> Result<Message, String> {
    let topic = Topic::new(topic).map_err(|e| format!("its topic is invalid: {e}"))?;
    let properties = match column {
        Some(column) => Some(Box::new(properties::decode(&column).map_err(|e| e.to_string())?)),
        None => None,
    };
    Ok(Message { topic, payload: payload.into(), qos, retain, properties })
}

/// Version, delay, QoS and retain flag; topic and payload with their lengths; the rest are properties.
fn encode_will(will: &Will) -> Vec<u8> {
    let Message { topic, payload, qos, retain, properties } = &will.message;
    let mut out = vec![WILL_VERSION];
    out.extend_from_slice(&will.delay_s.to_le_bytes());
    out.push(*qos as u8 | u8::from(*retain) << 2);
    for part in [topic.as_bytes(), payload] {
        // A packet has at most 256 MiB.
        out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(part);
    }
    out.extend(properties::encode(properties.as_deref()).unwrap_or_default());
    out
}

fn decode_will(column: Bytes) -> Option<Will> {
    let rest = column.strip_prefix(&[WILL_VERSION])?;
    let (delay, rest) = rest.split_first_chunk::<4>()?;
    let (flags, rest) = rest.split_first()?;
    let (topic, rest) = sized(rest)?;
    let (payload, rest) = sized(rest)?;
    let properties = if rest.is_empty() { None } else { Some(Box::new(properties::decode(rest).ok()?)) };
    let message = Message {
        topic: Topic::new(std::str::from_utf8(topic).ok()?).ok()?,
        payload: column.slice_ref(payload),
        qos: QoS::from_number(flags & 3)?,
        retain: flags & 4 != 0,
        properties,
    };
    Some(Will { message, delay_s: u32::from_le_bytes(*delay) })
}

fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

fn same(actual: u32, stored: u32) -> Result<(), String> {
    if actual == stored {
        return Ok(());
    }
    Err(format!("its checksum is {actual:08x}, and {stored:08x} was stored"))
}

fn qos(number: i64) -> Result<QoS, String> {
    u8::try_from(number).ok().and_then(QoS::from_number).ok_or_else(|| format!("its QoS is {number}"))
}

fn time(ts: i64) -> Option<Timestamp> {
    (ts != 0).then_some(Timestamp(ts))
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn unsigned(n: i64) -> Result<u64, String> {
    u64::try_from(n).map_err(|_| format!("it has the number {n}"))
}
