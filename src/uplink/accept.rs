//! The seam between an uplink and whoever takes what comes down through it: messages one way, what became of them the other.
//!
//! The uplink answers the cloud's PUBLISH with PUBACK or PUBREC when its [`Ticket`] has come back, and not before.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc};

use crate::model::{Filter, Message, QoS};
use crate::mqtt::{RetainHandling, SubscribeOptions};
use crate::store::{Intake, Reception};

/// Messages that may wait for whoever takes them. While there is no room, the uplink reads nothing from the cloud.
pub const ACCEPTED_WAITING: usize = 256;

/// Comes with a message, and back with its [`Settled`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub(super) u64);

/// A message from the cloud, as it came: its topic is the cloud's, and the retain flag the packet's.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// What.
    pub message: Message,
    /// At QoS 2: to be kept together with all that the message causes (`HubHandle::publish_once`). Without anything that it causes there is
    /// nothing to be kept.
    pub once: Option<Intake>,
    /// To be given back, once, whatever the QoS.
    pub ticket: Ticket,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// Which.
    pub ticket: Ticket,
    /// How.
    pub outcome: Outcome,
}

/// How a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All that depends on it has it, or nobody wants it: the cloud is told that it arrived.
    Taken,
    /// It will never be taken. An MQTT 5 cloud is told so (0x83); in 3.1.1 there is no way to, and it is told that it arrived.
    Refused,
    /// It can't be kept now. The connection is ended and made again after a while, and the cloud repeats what was not answered.
    Later,
}

/// A filter that the cloud is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Of the cloud's topics.
    pub filter: Filter,
    /// At most.
    pub qos: QoS,
    /// Not what this client published itself. MQTT 5 only: 3.1.1 brokers send it back.
    pub no_local: bool,
}

impl Subscription {
    /// As it goes out: with the retain flag as it was published, and retained messages only for a new subscription, both as far as the
    /// version can.
    pub(super) fn options(&self, v5: bool) -> SubscribeOptions {
        let Subscription { qos, no_local, .. } = *self;
        let plain = SubscribeOptions::new(qos);
        if !v5 {
            return plain;
        }
        SubscribeOptions { no_local, retain_as_published: true, retain_handling: RetainHandling::SendIfNew, ..plain }
    }
}

/// The uplink's side of the seam.
#[derive(Debug)]
pub struct Accept {
    /// What is kept of it, from [`Opened::receptions`](crate::store::Opened::receptions).
    pub reception: Reception,
    /// What the cloud is asked for. What it was asked for in an earlier life and is not here is taken back.
    pub subscriptions: Vec<Subscription>,
    /// What came. The other end is read until it ends, which it does when the uplink has ended.
    pub messages: mpsc::Sender<Accepted>,
    /// What became of it. It is read at all times.
    pub settled: mpsc::Receiver<Settled>,
    /// Told when the cloud turns out to have no session of ours: it may have lost what it retained, too.
    pub forgotten: Arc<Notify>,
}

impl Accept {
    /// The seam, and its other end: messages to be taken, and where to say what became of them.
    pub fn new(
        reception: Reception,
        subscriptions: Vec<Subscription>,
    ) -> (Accept, mpsc::Receiver<Accepted>, mpsc::Sender<Settled>) {
        let (messages, accepted) = mpsc::channel(ACCEPTED_WAITING);
        let (outcomes, settled) = mpsc::channel(ACCEPTED_WAITING);
        let forgotten = Arc::new(Notify::new());
        (Accept { reception, subscriptions, messages, settled, forgotten }, accepted, outcomes)
    }

    /// For an uplink that takes nothing: what the cloud sends all the same is acknowledged and dropped.
    pub fn nothing(reception: Reception) -> Accept {
        Accept::new(reception, Vec::new()).0
    }
}
