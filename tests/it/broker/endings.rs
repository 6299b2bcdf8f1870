//! How connections end: wills, keep-alive, takeover, the broker's stop, and everything that is refused.

use std::sync::Arc;
use std::time::Duration;

use fieldway::broker::{Broker, Limits, Outlet};
use fieldway::clock::Clock;
use fieldway::config::Place;
use fieldway::model::{Message, QoS, Topic};
use fieldway::mqtt::{Auth, Connect, Disconnect, Packet, Reason, Version, Will};
use fieldway::store::QueueId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::mqtt::{Client, TestBroker, config, start};

fn with_will(version: Version, id: &str) -> Connect {
    let message = Message::new(Topic::new("wills").unwrap(), id.to_string(), QoS::AtLeastOnce, false);
    Connect { will: Some(Box::new(Will { message, delay_s: 3_600 })), ..Connect::new(version, id) }
}

async fn watcher(test: &TestBroker) -> Client {
    let mut client = Client::connect(test.address, Connect::new(Version::V311, "watcher")).await;
    client.subscribe("wills", QoS::AtMostOnce).await;
    client
}

#[tokio::test]
async fn a_will_fires_when_the_connection_breaks_and_not_after_a_clean_disconnect() {
    let test = start(Limits::default(), Vec::new());
    let mut watcher = watcher(&test).await;
    for version in [Version::V311, Version::V5] {
        let mut polite = Client::connect(test.address, with_will(version, "polite")).await;
        polite.send(&Packet::Disconnect(Disconnect::new(Reason::SUCCESS))).await;
        assert_eq!(polite.closed().await, None);
        drop(Client::connect(test.address, with_will(version, "broken")).await);
        assert_eq!(&watcher.message().await.payload[..], b"broken");
    }
    let mut wants_it = Client::connect(test.address, with_will(Version::V5, "wanted")).await;
    wants_it.send(&Packet::Disconnect(Disconnect::new(Reason::DISCONNECT_WITH_WILL))).await;
    assert_eq!(&watcher.message().await.payload[..], b"wanted");
    let mut wrong = Client::connect(test.address, with_will(Version::V311, "wrong")).await;
    wrong.stream.write_all(b"\xFF\xFF").await.unwrap();
    assert_eq!(&watcher.message().await.payload[..], b"wrong");
    watcher.expect_nothing().await;
}

#[tokio::test]
async fn a_takeover_fires_the_old_will_and_tells_the_old_client() {
    let test = start(Limits::default(), Vec::new());
    let mut watcher = watcher(&test).await;
    let mut old = Client::connect(test.address, with_will(Version::V5, "same")).await;
    old.subscribe("t", QoS::AtMostOnce).await;
    let mut new = Client::connect(test.address, Connect::new(Version::V311, "same")).await;
    assert_eq!(old.closed().await, Some(Reason::SESSION_TAKEN_OVER));
    assert_eq!(&watcher.message().await.payload[..], b"same");
    // The new client starts without the old one's subscriptions, and stays.
    new.publish("t", "x", QoS::AtMostOnce, false).await;
    new.expect_nothing().await;
    watcher.expect_nothing().await;
    assert_eq!(test.broker.status().clients, 2);
}

