//! One device on a bus: when it is due, the turn that it is in, and what an answer or a silence changes. Pure.

mod sending;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use super::Event;
use super::budget::Budget;
use super::group::Group;
use super::liveness::{Health, Liveness};
use super::turn::{Patience, Pending, Turn};
use crate::driver::Request;
use crate::model::{Device, DeviceStatus, Fault, Monotonic, OrderReport, Reading, Round, Sample, Stamp};

/// A device that failed a poll is asked again this soon, however rarely it is polled: so it is offline soon, or well again.
const RECHECK: Duration = Duration::from_secs(1);
/// A probe waits this long for a gap between the others' reads, and goes ahead then.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);

/// What the task tells people.
#[derive(Debug, Clone)]
pub enum Output {
    /// For the rest of the gateway.
    Event(Event),
    /// For whoever gave the order.
    Written(OrderReport),
    /// For the log: the device refuses this point (index into its points).
    Refusal {
        /// Whose point.
        device: Arc<Device>,
        /// Which.
        point: usize,
        /// How.
        fault: Fault,
    },
    /// For the log: requests beside others were left unanswered, so the bus goes on with one at a time.
    OneAtATime {
        /// Whose requests.
        device: Arc<Device>,
    },
}

/// A device and all that is due on it.
#[derive(Debug)]
pub struct Agenda {
    /// The device.
    pub device: Arc<Device>,
    /// The turn that it is in.
    pub turn: Option<Turn>,
    /// Not before then is it asked anything: some devices need a pause after an answer.
    pub rests_until: Monotonic,
    /// When it last answered anything.
    pub answered_at: Option<Monotonic>,
    /// For status.
    pub status: DeviceStatus,
    /// The points that come unasked: they are in no group.
    pub unasked: Vec<usize>,
    groups: Vec<Group>,
    liveness: Liveness,
    retries: u32,
}

/// What the devices of a bus share while they are looked after.
#[derive(Debug)]
pub struct Shared {
    /// Goes to the task.
    pub outputs: Vec<Output>,
    /// Time for probes; `None` when nobody else is on the bus.
    pub budget: Option<Budget>,
    /// The longest that a request without an answer takes.
    pub longest: Duration,
    /// The next turn's [`Turn::order`].
    pub next_order: u64,
}

impl Shared {
    fn order(&mut self) -> u64 {
        self.next_order += 1;
        self.next_order
    }

    fn send(&mut self, event: Event) {
        self.outputs.push(Output::Event(event));
    }
}

impl Agenda {
    /// Nothing is known about the device yet; every group is due at its start.
    pub fn new(device: Arc<Device>, groups: Vec<Group>, retries: u32) -> Agenda {
        let status = DeviceStatus {
            device: device.name.clone(),
            online: None,
            fault: None,
            last_answer: None,
            requests: 0,
            failures: 0,
            skipped: 0,
        };
        Agenda {
            device,
            turn: None,
            rests_until: Monotonic::default(),
            answered_at: None,
            status,
            unasked: Vec::new(),
            groups,
            liveness: Liveness::new(),
            retries,
        }
    }

    /// Since when an offline device waits for its probe.
    pub fn waits_for_probe(&self) -> Option<Monotonic> {
        let is_offline = matches!(self.liveness.health(), Health::Offline(_)) && !self.liveness.lost_with_line();
        (is_offline && self.turn.is_none() && !self.groups.is_empty()).then(|| self.liveness.probe_at())
    }

    /// Begins a turn when one is due, and ends one whose time is over.
    pub fn advance(&mut self, stamp: Stamp, may_probe: bool, shared: &mut Shared) {
        let now = stamp.monotonic;
        // What is under way decides first.
        if let Some(turn) = self.turn.as_mut().filter(|turn| turn.under_way == 0) {
            match turn.patience {
                Patience::Until(moment) if moment <= now => turn.patience = Patience::None,
                Patience::UntilNextDue if turn.next_due <= now => self.give_up(stamp, shared),
                _ => {}
            }
        }
        if self.turn.is_none() {
            self.begin(now, may_probe, shared);
        }
    }

