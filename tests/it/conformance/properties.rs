//! What a message of MQTT 5 carries besides its payload (§3.3.2.3): passed on unaltered, in order, to whoever speaks MQTT 5.

use super::client;
use crate::support::wire::{Publish, Value, Version, Wire, byte, four, property, text, unique, user};

async fn subscribed() -> (Wire, Wire, String) {
    let topic = unique("props");
    let mut wire = client(Version::V5).await;
    wire.subscribe(&topic, 2).await;
    (client(Version::V5).await, wire, topic)
}

/// v5 [MQTT-3.3.2-4]
#[tokio::test]
async fn mqtt_v5_3_3_2_4_the_payload_format_indicator_is_passed_on() {
    let (mut publisher, mut wire, topic) = subscribed().await;
    for (sent, payload, expected) in [(Some(1), "ä", 1), (Some(0), "\0", 0), (None, "x", 0)] {
        let list = sent.map_or(Vec::new(), |n| byte(property::PAYLOAD_FORMAT, n));
        publisher.publish(Publish::new(&topic, payload).qos(1, 0).with(list)).await;
        // Absent and 0 are the same.
        let found = wire.message().await.property(property::PAYLOAD_FORMAT);
        assert!(found == [Value::Number(expected)] || expected == 0 && found.is_empty(), "{sent:?} {found:?}");
    }
}

/// v5 [MQTT-3.3.2-15], v5 [MQTT-3.3.2-16], v5 [MQTT-3.3.2-20]
#[tokio::test]
async fn mqtt_v5_3_3_2_15_response_topic_correlation_data_and_content_type_are_passed_on() {
    let (mut publisher, mut wire, topic) = subscribed().await;
    for (answer, data, content) in
        [("a/b", &b"\x00\x01\xFF"[..], "application/json"), ("ä/$x", b"", "ä; charset=utf-8"), ("r", &[7; 60_000], "c")]
    {
        let publish = Publish::new(&topic, "x").qos(2, 0).with(text(property::RESPONSE_TOPIC, answer));
        let publish = publish.with(text(property::CORRELATION_DATA, data)).with(text(property::CONTENT_TYPE, content));
        publisher.publish(publish).await;
        let message = wire.message().await;
        assert_eq!(message.property(property::RESPONSE_TOPIC), [Value::Text(answer.into())]);
        assert_eq!(message.property(property::CORRELATION_DATA), [Value::Binary(data.into())]);
        assert_eq!(message.property(property::CONTENT_TYPE), [Value::Text(content.into())]);
    }
}

/// v5 [MQTT-3.3.2-17], v5 [MQTT-3.3.2-18]
#[tokio::test]
async fn mqtt_v5_3_3_2_18_user_properties_are_passed_on_all_of_them_in_their_order() {
    let (mut publisher, mut wire, topic) = subscribed().await;
    let pairs: Vec<(String, String)> =
        (0..50).map(|n| (format!("k{}", n * 7 % 5), if n % 3 == 0 { String::new() } else { n.to_string() })).collect();
    let list: Vec<u8> = pairs.iter().flat_map(|(name, value)| user(name, value)).collect();
    for qos in 0..3 {
        publisher.publish(Publish::new(&topic, "x").qos(qos, 0).with(list.clone())).await;
        let found = wire.message().await.property(property::USER);
        assert_eq!(
            found,
            pairs.iter().map(|(name, value)| Value::Pair(name.clone(), value.clone())).collect::<Vec<_>>()
        );
    }
}

/// v5 [MQTT-3.3.2-6]
#[tokio::test]
async fn mqtt_v5_3_3_2_6_a_message_that_expires_says_how_long_it_has_left() {
    let (mut publisher, mut wire, topic) = subscribed().await;
    for seconds in [1_000, u32::MAX] {
        publisher.publish(Publish::new(&topic, "x").qos(1, 0).with(four(property::MESSAGE_EXPIRY, seconds))).await;
        match wire.message().await.property(property::MESSAGE_EXPIRY)[..] {
            [Value::Number(left)] => assert!(left <= seconds && left > seconds - 5, "{left} of {seconds}"),
            ref other => panic!("{other:?}"),
        }
    }
    publisher.publish(Publish::new(&topic, "x").qos(1, 0)).await;
    assert_eq!(wire.message().await.property(property::MESSAGE_EXPIRY), []);
}

/// v5 [MQTT-3.3.2-5], v5 [MQTT-4.3.3-13]
#[tokio::test]
async fn a_message_that_expires_at_once_reaches_who_is_there_or_nobody_and_is_acknowledged() {
    let (mut publisher, mut wire, topic) = subscribed().await;
    for qos in [1, 2] {
        let reason = publisher
            .publish(Publish::new(&topic, "at once").qos(qos, 0).with(four(property::MESSAGE_EXPIRY, 0)))
            .await;
        assert!(reason < 0x80);
    }
    publisher.publish(Publish::new(&topic, "end").qos(2, 0)).await;
    while wire.message().await.text() != "end" {}
}

/// v5 [MQTT-3.3.2-15], v5 [MQTT-3.3.2-16]
#[tokio::test]
async fn a_request_finds_its_way_and_its_answer_back() {
    let (mut asker, mut server) = (client(Version::V5).await, client(Version::V5).await);
    let (question, answer) = (unique("ask"), unique("answer"));
    server.subscribe(&question, 1).await;
    asker.subscribe(&answer, 1).await;
    let publish = Publish::new(&question, "2+2").qos(1, 0).with(text(property::RESPONSE_TOPIC, &answer));
    asker.publish(publish.with(text(property::CORRELATION_DATA, b"\x07"))).await;
    let asked = server.message().await;
    let [Value::Text(to)] = &asked.property(property::RESPONSE_TOPIC)[..] else { panic!("{asked:?}") };
    let [Value::Binary(id)] = &asked.property(property::CORRELATION_DATA)[..] else { panic!("{asked:?}") };
    server.publish(Publish::new(to, "4").qos(1, 0).with(text(property::CORRELATION_DATA, id))).await;
    let answered = asker.message().await;
    assert_eq!((answered.text(), answered.property(property::CORRELATION_DATA)), ("4", vec![Value::Binary(vec![7])]));
}
