//! The cloud is away for long, and the gateway is restarted meanwhile: everything arrives.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::support::counting_device::CountingDevice;
use crate::support::gateway::GatewayProcess;
use crate::support::mosquitto::Mosquitto;
use crate::support::peers::Peer;
use crate::support::wait::{free_port, wait_for};

/// An hour of one reading a second, at 200 a second.
const AN_HOUR: u32 = 3_600;

#[test]
fn an_hours_worth_of_readings_and_a_restart_while_the_cloud_is_away_arrive_complete_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let device = CountingDevice::start();
    let mut cloud = Mosquitto::start();
    let port = free_port();
    let yaml = format!(
        "gateway: {{ id: hour, topic_root: fw, data_dir: {data} }}\n\
         broker: {{ listeners: ['mqtt://127.0.0.1:{port}'] }}\n\
         buses: {{ plc: {{ tcp: '127.0.0.1:{device}', protocol: modbus-tcp }} }}\n\
         devices:\n\
         \x20 counter:\n\
         \x20   bus: plc\n\
         \x20   unit_id: 1\n\
         \x20   poll: 5ms\n\
         \x20   points: {{ reads: {{ holding: 0, type: u32 }} }}\n\
         uplinks:\n\
         \x20 cloud:\n\
         \x20   url: mqtt://127.0.0.1:{cloud}\n\
         \x20   client_id: hour\n\
         \x20   forward: [{{ topic: 'fw/counter', to: 'cloud/counter', qos: 1 }}]\n",
        data = folder.path().join("data").display(),
        device = device.port(),
        cloud = cloud.port(),
    );
    // A session that mosquitto keeps, so that the subscriber misses nothing either.
    let subscriber_args = ["-i", "hour-counter", "-c", "-q", "1", "-t", "cloud/#"];
    let mut subscriber = Peer::mosquitto_sub(cloud.port(), &subscriber_args);
    let gateway = GatewayProcess::start(folder.path(), &yaml, port);
    let mut arrived = vec![count_in(&subscriber.line())];
    drop(subscriber);

    cloud.stop();
    let away_since = device.reads();
    wait_for("half an hour of readings", Duration::from_secs(60), || {
        (device.reads() > away_since + AN_HOUR / 2).then_some(())
    });
    let (status, log) = gateway.stop();
    assert!(status.success(), "{status}\n{log}");
    let gateway = GatewayProcess::start(folder.path(), &yaml, port);
    wait_for("the other half", Duration::from_secs(60), || (device.reads() > away_since + AN_HOUR).then_some(()));
    cloud.start_again();
    let mut subscriber = Peer::mosquitto_sub(cloud.port(), &subscriber_args);
    let until = device.reads() + 200;
    while arrived.last().is_none_or(|last| *last < until) {
        arrived.push(count_in(&subscriber.line()));
    }

    let distinct: BTreeSet<u32> = arrived.iter().copied().collect();
    let first_arrivals = first_arrivals(&arrived);
    assert!(first_arrivals.is_sorted(), "out of order");
    // From when the cloud was away: of what came before, the first subscriber took more with it than its one line.
    let missing: Vec<u32> = (away_since..until).filter(|count| !distinct.contains(count)).collect();
    println!("{} readings while the cloud was away and after, {} missing", distinct.len(), missing.len());
    // The stop may have interrupted one read whose answer was still on its way: nobody ever had that value.
    assert!(missing.len() <= 1, "{missing:?}");
    drop(gateway);
}

fn count_in(line: &str) -> u32 {
    let payload = line.strip_prefix("cloud/counter ").unwrap_or_else(|| panic!("{line}"));
    let snapshot: Value = serde_json::from_str(payload).unwrap();
    snapshot["values"]["reads"].as_u64().unwrap_or_else(|| panic!("{line}")).try_into().unwrap()
}

/// Each count where it came first: QoS 1 may bring one twice.
fn first_arrivals(arrived: &[u32]) -> Vec<u32> {
    let mut seen = BTreeSet::new();
    arrived.iter().copied().filter(|count| seen.insert(*count)).collect()
}
