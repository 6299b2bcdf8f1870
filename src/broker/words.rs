//! The words that connections and the hub exchange. Plain data.

use std::fmt::{self, Write};
use std::sync::Arc;

use crate::model::{Filter, Message, Monotonic, QoS};
use crate::mqtt::{Reason, Received, SubAck, SubscribeOptions, Will};

/// What each queued message is taken to cost beside what its publisher put into it, in bytes.
const FIXED_COST: usize = 96;

/// What of a text that a client chose goes into a log line, in characters.
const SHOWN: usize = 120;

/// A text that a client chose, for the log: of a long one, its beginning.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for shown in self.0.chars().take(SHOWN) {
            // What would begin a line of its own, or colour one, is written out.
            if shown.is_control() { write!(f, "{}", shown.escape_default())? } else { f.write_char(shown)? }
        }
        if self.0.chars().nth(SHOWN).is_some() { write!(f, "… ({} bytes)", self.0.len()) } else { Ok(()) }
    }
}

/// A message in the broker, shared by all who get it.
#[derive(Debug)]
pub struct Published {
    /// As it was published.
    pub message: Message,
    /// When, for its expiry.
    pub at: Monotonic,
}

impl Published {
    /// What it is taken to cost in a queue, in bytes.
    pub fn cost(&self) -> usize {
        FIXED_COST + self.message.size()
    }

    /// When it may no longer be delivered; `None` without an expiry.
    pub fn expires_at(&self) -> Option<Monotonic> {
        let seconds = self.message.properties.as_ref()?.message_expiry_s?;
        Some(self.at + std::time::Duration::from_secs(seconds.into()))
    }
}

/// A message on its way to one client.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// What.
    pub published: Arc<Published>,
    /// The level granted for it.
    pub qos: QoS,
    /// The retain flag to send.
    pub retain: bool,
    /// From the retained store: sent as the queue drains, so never dropped for want of room.
    pub from_retained: bool,
    /// Its number in a session that is kept, and with it its packet id; 0 in one that ends with the connection. The hub gives out only so
    /// many that are not done, so none is dropped for want of room.
    pub n: u64,
    /// Whether it may have been sent before.
    pub dup: bool,
    /// The identifiers of the subscriptions that matched.
    pub subscription_ids: SubscriptionIds,
}

/// Subscription identifiers; nearly always none or one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SubscriptionIds {
    #[default]
    None,
    One(u32),
    Many(Vec<u32>),
}

impl SubscriptionIds {
    /// From a subscription that may have one.
    pub fn of(id: Option<u32>) -> SubscriptionIds {
        id.map_or(SubscriptionIds::None, SubscriptionIds::One)
    }

    /// Adds that of another subscription.
    pub fn add(&mut self, id: Option<u32>) {
        let Some(id) = id else { return };
        *self = match std::mem::take(self) {
            SubscriptionIds::None => SubscriptionIds::One(id),
            SubscriptionIds::One(first) => SubscriptionIds::Many(vec![first, id]),
            SubscriptionIds::Many(mut ids) => {
                ids.push(id);
                SubscriptionIds::Many(ids)
            }
        };
    }

    /// All of them.
    pub fn as_slice(&self) -> &[u32] {
        match self {
            SubscriptionIds::None => &[],
            SubscriptionIds::One(id) => std::slice::from_ref(id),
            SubscriptionIds::Many(ids) => ids,
        }
    }
}

/// The place of a session, or of a subscription of the gateway itself: whom a subscription belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seat(pub(super) u32);

/// Who somebody is to the hub: one connection of a session, or a subscription of the gateway itself. Never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl Key {
    /// The place behind it.
    pub fn seat(self) -> Seat {
        Seat(self.slot)
    }
}

/// A client that asks to be let in.
#[derive(Debug)]
pub struct Greeting {
    /// Its identifier, never empty. The gateway's own publishers have none, so no client can be taken for one.
    pub client_id: Arc<str>,
    /// Whether a session that is there is to be forgotten.
    pub clean_start: bool,
    /// Seconds for which the session is to outlive the connection, as it was asked for; `u32::MAX` as long as may be.
    pub expiry_s: u32,
    /// Published when it is lost.
    pub will: Option<Box<Will>>,
}

/// A client is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// Who it is from now on.
    pub key: Key,
    /// Whether it finds its session again.
    pub session_present: bool,
    /// Seconds for which the session outlives the connection.
    pub expiry_s: u32,
    /// Whether the hub keeps the session, so that deliveries are numbered and their acknowledgements are wanted.
    pub kept: bool,
    /// The packet ids of QoS 2 messages that the client has sent and not released.
    pub received: Vec<u16>,
}

/// From a client to the hub.
#[derive(Debug)]
pub enum FromClient {
    /// A PUBLISH; `received` is there when it wants an acknowledgement.
    Publish {
        /// The message.
        message: Message,
        /// The handle to release.
        received: Option<Received>,
        /// The packet id of a QoS 2 message for a session that is kept.
        once: Option<u16>,
    },
    /// A PUBREL from a session that is kept, to be answered with [`ToClient::Complete`].
    PubRel(u16),
    /// The PUBREC of a delivery that has a number, to be answered with [`ToClient::Recorded`].
    Recorded(u64),
    /// Deliveries from the first number to the second are acknowledged, or can't be sent.
    Done(u64, u64),
    /// A SUBSCRIBE.
    Subscribe {
        /// For the SUBACK.
        packet_id: u16,
        /// The Subscription Identifier.
        id: Option<u32>,
        /// What is wanted; an error is a refusal that is decided already.
        filters: Vec<Result<(Filter, SubscribeOptions), Reason>>,
    },
    /// An UNSUBSCRIBE.
    Unsubscribe {
        /// For the UNSUBACK.
        packet_id: u16,
        /// What is no longer wanted.
        filters: Vec<Filter>,
    },
    /// [`ToClient::More`] was reached: the queue has drained.
    Ready,
}

/// From the hub to a client.
#[derive(Debug)]
pub enum ToClient {
    /// A message for it.
    Deliver(Delivery),
    /// Its message is safe, or refused.
    Release(Received, Reason),
    /// The answer to a SUBSCRIBE.
    SubAck(SubAck),
    /// The answer to an UNSUBSCRIBE.
    UnsubAck(SubAck),
    /// More retained messages follow when everything before this has been sent.
    More,
    /// A delivery of an earlier connection whose PUBREC came then: its PUBREL, in its place among the messages.
    PubRel(u64),
    /// The PUBREC of this number is kept: PUBREL.
    Recorded(u64),
    /// The PUBREL of this packet id is kept: PUBCOMP.
    Complete(u16),
    /// Say why and go.
    Close(Reason),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_of_a_client_is_shortened_for_the_log() {
        assert_eq!(Shown("ärinä").to_string(), "ärinä");
        assert_eq!(Shown("a\nERROR \u{1b}[31m").to_string(), r"a\nERROR \u{1b}[31m");
        let long = Shown(&"ä".repeat(30_000)).to_string();
        assert!(long.len() < 300 && long.ends_with("… (60000 bytes)"), "{long}");
    }
}
