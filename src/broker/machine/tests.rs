//! Time is given, so nothing here waits.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::broker::words::{Admission, Delivery, Key, Published, SubscriptionIds};
use crate::model::{Message, Properties, QoS, Topic};
use crate::mqtt::{Ack, Connect, Publish, Received};

const KEY: Key = Key { slot: 0, generation: 0 };

const fn at(seconds: u64) -> Monotonic {
    Monotonic(Duration::from_secs(seconds))
}

/// A machine whose client was let in at time 0, and the client's codec.
fn admitted(connect: Connect) -> (Machine, Codec) {
    let mut machine =
        Machine::new(Limits { stalled_after: Duration::from_secs(30), ..Limits::default() }, None, 7, at(0));
    let mut client = Codec::client(connect.version, 1 << 20);
    let mut input = BytesMut::new();
    client.encode(&Packet::Connect(Box::new(connect)), &mut input).unwrap();
    assert!(machine.receive(&mut input, at(0)).is_some());
    machine.grant(Rights::everything(), None).expect("everything is allowed");
    machine.admitted(&Admission { key: KEY, session_present: false, expiry_s: 0, kept: false, received: Vec::new() });
    assert!(matches!(sent(&mut machine, &mut client)[..], [Packet::ConnAck(_)]));
    (machine, client)
}

fn sent(machine: &mut Machine, client: &mut Codec) -> Vec<Packet> {
    let mut wire = machine.out.split();
    machine.wrote(wire.len(), at(0));
    std::iter::from_fn(|| client.decode(&mut wire).unwrap()).collect()
}

fn say(machine: &mut Machine, client: &mut Codec, packet: &Packet, now: Monotonic) {
    let mut input = BytesMut::new();
    client.encode(packet, &mut input).unwrap();
    assert!(machine.receive(&mut input, now).is_none());
}

fn delivery(qos: QoS, expiry_s: Option<u32>, payload: usize) -> ToClient {
    let mut message = Message::new(Topic::new("t").unwrap(), vec![b'x'; payload], qos, false);
    message.properties = expiry_s.map(|s| Box::new(Properties { message_expiry_s: Some(s), ..Properties::default() }));
    let published = Arc::new(Published { message, at: at(0) });
    ToClient::Deliver(Delivery {
        published,
        qos,
        retain: false,
        from_retained: false,
        n: 0,
        dup: false,
        subscription_ids: SubscriptionIds::None,
    })
}

fn complaint(machine: &Machine) -> Option<Complaint> {
    machine.closing().and_then(|closing| closing.complaint.clone())
}

#[test]
fn a_client_that_only_receives_is_lost_and_one_that_sends_anything_is_not() {
    let connect = || Connect { keep_alive_s: 10, ..Connect::new(Version::V311, "a") };
    let (mut receives, mut codec) = admitted(connect());
    let (mut sends, mut other) = admitted(connect());
    for second in [5, 10, 14] {
        receives.hub_says(delivery(QoS::AtMostOnce, None, 1));
        receives.pump(at(second));
        assert_eq!(sent(&mut receives, &mut codec).len(), 1);
        receives.tick(at(second));
        assert!(receives.closing().is_none());
        say(&mut sends, &mut other, &Packet::PubAck(Ack::success(1)), at(second));
    }
    receives.tick(at(15));
    sends.tick(at(15));
    assert_eq!((complaint(&receives), complaint(&sends)), (Some(Complaint::KeepAlive), None));
    assert!(receives.closing().unwrap().lost);
    assert_eq!(sends.deadline(), Some(at(29)));
}

#[test]
fn without_a_keep_alive_silence_is_fine() {
    let (mut machine, _) = admitted(Connect::new(Version::V5, "a"));
    machine.tick(at(1_000_000));
    assert_eq!((complaint(&machine), machine.deadline()), (None, None));
}

