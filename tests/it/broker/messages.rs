//! Who gets which message, and in what form.

use fieldway::broker::Limits;
use fieldway::model::{Filter, Message, Properties, QoS, Topic};
use fieldway::mqtt::{Connect, Packet, Publish, Reason, RetainHandling, SubscribeOptions, Version};

use crate::support::mqtt::{Client, start};

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

#[tokio::test]
async fn qos_0_and_1_reach_subscribers_of_both_versions_and_are_acknowledged() {
    let test = start(Limits::default(), Vec::new());
    for from in VERSIONS {
        for to in VERSIONS {
            let mut subscriber = Client::connect(test.address, Connect::new(to, "s")).await;
            assert_eq!(subscriber.subscribe("plant/+/temp", QoS::ExactlyOnce).await, Reason::GRANTED_QOS_2);
            let mut publisher = Client::connect(test.address, Connect::new(from, "p")).await;
            publisher.publish("plant/a/temp", "1", QoS::AtMostOnce, false).await;
            assert_eq!(publisher.publish_acked("plant/a/temp", "2", false).await, Reason::SUCCESS);
            let (first, second) = (subscriber.message().await, subscriber.message().await);
            assert_eq!((first.qos, &first.payload[..], first.packet_id), (QoS::AtMostOnce, &b"1"[..], 0));
            assert_eq!(
                (second.qos, &second.payload[..], second.dup, second.retain),
                (QoS::AtLeastOnce, &b"2"[..], false, false)
            );
            subscriber.acknowledge(second.packet_id).await;
            subscriber.expect_nothing().await;
        }
    }
}

#[tokio::test]
async fn a_topic_with_letters_beyond_ascii_is_a_topic() {
    let test = start(Limits::default(), Vec::new());
    let mut client = Client::connect(test.address, Connect::new(Version::V311, "a")).await;
    client.subscribe("ärinä/#", QoS::AtMostOnce).await;
    client.publish("ärinä/temp", "21.4 °C", QoS::AtMostOnce, false).await;
    assert_eq!(client.message().await.topic.unwrap().as_str(), "ärinä/temp");
}

#[tokio::test]
async fn wildcards_do_not_see_topics_that_start_with_a_dollar() {
    let test = start(Limits::default(), Vec::new());
    let mut client = Client::connect(test.address, Connect::new(Version::V5, "a")).await;
    client.subscribe("#", QoS::AtMostOnce).await;
    client.subscribe("+/uptime", QoS::AtMostOnce).await;
    let publish = |topic: &str| Message::new(Topic::new(topic).unwrap(), "x", QoS::AtMostOnce, false);
    test.broker.hub().publish(publish("$SYS/uptime")).await.unwrap();
    test.broker.hub().publish(publish("a/uptime")).await.unwrap();
    assert_eq!(client.message().await.topic.unwrap().as_str(), "a/uptime");
    client.expect_nothing().await;
}

#[tokio::test]
async fn a_client_may_not_publish_below_a_dollar() {
    let test = start(Limits::default(), Vec::new());
    let mut spy = Client::connect(test.address, Connect::new(Version::V5, "spy")).await;
    spy.subscribe("$SYS/uptime", QoS::AtMostOnce).await;
    let mut v5 = Client::connect(test.address, Connect::new(Version::V5, "five")).await;
    assert_eq!(v5.publish_acked("$SYS/uptime", "0", false).await, Reason::NOT_AUTHORIZED);
    let mut v311 = Client::connect(test.address, Connect::new(Version::V311, "three")).await;
    assert_eq!(v311.publish_acked("$SYS/uptime", "0", false).await, Reason::SUCCESS);
    spy.expect_nothing().await;
}

