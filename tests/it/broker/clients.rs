//! Other people's clients: mosquitto's, and paho-mqtt for Python.

use std::process::Stdio;
use std::time::Duration;

use fieldway::broker::Limits;
use fieldway::model::{Message, QoS, Topic};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::mqtt::{PATIENCE, TestBroker, start};

struct Sub {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Sub {
    fn start(test: &TestBroker, version: &str, args: &[&str]) -> Sub {
        let port = test.address.port().to_string();
        let mut command = Command::new("mosquitto_sub");
        // Line by line, whatever the other end of the pipe is.
        command.args(["-h", "127.0.0.1", "-p", &port, "-V", version, "-F", "%t %q %r %p"]).args(args);
        Sub::spawn(command)
    }

    fn spawn(mut command: Command) -> Sub {
        let mut child = command
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}; ./tests/run installs what the tests need"));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Sub { _child: child, lines }
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        line.expect("the peer said nothing for ten seconds").unwrap().expect("the peer has ended")
    }
}

async fn run(mut command: Command) {
    let status = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).status()).await;
    let status = status.expect("the peer did not end").unwrap_or_else(|error| {
        panic!("{command:?}: {error}; ./tests/run installs what the tests need");
    });
    assert!(status.success(), "{command:?}: {status}");
}

async fn publish(test: &TestBroker, version: &str, args: &[&str]) {
    let port = test.address.port().to_string();
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &port, "-V", version]).args(args);
    run(command).await;
}

/// Until the broker has so many subscriptions.
async fn subscribed(test: &TestBroker, count: u64) {
    let wait = async {
        while test.broker.status().subscriptions < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the peer did not subscribe");
}

#[tokio::test]
async fn mosquitto_clients_of_both_versions_exchange_messages() {
    let test = start(Limits::default(), Vec::new());
    for to in ["mqttv311", "mqttv5"] {
        for from in ["mqttv31", "mqttv311", "mqttv5"] {
            let mut sub = Sub::start(&test, to, &["-q", "1", "-t", "ärinä/#", "-t", "plant/+/x"]);
            subscribed(&test, 2).await;
            publish(&test, from, &["-t", "ärinä/temp", "-m", "21", "-q", "0"]).await;
            publish(&test, from, &["-t", "plant/a/x", "-m", "22", "-q", "1"]).await;
            assert_eq!(sub.line().await, "ärinä/temp 0 0 21");
            assert_eq!(sub.line().await, "plant/a/x 1 0 22");
            drop(sub);
            let gone = async {
                while test.broker.status().clients > 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(PATIENCE, gone).await.expect("a client that was killed is still there");
        }
    }
}

#[tokio::test]
async fn mosquitto_sub_gets_two_thousand_retained_messages() {
    let test = start(Limits::default(), Vec::new());
    for n in 0..2_000 {
        let topic = Topic::new(&format!("r/{n:04}")).unwrap();
        test.broker.hub().publish(Message::new(topic, "x", QoS::AtLeastOnce, true)).await.unwrap();
    }
    for version in ["mqttv311", "mqttv5"] {
        let mut sub = Sub::start(&test, version, &["-q", "1", "-t", "r/#", "-C", "2000"]);
        for n in 0..2_000 {
            assert_eq!(sub.line().await, format!("r/{n:04} 1 1 x"));
        }
    }
}

#[tokio::test]
async fn the_will_of_a_killed_mosquitto_sub_fires() {
    let test = start(Limits::default(), Vec::new());
    let mut watcher = Sub::start(&test, "mqttv311", &["-t", "wills"]);
    let will = ["-t", "t", "--will-topic", "wills", "--will-payload", "gone", "--will-qos", "1"];
    let mut killed = Sub::start(&test, "mqttv5", &will);
    subscribed(&test, 2).await;
    killed._child.kill().await.unwrap();
    assert_eq!(watcher.line().await, "wills 0 0 gone");
}

#[tokio::test]
async fn paho_for_python_publishes_and_receives_a_thousand_messages_in_order() {
    let test = start(Limits::default(), Vec::new());
    for version in ["3.1.1", "5"] {
        for qos in ["1", "2"] {
            let python = std::env::var("FIELDWAY_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/echo_in_order.py");
            let mut command = Command::new(python);
            command.args([script, &test.address.port().to_string(), version, "1000", qos]);
            run(command).await;
        }
    }
}
