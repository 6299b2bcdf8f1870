//! The writer on a disk that fails: what was refused is not there, and what was to go goes.

use std::path::Path;
use std::time::Duration;

use crate::clock::Clock;
use crate::model::{Durability, Message, Name, QoS, Topic, WhenFull};
use crate::store::data_dir::DataDir;
use crate::store::open::{Opened, open_all, start};
use crate::store::sqlite::{Database, Fault};
use crate::store::{
    Append, BrokerWrite, Intake, Limits, QueueId, QueueSpec, Refusal, SessionId, SessionRecord, StoredDelivery,
    StoredRetained, Ticket, Urgency, Work,
};

struct Bench {
    opened: Opened,
    ticket: u64,
}

impl Bench {
    async fn open(dir: &Path, broker_bytes: u64, prepare: impl AsyncFnOnce(&mut Database)) -> Bench {
        let dir = DataDir::take(dir).expect("ours");
        let limits = Limits { max_size: 1 << 20, max_age: Duration::from_secs(3600), when_full: WhenFull::DropOldest };
        let (name, commit_every) = (Name::new("cloud").expect("a name"), Duration::from_millis(5));
        let specs = vec![QueueSpec { name, limits, durability: Durability::Full, commit_every }];
        let (mut database, roster) =
            open_all(&dir.database(), Durability::Full, false, &specs).await.expect("it opens");
        prepare(&mut database).await;
        let opened = start(dir, database, roster, specs, broker_bytes, Clock::start()).await.expect("it starts");
        Bench { opened, ticket: 0 }
    }

    async fn keep(&mut self, all: Vec<Work>) -> Option<Refusal> {
        self.ticket += 1;
        let append = Append { ticket: Ticket(self.ticket), what: Work::Together(all), urgency: Urgency::Awaited };
        self.opened.appends.send(append).await.expect("the writer runs");
        let report = self.opened.reports.recv().await.expect("the writer runs");
        assert_eq!(report.through, Ticket(self.ticket));
        report.refused.into_iter().map(|(_, why)| why).next()
    }

    /// Waits until the disk takes something again.
    async fn recovered(&mut self) {
        let mut status = self.opened.queues[0].status.clone();
        let recovered = status.wait_for(|status| status.error.is_none());
        tokio::time::timeout(Duration::from_secs(20), recovered).await.expect("by itself").expect("the writer runs");
    }

    async fn numbers(&self, session: u64) -> Vec<u64> {
        let page = self.opened.sessions.page(SessionId(session), 0, 1000, u64::MAX).await.expect("it reads");
        page.deliveries.iter().map(|(n, _)| *n).collect()
    }
}

fn session(id: u64) -> Work {
    Work::Broker(BrokerWrite::Session(SessionRecord {
        id: SessionId(id),
        client_id: "c".into(),
        user: None,
        expiry_s: 60,
        left_at: None,
        sent: 0,
        will: None,
    }))
}

fn message(bytes: usize) -> Message {
    Message::new(Topic::new("t").expect("a topic"), vec![7; bytes], QoS::ExactlyOnce, false)
}

fn queued(n: u64, bytes: usize) -> Work {
    let delivery = StoredDelivery {
        message: message(bytes),
        qos: QoS::ExactlyOnce,
        retain: false,
        subscription_ids: vec![],
        queued: None,
    };
    Work::Broker(BrokerWrite::Queued { session: SessionId(1), n, delivery })
}

fn done(n: u64) -> Work {
    Work::Broker(BrokerWrite::Done { session: SessionId(1), n })
}

fn received(packet_id: u16) -> Work {
    Work::Broker(BrokerWrite::Received { session: SessionId(1), packet_id })
}

fn released(packet_id: u16) -> Work {
    Work::Broker(BrokerWrite::Released { session: SessionId(1), packet_id })
}

fn came_down(packet_id: u16) -> Work {
    Work::Received(Intake { uplink: 0, packet_id })
}

fn for_cloud() -> Work {
    Work::Message { queue: QueueId::normal(0), message: message(10) }
}

