//! Addresses that a device refuses, or leaves unanswered while it answers others.

use super::*;

fn refusing(bad: &'static [u16]) -> impl Fn(u64, &str, &Request) -> Reply {
    move |_, _, request| {
        let cells = u32::from(request.address)..u32::from(request.address) + u32::from(request.count);
        let is_hit = bad.iter().any(|address| cells.contains(&u32::from(*address)));
        if is_hit { Reply::Refused(10, Fault::IllegalAddress) } else { Reply::Good(10) }
    }
}

#[test]
fn a_refused_address_makes_only_its_own_point_bad() {
    let addresses: Vec<(u16, u64)> = (0..100).map(|at| (at, 1000)).collect();
    let mut bus = Simulation::new("line1", &[device("a", &addresses)]);
    bus.run(30_000, refusing(&[37]));
    let bad = bus.bad("a");
    assert_eq!(bad.len(), 1);
    assert_eq!((bad[0].1, bad[0].2), (37, Fault::IllegalAddress));
    assert_eq!(bus.refusals, [("a".to_owned(), 37, Fault::IllegalAddress)]);
    // The first poll finds it: all the good neighbours are in its round.
    let Event::Round(first) = &bus.events[1].1 else { panic!("a round") };
    assert_eq!(first.readings.len(), 100);
    let per_poll = bus.requests.iter().filter(|(at, ..)| *at > 20_000).count() / 10;
    assert_eq!(per_poll, 2, "what is before it, and what is behind it");
    assert!(longest_gap(&bus.rounds("a")) <= 1_500);
}

#[test]
fn what_a_device_fails_at_is_told_from_a_device_that_fails() {
    let addresses: Vec<(u16, u64)> = (0..20).map(|at| (at, 1000)).collect();
    // Some devices say "failure" for an address that they don't have.
    let mut bus = Simulation::new("line1", &[device("a", &addresses)]);
    bus.run(10_000, |_, _, request| match request.address..request.address + request.count {
        cells if cells.contains(&7) => Reply::Refused(10, Fault::DeviceFailure),
        _ => Reply::Good(10),
    });
    assert!(bus.bad("a").iter().all(|(_, point, fault)| (*point, *fault) == (7, Fault::DeviceFailure)));
    assert_eq!(bus.refusals, [("a".to_owned(), 7, Fault::DeviceFailure)]);
    // One that has answered before and fails now is asked the same again, and not in twenty parts.
    let mut bus = Simulation::new("line1", &[device("a", &addresses)]);
    bus.run(10_000, |_, _, _| Reply::Good(10));
    let before = bus.requests.len();
    bus.run(20_000, |_, _, _| Reply::Refused(10, Fault::DeviceFailure));
    assert_eq!(bus.requests.len() - before, 10);
    let rounds = bus.rounds("a").len();
    bus.run(30_000, |_, _, _| Reply::Good(10));
    assert_eq!(bus.rounds("a").len() - rounds, 10);
}

#[test]
fn gaps_that_a_device_refuses_are_not_bridged_again() {
    let mut bus = Simulation::new("line1", &[device("a", &[(0, 1000), (1, 1000), (20, 1000)])]);
    bus.run(10_500, refusing(&[10]));
    assert!(bus.bad("a").is_empty());
    let spans: Vec<(u16, u16)> = bus.requests.iter().map(|(_, _, r)| (r.address, r.count)).collect();
    assert_eq!(spans[..3], [(0, 21), (0, 2), (20, 1)]);
    assert!(!spans[1..].contains(&(0, 21)));
}

#[test]
fn a_refused_point_that_is_answered_later_brings_the_old_plan_back() {
    let addresses: Vec<(u16, u64)> = (0..100).map(|at| (at, 1000)).collect();
    let mut bus = Simulation::new("line1", &[device("a", &addresses)]);
    bus.run(30_000, refusing(&[37]));
    bus.run(120_000, |_, _, _| Reply::Good(10));
    assert_eq!(bus.bad("a").len(), 1);
    let last = bus.requests.iter().rev().take(5).map(|(_, _, request)| request.count).collect::<Vec<_>>();
    assert_eq!(last, [100; 5]);
}

#[test]
fn searching_a_refused_address_lets_the_others_go_first() {
    let addresses: Vec<(u16, u64)> = (0..125).map(|at| (at, 1000)).collect();
    let all: &'static [u16] = &[0, 3, 7, 11, 20, 33, 44, 55, 66, 77, 88, 99, 101, 111, 120];
    let mut bus = Simulation::new("line1", &[device("a", &addresses), device("b", &[(500, 1000)])]);
    bus.run(20_000, |now, name, request| match name {
        "a" => match refusing(all)(now, name, request) {
            Reply::Refused(_, fault) => Reply::Refused(100, fault),
            reply => reply,
        },
        _ => Reply::Good(100),
    });
    assert!(longest_gap(&bus.rounds("b")) <= 1_700, "{}", longest_gap(&bus.rounds("b")));
    assert_eq!(bus.refusals.len(), all.len());
}

#[test]
fn what_a_device_stops_answering_is_bad_with_the_first_poll_in_which_it_answers_others() {
    let mut bus = Simulation::new("line1", &[device("a", &[(0, 1000), (500, 1000), (1000, 1000), (1500, 4000)])]);
    bus.run(60_000, |now, _, request| {
        if request.address > 0 && (20_000..40_000).contains(&now) { Reply::Silent } else { Reply::Good(10) }
    });
    for (point, interval) in [(1, 1000), (2, 1000), (3, 4000)] {
        let bad: Vec<u64> = bus.bad("a").iter().filter(|bad| bad.1 == point).map(|bad| bad.0).collect();
        assert_eq!(bad.len(), 1, "once: {bad:?}");
        // Until then a snapshot shows it as last read, under the time of what was read since: an interval and its tries,
        // and those of the two that go before it.
        let limit = 20_000 + interval + 3 * 2 * SILENCE;
        assert!(bad[0] <= limit, "point {point} is bad at {}, and should be by {limit}", bad[0]);
    }
    assert_eq!(bus.availability("a").len(), 1);
}

#[test]
fn an_address_that_is_never_answered_makes_its_own_points_bad_and_not_the_device_offline() {
    let mut bus = Simulation::new("line1", &[device("a", &[(0, 1000), (500, 1000)]), device("b", &[(0, 1000)])]);
    bus.run(
        300_000,
        |_, name, request| {
            if name == "a" && request.address == 0 { Reply::Silent } else { Reply::Good(20) }
        },
    );
    assert_eq!(bus.availability("a").len(), 1);
    assert_eq!(bus.bad("a").iter().map(|bad| (bad.1, bad.2)).collect::<Vec<_>>(), [(0, Fault::Timeout)]);
    let settled = |name: &str| bus.rounds(name).into_iter().filter(|at| *at > 20_000).collect::<Vec<_>>();
    assert_eq!(longest_gap(&settled("a")), 1000);
    assert_eq!(longest_gap(&settled("b")), 1000);
    let late: Vec<u64> = bus.requests.iter().filter(|(_, n, r)| n == "a" && r.address == 0).map(|r| r.0).collect();
    assert!(late.last().unwrap() > &200_000, "it is still tried now and then");
    assert!(late.iter().filter(|at| **at > 100_000).count() < 8, "but rarely");
}
