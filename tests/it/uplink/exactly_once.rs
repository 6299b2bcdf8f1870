//! QoS 2: once at the cloud, whatever is cut and whoever dies, as long as the cloud keeps its session; and what happens when it does not.

use fieldway::model::SessionLost;
use fieldway::mqtt::{Ack, ConnAck, Packet, Reason};

use super::*;
use crate::support::cloud::{Cloud, Peer};
use crate::support::cutting_proxy::CuttingProxy;
use crate::support::mosquitto::{Mosquitto, Watcher};
use crate::support::wait::{free_port, wait_for};

fn numbered(range: std::ops::Range<u32>) -> impl Iterator<Item = Message> {
    range.map(|n| message("out/readings", n.to_string(), QoS::ExactlyOnce))
}

fn welcome(session_present: bool) -> ConnAck {
    ConnAck { session_present, ..ConnAck::new(Reason::SUCCESS) }
}

async fn pubrec(peer: &mut Peer, packet_id: u16) {
    peer.send(Packet::PubRec(Ack::success(packet_id))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_arrives_once_and_in_order_when_the_link_cuts_in_mid_packet() {
    for version in [Version::V5, Version::V311] {
        let cloud = Mosquitto::start();
        let watcher = Watcher::start(&cloud, "watcher", "out/#");
        let proxy = CuttingProxy::start(cloud.port());
        // In CONNECT, at once after it, and then in the middle of one packet or another.
        let cuts = [5, 61, 333, 1_001, 2_222, 777, 5_003, 9_999, 4_321, 13_131];
        proxy.cut_after(cuts);
        let data = tempfile::tempdir().expect("a folder");
        let mut north = North::start(data.path(), settings(proxy.address(), version)).await;
        north.keep(numbered(0..3_000)).await;
        let last = || watcher.lines().iter().any(|line| line == "out/readings 2999").then_some(());
        tokio::task::block_in_place(|| wait_for("the last of them", PATIENCE, last));
        north.until_drained().await;
        let expected = (0..3_000).map(|n| format!("out/readings {n}"));
        assert!(watcher.lines().iter().cloned().eq(expected), "each once, in order");
        assert!(proxy.cuts() >= cuts.len() as u64 - 1, "{}", proxy.cuts());
        north.stop().await;
    }
}

#[tokio::test]
async fn after_a_crash_what_the_cloud_had_confirmed_is_released_and_not_published_again() {
    for (session_present, session_lost) in
        [(true, SessionLost::Resend), (false, SessionLost::Resend), (false, SessionLost::AssumeDelivered)]
    {
        let cloud = Cloud::listen().await;
        let data = tempfile::tempdir().expect("a folder");
        let settings = Settings { session_lost, ..settings(cloud.address(), Version::V5) };
        let mut north = North::start(data.path(), settings.clone()).await;
        north.keep(numbered(0..3)).await;
        let (mut peer, _) = cloud.accept(welcome(false)).await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            let publish = peer.publish().await;
            assert_eq!((publish.qos, publish.dup), (QoS::ExactlyOnce, false));
            ids.push(publish.packet_id);
        }
        pubrec(&mut peer, ids[0]).await;
        // It is on disk before PUBREL goes out.
        assert_eq!(peer.read().await, Packet::PubRel(Ack::success(ids[0])));
        north.task.abort();
        north.store.close().await.expect("it closes");

        let mut north = North::start(data.path(), settings).await;
        let (mut peer, _) = cloud.accept(welcome(session_present)).await;
        match (session_present, session_lost) {
            (true, _) => assert_eq!(peer.read().await, Packet::PubRel(Ack::success(ids[0]))),
            (false, SessionLost::Resend) => {
                let publish = peer.publish().await;
                assert_eq!((publish.packet_id, publish.dup), (ids[0], false));
                pubrec(&mut peer, ids[0]).await;
            }
            (false, SessionLost::AssumeDelivered) => {}
        }
        for id in &ids[1..] {
            let publish = peer.publish().await;
            assert_eq!((publish.packet_id, publish.dup), (*id, session_present));
            pubrec(&mut peer, *id).await;
        }
        let released =
            if (session_present, session_lost) == (false, SessionLost::Resend) { &ids[..] } else { &ids[1..] };
        for id in released {
            assert_eq!(peer.read().await, Packet::PubRel(Ack::success(*id)));
        }
        for id in &ids {
            peer.send(Packet::PubComp(Ack::success(*id))).await;
        }
        north.until("an empty queue", |status| status.queue.depth == 0 && status.connects == 1).await;
        north.stop().await;
    }
}

/// Nothing was ever sent in it, so it has nothing to release.
#[tokio::test]
async fn a_session_at_another_server_whose_first_connack_is_lost_is_begun_with_nothing() {
    for version in [Version::V5, Version::V311] {
        let (first, second) = (Cloud::listen().await, Cloud::listen().await);
        let servers = [&first, &second].map(|cloud| ServerConfig::plain("127.0.0.1", cloud.address().port())).to_vec();
        let data = tempfile::tempdir().expect("a folder");
        let settings = Settings { servers, ..settings(first.address(), version) };
        let mut north = North::start(data.path(), settings.clone()).await;
        north.keep(numbered(0..2)).await;
        let (mut peer, _) = first.accept(welcome(false)).await;
        let ids = [peer.publish().await.packet_id, peer.publish().await.packet_id];
        pubrec(&mut peer, ids[0]).await;
        assert_eq!(peer.read().await, Packet::PubRel(Ack::success(ids[0])));
        // The first server is gone for good, and the second has had the CONNECT that begins the session.
        drop((peer, first));
        second.accept_clean().await;
        second.leave_unanswered().await;

        // After a crash it begins clean once more.
        north.task.abort();
        north.store.close().await.expect("it closes");
        let mut north = North::start(data.path(), settings).await;
        second.accept_clean().await;
        second.leave_unanswered().await;

        let (mut peer, connect) = second.accept_one(welcome(true)).await;
        assert!(!connect.clean_start);
        for expected in ["0", "1"] {
            let publish = peer.publish().await;
            assert_eq!((&publish.payload[..], publish.dup), (expected.as_bytes(), false));
            pubrec(&mut peer, publish.packet_id).await;
        }
        for id in ids {
            assert_eq!(peer.read().await, Packet::PubRel(Ack::success(id)));
            peer.send(Packet::PubComp(Ack::success(id))).await;
        }
        north.until_drained().await;
        north.stop().await;
    }
}

/// The disk knew of the first server's session until then, and of what that had confirmed.
#[tokio::test]
async fn a_session_that_was_ended_on_the_way_to_another_server_and_back_does_not_count_after_a_crash() {
    let (first, second) = (Cloud::listen().await, Cloud::listen().await);
    let servers = [&first, &second].map(|cloud| ServerConfig::plain("127.0.0.1", cloud.address().port())).to_vec();
    let data = tempfile::tempdir().expect("a folder");
    let settings = Settings { servers, ..settings(first.address(), Version::V5) };
    let mut north = North::start(data.path(), settings.clone()).await;
    north.keep(numbered(0..1)).await;
    let (mut peer, _) = first.accept(welcome(false)).await;
    let id = peer.publish().await.packet_id;
    pubrec(&mut peer, id).await;
    assert_eq!(peer.read().await, Packet::PubRel(Ack::success(id)));
    drop(peer);
    second.accept_clean().await;
    second.leave_unanswered().await;
    second.leave_unanswered().await;
    first.accept_clean().await;
    first.leave_unanswered().await;
    north.task.abort();
    north.store.close().await.expect("it closes");

    let mut north = North::start(data.path(), settings).await;
    first.accept_clean().await;
    let (mut peer, _) = first.accept_one(welcome(true)).await;
    let publish = peer.publish().await;
    assert_eq!((publish.packet_id, &publish.payload[..]), (id, &b"0"[..]), "no PUBREL for what it never had");
    pubrec(&mut peer, id).await;
    assert_eq!(peer.read().await, Packet::PubRel(Ack::success(id)));
    peer.send(Packet::PubComp(Ack::success(id))).await;
    north.until_drained().await;
    north.stop().await;
}

#[tokio::test]
async fn while_a_pubrec_waits_for_the_disk_the_cloud_is_not_thought_dead() {
    let cloud = Cloud::listen().await;
    let data = tempfile::tempdir().expect("a folder");
    let settings = Settings { stall_after: Duration::from_millis(500), ..settings(cloud.address(), Version::V5) };
    let mut north = North::start(data.path(), settings).await;
    north.keep(numbered(0..1)).await;
    let (mut peer, _) = cloud.accept(welcome(false)).await;
    let id = peer.publish().await.packet_id;
    let (database, elsewhere) = (data.path().join("queue.db"), data.path().join("elsewhere"));
    std::fs::rename(&database, &elsewhere).expect("moved");
    pubrec(&mut peer, id).await;
    assert!(peer.is_silent(Duration::from_secs(2)).await, "nothing can be recorded, and that is not the cloud's fault");
    std::fs::rename(&elsewhere, &database).expect("moved back");
    assert_eq!(peer.read().await, Packet::PubRel(Ack::success(id)), "on the same connection");
    peer.send(Packet::PubComp(Ack::success(id))).await;
    north.until("an empty queue", |status| status.queue.depth == 0 && status.connects == 1).await;
    north.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_3_1_1_broker_that_confirms_and_throws_away_what_is_beyond_its_limit_gets_no_more_than_that() {
    // mosquitto's own default, of which a client of 3.1.1 learns nothing.
    let cloud = Mosquitto::with("allow_anonymous true\npersistence true\nmax_inflight_messages 20\n", free_port());
    let watcher = Watcher::start(&cloud, "watcher", "out/#");
    let data = tempfile::tempdir().expect("a folder");
    let settings = Settings { window: 1_000, ..settings(cloud.address(), Version::V311) };
    let mut north = North::start(data.path(), Settings { presence: Some(presence()), ..settings }).await;
    let mixed = (0..2_000).map(|n| {
        let qos = if n % 3 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        message("out/readings", n.to_string(), qos)
    });
    north.keep(mixed).await;
    let status = north.until("an empty queue", |status| status.queue.depth == 0 && status.acknowledged == 2_000).await;
    assert_eq!((status.connects, status.queue.set_aside), (1, 0));
    tokio::task::block_in_place(|| {
        wait_for("all of them", PATIENCE, || (watcher.lines().len() >= 2_000).then_some(()));
    });
    let mut numbers: Vec<u32> = watcher.lines().iter().map(|line| line[13..].parse().expect("a number")).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..2_000), "each once");
    north.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_mosquitto_refuses_for_its_size_is_put_aside_and_the_others_arrive_in_order() {
    let cloud = Mosquitto::with("allow_anonymous true\npersistence true\nmessage_size_limit 1000\n", free_port());
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let topic = format!("out/{}", qos as u8);
        let watcher = Watcher::start(&cloud, &topic, &topic);
        let data = tempfile::tempdir().expect("a folder");
        let mut north = North::start(data.path(), settings(cloud.address(), Version::V5)).await;
        let large = "x".repeat(3_000);
        let payloads = (0..30).map(|n| if n == 10 { large.clone() } else { n.to_string() });
        north.keep(payloads.map(|payload| message(&topic, payload, qos))).await;
        north.until("an empty queue", |status| status.queue.depth == 0 && status.queue.set_aside == 1).await;
        let last = || watcher.lines().iter().any(|line| line.ends_with(" 29")).then_some(());
        tokio::task::block_in_place(|| wait_for("the last of them", PATIENCE, last));
        let expected = (0..30).filter(|n| *n != 10).map(|n| format!("{topic} {n}"));
        assert!(watcher.lines().iter().cloned().eq(expected), "{:?}", watcher.lines());
        north.stop().await;
    }
}

