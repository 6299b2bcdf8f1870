//! Several requests under way at a time, on any mixture of devices.

use proptest::prelude::*;

use super::*;
use crate::model::Quirks;

/// A request that is under way.
struct UnderWay {
    /// `None` when it goes alone.
    ticket: Option<u64>,
    device: Arc<Device>,
    request: Arc<Request>,
    ends_at: u64,
    reply: Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Any {
    Good,
    Silent,
    Illegal,
    LineGone,
}

/// A line that takes several requests, and whose connection is lost with each silence.
struct Line {
    scheduler: Scheduler,
    driver: Box<dyn Driver>,
    depth: usize,
    now: u64,
    under_way: Vec<UnderWay>,
    /// When each device had its last answer.
    answered: BTreeMap<String, u64>,
    most: usize,
    events: Vec<Event>,
}

impl Line {
    fn new(depth: usize, devices: &[Arc<Device>]) -> Line {
        let simulation = Simulation::new("line", devices);
        let scheduler = simulation.scheduler.overlapping(depth);
        let (under_way, answered, events) = (Vec::new(), BTreeMap::new(), Vec::new());
        Line { scheduler, driver: simulation.driver, depth, now: 0, under_way, answered, most: 0, events }
    }

    /// Lets the time pass until `end`; `reply` says what becomes of a request, and after how many milliseconds.
    fn run(&mut self, end: u64, mut reply: impl FnMut(&Device, &Request) -> (Any, u64)) {
        while self.now < end {
            self.scheduler.advance(stamp(self.now));
            for output in self.scheduler.take_outputs() {
                if let Output::Event(event) = output {
                    self.events.push(event);
                }
            }
            match self.scheduler.next_action(Monotonic::from_millis(self.now)) {
                Action::Open => self.scheduler.handle_opened(),
                Action::Read { device, request } => self.send(None, device, request, &mut reply),
                Action::Send { ticket, device, request } => self.send(Some(ticket), device, request, &mut reply),
                Action::Write { .. } => panic!("nobody writes"),
                Action::Wait(until) => {
                    assert!(self.under_way.is_empty());
                    self.wait(until, end);
                }
                Action::Listen(until) => {
                    assert!(!self.under_way.is_empty());
                    self.wait(until, end);
                }
            }
        }
    }

    fn send(
        &mut self,
        ticket: Option<u64>,
        device: Arc<Device>,
        request: Arc<Request>,
        reply: &mut impl FnMut(&Device, &Request) -> (Any, u64),
    ) {
        let own = self.under_way.iter().filter(|other| other.device.name == device.name).count();
        assert!(self.under_way.len() < self.depth, "more than the line takes");
        assert!(own < device.quirks.max_in_flight.map_or(usize::MAX, usize::from), "more than the device takes");
        assert!(self.under_way.iter().all(|other| other.ticket.is_some()), "one goes alone, and this is beside it");
        assert!(ticket.is_some() || self.under_way.is_empty(), "this goes alone, and is beside others");
        let rests_until =
            self.answered.get(device.name.as_str()).map_or(0, |at| at + device.quirks.pause.as_millis() as u64);
        assert!(self.now >= rests_until, "it is left no pause");
        let (reply, took) = reply(&device, &request);
        self.under_way.push(UnderWay { ticket, device, request, ends_at: self.now + took, reply });
        self.most = self.most.max(self.under_way.len());
        if ticket.is_none() {
            // The task does nothing else meanwhile.
            self.now += took;
            self.end_first();
        }
    }

    fn wait(&mut self, until: Monotonic, end: u64) {
        let until = until.0.as_nanos().div_ceil(1_000_000) as u64;
        let first = self.under_way.iter().map(|one| one.ends_at).min();
        match first.filter(|first| *first <= until) {
            Some(first) => {
                self.now = self.now.max(first);
                self.end_first();
            }
            None => {
                assert!(until > self.now, "waiting for the past would spin");
                self.now = until.min(end.max(self.now + 1));
            }
        }
    }

