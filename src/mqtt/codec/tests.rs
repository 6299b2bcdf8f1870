//! Round trips, any bytes in any pieces, and each thing that must be refused.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::model::{Message, Properties};
use crate::mqtt::{
    Auth, ConnAck, Connect, Disconnect, Publish, Reason, RetainHandling, SubAck, Subscribe, SubscribeOptions,
    Unsubscribe, Will,
};

fn text() -> impl Strategy<Value = String> {
    "[a-zäö€𝄞 /]{0,12}"
}

fn topic() -> impl Strategy<Value = Topic> {
    "[a-zä/$]{1,12}".prop_map(|t| Topic::new(&t).unwrap())
}

fn filter() -> impl Strategy<Value = Filter> {
    prop_oneof!["[a-zä]{1,4}(/[+]){0,2}(/#)?", Just("#".to_string()), Just("+".to_string())]
        .prop_map(|f| Filter::new(&f).unwrap())
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

fn qos() -> impl Strategy<Value = QoS> {
    (0u8..3).prop_map(|n| QoS::from_number(n).unwrap())
}

fn properties() -> impl Strategy<Value = Option<Box<Properties>>> {
    let user = prop::collection::vec((text(), text()), 0..3);
    let some = (
        any::<bool>(),
        prop::option::of(1u32..),
        prop::option::of(text()),
        prop::option::of(topic()),
        prop::option::of(bytes()),
        user,
    )
        .prop_map(|(payload_is_utf8, message_expiry_s, content_type, response_topic, correlation_data, user)| {
            let p =
                Properties { payload_is_utf8, message_expiry_s, content_type, response_topic, correlation_data, user };
            (p != Properties::default()).then(|| Box::new(p))
        });
    prop_oneof![Just(None), some]
}

fn message() -> impl Strategy<Value = Message> {
    (topic(), bytes(), qos(), any::<bool>(), properties())
        .prop_map(|(topic, payload, qos, retain, properties)| Message { topic, payload, qos, retain, properties })
}

fn connect() -> impl Strategy<Value = Packet> {
    let will = prop::option::of((message(), any::<u32>()));
    let names = (text(), prop::option::of(text()), prop::option::of(bytes()));
    let limits = (any::<u32>(), 1u16.., prop::option::of(1u32..), any::<u16>());
    (any::<bool>(), any::<u16>(), names, will, limits, prop::collection::vec((text(), text()), 0..2)).prop_map(
        |(clean_start, keep_alive_s, (client_id, username, password), will, limits, user)| {
            Packet::Connect(Box::new(Connect {
                clean_start,
                keep_alive_s,
                username,
                password,
                will: will.map(|(message, delay_s)| Box::new(Will { message, delay_s })),
                session_expiry_s: limits.0,
                receive_maximum: limits.1,
                maximum_packet_size: limits.2,
                topic_alias_maximum: limits.3,
                user,
                ..Connect::new(Version::V5, client_id)
            }))
        },
    )
}

fn publish() -> impl Strategy<Value = Packet> {
    (message(), 1u16.., any::<bool>(), prop::option::of(1u16..)).prop_map(|(message, id, dup, topic_alias)| {
        let at_qos0 = message.qos == QoS::AtMostOnce;
        let packet = Publish::new(&message, if at_qos0 { 0 } else { id });
        Packet::Publish(Publish { dup: dup && !at_qos0, topic_alias, ..packet })
    })
}

fn options() -> impl Strategy<Value = SubscribeOptions> {
    let handling =
        prop_oneof![Just(RetainHandling::Send), Just(RetainHandling::SendIfNew), Just(RetainHandling::DoNotSend)];
    (qos(), any::<bool>(), any::<bool>(), handling).prop_map(|(qos, no_local, retain_as_published, retain_handling)| {
        SubscribeOptions { qos, no_local, retain_as_published, retain_handling }
    })
}

fn reason(codes: &'static [u8]) -> impl Strategy<Value = Reason> {
    prop::sample::select(codes).prop_map(Reason)
}

const PUB_ACK: &[u8] = &[0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const SUB_ACK: &[u8] = &[0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
const UNSUB_ACK: &[u8] = &[0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];

/// Packets, each with the end that receives it.
fn packet() -> impl Strategy<Value = (Role, Packet)> {
    let ack = (1u16.., reason(PUB_ACK)).prop_map(|(packet_id, reason)| Ack { packet_id, reason }).boxed();
    let rel = (1u16.., reason(&[0, 0x92])).prop_map(|(packet_id, reason)| Ack { packet_id, reason }).boxed();
    let conn_ack =
        (any::<bool>(), reason(&[0, 0x80, 0x84, 0x89, 0x95, 0x9F]), prop::option::of(text()), 1u16.., any::<bool>())
            .prop_map(|(session_present, reason, assigned_client_id, receive_maximum, shared_available)| {
                Packet::ConnAck(Box::new(ConnAck {
                    session_present,
                    assigned_client_id,
                    receive_maximum,
                    shared_available,
                    maximum_qos: QoS::AtLeastOnce,
                    session_expiry_s: Some(0),
                    maximum_packet_size: Some(1 << 20),
                    topic_alias_maximum: 16,
                    server_keep_alive_s: Some(60),
                    reason_string: Some("why".into()),
                    server_reference: Some("elsewhere:1883".into()),
                    ..ConnAck::new(reason)
                }))
            });
    let subscribe = (1u16.., prop::option::of(1u32..=268_435_455), prop::collection::vec((filter(), options()), 1..4))
        .prop_map(|(packet_id, subscription_id, filters)| {
            Packet::Subscribe(Subscribe { packet_id, subscription_id, filters, user: Vec::new() })
        });
    let unsubscribe = (1u16.., prop::collection::vec(filter(), 1..4))
        .prop_map(|(packet_id, filters)| Packet::Unsubscribe(Unsubscribe { packet_id, filters, user: Vec::new() }));
    let sub_ack = (1u16.., prop::collection::vec(reason(SUB_ACK), 1..4))
        .prop_map(|(packet_id, reasons)| Packet::SubAck(SubAck { packet_id, reasons }));
    let unsub_ack = (1u16.., prop::collection::vec(reason(UNSUB_ACK), 1..4))
        .prop_map(|(packet_id, reasons)| Packet::UnsubAck(SubAck { packet_id, reasons }));
    let disconnect = (reason(&[0, 4, 0x81, 0x8E, 0xA2]), prop::option::of(any::<u32>()), prop::option::of(text()))
        .prop_map(|(reason, session_expiry_s, reason_string)| {
            let server_reference = reason_string.clone();
            Packet::Disconnect(Disconnect { reason, session_expiry_s, reason_string, server_reference })
        });
    let auth = (reason(&[0, 0x18, 0x19]), prop::option::of(text()), prop::option::of(bytes()))
        .prop_map(|(reason, method, data)| Packet::Auth(Auth { reason, method, data }));
    let server = |p: BoxedStrategy<Packet>| p.prop_map(|p| (Role::Server, p)).boxed();
    let client = |p: BoxedStrategy<Packet>| p.prop_map(|p| (Role::Client, p)).boxed();
    prop_oneof![
        server(connect().boxed()),
        client(conn_ack.boxed()),
        server(publish().boxed()),
        client(ack.clone().prop_map(Packet::PubAck).boxed()),
        server(ack.prop_map(Packet::PubRec).boxed()),
        server(rel.clone().prop_map(Packet::PubRel).boxed()),
        client(rel.prop_map(Packet::PubComp).boxed()),
        server(subscribe.boxed()),
        client(sub_ack.boxed()),
        server(unsubscribe.boxed()),
        client(unsub_ack.boxed()),
        server(Just(Packet::PingReq).boxed()),
        client(Just(Packet::PingResp).boxed()),
        server(disconnect.boxed()),
        client(auth.boxed()),
    ]
}

/// What is left of a packet of MQTT 5 when 3.1.1 carries it; `None` when it can't.
fn as_v311(packet: Packet) -> Option<Packet> {
    let plain = |message: Message| Message { properties: None, ..message };
    Some(match packet {
        Packet::Connect(c) => {
            let password = c.password.filter(|_| c.username.is_some());
            let clean_start = c.clean_start || c.client_id.is_empty();
            let will = c.will.map(|w| Box::new(Will { message: plain(w.message), delay_s: 0 }));
            let kept = Connect::new(Version::V311, c.client_id);
            Packet::Connect(Box::new(Connect {
                clean_start,
                keep_alive_s: c.keep_alive_s,
                username: c.username,
                password,
                will,
                ..kept
            }))
        }
        Packet::ConnAck(ack) => {
            // Five refusals have a number of their own; the rest is "unavailable".
            let reason = match ack.reason {
                Reason::SUCCESS | Reason::UNSUPPORTED_PROTOCOL_VERSION => ack.reason,
                _ => Reason::SERVER_UNAVAILABLE,
            };
            Packet::ConnAck(Box::new(ConnAck { session_present: ack.session_present, ..ConnAck::new(reason) }))
        }
        Packet::Publish(p) => {
            Packet::Publish(Publish { properties: None, topic_alias: None, subscription_ids: Vec::new(), ..p })
        }
        Packet::PubAck(a) => Packet::PubAck(Ack::success(a.packet_id)),
        Packet::PubRec(a) => Packet::PubRec(Ack::success(a.packet_id)),
        Packet::PubRel(a) => Packet::PubRel(Ack::success(a.packet_id)),
        Packet::PubComp(a) => Packet::PubComp(Ack::success(a.packet_id)),
        Packet::Subscribe(s) => Packet::Subscribe(Subscribe {
            subscription_id: None,
            filters: s.filters.into_iter().map(|(f, o)| (f, SubscribeOptions::new(o.qos))).collect(),
            ..s
        }),
        Packet::SubAck(s) => {
            let reasons = s.reasons.iter().map(|r| if r.is_failure() { Reason::UNSPECIFIED } else { *r }).collect();
            Packet::SubAck(SubAck { reasons, ..s })
        }
        Packet::UnsubAck(s) => Packet::UnsubAck(SubAck { reasons: Vec::new(), ..s }),
        Packet::Disconnect(_) => Packet::Disconnect(Disconnect::new(Reason::SUCCESS)),
        Packet::Auth(_) => return None,
        other => other,
    })
}

/// A codec for `role` that is past CONNECT, unless that is what comes.
fn receiver(role: Role, version: Version, packet: &Packet) -> Codec {
    match (role, packet) {
        (Role::Server, Packet::Connect(_)) => Codec::server(1 << 20),
        _ => Codec { role, ..Codec::client(version, 1 << 20) },
    }
}

proptest! {
    #[test]
    fn what_was_encoded_decodes_to_the_same_packet_in_mqtt_5((role, packet) in packet()) {
        let mut wire = BytesMut::new();
        Codec::client(Version::V5, 1 << 20).encode(&packet, &mut wire).unwrap();
        let decoded = receiver(role, Version::V5, &packet).decode(&mut wire);
        prop_assert_eq!(decoded, Ok(Some(packet)));
        prop_assert!(wire.is_empty());
    }

    #[test]
    fn what_was_encoded_decodes_to_the_same_packet_in_mqtt_3((role, packet) in packet()) {
        let Some(packet) = as_v311(packet) else { return Ok(()) };
        let mut wire = BytesMut::new();
        Codec::client(Version::V311, 1 << 20).encode(&packet, &mut wire).unwrap();
        let decoded = receiver(role, Version::V311, &packet).decode(&mut wire);
        prop_assert_eq!(decoded, Ok(Some(packet)));
        prop_assert!(wire.is_empty());
    }

    #[test]
    fn packets_in_pieces_decode_as_they_do_whole(packets in prop::collection::vec(packet(), 1..8), cuts in prop::collection::vec(1usize..40, 1..40)) {
        let packets: Vec<Packet> = packets.into_iter().map(|(_, p)| p).filter(|p| matches!(p, Packet::Publish(_) | Packet::PubRel(_))).collect();
        let (mut wire, mut sender) = (BytesMut::new(), Codec::client(Version::V5, 1 << 20));
        packets.iter().for_each(|p| sender.encode(p, &mut wire).unwrap());
        let (mut receiver, mut buffer, mut decoded) = (Codec { role: Role::Server, ..Codec::client(Version::V5, 1 << 20) }, BytesMut::new(), Vec::new());
        for cut in cuts.iter().cycle() {
            if wire.is_empty() {
                break;
            }
            let n = (*cut).min(wire.len());
            buffer.extend_from_slice(&wire.split_to(n));
            while let Some(packet) = receiver.decode(&mut buffer).unwrap() {
                decoded.push(packet);
            }
        }
        prop_assert_eq!(decoded, packets);
    }

    #[test]
    fn any_bytes_end_in_packets_or_one_error(start in 0usize..5, noise in prop::collection::vec(any::<u8>(), 0..300), cut in 1usize..50) {
        let mut codec = match start {
            3 => Codec::client(Version::V311, 1 << 16),
            4 => Codec::client(Version::V5, 1 << 16),
            _ => Codec::server(1 << 16),
        };
        let mut buffer = BytesMut::new();
        let greeting: &[u8] = match start {
            0 | 3 | 4 => b"",
            1 => b"\x10\x0D\x00\x04MQTT\x04\x02\x00\x3C\x00\x01a",
            _ => b"\x10\x0E\x00\x04MQTT\x05\x02\x00\x3C\x00\x00\x01a",
        };
        let mut packets = 0;
        'feed: for piece in [greeting, &noise].concat().chunks(cut) {
            buffer.extend_from_slice(piece);
            loop {
                let before = buffer.len();
                match codec.decode(&mut buffer) {
                    Ok(Some(_)) => {
                        packets += 1;
                        // Each packet takes bytes off, so the loop ends.
                        prop_assert!(buffer.len() < before);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        prop_assert_eq!(codec.decode(&mut buffer), Err(error));
                        break 'feed;
                    }
                }
            }
        }
        prop_assert!(packets <= noise.len() + 1);
    }
}

fn v5() -> Codec {
    Codec { role: Role::Server, ..Codec::client(Version::V5, 1 << 20) }
}

fn v311() -> Codec {
    Codec { role: Role::Server, ..Codec::client(Version::V311, 1 << 20) }
}

fn fresh() -> Codec {
    Codec::server(99)
}

fn error(mut codec: Codec, bytes: &[u8]) -> Reason {
    codec.decode(&mut bytes.into()).unwrap_err().reason()
}

/// What it is, who gets it, the bytes, and the code that it earns.
type Refused = (&'static str, fn() -> Codec, &'static [u8], Reason);

#[test]
fn a_refusal_of_a_message_may_have_any_reason_for_us_and_not_for_our_clients() {
    for (first, as_packet) in [(0x40, Packet::PubAck as fn(Ack) -> Packet), (0x50, Packet::PubRec)] {
        for reason in [0x80, 0x83, 0x95, 0xFF] {
            let wire = |more: &[u8]| BytesMut::from(&[&[first, 3 + more.len() as u8, 0, 7, reason], more].concat()[..]);
            let mut client = Codec::client(Version::V5, 1 << 20);
            let expected = as_packet(Ack { packet_id: 7, reason: Reason(reason) });
            assert_eq!(client.decode(&mut wire(&[])), Ok(Some(expected.clone())));
            assert_eq!(client.decode(&mut wire(&[4, 0x1F, 0, 1, b'x'])), Ok(Some(expected)), "with a reason string");
        }
        assert_eq!(error(v5(), &[first, 3, 0, 7, 0x95]), Reason::MALFORMED_PACKET);
    }
}

#[test]
fn what_the_codec_crate_lets_pass_is_refused_here() {
    let refused: &[Refused] = &[
        ("NUL in a topic", v311, b"\x30\x05\x00\x03a\0b", Reason::MALFORMED_PACKET),
        ("wildcard in a topic", v311, b"\x30\x05\x00\x03a/+", Reason::TOPIC_NAME_INVALID),
        ("empty topic", v311, b"\x30\x02\x00\x00", Reason::TOPIC_NAME_INVALID),
        ("no topic and no alias", v5, b"\x30\x03\x00\x00\x00", Reason::PROTOCOL_ERROR),
        ("a/#/b", v311, b"\x82\x0A\x00\x01\x00\x05a/#/b\x00", Reason::TOPIC_FILTER_INVALID),
        ("a+", v5, b"\x82\x08\x00\x01\x00\x00\x02a+\x00", Reason::TOPIC_FILTER_INVALID),
        ("a subscription id from a client", v5, b"\x30\x06\x00\x01a\x02\x0B\x01", Reason::PROTOCOL_ERROR),
        ("DUP at QoS 0", v311, b"\x38\x03\x00\x01a", Reason::MALFORMED_PACKET),
        ("packet id 0", v311, b"\x32\x05\x00\x01a\x00\x00", Reason::MALFORMED_PACKET),
        ("flags on PINGREQ", v311, b"\xC1\x00", Reason::MALFORMED_PACKET),
        ("flags 0 on SUBSCRIBE", v311, b"\x80\x06\x00\x01\x00\x01a\x00", Reason::MALFORMED_PACKET),
        ("no filter", v5, b"\x82\x03\x00\x01\x00", Reason::PROTOCOL_ERROR),
        ("reserved bits of a 3.1.1 subscription", v311, b"\x82\x06\x00\x01\x00\x01a\x04", Reason::MALFORMED_PACKET),
        ("bytes in a PINGREQ", v311, b"\xC0\x01\x00", Reason::MALFORMED_PACKET),
        ("AUTH in 3.1.1", v311, b"\xF0\x00", Reason::PROTOCOL_ERROR),
        ("CONNACK at a server", v5, b"\x20\x03\x00\x00\x00", Reason::PROTOCOL_ERROR),
        ("a second CONNECT", v5, b"\x10\x0E\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01a", Reason::PROTOCOL_ERROR),
        (
            "will QoS 3",
            fresh,
            b"\x10\x12\x00\x04MQTT\x04\x1E\x00\x00\x00\x01a\x00\x01t\x00\x00",
            Reason::MALFORMED_PACKET,
        ),
        ("will flags without will", fresh, b"\x10\x0D\x00\x04MQTT\x04\x0A\x00\x00\x00\x01a", Reason::MALFORMED_PACKET),
        (
            "a wildcard in the will's topic",
            fresh,
            b"\x10\x12\x00\x04MQTT\x04\x06\x00\x00\x00\x01a\x00\x01#\x00\x00",
            Reason::TOPIC_NAME_INVALID,
        ),
        (
            "a password alone in 3.1.1",
            fresh,
            b"\x10\x0F\x00\x04MQTT\x04\x42\x00\x00\x00\x01a\x00\x00",
            Reason::MALFORMED_PACKET,
        ),
        ("bytes after CONNECT", fresh, b"\x10\x0E\x00\x04MQTT\x04\x02\x00\x00\x00\x01aX", Reason::MALFORMED_PACKET),
        ("NUL in a client id", fresh, b"\x10\x0D\x00\x04MQTT\x04\x02\x00\x00\x00\x01\x00", Reason::MALFORMED_PACKET),
        (
            "an unknown level",
            fresh,
            b"\x10\x0D\x00\x04MQTT\x07\x02\x00\x00\x00\x01a",
            Reason::UNSUPPORTED_PROTOCOL_VERSION,
        ),
        ("HTTP", fresh, b"GET / HTTP/1.1\r\n", Reason::PROTOCOL_ERROR),
        ("TLS", fresh, b"\x16\x03\x01\x02\x00\x01", Reason::PROTOCOL_ERROR),
        ("a packet over the limit, announced", fresh, b"\x10\xFF\x01", Reason::PACKET_TOO_LARGE),
    ];
    for (what, codec, bytes, reason) in refused {
        assert_eq!(error(codec(), bytes), *reason, "{what}");
    }
}

#[test]
fn an_alias_alone_and_an_expiry_of_zero_are_taken() {
    let alias = b"\x30\x06\x00\x00\x03\x23\x00\x05"; // topic "", properties: alias 5
    let Ok(Some(Packet::Publish(publish))) = v5().decode(&mut alias[..].into()) else { panic!("refused") };
    assert_eq!((publish.topic, publish.topic_alias), (None, Some(5)));
    let expired = b"\x30\x09\x00\x01a\x05\x02\x00\x00\x00\x00"; // topic "a", properties: expiry 0
    let Ok(Some(Packet::Publish(publish))) = v5().decode(&mut expired[..].into()) else { panic!("refused") };
    assert_eq!(publish.properties.unwrap().message_expiry_s, Some(1));
}

#[test]
fn an_empty_client_id_without_clean_start_keeps_its_flag_in_mqtt_5() {
    let connect = b"\x10\x0D\x00\x04MQTT\x05\x00\x00\x00\x00\x00\x00";
    let Ok(Some(Packet::Connect(connect))) = Codec::server(99).decode(&mut connect[..].into()) else {
        panic!("refused")
    };
    assert!(!connect.clean_start && connect.client_id.is_empty());
}

#[test]
fn a_packet_that_the_peer_would_refuse_is_not_written() {
    let mut codec = v5();
    codec.set_peer_limit(20);
    let message = Message::new(Topic::new("a/b").unwrap(), vec![0; 20], QoS::AtMostOnce, false);
    let mut out = BytesMut::from(&b"before"[..]);
    assert_eq!(
        codec.encode_publish(&PublishRef::new(&message, 0), &mut out),
        Err(CodecError::PeerLimit { size: 28, limit: 20 })
    );
    let wordy = Packet::Disconnect(Disconnect {
        reason_string: Some("x".repeat(30)),
        ..Disconnect::new(Reason::PROTOCOL_ERROR)
    });
    assert!(matches!(codec.encode(&wordy, &mut out), Err(CodecError::PeerLimit { .. })));
    assert_eq!(&out[..], b"before");
}

#[test]
fn the_length_told_beforehand_is_the_length_written() {
    let message = Message::new(Topic::new("a/b").unwrap(), vec![0; 300], QoS::AtLeastOnce, true);
    for version in [Version::V311, Version::V5] {
        let mut out = BytesMut::new();
        let packet = PublishRef::new(&message, 9);
        Codec::client(version, 99).encode_publish(&packet, &mut out).unwrap();
        assert_eq!(crate::mqtt::encoded_publish_len(&packet, version), Ok(out.len()));
    }
}
