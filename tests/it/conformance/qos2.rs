//! QoS 2 (§4.3.3): exactly once, in both directions, whatever is repeated.

use super::publish::pair;
use super::{broker, client};
use crate::support::wire::{BOTH, Connect, Packet, Publish, Version, Wire, ack, ack_with, first, unique};

/// v311 [MQTT-4.3.3-2], v5 [MQTT-4.3.3-8], v5 [MQTT-4.3.3-10], v5 [MQTT-4.3.3-11], v5 [MQTT-3.7.2-1]
#[tokio::test]
async fn mqtt_v5_4_3_3_10_a_publish_repeated_before_pubrel_is_answered_again_and_delivered_once() {
    for v in BOTH {
        let (mut publisher, mut subscriber, topic) = pair(v, 2).await;
        let publish = Publish::new(&topic, "once").qos(2, 7);
        for repetition in [publish.clone(), publish.clone().dup(), publish.dup()] {
            publisher.send(&repetition.bytes(v)).await;
            assert!(publisher.ack(first::PUBREC, 7).await < 0x80);
        }
        // A PUBREL may be repeated too.
        for _ in 0..2 {
            publisher.send(&ack(first::PUBREL, 7)).await;
            publisher.ack(first::PUBCOMP, 7).await;
        }
        assert_eq!(subscriber.message().await.text(), "once");
        publisher.publish(Publish::new(&topic, "next").qos(2, 0)).await;
        assert_eq!(subscriber.message().await.text(), "next");
    }
}

/// v311 [MQTT-4.3.3-2], v5 [MQTT-4.3.3-12]
#[tokio::test]
async fn mqtt_v5_4_3_3_12_after_pubcomp_the_same_packet_id_is_a_new_message() {
    for v in BOTH {
        let (mut publisher, mut subscriber, topic) = pair(v, 2).await;
        for payload in ["1", "2", "2"] {
            publisher.send(&Publish::new(&topic, payload).qos(2, 7).bytes(v)).await;
            publisher.ack(first::PUBREC, 7).await;
            publisher.send(&ack(first::PUBREL, 7)).await;
            assert_eq!(publisher.ack(first::PUBCOMP, 7).await, 0);
            assert_eq!(subscriber.message().await.text(), payload);
        }
    }
}

/// v311 [MQTT-4.3.3-1], v5 [MQTT-4.3.3-3], v5 [MQTT-4.3.3-4], v5 [MQTT-4.3.3-5], v5 [MQTT-3.6.2-1]
#[tokio::test]
async fn mqtt_v5_4_3_3_4_pubrec_is_answered_by_pubrel_with_the_id_of_the_publish() {
    for v in BOTH {
        let (mut publisher, mut subscriber, topic) = pair(v, 2).await;
        publisher.publish(Publish::new(&topic, "x").qos(2, 0)).await;
        let message = subscriber.held().await;
        assert_eq!((message.qos, message.dup), (2, false));
        for _ in 0..2 {
            subscriber.send(&ack(first::PUBREC, message.id)).await;
            assert_eq!(subscriber.ack(first::PUBREL, message.id).await, 0, "{v:?}");
        }
        subscriber.send(&ack(first::PUBCOMP, message.id)).await;
        subscriber.quiet().await;
    }
}

/// v5 [MQTT-4.3.3-4], pitfall 5
#[tokio::test]
async fn mqtt_v5_4_3_3_4_no_matching_subscribers_in_pubrec_is_a_success() {
    let (mut publisher, mut subscriber, topic) = pair(Version::V5, 2).await;
    publisher.publish(Publish::new(&topic, "x").qos(2, 0)).await;
    let message = subscriber.held().await;
    subscriber.send(&ack_with(first::PUBREC, message.id, 0x10)).await;
    assert_eq!(subscriber.ack(first::PUBREL, message.id).await, 0);
}

/// v5 [MQTT-4.4.0-2]
#[tokio::test]
async fn mqtt_v5_4_4_0_2_what_a_client_refuses_is_settled_and_not_sent_again() {
    for (qos, answer) in [(1, first::PUBACK), (2, first::PUBREC)] {
        let topic = unique("refuses");
        let connect = Connect::persistent(Version::V5, &unique("refuses"));
        let mut subscriber = Wire::connect(broker(), &connect).await;
        subscriber.subscribe(&topic, qos).await;
        client(Version::V5).await.publish(Publish::new(&topic, "x").qos(qos, 0)).await;
        let message = subscriber.held().await;
        subscriber.send(&ack_with(answer, message.id, 0x83)).await;
        // No PUBREL follows a PUBREC that refuses.
        subscriber.quiet().await;
        drop(subscriber);
        let (mut subscriber, ack) = Wire::connect_ack(broker(), &connect).await;
        assert!(ack.session_present);
        subscriber.quiet().await;
    }
}