#[tokio::test]
async fn a_cloud_that_takes_qos_1_at_most_gets_qos_1() {
    let cloud = Cloud::listen().await;
    let data = tempfile::tempdir().expect("a folder");
    let mut north = North::start(data.path(), settings(cloud.address(), Version::V5)).await;
    north.keep(numbered(0..1)).await;
    let (mut peer, _) = cloud.accept(ConnAck { maximum_qos: QoS::AtLeastOnce, ..welcome(false) }).await;
    let publish = peer.publish().await;
    assert_eq!(publish.qos, QoS::AtLeastOnce);
    peer.puback(publish.packet_id, Reason::SUCCESS).await;
    north.until_drained().await;
    north.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_a_3_1_1_broker_hangs_up_on_is_put_aside_and_the_others_arrive_in_order() {
    let cloud = Mosquitto::with("allow_anonymous true\npersistence true\nmax_packet_size 1000\n", free_port());
    let watcher = Watcher::start(&cloud, "watcher", "out/#");
    let data = tempfile::tempdir().expect("a folder");
    let settings = Settings { longest_delay: Duration::from_millis(100), ..settings(cloud.address(), Version::V311) };
    let mut north = North::start(data.path(), settings).await;
    north.keep(numbered(0..10)).await;
    north.keep([message("out/readings", vec![b'x'; 3_000], QoS::AtLeastOnce)]).await;
    north.keep(numbered(10..30)).await;
    north.until("the message to be put aside", |status| status.queue.set_aside == 1).await;
    north.until("an empty queue", |status| status.queue.depth == 0).await;
    let last = || watcher.lines().iter().any(|line| line == "out/readings 29").then_some(());
    tokio::task::block_in_place(|| wait_for("the last of them", PATIENCE, last));
    assert!(watcher.lines().iter().cloned().eq((0..30).map(|n| format!("out/readings {n}"))));
    north.stop().await;
}
