//! The store through its public ends: what was reported as committed is there, whatever happens.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use fieldway::clock::Clock;
use fieldway::model::{Durability, Message, Name, Properties, QoS, Topic, WhenFull};
use fieldway::store::{
    Append, Entry, GapReason, Limits, Opened, QueueId, QueueSpec, ROW_OVERHEAD, Refusal, Store, StoreError, Ticket,
    Urgency, Work,
};
use proptest::prelude::*;

use crate::support::gateway::GatewayProcess;
use crate::support::wait::free_port;

fn spec(name: &str) -> QueueSpec {
    QueueSpec {
        name: Name::new(name).expect("a name"),
        limits: Limits { max_size: 1 << 30, max_age: Duration::from_secs(86_400), when_full: WhenFull::DropOldest },
        durability: Durability::Normal,
        commit_every: Duration::from_millis(20),
    }
}

fn message(content: &[u8]) -> Message {
    Message::new(Topic::new("t").expect("a topic"), content.to_vec(), QoS::AtLeastOnce, false)
}

/// Opens a store that nobody else uses. A process that another test is just starting has all our files, the lock too, for the moment
/// between its fork and its exec.
pub async fn open(dir: &Path, queues: Vec<QueueSpec>) -> Opened {
    let clock = Clock::start();
    loop {
        match Store::open(dir, queues.clone(), clock).await {
            Err(StoreError::InUse { .. }) if clock.now().0 < Duration::from_secs(10) => tokio::task::yield_now().await,
            opened => return opened.expect("it opens"),
        }
    }
}

/// The user's side of an open store, with tickets counted.
struct Bench {
    opened: Opened,
    ticket: u64,
}

impl Bench {
    async fn open(dir: &Path, spec: QueueSpec) -> Bench {
        Bench { opened: open(dir, vec![spec]).await, ticket: 0 }
    }

    async fn append(&mut self, content: &[u8], urgency: Urgency) -> Ticket {
        self.ticket += 1;
        let append = Append {
            ticket: Ticket(self.ticket),
            what: Work::Message { queue: QueueId::normal(0), message: message(content) },
            urgency,
        };
        self.opened.appends.send(append).await.expect("the writer runs");
        Ticket(self.ticket)
    }

    /// Waits until a ticket is settled and returns its refusal, if it is one.
    async fn settled(&mut self, ticket: Ticket) -> Option<Refusal> {
        loop {
            let report = self.opened.reports.recv().await.expect("the writer runs");
            if report.through >= ticket {
                return report.refused.into_iter().find(|(refused, _)| *refused == ticket).map(|(_, why)| why);
            }
        }
    }

    async fn keep(&mut self, content: &[u8]) -> Option<Refusal> {
        let ticket = self.append(content, Urgency::Awaited).await;
        self.settled(ticket).await
    }

    async fn read_all(&mut self) -> Vec<(u64, Vec<u8>)> {
        let mut all = Vec::new();
        loop {
            let rows = self.opened.queues[0].rows.read(7, 10_000).await.expect("it reads");
            if rows.is_empty() {
                return all;
            }
            all.extend(rows.into_iter().map(|entry| match entry {
                Entry::Whole(row) => (row.n, row.message.payload.to_vec()),
                Entry::Damaged { n, why } => panic!("row {n} is damaged: {why}"),
            }));
        }
    }