/// v311 [MQTT-4.3.3-1], v5 [MQTT-4.3.3-6], [MQTT-4.4.0-1], [MQTT-3.3.1-1], pitfall 12
#[tokio::test]
async fn mqtt_v5_4_3_3_6_once_pubrel_was_sent_a_reconnect_repeats_pubrel_and_never_the_publish() {
    for v in BOTH {
        let topic = unique("release");
        let connect = Connect::persistent(v, &unique("release"));
        let mut subscriber = Wire::connect(broker(), &connect).await;
        subscriber.subscribe(&topic, 2).await;
        let mut publisher = client(v).await;
        for payload in ["recorded", "held"] {
            publisher.publish(Publish::new(&topic, payload).qos(2, 0)).await;
        }
        let (recorded, held) = (subscriber.held().await, subscriber.held().await);
        subscriber.send(&ack(first::PUBREC, recorded.id)).await;
        subscriber.ack(first::PUBREL, recorded.id).await;
        for _ in 0..2 {
            drop(subscriber);
            subscriber = Wire::connect(broker(), &connect).await;
            // In the order of the messages, and each by its own id.
            assert_eq!(subscriber.ack(first::PUBREL, recorded.id).await, 0);
            let again = subscriber.held().await;
            assert_eq!((again.text(), again.id, again.dup), ("held", held.id, true), "{v:?}");
            subscriber.quiet().await;
        }
        subscriber.send(&ack(first::PUBCOMP, recorded.id)).await;
        subscriber.settle(&held).await;
        subscriber.quiet().await;
        drop(subscriber);
        Wire::connect(broker(), &connect).await.quiet().await;
    }
}

/// v311 [MQTT-4.3.3-2], v5 [MQTT-4.3.3-10], v311 [MQTT-3.1.2-4], v5 [MQTT-3.1.2-5], pitfall 3
#[tokio::test]
async fn mqtt_v5_4_3_3_10_a_publish_repeated_after_a_reconnect_is_delivered_once_too() {
    for v in BOTH {
        let topic = unique("twice");
        let mut subscriber = client(v).await;
        subscriber.subscribe(&topic, 2).await;
        let connect = Connect::persistent(v, &unique("twice"));
        let publish = Publish::new(&topic, "once").qos(2, 7);
        let mut publisher = Wire::connect(broker(), &connect).await;
        publisher.send(&publish.bytes(v)).await;
        publisher.ack(first::PUBREC, 7).await;
        drop(publisher);
        let (mut publisher, ack_) = Wire::connect_ack(broker(), &connect).await;
        assert!(ack_.session_present, "{v:?}");
        publisher.send(&publish.clone().dup().bytes(v)).await;
        assert!(publisher.ack(first::PUBREC, 7).await < 0x80);
        drop(publisher);
        let mut publisher = Wire::connect(broker(), &connect).await;
        publisher.send(&ack(first::PUBREL, 7)).await;
        assert_eq!(publisher.ack(first::PUBCOMP, 7).await, 0);
        // After that the id is free.
        publisher.send(&Publish { payload: b"another".to_vec(), ..publish }.bytes(v)).await;
        publisher.ack(first::PUBREC, 7).await;
        publisher.send(&ack(first::PUBREL, 7)).await;
        assert_eq!(subscriber.message().await.text(), "once");
        assert_eq!(subscriber.message().await.text(), "another");
    }
}

/// v311 [MQTT-3.1.2-6], v5 [MQTT-3.1.2-4]
#[tokio::test]
async fn mqtt_v5_3_1_2_4_a_clean_start_forgets_the_packet_ids_of_qos_2() {
    for v in BOTH {
        let topic = unique("anew");
        let mut subscriber = client(v).await;
        subscriber.subscribe(&topic, 2).await;
        let connect = Connect::persistent(v, &unique("anew"));
        let clean = Connect { clean: true, ..connect };
        let mut publisher = Wire::connect(broker(), &clean).await;
        publisher.send(&Publish::new(&topic, "first").qos(2, 7).bytes(v)).await;
        publisher.ack(first::PUBREC, 7).await;
        drop(publisher);
        let mut publisher = Wire::connect(broker(), &clean).await;
        publisher.send(&Publish::new(&topic, "second").qos(2, 7).bytes(v)).await;
        publisher.ack(first::PUBREC, 7).await;
        publisher.send(&ack(first::PUBREL, 7)).await;
        // A broker that waits for PUBREL has forgotten the first.
        while subscriber.message().await.text() != "second" {}
    }
}

