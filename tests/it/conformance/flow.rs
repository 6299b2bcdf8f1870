//! Flow control, packet sizes and topic aliases of MQTT 5 (§3.1.2.11, §3.3.2.3.4, §4.9), in both directions.

use super::{broker, client};
use crate::support::wire::{
    Connect, Publish, Value, Version, Wire, ack, first, four, property, subscribe, two, unique, user,
};

const V5: Version = Version::V5;

/// A client with this property in CONNECT, subscribed to a topic of its own at QoS 2; that topic.
async fn limited(list: Vec<u8>) -> (Wire, String) {
    let topic = unique("flow");
    let mut wire = Wire::connect(broker(), &Connect::new(V5, &unique("flow")).with(list)).await;
    wire.subscribe(&topic, 2).await;
    (wire, topic)
}

/// v5 [MQTT-3.3.4-9], v5 [MQTT-4.9.0-1], v5 [MQTT-4.9.0-2], v5 [MQTT-4.3.2-3]
#[tokio::test]
async fn mqtt_v5_3_3_4_9_no_more_are_in_flight_to_a_client_than_its_receive_maximum() {
    for window in [1, 3] {
        let (mut wire, topic) = limited(two(property::RECEIVE_MAXIMUM, window)).await;
        let mut publisher = client(V5).await;
        for n in 0..8 {
            publisher.publish(Publish::new(&topic, n.to_string()).qos(1 + n % 2, 0)).await;
        }
        let mut held = Vec::new();
        for n in 0..8 {
            if held.len() < usize::from(window) {
                held.push(wire.held().await);
                continue;
            }
            wire.quiet().await;
            let oldest: Publish = held.remove(0);
            if oldest.qos == 2 {
                // PUBREC gives no room yet, PUBCOMP does.
                wire.send(&ack(first::PUBREC, oldest.id)).await;
                wire.ack(first::PUBREL, oldest.id).await;
                wire.quiet().await;
                wire.send(&ack(first::PUBCOMP, oldest.id)).await;
            } else {
                wire.settle(&oldest).await;
            }
            held.push(wire.held().await);
            assert_eq!(held[held.len() - 1].text(), n.to_string());
        }
    }
}

/// v5 [MQTT-3.3.4-10], v5 [MQTT-4.9.0-3]
#[tokio::test]
async fn mqtt_v5_4_9_0_3_a_full_window_holds_back_qos_1_and_2_alone() {
    let (mut wire, topic) = limited(two(property::RECEIVE_MAXIMUM, 1)).await;
    let mut publisher = client(V5).await;
    for payload in ["in flight", "waits"] {
        publisher.publish(Publish::new(&topic, payload).qos(1, 0)).await;
    }
    let held = wire.held().await;
    // Every other packet is answered meanwhile.
    wire.quiet().await;
    assert_eq!(wire.subscribe(&unique("other"), 1).await, 1);
    wire.unsubscribe(&[&unique("never")]).await;
    assert!(wire.publish(Publish::new(&unique("elsewhere"), "x").qos(2, 0)).await < 0x80);
    wire.quiet().await;
    wire.settle(&held).await;
    assert_eq!(wire.message().await.text(), "waits");
}

/// v5 [MQTT-4.9.0-2], v5 [MQTT-4.4.0-2]
#[tokio::test]
async fn a_refusing_pubrec_gives_its_place_in_the_window_back() {
    let (mut wire, topic) = limited(two(property::RECEIVE_MAXIMUM, 1)).await;
    let mut publisher = client(V5).await;
    for payload in ["refused", "next"] {
        publisher.publish(Publish::new(&topic, payload).qos(2, 0)).await;
    }
    let refused = wire.held().await;
    wire.send(&crate::support::wire::ack_with(first::PUBREC, refused.id, 0x97)).await;
    assert_eq!(wire.message().await.text(), "next");
}

