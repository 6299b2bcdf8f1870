//! What comes down: subscriptions, and messages that are answered when whoever takes them says so.

use std::collections::BTreeSet;

use fieldway::model::Filter;
use fieldway::mqtt::{Ack, ConnAck, Packet, Publish, Reason, SubAck, Subscribe};
use fieldway::uplink::{Accepted, Outcome, Settled, Subscription};

use super::*;
use crate::support::cloud::{Cloud, Peer};
use crate::support::mosquitto::Mosquitto;

const QUIET: Duration = Duration::from_millis(200);

fn wants(filter: &str) -> Vec<Subscription> {
    vec![Subscription { filter: Filter::new(filter).expect("a filter"), qos: QoS::ExactlyOnce, no_local: true }]
}

/// An uplink, and the test as the one that takes what comes down.
struct South {
    north: North,
    accepted: mpsc::Receiver<Accepted>,
    outcomes: mpsc::Sender<Settled>,
}

impl South {
    async fn start(data: &Path, settings: Settings, wanted: Vec<Subscription>) -> South {
        let mut ends = None;
        let north = North::accepting(data, settings, |reception| {
            let (accept, accepted, outcomes) = Accept::new(reception, wanted);
            ends = Some((accepted, outcomes));
            accept
        });
        let north = north.await;
        let (accepted, outcomes) = ends.expect("it was asked for");
        South { north, accepted, outcomes }
    }

    async fn next(&mut self) -> Accepted {
        timeout(PATIENCE, self.accepted.recv()).await.expect("a message comes").expect("the uplink runs")
    }

    async fn settle(&self, accepted: &Accepted, outcome: Outcome) {
        self.outcomes.send(Settled { ticket: accepted.ticket, outcome }).await.expect("the uplink runs");
    }

    /// What the hub does: keeps that the message came with all that it causes.
    async fn keep(&mut self, accepted: &Accepted) {
        let intake = accepted.once.expect("it came at QoS 2");
        self.north.keep_work(Work::Together(vec![Work::Received(intake)])).await;
    }

    fn text(accepted: &Accepted) -> &str {
        std::str::from_utf8(&accepted.message.payload).expect("text")
    }
}

async fn subscribe(peer: &mut Peer) -> Subscribe {
    match peer.read().await {
        Packet::Subscribe(subscribe) => subscribe,
        other => panic!("a SUBSCRIBE is due, not {other:?}"),
    }
}

async fn grant(peer: &mut Peer) {
    let request = subscribe(peer).await;
    let reasons = request.filters.iter().map(|(_, options)| Reason(options.qos as u8)).collect();
    peer.send(Packet::SubAck(SubAck { packet_id: request.packet_id, reasons })).await;
}

fn down(payload: &str, packet_id: u16, qos: QoS) -> Publish {
    Publish::new(&message("sites/p7/cmd", payload.to_owned(), qos), packet_id)
}

fn welcome(session_present: bool) -> ConnAck {
    ConnAck { session_present, ..ConnAck::new(Reason::SUCCESS) }
}

