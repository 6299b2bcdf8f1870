//! PUBLISH at QoS 0 and 1, both ways (§3.3, §4.3.1, §4.3.2), and what the acknowledgements name.

use std::collections::HashSet;

use super::{broker, client};
use crate::support::wire::{BOTH, Connect, Packet, Publish, Version, Wire, ack, first, subscribe, unique};

/// A publisher and a subscriber of a topic of their own, in this version, granted this QoS.
pub async fn pair(v: Version, qos: u8) -> (Wire, Wire, String) {
    let topic = unique("pair");
    let mut subscriber = client(v).await;
    assert_eq!(subscriber.subscribe(&topic, qos).await, qos);
    (client(v).await, subscriber, topic)
}

/// [MQTT-3.3.4-1], [MQTT-4.3.1-1], v311 [MQTT-2.3.1-6], v5 [MQTT-2.2.1-5], v5 [MQTT-4.3.2-4], v5 [MQTT-3.4.2-1], v5 [MQTT-3.5.2-1]
#[tokio::test]
async fn mqtt_3_3_4_1_qos_0_is_not_answered_qos_1_by_puback_and_qos_2_by_pubrec() {
    for v in BOTH {
        let mut wire = client(v).await;
        let topic = unique("answer");
        wire.send(&Publish::new(&topic, "x").bytes(v)).await;
        wire.quiet().await;
        for id in [1, 0x1234, 0xFFFF] {
            for (qos, answer) in [(1, first::PUBACK), (2, first::PUBREC)] {
                wire.send(&Publish::new(&topic, "x").qos(qos, id).bytes(v)).await;
                match wire.next().await {
                    Some(Packet::Ack(ack)) => assert_eq!((ack.first, ack.id), (answer, id), "{v:?}"),
                    other => panic!("{other:?}"),
                }
            }
            wire.send(&ack(first::PUBREL, id)).await;
            assert_eq!(wire.ack(first::PUBCOMP, id).await, 0);
        }
    }
}

/// [MQTT-3.3.1-2], v311 [MQTT-2.3.1-5], v5 [MQTT-2.2.1-2], v5 [MQTT-2.2.2-1], v5 [MQTT-1.5.5-1], v5 [MQTT-2.1.3-1], v311 [MQTT-2.2.2-1]
#[tokio::test]
async fn mqtt_3_3_1_2_what_is_delivered_at_qos_0_has_neither_dup_nor_packet_id() {
    for v in BOTH {
        let (mut publisher, mut subscriber, topic) = pair(v, 0).await;
        for qos in 0..3 {
            publisher.publish(Publish::new(&topic, qos.to_string()).qos(qos, 0)).await;
            let message = subscriber.message().await;
            // A packet id would stand at the beginning of the payload.
            assert_eq!(
                (message.text(), message.qos, message.dup, message.retain),
                (&*qos.to_string(), 0, false, false)
            );
        }
    }
}

/// [MQTT-3.3.1-3], [MQTT-3.3.2-3], [MQTT-4.3.2-1], v5 [MQTT-4.3.2-2], v5 [MQTT-4.3.3-2]
#[tokio::test]
async fn mqtt_3_3_1_3_dup_of_a_publisher_is_its_own_and_not_passed_on() {
    for v in BOTH {
        let (mut publisher, mut subscriber, topic) = pair(v, 2).await;
        for qos in [1, 2] {
            publisher.publish(Publish::new(&topic, "x").qos(qos, 0).dup()).await;
            let message = subscriber.message().await;
            assert_eq!((message.topic(), message.qos, message.dup), (&*topic, qos, false), "{v:?}");
        }
    }
}

/// v311 [MQTT-4.3.2-2], v5 [MQTT-4.3.2-5]
#[tokio::test]
async fn mqtt_4_3_2_2_after_puback_the_same_packet_id_is_a_new_message_whatever_its_dup() {
    for v in BOTH {
        let (mut publisher, mut subscriber, topic) = pair(v, 1).await;
        for (payload, dup) in [("1", false), ("2", false), ("3", true)] {
            let publish = Publish { dup, ..Publish::new(&topic, payload).qos(1, 9) };
            publisher.send(&publish.bytes(v)).await;
            publisher.ack(first::PUBACK, 9).await;
            assert_eq!(subscriber.message().await.text(), payload);
        }
    }
}

