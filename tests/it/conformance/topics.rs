//! Topic names and filters (§4.7): what matches what, with nothing normalised.

use super::client;
use crate::support::wire::{BOTH, Publish, Version, Wire, first, unique};

/// Subscribes one client to each filter, publishes to each topic, and returns what came, as (filter's number, topic without root).
async fn matches(v: Version, filters: &[&str], topics: &[&str]) -> Vec<(usize, String)> {
    let root = unique("m");
    let mut wires: Vec<Wire> = Vec::new();
    for filter in filters {
        let mut wire = client(v).await;
        assert!(wire.subscribe(&format!("{root}{filter}"), 0).await < 3, "{filter:?}");
        wires.push(wire);
    }
    let mut publisher = client(v).await;
    for topic in topics {
        publisher.publish(Publish::new(&format!("{root}{topic}"), "x").qos(1, 0)).await;
    }
    let mut out = Vec::new();
    for (n, wire) in wires.iter_mut().enumerate() {
        let end = unique("end");
        wire.subscribe(&end, 0).await;
        publisher.publish(Publish::new(&end, "x").qos(1, 0)).await;
        loop {
            let message = wire.message().await;
            if message.topic() == end {
                break;
            }
            out.push((n, message.topic()[root.len()..].to_string()));
        }
    }
    out
}

/// Asserts for each row: this filter brings exactly these of all topics.
async fn table(rows: &[(&str, &[&str])], topics: &[&str]) {
    for v in BOTH {
        let filters: Vec<&str> = rows.iter().map(|(filter, _)| *filter).collect();
        let found = matches(v, &filters, topics).await;
        for (n, (filter, expected)) in rows.iter().enumerate() {
            let brought: Vec<&str> = found.iter().filter(|(i, _)| *i == n).map(|(_, topic)| topic.as_str()).collect();
            assert_eq!(&brought, expected, "{v:?} {filter:?}");
        }
    }
}

/// v311 [MQTT-4.7.1-2], v5 [MQTT-4.7.1-1]
#[tokio::test]
async fn mqtt_4_7_1_2_a_hash_is_its_parent_and_every_level_below() {
    let topics = ["", "/", "/a", "/a/b", "/a/b/c", "//", "/b"];
    table(&[("/#", &topics), ("/a/#", &["/a", "/a/b", "/a/b/c"]), ("/a/b/c/#", &["/a/b/c"]), ("/x/#", &[])], &topics)
        .await;
}

/// v311 [MQTT-4.7.1-3], v5 [MQTT-4.7.1-2]
#[tokio::test]
async fn mqtt_4_7_1_3_a_plus_is_one_level_and_an_empty_level_is_one() {
    let topics = ["", "/", "/a", "/a/b", "/a/b/c", "//", "/b/b"];
    table(
        &[
            ("/+", &["/", "/a"]),
            ("/+/b", &["/a/b", "/b/b"]),
            ("/a/+", &["/a/b"]),
            ("/+/+", &["/a/b", "//", "/b/b"]),
            ("/+/+/#", &["/a/b", "/a/b/c", "//", "/b/b"]),
            ("/a/+/c", &["/a/b/c"]),
        ],
        &topics,
    )
    .await;
}

/// [MQTT-4.7.3-4], v311 [MQTT-4.7.3-1], v5 [MQTT-4.7.3-1], v311 [MQTT-4.7.1-1], v5 [MQTT-4.7.0-1]
#[tokio::test]
async fn mqtt_4_7_3_4_names_are_compared_character_by_character() {
    // Precomposed and decomposed ä, upper case, a slash more, a space, percent encoding: all different.
    let topics = ["/ä", "/a\u{308}", "/Ä", "/a", "/a/", "//a", "/a ", "/%61", "/a\u{FEFF}"];
    let rows: Vec<(&str, Vec<&str>)> = topics.iter().map(|topic| (*topic, vec![*topic])).collect();
    let rows: Vec<(&str, &[&str])> = rows.iter().map(|(filter, list)| (*filter, list.as_slice())).collect();
    table(&rows, &topics).await;
}

/// [MQTT-4.7.2-1]
#[tokio::test]
async fn mqtt_4_7_2_1_a_wildcard_in_first_place_does_not_match_a_topic_that_begins_with_a_dollar() {
    for v in BOTH {
        let mut wire = client(v).await;
        wire.subscribe_with(
            &[],
            &[("#", 0), ("+/#", 0), ("+/broker/#", 0), ("+/broker/+", 0), ("+/broker/version", 0)],
        )
        .await;
        let mut system = client(v).await;
        // What the broker tells about itself comes by its name alone.
        system.subscribe("$SYS/#", 0).await;
        let own = system.message().await;
        assert!(own.topic().starts_with("$SYS/broker/"), "{own:?}");
        let end = unique("end");
        client(v).await.publish(Publish::new(&end, "x").qos(1, 0)).await;
        loop {
            let message = wire.message().await;
            assert!(!message.topic().starts_with('$'), "{message:?}");
            if message.topic() == end {
                break;
            }
        }
    }
}

/// [MQTT-4.7.2-1], v311 [MQTT-3.3.5-2]
#[tokio::test]
async fn mqtt_v311_3_3_5_2_a_client_can_not_speak_to_others_through_topics_that_begin_with_a_dollar() {
    for v in BOTH {
        for topic in ["$SYS/broker/uptime", "$anything/else", "$"] {
            let mut watcher = client(v).await;
            watcher.subscribe(if topic == "$" { "$" } else { "$anything/#" }, 0).await;
            let mut wire = client(v).await;
            for qos in 0..3 {
                let id = wire.id();
                wire.send(&Publish::new(topic, "mine").qos(qos, id).bytes(v)).await;
                // 3.1.1 has no refusal: acknowledged and dropped. MQTT 5 says so.
                let expected = if v == Version::V5 { 0x87 } else { 0 };
                match qos {
                    0 => {}
                    1 => assert_eq!(wire.ack(first::PUBACK, id).await, expected, "{topic}"),
                    _ => assert_eq!(wire.ack(first::PUBREC, id).await, expected, "{topic}"),
                }
            }
            wire.quiet().await;
            watcher.quiet().await;
        }
    }
}

/// [MQTT-4.7.3-3], v5 [MQTT-3.3.2-1], v311 [MQTT-3.3.2-1]
#[tokio::test]
async fn mqtt_4_7_3_3_long_names_are_taken_up_to_65535_bytes() {
    for v in BOTH {
        let topic = format!("{:x<65535}", unique("long"));
        let mut wire = client(v).await;
        assert_eq!(wire.subscribe(&topic, 1).await, 1);
        client(v).await.publish(Publish::new(&topic, "x").qos(1, 0)).await;
        assert_eq!(wire.message().await.topic(), topic);
    }
}

/// v311 [MQTT-3.3.2-3], v5 [MQTT-3.3.2-3]
#[tokio::test]
async fn mqtt_3_3_2_3_a_delivery_names_the_topic_that_was_published_to() {
    for v in BOTH {
        let topic = unique("t");
        let mut wire = client(v).await;
        wire.subscribe(&format!("{topic}/+/x/#"), 0).await;
        for name in [format!("{topic}/1/x"), format!("{topic}//x"), format!("{topic}/2/x/y z/ä")] {
            client(v).await.publish(Publish::new(&name, "x").qos(1, 0)).await;
            assert_eq!(wire.message().await.topic(), name);
        }
    }
}
