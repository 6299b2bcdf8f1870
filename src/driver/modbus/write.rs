//! The write planner: values of points become as few requests as possible. Pure.
//!
//! It joins neighbours, never writes a register that nobody named, and never cuts a value in two: a meter must not see half of
//! a number. Bits that share a register with others are written alone, by mask.

use std::collections::BTreeMap;

use super::super::{Change, Unfit, WriteRequest};
use super::encode::step;
use super::{Cells, Encoded, Masked, decode_as, encode};
use crate::model::{Device, Point, RegisterSource, RegisterTable, Sample, Value};

/// The most registers of one request (Modbus Application Protocol 1.1b3 §6.12).
const MAX_REGISTERS: usize = 123;
/// The most coils of one request (§6.11).
const MAX_COILS: usize = 1968;
/// A request to this unit goes to all of them, and nobody answers (Modbus over Serial Line 1.02 §2.1).
const BROADCAST: u8 = 0;

/// The requests that write `values` (points as indices, each once), coils first, each table in the order of its addresses.
/// `factor` knows what a `scale_from` register of the device holds.
///
/// Errors when a point can't hold its value, lies in a table that is only read, or shares bits with another one of them, and for
/// unit 0.
pub fn plan(
    device: &Device,
    values: &[(usize, Value)],
    factor: impl Fn(&Point) -> Option<i16>,
) -> Result<Vec<WriteRequest>, Unfit> {
    let mut parts = Vec::new();
    let mut owners: BTreeMap<(RegisterTable, u16), Vec<(u16, usize)>> = BTreeMap::new();
    for (index, value) in values {
        let point = &device.points[*index];
        let unfit = |why: String| Unfit { point: *index, why };
        let part = Part::new(device, *index, value, factor(point)).map_err(unfit)?;
        for (address, mask) in part.cells() {
            let others = owners.entry((part.table, address)).or_default();
            if let Some((_, other)) = others.iter().find(|(taken, _)| taken & mask != 0) {
                return Err(unfit(format!(
                    "`{}` and `{}` share {} {address}; send them in two commands, in the order that is meant",
                    device.points[*other].name,
                    point.name,
                    part.table.as_str()
                )));
            }
            others.push((mask, *index));
        }
        parts.push(part);
    }
    parts.sort_by_key(|part| (part.table, part.address));
    let limit = MAX_REGISTERS.min(usize::from(device.max_registers.max(1)));
    Ok(join(parts, limit))
}

/// What one value does to its cells.
struct Part {
    table: RegisterTable,
    address: u16,
    what: Encoded,
    point: usize,
    reads_as: Value,
}

impl Part {
    fn new(device: &Device, index: usize, value: &Value, factor: Option<i16>) -> Result<Part, String> {
        let point = &device.points[index];
        if device.unit_id == BROADCAST {
            return Err(
                "unit 0 is a broadcast to all units, which is never written to; a device without units behind it \
                        takes `unit_id: 1` or 255"
                    .into(),
            );
        }
        let what = encode(point, value, factor).map_err(|error| error.to_string())?;
        let register = point.register().ok_or("this point has no registers")?;
        if matches!(register.table, RegisterTable::Discrete | RegisterTable::Input) {
            return Err(format!("{} can't be written: it is only read", register.table.as_str()));
        }
        let reads_as = reads_as(point, &what, value, factor);
        Ok(Part { table: register.table, address: register.address, what, point: index, reads_as })
    }

    /// Addresses and the bits that it takes there.
    fn cells(&self) -> Vec<(u16, u16)> {
        match &self.what {
            Encoded::Bit(_) => vec![(self.address, u16::MAX)],
            // `address + width` never passes 65,536.
            Encoded::Registers(registers) => {
                registers.iter().zip(self.address..=u16::MAX).map(|(masked, at)| (at, masked.mask)).collect()
            }
        }
    }
}

/// What the point will be read as: a number for a floating-point type is rounded by its registers.
fn reads_as(point: &Point, what: &Encoded, value: &Value, factor: Option<i16>) -> Value {
    let Some(register) = point.register() else { return value.clone() };
    let (Encoded::Registers(registers), true) = (what, register.kind.is_float()) else { return value.clone() };
    let cells: Vec<u16> = registers.iter().map(|masked| masked.value).collect();
    // The factor as a scale: its register is in no answer here.
    let scale = if register.scale_from.is_some() { step(register, factor).ok() } else { register.scale.clone() };
    let register = RegisterSource { scale, scale_from: None, ..register.clone() };
    match decode_as(&register, point, Cells::Registers(&cells), register.address) {
        Sample::Good(rounded) => rounded,
        _ => value.clone(),
    }
}