/// v5 [MQTT-3.3.4-7], v5 [MQTT-4.13.1-1]
#[tokio::test]
async fn mqtt_v5_3_3_4_7_a_client_that_exceeds_the_servers_receive_maximum_is_disconnected_with_0x93() {
    let (mut wire, ack_) = Wire::connect_ack(broker(), &Connect::new(V5, &unique("flood"))).await;
    let maximum = ack_.number(property::RECEIVE_MAXIMUM).unwrap_or(65_535) as u16;
    let topic = unique("flood");
    // At QoS 2 and never released, so that none of them is ever out of flight.
    let all: Vec<u8> = (1..=maximum).flat_map(|id| Publish::new(&topic, "x").qos(2, id).bytes(V5)).collect();
    wire.send(&all).await;
    for id in 1..=maximum {
        assert!(wire.ack(first::PUBREC, id).await < 0x80, "{id} of {maximum}");
    }
    wire.send(&Publish::new(&topic, "x").qos(2, maximum + 1).bytes(V5)).await;
    assert_eq!(wire.closed().await, Some(0x93));
}

/// v5 [MQTT-3.3.4-10]
#[tokio::test]
async fn a_qos_2_exchange_that_ends_gives_its_place_back_many_times_over() {
    let mut wire = client(V5).await;
    let topic = unique("many");
    for _ in 0..2_500 {
        assert!(wire.publish(Publish::new(&topic, "x").qos(2, 0)).await < 0x80);
    }
}

/// v5 [MQTT-3.1.2-24], v5 [MQTT-3.1.2-25], pitfall 7
#[tokio::test]
async fn mqtt_v5_3_1_2_24_a_message_too_large_for_a_client_is_not_sent_to_it_and_takes_no_place() {
    let list = [four(property::MAXIMUM_PACKET_SIZE, 100), two(property::RECEIVE_MAXIMUM, 1)].concat();
    let (mut wire, topic) = limited(list).await;
    let mut other = client(V5).await;
    other.subscribe(&topic, 2).await;
    let mut publisher = client(V5).await;
    // Header, length, topic, packet id, properties: what is left of exactly 100 bytes.
    let fits = 100 - 2 - 2 - topic.len() - 2 - 1;
    for qos in [1, 2] {
        for size in [fits + 1, 5_000, fits] {
            publisher.publish(Publish::new(&topic, vec![b'x'; size]).qos(qos, 0)).await;
            assert_eq!(other.message().await.payload.len(), size);
        }
        let message = wire.message().await;
        assert_eq!((message.payload.len(), message.bytes(V5).len()), (fits, 100));
    }
    // Properties count too.
    publisher.publish(Publish::new(&topic, "x").qos(1, 0).with(user("name", [b'v'; 90]))).await;
    publisher.publish(Publish::new(&topic, "end").qos(1, 0)).await;
    assert_eq!(wire.message().await.text(), "end");
}

/// v5 [MQTT-3.1.2-24], v5 [MQTT-3.9.2-1], v5 [MQTT-3.11.2-1], v5 [MQTT-3.4.2-2], v5 [MQTT-3.5.2-2], v5 [MQTT-3.7.2-2]
#[tokio::test]
async fn mqtt_v5_3_9_2_1_answers_to_a_client_that_takes_little_stay_small() {
    // Enough for CONNACK with all its numbers, too little for words about a refusal.
    let (mut wire, _) = limited(four(property::MAXIMUM_PACKET_SIZE, 48)).await;
    let id = wire.id();
    wire.send(&Publish::new("$SYS/broker/uptime", "x").qos(1, id).bytes(V5)).await;
    assert_eq!(wire.ack(first::PUBACK, id).await, 0x87);
    let id = wire.id();
    wire.send(&Publish::new("$SYS/broker/uptime", "x").qos(2, id).bytes(V5)).await;
    assert_eq!(wire.ack(first::PUBREC, id).await, 0x87);
    wire.send(&ack(first::PUBREL, 999)).await;
    assert_eq!(wire.ack(first::PUBCOMP, 999).await, 0x92);
    let deep = "a/".repeat(2_000);
    assert!(wire.subscribe(&deep, 0).await >= 0x80, "deeper than any limit");
    assert_eq!(wire.unsubscribe(&["never"]).await, [0x11]);
}

