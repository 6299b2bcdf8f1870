//! How each part is doing, as plain numbers. Health messages, metrics and `fieldway status` print these and nothing else.

use std::time::Duration;

use super::{Fault, Name, Timestamp};

/// The whole gateway at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// `gateway.id`.
    pub gateway: Name,
    /// The version of the program.
    pub version: &'static str,
    /// When it was taken.
    pub taken: Timestamp,
    /// Whether the wall clock had been set by then.
    pub clock_synced: bool,
    /// Since the start of the process.
    pub uptime: Duration,
    /// Memory that the process holds, in bytes; `None` where the system does not say.
    pub resident_bytes: Option<u64>,
    /// Parts that ended or no longer make progress, a sentence each; empty while all is well.
    pub stuck: Vec<String>,
    /// Every bus, in the order of the file.
    pub buses: Vec<BusStatus>,
    /// The local broker; `None` until it listens.
    pub broker: Option<BrokerStatus>,
    /// Every uplink with its queue, in the order of the file.
    pub uplinks: Vec<UplinkStatus>,
}

/// One bus and its devices.
#[derive(Debug, Clone, PartialEq)]
pub struct BusStatus {
    /// Its name.
    pub bus: Name,
    /// Whether its port or connection is open.
    pub state: BusState,
    /// Time spent in requests since the start.
    pub busy: Duration,
    /// Lines and frames since the start that were too damaged, or too long, to be anyone's.
    pub damaged: u64,
    /// Its devices, in the order of the file.
    pub devices: Vec<DeviceStatus>,
}

/// Whether a bus can carry requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusState {
    /// Not opened yet.
    Starting,
    /// Open.
    Open,
    /// Gone; it is tried again. The text says why.
    Down(String),
}

impl BusState {
    /// The word in health messages and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            BusState::Starting => "starting",
            BusState::Open => "open",
            BusState::Down(_) => "down",
        }
    }
}

/// One device. The counters count since the start.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceStatus {
    /// Its name.
    pub device: Name,
    /// `None` until its first poll is over.
    pub online: Option<bool>,
    /// The last fault of the whole device, while it is offline.
    pub fault: Option<Fault>,
    /// When it last answered.
    pub last_answer: Option<Timestamp>,
    /// Requests sent, retries and probes included.
    pub requests: u64,
    /// Requests without an answer that could be used.
    pub failures: u64,
    /// Intervals that passed without a poll because the bus was busy.
    pub skipped: u64,
}

/// The points of one device, as last read.
#[derive(Debug, Clone, PartialEq)]
pub struct DevicePoints {
    /// Its name.
    pub device: Name,
    /// How many it has.
    pub count: usize,
    /// How many have a good value.
    pub good: usize,
    /// Those that have none, and why. The rest has not been read yet.
    pub bad: Vec<(Name, Fault)>,
}

/// The local broker. The counters count since the start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BrokerStatus {
    /// Clients connected now.
    pub clients: u64,
    /// Subscriptions held now.
    pub subscriptions: u64,
    /// Retained messages held now.
    pub retained: u64,
    /// PUBLISH packets taken from clients.
    pub received: u64,
    /// PUBLISH packets written to clients.
    pub sent: u64,
    /// Messages that a subscriber did not get (it was too slow, they were too large for it or expired on the way), and messages that could
    /// not be kept.
    pub dropped: u64,
}

/// One queue of the store.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueStatus {
    /// Messages waiting for their acknowledgement.
    pub depth: u64,
    /// Those of them that go before the others.
    pub high: u64,
    /// Their bytes as accounted against `max_size`.
    pub bytes: u64,
    /// When the oldest of them was queued.
    pub oldest: Option<Timestamp>,
    /// Messages queued since the start.
    pub queued: u64,
    /// Messages given up by policy since the queue was made.
    pub dropped: u64,
    /// Messages put aside since the queue was made: refused by the cloud for good, or damaged on disk.
    pub set_aside: u64,
    /// Why the last write failed, while it does.
    pub error: Option<String>,
}

/// One uplink.
#[derive(Debug, Clone, PartialEq)]
pub struct UplinkStatus {
    /// Its name.
    pub uplink: Name,
    /// Whether it is connected.
    pub state: UplinkState,
    /// PUBLISH packets sent since the start, repetitions included.
    pub sent: u64,
    /// Messages acknowledged by the cloud since the start.
    pub acknowledged: u64,
    /// QoS 0 messages that were dropped because the uplink was away.
    pub dropped_qos0: u64,
    /// Connections made since the start.
    pub connects: u64,
    /// Its queue.
    pub queue: QueueStatus,
    /// What comes down through it.
    pub accept: AcceptStatus,
}

/// What an uplink takes from its cloud.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AcceptStatus {
    /// Messages that came since the start, without repetitions.
    pub received: u64,
    /// Of these, at QoS 0, messages that found no room here.
    pub dropped_qos0: u64,
    /// Filters that the cloud refuses, each with its reason, a sentence each.
    pub refused: Vec<String>,
}

impl UplinkStatus {
    /// Before the first connection.
    pub fn starting(uplink: Name) -> UplinkStatus {
        UplinkStatus {
            uplink,
            state: UplinkState::Starting,
            sent: 0,
            acknowledged: 0,
            dropped_qos0: 0,
            connects: 0,
            queue: QueueStatus::default(),
            accept: AcceptStatus::default(),
        }
    }
}

/// Whether an uplink can deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UplinkState {
    /// Trying for the first time.
    Starting,
    /// CONNACK received.
    Online,
    /// Away; the text says why and what to try.
    Offline(String),
}

impl UplinkState {
    /// The word in health messages and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            UplinkState::Starting => "starting",
            UplinkState::Online => "online",
            UplinkState::Offline(_) => "offline",
        }
    }
}
