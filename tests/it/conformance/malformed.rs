//! Packets that no client would send: each ends its connection, in MQTT 5 with a reason, and costs nobody else anything.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{broker, client};
use crate::support::wire::{
    BOTH, Connect, Packet, Publish, Version, Will, Wire, byte, disconnect_with, first, four, packet, property, sized,
    subscribe, subscribe_with, text, two, unique, unsubscribe, variable,
};

const V311: &[Version] = &[Version::V311];
const V5: &[Version] = &[Version::V5];

/// A statement, what is wrong, who can say it, and the packet.
type Row = (&'static str, &'static str, &'static [Version], fn(Version) -> Vec<u8>);

fn lead(v: Version) -> &'static [u8] {
    if v == Version::V5 { &[0] } else { &[] }
}

/// The bytes with another first byte.
fn flags(first: u8, mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[0] = first;
    bytes
}

fn one_filter(v: Version, options: u8) -> Vec<u8> {
    subscribe(v, 1, &[("t", options)])
}

fn with(list: Vec<u8>) -> Vec<u8> {
    Publish::new("t", "x").with(list).bytes(Version::V5)
}

const FIXED_HEADER: &[Row] = &[
    ("v311 [MQTT-2.2.2-2] v5 [MQTT-2.1.3-1]", "packet type 0", &BOTH, |_| vec![0x00, 0]),
    ("v311 [MQTT-2.2.2-2]", "packet type 15", V311, |_| vec![0xF0, 0]),
    ("v311 [MQTT-2.2.2-2] v5 [MQTT-2.1.3-1]", "flags of PINGREQ", &BOTH, |_| vec![0xC1, 0]),
    ("v311 [MQTT-2.2.2-2] v5 [MQTT-2.1.3-1]", "flags of PUBACK", &BOTH, |_| vec![0x42, 2, 0, 1]),
    ("v311 [MQTT-2.2.2-2] v5 [MQTT-2.1.3-1]", "flags of PUBREC", &BOTH, |_| vec![0x51, 2, 0, 1]),
    ("v311 [MQTT-2.2.2-2] v5 [MQTT-2.1.3-1]", "flags of PUBCOMP", &BOTH, |_| vec![0x72, 2, 0, 1]),
    ("[MQTT-3.6.1-1]", "flags of PUBREL", &BOTH, |_| vec![0x60, 2, 0, 1]),
    ("[MQTT-3.6.1-1]", "more flags of PUBREL", &BOTH, |_| vec![0x63, 2, 0, 1]),
    ("[MQTT-3.8.1-1]", "no flags in SUBSCRIBE", &BOTH, |v| flags(0x80, one_filter(v, 0))),
    ("[MQTT-3.8.1-1]", "more flags in SUBSCRIBE", &BOTH, |v| flags(0x8A, one_filter(v, 0))),
    ("[MQTT-3.10.1-1]", "no flags in UNSUBSCRIBE", &BOTH, |v| flags(0xA0, unsubscribe(v, 1, &["t"]))),
    ("[MQTT-3.10.1-1]", "more flags in UNSUBSCRIBE", &BOTH, |v| flags(0xA3, unsubscribe(v, 1, &["t"]))),
    ("[MQTT-3.14.1-1]", "flags of DISCONNECT", &BOTH, |_| vec![0xE1, 0]),
    ("v5 [MQTT-3.15.1-1]", "flags of AUTH", V5, |_| vec![0xF1, 0]),
    ("v311 [MQTT-4.8.0-1]", "a remaining length of five bytes", &BOTH, |_| vec![0x30, 0x80, 0x80, 0x80, 0x80, 0x01]),
    ("v5 [MQTT-1.5.5-1]", "a remaining length longer than needed", &BOTH, |_| vec![0xC0, 0x80, 0x00]),
    ("v311 [MQTT-4.8.0-1]", "CONNACK from a client", &BOTH, |_| vec![0x20, 2, 0, 0]),
    ("v311 [MQTT-4.8.0-1]", "SUBACK from a client", &BOTH, |v| packet(0x90, &[&[0, 1], lead(v), &[0]])),
    ("v311 [MQTT-4.8.0-1]", "UNSUBACK from a client", &BOTH, |v| packet(0xB0, &[&[0, 1], lead(v)])),
    ("v311 [MQTT-4.8.0-1]", "PINGRESP from a client", &BOTH, |_| vec![0xD0, 0]),
    ("v311 [MQTT-4.8.0-1]", "PINGREQ with a body", &BOTH, |_| vec![0xC0, 1, 0]),
];

