//! Commands through the whole gateway: what a client sends on `…/set`, what reaches the device, and what comes back on `…/result`.

mod hostile;
mod outcomes;
mod pymodbus;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fieldway::model::{Filter, Message, QoS, Topic};
use fieldway::mqtt::{Connect, Packet, Publish, Subscribe, SubscribeOptions, Version, Will};
use serde_json::{Value, json};

use crate::support::gateway::{FIELDWAY, GatewayProcess};
use crate::support::mqtt::Client;
use crate::support::wait::free_port;
use crate::support::writable_device::{Mood, WritableDevice, Written};

/// A gateway with one device, `boiler`, and a client that hears its results and readings.
struct Plant {
    device: WritableDevice,
    gateway: GatewayProcess,
    client: Client,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

const POINTS: &str = r#"
      setpoint: { holding: 1, scale: 0.1, write: { min: 30, max: 80, step: 0.5 } }
      speed: { holding: 2, write: true }
      counter: { holding: 10, type: u64, write: true }
      level: { holding: 14, type: f32, write: true }
      pump: { coil: 4, write: true }
      valve: { coil: 5, write: true }
      mode: { holding: 20, enum: { 0: "off", 1: auto, 2: manual }, write: true }
      flags: { holding: 21, type: bits, bits: { 0: low, 5: heat }, write: true }
      lamp: { holding: 21, bit: 9, write: true }
      name: { holding: 30, type: string, length: 8, write: true }
      key: { holding: 40, type: bytes, length: 4, write: true }
      reset: { holding: 50, write: { only: true } }
      flow: { holding: 60 }
"#;

impl Plant {
    async fn start(poll: &str) -> Plant {
        Plant::start_with(poll, "").await
    }

    /// `more` is in the device's configuration.
    async fn start_with(poll: &str, more: &str) -> Plant {
        let device = WritableDevice::start();
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let gateway = Plant::gateway(folder.path(), port, device.port(), poll, more);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut client = connect(address, "hmi-3").await;
        let wanted = ["fw/+/+/result", "fw/+/result", "fw/boiler", "fw/boiler/availability"];
        let options = |filter| (Filter::new(filter).unwrap(), SubscribeOptions::new(QoS::AtLeastOnce));
        let filters = wanted.into_iter().map(options).collect();
        // One packet, so that its answer comes before the first reading.
        let subscribe = Subscribe { packet_id: 60_000, subscription_id: None, filters, user: Vec::new() };
        client.send(&Packet::Subscribe(subscribe)).await;
        assert!(matches!(client.receive().await, Some(Packet::SubAck(_))));
        let mut plant = Plant { device, gateway, client, address, folder };
        plant.hear("fw/boiler").await;
        plant
    }

    fn gateway(folder: &Path, port: u16, device: u16, poll: &str, more: &str) -> GatewayProcess {
        let yaml = format!(
            "gateway: {{ id: t, topic_root: fw, data_dir: data }}\nbroker: {{ listeners: ['mqtt://127.0.0.1:{port}'] }}\n\
             buses: {{ plc: {{ tcp: '127.0.0.1:{device}', protocol: modbus-tcp, timeout: 200ms, retries: 0 }} }}\n\
             devices:\n  boiler:\n    bus: plc\n    poll: {poll}\n{more}    points:{POINTS}"
        );
        GatewayProcess::start(folder, &yaml, port)
    }

    /// The next message on a topic, of those that come.
    async fn hear(&mut self, topic: &str) -> Value {
        loop {
            let Some(Packet::Publish(publish)) = self.client.receive().await else { panic!("the broker is gone") };
            if publish.packet_id != 0 {
                self.client.acknowledge(publish.packet_id).await;
            }
            if publish.topic.as_deref() == Some(topic) {
                return serde_json::from_slice(&publish.payload)
                    .unwrap_or_else(|_| String::from_utf8_lossy(&publish.payload).into_owned().into());
            }
        }
    }

