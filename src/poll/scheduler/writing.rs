//! Writes go before reads: at most what is on the wire already is waited for. Pure.

use std::sync::Arc;

use super::{Action, Line, Outcome, Scheduler};
use crate::driver::{Seen, Unfit, WriteFailure};
use crate::model::{Monotonic, NotSent, Order, OrderReport, Reading, Stamp, WriteEnd, Written};
use crate::poll::agenda::Output;
use crate::poll::orders::{Need, PlannedOrder};

/// So many requests of orders go in a row while reads are due; then one read goes between them. Otherwise a flood of commands would keep
/// the bus from being read.
const IN_A_ROW: u32 = 16;

/// A request of an order that is on the wire.
#[derive(Debug)]
pub(super) struct OnWire {
    agenda: usize,
    since: Monotonic,
}

impl Scheduler {
    /// Takes an order for a device of this bus. What becomes of it is among the outputs.
    pub fn take_order(&mut self, planned: PlannedOrder) {
        let is_its = |agenda: &super::Agenda| agenda.device.name == planned.order.device.name;
        let Some(index) = self.agendas.iter().position(is_its) else {
            let unfit = Unfit { point: usize::MAX, why: String::new() };
            return self.refuse_order(&planned.order, &unfit);
        };
        self.orders.take(planned, index);
        if let Line::Closed { why: Some(why), .. } = &self.line {
            self.orders.end_all(&NotSent::LineDown(why.clone()));
        }
    }

    /// An order that the driver can't carry out.
    pub fn refuse_order(&mut self, order: &Order, unfit: &Unfit) {
        let why = |point: usize| match point == unfit.point {
            true => NotSent::Unfit(unfit.why.clone()),
            false => NotSent::BesideUnfit,
        };
        let written = order.values.iter().map(|&(point, _)| Written {
            point,
            end: WriteEnd::NotSent(why(point)),
            read_back: None,
            is_as_wanted: false,
        });
        let report = OrderReport { token: order.token, written: written.collect() };
        self.shared.outputs.push(Output::Written(report));
    }

    /// Whether the last action came from an order.
    pub fn is_writing(&self) -> bool {
        self.on_wire.is_some()
    }

    /// The write of [`Action::Write`] is over. After [`WriteFailure::NotSent`], [`Scheduler::handle_line_gone`] follows.
    pub fn handle_written(&mut self, stamp: Stamp, result: Result<Seen, WriteFailure>) {
        let Some(OnWire { agenda, since }) = self.on_wire.take() else { return };
        let mut readings = Vec::new();
        let end = match result {
            Ok(seen) => {
                readings.extend(seen.into_iter().map(|(point, sample)| Reading { point, sample, stamp }));
                WriteEnd::Acknowledged
            }
            Err(WriteFailure::Refused(fault)) => WriteEnd::Refused(fault),
            Err(WriteFailure::Unanswered(fault)) => WriteEnd::Unanswered(fault),
            // Its line is gone, which the next call tells; until then it waits.
            Err(WriteFailure::NotSent(_)) => return self.orders.not_sent(),
        };
        self.busy += stamp.monotonic.since(since);
        self.reopen.reset();
        let agenda = &mut self.agendas[agenda];
        agenda.received(stamp.monotonic);
        self.has_changed = true;
        self.orders.written(stamp.monotonic, end.clone(), &readings);
        match &end {
            WriteEnd::Unanswered(_) => agenda.status.failures += 1,
            _ if readings.is_empty() => agenda.answered_write(stamp, &mut self.shared),
            _ => agenda.read_back(stamp, readings, &mut self.shared),
        }
    }

    /// No order is begun any more; [`Scheduler::next_order`] tells what those that have begun need.
    pub fn stop_orders(&mut self) {
        self.orders.stop();
    }

    /// Nothing more is sent; a write that is on the wire counts as sent.
    pub fn stop(&mut self) {
        self.orders.end_all(&NotSent::Stopping);
    }

    pub(super) fn give_up_orders(&mut self, now: Monotonic) {
        let agendas = &self.agendas;
        self.orders.give_up(now, |index| agendas[index].gate());
    }

    /// What an order needs now.
    pub fn next_order(&mut self, now: Monotonic) -> Option<Action> {
        let agendas = &self.agendas;
        let gate = |index: usize| agendas[index].gate();
        if self.in_a_row >= IN_A_ROW && self.pick(now).is_some() {
            return None;
        }
        if !self.in_flight.is_empty() {
            // Nothing more is sent until what is under way is over.
            return self.orders.is_waiting(now, gate).then(|| Action::Listen(self.reads_wake_at(now)));
        }
        let (index, need) = self.orders.next(now, gate)?;
        self.in_a_row += 1;
        self.on_wire = Some(OnWire { agenda: index, since: now });
        let agenda = &mut self.agendas[index];
        agenda.status.requests += 1;
        let device = Arc::clone(&agenda.device);
        Some(match need {
            Need::Write(request) => Action::Write { device, request },
            Need::Read(request) => Action::Read { device, request },
        })
    }

    /// The read-back that is on the wire is over.
    pub(super) fn handle_read_back(&mut self, stamp: Stamp, OnWire { agenda, since }: OnWire, outcome: Outcome) {
        self.busy += stamp.monotonic.since(since);
        let agenda = &mut self.agendas[agenda];
        agenda.received(stamp.monotonic);
        match outcome {
            Outcome::Answer(samples) => {
                let readings = self.orders.answered(stamp, samples);
                agenda.read_back(stamp, readings, &mut self.shared);
            }
            Outcome::Refused { fault, parts } => {
                agenda.answered_write(stamp, &mut self.shared);
                self.orders.refused(stamp.monotonic, fault, parts);
            }
            Outcome::Silence(fault) => {
                self.has_changed = true;
                if self.orders.silent(stamp.monotonic, fault) {
                    agenda.ignored_write(stamp, fault, &mut self.shared);
                }
            }
            // Nothing else is under way beside it.
            Outcome::Cut => drop(self.orders.silent(stamp.monotonic, crate::model::Fault::Disconnected)),
        }
    }

    pub(super) fn take_reports(&mut self) {
        self.shared.outputs.extend(self.orders.take_finished().into_iter().map(Output::Written));
    }
}
