//! What the whole process takes, from outside: it falls again after a burst.

use std::path::Path;
use std::time::Duration;

use fieldway::model::QoS;
use fieldway::mqtt::{Connect, Version};

use crate::support::gateway::GatewayProcess;
use crate::support::mqtt::Client;
use crate::support::wait::{free_port, wait_for};

fn resident_megabytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

#[tokio::test]
async fn memory_falls_again_after_a_burst_of_large_messages() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let yaml = format!("gateway: {{ data_dir: data }}\nbroker: {{ listeners: [mqtt://127.0.0.1:{port}] }}\n");
    let gateway = GatewayProcess::start(Path::new(folder.path()), &yaml, port);
    let before = resident_megabytes(gateway.id());
    let address = ([127, 0, 0, 1], port).into();
    let client = |n: usize| Client::connect(address, Connect::new(Version::V311, format!("client-{n}")));
    let mut clients = Vec::new();
    for n in 0..8 {
        let mut client = client(n).await;
        client.subscribe("burst/#", QoS::AtMostOnce).await;
        clients.push(client);
    }
    // Three megabytes from each, to all: what they don't read in time waits, as far as may be.
    for round in 0..3 {
        for (n, client) in clients.iter_mut().enumerate() {
            client.publish(&format!("burst/{n}"), vec![round; 900_000], QoS::AtMostOnce, false).await;
        }
    }
    for client in &mut clients {
        for _ in 0..4 {
            client.message().await;
        }
    }
    drop(clients);
    wait_for("the memory's return", Duration::from_secs(20), || {
        (resident_megabytes(gateway.id()) < before + 8).then_some(())
    });
}