    async fn close(self) {
        self.opened.store.close().await.expect("it closes");
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    // Dropping the runtime drops the writer where it stands: what was not committed is gone, as in a crash.
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

#[test]
fn numbers_are_contiguous_and_never_used_again_also_after_a_full_drain() {
    let dir = tempfile::tempdir().expect("a directory");
    block_on(async {
        let mut bench = Bench::open(dir.path(), spec("cloud")).await;
        for content in [b"a", b"b", b"c"] {
            assert_eq!(bench.keep(content).await, None);
        }
        let numbers: Vec<u64> = bench.read_all().await.iter().map(|(n, _)| *n).collect();
        assert_eq!(numbers, [1, 2, 3]);
        bench.opened.queues[0].receipts.acknowledge(3);
        bench.close().await;
    });
    block_on(async {
        let mut bench = Bench::open(dir.path(), spec("cloud")).await;
        assert_eq!(bench.opened.queues[0].done, 3);
        assert_eq!(bench.opened.queues[0].status.borrow().depth, 0);
        bench.keep(b"d").await;
        assert_eq!(bench.read_all().await, [(4, b"d".to_vec())]);
        bench.close().await;
    });
}

#[test]
fn a_row_comes_back_with_everything_that_its_publisher_gave_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let properties = Properties {
        payload_is_utf8: true,
        message_expiry_s: Some(60),
        content_type: Some("text/plain".into()),
        response_topic: Topic::new("answers/here").ok(),
        correlation_data: Some(vec![0, 255].into()),
        user: vec![("k".into(), "v".into()), ("k".into(), String::new())],
    };
    let sent = Message {
        topic: Topic::new("ärinä/temp").expect("a topic"),
        payload: vec![0, 1, 2].into(),
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: Some(Box::new(properties)),
    };
    block_on(async {
        let mut bench = Bench::open(dir.path(), spec("cloud")).await;
        let append = Append {
            ticket: Ticket(1),
            what: Work::Message { queue: QueueId::normal(0), message: sent.clone() },
            urgency: Urgency::Awaited,
        };
        bench.opened.appends.send(append).await.expect("sent");
        bench.settled(Ticket(1)).await;
        let rows = bench.opened.queues[0].rows.read(10, 1000).await.expect("it reads");
        let [Entry::Whole(row)] = &rows[..] else { panic!("one row: {rows:?}") };
        assert_eq!(row.message, sent);
        bench.close().await;
    });
}

#[test]
fn a_reading_is_committed_within_commit_every_though_nobody_waits_for_it() {
    let dir = tempfile::tempdir().expect("a directory");
    block_on(async {
        let mut bench = Bench::open(dir.path(), spec("cloud")).await;
        let ticket = bench.append(b"reading", Urgency::Batched).await;
        assert_eq!(bench.settled(ticket).await, None);
        bench.close().await;
    });
}

#[test]
fn what_was_handed_in_before_the_store_was_closed_is_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut slow = spec("cloud");
    slow.commit_every = Duration::from_secs(3600);
    block_on(async {
        let mut bench = Bench::open(dir.path(), slow.clone()).await;
        for _ in 0..6_000 {
            bench.append(b"reading", Urgency::Batched).await;
        }
        bench.close().await;
    });
    block_on(async {
        let bench = Bench::open(dir.path(), slow).await;
        assert_eq!(bench.opened.queues[0].status.borrow().depth, 6_000);
        bench.close().await;
    });
}

#[test]
fn a_store_in_use_a_newer_one_and_an_unusable_directory_are_refused_in_words() {
    let dir = tempfile::tempdir().expect("a directory");
    block_on(async {
        let bench = Bench::open(dir.path(), spec("cloud")).await;
        let second = Store::open(dir.path(), vec![spec("cloud")], Clock::start()).await;
        assert!(matches!(second, Err(StoreError::InUse { .. })));
        bench.close().await;

        sql(dir.path(), "INSERT INTO _sqlx_migrations VALUES (99, 'later', 0, 1, x'00', 0)");
        let Err(newer) = Store::open(dir.path(), vec![spec("cloud")], Clock::start()).await else {
            panic!("it is newer")
        };
        assert!(newer.to_string().contains("version 99"), "{newer}");

        std::fs::write(dir.path().join("file"), "").expect("written");
        let Err(no) = Store::open(&dir.path().join("file"), vec![], Clock::start()).await else { panic!("a file") };
        assert!(no.to_string().contains("gateway.data_dir"), "{no}");
    });
}

