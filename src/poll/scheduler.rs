//! The bus scheduler: what is asked next on one line, and when. Pure.
//!
//! Writes go first (`writing`, `orders`). Reads go by deadline, and among equal deadlines in the order in which they became due. A request that may be in vain
//! (a repetition, a device that failed its last poll, a probe) waits for a gap in which a silence costs the others
//! nothing, and when that takes too long, for those that answer. `advance` and `handle_*` take the time, `next_action`
//! and `take_outputs` say what to do.

mod writing;

use std::sync::Arc;
use std::time::Duration;

use super::agenda::{Agenda, Output, Shared};
use super::backoff::Backoff;
use super::budget::Budget;
use super::grid::Grid;
use super::group::Group;
use super::orders::Orders;
use super::overlap::Overlap;
use super::spread::Spread;
use super::turn::{Patience, Pending, Turn};
use crate::driver::{Heard, Request, WriteRequest};
use crate::model::{BusState, BusStatus, Device, Fault, Monotonic, Name, NotSent, Sample, Stamp};
use writing::OnWire;

/// A line that is gone is tried again this soon at first, and never more rarely than the second: nobody else waits for it.
const FIRST_REOPEN: Duration = Duration::from_millis(250);
const RAREST_REOPEN: Duration = Duration::from_millis(1000);
/// On a line without gaps, devices that were silent get one part in so many of the time.
const SILENT_PART_IN: u32 = 5;

/// What to do now.
#[derive(Debug, Clone)]
pub enum Action {
    /// Open the line; then [`Scheduler::handle_opened`] or [`Scheduler::handle_line_gone`].
    Open,
    /// Send a request to a device; then [`Scheduler::handle_outcome`] or [`Scheduler::handle_line_gone`].
    Read {
        /// To whom.
        device: Arc<Device>,
        /// What.
        request: Arc<Request>,
    },
    /// Write to a device, once; then [`Scheduler::handle_written`].
    Write {
        /// To whom.
        device: Arc<Device>,
        /// What.
        request: Arc<WriteRequest>,
    },
    /// Send a request to a device while others are under way; then [`Scheduler::handle_finished`] with the ticket, or
    /// [`Scheduler::handle_line_gone`].
    Send {
        /// Tells it from the others.
        ticket: u64,
        /// To whom.
        device: Arc<Device>,
        /// What.
        request: Arc<Request>,
    },
    /// Nothing before that moment, unless a request that was sent is over before.
    Listen(Monotonic),
    /// Nothing before that moment; nothing is under way.
    Wait(Monotonic),
}

/// How a request ended while the line is there.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// One sample a point.
    Answer(Vec<Sample>),
    /// Refused; `parts` are smaller requests that may be answered, none when there are no smaller ones.
    Refused {
        /// How.
        fault: Fault,
        /// What to ask instead.
        parts: Vec<Request>,
    },
    /// No answer that counts.
    Silence(Fault),
    /// The connection was cut because of another request; nothing is known about this one.
    Cut,
}

/// The points of a device that share an interval, as the planner arranged them.
#[derive(Debug, Clone)]
pub struct PlannedGroup {
    /// How often they are read.
    pub interval: Duration,
    /// What reads them.
    pub requests: Vec<Request>,
}

/// One line and the devices on it.
#[derive(Debug)]
pub struct Scheduler {
    bus: Name,
    agendas: Vec<Agenda>,
    shared: Shared,
    line: Line,
    reopen: Backoff,
    overlap: Overlap,
    in_flight: Vec<InFlight>,
    orders: Orders,
    on_wire: Option<OnWire>,
    /// Requests of orders since the last read.
    in_a_row: u32,
    /// Tickets that were given out.
    tickets: u64,
    /// Since when something is under way.
    busy_since: Monotonic,
    /// Until then, whoever answers goes before whoever did not.
    spared_until: Monotonic,
    /// Since then a device that used to answer has been silent, and not all the others have answered yet: more may have died with it.
    in_doubt_since: Option<Monotonic>,
    busy: Duration,
    damaged: u64,
    has_changed: bool,
}

