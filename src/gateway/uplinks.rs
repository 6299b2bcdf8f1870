//! What is kept: the store, with one queue an uplink and the broker's sessions and retained messages, and the uplinks' tasks.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::broker::{HubClosed, HubHandle, Memory, Outlet};
use crate::clock::Clock;
use crate::config::{Config, MqttVersion, UplinkConfig};
use crate::model::{Device, Filter, Message, Name, Pulse, QoS, Topic, UplinkStatus};
use crate::mqtt::Version;
use crate::route::{AcceptRule, Accepter, Counts, Forwarder, GatewayTopics, Surroundings, Tally};
use crate::store::{Append, CommitReport, Gap, Limits, Queue, QueueId, QueueSpec, Store, StoreError};
use crate::uplink::{self, Accept, Accepted, Presence, Settings, Settled, Subscription};

use super::bridge::{self, Accepting, Returns, Rules};
use super::progress::Progress;
use super::stage::Stage;
use super::status::UplinkWatch;

/// QoS 0 messages that may wait for an uplink's task.
const LIVE_WAITING: usize = 256;

/// The store, and what is not yet in the hands of those who use it.
pub struct Keeping {
    store: Store,
    gaps: Option<mpsc::Receiver<Gap>>,
    ends: Option<Ends>,
    pending: Vec<Pending>,
    intakes: Vec<Intake>,
    tallies: Vec<Tallies>,
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
    accept: Accept,
    live: mpsc::Receiver<Message>,
    overflowed: Arc<AtomicU64>,
}

/// The other end of an uplink's [`Accept`], whose task has not started yet.
struct Intake {
    uplink: Name,
    accepter: Accepter,
    accepted: mpsc::Receiver<Accepted>,
    settled: mpsc::Sender<Settled>,
    returns: Returns,
    forgotten: Arc<Notify>,
    /// The queue was made by this process, so nothing of what was retained before is in it.
    is_new: bool,
    /// The queue has never been connected.
    is_first: bool,
}

/// The counters of an uplink's rules.
#[derive(Debug, Clone)]
pub struct Tallies {
    /// The uplink.
    pub uplink: Name,
    /// Of its forward rules, in their order.
    pub forward: Vec<Arc<Tally>>,
    /// Of its accept rules.
    pub accept: Vec<Arc<Tally>>,
}

impl Tallies {
    /// The counters now: of `forward`, and of `accept`.
    pub fn counts(&self) -> [Vec<Counts>; 2] {
        [&self.forward, &self.accept].map(|tallies| tallies.iter().map(|tally| tally.counts()).collect())
    }
}

impl Keeping {
    /// Opens the store, and prepares each uplink's rules, queue and settings.
    pub async fn open(
        config: &Config,
        devices: &[Arc<Device>],
        topics: &GatewayTopics,
        clock: Clock,
    ) -> Result<Keeping, StoreError> {
        let specs = config.uplinks.iter().map(queue_spec).collect();
        let opened = Store::open(&config.gateway.data_dir, specs, clock).await?;
        let (mut outlets, mut pending, mut intakes, mut tallies) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let kept = opened.queues.into_iter().zip(opened.receptions);
        for (index, (uplink, (queue, reception))) in config.uplinks.iter().zip(kept).enumerate() {
            let around = Surroundings {
                gateway: config.gateway.id.clone(),
                root: config.gateway.topic_root.clone(),
                presence: topics.state.clone(),
                uplink: uplink.name.clone(),
            };
            let forwarder = Forwarder::new(uplink.forward.clone(), around, 1);
            let devices = devices.iter().map(|device| device.name.clone()).collect::<HashSet<_>>();
            let gateway = &config.gateway;
            let accepter = Accepter::new(
                uplink.accept.clone(),
                uplink.name.clone(),
                gateway.id.clone(),
                gateway.topic_root.clone(),
                devices,
            );
            tallies.push(Tallies {
                uplink: uplink.name.clone(),
                forward: forwarder.tallies(),
                accept: accepter.tallies(),
            });
            let returns = Returns::default();
            let (accept, accepted, settled) = Accept::new(reception, subscriptions(&uplink.accept));
            intakes.push(Intake {
                uplink: uplink.name.clone(),
                accepter,
                accepted,
                settled,
                returns: returns.clone(),
                forgotten: accept.forgotten.clone(),
                is_new: queue.last == 0,
                is_first: queue.fresh,
            });
            let settings = settings(uplink, &config.gateway.id, &forwarder, topics);
            let (live_sender, live) = mpsc::channel(LIVE_WAITING);
            let overflowed = Arc::new(AtomicU64::new(0));
            outlets.push(Outlet {
                queue: QueueId::normal(index),
                select: Box::new(Rules::new(forwarder, returns)),
                live: live_sender,
                live_dropped: overflowed.clone(),
            });
            pending.push(Pending { settings, queue, accept, live, overflowed });
        }
        let memory = Some(Memory { state: opened.broker, reader: opened.sessions });
        let ends = Some(Ends { outlets, appends: opened.appends, reports: opened.reports, memory });
        Ok(Keeping { store: opened.store, gaps: Some(opened.gaps), ends, pending, intakes, tallies })
    }