#[tokio::test]
async fn overlapping_subscriptions_bring_a_message_once_at_the_highest_level_with_all_identifiers() {
    let test = start(Limits::default(), Vec::new());
    let mut client = Client::connect(test.address, Connect::new(Version::V5, "a")).await;
    client.subscribe_with("a/#", SubscribeOptions::new(QoS::AtMostOnce), Some(7)).await;
    client.subscribe_with("a/+", SubscribeOptions::new(QoS::AtLeastOnce), Some(8)).await;
    client.subscribe("#", QoS::AtMostOnce).await;
    client.publish("a/b", "x", QoS::AtLeastOnce, false).await;
    let (mut message, mut acked) = (None, false);
    while message.is_none() || !acked {
        match client.receive().await {
            Some(Packet::Publish(publish)) => message = Some(publish),
            other => acked = matches!(other, Some(Packet::PubAck(_))),
        }
    }
    let mut message = message.unwrap();
    message.subscription_ids.sort_unstable();
    assert_eq!((message.qos, message.subscription_ids), (QoS::AtLeastOnce, vec![7, 8]));
    client.expect_nothing().await;
}

#[tokio::test]
async fn no_local_spares_a_client_its_own_messages_alone() {
    let test = start(Limits::default(), Vec::new());
    let mut client = Client::connect(test.address, Connect::new(Version::V5, "a")).await;
    let options = SubscribeOptions { no_local: true, ..SubscribeOptions::new(QoS::AtMostOnce) };
    client.subscribe_with("t", options, None).await;
    client.publish("t", "mine", QoS::AtMostOnce, false).await;
    client.expect_nothing().await;
    let mut other = Client::connect(test.address, Connect::new(Version::V5, "b")).await;
    other.publish("t", "theirs", QoS::AtMostOnce, false).await;
    assert_eq!(&client.message().await.payload[..], b"theirs");
}

#[tokio::test]
async fn two_thousand_retained_messages_reach_a_new_subscriber_without_loss() {
    let test = start(Limits { queue_messages: 100, ..Limits::default() }, Vec::new());
    for n in 0..2_000 {
        let topic = Topic::new(&format!("r/{n:04}")).unwrap();
        test.broker.hub().publish(Message::new(topic, vec![b'x'; 200], QoS::AtLeastOnce, true)).await.unwrap();
    }
    for version in VERSIONS {
        let mut client = Client::connect(test.address, Connect::new(version, "a")).await;
        client.subscribe("r/#", QoS::AtLeastOnce).await;
        for n in 0..2_000 {
            let message = client.message().await;
            assert_eq!((message.topic.unwrap().as_str(), message.retain), (&*format!("r/{n:04}"), true));
            client.acknowledge(message.packet_id).await;
        }
        client.expect_nothing().await;
    }
    assert_eq!(test.broker.status().retained, 2_000);
    assert_eq!(test.broker.status().dropped, 0);
}

#[tokio::test]
async fn an_empty_retained_message_deletes_and_is_not_kept() {
    let test = start(Limits::default(), Vec::new());
    let mut client = Client::connect(test.address, Connect::new(Version::V5, "a")).await;
    client.publish_acked("r", "x", true).await;
    client.publish_acked("r", "", true).await;
    client.subscribe("r", QoS::AtMostOnce).await;
    client.expect_nothing().await;
}

#[tokio::test]
async fn retain_handling_and_retain_as_published_do_as_they_are_told() {
    let test = start(Limits::default(), Vec::new());
    let mut client = Client::connect(test.address, Connect::new(Version::V5, "a")).await;
    client.publish_acked("r", "kept", true).await;
    let options = |retain_handling| SubscribeOptions { retain_handling, ..SubscribeOptions::new(QoS::AtMostOnce) };

    client.subscribe_with("r", options(RetainHandling::DoNotSend), None).await;
    client.expect_nothing().await;
    client.subscribe_with("r", options(RetainHandling::SendIfNew), None).await;
    client.expect_nothing().await;
    client.unsubscribe("r").await;
    client.subscribe_with("r", options(RetainHandling::SendIfNew), None).await;
    assert!(client.message().await.retain);
    client.subscribe_with("r", options(RetainHandling::Send), None).await;
    assert!(client.message().await.retain);

    client.publish("r", "live", QoS::AtMostOnce, true).await;
    assert!(!client.message().await.retain);
    let as_published = SubscribeOptions { retain_as_published: true, ..options(RetainHandling::DoNotSend) };
    client.subscribe_with("r", as_published, None).await;
    client.publish("r", "live", QoS::AtMostOnce, true).await;
    assert!(client.message().await.retain);
}

