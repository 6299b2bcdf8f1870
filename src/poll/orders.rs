//! What is to be written on one bus: the order of orders, each one's requests, reading back, and what became of it. Pure.
//!
//! Orders go in the order in which they came, those of one device one after the other: each is read back before the next one
//! changes anything. A request is sent once. What was done is told by the device's word and by what it reads as afterwards.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::driver::{Request, WriteRequest};
use crate::model::{Fault, Monotonic, NotSent, Order, OrderReport, Reading, Sample, Stamp, Value, WriteEnd, Written};

/// A device may take a while to show what it has taken: when it shows something else, it is looked at again after these times.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];
/// A read-back without an answer is repeated once: a lost answer is more likely than a lost device.
const READ_TRIES: u32 = 2;

/// An order as the driver has planned it.
#[derive(Debug, Clone)]
pub struct PlannedOrder {
    /// What is to be done.
    pub order: Order,
    /// The requests that write it.
    pub writes: Vec<WriteRequest>,
    /// The requests that read it back; points that are never read are in none of them.
    pub reads: Vec<Request>,
}

/// All orders of a bus.
#[derive(Debug, Default)]
pub struct Orders {
    running: VecDeque<Running>,
    /// The one that is on the wire, by its token.
    on_wire: Option<u64>,
    finished: Vec<OrderReport>,
}

/// What an order needs now.
#[derive(Debug, Clone)]
pub enum Need {
    /// This written.
    Write(Arc<WriteRequest>),
    /// This read back.
    Read(Arc<Request>),
}

/// What a device's state means for its orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// It may be asked from that moment on.
    From(Monotonic),
    /// It does not answer.
    Offline(Fault),
}

#[derive(Debug)]
struct Running {
    order: Order,
    agenda: usize,
    writes: VecDeque<Arc<WriteRequest>>,
    /// How the requests of each point have ended so far, the worst of them; by its place in the order.
    ends: Vec<Option<WriteEnd>>,
    /// What each point is to read as.
    expected: Vec<Value>,
    reads: Vec<Arc<Request>>,
    /// Reads of the current look that are still to come.
    pending: VecDeque<Arc<Request>>,
    tries: u32,
    looks: usize,
    is_reading: bool,
    seen: BTreeMap<usize, Sample>,
    not_before: Monotonic,
    is_begun: bool,
}

impl Orders {
    /// Takes an order for the device with this index.
    pub fn take(&mut self, planned: PlannedOrder, agenda: usize) {
        let PlannedOrder { order, writes, reads } = planned;
        let expected = |(point, value): &(usize, Value)| {
            let told = writes.iter().flat_map(|request| &request.points).find(|(index, _)| index == point);
            told.map_or(value, |(_, reads_as)| reads_as).clone()
        };
        let expected = order.values.iter().map(expected).collect();
        self.running.push_back(Running {
            ends: vec![None; order.values.len()],
            expected,
            writes: writes.into_iter().map(Arc::new).collect(),
            reads: reads.into_iter().map(Arc::new).collect(),
            pending: VecDeque::new(),
            tries: 0,
            looks: 0,
            is_reading: false,
            seen: BTreeMap::new(),
            not_before: Monotonic::default(),
            is_begun: false,
            agenda,
            order,
        });
    }

    /// The next thing to do, with its device's index; it counts as on the wire. `gate` says how a device is.
    pub fn next(&mut self, now: Monotonic, gate: impl Fn(usize) -> Gate) -> Option<(usize, Need)> {
        let at = self.ready(now, gate)?;
        let running = &mut self.running[at];
        running.is_begun = true;
        self.on_wire = Some(running.order.token);
        let need = match (running.is_reading, running.writes.front()) {
            (false, Some(write)) => Need::Write(Arc::clone(write)),
            _ => Need::Read(Arc::clone(running.pending.front()?)),
        };
        Some((running.agenda, need))
    }

    /// Whether there is something to do now, so that nothing else should be begun.
    pub fn is_waiting(&self, now: Monotonic, gate: impl Fn(usize) -> Gate) -> bool {
        self.ready(now, gate).is_some()
    }

