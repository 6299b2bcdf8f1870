//! A cloud that says what no well-behaved broker would, or would only seldom.

use fieldway::mqtt::{Ack, ConnAck, Disconnect, Packet, Publish, Reason};

use super::*;
use crate::support::cloud::Cloud;

fn welcome() -> ConnAck {
    ConnAck::new(Reason::SUCCESS)
}

fn numbered(range: std::ops::Range<u32>) -> impl Iterator<Item = Message> {
    range.map(|n| message("out", n.to_string(), QoS::AtLeastOnce))
}

fn payload(publish: &Publish) -> &str {
    std::str::from_utf8(&publish.payload).expect("digits")
}

#[tokio::test]
async fn the_first_connection_of_a_queue_is_clean_and_the_next_ones_keep_the_session() {
    for version in [Version::V5, Version::V311] {
        let cloud = Cloud::listen().await;
        let data = tempfile::tempdir().expect("a folder");
        let mut north = North::start(data.path(), settings(cloud.address(), version)).await;
        // A clean session ends with its connection; a second one begins what is to last.
        cloud.accept_clean().await;
        let (peer, connect) = cloud.accept_one(welcome()).await;
        assert!(!connect.clean_start);
        assert_eq!(connect.session_expiry_s > 0, version == Version::V5);
        north.until("a connection", |status| status.state == UplinkState::Online).await;
        drop(peer);
        let (_peer, connect) = cloud.accept_one(welcome()).await;
        assert!(!connect.clean_start);
        north.stop().await;

        let north = North::start(data.path(), settings(cloud.address(), version)).await;
        let (_peer, connect) = cloud.accept_one(welcome()).await;
        assert!(!connect.clean_start, "and a restart does not forget that");
        north.stop().await;
    }
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_with_dup_while_the_cloud_has_the_session() {
    let cloud = Cloud::listen().await;
    let data = tempfile::tempdir().expect("a folder");
    let mut north = North::start(data.path(), settings(cloud.address(), Version::V5)).await;
    north.keep(numbered(0..3)).await;
    let (mut peer, _) = cloud.accept(welcome()).await;
    for expected in ["0", "1", "2"] {
        let publish = peer.publish().await;
        assert_eq!((payload(&publish), publish.dup), (expected, false));
    }
    drop(peer);
    let (mut peer, _) = cloud.accept(ConnAck { session_present: true, ..welcome() }).await;
    for expected in ["0", "1", "2"] {
        let publish = peer.publish().await;
        assert_eq!((payload(&publish), publish.dup), (expected, true));
    }
    drop(peer);
    let (mut peer, _) = cloud.accept(welcome()).await;
    for expected in ["0", "1", "2"] {
        let publish = peer.publish().await;
        assert_eq!((payload(&publish), publish.dup), (expected, false));
        peer.puback(publish.packet_id, Reason::SUCCESS).await;
    }
    north.until_drained().await;
    north.stop().await;
}

#[tokio::test]
async fn acknowledgements_in_any_order_and_nonsense_between_them_settle_just_what_they_name() {
    let cloud = Cloud::listen().await;
    let data = tempfile::tempdir().expect("a folder");
    let mut north = North::start(data.path(), settings(cloud.address(), Version::V5)).await;
    north.keep(numbered(0..4)).await;
    let (mut peer, _) = cloud.accept(welcome()).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(peer.publish().await.packet_id);
    }
    peer.puback(999, Reason::SUCCESS).await;
    peer.puback(60_001, Reason::SUCCESS).await;
    peer.send(Packet::PubComp(Ack::success(ids[0]))).await;
    peer.send(Packet::Publish(Publish::new(&message("unasked", "x", QoS::AtLeastOnce), 5))).await;
    peer.puback(ids[3], Reason::SUCCESS).await;
    peer.puback(ids[1], Reason::SUCCESS).await;
    north.until("two", |status| status.acknowledged == 2).await;
    assert_eq!(north.status.borrow().queue.depth, 4, "the first is outstanding");
    peer.puback(ids[0], Reason::SUCCESS).await;
    north.until("the first two to go", |status| status.queue.depth == 2).await;
    peer.puback(ids[2], Reason::SUCCESS).await;
    north.until_drained().await;
    north.stop().await;
}

