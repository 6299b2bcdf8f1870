//! Wills (§3.1.2.5): published when a connection is lost, and only then. Those that take time are in `timed`.

use super::{broker, client};
use crate::support::wire::{
    BOTH, Connect, Publish, Value, Version, Will, Wire, byte, disconnect_with, four, packet, property, text, unique,
    user,
};

/// A client with a will, somebody who watches its topic, and that topic.
async fn testator(v: Version, shape: impl Fn(&mut Will)) -> (Wire, Wire, String) {
    let topic = unique("will");
    let mut watcher = client(v).await;
    watcher.subscribe(&topic, 2).await;
    let mut will = Will::new(&topic, "lost");
    shape(&mut will);
    let wire = Wire::connect(broker(), &Connect::new(v, &unique("will")).will(will)).await;
    (wire, watcher, topic)
}

/// Publishes "end" on the topic and tells whether that is all that came.
async fn nothing_but_end(watcher: &mut Wire, topic: &str) -> bool {
    client(watcher.version).await.publish(Publish::new(topic, "end").qos(1, 0)).await;
    watcher.message().await.text() == "end"
}

/// [MQTT-3.1.2-8], v5 [MQTT-3.1.2-7], v311 [MQTT-3.1.2-16], v5 [MQTT-3.1.2-14], [MQTT-3.1.2-10]
#[tokio::test]
async fn mqtt_3_1_2_8_a_will_is_published_once_when_the_connection_is_lost() {
    for v in BOTH {
        for qos in 0..3 {
            let (wire, mut watcher, topic) = testator(v, |will| will.qos = qos).await;
            drop(wire);
            let message = watcher.message().await;
            assert_eq!((message.text(), message.qos, message.retain), ("lost", qos, false), "{v:?}");
            assert!(nothing_but_end(&mut watcher, &topic).await);
            let mut late = client(v).await;
            late.subscribe(&topic, 0).await;
            assert!(nothing_but_end(&mut late, &topic).await, "it is not retained");
        }
    }
}

/// v311 [MQTT-3.1.2-17], v5 [MQTT-3.1.2-15]
#[tokio::test]
async fn mqtt_v5_3_1_2_15_a_will_that_is_to_be_retained_is() {
    for v in BOTH {
        let (wire, mut watcher, topic) = testator(v, |will| (will.qos, will.retain) = (1, true)).await;
        drop(wire);
        assert!(!watcher.message().await.retain);
        let mut late = client(v).await;
        late.subscribe(&topic, 2).await;
        let message = late.message().await;
        assert_eq!((message.text(), message.retain, message.qos), ("lost", true, 1));
        late.publish(Publish::new(&topic, "").qos(1, 0).retained()).await;
    }
}

/// [MQTT-3.14.4-3], [MQTT-3.1.2-10]
#[tokio::test]
async fn mqtt_3_14_4_3_disconnect_takes_the_will_away() {
    for v in BOTH {
        let (wire, mut watcher, topic) = testator(v, |_| ()).await;
        wire.leave().await;
        assert!(nothing_but_end(&mut watcher, &topic).await, "{v:?}");
    }
}

/// v5 [MQTT-3.1.2-8], v5 [MQTT-3.14.4-3]
#[tokio::test]
async fn mqtt_v5_3_1_2_8_disconnect_with_any_other_reason_publishes_it() {
    for reason in [0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99] {
        let (mut wire, mut watcher, _) = testator(Version::V5, |_| ()).await;
        wire.send(&disconnect_with(reason, &text(property::REASON_STRING, "why"))).await;
        assert_eq!(watcher.message().await.text(), "lost", "{reason:#x}");
        assert_eq!(wire.closed().await, None);
    }
}

/// [MQTT-3.1.2-8]
#[tokio::test]
async fn a_protocol_error_of_the_client_publishes_its_will() {
    for v in BOTH {
        let (mut wire, mut watcher, _) = testator(v, |_| ()).await;
        // A SUBSCRIBE with wrong flags.
        wire.send(&packet(0x80, &[&[0, 1]])).await;
        assert_eq!(watcher.message().await.text(), "lost", "{v:?}");
        assert_eq!(wire.closed().await, (v == Version::V5).then_some(0x81));
    }
}

/// [MQTT-3.1.2-8], v311 [MQTT-3.1.4-2], v5 [MQTT-3.1.4-3]
#[tokio::test]
async fn a_takeover_publishes_the_will_of_the_one_that_goes() {
    for v in BOTH {
        let topic = unique("will");
        let mut watcher = client(v).await;
        watcher.subscribe(&topic, 1).await;
        let id = unique("taken");
        let mut first = Wire::connect(broker(), &Connect::new(v, &id).will(Will::new(&topic, "first"))).await;
        let second = Wire::connect(broker(), &Connect::new(v, &id).will(Will::new(&topic, "second"))).await;
        assert_eq!(watcher.message().await.text(), "first");
        assert_eq!(first.closed().await, (v == Version::V5).then_some(0x8E));
        // The will of the one that stays is still its own.
        drop(second);
        assert_eq!(watcher.message().await.text(), "second", "{v:?}");
    }
}

