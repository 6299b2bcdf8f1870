//! Retained messages (§3.3.1.3, §3.8.3.1): one a topic, for whoever comes later.

use super::client;
use crate::support::wire::{BOTH, Publish, Version, Wire, four, property, text, unique, user};

/// Retain Handling, in the options byte of a subscription.
const SEND_IF_NEW: u8 = 0x10;
const DO_NOT_SEND: u8 = 0x20;
/// Retain As Published.
const AS_PUBLISHED: u8 = 0x08;

async fn retain(v: Version, topic: &str, payload: &str, qos: u8) {
    client(v).await.publish(Publish::new(topic, payload).qos(qos, 0).retained()).await;
}

/// Ends the messages of `wire`: everything that came before this one, payloads with retain flags.
async fn until_sentinel(wire: &mut Wire) -> Vec<(String, bool)> {
    let sentinel = unique("sentinel");
    wire.subscribe(&sentinel, 0).await;
    client(Version::V5).await.publish(Publish::new(&sentinel, "sentinel").qos(1, 0)).await;
    let mut out = Vec::new();
    loop {
        let message = wire.message().await;
        if message.topic() == sentinel {
            return out;
        }
        out.push((message.text().to_string(), message.retain));
    }
}

/// [MQTT-3.3.1-5], v311 [MQTT-3.3.1-6], v311 [MQTT-3.3.1-8], v5 [MQTT-3.3.1-9]
#[tokio::test]
async fn mqtt_3_3_1_5_a_new_subscriber_gets_the_last_retained_message_marked_as_such() {
    for v in BOTH {
        for qos in 0..3 {
            let topic = unique("last");
            for payload in ["old", "new"] {
                retain(v, &topic, payload, qos).await;
            }
            let mut wire = client(v).await;
            wire.subscribe(&topic, 2).await;
            let message = wire.message().await;
            assert_eq!((message.text(), message.retain, message.qos, message.dup), ("new", true, qos, false), "{v:?}");
            wire.quiet().await;
            retain(v, &topic, "", 1).await;
        }
    }
}

/// v311 [MQTT-3.3.1-7]
#[tokio::test]
async fn mqtt_v311_3_3_1_7_a_retained_message_at_qos_0_replaces_the_one_before() {
    for v in BOTH {
        let topic = unique("zero");
        retain(v, &topic, "old", 1).await;
        let mut wire = client(v).await;
        wire.publish(Publish::new(&topic, "new").retained()).await;
        wire.quiet().await;
        wire.subscribe(&topic, 2).await;
        // The broker may forget a message of QoS 0 at any time, but may not show the old one. This one keeps it.
        assert_eq!(until_sentinel(&mut wire).await, [("new".into(), true)]);
        retain(v, &topic, "", 1).await;
    }
}

/// v311 [MQTT-3.3.1-9], v5 [MQTT-3.3.1-12]
#[tokio::test]
async fn mqtt_v5_3_3_1_12_whoever_is_subscribed_already_gets_it_as_an_ordinary_message() {
    for v in BOTH {
        let topic = unique("live");
        let mut wire = client(v).await;
        wire.subscribe(&topic, 1).await;
        retain(v, &topic, "x", 1).await;
        let message = wire.message().await;
        assert_eq!((message.text(), message.retain), ("x", false), "{v:?}");
        retain(v, &topic, "", 1).await;
    }
}

/// v311 [MQTT-3.3.1-10], v311 [MQTT-3.3.1-11], v5 [MQTT-3.3.1-6], v5 [MQTT-3.3.1-7]
#[tokio::test]
async fn mqtt_v5_3_3_1_6_an_empty_one_is_delivered_as_usual_removes_what_was_kept_and_is_not_kept() {
    for v in BOTH {
        let topic = unique("empty");
        let mut live = client(v).await;
        live.subscribe(&topic, 1).await;
        for payload in ["x", "", ""] {
            retain(v, &topic, payload, 1).await;
            let message = live.message().await;
            assert_eq!((message.text(), message.retain), (payload, false), "{v:?}");
        }
        let mut late = client(v).await;
        late.subscribe(&topic, 1).await;
        assert_eq!(until_sentinel(&mut late).await, []);
    }
}

/// v311 [MQTT-3.3.1-12], v5 [MQTT-3.3.1-8]
#[tokio::test]
async fn mqtt_v5_3_3_1_8_an_ordinary_message_is_not_kept_and_leaves_what_is_kept_alone() {
    for v in BOTH {
        let (topic, other) = (unique("alone"), unique("alone"));
        retain(v, &topic, "kept", 1).await;
        let mut publisher = client(v).await;
        for payload in ["not kept", ""] {
            publisher.publish(Publish::new(&topic, payload).qos(1, 0)).await;
            publisher.publish(Publish::new(&other, payload).qos(1, 0)).await;
        }
        let mut late = client(v).await;
        late.subscribe_with(&[], &[(&topic, 1), (&other, 1)]).await;
        assert_eq!(until_sentinel(&mut late).await, [("kept".into(), true)]);
        retain(v, &topic, "", 1).await;
    }
}

