use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::model::{Message, Priority, Properties, QoS, Topic};
use crate::mqtt::{Connect, Packet, Publish, Version};

const EPOCH: u32 = 77;

fn envelope(version: Version) -> Envelope {
    Envelope::new(version, "plant-7", EPOCH)
}

fn row(n: u64) -> Entry {
    let topic = Topic::new("t").expect("a topic");
    Entry::Whole(Row { n, queued: None, message: Message::new(topic, n.to_string(), QoS::AtLeastOnce, false) })
}

/// The cloud's end of a connection: decodes what the delivery wrote.
struct Cloud {
    client: Codec,
    server: Codec,
    wire: BytesMut,
}

impl Cloud {
    fn new(version: Version) -> Cloud {
        let mut client = Codec::client(version, 1 << 20);
        let mut server = Codec::server(1 << 20);
        let mut hello = BytesMut::new();
        let connect = Packet::Connect(Box::new(Connect::new(version, "c")));
        client.encode(&connect, &mut hello).expect("a CONNECT");
        assert!(matches!(server.decode(&mut hello), Ok(Some(Packet::Connect(_)))));
        Cloud { client, server, wire: BytesMut::new() }
    }

    fn take(&mut self, delivery: &mut Delivery) {
        delivery.send(&self.client, None, usize::MAX, usize::MAX, &mut self.wire);
    }

    /// The next packet that the cloud reads off the wire.
    fn read(&mut self) -> Option<Publish> {
        match self.server.decode(&mut self.wire).expect("well-formed") {
            Some(Packet::Publish(publish)) => Some(publish),
            Some(other) => panic!("not a PUBLISH: {other:?}"),
            None => None,
        }
    }

    fn all(&mut self, delivery: &mut Delivery) -> Vec<Publish> {
        self.take(delivery);
        std::iter::from_fn(|| self.read()).collect()
    }
}

fn number(publish: &Publish) -> u64 {
    std::str::from_utf8(&publish.payload).expect("digits").parse().expect("a number")
}

fn peer(session_present: bool) -> Peer {
    Peer { session_present, receive_maximum: 100 }
}

fn ack(n: u64, reason: Reason) -> Ack {
    Ack { packet_id: packet_id(Priority::Normal, n), reason }
}

#[test]
fn a_row_carries_gateway_epoch_and_number_beside_its_own_properties() {
    let mut cloud = Cloud::new(Version::V5);
    let mut delivery = Delivery::new(Priority::Normal, 10, 0, 0, envelope(Version::V5));
    delivery.connected(peer(false));
    let Entry::Whole(mut own) = row(2) else { unreachable!("it is whole") };
    let user = vec![("k".to_owned(), "v".to_owned())];
    own.message.properties = Some(Box::new(Properties { user, ..Properties::default() }));
    delivery.offer(vec![row(1), Entry::Whole(own)]);
    let sent = cloud.all(&mut delivery);
    let user = |i: usize| sent[i].properties.as_ref().map(|p| p.user.clone()).expect("properties");
    let mark = |n: &str| [("gateway", "plant-7"), ("epoch", "77"), ("n", n)].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(user(0), mark("1"));
    assert_eq!(user(1)[0], ("k".to_owned(), "v".to_owned()));
    assert_eq!(user(1)[1..], mark("2"));
}

#[test]
fn an_expiry_is_shortened_by_the_time_in_the_queue() {
    let mut cloud = Cloud::new(Version::V5);
    let mut delivery = Delivery::new(Priority::Normal, 10, 0, 0, envelope(Version::V5));
    delivery.connected(peer(false));
    let expiring = |n: u64, queued: Option<i64>| {
        let Entry::Whole(mut row) = row(n) else { unreachable!("it is whole") };
        row.queued = queued.map(Timestamp);
        row.message.properties = Some(Box::new(Properties { message_expiry_s: Some(60), ..Properties::default() }));
        Entry::Whole(row)
    };
    delivery.offer(vec![
        expiring(1, Some(0)),
        expiring(2, Some(20_000)),
        expiring(3, None),
        expiring(4, Some(900_000)),
    ]);
    delivery.send(&cloud.client, Some(Timestamp(80_000)), usize::MAX, usize::MAX, &mut cloud.wire);
    let left: Vec<_> =
        std::iter::from_fn(|| cloud.read()).map(|p| p.properties.and_then(|p| p.message_expiry_s)).collect();
    assert_eq!(left, [Some(1), Some(1), Some(60), Some(60)]);
}