#[tokio::test]
async fn the_properties_of_a_message_arrive_as_they_were_sent() {
    let test = start(Limits::default(), Vec::new());
    let mut client = Client::connect(test.address, Connect::new(Version::V5, "a")).await;
    let properties = Properties {
        payload_is_utf8: true,
        message_expiry_s: Some(100),
        content_type: Some("application/json".into()),
        response_topic: Some(Topic::new("answers").unwrap()),
        correlation_data: Some(vec![1, 2, 3].into()),
        user: vec![("a".into(), "1".into()), ("a".into(), "2".into())],
    };
    let mut message = Message::new(Topic::new("t").unwrap(), "{}", QoS::AtMostOnce, true);
    message.properties = Some(Box::new(properties.clone()));
    client.send(&Packet::Publish(Publish::new(&message, 0))).await;
    client.subscribe("t", QoS::AtMostOnce).await;
    let got = *client.message().await.properties.unwrap();
    assert!(matches!(got.message_expiry_s, Some(90..=100)), "{got:?}");
    assert_eq!(Properties { message_expiry_s: Some(100), ..got }, properties);
}

#[tokio::test]
async fn a_topic_alias_stands_for_its_topic() {
    let test = start(Limits::default(), Vec::new());
    let (mut client, ack) = Client::connect_ack(test.address, Connect::new(Version::V5, "a")).await;
    assert!(ack.topic_alias_maximum > 0);
    client.subscribe("t", QoS::AtMostOnce).await;
    let message = Message::new(Topic::new("t").unwrap(), "x", QoS::AtMostOnce, false);
    let named = Publish { topic_alias: Some(1), ..Publish::new(&message, 0) };
    client.send(&Packet::Publish(named.clone())).await;
    client.send(&Packet::Publish(Publish { topic: None, ..named.clone() })).await;
    for _ in 0..2 {
        assert_eq!(client.message().await.topic.unwrap().as_str(), "t");
    }
    client.send(&Packet::Publish(Publish { topic_alias: Some(ack.topic_alias_maximum + 1), ..named })).await;
    assert_eq!(client.closed().await, Some(Reason::TOPIC_ALIAS_INVALID));
}

#[tokio::test]
async fn the_gateway_publishes_and_subscribes_in_its_own_process() {
    let test = start(Limits::default(), Vec::new());
    let hub = test.broker.hub();
    let mut commands = hub.subscribe(Filter::new("plant/+/set").unwrap()).await.unwrap();
    let mut client = Client::connect(test.address, Connect::new(Version::V311, "a")).await;
    client.subscribe("plant/state", QoS::AtLeastOnce).await;
    client.publish("plant/pump/set", "true", QoS::AtLeastOnce, true).await;
    let command = commands.recv().await.unwrap();
    assert_eq!((command.topic.as_str(), &command.payload[..], command.retain), ("plant/pump/set", &b"true"[..], true));
    assert!(matches!(client.receive().await, Some(Packet::PubAck(_))));
    let state = Message::new(Topic::new("plant/state").unwrap(), "online", QoS::AtLeastOnce, false);
    hub.publish_committed(state).await.unwrap();
    assert_eq!(&client.message().await.payload[..], b"online");
    test.broker.stop().await;
    assert_eq!(commands.recv().await, None);
}

#[tokio::test]
async fn a_subscription_of_the_gateway_whose_reader_is_slow_drops_and_counts() {
    let test = start(Limits::default(), Vec::new());
    let hub = test.broker.hub();
    let mut slow = hub.subscribe(Filter::new("t").unwrap()).await.unwrap();
    let message = Message::new(Topic::new("t").unwrap(), "x", QoS::AtMostOnce, false);
    for _ in 0..2_000 {
        hub.publish(message.clone()).await.unwrap();
    }
    hub.publish_committed(message).await.unwrap();
    let dropped = slow.dropped();
    assert!(dropped > 0);
    for _ in 0..2_001 - dropped {
        assert!(slow.recv().await.is_some());
    }
}
