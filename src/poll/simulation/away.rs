//! Devices and lines that go, return, or were never there.

use super::*;

#[test]
fn a_silent_unit_leaves_the_others_on_time() {
    let (devices, reply) = five("u3");
    for bus in ["line1", "line2", "rs485", "a", "b", "c"] {
        let mut bus = Simulation::new(bus, &devices);
        bus.run(300_000, &reply);
        for live in ["u1", "u2", "u4", "u5"] {
            let rounds = bus.rounds(live);
            let settled: Vec<u64> = rounds.iter().copied().filter(|at| *at > 2_000).collect();
            assert_eq!(longest_gap(&settled), 1000, "{live} is read every second, to the millisecond");
            assert!(longest_gap(&rounds) <= 1_000 + 2 * SILENCE, "the first try costs once");
        }
        assert_eq!(bus.status().devices[0].skipped, 0);
    }
}

#[test]
fn a_unit_that_is_not_there_at_the_start_is_offline_within_seconds_and_says_so_once() {
    let (devices, reply) = five("u3");
    let mut bus = Simulation::new("line1", &devices);
    bus.run(300_000, &reply);
    let [(at, false)] = bus.availability("u3")[..] else { panic!("{:?}", bus.availability("u3")) };
    assert!(at < 5_000, "offline at {at} ms");
    assert_eq!(bus.bad("u3"), [(at, 0, Fault::Timeout), (at, 1, Fault::Timeout)]);
    assert_eq!(bus.status().devices[2].online, Some(false));
}

#[test]
fn a_unit_that_dies_costs_the_others_one_timeout_at_most() {
    let (devices, _) = five("");
    let mut bus = Simulation::new("line1", &devices);
    bus.run(120_000, |now, name, _| if name == "u1" && now > 30_000 { Reply::Silent } else { Reply::Good(63) });
    for live in ["u2", "u3", "u4", "u5"] {
        assert!(longest_gap(&bus.rounds(live)) <= 1000 + SILENCE, "{:?}", longest_gap(&bus.rounds(live)));
        assert!(bus.rounds(live).len() >= 119);
    }
    let offline = bus.availability("u1")[1];
    assert!(!offline.1 && offline.0 < 36_000, "{offline:?}");
}

#[test]
fn probes_of_dead_units_stay_within_a_twentieth_of_the_time() {
    let devices: Vec<_> = (1..=8).map(|n| device(&format!("u{n}"), &[(0, 1000)])).collect();
    let dead = |name: &str| name != "u1" && name != "u2";
    let mut bus = Simulation::new("line1", &devices);
    bus.run(60_000, |_, name, _| if dead(name) { Reply::Silent } else { Reply::Good(300) });
    let before = bus.requests.len();
    bus.run(660_000, |_, name, _| if dead(name) { Reply::Silent } else { Reply::Good(300) });
    let probes = bus.requests[before..].iter().filter(|(_, name, _)| dead(name)).count() as u64;
    assert!(probes * SILENCE <= 600_000 / 20 + SILENCE, "{probes} probes");
    for n in 3..=8 {
        assert!(longest_gap(&bus.requests_to(&format!("u{n}"))) < 130_000, "every dead unit is tried again");
    }
}

#[test]
fn a_bus_without_gaps_still_finds_its_lost_unit() {
    // Eight units fill 96 % of every second: there is never room for a timeout.
    let devices: Vec<_> = (1..=9).map(|n| device(&format!("u{n}"), &[(0, 1000)])).collect();
    let mut bus = Simulation::new("line1", &devices);
    bus.run(400_000, |now, name, _| {
        let is_away = name == "u9" && (60_000..150_000).contains(&now);
        if is_away { Reply::Silent } else { Reply::Good(105) }
    });
    let changes: Vec<bool> = bus.availability("u9").iter().map(|(_, online)| *online).collect();
    assert_eq!(changes, [true, false, true]);
    assert!(bus.availability("u9")[2].0 < 150_000 + 75_000);
    let skipped: u64 = bus.status().devices[..8].iter().map(|device| device.skipped).sum();
    assert!(skipped <= 2 * 8, "{skipped} polls of the others were skipped");
}

