//! The broker's state through the store's public ends: sessions, what waits for them, what is retained.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use fieldway::clock::Clock;
use fieldway::model::{Durability, Filter, Message, Name, Properties, QoS, Timestamp, Topic, WhenFull};
use fieldway::mqtt::{RetainHandling, SubscribeOptions, Will};
use fieldway::store::{
    Append, BrokerState, BrokerWrite, Entry, Limits, Opened, QueueId, QueueSpec, ROW_OVERHEAD, Refusal, SessionId,
    SessionRecord, SessionState, StoredDelivery, StoredRetained, StoredSubscription, Ticket, Urgency, Work,
};
use proptest::prelude::*;

use crate::store::{block_on, open, sql};

/// The broker's side of an open store, with tickets counted.
struct Bench {
    opened: Opened,
    ticket: u64,
}

impl Bench {
    async fn open(dir: &Path) -> Bench {
        Bench::open_with(dir, Vec::new()).await
    }

    async fn open_with(dir: &Path, queues: Vec<QueueSpec>) -> Bench {
        Bench { opened: open(dir, queues).await, ticket: 0 }
    }

    async fn hand_in(&mut self, what: Work, urgency: Urgency) -> Ticket {
        self.ticket += 1;
        let append = Append { ticket: Ticket(self.ticket), what, urgency };
        self.opened.appends.send(append).await.expect("the writer runs");
        Ticket(self.ticket)
    }

    /// Waits until a ticket is settled and returns its refusal, if it is one.
    async fn settled(&mut self, ticket: Ticket) -> Option<Refusal> {
        let mut refusal = None;
        loop {
            let report = self.opened.reports.recv().await.expect("the writer runs");
            refusal =
                refusal.or(report.refused.into_iter().find(|(refused, _)| *refused == ticket).map(|(_, why)| why));
            if report.through >= ticket {
                return refusal;
            }
        }
    }

    async fn keep(&mut self, write: BrokerWrite) -> Option<Refusal> {
        let ticket = self.hand_in(Work::Broker(write), Urgency::Awaited).await;
        self.settled(ticket).await
    }

    /// Hands all of them in, and expects each to be kept.
    async fn keep_all(&mut self, writes: impl IntoIterator<Item = BrokerWrite>) {
        for write in writes {
            self.hand_in(Work::Broker(write), Urgency::Batched).await;
        }
        let last = self.hand_in(Work::Together(Vec::new()), Urgency::Awaited).await;
        loop {
            let report = self.opened.reports.recv().await.expect("the writer runs");
            assert_eq!(report.refused, []);
            if report.through == last {
                return;
            }
        }
    }

    async fn backlog(&self, session: u64) -> Vec<(u64, StoredDelivery)> {
        let (mut all, mut from) = (Vec::new(), Some(0));
        while let Some(next) = from {
            let page = self.opened.sessions.page(SessionId(session), next, 5, 2_000).await.expect("it reads");
            assert_eq!(page.damaged, []);
            all.extend(page.deliveries);
            from = page.next;
        }
        all
    }

    async fn close(self) {
        self.opened.store.close().await.expect("it closes");
    }
}

fn topic(name: &str) -> Topic {
    Topic::new(name).expect("a topic")
}

fn filter(name: &str) -> Filter {
    Filter::new(name).expect("a filter")
}

fn session(id: u64) -> SessionRecord {
    SessionRecord {
        id: SessionId(id),
        client_id: format!("client {id}").into(),
        user: None,
        expiry_s: 3600,
        left_at: None,
        sent: u64::MAX,
        will: None,
    }
}

fn delivery(content: &str) -> StoredDelivery {
    StoredDelivery {
        message: Message::new(topic("plant/t"), content.to_owned(), QoS::AtLeastOnce, false),
        qos: QoS::AtLeastOnce,
        retain: false,
        subscription_ids: Vec::new(),
        queued: Some(Timestamp(1_795_187_045_123)),
    }
}

fn queued(session: u64, n: u64, content: &str) -> BrokerWrite {
    BrokerWrite::Queued { session: SessionId(session), n, delivery: delivery(content) }
}

fn done(session: u64, n: u64) -> BrokerWrite {
    BrokerWrite::Done { session: SessionId(session), n }
}

fn retained(name: &str, content: &str) -> StoredRetained {
    StoredRetained { message: Message::new(topic(name), content.to_owned(), QoS::AtMostOnce, true), at: None }
}