#[test]
fn rows_are_settled_up_to_the_oldest_that_is_outstanding() {
    let mut cloud = Cloud::new(Version::V5);
    let mut delivery = Delivery::new(Priority::Normal, 10, 0, 0, envelope(Version::V5));
    delivery.connected(peer(false));
    delivery.offer((1..=4).map(row).collect());
    cloud.take(&mut delivery);
    assert!(delivery.acknowledge(ack(3, Reason::SUCCESS)));
    assert_eq!(delivery.done(), 0);
    assert!(delivery.acknowledge(ack(1, Reason::NO_MATCHING_SUBSCRIBERS)));
    assert_eq!(delivery.done(), 1);
    assert!(delivery.acknowledge(ack(2, Reason::SUCCESS)));
    assert_eq!(delivery.done(), 3);
    assert!(!delivery.acknowledge(ack(2, Reason::SUCCESS)), "a repetition settles nothing");
    assert!(!delivery.acknowledge(ack(9, Reason::SUCCESS)), "nor does what was never sent");
    assert!(delivery.acknowledge(ack(4, Reason::SUCCESS)));
    assert_eq!(delivery.done(), 4);
    assert!(!delivery.awaits_ack());
}

#[test]
fn after_a_crash_dup_says_what_may_have_been_sent_and_only_to_a_cloud_that_has_the_session() {
    for session_present in [true, false] {
        let mut cloud = Cloud::new(Version::V311);
        // Rows 6 to 8 were there before the start, 9 came after it.
        let mut delivery = Delivery::new(Priority::Normal, 10, 5, 8, envelope(Version::V311));
        delivery.connected(peer(session_present));
        delivery.offer((6..=9).map(row).collect());
        let sent: Vec<_> = cloud.all(&mut delivery).iter().map(|p| (number(p), p.dup)).collect();
        assert_eq!(sent, [(6, session_present), (7, session_present), (8, session_present), (9, false)]);
    }
}

#[test]
fn a_refusal_for_good_puts_the_message_aside_and_the_next_is_not_held_up() {
    let mut cloud = Cloud::new(Version::V5);
    let mut delivery = Delivery::new(Priority::Normal, 10, 0, 0, envelope(Version::V5));
    delivery.connected(peer(false));
    delivery.offer((1..=2).map(row).collect());
    cloud.take(&mut delivery);
    assert!(delivery.acknowledge(ack(1, Reason::NOT_AUTHORIZED)));
    assert!(
        matches!(delivery.poll_event(), Some(Event::SetAside { n: 1, reason }) if reason.contains("not authorized"))
    );
    assert_eq!(delivery.done(), 1);
}

#[test]
fn a_refusal_that_passes_keeps_the_message_and_its_turn() {
    let mut cloud = Cloud::new(Version::V5);
    let mut delivery = Delivery::new(Priority::Normal, 10, 0, 0, envelope(Version::V5));
    delivery.connected(peer(false));
    delivery.offer((1..=2).map(row).collect());
    cloud.take(&mut delivery);
    for _ in 0..20 {
        assert!(!delivery.acknowledge(ack(1, Reason::QUOTA_EXCEEDED)));
        assert_eq!(delivery.poll_event(), Some(Event::ComeBackLater(Reason::QUOTA_EXCEEDED)));
        delivery.disconnected();
        delivery.connected(peer(true));
        cloud = Cloud::new(Version::V5);
        assert_eq!(cloud.all(&mut delivery).iter().map(number).collect::<Vec<_>>(), [1, 2]);
    }
    assert_eq!(delivery.done(), 0);
}

#[test]
fn a_refusal_without_a_clear_reason_is_tried_again_a_few_times_and_no_more() {
    let mut cloud = Cloud::new(Version::V5);
    let mut delivery = Delivery::new(Priority::Normal, 10, 0, 0, envelope(Version::V5));
    delivery.connected(peer(false));
    delivery.offer(vec![row(1)]);
    cloud.take(&mut delivery);
    for _ in 1..TRIES {
        assert!(!delivery.acknowledge(ack(1, Reason::UNSPECIFIED)));
        assert!(matches!(delivery.poll_event(), Some(Event::ComeBackLater(_))));
        delivery.connected(peer(true));
        cloud.take(&mut delivery);
    }
    assert!(delivery.acknowledge(ack(1, Reason::UNSPECIFIED)));
    assert!(matches!(delivery.poll_event(), Some(Event::SetAside { n: 1, .. })));
    assert_eq!(delivery.done(), 1);
}