#[test]
fn a_device_that_returns_is_read_whole_at_once() {
    let devices = [device("a", &[(0, 1000), (1, 3_600_000)]), device("b", &[(0, 1000)])];
    let mut bus = Simulation::new("line1", &devices);
    bus.run(200_000, |now, name, _| if name == "a" && now < 40_000 { Reply::Silent } else { Reply::Good(10) });
    let [(_, false), (back, true)] = bus.availability("a")[..] else { panic!("{:?}", bus.availability("a")) };
    assert!((40_000..=101_000).contains(&back), "{back}");
    let first = bus.events.iter().find_map(|(at, event)| match event {
        Event::Round(round) if *at >= back && round.device.name.as_str() == "a" => Some(round.readings.len()),
        _ => None,
    });
    assert_eq!(first, Some(2), "the hourly point too");
    assert_eq!(longest_gap(&bus.rounds("a")), 1000);
}

#[test]
fn one_lost_answer_is_repeated_and_nobody_notices() {
    let mut bus = Simulation::new("line1", &[device("a", &[(0, 10_000)]), device("b", &[(0, 10_000)])]);
    let mut asked = 0;
    bus.run(100_000, |_, name, _| {
        asked += u32::from(name == "a");
        if name == "a" && asked == 4 { Reply::Silent } else { Reply::Good(10) }
    });
    assert!(bus.bad("a").is_empty());
    assert!(longest_gap(&bus.rounds("a")) <= 11_000, "{}", longest_gap(&bus.rounds("a")));
    assert_eq!(bus.status().devices[0].failures, 1);
}

#[test]
fn a_poll_that_failed_publishes_nothing_and_the_third_in_a_row_makes_all_bad() {
    let mut bus = Simulation::new("line1", &[device("a", &[(0, 60_000), (300, 60_000)])]);
    bus.run(1_000, |_, _, _| Reply::Good(10));
    let mut silences = 0;
    bus.run(400_000, |_, _, _| {
        silences += 1;
        if silences <= 4 { Reply::Silent } else { Reply::Good(10) }
    });
    // Two polls with two tries each, then well again: repeated after a second and not after a minute.
    assert_eq!((bus.bad("a"), bus.availability("a").len()), (vec![], 1));
    bus.run(1_000_000, |_, _, _| Reply::Silent);
    let bad = bus.bad("a");
    assert_eq!(
        bad.iter().map(|(_, point, fault)| (*point, *fault)).collect::<Vec<_>>(),
        [(0, Fault::Timeout), (1, Fault::Timeout)]
    );
    assert!(bad[0].0 < 400_000 + 60_000 + 6_000, "offline soon, though polled once a minute: {}", bad[0].0);
}

#[test]
fn a_lost_line_takes_all_its_devices_offline_at_once_and_is_tried_again_soon() {
    let devices = [device("a", &[(0, 1000), (1, 3_600_000)]), device("b", &[(0, 1000)])];
    let mut bus = Simulation::new("line1", &devices);
    bus.run(10_000, |_, _, _| Reply::Good(10));
    let before = bus.requests.len();
    bus.run(20_000, |_, _, _| Reply::LineGone);
    // Each time the simulation opens the line again, one request finds that it is gone.
    assert!(bus.requests.len() - before <= 12);
    for name in ["a", "b"] {
        let changes: Vec<bool> = bus.availability(name).iter().map(|(_, online)| *online).collect();
        assert_eq!(changes, [true, false]);
        assert!(bus.bad(name).iter().all(|(_, _, fault)| *fault == Fault::Disconnected));
    }
    assert_eq!(bus.bad("a").len(), 2);
    bus.run(30_000, |_, _, _| Reply::Good(10));
    let (back, true) = bus.availability("a")[2] else { panic!("online again") };
    assert!(back < 21_600, "{back}");
    let readings = bus.events.iter().filter_map(|(at, event)| match event {
        Event::Round(round) if (back..back + 50).contains(at) && round.device.name.as_str() == "a" => {
            Some(round.readings.len())
        }
        _ => None,
    });
    assert_eq!(readings.sum::<usize>(), 2, "all points at once");
}