#[test]
fn while_the_broker_does_not_listen_a_client_is_not_blamed_for_silence() {
    let (mut machine, mut codec) = admitted(Connect { keep_alive_s: 10, ..Connect::new(Version::V311, "a") });
    let message = Message::new(Topic::new("t").unwrap(), "x", QoS::AtLeastOnce, false);
    say(&mut machine, &mut codec, &Packet::Publish(Publish::new(&message, 1)), at(0));
    assert!(!machine.wants_read(), "what it said is still to be handed to the hub");
    machine.tick(at(15));
    assert!(machine.closing().is_none());
    machine.to_hub.clear();
    machine.tick(at(29));
    assert!(machine.closing().is_none());
    machine.tick(at(30));
    assert_eq!(complaint(&machine), Some(Complaint::KeepAlive));
}

#[test]
fn bytes_of_a_packet_that_never_ends_keep_nothing_alive() {
    let (mut machine, mut codec) = admitted(Connect { keep_alive_s: 10, ..Connect::new(Version::V5, "a") });
    say(&mut machine, &mut codec, &Packet::PingReq, at(5));
    let mut input = BytesMut::from(&b"\x30\xFF\x7F\x00\x01t"[..]);
    for second in 6..19 {
        input.extend_from_slice(b"x");
        assert!(machine.receive(&mut input, at(second)).is_none());
        machine.tick(at(second));
    }
    assert!(machine.closing().is_none());
    assert_eq!(machine.deadline(), Some(at(20)));
    machine.tick(at(20));
    assert_eq!(complaint(&machine), Some(Complaint::KeepAlive));
}

#[test]
fn a_client_that_was_not_read_from_has_its_time_once_it_is_again() {
    let (mut machine, mut codec) = admitted(Connect { keep_alive_s: 10, ..Connect::new(Version::V311, "a") });
    let message = Message::new(Topic::new("t").unwrap(), "x", QoS::AtMostOnce, false);
    say(&mut machine, &mut codec, &Packet::Publish(Publish::new(&message, 0)), at(0));
    machine.pump(at(1));
    machine.to_hub.clear();
    machine.pump(at(14));
    // What it sent meanwhile has still to be read.
    machine.tick(at(15));
    assert!(machine.closing().is_none());
    assert_eq!(machine.deadline(), Some(at(29)));
}

#[test]
fn half_a_connect_is_waited_for_no_longer_than_the_limit() {
    let mut machine = Machine::new(Limits::default(), None, 7, at(0));
    assert!(machine.receive(&mut BytesMut::from(&b"\x10\x0D\x00\x04MQ"[..]), at(5)).is_none());
    assert_eq!(machine.deadline(), Some(at(10)));
    machine.tick(at(10));
    assert_eq!(complaint(&machine), Some(Complaint::NoConnect));
}

#[test]
fn an_expiry_is_less_what_the_message_waited_and_an_expired_message_is_dropped_and_counted() {
    let (mut machine, mut codec) = admitted(Connect::new(Version::V5, "a"));
    machine.hub_says(delivery(QoS::AtLeastOnce, Some(100), 1));
    machine.hub_says(delivery(QoS::AtLeastOnce, Some(3), 1));
    machine.hub_says(delivery(QoS::AtLeastOnce, None, 1));
    let freed = machine.pump(at(3));
    let expiries: Vec<_> = sent(&mut machine, &mut codec)
        .into_iter()
        .map(|packet| match packet {
            Packet::Publish(publish) => publish.properties.and_then(|p| p.message_expiry_s),
            other => panic!("expected PUBLISH, got {other:?}"),
        })
        .collect();
    assert_eq!(expiries, [Some(97), None]);
    assert_eq!((freed.messages, machine.tally.sent, machine.tally.dropped), (3, 2, 1));
}

#[test]
fn a_client_whose_queue_overflows_is_given_time_while_it_takes_anything() {
    let (mut machine, mut codec) = admitted(Connect::new(Version::V5, "a"));
    machine.note_backlog(true, at(0));
    assert_eq!(machine.deadline(), Some(at(30)));
    say(&mut machine, &mut codec, &Packet::PubAck(Ack::success(1)), at(20));
    machine.tick(at(49));
    assert!(machine.closing().is_none());
    machine.tick(at(50));
    assert_eq!(complaint(&machine), Some(Complaint::Stalled));
}

