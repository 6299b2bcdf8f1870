mod world;

use super::*;
use crate::model::{Message, Priority, Properties, QoS, Timestamp, Topic};
use crate::mqtt::{Connect, Packet, Publish, Version};

const EPOCH: u32 = 77;

fn envelope(version: Version) -> Envelope {
    Envelope::new(version, "plant-7", EPOCH)
}

fn row(n: u64) -> Entry {
    row_at(n, QoS::AtLeastOnce)
}

fn row_at(n: u64, qos: QoS) -> Entry {
    let topic = Topic::new("t").expect("a topic");
    Entry::Whole(Row { n, queued: None, message: Message::new(topic, n.to_string(), qos, false) })
}

fn start(window: u16, done: u64, last: u64) -> Start {
    Start { window, done, recorded: 0, last, session_lost: SessionLost::Resend }
}

/// The cloud's end of a connection: decodes what the delivery wrote.
struct Cloud {
    client: Codec,
    server: Codec,
    wire: BytesMut,
}

impl Cloud {
    fn new(version: Version) -> Cloud {
        let mut client = Codec::client(version, 1 << 20);
        let mut server = Codec::server(1 << 20);
        let mut hello = BytesMut::new();
        let connect = Packet::Connect(Box::new(Connect::new(version, "c")));
        client.encode(&connect, &mut hello).expect("a CONNECT");
        assert!(matches!(server.decode(&mut hello), Ok(Some(Packet::Connect(_)))));
        Cloud { client, server, wire: BytesMut::new() }
    }

    fn take(&mut self, delivery: &mut Delivery) {
        delivery.send(&mut self.client, None, usize::MAX, usize::MAX, &mut self.wire);
    }

    /// The next packet that the cloud reads off the wire.
    fn read(&mut self) -> Option<Publish> {
        match self.server.decode(&mut self.wire).expect("well-formed") {
            Some(Packet::Publish(publish)) => Some(publish),
            Some(other) => panic!("not a PUBLISH: {other:?}"),
            None => None,
        }
    }

    fn all(&mut self, delivery: &mut Delivery) -> Vec<Publish> {
        self.take(delivery);
        std::iter::from_fn(|| self.read()).collect()
    }
}

fn number(publish: &Publish) -> u64 {
    std::str::from_utf8(&publish.payload).expect("digits").parse().expect("a number")
}

fn peer(session_present: bool) -> Peer {
    let maximum_qos = QoS::ExactlyOnce;
    Peer { session_present, receive_maximum: 100, maximum_qos, retain_available: true, topic_alias_maximum: 0 }
}

fn assert_settled(progress: Progress) {
    assert_eq!(progress, Progress::Settled);
}

fn ack(n: u64, reason: Reason) -> Ack {
    Ack { packet_id: packet_id(Priority::Normal, n), reason }
}

#[test]
fn a_row_carries_gateway_epoch_and_number_beside_its_own_properties() {
    let mut cloud = Cloud::new(Version::V5);
    let mut delivery = Delivery::new(Priority::Normal, start(10, 0, 0), envelope(Version::V5));
    delivery.connected(peer(false));
    let Entry::Whole(mut own) = row(2) else { unreachable!("it is whole") };
    let user = vec![("k".to_owned(), "v".to_owned())];
    own.message.properties = Some(Box::new(Properties { user, ..Properties::default() }));
    delivery.offer(vec![row(1), Entry::Whole(own)]);
    let sent = cloud.all(&mut delivery);
    let user = |i: usize| sent[i].properties.as_ref().map(|p| p.user.clone()).expect("properties");
    let mark = |n: &str| [("gateway", "plant-7"), ("epoch", "77"), ("n", n)].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(user(0), mark("1"));
    assert_eq!(user(1)[0], ("k".to_owned(), "v".to_owned()));
    assert_eq!(user(1)[1..], mark("2"));
}