const BODIES: &[Row] = &[
    ("[MQTT-3.3.1-4]", "QoS 3", &BOTH, |v| flags(0x36, Publish::new("t", "x").qos(1, 1).bytes(v))),
    ("[MQTT-3.3.1-2]", "DUP at QoS 0", &BOTH, |v| Publish::new("t", "x").dup().bytes(v)),
    ("v311 [MQTT-2.3.1-1] v5 [MQTT-2.2.1-3]", "PUBLISH with packet id 0 at QoS 1", &BOTH, |v| {
        Publish::new("t", "x").qos(1, 0).bytes(v)
    }),
    ("v311 [MQTT-2.3.1-1] v5 [MQTT-2.2.1-3]", "PUBLISH with packet id 0 at QoS 2", &BOTH, |v| {
        Publish::new("t", "x").qos(2, 0).bytes(v)
    }),
    ("v311 [MQTT-2.3.1-1] v5 [MQTT-2.2.1-3]", "SUBSCRIBE with packet id 0", &BOTH, |v| subscribe(v, 0, &[("t", 0)])),
    ("v311 [MQTT-2.3.1-1] v5 [MQTT-2.2.1-3]", "UNSUBSCRIBE with packet id 0", &BOTH, |v| unsubscribe(v, 0, &["t"])),
    ("[MQTT-3.3.2-2]", "a + in a topic", &BOTH, |v| Publish::new("a/+/b", "x").bytes(v)),
    ("[MQTT-3.3.2-2]", "a # in a topic", &BOTH, |v| Publish::new("a/#", "x").bytes(v)),
    ("v311 [MQTT-4.7.1-1] v5 [MQTT-4.7.0-1]", "a + within a level of a topic", &BOTH, |v| {
        Publish::new("a+b", "x").bytes(v)
    }),
    ("[MQTT-4.7.3-1]", "an empty topic", &BOTH, |v| Publish::new("", "x").bytes(v)),
    ("[MQTT-4.7.3-1]", "an empty filter", &BOTH, |v| subscribe(v, 1, &[("", 0)])),
    ("[MQTT-4.7.3-1]", "an empty filter to unsubscribe", &BOTH, |v| unsubscribe(v, 1, &[""])),
    ("v311 [MQTT-4.8.0-1] v5 [MQTT-3.3.2-1]", "a topic longer than its packet", &BOTH, |_| {
        packet(0x30, &[&[0, 9], b"abc"])
    }),
    ("v311 [MQTT-4.8.0-1] v5 [MQTT-3.3.2-1]", "PUBLISH without anything", &BOTH, |_| vec![0x30, 0]),
    ("v311 [MQTT-4.8.0-1]", "PUBLISH without its packet id", &BOTH, |_| packet(0x32, &[&sized("t"), &[0]])),
    ("v311 [MQTT-3.8.3-3] v5 [MQTT-3.8.3-2]", "SUBSCRIBE without a filter", &BOTH, |v| subscribe(v, 1, &[])),
    ("v311 [MQTT-3.8.3-4]", "a filter at QoS 3", &BOTH, |v| one_filter(v, 3)),
    ("v311 [MQTT-3.8.3-4] v5 [MQTT-3.8.3-5]", "reserved bits of a subscription", &BOTH, |v| one_filter(v, 0x40)),
    ("v311 [MQTT-3.8.3-4] v5 [MQTT-3.8.3-5]", "the highest reserved bit", &BOTH, |v| one_filter(v, 0x81)),
    ("v311 [MQTT-3.8.3-4]", "options of MQTT 5", V311, |v| one_filter(v, 0x04)),
    ("v5 [MQTT-4.13.1-1]", "Retain Handling 3", V5, |v| one_filter(v, 0x30)),
    ("v311 [MQTT-4.8.0-1]", "SUBSCRIBE without the options of its filter", &BOTH, |v| {
        packet(0x82, &[&[0, 1], lead(v), &sized("t")])
    }),
    ("v311 [MQTT-4.8.0-1]", "SUBSCRIBE without anything", &BOTH, |_| vec![0x82, 0]),
    ("[MQTT-3.10.3-2]", "UNSUBSCRIBE without a filter", &BOTH, |v| unsubscribe(v, 1, &[])),
    ("v311 [MQTT-4.8.0-1]", "PUBACK of one byte", &BOTH, |_| vec![0x40, 1, 0]),
    ("v311 [MQTT-4.8.0-1]", "PUBACK without anything", &BOTH, |_| vec![0x40, 0]),
    ("v311 [MQTT-4.8.0-1]", "PUBACK of three bytes", V311, |_| vec![0x40, 3, 0, 1, 0]),
    ("v311 [MQTT-4.8.0-1]", "PUBREL of packet id 0", &BOTH, |_| vec![0x62, 2, 0, 0]),
    ("v311 [MQTT-4.8.0-1]", "DISCONNECT with a body", V311, |_| vec![0xE0, 1, 0]),
    ("v5 [MQTT-4.12.0-6]", "AUTH without an authentication method", V5, |_| vec![0xF0, 0]),
    ("v5 [MQTT-4.12.0-6]", "AUTH of a method that was not agreed", V5, |_| {
        let list = text(property::AUTH_METHOD, "m");
        packet(first::AUTH, &[&[0x19, list.len() as u8], &list])
    }),
];

