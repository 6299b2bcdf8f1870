//! Clean Session, Clean Start and Session Present (§3.1.2.4, §3.2.2.1): which state outlives a connection, and what is said about it.

use super::{broker, client};
use crate::support::wire::{BOTH, Connect, Publish, Version, Wire, disconnect_with, four, property, unique};

async fn present(connect: &Connect) -> bool {
    let (wire, ack) = Wire::connect_ack(broker(), connect).await;
    wire.leave().await;
    ack.session_present
}

/// v311 [MQTT-3.2.2-1], v311 [MQTT-3.2.2-2], v311 [MQTT-3.2.2-3], v5 [MQTT-3.2.2-1], v5 [MQTT-3.2.2-2], v5 [MQTT-3.2.2-3], v5 [MQTT-3.1.2-6]
#[tokio::test]
async fn mqtt_3_2_2_2_session_present_says_whether_there_was_a_session_and_it_was_wanted() {
    for v in BOTH {
        let kept = Connect::persistent(v, &unique("present"));
        let clean = Connect { clean: true, ..kept.clone() };
        assert!(!present(&kept).await, "{v:?}: there was none");
        assert!(present(&kept).await, "{v:?}: there was one");
        assert!(present(&kept).await);
        assert!(!present(&clean).await, "{v:?}: it was not wanted");
        // What a clean session leaves behind: nothing in 3.1.1, in MQTT 5 what its expiry says.
        assert_eq!(present(&kept).await, v == Version::V5, "{v:?}");
    }
}

/// v311 [MQTT-3.1.2-4], v311 [MQTT-3.1.4-3], v5 [MQTT-3.1.2-5], v5 [MQTT-3.1.2-23]
#[tokio::test]
async fn mqtt_3_1_2_4_subscriptions_of_a_kept_session_are_there_after_a_reconnect() {
    for v in BOTH {
        let topic = unique("kept");
        let connect = Connect::persistent(v, &unique("kept"));
        let mut wire = Wire::connect(broker(), &connect).await;
        wire.subscribe_with(&[], &[(&topic, 1), (&format!("{topic}/+/x"), 0)]).await;
        wire.leave().await;
        let mut wire = Wire::connect(broker(), &connect).await;
        let mut publisher = client(v).await;
        publisher.publish(Publish::new(&topic, "1").qos(1, 0)).await;
        publisher.publish(Publish::new(&format!("{topic}/y/x"), "2")).await;
        assert_eq!(wire.message().await.text(), "1");
        assert_eq!(wire.message().await.text(), "2");
        wire.unsubscribe(&[&topic]).await;
        wire.leave().await;
        let mut wire = Wire::connect(broker(), &connect).await;
        publisher.publish(Publish::new(&topic, "3").qos(1, 0)).await;
        publisher.publish(Publish::new(&format!("{topic}/y/x"), "4").qos(1, 0)).await;
        assert_eq!(wire.message().await.text(), "4");
    }
}

/// v311 [MQTT-3.1.2-6], v311 [MQTT-3.1.4-3], v5 [MQTT-3.1.2-4], v5 [MQTT-3.1.4-4]
#[tokio::test]
async fn mqtt_3_1_2_6_a_clean_session_begins_with_nothing_of_the_one_before() {
    for v in BOTH {
        let topic = unique("clean");
        let kept = Connect::persistent(v, &unique("clean"));
        let mut wire = Wire::connect(broker(), &kept).await;
        wire.subscribe(&topic, 2).await;
        let mut publisher = client(v).await;
        publisher.publish(Publish::new(&topic, "in flight").qos(2, 0)).await;
        wire.held().await;
        drop(wire);
        publisher.publish(Publish::new(&topic, "queued").qos(1, 0)).await;
        let mut wire = Wire::connect(broker(), &Connect { clean: true, ..kept.clone() }).await;
        publisher.publish(Publish::new(&topic, "not subscribed").qos(1, 0)).await;
        wire.quiet().await;
        drop(wire);
        let mut wire = Wire::connect(broker(), &kept).await;
        publisher.publish(Publish::new(&topic, "nor now").qos(1, 0)).await;
        wire.quiet().await;
    }
}

