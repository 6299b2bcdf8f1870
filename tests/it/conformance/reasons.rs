//! Reason codes of MQTT 5 (§2.4, §4.13) that a broker has to give, where no other file asks for them.

use super::{broker, client};
use crate::support::wire::{
    Connect, Packet, Publish, Version, Wire, ack, first, four, property, subscribe, text, unique,
};

const V5: Version = Version::V5;

/// v5 [MQTT-3.4.2-1], v5 [MQTT-3.5.2-1]
#[tokio::test]
async fn mqtt_v5_3_4_2_1_a_message_that_nobody_wants_is_accepted_all_the_same() {
    let mut wire = client(V5).await;
    for qos in [1, 2] {
        let reason = wire.publish(Publish::new(&unique("nobody"), "x").qos(qos, 0)).await;
        assert!([0, 0x10].contains(&reason), "{reason:#x}");
    }
}

/// v5 [MQTT-3.6.2-1], v5 [MQTT-3.7.2-1]
#[tokio::test]
async fn mqtt_v5_3_7_2_1_an_unknown_packet_id_is_answered_with_0x92_and_ends_nothing() {
    let mut wire = client(V5).await;
    wire.send(&ack(first::PUBREL, 1)).await;
    assert_eq!(wire.ack(first::PUBCOMP, 1).await, 0x92);
    wire.send(&ack(first::PUBREC, 2)).await;
    assert_eq!(wire.ack(first::PUBREL, 2).await, 0x92);
    wire.quiet().await;
}

/// v5 [MQTT-3.14.2-1], v5 [MQTT-3.14.2-2], v5 [MQTT-3.14.4-1], v5 [MQTT-3.14.4-2], v5 [MQTT-4.13.2-1]
#[tokio::test]
async fn mqtt_v5_3_14_2_1_each_way_of_being_put_out_has_its_reason() {
    let alias = crate::support::wire::two(property::TOPIC_ALIAS, 60_000);
    for (what, bytes, expected) in [
        ("malformed", vec![0x82, 2, 0, 1], &[0x81, 0x82][..]),
        ("second CONNECT", Connect::new(V5, "x").bytes(), &[0x82]),
        ("alias", Publish::new("t", "x").with(alias).bytes(V5), &[0x94]),
        ("AUTH", vec![0xF0, 0], &[0x82]),
    ] {
        let mut wire = client(V5).await;
        wire.send(&bytes).await;
        let reason = wire.closed().await.unwrap_or_else(|| panic!("{what}: no DISCONNECT"));
        assert!(expected.contains(&reason), "{what}: {reason:#x}");
    }
}

/// v5 [MQTT-3.14.2-3], v5 [MQTT-3.14.2-4]
#[tokio::test]
async fn mqtt_v5_3_14_2_3_the_words_of_a_disconnect_are_left_out_when_they_do_not_fit() {
    for size in [24, 30, 40, 60] {
        let connect = Connect::new(V5, &unique("narrow")).with(four(property::MAXIMUM_PACKET_SIZE, size));
        let mut wire = Wire::open(broker(), V5).await;
        wire.send(&connect.bytes()).await;
        // What does not even fit CONNACK's own numbers may be closed.
        match wire.next().await {
            Some(Packet::ConnAck(ack)) => assert_eq!(ack.code, 0),
            None => continue,
            other => panic!("{other:?}"),
        }
        wire.send(&[0x80, 0]).await;
        match wire.next().await {
            Some(Packet::Disconnect { reason, properties }) => {
                let words: usize = properties.iter().map(|(_, value)| format!("{value:?}").len()).sum();
                assert!(reason == 0x81 && words < size as usize, "{properties:?}");
            }
            other => panic!("{size}: {other:?}"),
        }
    }
}

/// v5 [MQTT-3.9.3-2], v5 [MQTT-3.8.4-7]
#[tokio::test]
async fn mqtt_v5_3_9_3_2_a_filter_that_can_not_be_granted_does_not_spoil_the_others() {
    let topic = unique("partly");
    let deep = format!("{topic}{}", "/a".repeat(2_000));
    let mut wire = client(V5).await;
    wire.send(&subscribe(V5, 9, &[(&topic, 2), (&deep, 1), (&format!("{topic}/b"), 0)])).await;
    let codes = wire.suback(9).await;
    assert!(codes[0] == 2 && codes[1] >= 0x80 && codes[2] == 0, "{codes:x?}");
    let mut old = client(Version::V311).await;
    let codes = old.subscribe_with(&[], &[(&topic, 2), (&deep, 1), (&format!("{topic}/b"), 0)]).await;
    assert_eq!(codes, [2, 0x80, 0]);
}

/// v5 [MQTT-4.12.0-4], v5 [MQTT-4.13.2-1]
#[tokio::test]
async fn mqtt_v5_4_12_0_4_after_a_refusal_nothing_but_the_end_comes() {
    let connect = Connect::new(V5, &unique("auth")).with(text(property::AUTH_METHOD, "x"));
    let mut wire = Wire::open(broker(), V5).await;
    wire.send(&connect.bytes()).await;
    assert!(matches!(wire.next().await, Some(Packet::ConnAck(ack)) if ack.code == 0x8C));
    wire.send(&[first::PINGREQ, 0]).await;
    assert_eq!(wire.next().await, None);
}