const PROPERTIES: &[Row] = &[
    ("v5 [MQTT-3.3.2-14]", "a wildcard in a response topic", V5, |_| with(text(property::RESPONSE_TOPIC, "a/#"))),
    ("v5 [MQTT-3.3.4-6]", "a subscription identifier from a client", V5, |_| {
        with(variable(property::SUBSCRIPTION_ID, 1))
    }),
    ("v5 [MQTT-3.3.2-8]", "topic alias 0", V5, |_| with(two(property::TOPIC_ALIAS, 0))),
    ("v5 [MQTT-3.3.2-9]", "a topic alias above the maximum", V5, |_| with(two(property::TOPIC_ALIAS, 65_535))),
    ("v5 [MQTT-3.3.2-9]", "a topic alias that stands for nothing", V5, |_| {
        Publish::new("", "x").with(two(property::TOPIC_ALIAS, 1)).bytes(Version::V5)
    }),
    ("v5 [MQTT-3.3.2-4]", "payload format 2", V5, |_| with(byte(property::PAYLOAD_FORMAT, 2))),
    ("v5 [MQTT-4.13.1-1]", "payload format twice", V5, |_| with(byte(property::PAYLOAD_FORMAT, 1).repeat(2))),
    ("v5 [MQTT-4.13.1-1]", "message expiry twice", V5, |_| with(four(property::MESSAGE_EXPIRY, 9).repeat(2))),
    ("v5 [MQTT-4.13.1-1]", "content type twice", V5, |_| with(text(property::CONTENT_TYPE, "a").repeat(2))),
    ("v5 [MQTT-4.13.1-1]", "response topic twice", V5, |_| with(text(property::RESPONSE_TOPIC, "a").repeat(2))),
    ("v5 [MQTT-4.13.1-1]", "correlation data twice", V5, |_| with(text(property::CORRELATION_DATA, "a").repeat(2))),
    ("v5 [MQTT-4.13.1-1]", "topic alias twice", V5, |_| with(two(property::TOPIC_ALIAS, 1).repeat(2))),
    ("v5 [MQTT-4.13.1-1]", "a property that PUBLISH has not", V5, |_| with(two(property::RECEIVE_MAXIMUM, 1))),
    ("v5 [MQTT-4.13.1-1]", "a property that nothing has", V5, |_| with(vec![0x7F, 0])),
    ("v5 [MQTT-4.13.1-1]", "properties longer than their packet", V5, |_| packet(0x30, &[&sized("t"), &[100], b"x"])),
    ("v5 [MQTT-4.13.1-1]", "a property that ends with its value unsaid", V5, |_| {
        with(vec![property::MESSAGE_EXPIRY, 0])
    }),
    ("v5 [MQTT-4.13.1-1]", "subscription identifier 0", V5, |v| {
        subscribe_with(v, 1, &variable(property::SUBSCRIPTION_ID, 0), &[("t", 0)])
    }),
    ("v5 [MQTT-4.13.1-1]", "two subscription identifiers", V5, |v| {
        subscribe_with(v, 1, &variable(property::SUBSCRIPTION_ID, 1).repeat(2), &[("t", 0)])
    }),
    ("v5 [MQTT-3.8.3-4]", "no-local on a shared subscription", V5, |v| subscribe(v, 1, &[("$share/g/t", 0x04)])),
    ("v5 [MQTT-4.13.1-1]", "session expiry twice in DISCONNECT", V5, |_| {
        disconnect_with(0, &four(property::SESSION_EXPIRY, 0).repeat(2))
    }),
    ("v5 [MQTT-4.13.1-1]", "server keep-alive in DISCONNECT", V5, |_| {
        disconnect_with(0, &two(property::SERVER_KEEP_ALIVE, 9))
    }),
];