    /// When [`Agenda::advance`] has something to do next; `None` when only an answer changes anything.
    pub fn wake_at(&self, now: Monotonic, shared: &mut Shared) -> Option<Monotonic> {
        match (&self.turn, self.liveness.health()) {
            (Some(turn), _) if turn.under_way > 0 => self.rest(now),
            (Some(turn), _) => match turn.patience {
                Patience::None => self.rest(now),
                Patience::UntilNextDue => Some(self.rest(now).map_or(turn.next_due, |rest| rest.min(turn.next_due))),
                Patience::Until(moment) => Some(self.rest(now).map_or(moment, |rest| rest.min(moment))),
            },
            (None, _) if self.groups.is_empty() => None,
            (None, Health::Offline(_)) if !self.liveness.lost_with_line() => {
                let longest = shared.longest;
                let paid = shared.budget.as_mut().map_or(now, |budget| budget.allows_at(now, longest));
                Some(self.liveness.probe_at().max(paid))
            }
            (None, _) => self.groups.iter().map(|group| group.grid.due()).min(),
        }
    }

    /// Whether it answered its last poll: asking it costs the others no timeout, as far as anyone knows.
    pub fn is_trusted(&self) -> bool {
        self.liveness.health() == Health::Online && !self.liveness.is_suspect()
    }

    /// The next moment at which this device must not be kept waiting; `None` while it does not answer itself.
    pub fn needs_line_at(&self, now: Monotonic) -> Option<Monotonic> {
        if !self.is_trusted() {
            return None;
        }
        match &self.turn {
            Some(turn) if turn.patience == Patience::None => Some(now.max(self.rests_until)),
            Some(turn) => Some(turn.next_due),
            None => self.groups.iter().map(|group| group.grid.due()).min(),
        }
    }

    /// The request brought these samples, one a point.
    pub fn answered(&mut self, stamp: Stamp, asked: &Pending, samples: Vec<Sample>, shared: &mut Shared) {
        self.is_there(stamp, shared);
        self.groups[asked.group].answered(&asked.request);
        let Some(turn) = &mut self.turn else { return };
        let points = asked.request.points.iter();
        turn.readings.extend(points.zip(samples).map(|(&point, sample)| Reading { point, sample, stamp }));
        self.proceed(shared);
    }

    /// The device refused the request; `parts` are smaller ones that may do.
    pub fn refused(&mut self, stamp: Stamp, asked: &Pending, fault: Fault, parts: Vec<Request>, shared: &mut Shared) {
        self.is_there(stamp, shared);
        let group = &mut self.groups[asked.group];
        let Some(turn) = &mut self.turn else { return };
        // A device that fails at what it has answered before is out of order as a whole; smaller requests would not help.
        let is_failing = fault == Fault::DeviceFailure;
        if parts.is_empty() || (is_failing && group.has_answered(&asked.request)) {
            let points = asked.request.points.iter();
            turn.readings.extend(points.map(|&point| Reading { point, sample: Sample::Bad(fault), stamp }));
            // These will not change by themselves; a busy or failing device will.
            let is_lasting = matches!(fault, Fault::IllegalFunction | Fault::IllegalAddress | Fault::IllegalValue);
            let is_new = match fault {
                _ if is_lasting => group.refused(stamp.monotonic, &asked.request),
                Fault::DeviceFailure if !group.has_answered(&asked.request) => {
                    group.failed(stamp.monotonic, &asked.request)
                }
                _ => false,
            };
            if is_new {
                let refusals = asked.request.points.iter().map(|&point| Output::Refusal {
                    device: Arc::clone(&self.device),
                    point,
                    fault,
                });
                shared.outputs.extend(refusals);
            }
        } else {
            for request in group.split(&asked.request, parts).into_iter().rev() {
                turn.pending.push_front(Pending { group: asked.group, request, is_silent: false, tries: 0 });
            }
            // Finding the refused address takes many requests: the others that are due go first.
            turn.order = shared.order();
            turn.deadline = turn.deadline.max(stamp.monotonic + group.grid.interval());
        }
        self.proceed(shared);
    }

