//! CONNECT and CONNACK (§3.1, §3.2): who is let in, as whom, and what is said about it.

use super::{broker, client};
use crate::support::wire::{
    BOTH, Connect, Packet, Publish, Value, Version, Will, Wire, byte, disconnect, first, four, packet, property, sized,
    subscribe, text, two, unique, unsubscribe,
};

/// [MQTT-3.1.0-1], v5 [MQTT-3.14.0-1], v5 [MQTT-4.12.0-6]
#[tokio::test]
async fn mqtt_3_1_0_1_a_first_packet_that_is_not_connect_is_not_answered_but_ends_the_connection() {
    for v in BOTH {
        for bytes in [
            Publish::new(&unique("t"), "x").bytes(v),
            subscribe(v, 1, &[("#", 0)]),
            unsubscribe(v, 1, &["#"]),
            packet(first::PINGREQ, &[]),
            disconnect(),
            packet(first::PUBACK, &[&[0, 1]]),
            packet(first::PUBREL, &[&[0, 1]]),
            packet(first::AUTH, &[]),
            vec![0, 0],
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        ] {
            let mut wire = Wire::open(broker(), v).await;
            wire.send(&bytes).await;
            assert_eq!(wire.next().await, None, "{v:?} {bytes:x?}");
        }
    }
}

/// [MQTT-3.1.0-2], v5 [MQTT-3.2.0-2], v5 [MQTT-4.13.1-1]
#[tokio::test]
async fn mqtt_3_1_0_2_a_second_connect_is_a_protocol_error() {
    for v in BOTH {
        let connect = Connect::new(v, &unique("twice"));
        let mut wire = Wire::connect(broker(), &connect).await;
        wire.send(&connect.bytes()).await;
        match wire.next().await {
            None => assert_eq!(v, Version::V311),
            Some(Packet::Disconnect { reason: 0x82, .. }) => assert_eq!(wire.next().await, None),
            other => panic!("{other:?}"),
        }
    }
}

/// [MQTT-3.1.2-1]
#[tokio::test]
async fn mqtt_3_1_2_1_another_protocol_is_not_served() {
    for v in BOTH {
        for name in ["hj", "mqtt", "MQTTT", "MQT", ""] {
            let mut bytes = Connect::new(v, &unique("foreign")).bytes()[8..].to_vec();
            bytes = packet(first::CONNECT, &[&sized(name), &bytes]);
            let answer = Wire::refused(broker(), v, &bytes).await;
            assert!(matches!(answer, None | Some(0x84)), "{v:?} {name:?} {answer:?}");
        }
    }
}

/// [MQTT-3.1.2-2]
#[tokio::test]
async fn mqtt_3_1_2_2_an_unknown_protocol_level_is_refused_in_words_that_its_client_may_know() {
    for (level, speaks, code) in [
        (0, Version::V311, 1),
        (1, Version::V311, 1),
        (2, Version::V311, 1),
        (6, Version::V5, 0x84),
        (255, Version::V5, 0x84),
    ] {
        let mut bytes = Connect::new(speaks, &unique("level")).bytes();
        // Fixed header, protocol name, level.
        bytes[2 + 6] = level;
        assert_eq!(Wire::refused(broker(), speaks, &bytes).await, Some(code), "level {level}");
    }
}

/// [MQTT-3.1.3-2], [MQTT-3.1.3-3], [MQTT-3.1.3-5], v311 [MQTT-3.1.4-4], v5 [MQTT-3.1.4-5]
#[tokio::test]
async fn mqtt_3_1_3_5_every_client_id_of_1_to_23_letters_and_digits_is_taken_and_longer_ones_too() {
    let all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for v in BOTH {
        for id in ["Q", &all[..23], &all[20..43], &all[39..], all, "a/b#+ ä€𝄞", &"x".repeat(1_000)] {
            Wire::connect(broker(), &Connect::new(v, id)).await.quiet().await;
        }
    }
}

/// v311 [MQTT-3.1.3-6], v311 [MQTT-3.1.3-7]
#[tokio::test]
async fn mqtt_v311_3_1_3_6_clients_without_an_id_are_different_clients() {
    let anonymous = Connect::new(Version::V311, "");
    let mut one = Wire::connect(broker(), &anonymous).await;
    let mut other = Wire::connect(broker(), &anonymous).await;
    one.quiet().await;
    other.quiet().await;
}

