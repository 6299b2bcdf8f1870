//! What MQTT 5 adds, as clients see it on the wire.

use fieldway::broker::Limits;
use fieldway::model::{Message, Properties, QoS, Topic};
use fieldway::mqtt::{Connect, Packet, Publish, Reason, Version, Will};

use crate::support::mqtt::{Client, start};

#[tokio::test]
async fn a_client_that_takes_aliases_is_sent_a_topic_once() {
    let test = start(Limits::default(), Vec::new());
    let connect = Connect { topic_alias_maximum: 2, ..Connect::new(Version::V5, "a") };
    let mut client = Client::connect(test.address, connect).await;
    client.subscribe("plant/#", QoS::AtLeastOnce).await;
    let topics = ["plant/1", "plant/2", "plant/1", "plant/2", "plant/1"];
    for topic in topics {
        client.publish(topic, "x", QoS::AtMostOnce, false).await;
    }
    let mut names = Vec::new();
    for _ in topics {
        let message = client.message().await;
        names.push((message.topic.map(|topic| topic.to_string()), message.topic_alias));
    }
    let named = |topic: &str, alias| (Some(topic.to_string()), Some(alias));
    assert_eq!(names, [named("plant/1", 1), named("plant/2", 2), (None, Some(1)), (None, Some(2)), (None, Some(1))]);

    // [MQTT-3.1.2-26], [MQTT-3.1.2-27]: no more than it takes, and none without leave.
    for maximum in [0, 1] {
        let connect = Connect { topic_alias_maximum: maximum, ..Connect::new(Version::V5, "b") };
        let mut other = Client::connect(test.address, connect).await;
        other.subscribe("plant/#", QoS::AtMostOnce).await;
        for topic in topics {
            other.publish(topic, "x", QoS::AtMostOnce, false).await;
        }
        for _ in topics {
            assert!(other.message().await.topic_alias.is_none_or(|alias| alias <= maximum));
        }
    }
}

#[tokio::test]
async fn a_will_that_is_not_the_text_it_says_it_is_is_refused() {
    let test = start(Limits::default(), Vec::new());
    let mut message = Message::new(Topic::new("t").unwrap(), &b"\xFF"[..], QoS::AtMostOnce, false);
    message.properties = Some(Box::new(Properties { payload_is_utf8: true, ..Properties::default() }));
    let will = Some(Box::new(Will { message, delay_s: 0 }));
    let (_, ack) = Client::connect_ack(test.address, Connect { will, ..Connect::new(Version::V5, "a") }).await;
    assert_eq!(ack.reason, Reason::PAYLOAD_FORMAT_INVALID);
}

#[tokio::test]
async fn a_request_finds_its_way_and_so_does_the_answer() {
    let test = start(Limits::default(), Vec::new());
    let mut asking = Client::connect(test.address, Connect::new(Version::V5, "asking")).await;
    let mut answering = Client::connect(test.address, Connect::new(Version::V5, "answering")).await;
    asking.subscribe("answers/asking", QoS::AtLeastOnce).await;
    answering.subscribe("questions", QoS::AtLeastOnce).await;
    let mut question = Message::new(Topic::new("questions").unwrap(), "how warm?", QoS::AtMostOnce, false);
    question.properties = Some(Box::new(Properties {
        response_topic: Some(Topic::new("answers/asking").unwrap()),
        correlation_data: Some(b"17".to_vec().into()),
        ..Properties::default()
    }));
    asking.send(&Packet::Publish(Publish::new(&question, 0))).await;
    let got = answering.message().await.properties.unwrap();
    let mut answer = Message::new(got.response_topic.unwrap(), "21.4", QoS::AtMostOnce, false);
    answer.properties = Some(Box::new(Properties { correlation_data: got.correlation_data, ..Properties::default() }));
    answering.send(&Packet::Publish(Publish::new(&answer, 0))).await;
    let got = asking.message().await;
    assert_eq!((got.payload, got.properties.unwrap().correlation_data), ("21.4".into(), Some("17".into())));
}