#[test]
fn a_client_to_which_nothing_was_sent_for_long_has_its_full_time_when_something_comes() {
    for (overflowed, payload) in [(false, SEND_BUFFER), (true, 1)] {
        let (mut machine, _) = admitted(Connect::new(Version::V311, "a"));
        machine.note_backlog(false, at(1));
        machine.hub_says(delivery(QoS::AtMostOnce, None, payload));
        machine.pump(at(3_600));
        machine.note_backlog(overflowed, at(3_600));
        machine.tick(at(3_600));
        assert_eq!((complaint(&machine), machine.deadline()), (None, Some(at(3_630))));
        machine.tick(at(3_630));
        assert_eq!(complaint(&machine), Some(Complaint::Stalled));
    }
}

#[test]
fn the_window_and_the_send_buffer_bound_what_is_written() {
    let (mut machine, mut codec) = admitted(Connect { receive_maximum: 2, ..Connect::new(Version::V5, "a") });
    (0..4).for_each(|_| machine.hub_says(delivery(QoS::AtLeastOnce, None, 1)));
    // QoS 0 waits behind QoS 1: the order is kept.
    machine.hub_says(delivery(QoS::AtMostOnce, None, 1));
    assert_eq!(machine.pump(at(0)).messages, 2);
    assert_eq!(sent(&mut machine, &mut codec).len(), 2);
    say(&mut machine, &mut codec, &Packet::PubAck(Ack::success(2)), at(0));
    assert_eq!(machine.pump(at(0)).messages, 1);

    let (mut machine, _) = admitted(Connect::new(Version::V311, "a"));
    (0..10).for_each(|_| machine.hub_says(delivery(QoS::AtMostOnce, None, 40_000)));
    machine.pump(at(0));
    assert!((SEND_BUFFER..SEND_BUFFER + 50_000).contains(&machine.out.len()));
}

#[test]
fn an_mqtt_5_client_reads_why_it_has_to_go_unless_the_words_are_too_long_for_it() {
    for (limit, words) in [(None, true), (Some(20), false)] {
        let (mut machine, mut codec) =
            admitted(Connect { maximum_packet_size: limit, ..Connect::new(Version::V5, "abc") });
        let message = Message::new(Topic::new(&"/".repeat(200)).unwrap(), "x", QoS::AtMostOnce, false);
        say(&mut machine, &mut codec, &Packet::Publish(Publish::new(&message, 0)), at(0));
        match &sent(&mut machine, &mut codec)[..] {
            [Packet::Disconnect(d)] => {
                assert_eq!((d.reason, d.reason_string.is_some()), (Reason::TOPIC_NAME_INVALID, words))
            }
            other => panic!("expected DISCONNECT, got {other:?}"),
        }
    }
}

#[test]
fn a_message_does_not_keep_the_read_buffer_in_memory() {
    let (mut machine, mut codec) = admitted(Connect::new(Version::V5, "a"));
    for payload in [1, 17_000, 1_000_000] {
        let message = Message::new(Topic::new("t").unwrap(), vec![b'x'; payload], QoS::AtMostOnce, true);
        let mut input = BytesMut::new();
        codec.encode(&Packet::Publish(Publish::new(&message, 0)), &mut input).unwrap();
        // The next packet has begun to arrive in the same buffer.
        input.extend_from_slice(b"\x30");
        machine.receive(&mut input, at(0));
        match machine.to_hub.pop() {
            Some(FromClient::Publish { message, .. }) => {
                assert!(message.payload.len() == payload && message.payload.is_unique(), "{payload}");
            }
            other => panic!("expected the message, got {other:?}"),
        }
    }
}