/// v5 [MQTT-3.1.2-23], v311 [MQTT-3.1.2-6]
#[tokio::test]
async fn mqtt_v5_3_1_2_23_without_an_expiry_a_session_ends_with_its_connection() {
    let topic = unique("short");
    let connect = Connect { clean: false, ..Connect::new(Version::V5, &unique("short")) };
    let mut wire = Wire::connect(broker(), &connect).await;
    wire.subscribe(&topic, 1).await;
    wire.leave().await;
    let (mut wire, ack) = Wire::connect_ack(broker(), &connect).await;
    assert!(!ack.session_present);
    client(Version::V5).await.publish(Publish::new(&topic, "x").qos(1, 0)).await;
    wire.quiet().await;
}

/// v5 [MQTT-3.1.2-23]
#[tokio::test]
async fn disconnect_may_end_a_session_at_once_or_prolong_it() {
    let kept = Connect { clean: false, ..Connect::persistent(Version::V5, &unique("changed")) };
    for (expiry, expected) in [(0, false), (7_200, true)] {
        let mut wire = Wire::connect(broker(), &kept).await;
        wire.send(&disconnect_with(0, &four(property::SESSION_EXPIRY, expiry))).await;
        assert_eq!(wire.closed().await, None);
        assert_eq!(present(&kept).await, expected, "{expiry}");
    }
}

/// v5 [MQTT-4.13.1-1]
#[tokio::test]
async fn a_session_that_ends_with_its_connection_can_not_be_prolonged_at_its_end() {
    let mut wire = client(Version::V5).await;
    wire.send(&disconnect_with(0, &four(property::SESSION_EXPIRY, 10))).await;
    assert_eq!(wire.closed().await, Some(0x82));
}

/// v311 [MQTT-3.1.2-7]
#[tokio::test]
async fn mqtt_v311_3_1_2_7_retained_messages_are_no_part_of_a_session() {
    for v in BOTH {
        let topic = unique("stays");
        let connect = Connect::new(v, &unique("stays"));
        let mut wire = Wire::connect(broker(), &connect).await;
        wire.publish(Publish::new(&topic, "stays").qos(1, 0).retained()).await;
        wire.leave().await;
        Wire::connect(broker(), &connect).await.leave().await;
        let mut wire = client(v).await;
        wire.subscribe(&topic, 0).await;
        assert_eq!(wire.message().await.text(), "stays");
        wire.publish(Publish::new(&topic, "").qos(1, 0).retained()).await;
    }
}

/// v5 [MQTT-3.2.2-3]
#[tokio::test]
async fn the_expiry_that_is_granted_is_told_when_it_differs_from_what_was_asked() {
    let connect = Connect::persistent(Version::V5, &unique("granted"));
    let (_, ack) = Wire::connect_ack(broker(), &connect).await;
    assert!(matches!(ack.number(property::SESSION_EXPIRY), None | Some(3_600)), "{ack:?}");
    let forever = Connect::new(Version::V5, &unique("granted")).with(four(property::SESSION_EXPIRY, u32::MAX));
    let (_, ack) = Wire::connect_ack(broker(), &forever).await;
    assert_ne!(ack.number(property::SESSION_EXPIRY), Some(0), "a session that is asked for is granted");
}

/// v311 [MQTT-3.3.1-6], v5 [MQTT-3.3.1-9]
#[tokio::test]
async fn a_resumed_session_is_not_sent_retained_messages_again() {
    for v in BOTH {
        let topic = unique("again");
        let mut publisher = client(v).await;
        publisher.publish(Publish::new(&topic, "kept").qos(1, 0).retained()).await;
        let connect = Connect::persistent(v, &unique("again"));
        let mut wire = Wire::connect(broker(), &connect).await;
        wire.subscribe(&topic, 1).await;
        assert!(wire.message().await.retain);
        wire.quiet().await;
        wire.leave().await;
        let mut wire = Wire::connect(broker(), &connect).await;
        wire.quiet().await;
        publisher.publish(Publish::new(&topic, "").qos(1, 0).retained()).await;
        assert_eq!(wire.message().await.text(), "", "{v:?}");
    }
}