#[test]
fn an_expiry_is_shortened_by_the_time_in_the_queue() {
    let mut cloud = Cloud::new(Version::V5);
    let mut delivery = Delivery::new(Priority::Normal, start(10, 0, 0), envelope(Version::V5));
    delivery.connected(peer(false));
    let expiring = |n: u64, queued: Option<i64>| {
        let Entry::Whole(mut row) = row(n) else { unreachable!("it is whole") };
        row.queued = queued.map(Timestamp);
        row.message.properties = Some(Box::new(Properties { message_expiry_s: Some(60), ..Properties::default() }));
        Entry::Whole(row)
    };
    delivery.offer(vec![
        expiring(1, Some(0)),
        expiring(2, Some(20_000)),
        expiring(3, None),
        expiring(4, Some(900_000)),
    ]);
    delivery.send(&mut cloud.client, Some(Timestamp(80_000)), usize::MAX, usize::MAX, &mut cloud.wire);
    let left: Vec<_> =
        std::iter::from_fn(|| cloud.read()).map(|p| p.properties.and_then(|p| p.message_expiry_s)).collect();
    assert_eq!(left, [Some(1), Some(1), Some(60), Some(60)]);
}

#[test]
fn rows_are_settled_up_to_the_oldest_that_is_outstanding() {
    let mut cloud = Cloud::new(Version::V5);
    let mut delivery = Delivery::new(Priority::Normal, start(10, 0, 0), envelope(Version::V5));
    delivery.connected(peer(false));
    delivery.offer((1..=4).map(row).collect());
    cloud.take(&mut delivery);
    assert_settled(delivery.acknowledge(ack(3, Reason::SUCCESS)));
    assert_eq!(delivery.done(), 0);
    assert_settled(delivery.acknowledge(ack(1, Reason::NO_MATCHING_SUBSCRIBERS)));
    assert_eq!(delivery.done(), 1);
    assert_settled(delivery.acknowledge(ack(2, Reason::SUCCESS)));
    assert_eq!(delivery.done(), 3);
    assert_eq!(delivery.acknowledge(ack(2, Reason::SUCCESS)), Progress::Nothing, "a repetition settles nothing");
    assert_eq!(delivery.acknowledge(ack(9, Reason::SUCCESS)), Progress::Nothing, "nor does what was never sent");
    assert_settled(delivery.acknowledge(ack(4, Reason::SUCCESS)));
    assert_eq!(delivery.done(), 4);
    assert!(!delivery.awaits_ack());
}

#[test]
fn after_a_crash_dup_says_what_may_have_been_sent_and_only_to_a_cloud_that_has_the_session() {
    for session_present in [true, false] {
        let mut cloud = Cloud::new(Version::V311);
        // Rows 6 to 8 were there before the start, 9 came after it.
        let mut delivery = Delivery::new(Priority::Normal, start(10, 5, 8), envelope(Version::V311));
        delivery.connected(peer(session_present));
        delivery.offer((6..=9).map(row).collect());
        let sent: Vec<_> = cloud.all(&mut delivery).iter().map(|p| (number(p), p.dup)).collect();
        assert_eq!(sent, [(6, session_present), (7, session_present), (8, session_present), (9, false)]);
    }
}

#[test]
fn a_refusal_for_good_puts_the_message_aside_and_the_next_is_not_held_up() {
    let mut cloud = Cloud::new(Version::V5);
    let mut delivery = Delivery::new(Priority::Normal, start(10, 0, 0), envelope(Version::V5));
    delivery.connected(peer(false));
    delivery.offer((1..=2).map(row).collect());
    cloud.take(&mut delivery);
    assert_settled(delivery.acknowledge(ack(1, Reason::NOT_AUTHORIZED)));
    assert!(
        matches!(delivery.poll_event(), Some(Event::SetAside { n: 1, reason }) if reason.contains("not authorized"))
    );
    assert_eq!(delivery.done(), 1);
}

