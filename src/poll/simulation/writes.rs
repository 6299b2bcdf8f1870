//! Orders among polls.

use super::*;
use crate::model::{NotSent, WriteEnd, Written};

/// When each request went out, in short: `w` writes, `r` reads of that device.
fn sent_after(bus: &Simulation, from: u64) -> Vec<(u64, String)> {
    let reads = bus.requests.iter().map(|(at, name, _)| (*at, format!("r {name}")));
    let writes = bus.writes.iter().map(|(at, name)| (*at, format!("w {name}")));
    let mut all: Vec<_> = reads.chain(writes).filter(|(at, _)| *at >= from).collect();
    all.sort();
    all
}

fn ends(bus: &Simulation) -> Vec<(u64, WriteEnd, bool)> {
    let all = bus.reports.iter().flat_map(|(at, report)| report.written.iter().map(|one| (*at, one)));
    all.map(|(at, one)| (at, one.end.clone(), one.is_as_wanted)).collect()
}

#[test]
fn a_write_waits_for_the_request_on_the_wire_and_for_nothing_else() {
    // Five devices fill the line; each request takes 63 ms.
    let (devices, reply) = five("");
    let mut bus = Simulation::new("line1", &devices);
    bus.order(5_010, 1, &devices[4], 0, 0);
    bus.run(20_000, reply);
    let [(write_at, _)] = bus.writes[..] else { panic!("{:?}", bus.writes) };
    assert!(write_at < 5_010 + 63, "{write_at}");
    let sent = sent_after(&bus, write_at);
    assert_eq!(sent[1].1, "r u5", "read back at once");
    let [(at, WriteEnd::Acknowledged, true)] = ends(&bus)[..] else { panic!("{:?}", ends(&bus)) };
    assert!(at <= write_at + 10 + 63, "{at}");
    assert!(bus.rounds("u5").contains(&at), "what was written is published at once");
    for name in ["u1", "u2", "u3", "u4", "u5"] {
        assert!(longest_gap(&bus.rounds(name)) <= 1_000 + 80, "{name}: {}", longest_gap(&bus.rounds(name)));
    }
    assert_eq!(bus.status().devices.iter().map(|device| device.skipped).sum::<u64>(), 0);
}

#[test]
fn what_was_read_before_a_write_is_not_published_after_it() {
    let mut bus = Simulation::new("line1", &[device("a", &[(0, 1000), (500, 1000)])]);
    let devices = bus.devices();
    // Comes while the second request of the poll is on the wire: the first answer is there and not handed on yet.
    bus.run(1_500, |_, _, _| Reply::Good(100));
    let poll = bus.requests_to("a")[2];
    bus.order(poll + 250, 1, &devices[0], 0, 0);
    bus.run(5_000, |_, _, _| Reply::Good(200));
    let mut newest = Monotonic::default();
    for (_, event) in &bus.events {
        let Event::Round(round) = event else { continue };
        for reading in &round.readings {
            assert!(reading.stamp.monotonic >= newest, "an older reading comes after a newer one");
        }
        newest = round.readings.iter().map(|reading| reading.stamp.monotonic).max().unwrap();
    }
    assert_eq!(bus.reports.len(), 1);
}

#[test]
fn a_flood_of_orders_does_not_keep_the_bus_from_being_read() {
    let (devices, _) = five("");
    let mut bus = Simulation::new("line1", &devices);
    for n in 0..400 {
        bus.order(5_000, n, &devices[0], 0, 0);
    }
    bus.run(40_000, |_, _, _| Reply::Good(20));
    assert_eq!(bus.reports.len(), 400);
    // At 15 s their time is over: of those that wait, before the one is that is on the wire then.
    let tokens = |has_run_out: bool| {
        let is_out = |written: &Written| matches!(written.end, WriteEnd::NotSent(NotSent::TooLate));
        let reports = bus.reports.iter().filter(move |(_, report)| report.written.iter().any(is_out) == has_run_out);
        reports.map(|(_, report)| report.token).collect::<Vec<_>>()
    };
    let (carried_out, run_out) = (tokens(false), tokens(true));
    assert_eq!([carried_out, run_out].concat(), (0..400).collect::<Vec<_>>(), "in their order");
    for name in ["u2", "u3", "u4", "u5"] {
        assert!(longest_gap(&bus.rounds(name)) < 6_000, "{name}: {}", longest_gap(&bus.rounds(name)));
    }
}

#[test]
fn an_order_to_a_device_that_is_offline_fails_at_once() {
    let (devices, reply) = five("u3");
    let mut bus = Simulation::new("line1", &devices);
    bus.order(30_000, 1, &devices[2], 0, 0);
    bus.run(40_000, reply);
    assert!(bus.writes.is_empty());
    let [(at, WriteEnd::NotSent(NotSent::Offline(Fault::Timeout)), false)] = ends(&bus)[..] else {
        panic!("{:?}", ends(&bus))
    };
    assert!(at <= 30_100, "{at}");
}

#[test]
fn orders_to_a_device_that_has_just_died_make_it_offline_and_end() {
    let (devices, _) = five("");
    let mut bus = Simulation::new("line1", &devices);
    for n in 0..20 {
        bus.order(10_000, n, &devices[0], 0, 0);
    }
    bus.write_reply = |_| Err(WriteFailure::Unanswered(Fault::Timeout));
    bus.run(60_000, |now, name, _| if name == "u1" && now >= 10_000 { Reply::Silent } else { Reply::Good(20) });
    assert_eq!(bus.reports.len(), 20);
    assert!(bus.writes.len() <= 3, "{} writes to a dead device", bus.writes.len());
    for name in ["u2", "u3", "u4", "u5"] {
        assert!(longest_gap(&bus.rounds(name)) <= 1_000 + 3 * 3 * SILENCE, "{}", longest_gap(&bus.rounds(name)));
    }
}

#[test]
fn an_order_that_waits_longer_than_it_may_is_not_sent() {
    let mut bus = Simulation::new("line1", &[device("a", &[(0, 60_000)])]);
    let devices = bus.devices();
    bus.run(1_000, |_, _, _| Reply::Good(5));
    bus.order(2_000, 1, &devices[0], 0, 0);
    bus.order(2_000, 2, &devices[0], 0, 0);
    // The first takes longer than the second may wait.
    bus.write_reply = |_| Err(WriteFailure::Unanswered(Fault::Timeout));
    bus.write_time = 9_800;
    bus.run(30_000, |_, _, _| Reply::Good(300));
    assert_eq!(bus.writes.len(), 1);
    assert_eq!(ends(&bus)[1].1, WriteEnd::NotSent(NotSent::TooLate));
}

#[test]
fn a_line_that_goes_ends_all_its_orders_and_one_that_is_away_takes_none() {
    let (devices, _) = five("");
    let mut bus = Simulation::new("line1", &devices);
    bus.order(5_000, 1, &devices[0], 0, 0);
    bus.order(5_000, 2, &devices[1], 0, 0);
    bus.write_reply = |_| Err(WriteFailure::NotSent(LineError::PortMissing("/dev/x".into())));
    bus.run(5_100, |_, _, _| Reply::Good(20));
    bus.order(5_200, 3, &devices[0], 0, 0);
    bus.run(5_400, |_, _, _| Reply::Good(20));
    assert_eq!(bus.reports.len(), 3);
    assert!(ends(&bus).iter().all(|(at, end, _)| {
        *at < 5_300 && matches!(end, WriteEnd::NotSent(NotSent::LineDown(why)) if why.contains("no such serial port"))
    }));
    assert_eq!(bus.writes.len(), 1);
}
