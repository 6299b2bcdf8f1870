//! Starting, watching and stopping the broker.
//!
//! It runs on a thread of its own with a single-threaded runtime. What clients send is then handled in the order in which it arrived,
//! across connections too: a SUBSCRIBE that was sent before another client's PUBLISH comes before it, which several threads would leave
//! to chance. Nothing that the rest of the gateway computes delays it, and it never takes more than one core.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::error;

use super::connection::Shared;
use super::counters::Counters;
use super::doors::{self, Doors};
use super::entrance::{Entrance, FilesError};
use super::hub_task::HubTask;
use super::logins::{Doorkeeper, Logins};
use super::pool::Pool;
use super::{HubHandle, Limits, Memory, Outlet, listeners};
use crate::clock::Clock;
use crate::config::{BrokerConfig, Place};
use crate::model::{BrokerStatus, Pulse};
use crate::store::{Append, CommitReport};

/// Batches from clients that the hub may have before it. Small: each can hold a read buffer full of messages.
const HUB_ROOM: usize = 64;
/// Connections for which there is room to say goodbye at least.
const GOODBYES: usize = 10_000;
/// For passwords, of which few are checked at a time; nothing else of the broker blocks.
const BLOCKING_THREADS: usize = 4;
/// How long the hub may take to hand its last messages to the store.
const HUB_WITHIN: Duration = Duration::from_secs(2);

/// Why the broker could not be started.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// A listener could not be opened.
    #[error("{}can't listen on {url}: {cause}\n{advice}", place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default())]
    Listen {
        /// The listener as the configuration has it.
        url: String,
        /// Where the configuration has it; `None` for a default.
        place: Option<Place>,
        /// What to try.
        advice: String,
        /// What the system said. No `source`: the text has it already.
        cause: io::Error,
    },
    /// The certificate or key of a listener can't be used.
    #[error("{}can't listen on {url}: {cause}", place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default())]
    Certificate {
        /// The listener as the configuration has it.
        url: String,
        /// Where the configuration has it; `None` for a default.
        place: Option<Place>,
        /// Which file, what is wrong and what to try. No `source`: the text has it already.
        cause: Box<FilesError>,
    },
    /// The system gave no thread or no event queue.
    #[error("can't start the broker's thread: {0}; is the limit of threads or open files (`ulimit -a`) reached?")]
    Thread(#[source] io::Error),
}

/// A running broker. Dropping it stops it without waiting for its end; [`Broker::stop`] waits.
#[derive(Debug)]
pub struct Broker {
    addresses: Vec<SocketAddr>,
    pub(super) doors: Arc<Doors>,
    pub(super) logins: Arc<Logins>,
    pub(super) pool: Arc<Pool>,
    pub(super) handle: HubHandle,
    counters: Arc<Counters>,
    pulse: Pulse,
    stop: DropGuard,
    ended: oneshot::Receiver<()>,
}

impl Broker {
    /// Opens all listeners, then starts. `appends` leads to the store's writer and `reports` comes from it; without outlets and `memory`
    /// neither is used.
    ///
    /// Errors when a listener can't be opened; then none stays open.
    pub fn start(
        config: &BrokerConfig,
        limits: Limits,
        outlets: Vec<Outlet>,
        appends: mpsc::Sender<Append>,
        reports: mpsc::Receiver<CommitReport>,
        memory: Option<Memory>,
        clock: Clock,
    ) -> Result<Broker, BrokerError> {
        let runtime = OwnRuntime::new().map_err(BrokerError::Thread)?;
        let entrances = config.listeners.iter().map(|listener| Entrance::new(listener, clock).map(Arc::new));
        let entrances = entrances.collect::<Result<Vec<_>, _>>()?;
        let bound = {
            let _inside = runtime.get().enter();
            config.listeners.iter().map(listeners::bind).collect::<Result<Vec<_>, _>>()?
        };
        let addresses = bound.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let counters = Arc::new(Counters::default());
        let (inputs, hub_inputs) = mpsc::channel(HUB_ROOM);
        // A place for each connection, so that a goodbye never waits; and some for those that make room for another and are not gone yet.
        // It takes no memory before it is used, so there is room for a wider limit that comes with a reload.
        let (goodbyes, hub_goodbyes) = mpsc::channel(2 * limits.connections.max(GOODBYES));
        let (stop, stop_hub) = (CancellationToken::new(), CancellationToken::new());
        let logins = Arc::new(Logins::new(&config.users, clock));
        let (orders, doors_orders) = mpsc::channel(doors::ORDERS);
        let doors = Doors::new(orders, stop.clone(), runtime.get().handle().clone(), clock);
        let known = config.listeners.iter().zip(bound).zip(entrances);
        let bound = known.map(|((config, listener), entrance)| doors.note(config, listener, entrance)).collect();
        let pool = Arc::new(Pool::new(limits.queued_bytes));
        let shared = Shared {
            limits,
            logins: logins.clone(),
            server_keep_alive_s: keep_alive_s(config),
            inputs: inputs.clone(),
            counters: counters.clone(),
            pool: pool.clone(),
            clock,
            stop: stop.clone(),
        };
        let memory = memory.map(|memory| (memory, u32::try_from(config.session_expiry.as_secs()).unwrap_or(u32::MAX)));
        let hub = HubTask::new(limits, outlets, counters.clone(), clock, appends, memory);
        let pulse = hub.pulse.clone();
        let hub = runtime.get().spawn(hub.run(hub_inputs, hub_goodbyes, reports, stop_hub.clone()));
        let clients = runtime.get().spawn(listeners::accept(bound, doors_orders, shared, goodbyes));
        let (end, ended) = oneshot::channel();
        let task = oversee(clients, hub, stop.clone(), stop_hub);
        let thread = std::thread::Builder::new().name("broker".into());
        let run = move || {
            runtime.get().block_on(task);
            // Nobody waits for the end when the broker was dropped.
            let _ = end.send(());
        };
        thread.spawn(run).map_err(BrokerError::Thread)?;
        Ok(Broker {
            addresses,
            doors: Arc::new(doors),
            logins,
            pool,
            handle: HubHandle { inputs },
            counters,
            pulse,
            stop: stop.drop_guard(),
            ended,
        })
    }

