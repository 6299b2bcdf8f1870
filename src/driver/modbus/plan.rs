//! The request planner: which points are read together. Pure.
//!
//! It merges neighbours, reads through gaps where that is cheaper than another request, never asks for more than the
//! device can answer, and never cuts a value of two registers. What a device has refused is split by [`split`].

use std::time::Duration;

use super::super::Request;
use crate::model::{MaxGap, Point, RegisterTable, SerialLine};

/// The most registers of one answer (Modbus Application Protocol 1.1b3 §6.3).
const MAX_REGISTERS: u16 = 125;
/// The most bits of one answer (§6.1).
const MAX_BITS: u16 = 2000;
/// Address (or unit) to checksum of a request, and of an answer without its data, in characters (serial line guide §2.5.1).
const REQUEST_AND_EMPTY_ANSWER: u32 = 8 + 5;
/// How long devices usually think before they answer. Too small a guess costs line time, too large reads more ballast.
const TURNAROUND: Duration = Duration::from_millis(5);
/// Over TCP a register is two bytes of a packet that is sent anyway; a request is a round trip.
const TCP_GAP: u16 = 32;

/// How many unwanted cells are read through rather than start another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gaps {
    registers: u16,
    bits: u16,
}

impl Gaps {
    /// On a serial line: as far as the cells take less line time than another request and its answer.
    pub fn on_serial(max_gap: MaxGap, line: &SerialLine) -> Gaps {
        let character = character_time(line);
        let overhead = character * REQUEST_AND_EMPTY_ANSWER + silence(line) * 2 + TURNAROUND;
        let characters = u16::try_from(overhead.as_nanos() / character.as_nanos().max(1)).unwrap_or(u16::MAX);
        // A register is two characters, eight bits are one.
        Gaps::of(max_gap, Gaps { registers: characters / 2, bits: characters.saturating_mul(8) })
    }

    /// Over TCP: a modest constant.
    pub fn on_tcp(max_gap: MaxGap) -> Gaps {
        Gaps::of(max_gap, Gaps { registers: TCP_GAP, bits: TCP_GAP * 16 })
    }

    const NONE: Gaps = Gaps { registers: 0, bits: 0 };

    fn of(max_gap: MaxGap, auto: Gaps) -> Gaps {
        match max_gap {
            MaxGap::Auto => auto,
            MaxGap::Registers(cells) => Gaps { registers: cells, bits: cells },
        }
    }
}

/// The time that one character takes on the line.
pub fn character_time(line: &SerialLine) -> Duration {
    line.character_time()
}

/// The silence that separates two frames: 3.5 characters, and 1.75 ms above 19200 baud (serial line guide §2.5.1.1).
pub fn silence(line: &SerialLine) -> Duration {
    if line.baud > 19_200 { Duration::from_micros(1750) } else { character_time(line) * 7 / 2 }
}

/// The cells that have to be in one answer for a point: its own, and its scale factor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    table: RegisterTable,
    address: u16,
    /// The address after the last cell: up to 65,536, so not a `u16`.
    end: u32,
}

impl Place {
    /// `None` for what is no register; the configuration puts none on a Modbus bus.
    fn of(point: &Point) -> Option<Place> {
        let register = point.register()?;
        let factor = register.scale_from.unwrap_or(register.address);
        let end = u32::from(register.address) + u32::from(register.width());
        let own = Place { table: register.table, address: register.address, end };
        let both = Place { address: own.address.min(factor), end: end.max(u32::from(factor) + 1), ..own };
        // No answer holds more; without its factor the point is bad. The configuration refuses such a distance.
        let is_near = both.end - u32::from(both.address) <= u32::from(MAX_REGISTERS);
        Some(if is_near { both } else { own })
    }

    fn request(self, index: usize) -> Request {
        Request { table: self.table, address: self.address, count: span(self.address, self.end), points: vec![index] }
    }
}

/// The requests that read `wanted` (indices into `points`).
///
/// Points may repeat and overlap. Every wanted index is in exactly one request, as often as it was wanted. A point wider
/// than `max_registers` gets a request of its own width.
pub fn plan(points: &[Point], wanted: &[usize], max_registers: u16, gaps: Gaps) -> Vec<Request> {
    let max_registers = max_registers.clamp(1, MAX_REGISTERS);
    let mut requests: Vec<Request> = Vec::new();
    for (place, index) in places(points, wanted) {
        let (limit, gap) = match place.table.is_bits() {
            true => ((max_registers * 16).min(MAX_BITS), gaps.bits),
            false => (max_registers, gaps.registers),
        };
        match requests.last_mut().filter(|request| request.table == place.table) {
            Some(request) if joins(request, place, limit, gap) => add(request, place, index),
            _ => requests.push(place.request(index)),
        }
    }
    requests
}

