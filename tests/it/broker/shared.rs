//! Shared subscriptions: each message for one member of the group (MQTT 5 §4.8.2).

use fieldway::broker::Limits;
use fieldway::model::QoS;
use fieldway::mqtt::{Connect, Reason, RetainHandling, SubscribeOptions, Version};

use crate::support::mqtt::{Client, TestBroker, start};

async fn client(test: &TestBroker, id: &str) -> Client {
    Client::connect(test.address, Connect::new(Version::V5, id)).await
}

#[tokio::test]
async fn members_of_a_group_get_messages_in_turn_whatever_version_they_speak() {
    let test = start(Limits::default(), Vec::new());
    let (connect, ack) = Client::connect_ack(test.address, Connect::new(Version::V5, "a")).await;
    assert!(ack.shared_available);
    let mut members = [connect, Client::connect(test.address, Connect::new(Version::V311, "b")).await];
    for member in &mut members {
        assert_eq!(member.subscribe("$share/workers/jobs/+", QoS::AtLeastOnce).await, Reason::GRANTED_QOS_1);
    }
    let mut watcher = client(&test, "watcher").await;
    watcher.subscribe("jobs/#", QoS::AtMostOnce).await;
    for n in 0..6 {
        watcher.publish("jobs/x", [n], QoS::AtLeastOnce, false).await;
    }
    for (member, expected) in members.iter_mut().zip([[0, 2, 4], [1, 3, 5]]) {
        for n in expected {
            assert_eq!(member.message().await.payload, [n][..]);
        }
        member.expect_nothing().await;
    }
    // Whoever is left gets all of it, and two groups share nothing with each other.
    let [mut left, mut other] = members;
    left.unsubscribe("$share/workers/jobs/+").await;
    left.subscribe("$share/others/jobs/+", QoS::AtMostOnce).await;
    watcher.publish("jobs/y", "6", QoS::AtMostOnce, false).await;
    watcher.publish("jobs/z", "7", QoS::AtMostOnce, false).await;
    for member in [&mut left, &mut other] {
        assert_eq!(member.message().await.payload, "6");
        assert_eq!(member.message().await.payload, "7");
    }
}

#[tokio::test]
async fn a_member_that_subscribed_by_itself_too_gets_a_copy_for_each() {
    let test = start(Limits::default(), Vec::new());
    let mut member = client(&test, "a").await;
    member.subscribe_with("$share/g/t", SubscribeOptions::new(QoS::AtMostOnce), Some(1)).await;
    member.subscribe_with("t", SubscribeOptions::new(QoS::AtMostOnce), Some(2)).await;
    member.publish("t", "x", QoS::AtMostOnce, false).await;
    let mut ids = [member.message().await.subscription_ids, member.message().await.subscription_ids];
    ids.sort();
    assert_eq!(ids, [vec![1], vec![2]]);
    member.expect_nothing().await;
}

#[tokio::test]
async fn a_shared_subscription_brings_no_retained_messages() {
    let test = start(Limits::default(), Vec::new());
    let mut member = client(&test, "a").await;
    member.publish_acked("t", "old", true).await;
    let options = SubscribeOptions { retain_handling: RetainHandling::Send, ..SubscribeOptions::new(QoS::AtMostOnce) };
    member.subscribe_with("$share/g/t", options, None).await;
    member.expect_nothing().await;
}

#[tokio::test]
async fn a_group_sees_no_topics_of_the_broker_through_a_wildcard() {
    let test = start(Limits { topic_levels: 3, ..Limits::default() }, Vec::new());
    let mut member = client(&test, "a").await;
    assert_eq!(member.subscribe("$share/g/#", QoS::AtMostOnce).await, Reason::SUCCESS);
    member.expect_nothing().await;
    // The depth that is counted is that of the topics.
    assert_eq!(member.subscribe("$share/g/a/b/c", QoS::AtMostOnce).await, Reason::SUCCESS);
    assert_eq!(member.subscribe("$share/g/a/b/c/d", QoS::AtMostOnce).await, Reason::TOPIC_FILTER_INVALID);
}

/// [MQTT-4.8.2-1], [MQTT-4.8.2-2], [MQTT-3.8.3-4].
#[tokio::test]
async fn a_group_without_a_name_is_refused_and_no_local_ends_the_connection() {
    let test = start(Limits::default(), Vec::new());
    let mut member = client(&test, "a").await;
    for bad in ["$share/g", "$share//t", "$share/+/t", "$share/g/"] {
        assert_eq!(member.subscribe(bad, QoS::AtMostOnce).await, Reason::TOPIC_FILTER_INVALID, "{bad}");
    }
    let mut old = Client::connect(test.address, Connect::new(Version::V311, "b")).await;
    assert!(old.subscribe("$share/g", QoS::AtMostOnce).await.is_failure());

    let options = SubscribeOptions { no_local: true, ..SubscribeOptions::new(QoS::AtMostOnce) };
    let filters = vec![(fieldway::model::Filter::new("$share/g/t").unwrap(), options)];
    let subscribe = fieldway::mqtt::Subscribe { packet_id: 9, subscription_id: None, filters, user: Vec::new() };
    member.send(&fieldway::mqtt::Packet::Subscribe(subscribe)).await;
    assert_eq!(member.closed().await, Some(Reason::PROTOCOL_ERROR));
}