    /// Sends a command to a point and returns its result.
    async fn set(&mut self, point: &str, payload: &str) -> Value {
        self.send(&format!("fw/boiler/{point}/set"), payload, false).await
    }

    async fn send(&mut self, topic: &str, payload: impl Into<Vec<u8>>, retain: bool) -> Value {
        self.client.publish(topic, payload, QoS::AtMostOnce, retain).await;
        self.hear(&format!("{}result", topic.strip_suffix("set").unwrap())).await
    }

    /// Sends one command after another and returns each status with its error or value.
    async fn status(&mut self, point: &str, payload: &str) -> String {
        let result = self.set(point, payload).await;
        result["status"].as_str().unwrap_or_else(|| panic!("{result}")).to_owned()
    }

    fn writes(&self) -> Vec<(u8, u16, Vec<u16>)> {
        let writes = self.device.take_writes().into_iter();
        writes.map(|Written { function, address, values }| (function, address, values)).collect()
    }
}

async fn connect(address: SocketAddr, id: &str) -> Client {
    Client::connect(address, Connect { client_id: id.into(), ..Connect::new(Version::V5, id) }).await
}

#[tokio::test]
async fn a_command_is_written_read_back_told_published_and_logged() {
    let mut plant = Plant::start("60s").await;
    let result = plant.set("setpoint", r#"{"value":45.5,"id":"a-1"}"#).await;
    assert_eq!((&result["id"], &result["status"], &result["value"]), (&json!("a-1"), &json!("done"), &json!(45.5)));
    assert!(result["ts"].as_str().is_some() && result.get("error").is_none(), "{result}");
    assert_eq!(plant.writes(), [(6, 1, vec![455])]);
    // Not only when it is polled next, a minute later.
    let mut late = connect(plant.address, "late").await;
    late.subscribe("fw/boiler", QoS::AtMostOnce).await;
    let snapshot: Value = serde_json::from_slice(&late.message().await.payload).unwrap();
    assert_eq!(snapshot["values"]["setpoint"], json!(45.5), "{snapshot}");
    assert!(snapshot["values"].get("reset").is_none() && snapshot["bad"].get("reset").is_none(), "never read");
    let (status, log) = plant.gateway.stop();
    assert!(status.success());
    let line = log.lines().find(|line| line.contains("a command to write")).unwrap_or_else(|| panic!("{log}"));
    for part in ["boiler", "setpoint", "45.5", "client hmi-3", "done"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

#[tokio::test]
async fn every_type_is_written_exactly_as_it_is_read_or_not_at_all() {
    let mut plant = Plant::start("60s").await;
    for (point, payload, written) in [
        ("counter", "18446744073709551615", (16, 10, vec![0xFFFF; 4])),
        ("counter", "9007199254740993", (16, 10, vec![0x20, 0, 0, 1])),
        ("level", "21.4", (16, 14, vec![0x41AB, 0x3333])),
        ("pump", "true", (5, 4, vec![1])),
        ("mode", "\"manual\"", (6, 20, vec![2])),
        ("flags", r#"{"heat":true}"#, (22, 21, vec![!0x20, 0x20])),
        ("lamp", "true", (22, 21, vec![!0x200, 0x200])),
        ("name", "\"boiler 1\"", (16, 30, vec![0x626F, 0x696C, 0x6572, 0x2031])),
        ("key", "\"00ff10ab\"", (16, 40, vec![0x00FF, 0x10AB])),
    ] {
        let result = plant.set(point, payload).await;
        assert_eq!(result["status"], "done", "{point} {payload}: {result}");
        assert_eq!(plant.writes(), [written], "{point} {payload}");
        if point != "flags" {
            let raw = result.to_string();
            assert!(raw.contains(&format!("\"value\":{payload}")), "{raw}");
        }
    }
    assert_eq!(plant.device.holding(21), 0x220, "each by its own mask");
    assert_eq!(plant.set("flags", r#"{"low":true}"#).await["value"], json!({"low":true,"heat":true}));
    // What can't be held exactly is not bent to fit.
    plant.writes();
    for (point, payload) in [
        ("speed", "1.5"),
        ("speed", "65536"),
        ("speed", "-1"),
        ("setpoint", "45.25"),
        ("counter", "18446744073709551616"),
        ("name", "\"too long for it\""),
        ("name", "\"ä\""),
        ("key", "\"00ff\""),
    ] {
        assert_eq!(plant.status(point, payload).await, "rejected", "{point} {payload}");
    }
    assert_eq!(plant.writes(), []);
}

#[tokio::test]
async fn several_points_of_a_device_are_written_in_as_few_requests_as_possible() {
    let mut plant = Plant::start("60s").await;
    let payload = r#"{"values":{"setpoint":50,"speed":1200,"pump":true,"valve":true,"counter":7},"id":9}"#;
    let result = plant.send("fw/boiler/set", payload, false).await;
    assert_eq!((&result["status"], &result["id"]), (&json!("done"), &json!(9)), "{result}");
    let values = json!({"setpoint":50.0,"speed":1200,"pump":true,"valve":true,"counter":7});
    assert_eq!(result["values"], values);
    assert_eq!(
        plant.writes(),
        [(15, 4, vec![1, 1]), (16, 1, vec![500, 1200]), (16, 10, vec![0, 0, 0, 7])],
        "coils together, neighbours together"
    );
    // One that is not allowed keeps all from being written.
    let result = plant.send("fw/boiler/set", r#"{"pump":false,"setpoint":99}"#, false).await;
    assert_eq!(result["status"], "rejected");
    // One that is refused ends the rest, which is told.
    plant.device.set_mood(Mood::Refuses(3));
    let result = plant.send("fw/boiler/set", r#"{"setpoint":31,"counter":8}"#, false).await;
    assert_eq!(result["status"], "failed");
    assert!(result["errors"]["setpoint"].as_str().unwrap().contains("illegal_value"), "{result}");
    assert!(result["errors"]["counter"].as_str().unwrap().starts_with("not sent"), "{result}");
    assert_eq!(plant.writes(), [(6, 1, vec![310])]);
}

#[tokio::test]
async fn a_command_that_comes_again_is_not_obeyed_again() {
    let mut plant = Plant::start("60s").await;
    let payload = r#"{"value":45,"id":"once"}"#;
    let first = plant.set("setpoint", payload).await;
    // The same client again, another one, and a QoS 1 redelivery after a reconnect.
    assert_eq!(plant.set("setpoint", payload).await, first);
    let topic = "fw/boiler/setpoint/set";
    let mut other = connect(plant.address, "other").await;
    other.publish_acked(topic, payload, false).await;
    assert_eq!(plant.hear("fw/boiler/setpoint/result").await, first);
    drop(other);
    let mut again = connect(plant.address, "other").await;
    let message = Message::new(Topic::new(topic).unwrap(), payload, QoS::AtLeastOnce, false);
    again.send(&Packet::Publish(Publish { dup: true, ..Publish::new(&message, 7) })).await;
    assert_eq!(plant.hear("fw/boiler/setpoint/result").await, first);
    assert_eq!(plant.writes().len(), 1);
    // Without an id each one counts.
    plant.set("setpoint", "45").await;
    plant.set("setpoint", "45").await;
    assert_eq!(plant.writes().len(), 2);
}

#[tokio::test]
async fn commands_go_before_polls_and_are_quick_under_full_load() {
    // Polled as fast as it goes.
    let mut plant = Plant::start("1ms").await;
    let mut took = Vec::new();
    for n in 0..1_000 {
        let sent = Instant::now();
        assert_eq!(plant.status("speed", &n.to_string()).await, "done");
        took.push(sent.elapsed());
    }
    took.sort();
    let [p50, p99, most] = [500, 990, 999].map(|n| took[n]);
    println!(
        "1,000 commands to results, one after the other: half within {p50:?}, 99 % within {p99:?}, all within {most:?}"
    );
    assert!(p99 < Duration::from_millis(100), "99 % of the results come within {p99:?}");
    assert_eq!(plant.writes().len(), 1_000);
    // And all of a burst is obeyed, in its order.
    for n in 0..300 {
        plant.client.publish("fw/boiler/speed/set", n.to_string(), QoS::AtMostOnce, false).await;
    }
    for n in 0..300 {
        let result = plant.hear("fw/boiler/speed/result").await;
        assert_eq!((&result["status"], &result["value"]), (&json!("done"), &json!(n)));
    }
    drop(plant.folder);
}

#[tokio::test]
async fn the_command_line_writes_through_the_running_gateway() {
    let plant = Plant::start("60s").await;
    let write = |args: &[&str]| {
        let config = plant.folder.path().join("gateway.yaml");
        let output = Command::new(FIELDWAY).arg("write").arg("--config").arg(config).args(args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let told = |text: &str| (Some(0), text.to_owned(), String::new());
    assert_eq!(write(&["boiler", "setpoint", "45.5"]), told("boiler setpoint: done, and reads 45.5"));
    assert_eq!(write(&["boiler", "mode", "auto"]), told("boiler mode: done, and reads \"auto\""));
    let counter = "18446744073709551615";
    let (code, json, _) = write(&["boiler", "counter", counter, "--json"]);
    assert!(code == Some(0) && json.contains(&format!("\"value\":{counter}")), "{code:?} {json}");
    let (code, said, _) = write(&["boiler", "setpoint", "-5"]);
    assert_eq!(
        (code, said.as_str()),
        (Some(1), "boiler setpoint: rejected: -5 is less than 30, the least that is allowed")
    );
    for (args, complaint) in [
        (&["oven", "setpoint", "5"], "there is no device `oven`; there are boiler"),
        (&["boiler", "nosuch", "5"], "`boiler` has no point `nosuch`; writable are setpoint, speed,"),
        (&["boiler", "flow", "5"], "`flow` is read only; `write: true` makes it writable."),
    ] {
        let (code, _, said) = write(args);
        assert!(code == Some(2) && said.contains(complaint), "{code:?} {said}");
    }
    assert_eq!(plant.writes(), [(6, 1, vec![455]), (6, 20, vec![1]), (16, 10, vec![0xFFFF; 4])]);
    plant.gateway.stop();
    let config = plant.folder.path().join("gateway.yaml");
    let output =
        Command::new(FIELDWAY).args(["write", "boiler", "speed", "1", "--config"]).arg(config).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("does the gateway run?"), "{said}");
    assert_eq!(plant.device.take_writes(), []);
}

#[test]
fn the_command_line_writes_where_no_listener_is_open_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let (device, port) = (WritableDevice::start(), free_port());
    let yaml = format!(
        "gateway: {{ id: p, data_dir: data }}\n\
         broker: {{ listeners: ['ws://127.0.0.1:{port}/mqtt'] }}\n\
         buses: {{ plc: {{ tcp: '127.0.0.1:{}', protocol: modbus-tcp }} }}\n\
         devices: {{ boiler: {{ bus: plc, unit_id: 1, points: {{ speed: {{ holding: 3, write: true }} }} }} }}\n",
        device.port()
    );
    let gateway = GatewayProcess::start(folder.path(), &yaml, port);
    let write = || {
        let mut command = Command::new(FIELDWAY);
        let config = folder.path().join("gateway.yaml");
        let output = command.args(["write", "boiler", "speed", "7", "--config"]).arg(config).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned())
    };
    let done = || Some(write()).filter(|(code, _)| *code == Some(0));
    let (_, told) = crate::support::wait::wait_for("the device", Duration::from_secs(10), done);
    assert_eq!(told, "boiler speed: done, and reads 7");
    assert!(gateway.log().contains("client fieldway write"), "{}", gateway.log());
    assert!(gateway.stop().0.success());
}