fn subscription(name: &str) -> StoredSubscription {
    StoredSubscription { filter: filter(name), options: SubscribeOptions::new(QoS::AtLeastOnce), id: None }
}

fn rich_message(name: &str) -> Message {
    let properties = Properties {
        payload_is_utf8: true,
        message_expiry_s: Some(60),
        content_type: Some("text/plain".into()),
        response_topic: Topic::new("answers/here").ok(),
        correlation_data: Some(vec![0, 255].into()),
        user: vec![("k".into(), "v".into()), ("k".into(), String::new())],
    };
    let message = Message::new(topic(name), vec![0, 1, 255], QoS::ExactlyOnce, true);
    Message { properties: Some(Box::new(properties)), ..message }
}

#[test]
fn everything_that_was_kept_is_found_again_as_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let record = SessionRecord {
        id: SessionId(7),
        client_id: "ärinä 7".into(),
        user: Some("hmi".into()),
        expiry_s: u32::MAX,
        left_at: Some(Timestamp(1_795_187_045_123)),
        sent: 3,
        will: Some(Box::new(Will { message: rich_message("wills/7"), delay_s: 30 })),
    };
    let options = SubscribeOptions {
        qos: QoS::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    let shared = StoredSubscription { filter: filter("$share/g/a/+/#"), options, id: Some(268_435_455) };
    let rich = StoredDelivery {
        message: rich_message("plant/ärinä"),
        qos: QoS::ExactlyOnce,
        retain: true,
        subscription_ids: vec![1, 268_435_455],
        queued: None,
    };
    let kept = StoredRetained { message: rich_message("plant/state"), at: Some(Timestamp(9)) };
    block_on(async {
        let mut bench = Bench::open(dir.path()).await;
        assert_eq!(bench.opened.broker, BrokerState::default());
        let id = record.id;
        let writes = [
            BrokerWrite::Session(record.clone()),
            BrokerWrite::Subscribed { session: id, subscription: shared.clone() },
            BrokerWrite::Subscribed { session: id, subscription: subscription("b") },
            BrokerWrite::Queued { session: id, n: 4, delivery: rich.clone() },
            queued(7, 5, "next"),
            BrokerWrite::Received { session: id, packet_id: 65_535 },
            BrokerWrite::Received { session: id, packet_id: 1 },
            BrokerWrite::Retained(kept.clone()),
        ];
        bench.keep_all(writes).await;
        bench.keep_all([queued(7, 6, "recorded"), BrokerWrite::Recorded { session: id, n: 6 }]).await;
        bench.close().await;
    });
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let state = SessionState {
            record: record.clone(),
            subscriptions: vec![shared.clone(), subscription("b")],
            received: vec![1, 65_535],
            recorded: vec![6],
            depth: 2,
            bytes: rich.stored_bytes() + delivery("next").stored_bytes(),
            first_n: 4,
            next_n: 7,
        };
        let found = BrokerState { sessions: vec![state], retained: vec![kept.clone()], last_session: 7, damaged: 0 };
        assert_eq!(bench.opened.broker, found);
        assert_eq!(bench.backlog(7).await, [(4, rich.clone()), (5, delivery("next"))]);
        assert_eq!(bench.backlog(8).await, []);
        bench.close().await;
    });
}

#[test]
fn a_page_ends_at_its_bounds_and_says_where_the_next_one_begins() {
    let dir = tempfile::tempdir().expect("a directory");
    block_on(async {
        let mut bench = Bench::open(dir.path()).await;
        bench.keep_all([BrokerWrite::Session(session(1)), BrokerWrite::Session(session(2))]).await;
        bench.keep_all((1..=20).flat_map(|n| [queued(1, 2 * n, "x"), queued(2, n, "y")])).await;
        let page = async |from, messages, bytes| {
            let page = bench.opened.sessions.page(SessionId(1), from, messages, bytes).await.expect("it reads");
            (page.deliveries.iter().map(|(n, _)| *n).collect::<Vec<_>>(), page.next)
        };
        assert_eq!(page(0, 3, u64::MAX).await, (vec![2, 4, 6], Some(7)));
        assert_eq!(page(7, 2, u64::MAX).await, (vec![8, 10], Some(11)));
        assert_eq!(page(0, 100, delivery("x").stored_bytes() + 1).await, (vec![2, 4], Some(5)));
        assert_eq!(page(38, 0, 0).await, (vec![38], Some(39)), "one at least");
        assert_eq!(page(38, 10, u64::MAX).await, (vec![38, 40], None));
        assert_eq!(page(41, 10, u64::MAX).await, (vec![], None));
        bench.close().await;
    });
}