/// v311 [MQTT-2.3.1-4], v5 [MQTT-2.2.1-4], v5 [MQTT-4.3.2-1], v5 [MQTT-4.3.2-3], v5 [MQTT-4.3.3-1]
#[tokio::test]
async fn mqtt_2_2_1_4_each_message_in_flight_to_a_client_has_a_packet_id_of_its_own() {
    for v in BOTH {
        let (mut publisher, mut subscriber, topic) = pair(v, 2).await;
        let mut ids = HashSet::new();
        for round in 0..3 {
            let mut held = Vec::new();
            for n in 0..20 {
                publisher.publish(Publish::new(&topic, n.to_string()).qos(1 + n % 2, 0)).await;
                held.push(subscriber.held().await);
            }
            ids.clear();
            assert!(held.iter().all(|message| message.id > 0 && ids.insert(message.id)), "round {round}: {held:?}");
            for message in &held {
                subscriber.settle(message).await;
            }
        }
        subscriber.quiet().await;
    }
}

/// [MQTT-4.4.0-1]
#[tokio::test]
async fn mqtt_4_4_0_1_on_a_connection_that_holds_nothing_is_sent_again() {
    for v in BOTH {
        let (mut publisher, mut subscriber, topic) = pair(v, 1).await;
        publisher.publish(Publish::new(&topic, "1").qos(1, 0)).await;
        subscriber.held().await;
        publisher.publish(Publish::new(&topic, "2").qos(1, 0)).await;
        assert_eq!(subscriber.held().await.text(), "2");
        subscriber.quiet().await;
    }
}

/// v311 [MQTT-4.6.0-2], v311 [MQTT-4.6.0-3], v311 [MQTT-4.6.0-4], v311 [MQTT-4.6.0-6]
#[tokio::test]
async fn mqtt_v311_4_6_0_2_acknowledgements_come_in_the_order_of_what_they_acknowledge() {
    for v in BOTH {
        let topic = unique("order");
        for (qos, answer) in [(1, first::PUBACK), (2, first::PUBREC)] {
            let mut wire = client(v).await;
            // Ids that go down, so that nobody sorts them by accident.
            let ids: Vec<u16> = (1..=30).rev().collect();
            let bytes: Vec<u8> = ids.iter().flat_map(|id| Publish::new(&topic, "x").qos(qos, *id).bytes(v)).collect();
            wire.send(&bytes).await;
            assert_eq!(acks(&mut wire, answer, ids.len()).await, ids);
            if qos == 2 {
                let bytes: Vec<u8> = ids.iter().flat_map(|id| ack(first::PUBREL, *id)).collect();
                wire.send(&bytes).await;
                assert_eq!(acks(&mut wire, first::PUBCOMP, ids.len()).await, ids);
            }
        }
        // And PUBREL of the broker in the order of the PUBRECs.
        let (mut publisher, mut subscriber, topic) = pair(v, 2).await;
        let mut ids = Vec::new();
        for _ in 0..10 {
            publisher.publish(Publish::new(&topic, "x").qos(2, 0)).await;
            ids.push(subscriber.held().await.id);
        }
        let bytes: Vec<u8> = ids.iter().flat_map(|id| ack(first::PUBREC, *id)).collect();
        subscriber.send(&bytes).await;
        assert_eq!(acks(&mut subscriber, first::PUBREL, ids.len()).await, ids);
    }
}

async fn acks(wire: &mut Wire, wanted: u8, count: usize) -> Vec<u16> {
    let mut ids = Vec::new();
    while ids.len() < count {
        match wire.next().await {
            Some(Packet::Ack(ack)) if ack.first == wanted => ids.push(ack.id),
            other => panic!("{other:?}"),
        }
    }
    ids
}

/// v311 [MQTT-4.6.0-5], v311 [MQTT-4.6.0-6], v5 [MQTT-4.6.0-5], v5 [MQTT-4.6.0-6]
#[tokio::test]
async fn mqtt_4_6_0_5_messages_of_one_publisher_come_in_its_order_at_each_qos() {
    for v in BOTH {
        for qos in 0..3 {
            let (mut publisher, mut subscriber, topic) = pair(v, qos).await;
            let all: Vec<String> = (0..300).map(|n| n.to_string()).collect();
            let bytes: Vec<u8> =
                (1..).zip(&all).flat_map(|(id, n)| Publish::new(&topic, n).qos(qos, id).bytes(v)).collect();
            publisher.send(&bytes).await;
            if qos == 2 {
                // A broker may wait for PUBREL before it delivers.
                let ids = acks(&mut publisher, first::PUBREC, all.len()).await;
                publisher.send(&ids.into_iter().flat_map(|id| ack(first::PUBREL, id)).collect::<Vec<u8>>()).await;
            }
            for n in &all {
                assert_eq!(subscriber.message().await.text(), n, "{v:?} QoS {qos}");
            }
        }
    }
}

