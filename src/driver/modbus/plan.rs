//! The request planner: which points are read together. Pure.
//!
//! Of all ways to merge neighbours and to read through gaps it takes the one that costs the line least ([`Costs`]). It never
//! asks for more than the device can answer, and never cuts a value of several registers, or parts it from its scale factor.
//! What a device has refused is split by [`split`].

use super::super::Request;
use super::cost::Costs;
use crate::model::{Device, Point, RegisterTable};

/// The most registers of one answer (Modbus Application Protocol 1.1b3 §6.3).
const MAX_REGISTERS: u16 = 125;
/// The most bits of one answer (§6.1).
const MAX_BITS: u16 = 2000;

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

    fn request(self, points: Vec<usize>) -> Request {
        Request { table: self.table, address: self.address, count: span(self.address, self.end), points }
    }
}

/// Cells that are read together or not at all, and the points in them.
#[derive(Debug)]
struct Run {
    place: Place,
    points: Vec<usize>,
}

/// The requests that read `wanted` (indices into the device's points).
///
/// Points may repeat and overlap. Every wanted index is in exactly one request, as often as it was wanted. A point wider
/// than `max_registers` gets a request of its own width.
pub fn plan(device: &Device, wanted: &[usize], costs: &Costs) -> Vec<Request> {
    let runs = runs(&device.points, wanted);
    if device.quirks.single_requests {
        let singles = runs.iter().flat_map(|run| run.points.iter().map(|&index| run.place.request(vec![index])));
        return singles.collect();
    }
    runs.chunk_by(|one, next| one.place.table == next.place.table)
        .flat_map(|table| merged(table, device.max_registers, costs))
        .collect()
}

/// The cheapest requests that read these runs, all of one table and in the order of their addresses.
fn merged(runs: &[Run], max_registers: u16, costs: &Costs) -> Vec<Request> {
    let max_registers = max_registers.clamp(1, MAX_REGISTERS);
    let is_bits = runs.first().is_some_and(|run| run.place.table.is_bits());
    let limit = u32::from(if is_bits { (max_registers * 16).min(MAX_BITS) } else { max_registers });
    // For each number of runs from the first on: what reading them costs at best, and where the last request of that begins.
    let mut best = vec![(u64::MAX, 0); runs.len() + 1];
    best[0].0 = 0;
    for (first, run) in runs.iter().enumerate() {
        let before = best[first].0;
        let mut end = run.place.end;
        for (last, next) in runs.iter().enumerate().skip(first) {
            let gap = u32::from(next.place.address).saturating_sub(end);
            end = end.max(next.place.end);
            let cells = end - u32::from(run.place.address);
            if last > first && (cells > limit || gap > costs.max_gap()) {
                break;
            }
            let cost = before + costs.request(is_bits, cells);
            if cost <= best[last + 1].0 {
                best[last + 1] = (cost, first);
            }
        }
    }
    let mut requests = Vec::new();
    let mut end = runs.len();
    while end > 0 {
        let first = best[end].1;
        requests.push(hull(&runs[first..end]));
        end = first;
    }
    requests.reverse();
    requests
}

/// The same points in two smaller requests, for a request that was refused: apart at its widest gap, or halved when it has none.
/// Empty when all of its points are the same cells.
pub fn split(points: &[Point], request: &Request) -> Vec<Request> {
    let runs = runs(points, &request.points);
    if runs.len() < 2 {
        return Vec::new();
    }
    let mut end = 0;
    let gaps = runs.iter().map(|run| {
        let gap = u32::from(run.place.address).saturating_sub(end);
        end = end.max(run.place.end);
        gap
    });
    // What is before the first run is no gap.
    let widest = gaps.enumerate().skip(1).max_by_key(|(at, gap)| (*gap, std::cmp::Reverse(*at)));
    let at = widest.filter(|(_, gap)| *gap > 0).map_or(runs.len() / 2, |(at, _)| at);
    vec![hull(&runs[..at]), hull(&runs[at..])]
}