#[test]
fn a_damaged_row_is_told_from_a_good_one_and_does_not_hide_the_next() {
    let dir = tempfile::tempdir().expect("a directory");
    block_on(async {
        let mut bench = Bench::open(dir.path(), spec("cloud")).await;
        for content in [b"aaaa", b"bbbb", b"cccc"] {
            bench.keep(content).await;
        }
        bench.close().await;
    });
    sql(dir.path(), "UPDATE queue_1 SET payload = x'62626263' WHERE n = 2");
    block_on(async {
        let mut bench = Bench::open(dir.path(), spec("cloud")).await;
        let rows = bench.opened.queues[0].rows.read(10, 1000).await.expect("it reads");
        assert!(matches!(&rows[..], [Entry::Whole(_), Entry::Damaged { n: 2, .. }, Entry::Whole(_)]), "{rows:?}");
        bench.opened.queues[0].receipts.set_aside(2, "damaged".into());
        bench.opened.queues[0].receipts.acknowledge(3);
        let mut status = bench.opened.queues[0].status.clone();
        status.wait_for(|status| status.depth == 0).await.expect("the writer runs");
        assert_eq!(status.borrow().set_aside, 1);
        assert_eq!(status.borrow().bytes, 0);
        bench.close().await;
    });
    assert_eq!(sql(dir.path(), "SELECT count(*) FROM aside WHERE queue = 1 AND n = 2 AND reason = 'damaged'"), "1");
}

#[test]
fn a_damaged_header_and_a_truncated_file_are_moved_aside_and_the_store_begins_anew() {
    for truncate in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        let epoch = block_on(async {
            let mut bench = Bench::open(dir.path(), spec("cloud")).await;
            for _ in 0..100 {
                bench.append(&[7; 1000], Urgency::Batched).await;
            }
            let epoch = bench.opened.queues[0].epoch;
            bench.close().await;
            epoch
        });
        let file = dir.path().join("queue.db");
        let mut bytes = std::fs::read(&file).expect("there");
        if truncate {
            bytes.truncate(5000)
        } else {
            bytes[..100].fill(0x55)
        }
        std::fs::write(&file, &bytes).expect("written");
        block_on(async {
            let mut bench = Bench::open(dir.path(), spec("cloud")).await;
            assert!(bench.opened.queues[0].fresh);
            assert_ne!(bench.opened.queues[0].epoch, epoch, "another generation");
            assert_eq!(bench.keep(b"new").await, None);
            bench.close().await;
        });
        let names = std::fs::read_dir(dir.path()).expect("there").map(|e| e.expect("an entry").file_name());
        let kept: Vec<_> = names
            .map(|name| name.to_string_lossy().into_owned())
            .filter(|name| name.starts_with("queue.db.corrupt-") && !name.ends_with("-wal") && !name.ends_with("-shm"))
            .collect();
        assert_eq!(kept.len(), 1, "truncate {truncate}: {kept:?}");
        assert_eq!(std::fs::read(dir.path().join(&kept[0])).expect("there"), bytes, "not a byte of it is changed");
    }
}

#[test]
fn what_can_be_read_of_a_damaged_database_is_salvaged_and_the_rest_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    const ROWS: u64 = 500;
    block_on(async {
        let mut bench = Bench::open(dir.path(), spec("cloud")).await;
        for n in 1..=ROWS {
            bench.append(format!("{n:01000}").as_bytes(), Urgency::Batched).await;
        }
        bench.settled(Ticket(ROWS)).await;
        bench.read_all().await;
        bench.opened.queues[0].receipts.acknowledge(10);
        bench.close().await;
    });
    // Three rows of a thousand bytes lie in a page of 4096: these two pages are in the middle of the table.
    let file = dir.path().join("queue.db");
    let mut bytes = std::fs::read(&file).expect("there");
    let middle = bytes.len() / 4096 / 2 * 4096;
    bytes[middle..middle + 2 * 4096].fill(0);
    std::fs::write(&file, &bytes).expect("written");

    block_on(async {
        let mut bench = Bench::open(dir.path(), spec("cloud")).await;
        let queue = &mut bench.opened.queues[0];
        let mut problem = None;
        let mut read = 0;
        while problem.is_none() && read < ROWS as usize {
            match queue.rows.read(100, u64::MAX).await {
                Ok(rows) => read += rows.len(),
                Err(error) => problem = Some(error.to_string()),
            }
        }
        let problem = problem.expect("the pages can't be read");
        assert!(problem.contains("restart the gateway"), "{problem}");
        bench.close().await;
    });
    block_on(async {
        let mut bench = Bench::open(dir.path(), spec("cloud")).await;
        let rows = bench.read_all().await;
        let contents: Vec<u64> =
            rows.iter().map(|(_, c)| String::from_utf8_lossy(c).parse().expect("a number")).collect();
        assert!(contents.is_sorted() && contents[0] == 11 && contents.last() == Some(&ROWS), "{contents:?}");
        let lost = ROWS - 10 - rows.len() as u64;
        assert!((1..=8).contains(&lost), "{lost} lost");
        assert!(rows.iter().map(|(n, _)| *n).eq(1..=rows.len() as u64), "new numbers in a new generation");
        assert!(bench.opened.queues[0].fresh);
        let gap = bench.opened.gaps.recv().await.expect("the writer runs");
        assert_eq!((gap.loss.dropped, gap.loss.reason), (lost, GapReason::Damaged));
        assert_eq!(bench.keep(b"goes on").await, None);
        bench.close().await;
    });
}

