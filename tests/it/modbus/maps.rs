//! Thousands of random device maps against pymodbus: what a plan reads together is what the points hold, whatever their types,
//! byte orders, tables and places, at the edges of the tables too.

use std::path::Path;

use fieldway::clock::Clock;
use fieldway::driver::{self, Driver, Request};
use fieldway::model::{
    Bus, ByteOrder, Decimal, Device, Encoding, Half, MaxGap, Point, PointType, Quirks, RegisterSource, RegisterTable,
    Sample, Source, Value,
};

use super::{Dice, device, name, tcp};
use crate::support::peers::Peer;

const MAPS: usize = 1500;
/// So many of them are also read point by point.
const POINT_BY_POINT: usize = 60;
const TABLES: [RegisterTable; 4] =
    [RegisterTable::Holding, RegisterTable::Input, RegisterTable::Coil, RegisterTable::Discrete];
const ORDERS: [ByteOrder; 4] = [ByteOrder::Abcd, ByteOrder::Cdab, ByteOrder::Badc, ByteOrder::Dcba];
const ENCODINGS: [Encoding; 4] = [Encoding::Ascii, Encoding::Utf8, Encoding::Latin1, Encoding::Utf16];

/// A register: anything, or a part where texts, digits or small numbers are likely.
fn register(chance: &mut Dice, at: u32) -> u16 {
    let any = chance.below(65_536) as u16;
    let mut byte = |from: u64, count: u64| chance.below(count) as u16 + from as u16;
    match at / 64 % 4 {
        0 => any,
        1 => byte(0x20, 0x5F) << 8 | if any.is_multiple_of(8) { 0 } else { byte(0x20, 0x5F) },
        2 => (0..4).fold(0, |bcd, _| bcd << 4 | byte(0, 10)),
        _ => byte(0, 24).wrapping_sub(12),
    }
}

fn write_tables(folder: &Path, chance: &mut Dice) {
    for table in TABLES {
        let bytes: Vec<u8> = match table.is_bits() {
            true => (0..65_536).map(|_| chance.below(2) as u8).collect(),
            false => (0..65_536).flat_map(|at| register(chance, at).to_be_bytes()).collect(),
        };
        std::fs::write(folder.join(table.as_str()), bytes).unwrap();
    }
}

fn kind(chance: &mut Dice) -> PointType {
    let length = chance.below(24) as u8 + 1;
    let half = if chance.below(2) == 0 { Half::Low } else { Half::High };
    match chance.below(18) {
        0 => PointType::Bool,
        1 => PointType::Bit(chance.below(16) as u8),
        2 => PointType::U8(half),
        3 => PointType::I8(half),
        4 => PointType::U16,
        5 => PointType::I16,
        6 => PointType::U32,
        7 => PointType::I32,
        8 => PointType::U64,
        9 => PointType::I64,
        10 => PointType::F16,
        11 => PointType::F32,
        12 => PointType::F64,
        13 => PointType::Bcd16,
        14 => PointType::Bcd32,
        15 => PointType::Bytes { length },
        _ => PointType::String { length, encoding: ENCODINGS[chance.below(4) as usize] },
    }
}

fn point(chance: &mut Dice, n: usize, table: RegisterTable, base: u32) -> Point {
    let kind = if table.is_bits() { PointType::Bool } else { kind(chance) };
    let byte_order = ORDERS[chance.below(4) as usize];
    let width = if table.is_bits() { 1 } else { u32::from(kind.width()) };
    // Near each other, at both ends of the table, or anywhere.
    let address = match chance.below(32) {
        0 => chance.below(65_536) as u32,
        _ => base + chance.below(120) as u32,
    };
    let address = address.min(65_536 - width) as u16;
    let mut source = RegisterSource { byte_order, ..RegisterSource::new(table, address, kind) };
    if kind.is_number() && !table.is_bits() {
        let number = |chance: &mut Dice, texts: &[&str]| -> Option<Decimal> {
            texts.get(chance.below(12) as usize).map(|text| text.parse().unwrap())
        };
        source.scale = number(chance, &["0.1", "0.001", "10", "-2.5", "1e-6"]);
        source.offset = number(chance, &["-40", "273.15", "0.5"]);
        source.scale_from = (chance.below(6) == 0)
            .then(|| address.saturating_sub(chance.below(20) as u16).max(address.saturating_sub(9)));
    }
    Point::new(name(&format!("p{n}")), Source::Register(source))
}

fn maps(chance: &mut Dice) -> Vec<Device> {
    let map = |_| {
        let base = [0, 65_536 - 100, chance.below(65_000) as u32][chance.below(3) as usize];
        let count = 1 + chance.below(24) as usize;
        let tables = [0, 1].map(|_| TABLES[chance.below(4) as usize]);
        let points = (0..count).map(|n| point(chance, n, tables[n % 2], base)).collect();
        let mut map = Device::clone(&device("map", 1, points));
        map.max_registers = [125, 125, 60, 40, 24][chance.below(5) as usize];
        map
    };
    (0..MAPS).map(map).collect()
}