/// Sends each row on a connection of its own, all at once, and has each closed; somebody else does not notice.
async fn each_ends_its_connection(rows: &'static [Row]) {
    let mut bystander = client(Version::V311).await;
    let mut tasks = JoinSet::new();
    for (ids, what, versions, bytes) in rows {
        for v in *versions {
            tasks.spawn(async move {
                let mut wire = client(*v).await;
                wire.send(&bytes(*v)).await;
                let expected: &[Option<u8>] = match v {
                    Version::V311 => &[None],
                    // A malformed packet, a protocol error, or what is said more precisely.
                    Version::V5 => &[Some(0x81), Some(0x82), Some(0x8F), Some(0x90), Some(0x94)],
                };
                match tokio::time::timeout(Duration::from_secs(5), wire.closed()).await {
                    Ok(reason) if expected.contains(&reason) => None,
                    other => Some(format!("{ids} {what}, {v:?}: {other:x?}")),
                }
            });
        }
    }
    let failed: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
    assert!(failed.is_empty(), "{failed:#?}");
    bystander.quiet().await;
}

/// v311 [MQTT-2.2.2-2], v5 [MQTT-2.1.3-1], and each row its own
#[tokio::test]
async fn mqtt_2_2_2_2_a_wrong_fixed_header_ends_the_connection() {
    each_ends_its_connection(FIXED_HEADER).await;
}

/// v311 [MQTT-4.8.0-1], v5 [MQTT-4.13.1-1], pitfalls 1 and 2, and each row its own
#[tokio::test]
async fn mqtt_4_8_0_1_a_body_that_its_packet_can_not_have_ends_the_connection() {
    each_ends_its_connection(BODIES).await;
}

/// v5 [MQTT-4.13.1-1], and each row its own
#[tokio::test]
async fn mqtt_v5_4_13_1_1_wrong_properties_end_the_connection() {
    each_ends_its_connection(PROPERTIES).await;
}

/// v311 [MQTT-4.7.1-2], v311 [MQTT-4.7.1-3], v5 [MQTT-4.7.1-1], v5 [MQTT-4.7.1-2]
#[tokio::test]
async fn mqtt_4_7_1_2_a_wildcard_that_is_not_a_whole_level_or_not_last_is_not_granted() {
    for v in BOTH {
        for filter in ["a/#/b", "a#", "#a", "a/b#", "##", "+#", "a+", "+a", "a/b+/c", "++", "a/+b/#", "#/"] {
            let mut wire = client(v).await;
            wire.send(&subscribe(v, 1, &[(filter, 0)])).await;
            let next = wire.next().await;
            let refused = match &next {
                None => v == Version::V311,
                Some(Packet::SubAck { codes, .. }) => codes[0] >= 0x80,
                Some(Packet::Disconnect { reason, .. }) => [0x81, 0x82, 0x8F].contains(reason),
                _ => false,
            };
            assert!(refused, "{v:?} {filter:?}: {next:?}");
        }
    }
}

fn named(v: Version) -> Connect {
    Connect::new(v, &unique("bad"))
}

fn with_user(v: Version) -> Connect {
    Connect { user: Some(b"u".to_vec()), password: Some(b"p".to_vec()), ..named(v) }
}