/// v5 [MQTT-3.1.3-6], v5 [MQTT-3.1.3-7], v5 [MQTT-3.2.2-16]
#[tokio::test]
async fn mqtt_v5_3_1_3_6_a_client_without_an_id_is_given_one_that_it_can_come_back_with() {
    let mut given = Vec::new();
    for clean in [true, false] {
        let mut connect = Connect { clean, ..Connect::persistent(Version::V5, "") };
        let (wire, ack) = Wire::connect_ack(broker(), &connect).await;
        assert!(!ack.session_present);
        let id = match ack.properties.iter().find(|(id, _)| *id == property::ASSIGNED_CLIENT_ID) {
            Some((_, Value::Text(id))) if !id.is_empty() => id.clone(),
            other => panic!("no client id was assigned: {other:?}"),
        };
        wire.leave().await;
        (connect.client_id, connect.clean) = (id.clone().into_bytes(), false);
        let (_, ack) = Wire::connect_ack(broker(), &connect).await;
        assert!(ack.session_present, "the session of {id}");
        assert!(!ack.properties.iter().any(|(p, _)| *p == property::ASSIGNED_CLIENT_ID), "it came with an id");
        given.push(id);
    }
    assert_ne!(given[0], given[1]);
}

/// v311 [MQTT-3.1.3-8], v311 [MQTT-3.1.3-9], v311 [MQTT-3.2.2-4], v311 [MQTT-3.2.2-5]
#[tokio::test]
async fn mqtt_v311_3_1_3_8_no_id_and_a_session_to_keep_is_refused_with_2() {
    let connect = Connect { clean: false, ..Connect::new(Version::V311, "") };
    assert_eq!(Wire::refused(broker(), Version::V311, &connect.bytes()).await, Some(2));
}

/// v311 [MQTT-3.1.4-2], v5 [MQTT-3.1.4-3]
#[tokio::test]
async fn mqtt_3_1_4_2_whoever_comes_with_a_connected_clients_id_takes_its_place() {
    for old in BOTH {
        for new in BOTH {
            let id = unique("taken");
            let mut first = Wire::connect(broker(), &Connect::new(old, &id)).await;
            let mut second = Wire::connect(broker(), &Connect::new(new, &id)).await;
            assert_eq!(first.closed().await, (old == Version::V5).then_some(0x8E), "{old:?} {new:?}");
            second.quiet().await;
        }
    }
}

/// v311 [MQTT-3.1.4-5], v5 [MQTT-3.1.4-6], v5 [MQTT-3.2.2-7]
#[tokio::test]
async fn mqtt_3_1_4_5_what_follows_a_refused_connect_is_not_processed() {
    let refused = [
        Connect { clean: false, ..Connect::new(Version::V311, "") },
        Connect::new(Version::V5, &unique("auth")).with(text(property::AUTH_METHOD, "SCRAM-SHA-1")),
    ];
    for connect in refused {
        let v = connect.version;
        let topic = unique("refused");
        let mut subscriber = client(v).await;
        subscriber.subscribe(&topic, 0).await;
        let bytes = [connect.bytes(), Publish::new(&topic, "no").bytes(v)].concat();
        assert!(Wire::refused(broker(), v, &bytes).await.is_some());
        client(v).await.publish(Publish::new(&topic, "after").qos(1, 0)).await;
        assert_eq!(subscriber.message().await.text(), "after");
    }
}

/// [MQTT-3.2.0-1], [MQTT-4.5.0-1]
#[tokio::test]
async fn mqtt_3_2_0_1_packets_may_follow_connect_at_once_and_connack_still_comes_first() {
    for v in BOTH {
        let topic = unique("eager");
        let connect = Connect::new(v, &unique("eager")).bytes();
        let mut wire = Wire::open(broker(), v).await;
        let publish = Publish::new(&topic, "x").bytes(v);
        wire.send(&[connect, subscribe(v, 1, &[(&topic, 0)]), publish].concat()).await;
        assert!(matches!(wire.next().await, Some(Packet::ConnAck(ack)) if ack.code == 0), "{v:?}");
        assert_eq!(wire.suback(1).await, [0]);
        assert_eq!(wire.message().await.text(), "x");
    }
}

/// v311 [MQTT-3.1.4-1], v5 [MQTT-4.12.0-1], v5 [MQTT-4.13.2-1], v5 [MQTT-3.2.2-6], v5 [MQTT-3.2.2-8]
#[tokio::test]
async fn mqtt_v5_4_12_0_1_an_authentication_method_that_is_not_offered_is_refused_with_0x8c() {
    let connect = Connect::new(Version::V5, &unique("auth"))
        .with(text(property::AUTH_METHOD, "GS2-KRB5"))
        .with(text(property::AUTH_DATA, b"\x00\x01"));
    assert_eq!(Wire::refused(broker(), Version::V5, &connect.bytes()).await, Some(0x8C));
}

/// v5 [MQTT-3.2.2-9], v5 [MQTT-3.2.2-10]
#[tokio::test]
async fn mqtt_v5_3_2_2_9_a_server_that_names_no_maximum_qos_takes_and_grants_qos_2() {
    let (mut wire, ack) = Wire::connect_ack(broker(), &Connect::new(Version::V5, &unique("max"))).await;
    assert_eq!(ack.number(property::MAXIMUM_QOS), None);
    assert_ne!(ack.number(property::RETAIN_AVAILABLE), Some(0));
    let topic = unique("max");
    assert_eq!(wire.subscribe(&topic, 2).await, 2);
    assert!(wire.publish(Publish::new(&topic, "x").qos(2, 0)).await < 0x80);
    assert_eq!(wire.message().await.qos, 2);
}

