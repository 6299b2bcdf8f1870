//! An uplink with a store behind it and a cloud before it: nothing is lost, and the order is kept.

mod accept;
mod failover;
mod mosquitto;
mod refusals;
mod stand_in;
mod transports;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use fieldway::clock::Clock;
use fieldway::config::{ServerConfig, UplinkTls};
use fieldway::model::{Durability, Message, Name, Pulse, QoS, Topic, UplinkState, UplinkStatus, WhenFull};
use fieldway::mqtt::Version;
use fieldway::store::{Append, Limits, Opened, QueueId, QueueSpec, Reception, Store, Ticket, Urgency, Work};
use fieldway::uplink::{self, Accept, Presence, Settings};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Everything that is waited for comes within this or never.
const PATIENCE: Duration = Duration::from_secs(60);

fn settings(cloud: SocketAddr, version: Version) -> Settings {
    Settings {
        pulse: Pulse::default(),
        name: Name::new("cloud").expect("a name"),
        servers: vec![ServerConfig::plain(cloud.ip().to_string(), cloud.port())],
        tls: UplinkTls::default(),
        client_id: "plant-7".into(),
        username: None,
        password: None,
        password_file: None,
        version,
        keep_alive: Duration::from_secs(60),
        window: 20,
        rate_limit: None,
        gateway: "plant-7".into(),
        presence: None,
        stall_after: Settings::STALL_AFTER,
    }
}

fn presence() -> Presence {
    Presence {
        topic: Topic::new("plant-7/gateway/state").expect("a topic"),
        online: Bytes::from_static(b"online"),
        offline: Bytes::from_static(b"offline"),
    }
}

fn message(topic: &str, payload: impl Into<Bytes>, qos: QoS) -> Message {
    Message::new(Topic::new(topic).expect("a topic"), payload, qos, false)
}

/// A gateway's northern half: a store, and an uplink on it.
struct North {
    store: Store,
    appends: mpsc::Sender<Append>,
    reports: mpsc::Receiver<fieldway::store::CommitReport>,
    live: mpsc::Sender<Message>,
    status: watch::Receiver<UplinkStatus>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
    ticket: u64,
}

impl North {
    async fn start(data_dir: &Path, settings: Settings) -> North {
        North::accepting(data_dir, settings, Accept::nothing).await
    }

    async fn accepting(data_dir: &Path, settings: Settings, accept: impl FnOnce(Reception) -> Accept) -> North {
        let clock = Clock::start();
        let spec = QueueSpec {
            name: settings.name.clone(),
            limits: Limits { max_size: 1 << 30, max_age: Duration::from_secs(86_400), when_full: WhenFull::DropOldest },
            durability: Durability::Normal,
            commit_every: Duration::from_millis(20),
        };
        let opened = Store::open(data_dir, vec![spec], clock).await.expect("the store opens");
        let Opened { store, mut queues, mut receptions, appends, reports, .. } = opened;
        let queue = queues.pop().expect("one queue");
        let accept = accept(receptions.pop().expect("as many as queues"));
        let (live, live_rx) = mpsc::channel(16);
        let (status_tx, status) = watch::channel(UplinkStatus::starting(settings.name.clone()));
        let cancel = CancellationToken::new();
        let task = tokio::spawn(uplink::run(settings, queue, live_rx, accept, clock, status_tx, cancel.clone()));
        North { store, appends, reports, live, status, cancel, task, ticket: 0 }
    }

    /// Queues a message and waits until it is safe.
    async fn keep(&mut self, messages: impl IntoIterator<Item = Message>) {
        for message in messages {
            self.append(Work::Message { queue: QueueId::normal(0), message }).await;
        }
        self.committed().await;
    }

    /// Has anything kept and waits until it is safe.
    async fn keep_work(&mut self, what: Work) {
        self.append(what).await;
        self.committed().await;
    }

    async fn append(&mut self, what: Work) {
        self.ticket += 1;
        let append = Append { ticket: Ticket(self.ticket), what, urgency: Urgency::Awaited };
        self.appends.send(append).await.expect("the writer runs");
    }

    async fn committed(&mut self) {
        loop {
            let report = self.reports.recv().await.expect("the writer runs");
            assert!(report.refused.is_empty(), "{report:?}");
            if report.through == Ticket(self.ticket) {
                return;
            }
        }
    }

    async fn until(&mut self, what: &str, is_so: impl FnMut(&UplinkStatus) -> bool) -> UplinkStatus {
        let found =
            timeout(PATIENCE, self.status.wait_for(is_so)).await.map(|found| found.expect("the uplink runs").clone());
        found.unwrap_or_else(|_| panic!("{what} did not come; the status is {:?}", *self.status.borrow()))
    }

    /// Waits until everything that was queued has gone.
    async fn until_drained(&mut self) {
        let queued = self.ticket;
        let drained =
            |status: &UplinkStatus| status.queue.queued == queued && status.queue.depth == 0 && status.acknowledged > 0;
        self.until("an empty queue", drained).await;
    }

    /// Waits until the uplink is away and returns what it says about it.
    async fn until_offline(&mut self) -> String {
        let status = self.until("trouble", |status| matches!(status.state, UplinkState::Offline(_))).await;
        let UplinkState::Offline(why) = status.state else { unreachable!("it was waited for") };
        why
    }

    async fn stop(self) {
        self.cancel.cancel();
        timeout(Duration::from_secs(5), self.task).await.expect("it ends in time").expect("it does not panic");
        self.store.close().await.expect("it closes");
    }
}
