//! Sessions that outlive their connection, and the broker.

use std::time::Duration;

use fieldway::broker::Limits;
use fieldway::model::{Message, QoS, Topic};
use fieldway::mqtt::{Ack, Connect, Disconnect, Packet, Publish, Reason, Version};

use crate::support::kept::KeptBroker;
use crate::support::mqtt::{Client, config};

const WEEK_S: u32 = 7 * 86_400;

/// A CONNECT for a session that is kept.
pub fn keep(version: Version, id: &str) -> Connect {
    let session_expiry_s = if version == Version::V5 { 3_600 } else { 0 };
    Connect { clean_start: false, session_expiry_s, ..Connect::new(version, id) }
}

/// Connects and says whether the session was there.
pub async fn back(broker: &KeptBroker, connect: Connect) -> (Client, bool) {
    let (client, ack) = Client::connect_ack(broker.address, connect).await;
    assert_eq!(ack.reason, Reason::SUCCESS);
    (client, ack.session_present)
}

/// Leaves without a word, and waits until the broker has noticed.
async fn cut(broker: &KeptBroker, client: Client) {
    let before = broker.broker.status().clients;
    drop(client);
    while broker.broker.status().clients >= before {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn publish_numbers(broker: &KeptBroker, topic: &str, numbers: std::ops::Range<u32>, qos: QoS) {
    let mut publisher = Client::connect(broker.address, Connect::new(Version::V5, "publisher")).await;
    for n in numbers {
        let id = publisher.publish(topic, n.to_string(), qos, false).await;
        match publisher.receive().await {
            Some(Packet::PubAck(ack)) => assert_eq!(ack, Ack::success(id)),
            Some(Packet::PubRec(ack)) => {
                assert_eq!(ack, Ack::success(id));
                publisher.send(&Packet::PubRel(Ack::success(id))).await;
                assert_eq!(publisher.receive().await, Some(Packet::PubComp(Ack::success(id))));
            }
            other => panic!("expected an acknowledgement, got {other:?}"),
        }
    }
    publisher.send(&Packet::Disconnect(Disconnect::new(Reason::SUCCESS))).await;
    publisher.closed().await;
}

fn number(publish: &Publish) -> u32 {
    String::from_utf8(publish.payload.to_vec()).unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_is_published_while_a_client_is_away_waits_for_it_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let broker = KeptBroker::start(folder.path()).await;
    for version in [Version::V311, Version::V5] {
        let (mut client, present) = back(&broker, keep(version, "away")).await;
        assert!(!present);
        client.subscribe("t/+", QoS::AtLeastOnce).await;
        cut(&broker, client).await;
        publish_numbers(&broker, "t/1", 0..300, QoS::AtLeastOnce).await;
        // QoS 0 is for those who are there.
        let mut other = Client::connect(broker.address, Connect::new(version, "other")).await;
        other.publish("t/1", "777", QoS::AtMostOnce, false).await;
        other.expect_nothing().await;
        let (mut client, present) = back(&broker, keep(version, "away")).await;
        assert!(present);
        for n in 0..300 {
            let message = client.message().await;
            assert_eq!((number(&message), message.dup, message.qos), (n, false, QoS::AtLeastOnce));
            client.acknowledge(message.packet_id).await;
        }
        client.expect_nothing().await;
        // A clean start ends it, and a clean session leaves none.
        let (_, present) = back(&broker, Connect::new(version, "away")).await;
        assert!(!present);
        let (mut client, present) = back(&broker, keep(version, "away")).await;
        assert!(!present);
        client.send(&Packet::Disconnect(Disconnect::new(Reason::SUCCESS))).await;
        client.closed().await;
        let (_, present) = back(&broker, Connect::new(version, "away")).await;
        assert!(!present);
    }
    broker.stop().await;
}

#[tokio::test]
async fn what_was_in_flight_comes_again_with_dup_and_the_same_ids_within_the_window_of_now() {
    let folder = tempfile::tempdir().unwrap();
    let broker = KeptBroker::start(folder.path()).await;
    let (mut client, _) = back(&broker, keep(Version::V311, "slow")).await;
    client.subscribe("t", QoS::ExactlyOnce).await;
    publish_numbers(&broker, "t", 0..20, QoS::AtLeastOnce).await;
    let mut ids = Vec::new();
    for n in 0..20 {
        let message = client.message().await;
        assert_eq!((number(&message), message.dup), (n, false));
        ids.push(message.packet_id);
    }
    // The middle of them is acknowledged.
    for id in &ids[5..10] {
        client.acknowledge(*id).await;
    }
    client.expect_nothing().await;
    cut(&broker, client).await;
    publish_numbers(&broker, "t", 20..22, QoS::AtLeastOnce).await;
    // In another version, and with less room.
    let connect = Connect { receive_maximum: 4, ..keep(Version::V5, "slow") };
    let (mut client, present) = back(&broker, connect).await;
    assert!(present);
    for (n, id) in (0..20).zip(&ids).filter(|(n, _)| !(5..10).contains(n)).collect::<Vec<_>>().chunks(3).flatten() {
        let message = client.message().await;
        assert_eq!((number(&message), message.dup, message.packet_id), (*n, true, **id));
        if *n == 3 {
            // The fourth: nothing more before something is acknowledged.
            client.expect_nothing().await;
            for id in &ids[..4] {
                client.acknowledge(*id).await;
            }
        } else if *n > 3 {
            client.acknowledge(message.packet_id).await;
        }
    }
    for n in 20..22 {
        let message = client.message().await;
        assert_eq!((number(&message), message.dup), (n, false));
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_pubrel_that_was_lost_with_its_connection_comes_again_with_its_id_and_counts() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = KeptBroker::start(folder.path()).await;
    let (mut client, _) = back(&broker, keep(Version::V5, "two")).await;
    client.subscribe("t", QoS::ExactlyOnce).await;
    publish_numbers(&broker, "t", 0..3, QoS::ExactlyOnce).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(client.message().await.packet_id);
    }
    for id in &ids[..2] {
        client.send(&Packet::PubRec(Ack::success(*id))).await;
        assert_eq!(client.receive().await, Some(Packet::PubRel(Ack::success(*id))));
    }
    cut(&broker, client).await;
    for restart in [false, true] {
        if restart {
            broker.stop().await;
            broker = KeptBroker::start(folder.path()).await;
        }
        let (mut client, present) = back(&broker, Connect { receive_maximum: 2, ..keep(Version::V5, "two") }).await;
        assert!(present);
        for id in &ids[..2] {
            assert_eq!(client.receive().await, Some(Packet::PubRel(Ack::success(*id))));
        }
        // The window is full until one of them is complete.
        client.expect_nothing().await;
        if restart {
            client.send(&Packet::PubComp(Ack::success(ids[0]))).await;
            let message = client.message().await;
            assert_eq!((message.packet_id, message.dup, number(&message)), (ids[2], true, 2));
            client.send(&Packet::PubRec(Ack::success(ids[2]))).await;
            assert_eq!(client.receive().await, Some(Packet::PubRel(Ack::success(ids[2]))));
            // An acknowledgement of something that was never sent is answered.
            client.send(&Packet::PubRec(Ack::success(999))).await;
            let unknown = Ack { packet_id: 999, reason: Reason::PACKET_ID_NOT_FOUND };
            assert_eq!(client.receive().await, Some(Packet::PubRel(unknown)));
        }
        cut(&broker, client).await;
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_qos_2_message_that_is_repeated_after_a_reconnect_or_a_restart_is_delivered_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = KeptBroker::start(folder.path()).await;
    let message = |text: &str| Message::new(Topic::new("t").unwrap(), text.to_string(), QoS::ExactlyOnce, false);
    let (mut reader, _) = back(&broker, keep(Version::V311, "reader")).await;
    reader.subscribe("t", QoS::ExactlyOnce).await;
    cut(&broker, reader).await;
    let (mut writer, _) = back(&broker, keep(Version::V5, "writer")).await;
    writer.send(&Packet::Publish(Publish::new(&message("0"), 7))).await;
    assert_eq!(writer.receive().await, Some(Packet::PubRec(Ack::success(7))));
    cut(&broker, writer).await;
    for restart in [false, true] {
        if restart {
            broker.stop().await;
            broker = KeptBroker::start(folder.path()).await;
        }
        let (mut writer, present) = back(&broker, keep(Version::V5, "writer")).await;
        assert!(present);
        let again = Publish { dup: true, ..Publish::new(&message("0"), 7) };
        writer.send(&Packet::Publish(again)).await;
        assert_eq!(writer.receive().await, Some(Packet::PubRec(Ack::success(7))));
        if restart {
            writer.send(&Packet::PubRel(Ack::success(7))).await;
            assert_eq!(writer.receive().await, Some(Packet::PubComp(Ack::success(7))));
            // The id is free, and another message under it is another message.
            writer.send(&Packet::Publish(Publish::new(&message("1"), 7))).await;
            assert_eq!(writer.receive().await, Some(Packet::PubRec(Ack::success(7))));
            let unknown = Ack { packet_id: 8, reason: Reason::PACKET_ID_NOT_FOUND };
            writer.send(&Packet::PubRel(Ack::success(8))).await;
            assert_eq!(writer.receive().await, Some(Packet::PubComp(unknown)));
        }
        cut(&broker, writer).await;
    }
    let (mut reader, _) = back(&broker, keep(Version::V311, "reader")).await;
    for n in 0..2 {
        assert_eq!(number(&reader.message().await), n);
    }
    reader.expect_nothing().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_client_is_told_for_how_long_its_session_is_kept_and_may_change_its_mind() {
    let folder = tempfile::tempdir().unwrap();
    let broker = KeptBroker::start(folder.path()).await;
    for (asked, told) in
        [(0, None), (3_600, None), (WEEK_S, None), (WEEK_S + 1, Some(WEEK_S)), (u32::MAX, Some(WEEK_S))]
    {
        let connect = Connect { session_expiry_s: asked, ..Connect::new(Version::V5, "a") };
        let (_, ack) = Client::connect_ack(broker.address, connect).await;
        assert_eq!(ack.session_expiry_s, told, "{asked}");
    }
    let leave = |s| Packet::Disconnect(Disconnect { session_expiry_s: s, ..Disconnect::new(Reason::SUCCESS) });
    for (at_end, present) in [(Some(60), true), (None, true), (Some(0), false)] {
        let (mut client, _) = back(&broker, keep(Version::V5, "b")).await;
        client.send(&leave(at_end)).await;
        client.closed().await;
        assert_eq!(back(&broker, keep(Version::V5, "b")).await.1, present, "{at_end:?}");
    }
    let mut client = Client::connect(broker.address, Connect::new(Version::V5, "c")).await;
    client.send(&leave(Some(60))).await;
    assert_eq!(client.closed().await, Some(Reason::PROTOCOL_ERROR));

    let mut short = config("127.0.0.1:0");
    short.session_expiry = Duration::ZERO;
    let folder = tempfile::tempdir().unwrap();
    let without = KeptBroker::start_with(folder.path(), Limits::default(), short).await;
    let (_, ack) = Client::connect_ack(without.address, keep(Version::V5, "a")).await;
    assert_eq!(ack.session_expiry_s, Some(0));
    without.stop().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_hundred_takeovers_while_four_publish_lose_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let broker = KeptBroker::start(folder.path()).await;
    let address = broker.address;
    let (mut subscriber, _) = back(&broker, keep(Version::V5, "taken")).await;
    subscriber.subscribe("n/+", QoS::AtLeastOnce).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let mut publishers = tokio::task::JoinSet::new();
    for p in 0..4 {
        let stop = stop.clone();
        publishers.spawn(async move {
            let mut client = Client::connect(address, Connect::new(Version::V5, format!("p{p}"))).await;
            let mut n = 0u32;
            while !stop.is_cancelled() {
                let reason = client.publish_acked(&format!("n/{p}"), n.to_string(), false).await;
                assert_eq!(reason, Reason::SUCCESS);
                n += 1;
            }
            (p, n)
        });
    }
    // What each connection got, in the order of the connections; the next one takes over while messages are on their way.
    let mut got: [Vec<u32>; 4] = Default::default();
    let mut take = |message: &Publish| {
        let p: usize = message.topic.as_ref().unwrap().as_str()[2..].parse().unwrap();
        got[p].push(number(message));
    };
    for round in 0..100 {
        for _ in 0..round % 7 {
            let message = subscriber.message().await;
            take(&message);
            subscriber.acknowledge(message.packet_id).await;
        }
        let (next, present) = back(&broker, keep(Version::V5, "taken")).await;
        assert!(present);
        assert_eq!(drain(&mut subscriber, &mut take).await, Some(Reason::SESSION_TAKEN_OVER));
        subscriber = next;
    }
    stop.cancel();
    let mut published = [0; 4];
    while let Some(ended) = publishers.join_next().await {
        let (p, n) = ended.unwrap();
        published[p] = n;
    }
    let mut idle = 0;
    while idle < 1 {
        let message = tokio::time::timeout(Duration::from_millis(500), subscriber.receive()).await;
        match message {
            Ok(Some(Packet::Publish(message))) => {
                take(&message);
                subscriber.acknowledge(message.packet_id).await;
            }
            Ok(other) => panic!("expected PUBLISH, got {other:?}"),
            Err(_) => idle += 1,
        }
    }
    for (p, got) in got.iter().enumerate() {
        let mut seen = std::collections::BTreeSet::new();
        let firsts: Vec<u32> = got.iter().copied().filter(|n| seen.insert(*n)).collect();
        assert!(firsts.iter().copied().eq(0..published[p]), "publisher {p}: {} of {}", firsts.len(), published[p]);
    }
    assert!(published.iter().sum::<u32>() > 100);
    broker.stop().await;
}

/// Reads what was on its way when the connection was taken over, without acknowledging; the reason of its end.
async fn drain(client: &mut Client, take: &mut impl FnMut(&Publish)) -> Option<Reason> {
    let mut reason = None;
    while let Some(packet) = client.receive().await {
        match packet {
            Packet::Publish(message) => take(&message),
            Packet::Disconnect(disconnect) => reason = Some(disconnect.reason),
            _ => {}
        }
    }
    reason
}
