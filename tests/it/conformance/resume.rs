//! Coming back to a session (§4.4, §4.5, §4.6): what was in flight, what was queued, in which order and under which names.

use super::{broker, client};
use crate::support::wire::{
    BOTH, Connect, Publish, Value, Version, Wire, first, four, property, text, two, unique, user,
};

/// A session that is subscribed to a topic at QoS 2, connected.
async fn subscribed(connect: &Connect) -> (Wire, String) {
    let topic = unique("resume");
    let mut wire = Wire::connect(broker(), connect).await;
    wire.subscribe(&topic, 2).await;
    (wire, topic)
}

/// [MQTT-4.4.0-1], [MQTT-3.3.1-1], [MQTT-4.6.0-1], v311 [MQTT-4.6.0-6]
#[tokio::test]
async fn mqtt_4_4_0_1_in_flight_messages_come_again_with_dup_their_ids_and_in_their_order() {
    for v in BOTH {
        let connect = Connect::persistent(v, &unique("resume"));
        let (mut subscriber, topic) = subscribed(&connect).await;
        let mut publisher = client(v).await;
        let mut sent = Vec::new();
        for n in 0..20 {
            publisher.publish(Publish::new(&topic, n.to_string()).qos(1 + n % 2, 0)).await;
            sent.push(subscriber.held().await);
        }
        for _ in 0..2 {
            drop(subscriber);
            let (again, ack) = Wire::connect_ack(broker(), &connect).await;
            assert!(ack.session_present);
            subscriber = again;
            for before in &sent {
                assert_eq!(subscriber.held().await, before.clone().dup(), "{v:?}");
            }
            subscriber.quiet().await;
        }
        for message in &sent {
            subscriber.settle(message).await;
        }
        publisher.publish(Publish::new(&topic, "new").qos(1, 0)).await;
        let message = subscriber.message().await;
        assert_eq!((message.text(), message.dup), ("new", false));
    }
}

/// v311 [MQTT-3.1.2-5], v311 [MQTT-4.1.0-1], v5 [MQTT-3.1.2-23], v5 [MQTT-4.1.0-1], [MQTT-4.5.0-1]
#[tokio::test]
async fn mqtt_3_1_2_5_what_is_published_while_a_session_is_away_waits_for_it_in_order() {
    for v in BOTH {
        for orderly in [true, false] {
            let connect = Connect::persistent(v, &unique("resume"));
            let (subscriber, topic) = subscribed(&connect).await;
            if orderly {
                subscriber.leave().await
            } else {
                drop(subscriber)
            }
            let mut publisher = client(v).await;
            for n in 0..250 {
                publisher.publish(Publish::new(&topic, n.to_string()).qos(1 + n as u8 % 2, 0)).await;
            }
            let (mut subscriber, ack) = Wire::connect_ack(broker(), &connect).await;
            assert!(ack.session_present);
            for n in 0..250 {
                let message = subscriber.message().await;
                assert_eq!(
                    (message.text(), message.qos, message.dup),
                    (&*n.to_string(), 1 + n as u8 % 2, false),
                    "{v:?}"
                );
            }
            subscriber.quiet().await;
        }
    }
}

/// [MQTT-4.4.0-1], v5 [MQTT-3.3.4-9], v5 [MQTT-4.9.0-2], pitfall 4
#[tokio::test]
async fn mqtt_v5_3_3_4_9_a_resumed_session_respects_the_receive_maximum_of_its_new_connection() {
    let connect = Connect::persistent(Version::V5, &unique("narrow"));
    let (mut subscriber, topic) = subscribed(&connect).await;
    let mut publisher = client(Version::V5).await;
    for n in 0..6 {
        publisher.publish(Publish::new(&topic, n.to_string()).qos(1 + n % 2, 0)).await;
        subscriber.held().await;
    }
    drop(subscriber);
    let mut subscriber = Wire::connect(broker(), &connect.with(two(property::RECEIVE_MAXIMUM, 2))).await;
    let mut window = vec![subscriber.held().await, subscriber.held().await];
    subscriber.quiet().await;
    for n in 0..6 {
        let message = window.remove(0);
        assert_eq!((message.text(), message.dup), (&*n.to_string(), true));
        subscriber.settle(&message).await;
        if n < 4 {
            window.push(subscriber.held().await);
        }
        subscriber.quiet().await;
    }
}

