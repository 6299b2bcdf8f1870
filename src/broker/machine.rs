//! One client's connection as a pure machine: packets in, packets out, what the hub has to know, and when to close.
//!
//! The task around it ([`super::connection`]) moves bytes, asks the time and does nothing else.
//!
//! Choices that the standard leaves open: a client's PUBLISH to a `$` topic, or to one that it has no right to, is refused with 0x87 in
//! MQTT 5, and acknowledged but dropped in 3.1.1, which knows no refusal.

mod admission;
mod closing;
mod incoming;
mod outgoing;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::BytesMut;

use super::Limits;
use super::access::Rights;
use super::logins::Login;
use super::routing::Wanted;
use super::words::{FromClient, Greeting, ToClient};
use crate::model::Monotonic;
use crate::mqtt::{
    Codec, ConnAck, Disconnect, Inbound, Outbound, OutgoingAliases, Packet, Reason, ServerKeepAlive, Subscribe,
    TopicAliases, Unsubscribe, Version,
};

use closing::Closing;
pub(super) use closing::Complaint;

/// The largest CONNECT, in bytes: the identifier, will, user name and password of an ordinary client are far below.
const CONNECT_LIMIT: usize = 128 << 10;
/// The aliases that an MQTT 5 client may use, and those that are used towards it at most.
const TOPIC_ALIASES: u16 = 16;
const OUR_TOPIC_ALIASES: u16 = 64;
/// Bytes in the send buffer above which nothing more is written to it, and nothing more is read that would be answered.
const SEND_BUFFER: usize = 64 << 10;
/// Packet ids for messages to the client go round within this range: far more than can be in flight, and the table of them stays small.
const OUT_IDS: std::ops::RangeInclusive<u16> = 1..=4_096;
/// Packets decoded before what came of them is handed to the hub.
const BATCH: usize = 256;

/// The machine.
pub(super) struct Machine {
    limits: Limits,
    server_keep_alive_s: Option<u16>,
    codec: Codec,
    state: State,
    /// For a client that comes without an identifier.
    random: u128,
    /// As it came in CONNECT.
    login: Login,
    rights: Rights,
    inbound: Inbound,
    /// With the number of each delivery; 0 in a session that is not kept.
    outbound: Outbound<u64>,
    /// Whether the hub keeps the session, and wants to know what was acknowledged.
    kept: bool,
    /// The Session Expiry Interval of its CONNECT.
    expiry_s: u32,
    aliases: TopicAliases,
    our_aliases: OutgoingAliases,
    keep_alive: Option<ServerKeepAlive>,
    connect_by: Monotonic,
    /// While messages wait for the client: since when it has taken nothing, neither bytes nor by acknowledging a message.
    stuck_since: Option<Monotonic>,
    /// Whether the client was not read from when this was last looked at: what it sent meanwhile may still lie in its socket.
    held: bool,
    queue: VecDeque<ToClient>,
    freed: Freed,
    closing: Option<Closing>,
    /// Bytes to send.
    pub out: BytesMut,
    /// For the hub, in this order.
    pub to_hub: Vec<FromClient>,
    /// The highest number of a delivery that was written.
    pub sent: u64,
    /// The Session Expiry Interval of its DISCONNECT.
    pub expiry_at_end: Option<u32>,
    /// PUBLISH packets written, and messages not written because they were too large or too old.
    pub tally: Tally,
    /// What it was last refused for want of a right: a topic or a filter.
    pub denied: Option<String>,
}

enum State {
    AwaitsConnect,
    /// CONNECT is with the hub; this is the answer.
    AwaitsHub(Box<ConnAck>),
    Open,
}

/// Room that came free in the outbox.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Freed {
    pub messages: usize,
    pub bytes: usize,
}

/// What the machine counts; the task takes it away.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub sent: u64,
    /// Of their payloads.
    pub sent_bytes: u64,
    pub dropped: u64,
    /// Packets of any kind.
    pub packets_in: u64,
    pub packets_out: u64,
}

impl Machine {
    /// A connection that was just accepted. `random` names the client if it does not name itself.
    pub fn new(limits: Limits, server_keep_alive_s: Option<u16>, random: u128, now: Monotonic) -> Machine {
        Machine {
            limits,
            server_keep_alive_s,
            codec: Codec::server(CONNECT_LIMIT.min(limits.packet_size)),
            state: State::AwaitsConnect,
            random,
            login: Login::default(),
            rights: Rights::nothing(),
            inbound: Inbound::default(),
            outbound: Outbound::new(limits.in_flight_out.min(*OUT_IDS.end()), OUT_IDS),
            kept: false,
            expiry_s: 0,
            aliases: TopicAliases::new(TOPIC_ALIASES),
            our_aliases: OutgoingAliases::default(),
            keep_alive: None,
            connect_by: now + limits.connect_within,
            stuck_since: None,
            held: false,
            queue: VecDeque::new(),
            freed: Freed::default(),
            closing: None,
            out: BytesMut::new(),
            to_hub: Vec::new(),
            sent: 0,
            expiry_at_end: None,
            tally: Tally::default(),
            denied: None,
        }
    }