#[tokio::test]
async fn whether_a_failed_commit_is_on_disk_or_not_what_was_refused_is_not_there_and_what_was_to_go_goes() {
    for fault in [Fault::Undone, Fault::Reported] {
        let temp = tempfile::tempdir().expect("a directory");
        let mut bench = Bench::open(temp.path(), 1 << 20, async |_| {}).await;
        assert_eq!(
            bench.keep(vec![session(1), queued(1, 10), queued(2, 10), received(1), came_down(8), for_cloud()]).await,
            None
        );
        bench.opened.store.close().await.expect("it closes");

        let mut bench = Bench::open(temp.path(), 1 << 20, async |database| database.fault = fault).await;
        let publish = || vec![received(2), came_down(9), queued(3, 10), for_cloud(), done(1), released(1), session(2)];
        let refusal = bench.keep(publish()).await;
        assert!(matches!(refusal, Some(Refusal::Storage(_))), "{fault:?}: {refusal:?}");
        bench.recovered().await;
        assert_eq!(bench.numbers(1).await, [2], "{fault:?}");
        assert_eq!(bench.opened.queues[0].status.borrow().depth, 1, "{fault:?}");
        // The publisher comes with the same packet id again: it is a new message to everyone.
        assert_eq!(bench.keep(vec![received(2), queued(4, 10), for_cloud(), session(3)]).await, None, "{fault:?}");
        bench.opened.store.close().await.expect("it closes");

        let mut bench = Bench::open(temp.path(), 1 << 20, async |_| {}).await;
        assert_eq!(bench.opened.receptions[0].received, [8], "{fault:?}");
        let sessions = &bench.opened.broker.sessions;
        assert_eq!(sessions.iter().map(|session| session.record.id.0).collect::<Vec<_>>(), [1, 3], "{fault:?}");
        assert_eq!((&sessions[0].received[..], sessions[0].depth, sessions[0].next_n), (&[2][..], 2, 5), "{fault:?}");
        assert_eq!(bench.numbers(1).await, [2, 4], "{fault:?}");
        let rows = bench.opened.queues[0].rows.read(10, u64::MAX).await.expect("it reads");
        assert_eq!(rows.len(), 2, "{fault:?}: {rows:?}");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_what_comes_for_a_session_and_forgets_nothing_that_was_acknowledged_meanwhile() {
    let temp = tempfile::tempdir().expect("a directory");
    let mut bench = Bench::open(temp.path(), 1 << 30, async |_| {}).await;
    assert_eq!(bench.keep(vec![session(1), queued(1, 10), queued(2, 10), received(1)]).await, None);
    bench.opened.store.close().await.expect("it closes");

    let fill = async |database: &mut Database| database.fill_disk(4).await.expect("limited");
    let mut bench = Bench::open(temp.path(), 1 << 30, fill).await;
    let mut n = 3;
    let refusal = loop {
        match bench.keep(vec![queued(n, 4000)]).await {
            None => n += 1,
            Some(refusal) => break refusal,
        }
    };
    assert!(matches!(&refusal, Refusal::Storage(why) if why.contains("disk is full")), "{refusal:?}");
    // Reported as not safe yet, and done by the store itself as soon as it can.
    for removal in [done(1), released(1)] {
        assert!(matches!(bench.keep(vec![removal]).await, Some(Refusal::Storage(_))));
    }
    bench.recovered().await;
    assert_eq!(bench.keep(vec![queued(n + 1, 10)]).await, None);
    let expected: Vec<u64> = (2..n).chain([n + 1]).collect();
    assert_eq!(bench.numbers(1).await, expected);
    bench.opened.store.close().await.expect("it closes");

    let bench = Bench::open(temp.path(), 1 << 30, async |_| {}).await;
    let state = &bench.opened.broker.sessions[0];
    assert_eq!((state.depth, state.first_n, state.next_n), (expected.len() as u64, 2, n + 2));
    assert_eq!(state.received, [0; 0]);
}

#[tokio::test]
async fn the_brokers_state_ends_at_its_bound_and_takes_more_when_something_has_gone() {
    let temp = tempfile::tempdir().expect("a directory");
    let mut bench = Bench::open(temp.path(), 3000, async |_| {}).await;
    let retained = |bytes| Work::Broker(BrokerWrite::Retained(StoredRetained { message: message(bytes), at: None }));
    assert_eq!(bench.keep(vec![session(1), queued(1, 900), queued(2, 900)]).await, None);
    assert_eq!(bench.keep(vec![retained(900)]).await, None);
    assert_eq!(bench.keep(vec![queued(3, 900)]).await, Some(Refusal::QueueFull));
    assert_eq!(bench.keep(vec![retained(900)]).await, None, "in place of the one before");
    assert_eq!(bench.keep(vec![retained(1100)]).await, Some(Refusal::QueueFull));
    assert_eq!(bench.keep(vec![done(1)]).await, None);
    assert_eq!(bench.keep(vec![queued(4, 900)]).await, None);
    bench.opened.store.close().await.expect("it closes");

    let mut bench = Bench::open(temp.path(), 3000, async |_| {}).await;
    assert_eq!(bench.keep(vec![queued(5, 900)]).await, Some(Refusal::QueueFull), "it knows after a start");
    assert_eq!(bench.keep(vec![Work::Broker(BrokerWrite::SessionGone(SessionId(1)))]).await, None);
    assert_eq!(bench.keep(vec![session(2), retained(2000)]).await, None);
}
