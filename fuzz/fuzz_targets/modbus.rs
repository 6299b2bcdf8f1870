//! Whatever a serial line or a TCP stream says, the Modbus driver takes it in bounded memory, without a panic, and every
//! sample comes from an answer of the right length.
#![no_main]

use std::time::Duration;

use fieldway::driver::Request;
use fieldway::driver::modbus::decode;
use fieldway::driver::modbus::frames::{Answer, Collector, answer, parse};
use fieldway::model::{ByteOrder, Name, Point, PointType, Publish, PublishMode, QoS, RegisterTable};
use libfuzzer_sys::fuzz_target;

const TABLES: [RegisterTable; 4] =
    [RegisterTable::Coil, RegisterTable::Discrete, RegisterTable::Input, RegisterTable::Holding];
const KINDS: [PointType; 6] =
    [PointType::Bool, PointType::U16, PointType::I16, PointType::U32, PointType::I32, PointType::F32];
const ORDERS: [ByteOrder; 4] = [ByteOrder::Abcd, ByteOrder::Cdab, ByteOrder::Badc, ByteOrder::Dcba];

fuzz_target!(|data: &[u8]| {
    let [unit, table, count, piece, stream @ ..] = data else { return };
    let table = TABLES[usize::from(*table) % 4];
    let count = u16::from(*count) % if table.is_bits() { 2000 } else { 125 } + 1;
    let request = Request { table, address: 7, count, points: vec![0] };

    let mut collector = Collector::new(*unit, &request);
    for bytes in stream.chunks(usize::from(*piece).max(1)) {
        if let Some(pdu) = collector.push(bytes) {
            samples(&request, pdu);
            break;
        }
        collector.is_damaged();
        collector.verdict();
    }

    let mut rest = stream;
    while let Ok(Some(frame)) = parse(rest) {
        samples(&request, frame.pdu);
        rest = &rest[frame.len..];
    }
    samples(&request, stream);
});

fn samples(request: &Request, pdu: &[u8]) {
    let Ok(answer) = answer(request, pdu) else { return };
    match &answer {
        Answer::Registers(registers) => assert_eq!(registers.len(), usize::from(request.count)),
        Answer::Bits(bits) => assert!(bits.len() >= usize::from(request.count)),
    }
    for (kind, byte_order) in KINDS.into_iter().flat_map(|kind| ORDERS.map(|order| (kind, order))) {
        let publish = Publish { mode: PublishMode::Device, qos: QoS::AtMostOnce, retain: false };
        let point = Point {
            name: Name::new("p").expect("a name"),
            table: request.table,
            address: request.address,
            kind,
            byte_order,
            scale: "0.1".parse().ok(),
            offset: None,
            unit: None,
            poll: Duration::from_secs(1),
            publish,
        };
        decode(&point, answer.as_cells());
        decode(&point, answer.as_cells().from(usize::from(request.count) - 1));
    }
}
