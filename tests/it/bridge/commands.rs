//! Commands from the cloud: the same rules as for a client's, results that go back by themselves, nothing out of the cloud's memory.

use std::process::Command;
use std::time::Duration;

use crate::support::gateway::GatewayProcess;
use crate::support::mosquitto::{Mosquitto, Watcher};
use crate::support::wait::{free_port, wait_for};
use crate::support::writable_device::WritableDevice;

const PATIENCE: Duration = Duration::from_secs(30);

fn publish(cloud: &Mosquitto, version: &str, more: &[&str]) {
    let port = cloud.port().to_string();
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &port, "-V", version, "-q", "2"]).args(more);
    assert!(command.status().expect("mosquitto_pub is there").success());
}

fn results(version: &str) {
    let cloud = Mosquitto::start();
    // It was kept by the cloud before the gateway came.
    publish(&cloud, "mqttv5", &["-r", "-t", "cmd/boiler/setpoint/set", "-m", "31"]);
    let watcher = Watcher::start(&cloud, "eyes", "cmd/#");
    let device = WritableDevice::start();
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let yaml = format!(
        "gateway: {{ id: plant, topic_root: fw, data_dir: '{data}' }}\n\
         broker: {{ listeners: ['mqtt://127.0.0.1:{port}'] }}\n\
         buses: {{ line: {{ tcp: '127.0.0.1:{device}', protocol: modbus-tcp }} }}\n\
         devices:\n\
         \x20 boiler: {{ bus: line, unit_id: 1, poll: 1s, points: {{ setpoint: {{ holding: 1, write: {{ min: 30, max: 80 }} }} }} }}\n\
         uplinks:\n\
         \x20 cloud:\n\
         \x20   url: mqtt://127.0.0.1:{cloud}\n\
         \x20   mqtt_version: '{version}'\n\
         \x20   forward: [{{ topic: 'nothing/of/this' }}]\n\
         \x20   accept: [{{ topic: 'cmd/#', to: 'fw/{{rest}}', qos: 2 }}]\n",
        data = folder.path().join("data").display(),
        device = device.port(),
        cloud = cloud.port()
    );
    let gateway = GatewayProcess::start(folder.path(), &yaml, port);
    let log = || std::fs::read_to_string(cloud.folder().join("log")).ok();
    wait_for("the gateway to be subscribed", PATIENCE, || log()?.contains("plant 2 cmd/#").then_some(()));
    publish(&cloud, "mqttv311", &["-t", "cmd/boiler/setpoint/set", "-m", r#"{"value":45,"id":"a"}"#]);
    publish(&cloud, "mqttv311", &["-t", "cmd/boiler/setpoint/set", "-m", r#"{"value":99,"id":"b"}"#]);
    // Nobody but this gateway says what it has read.
    publish(&cloud, "mqttv311", &["-t", "cmd/boiler/setpoint", "-m", r#"{"value":1}"#]);
    let result = |id: &str| {
        let wanted = format!("\"id\":\"{id}\"");
        let lines = watcher.lines();
        let found = lines.iter().find(|line| line.starts_with("cmd/boiler/setpoint/result ") && line.contains(&wanted));
        found.cloned()
    };
    let done = wait_for("the first result", PATIENCE, || result("a"));
    assert!(done.contains("\"status\":\"done\"") && done.contains("45"), "{done}");
    let rejected = wait_for("the second result", PATIENCE, || result("b"));
    assert!(rejected.contains("\"status\":\"rejected\""), "{rejected}");
    assert_eq!(device.holding(1), 45);
    assert!(device.take_writes().len() == 1, "the retained 31 and the 99 were not written");
    let (status, log) = gateway.stop();
    assert!(status.success() && !log.contains("ERROR"), "{status}\n{log}");
    assert!(log.contains("only this gateway itself publishes on fw/boiler/setpoint"), "{log}");
}

#[test]
fn commands_from_the_cloud_have_results_that_go_back_by_themselves_with_mqtt_5() {
    results("5");
}

#[test]
fn commands_from_the_cloud_have_results_that_go_back_by_themselves_with_mqtt_3_1_1() {
    results("3.1.1");
}