#[test]
fn what_is_acknowledged_before_it_is_committed_is_never_written() {
    let dir = tempfile::tempdir().expect("a directory");
    block_on(async {
        let mut bench = Bench::open(dir.path()).await;
        bench.keep_all([BrokerWrite::Session(session(1))]).await;
        let log = || std::fs::metadata(dir.path().join("queue.db-wal")).expect("there").len();
        let before = log();
        for n in 1..=50 {
            // In one batch for sure.
            let both = vec![Work::Broker(queued(1, n, "x")), Work::Broker(done(1, n))];
            let ticket = bench.hand_in(Work::Together(both), Urgency::Awaited).await;
            assert_eq!(bench.settled(ticket).await, None);
        }
        assert_eq!(log(), before);
        assert_eq!(bench.backlog(1).await, []);
        assert!(matches!(bench.keep(queued(1, 50, "again")).await, Some(Refusal::Storage(_))), "its number was used");
        assert_eq!(bench.keep(queued(1, 51, "x")).await, None);
        assert!(log() > before);
        bench.close().await;
    });
}

#[test]
fn a_session_that_is_over_leaves_nothing_behind_and_its_number_is_not_used_again() {
    let dir = tempfile::tempdir().expect("a directory");
    const ROWS: u64 = 10_000;
    block_on(async {
        let mut bench = Bench::open(dir.path()).await;
        bench.keep_all([BrokerWrite::Session(session(1)), BrokerWrite::Session(session(2))]).await;
        bench.keep_all((1..=ROWS).map(|n| queued(2, n, "x"))).await;
        bench.keep_all([queued(1, 1, "stays"), queued(2, ROWS + 1, "y")]).await;
        let subscribed = BrokerWrite::Subscribed { session: SessionId(2), subscription: subscription("a") };
        let received = BrokerWrite::Received { session: SessionId(2), packet_id: 9 };
        bench.keep_all([subscribed, received, BrokerWrite::Recorded { session: SessionId(2), n: ROWS + 1 }]).await;
        bench.keep_all([BrokerWrite::SessionGone(SessionId(2))]).await;
        assert!(matches!(bench.keep(queued(2, ROWS + 2, "late")).await, Some(Refusal::Storage(_))));
        assert!(matches!(bench.keep(BrokerWrite::Session(session(2))).await, Some(Refusal::Storage(_))));
        assert_eq!(bench.keep(done(2, 7)).await, None, "what is over is over");
        // Dropped where it stands: what is left of the session goes after the next start.
    });
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let sessions: Vec<u64> = bench.opened.broker.sessions.iter().map(|session| session.record.id.0).collect();
        assert_eq!((sessions, bench.opened.broker.last_session), (vec![1], 2));
        assert_eq!(bench.backlog(1).await, [(1, delivery("stays"))]);
        let deadline = Clock::start();
        while !bench.opened.sessions.page(SessionId(2), 0, 1, 1).await.expect("it reads").deliveries.is_empty() {
            assert!(deadline.now().0 < Duration::from_secs(20), "what is left of the session is not deleted");
            tokio::task::yield_now().await;
        }
        bench.close().await;
    });
    for table in ["sessions", "session_marks", "subscriptions", "deliveries", "recorded", "received"] {
        let expected = if matches!(table, "sessions" | "session_marks" | "deliveries") { "1" } else { "0" };
        assert_eq!(sql(dir.path(), &format!("SELECT count(*) FROM {table}")), expected, "{table}");
    }
}

fn small_queue() -> QueueSpec {
    QueueSpec {
        name: Name::new("cloud").expect("a name"),
        limits: Limits {
            max_size: 3 * (ROW_OVERHEAD + 2),
            max_age: Duration::from_secs(3600),
            when_full: WhenFull::DropNewest,
        },
        durability: Durability::Normal,
        commit_every: Duration::from_millis(10),
    }
}

