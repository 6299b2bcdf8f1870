//! What a bus has to do: each request, how long the line is busy with it, and whether the intervals can be met. Pure.

use std::sync::Arc;
use std::time::Duration;

use super::grid::Grid;
use super::scheduler::PlannedGroup;
use crate::driver::{Driver, Request};
use crate::model::{Bus, Device};

/// The requests of a bus, and the time that they take.
#[derive(Debug)]
pub struct BusLoad {
    /// In the order of the devices, the shortest interval first.
    pub requests: Vec<RequestLoad>,
    /// The part of the line's time that they take: 1 is all of it.
    pub share: f64,
    /// Intervals that can't be met.
    pub missed: Vec<Missed>,
}

/// One request that repeats.
#[derive(Debug)]
pub struct RequestLoad {
    /// To whom.
    pub device: Arc<Device>,
    /// How often.
    pub interval: Duration,
    /// What.
    pub request: Request,
    /// The same in words.
    pub what: String,
    /// How long the line is busy with it.
    pub takes: Duration,
}

/// An interval that can't be met, even if every device answers every time.
#[derive(Debug, PartialEq)]
pub enum Missed {
    /// The devices of the bus together want more than all of its time.
    Overloaded {
        /// So many times the line's time.
        share: f64,
    },
    /// One poll takes longer than the interval.
    TooMuch {
        /// Of which device.
        device: Arc<Device>,
        /// Which interval.
        interval: Duration,
        /// How long a poll takes, with the pauses that the device needs.
        takes: Duration,
    },
    /// Another request on the line takes longer than the interval.
    Blocked {
        /// Of which device.
        device: Arc<Device>,
        /// Which interval.
        interval: Duration,
        /// Who keeps it waiting.
        by: Arc<Device>,
        /// How long.
        takes: Duration,
    },
}

/// The device's points by interval, the shortest first, each interval's merged into requests.
pub fn planned(driver: &dyn Driver, device: &Device) -> Vec<PlannedGroup> {
    let read = device.points.iter().filter(|point| point.is_read());
    let mut intervals: Vec<Duration> = read.map(|point| point.poll).collect();
    intervals.sort_unstable();
    intervals.dedup();
    let group = |interval: Duration| {
        let is_in = |&i: &usize| device.points[i].is_read() && device.points[i].poll == interval;
        let points: Vec<usize> = (0..device.points.len()).filter(is_in).collect();
        PlannedGroup { interval, requests: driver.plan(device, &points) }
    };
    // What comes unasked needs no request.
    intervals.into_iter().map(group).filter(|group| !group.requests.is_empty()).collect()
}

/// The load of `devices` on their bus. Nothing is opened.
pub fn load(bus: &Bus, driver: &dyn Driver, devices: &[Arc<Device>]) -> BusLoad {
    let groups: Vec<(&Arc<Device>, PlannedGroup)> = devices
        .iter()
        .flat_map(|device| planned(driver, device).into_iter().map(move |group| (device, group)))
        .collect();
    let requests: Vec<RequestLoad> = groups
        .iter()
        .flat_map(|(device, group)| {
            group.requests.iter().map(|request| RequestLoad {
                device: Arc::clone(device),
                interval: group.interval,
                request: request.clone(),
                what: driver.describe(device, request),
                takes: driver.expected(request),
            })
        })
        .collect();
    let at_a_time = f64::from(bus.in_flight.max(1));
    // What is read as fast as it goes takes what the others leave.
    let is_timed = |interval: Duration| interval > Grid::CONTINUOUS;
    let timed = requests.iter().filter(|one| is_timed(one.interval));
    let share = timed.map(|one| one.takes.as_secs_f64() / one.interval.as_secs_f64()).sum::<f64>() / at_a_time;
    let mut missed = Vec::new();
    if share > 1.0 {
        missed.push(Missed::Overloaded { share });
    }
    let longest = requests.iter().max_by_key(|one| one.takes);
    for (device, group) in groups.iter().filter(|(_, group)| is_timed(group.interval)) {
        let interval = group.interval;
        let takes = poll_takes(driver, device, &group.requests, bus.in_flight);
        if takes > interval {
            missed.push(Missed::TooMuch { device: Arc::clone(device), interval, takes });
        } else if let Some(longest) = longest.filter(|one| one.takes > interval) {
            let by = Arc::clone(&longest.device);
            missed.push(Missed::Blocked { device: Arc::clone(device), interval, by, takes: longest.takes });
        }
    }
    BusLoad { requests, share, missed }
}

/// How long one poll of a device takes that is alone on its line.
fn poll_takes(driver: &dyn Driver, device: &Device, requests: &[Request], in_flight: u16) -> Duration {
    let at_a_time = device.quirks.max_in_flight.unwrap_or(in_flight).min(in_flight).max(1);
    let lone = requests.iter().map(|request| driver.expected(request) + device.quirks.pause).sum::<Duration>();
    lone / u32::from(at_a_time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::driver;
    use crate::model::{
        Name, Point, PointType, Protocol, Publish, Quirks, RegisterSource, RegisterTable, SerialLine, Source, Transport,
    };

    fn device(name: &str, registers: u16, interval_ms: u64) -> Arc<Device> {
        let point = |at| {
            let source = Source::Register(RegisterSource::new(RegisterTable::Holding, at, PointType::U16));
            Point {
                poll: Duration::from_millis(interval_ms),
                ..Point::new(Name::new(&format!("p{at}")).unwrap(), source)
            }
        };
        Arc::new(Device {
            name: Name::new(name).unwrap(),
            bus: Name::new("line1").unwrap(),
            unit_id: 1,
            max_registers: 125,
            quirks: Quirks::default(),
            publish: Publish::default(),
            points: (0..registers).map(point).collect(),
        })
    }

    fn on_line(baud: u32, devices: &[Arc<Device>]) -> BusLoad {
        let transport = Transport::Serial(SerialLine::new("/dev/null", baud));
        let bus = Bus::new(Name::new("line1").unwrap(), transport, Protocol::ModbusRtu);
        let driver = driver::for_bus(&bus, Clock::start()).unwrap();
        load(&bus, driver.as_ref(), devices)
    }

    #[tokio::test]
    async fn the_load_is_the_time_of_all_requests_over_their_intervals() {
        let load = on_line(19_200, &[device("a", 50, 1000), device("b", 50, 2000)]);
        let takes: Vec<u128> = load.requests.iter().map(|one| one.takes.as_millis()).collect();
        assert_eq!(takes, [73, 73]);
        assert!((load.share - 0.1106).abs() < 0.001, "{}", load.share);
        assert_eq!(load.missed, []);
    }

    #[tokio::test]
    async fn intervals_that_can_not_be_met_are_told_with_the_reason() {
        let (fast, slow) = (device("fast", 1, 100), device("slow", 125, 10_000));
        let load = on_line(9600, &[Arc::clone(&fast), Arc::clone(&slow)]);
        let [Missed::Blocked { device: kept, by, takes, .. }] = &load.missed[..] else { panic!("{:?}", load.missed) };
        assert_eq!((kept, by, takes.as_millis()), (&fast, &slow, 314));
        let load = on_line(9600, &[device("large", 1000, 1000)]);
        let [Missed::Overloaded { share }, Missed::TooMuch { takes, .. }] = &load.missed[..] else {
            panic!("{:?}", load.missed)
        };
        assert!((share - takes.as_secs_f64()).abs() < 1e-6 && takes.as_millis() == 2514, "{takes:?}");
    }
}