#[test]
fn what_is_too_large_or_damaged_is_put_aside_and_never_sent() {
    let mut cloud = Cloud::new(Version::V5);
    cloud.client.set_peer_limit(100);
    let mut delivery = Delivery::new(Priority::Normal, 10, 0, 0, envelope(Version::V5));
    delivery.connected(peer(false));
    let Entry::Whole(mut large) = row(2) else { unreachable!("it is whole") };
    large.message.payload = vec![b'1'; 200].into();
    delivery.offer(vec![row(1), Entry::Whole(large), Entry::Damaged { n: 3, why: "its checksum".into() }, row(4)]);
    assert_eq!(cloud.all(&mut delivery).iter().map(number).collect::<Vec<_>>(), [1, 4]);
    assert!(matches!(delivery.poll_event(), Some(Event::SetAside { n: 2, reason }) if reason.contains("at most 100")));
    assert!(matches!(delivery.poll_event(), Some(Event::SetAside { n: 3, .. })));
    delivery.acknowledge(ack(1, Reason::SUCCESS));
    assert_eq!(delivery.done(), 3);
}

#[test]
fn a_cloud_that_takes_less_after_a_reconnect_is_not_sent_what_it_can_not_take() {
    let mut cloud = Cloud::new(Version::V5);
    let mut delivery = Delivery::new(Priority::Normal, 10, 0, 0, envelope(Version::V5));
    delivery.connected(peer(false));
    delivery.offer((1..=2).map(row).collect());
    cloud.take(&mut delivery);
    delivery.disconnected();
    delivery.connected(peer(true));
    cloud = Cloud::new(Version::V5);
    cloud.client.set_peer_limit(10);
    assert!(cloud.all(&mut delivery).is_empty());
    assert_eq!(delivery.done(), 2);
}

#[test]
fn a_row_waits_while_its_packet_id_belongs_to_another() {
    let mut cloud = Cloud::new(Version::V311);
    let mut delivery = Delivery::new(Priority::Normal, 10, 0, 0, envelope(Version::V311));
    delivery.connected(peer(false));
    // The policy dropped all that was between them.
    delivery.offer(vec![row(1), row(1 + u64::from(NORMAL_IDS)), row(2 + u64::from(NORMAL_IDS))]);
    assert_eq!(cloud.all(&mut delivery).len(), 1);
    delivery.acknowledge(ack(1, Reason::SUCCESS));
    assert_eq!(cloud.all(&mut delivery).len(), 2);
}

#[derive(Debug, Clone)]
enum Step {
    Offer(u8),
    Send,
    /// The cloud reads so many packets.
    Receive(u8),
    /// The cloud acknowledges one of those that it has received on this connection, and the answer arrives.
    Acknowledge(prop::sample::Index),
    AcknowledgeNonsense(u16),
    Reconnect {
        session_present: bool,
        receive_maximum: u16,
    },
    /// The process ends; so many of the settled rows were not recorded as done.
    Crash {
        unrecorded: u8,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1u8..12).prop_map(Step::Offer),
        5 => Just(Step::Send),
        5 => (0u8..8).prop_map(Step::Receive),
        6 => any::<prop::sample::Index>().prop_map(Step::Acknowledge),
        1 => any::<u16>().prop_map(Step::AcknowledgeNonsense),
        2 => (any::<bool>(), 1u16..12).prop_map(|(session_present, receive_maximum)| Step::Reconnect { session_present, receive_maximum }),
        1 => (0u8..20).prop_map(|unrecorded| Step::Crash { unrecorded }),
    ];
    prop::collection::vec(step, 0..200)
}

/// A whole world: queue, uplink, wire and cloud, with everything that may go wrong between them.
struct World {
    version: Version,
    window: u16,
    delivery: Delivery,
    /// Rows up to here were offered since the start of the process.
    offered: u64,
    /// Rows that exist.
    last: u64,
    /// Rows up to here were deleted.
    recorded: u64,
    cloud: Cloud,
    allowed: usize,
    /// Received on this connection and not acknowledged.
    received: Vec<u64>,
    /// On this connection, the last row that came; rows come in order.
    last_received: u64,
    /// The cloud's whole log of new rows.
    log: VecDeque<u64>,
    ever_sent: u64,
    session_present: bool,
}

