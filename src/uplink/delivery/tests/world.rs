//! A whole world: queue, disk, uplink, wire and cloud, with everything that may go wrong between them.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Offer(u8),
    Send,
    /// The cloud reads so many packets, and answers them when it comes to it.
    Receive(u8),
    /// One of its answers arrives; in this order if `in_order`.
    Answer(prop::sample::Index, bool),
    Nonsense(u16),
    /// What is to be on disk is.
    Commit,
    Reconnect {
        receive_maximum: u16,
        maximum_qos_1: bool,
    },
    /// The cloud forgets the session, as far as it is allowed to.
    Forget,
    /// The process ends: what was not committed is lost.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1u8..12).prop_map(Step::Offer),
        5 => Just(Step::Send),
        6 => (0u8..8).prop_map(Step::Receive),
        9 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(which, in_order)| Step::Answer(which, in_order)),
        1 => any::<u16>().prop_map(Step::Nonsense),
        4 => Just(Step::Commit),
        2 => (1u16..12, prop::bool::weighted(0.1)).prop_map(|(receive_maximum, maximum_qos_1)| Step::Reconnect { receive_maximum, maximum_qos_1 }),
        1 => Just(Step::Forget),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 0..250)
}

/// What happens to the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mix {
    Qos1,
    Qos2,
    Both,
}

fn qos(mix: Mix, n: u64) -> QoS {
    match mix {
        Mix::Qos1 => QoS::AtLeastOnce,
        Mix::Qos2 => QoS::ExactlyOnce,
        Mix::Both if n.is_multiple_of(3) => QoS::AtLeastOnce,
        Mix::Both => QoS::ExactlyOnce,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "the names are those of the specification")]
enum Answer {
    PubAck(u64),
    PubRec(u64),
    PubComp(u64),
}

struct World {
    version: Version,
    mix: Mix,
    window: u16,
    session_lost: SessionLost,
    delivery: Delivery,
    /// Rows up to here were offered since the start of the process.
    offered: u64,
    /// Rows that exist.
    last: u64,
    done_on_disk: u64,
    recorded_on_disk: u64,
    /// What is to be on disk before anything is sent.
    hold: Option<u64>,
    cloud: Cloud,
    allowed: usize,
    /// On this connection: answers of the cloud that have not arrived.
    answers: Vec<Answer>,
    /// Messages of this connection that are not finished.
    in_flight: BTreeSet<u64>,
    last_received: u64,
    /// The cloud's session: QoS 2 messages by packet id that it has and that are not released.
    session: Option<BTreeMap<u16, u64>>,
    /// Everything that the cloud has published, in order, and at which level. At QoS 2 that happens with the PUBREL.
    log: Vec<(u64, QoS)>,
    /// A row at QoS 2 that went out at QoS 1, or whose session was lost, may come twice.
    may_repeat: BTreeSet<u64>,
    may_be_lost: BTreeSet<u64>,
}

impl World {
    fn new(version: Version, mix: Mix, window: u16, session_lost: SessionLost) -> World {
        let mut world = World {
            version,
            mix,
            window,
            session_lost,
            delivery: Delivery::new(Priority::Normal, Start { session_lost, ..start(window, 0, 0) }, envelope(version)),
            offered: 0,
            last: 0,
            done_on_disk: 0,
            recorded_on_disk: 0,
            hold: None,
            cloud: Cloud::new(version),
            allowed: 0,
            answers: Vec::new(),
            in_flight: BTreeSet::new(),
            last_received: 0,
            session: None,
            log: Vec::new(),
            may_repeat: BTreeSet::new(),
            may_be_lost: BTreeSet::new(),
        };
        world.reconnect(5, false);
        world
    }

    fn reconnect(&mut self, receive_maximum: u16, maximum_qos_1: bool) {
        // Whatever was on the wire is lost, in both directions.
        self.offered = self.delivery.disconnected(false);
        self.cloud = Cloud::new(self.version);
        self.answers.clear();
        self.in_flight.clear();
        self.last_received = 0;
        self.allowed = usize::from(self.window.min(receive_maximum));
        let maximum_qos = if maximum_qos_1 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        let session_present = self.session.is_some();
        let back_to = self.delivery.connected(Peer { receive_maximum, maximum_qos, ..peer(session_present) });
        self.hold = back_to.or(self.hold);
        self.session.get_or_insert_default();
    }

