//! A broker with rights: what is refused to whom, and how each version is told. It also imposes a keep-alive, as Paho's suite expects of one.

use super::brokers::guarded;
use crate::support::wire::{BOTH, Connect, Publish, Version, Will, Wire, property, unique};

/// Nobody may subscribe or publish to this.
const DENIED: &str = "test/nosubscribe";

async fn client(v: Version) -> Wire {
    Wire::connect(guarded().0, &Connect::new(v, &unique("guarded"))).await
}

/// [MQTT-3.9.3-2], pitfall 11
#[tokio::test]
async fn mqtt_3_9_3_2_a_subscription_that_is_not_allowed_is_refused_and_the_others_are_not() {
    for v in BOTH {
        let mut wire = client(v).await;
        // 3.1.1 has one code for it, which is all that Paho's suite knows; MQTT 5 has the right one.
        let refused = if v == Version::V5 { 0x87 } else { 0x80 };
        assert_eq!(wire.subscribe_with(&[], &[("a", 1), (DENIED, 2), ("b", 0)]).await, [1, refused, 0], "{v:?}");
        // A filter that covers it is granted, and brings the rest.
        assert_eq!(wire.subscribe("test/#", 0).await, 0);
        let allowed = format!("test/{}", unique("allowed"));
        wire.publish(Publish::new(&allowed, "x")).await;
        while wire.message().await.topic() != allowed {}
    }
}

/// v311 [MQTT-3.3.5-2], v5 [MQTT-3.4.2-1], v5 [MQTT-3.5.2-1]
#[tokio::test]
async fn mqtt_v311_3_3_5_2_a_message_that_is_not_allowed_is_acknowledged_in_3_1_1_refused_in_5_and_delivered_to_nobody()
{
    for v in BOTH {
        let mut watcher = client(v).await;
        watcher.subscribe("test/+", 2).await;
        let mut wire = client(v).await;
        for qos in 0..3 {
            let reason = wire.publish(Publish::new(DENIED, "no").qos(qos, 0).retained()).await;
            assert_eq!(reason, if v == Version::V5 && qos > 0 { 0x87 } else { 0 }, "{v:?}");
        }
        wire.publish(Publish::new("test/end", "end").qos(1, 0)).await;
        loop {
            let message = watcher.message().await;
            assert_ne!(message.topic(), DENIED, "{v:?}");
            if message.topic() == "test/end" {
                break;
            }
        }
    }
}

/// [MQTT-3.1.2-8]
#[tokio::test]
async fn a_will_is_published_with_the_rights_of_its_client() {
    for v in BOTH {
        let mut watcher = client(v).await;
        watcher.subscribe("test/#", 0).await;
        let mut wire = Wire::open(guarded().0, v).await;
        wire.send(&Connect::new(v, &unique("guarded")).will(Will::new(DENIED, "no")).bytes()).await;
        // Refused at once or kept back later: both are right.
        let _ = wire.next().await;
        drop(wire);
        let end = unique("test/end");
        client(v).await.publish(Publish::new(&end, "end").qos(1, 0)).await;
        loop {
            let topic = watcher.message().await.topic().to_string();
            assert_ne!(topic, DENIED, "{v:?}");
            if topic == end {
                break;
            }
        }
    }
}

/// v5 [MQTT-3.2.2-22]
#[tokio::test]
async fn a_keep_alive_that_the_broker_imposes_is_told_to_clients_of_mqtt_5_that_want_a_longer_one() {
    for (keep_alive, told) in [(0, Some(60)), (120, Some(60)), (60, Some(60)), (10, None)] {
        let connect = Connect::new(Version::V5, &unique("guarded")).keep_alive(keep_alive);
        let (_, ack) = Wire::connect_ack(guarded().0, &connect).await;
        assert_eq!(ack.number(property::SERVER_KEEP_ALIVE), told, "{keep_alive}");
    }
}
