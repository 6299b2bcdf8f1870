//! Builds the gateway from its configuration: who talks to whom, and in which order they start and stop.
//!
//! Start: store, broker, web, uplinks, buses. What can fail for a reason that the user can mend (a directory that can't be
//! written, a taken port) comes first. Stop: buses, so that nothing new is read; what was read is published; uplinks, which
//! say goodbye; the broker; the store, which commits what it has.

mod bridge;
mod buses;
mod commands;
mod control;
mod intake;
pub mod notify;
mod progress;
mod rates;
mod reload;
mod reports;
mod sentence;
mod stage;
mod status;
mod uplinks;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::broker::{Broker, Doorkeeper, HubHandle, Limits};
use crate::clock::Clock;
use crate::command::Desk;
use crate::config::{Config, WebConfig};
use crate::model::{Device, Snapshot};
use crate::route::{GatewayTopics, ReadingRouter};
use crate::web::{self, Pages, Serving, Web};

use buses::Buses;
use commands::{Change, Commands};
use control::Control;
use stage::Stage;
use status::{Parts, StatusBoard};
use uplinks::{Ends, Keeping};

/// Polls that may wait for the broker; when there are more, the buses wait, skip intervals and count them.
const EVENTS_WAITING: usize = 256;
/// Questions that may wait for the intake.
const REQUESTS_WAITING: usize = 16;

/// A running gateway. Call [`Gateway::stop`]; dropping it leaves its tasks to the runtime's end.
pub struct Gateway {
    topics: GatewayTopics,
    board: Arc<StatusBoard>,
    broker: Arc<Broker>,
    keeping: Keeping,
    web: Option<(Web, CancellationToken)>,
    web_config: Option<WebConfig>,
    /// The control socket; `None` where the data directory can't hold one.
    control: Option<(Serving, CancellationToken)>,
    buses: Buses,
    intake: Stage,
    intake_requests: mpsc::Sender<intake::Request>,
    commands: Stage,
    command_changes: mpsc::Sender<Change>,
    reports: Stage,
    uplinks: Stage,
    clock: Clock,
    /// What it runs with; its devices are beside it.
    config: Config,
    devices: Vec<Arc<Device>>,
    accepts: Stage,
}

impl Gateway {
    /// Opens everything and starts. Errors name what could not be opened, where the file says so, and what to try.
    pub async fn start(mut config: Config, clock: Clock) -> anyhow::Result<Gateway> {
        let devices: Vec<Arc<Device>> = std::mem::take(&mut config.devices).into_iter().map(Arc::new).collect();
        let root = &config.gateway.topic_root;
        let topics = GatewayTopics::new(root).context("gateway.topic_root is too long")?;
        let router = ReadingRouter::new(root, devices.iter()).context("gateway.topic_root is too long")?;

        let mut keeping = Keeping::open(&config, &devices, &topics, clock).await?;
        let Ends { outlets, appends, reports, memory } = keeping.broker_ends();
        let limits = Limits::from(&config.broker.limits);
        let broker = match Broker::start(&config.broker, limits, outlets, appends, reports, memory, clock) {
            Ok(broker) => Arc::new(broker),
            Err(error) => {
                keeping.close().await;
                return Err(error.into());
            }
        };
        let board = StatusBoard::new(config.gateway.id.clone(), clock, broker.clone());
        let hub = broker.hub();

        let mut accepts = Stage::new("what comes by uplink");
        keeping.start_intakes(&mut accepts, &hub, root, clock).await.context("the broker ended while starting")?;
        let mut uplinks = Stage::new("uplink");
        keeping.watch_store(&board.progress);
        keeping.start_uplinks(&mut uplinks, &board.progress);

        let desk = Desk::new(root, devices.iter());
        let filters = desk.filters().context("gateway.topic_root is too long")?;
        // Before the first bus, which takes its time: clients may be there already.
        let messages = hub.subscribe_kept(filters).await.context("the broker ended while starting")?;

        let (events, arrived) = mpsc::channel(EVENTS_WAITING);
        let (order_reports, reports) = mpsc::channel(commands::REPORTS);
        let mut buses = Buses::new(events, order_reports, clock);
        config.buses.iter().for_each(|bus| buses.start(bus, &devices, &board.progress));
        let mut intake = Stage::new("intake");
        let (intake_requests, requests) = mpsc::channel(REQUESTS_WAITING);
        intake.spawn("readings", intake::run(arrived, requests, router, hub.clone()));
        let mut commands = Stage::new("commands");
        let (command_changes, changes) = mpsc::channel(1);
        let task = Commands { desk, messages, buses: buses.orders(), reports, changes, hub: hub.clone(), clock };
        commands.spawn("all", task.run());

        let board = Arc::new(board);
        let mut gateway = Gateway {
            topics,
            board,
            broker,
            keeping,
            web: None,
            web_config: config.web.clone(),
            control: None,
            buses,
            intake,
            intake_requests,
            commands,
            command_changes,
            reports: Stage::new("reports"),
            uplinks,
            clock,
            config,
            devices,
            accepts,
        };
        if let Err(error) = gateway.announce(hub, clock).await {
            gateway.stop().await;
            return Err(error);
        }
        Ok(gateway)
    }