#[tokio::test]
async fn a_message_is_answered_when_whoever_takes_it_says_that_it_is_safe() {
    let cloud = Cloud::listen().await;
    let data = tempfile::tempdir().expect("a folder");
    let mut south = South::start(data.path(), settings(cloud.address(), Version::V5), wants("sites/p7/cmd/#")).await;
    let (mut peer, connect) = cloud.accept(welcome(false)).await;
    assert!(connect.receive_maximum < 1_000 && connect.topic_alias_maximum > 0);
    let request = subscribe(&mut peer).await;
    assert!((60_003..).contains(&request.packet_id));
    assert!(request.filters[0].1.no_local && request.filters[0].1.retain_as_published);
    peer.send(Packet::SubAck(SubAck { packet_id: request.packet_id, reasons: vec![Reason::GRANTED_QOS_2] })).await;

    // Quality 1 and 2, the second under an alias for the topic of the first.
    let mut first = down("one", 1, QoS::AtLeastOnce);
    first.topic_alias = Some(9);
    peer.send(Packet::Publish(first)).await;
    let mut second = down("two", 2, QoS::ExactlyOnce);
    (second.topic, second.topic_alias) = (None, Some(9));
    peer.send(Packet::Publish(second)).await;
    let (one, two) = (south.next().await, south.next().await);
    assert_eq!((South::text(&one), one.once, &*two.message.topic), ("one", None, "sites/p7/cmd"));
    south.keep(&two).await;
    south.settle(&two, Outcome::Taken).await;
    assert!(peer.is_silent(QUIET).await, "answers keep the order of the messages");
    south.settle(&one, Outcome::Taken).await;
    assert_eq!(peer.read().await, Packet::PubAck(Ack::success(1)));
    assert_eq!(peer.read().await, Packet::PubRec(Ack::success(2)));
    peer.send(Packet::PubRel(Ack::success(2))).await;
    assert_eq!(peer.read().await, Packet::PubComp(Ack::success(2)));
    south.north.until("the count", |status| status.accept.received == 2).await;
    south.north.stop().await;
}

/// mosquitto 2.0.11 sends a backlog in windows that double.
#[tokio::test]
async fn a_cloud_that_sends_more_at_once_than_was_announced_waits_and_is_not_cut() {
    const MESSAGES: u16 = 3_000;
    for version in [Version::V5, Version::V311] {
        let cloud = Cloud::listen().await;
        let data = tempfile::tempdir().expect("a folder");
        let stall_after = Duration::from_millis(500);
        let settings = Settings { stall_after, ..settings(cloud.address(), version) };
        let mut south = South::start(data.path(), settings, wants("sites/p7/cmd/#")).await;
        let (mut peer, connect) = cloud.accept(welcome(false)).await;
        grant(&mut peer).await;
        south.north.keep([message("up", "x", QoS::AtLeastOnce)]).await;
        let row = peer.publish().await;
        for id in 1..=MESSAGES {
            peer.send(Packet::Publish(down("now", id, QoS::AtLeastOnce))).await;
        }
        // It is behind them, and not read in time: that says nothing about the cloud.
        peer.puback(row.packet_id, Reason::SUCCESS).await;
        tokio::time::sleep(2 * stall_after).await;
        // Nobody has answered for the first ones yet: no more are taken than twice what was announced.
        let mut waiting = std::collections::VecDeque::new();
        while let Ok(Some(accepted)) = timeout(QUIET, south.accepted.recv()).await {
            waiting.push_back(accepted);
        }
        let announced = if version == Version::V5 { connect.receive_maximum } else { 128 };
        assert_eq!(waiting.len(), 2 * usize::from(announced));
        for id in 1..=MESSAGES {
            let accepted = match waiting.pop_front() {
                Some(accepted) => accepted,
                None => south.next().await,
            };
            south.settle(&accepted, Outcome::Taken).await;
            assert_eq!(peer.read().await, Packet::PubAck(Ack::success(id)));
        }
        south.north.until_drained().await;
        assert_eq!(south.north.status.borrow().connects, 1);
        south.north.stop().await;
    }
}