#[test]
fn a_refusal_that_passes_keeps_the_message_and_its_turn() {
    let mut cloud = Cloud::new(Version::V5);
    let mut delivery = Delivery::new(Priority::Normal, start(10, 0, 0), envelope(Version::V5));
    delivery.connected(peer(false));
    delivery.offer((1..=2).map(row).collect());
    cloud.take(&mut delivery);
    for _ in 0..20 {
        assert_eq!(delivery.acknowledge(ack(1, Reason::QUOTA_EXCEEDED)), Progress::Nothing);
        assert_eq!(delivery.poll_event(), Some(Event::ComeBackLater(Reason::QUOTA_EXCEEDED)));
        delivery.disconnected(false);
        delivery.connected(peer(true));
        cloud = Cloud::new(Version::V5);
        assert_eq!(cloud.all(&mut delivery).iter().map(number).collect::<Vec<_>>(), [1, 2]);
    }
    assert_eq!(delivery.done(), 0);
}

#[test]
fn a_refusal_without_a_clear_reason_is_tried_again_a_few_times_and_no_more() {
    let mut cloud = Cloud::new(Version::V5);
    let mut delivery = Delivery::new(Priority::Normal, start(10, 0, 0), envelope(Version::V5));
    delivery.connected(peer(false));
    delivery.offer(vec![row(1)]);
    cloud.take(&mut delivery);
    for _ in 1..TRIES {
        assert_eq!(delivery.acknowledge(ack(1, Reason::UNSPECIFIED)), Progress::Nothing);
        assert!(matches!(delivery.poll_event(), Some(Event::ComeBackLater(_))));
        delivery.connected(peer(true));
        cloud.take(&mut delivery);
    }
    assert_settled(delivery.acknowledge(ack(1, Reason::UNSPECIFIED)));
    assert!(matches!(delivery.poll_event(), Some(Event::SetAside { n: 1, .. })));
    assert_eq!(delivery.done(), 1);
}

#[test]
fn what_is_too_large_or_damaged_is_put_aside_and_never_sent() {
    let mut cloud = Cloud::new(Version::V5);
    cloud.client.set_peer_limit(100);
    let mut delivery = Delivery::new(Priority::Normal, start(10, 0, 0), envelope(Version::V5));
    delivery.connected(peer(false));
    let Entry::Whole(mut large) = row(2) else { unreachable!("it is whole") };
    large.message.payload = vec![b'1'; 200].into();
    delivery.offer(vec![row(1), Entry::Whole(large), Entry::Damaged { n: 3, why: "its checksum".into() }, row(4)]);
    assert_eq!(cloud.all(&mut delivery).iter().map(number).collect::<Vec<_>>(), [1, 4]);
    assert!(matches!(delivery.poll_event(), Some(Event::SetAside { n: 2, reason }) if reason.contains("at most 100")));
    assert!(matches!(delivery.poll_event(), Some(Event::SetAside { n: 3, .. })));
    delivery.acknowledge(ack(1, Reason::SUCCESS));
    assert_eq!(delivery.done(), 3);
}

#[test]
fn a_cloud_that_takes_less_after_a_reconnect_is_not_sent_what_it_can_not_take() {
    let mut cloud = Cloud::new(Version::V5);
    let mut delivery = Delivery::new(Priority::Normal, start(10, 0, 0), envelope(Version::V5));
    delivery.connected(peer(false));
    delivery.offer((1..=2).map(row).collect());
    cloud.take(&mut delivery);
    delivery.disconnected(false);
    delivery.connected(peer(true));
    cloud = Cloud::new(Version::V5);
    cloud.client.set_peer_limit(10);
    assert!(cloud.all(&mut delivery).is_empty());
    assert_eq!(delivery.done(), 2);
}

#[test]
fn a_row_waits_while_its_packet_id_belongs_to_another() {
    let mut cloud = Cloud::new(Version::V311);
    let mut delivery = Delivery::new(Priority::Normal, start(10, 0, 0), envelope(Version::V311));
    delivery.connected(peer(false));
    // The policy dropped all that was between them.
    delivery.offer(vec![row(1), row(1 + u64::from(NORMAL_IDS)), row(2 + u64::from(NORMAL_IDS))]);
    assert_eq!(cloud.all(&mut delivery).len(), 1);
    delivery.acknowledge(ack(1, Reason::SUCCESS));
    assert_eq!(cloud.all(&mut delivery).len(), 2);
}

