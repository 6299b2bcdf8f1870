//! The tasks of the buses, started and stopped one by one, and the ways to and from them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::commands;
use super::progress::Progress;
use super::stage::Stage;
use crate::clock::Clock;
use crate::model::{Bus, BusState, BusStatus, Device, DeviceStatus, Name, Order, OrderReport, Pulse};
use crate::poll::{self, Event, Mailbox};

/// The running buses.
pub struct Buses {
    pub stage: Stage,
    /// Where they report to. Kept here, so that the intake also waits where there are no buses; it ends when this and the buses' ends are gone.
    events: mpsc::Sender<Event>,
    /// The same for what became of orders.
    order_reports: mpsc::Sender<OrderReport>,
    running: HashMap<Name, Running>,
    clock: Clock,
}

struct Running {
    orders: mpsc::Sender<Order>,
    status: watch::Receiver<BusStatus>,
}

impl Buses {
    /// None yet.
    pub fn new(events: mpsc::Sender<Event>, order_reports: mpsc::Sender<OrderReport>, clock: Clock) -> Buses {
        Buses { stage: Stage::new("bus"), events, order_reports, running: HashMap::new(), clock }
    }

    /// Starts polling those of `devices` that are on it.
    pub fn start(&mut self, bus: &Bus, devices: &[Arc<Device>], progress: &Progress) {
        let on_bus: Vec<_> = devices.iter().filter(|device| device.bus == bus.name).cloned().collect();
        let (status, watched) = watch::channel(initial_status(bus.name.clone(), &on_bus));
        let (orders_to_bus, orders) = mpsc::channel(commands::WAITING);
        self.running.insert(bus.name.clone(), Running { orders: orders_to_bus, status: watched });
        let mailbox = Mailbox { orders, reports: self.order_reports.clone() };
        let pulse = Pulse::default();
        // One round of its loop is one request, and its answer may take that long on a slow line.
        let round = 2 * bus.timeout;
        progress.watch(format!("bus {}", bus.name), pulse.clone(), round, self.clock.now());
        let (bus, clock, events) = (bus.clone(), self.clock, self.events.clone());
        let name = bus.name.to_string();
        self.stage.spawn_until(&name, |cancel| poll::run(bus, on_bus, clock, events, mailbox, status, pulse, cancel));
    }

    /// Stops these: a write that has begun is finished, what was read is handed on, and whoever waits for a write is told.
    pub async fn stop_some<'a>(&mut self, names: impl Iterator<Item = &'a Name>) {
        let names: Vec<&Name> = names.collect();
        names.iter().for_each(|name| drop(self.running.remove(*name)));
        self.stage.stop_some(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>()).await;
    }

    /// The way to each bus.
    pub fn orders(&self) -> HashMap<Name, mpsc::Sender<Order>> {
        self.running.iter().map(|(name, running)| (name.clone(), running.orders.clone())).collect()
    }

    /// Where each of `buses` tells how it is doing, in their order.
    pub fn statuses(&self, buses: &[Bus]) -> Vec<watch::Receiver<BusStatus>> {
        buses.iter().filter_map(|bus| self.running.get(&bus.name)).map(|running| running.status.clone()).collect()
    }

    /// Stops all. What is returned keeps those waiting who take what became of orders: to be dropped when the readings are dealt with.
    pub async fn stop(self) -> mpsc::Sender<OrderReport> {
        self.stage.stop().await;
        self.order_reports
    }
}

fn initial_status(bus: Name, devices: &[Arc<Device>]) -> BusStatus {
    let devices = devices.iter().map(|device| DeviceStatus {
        device: device.name.clone(),
        online: None,
        fault: None,
        last_answer: None,
        requests: 0,
        failures: 0,
        skipped: 0,
    });
    BusStatus { bus, state: BusState::Starting, busy: Duration::ZERO, damaged: 0, devices: devices.collect() }
}