#[test]
fn a_file_that_was_taken_away_keeps_nothing_more_until_it_is_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let (file, elsewhere) = (dir.path().join("queue.db"), dir.path().join("elsewhere"));
    block_on(async {
        let mut bench = Bench::open(dir.path(), spec("cloud")).await;
        assert_eq!(bench.keep(b"before").await, None);
        std::fs::rename(&file, &elsewhere).expect("renamed");
        let refusal = bench.keep(b"meanwhile").await;
        assert!(matches!(&refusal, Some(Refusal::Storage(why)) if why.contains("put it back")), "{refusal:?}");
        let unreadable = bench.opened.queues[0].rows.read(10, 1000).await;
        assert!(unreadable.is_err(), "{unreadable:?}");
        assert!(!file.exists(), "nothing is put in its place");

        std::fs::rename(&elsewhere, &file).expect("renamed");
        let mut status = bench.opened.queues[0].status.clone();
        let recovered = status.wait_for(|status| status.error.is_none());
        tokio::time::timeout(Duration::from_secs(20), recovered).await.expect("by itself").expect("the writer runs");
        assert_eq!(bench.keep(b"after").await, None);
        let contents: Vec<_> = bench.read_all().await.into_iter().map(|(_, content)| content).collect();
        assert_eq!(contents, [&b"before"[..], b"after"]);
        bench.close().await;
    });
}

#[test]
fn of_a_file_that_was_cut_off_what_is_left_is_salvaged() {
    let dir = tempfile::tempdir().expect("a directory");
    const ROWS: u64 = 500;
    block_on(async {
        let mut bench = Bench::open(dir.path(), spec("cloud")).await;
        for n in 1..=ROWS {
            bench.append(format!("{n:01000}").as_bytes(), Urgency::Batched).await;
        }
        bench.close().await;
    });
    let file = dir.path().join("queue.db");
    let bytes = std::fs::read(&file).expect("there");
    std::fs::write(&file, &bytes[..bytes.len() / 2]).expect("written");
    block_on(async {
        let mut bench = Bench::open(dir.path(), spec("cloud")).await;
        let rows = bench.read_all().await;
        let contents: Vec<u64> =
            rows.iter().map(|(_, c)| String::from_utf8_lossy(c).parse().expect("a number")).collect();
        // Half of the file, less the pages that say where its rows are.
        assert!(contents.is_sorted() && contents.len() as u64 > ROWS / 3, "{} rows: {contents:?}", contents.len());
        let gap = bench.opened.gaps.recv().await.expect("the writer runs");
        assert_eq!((gap.loss.dropped, gap.loss.reason), (ROWS - rows.len() as u64, GapReason::Damaged));
        bench.close().await;
    });
}

