//! Polling real Modbus peers: a pymodbus server over TCP and RTU, and servers that misbehave.

mod hostile;
mod maps;
mod overlapping;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fieldway::clock::Clock;
use fieldway::model::{
    Bus, BusState, BusStatus, ByteOrder, Device, Name, Point, PointType, Protocol, Publish, PublishMode, Pulse, QoS,
    Quirks, RegisterSource, RegisterTable, Sample, SerialLine, Source, Transport, Value,
};
use fieldway::poll::{self, Event, Mailbox, PollError};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::peers::Peer;

const PUBLISH: Publish = Publish { mode: PublishMode::Device, qos: QoS::AtMostOnce, retain: true };
const PATIENCE: Duration = Duration::from_secs(30);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn point(table: RegisterTable, address: u16, kind: PointType, byte_order: ByteOrder, poll: Duration) -> Point {
    let source = RegisterSource { byte_order, ..RegisterSource::new(table, address, kind) };
    let name = name(&format!("{}{address}", table.as_str()));
    Point { poll, publish: PUBLISH, ..Point::new(name, Source::Register(source)) }
}

fn device(name_: &str, unit_id: u8, points: Vec<Point>) -> Arc<Device> {
    Arc::new(Device {
        name: name(name_),
        bus: name("bus"),
        unit_id,
        max_registers: 125,
        quirks: Quirks::default(),
        publish: PUBLISH,
        points,
    })
}

fn tcp(port: u16) -> (Protocol, Transport) {
    (Protocol::ModbusTcp, Transport::Tcp { host: "127.0.0.1".into(), port })
}

fn rtu(path: &str) -> (Protocol, Transport) {
    (Protocol::ModbusRtu, Transport::Serial(SerialLine::new(path, 19_200)))
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) % end
    }
}

/// A bus that is polled by its task.
struct Polled {
    events: mpsc::Receiver<Event>,
    status: watch::Receiver<BusStatus>,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), PollError>>,
}

impl Polled {
    fn start(line: (Protocol, Transport), timeout_ms: u64, devices: Vec<Arc<Device>>) -> Polled {
        Polled::start_overlapping(line, timeout_ms, 1, devices)
    }

    fn start_overlapping(
        (protocol, transport): (Protocol, Transport),
        timeout_ms: u64,
        in_flight: u16,
        devices: Vec<Arc<Device>>,
    ) -> Polled {
        let timeout = Duration::from_millis(timeout_ms);
        let bus = Bus { timeout, in_flight, ..Bus::new(name("bus"), transport, protocol) };
        let (to_events, events) = mpsc::channel(64);
        let unknown = BusStatus {
            bus: name("bus"),
            state: BusState::Starting,
            busy: Duration::ZERO,
            damaged: 0,
            devices: vec![],
        };
        let (to_status, status) = watch::channel(unknown);
        let cancel = CancellationToken::new();
        let (_, orders) = mpsc::channel(1);
        let (reports, _) = mpsc::channel(1);
        let mailbox = Mailbox { orders, reports };
        let task = tokio::spawn(poll::run(
            bus,
            devices,
            Clock::start(),
            to_events,
            mailbox,
            to_status,
            Pulse::default(),
            cancel.clone(),
        ));
        Polled { events, status, cancel, task }
    }

    async fn next(&mut self) -> Event {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        event.expect("an event within half a minute").expect("the task runs")
    }

    async fn stop(self) {
        self.cancel.cancel();
        assert_eq!(self.task.await.unwrap(), Ok(()));
    }
}

/// 200 points of every table, type and byte order, some next to each other, some not, at both ends of the tables.
struct Plant {
    device: Arc<Device>,
    values: Vec<Value>,
    file: tempfile::NamedTempFile,
}