impl World {
    fn new(version: Version, window: u16) -> World {
        let mut world = World {
            version,
            window,
            delivery: Delivery::new(Priority::Normal, window, 0, 0, envelope(version)),
            offered: 0,
            last: 0,
            recorded: 0,
            cloud: Cloud::new(version),
            allowed: 0,
            received: Vec::new(),
            last_received: 0,
            log: VecDeque::new(),
            ever_sent: 0,
            session_present: false,
        };
        world.reconnect(false, 5);
        world
    }

    fn reconnect(&mut self, session_present: bool, receive_maximum: u16) {
        // Whatever was on the wire is lost, in both directions.
        let back_to = self.delivery.disconnected();
        self.offered = back_to;
        self.cloud = Cloud::new(self.version);
        self.received.clear();
        self.last_received = 0;
        self.session_present = session_present;
        self.allowed = usize::from(self.window.min(receive_maximum));
        self.delivery.connected(Peer { session_present, receive_maximum });
    }

    fn receive(&mut self) -> bool {
        let Some(publish) = self.cloud.read() else { return false };
        let n = number(&publish);
        assert_eq!(publish.packet_id, packet_id(Priority::Normal, n));
        assert!(n > self.last_received, "rows come in order on a connection: {n} after {}", self.last_received);
        assert!(!publish.dup || self.session_present, "DUP means nothing to a new session");
        if !publish.dup && self.session_present {
            assert!(n > self.ever_sent || self.ever_sent == 0, "row {n} was sent before and is no repetition");
        }
        self.last_received = n;
        self.ever_sent = self.ever_sent.max(n);
        self.received.push(n);
        assert!(self.received.len() <= self.allowed, "the window holds");
        let newest = self.log.back().copied().unwrap_or(0);
        if n > newest {
            assert_eq!(n, newest + 1, "nothing is left out");
            self.log.push_back(n);
        }
        true
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Offer(rows) => {
                let until = self.offered + u64::from(rows);
                self.delivery.offer((self.offered + 1..=until).map(row).collect());
                self.offered = until;
                self.last = self.last.max(until);
            }
            Step::Send => self.cloud.take(&mut self.delivery),
            Step::Receive(packets) => {
                for _ in 0..packets {
                    self.receive();
                }
            }
            Step::Acknowledge(ref which) => {
                if !self.received.is_empty() {
                    let n = self.received.remove(which.index(self.received.len()));
                    assert!(self.delivery.acknowledge(ack(n, Reason::SUCCESS)), "row {n} was outstanding");
                }
            }
            Step::AcknowledgeNonsense(packet_id) => {
                let outstanding = self.received.iter().any(|n| super::packet_id(Priority::Normal, *n) == packet_id);
                let on_wire = self.last + 1 >= u64::from(packet_id);
                if !outstanding && !on_wire {
                    assert!(!self.delivery.acknowledge(Ack::success(packet_id)));
                }
            }
            Step::Reconnect { session_present, receive_maximum } => self.reconnect(session_present, receive_maximum),
            Step::Crash { unrecorded } => {
                self.recorded = self.recorded.max(self.delivery.done().saturating_sub(unrecorded.into()));
                self.delivery =
                    Delivery::new(Priority::Normal, self.window, self.recorded, self.last, envelope(self.version));
                self.ever_sent = self.last;
                self.reconnect(true, 5);
            }
        }
        let acknowledged_through = self.delivery.done();
        assert!(acknowledged_through <= self.log.back().copied().unwrap_or(0), "settled means that the cloud has it");
    }
}

proptest! {
    #[test]
    fn every_row_arrives_in_order_and_is_settled_only_when_the_cloud_has_it(
        v5: bool,
        window in 1u16..9,
        steps in steps(),
    ) {
        let mut world = World::new(if v5 { Version::V5 } else { Version::V311 }, window);
        for step in &steps {
            world.step(step);
        }
        // A good day ends it: everything that exists arrives.
        world.reconnect(true, 100);
        while world.offered < world.last {
            let rest = u8::try_from(world.last - world.offered).unwrap_or(u8::MAX);
            world.step(&Step::Offer(rest));
        }
        while world.delivery.done() < world.last {
            world.step(&Step::Send);
            while world.receive() {}
            prop_assert!(!world.received.is_empty(), "it stands still at {}", world.delivery.done());
            for n in std::mem::take(&mut world.received) {
                prop_assert!(world.delivery.acknowledge(ack(n, Reason::SUCCESS)));
            }
        }
        prop_assert!(world.log.into_iter().eq(1..=world.last));
    }
}