#[tokio::test]
async fn the_clouds_limits_are_kept_and_a_message_beyond_them_is_put_aside_once() {
    let cloud = Cloud::listen().await;
    let data = tempfile::tempdir().expect("a folder");
    let mut north = North::start(data.path(), settings(cloud.address(), Version::V5)).await;
    north.keep([message("out", vec![b'x'; 500], QoS::AtLeastOnce)]).await;
    let retained = Message { retain: true, ..message("out", "retained", QoS::AtLeastOnce) };
    north.keep(std::iter::once(retained).chain(numbered(0..3))).await;
    let limits = ConnAck {
        receive_maximum: 2,
        maximum_packet_size: Some(200),
        retain_available: false,
        assigned_client_id: Some("given".into()),
        server_keep_alive_s: Some(1),
        ..welcome()
    };
    let (mut peer, _) = cloud.accept(limits).await;
    let first = peer.publish().await;
    assert_eq!((payload(&first), first.retain), ("retained", false));
    let second = peer.publish().await;
    // Two are in flight: what comes next, within the second that the cloud asked for, is a ping.
    assert!(matches!(peer.read().await, Packet::PingReq));
    peer.send(Packet::PingResp).await;
    for publish in [first, second] {
        peer.puback(publish.packet_id, Reason::SUCCESS).await;
    }
    for _ in 0..2 {
        let publish = peer.publish().await;
        peer.puback(publish.packet_id, Reason::SUCCESS).await;
    }
    north.until_drained().await;
    assert_eq!(north.status.borrow().queue.set_aside, 1);
    drop(peer);
    let (_peer, connect) = cloud.accept(welcome()).await;
    assert_eq!(connect.client_id, "given");
    north.stop().await;
}

#[tokio::test]
async fn a_message_that_the_cloud_will_never_take_does_not_hold_up_the_others() {
    let cloud = Cloud::listen().await;
    let data = tempfile::tempdir().expect("a folder");
    let mut north = North::start(data.path(), settings(cloud.address(), Version::V5)).await;
    north.keep(numbered(0..3)).await;
    let (mut peer, _) = cloud.accept(welcome()).await;
    for reason in [Reason::SUCCESS, Reason::NOT_AUTHORIZED, Reason::SUCCESS] {
        let publish = peer.publish().await;
        peer.puback(publish.packet_id, reason).await;
    }
    north.until_drained().await;
    assert_eq!(north.status.borrow().queue.set_aside, 1);
    north.stop().await;
}

#[tokio::test]
async fn a_refusal_right_before_the_end_of_the_connection_still_puts_the_message_aside() {
    let cloud = Cloud::listen().await;
    let data = tempfile::tempdir().expect("a folder");
    let mut north = North::start(data.path(), settings(cloud.address(), Version::V5)).await;
    north.keep(numbered(0..2)).await;
    let (mut peer, _) = cloud.accept(welcome()).await;
    let (first, _second) = (peer.publish().await, peer.publish().await);
    // PUBACK of two bytes of packet id and a reason, and DISCONNECT with the same, in one segment.
    let [high, low] = first.packet_id.to_be_bytes();
    peer.send_raw(&[0x40, 0x03, high, low, 0x87, 0xE0, 0x01, 0x87]).await;
    let (mut peer, _) = cloud.accept(welcome()).await;
    let publish = peer.publish().await;
    assert_eq!(payload(&publish), "1");
    peer.puback(publish.packet_id, Reason::SUCCESS).await;
    north.until_drained().await;
    assert_eq!(north.status.borrow().queue.set_aside, 1, "a message that is given up is kept apart and counted");
    north.stop().await;
}

