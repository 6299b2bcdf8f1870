//! An uplink's two queues and what bounds them: what is urgent overtakes, what has to go is counted, what is removed is gone.

use std::path::Path;
use std::time::Duration;

use fieldway::clock::Clock;
use fieldway::model::{Durability, Message, Name, Priority, QoS, Topic, WhenFull};
use fieldway::store::{
    Append, Entry, GapReason, Limits, Opened, QueueId, QueueSpec, ROW_OVERHEAD, Refusal, Ticket, Urgency, Work,
};

use crate::store::{block_on, open, sql};

const PAYLOAD: usize = 100;
/// What a message of these tests is accounted with.
const MESSAGE: u64 = 1 + PAYLOAD as u64 + ROW_OVERHEAD;

fn spec(name: &str, messages: u64, when_full: WhenFull) -> QueueSpec {
    QueueSpec {
        name: Name::new(name).expect("a name"),
        limits: Limits { max_size: messages * MESSAGE, max_age: Duration::from_secs(86_400), when_full },
        durability: Durability::Normal,
        commit_every: Duration::from_millis(5),
    }
}

struct Bench {
    opened: Opened,
    ticket: u64,
}

impl Bench {
    async fn open(dir: &Path, specs: Vec<QueueSpec>) -> Bench {
        Bench { opened: open(dir, specs).await, ticket: 0 }
    }

    async fn keep(&mut self, queue: QueueId, content: u8, size: usize) -> Option<Refusal> {
        self.keep_payload(queue, vec![content; size]).await
    }

    async fn keep_payload(&mut self, queue: QueueId, payload: Vec<u8>) -> Option<Refusal> {
        self.ticket += 1;
        let message = Message::new(Topic::new("t").expect("a topic"), payload, QoS::AtLeastOnce, false);
        let append =
            Append { ticket: Ticket(self.ticket), what: Work::Message { queue, message }, urgency: Urgency::Awaited };
        self.opened.appends.send(append).await.expect("the writer runs");
        let report = self.opened.reports.recv().await.expect("the writer runs");
        assert_eq!(report.through, Ticket(self.ticket));
        report.refused.into_iter().map(|(_, why)| why).next()
    }

    /// Keeps messages that say `content`.
    async fn fill(&mut self, queue: QueueId, content: std::ops::RangeInclusive<u8>) {
        for content in content {
            assert_eq!(self.keep(queue, content, PAYLOAD).await, None);
        }
    }

    /// Takes everything out of a queue: the first byte of each payload.
    async fn drain(&mut self, uplink: usize, class: Priority) -> Vec<u8> {
        let queue = &mut self.opened.queues[uplink];
        let mut status = queue.status.clone();
        let (rows, receipts) = match class {
            Priority::Normal => (&mut queue.rows, &queue.receipts),
            Priority::High => (&mut queue.high.rows, &queue.high.receipts),
        };
        let mut all = Vec::new();
        loop {
            let left = status.borrow_and_update().clone();
            let waits = if class == Priority::High { left.high } else { left.depth - left.high };
            if waits == 0 {
                return all;
            }
            let found = rows.read(100, u64::MAX).await.expect("it reads");
            let Some(last) = found.last().map(Entry::n) else {
                // What is held is being deleted; then there is room for more.
                status.changed().await.expect("the writer runs");
                continue;
            };
            all.extend(found.iter().map(|entry| match entry {
                Entry::Whole(row) => row.message.payload[0],
                Entry::Damaged { n, why } => panic!("row {n}: {why}"),
            }));
            receipts.acknowledge(last);
        }
    }

    async fn close(self) {
        self.opened.store.close().await.expect("it closes");
    }
}

#[test]
fn what_is_urgent_has_numbers_of_its_own_and_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let specs = vec![spec("cloud", 100, WhenFull::DropOldest)];
    block_on(async {
        let mut bench = Bench::open(dir.path(), specs.clone()).await;
        bench.fill(QueueId::normal(0), 1..=3).await;
        bench.fill(QueueId::high(0), 11..=12).await;
        let status = bench.opened.queues[0].status.borrow().clone();
        assert_eq!((status.depth, status.high, status.bytes), (5, 2, 5 * MESSAGE));
        bench.close().await;
    });
    block_on(async {
        let mut bench = Bench::open(dir.path(), specs).await;
        let queue = &bench.opened.queues[0];
        assert_eq!((queue.last, queue.high.last), (3, 2));
        assert_ne!(queue.epoch, queue.high.epoch, "a number and its epoch name one message");
        assert_eq!(bench.drain(0, Priority::High).await, [11, 12]);
        assert_eq!(bench.drain(0, Priority::Normal).await, [1, 2, 3]);
        bench.close().await;
    });
}

