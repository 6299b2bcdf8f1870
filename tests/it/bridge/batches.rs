//! A batch rule and `kill -9` in its middle: no reading is lost, and at QoS 2 none comes twice.

use std::collections::BTreeMap;
use std::time::Duration;

use fieldway::model::QoS;
use fieldway::mqtt::{Connect, Packet, Version};

use crate::support::gateway::GatewayProcess;
use crate::support::mosquitto::{Mosquitto, Watcher};
use crate::support::mqtt::Client;
use crate::support::wait::{free_port, wait_for};

const PATIENCE: Duration = Duration::from_secs(60);
const MESSAGES: usize = 1_200;
/// The gateway is killed after so many acknowledgements each.
const KILLED_AFTER: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn every_piece_of_a_batch_arrives_once_though_the_gateway_is_killed_between_them() {
    let cloud = Mosquitto::start();
    let watcher = Watcher::start(&cloud, "eyes", "batches/#");
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let yaml = format!(
        "gateway: {{ id: killed, data_dir: '{}' }}\n\
         broker: {{ listeners: ['mqtt://127.0.0.1:{port}'] }}\n\
         uplinks:\n\
         \x20 cloud:\n\
         \x20   url: mqtt://127.0.0.1:{}\n\
         \x20   forward: [{{ topic: 'plant/#', to: batches, qos: 2, batch: {{ messages: 7, delay: 10s }} }}]\n",
        folder.path().join("data").display(),
        cloud.port()
    );
    let mut gateway = GatewayProcess::start(folder.path(), &yaml, port);
    let (mut next, mut kills) = (0, 0);
    while next < MESSAGES {
        let mut client = Client::connect(([127, 0, 0, 1], port).into(), Connect::new(Version::V5, "publisher")).await;
        let until = (next + KILLED_AFTER).min(MESSAGES);
        while next < until {
            // Only what was acknowledged counts, so each is waited for before it is counted.
            client.publish("plant/x", next.to_string(), QoS::AtLeastOnce, false).await;
            match client.receive().await {
                Some(Packet::PubAck(_)) => next += 1,
                other => panic!("{other:?}"),
            }
        }
        if next < MESSAGES {
            gateway.kill();
            kills += 1;
            gateway = GatewayProcess::start(folder.path(), &yaml, port);
        }
    }
    let (status, log) = gateway.stop();
    assert!(status.success() && !log.contains("ERROR"), "{status}\n{log}");
    // What was open is closed at the next start.
    let gateway = GatewayProcess::start(folder.path(), &yaml, port);
    let seen = || {
        let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
        for line in watcher.lines().iter() {
            let (_, payload) = line.split_once(' ').unwrap();
            let pieces: Vec<serde_json::Value> = serde_json::from_str(payload).unwrap();
            assert!((1..=7).contains(&pieces.len()), "{line}");
            for piece in pieces {
                *seen.entry(piece["value"].as_u64().unwrap() as usize).or_default() += 1;
            }
        }
        seen
    };
    wait_for("all pieces", PATIENCE, || (seen().len() >= MESSAGES).then_some(()));
    let expected: BTreeMap<usize, usize> = (0..MESSAGES).map(|n| (n, 1)).collect();
    assert_eq!(seen(), expected);
    assert!(kills >= 5, "{kills}");
    gateway.stop();
}