    /// Where it listens, in the order of the configuration; with the port that the system chose where 0 was asked for.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Reads the files of listeners with TLS again. New handshakes use the new ones; where they can't be used, the log says why and the old
    /// ones stay. Connections that there are go on.
    pub async fn reload_certificates(&self) {
        let doors = self.doors.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || doors.reload_certificates()).await {
            error!(%error, "reading the certificates again failed");
        }
    }

    /// For others who ask for a user and a password.
    pub fn doorkeeper(&self) -> Doorkeeper {
        Doorkeeper(self.logins.clone())
    }

    /// The gateway's own way in.
    pub fn hub(&self) -> HubHandle {
        self.handle.clone()
    }

    /// Beats while the hub makes progress.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// How it is doing.
    pub fn status(&self) -> BrokerStatus {
        self.counters.status()
    }

    /// Stops: no new clients, those there are told and disconnected, then the hub ends. Takes about two seconds at most.
    ///
    /// What the hub had taken is with the store by then, and the store's channel closes.
    pub async fn stop(self) {
        drop(self.stop);
        if self.ended.await.is_err() {
            error!("the broker's thread failed");
        }
    }
}

/// What MQTT 5 clients are told.
pub(super) fn keep_alive_s(config: &BrokerConfig) -> Option<u16> {
    config.server_keep_alive.map(|d| u16::try_from(d.as_secs()).unwrap_or(u16::MAX))
}

/// A runtime that may be dropped anywhere, also by a task of another one when the start fails.
struct OwnRuntime(Option<runtime::Runtime>);

impl OwnRuntime {
    fn new() -> io::Result<OwnRuntime> {
        runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .build()
            .map(|runtime| OwnRuntime(Some(runtime)))
    }

    fn get(&self) -> &runtime::Runtime {
        self.0.as_ref().expect("it is taken out by Drop alone")
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Waits for the end of the broker's tasks, in their order: clients first, so that what they sent last still reaches the hub.
async fn oversee(
    mut clients: JoinHandle<()>,
    mut hub: JoinHandle<()>,
    stop: CancellationToken,
    stop_hub: CancellationToken,
) {
    tokio::select! {
        ended = &mut clients => tell("listeners", ended),
        ended = &mut hub => {
            // Without the hub nothing works: clients are sent away, and whoever publishes from inside reads that the broker has stopped.
            tell("hub", ended);
            stop.cancel();
            tell("listeners", clients.await);
            return;
        }
    }
    stop_hub.cancel();
    match tokio::time::timeout(HUB_WITHIN, &mut hub).await {
        Ok(ended) => tell("hub", ended),
        Err(_) => {
            error!("the store took no more messages, so the broker stopped without it; none of them was acknowledged");
            hub.abort();
            // Its end is certain now; how it ended is not news.
            let _ = hub.await;
        }
    }
}

fn tell(what: &str, ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        error!(%error, "the broker's {what} failed");
    }
}