fn publish_once(machine: &mut Machine, codec: &mut Codec, packet_id: u16, dup: bool) {
    let message = Message::new(Topic::new("t").unwrap(), "x", QoS::ExactlyOnce, false);
    let publish = Publish { dup, ..Publish::new(&message, packet_id) };
    say(machine, codec, &Packet::Publish(publish), at(0));
}

#[test]
fn a_qos_2_message_reaches_the_hub_once_however_often_it_is_repeated_before_its_pubrel() {
    for version in [Version::V311, Version::V5] {
        let (mut machine, mut codec) = admitted(Connect::new(version, "a"));
        publish_once(&mut machine, &mut codec, 9, false);
        assert_eq!(std::mem::take(&mut machine.to_hub).len(), 1);
        publish_once(&mut machine, &mut codec, 9, true);
        assert!(sent(&mut machine, &mut codec).is_empty(), "nothing is acknowledged before the commit");
        machine.hub_says(ToClient::Release(Received(0), Reason::SUCCESS));
        // The repetition too.
        assert_eq!(sent(&mut machine, &mut codec), [(); 2].map(|()| Packet::PubRec(Ack::success(9))));
        publish_once(&mut machine, &mut codec, 9, true);
        assert_eq!(sent(&mut machine, &mut codec), [Packet::PubRec(Ack::success(9))]);
        say(&mut machine, &mut codec, &Packet::PubRel(Ack::success(9)), at(0));
        assert_eq!(sent(&mut machine, &mut codec), [Packet::PubComp(Ack::success(9))]);
        assert!(machine.to_hub.is_empty());
        publish_once(&mut machine, &mut codec, 9, false);
        assert_eq!(machine.to_hub.len(), 1, "the id is free again");
    }
}

#[test]
fn a_qos_2_message_to_a_client_is_in_flight_until_its_pubcomp() {
    let (mut machine, mut codec) = admitted(Connect { receive_maximum: 1, ..Connect::new(Version::V5, "a") });
    machine.hub_says(delivery(QoS::ExactlyOnce, None, 1));
    machine.hub_says(delivery(QoS::AtLeastOnce, None, 1));
    assert_eq!(machine.pump(at(0)).messages, 1);
    assert_eq!(sent(&mut machine, &mut codec).len(), 1);
    // No matching subscribers is a success too.
    let pubrec = Packet::PubRec(Ack { packet_id: 1, reason: Reason::NO_MATCHING_SUBSCRIBERS });
    for _ in 0..2 {
        say(&mut machine, &mut codec, &pubrec, at(0));
        assert_eq!(sent(&mut machine, &mut codec), [Packet::PubRel(Ack::success(1))]);
    }
    assert_eq!(machine.pump(at(0)).messages, 0, "it counts against the window until PUBCOMP");
    say(&mut machine, &mut codec, &Packet::PubComp(Ack::success(1)), at(0));
    assert_eq!(machine.pump(at(0)).messages, 1);
}

#[test]
fn a_pubrec_that_refuses_ends_the_message_without_pubrel() {
    let (mut machine, mut codec) = admitted(Connect { receive_maximum: 1, ..Connect::new(Version::V5, "a") });
    (0..2).for_each(|_| machine.hub_says(delivery(QoS::ExactlyOnce, None, 1)));
    machine.pump(at(0));
    sent(&mut machine, &mut codec);
    say(&mut machine, &mut codec, &Packet::PubRec(Ack { packet_id: 1, reason: Reason::QUOTA_EXCEEDED }), at(0));
    assert!(sent(&mut machine, &mut codec).is_empty());
    assert_eq!(machine.pump(at(0)).messages, 1);
}

