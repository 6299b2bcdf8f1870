//! An uplink's two deliveries on one connection: what is urgent goes first while the window has room. Pure.
//!
//! Each has its own queue, numbers and packet ids; the window is shared.

use bytes::BytesMut;

use super::delivery::{self, Delivery, Event, Peer, Progress, Start};
use super::envelope::Envelope;
use crate::model::{Message, Priority, Timestamp};
use crate::mqtt::{Ack, Codec, CodecError};
use crate::store::Entry;

/// Both deliveries of an uplink.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: [Delivery; 2],
}

/// Where a queue stood at the start.
#[derive(Debug)]
pub(super) struct Standing {
    pub start: Start,
    /// Names the queue's generation.
    pub envelope: Envelope,
}

impl Lanes {
    /// Both have the same window: so many rows of both together may be in flight.
    pub(super) fn new(normal: Standing, high: Standing) -> Lanes {
        let lane = |class, Standing { start, envelope }| Delivery::new(class, start, envelope);
        Lanes { lanes: [lane(Priority::Normal, normal), lane(Priority::High, high)] }
    }

    fn lane(&self, class: Priority) -> &Delivery {
        &self.lanes[class as usize]
    }

    /// A CONNACK came. By [`Priority`], to what the mark of recorded PUBRECs is to be taken back; see [`Delivery::connected`].
    pub(super) fn connected(&mut self, peer: Peer) -> [Option<u64>; 2] {
        let [normal, high] = &mut self.lanes;
        // A connection has its aliases once: they are for the queue with the many messages.
        [normal.connected(peer), high.connected(Peer { topic_alias_maximum: 0, ..peer })]
    }

    /// The connection is gone; see [`Delivery::disconnected`]. Rows above the returned numbers, by [`Priority`], are to be given back.
    pub(super) fn disconnected(&mut self, by_cloud: bool) -> [u64; 2] {
        let [normal, high] = &mut self.lanes;
        // What is urgent went first, so it is what the cloud read first.
        let for_normal = by_cloud && !high.is_in_question();
        [normal.disconnected(for_normal), high.disconnected(by_cloud)]
    }

    /// Appends a message that is in no queue; see [`Delivery::write_plain`].
    pub(super) fn write_plain(
        &self,
        codec: &Codec,
        message: &Message,
        packet_id: u16,
        out: &mut BytesMut,
    ) -> Result<(), CodecError> {
        self.lane(Priority::Normal).write_plain(codec, message, packet_id, out)
    }

    /// Rows of a queue that were read, in order.
    pub(super) fn offer(&mut self, class: Priority, entries: Vec<Entry>) {
        self.lanes[class as usize].offer(entries);
    }

    /// A queue has no more rows than those that were offered.
    pub(super) fn nothing_left(&mut self, class: Priority) {
        self.lanes[class as usize].nothing_left();
    }

    /// Rows of a queue that wait to be sent.
    pub(super) fn waiting(&self, class: Priority) -> usize {
        self.lane(class).waiting()
    }

    /// Writes what may go now to `out`, until it holds `enough` bytes, and at most so many messages. True when something was written.
    pub(super) fn send(
        &mut self,
        codec: &mut Codec,
        wall: Option<Timestamp>,
        enough: usize,
        most: usize,
        out: &mut BytesMut,
    ) -> bool {
        let [normal, high] = &mut self.lanes;
        // Only one of them is on trial at a time, and then nothing of the other is on the wire that the cloud might close the connection for.
        if !high.is_on_trial() && normal.is_on_trial() && normal.is_in_question() {
            return false;
        }
        let before = high.sent();
        high.share_window(normal.on_wire());
        let urgent = high.send(codec, wall, enough, most, out);
        if high.is_on_trial() || (normal.is_on_trial() && high.is_in_question()) {
            return urgent;
        }
        // As soon as there is room, be it for one: what goes carries TCP's acknowledgement of what came, and a cloud that gathers small packets
        // (RFC 896, mosquitto) holds its next PUBACKs back until then. When many come, they come together.
        let left = most.saturating_sub(usize::try_from(high.sent() - before).unwrap_or(usize::MAX));
        normal.share_window(high.on_wire());
        let sent = normal.send(codec, wall, enough, left, out);
        sent || urgent
    }

    fn of(&mut self, ack: Ack) -> &mut Delivery {
        let is_high = delivery::ids(Priority::High).contains(&ack.packet_id);
        &mut self.lanes[if is_high { Priority::High } else { Priority::Normal } as usize]
    }

    /// Takes a PUBACK.
    pub(super) fn acknowledge(&mut self, ack: Ack) -> Progress {
        self.of(ack).acknowledge(ack)
    }

    /// Takes a PUBREC.
    pub(super) fn receipt(&mut self, ack: Ack) -> Progress {
        self.of(ack).receipt(ack)
    }

    /// Takes a PUBCOMP.
    pub(super) fn complete(&mut self, ack: Ack) -> Progress {
        self.of(ack).complete(ack)
    }