fn json(point: &Point) -> serde_json::Value {
    let register = point.register().unwrap();
    let text = |decimal: &Option<Decimal>| decimal.as_ref().map(ToString::to_string);
    let (mut bit, mut half, mut length, mut encoding) = (None, None, None, None);
    match register.kind {
        PointType::Bit(n) => bit = Some(n),
        PointType::U8(of) | PointType::I8(of) => half = Some(if of == Half::High { "high" } else { "low" }),
        PointType::Bytes { length: bytes } => length = Some(bytes),
        PointType::String { length: bytes, encoding: of } => (length, encoding) = (Some(bytes), Some(of.as_str())),
        _ => {}
    }
    serde_json::json!({
        "table": register.table.as_str(), "address": register.address, "width": register.width(),
        "type": register.kind.as_str(), "byte_order": format!("{:?}", register.byte_order).to_uppercase(),
        "bit": bit, "half": half, "length": length, "encoding": encoding,
        "scale": text(&register.scale), "offset": text(&register.offset), "scale_from": register.scale_from,
    })
}

/// Whether a sample is what the peer says.
fn is(sample: &Sample, expected: &str) -> bool {
    match sample {
        Sample::Bad(_) => expected == "fault",
        Sample::Good(Value::Float(x)) => expected.parse() == Ok(*x),
        Sample::Good(Value::Double(x)) => expected.parse() == Ok(*x),
        Sample::Good(Value::Decimal(x)) => match expected.parse::<Decimal>() {
            Ok(expected) => expected == *x,
            // Longer than a scale may be typed: a very large or very small float, exactly.
            Err(_) => expected.parse() == Ok(x.to_nearest_f64()),
        },
        Sample::Good(value) => {
            serde_json::from_str::<serde_json::Value>(&value.to_string()).ok() == serde_json::from_str(expected).ok()
        }
    }
}

async fn read(driver: &mut dyn Driver, device: &Device, requests: &[Request]) -> Vec<Option<Sample>> {
    let mut read = vec![None; device.points.len()];
    for request in requests {
        let mut samples = Vec::new();
        driver.read(device, request, &mut samples).await.unwrap_or_else(|failure| panic!("{failure}: {request:?}"));
        for (point, sample) in request.points.iter().zip(samples) {
            assert!(read[*point].replace(sample).is_none(), "read twice in one plan");
        }
    }
    read
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_together_is_what_the_points_hold() {
    let folder = tempfile::tempdir().unwrap();
    let mut chance = Dice(5);
    write_tables(folder.path(), &mut chance);
    let maps = maps(&mut chance);
    let points: Vec<_> = maps.iter().flat_map(|map| map.points.iter().map(json)).collect();
    std::fs::write(folder.path().join("points.json"), serde_json::to_vec(&points).unwrap()).unwrap();
    let mut peer = Peer::start("modbus_maps.py", &[folder.path().to_str().unwrap().to_owned()]);
    let port = peer.line().parse().unwrap();
    let values = std::fs::read(folder.path().join("values.json")).unwrap();
    let values: Vec<String> = serde_json::from_slice(&values).unwrap();

    let (protocol, transport) = tcp(port);
    let mut bus = Bus::new(name("bus"), transport, protocol);
    let mut expected = values.iter();
    let (mut good, mut requests_sent) = (0, 0);
    for (n, map) in maps.into_iter().enumerate() {
        bus.max_gap = [MaxGap::Auto, MaxGap::Auto, MaxGap::Registers(0), MaxGap::Registers(7)][n % 4];
        let mut driver = driver::for_bus(&bus, Clock::start()).unwrap();
        let all: Vec<usize> = (0..map.points.len()).collect();
        let requests = driver.plan(&map, &all);
        requests_sent += requests.len();
        for request in &requests {
            let limit = if request.table.is_bits() { (map.max_registers * 16).min(2000) } else { map.max_registers };
            assert!(request.count <= limit && u32::from(request.address) + u32::from(request.count) <= 65_536);
        }
        let together = read(driver.as_mut(), &map, &requests).await;
        for (point, sample) in map.points.iter().zip(&together) {
            let (sample, expected) = (sample.as_ref().unwrap(), expected.next().unwrap());
            assert!(is(sample, expected), "map {n}: {point:?}: {sample:?}, and pymodbus holds {expected}");
            good += usize::from(matches!(sample, Sample::Good(_)));
        }
        if n < POINT_BY_POINT {
            let single = Device { quirks: Quirks { single_requests: true, ..Quirks::default() }, ..map };
            let requests = driver.plan(&single, &all);
            assert_eq!(requests.len(), single.points.len());
            assert_eq!(read(driver.as_mut(), &single, &requests).await, together, "map {n}, point by point");
        }
    }
    // Most of the 19,000 points hold something, and most are read in company.
    assert!(
        good > values.len() * 3 / 4 && requests_sent < values.len() / 2,
        "{good} {requests_sent} of {}",
        values.len()
    );
}