#[test]
fn a_salvage_that_is_cut_off_anywhere_is_begun_again_or_finished_by_the_next_start() {
    const ROWS: u64 = 2_000;
    let made = tempfile::tempdir().expect("a directory");
    block_on(async {
        let mut bench = Bench::open(made.path(), spec("cloud")).await;
        for n in 1..=ROWS {
            bench.append(format!("{n:01000}").as_bytes(), Urgency::Batched).await;
        }
        bench.close().await;
    });
    let mut bytes = std::fs::read(made.path().join("queue.db")).expect("there");
    let middle = bytes.len() / 4096 / 2 * 4096;
    bytes[middle..middle + 4096].fill(0);

    let mut cut_off = 0;
    for pause_ms in [4, 8, 12, 16, 24, 32, 48, 64, 96, 128] {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("queue.db"), &bytes).expect("written");
        std::fs::write(dir.path().join("queue.db.suspect"), "").expect("written");
        let yaml = format!(
            "gateway: {{ id: salvage, data_dir: . }}\nbroker: {{ listeners: ['mqtt://127.0.0.1:{}'] }}\n\
             uplinks: {{ cloud: {{ url: 'mqtt://127.0.0.1:{}', forward: [{{ topic: '#', to: 'up/{{topic}}' }}] }} }}\n",
            free_port(),
            free_port()
        );
        let gateway = GatewayProcess::start_unready(dir.path(), &yaml);
        std::thread::sleep(Duration::from_millis(pause_ms));
        cut_off += usize::from(!gateway.log().contains("the gateway runs"));
        gateway.kill();
        block_on(async {
            let mut bench = Bench::open(dir.path(), spec("cloud")).await;
            let rows = bench.read_all().await.len() as u64;
            assert!((ROWS - 5..ROWS).contains(&rows), "{rows} rows after {pause_ms} ms");
            bench.close().await;
        });
    }
    assert!(cut_off > 0, "none of the pauses was short enough");
}

#[test]
fn beside_a_new_uplink_a_queue_without_one_goes_when_it_is_empty_and_stays_when_it_is_not() {
    let dir = tempfile::tempdir().expect("a directory");
    block_on(async {
        let opened = open(dir.path(), vec![spec("old"), spec("empty")]).await;
        let append = Append {
            ticket: Ticket(1),
            what: Work::Message { queue: QueueId::normal(0), message: message(b"waits") },
            urgency: Urgency::Awaited,
        };
        opened.appends.send(append).await.expect("sent");
        opened.store.close().await.expect("it closes");
        open(dir.path(), vec![spec("new")]).await.store.close().await.expect("it closes");
    });
    assert_eq!(
        sql(dir.path(), "SELECT group_concat(name, ' ') FROM (SELECT name FROM queues ORDER BY id)"),
        "old old/high new new/high"
    );
    block_on(async {
        let mut bench = Bench::open(dir.path(), spec("old")).await;
        assert_eq!(bench.read_all().await, [(1, b"waits".to_vec())]);
        bench.close().await;
    });
}

#[test]
fn a_full_queue_says_what_it_dropped_and_why() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut small = spec("cloud");
    small.limits.max_size = 3 * (ROW_OVERHEAD + 11);
    block_on(async {
        let mut bench = Bench::open(dir.path(), small.clone()).await;
        for i in 0..5 {
            assert_eq!(bench.keep(format!("message {i:02}").as_bytes()).await, None);
        }
        assert_eq!(bench.opened.queues[0].status.borrow().dropped, 2);
        let in_flight = bench.read_all().await;
        assert_eq!(in_flight, [(3, b"message 02".to_vec())], "a reader holds a quarter, but a row at least");
        assert_eq!(bench.keep(b"message 05").await, None);
        bench.close().await;
    });
    block_on(async {
        // The episode was not over when the first process ended: the next one tells of it.
        let mut bench = Bench::open(dir.path(), small).await;
        let gap = bench.opened.gaps.recv().await.expect("the writer runs");
        assert_eq!((gap.uplink.as_str(), gap.loss.dropped, gap.loss.reason), ("cloud", 3, GapReason::QueueFull));
        assert!(gap.loss.from <= gap.loss.to && gap.loss.from.is_some());
        assert_eq!(bench.opened.queues[0].status.borrow().dropped, 3);
        let mut left = Vec::new();
        while let [(n, _)] = bench.read_all().await[..] {
            left.push(n);
            bench.opened.queues[0].receipts.acknowledge(n);
            let mut status = bench.opened.queues[0].status.clone();
            status.wait_for(|status| status.depth == 3 - left.len() as u64).await.expect("the writer runs");
        }
        assert_eq!(left, [3, 5, 6], "what was in flight stayed");
        bench.close().await;
    });
}

