//! Pitfalls of serving MQTT that were met in libraries and brokers, as seen from outside. Some have their test with their subject;
//! `docs/conformance.md` lists all twelve.

use std::time::Duration;

use super::{broker, client};
use crate::support::wire::{
    BOTH, Connect, Packet, Publish, Version, Wire, ack, first, packet, property, subscribe, two, unique,
};

/// Pitfall 1: what made a library panic or was swallowed by it.
#[tokio::test]
async fn a_topic_alias_maximum_of_0_before_any_login_and_packet_id_0_twice_stop_nobody() {
    let mut wire = Wire::open(broker(), Version::V5).await;
    // CONNECT, 17 bytes, "MQTT" 5, clean start, keep-alive 10 s, three bytes of properties: Topic Alias Maximum 0; client id "c".
    let connect = b"\x10\x11\x00\x04MQTT\x05\x02\x00\x0A\x03\x22\x00\x00\x00\x01c";
    wire.send(connect).await;
    assert!(matches!(wire.next().await, Some(Packet::ConnAck(ack)) if ack.code == 0));
    wire.quiet().await;
    let mut bystander = client(Version::V311).await;
    for v in BOTH {
        let mut wire = client(v).await;
        wire.send(&Publish::new("t", "x").qos(2, 0).bytes(v).repeat(2)).await;
        wire.closed().await;
    }
    bystander.quiet().await;
}

/// Pitfall 2: a packet that only announces itself.
#[tokio::test]
async fn a_connect_of_256_megabytes_is_closed_before_it_comes() {
    for lead in [&b"\x10\xFF\xFF\xFF\x7F\x00\x04MQTT\x05"[..], b"\x10\xFF\xFF\xFF\x7F\x00\x04MQTT\x04\x02\x00\x00"] {
        let mut wire = Wire::open(broker(), Version::V5).await;
        wire.send(lead).await;
        let end = tokio::time::timeout(Duration::from_secs(5), wire.next()).await.expect("nothing is waited for");
        assert!(end.is_none() || matches!(end, Some(Packet::ConnAck(ack)) if ack.code >= 0x80));
    }
}

/// Pitfall 3: a repetition that overtakes the commit of the first.
#[tokio::test]
async fn a_qos_2_publish_and_its_repetition_in_one_segment_are_one_message() {
    for v in BOTH {
        let topic = unique("hasty");
        let kept = Connect::persistent(v, &unique("hasty"));
        let mut subscriber = Wire::connect(broker(), &kept).await;
        subscriber.subscribe(&topic, 2).await;
        let mut publisher = client(v).await;
        let publish = Publish::new(&topic, "once").qos(2, 7).retained();
        let twice = [publish.bytes(v), publish.clone().dup().bytes(v), publish.dup().bytes(v)].concat();
        publisher.send(&twice).await;
        for _ in 0..3 {
            assert!(publisher.ack(first::PUBREC, 7).await < 0x80, "{v:?}");
        }
        publisher.send(&ack(first::PUBREL, 7)).await;
        publisher.ack(first::PUBCOMP, 7).await;
        publisher.publish(Publish::new(&topic, "").qos(2, 0).retained()).await;
        assert_eq!(subscriber.message().await.text(), "once");
        assert_eq!(subscriber.message().await.text(), "");
    }
}

/// Pitfall 8: what a client sent after its mistake must not reset the connection before the reason is read.
#[tokio::test]
async fn the_reason_of_a_disconnect_is_not_eaten_by_what_came_after_the_mistake() {
    for _ in 0..5 {
        let mut wire = client(Version::V5).await;
        let mistake = packet(first::PUBLISH | 0x06, &[b"x"]);
        wire.send(&[mistake, vec![0; 300_000]].concat()).await;
        assert_eq!(wire.closed().await, Some(0x81));
    }
}

/// Pitfall 9: what belongs to one connection, on the way from one to another.
#[tokio::test]
async fn alias_dup_packet_id_and_retain_of_a_publisher_stay_with_it() {
    let topic = unique("fresh");
    let (mut plain, mut old) = (client(Version::V5).await, client(Version::V311).await);
    plain.subscribe(&topic, 1).await;
    old.subscribe(&topic, 1).await;
    let mut publisher = client(Version::V5).await;
    let publish = Publish::new(&topic, "x").qos(1, 60_123).retained().dup().with(two(property::TOPIC_ALIAS, 3));
    publisher.send(&publish.bytes(Version::V5)).await;
    publisher.ack(first::PUBACK, 60_123).await;
    for wire in [&mut plain, &mut old] {
        let message = wire.message().await;
        assert_eq!((message.topic(), message.dup, message.retain), (&*topic, false, false));
        assert!(message.id != 60_123 && message.properties.is_empty(), "{message:?}");
    }
    publisher.publish(Publish::new(&topic, "").qos(1, 0).retained()).await;
}

/// Pitfall 10: a session must come back from its connection, however that ends.
#[tokio::test]
async fn a_session_survives_a_connection_that_breaks_after_any_byte() {
    for v in BOTH {
        let (topic, own) = (unique("cut"), unique("cut"));
        let kept = Connect::persistent(v, &unique("cut"));
        let stream = [
            subscribe(v, 1, &[(&topic, 2)]),
            Publish::new(&own, "x").qos(2, 1).bytes(v),
            ack(first::PUBREL, 1),
            Publish::new(&own, "x").qos(1, 2).bytes(v),
        ]
        .concat();
        let mut wire = Wire::connect(broker(), &kept).await;
        wire.subscribe(&topic, 1).await;
        drop(wire);
        for end in 0..stream.len() {
            let (mut wire, ack) = Wire::connect_ack(broker(), &kept).await;
            assert!(ack.session_present, "{v:?} after {end} bytes");
            wire.send(&stream[..end]).await;
        }
        let mut wire = Wire::connect(broker(), &kept).await;
        client(v).await.publish(Publish::new(&topic, "still there").qos(1, 0)).await;
        assert_eq!(wire.message().await.text(), "still there");
    }
}
