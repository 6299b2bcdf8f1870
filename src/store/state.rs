//! What the broker keeps of its sessions and retained messages, as plain words: what it hands in, and what it finds again at the next start.
//!
//! The store keeps a session's deliveries by their numbers and knows nothing of packets, windows or expiry: those are the hub's.

use std::sync::Arc;

use super::policy::message_bytes;
use super::properties;
use crate::model::{Filter, Message, QoS, Timestamp, Topic};
use crate::mqtt::{SubscribeOptions, Will};

/// A session, for as long as it exists. The hub draws rising numbers, beginning above [`BrokerState::last_session`], and never uses one again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// What is known of a session beside what it subscribed to and what waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Which.
    pub id: SessionId,
    /// Whose.
    pub client_id: Arc<str>,
    /// The user that made it; `None` for an anonymous client.
    pub user: Option<Arc<str>>,
    /// Seconds that it outlives its connection; `u32::MAX` never ends.
    pub expiry_s: u32,
    /// When its connection ended; `None` while there is one, and when the clock had not been set: then the interval begins with the next
    /// start.
    pub left_at: Option<Timestamp>,
    /// The highest number that was sent when its connection ended: later deliveries go out without DUP. After a crash while it was
    /// connected, as `u64::MAX` says, any may have been sent.
    pub sent: u64,
    /// What is to be published when the session is lost, with its delay in seconds; `None` without one, and once it was published.
    pub will: Option<Box<Will>>,
}

/// A message on its way to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDelivery {
    /// As it was published, with its publisher's QoS and retain flag.
    pub message: Message,
    /// The level granted, 1 or 2.
    pub qos: QoS,
    /// The retain flag to send.
    pub retain: bool,
    /// The identifiers of the subscriptions that matched.
    pub subscription_ids: Vec<u32>,
    /// When the broker got it, which is where its expiry begins; `None` when the clock had not been set.
    pub queued: Option<Timestamp>,
}

/// A subscription of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSubscription {
    /// To what, `$share/<group>/` included.
    pub filter: Filter,
    /// How.
    pub options: SubscribeOptions,
    /// Its Subscription Identifier.
    pub id: Option<u32>,
}

/// The retained message of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRetained {
    /// As it was published.
    pub message: Message,
    /// When the broker got it; `None` when the clock had not been set.
    pub at: Option<Timestamp>,
}

/// One change of the broker's state.
///
/// When a write is refused, what adds something has not happened. What takes something away (`SessionGone`, `Unsubscribed`,
/// `Done`, `Released`, `Unretained`) is then not safe yet, and the store tries it again until it is: nobody has to hand it in twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerWrite {
    /// A session as it is now, new or known.
    Session(SessionRecord),
    /// A session with its subscriptions, deliveries and QoS 2 intake is over.
    SessionGone(SessionId),
    /// A subscription is made, or replaced when there is one with this filter.
    Subscribed {
        /// Whose.
        session: SessionId,
        /// What.
        subscription: StoredSubscription,
    },
    /// A subscription is over.
    Unsubscribed {
        /// Whose.
        session: SessionId,
        /// Which.
        filter: Filter,
    },
    /// A message waits for a session.
    Queued {
        /// For whom.
        session: SessionId,
        /// Its number: the session's own, rising from 1. One that was refused leaves a hole and is not used again.
        n: u64,
        /// What.
        delivery: StoredDelivery,
    },
    /// Its PUBREC came: the message may go, its number waits for PUBCOMP. To be committed before PUBREL is sent.
    Recorded {
        /// Whose.
        session: SessionId,
        /// Which delivery.
        n: u64,
    },
    /// A delivery is over: acknowledged, expired or dropped.
    Done {
        /// Whose.
        session: SessionId,
        /// Which delivery.
        n: u64,
    },
    /// A QoS 2 PUBLISH came from this session. Put it [together](super::Work::Together) with all that the message causes.
    Received {
        /// From whom.
        session: SessionId,
        /// With this packet id.
        packet_id: u16,
    },
    /// Its PUBREL came.
    Released {
        /// From whom.
        session: SessionId,
        /// The packet id.
        packet_id: u16,
    },
    /// The retained message of a topic, in place of the one before it.
    Retained(StoredRetained),
    /// A topic has no retained message any more.
    Unretained(Topic),
}

/// All that the broker finds at its start, but for the deliveries: those stay on disk until [`SessionReader::page`](super::SessionReader::page).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BrokerState {
    /// Every session, by rising id.
    pub sessions: Vec<SessionState>,
    /// Every retained message.
    pub retained: Vec<StoredRetained>,
    /// The highest session id that was ever kept, 0 for none.
    pub last_session: u64,
    /// Sessions, subscriptions and retained messages that were not as they were stored, and are left out; the log has said so.
    pub damaged: u64,
}

/// A session as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionState {
    /// Who.
    pub record: SessionRecord,
    /// To what it is subscribed, by filter.
    pub subscriptions: Vec<StoredSubscription>,
    /// The packet ids of QoS 2 messages that it sent and has not released, rising.
    pub received: Vec<u16>,
    /// The numbers that wait for PUBCOMP, rising. They are not among the pages.
    pub recorded: Vec<u64>,
    /// Deliveries whose message is on disk.
    pub depth: u64,
    /// Their bytes, as [`StoredDelivery::stored_bytes`] counts them.
    pub bytes: u64,
    /// The lowest number whose message is on disk; [`SessionState::next_n`] when there is none.
    pub first_n: u64,
    /// The number for the next delivery: above all that are or were on disk.
    pub next_n: u64,
}

impl BrokerWrite {
    /// The bytes of what its publisher chose freely.
    pub fn size(&self) -> usize {
        match self {
            BrokerWrite::Queued { delivery, .. } => delivery.message.size(),
            BrokerWrite::Retained(retained) => retained.message.size(),
            BrokerWrite::Session(record) => record.will.as_ref().map_or(0, |will| will.message.size()),
            _ => 0,
        }
    }
}

impl StoredDelivery {
    /// What its row is accounted with, in bytes.
    pub fn stored_bytes(&self) -> u64 {
        let properties = properties::encoded_len(self.message.properties.as_deref());
        message_bytes(&self.message, properties + 4 * self.subscription_ids.len())
    }
}
