//! An uplink's two deliveries on one connection: what is urgent goes first while the window has room. Pure.
//!
//! Each has its own queue, numbers and packet ids; the window is shared.

use bytes::BytesMut;

use super::delivery::{self, Delivery, Event, Peer};
use super::envelope::Envelope;
use crate::model::{Message, Priority, Timestamp};
use crate::mqtt::{Ack, Codec, CodecError};
use crate::store::Entry;

/// Both deliveries of an uplink.
#[derive(Debug)]
pub(super) struct Lanes([Delivery; 2]);

/// Where a queue stood at the start.
#[derive(Debug)]
pub(super) struct Standing {
    /// Every row up to here is acknowledged.
    pub done: u64,
    /// Rows up to here were there.
    pub last: u64,
    /// Names the queue's generation.
    pub envelope: Envelope,
}

impl Lanes {
    /// `window` rows of both together may be in flight.
    pub(super) fn new(window: u16, normal: Standing, high: Standing) -> Lanes {
        let lane = |class, Standing { done, last, envelope }| Delivery::new(class, window, done, last, envelope);
        Lanes([lane(Priority::Normal, normal), lane(Priority::High, high)])
    }

    fn lane(&self, class: Priority) -> &Delivery {
        &self.0[class as usize]
    }

    /// A CONNACK came.
    pub(super) fn connected(&mut self, peer: Peer) {
        self.0.iter_mut().for_each(|lane| lane.connected(peer));
    }

    /// The connection is gone. Rows above the returned numbers, by [`Priority`], are to be given back.
    pub(super) fn disconnected(&mut self) -> [u64; 2] {
        self.0.each_mut().map(Delivery::disconnected)
    }

    /// Whether the cloud of this connection keeps retained messages.
    pub(super) fn set_retain_available(&mut self, available: bool) {
        self.0.iter_mut().for_each(|lane| lane.set_retain_available(available));
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
        self.0[class as usize].offer(entries);
    }

    /// Rows of a queue that wait to be sent.
    pub(super) fn waiting(&self, class: Priority) -> usize {
        self.lane(class).waiting()
    }

    /// Writes what may go now to `out`, until it holds `enough` bytes, and at most so many messages. True when something was written.
    pub(super) fn send(
        &mut self,
        codec: &Codec,
        wall: Option<Timestamp>,
        enough: usize,
        most: usize,
        out: &mut BytesMut,
    ) -> bool {
        let [normal, high] = &mut self.0;
        let before = high.sent();
        high.share_window(normal.on_wire());
        let urgent = high.send(codec, wall, enough, most, out);
        let left = most.saturating_sub(usize::try_from(high.sent() - before).unwrap_or(usize::MAX));
        normal.share_window(high.on_wire());
        normal.send(codec, wall, enough, left, out) || urgent
    }

    /// Takes a PUBACK. True when a row is settled by it.
    pub(super) fn acknowledge(&mut self, ack: Ack) -> bool {
        let class =
            if delivery::ids(Priority::High).contains(&ack.packet_id) { Priority::High } else { Priority::Normal };
        self.0[class as usize].acknowledge(ack)
    }

    /// What is to be carried out, before [`Lanes::done`] is acted upon.
    pub(super) fn poll_event(&mut self) -> Option<(Priority, Event)> {
        Priority::ALL.into_iter().find_map(|class| Some((class, self.0[class as usize].poll_event()?)))
    }

    /// Every row of a queue up to here is settled.
    pub(super) fn done(&self, class: Priority) -> u64 {
        self.lane(class).done()
    }

    /// Whether the cloud takes one more message at once.
    pub(super) fn has_room(&mut self) -> bool {
        let [normal, high] = &mut self.0;
        normal.share_window(high.on_wire());
        normal.has_room()
    }

    /// Whether an acknowledgement can be expected on this connection.
    pub(super) fn awaits_ack(&self) -> bool {
        self.0.iter().any(Delivery::awaits_ack)
    }

    /// PUBLISH packets written, repetitions included.
    pub(super) fn sent(&self) -> u64 {
        self.0.iter().map(Delivery::sent).sum()
    }

    /// Rows that the cloud acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.0.iter().map(Delivery::acknowledged).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{QoS, Topic};
    use crate::mqtt::{Connect, Packet, Reason, Version};
    use crate::store::Row;

    fn lanes(window: u16) -> Lanes {
        let standing = |epoch| Standing { done: 0, last: 0, envelope: Envelope::new(Version::V5, "p7", epoch) };
        Lanes::new(window, standing(1), standing(2))
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
        lanes.send(&client, None, usize::MAX, usize::MAX, &mut wire);
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
        lanes.connected(Peer { session_present: false, receive_maximum: 100 });
        lanes.offer(Priority::Normal, (1..=9).map(|n| row("log", n)).collect());
        assert_eq!(sent(&mut lanes).len(), 3);
        lanes.offer(Priority::High, vec![row("alarm", 1), row("alarm", 2)]);
        assert_eq!(sent(&mut lanes), [], "the window is full");
        assert!(lanes.acknowledge(Ack { packet_id: 2, reason: Reason::SUCCESS }));
        assert!(lanes.acknowledge(Ack { packet_id: 3, reason: Reason::SUCCESS }));
        assert_eq!(sent(&mut lanes), [("alarm".into(), 50_002, "2".into()), ("alarm".into(), 50_003, "2".into())]);
        assert_eq!((lanes.done(Priority::Normal), lanes.done(Priority::High)), (2, 0));
        assert!(lanes.acknowledge(Ack { packet_id: 50_002, reason: Reason::SUCCESS }));
        assert_eq!((lanes.done(Priority::Normal), lanes.done(Priority::High)), (2, 1));
        assert_eq!(sent(&mut lanes), [("log".into(), 5, "1".into())], "then the backlog goes on");
    }
}