#[test]
fn what_belongs_together_is_kept_whole_or_not_at_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let for_cloud = |content: &str| Work::Message {
        queue: QueueId::normal(0),
        message: Message::new(topic("t"), content.to_owned(), QoS::AtLeastOnce, false),
    };
    let received = |id| Work::Broker(BrokerWrite::Received { session: SessionId(1), packet_id: id });
    block_on(async {
        let mut bench = Bench::open_with(dir.path(), vec![small_queue()]).await;
        bench.keep_all([BrokerWrite::Session(session(1))]).await;
        let mut tickets = Vec::new();
        for n in 1..=4 {
            let all = vec![Work::Broker(queued(1, n, "local")), for_cloud(&n.to_string()), received(n as u16)];
            tickets.push(bench.hand_in(Work::Together(all), Urgency::Batched).await);
        }
        // The queue has no room for the fourth, so neither the session nor the publisher's packet id may have it; others go on.
        let astray = vec![Work::Broker(queued(1, 9, "x")), Work::Broker(queued(77, 1, "nobody")), received(9)];
        let astray = bench.hand_in(Work::Together(astray), Urgency::Batched).await;
        let single = bench.hand_in(Work::Broker(queued(1, 5, "alone")), Urgency::Awaited).await;
        let mut refused = Vec::new();
        loop {
            let report = bench.opened.reports.recv().await.expect("the writer runs");
            refused.extend(report.refused);
            if report.through == single {
                break;
            }
        }
        let tickets_refused: Vec<Ticket> = refused.iter().map(|(ticket, _)| *ticket).collect();
        assert_eq!(tickets_refused, [tickets[3], astray], "{refused:?}");
        assert_eq!(refused[0].1, Refusal::QueueFull);
        bench.close().await;
    });
    block_on(async {
        let mut bench = Bench::open_with(dir.path(), vec![small_queue()]).await;
        let contents: Vec<u64> = bench.backlog(1).await.iter().map(|(n, _)| *n).collect();
        assert_eq!(contents, [1, 2, 3, 5]);
        assert_eq!(bench.opened.broker.sessions[0].received, [1, 2, 3]);
        let mut up = Vec::new();
        while up.len() < 3 {
            let rows = bench.opened.queues[0].rows.read(1, u64::MAX).await.expect("it reads");
            for entry in rows {
                let Entry::Whole(row) = entry else { panic!("{entry:?}") };
                up.push(String::from_utf8(row.message.payload.to_vec()).expect("text"));
                bench.opened.queues[0].receipts.acknowledge(row.n);
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(up, ["1", "2", "3"]);
        bench.close().await;
    });
}

#[test]
fn damaged_rows_are_left_out_counted_and_hide_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    block_on(async {
        let mut bench = Bench::open(dir.path()).await;
        for id in 1..=3 {
            bench.keep_all([BrokerWrite::Session(session(id)), queued(id, 1, "aaaa"), queued(id, 2, "bbbb")]).await;
            let subscribed =
                |name| BrokerWrite::Subscribed { session: SessionId(id), subscription: subscription(name) };
            bench.keep_all([subscribed("a"), subscribed("b")]).await;
        }
        bench.keep_all(["a", "b", "c"].map(|name| BrokerWrite::Retained(retained(name, name)))).await;
        bench.close().await;
    });
    for damage in [
        "UPDATE deliveries SET payload = x'62626263' WHERE session = 1 AND n = 1",
        "UPDATE sessions SET expiry_s = 7 WHERE id = 2",
        "UPDATE subscriptions SET options = 2 WHERE session = 3 AND filter = 'a'",
        "UPDATE retained SET topic = 'x' WHERE topic = 'b'",
    ] {
        sql(dir.path(), damage);
    }
    for start in [1, 2] {
        block_on(async {
            let bench = Bench::open(dir.path()).await;
            let broker = &bench.opened.broker;
            let sessions: Vec<u64> = broker.sessions.iter().map(|session| session.record.id.0).collect();
            assert_eq!(sessions, [1, 3], "start {start}");
            assert_eq!(broker.sessions[1].subscriptions, [subscription("b")]);
            let topics: Vec<&str> = broker.retained.iter().map(|kept| kept.message.topic.as_str()).collect();
            assert_eq!(topics, ["a", "c"]);
            let page = bench.opened.sessions.page(SessionId(1), 0, 10, u64::MAX).await.expect("it reads");
            assert_eq!(
                (page.damaged.len(), page.damaged[0].0, &page.deliveries[..]),
                (1, 1, &[(2, delivery("bbbb"))][..])
            );
            // What could be dropped without a doubt is not told again.
            assert_eq!(broker.damaged, if start == 1 { 3 } else { 1 });
            bench.close().await;
        });
    }
}

