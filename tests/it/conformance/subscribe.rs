//! SUBSCRIBE and SUBACK (§3.8, §3.9).

use super::client;
use crate::support::wire::{BOTH, Packet, Publish, Value, Version, property, subscribe, unique, variable};

/// [MQTT-3.8.4-1], [MQTT-3.8.4-2], v311 [MQTT-2.3.1-7], v5 [MQTT-2.2.1-6]
#[tokio::test]
async fn mqtt_3_8_4_2_suback_has_the_packet_id_of_its_subscribe() {
    for v in BOTH {
        let mut wire = client(v).await;
        for id in [1, 77, 0xFFFF] {
            wire.send(&subscribe(v, id, &[(&unique("t"), 0)])).await;
            match wire.next().await {
                Some(Packet::SubAck { id: answered, .. }) => assert_eq!(answered, id),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// v311 [MQTT-3.8.4-4], v311 [MQTT-3.8.4-5], [MQTT-3.9.3-1], [MQTT-3.9.3-2], v5 [MQTT-3.8.4-5], v5 [MQTT-3.8.4-6], v5 [MQTT-3.8.4-7]
#[tokio::test]
async fn mqtt_3_9_3_1_suback_has_a_code_for_each_filter_in_their_order() {
    for v in BOTH {
        let topic = unique("t");
        let filters: Vec<(String, u8)> = (0..9).map(|n| (format!("{topic}/{n}/#"), n * 2 % 3)).collect();
        let list: Vec<(&str, u8)> = filters.iter().map(|(filter, qos)| (filter.as_str(), *qos)).collect();
        let mut wire = client(v).await;
        assert_eq!(wire.subscribe_with(&[], &list).await, list.iter().map(|(_, qos)| *qos).collect::<Vec<_>>());
        for (n, qos) in list.iter().map(|(_, qos)| *qos).enumerate() {
            client(v).await.publish(Publish::new(&format!("{topic}/{n}"), "x").qos(2, 0)).await;
            assert_eq!(wire.message().await.qos, qos);
        }
    }
}

/// [MQTT-3.8.4-3], v311 [MQTT-3.8.4-4], v5 [MQTT-3.8.4-5]
#[tokio::test]
async fn mqtt_3_8_4_3_a_filter_that_is_subscribed_already_is_replaced() {
    for v in BOTH {
        let topic = unique("t");
        let mut wire = client(v).await;
        wire.subscribe(&topic, 2).await;
        wire.subscribe(&topic, 0).await;
        // And twice in one packet, as if in two.
        wire.subscribe_with(&[], &[(&topic, 2), (&topic, 1)]).await;
        client(v).await.publish(Publish::new(&topic, "once").qos(2, 0)).await;
        let message = wire.message().await;
        assert_eq!((message.text(), message.qos), ("once", 1), "{v:?}");
        wire.quiet().await;
        wire.unsubscribe(&[&topic]).await;
        client(v).await.publish(Publish::new(&topic, "gone").qos(2, 0)).await;
        wire.quiet().await;
    }
}

/// v5 [MQTT-3.8.4-3], v5 [MQTT-3.3.4-3]
#[tokio::test]
async fn mqtt_v5_3_8_4_3_a_replaced_subscription_has_the_new_options_and_identifier() {
    let topic = unique("t");
    let mut wire = client(Version::V5).await;
    wire.subscribe_with(&variable(property::SUBSCRIPTION_ID, 5), &[(&topic, 1)]).await;
    wire.subscribe_with(&variable(property::SUBSCRIPTION_ID, 6), &[(&topic, 1)]).await;
    let mut publisher = client(Version::V5).await;
    publisher.publish(Publish::new(&topic, "x").qos(1, 0)).await;
    assert_eq!(wire.message().await.property(property::SUBSCRIPTION_ID), [Value::Number(6)]);
    wire.subscribe(&topic, 1).await;
    publisher.publish(Publish::new(&topic, "x").qos(1, 0)).await;
    assert_eq!(wire.message().await.property(property::SUBSCRIPTION_ID), []);
}

/// v5 [MQTT-3.8.3-3]
#[tokio::test]
async fn mqtt_v5_3_8_3_3_no_local_keeps_a_clients_own_messages_from_it() {
    const NO_LOCAL: u8 = 0x04;
    let topic = unique("t");
    let (mut here, mut there) = (client(Version::V5).await, client(Version::V5).await);
    here.subscribe(&topic, NO_LOCAL | 2).await;
    there.subscribe(&topic, NO_LOCAL | 2).await;
    for qos in 0..3 {
        here.publish(Publish::new(&topic, "from here").qos(qos, 0)).await;
        assert_eq!(there.message().await.text(), "from here");
    }
    there.publish(Publish::new(&topic, "from there").qos(1, 0)).await;
    assert_eq!(here.message().await.text(), "from there");
    // Another of its subscriptions may still want them.
    here.subscribe(&format!("{topic}/#"), 0).await;
    here.publish(Publish::new(&topic, "own").qos(1, 0)).await;
    assert_eq!(here.message().await.text(), "own");
}

/// v5 [MQTT-3.3.4-3], v5 [MQTT-3.3.4-4], v5 [MQTT-3.3.4-5]
#[tokio::test]
async fn mqtt_v5_3_3_4_4_a_message_names_every_subscription_that_brought_it() {
    let topic = unique("t");
    let mut wire = client(Version::V5).await;
    for (filter, id) in [(topic.clone(), 1), (format!("{topic}/#"), 268_435_455), (format!("+/{topic}"), 9)] {
        wire.subscribe_with(&variable(property::SUBSCRIPTION_ID, id), &[(&filter, 1)]).await;
    }
    wire.subscribe(&format!("{topic}/b"), 1).await;
    let mut publisher = client(Version::V5).await;
    for (name, expected) in [
        (topic.clone(), vec![1, 268_435_455]),
        (format!("{topic}/b"), vec![268_435_455]),
        (format!("x/{topic}"), vec![9]),
    ] {
        publisher.publish(Publish::new(&name, "x").qos(1, 0)).await;
        // One copy with all identifiers, or a copy for each subscription with its own.
        let mut found = Vec::new();
        while found.len() < expected.len() {
            for id in wire.message().await.property(property::SUBSCRIPTION_ID) {
                found.push(if let Value::Number(id) = id { id } else { 0 });
            }
        }
        found.sort_unstable();
        assert_eq!(found, expected, "{name}");
    }
}

/// v311 [MQTT-3.8.3-2]
#[tokio::test]
async fn mqtt_v311_3_8_3_2_wildcards_are_supported() {
    for v in BOTH {
        let topic = unique("t");
        let mut wire = client(v).await;
        assert_eq!(wire.subscribe_with(&[], &[(&format!("{topic}/+/c"), 1), (&format!("{topic}/#"), 0)]).await, [1, 0]);
    }
}

/// [MQTT-3.8.4-1]
#[tokio::test]
async fn many_filters_in_one_packet_are_answered_in_one() {
    for v in BOTH {
        let topic = unique("t");
        let filters: Vec<String> = (0..500).map(|n| format!("{topic}/{n}")).collect();
        let list: Vec<(&str, u8)> = filters.iter().map(|filter| (filter.as_str(), 1)).collect();
        let mut wire = client(v).await;
        assert_eq!(wire.subscribe_with(&[], &list).await, [1; 500]);
        let all: Vec<&str> = filters.iter().map(String::as_str).collect();
        assert_eq!(wire.unsubscribe(&all).await.len(), if v == Version::V5 { 500 } else { 0 });
    }
}
