//! The scheduler against simulated devices, in simulated time.

mod anything;
mod away;
mod on_time;
mod overlapping;
mod refused;
mod writes;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::orders::PlannedOrder;
use super::scheduler::{Action, Outcome, PlannedGroup, Scheduler};
use super::{Event, Output};
use crate::clock::Clock;
use crate::driver::{self, Driver, LineError, Request, Seen, WriteFailure, WriteRequest};
use crate::model::{
    Bus, BusState, BusStatus, Device, Fault, Monotonic, Name, Order, OrderReport, Point, PointType, Protocol, Publish,
    PublishMode, QoS, Quirks, RegisterSource, RegisterTable, Sample, Source, Stamp, Timestamp, Transport, Value,
};

/// 500 ms of timeout and what sending takes.
const SILENCE: u64 = 505;
const PUBLISH: Publish = Publish { mode: PublishMode::Device, qos: QoS::AtMostOnce, retain: true };

/// A device with points at these addresses, each with its interval in milliseconds.
fn device(name: &str, points: &[(u16, u64)]) -> Arc<Device> {
    let point = |&(address, poll): &(u16, u64)| {
        let register = RegisterSource::new(RegisterTable::Holding, address, PointType::U16);
        let point = Point::new(Name::new(&format!("p{address}")).unwrap(), Source::Register(register));
        Point { poll: Duration::from_millis(poll), publish: PUBLISH, ..point }
    };
    Arc::new(Device {
        name: Name::new(name).unwrap(),
        bus: Name::new("line").unwrap(),
        unit_id: 1,
        max_registers: 125,
        quirks: Quirks::default(),
        publish: PUBLISH,
        points: points.iter().map(point).collect(),
    })
}

fn stamp(now: u64) -> Stamp {
    Stamp { monotonic: Monotonic::from_millis(now), since_boot: None, wall: Timestamp(now.cast_signed()), synced: true }
}

/// A bus whose devices do what a function says.
struct Simulation {
    scheduler: Scheduler,
    driver: Box<dyn Driver>,
    now: u64,
    /// When each request was sent, to whom, and from which address.
    requests: Vec<(u64, String, Request)>,
    /// When each event was reported.
    events: Vec<(u64, Event)>,
    refusals: Vec<(String, usize, Fault)>,
    /// Orders to come, each with its time, the earliest first.
    orders: VecDeque<(u64, Order)>,
    /// When each write was sent, and to whom.
    writes: Vec<(u64, String)>,
    write_reply: fn(&WriteRequest) -> Result<Seen, WriteFailure>,
    write_time: u64,
    /// When each order was reported.
    reports: Vec<(u64, OrderReport)>,
    devices: Vec<Arc<Device>>,
}

/// How a simulated request ends: after so many milliseconds, like this.
enum Reply {
    Good(u64),
    Silent,
    Refused(u64, Fault),
    LineGone,
}

impl Simulation {
    fn new(bus: &str, devices: &[Arc<Device>]) -> Simulation {
        let transport = Transport::Tcp { host: "localhost".into(), port: 502 };
        let bus = Bus::new(Name::new(bus).unwrap(), transport, Protocol::ModbusTcp);
        // The task's planner, so that requests are what they will be.
        let driver = driver::for_bus(&bus, Clock::start()).unwrap();
        let planned = devices.iter().map(|device| {
            let mut intervals: BTreeMap<Duration, Vec<usize>> = BTreeMap::new();
            for (index, point) in device.points.iter().enumerate() {
                intervals.entry(point.poll).or_default().push(index);
            }
            let group = |(interval, points): (Duration, Vec<usize>)| PlannedGroup {
                interval,
                requests: driver.plan(device, &points),
            };
            (Arc::clone(device), intervals.into_iter().map(group).collect())
        });
        let longest = Duration::from_millis(SILENCE);
        let scheduler = Scheduler::new(Monotonic::default(), &bus.name, 1, longest, planned.collect());
        Simulation {
            scheduler,
            driver,
            now: 0,
            requests: vec![],
            events: vec![],
            refusals: vec![],
            orders: VecDeque::new(),
            writes: vec![],
            write_reply: |_| Ok(Vec::new()),
            write_time: 10,
            reports: vec![],
            devices: devices.to_vec(),
        }
    }

    fn devices(&self) -> Vec<Arc<Device>> {
        self.devices.clone()
    }

    /// An order at that time, which may wait ten seconds; simulated devices read as the number of each point.
    fn order(&mut self, at: u64, token: u64, device: &Arc<Device>, point: usize, value: i128) {
        assert!(self.orders.back().is_none_or(|(before, _)| *before <= at));
        let until = Monotonic::from_millis(at + 10_000);
        let values = vec![(point, Value::Integer(value))];
        self.orders.push_back((at, Order { token, device: Arc::clone(device), values, until }));
    }

    fn take_orders(&mut self) {
        while let Some((_, order)) = self.orders.pop_front_if(|(at, _)| *at <= self.now) {
            let writes = self.driver.plan_writes(&order.device, &order.values).unwrap();
            let points: Vec<usize> = order.values.iter().map(|(point, _)| *point).collect();
            let reads = self.driver.plan(&order.device, &points);
            self.scheduler.take_order(PlannedOrder { order, writes, reads });
        }
    }