#[test]
fn acknowledgements_of_what_was_never_sent_are_answered_and_close_nothing() {
    for (version, reason) in [(Version::V5, Reason::PACKET_ID_NOT_FOUND), (Version::V311, Reason::SUCCESS)] {
        let (mut machine, mut codec) = admitted(Connect::new(version, "a"));
        for packet in [Packet::PubAck(Ack::success(7)), Packet::PubComp(Ack::success(7))] {
            say(&mut machine, &mut codec, &packet, at(0));
        }
        assert!(sent(&mut machine, &mut codec).is_empty());
        say(&mut machine, &mut codec, &Packet::PubRec(Ack::success(7)), at(0));
        say(&mut machine, &mut codec, &Packet::PubRel(Ack::success(7)), at(0));
        let ack = Ack { packet_id: 7, reason };
        assert_eq!(sent(&mut machine, &mut codec), [Packet::PubRel(ack), Packet::PubComp(ack)]);
        assert!(machine.closing().is_none());
    }
}

#[test]
fn a_client_of_3_1_1_that_holds_many_qos_2_ids_can_still_release_them() {
    let (mut machine, mut codec) = admitted(Connect::new(Version::V311, "a"));
    let most = Limits::default().in_flight_in;
    for id in 1..=most {
        publish_once(&mut machine, &mut codec, id, false);
        machine.to_hub.clear();
        machine.hub_says(ToClient::Release(Received(u64::from(id) - 1), Reason::SUCCESS));
    }
    sent(&mut machine, &mut codec);
    assert!(machine.wants_read());
    say(&mut machine, &mut codec, &Packet::PubRel(Ack::success(1)), at(0));
    assert_eq!(sent(&mut machine, &mut codec), [Packet::PubComp(Ack::success(1))]);
}

#[test]
fn a_topic_that_comes_again_goes_out_as_an_alias_if_the_packet_is_small_enough_with_it() {
    // A PUBLISH of 86 bytes: fixed header 2, topic 1 and 2 of its length, no properties 1, payload 80. Its alias would take 3 more.
    let five =
        |limit| Connect { topic_alias_maximum: 9, maximum_packet_size: Some(limit), ..Connect::new(Version::V5, "a") };
    for (limit, expected) in [(100, [Some((true, 1)), Some((false, 1))]), (86, [None, None]), (88, [None, None])] {
        let (mut machine, mut codec) = admitted(five(limit));
        let message = Message::new(Topic::new("t").unwrap(), vec![b'x'; 80], QoS::AtMostOnce, false);
        let published = Arc::new(Published { message, at: at(0) });
        for named in expected {
            machine.hub_says(ToClient::Deliver(Delivery {
                published: published.clone(),
                qos: QoS::AtMostOnce,
                retain: false,
                from_retained: false,
                n: 0,
                dup: false,
                subscription_ids: SubscriptionIds::None,
            }));
            machine.pump(at(0));
            match &sent(&mut machine, &mut codec)[..] {
                [Packet::Publish(got)] => {
                    assert_eq!(got.topic_alias.map(|alias| (got.topic.is_some(), alias)), named);
                    assert!(got.topic.is_some() || got.topic_alias.is_some());
                }
                other => panic!("expected PUBLISH, got {other:?}"),
            }
        }
    }
}

#[test]
fn a_payload_that_is_not_the_text_it_says_it_is_is_refused() {
    let (mut machine, mut codec) = admitted(Connect::new(Version::V5, "a"));
    let mut message = Message::new(Topic::new("t").unwrap(), &b"\xFF"[..], QoS::AtLeastOnce, false);
    message.properties = Some(Box::new(Properties { payload_is_utf8: true, ..Properties::default() }));
    say(&mut machine, &mut codec, &Packet::Publish(Publish::new(&message, 1)), at(0));
    let refused = Ack { packet_id: 1, reason: Reason::PAYLOAD_FORMAT_INVALID };
    assert_eq!(sent(&mut machine, &mut codec), [Packet::PubAck(refused)]);
    message.qos = QoS::AtMostOnce;
    say(&mut machine, &mut codec, &Packet::Publish(Publish::new(&message, 0)), at(0));
    assert!(machine.to_hub.is_empty() && machine.closing().is_none());
    assert_eq!(machine.tally.dropped, 2);
}

