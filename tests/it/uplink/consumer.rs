//! The example of docs/uplinks.md, as a reader would run it.

use std::process::Command;

use super::*;
use crate::support::mosquitto::Mosquitto;
use crate::support::peers::Peer;
use crate::support::wait::wait_for;

#[test]
fn the_example_consumer_takes_each_message_once_and_tells_of_gaps() {
    let cloud = Mosquitto::start();
    let port = cloud.port().to_string();
    let mut consumer = Peer::example("deduplicate.py", &["127.0.0.1".into(), port.clone(), "sites/#".into()]);
    let publish = |marks: &[(&str, &str)], payload: &str| {
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &port, "-V", "mqttv5", "-q", "1", "-t", "sites/x", "-m", payload]);
        for (name, value) in marks {
            command.args(["-D", "publish", "user-property", name, value]);
        }
        assert!(command.status().expect("mosquitto_pub runs").success());
    };
    let log = cloud.folder().join("log");
    let subscribed = || std::fs::read_to_string(&log).ok()?.contains("deduplicate 2 sites/#").then_some(());
    wait_for("the consumer to be subscribed", PATIENCE, subscribed);
    let of = |n| [("gateway", "plant-7"), ("epoch", "77"), ("n", n)];
    publish(&[], "without a number");
    for (n, payload) in [("1", "one"), ("2", "two"), ("2", "two"), ("1", "one"), ("5", "five")] {
        publish(&of(n), payload);
    }
    publish(&[("gateway", "plant-7"), ("epoch", "78"), ("n", "1")], "another queue");
    let expected = ["sites/x without a number", "sites/x one", "sites/x two", "gap: 2 messages of plant-7 before 5"];
    for line in expected.into_iter().chain(["sites/x five", "sites/x another queue"]) {
        assert_eq!(consumer.line(), line);
    }
}
