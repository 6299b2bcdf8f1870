//! Well-behaved clients and a broker that is cut off, refused by its store, taken over and killed: what was acknowledged arrives, in order, and at
//! QoS 2 once.

use std::collections::BTreeSet;

use bytes::BytesMut;
use proptest::prelude::*;

use super::{EXPIRY_S, World};
use crate::broker::Limits;
use crate::model::{Filter, Message, QoS, Topic};
use crate::mqtt::{
    Ack, Arrival, Codec, Connect, Inbound, Outbound, Packet, Publish, Reason, Receipt, Resend, Subscribe,
    SubscribeOptions, Version,
};

const PUBLISHER: usize = 0;
const SUBSCRIBER: usize = 1;
/// Where a second connection of the subscriber comes from.
const ELSEWHERE: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    Publish(QoS),
    Commit,
    Refuse,
    /// What the broker sent is read, or lost with the connection.
    Read(bool),
    CutPublisher,
    CutSubscriber,
    TakeOver,
    ConnectPublisher(bool),
    ConnectSubscriber(bool, u16),
    Crash,
}

fn steps(refuse: bool) -> impl Strategy<Value = Vec<Step>> {
    let qos = prop::sample::select(&[QoS::AtLeastOnce, QoS::ExactlyOnce][..]);
    let step = prop_oneof![
        10 => qos.prop_map(Step::Publish),
        12 => Just(Step::Commit),
        u32::from(refuse) => Just(Step::Refuse),
        12 => any::<bool>().prop_map(|lossy| Step::Read(!lossy)),
        1 => Just(Step::CutPublisher),
        1 => Just(Step::CutSubscriber),
        1 => Just(Step::TakeOver),
        2 => any::<bool>().prop_map(Step::ConnectPublisher),
        2 => (any::<bool>(), 1u16..6).prop_map(|(v5, most)| Step::ConnectSubscriber(v5, most)),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 0..200)
}

/// One client: its session, whatever connections it has.
struct Peer {
    id: &'static str,
    at: usize,
    codec: Codec,
    /// CONNACK has come on this connection.
    is_in: bool,
    had_session: bool,
    outbound: Outbound<(u32, QoS)>,
    inbound: Inbound,
    next: u32,
    received: Vec<(u32, QoS)>,
    refused: Vec<u32>,
}

