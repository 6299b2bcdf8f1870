//! What the queue costs: bytes written a message at a given rate, and memory and time with very many messages buffered. No cloud: rows are
//! read as an uplink reads them and acknowledged at once, so that what is measured is the store alone.
//!
//! ```sh
//! cargo bench --bench queue -- wear 1000 60     # messages a second, seconds
//! cargo bench --bench queue -- buffered 1000000 # messages
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use fieldway::clock::Clock;
use fieldway::model::{Durability, Message, Name, QoS, Topic, WhenFull};
use fieldway::store::{Append, Entry, Limits, Opened, QueueId, QueueSpec, Store, Ticket, Urgency, Work};

const PAYLOAD: usize = 200;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let number = |at: usize, default: u64| arguments.get(at).and_then(|arg| arg.parse().ok()).unwrap_or(default);
    // Two workers, as the gateway has.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().expect("a runtime");
    // On a disk that is one, whatever /tmp is.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    match arguments.first().map(String::as_str) {
        Some("buffered") => runtime.block_on(buffered(folder.path(), number(1, 1_000_000))),
        Some("wear") => runtime.block_on(wear(folder.path(), number(1, 1000), number(2, 30))),
        _ => {
            runtime.block_on(wear(&folder.path().join("wear"), 1000, 10));
            runtime.block_on(buffered(&folder.path().join("buffered"), 100_000));
        }
    }
}

async fn open(folder: &Path) -> Opened {
    let spec = QueueSpec {
        name: Name::new("cloud").expect("a name"),
        limits: Limits {
            max_size: 16 << 30,
            max_age: Duration::from_secs(30 * 86_400),
            when_full: WhenFull::DropOldest,
        },
        durability: Durability::Full,
        commit_every: Duration::from_millis(250),
    };
    Store::open(folder, vec![spec], Clock::start()).await.expect("the store opens")
}

fn append(n: u64) -> Append {
    let topic = Topic::new("plant/boiler").expect("a topic");
    let message = Message::new(topic, vec![b'x'; PAYLOAD], QoS::AtLeastOnce, false);
    Append { ticket: Ticket(n), what: Work::Message { queue: QueueId::normal(0), message }, urgency: Urgency::Batched }
}

/// Messages come at a steady rate and go at once.
async fn wear(folder: &Path, rate: u64, seconds: u64) {
    let mut opened = open(folder).await;
    let messages = rate * seconds;
    let before = bytes_written();
    let appends = opened.appends.clone();
    let feeding = tokio::spawn(async move {
        let mut beat =
            tokio::time::interval(Duration::from_secs(1) / u32::try_from(rate.min(100)).expect("at most 100"));
        let mut fed = 0;
        let begin = Instant::now();
        while fed < messages {
            beat.tick().await;
            let due = (begin.elapsed().as_secs_f64() * rate as f64) as u64;
            while fed < due.min(messages) {
                fed += 1;
                appends.send(append(fed)).await.expect("the writer runs");
            }
        }
    });
    let mut reports = opened.reports;
    tokio::spawn(async move { while reports.recv().await.is_some() {} });
    let queue = &mut opened.queues[0];
    let mut read = 0;
    while read < messages {
        let rows = queue.rows.read(100, u64::MAX).await.expect("it reads");
        match rows.last().map(Entry::n) {
            Some(last) => {
                read = last;
                queue.receipts.acknowledge(last);
            }
            None => queue.rows.changed().await.expect("the writer runs"),
        }
    }
    feeding.await.expect("it was all sent");
    queue.status.wait_for(|status| status.depth == 0 && status.queued == messages).await.expect("the writer runs");
    let bytes = (bytes_written() - before) as f64;
    println!(
        "{rate} messages/s for {seconds} s: {:.0} bytes written a message, in and out; {:.2} GB a day",
        bytes / messages as f64,
        bytes / seconds as f64 * 86_400.0 / 1e9
    );
    opened.store.close().await.expect("it closes");
}

/// Very many messages wait; then the process starts anew; then they go.
async fn buffered(folder: &Path, messages: u64) {
    let mut opened = open(folder).await;
    let begin = Instant::now();
    let appends = opened.appends.clone();
    let feeding = tokio::spawn(async move {
        for n in 1..=messages {
            appends.send(append(n)).await.expect("the writer runs");
        }
    });
    while opened.reports.recv().await.expect("the writer runs").through < Ticket(messages) {}
    feeding.await.expect("it was all sent");
    let filled = begin.elapsed().as_secs_f64();
    let size = std::fs::metadata(folder.join("queue.db")).map_or(0, |file| file.len());
    println!(
        "filled {messages} messages in {filled:.1} s, {:.0} MB on disk; {} resident",
        size as f64 / 1e6,
        resident()
    );
    opened.store.close().await.expect("it closes");

    let begin = Instant::now();
    let mut opened = open(folder).await;
    let first = opened.queues[0].rows.read(1, u64::MAX).await.expect("it reads");
    let started = begin.elapsed();
    assert_eq!(first.len(), 1);
    println!("opened and read the first in {:.0} ms; {} resident", started.as_secs_f64() * 1000.0, resident());

    let begin = Instant::now();
    let queue = &mut opened.queues[0];
    let mut status = queue.status.clone();
    let (mut read, mut slowest) = (1, f64::MAX);
    let (mut lap, mut lap_at) = (0, Instant::now());
    while read < messages {
        let rows = queue.rows.read(1000, 1 << 20).await.expect("it reads");
        if let Some(last) = rows.last().map(Entry::n) {
            read = last;
            queue.receipts.acknowledge(read);
        } else {
            status.changed().await.expect("the writer runs");
        }
        if read - lap >= messages / 10 {
            slowest = slowest.min((read - lap) as f64 / lap_at.elapsed().as_secs_f64());
            (lap, lap_at) = (read, Instant::now());
        }
    }
    status.wait_for(|status| status.depth == 0).await.expect("the writer runs");
    let took = begin.elapsed().as_secs_f64();
    println!(
        "drained at {:.0} messages/s, the slowest tenth at {slowest:.0}; {} resident",
        messages as f64 / took,
        resident()
    );
    let begin = Instant::now();
    let length = |name: &str| std::fs::metadata(folder.join(name)).map_or(0, |file| file.len());
    while length("queue.db") > 16 << 20 && begin.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!(
        "{:.1} s later, {} KB on disk",
        begin.elapsed().as_secs_f64(),
        (length("queue.db") + length("queue.db-wal")) / 1024
    );
    opened.store.close().await.expect("it closes");
}

fn resident() -> String {
    let field = |name| proc_field("/proc/self/status", name).unwrap_or(0) as f64 / 1024.0;
    format!("{:.1} MB, {:.1} at most", field("VmRSS:"), field("VmHWM:"))
}

/// What this process had the kernel write to disks; 0 where the kernel does not say.
fn bytes_written() -> u64 {
    proc_field("/proc/self/io", "write_bytes:").unwrap_or(0)
}

fn proc_field(file: &str, field: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(field))?.split_whitespace().next()?.parse().ok()
}
