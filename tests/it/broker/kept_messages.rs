//! Retained messages and backlogs on disk: what is kept, what is bounded, and what a restart brings back.

use std::time::Duration;

use fieldway::broker::Limits;
use fieldway::model::{Message, Properties, QoS, Topic};
use fieldway::mqtt::{Connect, Packet, Publish, Reason, RetainHandling, SubscribeOptions, Version};

use super::sessions::{back, keep};
use crate::support::kept::KeptBroker;
use crate::support::mqtt::{Client, config};

#[tokio::test]
async fn retained_messages_and_their_deletion_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let broker = KeptBroker::start(folder.path()).await;
    let mut client = Client::connect(broker.address, Connect::new(Version::V5, "a")).await;
    for (topic, payload) in [("r/1", "old"), ("r/2", "stays"), ("r/3", "goes"), ("r/1", "new"), ("r/3", "")] {
        assert_eq!(client.publish_acked(topic, payload, true).await, Reason::SUCCESS);
    }
    let mut short = Message::new(Topic::new("r/4").unwrap(), "short", QoS::AtLeastOnce, true);
    short.properties = Some(Box::new(Properties { message_expiry_s: Some(1), ..Properties::default() }));
    client.send(&Packet::Publish(Publish::new(&short, 100))).await;
    assert!(matches!(client.receive().await, Some(Packet::PubAck(_))));
    // The gateway's own come again from the gateway.
    let own = Message::new(Topic::new("r/5").unwrap(), "own", QoS::AtLeastOnce, true);
    broker.broker.hub().publish_committed(own).await.unwrap();
    let own = Message::new(Topic::new("r/2").unwrap(), "now the gateway's", QoS::AtLeastOnce, true);
    broker.broker.hub().publish_committed(own).await.unwrap();
    assert_eq!(client.publish_acked("r/2", "and a client's again", true).await, Reason::SUCCESS);
    drop(client);
    broker.stop().await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;

    let broker = KeptBroker::start(folder.path()).await;
    let mut client = Client::connect(broker.address, Connect::new(Version::V311, "a")).await;
    client.subscribe("r/#", QoS::AtLeastOnce).await;
    for (topic, payload) in [("r/1", "new"), ("r/2", "and a client's again")] {
        let message = client.message().await;
        assert_eq!((message.topic.as_ref().unwrap().as_str(), &message.payload[..]), (topic, payload.as_bytes()));
        assert!(message.retain);
        client.acknowledge(message.packet_id).await;
    }
    client.expect_nothing().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_retained_message_without_room_is_refused_rather_than_acknowledged_beside_an_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { retained_messages: 1, ..Limits::default() };
    let broker = KeptBroker::start_with(folder.path(), limits, config("127.0.0.1:0")).await;
    let mut watcher = Client::connect(broker.address, Connect::new(Version::V5, "watcher")).await;
    watcher.subscribe("#", QoS::AtMostOnce).await;
    let mut client = Client::connect(broker.address, Connect::new(Version::V5, "five")).await;
    assert_eq!(client.publish_acked("r/1", "kept", true).await, Reason::SUCCESS);
    assert_eq!(client.publish_acked("r/2", "refused", true).await, Reason::QUOTA_EXCEEDED);
    assert_eq!(client.publish_acked("r/1", "replaced", true).await, Reason::SUCCESS);
    let mut old = Client::connect(broker.address, Connect::new(Version::V311, "three")).await;
    old.publish("r/2", "refused", QoS::AtLeastOnce, true).await;
    assert_eq!(old.receive().await, None);
    for payload in ["kept", "replaced"] {
        assert_eq!(&watcher.message().await.payload[..], payload.as_bytes());
    }
    watcher.expect_nothing().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_backlog_larger_than_what_is_kept_in_memory_arrives_whole_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { queue_messages: 10, session_messages: 3_000, ..Limits::default() };
    let broker = KeptBroker::start_with(folder.path(), limits, config("127.0.0.1:0")).await;
    let (mut slow, _) = back(&broker, keep(Version::V5, "slow")).await;
    slow.subscribe("t", QoS::AtLeastOnce).await;
    let mut publisher = Client::connect(broker.address, Connect::new(Version::V5, "p")).await;
    // While it is there and does not read, and then beyond the bound.
    let mut ids = Vec::new();
    for n in 0..3_100u32 {
        ids.push(publisher.publish("t", n.to_string(), QoS::AtLeastOnce, false).await);
        if ids.len() == 100 {
            for id in ids.drain(..) {
                assert!(matches!(publisher.receive().await, Some(Packet::PubAck(ack)) if ack.packet_id == id));
            }
        }
    }
    let (mut slow, present) = back(&broker, keep(Version::V311, "slow")).await;
    assert!(present);
    for n in 0..3_000 {
        let message = slow.message().await;
        assert_eq!(String::from_utf8_lossy(&message.payload), n.to_string());
        slow.acknowledge(message.packet_id).await;
    }
    slow.expect_nothing().await;
    assert_eq!(broker.broker.status().dropped, 100);
    // There is room again.
    publisher.publish_acked("t", "3100", false).await;
    assert_eq!(&slow.message().await.payload[..], b"3100");
    broker.stop().await;
}