/// Everything that the cloud reads off the wire, in short: `2` is a PUBLISH of row 2 at QoS 1, `2!` at QoS 2, `d` marks a repetition, `r` PUBREL.
fn wire(cloud: &mut Cloud, delivery: &mut Delivery) -> Vec<String> {
    cloud.take(delivery);
    cloud.in_short()
}

impl Cloud {
    fn in_short(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(packet) = self.server.decode(&mut self.wire).expect("well-formed") {
            all.push(match packet {
                Packet::Publish(publish) => {
                    let once = if publish.qos == QoS::ExactlyOnce { "!" } else { "" };
                    format!("{}{once}{}", number(&publish), if publish.dup { "d" } else { "" })
                }
                Packet::PubRel(ack) => format!("r{}", ack.packet_id - 1),
                other => panic!("neither PUBLISH nor PUBREL: {other:?}"),
            });
        }
        all
    }
}

fn once(rows: impl IntoIterator<Item = u64>) -> Vec<Entry> {
    rows.into_iter().map(|n| row_at(n, QoS::ExactlyOnce)).collect()
}

fn released(delivery: &mut Delivery, on_disk: u64) -> Vec<u64> {
    let mut ids = Vec::new();
    delivery.recorded(on_disk, |id| ids.push(u64::from(id) - 1));
    ids
}

#[test]
fn at_qos_2_pubrel_follows_when_the_pubrec_is_on_disk_and_the_row_goes_with_its_pubcomp() {
    let mut cloud = Cloud::new(Version::V5);
    let mut delivery = Delivery::new(Priority::Normal, start(10, 0, 0), envelope(Version::V5));
    delivery.connected(peer(false));
    delivery.offer(once(1..=3));
    assert_eq!(wire(&mut cloud, &mut delivery), ["1!", "2!", "3!"]);
    assert_eq!(delivery.receipt(ack(2, Reason::SUCCESS)), Progress::Received);
    assert_eq!(delivery.to_record(), 0, "one before it has none yet");
    assert_eq!(delivery.receipt(ack(1, Reason::NO_MATCHING_SUBSCRIBERS)), Progress::Received);
    assert_eq!(delivery.receipt(ack(1, Reason::SUCCESS)), Progress::Nothing, "it is being recorded");
    assert_eq!((delivery.to_record(), released(&mut delivery, 1), released(&mut delivery, 2)), (2, vec![1], vec![2]));
    assert_eq!(delivery.receipt(ack(1, Reason::SUCCESS)), Progress::Release(Ack::success(2)));
    assert_eq!(delivery.acknowledge(ack(1, Reason::SUCCESS)), Progress::Nothing, "a PUBACK is no answer");
    assert_settled(delivery.complete(ack(1, Reason::PACKET_ID_NOT_FOUND)));
    assert_eq!((delivery.done(), delivery.acknowledged()), (1, 1));
    assert_eq!(delivery.receipt(ack(9, Reason::SUCCESS)), Progress::Release(ack(9, Reason::PACKET_ID_NOT_FOUND)));
}

#[test]
fn after_a_crash_what_was_recorded_is_released_and_the_rest_is_published_again() {
    let mut cloud = Cloud::new(Version::V311);
    let before = Start { recorded: 7, ..start(10, 5, 9) };
    let mut delivery = Delivery::new(Priority::Normal, before, envelope(Version::V311));
    assert_eq!(delivery.connected(peer(true)), None);
    delivery.offer(vec![
        row_at(6, QoS::ExactlyOnce),
        row_at(7, QoS::AtLeastOnce),
        row_at(8, QoS::ExactlyOnce),
        row_at(10, QoS::ExactlyOnce),
    ]);
    assert_eq!(wire(&mut cloud, &mut delivery), ["r6", "7d", "8!d", "10!"]);
    assert_settled(delivery.complete(ack(6, Reason::SUCCESS)));
    delivery.receipt(ack(8, Reason::SUCCESS));
    assert_eq!(delivery.to_record(), 8);
}

