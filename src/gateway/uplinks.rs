//! What is kept: the store, with one queue an uplink and the broker's sessions and retained messages, and the uplinks' tasks.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::broker::{HubClosed, HubHandle, Memory, Outlet};
use crate::clock::Clock;
use crate::config::{Config, GatewayConfig, MqttVersion, UplinkConfig};
use crate::model::{Device, Filter, Message, Name, Pulse, QoS, Topic, UplinkStatus};
use crate::mqtt::Version;
use crate::route::{AcceptRule, Accepter, Counts, Forwarder, GatewayTopics, Surroundings, Take, Tally, bundle};
use crate::store::{Append, CommitReport, Gap, Limits, NewQueue, Queue, QueueId, QueueSpec, Store, StoreError};
use crate::uplink::{self, Accept, Accepted, Presence, Settings, Settled, Subscription};

use super::bridge::{self, Accepting, Returns, Rules};
use super::progress::Progress;
use super::stage::Stage;
use super::status::UplinkWatch;

/// Numbers for batches that the rules of one uplink are given, until they change: more than come in a lifetime.
const BATCHES: u64 = 1 << 40;

/// QoS 0 messages that may wait for an uplink's task.
const LIVE_WAITING: usize = 256;

/// The store, and what is not yet in the hands of those who use it.
pub struct Keeping {
    store: Store,
    gaps: Option<mpsc::Receiver<Gap>>,
    ends: Option<Ends>,
    pending: Vec<Pending>,
    intakes: Vec<Intake>,
    uplinks: Vec<Known>,
    next_batch: u64,
    topics: GatewayTopics,
    clock: Clock,
}

/// An uplink that is served.
struct Known {
    /// In the store and in the hub.
    index: usize,
    returns: Returns,
    live: mpsc::Sender<Message>,
    tallies: Tallies,
    watch: UplinkWatch,
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
    status: watch::Sender<UplinkStatus>,
}

/// The other end of an uplink's [`Accept`], whose task has not started yet.
struct Intake {
    uplink: Name,
    outlet: usize,
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
    /// Of its forward rules, in their order, each with the rule's topic.
    pub forward: Vec<(Filter, Arc<Tally>)>,
    /// Of its accept rules.
    pub accept: Vec<(Filter, Arc<Tally>)>,
}

impl Tallies {
    /// The counters now, as `/api/bridge` has them.
    pub fn json(&self) -> Value {
        let of = |(topic, tally): &(Filter, Arc<Tally>)| {
            let Counts { taken, left, unmatched, unclear, unshaped, last_reason } = tally.counts();
            let counts = json!({
                "taken": taken, "left": left, "unmatched": unmatched, "unclear": unclear, "unshaped": unshaped,
                "last_reason": last_reason,
            });
            json!({ "topic": topic.as_str(), "counts": counts })
        };
        let [forward, accept] = [&self.forward, &self.accept].map(|list| list.iter().map(of).collect::<Vec<_>>());
        json!({ "forward": forward, "accept": accept })
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
        for (_, warning) in uplink::certificate_warnings(&config.uplinks, clock.wall()) {
            warn!("{warning}");
        }
        let specs: Vec<QueueSpec> = config.uplinks.iter().map(queue_spec).collect();
        let data_dir = &config.gateway.data_dir;
        let opened = match Store::open_with(data_dir, specs.clone(), bundle, clock).await {
            Err(problem) if problem.is_survivable() => {
                error!(
                    error = %problem,
                    "the queue can't be opened: nothing is kept and nothing goes to the cloud until the gateway is started again with that mended"
                );
                Store::refusing(data_dir, specs, &problem, clock)
            }
            opened => opened?,
        };
        let kept = opened.queues.into_iter().zip(opened.receptions);
        let memory = Some(Memory { state: opened.broker, reader: opened.sessions });
        let ends = Some(Ends { outlets: Vec::new(), appends: opened.appends, reports: opened.reports, memory });
        let mut keeping = Keeping {
            store: opened.store,
            gaps: Some(opened.gaps),
            ends,
            pending: Vec::new(),
            intakes: Vec::new(),
            uplinks: Vec::new(),
            next_batch: opened.next_batch,
            topics: topics.clone(),
            clock,
        };
        for (index, (uplink, (queue, reception))) in config.uplinks.iter().zip(kept).enumerate() {
            let is_new = queue.last == 0;
            let outlet =
                keeping.take_up(&config.gateway, uplink, devices, NewQueue { uplink: index, queue, reception }, is_new);
            if let Some(ends) = &mut keeping.ends {
                ends.outlets.push(outlet);
            }
        }
        Ok(keeping)
    }

