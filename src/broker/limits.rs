//! How much is too much, with defaults that suit a small gateway.

use std::time::Duration;

use crate::config::LimitsConfig;

/// Limits. What is over one of them is refused, dropped or disconnected, and counted; never buffered.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Clients connected at once.
    pub connections: usize,
    /// Those from one address other than loopback.
    pub connections_per_address: usize,
    /// Bytes of a packet, fixed header included.
    pub packet_size: usize,
    /// Time from the connection to a whole CONNECT; handshakes of TLS and WebSocket are part of it.
    pub connect_within: Duration,
    /// QoS 1 and 2 messages in flight to a client; its Receive Maximum may lower it.
    pub in_flight_out: u16,
    /// QoS 1 and 2 messages from a client that are not acknowledged: the Receive Maximum that MQTT 5 clients are told. Of a 3.1.1 client
    /// nothing more is read meanwhile.
    pub in_flight_in: u16,
    /// Messages waiting for one client.
    pub queue_messages: usize,
    /// Their bytes: topic, payload, properties and a fixed part.
    pub queue_bytes: usize,
    /// What waits for all clients together, in the same bytes. When that is not enough, the client with most is disconnected.
    pub queued_bytes: usize,
    /// A client with a full queue that takes nothing for so long is disconnected.
    pub stalled_after: Duration,
    /// Sessions that are kept when their client is away, or may be.
    pub sessions: usize,
    /// Messages on disk for one of them, sent and not acknowledged ones included.
    pub session_messages: usize,
    /// Their bytes: topic, payload, properties and a fixed part.
    pub session_bytes: usize,
    /// Subscriptions of one client.
    pub subscriptions: usize,
    /// What they are taken to cost: the text of the filters and a fixed part for each level.
    pub subscription_bytes: usize,
    /// Levels of a topic or filter.
    pub topic_levels: usize,
    /// Retained messages.
    pub retained_messages: usize,
    /// Their bytes: topic, payload, properties and a fixed part.
    pub retained_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 1_000,
            connections_per_address: 100,
            packet_size: 1 << 20,
            connect_within: Duration::from_secs(10),
            in_flight_out: 100,
            in_flight_in: 1_000,
            queue_messages: 20_000,
            queue_bytes: 4 << 20,
            queued_bytes: 64 << 20,
            stalled_after: Duration::from_secs(30),
            sessions: 50_000,
            session_messages: 100_000,
            session_bytes: 64 << 20,
            subscriptions: 1_000,
            subscription_bytes: 4 << 20,
            topic_levels: 128,
            retained_messages: 100_000,
            retained_bytes: 64 << 20,
        }
    }
}

impl From<&LimitsConfig> for Limits {
    fn from(config: &LimitsConfig) -> Limits {
        let default = Limits::default();
        let queue_bytes = config.queue_size.unwrap_or(default.queue_bytes);
        Limits {
            connections: config.connections.unwrap_or(default.connections),
            connections_per_address: config.connections_per_address.unwrap_or(default.connections_per_address),
            packet_size: config.packet_size.unwrap_or(default.packet_size),
            connect_within: config.connect_timeout.unwrap_or(default.connect_within),
            in_flight_out: config.in_flight.unwrap_or(default.in_flight_out),
            in_flight_in: config.receive_maximum.unwrap_or(default.in_flight_in),
            queue_messages: config.queue_messages.unwrap_or(default.queue_messages),
            queue_bytes,
            queued_bytes: config.queues_size.unwrap_or(default.queued_bytes).max(queue_bytes),
            stalled_after: config.stalled_after.unwrap_or(default.stalled_after),
            sessions: config.sessions.unwrap_or(default.sessions),
            session_messages: config.session_messages.unwrap_or(default.session_messages),
            session_bytes: config.session_size.unwrap_or(default.session_bytes),
            subscriptions: config.subscriptions.unwrap_or(default.subscriptions),
            subscription_bytes: default.subscription_bytes,
            topic_levels: config.topic_levels.unwrap_or(default.topic_levels),
            retained_messages: config.retained_messages.unwrap_or(default.retained_messages),
            retained_bytes: config.retained_size.unwrap_or(default.retained_bytes),
        }
    }
}
