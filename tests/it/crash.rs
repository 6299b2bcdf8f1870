//! Nothing acknowledged is lost: the real gateway, a real mosquitto as the cloud, `kill -9` and cuts in mid-packet.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::chance::Chance;
use crate::support::cutting_proxy::CuttingProxy;
use crate::support::gateway::GatewayProcess;
use crate::support::mosquitto::Mosquitto;
use crate::support::peers::Peer;
use crate::support::wait::{free_port, wait_for};

const MESSAGES: u64 = 50_000;
const TOPICS: u64 = 8;
const KILLS: u32 = 12;
const CUTS: u32 = 12;
/// Slow enough that all kills and cuts fall into the traffic, also on a busy machine: 50,000 messages take 50 s.
const PER_SECOND: u64 = 1_000;
/// The longest that a cut may wait for a packet to cut: a reconnect with its back-off, and a kill before it.
const CUT_WITHIN: Duration = Duration::from_secs(30);

fn configuration(folder: &Path, port: u16, cloud: u16) -> String {
    format!(
        "gateway: {{ id: crash, topic_root: fw, data_dir: {data} }}\n\
         broker: {{ listeners: ['mqtt://127.0.0.1:{port}'] }}\n\
         uplinks:\n\
         \x20 cloud:\n\
         \x20   url: mqtt://127.0.0.1:{cloud}\n\
         \x20   client_id: crash\n\
         \x20   forward:\n\
         \x20     - {{ topic: 'numbers/#', to: 'cloud/{{rest}}', qos: 1 }}\n",
        data = folder.join("data").display()
    )
}

#[test]
fn fifty_thousand_messages_survive_kills_and_cuts_at_random_moments() {
    let folder = tempfile::tempdir().unwrap();
    let mut chance = Chance::seeded_or_new();
    let cloud = Mosquitto::start();
    let proxy = CuttingProxy::start(cloud.port());
    let port = free_port();
    let yaml = configuration(folder.path(), port, proxy.port());

    let mut subscriber = Peer::start(
        "sequence_subscriber.py",
        &[cloud.port().to_string(), "cloud".into(), TOPICS.to_string(), MESSAGES.to_string(), "30".into()],
    );
    assert_eq!(subscriber.line(), "subscribed");
    let mut gateway = GatewayProcess::start(folder.path(), &yaml, port);
    let mut publisher = Peer::start(
        "sequence_publisher.py",
        &[port.to_string(), "numbers".into(), TOPICS.to_string(), MESSAGES.to_string(), PER_SECOND.to_string()],
    );

    // Kills and cuts in a random order, at random moments of the first half of the traffic or as soon after as they can.
    let mut faults: Vec<bool> = (0..KILLS + CUTS).map(|i| i < KILLS).collect();
    chance.shuffle(&mut faults);
    let traffic = Duration::from_secs(MESSAGES / PER_SECOND) / 2;
    let mut moments: Vec<Duration> = faults.iter().map(|_| traffic.mul_f64(chance.fraction())).collect();
    moments.sort();
    let begin = Instant::now();
    for (moment, is_kill) in moments.into_iter().zip(faults) {
        std::thread::sleep(moment.saturating_sub(begin.elapsed()));
        if is_kill {
            gateway.kill();
            gateway = GatewayProcess::start(folder.path(), &yaml, port);
        } else {
            let before = proxy.cuts();
            proxy.cut_mid_packet();
            wait_for("a packet to cut", CUT_WITHIN, || (proxy.cuts() > before).then_some(()));
        }
    }

    let last = std::iter::repeat_with(|| publisher.line()).find(|line| line.starts_with("done"));
    assert_eq!(last, Some(format!("done {MESSAGES}")), "every message was acknowledged here");
    let counted = subscriber.line();
    println!("{KILLS} kill -9, {CUTS} cuts in mid-packet, seed {}: {counted}", chance.seed());
    let counted: Value = serde_json::from_str(&counted).unwrap();
    assert_eq!(counted["lost"], 0, "{counted}\n{}", gateway.log());
    assert_eq!(counted["distinct"], MESSAGES);
    assert_eq!(counted["reordered"], 0, "{counted}");
    let (status, log) = gateway.stop();
    assert!(status.success(), "{status}\n{log}");
}
