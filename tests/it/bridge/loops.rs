//! Two gateways and one mosquitto in a triangle, with rules that send each other's topics up and down: each message arrives once where it
//! should, and none comes back.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use fieldway::model::QoS;
use fieldway::mqtt::{Connect, Packet, Version};

use crate::support::gateway::GatewayProcess;
use crate::support::mosquitto::{Mosquitto, Watcher};
use crate::support::mqtt::Client;
use crate::support::wait::{free_port, wait_for};

const PATIENCE: Duration = Duration::from_secs(60);
/// From each gateway.
const MESSAGES: usize = 5_000;

fn configuration(id: &str, folder: &Path, port: u16, cloud: u16, version: &str) -> String {
    format!(
        "gateway: {{ id: {id}, topic_root: fieldway/{id}, data_dir: '{}' }}\n\
         broker: {{ listeners: ['mqtt://127.0.0.1:{port}'] }}\n\
         uplinks:\n\
         \x20 cloud:\n\
         \x20   url: mqtt://127.0.0.1:{cloud}\n\
         \x20   mqtt_version: '{version}'\n\
         \x20   window: 1000\n\
         \x20   queue: {{ commit_every: 20ms, durability: normal }}\n\
         \x20   forward: [{{ topic: 'plant/#', to: 'shared/{{rest}}' }}, {{ topic: 'other/#' }}]\n\
         \x20   accept: [{{ topic: 'shared/#', to: 'plant/{{rest}}' }}, {{ topic: 'other/#' }}]\n",
        folder.join("data").display()
    )
}

/// Publishes at QoS 1 with many in flight.
async fn publish(port: u16, id: &str) {
    let mut client = Client::connect(([127, 0, 0, 1], port).into(), Connect::new(Version::V5, "publisher")).await;
    let mut open = 0;
    for n in 0..MESSAGES {
        // Some payloads repeat: an echo must not be taken for one of them, nor one of them for an echo.
        let topic = if n % 2 == 0 { format!("plant/{id}") } else { "plant/both".to_owned() };
        client.publish(&topic, format!("{id} {}", n / 2), QoS::AtLeastOnce, false).await;
        open += 1;
        while open >= 20 || (n + 1 == MESSAGES && open > 0) {
            match client.receive().await {
                Some(Packet::PubAck(_)) => open -= 1,
                other => panic!("expected PUBACK, got {other:?}"),
            }
        }
    }
}

fn counted(lines: &[String]) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for line in lines {
        *counted.entry(line.clone()).or_default() += 1;
    }
    counted
}

async fn triangle(versions: [&str; 2]) {
    let cloud = Mosquitto::start();
    let at_cloud = Watcher::start(&cloud, "eyes", "shared/#");
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let ports = [free_port(), free_port()];
    let ids = ["alpha", "beta"];
    let mut gateways = Vec::new();
    for i in 0..2 {
        let yaml = configuration(ids[i], folders[i].path(), ports[i], cloud.port(), versions[i]);
        gateways.push(GatewayProcess::start(folders[i].path(), &yaml, ports[i]));
    }
    let log = || std::fs::read_to_string(cloud.folder().join("log")).ok();
    for id in ids {
        // mosquitto notes what it grants; what was published before would rightly not come down.
        let subscribed = format!("{id} 1 shared/#");
        wait_for("both gateways to be subscribed", PATIENCE, || log()?.contains(&subscribed).then_some(()));
    }
    let mut here = Vec::new();
    for port in ports {
        let connect = Connect { clean_start: true, ..Connect::new(Version::V5, "local eyes") };
        let mut client = Client::connect(([127, 0, 0, 1], port).into(), connect).await;
        client.subscribe("plant/#", QoS::AtMostOnce).await;
        here.push(client);
    }
    let publishers = [tokio::spawn(publish(ports[0], ids[0])), tokio::spawn(publish(ports[1], ids[1]))];
    let readers: Vec<_> = here
        .into_iter()
        .map(|mut client| {
            tokio::spawn(async move {
                let mut lines = Vec::new();
                while lines.len() < 2 * MESSAGES {
                    let message = tokio::time::timeout(PATIENCE, client.message()).await.expect("all arrive");
                    lines.push(format!("{} {}", message.topic.unwrap(), String::from_utf8_lossy(&message.payload)));
                }
                // Nothing more comes.
                client.expect_nothing().await;
                lines
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.unwrap();
    }
    let mut expected: BTreeMap<String, usize> = BTreeMap::new();
    for id in ids {
        for n in 0..MESSAGES {
            let topic = if n % 2 == 0 { format!("plant/{id}") } else { "plant/both".to_owned() };
            *expected.entry(format!("{topic} {id} {}", n / 2)).or_default() += 1;
        }
    }
    for reader in readers {
        let seen = counted(&reader.await.unwrap());
        assert_eq!(seen, expected, "each arrives once at each gateway, and none comes back");
    }
    wait_for("all messages at the cloud", PATIENCE, || (at_cloud.lines().len() >= 2 * MESSAGES).then_some(()));
    let at_cloud: Vec<String> = at_cloud.lines().iter().map(|line| line.replacen("shared/", "plant/", 1)).collect();
    assert_eq!(counted(&at_cloud), expected, "each arrives once at the cloud");
    for gateway in gateways {
        let (status, log) = gateway.stop();
        assert!(status.success() && !log.contains("ERROR"), "{status}\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_and_one_broker_in_a_triangle_send_each_message_once_with_mqtt_5() {
    triangle(["5", "5"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_and_one_broker_in_a_triangle_send_each_message_once_with_mqtt_3_1_1() {
    triangle(["3.1.1", "3.1.1"]).await;
}
