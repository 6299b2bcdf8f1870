//! A real mosquitto as the cloud, over a link that cuts, swallows and refuses.

use std::collections::HashSet;

use fieldway::config::Secret;

use super::*;
use crate::support::cutting_proxy::CuttingProxy;
use crate::support::mosquitto::{Mosquitto, Watcher};
use crate::support::wait::{free_port, wait_for};

fn numbered(range: std::ops::Range<u32>) -> impl Iterator<Item = Message> {
    range.map(|n| message("out/readings", n.to_string(), QoS::AtLeastOnce))
}

/// Waits until the watcher has seen every number below `count`, and checks that each came first after those before it.
async fn all_arrived(watcher: &Watcher, count: u32) {
    let arrived = || {
        let lines = watcher.lines();
        let numbers: HashSet<&str> = lines.iter().filter_map(|line| line.strip_prefix("out/readings ")).collect();
        (numbers.len() >= count as usize).then_some(())
    };
    tokio::task::block_in_place(|| wait_for(&format!("{count} messages at the cloud"), PATIENCE, arrived));
    let mut next = 0;
    for line in watcher.lines().iter() {
        let n: u32 = line.strip_prefix("out/readings ").and_then(|n| n.parse().ok()).expect("a number");
        assert!(n <= next, "{n} came before {next}");
        next = next.max(n + 1);
    }
    assert_eq!(next, count);
}