    /// No answer that counts.
    pub fn silent(&mut self, stamp: Stamp, asked: Pending, fault: Fault, shared: &mut Shared) {
        self.status.failures += 1;
        let is_trusted = self.liveness.health() == Health::Online && !asked.is_silent;
        let Some(turn) = &mut self.turn else { return };
        turn.fault = Some(fault);
        if is_trusted && asked.tries <= self.retries {
            turn.pending.push_front(asked);
            self.step_back(shared);
        } else if turn.is_answered {
            self.step_back(shared);
            self.turn_bad(stamp, &asked, fault, true, shared);
            self.proceed(shared);
        } else {
            turn.pending.push_front(asked);
            // What else is under way may still be answered; the last one decides.
            if turn.under_way == 0 {
                self.give_up(stamp, shared);
            }
        }
    }

    /// The line is gone. Ends the turn; all points are bad, unless they are already.
    pub fn line_gone(&mut self, stamp: Stamp, shared: &mut Shared) {
        self.turn = None;
        let has_points = !self.groups.is_empty() || !self.unasked.is_empty();
        if has_points && self.liveness.line_gone() {
            self.go_offline(stamp, Fault::Disconnected, shared);
        }
    }

    /// The device spoke by itself, or (not `is_there`) has not done so in time.
    pub fn heard(&mut self, stamp: Stamp, readings: Vec<Reading>, is_there: bool, shared: &mut Shared) {
        if is_there {
            self.status.last_answer = readings.iter().map(|reading| reading.stamp.wall).max();
            if self.liveness.answered() {
                self.came_online(stamp, shared);
            }
        } else if self.groups.is_empty() {
            self.status.failures += 1;
            let fault = readings.iter().rev().find_map(|reading| match reading.sample {
                Sample::Bad(fault) => Some(fault),
                _ => None,
            });
            let fault = fault.unwrap_or(Fault::Timeout);
            if self.liveness.overdue(fault) {
                return self.go_offline(stamp, fault, shared);
            }
        }
        shared.send(Event::Round(Round { device: Arc::clone(&self.device), readings }));
    }

    fn begin(&mut self, now: Monotonic, may_probe: bool, shared: &mut Shared) {
        if self.groups.is_empty() {
            return;
        }
        let health = self.liveness.health();
        let is_probe = matches!(health, Health::Offline(_));
        let is_back = is_probe && self.liveness.lost_with_line();
        if is_probe && !is_back {
            let longest = shared.longest;
            let mut is_paid = || shared.budget.as_mut().is_none_or(|budget| budget.reserve(now, longest));
            if !may_probe || now < self.liveness.probe_at() || !is_paid() {
                return;
            }
        }
        let mut due = Vec::new();
        let mut deadline: Option<Monotonic> = None;
        let mut shortest = PROBE_PATIENCE;
        for (index, group) in self.groups.iter_mut().enumerate() {
            if !is_probe && group.grid.due() > now {
                continue;
            }
            let interval = group.grid.interval();
            let end = if is_probe { now } else { group.grid.due() } + interval;
            deadline = Some(deadline.map_or(end, |earliest| earliest.min(end)));
            shortest = shortest.min(interval);
            let skipped = group.grid.take(now);
            self.status.skipped += if is_probe { 0 } else { skipped };
            due.extend(group.due(now).map(|due| (index, due)));
        }
        let next_due = self.groups.iter().map(|group| group.grid.due()).min();
        let (Some(deadline), Some(next_due)) = (deadline, next_due) else { return };
        // Whatever was not answered lately goes last, so that it can't keep the others from being read.
        due.sort_by_key(|(_, due)| due.silent_polls);
        let insists = due.iter().any(|(_, due)| due.is_silent && now.since(due.since) > PROBE_PATIENCE);
        let patience = if is_back {
            Patience::None
        } else if is_probe {
            Patience::Until(now + PROBE_PATIENCE)
        } else if self.liveness.is_suspect() || (!insists && due.iter().all(|(_, due)| due.is_silent)) {
            Patience::Until(now + shortest.max(RECHECK))
        } else {
            Patience::None
        };
        let pending = due.into_iter().map(|(group, due)| Pending {
            group,
            request: due.request,
            is_silent: due.is_silent,
            tries: 0,
        });
        let turn = Turn {
            order: shared.order(),
            deadline,
            next_due,
            patience,
            is_probe,
            insists,
            pending: pending.collect(),
            under_way: 0,
            readings: Vec::new(),
            is_answered: false,
            fault: None,
        };
        self.turn = (!turn.pending.is_empty()).then_some(turn);
    }

