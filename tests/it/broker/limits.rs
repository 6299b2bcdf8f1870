//! Nothing that one client does costs another, and nothing grows without bound.

use std::time::Duration;

use fieldway::broker::Limits;
use fieldway::model::{Filter, Message, QoS, Topic};
use fieldway::mqtt::{Ack, Connect, Packet, Publish, Reason, Subscribe, SubscribeOptions, Version};
use tokio::io::AsyncWriteExt;

use crate::support::gateway::GatewayProcess;
use crate::support::mqtt::{Client, PATIENCE, start};
use crate::support::wait::{free_port, wait_for};

#[tokio::test]
async fn twenty_silent_connections_delay_nobody_and_are_closed_in_time() {
    let test = start(Limits { connect_within: Duration::from_millis(500), ..Limits::default() }, Vec::new());
    let mut silent = Vec::new();
    for n in 0..20 {
        let mut client = Client::silent(test.address, Version::V311).await;
        // Some say half a word.
        client.stream.write_all(&b"\x10\x0D\x00\x04MQ"[..n % 7]).await.unwrap();
        silent.push(client);
    }
    let began = tokio::time::Instant::now();
    let mut client = Client::connect(test.address, Connect::new(Version::V311, "a")).await;
    client.subscribe("t", QoS::AtMostOnce).await;
    client.publish("t", "x", QoS::AtMostOnce, false).await;
    client.message().await;
    assert!(began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
    for mut silent in silent {
        assert_eq!(silent.receive().await, None);
    }
}

#[tokio::test]
async fn a_stalled_subscriber_is_bounded_and_then_disconnected_while_others_get_everything() {
    let limits = Limits {
        queue_messages: 500,
        queue_bytes: 1 << 20,
        stalled_after: Duration::from_millis(500),
        ..Limits::default()
    };
    let test = start(limits, Vec::new());
    let mut stalled = Client::connect(test.address, Connect::new(Version::V5, "stalled")).await;
    stalled.subscribe("t", QoS::AtLeastOnce).await;
    let mut healthy = Client::connect(test.address, Connect::new(Version::V311, "healthy")).await;
    healthy.subscribe("t", QoS::AtLeastOnce).await;
    let mut publisher = Client::connect(test.address, Connect::new(Version::V311, "p")).await;
    for _ in 0..5_000 {
        assert!(!publisher.publish_acked("t", vec![b'x'; 1_000], false).await.is_failure());
        let message = healthy.message().await;
        healthy.acknowledge(message.packet_id).await;
    }
    assert!(test.broker.status().dropped > 0);
    // It was sent what may be in flight to it, and no more.
    for _ in 0..100 {
        stalled.message().await;
    }
    assert_eq!(stalled.closed().await, Some(Reason::QUOTA_EXCEEDED));
}

#[tokio::test]
async fn many_stalled_subscribers_share_one_bound_and_the_worst_has_to_go() {
    let limits = Limits { queue_bytes: 1 << 20, queued_bytes: 2 << 20, ..Limits::default() };
    let test = start(limits, Vec::new());
    let mut stalled = Vec::new();
    for n in 0..4 {
        let mut client = Client::connect(test.address, Connect::new(Version::V5, format!("stalled-{n}"))).await;
        client.subscribe("t", QoS::AtLeastOnce).await;
        stalled.push(client);
    }
    let mut healthy = Client::connect(test.address, Connect::new(Version::V311, "healthy")).await;
    healthy.subscribe("t", QoS::AtLeastOnce).await;
    let mut publisher = Client::connect(test.address, Connect::new(Version::V311, "p")).await;
    for _ in 0..1_500 {
        assert!(!publisher.publish_acked("t", vec![b'x'; 1_000], false).await.is_failure());
        let message = healthy.message().await;
        healthy.acknowledge(message.packet_id).await;
    }
    // Of four with a mebibyte each, two fit; all are still within their own time.
    assert!(test.broker.status().clients < 6, "{:?}", test.broker.status());
    let mut gone = 0;
    for mut client in stalled {
        for _ in 0..100 {
            client.message().await;
        }
        client.send(&Packet::PingReq).await;
        gone += usize::from(matches!(
            client.receive().await,
            Some(Packet::Disconnect(disconnect)) if disconnect.reason == Reason::QUOTA_EXCEEDED
        ));
    }
    assert!((1..=3).contains(&gone), "{gone}");
}

#[tokio::test]
async fn more_clients_than_allowed_are_turned_away_and_a_place_is_given_again() {
    let test = start(Limits { connections: 2, ..Limits::default() }, Vec::new());
    let first = Client::connect(test.address, Connect::new(Version::V311, "1")).await;
    let mut second = Client::connect(test.address, Connect::new(Version::V311, "2")).await;
    let mut third = Client::silent(test.address, Version::V311).await;
    assert_eq!(third.receive().await, None);
    second.expect_nothing().await;
    drop(first);
    let again = async {
        loop {
            let mut client = Client::silent(test.address, Version::V311).await;
            client.send(&Packet::Connect(Box::new(Connect::new(Version::V311, "4")))).await;
            if client.receive().await.is_some() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
}

#[tokio::test]
async fn a_client_is_sent_no_more_than_it_takes_at_once_and_nothing_larger_than_it_takes() {
    let test = start(Limits::default(), Vec::new());
    let connect = Connect { receive_maximum: 2, maximum_packet_size: Some(100), ..Connect::new(Version::V5, "a") };
    let mut client = Client::connect(test.address, connect).await;
    client.subscribe("t", QoS::AtLeastOnce).await;
    let publish = |payload: Vec<u8>| Message::new(Topic::new("t").unwrap(), payload, QoS::AtLeastOnce, false);
    for n in 0..5u8 {
        test.broker.hub().publish(publish(vec![n; if n == 1 { 200 } else { 1 }])).await.unwrap();
    }
    let (first, second) = (client.message().await, client.message().await);
    assert_eq!((first.payload[0], second.payload[0]), (0, 2));
    client.expect_nothing().await;
    // One that it never got is no reason to end the connection.
    client.acknowledge(9_999).await;
    client.expect_nothing().await;
    client.acknowledge(second.packet_id).await;
    assert_eq!(client.message().await.payload[0], 3);
    client.expect_nothing().await;
    client.acknowledge(first.packet_id).await;
    assert_eq!(client.message().await.payload[0], 4);
    assert_eq!(test.broker.status().dropped, 1);
}

#[tokio::test]
async fn an_mqtt_5_client_that_exceeds_its_receive_maximum_is_told_and_a_3_1_1_client_is_slowed() {
    let (live, _kept) = tokio::sync::mpsc::channel(1);
    let select = |message: &Message| Some(message.clone());
    let outlet = fieldway::broker::Outlet {
        queue: fieldway::store::QueueId::normal(0),
        select: Box::new(select),
        live,
        live_dropped: std::sync::Arc::default(),
    };
    let mut test = start(Limits { in_flight_in: 10, ..Limits::default() }, vec![outlet]);
    let (mut v5, ack) = Client::connect_ack(test.address, Connect::new(Version::V5, "five")).await;
    assert_eq!(ack.receive_maximum, 10);
    for _ in 0..11 {
        v5.publish("t", "x", QoS::AtLeastOnce, false).await;
    }
    assert_eq!(v5.closed().await, Some(Reason::RECEIVE_MAXIMUM_EXCEEDED));

    let mut v311 = Client::connect(test.address, Connect::new(Version::V311, "three")).await;
    for _ in 0..50 {
        v311.publish("t", "x", QoS::AtLeastOnce, false).await;
    }
    let settle = async {
        while let Some(append) = test.appends.recv().await {
            let report = fieldway::store::CommitReport { through: append.ticket, refused: Vec::new() };
            test.reports.send(report).await.unwrap();
        }
    };
    let acknowledged = async {
        for _ in 0..50 {
            assert!(matches!(v311.receive().await, Some(Packet::PubAck(_))));
        }
    };
    tokio::select! {
        () = settle => panic!("the broker has gone"),
        () = acknowledged => {}
    }
}

#[tokio::test]
async fn subscriptions_and_depth_are_limited() {
    let test = start(Limits { subscriptions: 2, topic_levels: 4, ..Limits::default() }, Vec::new());
    let mut client = Client::connect(test.address, Connect::new(Version::V5, "a")).await;
    assert_eq!(client.subscribe("1", QoS::AtMostOnce).await, Reason::SUCCESS);
    assert_eq!(client.subscribe("2", QoS::AtMostOnce).await, Reason::SUCCESS);
    assert_eq!(client.subscribe("3", QoS::AtMostOnce).await, Reason::QUOTA_EXCEEDED);
    assert_eq!(client.subscribe("2", QoS::AtLeastOnce).await, Reason::GRANTED_QOS_1);
    client.unsubscribe("1").await;
    assert_eq!(client.subscribe("a/b/c/d/e", QoS::AtMostOnce).await, Reason::TOPIC_FILTER_INVALID);
    assert_eq!(client.subscribe("a/b/c/#", QoS::AtMostOnce).await, Reason::SUCCESS);
    client.publish("a/b/c/d/e", "x", QoS::AtMostOnce, false).await;
    assert_eq!(client.closed().await, Some(Reason::TOPIC_NAME_INVALID));
}

#[tokio::test]
async fn retained_messages_without_room_are_delivered_but_not_kept_and_counted() {
    let test = start(Limits { retained_messages: 1, ..Limits::default() }, Vec::new());
    let mut client = Client::connect(test.address, Connect::new(Version::V5, "a")).await;
    client.publish_acked("one", "x", true).await;
    client.publish_acked("two", "x", true).await;
    client.subscribe("#", QoS::AtMostOnce).await;
    assert_eq!(client.message().await.topic.unwrap().as_str(), "one");
    client.expect_nothing().await;
    assert_eq!((test.broker.status().retained, test.broker.status().dropped), (1, 1));
}

#[tokio::test]
async fn acknowledgements_from_another_time_are_tolerated() {
    let test = start(Limits::default(), Vec::new());
    let mut client = Client::connect(test.address, Connect::new(Version::V5, "a")).await;
    client.send(&Packet::PubAck(Ack::success(7))).await;
    client.send(&Packet::PubComp(Ack::success(7))).await;
    client.send(&Packet::PubRel(Ack::success(7))).await;
    let unknown = Ack { packet_id: 7, reason: Reason::PACKET_ID_NOT_FOUND };
    assert_eq!(client.receive().await, Some(Packet::PubComp(unknown)));
    client.send(&Packet::PubRec(Ack::success(7))).await;
    assert_eq!(client.receive().await, Some(Packet::PubRel(unknown)));
    client.expect_nothing().await;
}

#[tokio::test]
async fn a_flood_that_nobody_reads_the_answers_of_is_not_answered_without_bound() {
    let limits = Limits { stalled_after: Duration::from_millis(500), ..Limits::default() };
    let test = start(limits, Vec::new());
    let mut flood = Client::connect(test.address, Connect::new(Version::V311, "flood")).await;
    let pings = b"\xC0\x00".repeat(50_000);
    let write = async {
        loop {
            if flood.stream.write_all(&pings).await.is_err() {
                return;
            }
        }
    };
    // Its answers fill both sockets' buffers; then nothing more is read from it, and then it is cut off.
    tokio::time::timeout(PATIENCE, write).await.expect("the flood was never stopped");
    let mut client = Client::connect(test.address, Connect::new(Version::V311, "a")).await;
    client.expect_nothing().await;
}

#[tokio::test]
async fn a_large_message_in_small_pieces_arrives_whole() {
    let test = start(Limits::default(), Vec::new());
    let mut subscriber = Client::connect(test.address, Connect::new(Version::V5, "s")).await;
    subscriber.subscribe("t", QoS::AtMostOnce).await;
    let mut publisher = Client::connect(test.address, Connect::new(Version::V5, "p")).await;
    let payload: Vec<u8> = (0..900_000u32).map(|n| n as u8).collect();
    let message = Message::new(Topic::new("t").unwrap(), payload.clone(), QoS::AtMostOnce, false);
    let mut wire = bytes::BytesMut::new();
    publisher.codec.encode(&Packet::Publish(Publish::new(&message, 0)), &mut wire).unwrap();
    for piece in wire.chunks(7_001) {
        publisher.stream.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(&subscriber.message().await.payload[..], payload);
}

#[tokio::test]
async fn searching_the_retained_messages_for_one_client_keeps_nobody_else_waiting() {
    let test = start(Limits::default(), Vec::new());
    let hub = test.broker.hub();
    for n in 0..2_000 {
        let topic = Topic::new(&format!("plant/{n}")).unwrap();
        hub.publish(Message::new(topic, "x", QoS::AtMostOnce, true)).await.unwrap();
    }
    let mut other = Client::connect(test.address, Connect::new(Version::V311, "other")).await;
    let mut greedy = Client::connect(test.address, Connect::new(Version::V5, "greedy")).await;
    // Each looks at every topic; the last one alone finds something.
    let filters = (0..500).map(|n| format!("+/none{n}")).chain(["+/7".into()]);
    let filters = filters.map(|f| (Filter::new(&f).unwrap(), SubscribeOptions::new(QoS::AtMostOnce))).collect();
    let subscribe = Subscribe { packet_id: 1, subscription_id: None, filters, user: Vec::new() };
    greedy.send(&Packet::Subscribe(subscribe)).await;
    assert!(matches!(greedy.receive().await, Some(Packet::SubAck(_))));
    other.send(&Packet::PingReq).await;
    assert_eq!(other.receive().await, Some(Packet::PingResp));
    let found = tokio::time::timeout(Duration::from_millis(1), greedy.message()).await;
    assert!(found.is_err(), "others were served only after the search");
    assert_eq!(greedy.message().await.topic.as_deref(), Some("plant/7"));
}

#[tokio::test]
async fn a_slow_subscriber_holds_up_its_publisher_and_nobody_else() {
    let test = start(Limits { queue_messages: 10, ..Limits::default() }, Vec::new());
    let mut other = Client::connect(test.address, Connect::new(Version::V311, "other")).await;
    other.subscribe("other", QoS::AtMostOnce).await;
    let mut publisher = Client::connect(test.address, Connect::new(Version::V311, "p")).await;
    let mut waited = Duration::ZERO;
    let mut slow = Vec::new();
    for n in 0..10 {
        let connect = Connect { receive_maximum: 1, ..Connect::new(Version::V5, format!("slow{n}")) };
        slow.push(Client::connect(test.address, connect).await);
        slow[n].subscribe(&format!("t/{n}"), QoS::AtLeastOnce).await;
        // The last one fills more than half of its queue.
        for _ in 0..7 {
            publisher.publish_acked(&format!("t/{n}"), "x", false).await;
        }
        let began = tokio::time::Instant::now();
        other.publish("other", "x", QoS::AtMostOnce, false).await;
        other.message().await;
        waited += began.elapsed();
    }
    assert!(waited < Duration::from_millis(250), "{waited:?}");
}

#[tokio::test]
async fn a_client_can_not_write_lines_into_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let yaml = format!(
        "gateway: {{id: a, data_dir: {}}}\nbroker: {{listeners: ['mqtt://127.0.0.1:{port}']}}\n",
        folder.path().join("data").display()
    );
    let gateway = GatewayProcess::start(folder.path(), &yaml, port);
    let address = ([127, 0, 0, 1], port).into();
    let connect = Connect { receive_maximum: 1, ..Connect::new(Version::V5, "evil\nERROR forged") };
    let mut slow = Client::connect(address, connect).await;
    slow.subscribe("t", QoS::AtLeastOnce).await;
    let mut publisher = Client::connect(address, Connect::new(Version::V311, "p")).await;
    for _ in 0..7 {
        publisher.publish_acked("t", vec![b'x'; 900_000], false).await;
    }
    wait_for("the warning", PATIENCE, || gateway.log().contains("slower than").then_some(()));
    assert!(!gateway.log().lines().any(|line| line.starts_with("ERROR")), "{}", gateway.log());
}