    /// Set once the connection has to end, after what is in `out` has been sent.
    pub fn closing(&self) -> Option<&Closing> {
        self.closing.as_ref()
    }

    /// Whether more bytes are wanted. A client that floods, or does not read what it is answered, is not read from.
    pub fn wants_read(&self) -> bool {
        self.to_hub.is_empty() && self.may_decode()
    }

    fn may_decode(&self) -> bool {
        // A PUBREL has to get through, so of QoS 2 only what is not answered counts.
        let room = self.inbound.unanswered() < usize::from(self.limits.in_flight_in) || self.version() == Version::V5;
        self.closing.is_none() && !matches!(self.state, State::AwaitsHub(_)) && self.out.len() < SEND_BUFFER && room
    }

    /// The version spoken; 3.1.1 until CONNECT says so.
    pub fn version(&self) -> Version {
        self.codec.version().unwrap_or(Version::V311)
    }

    /// A packet came, or would have been read if we had listened.
    fn heard(&mut self, now: Monotonic) {
        if let Some(keep_alive) = &mut self.keep_alive {
            keep_alive.heard(now);
        }
    }

    /// Decodes what is in `input` and acts on it, until that is used up or the hub has to be asked first.
    /// Returns a greeting for the hub, to be answered by [`Machine::admitted`].
    pub fn receive(&mut self, input: &mut BytesMut, now: Monotonic) -> Option<Greeting> {
        while self.to_hub.len() < BATCH && self.may_decode() {
            let decoded = self.codec.decode(input);
            if matches!(decoded, Ok(Some(_))) {
                self.tally.packets_in += 1;
                // Whole packets count, not bytes [MQTT-3.1.2-22].
                self.heard(now);
            }
            match decoded {
                Ok(None) => break,
                Ok(Some(Packet::Connect(connect))) => return self.connect(*connect, now),
                Ok(Some(packet)) => self.packet(packet, now),
                Err(error) => self.refuse(error),
            }
        }
        None
    }