#[test]
fn messages_that_waited_too_long_are_dropped_and_told() {
    let dir = tempfile::tempdir().expect("a directory");
    block_on(async {
        let mut bench = Bench::open(dir.path(), spec("cloud")).await;
        bench.keep(b"old").await;
        bench.close().await;
    });
    let mut impatient = spec("cloud");
    impatient.limits.max_age = Duration::ZERO;
    block_on(async {
        let bench = Bench::open(dir.path(), impatient).await;
        let mut status = bench.opened.queues[0].status.clone();
        let dropped = status.wait_for(|status| status.dropped == 1);
        tokio::time::timeout(Duration::from_secs(20), dropped).await.expect("it goes").expect("the writer runs");
        bench.close().await;
    });
    assert_eq!(sql(dir.path(), "SELECT count(*) FROM queue_1"), "0");
}

#[test]
fn a_hub_that_takes_its_reports_late_holds_up_no_commit_and_misses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    block_on(async {
        let mut bench = Bench::open(dir.path(), spec("cloud")).await;
        let mut status = bench.opened.queues[0].status.clone();
        for n in 1..=200 {
            bench.append(b"x", Urgency::Awaited).await;
            status.wait_for(|status| status.depth == n).await.expect("the writer runs");
        }
        let (mut last, mut reports) = (0, 0);
        while last < 200 {
            let report = bench.opened.reports.recv().await.expect("the writer runs");
            assert!(report.through.0 > last && report.refused.is_empty(), "{report:?} after {last}");
            (last, reports) = (report.through.0, reports + 1);
        }
        assert!(reports < 200, "they were merged");
        bench.close().await;
    });
}

#[test]
fn while_rows_are_dropped_and_read_at_once_each_is_delivered_or_counted_and_never_both() {
    const MESSAGES: u64 = 20_000;
    let dir = tempfile::tempdir().expect("a directory");
    let mut small = spec("cloud");
    small.limits.max_size = 100 * (ROW_OVERHEAD + 21);
    small.commit_every = Duration::from_millis(1);
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let Opened { store, mut queues, appends, mut reports, .. } = open(dir.path(), vec![small]).await;
        let mut queue = queues.pop().expect("one queue");
        let produce = tokio::spawn(async move {
            for n in 1..=MESSAGES {
                let append = Append {
                    ticket: Ticket(n),
                    what: Work::Message { queue: QueueId::normal(0), message: message(format!("{n:020}").as_bytes()) },
                    urgency: Urgency::Batched,
                };
                appends.send(append).await.expect("the writer runs");
                if n % 50 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        });
        let settle = tokio::spawn(async move {
            let mut refused = 0;
            loop {
                let report = reports.recv().await.expect("the writer runs");
                refused += report.refused.len() as u64;
                if report.through == Ticket(MESSAGES) {
                    return refused;
                }
            }
        });
        let (mut delivered, mut last_n, mut last_content) = (0, 0, 0);
        let mut settled = None;
        tokio::pin!(settle);
        loop {
            for entry in queue.rows.read(30, u64::MAX).await.expect("it reads") {
                let Entry::Whole(row) = entry else { panic!("{entry:?}") };
                let content: u64 = String::from_utf8_lossy(&row.message.payload).parse().expect("a number");
                assert!(row.n > last_n && content > last_content, "in order");
                (last_n, last_content, delivered) = (row.n, content, delivered + 1);
            }
            queue.receipts.acknowledge(last_n);
            let depth = queue.status.borrow_and_update().depth;
            if settled.is_some() && depth == 0 {
                break;
            }
            tokio::select! {
                refused = &mut settle, if settled.is_none() => settled = Some(refused.expect("it does not panic")),
                changed = queue.rows.changed() => changed.expect("the writer runs"),
                // It is published after the rows are there.
                changed = queue.status.changed() => changed.expect("the writer runs"),
            }
        }
        produce.await.expect("all was sent");
        let dropped = queue.status.borrow().dropped;
        assert_eq!(delivered + dropped, MESSAGES);
        assert!(dropped > 0 && delivered > 100, "{delivered} delivered, {dropped} dropped");
        assert!(settled.is_some_and(|refused| refused <= dropped));
        drop(queue);
        store.close().await.expect("it closes");
    });
}

