//! The task that owns a bus: does what the scheduler says, and hands on what it reports.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::SendError;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::orders::PlannedOrder;
use super::scheduler::{Action, Outcome, Scheduler};
use super::{Event, Output, PollError, load};
use crate::clock::Clock;
use crate::driver::{self, Driver, Ending, Failure, Finished, LineError, Request, WriteFailure};
use crate::model::{Bus, BusStatus, Device, Fault, Monotonic, Name, Order, OrderReport, Pulse, Sample};

/// How long the end may be put off by a write that has begun, and by readings that nobody takes.
const LAST_WRITES: Duration = Duration::from_secs(2);
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Where orders come from, and where it is told what became of them.
#[derive(Debug)]
pub struct Mailbox {
    /// For devices of this bus. What finds no room here is for the sender to refuse.
    pub orders: mpsc::Receiver<Order>,
    /// One report an order.
    pub reports: mpsc::Sender<OrderReport>,
}

/// Polls `devices`, all of them on `bus`, and writes what it is ordered to, until `cancel`.
///
/// Waits while `events` is full; the intervals that pass meanwhile are skipped and counted. `status` is kept up to date, and `pulse` beats
/// with each request, and at least every few seconds. At the end
/// a write that has begun is finished, and what was read is handed on; both have their limit.
/// Errors when no driver speaks the bus's protocol, or the receiver of `events` is gone.
#[expect(clippy::too_many_arguments, reason = "one caller, and each is another end of the task")]
pub async fn run(
    bus: Bus,
    devices: Vec<Arc<Device>>,
    clock: Clock,
    events: mpsc::Sender<Event>,
    mailbox: Mailbox,
    status: watch::Sender<BusStatus>,
    pulse: Pulse,
    cancel: CancellationToken,
) -> Result<(), PollError> {
    let mut driver = driver::for_bus(&bus, clock)?;
    driver.attach(&devices);
    let planned =
        devices.into_iter().map(|device| (Arc::clone(&device), load::planned(driver.as_ref(), &device))).collect();
    let depth = driver.pipeline().map_or(1, |pipeline| pipeline.depth());
    let scheduler = Scheduler::new(clock.now(), &bus.name, bus.retries, driver.longest(), planned)
        .overlapping(depth)
        .listening(|device| driver.unasked(device));
    let (sent, refusals) = (Vec::new(), BTreeMap::new());
    let task = Task { bus, clock, driver, scheduler, events, mailbox, status, pulse, cancel, sent, refusals };
    task.poll().await
}

struct Task {
    bus: Bus,
    clock: Clock,
    driver: Box<dyn Driver>,
    scheduler: Scheduler,
    events: mpsc::Sender<Event>,
    mailbox: Mailbox,
    status: watch::Sender<BusStatus>,
    pulse: Pulse,
    cancel: CancellationToken,
    /// What is under way in the driver's pipeline.
    sent: Vec<(u64, Arc<Device>, Arc<Request>)>,
    /// Refused points that were logged, by device.
    refusals: BTreeMap<Name, u32>,
}

/// So many refused points of a device are named in the log; a wrong table would otherwise fill it.
const NAMED_REFUSALS: u32 = 10;

impl Task {
    async fn poll(mut self) -> Result<(), PollError> {
        let cancel = self.cancel.clone();
        while !cancel.is_cancelled() {
            self.pulse.beat();
            while let Ok(order) = self.mailbox.orders.try_recv() {
                self.take_order(order);
            }
            for heard in self.driver.heard() {
                self.scheduler.handle_heard(self.clock.stamp(), heard);
            }
            self.scheduler.handle_damaged(self.driver.damaged());
            self.scheduler.advance(self.clock.stamp());
            self.report().await?;
            let action = self.scheduler.next_action(self.clock.now());
            if self.scheduler.is_writing() {
                // Not to be dropped half-way: nobody would know whether it was done.
                self.carry_out(action).await;
            } else if cancel.run_until_cancelled(self.carry_out(action)).await.is_none() {
                // A read that was sent is not waited for, and the driver is not used after it.
                self.stop_writes();
                return self.report().await;
            }
        }
        self.finish_writes().await;
        self.report().await
    }

