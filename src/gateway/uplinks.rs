//! What is kept: the store, with one queue an uplink and the broker's sessions and retained messages, and the uplinks' tasks.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{mpsc, watch};
use tracing::{error, warn};

use crate::broker::{Memory, Outlet, Select};
use crate::clock::Clock;
use crate::config::{Config, MqttVersion, UplinkConfig};
use crate::model::{Message, Name, UplinkStatus};
use crate::mqtt::Version;
use crate::route::{Forwarder, GatewayTopics};
use crate::store::{Append, CommitReport, Gap, Limits, Queue, QueueId, QueueSpec, Reception, Store, StoreError};
use crate::uplink::{self, Accept, Presence, Settings};

use super::stage::Stage;
use super::status::StatusBoard;

/// QoS 0 messages that may wait for an uplink's task.
const LIVE_WAITING: usize = 256;

/// The store, and what is not yet in the hands of those who use it.
pub struct Keeping {
    store: Store,
    gaps: Option<mpsc::Receiver<Gap>>,
    ends: Option<Ends>,
    pending: Vec<Pending>,
}

/// The hub's side.
pub struct Ends {
    pub outlets: Vec<Outlet>,
    pub appends: mpsc::Sender<Append>,
    pub reports: mpsc::Receiver<CommitReport>,
    pub memory: Option<Memory>,
}

/// An uplink whose task has not started yet.
struct Pending {
    settings: Settings,
    queue: Queue,
    reception: Reception,
    live: mpsc::Receiver<Message>,
    overflowed: Arc<AtomicU64>,
}

impl Keeping {
    /// Opens the store, and prepares each uplink's rules, queue and settings.
    pub async fn open(config: &Config, topics: &GatewayTopics, clock: Clock) -> Result<Keeping, StoreError> {
        for (_, warning) in uplink::certificate_warnings(&config.uplinks, clock.wall()) {
            warn!("{warning}");
        }
        let specs = config.uplinks.iter().map(queue_spec).collect();
        let opened = Store::open(&config.gateway.data_dir, specs, clock).await?;
        let (mut outlets, mut pending) = (Vec::new(), Vec::new());
        let kept = opened.queues.into_iter().zip(opened.receptions);
        for (index, (uplink, (queue, reception))) in config.uplinks.iter().zip(kept).enumerate() {
            let forwarder = Forwarder::new(uplink.forward.clone(), &config.gateway.id, topics.state.clone());
            let settings = settings(uplink, &config.gateway.id, &forwarder, topics);
            let (live_sender, live) = mpsc::channel(LIVE_WAITING);
            let overflowed = Arc::new(AtomicU64::new(0));
            outlets.push(Outlet {
                queue: QueueId(index),
                select: select(forwarder, uplink.name.clone()),
                live: live_sender,
                live_dropped: overflowed.clone(),
            });
            pending.push(Pending { settings, queue, reception, live, overflowed });
        }
        let memory = Some(Memory { state: opened.broker, reader: opened.sessions });
        let ends = Some(Ends { outlets, appends: opened.appends, reports: opened.reports, memory });
        Ok(Keeping { store: opened.store, gaps: Some(opened.gaps), ends, pending })
    }

    /// What the hub needs; to be taken once.
    pub fn broker_ends(&mut self) -> Ends {
        self.ends.take().expect("the gateway takes the hub's ends once, when it starts")
    }

    /// What was lost by policy; to be taken once.
    pub fn take_gaps(&mut self) -> Option<mpsc::Receiver<Gap>> {
        self.gaps.take()
    }

    /// Starts every uplink's task.
    pub fn start_uplinks(&mut self, stage: &mut Stage, board: &mut StatusBoard, clock: Clock) {
        for Pending { settings, queue, reception, live, overflowed } in self.pending.drain(..) {
            let name = settings.name.clone();
            let (status, watched) = watch::channel(UplinkStatus::starting(name.clone()));
            board.uplinks.push((watched, overflowed));
            let cancel = stage.cancel_token();
            stage.spawn(&name, async move {
                uplink::run(settings, queue, live, Accept::nothing(reception), clock, status, cancel).await;
                Ok::<(), Infallible>(())
            });
        }
    }

    /// Commits what the store was given and closes it.
    pub async fn close(self) {
        if let Err(error) = self.store.close().await {
            error!(error = %error, "the store did not close well; what was committed is safe");
        }
    }
}

fn queue_spec(uplink: &UplinkConfig) -> QueueSpec {
    let queue = &uplink.queue;
    QueueSpec {
        name: uplink.name.clone(),
        limits: Limits { max_size: queue.max_size, max_age: queue.max_age, when_full: queue.when_full },
        durability: queue.durability,
        commit_every: queue.commit_every,
    }
}

fn settings(uplink: &UplinkConfig, gateway: &Name, forwarder: &Forwarder, topics: &GatewayTopics) -> Settings {
    let online = forwarder.presence(&topics.state_message(true));
    let offline = forwarder.presence(&topics.state_message(false));
    let presence = online.zip(offline).map(|(online, offline)| Presence {
        topic: online.topic,
        retain: online.retain,
        online: online.payload,
        offline: offline.payload,
    });
    Settings {
        name: uplink.name.clone(),
        servers: uplink.servers.clone(),
        tls: uplink.tls.clone(),
        client_id: uplink.client_id.clone(),
        username: uplink.username.clone(),
        password: uplink.password.clone(),
        password_file: uplink.password_file.clone(),
        version: match uplink.version {
            MqttVersion::V311 => Version::V311,
            MqttVersion::V5 => Version::V5,
        },
        keep_alive: uplink.keep_alive,
        window: uplink.window,
        rate_limit: uplink.rate_limit,
        session_lost: uplink.session_lost,
        gateway: gateway.to_string(),
        presence,
        stall_after: Settings::STALL_AFTER,
        longest_delay: Settings::LONGEST_DELAY,
    }
}

/// What the hub asks for every message. A topic that a rule makes too long is told once an uplink, and not forwarded.
fn select(forwarder: Forwarder, uplink: Name) -> Select {
    let told = AtomicBool::new(false);
    Box::new(move |message| match forwarder.forward(message)? {
        Ok(shaped) => Some(shaped),
        Err((rule, error)) => {
            if !told.swap(true, Ordering::Relaxed) {
                warn!(%uplink, rule, topic = %message.topic, %error, "a forward rule can't make a topic for a message; it stays here");
            }
            None
        }
    })
}
