//! A cloud that has forgotten everything: what is retained here is retained there again, and once is enough for one that remembers.

use std::process::Command;
use std::time::Duration;

use crate::support::gateway::GatewayProcess;
use crate::support::mosquitto::{Mosquitto, Watcher};
use crate::support::wait::{free_port, wait_for};

const PATIENCE: Duration = Duration::from_secs(60);

/// The retained message of `topic`, as a newcomer gets it.
fn retained(port: u16, topic: &str) -> Option<String> {
    let port = port.to_string();
    let arguments = ["-h", "127.0.0.1", "-p", &port, "-t", topic, "-C", "1", "-W", "1", "--retained-only"];
    let output = Command::new("mosquitto_sub").args(arguments).output().expect("mosquitto_sub is there");
    let text = String::from_utf8(output.stdout).unwrap();
    (!text.is_empty()).then(|| text.trim_end().to_owned())
}

#[test]
fn what_is_retained_here_reaches_a_cloud_that_has_lost_it() {
    let mut cloud = Mosquitto::forgetful();
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let yaml = format!(
        "gateway: {{ id: plant, topic_root: fw, data_dir: '{}' }}\n\
         broker: {{ listeners: ['mqtt://127.0.0.1:{port}'] }}\n\
         uplinks:\n\
         \x20 cloud:\n\
         \x20   url: mqtt://127.0.0.1:{}\n\
         \x20   forward: [{{ topic: '#', to: 'up/{{rest}}' }}]\n",
        folder.path().join("data").display(),
        cloud.port()
    );
    let gateway = GatewayProcess::start(folder.path(), &yaml, port);
    let publish = |topic: &str, payload: &str| {
        let port = port.to_string();
        let arguments = ["-h", "127.0.0.1", "-p", &port, "-q", "1", "-r", "-t", topic, "-m", payload];
        assert!(Command::new("mosquitto_pub").args(arguments).status().expect("mosquitto_pub is there").success());
    };
    let watcher = Watcher::start(&cloud, "eyes", "up/plan/#");
    publish("plan/today", "early");
    wait_for("it to be retained at the cloud", PATIENCE, || retained(cloud.port(), "up/plan/today"));
    assert_eq!(*watcher.lines(), ["up/plan/today early"], "at the first connection it comes once");
    drop(watcher);
    cloud.stop();
    cloud.start_again();
    let state = wait_for("the state", PATIENCE, || retained(cloud.port(), "up/fw/gateway/state"));
    assert_eq!(state, "online");
    let again = wait_for("it to be retained again", PATIENCE, || retained(cloud.port(), "up/plan/today"));
    assert_eq!(again, "early");
    gateway.kill();
    let offline =
        wait_for("the will", PATIENCE, || retained(cloud.port(), "up/fw/gateway/state").filter(|s| s == "offline"));
    assert_eq!(offline, "offline");
}