fn with_will(v: Version) -> Connect {
    named(v).will(Will::new("w", "x"))
}

fn about(property: Vec<u8>) -> Vec<u8> {
    named(Version::V5).with(property).bytes()
}

const CONNECTS: &[Row] = &[
    ("[MQTT-3.1.4-1]", "flags in the fixed header", &BOTH, |v| flags(0x11, named(v).bytes())),
    ("[MQTT-3.1.2-3]", "the reserved connect flag", &BOTH, |v| named(v).bytes_with_flags(0x03)),
    ("[MQTT-3.1.2-11] v311 [MQTT-3.1.2-13]", "will QoS 1 without a will", &BOTH, |v| named(v).bytes_with_flags(0x0A)),
    ("v311 [MQTT-3.1.2-15] v5 [MQTT-3.1.2-13]", "will retain without a will", &BOTH, |v| {
        named(v).bytes_with_flags(0x22)
    }),
    ("v311 [MQTT-3.1.2-14] v5 [MQTT-3.1.2-12]", "will QoS 3", &BOTH, |v| with_will(v).bytes_with_flags(0x1E)),
    ("[MQTT-3.1.2-9]", "a will flag without a will", &BOTH, |v| named(v).bytes_with_flags(0x06)),
    ("v311 [MQTT-3.1.2-11]", "a will without its flag", &BOTH, |v| with_will(v).bytes_with_flags(0x02)),
    ("v311 [MQTT-3.1.2-18] v5 [MQTT-3.1.2-16]", "a user name without its flag", &BOTH, |v| {
        Connect { user: Some(b"u".to_vec()), ..named(v) }.bytes_with_flags(0x02)
    }),
    ("v311 [MQTT-3.1.2-19] v5 [MQTT-3.1.2-17]", "a user name flag without a user name", &BOTH, |v| {
        named(v).bytes_with_flags(0x82)
    }),
    ("v311 [MQTT-3.1.2-20] v5 [MQTT-3.1.2-18]", "a password without its flag", &BOTH, |v| {
        with_user(v).bytes_with_flags(0x82)
    }),
    ("v311 [MQTT-3.1.2-21] v5 [MQTT-3.1.2-19]", "a password flag without a password", &BOTH, |v| {
        Connect { user: Some(b"u".to_vec()), ..named(v) }.bytes_with_flags(0xC2)
    }),
    ("v311 [MQTT-3.1.2-22]", "a password without a user name", V311, |v| {
        Connect { password: Some(b"p".to_vec()), ..named(v) }.bytes()
    }),
    ("[MQTT-3.1.3-3]", "no client id at all", &BOTH, |v| {
        let level = if v == Version::V5 { 5 } else { 4 };
        packet(first::CONNECT, &[&sized("MQTT"), &[level, 2, 0, 0], lead(v)])
    }),
    ("[MQTT-3.1.4-1]", "bytes after the end", &BOTH, |v| {
        let mut bytes = named(v).bytes();
        bytes[1] += 1;
        [bytes, vec![0]].concat()
    }),
    ("[MQTT-3.1.4-1]", "an end before the keep-alive", &BOTH, |_| packet(first::CONNECT, &[&sized("MQTT"), &[4, 2]])),
    ("[MQTT-3.1.4-1]", "a wildcard in the will's topic", &BOTH, |v| named(v).will(Will::new("a/#", "x")).bytes()),
    ("[MQTT-4.7.3-1]", "an empty will topic", &BOTH, |v| named(v).will(Will::new("", "x")).bytes()),
    ("v5 [MQTT-3.1.4-1]", "Receive Maximum 0", V5, |_| about(two(property::RECEIVE_MAXIMUM, 0))),
    ("v5 [MQTT-3.1.4-1]", "Maximum Packet Size 0", V5, |_| about(four(property::MAXIMUM_PACKET_SIZE, 0))),
    ("v5 [MQTT-3.1.4-1]", "Request Problem Information 2", V5, |_| about(byte(property::REQUEST_PROBLEM_INFO, 2))),
    ("v5 [MQTT-3.1.4-1]", "Request Response Information 2", V5, |_| about(byte(property::REQUEST_RESPONSE_INFO, 2))),
    ("v5 [MQTT-3.1.4-1]", "authentication data without a method", V5, |_| about(text(property::AUTH_DATA, "x"))),
    ("v5 [MQTT-3.1.4-1]", "session expiry twice", V5, |_| about(four(property::SESSION_EXPIRY, 1).repeat(2))),
    ("v5 [MQTT-3.1.4-1]", "Receive Maximum twice", V5, |_| about(two(property::RECEIVE_MAXIMUM, 1).repeat(2))),
    ("v5 [MQTT-3.1.4-1]", "Maximum Packet Size twice", V5, |_| {
        about(four(property::MAXIMUM_PACKET_SIZE, 99).repeat(2))
    }),
    ("v5 [MQTT-3.1.4-1]", "Topic Alias Maximum twice", V5, |_| about(two(property::TOPIC_ALIAS_MAXIMUM, 1).repeat(2))),
    ("v5 [MQTT-3.1.4-1]", "Request Problem Information twice", V5, |_| {
        about(byte(property::REQUEST_PROBLEM_INFO, 1).repeat(2))
    }),
    ("v5 [MQTT-3.1.4-1]", "authentication method twice", V5, |_| about(text(property::AUTH_METHOD, "m").repeat(2))),
    ("v5 [MQTT-3.1.4-1]", "a property of PUBLISH", V5, |_| about(two(property::TOPIC_ALIAS, 1))),
    ("v5 [MQTT-3.1.4-1]", "will delay twice", V5, |v| {
        let mut will = Will::new("w", "x");
        will.properties = four(property::WILL_DELAY, 1).repeat(2);
        named(v).will(will).bytes()
    }),
    ("v5 [MQTT-3.1.4-1]", "payload format 2 of a will", V5, |v| {
        let mut will = Will::new("w", "x");
        will.properties = byte(property::PAYLOAD_FORMAT, 2);
        named(v).will(will).bytes()
    }),
];