/// Twenty units, of which the first sixteen may be dead.
fn twenty() -> Vec<Arc<Device>> {
    (0..20).map(|n| device(&format!("u{n:02}"), &[(0, 1000)])).collect()
}

fn is_one_of_sixteen(name: &str) -> bool {
    name < "u16"
}

#[test]
fn many_units_that_are_not_there_at_the_start_cost_the_others_one_timeout_at_a_time() {
    let mut bus = Simulation::new("line1", &twenty());
    bus.run(120_000, |_, name, _| if is_one_of_sixteen(name) { Reply::Silent } else { Reply::Good(20) });
    for live in ["u16", "u17", "u18", "u19"] {
        assert!(longest_gap(&bus.rounds(live)) <= 1000 + SILENCE + 80, "{}", longest_gap(&bus.rounds(live)));
    }
    let offline = (0..16).map(|n| bus.availability(&format!("u{n:02}"))[0]);
    assert!(offline.clone().all(|(_, online)| !online));
    let last = offline.map(|(at, _)| at).max().unwrap();
    assert!(last < 45_000, "all are offline at {last} ms");
}

#[test]
fn many_units_that_die_together_cost_the_others_one_timeout_at_a_time() {
    let mut bus = Simulation::new("line1", &twenty());
    bus.run(
        120_000,
        |now, name, _| {
            if is_one_of_sixteen(name) && now > 30_000 { Reply::Silent } else { Reply::Good(20) }
        },
    );
    for live in ["u16", "u17", "u18", "u19"] {
        // Each is trusted until it was silent once. Who has answered since the first silence goes first.
        let rounds = bus.rounds(live);
        assert!(longest_gap(&rounds) <= 16 * SILENCE + 1000, "{}", longest_gap(&rounds));
        let delayed = rounds.windows(2).filter(|pair| pair[1] - pair[0] > 1000 + SILENCE + 80).count();
        assert!(delayed <= 1, "{delayed} long gaps");
    }
    let last = (0..16).map(|n| bus.availability(&format!("u{n:02}"))[1].0).max().unwrap();
    assert!(last < 80_000, "all are offline at {last} ms");
}

#[test]
fn a_line_without_gaps_finds_out_that_many_died_and_still_reads_the_others() {
    let mut bus = Simulation::new("line1", &twenty());
    bus.run(
        600_000,
        |now, name, _| {
            if is_one_of_sixteen(name) && now > 30_000 { Reply::Silent } else { Reply::Good(300) }
        },
    );
    for live in ["u16", "u17", "u18", "u19"] {
        let rounds: Vec<u64> = bus.rounds(live).into_iter().filter(|at| *at > 40_000).collect();
        assert!(longest_gap(&rounds) <= 3 * 1200 + SILENCE, "{}", longest_gap(&rounds));
    }
    for n in 0..16 {
        assert_eq!(bus.availability(&format!("u{n:02}")).len(), 2, "u{n:02} is offline");
    }
}

#[test]
fn when_many_die_together_whoever_is_found_alive_is_on_time_from_then_on() {
    // Every fifth unit lives; the others die at once, so that each live one is found among dead ones.
    let mut bus = Simulation::new("line1", &twenty());
    let is_live = |name: &str| matches!(name, "u04" | "u09" | "u14" | "u19");
    // They die in the pause behind a round, so that the round after it finds them in its order.
    bus.run(30_000, |_, _, _| Reply::Good(20));
    let death = bus.rounds("u00").last().expect("it was asked") + 900;
    bus.run(120_000, |now, name, _| if !is_live(name) && now > death { Reply::Silent } else { Reply::Good(20) });
    for (found_after, live) in [(4, "u04"), (8, "u09"), (12, "u14"), (16, "u19")] {
        let rounds = bus.rounds(live);
        let gaps: Vec<u64> =
            rounds.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > 1000 + SILENCE + 80).collect();
        assert!(gaps.len() <= 1 && longest_gap(&rounds) <= found_after * SILENCE + 1_200, "{live}: {gaps:?}");
    }
}