impl Plant {
    fn new(seed: u64) -> Plant {
        let mut chance = Dice(seed);
        let mut points = Vec::new();
        let mut values = Vec::new();
        let mut json = Vec::new();
        let tables = [RegisterTable::Holding, RegisterTable::Input, RegisterTable::Coil, RegisterTable::Discrete];
        let kinds = [PointType::Bool, PointType::U16, PointType::I16, PointType::U32, PointType::I32, PointType::F32];
        let orders = [ByteOrder::Abcd, ByteOrder::Cdab, ByteOrder::Badc, ByteOrder::Dcba];
        for table in tables {
            let mut next: u32 = 0;
            for n in 0..50u32 {
                // The last points end at 65535.
                next = if n == 45 { 65_536 - 10 } else { next + [0, 0, 0, 1, 7, 60][chance.below(6) as usize] };
                next = if n > 45 { 65_536 - 10 + (n - 45) * 2 } else { next };
                let kind = if table.is_bits() { PointType::Bool } else { kinds[(n % 6) as usize] };
                let kind = if n == 49 && !table.is_bits() { PointType::F32 } else { kind };
                let address = if n == 49 { 65_536 - u32::from(kind.width()) } else { next };
                let address = u16::try_from(address).unwrap();
                let order = orders[chance.below(4) as usize];
                let value = value_of(kind, &mut chance);
                json.push(serde_json::json!({
                    "table": table.as_str(), "address": address, "type": kind.as_str(),
                    "byte_order": format!("{order:?}").to_uppercase(),
                    "value": match &value {
                        Value::Float(x) => serde_json::json!(f64::from(*x)),
                        other => serde_json::from_str(&other.to_string()).unwrap(),
                    },
                }));
                points.push(point(table, address, kind, order, Duration::from_millis(500)));
                values.push(value);
                next = u32::from(address) + u32::from(kind.width());
            }
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        serde_json::to_writer(&file, &serde_json::json!({ "unit_id": 17, "points": json })).unwrap();
        Plant { device: device("plant", 17, points), values, file }
    }

    fn args(&self, transport: &str) -> [String; 2] {
        [self.file.path().to_str().unwrap().to_owned(), transport.to_owned()]
    }
}

fn value_of(kind: PointType, chance: &mut Dice) -> Value {
    let raw = chance.below(1 << 32) as u32;
    match kind {
        PointType::Bool => Value::Bool(raw & 1 == 1),
        PointType::U16 => Value::Integer(i128::from(raw as u16)),
        PointType::I16 => Value::Integer(i128::from(raw as i16)),
        PointType::U32 => Value::Integer(i128::from(raw)),
        PointType::I32 => Value::Integer(i128::from(raw as i32)),
        PointType::F32 => Value::Float(f32::from_bits(if f32::from_bits(raw).is_finite() { raw } else { raw >> 2 })),
        other => panic!("{other:?} is not among the types of this test"),
    }
}

async fn every_value_is_what_pymodbus_holds(plant: Plant, line: (Protocol, Transport)) {
    let mut bus = Polled::start(line, 1000, vec![Arc::clone(&plant.device)]);
    let mut read: BTreeMap<usize, Sample> = BTreeMap::new();
    let mut rounds = 0;
    // The second round too: by then the requests that were split are in the plan.
    while rounds < 2 {
        match bus.next().await {
            Event::Round(round) => {
                rounds += 1;
                read.extend(round.readings.into_iter().map(|reading| (reading.point, reading.sample)));
                assert_eq!(read.len(), 200, "all points are in the first round");
                for (index, expected) in plant.values.iter().enumerate() {
                    let point = &plant.device.points[index];
                    assert_eq!(read[&index], Sample::Good(expected.clone()), "{point:?} in round {rounds}");
                }
            }
            Event::Availability { online, fault, .. } => assert!(online, "{fault:?}"),
        }
    }
    assert_eq!(bus.status.borrow().state, BusState::Open);
    assert_eq!(bus.status.borrow().devices[0].failures, 0);
    bus.stop().await;
}

#[tokio::test]
async fn every_value_over_tcp_is_what_pymodbus_holds() {
    let plant = Plant::new(1);
    let mut peer = Peer::start("modbus_plant.py", &plant.args("tcp"));
    let port = peer.line().parse().unwrap();
    every_value_is_what_pymodbus_holds(plant, tcp(port)).await;
}

#[tokio::test]
async fn every_value_through_converters_is_what_pymodbus_holds() {
    for (seed, framing, protocol) in
        [(3, "rtu-over-tcp", Protocol::ModbusRtu), (4, "ascii-over-tcp", Protocol::ModbusAscii)]
    {
        let plant = Plant::new(seed);
        let mut peer = Peer::start("modbus_plant.py", &plant.args(framing));
        let port = peer.line().parse().unwrap();
        every_value_is_what_pymodbus_holds(plant, (protocol, tcp(port).1)).await;
    }
}

#[tokio::test]
async fn every_value_over_ascii_is_what_pymodbus_holds() {
    let plant = Plant::new(5);
    let mut peer = Peer::start("modbus_plant.py", &plant.args("ascii"));
    let (_, transport) = rtu(&peer.line());
    every_value_is_what_pymodbus_holds(plant, (Protocol::ModbusAscii, transport)).await;
}

#[tokio::test]
async fn every_value_over_rtu_is_what_pymodbus_holds() {
    let plant = Plant::new(2);
    let mut peer = Peer::start("modbus_plant.py", &plant.args("rtu"));
    let path = peer.line();
    every_value_is_what_pymodbus_holds(plant, rtu(&path)).await;
}