    /// What the hub needs; to be taken once.
    pub fn broker_ends(&mut self) -> Ends {
        self.ends.take().expect("the gateway takes the hub's ends once, when it starts")
    }

    /// What was lost by policy; to be taken once.
    pub fn take_gaps(&mut self) -> Option<mpsc::Receiver<Gap>> {
        self.gaps.take()
    }

    /// Starts every uplink's task, watched over by `progress`; returns where they tell how they are doing.
    pub fn start_uplinks(&mut self, stage: &mut Stage, progress: &Progress, clock: Clock) -> Vec<UplinkWatch> {
        progress.watch("the store".into(), self.store.pulse(), Duration::ZERO, clock.now());
        let mut watches = Vec::new();
        for Pending { settings, queue, accept, live, overflowed } in self.pending.drain(..) {
            let name = settings.name.clone();
            let (status, watched) = watch::channel(UplinkStatus::starting(name.clone()));
            watches.push((watched, overflowed));
            progress.watch(format!("uplink {name}"), settings.pulse.clone(), Duration::ZERO, clock.now());
            let cancel = stage.cancel_token();
            stage.spawn(&name, async move {
                uplink::run(settings, queue, live, accept, clock, status, cancel).await;
                Ok::<(), Infallible>(())
            });
        }
        watches
    }

    /// The counters of all rules.
    pub fn tallies(&self) -> &[Tallies] {
        &self.tallies
    }

    /// Starts taking what the uplinks bring: before they start. `root` is where results of commands are published below.
    pub async fn start_intakes(
        &mut self,
        stage: &mut Stage,
        hub: &HubHandle,
        root: &Topic,
        clock: Clock,
    ) -> Result<(), HubClosed> {
        for (outlet, intake) in self.intakes.drain(..).enumerate() {
            let Intake { uplink, accepter, accepted, settled, returns, forgotten, is_new, is_first } = intake;
            let results = hub.subscribe_kept(bridge::result_filters(root)).await?;
            let name = uplink.clone();
            let accepting = Accepting { uplink, accepter, accepted, settled, returns, hub: hub.clone(), clock };
            stage.spawn(&name, accepting.run(results));
            let births = births(outlet, forgotten, [is_first, is_new], hub.clone(), stage.cancel_token());
            stage.spawn(&name, births);
        }
        Ok(())
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
        online: online.payload,
        offline: offline.payload,
    });
    Settings {
        name: uplink.name.clone(),
        pulse: Pulse::default(),
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
        gateway: gateway.to_string(),
        presence,
        stall_after: Settings::STALL_AFTER,
    }
}

/// What the cloud is asked for: each rule's filter once, at the highest QoS that a rule wants of it.
fn subscriptions(rules: &[AcceptRule]) -> Vec<Subscription> {
    let mut asked: Vec<Subscription> = Vec::new();
    for rule in rules {
        let (filter, qos): (&Filter, QoS) = (&rule.take.topic, rule.take.qos);
        match asked.iter_mut().find(|asked| asked.filter == *filter) {
            Some(asked) => asked.qos = asked.qos.max(qos),
            None => asked.push(Subscription { filter: filter.clone(), qos, no_local: true }),
        }
    }
    asked
}

/// Offers what is retained to an uplink whose cloud has no session of ours: it may have lost what it retained. At the very first
/// connection everything since the start is in the queue already.
async fn births(
    outlet: usize,
    forgotten: Arc<Notify>,
    [is_first, is_new]: [bool; 2],
    hub: HubHandle,
    cancel: CancellationToken,
) -> Result<(), HubClosed> {
    let mut is_first = is_first;
    loop {
        tokio::select! {
            () = forgotten.notified() => {}
            () = cancel.cancelled() => return Ok(()),
        }
        let was_first = std::mem::take(&mut is_first);
        if !was_first || is_new {
            hub.offer_retained(outlet, was_first).await?;
        }
    }
}