    /// When [`Orders::next`] or [`Orders::give_up`] has something to do at the latest; `None` when there are no orders.
    pub fn wake_at(&self, gate: impl Fn(usize) -> Gate) -> Option<Monotonic> {
        let moment = |running: &Running| match gate(running.agenda) {
            Gate::From(moment) if running.is_begun => moment.max(running.not_before),
            Gate::From(moment) => moment.max(running.not_before).min(running.order.until),
            Gate::Offline(_) => Monotonic::default(),
        };
        self.running.iter().map(moment).min()
    }

    /// The write that is on the wire is over; `seen` is what the device has told with it.
    pub fn written(&mut self, now: Monotonic, end: WriteEnd, seen: &[Reading]) {
        let Some(at) = self.take_from_wire() else { return };
        let running = &mut self.running[at];
        let Some(request) = running.writes.pop_front() else { return };
        running.note(&request, &end);
        running.seen.extend(seen.iter().map(|reading| (reading.point, reading.sample.clone())));
        if end != WriteEnd::Acknowledged {
            // Whoever sends several values together means all of them: the rest is left undone.
            while let Some(rest) = running.writes.pop_front() {
                running.note(&rest, &WriteEnd::NotSent(NotSent::AfterFailure));
            }
        }
        if running.writes.is_empty() {
            running.is_reading = true;
            running.look();
            self.close(at, now);
        }
    }

    /// The read-back that is on the wire was answered; returns its readings, one a point.
    pub fn answered(&mut self, stamp: Stamp, samples: Vec<Sample>) -> Vec<Reading> {
        let Some(at) = self.take_from_wire() else { return Vec::new() };
        let running = &mut self.running[at];
        let Some(request) = running.pending.pop_front() else { return Vec::new() };
        running.tries = 0;
        let readings = request.points.iter().zip(samples).map(|(&point, sample)| Reading { point, sample, stamp });
        let readings: Vec<Reading> = readings.collect();
        running.seen.extend(readings.iter().map(|reading| (reading.point, reading.sample.clone())));
        self.close(at, stamp.monotonic);
        readings
    }

    /// The read-back that is on the wire was refused; `parts` are smaller ones that may do.
    pub fn refused(&mut self, now: Monotonic, fault: Fault, parts: Vec<Request>) {
        let Some(at) = self.take_from_wire() else { return };
        let running = &mut self.running[at];
        let Some(request) = running.pending.pop_front() else { return };
        running.tries = 0;
        if parts.is_empty() {
            running.seen.extend(request.points.iter().map(|&point| (point, Sample::Bad(fault))));
            running.reads.retain(|read| !Arc::ptr_eq(read, &request));
        } else {
            let parts: Vec<_> = parts.into_iter().map(Arc::new).collect();
            running.reads.retain(|read| !Arc::ptr_eq(read, &request));
            running.reads.extend(parts.iter().cloned());
            parts.into_iter().rev().for_each(|part| running.pending.push_front(part));
        }
        self.close(at, now);
    }

    /// The read-back that is on the wire had no answer. Returns whether it is given up.
    pub fn silent(&mut self, now: Monotonic, fault: Fault) -> bool {
        let Some(at) = self.take_from_wire() else { return false };
        let running = &mut self.running[at];
        running.tries += 1;
        if running.tries < READ_TRIES {
            return false;
        }
        running.tries = 0;
        let Some(request) = running.pending.pop_front() else { return false };
        running.seen.extend(request.points.iter().map(|&point| (point, Sample::Bad(fault))));
        // What is silent now is not looked at again: that would keep the line.
        running.reads.retain(|read| !Arc::ptr_eq(read, &request));
        self.close(at, now);
        true
    }

    /// Everything is over, for this reason as far as it was not sent. A write that is on the wire counts as sent.
    pub fn end_all(&mut self, why: &NotSent) {
        if self.on_wire.is_some() {
            let is_write = |running: &Running| self.on_wire == Some(running.order.token) && !running.is_reading;
            if let Some(running) = self.running.iter_mut().find(|running| is_write(running))
                && let Some(request) = running.writes.pop_front()
            {
                running.note(&request, &WriteEnd::Unanswered(Fault::Disconnected));
            }
            self.on_wire = None;
        }
        while let Some(running) = self.running.pop_front() {
            self.finished.push(running.cut_short(why));
        }
    }

    /// None is begun any more; those that were not begun are over.
    pub fn stop(&mut self) {
        let (begun, waiting) = std::mem::take(&mut self.running).into_iter().partition(|running| running.is_begun);
        self.running = begun;
        self.finished.extend(waiting.into_iter().map(|running: Running| running.cut_short(&NotSent::Stopping)));
    }