#[test]
fn a_cloud_that_lost_the_session_gets_everything_again_or_what_it_never_confirmed() {
    for session_lost in [SessionLost::Resend, SessionLost::AssumeDelivered] {
        let mut cloud = Cloud::new(Version::V5);
        let mut delivery =
            Delivery::new(Priority::Normal, Start { session_lost, ..start(10, 0, 0) }, envelope(Version::V5));
        assert_eq!(delivery.connected(peer(false)), None);
        delivery.offer(once(1..=4));
        wire(&mut cloud, &mut delivery);
        // The first is released, the second confirmed and not on disk.
        delivery.receipt(ack(1, Reason::SUCCESS));
        released(&mut delivery, 1);
        delivery.receipt(ack(2, Reason::SUCCESS));
        delivery.disconnected(false);
        let (back_to, again) = match session_lost {
            SessionLost::Resend => (0, &["1!", "2!", "3!", "4!"][..]),
            SessionLost::AssumeDelivered => (1, &["2!", "3!", "4!"][..]),
        };
        assert_eq!(delivery.connected(peer(false)), Some(back_to));
        let mut cloud = Cloud::new(Version::V5);
        assert_eq!(wire(&mut cloud, &mut delivery), again);
        assert!(released(&mut delivery, back_to).is_empty());
        delivery.receipt(ack(1, Reason::SUCCESS));
        delivery.receipt(ack(2, Reason::SUCCESS));
        assert_eq!(delivery.to_record(), 2);

        // The same after a crash in between.
        let crashed = Start { recorded: 2, session_lost, ..start(10, 0, 4) };
        let mut delivery = Delivery::new(Priority::Normal, crashed, envelope(Version::V5));
        let back_to = if session_lost == SessionLost::Resend { 0 } else { 2 };
        assert_eq!(delivery.connected(peer(false)), Some(back_to));
        delivery.offer(once(1..=4));
        let mut cloud = Cloud::new(Version::V5);
        let again = if session_lost == SessionLost::Resend { &["1!", "2!", "3!", "4!"][..] } else { &["3!", "4!"] };
        assert_eq!(wire(&mut cloud, &mut delivery), again);
    }
}

#[test]
fn what_was_recorded_before_a_crash_is_a_message_again_when_the_session_is_lost_later() {
    let mut delivery = Delivery::new(Priority::Normal, Start { recorded: 1, ..start(10, 0, 1) }, envelope(Version::V5));
    let mut cloud = Cloud::new(Version::V5);
    delivery.connected(peer(true));
    delivery.offer(once(1..=1));
    assert_eq!(wire(&mut cloud, &mut delivery), ["r1"]);
    delivery.disconnected(false);
    assert_eq!(delivery.connected(peer(false)), Some(0));
    assert_eq!(wire(&mut Cloud::new(Version::V5), &mut delivery), ["1!"]);
    delivery.receipt(ack(1, Reason::SUCCESS));
    assert_eq!((delivery.to_record(), released(&mut delivery, 1)), (1, vec![1]));
}

#[test]
fn a_cloud_that_takes_qos_1_at_most_gets_no_more_and_is_never_asked_to_release_it() {
    let azure = Peer { maximum_qos: QoS::AtLeastOnce, ..peer(true) };
    let mut cloud = Cloud::new(Version::V5);
    let mut delivery = Delivery::new(Priority::Normal, start(10, 0, 0), envelope(Version::V5));
    delivery.connected(azure);
    delivery.offer(once(1..=2));
    assert_eq!(wire(&mut cloud, &mut delivery), ["1", "2"]);
    assert!(delivery.take_downgraded() && !delivery.take_downgraded());
    assert_settled(delivery.acknowledge(ack(1, Reason::SUCCESS)));
    assert_eq!((delivery.done(), delivery.to_record()), (1, 0));
    // It learns more, or another one answers: the same row at the other level, each time answered accordingly.
    delivery.disconnected(false);
    delivery.connected(peer(true));
    assert_eq!(wire(&mut Cloud::new(Version::V5), &mut delivery), ["2!d"]);
    delivery.disconnected(false);
    delivery.connected(azure);
    assert_eq!(wire(&mut Cloud::new(Version::V5), &mut delivery), ["2d"]);
    assert_settled(delivery.acknowledge(ack(2, Reason::SUCCESS)));
}

