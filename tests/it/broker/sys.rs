//! What the broker tells about itself below `$SYS/broker`.

use std::collections::HashMap;

use fieldway::broker::Limits;
use fieldway::model::QoS;
use fieldway::mqtt::{Connect, Version};

use crate::support::mqtt::{Client, start};

/// How many topics there are: those of mosquitto 2.0.11 without `heap`, and `clients/maximum` of its manual.
const LEAVES: usize = 51;

#[tokio::test]
async fn a_subscriber_gets_all_leaves_at_once_with_what_was_counted() {
    let test = start(Limits::default(), Vec::new());
    let mut client = Client::connect(test.address, Connect::new(Version::V5, "a")).await;
    client.publish_acked("t", "12345", true).await;
    client.subscribe("t", QoS::AtMostOnce).await;
    assert_eq!(client.message().await.payload, "12345");
    client.expect_nothing().await;
    client.subscribe("$SYS/#", QoS::AtLeastOnce).await;
    let mut leaves = HashMap::new();
    for _ in 0..LEAVES {
        let message = client.message().await;
        assert!(message.retain && message.qos == QoS::AtMostOnce);
        let topic = message.topic.unwrap();
        let name = topic.strip_prefix("$SYS/broker/").unwrap().to_string();
        leaves.insert(name, String::from_utf8(message.payload.to_vec()).unwrap());
    }
    client.expect_nothing().await;
    let number = |name: &str| leaves[name].parse::<u64>().unwrap();
    assert_eq!((number("clients/connected"), number("clients/total"), number("clients/maximum")), (1, 1, 1));
    assert_eq!((number("publish/messages/received"), number("publish/bytes/received")), (1, 5));
    assert_eq!((number("publish/messages/sent"), number("publish/bytes/sent")), (1, 5));
    // CONNECT, PUBLISH, SUBSCRIBE, PINGREQ, SUBSCRIBE; CONNACK, PUBACK, SUBACK, PUBLISH, PINGRESP.
    assert_eq!(number("messages/received"), 5);
    assert!((5..=6).contains(&number("messages/sent")), "{}", leaves["messages/sent"]);
    assert!(number("bytes/received") > 50 && number("bytes/sent") > 30);
    assert_eq!(number("subscriptions/count"), 2);
    assert!(leaves["version"].starts_with("fieldway version "));
    assert!(leaves["uptime"].ends_with(" seconds"));
}

#[tokio::test]
async fn a_single_leaf_can_be_asked_for_and_wildcards_in_first_place_see_none() {
    let test = start(Limits::default(), Vec::new());
    let mut client = Client::connect(test.address, Connect::new(Version::V311, "a")).await;
    client.subscribe("#", QoS::AtMostOnce).await;
    client.subscribe("+/broker/version", QoS::AtMostOnce).await;
    client.expect_nothing().await;
    client.subscribe("$SYS/broker/clients/connected", QoS::AtMostOnce).await;
    assert_eq!(client.message().await.payload, "1");
    client.expect_nothing().await;
}
