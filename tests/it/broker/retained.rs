//! Retained messages on their way to new subscribers: any number of them, however slow the subscriber is, and whatever is published meanwhile.

use std::collections::HashMap;

use fieldway::broker::{HubHandle, Limits};
use fieldway::model::{Message, QoS, Topic};
use fieldway::mqtt::{Connect, Publish, Version};

use crate::support::mqtt::{Client, start};

const TOPICS: u32 = 100_000;

fn topic(n: u32) -> Topic {
    Topic::new(&format!("plant/{}/{}/value", n % 100, n / 100)).unwrap()
}

/// A retained message on each topic, with the same number as its payload.
async fn publish_all(hub: &HubHandle, topics: impl Iterator<Item = u32>, version: u32) {
    for n in topics {
        let payload = version.to_be_bytes().to_vec();
        hub.publish(Message::new(topic(n), payload, QoS::AtLeastOnce, true)).await.unwrap();
    }
}

fn version(message: &Publish) -> u32 {
    u32::from_be_bytes(message.payload[..].try_into().unwrap())
}

#[tokio::test]
async fn a_hundred_thousand_retained_messages_reach_a_slow_subscriber_while_others_publish() {
    let test = start(Limits::default(), Vec::new());
    let hub = test.broker.hub();
    publish_all(&hub, 0..TOPICS, 1).await;
    let mut slow = Client::connect(test.address, Connect::new(Version::V311, "slow")).await;
    slow.subscribe("plant/+/+/value", QoS::AtLeastOnce).await;

    // Every tenth topic changes while the subscriber reads.
    let changes = tokio::spawn(async move { publish_all(&hub, (0..TOPICS).step_by(10), 2).await });
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mut newest = 0;
    while seen.len() < TOPICS as usize || newest < TOPICS / 10 {
        let message = slow.message().await;
        if message.qos > QoS::AtMostOnce {
            slow.acknowledge(message.packet_id).await;
        }
        let version = version(&message);
        let before = seen.insert(message.topic.unwrap().to_string(), version).unwrap_or(0);
        assert!(version >= before, "an old retained message came behind a newer one");
        newest += u32::from(version == 2 && before < 2);
        if seen.len().is_multiple_of(1_000) {
            tokio::task::yield_now().await;
        }
    }
    changes.await.unwrap();
    let status = test.broker.status();
    assert_eq!((status.dropped, status.retained), (0, u64::from(TOPICS)));
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_is_owed_its_retained_messages_and_costs_no_more_than_a_portion() {
    let test = start(Limits { queue_messages: 100, ..Limits::default() }, Vec::new());
    let hub = test.broker.hub();
    for n in 0..5_000 {
        hub.publish(Message::new(topic(n), vec![b'x'; 1_000], QoS::AtLeastOnce, true)).await.unwrap();
    }
    let mut client = Client::connect(test.address, Connect::new(Version::V5, "a")).await;
    client.subscribe("plant/#", QoS::AtLeastOnce).await;
    // At most what may be in flight is sent before the first acknowledgement, and all of it after.
    for _ in 0..100 {
        assert!(client.message().await.retain);
    }
    client.expect_nothing().await;
    assert_eq!(test.broker.status().sent, 100);
    for id in 1..=100 {
        client.acknowledge(id).await;
    }
    for _ in 100..5_000 {
        let message = client.message().await;
        client.acknowledge(message.packet_id).await;
    }
    client.expect_nothing().await;
    assert_eq!(test.broker.status().dropped, 0);
}