#[tokio::test]
async fn presence_counts_among_what_the_cloud_takes_at_once() {
    let cloud = Cloud::listen().await;
    let data = tempfile::tempdir().expect("a folder");
    let present = Settings { presence: Some(presence()), ..settings(cloud.address(), Version::V5) };
    let mut north = North::start(data.path(), present).await;
    north.keep(numbered(0..2)).await;
    let (mut peer, _) = cloud.accept(ConnAck { receive_maximum: 1, ..welcome() }).await;
    let quiet = Duration::from_millis(300);
    let birth = peer.publish().await;
    assert_eq!(payload(&birth), "online");
    assert!(peer.is_silent(quiet).await, "the cloud takes one at once");
    // A refusal makes room as well as an acknowledgement does.
    peer.puback(birth.packet_id, Reason::NOT_AUTHORIZED).await;
    let first = peer.publish().await;
    assert_eq!(payload(&first), "0");
    peer.puback(first.packet_id, Reason::SUCCESS).await;
    let second = peer.publish().await;
    assert_eq!(payload(&second), "1");

    let clouds_part = async {
        assert!(peer.is_silent(quiet).await, "the farewell waits for room, too");
        peer.puback(second.packet_id, Reason::SUCCESS).await;
        let farewell = peer.publish().await;
        assert_eq!(payload(&farewell), "offline");
        peer.puback(farewell.packet_id, Reason::SUCCESS).await;
        assert!(matches!(peer.read().await, Packet::Disconnect(bye) if bye.reason == Reason::SUCCESS));
    };
    tokio::join!(north.stop(), clouds_part);
}

#[tokio::test]
async fn presence_that_is_too_large_for_the_cloud_holds_up_nothing() {
    let cloud = Cloud::listen().await;
    let data = tempfile::tempdir().expect("a folder");
    let mut large = presence();
    large.topic = Topic::new(&"long/".repeat(40)).expect("a topic");
    let present = Settings { presence: Some(large), ..settings(cloud.address(), Version::V5) };
    let mut north = North::start(data.path(), present).await;
    north.keep(numbered(0..1)).await;
    let limits = ConnAck { receive_maximum: 1, maximum_packet_size: Some(100), ..welcome() };
    let (mut peer, _) = cloud.accept(limits).await;
    let publish = peer.publish().await;
    assert_eq!(payload(&publish), "0");
    peer.puback(publish.packet_id, Reason::SUCCESS).await;
    north.until_drained().await;
    let clouds_part = async {
        assert!(matches!(peer.read().await, Packet::Disconnect(bye) if bye.reason == Reason::SUCCESS));
    };
    tokio::join!(north.stop(), clouds_part);
}

#[tokio::test]
async fn a_cloud_over_its_quota_is_left_alone_for_a_while_and_gets_the_message_then() {
    let cloud = Cloud::listen().await;
    let data = tempfile::tempdir().expect("a folder");
    let mut north = North::start(data.path(), settings(cloud.address(), Version::V5)).await;
    north.keep(numbered(0..1)).await;
    let (mut peer, _) = cloud.accept(welcome()).await;
    let publish = peer.publish().await;
    peer.puback(publish.packet_id, Reason::QUOTA_EXCEEDED).await;
    let why = north.until_offline().await;
    assert!(why.contains("quota exceeded"), "{why}");
    let (mut peer, _) = cloud.accept(ConnAck { session_present: true, ..welcome() }).await;
    let publish = peer.publish().await;
    assert_eq!(payload(&publish), "0");
    peer.puback(publish.packet_id, Reason::SUCCESS).await;
    north.until_drained().await;
    assert_eq!(north.status.borrow().queue.set_aside, 0);
    north.stop().await;
}

#[tokio::test]
async fn every_way_to_be_turned_away_is_told_with_what_to_try() {
    // CONNACK of MQTT 3.1.1: two bytes, no session, return code 1, unacceptable protocol version.
    const OLD_BROKER: &[u8] = &[0x20, 0x02, 0x00, 0x01];
    let refusals: [(&[u8], &str); 6] = [
        (OLD_BROKER, "mqtt_version"),
        // CONNACK of MQTT 5: three bytes, no session, reason, no properties.
        (&[0x20, 0x03, 0x00, 0x86, 0x00], "password_file"),
        (&[0x20, 0x03, 0x00, 0x87, 0x00], "what the cloud allows"),
        (&[0x20, 0x03, 0x00, 0x85, 0x00], "client_id"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "check the port"),
        // A PINGRESP.
        (&[0xD0, 0x00], "no CONNACK"),
    ];
    let cloud = Cloud::listen().await;
    for (answer, expected) in refusals {
        let data = tempfile::tempdir().expect("a folder");
        let mut north = North::start(data.path(), settings(cloud.address(), Version::V5)).await;
        let mut peer = cloud.accept_raw().await;
        assert!(matches!(peer.read().await, Packet::Connect(_)));
        peer.send_raw(answer).await;
        let why = north.until_offline().await;
        assert!(why.contains(expected), "{why}");
        north.stop().await;
    }
}