/// v5 [MQTT-4.3.3-9]
#[tokio::test]
async fn mqtt_v5_4_3_3_9_after_a_refusing_pubrec_the_id_is_free_again() {
    let topic = unique("free");
    let (mut publisher, mut subscriber) = (client(Version::V5).await, client(Version::V5).await);
    subscriber.subscribe(&topic, 2).await;
    // A topic of the broker's own is refused.
    publisher.send(&Publish::new("$SYS/broker/uptime", "x").qos(2, 7).bytes(Version::V5)).await;
    assert_eq!(publisher.ack(first::PUBREC, 7).await, 0x87);
    publisher.send(&Publish::new(&topic, "x").qos(2, 7).bytes(Version::V5)).await;
    assert!(publisher.ack(first::PUBREC, 7).await < 0x80);
    assert_eq!(subscriber.message().await.text(), "x");
}

/// Pitfall 5.
#[tokio::test]
async fn acknowledgements_of_nothing_are_answered_where_an_answer_is_due_and_end_nothing() {
    for v in BOTH {
        let mut wire = client(v).await;
        for first in [first::PUBACK, first::PUBCOMP] {
            wire.send(&ack(first, 4_711)).await;
            wire.quiet().await;
        }
        wire.send(&ack(first::PUBREL, 4_711)).await;
        assert_eq!(wire.ack(first::PUBCOMP, 4_711).await, if v == Version::V5 { 0x92 } else { 0 });
        wire.send(&ack(first::PUBREC, 4_711)).await;
        match v {
            Version::V5 => assert_eq!(wire.ack(first::PUBREL, 4_711).await, 0x92),
            // 3.1.1 does not say; mosquitto and we let the client finish its exchange.
            Version::V311 => assert_eq!(wire.ack(first::PUBREL, 4_711).await, 0),
        }
        wire.quiet().await;
    }
}

/// v5 [MQTT-4.3.3-4]
#[tokio::test]
async fn acknowledgements_out_of_order_settle_what_they_name() {
    for v in BOTH {
        let topic = unique("shuffled");
        let connect = Connect::persistent(v, &unique("shuffled"));
        let mut subscriber = Wire::connect(broker(), &connect).await;
        subscriber.subscribe(&topic, 2).await;
        let mut publisher = client(v).await;
        let mut held = Vec::new();
        for n in 0..6 {
            publisher.publish(Publish::new(&topic, n.to_string()).qos(1 + n % 2, 0)).await;
            held.push(subscriber.held().await);
        }
        for n in [3, 0, 5] {
            subscriber.settle(&held[n]).await;
        }
        subscriber.quiet().await;
        drop(subscriber);
        let mut subscriber = Wire::connect(broker(), &connect).await;
        for n in [1, 2, 4] {
            let again = subscriber.held().await;
            assert_eq!((again.id, again.dup, &again.payload), (held[n].id, true, &held[n].payload), "{v:?}");
        }
        subscriber.quiet().await;
    }
}

/// v5 [MQTT-4.3.3-5]
#[tokio::test]
async fn a_puback_does_not_settle_a_qos_2_message_nor_a_pubrec_a_qos_1_message_for_good() {
    for v in BOTH {
        let topic = unique("crossed");
        let connect = Connect::persistent(v, &unique("crossed"));
        let mut subscriber = Wire::connect(broker(), &connect).await;
        subscriber.subscribe(&topic, 2).await;
        client(v).await.publish(Publish::new(&topic, "x").qos(2, 0)).await;
        let message = subscriber.held().await;
        // The wrong kind of acknowledgement: the broker may close or ignore it, but may not take it for PUBREC and PUBCOMP.
        subscriber.send(&ack(first::PUBACK, message.id)).await;
        drop(subscriber);
        let mut subscriber = Wire::connect(broker(), &connect).await;
        match subscriber.next().await {
            Some(Packet::Publish(again)) => assert_eq!((again.id, again.dup), (message.id, true)),
            other => panic!("{v:?}: the message is lost: {other:?}"),
        }
    }
}