/// v5 [MQTT-4.9.0-2], v5 [MQTT-3.3.4-9], pitfall 12
#[tokio::test]
async fn mqtt_v5_4_9_0_2_a_pubrel_that_waits_for_its_pubcomp_counts_after_a_reconnect() {
    let connect = Connect::persistent(Version::V5, &unique("narrow")).with(two(property::RECEIVE_MAXIMUM, 1));
    let (mut subscriber, topic) = subscribed(&connect).await;
    let mut publisher = client(Version::V5).await;
    for payload in ["1", "2"] {
        publisher.publish(Publish::new(&topic, payload).qos(2, 0)).await;
    }
    let one = subscriber.held().await;
    subscriber.send(&crate::support::wire::ack(first::PUBREC, one.id)).await;
    subscriber.ack(first::PUBREL, one.id).await;
    subscriber.quiet().await;
    drop(subscriber);
    let mut subscriber = Wire::connect(broker(), &connect).await;
    subscriber.ack(first::PUBREL, one.id).await;
    subscriber.quiet().await;
    subscriber.send(&crate::support::wire::ack(first::PUBCOMP, one.id)).await;
    assert_eq!(subscriber.message().await.text(), "2");
}

/// v311 [MQTT-3.1.2-4], v5 [MQTT-3.1.2-5], pitfall 4
#[tokio::test]
async fn a_session_is_resumed_in_the_version_that_the_client_speaks_now() {
    for (before, after) in [(Version::V311, Version::V5), (Version::V5, Version::V311)] {
        let id = unique("changed");
        let (mut subscriber, topic) = subscribed(&Connect::persistent(before, &id)).await;
        let mut publisher = client(Version::V5).await;
        let rich = |payload: &str| {
            let publish = Publish::new(&topic, payload).qos(2, 0).with(text(property::CONTENT_TYPE, "text/plain"));
            publish.with(user("a", "1")).with(four(property::MESSAGE_EXPIRY, 600))
        };
        publisher.publish(rich("in flight")).await;
        let in_flight = subscriber.held().await;
        drop(subscriber);
        publisher.publish(rich("queued")).await;
        let (mut subscriber, ack) = Wire::connect_ack(broker(), &Connect::persistent(after, &id)).await;
        assert!(ack.session_present, "{before:?} {after:?}");
        for (payload, dup) in [("in flight", true), ("queued", false)] {
            let message = subscriber.held().await;
            assert_eq!((message.text(), message.dup), (payload, dup), "{after:?}");
            assert!(!dup || message.id == in_flight.id);
            let kept = message.property(property::CONTENT_TYPE) == [Value::Text("text/plain".into())];
            assert_eq!(kept, after == Version::V5, "{after:?}");
            subscriber.settle(&message).await;
        }
        // The subscription is as it was too.
        publisher.publish(rich("live")).await;
        assert_eq!(subscriber.message().await.text(), "live");
    }
}

/// [MQTT-4.4.0-1], v5 [MQTT-3.1.4-3]
#[tokio::test]
async fn a_takeover_gives_the_session_with_all_that_was_in_flight_to_the_new_connection() {
    for v in BOTH {
        let connect = Connect::persistent(v, &unique("over"));
        let (mut old, topic) = subscribed(&connect).await;
        let mut publisher = client(v).await;
        let mut sent = Vec::new();
        for n in 0..5 {
            publisher.publish(Publish::new(&topic, n.to_string()).qos(1 + n % 2, 0)).await;
            sent.push(old.held().await);
        }
        let (mut new, ack) = Wire::connect_ack(broker(), &connect).await;
        assert!(ack.session_present);
        publisher.publish(Publish::new(&topic, "after").qos(1, 0)).await;
        for before in &sent {
            assert_eq!(new.held().await, before.clone().dup(), "{v:?}");
            new.settle(before).await;
        }
        assert_eq!(new.message().await.text(), "after");
        assert_eq!(old.closed().await, (v == Version::V5).then_some(0x8E));
    }
}

/// v5 [MQTT-3.3.1-13], v5 [MQTT-3.3.4-3]
#[tokio::test]
async fn what_waited_for_a_session_comes_with_the_options_of_its_subscription() {
    let connect = Connect::persistent(Version::V5, &unique("options"));
    let mut wire = Wire::connect(broker(), &connect).await;
    let topic = unique("options");
    let identifier = crate::support::wire::variable(property::SUBSCRIPTION_ID, 268_435_455);
    // QoS 1, retain as published.
    wire.subscribe_with(&identifier, &[(&topic, 0x09)]).await;
    wire.leave().await;
    let mut publisher = client(Version::V5).await;
    publisher.publish(Publish::new(&topic, "x").qos(2, 0).retained()).await;
    let mut wire = Wire::connect(broker(), &connect).await;
    let message = wire.message().await;
    assert_eq!((message.qos, message.retain), (1, true));
    assert_eq!(message.property(property::SUBSCRIPTION_ID), [Value::Number(268_435_455)]);
    publisher.publish(Publish::new(&topic, "").qos(1, 0).retained()).await;
}
