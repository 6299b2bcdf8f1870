//! Several servers for one uplink, and several uplinks side by side.

use fieldway::mqtt::{ConnAck, Reason};

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
    let (_peer, connect) = cloud.accept_one(ConnAck::new(Reason::SUCCESS)).await;
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

/// Some take one CONNECT a second of a client. At the next server it would be the same, and at the first the session would not be ours again.
#[tokio::test]
async fn a_server_that_turns_the_second_connection_away_is_tried_again_before_the_next_one() {
    let (hasty, other) = (Cloud::listen().await, Cloud::listen().await);
    let data = tempfile::tempdir().expect("a folder");
    let mut north = North::start(data.path(), among(&[hasty.address(), other.address()], Version::V5)).await;
    hasty.accept_clean().await;
    let (peer, _) = hasty.accept_one(ConnAck::new(Reason::CONNECTION_RATE_EXCEEDED)).await;
    drop(peer);
    let (_peer, connect) = hasty.accept_one(ConnAck::new(Reason::SUCCESS)).await;
    assert!(!connect.clean_start);
    north.until("a connection", |status| status.state == UplinkState::Online).await;
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
    let welcome = || ConnAck::new(Reason::SUCCESS);
    first.accept_clean().await;
    let (mut peer, _) = first.accept_one(welcome()).await;
    peer.publish().await;
    // Not acknowledged: the first server is no good.
    drop(peer);
    second.accept_clean().await;
    let (mut peer, connect) = second.accept_one(welcome()).await;
    assert!(!connect.clean_start, "it is to last");
    let publish = peer.publish().await;
    assert!(!publish.dup, "it never had this message");
    peer.puback(publish.packet_id, Reason::SUCCESS).await;
    north.until_drained().await;
    drop(peer);
    let (peer, connect) = second.accept_one(ConnAck { session_present: true, ..welcome() }).await;
    assert!(!connect.clean_start, "now it is ours");
    north.until("a connection", |status| status.state == UplinkState::Online).await;
    drop(peer);
    north.stop().await;

    // After a restart the first of the list is called first, and it is another one than the last.
    let mut north = North::start(data.path(), among(&clouds, Version::V5)).await;
    first.accept_clean().await;
    let (_peer, _) = first.accept_one(welcome()).await;
    north.until("a connection", |status| status.state == UplinkState::Online).await;
    north.stop().await;
    let north = North::start(data.path(), among(&clouds, Version::V5)).await;
    let (_peer, connect) = first.accept_one(welcome()).await;
    assert!(!connect.clean_start, "the same as before the restart");
    north.stop().await;
    // So it is when the configuration names another one.
    let north = North::start(data.path(), among(&clouds[1..], Version::V311)).await;
    second.accept_clean().await;
    let (_peer, connect) = second.accept_one(welcome()).await;
    assert!(!connect.clean_start);
    north.stop().await;
}

/// The whole program with four uplinks: one is well, and nothing of what happens to the others reaches it.
#[test]
fn uplinks_that_are_away_or_silent_or_full_hold_up_nobody_else() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use crate::support::gateway::GatewayProcess;
    use crate::support::mosquitto::{Mosquitto, Watcher};
    use crate::support::wait::wait_for;

    const MESSAGES: usize = 2_000;
    let cloud = Mosquitto::start();
    let watcher = Watcher::start(&cloud, "watcher", "line/#");
    // It takes connections, and never says a word.
    let black_hole = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let (hole, closed, mqtt) = (black_hole.local_addr().expect("it is bound").port(), free_port(), free_port());
    let folder = tempfile::tempdir().expect("a folder");
    let forward = "forward: [{ topic: 'line/#' }]";
    let yaml = format!(
        "gateway: {{ id: plant-7, data_dir: data }}\nbroker: {{ listeners: ['mqtt://127.0.0.1:{mqtt}'] }}\nuplinks:\n\
         \x20 silent: {{ url: 'mqtt://127.0.0.1:{hole}', {forward} }}\n\
         \x20 refused: {{ url: 'mqtt://127.0.0.1:{closed}', {forward} }}\n\
         \x20 full: {{ url: 'mqtt://no-such-host.invalid', queue: {{ max_size: 1MiB }}, {forward} }}\n\
         \x20 well: {{ url: 'mqtt://127.0.0.1:{}', window: 1000, {forward} }}\n",
        cloud.port()
    );
    let gateway = GatewayProcess::start(folder.path(), &yaml, mqtt);
    let begin = Instant::now();
    let mut publisher = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &mqtt.to_string(), "-V", "5", "-q", "1", "-t", "line/1", "-l"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("mosquitto_pub is needed; ./tests/run installs it");
    let mut lines = publisher.stdin.take().expect("it is piped");
    for n in 0..MESSAGES {
        // 2 MB: more than the third one's queue holds.
        writeln!(lines, "{n:01000}").expect("it reads");
    }
    drop(lines);
    assert!(publisher.wait().expect("it ends").success());
    wait_for("everything at the one that is well", PATIENCE, || (watcher.lines().len() >= MESSAGES).then_some(()));
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    let numbers = watcher.lines();
    assert!(numbers.iter().enumerate().all(|(n, line)| line == &format!("line/1 {n:01000}")), "whole and in order");
    drop(numbers);
    let (status, log) = gateway.stop();
    assert!(status.success(), "{log}");
    for told in ["uplink=refused", "uplink=full"] {
        assert!(log.contains(told), "{told} is not in\n{log}");
    }
    assert!(!log.lines().any(|line| line.contains("WARN") && line.contains("uplink=well")), "{log}");
}

/// As many as fit into any second, live and from the queue, and no faster on a new connection.
#[tokio::test]
async fn a_rate_limit_is_kept_while_a_backlog_drains_and_afterwards() {
    use std::time::Instant;
    let cloud = Cloud::listen().await;
    let data = tempfile::tempdir().expect("a folder");
    let rate_limit = Some(fieldway::config::Rate { messages: 50, per: Duration::from_secs(1) });
    let mut north = North::start(data.path(), Settings { rate_limit, ..settings(cloud.address(), Version::V5) }).await;
    north.keep(numbered(0..60)).await;
    let mut came = Vec::new();
    let begin = Instant::now();
    let (mut peer, _) = cloud.accept(ConnAck::new(Reason::SUCCESS)).await;
    while came.len() < 30 {
        let publish = peer.publish().await;
        came.push(begin.elapsed());
        if publish.qos == QoS::AtLeastOnce {
            peer.puback(publish.packet_id, Reason::SUCCESS).await;
        }
        if came.len() == 10 {
            for _ in 0..5 {
                north.live.send(message("live", "now", QoS::AtMostOnce)).await.expect("the uplink runs");
            }
        }
    }
    drop(peer);
    let (mut peer, _) = cloud.accept(ConnAck::new(Reason::SUCCESS)).await;
    while north.status.borrow().acknowledged < 60 {
        let publish = peer.publish().await;
        came.push(begin.elapsed());
        peer.puback(publish.packet_id, Reason::SUCCESS).await;
        tokio::task::yield_now().await;
        if came.len() >= 60 && peer.is_silent(Duration::from_millis(100)).await {
            break;
        }
    }
    for (n, first) in came.iter().enumerate() {
        let within = came[n..].iter().take_while(|at| **at - *first < Duration::from_secs(1)).count();
        assert!(within <= 53, "{within} in a second");
    }
    assert!(came.last().is_some_and(|last| *last > Duration::from_millis(1_000)), "{came:?}");
    north.stop().await;
}
