//! How fast a queue fills and drains: messages of 200 bytes into SQLite, and from there to a real mosquitto; and mosquitto's bridge beside it.
//!
//! `cargo bench --bench drain -- [MESSAGES] [WINDOW] [QOS]`; 100,000, 1,000 and 1 unless told otherwise. It prints rates from the first to the last
//! message at the cloud, the bytes that the process wrote per message, its memory, and the ratio to the bridge.

#[path = "drain/bridge.rs"]
mod bridge;
#[path = "drain/cloud.rs"]
mod cloud;

use std::time::{Duration, Instant};

use cloud::{Broker, free_port, stopwatch, topic};
use fieldway::clock::Clock;
use fieldway::config::{ServerConfig, UplinkTls};
use fieldway::model::{Durability, Message, Name, Pulse, QoS, SessionLost, Topic, UplinkStatus, WhenFull};
use fieldway::mqtt::Version;
use fieldway::store::{Append, Limits, QueueId, QueueSpec, Store, Ticket, Urgency, Work};
use fieldway::uplink::{self, Accept, Settings};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

const PAYLOAD: usize = 200;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|arg| arg.parse::<u64>().ok());
    let messages = numbers.next().unwrap_or(100_000);
    let window = u16::try_from(numbers.next().unwrap_or(1_000)).expect("a window of at most 65535");
    let qos = numbers.next().and_then(|qos| QoS::from_number(qos as u8)).unwrap_or(QoS::AtLeastOnce);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(messages, window, qos));
}

async fn run(messages: u64, window: u16, qos: QoS) {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let cloud = Broker::start(folder.path(), port, "");
    let clock = Clock::start();
    let spec = QueueSpec {
        name: Name::new("cloud").expect("a name"),
        limits: Limits { max_size: 8 << 30, max_age: Duration::from_secs(86_400), when_full: WhenFull::DropOldest },
        durability: Durability::Full,
        commit_every: Duration::from_millis(250),
    };
    let mut opened = Store::open(folder.path(), vec![spec], clock).await.expect("the store opens");

    let (begin, written) = (Instant::now(), bytes_written());
    let appends = opened.appends.clone();
    let filling = tokio::spawn(async move {
        for n in 1..=messages {
            let topic = Topic::new(topic(n, messages)).expect("a topic");
            let message = Message::new(topic, vec![b'x'; PAYLOAD], qos, false);
            let append = Append {
                ticket: Ticket(n),
                what: Work::Message { queue: QueueId::normal(0), message },
                urgency: Urgency::Batched,
            };
            appends.send(append).await.expect("the writer runs");
        }
    });
    while opened.reports.recv().await.expect("the writer runs").through < Ticket(messages) {}
    filling.await.expect("it was all sent");
    report("filled", messages, begin.elapsed(), written);

    let queue = opened.queues.pop().expect("one queue");
    let accept = Accept::nothing(opened.receptions.pop().expect("as many as queues"));
    let settings = Settings {
        pulse: Pulse::default(),
        name: queue.name.clone(),
        servers: vec![ServerConfig::plain("127.0.0.1", port)],
        tls: UplinkTls::default(),
        client_id: "drain".into(),
        username: None,
        password: None,
        password_file: None,
        version: Version::V5,
        keep_alive: Duration::from_secs(60),
        window,
        rate_limit: None,
        gateway: "bench".into(),
        presence: None,
        session_lost: SessionLost::Resend,
        stall_after: Settings::STALL_AFTER,
        longest_delay: Settings::LONGEST_DELAY,
    };
    let (_live, live) = mpsc::channel(1);
    let (status_tx, mut status) = watch::channel(UplinkStatus::starting(queue.name.clone()));
    let cancel = CancellationToken::new();
    let written = bytes_written();
    let arrival = stopwatch(cloud.port);
    let task = tokio::spawn(uplink::run(settings, queue, live, accept, clock, status_tx, cancel.clone()));
    status.wait_for(|status| status.acknowledged == messages).await.expect("the uplink runs");
    let took = tokio::task::spawn_blocking(|| arrival.join().expect("it counts")).await.expect("it ends");
    report("drained", messages, took, written);
    let peak = proc_field("/proc/self/status", "VmHWM:").unwrap_or(0);
    println!("most memory {:.1} MB (window {window}, QoS {})", peak as f64 / 1024.0, qos as u8);

    cancel.cancel();
    task.await.expect("it ends");
    opened.store.close().await.expect("it closes");
    drop(cloud);
    let place = folder.path().to_owned();
    let bridge = tokio::task::spawn_blocking(move || bridge::drain(&place, messages)).await;
    let (by_bridge, memory) = bridge.expect("it ends");
    println!(
        "mosquitto's bridge at QoS 1: {:.0}/s from memory, {:.1} MB; ratio {:.2}",
        messages as f64 / by_bridge.as_secs_f64(),
        memory as f64 / 1_048_576.0,
        by_bridge.as_secs_f64() / took.as_secs_f64()
    );
}

fn report(what: &str, messages: u64, took: Duration, written: u64) {
    let seconds = took.as_secs_f64();
    let bytes = (bytes_written() - written) as f64 / messages as f64;
    println!(
        "{what} {messages} messages in {seconds:.2} s: {:.0}/s, {bytes:.0} bytes written a message",
        messages as f64 / seconds
    );
}

/// What this process had the kernel write to disks; 0 where the kernel does not say.
fn bytes_written() -> u64 {
    proc_field("/proc/self/io", "write_bytes:").unwrap_or(0)
}

fn proc_field(file: &str, field: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(field))?.split_whitespace().next()?.parse().ok()
}