    /// Prepares an uplink whose task is to start, and returns what the hub needs of it. `is_new`: nothing of what was retained before has to be
    /// offered when it first connects.
    fn take_up(
        &mut self,
        gateway: &GatewayConfig,
        uplink: &UplinkConfig,
        devices: &[Arc<Device>],
        opened: NewQueue,
        is_new: bool,
    ) -> Outlet {
        let NewQueue { uplink: index, queue, reception } = opened;
        let forwarder = self.forwarder(gateway, uplink);
        let settings = settings(uplink, &gateway.id, presence(&forwarder, &self.topics));
        let accepter = Accepter::new(
            uplink.accept.clone(),
            uplink.name.clone(),
            gateway.id.clone(),
            gateway.topic_root.clone(),
            devices.iter().map(|device| device.name.clone()).collect(),
        );
        let tallies = Tallies {
            uplink: uplink.name.clone(),
            forward: with_topics(uplink.forward.iter().map(|rule| &rule.take), forwarder.tallies()),
            accept: with_topics(uplink.accept.iter().map(|rule| &rule.take), accepter.tallies()),
        };
        let returns = Returns::default();
        let (accept, accepted, settled) = Accept::new(reception, subscriptions(&uplink.accept));
        self.intakes.push(Intake {
            uplink: uplink.name.clone(),
            outlet: index,
            accepter,
            accepted,
            settled,
            returns: returns.clone(),
            forgotten: accept.forgotten.clone(),
            is_new,
            is_first: queue.fresh,
        });
        let (live_sender, live) = mpsc::channel(LIVE_WAITING);
        let overflowed = Arc::new(AtomicU64::new(0));
        let (status, watched) = watch::channel(UplinkStatus::starting(uplink.name.clone()));
        self.uplinks.retain(|known| known.index != index);
        self.uplinks.push(Known {
            index,
            returns: returns.clone(),
            live: live_sender.clone(),
            tallies,
            watch: (watched, overflowed.clone()),
        });
        self.pending.push(Pending { settings, queue, accept, live, status });
        let queue = QueueId::normal(index);
        Outlet {
            queue,
            select: Box::new(Rules::new(uplink.name.clone(), forwarder, returns)),
            live: live_sender,
            live_dropped: overflowed,
        }
    }

    /// Opens the queue of an uplink that is new or begins anew, and prepares it; its task is to start. Whoever had the queue has ended. Returns the
    /// uplink's index, and what the hub needs.
    pub async fn open_one(
        &mut self,
        gateway: &GatewayConfig,
        uplink: &UplinkConfig,
        devices: &[Arc<Device>],
    ) -> Result<(usize, Outlet), StoreError> {
        let known = self.uplinks.iter().any(|known| known.tallies.uplink == uplink.name);
        let opened = self.store.open_queue(queue_spec(uplink)).await?;
        let index = opened.uplink;
        // A new one is offered what is retained at once.
        let is_new = if known { opened.queue.last == 0 } else { true };
        Ok((index, self.take_up(gateway, uplink, devices, opened, is_new)))
    }

    /// New rules for an uplink whose task goes on; `None` when there is none of its name.
    pub fn new_rules(&mut self, gateway: &GatewayConfig, uplink: &UplinkConfig) -> Option<(usize, Outlet)> {
        let forwarder = self.forwarder(gateway, uplink);
        let known = self.uplinks.iter_mut().find(|known| known.tallies.uplink == uplink.name)?;
        known.tallies.forward = with_topics(uplink.forward.iter().map(|rule| &rule.take), forwarder.tallies());
        let outlet = Outlet {
            queue: QueueId::normal(known.index),
            select: Box::new(Rules::new(uplink.name.clone(), forwarder, known.returns.clone())),
            live: known.live.clone(),
            live_dropped: known.watch.1.clone(),
        };
        Some((known.index, outlet))
    }

    /// The forward rules of an uplink, with numbers for their batches that no other rules have or had.
    fn forwarder(&mut self, gateway: &GatewayConfig, uplink: &UplinkConfig) -> Forwarder {
        let first_batch = self.next_batch;
        self.next_batch += BATCHES;
        forwarder(gateway, uplink, &self.topics, first_batch)
    }

    /// Whether the cloud is told under the same topic as before whether the gateway is there.
    pub fn has_same_presence(&self, gateway: &GatewayConfig, old: &UplinkConfig, new: &UplinkConfig) -> bool {
        let topic =
            |uplink| presence(&forwarder(gateway, uplink, &self.topics, 0), &self.topics).map(|told| told.topic);
        topic(old) == topic(new)
    }

