//! Any sequence of answers, refusals, silences and lost lines.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy)]
enum Any {
    Good,
    Silent,
    Refused,
    Illegal,
    LineGone,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_devices_do_the_reports_make_sense(
        replies in prop::collection::vec(prop_oneof![
            8 => Just(Any::Good), 3 => Just(Any::Silent), 1 => Just(Any::Refused), 2 => Just(Any::Illegal), 1 => Just(Any::LineGone)
        ], 1..60),
        layout in prop::collection::vec(prop::collection::vec((0u16..400, prop::sample::select(&[250u64, 1000, 1500, 7000][..])), 1..6), 1..4),
    ) {
        let devices: Vec<_> = layout.iter().enumerate().map(|(n, points)| device(&format!("d{n}"), points)).collect();
        let mut bus = Simulation::new("any", &devices);
        let mut next = replies.iter().cycle();
        bus.run(60_000, |_, _, _| match next.next().unwrap() {
            Any::Good => Reply::Good(20),
            Any::Silent => Reply::Silent,
            Any::Refused => Reply::Refused(20, Fault::Busy),
            Any::Illegal => Reply::Refused(20, Fault::IllegalAddress),
            Any::LineGone => Reply::LineGone,
        });
        // Then everybody is well for long enough, and everything must be good again.
        bus.run(260_000, |_, _, _| Reply::Good(20));
        for device in &devices {
            let name = device.name.as_str();
            let mut online = false;
            let mut last = BTreeMap::new();
            let mut newest = Monotonic::default();
            for (_, event) in &bus.events {
                match event {
                    Event::Availability { device: of, online: now, fault, .. } if of.name.as_str() == name => {
                        // Offline may be said again with another reason, online may not.
                        prop_assert!(!(online && *now));
                        prop_assert_eq!(fault.is_none(), *now);
                        online = *now;
                    }
                    Event::Round(round) if round.device.name.as_str() == name => {
                        prop_assert!(!round.readings.is_empty());
                        let mut points: Vec<usize> = round.readings.iter().map(|reading| reading.point).collect();
                        points.sort_unstable();
                        let all = points.len();
                        points.dedup();
                        prop_assert_eq!(all, points.len(), "a point is in a round once");
                        for reading in &round.readings {
                            prop_assert!(online || matches!(reading.sample, Sample::Bad(_)));
                            prop_assert!(reading.stamp.monotonic >= newest);
                            newest = reading.stamp.monotonic;
                            last.insert(reading.point, reading.sample.clone());
                        }
                    }
                    _ => {}
                }
            }
            prop_assert!(online);
            prop_assert_eq!(last.len(), device.points.len());
            prop_assert!(last.values().all(|sample| matches!(sample, Sample::Good(_))), "{:?}", last);
        }
    }
}