    async fn carry_out(&mut self, action: Action) {
        match action {
            Action::Wait(until) => tokio::select! {
                () = self.clock.sleep_until(until.min(self.clock.now() + Pulse::EVERY)) => {}
                // Without a sender there is nothing to wait for.
                Some(order) = self.mailbox.orders.recv() => self.take_order(order),
                heard = self.driver.listen() => {
                    if let Err(error) = heard {
                        self.line_gone(&error);
                    }
                }
            },
            Action::Open => match self.driver.open().await {
                Ok(()) => {
                    tracing::info!(bus = %self.bus.name, "the bus is open");
                    self.scheduler.handle_opened();
                }
                Err(error) => self.line_gone(&error),
            },
            Action::Read { device, request } => {
                let mut samples = Vec::with_capacity(request.points.len());
                let result = self.driver.read(&device, &request, &mut samples).await;
                if let Some(outcome) = self.outcome(result.map(|()| samples), &device, &request) {
                    self.scheduler.handle_outcome(self.clock.stamp(), outcome);
                }
            }
            Action::Write { device, request } => {
                let result = self.driver.write(&device, &request).await;
                if let Err(error) = &result {
                    tracing::debug!(bus = %self.bus.name, device = %device.name, %error, "a write was not acknowledged");
                }
                self.scheduler.handle_written(self.clock.stamp(), result.clone());
                if let Err(WriteFailure::NotSent(error)) = result {
                    self.line_gone(&error);
                }
            }
            Action::Send { ticket, device, request } => {
                let pipeline = self.driver.pipeline().expect("its depth was told to the scheduler");
                pipeline.send(ticket, Arc::clone(&device), Arc::clone(&request));
                self.sent.push((ticket, device, request));
            }
            Action::Listen(until) => self.listen(until).await,
        }
    }

    fn take_order(&mut self, order: Order) {
        let device = &order.device;
        match self.driver.plan_writes(device, &order.values) {
            Ok(writes) => {
                let points = order.values.iter().map(|(point, _)| *point);
                let read: Vec<usize> = points.filter(|&point| device.points[point].is_read()).collect();
                let reads = self.driver.plan(device, &read);
                self.scheduler.take_order(PlannedOrder { order, writes, reads });
            }
            Err(unfit) => self.scheduler.refuse_order(&order, &unfit),
        }
    }

    /// Lets orders that have begun come to their end.
    async fn finish_writes(&mut self) {
        self.scheduler.stop_orders();
        let until = self.clock.now() + LAST_WRITES;
        while let Some(action) = self.scheduler.next_order(self.clock.now()) {
            let left = until.since(self.clock.now());
            if tokio::time::timeout(left, self.carry_out(action)).await.is_err() {
                break;
            }
        }
        self.stop_writes();
    }

    /// Nothing is written any more, and each order that has come is told what became of it.
    fn stop_writes(&mut self) {
        self.mailbox.orders.close();
        while let Ok(order) = self.mailbox.orders.try_recv() {
            self.take_order(order);
        }
        self.scheduler.stop();
    }

    /// Waits for the end of requests that are under way.
    async fn listen(&mut self, until: Monotonic) {
        let until = until.min(self.clock.now() + Pulse::EVERY);
        let pipeline = self.driver.pipeline().expect("its depth was told to the scheduler");
        let finished = tokio::select! {
            biased;
            finished = pipeline.finished() => finished,
            () = self.clock.sleep_until(until) => return,
        };
        for Finished { ticket, ending } in finished {
            let Some(at) = self.sent.iter().position(|(sent, ..)| *sent == ticket) else { continue };
            let (_, device, request) = self.sent.swap_remove(at);
            let outcome = match ending {
                Ending::Answer(samples) => self.outcome(Ok(samples), &device, &request),
                Ending::Failed(failure) => self.outcome(Err(failure), &device, &request),
                Ending::Cut => Some(Outcome::Cut),
            };
            if let Some(outcome) = outcome {
                self.scheduler.handle_finished(self.clock.stamp(), ticket, outcome);
            }
        }
    }