#[tokio::test]
async fn a_silent_client_is_lost_after_one_and_a_half_keep_alives() {
    let test = start(Limits::default(), Vec::new());
    let mut watcher = watcher(&test).await;
    let began = tokio::time::Instant::now();
    let connect = Connect { keep_alive_s: 1, ..with_will(Version::V5, "silent") };
    let mut silent = Client::connect(test.address, connect).await;
    assert_eq!(silent.closed().await, Some(Reason::KEEP_ALIVE_TIMEOUT));
    assert!((1_400..3_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert_eq!(&watcher.message().await.payload[..], b"silent");
}

#[tokio::test]
async fn a_server_keep_alive_is_told_to_whoever_asked_for_none_or_a_longer_one_and_kept() {
    let mut settings = config("127.0.0.1:0");
    settings.server_keep_alive = Some(Duration::from_secs(2));
    let (appends, _rest) = tokio::sync::mpsc::channel(1);
    let (_reports, reports) = tokio::sync::mpsc::channel(1);
    let broker =
        Broker::start(&settings, Limits::default(), Vec::new(), appends, reports, None, Clock::start()).unwrap();
    for (asked, told) in [(1, None), (2, Some(2)), (120, Some(2)), (0, Some(2))] {
        let connect = Connect { keep_alive_s: asked, ..Connect::new(Version::V5, "a") };
        let (mut client, ack) = Client::connect_ack(broker.addresses()[0], connect).await;
        assert_eq!(ack.server_keep_alive_s, told, "{asked}");
        if asked < 2 {
            let began = tokio::time::Instant::now();
            assert_eq!(client.closed().await, Some(Reason::KEEP_ALIVE_TIMEOUT));
            let least = Duration::from_millis(1_400) * told.unwrap_or(asked).into();
            assert!(began.elapsed() > least, "{asked}: {:?}", began.elapsed());
        }
    }
}

#[tokio::test]
async fn at_the_stop_clients_are_told_and_their_wills_are_published() {
    let (live, mut forwarded) = tokio::sync::mpsc::channel(10);
    let select = |message: &Message| message.topic.starts_with("wills").then(|| message.clone());
    let live = Outlet {
        queue: QueueId::normal(0),
        select: Box::new(move |message: &Message| select(message).map(|m| Message { qos: QoS::AtMostOnce, ..m })),
        live,
        live_dropped: Arc::default(),
    };
    let test = start(Limits::default(), vec![live]);
    let mut client = Client::connect(test.address, with_will(Version::V5, "a")).await;
    let mut polite = Client::connect(test.address, with_will(Version::V5, "polite")).await;
    polite.send(&Packet::Disconnect(Disconnect::new(Reason::SUCCESS))).await;
    assert_eq!(polite.closed().await, None);
    let began = tokio::time::Instant::now();
    let (client_end, ()) = tokio::join!(client.closed(), test.broker.stop());
    assert_eq!(client_end, Some(Reason::SERVER_SHUTTING_DOWN));
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(&forwarded.recv().await.unwrap().payload[..], b"a");
    assert_eq!(forwarded.recv().await, None);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_clients_that_never_close() {
    let test = start(Limits::default(), Vec::new());
    let hub = test.broker.hub();
    let _stubborn = Client::connect(test.address, Connect::new(Version::V5, "a")).await;
    let _silent = Client::silent(test.address, Version::V5).await;
    let began = tokio::time::Instant::now();
    test.broker.stop().await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let message = Message::new(Topic::new("t").unwrap(), "x", QoS::AtMostOnce, false);
    assert!(hub.publish(message).await.is_err());
}

#[tokio::test]
async fn what_is_not_offered_is_said_in_connack_and_refused_properly() {
    let test = start(Limits::default(), Vec::new());
    let connect = Connect { clean_start: false, session_expiry_s: 3_600, ..Connect::new(Version::V5, "") };
    let (_client, ack) = Client::connect_ack(test.address, connect).await;
    assert!(!ack.session_present && ack.retain_available && ack.wildcards_available);
    assert_eq!((ack.session_expiry_s, ack.maximum_qos), (Some(0), QoS::ExactlyOnce));
    assert!(ack.assigned_client_id.is_some_and(|id| !id.is_empty()));

    let method = Connect { authentication_method: Some("SCRAM-SHA-1".into()), ..Connect::new(Version::V5, "a") };
    let (mut refused, ack) = Client::connect_ack(test.address, method).await;
    assert_eq!(ack.reason, Reason::BAD_AUTHENTICATION_METHOD);
    assert_eq!(refused.receive().await, None);

    let mut client = Client::connect(test.address, Connect::new(Version::V5, "a")).await;
    client.send(&Packet::Auth(Auth { reason: Reason::REAUTHENTICATE, method: None, data: None })).await;
    assert_eq!(client.closed().await, Some(Reason::PROTOCOL_ERROR));
}

#[tokio::test]
async fn wrong_bytes_end_the_connection_that_sent_them_with_the_right_words() {
    let test = start(Limits::default(), Vec::new());
    let mut bystander = Client::connect(test.address, Connect::new(Version::V5, "bystander")).await;
    let first_words: &[(&[u8], &[u8])] = &[
        (b"\xC0\x00", b""),                                                          // PINGREQ first
        (b"GET / HTTP/1.1\r\n\r\n", b""),                                            // another protocol
        (b"\x10\x0D\x00\x04MQTT\x07\x02\x00\x00\x00\x01a", b"\x20\x03\x00\x84\x00"), // level 7
        (b"\x10\x0D\x00\x04MQTT\x02\x02\x00\x00\x00\x01a", b"\x20\x02\x00\x01"),     // level 2
        (b"\x10\x0C\x00\x04MQTT\x04\x00\x00\x00\x00\x00", b"\x20\x02\x00\x02"),      // no identifier, not clean
        (b"\x10\xFF\xFF\xFF\x7F", b""),                                              // a CONNECT of 256 MB
    ];
    for (words, answer) in first_words {
        let mut client = Client::silent(test.address, Version::V311).await;
        client.stream.write_all(words).await.unwrap();
        let mut heard = Vec::new();
        client.stream.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, *answer, "{words:x?}");
    }
    let later: &[(&[u8], Reason)] = &[
        (b"\x36\x05\x00\x01a\x00\x01", Reason::MALFORMED_PACKET), // QoS 3
        (b"\x32\x06\x00\x01a\x00\x00\x00", Reason::MALFORMED_PACKET), // packet id 0
        (b"\x30\x04\x00\x01#\x00", Reason::TOPIC_NAME_INVALID),   // a wildcard in a name
        // What a cloud may end its connection for is not let in: U+0001 in a topic, in a content type, in a user property.
        (b"\x30\x05\x00\x02a\x01\x00", Reason::TOPIC_NAME_INVALID),
        (b"\x30\x09\x00\x01a\x05\x03\x00\x02x\x01", Reason::MALFORMED_PACKET),
        (b"\x30\x0B\x00\x01a\x07\x26\x00\x01k\x00\x01\x01", Reason::MALFORMED_PACKET),
        (b"\x30\xFF\xFF\xFF\x7F", Reason::PACKET_TOO_LARGE), // 256 MB announced
        (b"\x10\x0E\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01a", Reason::PROTOCOL_ERROR), // a second CONNECT
    ];
    for (words, reason) in later {
        let mut client = Client::connect(test.address, Connect::new(Version::V5, "a")).await;
        client.stream.write_all(words).await.unwrap();
        assert_eq!(client.closed().await, Some(*reason), "{words:x?}");
    }
    bystander.expect_nothing().await;
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_the_line_and_what_to_try() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = config(&taken.local_addr().unwrap().to_string());
    settings.listeners[0].place = Some(Place { file: "gateway.yaml".into(), line: 12, column: 7 });
    let (appends, _rest) = tokio::sync::mpsc::channel(1);
    let (_reports, reports) = tokio::sync::mpsc::channel(1);
    let error =
        Broker::start(&settings, Limits::default(), Vec::new(), appends, reports, None, Clock::start()).unwrap_err();
    let text = error.to_string();
    let port = taken.local_addr().unwrap().port();
    for part in ["gateway.yaml:12:7", &settings.listeners[0].url, &format!("ss -ltnp 'sport = :{port}'"), "mosquitto"] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}