    /// Lets the time pass until `end`.
    fn run(&mut self, end: u64, mut reply: impl FnMut(u64, &str, &Request) -> Reply) {
        while self.now < end {
            self.take_orders();
            self.scheduler.advance(stamp(self.now));
            self.collect();
            match self.scheduler.next_action(Monotonic::from_millis(self.now)) {
                Action::Wait(until) => {
                    let until = until.0.as_nanos().div_ceil(1_000_000) as u64;
                    assert!(until > self.now, "waiting for the past would spin");
                    let next = self.orders.front().map_or(u64::MAX, |(at, _)| *at);
                    self.now = until.min(end).min(next);
                }
                Action::Open => self.scheduler.handle_opened(),
                Action::Read { device, request } => self.exchange(&device, &request, &mut reply),
                Action::Send { .. } | Action::Listen(_) => panic!("one at a time"),
                Action::Write { device, request } => {
                    self.writes.push((self.now, device.name.to_string()));
                    self.now += self.write_time;
                    let result = (self.write_reply)(&request);
                    self.scheduler.handle_written(stamp(self.now), result.clone());
                    if let Err(WriteFailure::NotSent(error)) = result {
                        self.scheduler.handle_line_gone(stamp(self.now), error.to_string());
                    }
                }
            }
        }
        self.collect();
    }

    fn exchange(&mut self, device: &Device, request: &Request, reply: &mut impl FnMut(u64, &str, &Request) -> Reply) {
        self.requests.push((self.now, device.name.to_string(), request.clone()));
        let (took, outcome) = match reply(self.now, &device.name, request) {
            Reply::Good(took) => {
                let value = |&point: &usize| Sample::Good(Value::Integer(point as i128));
                (took, Outcome::Answer(request.points.iter().map(value).collect()))
            }
            Reply::Silent => (SILENCE, Outcome::Silence(Fault::Timeout)),
            Reply::Refused(took, fault) => {
                (took, Outcome::Refused { fault, parts: self.driver.split(device, request, fault) })
            }
            Reply::LineGone => {
                self.scheduler.handle_line_gone(stamp(self.now), "unplugged".into());
                return;
            }
        };
        self.now += took;
        self.scheduler.handle_outcome(stamp(self.now), outcome);
    }

    fn collect(&mut self) {
        for output in self.scheduler.take_outputs() {
            match output {
                Output::Event(event) => self.events.push((self.now, event)),
                Output::Refusal { device, point, fault } => {
                    self.refusals.push((device.name.to_string(), point, fault));
                }
                Output::OneAtATime { .. } => panic!("it is one at a time"),
                Output::Written(report) => self.reports.push((self.now, report)),
            }
        }
    }

    /// When rounds with a good reading of that device were reported.
    fn rounds(&self, device: &str) -> Vec<u64> {
        let good = |event: &Event| matches!(event, Event::Round(round) if round.device.name.as_str() == device && round.readings.iter().any(|r| matches!(r.sample, Sample::Good(_))));
        self.events.iter().filter(|(_, event)| good(event)).map(|(at, _)| *at).collect()
    }

    /// The bad readings of a device: when, which point, why.
    fn bad(&self, device: &str) -> Vec<(u64, usize, Fault)> {
        let mut bad = Vec::new();
        for (at, event) in &self.events {
            let Event::Round(round) = event else { continue };
            for reading in round.readings.iter().filter(|_| round.device.name.as_str() == device) {
                if let Sample::Bad(fault) = reading.sample {
                    bad.push((*at, reading.point, fault));
                }
            }
        }
        bad
    }

    fn availability(&self, device: &str) -> Vec<(u64, bool)> {
        let of = |(at, event): &(u64, Event)| match event {
            Event::Availability { device: of, online, .. } if of.name.as_str() == device => Some((*at, *online)),
            _ => None,
        };
        self.events.iter().filter_map(of).collect()
    }

    fn requests_to(&self, device: &str) -> Vec<u64> {
        self.requests.iter().filter(|(_, to, _)| to == device).map(|(at, ..)| *at).collect()
    }

    fn status(&self) -> BusStatus {
        let bus = Name::new("x").unwrap();
        let mut status =
            BusStatus { bus, state: BusState::Starting, busy: Duration::ZERO, damaged: 0, devices: vec![] };
        self.scheduler.write_status(&mut status);
        status
    }
}

fn longest_gap(moments: &[u64]) -> u64 {
    moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(u64::MAX)
}

fn five(dead: &str) -> (Vec<Arc<Device>>, impl Fn(u64, &str, &Request) -> Reply) {
    let devices = (1..=5).map(|n| device(&format!("u{n}"), &[(0, 1000), (30, 1000)])).collect();
    let dead = dead.to_owned();
    // 50 registers at 19200 baud.
    (devices, move |_, name: &str, _: &Request| if name == dead { Reply::Silent } else { Reply::Good(63) })
}
