//! A row: a message, its number, and the checksum that tells a flipped bit on the disk from what was stored.

use crc::{CRC_32_ISO_HDLC, Crc, Table};

use super::policy::message_bytes;
use super::properties;
use crate::model::{Message, QoS, Timestamp, Topic};

/// The CRC-32 of zip and Ethernet. SQLite itself has no checksum: 50 flipped payload bytes pass its `quick_check`.
const CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);

/// One message of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its number: contiguous as assigned, never used again.
    pub n: u64,
    /// When it was queued; `None` when the clock had not been set then.
    pub queued: Option<Timestamp>,
    /// As it leaves.
    pub message: Message,
}

/// What reading a row comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// As it was stored.
    Whole(Row),
    /// Not as it was stored. It must not be sent.
    Damaged {
        /// Its number.
        n: u64,
        /// What is wrong with it.
        why: String,
    },
}

impl Entry {
    /// The number of the row.
    pub fn n(&self) -> u64 {
        match self {
            Entry::Whole(row) => row.n,
            Entry::Damaged { n, .. } => *n,
        }
    }
}

/// A row's columns, as they lie in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns {
    pub n: u64,
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: i64,
    pub retain: i64,
    /// Milliseconds since 1970; 0 when the clock had not been set.
    pub ts: i64,
    pub crc32: u32,
    pub properties: Option<Vec<u8>>,
}

/// A message on its way into the table, with all that is worked out once.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub message: Message,
    pub properties: Option<Vec<u8>>,
    pub ts: i64,
    /// As accounted against `max_size`.
    pub bytes: u64,
}

impl Stored {
    pub(super) fn new(message: Message, queued: Option<Timestamp>) -> Stored {
        let properties = properties::encode(message.properties.as_deref());
        let bytes = message_bytes(&message, properties.as_ref().map_or(0, Vec::len));
        Stored { message, properties, ts: queued.map_or(0, |ts| ts.0), bytes }
    }

    pub(super) fn checksum(&self, n: u64) -> u32 {
        let Message { topic, payload, qos, retain, .. } = &self.message;
        checksum(n, topic, payload, *qos as i64, i64::from(*retain), self.ts, self.properties.as_deref())
    }
}

/// The checksum of a row of the broker's state: `kind` tells its table, and every part goes in with its length, so that no byte can move
/// from one to the next unseen.
pub(super) fn seal(kind: u8, numbers: &[i64], parts: &[Option<&[u8]>]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(&[kind]);
    numbers.iter().for_each(|number| digest.update(&number.to_le_bytes()));
    for part in parts {
        digest.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
        digest.update(part.unwrap_or_default());
    }
    digest.finalize()
}

/// The checksum covers every column, each with its length, so that no byte can move from one to the next unseen.
fn checksum(n: u64, topic: &str, payload: &[u8], qos: i64, retain: i64, ts: i64, properties: Option<&[u8]>) -> u32 {
    let mut head = [0; 48];
    let properties_length = properties.map_or(u64::MAX, |p| p.len() as u64);
    let numbers =
        [n, qos as u64 | (retain as u64) << 8, ts as u64, topic.len() as u64, payload.len() as u64, properties_length];
    for (slot, number) in head.chunks_exact_mut(8).zip(numbers) {
        slot.copy_from_slice(&number.to_le_bytes());
    }
    let mut digest = CRC.digest();
    digest.update(&head);
    digest.update(topic.as_bytes());
    digest.update(payload);
    digest.update(properties.unwrap_or_default());
    digest.finalize()
}

impl Columns {
    /// The length that the row is accounted with.
    pub(super) fn content_bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.as_ref().map_or(0, Vec::len)
    }

    /// Checks the row and makes it a message again.
    pub(super) fn check(self) -> Entry {
        let n = self.n;
        self.into_row().map_or_else(|why| Entry::Damaged { n, why }, Entry::Whole)
    }

    fn into_row(self) -> Result<Row, String> {
        let Columns { n, topic, payload, qos, retain, ts, crc32, properties } = self;
        let actual = checksum(n, &topic, &payload, qos, retain, ts, properties.as_deref());
        if actual != crc32 {
            return Err(format!("its checksum is {actual:08x}, and {crc32:08x} was stored"));
        }
        let topic = Topic::new(&topic).map_err(|e| format!("its topic is invalid: {e}"))?;
        let qos = u8::try_from(qos).ok().and_then(QoS::from_number).ok_or_else(|| format!("its QoS is {qos}"))?;
        let properties = match properties {
            Some(column) => Some(Box::new(properties::decode(&column).map_err(|e| e.to_string())?)),
            None => None,
        };
        let queued = (ts != 0).then_some(Timestamp(ts));
        Ok(Row { n, queued, message: Message { topic, payload: payload.into(), qos, retain: retain != 0, properties } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Columns {
        let topic = Topic::new("plant/boiler").expect("valid");
        let stored = Stored::new(Message::new(topic, &b"21.4"[..], QoS::AtLeastOnce, true), Some(Timestamp(5)));
        Columns {
            n: 7,
            topic: "plant/boiler".into(),
            payload: b"21.4".to_vec(),
            qos: 1,
            retain: 1,
            ts: 5,
            crc32: stored.checksum(7),
            properties: None,
        }
    }

    #[test]
    fn a_row_reads_back_as_it_was_stored() {
        let Entry::Whole(row) = columns().check() else { panic!("not damaged") };
        assert_eq!((row.n, row.queued, &*row.message.topic), (7, Some(Timestamp(5)), "plant/boiler"));
        assert!(row.message.retain);
    }

    #[test]
    fn a_change_of_any_column_is_noticed() {
        let good = columns();
        let damaged = [
            Columns { n: 8, ..good.clone() },
            Columns { topic: "plant/bOiler".into(), ..good.clone() },
            Columns { payload: b"21.5".to_vec(), ..good.clone() },
            Columns { topic: "plant/boile".into(), payload: b"r21.4".to_vec(), ..good.clone() },
            Columns { qos: 0, ..good.clone() },
            Columns { retain: 0, ..good.clone() },
            Columns { ts: 6, ..good.clone() },
            Columns { properties: Some(vec![]), ..good.clone() },
        ];
        for columns in damaged {
            assert!(matches!(columns.clone().check(), Entry::Damaged { .. }), "{columns:?}");
        }
    }
}
