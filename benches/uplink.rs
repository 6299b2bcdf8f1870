//! What a reading costs on its way to the cloud: CPU of the whole gateway, and bytes on the wire, for single messages and for batches.
//!
//! `cargo bench --bench uplink -- [SECONDS]`; 20 unless told otherwise. A client publishes 1,000 readings of one point a second to a gateway, which
//! forwards them to a mosquitto at QoS 1. The CPU without an uplink is measured first and taken off.

// Two files share this folder, and neither uses all of it.
#[allow(dead_code)]
#[path = "drain/cloud.rs"]
mod cloud;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use cloud::{Broker, Client, free_port};
use fieldway::model::{Message, QoS, Timestamp, Topic};
use fieldway::mqtt::{Codec, Packet, Publish, Version};

const TOPIC: &str = "fieldway/plant-7/boiler/supply_temperature";
const PER_TURN: u64 = 10;
const TURN: Duration = Duration::from_millis(10);

/// A tick of `/proc/PID/stat`, in milliseconds (sysconf(_SC_CLK_TCK) is 100 on Linux).
const TICK_MS: f64 = 10.0;

/// What is told of the rule, and what the rule has.
const RULES: [(&str, &str); 5] = [
    ("single messages", "qos: 1"),
    ("batches of 100", "qos: 1, format: json_batch, batch: { messages: 100, delay: 5s }"),
    ("batches of 100, zstd", "qos: 1, format: json_batch, batch: { messages: 100, delay: 5s, compress: zstd }"),
    ("CBOR, batches of 100", "qos: 1, format: cbor, batch: { messages: 100, delay: 5s }"),
    ("CBOR, batches of 100, zstd", "qos: 1, format: cbor, batch: { messages: 100, delay: 5s, compress: zstd }"),
];

fn main() {
    let seconds = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(20);
    let readings = seconds * 1_000_000 / TURN.as_micros() as u64 * PER_TURN;
    let (alone, _) = run(None, readings);
    println!("without an uplink: {:.1} us of CPU a reading", 1_000.0 * alone / readings as f64);
    for (name, rule) in RULES {
        let (cpu, bytes) = run(Some(rule), readings);
        let more = 1_000.0 * (cpu - alone) / readings as f64;
        println!("{name}: {more:.1} us of CPU a reading more, {:.1} bytes on the wire", bytes as f64 / readings as f64);
    }
}

/// Milliseconds of CPU that the gateway took, and the bytes that went up.
fn run(rule: Option<&str>, readings: u64) -> (f64, u64) {
    let folder = tempfile::tempdir_in("target").expect("a folder on a disk");
    let cloud = Broker::start(folder.path(), free_port(), "");
    let (port, way, up) =
        (free_port(), TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free"), counter());
    let uplink = rule.map_or(String::new(), |rule| {
        let port = way.local_addr().expect("it is bound").port();
        format!(
            "uplinks:\n  cloud:\n    url: mqtt://127.0.0.1:{port}\n    forward: [{{ topic: \"{TOPIC}\", {rule} }}]\n"
        )
    });
    relay(way, cloud.port, up.clone());
    let place = folder.path().canonicalize().expect("it is there");
    let text = format!(
        "gateway: {{ id: plant-7, data_dir: {} }}\nbroker: {{ listeners: [mqtt://127.0.0.1:{port}] }}\n{uplink}",
        place.display()
    );
    let mut gateway = start(&place, &text, port);
    let mut client = Client::connect(port, "readings");
    // What the start and the first connection cost is not counted, nor what they say.
    std::thread::sleep(Duration::from_secs(3));
    let (before, sent) = (cpu_ms(&gateway), up.load(Ordering::Relaxed));
    publish(&mut client, readings);
    std::thread::sleep(Duration::from_secs(6));
    let took = (cpu_ms(&gateway) - before, up.load(Ordering::Relaxed) - sent);
    // It has nothing to lose.
    let _ = gateway.kill();
    let _ = gateway.wait();
    took
}

fn counter() -> Arc<AtomicU64> {
    Arc::new(AtomicU64::new(0))
}

fn start(place: &Path, config: &str, port: u16) -> Child {
    let file = place.join("gateway.yaml");
    std::fs::write(&file, config).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_fieldway"));
    let child = command.args(["run", "--config"]).arg(file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.expect("the gateway starts")
}

/// Passes on what comes, and counts what goes to the cloud.
fn relay(way: TcpListener, to: u16, up: Arc<AtomicU64>) {
    std::thread::spawn(move || {
        for near in way.incoming().flatten() {
            let far = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).expect("the cloud listens");
            let (back_from, back_to) =
                (far.try_clone().expect("a descriptor"), near.try_clone().expect("a descriptor"));
            let up = up.clone();
            std::thread::spawn(move || pass(near, far, &up));
            std::thread::spawn(move || pass(back_from, back_to, &AtomicU64::new(0)));
        }
    });
}

fn pass(mut from: TcpStream, mut to: TcpStream, count: &AtomicU64) {
    let mut bytes = vec![0; 65_536];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        count.fetch_add(read as u64, Ordering::Relaxed);
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    // The other direction may have done it.
    let _ = to.shutdown(Shutdown::Both);
}

fn publish(client: &mut Client, readings: u64) {
    let mut codec = Codec::client(Version::V311, 1 << 20);
    let topic = Topic::new(TOPIC).expect("a topic");
    let begin = Instant::now();
    for n in 0..readings {
        if n % PER_TURN == 0 {
            let due = TURN * u32::try_from(n / PER_TURN).expect("less than a year");
            std::thread::sleep(due.saturating_sub(begin.elapsed()));
        }
        let at = Timestamp(1_795_187_045_123 + n as i64);
        let value = format!("{}.{}", 21 + n % 3, (n * 37) % 10);
        let payload = format!(r#"{{"ts":"{at}","value":{value},"quality":"good","unit":"°C"}}"#);
        let message = Message::new(topic.clone(), payload, QoS::AtMostOnce, false);
        let mut out = BytesMut::new();
        codec.encode(&Packet::Publish(Publish::new(&message, 0)), &mut out).expect("it has a form");
        client.write(&out);
    }
}

/// User and system time of a process.
fn cpu_ms(process: &Child) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).expect("it runs");
    let (_, fields) = stat.rsplit_once(')').expect("proc_pid_stat(5)");
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks")).sum();
    ticks as f64 * TICK_MS
}
