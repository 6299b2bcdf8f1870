//! How fast a queue fills and drains: messages of 200 bytes into SQLite, and from there to a real mosquitto at QoS 1.
//!
//! `cargo bench --bench drain -- [MESSAGES] [WINDOW]`; 100,000 and 1,000 unless told otherwise. It prints rates, the bytes that the
//! process wrote per message, and its memory.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fieldway::clock::Clock;
use fieldway::config::{ServerConfig, UplinkTls};
use fieldway::model::{Durability, Message, Name, Pulse, QoS, Topic, UplinkStatus, WhenFull};
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
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(messages, window));
}

async fn run(messages: u64, window: u16) {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let mut cloud = mosquitto(folder.path(), port);
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
        let topic = Topic::new("plant/boiler").expect("a topic");
        for n in 1..=messages {
            let message = Message::new(topic.clone(), vec![b'x'; PAYLOAD], QoS::AtLeastOnce, false);
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
    report("filled", messages, begin, written);

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
        stall_after: Settings::STALL_AFTER,
    };
    let (_live, live) = mpsc::channel(1);
    let (status_tx, mut status) = watch::channel(UplinkStatus::starting(queue.name.clone()));
    let cancel = CancellationToken::new();
    let (begin, written) = (Instant::now(), bytes_written());
    let task = tokio::spawn(uplink::run(settings, queue, live, accept, clock, status_tx, cancel.clone()));
    status.wait_for(|status| status.acknowledged == messages).await.expect("the uplink runs");
    report("drained", messages, begin, written);
    let peak = proc_field("/proc/self/status", "VmHWM:").unwrap_or(0);
    println!("most memory {:.1} MB (window {window})", peak as f64 / 1024.0);

    cancel.cancel();
    task.await.expect("it ends");
    opened.store.close().await.expect("it closes");
    cloud.kill().expect("it runs");
    cloud.wait().expect("it ends");
}

fn report(what: &str, messages: u64, begin: Instant, written: u64) {
    let seconds = begin.elapsed().as_secs_f64();
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

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}

fn mosquitto(folder: &std::path::Path, port: u16) -> Child {
    let config = folder.join("mosquitto.conf");
    let lines = format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\nlog_type none\n");
    std::fs::write(&config, lines).expect("written");
    let command = ["/usr/sbin/mosquitto", "mosquitto"].into_iter().find(|path| std::path::Path::new(path).exists());
    let mut command = Command::new(command.unwrap_or("mosquitto"));
    let child = command.arg("-c").arg(config).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.expect("mosquitto is needed; ./tests/run says how to install what the tests need");
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}
