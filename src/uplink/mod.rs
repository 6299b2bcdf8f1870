//! An uplink: takes a queue's messages to a cloud broker, in order, at least once.
//!
//! A row is deleted when the cloud has acknowledged it and not before. Everything else follows: what was not acknowledged when a
//! connection ended, or the process did, goes out again.
//!
//! - `delivery`, `envelope`: what goes next, with which packet id and marks; `echoes`: what of it will be sent back; pure
//! - `lanes`: two of these on one connection, the urgent one first; pure
//! - `verdict`, `backoff`, `liveness`: what a refusal means, when to try again, whether the cloud is still there; pure
//! - `rota`, `pace`: which server is tried next, and how many messages may go now; pure
//! - `intake`, `subscriptions`: what comes down, and what the cloud is asked to send; pure. `accept`: the seam to whoever takes it
//! - `client`: the only file with sockets
//! - `prefetch`: rows read ahead of their turn, while others are on the wire
//! - `online`: one connection, from CONNACK to its end; `incoming`: what comes on it; `goodbye`: its end in order
//! - `task`: one connection after another
//! - `report`: state and counters, and each cause in the log once

mod accept;
mod backoff;
mod client;
mod delivery;
mod echoes;
mod envelope;
mod goodbye;
mod incoming;
mod intake;
mod lanes;
mod liveness;
mod online;
mod pace;
mod prefetch;
mod report;
mod rota;
mod subscriptions;
mod task;
mod verdict;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use crate::config::{Rate, Secret, ServerConfig, UplinkTls};
use crate::model::{Name, Pulse, Topic};
use crate::mqtt::Version;

pub use accept::{ACCEPTED_WAITING, Accept, Accepted, Outcome, Settled, Subscription, Ticket};
pub use task::run;

/// Where an uplink connects, and as whom.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name, for logs and status.
    pub name: Name,
    /// Beats while the uplink's task makes progress, connected or not.
    pub pulse: Pulse,
    /// The cloud's servers, at least one: the first that answers is used, until it fails.
    pub servers: Vec<ServerConfig>,
    /// What encrypted connections trust and show.
    pub tls: UplinkTls,
    /// Empty: the cloud assigns one.
    pub client_id: String,
    /// Sent in CONNECT.
    pub username: Option<String>,
    /// Sent in CONNECT.
    pub password: Option<Secret>,
    /// Read for each connection, instead of `password`.
    pub password_file: Option<PathBuf>,
    /// What to speak.
    pub version: Version,
    /// Unless the cloud names another one. Whole seconds, 1 to 65,535.
    pub keep_alive: Duration,
    /// Most messages in flight, 1 to 10,000; the cloud may want fewer.
    pub window: u16,
    /// Most PUBLISH packets in a time; `None` without a limit.
    pub rate_limit: Option<Rate>,
    /// The gateway's id, as MQTT 5 user property `gateway` on each message.
    pub gateway: String,
    /// What tells the cloud whether the gateway is connected.
    pub presence: Option<Presence>,
    /// A connection on which something is in flight and nothing moves for so long is given up.
    pub stall_after: Duration,
}

impl Settings {
    /// The usual [`Settings::stall_after`].
    pub const STALL_AFTER: Duration = Duration::from_secs(20);
}

/// A retained message for as long as the gateway is connected, another one when it is not.
#[derive(Debug, Clone)]
pub struct Presence {
    /// Where both go.
    pub topic: Topic,
    /// Published after each CONNACK.
    pub online: Bytes,
    /// The will, and published before an orderly DISCONNECT.
    pub offline: Bytes,
}