    fn packet(&mut self, packet: Packet, now: Monotonic) {
        match packet {
            Packet::Publish(publish) => self.publish(publish),
            Packet::PubAck(ack) => self.puback(ack, now),
            Packet::PubRec(ack) => self.pubrec(ack, now),
            Packet::PubRel(ack) => self.pubrel(ack),
            Packet::PubComp(ack) => self.pubcomp(ack, now),
            Packet::Subscribe(subscribe) => self.subscribe(subscribe),
            Packet::Unsubscribe(Unsubscribe { packet_id, filters, .. }) => {
                self.to_hub.push(FromClient::Unsubscribe { packet_id, filters });
            }
            Packet::PingReq => self.send(&Packet::PingResp),
            Packet::Disconnect(disconnect) => self.left(&disconnect),
            Packet::Auth(_) => {
                self.expel(Reason::PROTOCOL_ERROR, Complaint::Protocol("AUTH without an authentication method"));
            }
            Packet::Connect(_) | Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                self.expel(Reason::PROTOCOL_ERROR, Complaint::Protocol("a packet that only a server sends"));
            }
        }
    }

    fn check_topic(&self, topic: &str) -> Result<(), Complaint> {
        let most = self.limits.topic_levels;
        if topic.split('/').nth(most).is_some() { Err(Complaint::TooDeep(most)) } else { Ok(()) }
    }

    fn subscribe(&mut self, subscribe: Subscribe) {
        if subscribe.filters.iter().any(|(filter, options)| options.no_local && filter.starts_with("$share/")) {
            let complaint = Complaint::Protocol("No Local makes no sense in a shared subscription [MQTT-3.8.3-4]");
            return self.expel(Reason::PROTOCOL_ERROR, complaint);
        }
        let mut denied = None;
        let filters = subscribe.filters.into_iter().map(|(filter, options)| {
            // [MQTT-4.8.2-1] A group without a name, or nothing to share.
            let Ok(wanted) = Wanted::of(&filter) else { return Err(Reason::TOPIC_FILTER_INVALID) };
            match self.check_topic(wanted.filter) {
                Ok(()) if !self.rights.may_subscribe(&filter) => {
                    denied = Some(filter.to_string());
                    Err(Reason::NOT_AUTHORIZED)
                }
                Ok(()) => Ok((filter, options)),
                Err(_) => Err(Reason::TOPIC_FILTER_INVALID),
            }
        });
        let filters = filters.collect();
        self.denied = denied.or(self.denied.take());
        self.to_hub.push(FromClient::Subscribe {
            packet_id: subscribe.packet_id,
            id: subscribe.subscription_id,
            filters,
        });
    }

    fn left(&mut self, disconnect: &Disconnect) {
        // §3.14.2.2.2
        if self.expiry_s == 0 && disconnect.session_expiry_s.is_some_and(|s| s > 0) {
            let complaint =
                Complaint::Protocol("a session that ends with the connection can't be prolonged at its end");
            return self.expel(Reason::PROTOCOL_ERROR, complaint);
        }
        self.expiry_at_end = disconnect.session_expiry_s;
        self.closing = Some(Closing { lost: disconnect.reason != Reason::SUCCESS, complaint: None });
    }

    /// Something from the hub. Messages wait for [`Machine::pump`]; answers go out at once.
    pub fn hub_says(&mut self, what: ToClient) {
        match what {
            ToClient::Release(received, reason) => self.release(received, reason),
            ToClient::SubAck(ack) => self.send(&Packet::SubAck(ack)),
            // 3.1.1 has no way to say that it is not safe.
            ToClient::UnsubAck(ack)
                if self.version() == Version::V311 && ack.reasons.iter().any(|r| r.is_failure()) =>
            {
                self.expel(Reason::UNSPECIFIED, Complaint::NotKept);
            }
            ToClient::UnsubAck(ack) => self.send(&Packet::UnsubAck(ack)),
            ToClient::Close(reason) => self.close(reason),
            ToClient::Recorded(n) => self.recorded(n),
            ToClient::Complete(packet_id) => self.complete(packet_id),
            ToClient::Deliver(_) | ToClient::PubRel(_) | ToClient::More => self.queue.push_back(what),
        }
    }

    /// So many bytes of `out` were sent.
    pub fn wrote(&mut self, bytes: usize, now: Monotonic) {
        if bytes > 0 {
            self.progressed(now);
        }
    }

    fn progressed(&mut self, now: Monotonic) {
        self.stuck_since = self.stuck_since.map(|_| now);
    }

    /// To be called when everything that can be written has been: `overflowed` is whether the outbox had to drop QoS 1 messages and is still
    /// nearly full. The client's time runs from when there is something to wait for: one to whom nothing was sent for long has not stalled.
    pub fn note_backlog(&mut self, overflowed: bool, now: Monotonic) {
        let waits = overflowed || self.out.len() >= SEND_BUFFER;
        self.stuck_since = waits.then(|| self.stuck_since.unwrap_or(now));
    }

    fn stalled_at(&self) -> Option<Monotonic> {
        self.stuck_since.map(|since| since + self.limits.stalled_after)
    }

    /// When [`Machine::tick`] is due at the latest.
    pub fn deadline(&self) -> Option<Monotonic> {
        let patience = match self.state {
            State::AwaitsConnect => Some(self.connect_by),
            _ => self.keep_alive.as_ref().and_then(ServerKeepAlive::deadline),
        };
        [self.stalled_at(), patience].into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Monotonic) {
        if self.closing.is_some() {
            return;
        }
        if self.stalled_at().is_some_and(|at| now >= at) {
            return self.expel(Reason::QUOTA_EXCEEDED, Complaint::Stalled);
        }
        match self.state {
            State::AwaitsConnect if now >= self.connect_by => {
                self.closing = Some(Closing { lost: false, complaint: Some(Complaint::NoConnect) });
            }
            State::Open if self.keep_alive.is_some_and(|keep_alive| keep_alive.is_expired(now)) => {
                if self.wants_read() {
                    self.expel(Reason::KEEP_ALIVE_TIMEOUT, Complaint::KeepAlive);
                } else {
                    // It is us who does not listen.
                    self.heard(now);
                }
            }
            _ => {}
        }
    }

    /// Gives back the room that a burst took.
    pub fn shrink(&mut self) {
        if self.out.is_empty() {
            self.out = BytesMut::new();
        }
        self.queue.shrink_to(0);
        self.to_hub.shrink_to(0);
    }

    /// The connection broke.
    pub fn broke(&mut self) {
        self.closing.get_or_insert(Closing { lost: true, complaint: None });
    }

    /// The broker wants the client to go.
    pub fn close(&mut self, reason: Reason) {
        // At a takeover the hub has dealt with the will already. At the broker's stop it is published like after any end that the client did
        // not want: what says that the client is there must not outlive the broker.
        self.end(reason, None, true);
    }

    /// The client did something that ends the connection.
    fn expel(&mut self, reason: Reason, complaint: Complaint) {
        self.end(reason, Some(complaint), true);
    }

    fn end(&mut self, reason: Reason, complaint: Option<Complaint>, lost: bool) {
        if self.closing.is_some() {
            return;
        }
        if matches!(self.state, State::Open) && self.version() == Version::V5 {
            let words = complaint.as_ref().map(ToString::to_string);
            let disconnect = Disconnect { reason_string: words, ..Disconnect::new(reason) };
            // If the words are too long for the client, the code has to do [MQTT-3.14.2-3].
            if self.codec.encode(&Packet::Disconnect(disconnect), &mut self.out).is_err() {
                self.send(&Packet::Disconnect(Disconnect::new(reason)));
            }
        }
        self.closing = Some(Closing { lost, complaint });
    }

    fn send(&mut self, packet: &Packet) {
        self.tally.packets_out += 1;
        // Only a client with an absurdly small Maximum Packet Size refuses these; it gets nothing then [MQTT-3.1.2-24].
        if self.codec.encode(packet, &mut self.out).is_err() {
            self.closing.get_or_insert(Closing {
                lost: true,
                complaint: Some(Complaint::Protocol("it takes not even an answer")),
            });
        }
    }
}