    /// An uplink is gone; its task has ended. Its queue stays open and keeps what it has. Returns its index and how many messages wait.
    pub fn forget(&mut self, name: &Name) -> Option<(usize, u64)> {
        let at = self.uplinks.iter().position(|known| known.tallies.uplink == *name)?;
        let gone = self.uplinks.remove(at);
        let waiting = gone.watch.0.borrow().queue.depth;
        Some((gone.index, waiting))
    }

    /// Where each of `uplinks` tells how it is doing, in their order.
    pub fn watches(&self, uplinks: &[UplinkConfig]) -> Vec<UplinkWatch> {
        let of = |uplink: &UplinkConfig| self.uplinks.iter().find(|known| known.tallies.uplink == uplink.name);
        uplinks.iter().filter_map(of).map(|known| known.watch.clone()).collect()
    }

    /// What the hub needs; to be taken once.
    pub fn broker_ends(&mut self) -> Ends {
        self.ends.take().expect("the gateway takes the hub's ends once, when it starts")
    }

    /// What was lost by policy; to be taken once.
    pub fn take_gaps(&mut self) -> Option<mpsc::Receiver<Gap>> {
        self.gaps.take()
    }

    /// Has `progress` watch over the store.
    pub fn watch_store(&self, progress: &Progress) {
        progress.watch("the store".into(), self.store.pulse(), Duration::ZERO, self.clock.now());
    }

    /// Starts the task of each uplink that was prepared, watched over by `progress`.
    pub fn start_uplinks(&mut self, stage: &mut Stage, progress: &Progress) {
        for Pending { settings, queue, accept, live, status } in self.pending.drain(..) {
            let (name, clock) = (settings.name.clone(), self.clock);
            progress.watch(format!("uplink {name}"), settings.pulse.clone(), Duration::ZERO, clock.now());
            stage.spawn_until(&name, |cancel| async move {
                uplink::run(settings, queue, live, accept, clock, status, cancel).await;
                Ok::<(), Infallible>(())
            });
        }
    }

    /// The counters of all rules.
    pub fn tallies(&self) -> Vec<Tallies> {
        self.uplinks.iter().map(|known| known.tallies.clone()).collect()
    }

    /// Starts taking what the uplinks bring: before they start. `root` is where results of commands are published below.
    pub async fn start_intakes(
        &mut self,
        stage: &mut Stage,
        hub: &HubHandle,
        root: &Topic,
        clock: Clock,
    ) -> Result<(), HubClosed> {
        for intake in self.intakes.drain(..) {
            let Intake { uplink, outlet, accepter, accepted, settled, returns, forgotten, is_new, is_first } = intake;
            let results = hub.subscribe_kept(bridge::result_filters(root)).await?;
            let name = uplink.clone();
            let accepting = Accepting { uplink, accepter, accepted, settled, returns, hub: hub.clone(), clock };
            stage.spawn(&name, accepting.run(results));
            let hub = hub.clone();
            stage.spawn_until(&name, |cancel| births(outlet, forgotten, [is_first, is_new], hub, cancel));
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

fn forwarder(gateway: &GatewayConfig, uplink: &UplinkConfig, topics: &GatewayTopics, first_batch: u64) -> Forwarder {
    let around = Surroundings {
        gateway: gateway.id.clone(),
        root: gateway.topic_root.clone(),
        presence: topics.state.clone(),
        uplink: uplink.name.clone(),
    };
    Forwarder::new(uplink.forward.clone(), around, first_batch)
}

fn presence(forwarder: &Forwarder, topics: &GatewayTopics) -> Option<Presence> {
    let online = forwarder.presence(&topics.state_message(true))?;
    let offline = forwarder.presence(&topics.state_message(false))?;
    Some(Presence { topic: online.topic, retain: online.retain, online: online.payload, offline: offline.payload })
}

fn settings(uplink: &UplinkConfig, gateway: &Name, presence: Option<Presence>) -> Settings {
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
        session_lost: uplink.session_lost,
        rate_limit: uplink.rate_limit,
        gateway: gateway.to_string(),
        presence,
        stall_after: Settings::STALL_AFTER,
        longest_delay: Settings::LONGEST_DELAY,
    }
}

fn with_topics<'c>(rules: impl Iterator<Item = &'c Take>, tallies: Vec<Arc<Tally>>) -> Vec<(Filter, Arc<Tally>)> {
    rules.map(|take| take.topic.clone()).zip(tallies).collect()
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
