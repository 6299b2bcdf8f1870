//! Whatever a serial line or a TCP stream says, the Modbus driver takes it in bounded memory, without a panic, and every
//! sample comes from an answer of the right length.

use fieldway::driver::modbus::decode;
use fieldway::driver::modbus::frames::{Answer, AsciiCollector, Ask, Collector, Form, answer, page, parse};
use fieldway::driver::{Change, Request};
use fieldway::model::{ByteOrder, Encoding, Half, Name, Point, PointType, RegisterSource, RegisterTable, Source};

const TABLES: [RegisterTable; 4] =
    [RegisterTable::Coil, RegisterTable::Discrete, RegisterTable::Input, RegisterTable::Holding];
const KINDS: [PointType; 17] = [
    PointType::Bool,
    PointType::Bit(3),
    PointType::U8(Half::Low),
    PointType::I8(Half::High),
    PointType::U16,
    PointType::I16,
    PointType::U32,
    PointType::I32,
    PointType::U64,
    PointType::I64,
    PointType::F16,
    PointType::F32,
    PointType::F64,
    PointType::Bcd16,
    PointType::Bcd32,
    PointType::String { length: 7, encoding: Encoding::Utf16 },
    PointType::Bytes { length: 3 },
];
const ORDERS: [ByteOrder; 4] = [ByteOrder::Abcd, ByteOrder::Cdab, ByteOrder::Badc, ByteOrder::Dcba];

/// What the fuzzer, and the tests with what it has found, call.
pub fn exercise(data: &[u8]) {
    let [unit, table, count, piece, stream @ ..] = data else { return };
    let table = TABLES[usize::from(*table) % 4];
    let count = u16::from(*count) % if table.is_bits() { 2000 } else { 125 } + 1;
    let request = Request { table, address: 7, count, points: vec![0] };

    let mut collector = Collector::new(*unit, &Ask::read(&request));
    for bytes in stream.chunks(usize::from(*piece).max(1)) {
        if let Some(pdu) = collector.push(bytes) {
            samples(&request, pdu);
            break;
        }
        collector.is_damaged();
        collector.verdict();
    }

    let values = vec![7; usize::from(count % 123) + 1];
    for change in [Change::Registers { address: 7, values }, Change::Bits { address: 7, value: 1, mask: 3 }] {
        let ask = Ask::write(&change, Form::Single);
        let mut collector = Collector::new(*unit, &ask);
        for bytes in stream.chunks(usize::from(*piece).max(1)) {
            if let Some(pdu) = collector.push(bytes) {
                let _ = ask.written(pdu);
                break;
            }
        }
        let _ = ask.written(stream);
    }

    let identify = Ask::identify(2, 0);
    let (mut rtu, mut ascii) = (Collector::new(*unit, &identify), AsciiCollector::new(*unit, &identify));
    for bytes in stream.chunks(usize::from(*piece).max(1)) {
        for pdu in [rtu.push(bytes), ascii.push(bytes)].into_iter().flatten() {
            assert!(pdu.len() <= 253);
            page(pdu);
        }
    }
    page(stream);

    let mut rest = stream;
    while let Ok(Some(frame)) = parse(rest) {
        samples(&request, frame.pdu);
        rest = &rest[frame.len..];
    }
    samples(&request, stream);
}

fn samples(request: &Request, pdu: &[u8]) {
    let Ok(answer) = answer(request, pdu) else { return };
    match &answer {
        Answer::Registers(registers) => assert_eq!(registers.len(), usize::from(request.count)),
        Answer::Bits(bits) => assert!(bits.len() >= usize::from(request.count)),
    }
    for (kind, byte_order) in KINDS.into_iter().flat_map(|kind| ORDERS.map(|order| (kind, order))) {
        let scale = "0.1".parse().ok();
        let source = RegisterSource { byte_order, scale, ..RegisterSource::new(request.table, request.address, kind) };
        let point = Point::new(Name::new("p").expect("a name"), Source::Register(source));
        decode(&point, answer.as_cells(), request.address);
        decode(&point, answer.as_cells(), request.address - 7);
        decode(&point, answer.as_cells(), request.address + 1);
    }
}