/// [MQTT-3.1.4-1], v311 [MQTT-3.2.2-6], v5 [MQTT-3.1.4-2], v5 [MQTT-3.14.0-1], and each row its own
#[tokio::test]
async fn mqtt_3_1_4_1_a_connect_that_is_not_as_it_should_be_is_refused() {
    let mut tasks = JoinSet::new();
    for (ids, what, versions, bytes) in CONNECTS {
        for v in *versions {
            tasks.spawn(async move {
                let mut wire = Wire::open(broker(), *v).await;
                wire.send(&bytes(*v)).await;
                let code = match wire.next().await {
                    Some(Packet::ConnAck(ack)) => Some(ack.code),
                    _ => None,
                };
                let expected: &[Option<u8>] = match v {
                    // No CONNACK: none of its codes says what is wrong.
                    Version::V311 => &[None],
                    Version::V5 => &[None, Some(0x81), Some(0x82), Some(0x90)],
                };
                let right = expected.contains(&code) && wire.next().await.is_none();
                (!right).then(|| format!("{ids} {what}, {v:?}: {code:x?}"))
            });
        }
    }
    let failed: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// v5 [MQTT-3.1.2-18], v5 [MQTT-3.1.2-19]
#[tokio::test]
async fn mqtt_v5_3_1_2_19_mqtt_5_allows_a_password_without_a_user_name() {
    let connect = Connect { password: Some(b"token".to_vec()), ..named(Version::V5) };
    Wire::connect(broker(), &connect).await.quiet().await;
}

/// [MQTT-3.1.3-1], v311 [MQTT-3.1.2-19], v311 [MQTT-3.1.2-21], v5 [MQTT-3.1.2-17], v5 [MQTT-3.1.2-19]
#[tokio::test]
async fn mqtt_3_1_3_1_all_fields_of_a_connect_in_their_order_are_understood() {
    for v in BOTH {
        let topic = unique("order");
        let mut watcher = client(v).await;
        watcher.subscribe(&topic, 0).await;
        let connect = Connect { user: Some(b"u".to_vec()), password: Some(vec![0, 255, 10]), ..named(v) };
        drop(Wire::connect(broker(), &connect.will(Will::new(&topic, "lost"))).await);
        assert_eq!(watcher.message().await.text(), "lost");
    }
}
