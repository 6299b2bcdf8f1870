//! The brokers that the suite talks to: the real program, started once for all tests.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::gateway::FIELDWAY;
use crate::support::wait::{free_port, wait_for};
use crate::support::wire::{Connect, Version, Wire, unique};

/// Ends the gateway when its standard input ends: with the test process, however that goes. A static is never dropped.
const WHILE_TESTED: &str =
    r#"dir=$1; shift; "$@" & gateway=$!; cat; kill -9 $gateway 2>/dev/null; wait $gateway; rm -rf "$dir""#;

/// The broker that takes anybody and has every default. `FIELDWAY_CONFORMANCE_BROKER=127.0.0.1:1883` asks another one, to check the suite itself.
pub fn broker() -> SocketAddr {
    static BROKER: OnceLock<Started> = OnceLock::new();
    match std::env::var("FIELDWAY_CONFORMANCE_BROKER") {
        Ok(other) => other.parse().expect("an address and a port"),
        Err(_) => {
            BROKER
                .get_or_init(|| {
                    let mqtt = loopback();
                    start("open", mqtt, &format!("  listeners: ['mqtt://{mqtt}']\n"))
                })
                .mqtt
        }
    }
}

/// The broker that Paho's suite wants, with a topic that is denied and a keep-alive of its own; and where it takes WebSocket.
pub fn guarded() -> (SocketAddr, SocketAddr) {
    static BROKER: OnceLock<(Started, SocketAddr)> = OnceLock::new();
    let (started, websocket) = BROKER.get_or_init(|| {
        let [mqtt, websocket] = [loopback(), loopback()];
        let broker = format!(
            "  listeners: ['mqtt://{mqtt}', 'ws://{websocket}/mqtt']
  server_keep_alive: 60s
  users:
    - {{ name: anonymous, may_publish: ['#'], may_subscribe: ['#'], deny: [test/nosubscribe] }}
"
        );
        (start("guarded", mqtt, &broker), websocket)
    });
    (started.mqtt, *websocket)
}

struct Started {
    mqtt: SocketAddr,
    /// Holds the pipe.
    _gateway: Child,
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// Starts a gateway with these lines in its `broker:`, and waits until it takes connections at `mqtt`.
fn start(name: &str, mqtt: SocketAddr, broker: &str) -> Started {
    let folder =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("conformance-{}-{}", std::process::id(), unique(name)));
    fs::create_dir_all(&folder).unwrap();
    let config = folder.join("gateway.yaml");
    fs::write(&config, format!("gateway: {{ id: conformance, data_dir: data }}\nbroker:\n{broker}")).unwrap();
    let log = folder.join("gateway.log");
    let output = || fs::File::options().create(true).append(true).open(&log).unwrap();
    let mut gateway = Command::new("sh")
        .args(["-c", WHILE_TESTED, "sh"])
        .arg(&folder)
        .args([FIELDWAY, "run", "--config"])
        .arg(&config)
        .stdin(Stdio::piped())
        .stdout(output())
        .stderr(output())
        .spawn()
        .unwrap();
    wait_for("the broker", Duration::from_secs(20), || {
        let log = || fs::read_to_string(&log).unwrap_or_default();
        assert!(gateway.try_wait().unwrap().is_none() && !log().contains("error"), "{}", log());
        TcpStream::connect(mqtt).ok()
    });
    Started { mqtt, _gateway: gateway }
}

/// A client with a clean session and a name of its own.
pub async fn client(version: Version) -> Wire {
    Wire::connect(broker(), &Connect::new(version, &unique("client"))).await
}