/// Runs a statement on a database that nobody has open, through sqlite3's Python module: a second opinion on what is in the file.
pub fn sql(dir: &Path, statement: &str) -> String {
    let python = std::env::var("FIELDWAY_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\nr=c.execute(sys.argv[2]).fetchone()\nc.commit()\nprint(r[0] if r else '')";
    let run = std::process::Command::new(python).args(["-c", script]).arg(dir.join("queue.db")).arg(statement).output();
    let output = run.expect("python3 runs; ./tests/run says what the tests need");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[derive(Debug, Clone)]
enum Step {
    Append { messages: u8, awaited: bool },
    Read,
    Acknowledge { of_held: u8 },
    GiveBack,
    Crash,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1u8..40, any::<bool>()).prop_map(|(messages, awaited)| Step::Append { messages, awaited }),
        3 => Just(Step::Read),
        3 => any::<u8>().prop_map(|of_held| Step::Acknowledge { of_held }),
        1 => Just(Step::GiveBack),
        2 => Just(Step::Crash),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..30)
}

/// What must be in the queue, and what may be. Numbers are as the store assigns them.
struct Model {
    /// The content of every row that was ever appended and not lost in a crash; row n at n - 1.
    log: VecDeque<Vec<u8>>,
    /// Every row up to here is deleted for sure.
    deleted: u64,
    /// Every row up to here is acknowledged; a crash may bring back what is not deleted.
    acknowledged: u64,
    /// The reader has every row up to here.
    read: u64,
    /// Every row up to here is committed for sure.
    committed: u64,
}

impl Model {
    fn check_rows(&self, after: u64, found: &[(u64, Vec<u8>)]) {
        for (i, (n, content)) in found.iter().enumerate() {
            assert_eq!(*n, after + 1 + i as u64, "in order, without a hole");
            assert_eq!(content, &self.log[*n as usize - 1]);
        }
    }

    /// After a start the queue is a contiguous piece of what was ever in it, and nothing is missing that had to be there.
    async fn take_up(&mut self, bench: &mut Bench) {
        let done = bench.opened.queues[0].done;
        let found = bench.read_all().await;
        self.check_rows(done, &found);
        let last = found.last().map_or(done, |(n, _)| *n);
        assert!(
            (self.deleted..=self.acknowledged).contains(&done),
            "{done} is not in {}..={}",
            self.deleted,
            self.acknowledged
        );
        assert!((self.committed..=self.log.len() as u64).contains(&last), "{last} < {}", self.committed);
        assert_eq!(bench.opened.queues[0].status.borrow().depth, found.len() as u64);
        bench.opened.queues[0].receipts.release_above(done);
        self.log.truncate(last as usize);
        *self = Model {
            log: std::mem::take(&mut self.log),
            deleted: done,
            acknowledged: done,
            read: done,
            committed: last,
        };
    }