    /// The device answered something.
    fn is_there(&mut self, stamp: Stamp, shared: &mut Shared) {
        self.status.last_answer = Some(stamp.wall);
        self.answered_at = Some(stamp.monotonic);
        if let Some(turn) = &mut self.turn {
            turn.is_answered = true;
            turn.patience = Patience::None;
        }
        if self.liveness.answered() {
            self.came_online(stamp, shared);
        }
    }

    /// Ends the turn when nothing is left; lets the others go first when only hopeless requests are.
    fn proceed(&mut self, shared: &mut Shared) {
        let Some(turn) = self.turn.as_ref().filter(|turn| turn.under_way == 0) else { return };
        if turn.pending.is_empty() {
            self.hand_on(shared);
            self.turn = None;
        } else if !turn.insists && turn.pending.iter().all(|pending| pending.is_silent) {
            self.step_back(shared);
        }
    }

    /// What is left of the turn waits for a gap; what it has brought does not.
    fn step_back(&mut self, shared: &mut Shared) {
        self.hand_on(shared);
        if let Some(turn) = &mut self.turn {
            turn.patience = Patience::UntilNextDue;
        }
    }

    fn hand_on(&mut self, shared: &mut Shared) {
        if let Some(turn) = self.turn.as_mut().filter(|turn| !turn.readings.is_empty()) {
            let readings = std::mem::take(&mut turn.readings);
            shared.send(Event::Round(Round { device: Arc::clone(&self.device), readings }));
        }
    }

    /// Ends the turn with requests left. When the device answered none, its poll has failed.
    fn give_up(&mut self, stamp: Stamp, shared: &mut Shared) {
        self.hand_on(shared);
        let Some(turn) = self.turn.take() else { return };
        let (Some(fault), Some(asked)) = (turn.fault, turn.pending.front()) else { return };
        if turn.is_answered {
            if asked.tries > 0 {
                self.turn_bad(stamp, asked, fault, true, shared);
            }
            // What had no try is not a long interval older for it.
            for untried in turn.pending.iter().filter(|pending| pending.tries == 0) {
                self.groups[untried.group].grid.want_by(stamp.monotonic);
            }
            return;
        }
        if asked.is_silent {
            // That was to be expected and says nothing about the device.
            self.turn_bad(stamp, asked, fault, false, shared);
            return;
        }
        if self.liveness.poll_failed(stamp.monotonic, fault) {
            self.go_offline(stamp, fault, shared);
        } else if turn.is_probe {
            self.groups[asked.group].unanswered(&asked.request);
        } else {
            self.turn_bad(stamp, asked, fault, false, shared);
        }
        if matches!(self.liveness.health(), Health::Offline(_)) {
            self.status.fault = Some(fault);
        }
        for pending in &turn.pending {
            self.groups[pending.group].grid.want_by(stamp.monotonic + RECHECK);
        }
    }

    /// Counts a request's silence; says that its points are bad when that has just become so.
    fn turn_bad(&mut self, stamp: Stamp, asked: &Pending, fault: Fault, is_partial: bool, shared: &mut Shared) {
        if self.groups[asked.group].silent(stamp.monotonic, &asked.request, is_partial) {
            let points = asked.request.points.iter();
            let readings = points.map(|&point| Reading { point, sample: Sample::Bad(fault), stamp }).collect();
            shared.send(Event::Round(Round { device: Arc::clone(&self.device), readings }));
        }
    }

    fn came_online(&mut self, stamp: Stamp, shared: &mut Shared) {
        self.status.online = Some(true);
        self.status.fault = None;
        shared.send(Event::Availability { device: Arc::clone(&self.device), online: true, fault: None, stamp });
    }

    fn go_offline(&mut self, stamp: Stamp, fault: Fault, shared: &mut Shared) {
        self.status.online = Some(false);
        self.status.fault = Some(fault);
        // Whatever it refused or left unanswered: when it returns it may be another device.
        self.groups.iter_mut().for_each(Group::forget);
        let device = Arc::clone(&self.device);
        shared.send(Event::Availability { device: Arc::clone(&device), online: false, fault: Some(fault), stamp });
        let points = self.groups.iter().flat_map(Group::points).chain(self.unasked.iter().copied());
        let readings: Vec<_> = points.map(|point| Reading { point, sample: Sample::Bad(fault), stamp }).collect();
        shared.send(Event::Round(Round { device, readings }));
    }
}