#[test]
fn a_store_of_the_first_version_opens_and_keeps_what_waits_in_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut spec = small_queue();
    spec.limits.max_size = 1 << 20;
    block_on(async {
        let mut bench = Bench::open_with(dir.path(), vec![spec.clone()]).await;
        for n in 1..=3 {
            let message = Message::new(topic("t"), n.to_string(), QoS::AtLeastOnce, false);
            let ticket = bench.hand_in(Work::Message { queue: QueueId::normal(0), message }, Urgency::Awaited).await;
            assert_eq!(bench.settled(ticket).await, None);
        }
        bench.close().await;
    });
    // As the first version left it.
    for table in
        ["broker", "sessions", "session_marks", "subscriptions", "deliveries", "recorded", "received", "retained"]
    {
        sql(dir.path(), &format!("DROP TABLE {table}"));
    }
    sql(dir.path(), "DELETE FROM _sqlx_migrations WHERE version > 1");
    block_on(async {
        let mut bench = Bench::open_with(dir.path(), vec![spec]).await;
        assert_eq!(bench.opened.queues[0].status.borrow().depth, 3);
        let rows = bench.opened.queues[0].rows.read(10, u64::MAX).await.expect("it reads");
        assert!(rows.iter().map(Entry::n).eq(1..=3), "{rows:?}");
        assert_eq!(bench.opened.broker, BrokerState::default());
        assert_eq!(bench.keep(BrokerWrite::Session(session(1))).await, None);
        bench.close().await;
    });
}

#[test]
fn sessions_and_retained_messages_are_salvaged_from_a_damaged_database() {
    let dir = tempfile::tempdir().expect("a directory");
    const ROWS: u64 = 400;
    let long = |n: u64| format!("{n:0500}");
    block_on(async {
        let mut bench = Bench::open(dir.path()).await;
        bench.keep_all([BrokerWrite::Session(session(1)), BrokerWrite::Session(session(2))]).await;
        let subscribed = BrokerWrite::Subscribed { session: SessionId(1), subscription: subscription("a/#") };
        bench.keep_all([subscribed, BrokerWrite::Received { session: SessionId(1), packet_id: 3 }]).await;
        bench.keep_all((1..=ROWS).flat_map(|n| [queued(1, n, &long(n)), queued(2, n, &long(n))])).await;
        bench.keep_all([BrokerWrite::Recorded { session: SessionId(1), n: 1 }, done(2, 1)]).await;
        bench.keep_all((0..50).map(|i| BrokerWrite::Retained(retained(&format!("r/{i}"), &long(i))))).await;
        bench.close().await;
    });
    // A page in the middle of the deliveries.
    let page = sql(dir.path(), "SELECT rootpage FROM sqlite_schema WHERE name = 'deliveries'");
    let file = dir.path().join("queue.db");
    let mut bytes = std::fs::read(&file).expect("there");
    let middle = (page.parse::<usize>().expect("a number") + 60) * 4096;
    bytes[middle..middle + 4096].fill(0);
    std::fs::write(&file, &bytes).expect("written");
    std::fs::write(dir.path().join("queue.db.suspect"), "").expect("written");

    block_on(async {
        let mut bench = Bench::open(dir.path()).await;
        let aside = std::fs::read_dir(dir.path())
            .expect("there")
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        assert!(aside.into_iter().any(|name| name.starts_with("queue.db.corrupt-")), "it was not replaced");
        let broker = &bench.opened.broker;
        let [one, two] = &broker.sessions[..] else { panic!("two sessions: {broker:?}") };
        assert_eq!((&one.record, &two.record), (&session(1), &session(2)));
        assert_eq!((&one.subscriptions[..], &one.received[..]), (&[subscription("a/#")][..], &[3][..]));
        assert_eq!((&one.recorded[..], one.next_n, two.next_n, broker.last_session), (&[1][..], ROWS + 1, ROWS + 1, 2));
        assert_eq!(broker.retained.len(), 50);
        let mut lost = 0;
        for state in [one, two] {
            let found = bench.backlog(state.record.id.0).await;
            assert!(found.is_sorted_by_key(|(n, _)| *n) && found.iter().all(|(n, d)| *d == delivery(&long(*n))));
            assert_eq!(state.depth, found.len() as u64);
            assert_eq!(state.bytes, found.len() as u64 * delivery(&long(1)).stored_bytes());
            lost += ROWS - 1 - state.depth;
        }
        assert!((1..=8).contains(&lost), "{lost} lost");
        assert_eq!(bench.keep(queued(1, ROWS + 1, "goes on")).await, None);
        bench.close().await;
    });
}