/// A machine whose session the hub keeps.
fn kept(connect: Connect, received: Vec<u16>) -> (Machine, Codec) {
    let mut machine = Machine::new(Limits::default(), None, 7, at(0));
    let mut client = Codec::client(connect.version, 1 << 20);
    let mut input = BytesMut::new();
    client.encode(&Packet::Connect(Box::new(connect)), &mut input).unwrap();
    assert!(machine.receive(&mut input, at(0)).is_some_and(|greeting| greeting.expiry_s > 0 && !greeting.clean_start));
    machine.grant(Rights::everything(), None).expect("everything is allowed");
    machine.admitted(&Admission { key: KEY, session_present: true, expiry_s: 60, kept: true, received });
    assert!(matches!(&sent(&mut machine, &mut client)[..], [Packet::ConnAck(ack)] if ack.session_present));
    (machine, client)
}

fn keeps(version: Version) -> Connect {
    Connect { clean_start: false, session_expiry_s: 60, ..Connect::new(version, "a") }
}

fn numbered(n: u64, qos: QoS, dup: bool, expiry_s: Option<u32>) -> ToClient {
    match delivery(qos, expiry_s, 1) {
        ToClient::Deliver(delivery) => ToClient::Deliver(Delivery { n, dup, ..delivery }),
        other => other,
    }
}

/// Packet ids and DUP of the messages sent.
fn messages(machine: &mut Machine, codec: &mut Codec) -> Vec<(u16, bool)> {
    let packets = sent(machine, codec).into_iter();
    packets
        .map(|packet| match packet {
            Packet::Publish(publish) => (publish.packet_id, publish.dup),
            other => panic!("expected PUBLISH, got {other:?}"),
        })
        .collect()
}

#[test]
fn a_numbered_message_has_the_same_id_on_every_connection_and_its_end_is_told() {
    for version in [Version::V311, Version::V5] {
        let (mut machine, mut codec) = kept(keeps(version), Vec::new());
        for (n, dup) in [(60_000, true), (60_001, false), (60_002, false)] {
            machine.hub_says(numbered(n, QoS::AtLeastOnce, dup, None));
        }
        machine.pump(at(0));
        assert_eq!(messages(&mut machine, &mut codec), [(1, true), (2, false), (3, false)]);
        assert_eq!(machine.sent, 60_002);
        for id in [1, 2, 3, 3] {
            say(&mut machine, &mut codec, &Packet::PubAck(Ack::success(id)), at(0));
        }
        assert!(matches!(machine.to_hub[..], [FromClient::Done(60_000, 60_002)]), "{:?}", machine.to_hub);
    }
}

#[test]
fn a_numbered_message_is_held_back_while_one_of_60000_before_has_its_id() {
    let (mut machine, mut codec) = kept(keeps(Version::V5), Vec::new());
    machine.hub_says(numbered(5, QoS::AtLeastOnce, false, None));
    machine.hub_says(numbered(60_005, QoS::AtLeastOnce, false, None));
    machine.pump(at(0));
    assert_eq!(messages(&mut machine, &mut codec), [(6, false)]);
    say(&mut machine, &mut codec, &Packet::PubAck(Ack::success(6)), at(0));
    machine.pump(at(0));
    assert_eq!(messages(&mut machine, &mut codec), [(6, false)]);
}

#[test]
fn pubrel_waits_for_the_hub_and_one_from_an_earlier_connection_has_its_place_and_counts() {
    let (mut machine, mut codec) = kept(Connect { receive_maximum: 1, ..keeps(Version::V5) }, Vec::new());
    machine.hub_says(ToClient::PubRel(8));
    machine.hub_says(numbered(9, QoS::ExactlyOnce, true, None));
    machine.pump(at(0));
    assert_eq!(sent(&mut machine, &mut codec), [Packet::PubRel(Ack::success(9))]);
    say(&mut machine, &mut codec, &Packet::PubComp(Ack::success(9)), at(0));
    machine.pump(at(0));
    assert_eq!(messages(&mut machine, &mut codec), [(10, true)]);
    say(&mut machine, &mut codec, &Packet::PubRec(Ack::success(10)), at(0));
    say(&mut machine, &mut codec, &Packet::PubRec(Ack::success(10)), at(0));
    assert!(sent(&mut machine, &mut codec).is_empty(), "its PUBREC is not safe yet");
    assert!(matches!(machine.to_hub[..], [FromClient::Done(8, 8), FromClient::Recorded(9)]), "{:?}", machine.to_hub);
    machine.hub_says(ToClient::Recorded(9));
    assert_eq!(sent(&mut machine, &mut codec), [Packet::PubRel(Ack::success(10))]);
}

