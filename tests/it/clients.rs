//! Other people's clients against the real program, over every kind of listener: each QoS both ways, and a session to come back to.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::support::certificates::Authority;
use crate::support::gateway::GatewayProcess;
use crate::support::peers::Peer;
use crate::support::wait::free_port;

/// A gateway that listens in every way, and what its clients need.
struct Plant {
    folder: tempfile::TempDir,
    _gateway: GatewayProcess,
    ports: [u16; 6],
}

/// A kind of listener: its name, its place in [`Plant::ports`], and what clients bring.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    port: usize,
    websocket: bool,
    tls: bool,
    certificate: bool,
}

const WAYS: [Way; 6] = [
    Way { name: "mqtt", port: 0, websocket: false, tls: false, certificate: false },
    Way { name: "mqtts", port: 1, websocket: false, tls: true, certificate: false },
    Way { name: "mqtts-mutual", port: 2, websocket: false, tls: true, certificate: true },
    Way { name: "ws", port: 3, websocket: true, tls: false, certificate: false },
    Way { name: "wss", port: 4, websocket: true, tls: true, certificate: false },
    Way { name: "wss-mutual", port: 5, websocket: true, tls: true, certificate: true },
];

impl Plant {
    fn new() -> Plant {
        let folder = tempfile::tempdir().unwrap();
        let (servers, clients) = (Authority::new(folder.path(), "servers"), Authority::new(folder.path(), "clients"));
        servers.server("server");
        clients.client("hmi", "hmi");
        let ports = [(); 6].map(|()| free_port());
        let tls = "certificate: server.pem, private_key: server.key";
        let yaml = format!(
            "gateway: {{ id: clients, data_dir: data }}
broker:
  listeners:
    - mqtt://127.0.0.1:{}
    - {{ url: 'mqtts://127.0.0.1:{}', {tls} }}
    - {{ url: 'mqtts://127.0.0.1:{}', {tls}, client_ca: clients.pem }}
    - ws://127.0.0.1:{}/mqtt
    - {{ url: 'wss://127.0.0.1:{}/mqtt', {tls} }}
    - {{ url: 'wss://127.0.0.1:{}/mqtt', {tls}, client_ca: clients.pem }}
  users:
    - {{ name: hmi, may_publish: ['every-level/#'], may_subscribe: ['every-level/#'] }}
    - {{ name: anonymous, may_publish: ['every-level/#'], may_subscribe: ['every-level/#'] }}
",
            ports[0], ports[1], ports[2], ports[3], ports[4], ports[5],
        );
        let gateway = GatewayProcess::start(folder.path(), &yaml, ports[0]);
        Plant { folder, _gateway: gateway, ports }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().into()
    }

    /// What the scripts in `tests/peers` are told.
    fn told(&self, way: Way, version: &str, name: &str) -> String {
        let mut told = json!({ "port": self.ports[way.port], "version": version, "name": format!("{name}-{}-{version}", way.name) });
        if way.websocket {
            told["path"] = "/mqtt".into();
        }
        if way.tls {
            told["ca"] = self.file("servers.pem").into();
        }
        if way.certificate {
            told["certificate"] = self.file("hmi.pem").into();
            told["key"] = self.file("hmi.key").into();
        }
        told.to_string()
    }
}

const EXPECTED: [&str; 6] = ["0 zero", "1 one", "2 two", "1 kept one", "2 kept two", "done"];

fn expect_all(peers: Vec<(String, Peer)>) {
    for (name, mut peer) in peers {
        for expected in EXPECTED {
            assert_eq!(peer.line(), expected, "{name}");
        }
    }
}

#[test]
fn paho_and_mqtt_js_over_every_kind_of_listener_in_both_versions() {
    let plant = Plant::new();
    for (start, script) in
        [(Peer::start as fn(&str, &[String]) -> Peer, "every_level.py"), (Peer::node, "every_level.cjs")]
    {
        // Twelve at once would be slow starters on a small machine.
        for ways in WAYS.chunks(3) {
            let peers = ways.iter().flat_map(|way| ["3.1.1", "5"].map(|version| (*way, version)));
            let peers = peers.map(|(way, version)| {
                let told = plant.told(way, version, script);
                (told.clone(), start(script, &[told]))
            });
            expect_all(peers.collect());
        }
    }
}