    async fn step(&mut self, bench: &mut Bench, step: &Step) {
        match *step {
            Step::Append { messages, awaited } => {
                let urgency = if awaited { Urgency::Awaited } else { Urgency::Batched };
                for _ in 0..messages {
                    let content = format!("message {} of {}", self.log.len(), bench.ticket).into_bytes();
                    bench.append(&content, urgency).await;
                    self.log.push_back(content);
                }
                if awaited {
                    assert_eq!(bench.settled(Ticket(bench.ticket)).await, None);
                    self.committed = self.log.len() as u64;
                }
            }
            Step::Read => {
                let found = bench.read_all().await;
                self.check_rows(self.read, &found);
                self.read += found.len() as u64;
                assert!(self.read >= self.committed, "what is committed can be read");
                self.committed = self.read;
            }
            Step::Acknowledge { of_held } => {
                self.acknowledged += u64::from(of_held) % (self.read - self.acknowledged + 1);
                bench.opened.queues[0].receipts.acknowledge(self.acknowledged);
            }
            Step::GiveBack => {
                self.read = self.acknowledged + (self.read - self.acknowledged) / 2;
                bench.opened.queues[0].receipts.release_above(self.read);
            }
            Step::Crash | Step::Reopen => unreachable!("the caller ends the process"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_queue_equals_a_deque_with_crashes(steps in steps()) {
        let dir = tempfile::tempdir().expect("a directory");
        let mut model = Model { log: VecDeque::new(), deleted: 0, acknowledged: 0, read: 0, committed: 0 };
        for life in steps.split_inclusive(|step| matches!(step, Step::Crash | Step::Reopen)) {
            block_on(async {
                let mut bench = Bench::open(dir.path(), spec("cloud")).await;
                model.take_up(&mut bench).await;
                for step in life {
                    match step {
                        Step::Crash => {}
                        Step::Reopen => {
                            model.committed = model.log.len() as u64;
                            model.deleted = model.acknowledged;
                            return bench.close().await;
                        }
                        step => model.step(&mut bench, step).await,
                    }
                }
            });
        }
        block_on(async {
            let mut bench = Bench::open(dir.path(), spec("cloud")).await;
            model.take_up(&mut bench).await;
            bench.close().await;
        });
    }

    /// Sizes, reads and acknowledgements against a plain deque with the same bound.
    #[test]
    fn a_full_queue_keeps_what_a_bounded_deque_would(
        oldest: bool,
        steps in prop::collection::vec((0usize..400, 0usize..3, 0usize..3), 1..40),
    ) {
        const MAX: u64 = 1000;
        let dir = tempfile::tempdir().expect("a directory");
        let mut bounded = spec("cloud");
        bounded.commit_every = Duration::from_millis(1);
        bounded.limits.max_size = MAX;
        bounded.limits.when_full = if oldest { WhenFull::DropOldest } else { WhenFull::DropNewest };
        let size = |content: usize| content as u64 + 1 + ROW_OVERHEAD;
        block_on(async {
            let mut bench = Bench::open(dir.path(), bounded).await;
            let mut waiting: VecDeque<(u64, usize)> = VecDeque::new();
            let mut held: VecDeque<(u64, usize)> = VecDeque::new();
            let (mut next, mut dropped, mut done) = (1, 0, 0);
            for (content, reads, acknowledged) in steps {
                let refusal = bench.keep(&vec![1; content]).await;
                let total = |w: &VecDeque<(u64, usize)>, h: &VecDeque<_>| w.iter().chain(h).map(|(_, c)| size(*c)).sum::<u64>();
                while oldest && total(&waiting, &held) + size(content) > MAX && waiting.pop_front().is_some() {
                    dropped += 1;
                }
                if total(&waiting, &held) + size(content) <= MAX {
                    assert_eq!(refusal, None);
                    waiting.push_back((next, content));
                    next += 1;
                } else {
                    assert_eq!(refusal, Some(Refusal::QueueFull));
                    dropped += 1;
                }
                for entry in bench.opened.queues[0].rows.read(reads, u64::MAX).await.expect("it reads") {
                    let expected = waiting.pop_front().expect("the store has no more than the model");
                    assert_eq!(entry.n(), expected.0);
                    held.push_back(expected);
                }
                for _ in 0..acknowledged.min(held.len()) {
                    done = held.pop_front().map_or(done, |(n, _)| n);
                }
                // The next report comes from a commit that has this acknowledgement in it.
                bench.opened.queues[0].receipts.acknowledge(done);
                let mut status = bench.opened.queues[0].status.clone();
                let depth = (waiting.len() + held.len()) as u64;
                status.wait_for(|status| status.depth == depth && status.dropped == dropped).await.expect("the writer runs");
                assert_eq!(status.borrow().bytes, total(&waiting, &held));
            }
            bench.close().await;
        });
    }
}