    /// PUBRECs of a queue are on disk up to `through`; see [`Delivery::recorded`].
    pub(super) fn recorded(&mut self, class: Priority, through: u64, release: impl FnMut(u16)) {
        self.lanes[class as usize].recorded(through, release);
    }

    /// Up to where PUBRECs of a queue are to be on disk.
    pub(super) fn to_record(&self, class: Priority) -> u64 {
        self.lane(class).to_record()
    }

    /// See [`Delivery::take_downgraded`].
    pub(super) fn take_downgraded(&mut self) -> bool {
        let [normal, high] = &mut self.lanes;
        normal.take_downgraded() | high.take_downgraded()
    }

    /// What is to be carried out, before [`Lanes::done`] is acted upon.
    pub(super) fn poll_event(&mut self) -> Option<(Priority, Event)> {
        Priority::ALL.into_iter().find_map(|class| Some((class, self.lanes[class as usize].poll_event()?)))
    }

    /// Every row of a queue up to here is settled.
    pub(super) fn done(&self, class: Priority) -> u64 {
        self.lane(class).done()
    }

    /// Whether the cloud takes one more message at once.
    pub(super) fn has_room(&mut self) -> bool {
        let [normal, high] = &mut self.lanes;
        normal.share_window(high.on_wire());
        normal.has_room()
    }

    /// Whether an acknowledgement can be expected on this connection.
    pub(super) fn awaits_ack(&self) -> bool {
        self.lanes.iter().any(Delivery::awaits_ack)
    }

    /// PUBLISH packets written, repetitions included.
    pub(super) fn sent(&self) -> u64 {
        self.lanes.iter().map(Delivery::sent).sum()
    }

    /// Rows that the cloud acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.lanes.iter().map(Delivery::acknowledged).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{QoS, SessionLost, Topic};
    use crate::mqtt::{Connect, Packet, Reason, Version};
    use crate::store::Row;

    fn lanes(window: u16) -> Lanes {
        let start = Start { window, done: 0, recorded: 0, last: 0, session_lost: SessionLost::Resend };
        let standing = |epoch| Standing { start, envelope: Envelope::new(Version::V5, "p7", epoch) };
        Lanes::new(standing(1), standing(2))
    }

    fn row(topic: &str, n: u64) -> Entry {
        let topic = Topic::new(topic).expect("a topic");
        Entry::Whole(Row { n, queued: None, message: Message::new(topic, n.to_string(), QoS::AtLeastOnce, false) })
    }

    /// What the cloud reads of what is sent now: topic, packet id and the mark `epoch`.
    fn sent(lanes: &mut Lanes) -> Vec<(String, u16, String)> {
        let (mut client, mut server) = (Codec::client(Version::V5, 1 << 20), Codec::server(1 << 20));
        let mut wire = BytesMut::new();
        client.encode(&Packet::Connect(Box::new(Connect::new(Version::V5, "c"))), &mut wire).expect("a CONNECT");
        server.decode(&mut wire).expect("a CONNECT");
        lanes.send(&mut client, None, usize::MAX, usize::MAX, &mut wire);
        let packets = std::iter::from_fn(|| server.decode(&mut wire).expect("well-formed"));
        let told = packets.map(|packet| match packet {
            Packet::Publish(publish) => {
                let marks = publish.properties.expect("marks").user;
                (publish.topic.expect("a topic").to_string(), publish.packet_id, marks[1].1.clone())
            }
            other => panic!("not a PUBLISH: {other:?}"),
        });
        told.collect()
    }

    #[test]
    fn what_is_urgent_overtakes_the_backlog_and_both_share_the_window() {
        let mut lanes = lanes(3);
        let peer = Peer {
            session_present: false,
            receive_maximum: 100,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            topic_alias_maximum: 0,
        };
        assert_eq!(lanes.connected(peer), [None, None]);
        lanes.offer(Priority::Normal, (1..=9).map(|n| row("log", n)).collect());
        assert_eq!(sent(&mut lanes).len(), 3);
        lanes.offer(Priority::High, vec![row("alarm", 1), row("alarm", 2)]);
        assert_eq!(sent(&mut lanes), [], "the window is full");
        assert_eq!(lanes.acknowledge(Ack { packet_id: 2, reason: Reason::SUCCESS }), Progress::Settled);
        assert_eq!(lanes.acknowledge(Ack { packet_id: 3, reason: Reason::SUCCESS }), Progress::Settled);
        assert_eq!(sent(&mut lanes), [("alarm".into(), 50_002, "2".into()), ("alarm".into(), 50_003, "2".into())]);
        assert_eq!((lanes.done(Priority::Normal), lanes.done(Priority::High)), (2, 0));
        assert_eq!(lanes.acknowledge(Ack { packet_id: 50_002, reason: Reason::SUCCESS }), Progress::Settled);
        assert_eq!((lanes.done(Priority::Normal), lanes.done(Priority::High)), (2, 1));
        assert_eq!(sent(&mut lanes), [("log".into(), 5, "1".into())], "then the backlog goes on");
    }
}