/// Runs mosquitto_pub or mosquitto_sub to its end; what it printed.
fn mosquitto(program: &str, plant: &Plant, way: Way, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", &plant.ports[way.port].to_string()]).args(args);
    if way.tls {
        command.arg("--cafile").arg(plant.folder.path().join("servers.pem"));
    }
    if way.certificate {
        command.arg("--cert").arg(plant.folder.path().join("hmi.pem"));
        command.arg("--key").arg(plant.folder.path().join("hmi.key"));
    }
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; ./tests/run installs what the tests need"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn mosquittos_clients_keep_a_session_over_tcp_tls_and_mutual_tls() {
    let plant = Plant::new();
    for way in WAYS.into_iter().filter(|way| !way.websocket) {
        for version in ["mqttv311", "mqttv5"] {
            let topic = format!("every-level/{}/{version}", way.name);
            let id = format!("sub-{}-{version}", way.name);
            let mut session = vec!["-V", version, "-i", &id, "-c", "-q", "2", "-t", &topic, "-W", "15"];
            if version == "mqttv5" {
                session.extend(["-x", "60"]);
            }
            // Subscribes and goes.
            mosquitto("mosquitto_sub", &plant, way, &[&session[..], &["-E"]].concat());
            for qos in ["0", "1", "2"] {
                mosquitto("mosquitto_pub", &plant, way, &["-V", version, "-q", qos, "-t", &topic, "-m", qos]);
            }
            let kept = mosquitto("mosquitto_sub", &plant, way, &[&session[..], &["-C", "2", "-F", "%q %p"]].concat());
            assert_eq!(kept, "1 1\n2 2\n", "{id}");
        }
    }
}

#[test]
fn a_client_without_a_certificate_or_with_one_of_somebody_else_is_not_let_in_where_one_is_asked_for() {
    let plant = Plant::new();
    let stranger = Authority::new(plant.folder.path(), "strangers");
    stranger.client("stranger", "hmi");
    let publish = |more: &[&str]| {
        let mut command = Command::new("mosquitto_pub");
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &plant.ports[2].to_string(),
            "-t",
            "every-level/x",
            "-m",
            "x",
            "-q",
            "1",
        ]);
        command.args(["--cafile", &plant.file("servers.pem")]).args(more);
        command.stdin(Stdio::null()).output().unwrap().status.success()
    };
    assert!(!publish(&[]));
    assert!(!publish(&["--cert", &plant.file("stranger.pem"), "--key", &plant.file("stranger.key")]));
    assert!(publish(&["--cert", &plant.file("hmi.pem"), "--key", &plant.file("hmi.key")]));
}

/// The three QoS in turn, as many of each.
const MESSAGES: usize = 300;

/// Each QoS came whole and in order.
fn all_in_order(received: &[(u8, usize)]) {
    for qos in 0..3 {
        let of_qos: Vec<usize> = received.iter().filter(|(q, _)| *q == qos).map(|(_, n)| *n).collect();
        assert_eq!(of_qos, (0..MESSAGES).filter(|n| n % 3 == usize::from(qos)).collect::<Vec<_>>(), "QoS {qos}");
    }
}

fn number(payload: &[u8]) -> usize {
    std::str::from_utf8(payload).unwrap().parse().unwrap()
}

async fn rumqttc_3_1_1(port: u16) {
    use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
    let mut options = MqttOptions::new("rumqttc-4", "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(10));
    let (client, mut events) = AsyncClient::new(options, 20);
    let speaker = tokio::spawn(async move {
        client.subscribe("every-level/rumqttc-4", QoS::ExactlyOnce).await.unwrap();
        for n in 0..MESSAGES {
            let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][n % 3];
            client.publish("every-level/rumqttc-4", qos, false, n.to_string()).await.unwrap();
        }
        client
    });
    let mut received = Vec::new();
    while received.len() < MESSAGES {
        if let Event::Incoming(Packet::Publish(publish)) = events.poll().await.unwrap() {
            received.push((publish.qos as u8, number(&publish.payload)));
        }
    }
    all_in_order(&received);
    speaker.await.unwrap().disconnect().await.unwrap();
}

async fn rumqttc_5(port: u16) {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions};
    let mut options = MqttOptions::new("rumqttc-5", "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(10));
    let (client, mut events) = AsyncClient::new(options, 20);
    let speaker = tokio::spawn(async move {
        client.subscribe("every-level/rumqttc-5", QoS::ExactlyOnce).await.unwrap();
        for n in 0..MESSAGES {
            let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][n % 3];
            client.publish("every-level/rumqttc-5", qos, false, n.to_string()).await.unwrap();
        }
        client
    });
    let mut received = Vec::new();
    while received.len() < MESSAGES {
        if let Event::Incoming(Incoming::Publish(publish)) = events.poll().await.unwrap() {
            received.push((publish.qos as u8, number(&publish.payload)));
        }
    }
    all_in_order(&received);
    speaker.await.unwrap().disconnect().await.unwrap();
}

#[tokio::test]
async fn rumqttc_sends_and_takes_every_qos_in_order_in_both_versions() {
    let plant = Plant::new();
    let both = async { tokio::join!(rumqttc_3_1_1(plant.ports[0]), rumqttc_5(plant.ports[0])) };
    tokio::time::timeout(Duration::from_secs(20), both).await.expect("it takes a second, not twenty");
}