    /// The write that is on the wire was not sent after all.
    pub fn not_sent(&mut self) {
        self.on_wire = None;
    }

    /// Reports since the last call, in the order in which they came about.
    pub fn take_finished(&mut self) -> Vec<OrderReport> {
        std::mem::take(&mut self.finished)
    }

    fn take_from_wire(&mut self) -> Option<usize> {
        let token = self.on_wire.take()?;
        self.running.iter().position(|running| running.order.token == token)
    }

    /// The first that may do something and whose device has none before it.
    fn ready(&self, now: Monotonic, gate: impl Fn(usize) -> Gate) -> Option<usize> {
        let mut before = Vec::new();
        for (at, running) in self.running.iter().enumerate() {
            let is_open = matches!(gate(running.agenda), Gate::From(moment) if moment <= now);
            // Looked at once more now: it may have been in time when it came, and waited for its turn.
            let in_time = running.is_begun || now < running.order.until;
            if is_open && in_time && running.not_before <= now && !before.contains(&running.agenda) {
                return Some(at);
            }
            before.push(running.agenda);
        }
        None
    }

    /// Ends orders that have waited too long, and those of devices that do not answer.
    pub fn give_up(&mut self, now: Monotonic, gate: impl Fn(usize) -> Gate) {
        let why = |running: &Running| match gate(running.agenda) {
            Gate::Offline(fault) => Some(NotSent::Offline(fault)),
            Gate::From(_) if running.is_begun => None,
            Gate::From(_) => (running.order.until <= now).then_some(NotSent::TooLate),
        };
        let mut at = 0;
        while let Some(running) = self.running.get(at) {
            let Some(why) = why(running) else {
                at += 1;
                continue;
            };
            if let Some(running) = self.running.remove(at) {
                self.finished.push(running.cut_short(&why));
            }
        }
    }

    /// Ends the order when nothing is left to do, or has it look again.
    fn close(&mut self, at: usize, now: Monotonic) {
        let running = &mut self.running[at];
        if !running.is_reading || !running.pending.is_empty() {
            return;
        }
        if let Some(wait) = LOOK_AGAIN.get(running.looks).filter(|_| running.shows_something_else()) {
            running.looks += 1;
            running.look();
            if !running.pending.is_empty() {
                running.not_before = now + *wait;
                return;
            }
        }
        if let Some(running) = self.running.remove(at) {
            self.finished.push(running.report());
        }
    }
}

impl Running {
    /// How a request of the order ended. A point that only a part of was written may hold anything.
    fn note(&mut self, request: &WriteRequest, end: &WriteEnd) {
        for (place, (point, _)) in self.order.values.iter().enumerate() {
            if !request.points.iter().any(|(index, _)| index == point) {
                continue;
            }
            self.ends[place] = Some(match (self.ends[place].take(), end) {
                (None, end) => end.clone(),
                (Some(WriteEnd::Acknowledged), WriteEnd::Acknowledged) => WriteEnd::Acknowledged,
                (Some(WriteEnd::Acknowledged), WriteEnd::Refused(fault) | WriteEnd::Unanswered(fault)) => {
                    WriteEnd::Unanswered(*fault)
                }
                (Some(WriteEnd::Acknowledged), WriteEnd::NotSent(_)) => WriteEnd::Unanswered(Fault::Disconnected),
                (Some(before), _) => before,
            });
        }
    }

    /// The report when what is left of the order is not done.
    fn cut_short(mut self, why: &NotSent) -> OrderReport {
        while let Some(request) = self.writes.pop_front() {
            self.note(&request, &WriteEnd::NotSent(why.clone()));
        }
        self.report()
    }

    /// Reads back what was, or may have been, written and has not been seen as it should be.
    fn look(&mut self) {
        let wanted = |point: &usize| {
            let place = self.order.values.iter().position(|(index, _)| index == point);
            place.is_some_and(|place| self.is_touched(place) && !self.is_as_wanted(place))
        };
        self.pending = self.reads.iter().filter(|read| read.points.iter().any(wanted)).cloned().collect();
    }

    fn is_touched(&self, place: usize) -> bool {
        matches!(self.ends[place], Some(WriteEnd::Acknowledged | WriteEnd::Unanswered(_)))
    }