/// v5 [MQTT-3.2.2-15], v5 [MQTT-4.13.1-1], v5 [MQTT-3.14.2-1]
#[tokio::test]
async fn mqtt_v5_3_2_2_15_a_packet_above_the_servers_maximum_ends_the_connection_with_0x95() {
    let (mut wire, ack_) = Wire::connect_ack(broker(), &Connect::new(V5, &unique("large"))).await;
    let maximum = ack_.number(property::MAXIMUM_PACKET_SIZE).expect("ours has one") as usize;
    let topic = unique("large");
    let lead = Publish::new(&topic, "").qos(1, 1).bytes(V5).len();
    // The remaining length takes three or four bytes instead of one.
    let most = (maximum - lead - 4..)
        .take_while(|size| Publish::new(&topic, vec![0; *size]).qos(1, 1).bytes(V5).len() <= maximum);
    let fits = most.last().expect("some size fits");
    wire.send(&Publish::new(&topic, vec![0; fits]).qos(1, 1).bytes(V5)).await;
    assert!(wire.ack(first::PUBACK, 1).await < 0x80);
    wire.send(&Publish::new(&topic, vec![0; fits + 1]).qos(1, 2).bytes(V5)).await;
    assert_eq!(wire.closed().await, Some(0x95));
}

/// v5 [MQTT-3.1.2-26], v5 [MQTT-3.3.2-11], v5 [MQTT-3.3.2-8]
#[tokio::test]
async fn mqtt_v5_3_1_2_26_aliases_to_a_client_stay_within_its_maximum_and_stand_for_what_they_were_given() {
    let list = two(property::TOPIC_ALIAS_MAXIMUM, 2);
    let mut wire = Wire::connect(broker(), &Connect::new(V5, &unique("alias")).with(list)).await;
    let root = unique("alias");
    wire.subscribe(&format!("{root}/+"), 2).await;
    let mut publisher = client(V5).await;
    let mut known = std::collections::HashMap::new();
    let mut used = 0;
    for n in 0..60u32 {
        let topic = format!("{root}/{}", n * n % 7);
        publisher.publish(Publish::new(&topic, &topic).qos((n % 3) as u8, 0)).await;
        let message = wire.message().await;
        let mut named = message.topic().to_string();
        if let [Value::Number(alias)] = message.property(property::TOPIC_ALIAS)[..] {
            assert!((1..=2).contains(&alias), "{alias}");
            used += 1;
            if named.is_empty() {
                named = String::clone(&known[&alias]);
            } else {
                known.insert(alias, named.clone());
            }
        }
        // The payload says what was meant.
        assert_eq!(named, message.text());
    }
    assert!(used > 0, "the client offered aliases, and none was used");
}

/// v5 [MQTT-3.1.2-27]
#[tokio::test]
async fn mqtt_v5_3_1_2_27_no_aliases_to_a_client_that_takes_none() {
    for list in [Vec::new(), two(property::TOPIC_ALIAS_MAXIMUM, 0)] {
        let (mut wire, topic) = limited(list).await;
        let mut publisher = client(V5).await;
        for n in 0..6 {
            publisher.publish(Publish::new(&topic, "x").qos(n % 3, 0)).await;
            let message = wire.message().await;
            assert_eq!((message.topic(), message.property(property::TOPIC_ALIAS)), (&*topic, vec![]));
        }
    }
}