/// What is in the store, as plain maps.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    sessions: BTreeMap<u64, ModelSession>,
    retained: BTreeMap<String, StoredRetained>,
    last_session: u64,
}

#[derive(Debug, Clone, PartialEq)]
struct ModelSession {
    record: SessionRecord,
    subscriptions: BTreeMap<String, StoredSubscription>,
    queued: BTreeMap<u64, StoredDelivery>,
    recorded: Vec<u64>,
    received: Vec<u16>,
    next_n: u64,
}

impl Model {
    fn apply(&mut self, write: &BrokerWrite) {
        let of = |id: &SessionId| id.0;
        match write.clone() {
            BrokerWrite::Session(record) => {
                self.last_session = self.last_session.max(record.id.0);
                let empty = ModelSession {
                    record: record.clone(),
                    subscriptions: BTreeMap::new(),
                    queued: BTreeMap::new(),
                    recorded: Vec::new(),
                    received: Vec::new(),
                    next_n: 1,
                };
                self.sessions.entry(record.id.0).or_insert(empty).record = record.clone();
            }
            BrokerWrite::SessionGone(id) => _ = self.sessions.remove(&of(&id)),
            BrokerWrite::Retained(kept) => _ = self.retained.insert(kept.message.topic.to_string(), kept),
            BrokerWrite::Unretained(topic) => _ = self.retained.remove(topic.as_str()),
            BrokerWrite::Subscribed { session, subscription } => {
                let name = subscription.filter.to_string();
                self.session(session).subscriptions.insert(name, subscription);
            }
            BrokerWrite::Unsubscribed { session, filter } => {
                self.session(session).subscriptions.remove(filter.as_str());
            }
            BrokerWrite::Queued { session, n, delivery } => {
                let session = self.session(session);
                session.next_n = n + 1;
                session.queued.insert(n, delivery);
            }
            BrokerWrite::Recorded { session, n } => {
                let session = self.session(session);
                if session.queued.remove(&n).is_some() {
                    session.recorded.push(n);
                    session.recorded.sort_unstable();
                }
            }
            BrokerWrite::Done { session, n } => {
                let session = self.session(session);
                session.queued.remove(&n);
                session.recorded.retain(|recorded| *recorded != n);
            }
            BrokerWrite::Received { session, packet_id } => {
                let session = self.session(session);
                session.received.push(packet_id);
                session.received.sort_unstable();
                session.received.dedup();
            }
            BrokerWrite::Released { session, packet_id } => {
                self.session(session).received.retain(|id| *id != packet_id);
            }
        }
    }

    fn session(&mut self, id: SessionId) -> &mut ModelSession {
        self.sessions.get_mut(&id.0).expect("steps are made for sessions that exist")
    }

    /// The write that a step means now.
    fn write(&self, step: (u8, u8, u8)) -> BrokerWrite {
        let (what, which, number) = step;
        let names = ["a", "b/+", "c/#"];
        let name = names[usize::from(number) % names.len()];
        let chosen = self.sessions.values().nth(usize::from(which) % self.sessions.len().max(1));
        let Some(session) = chosen.filter(|_| what > 1) else {
            let mut record = session(self.last_session + 1);
            if let Some(known) = chosen.filter(|_| what == 1) {
                record = known.record.clone();
                record.left_at = Some(Timestamp(i64::from(number) + 1));
                record.sent = u64::from(number);
            }
            return BrokerWrite::Session(record);
        };
        let id = session.record.id;
        let some_n = || {
            let all: Vec<u64> = session.queued.keys().chain(&session.recorded).copied().collect();
            all.get(usize::from(number) % all.len().max(1)).copied()
        };
        let delivery = || BrokerWrite::Queued {
            session: id,
            n: session.next_n + u64::from(number % 8 == 0),
            delivery: delivery(&"x".repeat(usize::from(number))),
        };
        match what {
            2 => BrokerWrite::SessionGone(id),
            3 => BrokerWrite::Subscribed { session: id, subscription: subscription(name) },
            4 => BrokerWrite::Unsubscribed { session: id, filter: filter(name) },
            5 => BrokerWrite::Received { session: id, packet_id: u16::from(number % 8) },
            6 => BrokerWrite::Released { session: id, packet_id: u16::from(number % 8) },
            7 => BrokerWrite::Retained(retained(&format!("t/{}", number % 4), &number.to_string())),
            8 => BrokerWrite::Unretained(topic(&format!("t/{}", number % 4))),
            9 => some_n().map_or_else(delivery, |n| BrokerWrite::Recorded { session: id, n }),
            10..=13 => some_n().map_or_else(delivery, |n| BrokerWrite::Done { session: id, n }),
            _ => delivery(),
        }
    }