#[derive(Debug)]
enum Line {
    Closed { again_at: Monotonic, why: Option<String> },
    Open,
}

#[derive(Debug)]
struct InFlight {
    ticket: u64,
    agenda: usize,
    asked: Pending,
    since: Monotonic,
    /// It may be in vain, so nothing else is sent beside it.
    is_alone: bool,
}

impl Scheduler {
    /// The line is closed and opened first. `longest` is what a request without an answer takes.
    pub fn new(
        now: Monotonic,
        bus: &Name,
        retries: u32,
        longest: Duration,
        devices: Vec<(Arc<Device>, Vec<PlannedGroup>)>,
    ) -> Scheduler {
        let shared = Shared {
            outputs: Vec::new(),
            // A silence on a bus of one device costs nobody anything.
            budget: (devices.len() > 1).then(|| Budget::new(now, longest)),
            longest,
            next_order: 0,
        };
        let spread = Spread::new(now, bus, &devices);
        let mut slow = 0;
        let agendas = devices.into_iter().map(|(device, groups)| {
            let group = |planned: PlannedGroup| {
                let offset = spread.offset(planned.interval, &mut slow);
                Group::new(Grid::new(now, offset, planned.interval), planned.requests)
            };
            Agenda::new(device, groups.into_iter().map(group).collect(), retries)
        });
        Scheduler {
            bus: bus.clone(),
            agendas: agendas.collect(),
            shared,
            line: Line::Closed { again_at: now, why: None },
            reopen: Backoff::new(FIRST_REOPEN, RAREST_REOPEN),
            overlap: Overlap::new(1),
            in_flight: Vec::new(),
            orders: Orders::default(),
            on_wire: None,
            in_a_row: 0,
            tickets: 0,
            busy_since: now,
            spared_until: now,
            in_doubt_since: None,
            busy: Duration::ZERO,
            damaged: 0,
            has_changed: true,
        }
    }

    /// Up to `depth` requests may be under way at a time.
    pub fn overlapping(mut self, depth: usize) -> Scheduler {
        self.overlap = Overlap::new(depth);
        self
    }

    /// Which points of a device come unasked.
    pub fn listening(mut self, unasked: impl Fn(&Device) -> Vec<usize>) -> Scheduler {
        for agenda in &mut self.agendas {
            agenda.unasked = unasked(&agenda.device);
        }
        self
    }

    /// Begins and ends turns as the time says. Call it before [`Scheduler::next_action`], and take the outputs between.
    pub fn advance(&mut self, stamp: Stamp) {
        if matches!(self.line, Line::Open) && !self.in_flight.iter().any(|sent| sent.is_alone) {
            // The budget for probes goes to whoever has waited longest for it.
            let waiting =
                self.agendas.iter().enumerate().filter_map(|(i, agenda)| Some((agenda.waits_for_probe()?, i)));
            let first = waiting.min().map(|(_, index)| index);
            for (index, agenda) in self.agendas.iter_mut().enumerate() {
                agenda.advance(stamp, first == Some(index), &mut self.shared);
            }
        }
        if self.agendas.iter().all(|agenda| !agenda.is_trusted() || self.is_proven(agenda)) {
            self.in_doubt_since = None;
        }
        self.give_up_orders(stamp.monotonic);
    }

    /// What to do now. A request counts as sent once this has returned it.
    pub fn next_action(&mut self, now: Monotonic) -> Action {
        match self.line {
            Line::Closed { again_at, .. } if again_at <= now => return Action::Open,
            Line::Closed { again_at, .. } => return Action::Wait(again_at),
            Line::Open => {}
        }
        if let Some(action) = self.next_order(now) {
            return action;
        }
        let Some(index) = self.pick(now) else {
            let wake = self.wake_at(now);
            return if self.in_flight.is_empty() { Action::Wait(wake) } else { Action::Listen(wake) };
        };
        let agenda = &mut self.agendas[index];
        let device = Arc::clone(&agenda.device);
        let is_alone = self.overlap.depth() == 1 || agenda.is_doubtful();
        let asked = agenda.send().expect("only turns with something pending are picked");
        let request = Arc::clone(&asked.request);
        if self.in_flight.is_empty() {
            self.busy_since = now;
        }
        self.in_a_row = 0;
        self.tickets += 1;
        let ticket = self.tickets;
        self.in_flight.push(InFlight { ticket, agenda: index, asked, since: now, is_alone });
        if is_alone { Action::Read { device, request } } else { Action::Send { ticket, device, request } }
    }