async fn survives_cuts(version: Version) {
    let cloud = Mosquitto::start();
    let watcher = Watcher::start(&cloud, "watcher", "out/#");
    let proxy = CuttingProxy::start(cloud.port());
    // In CONNECT, at once after it, and then in the middle of one PUBLISH or another.
    let cuts = [5, 61, 333, 1_001, 2_222, 777, 5_003, 9_999, 4_321, 13_131];
    proxy.cut_after(cuts);
    let data = tempfile::tempdir().expect("a folder");
    let mut north = North::start(data.path(), settings(proxy.address(), version)).await;
    north.keep(numbered(0..4_000)).await;
    all_arrived(&watcher, 4_000).await;
    north.until_drained().await;
    // In 3.1.1 one connection ends in order before its cut: the clean one that a new queue begins with.
    assert!(proxy.cuts() >= cuts.len() as u64 - 1, "{}", proxy.cuts());
    north.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_the_order_is_kept_when_the_link_cuts_in_mid_packet() {
    survives_cuts(Version::V5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_with_mqtt_3_1_1() {
    survives_cuts(Version::V311).await;
}

/// mosquitto 2.0 writes a session to its file only when its last connection did not begin clean.
#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_is_restarted_after_the_first_connection_has_the_session_still() {
    for version in [Version::V5, Version::V311] {
        let mut cloud = Mosquitto::start();
        let data = tempfile::tempdir().expect("a folder");
        let mut north = North::start(data.path(), settings(cloud.address(), version)).await;
        north.keep(numbered(0..10)).await;
        north.until_drained().await;
        cloud.stop();
        north.until_offline().await;
        cloud.start_again();
        north.keep(numbered(10..20)).await;
        north.until_drained().await;
        north.stop().await;
        let log = std::fs::read_to_string(cloud.folder().join("log")).expect("it has one");
        let welcomes: Vec<&str> =
            log.lines().filter_map(|line| line.split_once("CONNACK to plant-7 ")).map(|(_, of)| of).collect();
        // The first is clean, the second begins the session, and the third has it.
        assert_eq!(welcomes, ["(0, 0)", "(0, 0)", "(1, 0)"], "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_link_is_noticed_though_nobody_says_a_word() {
    let cloud = Mosquitto::start();
    let watcher = Watcher::start(&cloud, "watcher", "out/#");
    let proxy = CuttingProxy::start(cloud.port());
    let data = tempfile::tempdir().expect("a folder");
    let patient = settings(proxy.address(), Version::V5);
    let mut north = North::start(data.path(), Settings { stall_after: Duration::from_secs(1), ..patient }).await;
    north.keep(numbered(0..100)).await;
    north.until_drained().await;
    proxy.swallow();
    north.keep(numbered(100..200)).await;
    let why = north.until_offline().await;
    assert!(why.contains("acknowledges nothing"), "{why}");
    proxy.open();
    all_arrived(&watcher, 200).await;
    north.until_drained().await;
    north.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cloud_got_and_whose_acknowledgement_was_lost_is_sent_again_to_a_cloud_that_forgot_the_session() {
    let mut cloud = Mosquitto::forgetful();
    let watcher = Watcher::start(&cloud, "watcher", "out/#");
    let proxy = CuttingProxy::start(cloud.port());
    let data = tempfile::tempdir().expect("a folder");
    let mut north = North::start(data.path(), settings(proxy.address(), Version::V5)).await;
    north.keep(numbered(0..10)).await;
    north.until_drained().await;
    proxy.swallow_answers();
    north.keep(numbered(10..300)).await;
    let in_flight = || watcher.lines().iter().any(|line| line == "out/readings 12").then_some(());
    tokio::task::block_in_place(|| wait_for("some of them at the cloud", PATIENCE, in_flight));

    // The proxy lets answers through again as soon as it refuses: not before there is nobody left to give one.
    cloud.kill();
    drop(watcher);
    north.until_offline().await;
    proxy.refuse();
    cloud.start_again();
    let watcher = Watcher::start(&cloud, "another", "out/#");
    proxy.open();
    north.until_drained().await;
    let arrived = || watcher.lines().iter().any(|line| line == "out/readings 299").then_some(());
    tokio::task::block_in_place(|| wait_for("the last of them", PATIENCE, arrived));
    let seen: Vec<u32> =
        watcher.lines().iter().filter_map(|line| line.strip_prefix("out/readings ")?.parse().ok()).collect();
    assert!(seen.iter().copied().eq(10..300), "all that was never acknowledged, once, in order: {seen:?}");
    north.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_is_not_there_is_waited_for_and_then_gets_everything() {
    let port = free_port();
    let data = tempfile::tempdir().expect("a folder");
    let mut north = North::start(data.path(), settings(SocketAddr::from(([127, 0, 0, 1], port)), Version::V5)).await;
    let why = north.until_offline().await;
    assert!(why.contains("nothing listens at 127.0.0.1"), "{why}");
    north.live.send(message("out/live", "lost", QoS::AtMostOnce)).await.expect("the uplink runs");
    north.keep(numbered(0..500)).await;
    let status = north.until("the drop", |status| status.dropped_qos0 == 1 && status.queue.depth == 500).await;
    assert_eq!((status.acknowledged, status.connects), (0, 0));

    // The uplink may well be the first at the broker, so the queue is drained in a second life with the watcher there.
    north.stop().await;
    let cloud = Mosquitto::with("allow_anonymous true\npersistence true\n", port);
    let watcher = Watcher::start(&cloud, "watcher", "out/#");
    let mut north = North::start(data.path(), settings(cloud.address(), Version::V5)).await;
    all_arrived(&watcher, 500).await;
    north.until_drained().await;
    north.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_urgent_arrives_before_a_backlog_that_was_there_first() {
    let port = free_port();
    let data = tempfile::tempdir().expect("a folder");
    let mut north = North::start(data.path(), settings(SocketAddr::from(([127, 0, 0, 1], port)), Version::V5)).await;
    north.keep(numbered(0..1_000)).await;
    for n in 0..5 {
        let message = message("out/alarm", n.to_string(), QoS::AtLeastOnce);
        north.keep_work(Work::Message { queue: QueueId::high(0), message }).await;
    }
    north.until("both queues", |status| status.queue.depth == 1_005 && status.queue.high == 5).await;
    north.stop().await;

    let cloud = Mosquitto::with("allow_anonymous true\npersistence true\n", port);
    let watcher = Watcher::start(&cloud, "watcher", "out/#");
    let mut north = North::start(data.path(), settings(cloud.address(), Version::V5)).await;
    let arrived = || (watcher.lines().len() >= 1_005).then_some(());
    tokio::task::block_in_place(|| wait_for("all of them at the cloud", PATIENCE, arrived));
    north.until_drained().await;
    north.stop().await;
    let lines = watcher.lines();
    let alarms: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].starts_with("out/alarm")).collect();
    let told: Vec<&str> = alarms.iter().map(|at| lines[*at].as_str()).collect();
    assert_eq!(told, ["out/alarm 0", "out/alarm 1", "out/alarm 2", "out/alarm 3", "out/alarm 4"], "in their order");
    // Some of the backlog may have been on its way when they were read: a few windows of 20.
    assert!(alarms.iter().all(|at| *at < 200), "{alarms:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_restarts_and_one_that_is_killed_get_everything() {
    let mut cloud = Mosquitto::start();
    let watcher = Watcher::start(&cloud, "watcher", "out/#");
    let data = tempfile::tempdir().expect("a folder");
    let mut north = North::start(data.path(), settings(cloud.address(), Version::V311)).await;
    north.keep(numbered(0..200)).await;
    north.until_drained().await;
    all_arrived(&watcher, 200).await;
    cloud.stop();
    north.keep(numbered(200..400)).await;
    assert!(!north.until_offline().await.is_empty());
    cloud.start_again();
    north.until("the backlog to go", |status| status.acknowledged == 400).await;
    all_arrived(&watcher, 400).await;
    north.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_with_what_to_look_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let passwords = folder.path().join("passwords");
    let made = std::process::Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(&passwords)
        .args(["plant", "right"])
        .status();
    assert!(made.expect("mosquitto_passwd is needed; ./tests/run says how to install it").success());
    let config = format!("allow_anonymous false\npassword_file {}\n", passwords.display());
    let cloud = Mosquitto::with(&config, free_port());
    for (version, password, welcome) in
        [(Version::V5, "wrong", false), (Version::V311, "wrong", false), (Version::V5, "right", true)]
    {
        let data = tempfile::tempdir().expect("a folder");
        let with = Settings {
            username: Some("plant".into()),
            password: Some(Secret::new(password.into())),
            ..settings(cloud.address(), version)
        };
        assert!(!format!("{with:?}").contains(password), "a password is never printed");
        let mut north = North::start(data.path(), with).await;
        if welcome {
            north.until("a connection", |status| status.state == UplinkState::Online).await;
        } else {
            let why = north.until_offline().await;
            assert!(why.contains("password_file"), "{why}");
        }
        north.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_is_seen_at_the_cloud_when_the_gateway_comes_goes_and_is_cut_off() {
    let cloud = Mosquitto::start();
    let watcher = Watcher::start(&cloud, "watcher", "plant-7/gateway/state");
    let proxy = CuttingProxy::start(cloud.port());
    let seen = |expected: &'static [&'static str]| {
        let look = || {
            watcher
                .lines()
                .iter()
                .map(|line| line.rsplit(' ').next())
                .eq(expected.iter().map(|e| Some(*e)))
                .then_some(())
        };
        tokio::task::block_in_place(|| wait_for(&format!("{expected:?}"), PATIENCE, look));
    };
    let data = tempfile::tempdir().expect("a folder");
    let present = Settings { presence: Some(presence()), ..settings(proxy.address(), Version::V5) };
    let north = North::start(data.path(), present.clone()).await;
    seen(&["online"]);
    north.stop().await;
    seen(&["online", "offline"]);
    // A crash: the runtime's end of the connection goes without a DISCONNECT, so the cloud publishes the will.
    let north = North::start(data.path(), present).await;
    seen(&["online", "offline", "online"]);
    north.task.abort();
    seen(&["online", "offline", "online", "offline"]);
    north.store.close().await.expect("it closes");
}