    /// The web pages, the first state message and the regular reports.
    async fn announce(&mut self, hub: HubHandle, clock: Clock) -> anyhow::Result<()> {
        self.show(&self.config);
        let cancel = CancellationToken::new();
        match web::start_control(&self.config.gateway.data_dir, self.pages(), cancel.clone()) {
            Ok(serving) => self.control = Some((serving, cancel)),
            // A file system without sockets: nothing that has to be acknowledged depends on them.
            Err(error) => error!(%error, "the gateway runs without its control socket"),
        }
        if let Some(web) = &self.web_config {
            self.web = Some(self.start_web(web).await?);
        }
        hub.publish(self.topics.state_message(true)).await.context("the broker ended while starting")?;
        let (board, topics) = (self.board.clone(), self.topics.clone());
        self.reports
            .spawn("health", reports::health(board, topics.clone(), hub.clone(), clock, self.reports.cancel_token()));
        self.reports.spawn("watchdog", notify::mind(self.board.clone(), clock, self.reports.cancel_token()));
        if let Some(gaps) = self.keeping.take_gaps() {
            self.reports.spawn("gaps", reports::gaps(gaps, topics, hub, self.reports.cancel_token()));
        }
        let config = &self.config;
        for (listener, address) in config.broker.listeners.iter().zip(self.broker.addresses()) {
            info!(listener = %listener.url, %address, "the broker listens");
        }
        info!(
            gateway = %config.gateway.id,
            buses = config.buses.len(),
            devices = self.devices.len(),
            uplinks = config.uplinks.len(),
            "the gateway runs"
        );
        Ok(())
    }

    /// What is served over HTTP and on the control socket.
    fn pages(&self) -> Pages {
        let (file, data_dir) = (self.config.file.clone(), self.config.gateway.data_dir.clone());
        let (board, shown) = (self.board.clone(), self.board.clone());
        let (intake, hub, root) =
            (self.intake_requests.clone(), self.broker.hub(), self.config.gateway.topic_root.clone());
        let control = Control { board, intake, hub, root, file, data_dir };
        Pages { source: Arc::new(move || shown.snapshot()), answerer: Some(control.answerer()) }
    }

    /// Has the board tell of the parts that `config` names.
    fn show(&self, config: &Config) {
        let (uplinks, rules) = (self.keeping.watches(&config.uplinks), self.keeping.tallies());
        self.board.show(Parts { buses: self.buses.statuses(&config.buses), uplinks, rules });
    }

    /// The configuration that it runs with. Its devices are not in it.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The gateway's own way into its broker.
    pub fn hub(&self) -> HubHandle {
        self.broker.hub()
    }

    /// Where the broker listens.
    pub fn broker_addresses(&self) -> &[SocketAddr] {
        self.broker.addresses()
    }

    /// How everything is doing now.
    pub fn snapshot(&self) -> Snapshot {
        self.board.snapshot()
    }

    /// Waits until a part ends that should not have ended; never returns while all is well.
    pub async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            error = self.buses.stage.ended() => error,
            error = self.intake.ended() => error,
            error = self.commands.ended() => error,
            error = self.reports.ended() => error,
            error = self.uplinks.ended() => error,
            error = self.accepts.ended() => error,
        }
    }

    /// Stops in order; each step has a bound of its own.
    pub async fn stop(mut self) {
        self.reports.stop().await;
        let order_reports = self.buses.stop().await;
        self.intake.stop().await;
        drop(order_reports);
        self.commands.stop().await;
        // Waits until the hub has dealt with it, so that the broker's stop does not overtake it.
        if let Err(error) = self.broker.hub().publish_committed(self.topics.state_message(false)).await {
            warn!(%error, "could not tell the local clients that the gateway goes");
        }
        self.uplinks.stop().await;
        self.accepts.stop().await;
        // The board holds the broker for its numbers; the web pages and the control socket hold the board.
        if let Some((control, cancel)) = self.control {
            cancel.cancel();
            control.stopped().await;
        }
        if let Some((web, cancel)) = self.web.take() {
            cancel.cancel();
            web.stopped().await;
        }
        drop(self.board);
        match Arc::try_unwrap(self.broker) {
            Ok(broker) => broker.stop().await,
            Err(_) => warn!("the broker is still in use and is left to the end of the process"),
        }
        self.keeping.close().await;
    }
}

/// The web pages beyond loopback are for the broker's users.
fn guard(doorkeeper: Doorkeeper) -> web::Guard {
    Arc::new(move |peer, name, password| {
        let doorkeeper = doorkeeper.clone();
        Box::pin(async move { doorkeeper.is_user(peer, name, password).await })
    })
}