#[test]
fn in_a_full_queue_what_waits_its_turn_makes_room_for_what_is_urgent_and_never_the_other_way() {
    let dir = tempfile::tempdir().expect("a directory");
    block_on(async {
        let mut bench = Bench::open(dir.path(), vec![spec("cloud", 4, WhenFull::DropOldest)]).await;
        let (normal, high) = (QueueId::normal(0), QueueId::high(0));
        bench.fill(normal, 1..=4).await;
        bench.fill(high, 11..=13).await;
        assert_eq!(bench.opened.queues[0].status.borrow().dropped, 3);
        bench.fill(normal, 5..=5).await;
        assert_eq!(bench.opened.queues[0].status.borrow().depth, 4);
        bench.fill(high, 14..=15).await;
        assert_eq!(bench.keep(normal, 6, PAYLOAD).await, Some(Refusal::QueueFull), "only urgent ones are left");
        assert_eq!(bench.drain(0, Priority::Normal).await, [0_u8; 0]);
        assert_eq!(bench.drain(0, Priority::High).await, [12, 13, 14, 15]);
        bench.close().await;
    });
}

#[test]
fn when_the_newest_are_dropped_nothing_that_is_stored_makes_room() {
    let dir = tempfile::tempdir().expect("a directory");
    block_on(async {
        let mut bench = Bench::open(dir.path(), vec![spec("cloud", 3, WhenFull::DropNewest)]).await;
        bench.fill(QueueId::normal(0), 1..=2).await;
        bench.fill(QueueId::high(0), 11..=11).await;
        assert_eq!(bench.keep(QueueId::high(0), 12, PAYLOAD).await, Some(Refusal::QueueFull));
        assert_eq!(bench.drain(0, Priority::Normal).await, [1, 2]);
        bench.close().await;
    });
}

#[test]
fn what_is_in_flight_is_not_given_up_for_what_is_urgent() {
    let dir = tempfile::tempdir().expect("a directory");
    block_on(async {
        let mut bench = Bench::open(dir.path(), vec![spec("cloud", 8, WhenFull::DropOldest)]).await;
        bench.fill(QueueId::normal(0), 1..=8).await;
        // A quarter of the queue may be in flight, and the row with which that is reached.
        let held = bench.opened.queues[0].rows.read(100, u64::MAX).await.expect("it reads").len();
        assert_eq!(held, 2);
        bench.fill(QueueId::high(0), 11..=17).await;
        let status = bench.opened.queues[0].status.borrow().clone();
        assert_eq!((status.depth, status.high, status.dropped), (8, 6, 7), "six of normal priority, and one urgent");
        bench.close().await;
    });
}

#[test]
fn what_may_have_been_in_flight_before_a_restart_is_kept_and_the_rest_makes_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let specs = vec![spec("cloud", 8, WhenFull::DropOldest)];
    block_on(async {
        let mut bench = Bench::open(dir.path(), specs.clone()).await;
        bench.fill(QueueId::normal(0), 1..=8).await;
        bench.close().await;
    });
    block_on(async {
        let mut bench = Bench::open(dir.path(), specs).await;
        // As an uplink does whose window is larger than the queue: but no more than a quarter can have been read.
        let queue = &bench.opened.queues[0];
        queue.receipts.protect(queue.last);
        bench.fill(QueueId::normal(0), 9..=11).await;
        assert_eq!(bench.drain(0, Priority::Normal).await, [1, 2, 6, 7, 8, 9, 10, 11]);
        bench.close().await;
    });
}

#[test]
fn a_message_larger_than_the_queue_costs_the_others_nothing_and_is_told_by_that_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let specs = vec![spec("cloud", 4, WhenFull::DropOldest)];
    block_on(async {
        let mut bench = Bench::open(dir.path(), specs.clone()).await;
        bench.fill(QueueId::normal(0), 1..=4).await;
        assert_eq!(bench.keep(QueueId::normal(0), 5, 5 * PAYLOAD * 4).await, Some(Refusal::QueueFull));
        assert_eq!(bench.opened.queues[0].status.borrow().depth, 4);
        bench.close().await;
    });
    block_on(async {
        // The episode was not over: it is told by the next process.
        let mut bench = Bench::open(dir.path(), specs).await;
        let gap = bench.opened.gaps.recv().await.expect("the writer runs");
        assert_eq!((gap.loss.dropped, gap.loss.reason), (1, GapReason::TooLarge));
        bench.close().await;
    });
}

fn names(specs: &[&str]) -> Vec<QueueSpec> {
    specs.iter().map(|name| spec(name, 100, WhenFull::DropOldest)).collect()
}

#[test]
fn a_removed_uplink_frees_its_rows() {
    let dir = tempfile::tempdir().expect("a directory");
    block_on(async {
        let mut bench = Bench::open(dir.path(), names(&["cloud", "history"])).await;
        bench.fill(QueueId::normal(1), 1..=5).await;
        bench.fill(QueueId::high(1), 11..=12).await;
        bench.fill(QueueId::normal(0), 21..=22).await;
        bench.close().await;
    });
    block_on(async {
        let mut bench = Bench::open(dir.path(), names(&["cloud"])).await;
        assert_eq!(bench.drain(0, Priority::Normal).await, [21, 22], "the others keep what is theirs");
        bench.close().await;
    });
    block_on(async {
        let mut bench = Bench::open(dir.path(), names(&["cloud", "history"])).await;
        assert_eq!(bench.drain(1, Priority::Normal).await, [0_u8; 0]);
        assert_eq!(bench.drain(1, Priority::High).await, [0_u8; 0]);
        bench.close().await;
    });
}