    fn end_first(&mut self) {
        let first = (0..self.under_way.len()).min_by_key(|at| self.under_way[*at].ends_at).unwrap();
        let over = self.under_way.remove(first);
        let stamp = stamp(self.now);
        self.answered.insert(over.device.name.to_string(), self.now);
        let outcome = match over.reply {
            Any::Good => {
                let value = |&point: &usize| Sample::Good(Value::Integer(point as i128));
                Outcome::Answer(over.request.points.iter().map(value).collect())
            }
            Any::Illegal => {
                let parts = self.driver.split(&over.device, &over.request, Fault::IllegalAddress);
                Outcome::Refused { fault: Fault::IllegalAddress, parts }
            }
            Any::Silent => {
                for cut in self.under_way.drain(..) {
                    self.answered.insert(cut.device.name.to_string(), self.now);
                    self.scheduler.handle_finished(stamp, cut.ticket.unwrap(), Outcome::Cut);
                }
                Outcome::Silence(Fault::Timeout)
            }
            Any::LineGone => {
                self.under_way.clear();
                self.scheduler.handle_line_gone(stamp, "hung up".into());
                return;
            }
        };
        match over.ticket {
            Some(ticket) => self.scheduler.handle_finished(stamp, ticket, outcome),
            None => self.scheduler.handle_outcome(stamp, outcome),
        }
    }
}

fn any_device() -> impl Strategy<Value = (Vec<(u16, u64)>, Quirks)> {
    let point =
        (prop::sample::select(&[0u16, 1, 200, 400, 600, 800][..]), prop::sample::select(&[250u64, 1000, 7000][..]));
    let pause = prop_oneof![3 => Just(0u64), 1 => Just(30)];
    let most = prop_oneof![3 => Just(None), 1 => (1u16..4).prop_map(Some)];
    (prop::collection::vec(point, 1..8), any::<bool>(), pause, most).prop_map(
        |(points, single_requests, pause, max_in_flight)| {
            (
                points,
                Quirks { single_requests, pause: Duration::from_millis(pause), max_in_flight, ..Quirks::default() },
            )
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_request_is_lost_or_sent_where_it_must_not_be(
        layout in prop::collection::vec(any_device(), 1..5),
        depth in 1usize..9,
        replies in prop::collection::vec(
            (prop_oneof![20 => Just(Any::Good), 2 => Just(Any::Silent), 2 => Just(Any::Illegal), 1 => Just(Any::LineGone)], 1u64..60),
            1..80,
        ),
    ) {
        let devices: Vec<_> = layout.iter().enumerate().map(|(n, (points, quirks))| {
            let device = device(&format!("d{n}"), points);
            Arc::new(Device { quirks: *quirks, ..Device::clone(&device) })
        }).collect();
        let mut line = Line::new(depth, &devices);
        let mut next = replies.iter().cycle();
        line.run(60_000, |_, _| match *next.next().unwrap() {
            (Any::Silent, _) => (Any::Silent, SILENCE),
            reply => reply,
        });
        // Then everybody is well for long enough, and everything must be good again.
        line.run(260_000, |_, request| (Any::Good, 5 + u64::from(request.address) / 100));
        for device in &devices {
            let mut last = BTreeMap::new();
            for event in &line.events {
                if let Event::Round(round) = event && round.device.name == device.name {
                    prop_assert!(!round.readings.is_empty());
                    last.extend(round.readings.iter().map(|reading| (reading.point, reading.sample.clone())));
                }
            }
            prop_assert_eq!(last.len(), device.points.len());
            prop_assert!(last.values().all(|sample| matches!(sample, Sample::Good(_))), "{:?}", last);
        }
    }
}

#[test]
fn a_line_that_takes_several_requests_has_them() {
    let points: Vec<(u16, u64)> = (0..8).map(|n| (n * 250, 1000)).collect();
    let mut line = Line::new(4, &[device("a", &points)]);
    line.run(10_000, |_, _| (Any::Good, 20));
    let rounds = line.events.iter().filter(|event| matches!(event, Event::Round(round) if round.readings.len() == 8));
    // The first at once, then one a second wherever its grid lies.
    assert_eq!(line.most, 4);
    assert!((10..=11).contains(&rounds.count()));
}