    /// The line is open.
    pub fn handle_opened(&mut self) {
        self.line = Line::Open;
        self.has_changed = true;
    }

    /// The request of [`Action::Read`] is over.
    pub fn handle_outcome(&mut self, stamp: Stamp, outcome: Outcome) {
        if let Some(on_wire) = self.on_wire.take() {
            self.handle_read_back(stamp, on_wire, outcome);
        } else if let Some(alone) = self.in_flight.iter().find(|sent| sent.is_alone) {
            self.handle_finished(stamp, alone.ticket, outcome);
        }
    }

    /// The request of [`Action::Send`] with this ticket is over.
    pub fn handle_finished(&mut self, stamp: Stamp, ticket: u64, outcome: Outcome) {
        let Some(at) = self.in_flight.iter().position(|sent| sent.ticket == ticket) else { return };
        let InFlight { agenda, asked, since, is_alone, .. } = self.in_flight.remove(at);
        let agenda = &mut self.agendas[agenda];
        let took = stamp.monotonic.since(since);
        if self.in_flight.is_empty() {
            self.busy += stamp.monotonic.since(self.busy_since);
        }
        agenda.received(stamp.monotonic);
        if outcome == Outcome::Cut {
            agenda.cut(asked);
            return;
        }
        // Only now is the line known to carry anything.
        self.reopen.reset();
        let is_probe = agenda.turn.as_ref().is_some_and(|turn| turn.is_probe && !turn.is_answered);
        if let Some(budget) = self.shared.budget.as_mut().filter(|_| is_probe) {
            budget.give_back(self.shared.longest.saturating_sub(took));
        }
        match &outcome {
            Outcome::Silence(fault) if *fault == Fault::Timeout || is_alone => {
                self.overlap.unanswered(&asked.request, is_alone);
            }
            Outcome::Silence(_) => {}
            _ if self.overlap.answered(&asked.request) => {
                self.shared.outputs.push(Output::OneAtATime { device: Arc::clone(&agenda.device) });
            }
            _ => {}
        }
        match outcome {
            Outcome::Answer(samples) => agenda.answered(stamp, &asked, samples, &mut self.shared),
            Outcome::Refused { fault, parts } => agenda.refused(stamp, &asked, fault, parts, &mut self.shared),
            Outcome::Silence(fault) => {
                self.has_changed = true;
                self.spared_until = stamp.monotonic + took * (SILENT_PART_IN - 1);
                let has_answered = agenda.turn.as_ref().is_some_and(|turn| turn.is_answered);
                if agenda.is_trusted() && !has_answered && !asked.is_silent {
                    self.in_doubt_since.get_or_insert(since);
                }
                agenda.silent(stamp, asked, fault, &mut self.shared);
            }
            Outcome::Cut => {}
        }
    }

    /// A device said something by itself, or has not done so in time.
    pub fn handle_heard(&mut self, stamp: Stamp, heard: Heard) {
        let Heard { device, readings, is_there } = heard;
        if is_there {
            self.reopen.reset();
        }
        if let Some(agenda) = self.agendas.iter_mut().find(|agenda| Arc::ptr_eq(&agenda.device, &device)) {
            agenda.heard(stamp, readings, is_there, &mut self.shared);
        }
    }

    /// So many lines or frames came that were too damaged to be anyone's.
    pub fn handle_damaged(&mut self, count: u64) {
        self.damaged += count;
        self.has_changed |= count > 0;
    }