#[test]
fn of_expired_messages_only_those_that_may_have_been_sent_are_sent() {
    let (mut machine, mut codec) = kept(keeps(Version::V5), Vec::new());
    machine.hub_says(numbered(1, QoS::ExactlyOnce, true, Some(5)));
    machine.hub_says(numbered(2, QoS::ExactlyOnce, false, Some(5)));
    machine.hub_says(numbered(3, QoS::ExactlyOnce, false, Some(50)));
    machine.pump(at(10));
    assert_eq!(messages(&mut machine, &mut codec), [(2, true), (4, false)]);
    assert!(matches!(machine.to_hub[..], [FromClient::Done(2, 2)]), "{:?}", machine.to_hub);
}

#[test]
fn a_message_too_large_for_the_client_of_now_is_done_with() {
    // With room for one at a time, the next could not go if the id were not given back.
    let small = Connect { maximum_packet_size: Some(40), receive_maximum: 1, ..keeps(Version::V5) };
    let (mut machine, mut codec) = kept(small, Vec::new());
    if let ToClient::Deliver(large) = delivery(QoS::AtLeastOnce, None, 100) {
        machine.hub_says(ToClient::Deliver(Delivery { n: 1, ..large }));
    }
    machine.hub_says(numbered(2, QoS::AtLeastOnce, false, None));
    machine.pump(at(0));
    assert_eq!(messages(&mut machine, &mut codec), [(3, false)]);
    assert!(matches!(machine.to_hub[..], [FromClient::Done(1, 1)]), "{:?}", machine.to_hub);
}

#[test]
fn ids_that_a_session_holds_are_known_on_its_next_connection() {
    let (mut machine, mut codec) = kept(keeps(Version::V311), vec![7]);
    publish_once(&mut machine, &mut codec, 7, true);
    assert_eq!(sent(&mut machine, &mut codec), [Packet::PubRec(Ack::success(7))]);
    assert!(machine.to_hub.is_empty());
    say(&mut machine, &mut codec, &Packet::PubRel(Ack::success(7)), at(0));
    assert!(sent(&mut machine, &mut codec).is_empty(), "PUBCOMP waits for the commit");
    assert!(matches!(machine.to_hub[..], [FromClient::PubRel(7)]));
    machine.hub_says(ToClient::Complete(7));
    assert_eq!(sent(&mut machine, &mut codec), [Packet::PubComp(Ack::success(7))]);
}

#[test]
fn a_session_that_can_t_be_kept_is_refused_in_the_words_of_each_version() {
    for (version, reason) in [(Version::V5, Reason::QUOTA_EXCEEDED), (Version::V311, Reason::SERVER_UNAVAILABLE)] {
        let mut machine = Machine::new(Limits::default(), None, 7, at(0));
        let mut codec = Codec::client(version, 1 << 20);
        let mut input = BytesMut::new();
        codec.encode(&Packet::Connect(Box::new(keeps(version))), &mut input).unwrap();
        machine.receive(&mut input, at(0));
        machine.refused(Reason::QUOTA_EXCEEDED);
        assert!(matches!(&sent(&mut machine, &mut codec)[..], [Packet::ConnAck(ack)] if ack.reason == reason));
        assert_eq!(complaint(&machine), Some(Complaint::SessionNotKept));
    }
}
