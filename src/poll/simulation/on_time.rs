//! Intervals: kept, shared out, skipped when they can't be kept.

use super::*;

#[test]
fn reads_stay_on_their_grid_for_a_day() {
    let mut bus = Simulation::new("line1", &[device("a", &[(0, 1000)])]);
    let mut n = 0;
    bus.run(86_400_000, |_, _, _| {
        n += 1;
        Reply::Good(1 + n % 700)
    });
    let sent = bus.requests_to("a");
    let phase = sent[1] % 1000;
    assert!(sent[1..].iter().all(|at| at % 1000 == phase), "no request begins off the grid");
    assert!(sent.len() >= 86_400 && bus.status().devices[0].skipped == 0);
}

#[test]
fn intervals_that_can_not_be_met_are_skipped_and_counted() {
    let mut bus = Simulation::new("line1", &[device("a", &[(0, 1000)])]);
    bus.run(100_000, |_, _, _| Reply::Good(2_500));
    let rounds = bus.rounds("a").len() as u64;
    let skipped = bus.status().devices[0].skipped;
    assert_eq!(rounds, 40, "one after the other");
    assert!((98..=101).contains(&(rounds + skipped)), "{rounds} rounds and {skipped} skipped");
}

#[test]
fn time_lost_to_a_full_channel_is_skipped_not_queued() {
    let mut bus = Simulation::new("line1", &[device("a", &[(0, 1000)])]);
    bus.run(10_000, |_, _, _| Reply::Good(10));
    let before = bus.requests.len();
    bus.now += 30_000;
    bus.run(50_000, |_, _, _| Reply::Good(10));
    assert!(bus.requests.len() - before <= 12);
    assert!((28..=30).contains(&bus.status().devices[0].skipped));
}

#[test]
fn slow_groups_are_dealt_out_over_the_minute() {
    let devices: Vec<_> = (0..30).map(|n| device(&format!("u{n}"), &[(0, 1000), (200, 60_000)])).collect();
    let mut bus = Simulation::new("line1", &devices);
    bus.run(180_000, |_, _, _| Reply::Good(5));
    let mut per_second: BTreeMap<u64, u32> = BTreeMap::new();
    for (at, _, request) in bus.requests.iter().filter(|(at, ..)| *at > 61_500) {
        *per_second.entry((at - bus.rounds("u0")[1] % 1000) / 1000).or_default() += u32::from(request.address == 200);
    }
    assert!(per_second.values().all(|count| *count <= 2), "{per_second:?}");
}

#[test]
fn buses_with_one_interval_do_not_fire_at_one_moment() {
    let phases: Vec<u64> = (0..10)
        .map(|n| {
            let mut bus = Simulation::new(&format!("d{n}"), &[device("a", &[(0, 1000)])]);
            bus.run(5_000, |_, _, _| Reply::Good(1));
            bus.requests_to("a")[1] % 1000
        })
        .collect();
    let mut sorted = phases.clone();
    sorted.sort_unstable();
    assert!(sorted.last().unwrap() - sorted[0] > 500, "{phases:?}");
}

#[test]
fn a_short_interval_is_not_kept_waiting_by_long_ones() {
    let many: Vec<(u16, u64)> = (0..8).map(|n| (n * 200, 60_000)).collect();
    let mut devices: Vec<_> = (0..4).map(|n| device(&format!("slow{n}"), &many)).collect();
    devices.push(device("fast", &[(0, 500)]));
    let mut bus = Simulation::new("line1", &devices);
    bus.run(200_000, |_, _, _| Reply::Good(150));
    assert!(longest_gap(&bus.rounds("fast")) <= 500 + 150, "{}", longest_gap(&bus.rounds("fast")));
}