#[test]
fn a_refusal_at_qos_2_puts_the_message_aside_or_sends_it_anew() {
    let mut cloud = Cloud::new(Version::V5);
    let mut delivery = Delivery::new(Priority::Normal, start(10, 0, 0), envelope(Version::V5));
    delivery.connected(peer(false));
    delivery.offer(once(1..=2));
    wire(&mut cloud, &mut delivery);
    assert_settled(delivery.receipt(ack(1, Reason::NOT_AUTHORIZED)));
    assert!(matches!(delivery.poll_event(), Some(Event::SetAside { n: 1, .. })));
    assert_eq!(delivery.receipt(ack(2, Reason::QUOTA_EXCEEDED)), Progress::Nothing);
    assert_eq!(delivery.poll_event(), Some(Event::ComeBackLater(Reason::QUOTA_EXCEEDED)));
    delivery.disconnected(false);
    delivery.connected(peer(true));
    // With the refusal the cloud has let go of its id, so it is no repetition.
    assert_eq!(wire(&mut Cloud::new(Version::V5), &mut delivery), ["2!"]);
}

#[test]
fn a_topic_that_comes_again_goes_by_its_alias_as_far_as_the_cloud_has_any() {
    let mut cloud = Cloud::new(Version::V5);
    let mut delivery = Delivery::new(Priority::Normal, start(10, 0, 0), envelope(Version::V5));
    delivery.connected(Peer { topic_alias_maximum: 1, ..peer(false) });
    delivery.offer((1..=3).map(row).collect());
    let named: Vec<_> = cloud.all(&mut delivery).into_iter().map(|p| (p.topic.is_some(), p.topic_alias)).collect();
    assert_eq!(named, [(true, Some(1)), (false, Some(1)), (false, Some(1))]);
    // Aliases end with their connection.
    delivery.disconnected(false);
    delivery.connected(peer(true));
    let again = Cloud::new(Version::V5).all(&mut delivery);
    assert!(again.iter().all(|publish| publish.topic.is_some() && publish.topic_alias.is_none()));
}

#[test]
fn a_message_that_a_3_1_1_cloud_closes_the_connection_on_is_put_aside_and_the_others_keep_their_order() {
    // A window of three: row 3 may be the last that was sent.
    let mut delivery = Delivery::new(Priority::Normal, start(3, 0, 0), envelope(Version::V311));
    let mut arrived = Vec::new();
    let mut waiting: Vec<Entry> = (1..=9).map(row).collect();
    for connection in 0..60 {
        delivery.connected(peer(connection > 0));
        let mut cloud = Cloud::new(Version::V311);
        // The first look comes before anything has been read.
        cloud.take(&mut delivery);
        delivery.offer(std::mem::take(&mut waiting));
        delivery.nothing_left();
        // What comes together with row 3 is lost with the connection, acknowledgements included.
        loop {
            let sent: Vec<u64> = cloud.all(&mut delivery).iter().map(number).collect();
            if sent.is_empty() || sent.contains(&3) {
                break;
            }
            for n in sent {
                arrived.push(n);
                assert_settled(delivery.acknowledge(ack(n, Reason::SUCCESS)));
            }
        }
        let passed = delivery.disconnected(true);
        waiting = (passed + 1..=9).map(row).collect();
        if let Some(event) = delivery.poll_event() {
            assert!(matches!(&event, Event::SetAside { n: 3, reason } if reason.contains("closes the connection")));
        }
        if delivery.done() == 9 {
            assert_eq!(arrived, [1, 2, 4, 5, 6, 7, 8, 9]);
            return;
        }
    }
    panic!("it hangs after {arrived:?}");
}