/// v311 [MQTT-3.3.5-1], v5 [MQTT-3.3.4-2]
#[tokio::test]
async fn mqtt_3_3_5_1_overlapping_subscriptions_deliver_at_the_highest_qos_among_them() {
    for v in BOTH {
        let topic = unique("overlap");
        let mut wire = client(v).await;
        wire.subscribe_with(&[], &[(&format!("{topic}/#"), 0), (&format!("{topic}/+"), 2), (&format!("{topic}/a"), 1)])
            .await;
        client(v).await.publish(Publish::new(&format!("{topic}/a"), "x").qos(2, 0)).await;
        let sentinel = unique("sentinel");
        wire.subscribe(&sentinel, 0).await;
        client(v).await.publish(Publish::new(&sentinel, "end").qos(1, 0)).await;
        let mut highest = 0;
        loop {
            let message = wire.message().await;
            if message.text() == "end" {
                break;
            }
            highest = highest.max(message.qos);
        }
        assert_eq!(highest, 2, "{v:?}");
    }
}

/// [MQTT-4.5.0-1], v311 [MQTT-4.1.0-2], v5 [MQTT-4.1.0-1]
#[tokio::test]
async fn mqtt_4_5_0_1_everybody_who_subscribed_gets_the_message_whatever_version_he_speaks() {
    for from in BOTH {
        let topic = unique("all");
        let mut subscribers = Vec::new();
        for v in [Version::V311, Version::V5, Version::V311, Version::V5] {
            let mut wire = client(v).await;
            wire.subscribe(&topic, 2).await;
            subscribers.push(wire);
        }
        for qos in 0..3 {
            client(from).await.publish(Publish::new(&topic, [0, 255, 10]).qos(qos, 0)).await;
            for wire in &mut subscribers {
                let message = wire.message().await;
                assert_eq!((message.payload.as_slice(), message.qos), (&[0, 255, 10][..], qos));
            }
        }
    }
}

/// v311 [MQTT-3.8.4-6], v5 [MQTT-3.8.4-8]
#[tokio::test]
async fn mqtt_3_8_4_6_the_qos_of_a_delivery_is_the_lower_of_published_and_granted() {
    for v in BOTH {
        for granted in 0..3 {
            let (mut publisher, mut subscriber, topic) = pair(v, granted).await;
            for published in 0..3 {
                publisher.publish(Publish::new(&topic, "x").qos(published, 0)).await;
                assert_eq!(subscriber.message().await.qos, published.min(granted), "{v:?}");
            }
        }
    }
}

/// [MQTT-3.12.4-1]
#[tokio::test]
async fn mqtt_3_12_4_1_pingreq_is_answered() {
    for v in BOTH {
        let mut wire = client(v).await;
        wire.quiet().await;
        wire.send(&[first::PINGREQ, 0, first::PINGREQ, 0]).await;
        for _ in 0..2 {
            assert_eq!(wire.next().await, Some(Packet::PingResp));
        }
    }
}

/// v311 [MQTT-4.8.0-2], v311 [MQTT-7.1.1-1], v5 [MQTT-4.2-1]
#[tokio::test]
async fn mqtt_v311_4_8_0_2_a_packet_may_come_byte_by_byte_and_many_in_one_segment() {
    for v in BOTH {
        let topic = unique("slow");
        let mut wire = Wire::open(broker(), v).await;
        for byte in Connect::new(v, &unique("slow")).bytes() {
            wire.send(&[byte]).await;
        }
        assert!(matches!(wire.next().await, Some(Packet::ConnAck(_))));
        let publish = Publish::new(&topic, "x").bytes(v);
        for byte in [subscribe(v, 1, &[(&topic, 0)]), publish.clone()].concat() {
            wire.send(&[byte]).await;
        }
        assert_eq!(wire.message().await.text(), "x");
        wire.send(&publish.repeat(500)).await;
        for _ in 0..500 {
            assert_eq!(wire.message().await.text(), "x");
        }
    }
}