/// Joins what lies side by side. `parts` are in the order of their places.
fn join(parts: Vec<Part>, limit: usize) -> Vec<WriteRequest> {
    let mut requests: Vec<WriteRequest> = Vec::new();
    for part in parts {
        let Part { address, what, point, reads_as, .. } = part;
        match what {
            Encoded::Bit(bit) => match requests.last_mut() {
                Some(WriteRequest { change: Change::Coils { address: first, bits }, points })
                    if end(*first, bits.len()) == u32::from(address) && bits.len() < MAX_COILS =>
                {
                    bits.push(bit);
                    points.push((point, reads_as));
                }
                _ => requests.push(WriteRequest {
                    change: Change::Coils { address, bits: vec![bit] },
                    points: vec![(point, reads_as)],
                }),
            },
            Encoded::Registers(registers) if registers.iter().all(|masked| masked.mask == u16::MAX) => {
                let whole = registers.iter().map(|masked| masked.value);
                add_registers(&mut requests, limit, address, whole.collect(), (point, reads_as));
            }
            Encoded::Registers(registers) => {
                for (masked, at) in registers.into_iter().zip(address..=u16::MAX) {
                    add_bits(&mut requests, at, masked, (point, reads_as.clone()));
                }
            }
        }
    }
    for request in &mut requests {
        // Its two halves were written: nothing else is in it.
        if let Change::Bits { address, value, mask: u16::MAX } = request.change {
            request.change = Change::Registers { address, values: vec![value] };
        }
    }
    requests
}

fn add_registers(requests: &mut Vec<WriteRequest>, limit: usize, address: u16, more: Vec<u16>, point: (usize, Value)) {
    if let Some(WriteRequest { change: Change::Registers { address: first, values }, points }) = requests.last_mut()
        && end(*first, values.len()) == u32::from(address)
        && values.len() + more.len() <= limit
    {
        values.extend(more);
        points.push(point);
        return;
    }
    requests.push(WriteRequest { change: Change::Registers { address, values: more }, points: vec![point] });
}

fn add_bits(requests: &mut Vec<WriteRequest>, at: u16, masked: Masked, point: (usize, Value)) {
    if masked.mask == 0 {
        return;
    }
    let same = requests.iter_mut().rev().find_map(|request| match &mut request.change {
        Change::Bits { address, value, mask } if *address == at => Some((value, mask, &mut request.points)),
        _ => None,
    });
    match same {
        Some((value, mask, points)) => {
            *value |= masked.value;
            *mask |= masked.mask;
            points.push(point);
        }
        None => requests.push(WriteRequest {
            change: Change::Bits { address: at, value: masked.value, mask: masked.mask },
            points: vec![point],
        }),
    }
}

