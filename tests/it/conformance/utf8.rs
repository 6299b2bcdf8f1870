//! Text (§1.5.3 in 3.1.1, §1.5.4 in MQTT 5): what is no UTF-8, or has a NUL, ends the connection wherever it stands; the rest is left as it is.

use tokio::task::JoinSet;

use super::{broker, client};
use crate::support::wire::{
    BOTH, Connect, Publish, Version, Will, Wire, disconnect_with, first, packet, property, sized, text, unique, user,
    varint,
};

/// No texts: a surrogate, half a surrogate pair in six bytes, an overlong NUL, an overlong slash, a lone continuation, an end too early,
/// a byte that UTF-8 does not have, a code point beyond the last.
const ILL_FORMED: &[&[u8]] = &[
    b"a\xED\xA0\x80b",
    b"\xED\xA0\xBD\xED\xB8\x80",
    b"a\xC0\x80",
    b"a\xC0\xAFb",
    b"\x80",
    b"a\xE2\x82",
    b"a\xFF",
    b"\xF4\x90\x80\x80",
];

/// Texts with U+0000.
const WITH_NUL: &[&[u8]] = &[b"a\0b", b"\0", b"a\0"];

/// A place where a text stands: statement, what it is, whether 3.1.1 has it, and a packet with that text.
type Place = (&'static str, &'static str, bool, fn(Version, &[u8]) -> Vec<u8>);

fn lead(v: Version) -> Vec<u8> {
    if v == Version::V5 { vec![0] } else { Vec::new() }
}

fn publish(v: Version, property: Vec<u8>) -> Vec<u8> {
    Publish::new("t", "x").with(property).bytes(v)
}

const IN_A_CONNECTION: &[Place] = &[
    ("[MQTT-3.3.2-1]", "a topic", true, |v, t| packet(first::PUBLISH, &[&sized(t), &lead(v), b"x"])),
    ("[MQTT-3.8.3-1]", "a filter", true, |v, t| packet(first::SUBSCRIBE, &[&[0, 1], &lead(v), &sized(t), &[0]])),
    ("[MQTT-3.10.3-1]", "a filter to unsubscribe", true, |v, t| {
        packet(first::UNSUBSCRIBE, &[&[0, 1], &lead(v), &sized(t)])
    }),
    ("v5 [MQTT-3.3.2-13]", "a response topic", false, |v, t| publish(v, text(property::RESPONSE_TOPIC, t))),
    ("v5 [MQTT-3.3.2-19]", "a content type", false, |v, t| publish(v, text(property::CONTENT_TYPE, t))),
    ("v5 [MQTT-1.5.7-1]", "the name of a user property", false, |v, t| publish(v, user(t, "x"))),
    ("v5 [MQTT-1.5.7-1]", "the value of a user property", false, |v, t| publish(v, user("x", t))),
    ("v5 [MQTT-1.5.4-1]", "a reason string", false, |_, t| disconnect_with(0x04, &text(property::REASON_STRING, t))),
    ("v5 [MQTT-1.5.7-1]", "a user property of SUBSCRIBE", false, |_, t| {
        let list = user("a", t);
        packet(first::SUBSCRIBE, &[&[0, 1], &varint(list.len()), &list, &sized("t"), &[0]])
    }),
];

const IN_CONNECT: &[Place] = &[
    ("[MQTT-3.1.3-4]", "a client id", true, |v, t| Connect { client_id: t.into(), ..Connect::new(v, "") }.bytes()),
    ("v311 [MQTT-3.1.3-10] v5 [MQTT-3.1.3-11]", "a will topic", true, |v, t| {
        Connect::new(v, &unique("utf8")).will(Will { topic: t.into(), ..Will::new("", "x") }).bytes()
    }),
    ("v311 [MQTT-3.1.3-11] v5 [MQTT-3.1.3-12]", "a user name", true, |v, t| {
        Connect { user: Some(t.into()), ..Connect::new(v, &unique("utf8")) }.bytes()
    }),
    ("v5 [MQTT-1.5.4-1]", "an authentication method", false, |v, t| {
        Connect::new(v, &unique("utf8")).with(text(property::AUTH_METHOD, t)).bytes()
    }),
];