    /// What the scheduler is told about a request; `None` when the line is gone, which it is told at once.
    fn outcome(&mut self, result: Result<Vec<Sample>, Failure>, device: &Device, request: &Request) -> Option<Outcome> {
        match result {
            Ok(samples) => Some(Outcome::Answer(samples)),
            Err(Failure::Refused(fault)) => {
                Some(Outcome::Refused { fault, parts: self.driver.split(device, request, fault) })
            }
            Err(Failure::NoAnswer(fault)) => {
                tracing::debug!(
                    bus = %self.bus.name, device = %device.name, error = %fault,
                    request = %self.driver.describe(device, request), "no usable answer"
                );
                Some(Outcome::Silence(fault))
            }
            Err(Failure::LineGone(error)) => {
                self.line_gone(&error);
                None
            }
        }
    }

    fn line_gone(&mut self, error: &LineError) {
        self.sent.clear();
        if self.scheduler.handle_line_gone(self.clock.stamp(), error.to_string()) {
            tracing::warn!(bus = %self.bus.name, error = %error, "the bus can't be used; trying again every second or so");
        } else {
            tracing::debug!(bus = %self.bus.name, error = %error, "the bus can still not be used");
        }
    }

    async fn report(&mut self) -> Result<(), PollError> {
        let outputs = self.scheduler.take_outputs();
        // Before the events: whoever sees one finds a status that knows about it.
        if self.scheduler.has_changed() {
            self.status.send_modify(|status| self.scheduler.write_status(status));
        }
        for output in outputs {
            match output {
                Output::Event(event) => {
                    self.log(&event);
                    hand_on(self.events.send(event), &self.cancel, self.clock).await?;
                }
                // Whoever gave the order may be gone.
                Output::Written(report) => {
                    drop(hand_on(self.mailbox.reports.send(report), &self.cancel, self.clock).await);
                }
                Output::Refusal { device, point, fault } => self.log_refusal(&device, point, fault),
                Output::OneAtATime { device } => tracing::warn!(
                    bus = %self.bus.name, device = %device.name, in_flight = self.bus.in_flight,
                    "requests that were sent beside others were left unanswered; from now on one is sent at a time. \
                     `in_flight: 1` on the bus says so from the start"
                ),
            }
        }
        Ok(())
    }

    fn log_refusal(&mut self, device: &Device, point: usize, fault: Fault) {
        let count = self.refusals.entry(device.name.clone()).or_default();
        *count += 1;
        let (bus, device, point) = (&self.bus.name, &device.name, &device.points[point].name);
        if *count <= NAMED_REFUSALS {
            let hint = match fault {
                Fault::IllegalFunction => {
                    "does it have this table? Documented 3xxxx registers are input, 4xxxx holding"
                }
                _ => "is its address right? Modbus counts from 0: register 40108 is holding 107",
            };
            tracing::warn!(%bus, %device, %point, error = %fault, hint, "the device refuses this point");
        } else {
            tracing::debug!(%bus, %device, %point, error = %fault, "the device refuses this point, too");
        }
    }

    fn log(&self, event: &Event) {
        match event {
            Event::Availability { device, online: true, .. } => {
                tracing::info!(bus = %self.bus.name, device = %device.name, "the device is online");
            }
            Event::Availability { device, online: false, fault, .. } => {
                let error = fault.map_or("unknown", |fault| fault.as_str());
                tracing::warn!(bus = %self.bus.name, device = %device.name, error, "the device is offline");
            }
            Event::Round(_) => {}
        }
    }
}

/// Waits for room; when the bus is stopped, only for a while.
async fn hand_on<T>(
    sending: impl Future<Output = Result<(), SendError<T>>>,
    cancel: &CancellationToken,
    clock: Clock,
) -> Result<(), PollError> {
    let too_late = async {
        cancel.cancelled().await;
        clock.sleep(LAST_WORDS).await;
    };
    tokio::select! {
        biased;
        sent = sending => sent.map_err(|_| PollError::NobodyListens),
        () = too_late => Ok(()),
    }
}