impl Peer {
    fn new(id: &'static str, at: usize) -> Peer {
        Peer {
            id,
            at,
            codec: Codec::client(Version::V5, 1 << 20),
            is_in: false,
            had_session: false,
            outbound: Outbound::new(3, 1..=200),
            inbound: Inbound::default(),
            next: 0,
            received: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn connect(&mut self, world: &mut World, v5: bool, receive_maximum: u16) {
        let version = if v5 { Version::V5 } else { Version::V311 };
        world.broke(self.at);
        world.settle();
        self.codec = Codec::client(version, 1 << 20);
        self.is_in = false;
        world.clients[self.at].packets = Some(Vec::new());
        let connect = Connect {
            clean_start: false,
            session_expiry_s: if v5 { EXPIRY_S } else { 0 },
            receive_maximum: if v5 { receive_maximum } else { u16::MAX },
            ..Connect::new(version, self.id)
        };
        self.send(world, &Packet::Connect(Box::new(connect)));
        world.settle();
    }

    fn cut(&mut self, world: &mut World) {
        self.is_in = false;
        world.broke(self.at);
        world.clients[self.at].packets = None;
        world.settle();
    }

    fn send(&mut self, world: &mut World, packet: &Packet) {
        let mut wire = BytesMut::new();
        self.codec.encode(packet, &mut wire).unwrap();
        world.receive(self.at, &wire);
    }

    fn publish(&mut self, world: &mut World, qos: QoS) {
        if !self.is_in {
            return;
        }
        if let Ok(id) = self.outbound.send((self.next, qos), qos) {
            self.send_message(world, id, (self.next, qos), false);
            self.next += 1;
        }
        world.settle();
    }

    fn send_message(&mut self, world: &mut World, packet_id: u16, (n, qos): (u32, QoS), dup: bool) {
        let message = Message::new(Topic::new("t").unwrap(), n.to_string(), qos, false);
        self.send(world, &Packet::Publish(Publish { dup, ..Publish::new(&message, packet_id) }));
    }

    /// Acts on everything that came.
    fn read(&mut self, world: &mut World) {
        loop {
            let packets = world.clients[self.at].packets.replace(Vec::new()).unwrap_or_default();
            if packets.is_empty() {
                return;
            }
            for packet in packets {
                self.packet(world, packet);
            }
            world.settle();
        }
    }

    fn packet(&mut self, world: &mut World, packet: Packet) {
        match packet {
            Packet::ConnAck(ack) if ack.reason == Reason::SUCCESS => {
                assert!(ack.session_present || !self.had_session, "the session of {} is lost", self.id);
                self.had_session = true;
                self.is_in = true;
                self.outbound.connected(u16::MAX);
                self.resend(world);
            }
            Packet::PubAck(ack) => {
                if ack.reason.is_failure() {
                    self.refused.extend(self.outbound.iter().find(|(id, _)| *id == ack.packet_id).map(|(_, m)| m.0));
                }
                self.outbound.acknowledge(ack.packet_id);
                self.resend(world);
            }
            Packet::PubRec(ack) if ack.reason.is_failure() => {
                self.refused.extend(self.outbound.iter().find(|(id, _)| *id == ack.packet_id).map(|(_, m)| m.0));
                self.outbound.refused(ack.packet_id);
                self.resend(world);
            }
            Packet::PubRec(ack) => {
                let is_new = matches!(self.outbound.receipt(ack.packet_id), Receipt::Record(_));
                if is_new {
                    self.outbound.recorded(ack.packet_id);
                }
                self.send(world, &Packet::PubRel(Ack::success(ack.packet_id)));
            }
            Packet::PubComp(ack) => {
                self.outbound.complete(ack.packet_id);
                self.resend(world);
            }
            Packet::Publish(publish) => self.take(world, publish),
            Packet::PubRel(ack) => {
                self.inbound.pubrel(ack.packet_id);
                self.inbound.complete(ack.packet_id);
                self.send(world, &Packet::PubComp(Ack::success(ack.packet_id)));
            }
            _ => {}
        }
    }

    fn resend(&mut self, world: &mut World) {
        while let Some(resend) = self.outbound.next_resend() {
            match resend {
                Resend::Publish(id, &message) => self.send_message(world, id, message, true),
                Resend::PubRel(id) => self.send(world, &Packet::PubRel(Ack::success(id))),
            }
        }
    }

    fn take(&mut self, world: &mut World, publish: Publish) {
        let n: u32 = String::from_utf8_lossy(&publish.payload).parse().unwrap();
        if publish.qos == QoS::AtLeastOnce {
            self.received.push((n, publish.qos));
            return self.send(world, &Packet::PubAck(Ack::success(publish.packet_id)));
        }
        if let Arrival::New(received) = self.inbound.receive_once(publish.packet_id) {
            self.received.push((n, publish.qos));
            self.inbound.release(received, Reason::SUCCESS);
        }
        while let Some(answer) = self.inbound.next_answer() {
            self.send(world, &Packet::PubRec(Ack::success(answer.packet_id)));
        }
    }
}

fn play(steps: Vec<Step>) -> (Peer, Peer) {
    let limits = Limits { in_flight_out: 4, queue_messages: 6, ..Limits::default() };
    let mut world = World::new(limits, 3);
    let (mut publisher, mut subscriber) = (Peer::new("publisher", PUBLISHER), Peer::new("subscriber", SUBSCRIBER));
    publisher.connect(&mut world, true, 10);
    subscriber.connect(&mut world, true, 10);
    let filter = (Filter::new("t").unwrap(), SubscribeOptions::new(QoS::ExactlyOnce));
    let subscribe = Subscribe { packet_id: 1_000, subscription_id: None, filters: vec![filter], user: Vec::new() };
    world.report(false);
    world.settle();
    subscriber.send(&mut world, &Packet::Subscribe(subscribe));
    world.settle();
    world.report(false);
    world.settle();
    for peer in [&mut publisher, &mut subscriber] {
        peer.read(&mut world);
        assert!(peer.is_in);
    }
    for step in steps {
        match step {
            Step::Publish(qos) => publisher.publish(&mut world, qos),
            Step::Commit => world.report(false),
            Step::Refuse => world.report(true),
            Step::Read(true) => [&mut publisher, &mut subscriber].into_iter().for_each(|peer| peer.read(&mut world)),
            Step::Read(false) => subscriber.read(&mut world),
            Step::CutPublisher => publisher.cut(&mut world),
            Step::CutSubscriber => subscriber.cut(&mut world),
            Step::TakeOver => {
                // From the other place, while the broker still has the connection from here.
                subscriber.at = if subscriber.at == SUBSCRIBER { ELSEWHERE } else { SUBSCRIBER };
                subscriber.connect(&mut world, true, 5);
            }
            Step::ConnectPublisher(v5) => publisher.connect(&mut world, v5, 10),
            Step::ConnectSubscriber(v5, most) => subscriber.connect(&mut world, v5, most),
            Step::Crash => {
                world.restart();
                (publisher.is_in, subscriber.is_in) = (false, false);
            }
        }
        world.settle();
    }
    // At the end the disk is well, and everybody stays.
    publisher.connect(&mut world, true, 10);
    subscriber.connect(&mut world, true, 10);
    for _ in 0..400 {
        world.now = world.now + std::time::Duration::from_millis(100);
        world.settle();
        world.report(false);
        world.settle();
        publisher.read(&mut world);
        subscriber.read(&mut world);
        if !publisher.is_in {
            publisher.connect(&mut world, true, 10);
        }
    }
    assert!(publisher.outbound.is_empty(), "something was never acknowledged");
    (publisher, subscriber)
}

/// The order in which they came first.
fn firsts(received: &[(u32, QoS)]) -> Vec<u32> {
    let mut seen = BTreeSet::new();
    received.iter().map(|(n, _)| *n).filter(|n| seen.insert(*n)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn everything_arrives_in_order_and_at_qos_2_once(steps in steps(false)) {
        let (publisher, subscriber) = play(steps);
        let first = firsts(&subscriber.received);
        prop_assert!(first.iter().copied().eq(0..publisher.next), "{:?} of {}", first, publisher.next);
        let once: Vec<u32> =
            subscriber.received.iter().filter(|(_, qos)| *qos == QoS::ExactlyOnce).map(|(n, _)| *n).collect();
        prop_assert!(once.is_sorted_by(|a, b| a < b), "{:?}", once);
    }

    #[test]
    fn while_the_store_refuses_nothing_is_acknowledged_that_does_not_arrive(steps in steps(true)) {
        let (publisher, subscriber) = play(steps);
        let first = firsts(&subscriber.received);
        for n in (0..publisher.next).filter(|n| !publisher.refused.contains(n)) {
            prop_assert!(first.contains(&n), "{} is lost", n);
        }
        let once: Vec<u32> =
            subscriber.received.iter().filter(|(_, qos)| *qos == QoS::ExactlyOnce).map(|(n, _)| *n).collect();
        // A refusal that was lost with its connection is answered by another try, after what came between.
        prop_assert!(once.iter().collect::<BTreeSet<_>>().len() == once.len(), "{:?}", once);
        prop_assert!(once.iter().all(|n| !publisher.refused.contains(n)), "refused, and delivered all the same");
    }
}