/// v311 [MQTT-3.8.4-3], v5 [MQTT-3.3.1-9], v5 [MQTT-3.8.4-3], v5 [MQTT-3.8.4-4]
#[tokio::test]
async fn mqtt_v5_3_8_4_4_subscribing_again_sends_retained_messages_again_and_loses_none_meanwhile() {
    for v in BOTH {
        let topic = unique("again");
        retain(v, &topic, "kept", 1).await;
        let mut wire = client(v).await;
        for qos in [1, 0, 2] {
            wire.subscribe(&topic, qos).await;
            let message = wire.message().await;
            assert_eq!((message.text(), message.retain, message.qos), ("kept", true, qos.min(1)), "{v:?}");
        }
        // A stream of messages through a change of the subscription arrives whole.
        let mut publisher = client(v).await;
        let stream: Vec<u8> = (0..100).flat_map(|n| Publish::new(&topic, n.to_string()).bytes(v)).collect();
        publisher.send(&stream[..stream.len() / 2]).await;
        wire.subscribe(&topic, 0).await;
        publisher.send(&stream[stream.len() / 2..]).await;
        publisher.quiet().await;
        let live: Vec<_> = until_sentinel(&mut wire).await.into_iter().filter(|(_, retain)| !retain).collect();
        assert_eq!(live, (0..100).map(|n| (n.to_string(), false)).collect::<Vec<_>>());
        retain(v, &topic, "", 1).await;
    }
}

/// v5 [MQTT-3.3.1-10]
#[tokio::test]
async fn mqtt_v5_3_3_1_10_retain_handling_1_sends_to_a_new_subscription_alone() {
    let topic = unique("new");
    retain(Version::V5, &topic, "x", 1).await;
    let mut wire = client(Version::V5).await;
    wire.subscribe(&topic, SEND_IF_NEW | 1).await;
    assert_eq!(until_sentinel(&mut wire).await, [("x".into(), true)]);
    wire.subscribe(&topic, SEND_IF_NEW).await;
    assert_eq!(until_sentinel(&mut wire).await, []);
    wire.unsubscribe(&[&topic]).await;
    wire.subscribe(&topic, SEND_IF_NEW).await;
    assert_eq!(until_sentinel(&mut wire).await, [("x".into(), true)]);
    retain(Version::V5, &topic, "", 1).await;
}

/// v5 [MQTT-3.3.1-11]
#[tokio::test]
async fn mqtt_v5_3_3_1_11_retain_handling_2_sends_none() {
    let topic = unique("none");
    retain(Version::V5, &topic, "x", 1).await;
    let mut wire = client(Version::V5).await;
    for _ in 0..2 {
        wire.subscribe(&topic, DO_NOT_SEND | 1).await;
        assert_eq!(until_sentinel(&mut wire).await, []);
    }
    retain(Version::V5, &topic, "", 1).await;
}

/// v5 [MQTT-3.3.1-12], v5 [MQTT-3.3.1-13]
#[tokio::test]
async fn mqtt_v5_3_3_1_13_retain_as_published_keeps_the_flag_as_the_publisher_set_it() {
    let topic = unique("flag");
    let (mut plain, mut faithful) = (client(Version::V5).await, client(Version::V5).await);
    plain.subscribe(&topic, 1).await;
    faithful.subscribe(&topic, AS_PUBLISHED | 1).await;
    let mut publisher = client(Version::V5).await;
    for flag in [true, false] {
        publisher.publish(Publish { retain: flag, ..Publish::new(&topic, "x").qos(1, 0) }).await;
        assert!(!plain.message().await.retain);
        assert_eq!(faithful.message().await.retain, flag);
    }
    // What was retained before the subscription is marked in either case.
    for options in [0, AS_PUBLISHED] {
        let mut late = client(Version::V5).await;
        late.subscribe(&topic, options).await;
        assert!(late.message().await.retain);
    }
    retain(Version::V5, &topic, "", 1).await;
}

/// [MQTT-3.3.1-5], v5 [MQTT-3.3.2-17]
#[tokio::test]
async fn a_retained_message_keeps_its_properties() {
    let topic = unique("rich");
    let publish = Publish::new(&topic, "x").qos(1, 0).retained();
    let publish = publish.with(user("a", "1")).with(text(property::CONTENT_TYPE, "c")).with(user("a", "2"));
    let mut wire = client(Version::V5).await;
    wire.publish(publish.with(four(property::MESSAGE_EXPIRY, 1_000))).await;
    wire.subscribe(&topic, 1).await;
    let message = wire.message().await;
    assert_eq!(message.property(property::USER).len(), 2);
    assert_eq!(message.property(property::CONTENT_TYPE).len(), 1);
    assert_eq!(message.property(property::MESSAGE_EXPIRY).len(), 1);
    // And somebody who speaks 3.1.1 gets it without them.
    let mut old = client(Version::V311).await;
    old.subscribe(&topic, 1).await;
    assert_eq!(old.message().await.text(), "x");
    retain(Version::V5, &topic, "", 1).await;
}

/// [MQTT-3.3.1-5], v5 [MQTT-3.3.1-9]
#[tokio::test]
async fn two_thousand_retained_messages_reach_a_new_subscriber_all_of_them() {
    let root = unique("many");
    let mut publisher = client(Version::V311).await;
    let stream = |payload: &str| -> Vec<u8> {
        (0..2_000).flat_map(|n| Publish::new(&format!("{root}/{n}"), payload).retained().bytes(Version::V311)).collect()
    };
    publisher.send(&stream("x")).await;
    publisher.quiet().await;
    for qos in [0, 1] {
        let mut wire = client(Version::V311).await;
        wire.subscribe(&format!("{root}/+"), qos).await;
        let mut seen = std::collections::HashSet::new();
        while seen.len() < 2_000 {
            assert!(seen.insert(wire.message().await.topic), "twice");
        }
        assert_eq!(until_sentinel(&mut wire).await, []);
    }
    publisher.send(&stream("")).await;
    publisher.quiet().await;
}