    fn is_as_wanted(&self, place: usize) -> bool {
        match self.seen.get(&self.order.values[place].0) {
            Some(Sample::Good(value)) => self.expected[place].is_shown_by(value),
            _ => false,
        }
    }

    /// Whether a point that was written could be read, and reads as something else.
    fn shows_something_else(&self) -> bool {
        (0..self.expected.len()).any(|place| {
            let seen = self.seen.get(&self.order.values[place].0);
            self.is_touched(place) && matches!(seen, Some(Sample::Good(_))) && !self.is_as_wanted(place)
        })
    }

    fn report(self) -> OrderReport {
        let written = |(place, (point, _)): (usize, &(usize, Value))| Written {
            point: *point,
            end: self.ends[place].clone().unwrap_or(WriteEnd::NotSent(NotSent::AfterFailure)),
            read_back: self.seen.get(point).filter(|_| self.is_touched(place)).cloned(),
            is_as_wanted: self.is_touched(place) && self.is_as_wanted(place),
        };
        let written = self.order.values.iter().enumerate().map(written).collect();
        OrderReport { token: self.order.token, written }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Change;
    use crate::model::{Device, Name, Publish, RegisterTable, Timestamp};

    fn at(ms: u64) -> Monotonic {
        Monotonic::from_millis(ms)
    }

    fn stamp(ms: u64) -> Stamp {
        Stamp { monotonic: at(ms), since_boot: None, wall: Timestamp(ms.cast_signed()), synced: true }
    }

    /// An order that sets each point to 45 with a request of its own, and reads all of them back with one.
    fn order(token: u64, points: &[usize]) -> PlannedOrder {
        let name = |text| Name::new(text).unwrap();
        let device = Device {
            name: name("plc"),
            bus: name("bus"),
            unit_id: 1,
            max_registers: 125,
            quirks: crate::model::Quirks::default(),
            publish: Publish::default(),
            points: Vec::new(),
        };
        let write = |point: &usize| WriteRequest {
            change: Change::Registers { address: *point as u16, values: vec![45] },
            points: vec![(*point, Value::Integer(45))],
        };
        let values = points.iter().map(|point| (*point, Value::Integer(45))).collect();
        let read = Request { table: RegisterTable::Holding, address: 0, count: 9, points: points.to_vec() };
        PlannedOrder {
            order: Order { token, device: Arc::new(device), values, until: at(10_000) },
            writes: points.iter().map(write).collect(),
            reads: vec![read],
        }
    }

    fn open(_: usize) -> Gate {
        Gate::From(Monotonic::default())
    }

    /// What is next, in short: `w0` writes the order's first point, `r` reads.
    fn next(orders: &mut Orders, ms: u64) -> Option<String> {
        orders.next(at(ms), open).map(|(_, need)| match need {
            Need::Write(request) => format!("w{}", request.points[0].0),
            Need::Read(_) => "r".into(),
        })
    }

    fn reads(values: &[i128]) -> Vec<Sample> {
        values.iter().map(|value| Sample::Good(Value::Integer(*value))).collect()
    }

    /// Ends and what was read back, in short.
    fn ended(orders: &mut Orders) -> Vec<String> {
        let word = |written: &Written| {
            let end = match &written.end {
                WriteEnd::Acknowledged => "acknowledged".to_owned(),
                WriteEnd::Refused(fault) => format!("refused {fault}"),
                WriteEnd::Unanswered(fault) => format!("unanswered {fault}"),
                WriteEnd::NotSent(why) => format!("not sent {why:?}"),
            };
            let read = match &written.read_back {
                Some(Sample::Good(value)) => format!(", reads {value}"),
                Some(other) => format!(", reads {other:?}"),
                None => String::new(),
            };
            format!("{end}{read}{}", if written.is_as_wanted { ", as wanted" } else { "" })
        };
        orders.take_finished().iter().flat_map(|report| report.written.iter().map(word)).collect()
    }

    #[test]
    fn an_order_is_written_request_by_request_and_read_back_once() {
        let mut orders = Orders::default();
        orders.take(order(1, &[0, 1]), 0);
        assert_eq!(next(&mut orders, 0).as_deref(), Some("w0"));
        orders.written(at(1), WriteEnd::Acknowledged, &[]);
        assert_eq!(next(&mut orders, 1).as_deref(), Some("w1"));
        orders.written(at(2), WriteEnd::Acknowledged, &[]);
        assert_eq!(next(&mut orders, 2).as_deref(), Some("r"));
        assert_eq!(orders.answered(stamp(3), reads(&[45, 45])).len(), 2);
        assert_eq!(ended(&mut orders), ["acknowledged, reads 45, as wanted"; 2]);
        assert_eq!((next(&mut orders, 3), orders.wake_at(open)), (None, None));
    }

    #[test]
    fn what_a_device_tells_with_its_answer_needs_no_reading_unless_it_is_something_else() {
        let seen = |value| [Reading { point: 0, sample: Sample::Good(Value::Integer(value)), stamp: stamp(0) }];
        let mut orders = Orders::default();
        orders.take(order(1, &[0]), 0);
        next(&mut orders, 0);
        orders.written(at(1), WriteEnd::Acknowledged, &seen(45));
        assert_eq!(ended(&mut orders), ["acknowledged, reads 45, as wanted"]);
        orders.take(order(2, &[0]), 0);
        next(&mut orders, 2);
        orders.written(at(2), WriteEnd::Acknowledged, &seen(40));
        assert_eq!(next(&mut orders, 2).as_deref(), Some("r"));
        orders.answered(stamp(2), reads(&[45]));
        assert_eq!(ended(&mut orders), ["acknowledged, reads 45, as wanted"]);
    }

    #[test]
    fn what_a_device_does_not_show_at_once_is_looked_at_again_and_then_told_as_it_is() {
        let mut orders = Orders::default();
        orders.take(order(1, &[0]), 0);
        next(&mut orders, 0);
        orders.written(at(0), WriteEnd::Acknowledged, &[]);
        for (now, then) in [(0, 100), (100, 500)] {
            assert_eq!(next(&mut orders, now).as_deref(), Some("r"));
            orders.answered(stamp(now), reads(&[40]));
            assert_eq!(next(&mut orders, now), None);
            assert_eq!(orders.wake_at(open), Some(at(then)));
        }
        assert_eq!(next(&mut orders, 500).as_deref(), Some("r"));
        orders.answered(stamp(500), reads(&[40]));
        assert_eq!(ended(&mut orders), ["acknowledged, reads 40"]);
    }

    #[test]
    fn a_lost_answer_is_not_sent_again_but_read_back() {
        let mut orders = Orders::default();
        orders.take(order(1, &[0, 1]), 0);
        next(&mut orders, 0);
        orders.written(at(1), WriteEnd::Unanswered(Fault::Timeout), &[]);
        assert_eq!(next(&mut orders, 1).as_deref(), Some("r"), "the second value is left undone");
        orders.answered(stamp(2), reads(&[45, 7]));
        assert_eq!(ended(&mut orders), ["unanswered timeout, reads 45, as wanted", "not sent AfterFailure"]);
        // Nor when it can't be read back: two tries, and the end.
        orders.take(order(2, &[0]), 0);
        next(&mut orders, 2);
        orders.written(at(3), WriteEnd::Unanswered(Fault::Timeout), &[]);
        for is_last in [false, true] {
            assert_eq!(next(&mut orders, 3).as_deref(), Some("r"));
            assert_eq!(orders.silent(at(3), Fault::Timeout), is_last);
        }
        assert_eq!(ended(&mut orders), ["unanswered timeout, reads Bad(Timeout)"]);
    }

    #[test]
    fn a_refusal_ends_an_order_without_reading_what_was_not_written() {
        let mut orders = Orders::default();
        orders.take(order(1, &[0, 1]), 0);
        next(&mut orders, 0);
        orders.written(at(1), WriteEnd::Refused(Fault::IllegalValue), &[]);
        assert_eq!(ended(&mut orders), ["refused illegal_value", "not sent AfterFailure"]);
        assert_eq!(next(&mut orders, 1), None);
    }

    #[test]
    fn a_value_of_which_only_a_part_was_written_counts_as_unanswered_and_is_read() {
        let mut orders = Orders::default();
        let mut planned = order(1, &[0]);
        planned.writes.push(planned.writes[0].clone());
        orders.take(planned, 0);
        next(&mut orders, 0);
        orders.written(at(1), WriteEnd::Acknowledged, &[]);
        next(&mut orders, 1);
        orders.written(at(2), WriteEnd::Refused(Fault::IllegalAddress), &[]);
        assert_eq!(next(&mut orders, 2).as_deref(), Some("r"));
        orders.answered(stamp(3), reads(&[45]));
        assert_eq!(ended(&mut orders), ["unanswered illegal_address, reads 45, as wanted"]);
    }

    #[test]
    fn a_read_back_that_is_refused_is_split_and_what_can_not_be_read_is_told() {
        let mut orders = Orders::default();
        orders.take(order(1, &[0, 1]), 0);
        for _ in 0..2 {
            next(&mut orders, 0);
            orders.written(at(0), WriteEnd::Acknowledged, &[]);
        }
        next(&mut orders, 0);
        let part = |point| Request { table: RegisterTable::Holding, address: 0, count: 1, points: vec![point] };
        orders.refused(at(0), Fault::IllegalAddress, vec![part(0), part(1)]);
        next(&mut orders, 0);
        orders.answered(stamp(0), reads(&[45]));
        next(&mut orders, 0);
        orders.refused(at(0), Fault::IllegalAddress, vec![]);
        assert_eq!(
            ended(&mut orders),
            ["acknowledged, reads 45, as wanted", "acknowledged, reads Bad(IllegalAddress)"]
        );
    }

    #[test]
    fn orders_of_one_device_follow_each_other_and_another_device_does_not_wait_for_a_look() {
        let mut orders = Orders::default();
        orders.take(order(1, &[0]), 0);
        orders.take(order(2, &[5]), 0);
        orders.take(order(3, &[7]), 1);
        assert_eq!(next(&mut orders, 0).as_deref(), Some("w0"));
        orders.written(at(0), WriteEnd::Acknowledged, &[]);
        assert_eq!(next(&mut orders, 0).as_deref(), Some("r"));
        orders.answered(stamp(0), reads(&[40]));
        assert_eq!(next(&mut orders, 1).as_deref(), Some("w7"), "the other device");
        orders.written(at(1), WriteEnd::Acknowledged, &[]);
        next(&mut orders, 1);
        orders.answered(stamp(1), reads(&[45]));
        assert_eq!(next(&mut orders, 2), None, "the second order of the first waits for its look");
        assert_eq!(next(&mut orders, 100).as_deref(), Some("r"));
        orders.answered(stamp(100), reads(&[45]));
        assert_eq!(next(&mut orders, 100).as_deref(), Some("w5"));
    }

    #[test]
    fn an_order_that_waits_too_long_or_whose_device_is_gone_is_given_up_unsent() {
        let mut orders = Orders::default();
        orders.take(order(1, &[0]), 0);
        assert_eq!(orders.wake_at(|_| Gate::From(at(60_000))), Some(at(10_000)));
        orders.give_up(at(9_999), open);
        assert!(ended(&mut orders).is_empty());
        orders.give_up(at(10_000), open);
        assert_eq!(ended(&mut orders), ["not sent TooLate"]);
        orders.take(order(2, &[0]), 0);
        orders.give_up(at(0), |_| Gate::Offline(Fault::Timeout));
        assert_eq!(ended(&mut orders), ["not sent Offline(Timeout)"]);
    }

    #[test]
    fn at_the_end_what_is_on_the_wire_counts_as_sent_and_the_rest_as_not() {
        let mut orders = Orders::default();
        orders.take(order(1, &[0, 1]), 0);
        orders.take(order(2, &[5]), 0);
        next(&mut orders, 0);
        orders.end_all(&NotSent::Stopping);
        let expected = ["unanswered disconnected", "not sent Stopping", "not sent Stopping"];
        assert_eq!(ended(&mut orders), expected);
        assert_eq!(next(&mut orders, 0), None);
    }

    #[test]
    fn an_order_whose_time_is_over_when_its_turn_comes_is_not_begun() {
        let mut orders = Orders::default();
        orders.take(order(1, &[0]), 0);
        assert_eq!(next(&mut orders, 10_000), None, "it may be begun before then, and not at that moment");
        orders.give_up(at(10_000), open);
        assert_eq!(ended(&mut orders), ["not sent TooLate"]);
        orders.take(order(2, &[0, 1]), 0);
        assert_eq!(next(&mut orders, 9_999).as_deref(), Some("w0"));
        orders.written(at(10_001), WriteEnd::Acknowledged, &[]);
        assert_eq!(next(&mut orders, 10_001).as_deref(), Some("w1"), "what was begun is finished");
    }
}