/// It waited for room when its connection ended.
#[tokio::test]
async fn a_message_that_nobody_had_room_for_comes_again_and_is_taken_then() {
    let cloud = Cloud::listen().await;
    let data = tempfile::tempdir().expect("a folder");
    let mut south = South::start(data.path(), settings(cloud.address(), Version::V5), wants("#")).await;
    let (mut peer, _) = cloud.accept(welcome(false)).await;
    grant(&mut peer).await;
    for _ in 0..1_000 {
        peer.send(Packet::Publish(down("unasked", 0, QoS::AtMostOnce))).await;
    }
    south.north.until("the brim", |status| status.accept.dropped_qos0 > 0).await;
    peer.send(Packet::Publish(down("precious", 7, QoS::ExactlyOnce))).await;
    assert!(peer.is_silent(QUIET).await);
    drop(peer);
    // Nothing is read now: it is by writing that the uplink learns of it.
    while south.north.status.borrow().state == UplinkState::Online {
        south.north.keep([message("up", "x", QoS::AtLeastOnce)]).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Only now is there room.
    while timeout(QUIET, south.accepted.recv()).await.is_ok_and(|accepted| accepted.is_some()) {}

    let (mut peer, _) = cloud.accept(welcome(true)).await;
    grant(&mut peer).await;
    peer.send(Packet::Publish(Publish { dup: true, ..down("precious", 7, QoS::ExactlyOnce) })).await;
    let accepted = south.next().await;
    assert_eq!(South::text(&accepted), "precious");
    south.keep(&accepted).await;
    south.settle(&accepted, Outcome::Taken).await;
    let answer = loop {
        match peer.read().await {
            Packet::Publish(_) => {}
            other => break other,
        }
    };
    assert_eq!(answer, Packet::PubRec(Ack::success(7)));
    south.north.stop().await;
}

#[tokio::test]
async fn a_message_at_qos_2_is_handed_over_once_though_the_gateway_dies_before_its_release() {
    for version in [Version::V5, Version::V311] {
        let cloud = Cloud::listen().await;
        let data = tempfile::tempdir().expect("a folder");
        let settings = settings(cloud.address(), version);
        let mut south = South::start(data.path(), settings.clone(), wants("#")).await;
        let (mut peer, _) = cloud.accept(welcome(false)).await;
        grant(&mut peer).await;
        peer.send(Packet::Publish(down("once", 7, QoS::ExactlyOnce))).await;
        let accepted = south.next().await;
        south.keep(&accepted).await;
        // It dies with the message safe and its PUBREC unsent.
        south.north.task.abort();
        south.north.store.close().await.expect("it closes");

        let mut south = South::start(data.path(), settings.clone(), wants("#")).await;
        let (mut peer, _) = cloud.accept(welcome(true)).await;
        grant(&mut peer).await;
        peer.send(Packet::Publish(Publish { dup: true, ..down("once", 7, QoS::ExactlyOnce) })).await;
        assert_eq!(peer.read().await, Packet::PubRec(Ack::success(7)));
        peer.send(Packet::PubRel(Ack::success(7))).await;
        assert_eq!(peer.read().await, Packet::PubComp(Ack::success(7)));
        // The release survives as well: the next message with this id is another one.
        south.north.stop().await;
        south = South::start(data.path(), settings, wants("#")).await;
        let (mut peer, _) = cloud.accept(welcome(true)).await;
        grant(&mut peer).await;
        peer.send(Packet::Publish(down("another", 7, QoS::ExactlyOnce))).await;
        assert_eq!(South::text(&south.next().await), "another");
        south.north.stop().await;
    }
}

#[tokio::test]
async fn ids_of_a_session_that_the_cloud_has_lost_are_forgotten() {
    let cloud = Cloud::listen().await;
    let data = tempfile::tempdir().expect("a folder");
    let mut south = South::start(data.path(), settings(cloud.address(), Version::V5), wants("#")).await;
    let (mut peer, _) = cloud.accept(welcome(false)).await;
    grant(&mut peer).await;
    peer.send(Packet::Publish(down("old", 7, QoS::ExactlyOnce))).await;
    let accepted = south.next().await;
    south.keep(&accepted).await;
    south.settle(&accepted, Outcome::Taken).await;
    assert_eq!(peer.read().await, Packet::PubRec(Ack::success(7)));
    drop(peer);
    let (mut peer, _) = cloud.accept(welcome(false)).await;
    grant(&mut peer).await;
    peer.send(Packet::Publish(down("new", 7, QoS::ExactlyOnce))).await;
    assert_eq!(South::text(&south.next().await), "new");
    south.north.stop().await;
}

#[tokio::test]
async fn what_can_not_be_kept_now_is_not_answered_and_comes_again() {
    let cloud = Cloud::listen().await;
    let data = tempfile::tempdir().expect("a folder");
    let mut south = South::start(data.path(), settings(cloud.address(), Version::V5), wants("#")).await;
    let (mut peer, _) = cloud.accept(welcome(false)).await;
    grant(&mut peer).await;
    peer.send(Packet::Publish(down("now", 1, QoS::AtLeastOnce))).await;
    let accepted = south.next().await;
    south.settle(&accepted, Outcome::Later).await;
    assert!(peer.try_read().await.is_none(), "the connection ends without an answer");
    let (mut peer, _) = cloud.accept(welcome(true)).await;
    grant(&mut peer).await;
    peer.send(Packet::Publish(Publish { dup: true, ..down("now", 1, QoS::AtLeastOnce) })).await;
    let accepted = south.next().await;
    south.settle(&accepted, Outcome::Refused).await;
    let refused = Ack { packet_id: 1, reason: Reason::IMPLEMENTATION_SPECIFIC };
    assert_eq!(peer.read().await, Packet::PubAck(refused));
    south.north.stop().await;
}

#[tokio::test]
async fn a_refused_subscription_is_told_with_its_filter_and_an_old_one_is_taken_back() {
    let cloud = Cloud::listen().await;
    let data = tempfile::tempdir().expect("a folder");
    let settings = settings(cloud.address(), Version::V5);
    let mut south = South::start(data.path(), settings.clone(), wants("old/#")).await;
    let (mut peer, _) = cloud.accept(welcome(false)).await;
    let request = subscribe(&mut peer).await;
    peer.send(Packet::SubAck(SubAck { packet_id: request.packet_id, reasons: vec![Reason::NOT_AUTHORIZED] })).await;
    let status = south.north.until("the refusal", |status| !status.accept.refused.is_empty()).await;
    let told = &status.accept.refused[0];
    assert!(told.starts_with("old/#: ") && told.contains("not authorized"), "{told}");
    assert_eq!(status.state, UplinkState::Online, "everything else goes on");
    south.north.stop().await;

    let south = South::start(data.path(), settings, wants("new/#")).await;
    let (mut peer, _) = cloud.accept(welcome(true)).await;
    let Packet::Unsubscribe(request) = peer.read().await else { panic!("what left the configuration goes first") };
    assert_eq!(request.filters, [Filter::new("old/#").expect("a filter")]);
    let reasons = vec![Reason::SUCCESS];
    peer.send(Packet::UnsubAck(SubAck { packet_id: request.packet_id, reasons })).await;
    grant(&mut peer).await;
    south.north.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_broker_sends_each_message_once_and_not_what_went_up() {
    let cloud = Mosquitto::start();
    for version in [Version::V5, Version::V311] {
        let data = tempfile::tempdir().expect("a folder");
        let mut south = South::start(data.path(), settings(cloud.address(), version), wants("down/#")).await;
        south.north.until("a connection", |status| status.state == UplinkState::Online).await;
        let port = cloud.port().to_string();
        let publish = |n: u32| {
            let args = ["-h", "127.0.0.1", "-p", &port, "-q", "2", "-t", "down/x", "-m", &n.to_string()];
            assert!(std::process::Command::new("mosquitto_pub").args(args).status().expect("it runs").success());
        };
        let mut seen = BTreeSet::new();
        // The first ones may be sent before the subscription is there.
        for n in 0..1_000 {
            tokio::task::block_in_place(|| publish(n));
            if let Ok(Some(accepted)) = timeout(QUIET, south.accepted.recv()).await {
                south.keep(&accepted).await;
                south.settle(&accepted, Outcome::Taken).await;
                assert!(seen.insert(South::text(&accepted).to_owned()));
            }
            if seen.len() == 5 {
                break;
            }
        }
        assert_eq!(seen.len(), 5);
        if version == Version::V5 {
            south.north.keep([message("down/own", "mine", QoS::AtLeastOnce)]).await;
            south.north.until("it at the cloud", |status| status.acknowledged == 1).await;
            assert!(timeout(QUIET, south.accepted.recv()).await.is_err(), "no-local");
        }
        south.north.stop().await;
    }
}