/// By address, the widest first. Points of the same place stay in the order of the file.
fn runs(points: &[Point], wanted: &[usize]) -> Vec<Run> {
    let mut places: Vec<(Place, usize)> =
        wanted.iter().filter_map(|&index| Some((Place::of(&points[index])?, index))).collect();
    places.sort_by_key(|(place, _)| (place.table, place.address, std::cmp::Reverse(place.end)));
    let same = places.chunk_by(|(one, _), (other, _)| one == other);
    same.map(|same| Run { place: same[0].0, points: same.iter().map(|(_, index)| *index).collect() }).collect()
}

/// One request for all of these.
fn hull(runs: &[Run]) -> Request {
    let (first, end) = (runs[0].place, runs.iter().map(|run| run.place.end).max());
    let whole = Place { end: end.unwrap_or(first.end), ..first };
    whole.request(runs.iter().flat_map(|run| run.points.iter().copied()).collect())
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
    use crate::model::{ByteOrder, MaxGap, Name, PointType, Publish, Quirks, SerialLine, Source};

    fn single(point: &Point, index: usize) -> Request {
        Place::of(point).unwrap().request(vec![index])
    }

    /// The plan for all of these points on a line where so large gaps are read through.
    fn plan_gaps(points: &[Point], max_registers: u16, gap: u16) -> Vec<Request> {
        plan_costs(points, max_registers, &Costs::on_tcp(MaxGap::Registers(gap)))
    }

    fn plan_costs(points: &[Point], max_registers: u16, costs: &Costs) -> Vec<Request> {
        let device = Device {
            name: Name::new("d").unwrap(),
            bus: Name::new("b").unwrap(),
            unit_id: 1,
            max_registers,
            quirks: Quirks::default(),
            publish: Publish::default(),
            points: points.to_vec(),
        };
        plan(&device, &(0..points.len()).collect::<Vec<_>>(), costs)
    }

    fn u16s(addresses: &[u16]) -> Vec<Point> {
        addresses.iter().map(|&at| point(RegisterTable::Holding, at, PointType::U16, ByteOrder::Abcd)).collect()
    }

    fn spans(requests: &[Request]) -> Vec<(u16, u16)> {
        requests.iter().map(|request| (request.address, request.count)).collect()
    }

    #[test]
    fn neighbours_are_read_together_and_far_points_apart() {
        let points = u16s(&[5, 3, 4, 100, 20]);
        assert_eq!(spans(&plan_gaps(&points, 125, 0)), [(3, 3), (20, 1), (100, 1)]);
        assert_eq!(spans(&plan_gaps(&points, 125, 14)), [(3, 18), (100, 1)]);
    }

    #[test]
    fn a_value_of_two_registers_is_never_cut() {
        let points: Vec<Point> =
            (0..100).map(|n| point(RegisterTable::Input, n * 2, PointType::F32, ByteOrder::Abcd)).collect();
        assert_eq!(spans(&plan_gaps(&points, 125, 0)), [(0, 124), (124, 76)]);
        assert_eq!(spans(&plan_gaps(&points[..1], 1, 0)), [(0, 2)]);
    }

    #[test]
    fn the_first_and_the_last_address_are_reached_and_nothing_wraps() {
        let points = vec![
            point(RegisterTable::Holding, 65_535, PointType::U16, ByteOrder::Abcd),
            point(RegisterTable::Holding, 65_533, PointType::U32, ByteOrder::Abcd),
            point(RegisterTable::Holding, 0, PointType::U16, ByteOrder::Abcd),
            point(RegisterTable::Coil, 65_535, PointType::Bool, ByteOrder::Abcd),
        ];
        let requests = plan_gaps(&points, 125, 2000);
        assert_eq!(spans(&requests), [(65_535, 1), (0, 1), (65_533, 3)]);
    }

    #[test]
    fn gaps_are_bridged_as_far_as_line_time_says() {
        // 13 characters, two silences of 3.5 and 5 ms of 0.57 ms characters are 28.7 characters: 14 registers.
        let costs = Costs::on_serial(MaxGap::Auto, &SerialLine::new("/dev/null", 19_200), 1);
        assert_eq!(spans(&plan_costs(&u16s(&[0, 15]), 125, &costs)), [(0, 16)]);
        assert_eq!(spans(&plan_costs(&u16s(&[0, 16]), 125, &costs)), [(0, 1), (16, 1)]);
        // At 115200 baud the fixed times weigh more.
        let costs = Costs::on_serial(MaxGap::Auto, &SerialLine::new("/dev/null", 115_200), 1);
        assert_eq!(spans(&plan_costs(&u16s(&[0, 52, 105]), 125, &costs)), [(0, 53), (105, 1)]);
        // Over TCP whatever fits into an answer.
        assert_eq!(spans(&plan_costs(&u16s(&[0, 124]), 125, &Costs::on_tcp(MaxGap::Auto))), [(0, 125)]);
        assert_eq!(spans(&plan_costs(&u16s(&[0, 124, 126]), 125, &Costs::on_tcp(MaxGap::Auto))), [(0, 1), (124, 3)]);
    }

    #[test]
    fn a_gap_is_not_read_through_when_that_saves_no_request() {
        // One request would be too long, so two are needed anyway: the gap is best left out.
        let addresses: Vec<u16> = (0..100).chain(110..220).collect();
        let costs = Costs::on_serial(MaxGap::Auto, &SerialLine::new("/dev/null", 19_200), 1);
        assert_eq!(spans(&plan_costs(&u16s(&addresses), 125, &costs)), [(0, 100), (110, 110)]);
    }

    #[test]
    fn a_device_of_single_requests_gets_one_a_point() {
        let device = Device {
            name: Name::new("d").unwrap(),
            bus: Name::new("b").unwrap(),
            unit_id: 1,
            max_registers: 125,
            quirks: Quirks { single_requests: true, ..Quirks::default() },
            publish: Publish::default(),
            points: u16s(&[1, 0, 1]),
        };
        let requests = plan(&device, &[0, 1, 2], &Costs::on_tcp(MaxGap::Auto));
        assert_eq!(spans(&requests), [(0, 1), (1, 1), (1, 1)]);
        assert!(requests.iter().all(|request| request.points.len() == 1));
    }

    #[test]
    fn a_point_is_never_parted_from_its_scale_factor() {
        let mut points = u16s(&[0, 10, 20, 30]);
        let Source::Register(register) = &mut points[1].source else { unreachable!("a register") };
        register.scale_from = Some(22);
        assert_eq!(spans(&plan_gaps(&points, 125, 0)), [(0, 1), (10, 13), (30, 1)]);
        assert_eq!(spans(&split(&points, &plan_gaps(&points, 125, 125)[0])), [(0, 1), (10, 21)]);
    }

    #[test]
    fn a_refused_request_is_parted_at_its_widest_gap_and_halved_when_it_has_none() {
        let points = u16s(&[0, 1, 2, 3, 10, 11, 30]);
        let [whole] = &plan_gaps(&points, 125, 20)[..] else { panic!("one request") };
        let parts = split(&points, whole);
        assert_eq!(spans(&parts), [(0, 12), (30, 1)]);
        let parts = split(&points, &parts[0]);
        assert_eq!(spans(&parts), [(0, 4), (10, 2)]);
        assert_eq!(spans(&split(&points, &parts[0])), [(0, 2), (2, 2)]);
        assert_eq!(spans(&split(&points, &split(&points, &parts[0])[0])), [(0, 1), (1, 1)]);
        assert_eq!(split(&points, &split(&points, &parts[1])[0]), []);
    }

    #[test]
    fn points_of_the_same_cells_are_refused_together() {
        let points = u16s(&[7, 7]);
        let requests = plan_gaps(&points, 125, 0);
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
            let addresses = u32::from(request.address)..u32::from(request.address) + u32::from(request.count);
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
            let requests = plan_gaps(&points, max, gap);
            let singles: Vec<Request> = points.iter().enumerate().map(|(i, p)| single(p, i)).collect();
            prop_assert_eq!(read(&points, &requests), read(&points, &singles));
            for request in &requests {
                let limit = if request.table.is_bits() { (max * 16).min(2000) } else { max.max(2) };
                prop_assert!(request.count >= 1 && request.count <= limit, "{request:?}");
                prop_assert!(u32::from(request.address) + u32::from(request.count) <= 65_536, "{request:?}");
                prop_assert!(!request.points.is_empty());
            }
        }

        #[test]
        fn splitting_to_the_end_reads_the_same_and_leaves_only_single_places(points in any_points()) {
            let mut left = plan_gaps(&points, 125, 100);
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
