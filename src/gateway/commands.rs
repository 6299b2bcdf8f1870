//! Commands on their way from the hub to the buses, and their results on the way back.
//!
//! Never waits for a bus: what a bus has no room for is refused. Every write is logged with who asked for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info};

use crate::broker::{HubClosed, HubHandle, KeptSubscription};
use crate::clock::Clock;
use crate::command::{Answer, Decision, Desk, Refusal, Status};
use crate::model::{Device, Monotonic, Name, Order, OrderReport, Publisher};
use crate::route::hops;

/// Commands that may wait for one bus.
pub const WAITING: usize = 1_000;
/// Reports that may wait to be published.
pub const REPORTS: usize = 256;

/// So many rejected commands are logged in each of these periods. A client that is wrong again and again must not fill the log.
const REJECTIONS: u32 = 20;
const PERIOD: Duration = Duration::from_secs(60);

/// Carries commands and results until the last bus has ended and its reports are published.
pub struct Commands {
    /// Decides.
    pub desk: Desk,
    /// Messages that may be commands.
    pub messages: KeptSubscription,
    /// The way to each bus.
    pub buses: HashMap<Name, mpsc::Sender<Order>>,
    /// What the buses tell.
    pub reports: mpsc::Receiver<OrderReport>,
    /// What a reload changes.
    pub changes: mpsc::Receiver<Change>,
    /// The way back.
    pub hub: HubHandle,
    /// For deadlines and the times of results.
    pub clock: Clock,
}

/// The devices and buses from now on.
pub struct Change {
    /// All devices.
    pub devices: Vec<Arc<Device>>,
    /// The way to each bus.
    pub buses: HashMap<Name, mpsc::Sender<Order>>,
    /// Answered when it is so.
    pub done: oneshot::Sender<()>,
}

impl Commands {
    /// Runs until `reports` closes.
    pub async fn run(mut self) -> Result<(), HubClosed> {
        let mut log = Log::default();
        loop {
            let answers = tokio::select! {
                report = self.reports.recv() => match report {
                    Some(report) => self.desk.finish(self.clock.stamp(), &report),
                    None => break,
                },
                Some(Change { devices, buses, done }) = self.changes.recv() => {
                    self.desk.replace(devices.iter());
                    self.buses = buses;
                    // Whoever asked for it may have given up.
                    let _ = done.send(());
                    Vec::new()
                }
                message = self.messages.recv_aged(self.clock) => match message {
                    Some((message, by)) => match self.desk.receive(self.clock.stamp(), by, &message) {
                        Decision::Carry(order) => self.carry(order),
                        Decision::Tell(answer) => vec![answer],
                        Decision::Nothing => Vec::new(),
                    },
                    None => return Err(HubClosed),
                },
            };
            self.tell(answers, &mut log).await?;
        }
        let left = self.desk.abandon(self.clock.stamp());
        self.tell(left, &mut log).await
    }

    fn carry(&mut self, order: Order) -> Vec<Answer> {
        let token = order.token;
        let sent = match self.buses.get(&order.device.bus) {
            Some(bus) => bus.try_send(order),
            None => Err(TrySendError::Closed(order)),
        };
        let refusal = match sent {
            Ok(()) => return Vec::new(),
            Err(TrySendError::Full(_)) => Refusal::Full(WAITING),
            Err(TrySendError::Closed(_)) => Refusal::Gone,
        };
        self.desk.refuse(self.clock.stamp(), token, refusal)
    }

    async fn tell(&self, answers: Vec<Answer>, log: &mut Log) -> Result<(), HubClosed> {
        for answer in answers {
            log.tell(&answer, self.clock.now());
            if let Some(mut message) = answer.message {
                if let Publisher::Uplink(uplink) = &answer.by {
                    hops::is_result_for(uplink, &mut message);
                }
                self.hub.publish(message).await?;
            }
        }
        Ok(())
    }
}

/// What is logged of commands.
#[derive(Default)]
struct Log {
    since: Monotonic,
    rejected: u32,
}

impl Log {
    fn tell(&mut self, answer: &Answer, now: Monotonic) {
        let Answer { by, device, point, said, status, error, is_repeated, .. } = answer;
        let (device, point) = (device.as_deref(), point.as_deref());
        let (who, what, status, error) = (Who(by), said.as_str(), status.as_str(), error.as_deref());
        if *is_repeated {
            debug!(device, point, ?what, %who, "a command with a known id has its first result again");
        } else if answer.status != Status::Rejected {
            info!(device, point, ?what, %who, status, error, "a command to write");
        } else if self.is_to_be_told(now) {
            info!(device, point, ?what, %who, error, "a command was rejected");
        } else {
            debug!(device, point, ?what, %who, error, "another command was rejected");
        }
    }

    fn is_to_be_told(&mut self, now: Monotonic) -> bool {
        if now.since(self.since) >= PERIOD {
            if self.rejected > REJECTIONS {
                info!(commands = self.rejected - REJECTIONS, "more commands were rejected than were logged");
            }
            (self.since, self.rejected) = (now, 0);
        }
        self.rejected = self.rejected.saturating_add(1);
        self.rejected <= REJECTIONS
    }
}

/// A publisher chose its name: what would break a line is not printed as it is.
struct Who<'a>(&'a Publisher);

impl std::fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.to_string().escape_debug().fmt(f)
    }
}