#[tokio::test]
async fn a_cloud_that_takes_qos_0_only_is_told_as_useless() {
    let cloud = Cloud::listen().await;
    let data = tempfile::tempdir().expect("a folder");
    let mut north = North::start(data.path(), settings(cloud.address(), Version::V5)).await;
    let (_peer, _) = cloud.accept(ConnAck { maximum_qos: QoS::AtMostOnce, ..welcome() }).await;
    let why = north.until_offline().await;
    assert!(why.contains("QoS 0 only"), "{why}");
    north.stop().await;
}

#[tokio::test]
async fn a_cloud_that_says_why_it_ends_the_connection_is_quoted() {
    let cloud = Cloud::listen().await;
    let data = tempfile::tempdir().expect("a folder");
    let mut north = North::start(data.path(), settings(cloud.address(), Version::V5)).await;
    let (mut peer, _) = cloud.accept(welcome()).await;
    let reason_string = Some("bye".to_owned());
    peer.send(Packet::Disconnect(Disconnect { reason_string, ..Disconnect::new(Reason::SESSION_TAKEN_OVER) })).await;
    let why = north.until_offline().await;
    assert!(why.contains("bye") && why.contains("another client uses the same client_id"), "{why}");
    north.stop().await;
}

#[tokio::test]
async fn presence_frames_everything_else_and_an_orderly_stop_takes_the_last_acknowledgements() {
    let cloud = Cloud::listen().await;
    let data = tempfile::tempdir().expect("a folder");
    let present = Settings { presence: Some(presence()), ..settings(cloud.address(), Version::V5) };
    let mut north = North::start(data.path(), present).await;
    north.keep(numbered(0..1)).await;
    let (mut peer, connect) = cloud.accept(welcome()).await;
    let will = connect.will.expect("a will").message;
    assert_eq!((&*will.topic, &will.payload[..], will.retain), ("plant-7/gateway/state", &b"offline"[..], true));
    let birth = peer.publish().await;
    assert_eq!((payload(&birth), birth.retain), ("online", true));
    peer.puback(birth.packet_id, Reason::SUCCESS).await;
    let reading = peer.publish().await;
    assert_eq!(payload(&reading), "0");

    let live = message("out", "live", QoS::AtMostOnce);
    north.live.send(live).await.expect("the uplink runs");
    let publish = peer.publish().await;
    assert_eq!((payload(&publish), publish.qos), ("live", QoS::AtMostOnce));

    let clouds_part = async {
        let farewell = peer.publish().await;
        assert_eq!((payload(&farewell), farewell.retain), ("offline", true));
        peer.puback(reading.packet_id, Reason::SUCCESS).await;
        peer.puback(farewell.packet_id, Reason::SUCCESS).await;
        assert!(matches!(peer.read().await, Packet::Disconnect(bye) if bye.reason == Reason::SUCCESS));
        assert!(peer.try_read().await.is_none());
    };
    tokio::join!(north.stop(), clouds_part);

    let mut north = North::start(data.path(), settings(cloud.address(), Version::V5)).await;
    let (_peer, _) = cloud.accept(welcome()).await;
    let status = north.until("a connection", |status| status.state == UplinkState::Online).await;
    assert_eq!(status.queue.depth, 0, "what was acknowledged during the goodbye is not sent again");
    north.stop().await;
}

#[tokio::test]
async fn an_idle_uplink_says_nothing() {
    let cloud = Cloud::listen().await;
    let data = tempfile::tempdir().expect("a folder");
    let north = North::start(data.path(), settings(cloud.address(), Version::V5)).await;
    let (mut peer, _) = cloud.accept(welcome()).await;
    assert!(peer.is_silent(Duration::from_millis(1500)).await);
    north.stop().await;
}