/// v5 [MQTT-3.3.2-12], v5 [MQTT-3.3.2-10], pitfall 9
#[tokio::test]
async fn mqtt_v5_3_3_2_12_every_alias_up_to_the_servers_maximum_is_taken_and_can_be_given_anew() {
    let (mut wire, ack_) = Wire::connect_ack(broker(), &Connect::new(V5, &unique("alias"))).await;
    let maximum = ack_.number(property::TOPIC_ALIAS_MAXIMUM).unwrap_or(0) as u16;
    let root = unique("alias");
    let mut watcher = client(Version::V311).await;
    watcher.subscribe(&format!("{root}/#"), 2).await;
    for round in 0..2 {
        for alias in (1..=maximum).rev() {
            let topic = format!("{root}/{round}/{alias}");
            let publish = Publish::new(&topic, &topic).with(two(property::TOPIC_ALIAS, alias));
            wire.publish(publish).await;
        }
        for alias in 1..=maximum {
            let topic = format!("{root}/{round}/{alias}");
            let by_alias = Publish::new("", &topic).with(two(property::TOPIC_ALIAS, alias));
            wire.publish(Publish { qos: (alias % 3) as u8, ..by_alias }).await;
        }
        for _ in 0..2 * maximum {
            let message = watcher.message().await;
            assert_eq!(message.topic(), message.text());
        }
    }
}

/// v5 [MQTT-3.3.2-7]
#[tokio::test]
async fn mqtt_v5_3_3_2_7_aliases_end_with_their_connection() {
    let connect = Connect::persistent(V5, &unique("alias"));
    let mut wire = Wire::connect(broker(), &connect).await;
    let topic = unique("alias");
    let publish = Publish::new(&topic, "x").qos(1, 0).with(two(property::TOPIC_ALIAS, 1));
    assert!(wire.publish(publish).await < 0x80);
    drop(wire);
    let mut wire = Wire::connect(broker(), &connect).await;
    wire.send(&Publish::new("", "x").with(two(property::TOPIC_ALIAS, 1)).bytes(V5)).await;
    assert!(matches!(wire.closed().await, Some(0x82 | 0x94)));
    // And those of the broker: what is sent again after a reconnect names its topic.
    let connect = connect.with(two(property::TOPIC_ALIAS_MAXIMUM, 5));
    let mut wire = Wire::connect(broker(), &connect).await;
    wire.subscribe(&topic, 1).await;
    let mut publisher = client(V5).await;
    for payload in ["1", "2"] {
        publisher.publish(Publish::new(&topic, payload).qos(1, 0)).await;
        wire.held().await;
    }
    drop(wire);
    let mut wire = Wire::connect(broker(), &connect).await;
    assert_eq!(wire.message().await.topic(), topic);
}

/// v5 [MQTT-3.1.2-24], pitfall 7
#[tokio::test]
async fn an_alias_that_no_longer_fits_does_not_push_a_message_over_the_maximum_packet_size() {
    let list = [four(property::MAXIMUM_PACKET_SIZE, 64), two(property::TOPIC_ALIAS_MAXIMUM, 1)].concat();
    let (mut wire, topic) = limited(list).await;
    let mut publisher = client(V5).await;
    for size in 30..64 {
        publisher.publish(Publish::new(&topic, vec![b'x'; size]).qos(1, 0)).await;
    }
    publisher.publish(Publish::new(&topic, "end").qos(1, 0)).await;
    loop {
        let message = wire.message().await;
        assert!(message.bytes(V5).len() <= 64, "{message:?}");
        if message.text() == "end" {
            break;
        }
    }
}

/// Pitfall 6.
#[tokio::test]
async fn a_client_of_3_1_1_that_floods_is_read_slowly_and_not_disconnected() {
    let v = Version::V311;
    let topic = unique("flood");
    let mut wire = client(v).await;
    let all: Vec<u8> = (1..=3_000).flat_map(|id| Publish::new(&topic, "x").qos(1, id).bytes(v)).collect();
    wire.send(&all).await;
    for id in 1..=3_000 {
        wire.ack(first::PUBACK, id).await;
    }
    wire.send(&subscribe(v, 1, &[(&topic, 0)])).await;
    assert_eq!(wire.suback(1).await, [0]);
}