    fn commit(&mut self) {
        self.done_on_disk = self.delivery.done();
        match self.hold.take() {
            Some(back_to) => self.recorded_on_disk = back_to,
            None => self.recorded_on_disk = self.recorded_on_disk.max(self.delivery.to_record()),
        }
        self.release();
    }

    /// Sends PUBREL for what is on disk.
    fn release(&mut self) {
        let Cloud { client, wire, .. } = &mut self.cloud;
        self.delivery.recorded(self.recorded_on_disk, |id| {
            client.encode(&Packet::PubRel(Ack::success(id)), wire).expect("it has a form");
        });
    }

    fn send(&mut self) {
        if self.hold.is_none() {
            self.release();
            self.cloud.take(&mut self.delivery);
        }
    }

    /// The cloud reads a packet.
    fn receive(&mut self) -> bool {
        let Some(packet) = self.cloud.server.decode(&mut self.cloud.wire).expect("well-formed") else { return false };
        let session = self.session.as_mut().expect("connected");
        match packet {
            Packet::Publish(publish) => {
                let n = number(&publish);
                assert_eq!(publish.packet_id, packet_id(Priority::Normal, n));
                assert!(n > self.last_received, "rows come in order on a connection: {n} after {}", self.last_received);
                self.last_received = n;
                self.in_flight.insert(n);
                if publish.qos == QoS::ExactlyOnce {
                    let known = session.insert(publish.packet_id, n);
                    assert!(known.is_none_or(|known| known == n), "id of {n} belongs to {known:?}");
                    assert!(known.is_none() || publish.dup, "{n} is a repetition and does not say so");
                    self.answers.push(Answer::PubRec(n));
                } else {
                    self.may_repeat.insert(n);
                    self.log.push((n, QoS::AtLeastOnce));
                    self.answers.push(Answer::PubAck(n));
                }
            }
            Packet::PubRel(ack) => {
                // Of a message that it has, or that it has released before.
                if let Some(n) = session.remove(&ack.packet_id) {
                    self.log.push((n, QoS::ExactlyOnce));
                }
                let n =
                    (1..=self.last).rev().find(|n| packet_id(Priority::Normal, *n) == ack.packet_id).expect("a row");
                assert!(n <= self.recorded_on_disk, "{n} is released before that is on disk");
                self.in_flight.insert(n);
                self.answers.push(Answer::PubComp(n));
            }
            other => panic!("neither PUBLISH nor PUBREL: {other:?}"),
        }
        assert!(self.in_flight.len() <= self.allowed, "the window holds: {:?}", self.in_flight);
        true
    }

    fn answer(&mut self, answer: Answer) {
        match answer {
            Answer::PubAck(n) => {
                self.in_flight.remove(&n);
                self.delivery.acknowledge(ack(n, Reason::SUCCESS));
            }
            Answer::PubRec(n) => {
                if let Progress::Release(ack) = self.delivery.receipt(ack(n, Reason::SUCCESS)) {
                    let Cloud { client, wire, .. } = &mut self.cloud;
                    client.encode(&Packet::PubRel(Ack::success(ack.packet_id)), wire).expect("it has a form");
                }
            }
            Answer::PubComp(n) => {
                self.in_flight.remove(&n);
                self.delivery.complete(ack(n, Reason::SUCCESS));
            }
        }
    }