#[tokio::test]
async fn subscriptions_survive_a_restart_with_their_options_and_unsubscribed_ones_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let broker = KeptBroker::start(folder.path()).await;
    let (mut client, _) = back(&broker, keep(Version::V5, "a")).await;
    let options = SubscribeOptions {
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
        ..SubscribeOptions::new(QoS::AtLeastOnce)
    };
    client.subscribe_with("kept/#", options, Some(77)).await;
    client.subscribe("gone", QoS::AtLeastOnce).await;
    client.unsubscribe("gone").await;
    broker.stop().await;

    let broker = KeptBroker::start(folder.path()).await;
    let (mut client, present) = back(&broker, keep(Version::V5, "a")).await;
    assert!(present);
    assert_eq!(broker.broker.status().subscriptions, 1);
    client.publish_acked("kept/own", "x", false).await;
    let mut other = Client::connect(broker.address, Connect::new(Version::V5, "b")).await;
    other.publish_acked("gone", "x", false).await;
    other.publish_acked("kept/1", "x", true).await;
    let message = client.message().await;
    assert_eq!((message.topic.unwrap().as_str(), message.retain), ("kept/1", true));
    assert_eq!(message.subscription_ids, [77]);
    client.expect_nothing().await;
    broker.stop().await;
}

#[tokio::test]
async fn two_thousand_retained_messages_reach_a_kept_session_through_its_backlog() {
    let folder = tempfile::tempdir().unwrap();
    let broker = KeptBroker::start(folder.path()).await;
    for n in 0..2_000 {
        let topic = Topic::new(&format!("r/{n:04}")).unwrap();
        broker.broker.hub().publish(Message::new(topic, "x", QoS::AtLeastOnce, true)).await.unwrap();
    }
    let (mut client, _) = back(&broker, keep(Version::V5, "a")).await;
    client.subscribe("r/#", QoS::AtLeastOnce).await;
    let mut topics = Vec::new();
    for _ in 0..1_000 {
        let message = client.message().await;
        client.acknowledge(message.packet_id).await;
        topics.push(message.topic.unwrap().to_string());
    }
    // The rest comes on the next connection.
    let (mut client, present) = back(&broker, keep(Version::V5, "a")).await;
    assert!(present);
    while !topics.iter().any(|topic| topic == "r/1999") {
        let message = client.message().await;
        client.acknowledge(message.packet_id).await;
        let topic = message.topic.unwrap().to_string();
        if !topics.contains(&topic) {
            topics.push(topic);
        }
    }
    assert!(topics.len() == 2_000 && topics.is_sorted());
    broker.stop().await;
}