    /// What a store has. Numbers that were used and left no trace may be forgotten.
    async fn found_in(bench: &Bench, expected: &Model) -> Model {
        let mut found = Model::default();
        for state in &bench.opened.broker.sessions {
            let queued: BTreeMap<u64, StoredDelivery> = bench.backlog(state.record.id.0).await.into_iter().collect();
            assert_eq!(state.depth, queued.len() as u64);
            assert_eq!(state.bytes, queued.values().map(StoredDelivery::stored_bytes).sum::<u64>());
            assert_eq!(state.first_n, queued.keys().next().copied().unwrap_or(state.next_n));
            let highest = queued.keys().chain(&state.recorded).max().copied().unwrap_or(0);
            let model_next = expected.sessions.get(&state.record.id.0).map_or(state.next_n, |session| session.next_n);
            let next_n = if highest < state.next_n && state.next_n <= model_next { model_next } else { state.next_n };
            let subscriptions =
                state.subscriptions.iter().map(|subscription| (subscription.filter.to_string(), subscription.clone()));
            let session = ModelSession {
                record: state.record.clone(),
                subscriptions: subscriptions.collect(),
                queued,
                recorded: state.recorded.clone(),
                received: state.received.clone(),
                next_n,
            };
            found.sessions.insert(state.record.id.0, session);
        }
        let retained = &bench.opened.broker.retained;
        found.retained = retained.iter().map(|kept| (kept.message.topic.to_string(), kept.clone())).collect();
        assert_eq!(found.retained.len(), retained.len(), "a topic has one retained message");
        assert_eq!(bench.opened.broker.damaged, 0);
        let last = bench.opened.broker.last_session;
        let highest = found.sessions.keys().next_back().copied().unwrap_or(0);
        found.last_session =
            if (highest..=expected.last_session).contains(&last) { expected.last_session } else { last };
        found
    }
}

#[derive(Debug, Clone)]
enum Step {
    Write((u8, u8, u8)),
    Settle,
    Crash,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        30 => (0u8..20, 0u8..6, any::<u8>()).prop_map(Step::Write),
        4 => Just(Step::Settle),
        1 => Just(Step::Crash),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// After a crash the store is as it was after some number of writes: all that were settled, and perhaps some that were not.
    #[test]
    fn the_brokers_state_equals_a_model_with_crashes(steps in steps()) {
        let dir = tempfile::tempdir().expect("a directory");
        let mut possible = vec![Model::default()];
        for life in steps.split_inclusive(|step| matches!(step, Step::Crash | Step::Reopen)).chain([&[][..]]) {
            block_on(async {
                let mut bench = Bench::open(dir.path()).await;
                let mut model = None;
                for candidate in possible.drain(..).rev() {
                    let found = Model::found_in(&bench, &candidate).await;
                    if found == candidate {
                        model = Some(candidate);
                        break;
                    }
                }
                let model = model.unwrap_or_else(|| panic!("the store has none of the states: {:?}", bench.opened.broker));
                possible.push(model);
                for step in life {
                    let model = possible.last().expect("one at least");
                    match step {
                        Step::Write(what) => {
                            let write = model.write(*what);
                            let mut model = model.clone();
                            model.apply(&write);
                            possible.push(model);
                            bench.hand_in(Work::Broker(write), Urgency::Batched).await;
                        }
                        Step::Settle => {
                            bench.keep_all([]).await;
                            possible.drain(..possible.len() - 1);
                        }
                        Step::Crash => {}
                        Step::Reopen => {
                            possible.drain(..possible.len() - 1);
                            return bench.close().await;
                        }
                    }
                }
            });
        }
    }
}