#[test]
fn an_uplink_whose_name_was_misspelt_has_its_messages_when_it_is_put_right() {
    let dir = tempfile::tempdir().expect("a directory");
    block_on(async {
        let mut bench = Bench::open(dir.path(), names(&["cloud"])).await;
        bench.fill(QueueId::normal(0), 1..=5).await;
        bench.close().await;
    });
    block_on(async { Bench::open(dir.path(), names(&["clodu"])).await.close().await });
    block_on(async {
        let mut bench = Bench::open(dir.path(), names(&["cloud"])).await;
        assert_eq!(bench.drain(0, Priority::Normal).await, [1, 2, 3, 4, 5]);
        bench.close().await;
    });
    // A second start without it means it.
    block_on(async { Bench::open(dir.path(), names(&["clodu"])).await.close().await });
    block_on(async { Bench::open(dir.path(), names(&["clodu"])).await.close().await });
    block_on(async {
        let mut bench = Bench::open(dir.path(), names(&["cloud"])).await;
        assert_eq!(bench.drain(0, Priority::Normal).await, [0_u8; 0]);
        bench.close().await;
    });
}

#[test]
fn many_messages_of_a_removed_uplink_go_beside_other_work_and_across_restarts() {
    let dir = tempfile::tempdir().expect("a directory");
    let plenty = || {
        let mut specs = names(&["cloud", "history"]);
        specs[1].limits.max_size = 1 << 30;
        specs
    };
    const ROWS: u64 = 60_000;
    block_on(async {
        let bench = Bench::open(dir.path(), plenty()).await;
        for n in 1..=ROWS {
            let message = Message::new(Topic::new("t").expect("a topic"), vec![7; 10], QoS::AtLeastOnce, false);
            let what = Work::Message { queue: QueueId::normal(1), message };
            let append = Append { ticket: Ticket(n), what, urgency: Urgency::Batched };
            bench.opened.appends.send(append).await.expect("the writer runs");
        }
        bench.close().await;
    });
    let tables = || {
        let listed = sql(dir.path(), "SELECT group_concat(name) FROM queues");
        listed.split(',').filter(|name| name.starts_with("history")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(tables(), ["history", "history/high"]);
    block_on(async {
        let mut bench = Bench::open(dir.path(), names(&["cloud"])).await;
        bench.fill(QueueId::normal(0), 1..=1).await;
        bench.close().await;
    });
    assert!(tables().iter().all(|name| name.starts_with("history/removed-")), "{:?}", tables());
    block_on(async {
        let bench = Bench::open(dir.path(), names(&["cloud"])).await;
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while !tables().is_empty() {
            assert!(std::time::Instant::now() < deadline, "{:?}", tables());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bench.close().await;
    });
}

#[test]
fn times_from_before_the_clock_was_set_are_made_right_and_read_the_same_ever_after() {
    let dir = tempfile::tempdir().expect("a directory");
    let specs = || names(&["cloud"]);
    let boot = Clock::start().stamp().since_boot.expect("Linux says").boot;
    let marked = |boot: String| {
        format!(r#"{{"ts":"1970-01-01T00:00:05.000Z","clock":"unsynced","boot":"{boot}","uptime_ms":5000}}"#)
    };
    let payloads = [marked(boot.to_string()), marked("00000000".into()), marked(boot.to_string())];
    let read = async |bench: &mut Bench| {
        let rows = bench.opened.queues[0].rows.read(100, u64::MAX).await.expect("it reads");
        let text = |entry: &Entry| match entry {
            Entry::Whole(row) => String::from_utf8_lossy(&row.message.payload).into_owned(),
            Entry::Damaged { n, why } => panic!("row {n}: {why}"),
        };
        rows.iter().map(text).collect::<Vec<_>>()
    };
    block_on(async {
        let mut bench = Bench::open(dir.path(), specs()).await;
        for payload in &payloads {
            assert_eq!(bench.keep_payload(QueueId::normal(0), payload.clone().into_bytes()).await, None);
        }
        assert_eq!(read(&mut bench).await, payloads, "as far as this process knows, its clock was always set");
        bench.close().await;
    });
    let right = block_on(async {
        let mut bench = Bench::open(dir.path(), specs()).await;
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while sql(dir.path(), "SELECT count(*) FROM clocks WHERE queue = 1") == "0" {
            assert!(std::time::Instant::now() < deadline, "the writer finds out when this boot began");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let right = read(&mut bench).await;
        bench.close().await;
        right
    });
    assert_eq!(right[1], payloads[1], "of another boot, nothing is known");
    assert_eq!(right[0], right[2]);
    assert!(right[0].starts_with(r#"{"ts":"20"#) && !right[0].contains("unsynced"), "{}", right[0]);
    block_on(async {
        let mut bench = Bench::open(dir.path(), specs()).await;
        assert_eq!(read(&mut bench).await, right, "the same again, whatever the clock says now");
        bench.close().await;
    });
}