/// The address after the last cell: up to 65,536, so not a `u16`.
fn end(address: u16, count: usize) -> u32 {
    u32::from(address) + u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{BitNames, Bits, Half, Name, Naming, PointType, Publish, Source};

    fn point(table: RegisterTable, address: u16, kind: PointType) -> Point {
        let name = Name::new(&format!("{}{address}", table.as_str())).unwrap();
        Point::new(name, Source::Register(RegisterSource::new(table, address, kind)))
    }

    fn holding(address: u16, kind: PointType) -> Point {
        point(RegisterTable::Holding, address, kind)
    }

    fn device(unit_id: u8, points: Vec<Point>) -> Device {
        let name = |text| Name::new(text).unwrap();
        let (quirks, publish) = (crate::model::Quirks::default(), Publish::default());
        Device { name: name("plc"), bus: name("bus"), unit_id, max_registers: 125, quirks, publish, points }
    }

    fn planned(points: Vec<Point>, values: &[(usize, Value)]) -> Result<Vec<(Change, Vec<usize>)>, String> {
        let requests = plan(&device(1, points), values, |_| None).map_err(|unfit| unfit.why)?;
        let points = |request: &WriteRequest| request.points.iter().map(|(point, _)| *point).collect();
        Ok(requests.into_iter().map(|request| (request.change.clone(), points(&request))).collect())
    }

    fn registers(address: u16, values: &[u16]) -> Change {
        Change::Registers { address, values: values.to_vec() }
    }

    const WHOLE: fn(i128) -> Value = Value::Integer;

    #[test]
    fn neighbours_are_written_together_and_what_lies_between_others_is_left_alone() {
        let points = vec![
            holding(12, PointType::U16),
            holding(10, PointType::U32),
            holding(20, PointType::U16),
            point(RegisterTable::Coil, 5, PointType::Bool),
            point(RegisterTable::Coil, 4, PointType::Bool),
        ];
        let values =
            [(0, WHOLE(7)), (1, WHOLE(0x0001_0002)), (2, WHOLE(9)), (3, Value::Bool(true)), (4, Value::Bool(false))];
        let coils = Change::Coils { address: 4, bits: vec![false, true] };
        let expected =
            vec![(coils, vec![4, 3]), (registers(10, &[1, 2, 7]), vec![1, 0]), (registers(20, &[9]), vec![2])];
        assert_eq!(planned(points, &values), Ok(expected));
    }

    #[test]
    fn a_value_is_never_cut_in_two_by_the_size_of_a_request() {
        let points: Vec<Point> = (0..40).map(|n| holding(n * 4, PointType::U64)).collect();
        let values: Vec<_> = (0..40).map(|n| (n, WHOLE(n as i128))).collect();
        let counts: Vec<usize> = planned(points, &values)
            .unwrap()
            .iter()
            .map(|(change, _)| match change {
                Change::Registers { values, .. } => values.len(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(counts, [120, 40]);
    }

    #[test]
    fn bits_of_one_register_are_written_by_one_mask_and_the_others_are_left_alone() {
        let names = BitNames::new([(0, "low".into()), (5, "heat".into()), (9, "fan".into())]);
        let bits = Point { naming: Some(Naming::Bits(Arc::new(names))), ..holding(12, PointType::U16) };
        let some = BitNames::new([(0, "low".into()), (5, "heat".into())]);
        let points = vec![
            bits,
            holding(12, PointType::Bit(15)),
            holding(13, PointType::U8(Half::High)),
            holding(14, PointType::U16),
        ];
        let values = [
            (0, Value::Bits(Bits::new(Arc::new(some), 0b10_0000))),
            (1, Value::Bool(true)),
            (2, WHOLE(0xAB)),
            (3, WHOLE(1)),
        ];
        let mask = |address, value, mask| Change::Bits { address, value, mask };
        let expected = vec![
            (mask(12, 0x8020, 0x8021), vec![0, 1]),
            (mask(13, 0xAB00, 0xFF00), vec![2]),
            (registers(14, &[1]), vec![3]),
        ];
        assert_eq!(planned(points, &values), Ok(expected));
    }

    #[test]
    fn what_can_not_be_written_says_why() {
        let shared = vec![holding(7, PointType::U16), holding(6, PointType::U32)];
        let why = planned(shared, &[(0, WHOLE(1)), (1, WHOLE(1))]).unwrap_err();
        assert!(why.starts_with("`holding7` and `holding6` share holding 7;"), "{why}");
        let why = planned(vec![point(RegisterTable::Input, 0, PointType::U16)], &[(0, WHOLE(1))]).unwrap_err();
        assert_eq!(why, "input can't be written: it is only read");
        let why = planned(vec![holding(0, PointType::U16)], &[(0, WHOLE(70_000))]).unwrap_err();
        assert!(why.contains("70000 does not fit"), "{why}");
        let broadcast = plan(&device(0, vec![holding(0, PointType::U16)]), &[(0, WHOLE(1))], |_| None);
        assert!(broadcast.unwrap_err().why.starts_with("unit 0 is a broadcast"));
    }

    #[test]
    fn a_number_is_expected_back_as_its_floating_point_type_holds_it() {
        let wanted: Value = Value::Decimal("0.30000000000000004".parse().unwrap());
        let requests = plan(&device(1, vec![holding(0, PointType::F32)]), &[(0, wanted)], |_| None).unwrap();
        assert_eq!(requests[0].points, [(0, Value::Float(0.3))]);
        // Also where a register holds its scale.
        let mut power = holding(0, PointType::F32);
        let Source::Register(register) = &mut power.source else { unreachable!("a register") };
        register.scale_from = Some(2);
        let wanted = Value::Decimal("0.123456789".parse().unwrap());
        let requests = plan(&device(1, vec![power]), &[(0, wanted)], |_| Some(-2)).unwrap();
        let shown = Value::Decimal("0.12345679".parse().unwrap());
        assert!(requests[0].points[0].1.is_shown_by(&shown), "{:?}", requests[0].points);
    }
}