    fn forget(&mut self) {
        // A session goes while nobody is connected, and not between its CONNACK and the commit that knows of it.
        if self.hold.is_some() {
            return;
        }
        let lost = self.session.take().unwrap_or_default();
        match self.session_lost {
            // Released and published, with the PUBCOMP under way.
            SessionLost::Resend => self.may_repeat.extend(self.done_on_disk + 1..=self.last),
            SessionLost::AssumeDelivered => {
                self.may_be_lost.extend(lost.into_values());
                self.may_repeat.extend(self.recorded_on_disk + 1..=self.last);
            }
        }
        self.reconnect(5, false);
        // The commit that knows of it.
        if self.hold.is_some() {
            self.commit();
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Offer(rows) => {
                let until = self.offered + u64::from(rows);
                let mix = self.mix;
                self.delivery.offer((self.offered + 1..=until).map(|n| row_at(n, qos(mix, n))).collect());
                self.offered = until;
                self.last = self.last.max(until);
            }
            Step::Send => self.send(),
            Step::Receive(packets) => {
                for _ in 0..packets {
                    self.receive();
                }
            }
            Step::Answer(ref which, in_order) => {
                if !self.answers.is_empty() {
                    let at = if in_order { 0 } else { which.index(self.answers.len()) };
                    let answer = self.answers.remove(at);
                    self.answer(answer);
                }
            }
            Step::Nonsense(id) => {
                let of_a_row = |n: u64| packet_id(Priority::Normal, n) == id;
                if id > 0 && !(1..=self.last).any(of_a_row) {
                    assert_eq!(self.delivery.acknowledge(Ack::success(id)), Progress::Nothing);
                    assert_eq!(self.delivery.complete(Ack::success(id)), Progress::Nothing);
                }
            }
            Step::Commit => self.commit(),
            Step::Reconnect { receive_maximum, maximum_qos_1 } => self.reconnect(receive_maximum, maximum_qos_1),
            Step::Forget => self.forget(),
            Step::Crash => {
                let (done, recorded, last) = (self.done_on_disk, self.recorded_on_disk, self.last);
                let known = Start { recorded, session_lost: self.session_lost, ..start(self.window, done, last) };
                self.delivery = Delivery::new(Priority::Normal, known, envelope(self.version));
                self.hold = None;
                self.reconnect(5, false);
            }
        }
        let (done, log) = (self.delivery.done(), self.log.iter().map(|(n, _)| *n).collect::<BTreeSet<u64>>());
        let missing = (1..=done).find(|n| !log.contains(n) && !self.may_be_lost.contains(n));
        assert_eq!(missing, None, "settled up to {done} means that the cloud has it");
    }

    /// A good day ends it: everything that exists arrives.
    fn finish(&mut self) {
        self.reconnect(100, false);
        self.commit();
        while self.delivery.done() < self.last {
            if self.offered < self.last {
                let rest = u8::try_from(self.last - self.offered).unwrap_or(u8::MAX);
                self.step(&Step::Offer(rest));
            }
            let before = (self.delivery.done(), self.delivery.to_record());
            self.send();
            while self.receive() {}
            for answer in std::mem::take(&mut self.answers) {
                self.answer(answer);
            }
            self.commit();
            while self.receive() {}
            for answer in std::mem::take(&mut self.answers) {
                self.answer(answer);
            }
            assert_ne!(before, (self.delivery.done(), self.delivery.to_record()), "it stands still");
        }
        let mut seen = BTreeSet::new();
        for (n, _) in &self.log {
            assert!(seen.insert(*n) || self.may_repeat.contains(n), "{n} was published twice: {:?}", self.log);
        }
        // Two levels have no order between them: one is published with its PUBLISH, the other with its PUBREL. So a row that came at both is left out.
        let lowered: BTreeSet<u64> =
            self.log.iter().filter(|(n, at)| *at < qos(self.mix, *n)).map(|(n, _)| *n).collect();
        for level in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut seen = BTreeSet::new();
            let first = self.log.iter().filter(|(n, at)| *at == level && !lowered.contains(n) && seen.insert(*n));
            assert!(first.is_sorted(), "the order is kept: {:?}", self.log);
        }
        for n in 1..=self.last {
            assert!(seen.contains(&n) || self.may_be_lost.contains(&n), "{n} is lost");
        }
    }
}

proptest! {
    #[test]
    fn every_row_is_published_in_order_and_at_qos_2_once_while_the_cloud_keeps_its_session(
        v5: bool,
        mix in prop::sample::select(&[Mix::Qos1, Mix::Qos2, Mix::Both][..]),
        window in 1u16..9,
        assume: bool,
        steps in steps(),
    ) {
        let session_lost = if assume { SessionLost::AssumeDelivered } else { SessionLost::Resend };
        let mut world = World::new(if v5 { Version::V5 } else { Version::V311 }, mix, window, session_lost);
        for step in &steps {
            world.step(step);
        }
        world.finish();
    }
}