/// v5 [MQTT-3.1.2-28]
#[tokio::test]
async fn mqtt_v5_3_1_2_28_no_response_information_for_a_client_that_did_not_ask() {
    for info in [None, Some(0)] {
        let mut connect = Connect::new(Version::V5, &unique("response"));
        connect.properties = info.map_or(Vec::new(), |info| byte(property::REQUEST_RESPONSE_INFO, info));
        let (_, ack) = Wire::connect_ack(broker(), &connect).await;
        assert!(!ack.properties.iter().any(|(id, _)| *id == property::RESPONSE_INFO));
    }
}

/// v5 [MQTT-3.1.2-29]
#[tokio::test]
async fn mqtt_v5_3_1_2_29_no_words_in_acknowledgements_for_a_client_that_wants_none() {
    let connect = Connect::new(Version::V5, &unique("terse")).with(byte(property::REQUEST_PROBLEM_INFO, 0));
    let mut wire = Wire::connect(broker(), &connect).await;
    // Each of these is refused: a topic of the broker's own, an id that was never used, a filter that was never subscribed.
    wire.send(&Publish::new("$SYS/broker/uptime", "x").qos(1, 1).bytes(Version::V5)).await;
    wire.send(&packet(first::PUBREL, &[&[0, 77]])).await;
    wire.send(&unsubscribe(Version::V5, 2, &["never"])).await;
    wire.send(&subscribe(Version::V5, 3, &[("$share/no-filter", 0)])).await;
    for _ in 0..3 {
        match wire.next().await {
            Some(Packet::Ack(ack)) => assert!(ack.properties.is_empty(), "{ack:?}"),
            Some(Packet::SubAck { properties, .. } | Packet::UnsubAck { properties, .. }) => {
                assert!(properties.is_empty())
            }
            Some(Packet::Disconnect { .. }) | None => break,
            other => panic!("{other:?}"),
        }
    }
}

/// v5 [MQTT-3.2.2-19], v5 [MQTT-3.2.2-20]
#[tokio::test]
async fn mqtt_v5_3_2_2_19_a_refusal_is_told_without_words_when_they_would_not_fit() {
    let connect = Connect::new(Version::V5, &unique("narrow"))
        .with(text(property::AUTH_METHOD, "a-method-that-nobody-offers-and-that-is-repeated-in-the-reason"))
        .with(four(property::MAXIMUM_PACKET_SIZE, 12));
    let mut wire = Wire::open(broker(), Version::V5).await;
    wire.send(&connect.bytes()).await;
    match wire.next().await {
        Some(Packet::ConnAck(ack)) => assert_eq!((ack.code, ack.properties.len()), (0x8C, 0)),
        other => panic!("{other:?}"),
    }
    assert_eq!(wire.next().await, None);
}

/// v5 [MQTT-3.1.2-12] v311 [MQTT-3.1.2-14] v5 [MQTT-3.2.2-12]
#[tokio::test]
async fn mqtt_3_1_2_12_a_will_may_have_each_of_the_three_qos() {
    for v in BOTH {
        for qos in 0..3 {
            let mut will = Will::new(&unique("w"), "x");
            will.qos = qos;
            Wire::connect(broker(), &Connect::new(v, &unique("w")).will(will)).await.leave().await;
        }
    }
}

/// v5 [MQTT-4.9.0-1]
#[tokio::test]
async fn mqtt_v5_4_9_0_1_receive_maximum_of_the_server_is_never_0() {
    let connect = Connect::new(Version::V5, &unique("quota")).with(two(property::RECEIVE_MAXIMUM, 1));
    let (_, ack) = Wire::connect_ack(broker(), &connect).await;
    assert_ne!(ack.number(property::RECEIVE_MAXIMUM), Some(0));
    assert_ne!(ack.number(property::MAXIMUM_PACKET_SIZE), Some(0));
}

/// v311 [MQTT-3.14.4-3], v5 [MQTT-3.14.4-3]
#[tokio::test]
async fn what_comes_after_disconnect_is_not_processed() {
    for v in BOTH {
        let topic = unique("late");
        let mut watcher = client(v).await;
        watcher.subscribe(&topic, 0).await;
        let mut wire = client(v).await;
        wire.send(&[disconnect(), Publish::new(&topic, "no").bytes(v)].concat()).await;
        assert_eq!(wire.closed().await, None);
        client(v).await.publish(Publish::new(&topic, "end").qos(1, 0)).await;
        assert_eq!(watcher.message().await.text(), "end", "{v:?}");
    }
}