/// The same points in smaller requests, for a request that was refused: bridged gaps are given up first, then the points
/// are halved. Empty when all of its points are the same cells.
pub fn split(points: &[Point], request: &Request) -> Vec<Request> {
    let runs = plan(points, &request.points, MAX_REGISTERS, Gaps::NONE);
    if runs.len() > 1 {
        return runs;
    }
    let mut sorted = places(points, &request.points);
    sorted.sort_by_key(|(place, _)| *place);
    let mut distinct: Vec<Place> = sorted.iter().map(|(place, _)| *place).collect();
    distinct.dedup();
    if distinct.len() < 2 {
        return Vec::new();
    }
    let middle = distinct[distinct.len() / 2];
    let at = sorted.partition_point(|(place, _)| *place < middle);
    let (low, high) = sorted.split_at(at);
    [low, high].into_iter().map(hull).collect()
}

/// By address, the widest first. Stable, so that points of the same place stay in the order of the file.
fn places(points: &[Point], wanted: &[usize]) -> Vec<(Place, usize)> {
    let mut places: Vec<(Place, usize)> =
        wanted.iter().filter_map(|&index| Some((Place::of(&points[index])?, index))).collect();
    places.sort_by_key(|(place, _)| (place.table, place.address, std::cmp::Reverse(place.end)));
    places
}

fn joins(request: &Request, place: Place, limit: u16, gap: u16) -> bool {
    let (from, to) = (end(request), u32::from(place.address));
    let end = from.max(place.end);
    to <= from + u32::from(gap) && end - u32::from(request.address) <= u32::from(limit)
}

fn add(request: &mut Request, place: Place, index: usize) {
    request.count = span(request.address, end(request).max(place.end));
    request.points.push(index);
}

fn hull(places: &[(Place, usize)]) -> Request {
    let (first, index) = places[0];
    let mut request = first.request(index);
    places[1..].iter().for_each(|(place, index)| add(&mut request, *place, *index));
    request
}

fn end(request: &Request) -> u32 {
    u32::from(request.address) + u32::from(request.count)
}