async fn refused_everywhere(texts: &'static [&'static [u8]]) {
    let mut tasks = JoinSet::new();
    for v in BOTH {
        let here = move |place: &&Place| place.2 || v == Version::V5;
        for (place, connected) in [(IN_A_CONNECTION, true), (IN_CONNECT, false)] {
            for (id, what, _, bytes) in place.iter().filter(here) {
                tasks.spawn(async move {
                    let mut failed = Vec::new();
                    for bad in texts {
                        let answer = if connected {
                            let mut wire = client(v).await;
                            wire.send(&bytes(v, bad)).await;
                            wire.closed().await
                        } else {
                            Wire::refused(broker(), v, &bytes(v, bad)).await
                        };
                        let expected: &[Option<u8>] = match (v, connected) {
                            (Version::V5, true) => &[Some(0x81), Some(0x82)],
                            (Version::V5, false) => &[None, Some(0x81), Some(0x82), Some(0x85)],
                            (Version::V311, true) => &[None],
                            (Version::V311, false) => &[None, Some(2)],
                        };
                        if !expected.contains(&answer) {
                            failed.push(format!("{v:?} {id}: {what} {bad:x?}: {answer:x?}"));
                        }
                    }
                    failed
                });
            }
        }
    }
    let failed = tasks.join_all().await.concat();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// v311 [MQTT-1.5.3-1], v5 [MQTT-1.5.4-1], and for each place its own
#[tokio::test]
async fn mqtt_1_5_4_1_text_that_is_no_utf_8_ends_the_connection() {
    refused_everywhere(ILL_FORMED).await;
}

/// v311 [MQTT-1.5.3-2], v5 [MQTT-1.5.4-2], [MQTT-4.7.3-2], pitfall 1
#[tokio::test]
async fn mqtt_1_5_4_2_text_with_a_nul_ends_the_connection() {
    refused_everywhere(WITH_NUL).await;
}

/// v311 [MQTT-1.5.3-3], v5 [MQTT-1.5.4-3]
#[tokio::test]
async fn mqtt_1_5_4_3_a_byte_order_mark_is_a_character_like_any_other() {
    for v in BOTH {
        let name = unique("bom");
        let mut wire = client(v).await;
        wire.subscribe(&format!("\u{FEFF}{name}/\u{FEFF}"), 0).await;
        let mut publisher = client(v).await;
        for topic in [name.clone(), format!("{name}/"), format!("\u{FEFF}{name}/"), format!("\u{FEFF}{name}/\u{FEFF}")]
        {
            publisher.publish(Publish::new(&topic, &topic).qos(1, 0)).await;
        }
        let message = wire.message().await;
        assert_eq!((message.topic(), message.text()), (&*format!("\u{FEFF}{name}/\u{FEFF}"), message.topic()));
        wire.quiet().await;
    }
}

/// [MQTT-3.3.2-1], [MQTT-3.8.3-1], v311 [MQTT-1.5.3-1], v5 [MQTT-1.5.4-1]
#[tokio::test]
async fn mqtt_3_3_2_1_letters_of_every_script_are_text() {
    for v in BOTH {
        // Two, three and four bytes, the private use area, the replacement character, the last before the surrogates and the first after.
        for name in ["ärinä/temp", "温度/1", "𝄞/🔥", "\u{E000}", "\u{FFFD}", "\u{D7FF}/\u{E001}", "a b", "٣"]
        {
            let topic = format!("{}/{name}", unique("utf8"));
            let mut wire = client(v).await;
            assert_eq!(wire.subscribe(&topic, 1).await, 1, "{name}");
            client(v).await.publish(Publish::new(&topic, name).qos(1, 0)).await;
            let message = wire.message().await;
            assert_eq!((message.topic(), message.text()), (&*topic, name));
            wire.unsubscribe(&[&topic]).await;
        }
    }
}
