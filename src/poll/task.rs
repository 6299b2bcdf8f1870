//! The task that owns a bus: does what the scheduler says, and hands on what it reports.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::scheduler::{Action, Outcome, PlannedGroup, Scheduler};
use super::{Event, Output, PollError};
use crate::clock::Clock;
use crate::driver::{self, Driver, Ending, Failure, Finished, LineError, Request};
use crate::model::{Bus, BusStatus, Device, Fault, Monotonic, Name, Sample};

/// Polls `devices`, all of them on `bus`, until `cancel`.
///
/// Waits while `events` is full; the intervals that pass meanwhile are skipped and counted. `status` is kept up to date.
/// Errors when no driver speaks the bus's protocol, or the receiver of `events` is gone.
pub async fn run(
    bus: Bus,
    devices: Vec<Arc<Device>>,
    clock: Clock,
    events: mpsc::Sender<Event>,
    status: watch::Sender<BusStatus>,
    cancel: CancellationToken,
) -> Result<(), PollError> {
    let mut driver = driver::for_bus(&bus, clock)?;
    driver.attach(&devices);
    let planned = devices.into_iter().map(|device| (Arc::clone(&device), plan(driver.as_ref(), &device))).collect();
    let depth = driver.pipeline().map_or(1, |pipeline| pipeline.depth());
    let scheduler = Scheduler::new(clock.now(), &bus.name, bus.retries, driver.longest(), planned)
        .overlapping(depth)
        .listening(|device| driver.unasked(device));
    let task = Task { bus, clock, driver, scheduler, events, status, sent: Vec::new(), refusals: BTreeMap::new() };
    // Dropping the task half-way is how it ends: a request that was sent is not waited for.
    cancel.run_until_cancelled(task.poll()).await.unwrap_or(Ok(()))
}

struct Task {
    bus: Bus,
    clock: Clock,
    driver: Box<dyn Driver>,
    scheduler: Scheduler,
    events: mpsc::Sender<Event>,
    status: watch::Sender<BusStatus>,
    /// What is under way in the driver's pipeline.
    sent: Vec<(u64, Arc<Device>, Arc<Request>)>,
    /// Refused points that were logged, by device.
    refusals: BTreeMap<Name, u32>,
}

/// So many refused points of a device are named in the log; a wrong table would otherwise fill it.
const NAMED_REFUSALS: u32 = 10;

impl Task {
    async fn poll(mut self) -> Result<(), PollError> {
        loop {
            for heard in self.driver.heard() {
                self.scheduler.handle_heard(self.clock.stamp(), heard);
            }
            self.scheduler.handle_damaged(self.driver.damaged());
            self.scheduler.advance(self.clock.stamp());
            self.report().await?;
            match self.scheduler.next_action(self.clock.now()) {
                Action::Wait(until) => {
                    let heard = tokio::select! {
                        biased;
                        heard = self.driver.listen() => heard,
                        () = self.clock.sleep_until(until) => Ok(()),
                    };
                    if let Err(error) = heard {
                        self.line_gone(&error);
                    }
                }
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
                Action::Send { ticket, device, request } => {
                    let pipeline = self.driver.pipeline().expect("its depth was told to the scheduler");
                    pipeline.send(ticket, Arc::clone(&device), Arc::clone(&request));
                    self.sent.push((ticket, device, request));
                }
                Action::Listen(until) => self.listen(until).await,
            }
        }
    }

    /// Waits for the end of requests that are under way.
    async fn listen(&mut self, until: Monotonic) {
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
                    self.events.send(event).await.map_err(|_| PollError::NobodyListens)?;
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

/// The device's points by interval, the shortest first, each interval's merged into requests.
fn plan(driver: &dyn Driver, device: &Device) -> Vec<PlannedGroup> {
    let mut intervals: Vec<Duration> = device.points.iter().map(|point| point.poll).collect();
    intervals.sort_unstable();
    intervals.dedup();
    let group = |interval: Duration| {
        let points: Vec<usize> = (0..device.points.len()).filter(|&i| device.points[i].poll == interval).collect();
        PlannedGroup { interval, requests: driver.plan(device, &points) }
    };
    // What comes unasked needs no request.
    intervals.into_iter().map(group).filter(|group| !group.requests.is_empty()).collect()
}