fn span(address: u16, end: u32) -> u16 {
    u16::try_from(end - u32::from(address))
        .expect("a place never covers a whole table, and a request is kept within its limit")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::decode::tests::point;
    use super::super::decode::{Cells, decode};
    use super::*;
    use crate::model::{ByteOrder, PointType};

    fn single(point: &Point, index: usize) -> Request {
        Place::of(point).unwrap().request(index)
    }

    fn u16s(addresses: &[u16]) -> Vec<Point> {
        addresses.iter().map(|&at| point(RegisterTable::Holding, at, PointType::U16, ByteOrder::Abcd)).collect()
    }

    fn spans(requests: &[Request]) -> Vec<(u16, u16)> {
        requests.iter().map(|request| (request.address, request.count)).collect()
    }

    fn all(points: &[Point]) -> Vec<usize> {
        (0..points.len()).collect()
    }

    fn gaps(registers: u16) -> Gaps {
        Gaps { registers, bits: registers }
    }

    fn line(baud: u32) -> SerialLine {
        SerialLine::new("/dev/null", baud)
    }

    #[test]
    fn neighbours_are_read_together_and_far_points_apart() {
        let points = u16s(&[5, 3, 4, 100, 20]);
        assert_eq!(spans(&plan(&points, &all(&points), 125, gaps(0))), [(3, 3), (20, 1), (100, 1)]);
        assert_eq!(spans(&plan(&points, &all(&points), 125, gaps(14))), [(3, 18), (100, 1)]);
    }

    #[test]
    fn a_value_of_two_registers_is_never_cut() {
        let points: Vec<Point> =
            (0..100).map(|n| point(RegisterTable::Input, n * 2, PointType::F32, ByteOrder::Abcd)).collect();
        assert_eq!(spans(&plan(&points, &all(&points), 125, gaps(0))), [(0, 124), (124, 76)]);
        assert_eq!(spans(&plan(&points[..1], &[0], 1, gaps(0))), [(0, 2)]);
    }

    #[test]
    fn the_first_and_the_last_address_are_reached_and_nothing_wraps() {
        let points = vec![
            point(RegisterTable::Holding, 65_535, PointType::U16, ByteOrder::Abcd),
            point(RegisterTable::Holding, 65_533, PointType::U32, ByteOrder::Abcd),
            point(RegisterTable::Holding, 0, PointType::U16, ByteOrder::Abcd),
            point(RegisterTable::Coil, 65_535, PointType::Bool, ByteOrder::Abcd),
        ];
        let requests = plan(&points, &all(&points), 125, gaps(2000));
        assert_eq!(spans(&requests), [(65_535, 1), (0, 1), (65_533, 3)]);
    }

    #[test]
    fn gaps_are_bridged_as_far_as_line_time_says() {
        // 13 characters, two silences of 3.5 and 5 ms of 0.57 ms characters are 28 characters: 14 registers.
        assert_eq!(Gaps::on_serial(MaxGap::Auto, &line(19_200)), Gaps { registers: 14, bits: 28 * 8 });
        // At 115200 baud the fixed times weigh more.
        assert_eq!(Gaps::on_serial(MaxGap::Auto, &line(115_200)), Gaps { registers: 51, bits: 102 * 8 });
        assert_eq!(Gaps::on_serial(MaxGap::Registers(3), &line(9600)), Gaps { registers: 3, bits: 3 });
    }

    #[test]
    fn a_refused_request_gives_up_its_gaps_first_and_is_halved_then() {
        let points = u16s(&[0, 1, 2, 3, 10, 11]);
        let [whole] = &plan(&points, &all(&points), 125, gaps(20))[..] else { panic!("one request") };
        let runs = split(&points, whole);
        assert_eq!(spans(&runs), [(0, 4), (10, 2)]);
        assert_eq!(spans(&split(&points, &runs[0])), [(0, 2), (2, 2)]);
        assert_eq!(spans(&split(&points, &split(&points, &runs[0])[0])), [(0, 1), (1, 1)]);
        assert_eq!(split(&points, &split(&points, &runs[1])[0]), []);
    }

    #[test]
    fn points_of_the_same_cells_are_refused_together() {
        let points = u16s(&[7, 7]);
        let requests = plan(&points, &all(&points), 125, gaps(0));
        assert_eq!(spans(&requests), [(7, 1)]);
        assert_eq!(split(&points, &requests[0]), []);
    }

    /// A device's memory: any value can be told from its address.
    fn register(table: RegisterTable, address: u32) -> u16 {
        (address as u16).wrapping_mul(40_503) ^ (table as u16) << 7
    }

    fn read(points: &[Point], requests: &[Request]) -> BTreeMap<usize, String> {
        let mut samples = BTreeMap::new();
        for request in requests {
            let addresses = u32::from(request.address)..end(request);
            let registers: Vec<u16> = addresses.map(|at| register(request.table, at)).collect();
            let bits: Vec<bool> = registers.iter().map(|value| value & 16 != 0).collect();
            let cells = if request.table.is_bits() { Cells::Bits(&bits) } else { Cells::Registers(&registers) };
            for &index in &request.points {
                let sample = format!("{:?}", decode(&points[index], cells, request.address));
                assert!(samples.insert(index, sample).is_none(), "point {index} is in two requests");
            }
        }
        samples
    }

    fn any_points() -> impl Strategy<Value = Vec<Point>> {
        let table = prop::sample::select(
            &[RegisterTable::Coil, RegisterTable::Discrete, RegisterTable::Input, RegisterTable::Holding][..],
        );
        let kind = prop::sample::select(&[PointType::U16, PointType::I32, PointType::F32, PointType::Bool][..]);
        let order = prop::sample::select(&[ByteOrder::Abcd, ByteOrder::Dcba][..]);
        // Crowded places, the edges among them, so that points meet, overlap and leave small gaps.
        let address = prop_oneof![0u16..60, 65_300u16..=65_535, any::<u16>()];
        let one = (table, kind, order, address).prop_map(|(table, kind, order, address)| {
            let kind = if table.is_bits() { PointType::Bool } else { kind };
            point(table, address.min(u16::MAX - (kind.width() - 1)), kind, order)
        });
        prop::collection::vec(one, 0..80)
    }

    proptest! {
        #[test]
        fn a_coalesced_plan_reads_what_single_requests_would(
            points in any_points(), max in 1u16..=125, gap in 0u16..200,
        ) {
            let requests = plan(&points, &all(&points), max, gaps(gap));
            let singles: Vec<Request> = points.iter().enumerate().map(|(i, p)| single(p, i)).collect();
            prop_assert_eq!(read(&points, &requests), read(&points, &singles));
            for request in &requests {
                let limit = if request.table.is_bits() { (max * 16).min(2000) } else { max.max(2) };
                prop_assert!(request.count >= 1 && request.count <= limit, "{request:?}");
                prop_assert!(end(request) <= 65_536, "{request:?}");
                prop_assert!(!request.points.is_empty());
            }
        }

        #[test]
        fn splitting_to_the_end_reads_the_same_and_leaves_only_single_places(points in any_points()) {
            let mut left = plan(&points, &all(&points), 125, gaps(100));
            let mut done = Vec::new();
            while let Some(request) = left.pop() {
                let parts = split(&points, &request);
                prop_assert!(parts.iter().all(|part| part.points.len() < request.points.len()));
                if parts.is_empty() { done.push(request) } else { left.extend(parts) }
            }
            let singles: Vec<Request> = points.iter().enumerate().map(|(i, p)| single(p, i)).collect();
            prop_assert_eq!(read(&points, &done), read(&points, &singles));
            prop_assert!(done.iter().all(|request| request.count == points[request.points[0]].register().unwrap().width()));
        }
    }
}
