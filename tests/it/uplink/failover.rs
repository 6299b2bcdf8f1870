//! Several servers for one uplink, and several uplinks side by side.

use fieldway::mqtt::{ConnAck, Packet, Reason};

use super::*;
use crate::support::cloud::Cloud;
use crate::support::wait::free_port;

fn numbered(range: std::ops::Range<u32>) -> impl Iterator<Item = Message> {
    range.map(|n| message("out", n.to_string(), QoS::AtLeastOnce))
}

fn among(clouds: &[SocketAddr], version: Version) -> Settings {
    let servers = clouds.iter().map(|cloud| ServerConfig::plain(cloud.ip().to_string(), cloud.port())).collect();
    Settings { servers, ..settings(clouds[0], version) }
}

#[tokio::test]
async fn the_next_server_is_tried_at_once_when_one_is_not_there_and_stayed_with() {
    let (away, cloud) = (SocketAddr::from(([127, 0, 0, 1], free_port())), Cloud::listen().await);
    let data = tempfile::tempdir().expect("a folder");
    let mut north = North::start(data.path(), among(&[away, cloud.address()], Version::V5)).await;
    north.keep(numbered(0..2)).await;
    let (mut peer, _) = cloud.accept(ConnAck::new(Reason::SUCCESS)).await;
    for _ in 0..2 {
        let publish = peer.publish().await;
        peer.puback(publish.packet_id, Reason::SUCCESS).await;
    }
    north.until_drained().await;
    let first = tokio::net::TcpListener::bind(away).await.expect("the port is free");
    // It worked, so it is tried again before the first of the list.
    drop(peer);
    let (_peer, connect) = cloud.accept(ConnAck::new(Reason::SUCCESS)).await;
    assert!(!connect.clean_start, "its session is still the one that counts");
    drop(first);
    north.stop().await;
}

#[tokio::test]
async fn the_server_that_failed_is_named_where_there_are_several() {
    let (one, two) = (free_port(), free_port());
    let clouds = [one, two].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let data = tempfile::tempdir().expect("a folder");
    let mut north = North::start(data.path(), among(&clouds, Version::V5)).await;
    for port in [one, two] {
        let named = format!("mqtt://127.0.0.1:{port}: nothing listens");
        let is_named =
            |status: &UplinkStatus| matches!(&status.state, UplinkState::Offline(why) if why.starts_with(&named));
        north.until("both to be told", is_named).await;
    }
    north.stop().await;
}

#[tokio::test]
async fn a_server_that_accepts_and_drops_is_left_for_the_next_one() {
    let (fickle, steady) = (Cloud::listen().await, Cloud::listen().await);
    let data = tempfile::tempdir().expect("a folder");
    let mut north = North::start(data.path(), among(&[fickle.address(), steady.address()], Version::V5)).await;
    drop(fickle.accept(ConnAck::new(Reason::SUCCESS)).await);
    let (_peer, _) = steady.accept(ConnAck::new(Reason::SUCCESS)).await;
    north.until("a connection", |status| status.state == UplinkState::Online && status.connects == 2).await;
    north.stop().await;
}

/// A session of another server is none: what it holds under our packet ids are other messages.
#[tokio::test]
async fn at_another_server_the_session_begins_anew_also_after_a_restart() {
    let (first, second) = (Cloud::listen().await, Cloud::listen().await);
    let clouds = [first.address(), second.address()];
    let data = tempfile::tempdir().expect("a folder");
    let mut north = North::start(data.path(), among(&clouds, Version::V5)).await;
    north.keep(numbered(0..1)).await;
    let (mut peer, connect) = first.accept(ConnAck::new(Reason::SUCCESS)).await;
    assert!(connect.clean_start, "a new queue");
    peer.publish().await;
    // Not acknowledged: the first server is no good.
    drop(peer);
    let (mut peer, connect) = second.accept(ConnAck::new(Reason::SUCCESS)).await;
    assert!(connect.clean_start, "whatever session there is, it is not ours");
    let publish = peer.publish().await;
    assert!(!publish.dup, "it never had this message");
    peer.puback(publish.packet_id, Reason::SUCCESS).await;
    north.until_drained().await;
    drop(peer);
    let (peer, connect) = second.accept(ConnAck { session_present: true, ..ConnAck::new(Reason::SUCCESS) }).await;
    assert!(!connect.clean_start, "now it is");
    north.until("a connection", |status| status.state == UplinkState::Online).await;
    drop(peer);
    north.stop().await;

    // After a restart the first of the list is called first, and it is another one than the last.
    let mut north = North::start(data.path(), among(&clouds, Version::V5)).await;
    let (_peer, connect) = first.accept(ConnAck::new(Reason::SUCCESS)).await;
    assert!(connect.clean_start);
    north.until("a connection", |status| status.state == UplinkState::Online).await;
    north.stop().await;
    let north = North::start(data.path(), among(&clouds, Version::V5)).await;
    let (_peer, connect) = first.accept(ConnAck::new(Reason::SUCCESS)).await;
    assert!(!connect.clean_start, "the same as before the restart");
    north.stop().await;
    // So it is when the configuration names another one.
    let north = North::start(data.path(), among(&clouds[1..], Version::V311)).await;
    let (mut peer, connect) = second.accept(ConnAck::new(Reason::SUCCESS)).await;
    assert!(connect.clean_start);
    assert!(matches!(peer.read().await, Packet::Disconnect(_)), "in 3.1.1 a clean session ends with its connection");
    let (_peer, connect) = second.accept(ConnAck::new(Reason::SUCCESS)).await;
    assert!(!connect.clean_start);
    north.stop().await;
}
