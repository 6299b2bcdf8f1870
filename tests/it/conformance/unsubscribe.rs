//! UNSUBSCRIBE and UNSUBACK (§3.10, §3.11).

use super::client;
use crate::support::wire::{BOTH, Packet, Publish, Version, unique, unsubscribe};

/// [MQTT-3.10.4-4], [MQTT-3.10.4-5], v311 [MQTT-2.3.1-7], v5 [MQTT-2.2.1-6]
#[tokio::test]
async fn mqtt_3_10_4_5_unsuback_has_the_packet_id_of_its_unsubscribe_even_when_nothing_was_subscribed() {
    for v in BOTH {
        let mut wire = client(v).await;
        for id in [1, 77, 0xFFFF] {
            wire.send(&unsubscribe(v, id, &[&unique("never")])).await;
            match wire.next().await {
                Some(Packet::UnsubAck { id: answered, codes, .. }) => {
                    assert_eq!((answered, &codes[..]), (id, if v == Version::V5 { &[0x11][..] } else { &[] }));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// [MQTT-3.10.4-1], [MQTT-3.10.4-2]
#[tokio::test]
async fn mqtt_3_10_4_1_filters_are_compared_character_by_character() {
    for v in BOTH {
        let topic = unique("t");
        let mut wire = client(v).await;
        wire.subscribe_with(&[], &[(&format!("{topic}/+"), 1), (&format!("{topic}/a"), 1)]).await;
        // Each of them covers the subscriptions or is covered, and none is one of them.
        for other in
            [format!("{topic}/#"), format!("{topic}/b"), format!("{topic}/A"), format!("{topic}/a/"), "#".into()]
        {
            assert_eq!(wire.unsubscribe(&[&other]).await, if v == Version::V5 { vec![0x11] } else { vec![] });
        }
        let mut publisher = client(v).await;
        publisher.publish(Publish::new(&format!("{topic}/b"), "+").qos(1, 0)).await;
        assert_eq!(wire.message().await.text(), "+");
        wire.unsubscribe(&[&format!("{topic}/+")]).await;
        publisher.publish(Publish::new(&format!("{topic}/b"), "no").qos(1, 0)).await;
        publisher.publish(Publish::new(&format!("{topic}/a"), "a").qos(1, 0)).await;
        assert_eq!(wire.message().await.text(), "a");
        wire.unsubscribe(&[&format!("{topic}/a")]).await;
        publisher.publish(Publish::new(&format!("{topic}/a"), "no").qos(1, 0)).await;
        wire.quiet().await;
    }
}

/// [MQTT-3.10.4-3]
#[tokio::test]
async fn mqtt_3_10_4_3_what_was_begun_before_unsubscribe_is_completed() {
    for v in BOTH {
        let topic = unique("t");
        let mut wire = client(v).await;
        wire.subscribe(&topic, 2).await;
        client(v).await.publish(Publish::new(&topic, "x").qos(2, 0)).await;
        let message = wire.held().await;
        wire.unsubscribe(&[&topic]).await;
        wire.settle(&message).await;
        wire.quiet().await;
    }
}

/// [MQTT-3.10.4-6], v5 [MQTT-3.11.3-1], v5 [MQTT-3.11.3-2]
#[tokio::test]
async fn mqtt_3_10_4_6_several_filters_are_unsubscribed_in_order_and_answered_once() {
    for v in BOTH {
        let topic = unique("t");
        let filters: Vec<String> = (0..4).map(|n| format!("{topic}/{n}")).collect();
        let mut wire = client(v).await;
        wire.subscribe_with(&[], &[(&filters[0], 1), (&filters[2], 1), (&filters[3], 1)]).await;
        // The first twice: the second time it is gone.
        let codes = wire.unsubscribe(&[&filters[0], &filters[1], &filters[2], &filters[0]]).await;
        assert_eq!(codes, if v == Version::V5 { vec![0, 0x11, 0, 0x11] } else { vec![] });
        wire.quiet().await;
        for filter in &filters {
            client(v).await.publish(Publish::new(filter, filter).qos(1, 0)).await;
        }
        assert_eq!(wire.message().await.text(), filters[3]);
        wire.quiet().await;
    }
}