/// v311 [MQTT-3.1.2-12]
#[tokio::test]
async fn mqtt_v311_3_1_2_12_without_a_will_nothing_is_published_in_the_clients_name() {
    for v in BOTH {
        let (topic, id) = (unique("will"), unique("will"));
        let mut watcher = client(v).await;
        watcher.subscribe(&topic, 1).await;
        // The will of a session before this one is gone too.
        Wire::connect(broker(), &Connect::new(v, &id).will(Will::new(&topic, "lost"))).await.leave().await;
        drop(Wire::connect(broker(), &Connect::new(v, &id)).await);
        Wire::connect(broker(), &Connect::new(v, &id)).await.leave().await;
        assert!(nothing_but_end(&mut watcher, &topic).await, "{v:?}");
    }
}

/// v311 [MQTT-3.1.2-9], v5 [MQTT-3.1.2-9], v5 [MQTT-3.1.3-10]
#[tokio::test]
async fn mqtt_v5_3_1_3_10_a_will_carries_its_properties_unaltered_and_in_order() {
    let list = [
        byte(property::PAYLOAD_FORMAT, 1),
        four(property::MESSAGE_EXPIRY, 500),
        text(property::CONTENT_TYPE, "text/plain"),
        text(property::RESPONSE_TOPIC, "answer/here"),
        text(property::CORRELATION_DATA, b"\x00\xFF"),
        user("b", "1"),
        user("a", "2"),
        user("b", "3"),
    ];
    let (wire, mut watcher, _) = testator(Version::V5, |will| will.properties = list.concat()).await;
    drop(wire);
    let message = watcher.message().await;
    assert_eq!(message.property(property::PAYLOAD_FORMAT), [Value::Number(1)]);
    assert!(matches!(message.property(property::MESSAGE_EXPIRY)[..], [Value::Number(1..=500)]));
    assert_eq!(message.property(property::CONTENT_TYPE), [Value::Text("text/plain".into())]);
    assert_eq!(message.property(property::RESPONSE_TOPIC), [Value::Text("answer/here".into())]);
    assert_eq!(message.property(property::CORRELATION_DATA), [Value::Binary(vec![0, 0xFF])]);
    let pairs: Vec<_> = ["b1", "a2", "b3"].iter().map(|p| Value::Pair(p[..1].into(), p[1..].into())).collect();
    assert_eq!(message.property(property::USER), pairs);
}

/// v5 [MQTT-3.1.3-9]
#[tokio::test]
async fn mqtt_v5_3_1_3_9_a_will_that_waits_is_not_sent_when_its_client_comes_back() {
    let topic = unique("will");
    let mut watcher = client(Version::V5).await;
    watcher.subscribe(&topic, 1).await;
    let mut will = Will::new(&topic, "lost");
    will.properties = four(property::WILL_DELAY, 1_000);
    let connect = Connect::persistent(Version::V5, &unique("will"));
    drop(Wire::connect(broker(), &connect.clone().will(will.clone())).await);
    let wire = Wire::connect(broker(), &connect).await;
    assert!(nothing_but_end(&mut watcher, &topic).await, "it came back in time");
    wire.leave().await;
    // At a takeover it waits as well, and then the new connection has it taken back.
    let mut old = Wire::connect(broker(), &connect.clone().will(will)).await;
    let _new = Wire::connect(broker(), &connect).await;
    assert_eq!(old.closed().await, Some(0x8E));
    assert!(nothing_but_end(&mut watcher, &topic).await);
}

/// v5 [MQTT-3.1.2-8], v5 [MQTT-3.1.4-3]
#[tokio::test]
async fn a_will_that_waits_is_sent_when_a_takeover_with_a_clean_start_ends_its_session() {
    let topic = unique("will");
    let mut watcher = client(Version::V5).await;
    watcher.subscribe(&topic, 1).await;
    let mut will = Will::new(&topic, "lost");
    will.properties = four(property::WILL_DELAY, 1_000);
    let connect = Connect::persistent(Version::V5, &unique("will"));
    let _old = Wire::connect(broker(), &connect.clone().will(will)).await;
    Wire::connect(broker(), &Connect { clean: true, ..connect }).await.leave().await;
    assert_eq!(watcher.message().await.text(), "lost");
}

/// v5 [MQTT-3.1.2-8]
#[tokio::test]
async fn a_will_delay_is_cut_short_when_the_session_ends_with_the_connection() {
    let (wire, mut watcher, _) =
        testator(Version::V5, |will| will.properties = four(property::WILL_DELAY, 1_000)).await;
    drop(wire);
    assert_eq!(watcher.message().await.text(), "lost");
}
