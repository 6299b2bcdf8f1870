//! What it costs to keep messages for persistent sessions: publishers that each wait for their acknowledgement, sessions that each get every
//! message and acknowledge it a little later, `synchronous=FULL`. The store alone, without sockets.
//!
//! `cargo bench --bench sessions -- [MESSAGES] [PUBLISHERS] [SESSIONS]`; 100,000, 16 and 1 unless told otherwise. It prints acknowledged messages a
//! second, and the bytes that the process wrote for each.

use std::time::Instant;

use fieldway::clock::Clock;
use fieldway::model::{Message, QoS, Topic};
use fieldway::store::{
    Append, BrokerWrite, Opened, SessionId, SessionRecord, Store, StoredDelivery, Ticket, Urgency, Work,
};

const PAYLOAD: usize = 100;

/// A session acknowledges the message that came so many before.
const BEHIND: u64 = 32;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|arg| arg.parse::<u64>().ok());
    let messages = numbers.next().unwrap_or(100_000);
    let publishers = numbers.next().unwrap_or(16);
    let sessions = numbers.next().unwrap_or(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(messages, publishers, sessions));
}

async fn run(messages: u64, publishers: u64, sessions: u64) {
    let folder = tempfile::tempdir_in("target").expect("a folder on a disk");
    let mut bench =
        Bench { opened: Store::open(folder.path(), vec![], Clock::start()).await.expect("it opens"), ticket: 0 };
    for id in 1..=sessions {
        bench.hand_in(Work::Broker(BrokerWrite::Session(session(id))), Urgency::Awaited).await;
    }
    let topic = Topic::new("plant/boiler").expect("a topic");
    let (begin, written) = (Instant::now(), bytes_written());
    let (mut sent, mut acknowledged) = (0, 0);
    // The tickets of the messages in flight, each with the last one that has to be safe for it.
    let mut in_flight = std::collections::VecDeque::new();
    while acknowledged < messages {
        while sent < messages && (in_flight.len() as u64) < publishers {
            sent += 1;
            for id in 1..=sessions {
                let delivery = StoredDelivery {
                    message: Message::new(topic.clone(), vec![b'x'; PAYLOAD], QoS::AtLeastOnce, false),
                    qos: QoS::AtLeastOnce,
                    retain: false,
                    subscription_ids: Vec::new(),
                    queued: None,
                };
                let queued = BrokerWrite::Queued { session: SessionId(id), n: sent, delivery };
                bench.hand_in(Work::Broker(queued), Urgency::Awaited).await;
                if sent > BEHIND {
                    let done = BrokerWrite::Done { session: SessionId(id), n: sent - BEHIND };
                    bench.hand_in(Work::Broker(done), Urgency::Batched).await;
                }
            }
            in_flight.push_back(bench.ticket);
        }
        let report = bench.opened.reports.recv().await.expect("the writer runs");
        assert!(report.refused.is_empty(), "{report:?}");
        while in_flight.front().is_some_and(|last| Ticket(*last) <= report.through) {
            in_flight.pop_front();
            acknowledged += 1;
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{publishers} publishers, {sessions} sessions: {:.0} acknowledged/s, {} bytes written for each",
        messages as f64 / seconds,
        (bytes_written() - written) / messages
    );
    bench.opened.store.close().await.expect("it closes");
}

struct Bench {
    opened: Opened,
    ticket: u64,
}

impl Bench {
    async fn hand_in(&mut self, what: Work, urgency: Urgency) {
        self.ticket += 1;
        let append = Append { ticket: Ticket(self.ticket), what, urgency };
        self.opened.appends.send(append).await.expect("the writer runs");
    }
}

fn session(id: u64) -> SessionRecord {
    SessionRecord {
        id: SessionId(id),
        client_id: format!("client {id}").into(),
        user: None,
        expiry_s: 3600,
        left_at: None,
        sent: 0,
        will: None,
    }
}

fn bytes_written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("Linux");
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.expect("it is there").parse().expect("a number")
}