    /// The line could not be opened, or is gone. Returns whether that is new.
    pub fn handle_line_gone(&mut self, stamp: Stamp, why: String) -> bool {
        if !self.in_flight.is_empty() {
            self.busy += stamp.monotonic.since(self.busy_since);
        }
        self.in_flight.clear();
        self.on_wire = None;
        self.orders.end_all(&NotSent::LineDown(why.clone()));
        for agenda in &mut self.agendas {
            agenda.line_gone(stamp, &mut self.shared);
        }
        let is_new = !matches!(&self.line, Line::Closed { why: Some(before), .. } if *before == why);
        self.line = Line::Closed { again_at: stamp.monotonic + self.reopen.wait(), why: Some(why) };
        self.has_changed = true;
        is_new
    }

    /// What has happened since the last call, in order.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        self.take_reports();
        let outputs = std::mem::take(&mut self.shared.outputs);
        self.has_changed |= !outputs.is_empty();
        outputs
    }

    /// Whether [`Scheduler::write_status`] would say something new; asking resets it.
    pub fn has_changed(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// How the bus and its devices are doing.
    pub fn write_status(&self, status: &mut BusStatus) {
        status.bus = self.bus.clone();
        status.state = match &self.line {
            Line::Open => BusState::Open,
            Line::Closed { why: None, .. } => BusState::Starting,
            Line::Closed { why: Some(why), .. } => BusState::Down(why.clone()),
        };
        status.busy = self.busy;
        status.damaged = self.damaged;
        status.devices.clear();
        status.devices.extend(self.agendas.iter().map(|agenda| agenda.status.clone()));
    }

    /// The device whose turn goes on now.
    fn pick(&self, now: Monotonic) -> Option<usize> {
        let is_full = self.in_flight.len() >= self.overlap.depth();
        if is_full || self.in_flight.iter().any(|sent| sent.is_alone) {
            return None;
        }
        let turns = || {
            let agendas = self.agendas.iter().enumerate().filter(|(_, agenda)| agenda.takes_another(now));
            agendas.filter_map(|(i, agenda)| agenda.turn.as_ref().map(|turn| (i, turn)))
        };
        let first = |(i, turn): (usize, &Turn)| ((turn.deadline, turn.order), i);
        // Many that died together would otherwise go one after the other, and nobody between them: who has answered since the first
        // of them was silent goes before who has not.
        let waits =
            |i: usize, turn: &Turn| !self.is_proven(&self.agendas[i]) && !turn.is_answered && now < self.spared_until;
        let urgent = turns().filter(|(_, turn)| turn.patience == Patience::None);
        let urgent = urgent.map(|(i, turn)| (waits(i, turn), first((i, turn)))).min().map(|(_, first)| first);
        let patient = || turns().filter(|(i, _)| self.fits(*i, now)).map(first).min();
        let picked = urgent.or_else(patient).map(|(_, index)| index);
        // Doubtful ones wait until nothing is under way, and nothing more is sent until then: they would wait for ever.
        picked.filter(|index| self.in_flight.is_empty() || !self.agendas[*index].is_doubtful())
    }

    /// Whether a device answered when it was last asked, and since others were silent.
    fn is_proven(&self, agenda: &Agenda) -> bool {
        agenda.is_trusted() && self.in_doubt_since.is_none_or(|since| agenda.answered_at >= Some(since))
    }

    /// Whether a silence of that device would be over before anyone else needs the line.
    fn fits(&self, index: usize, now: Monotonic) -> bool {
        let others = self.agendas.iter().enumerate().filter(|(i, _)| *i != index);
        others.filter_map(|(_, agenda)| agenda.needs_line_at(now)).all(|moment| now + self.shared.longest <= moment)
    }

    fn wake_at(&mut self, now: Monotonic) -> Monotonic {
        let agendas = &self.agendas;
        let orders = self.orders.wake_at(|index| agendas[index].gate());
        let reads = self.reads_wake_at(now);
        orders.map_or(reads, |moment| moment.min(reads))
    }

    fn reads_wake_at(&mut self, now: Monotonic) -> Monotonic {
        let shared = &mut self.shared;
        let moments = self.agendas.iter().filter_map(|agenda| agenda.wake_at(now, shared));
        // Nothing to do ever: a bus without points. A day is as good as never.
        moments.min().unwrap_or(now + Duration::from_secs(86_400))
    }
}
