//! The story, told with scenes that are made up.

use super::*;
use crate::model::{BrokerStatus, BusState, BusStatus, DeviceStatus, Fault, Name, Timestamp, UplinkStatus};

/// A gateway whose cloud takes everything at once while it is there.
struct Play {
    story: Story,
    now: Duration,
    snapshot: Snapshot,
    tally: Tally,
    said: Vec<String>,
    did: Vec<Act>,
}

impl Play {
    fn new() -> Play {
        let name = |text| Name::new(text).unwrap();
        let device = |device| DeviceStatus {
            device: name(device),
            online: Some(true),
            fault: None,
            last_answer: None,
            requests: 0,
            failures: 0,
            skipped: 0,
        };
        let snapshot = Snapshot {
            gateway: name("demo"),
            version: "1",
            taken: Timestamp(0),
            clock_synced: true,
            uptime: Duration::ZERO,
            resident_bytes: None,
            stuck: Vec::new(),
            buses: vec![BusStatus {
                bus: name("line"),
                state: BusState::Open,
                busy: Duration::ZERO,
                damaged: 0,
                devices: vec![device("meter_1"), device("meter_2")],
            }],
            broker: Some(BrokerStatus::default()),
            uplinks: vec![UplinkStatus {
                state: UplinkState::Online,
                connects: 1,
                ..UplinkStatus::starting(name("cloud"))
            }],
        };
        let (tally, said, did) = (Tally::default(), Vec::new(), Vec::new());
        Play { story: Story::new(Timing::NORMAL), now: Duration::ZERO, snapshot, tally, said, did }
    }

    /// Plays for `seconds`, four looks a second, with two messages a look; `cloud` says whether they arrive.
    fn run(&mut self, seconds: u64, cloud: bool) {
        for _ in 0..seconds * 4 {
            self.tally.published += 2;
            if cloud {
                self.tally.arrived = self.tally.published - self.tally.missing;
            }
            self.snapshot.uplinks[0].queue.depth = self.tally.waiting();
            self.look();
            self.now += Duration::from_millis(250);
        }
    }

    fn look(&mut self) {
        let payload = r#"{"ts":"x","values":{"voltage_l1":230.1},"bad":{}}"#.to_string();
        let devices = BTreeMap::from([("meter_1".to_string(), payload)]);
        let scene = Scene { snapshot: &self.snapshot, tally: self.tally, local: &devices, cloud: &devices };
        for step in self.story.step(self.now, &scene) {
            match step {
                Step::Say(_, text) => self.said.push(text),
                Step::Do(act) => self.did.push(act),
            }
        }
    }

    fn uplink(&mut self, state: UplinkState) {
        self.snapshot.uplinks[0].state = state;
    }

    fn heard(&self, text: &str) -> bool {
        self.said.iter().any(|line| line.contains(text))
    }

    /// Up to the moment before the backlog arrives: 20 s with the cloud, then 17 s without it.
    fn until_the_cloud_is_back(&mut self) {
        self.run(20, true);
        self.uplink(UplinkState::Offline("connection refused".into()));
        self.run(17, false);
    }
}

#[test]
fn the_acts_come_in_their_order_and_each_once() {
    let mut play = Play::new();
    play.until_the_cloud_is_back();
    assert_eq!(play.did, [Act::UnplugMeter, Act::PlugMeterIn, Act::StopCloud, Act::StartCloud]);
}

#[test]
fn readings_are_shown_on_both_sides_before_the_outage_and_the_buffer_during_it() {
    let mut play = Play::new();
    play.run(1, true);
    assert!(play.heard("Readings arrive"));
    assert!(play.said.iter().filter(|line| line.contains("meter_1") && line.contains("voltage_l1 230.1")).count() == 2);
    play.until_the_cloud_is_back();
    let depths: Vec<u64> = play
        .said
        .iter()
        .filter_map(|l| l.strip_prefix("buffered on disk: ")?.split(' ').next()?.parse().ok())
        .collect();
    assert!(depths.len() >= 4 && depths.is_sorted() && depths.last() > depths.first(), "{depths:?}");
}

#[test]
fn a_backlog_that_arrives_whole_is_told_with_its_size() {
    let mut play = Play::new();
    play.until_the_cloud_is_back();
    let waiting = play.tally.waiting();
    play.uplink(UplinkState::Online);
    play.run(1, true);
    assert!(play.heard(&format!("backlog of {waiting} messages arrived: complete, in order")), "{:#?}", play.said);
    assert!(play.heard("connected to the cloud again") && play.heard("Ctrl-C"));
    assert_eq!(play.story.outcome(), Outcome::Complete);
    let lines = play.said.len();
    play.run(100, true);
    assert_eq!(play.said.len(), lines, "quiet afterwards");
}

#[test]
fn a_backlog_with_a_hole_is_told_loudly() {
    let mut play = Play::new();
    play.until_the_cloud_is_back();
    play.tally.missing = 3;
    play.uplink(UplinkState::Online);
    play.run(1, true);
    assert!(play.heard("IS NOT WHAT WAS SENT: 3 missing, 0 out of order"), "{:#?}", play.said);
    assert_eq!(play.story.outcome(), Outcome::Broken);
}

#[test]
fn a_backlog_that_never_comes_is_told_loudly() {
    let mut play = Play::new();
    play.until_the_cloud_is_back();
    play.run(130, false);
    assert!(play.heard("DID NOT ARRIVE"), "{:#?}", play.said);
    assert_eq!(play.story.outcome(), Outcome::Broken);
}

#[test]
fn half_a_backlog_is_not_yet_told_as_whole() {
    let mut play = Play::new();
    play.until_the_cloud_is_back();
    play.tally.arrived += 5;
    play.look();
    assert_eq!(play.story.outcome(), Outcome::Unfinished);
}

#[test]
fn a_device_that_goes_and_returns_is_told_once_each() {
    let mut play = Play::new();
    play.run(2, true);
    play.snapshot.buses[0].devices[1].online = Some(false);
    play.snapshot.buses[0].devices[1].fault = Some(Fault::Timeout);
    play.run(2, true);
    assert!(play.heard("meter_2 is offline: timeout. meter_1 on the same line keeps its interval."));
    play.snapshot.buses[0].devices[1].online = Some(true);
    play.run(2, true);
    assert!(play.heard("meter_2 answers again."));
    assert_eq!(play.said.iter().filter(|line| line.contains("meter_2")).count(), 2, "{:#?}", play.said);
}

#[test]
fn the_status_fits_a_line() {
    let mut play = Play::new();
    play.tally = Tally { published: 123_456_789, arrived: 123_456_000, ..Tally::default() };
    let nothing = BTreeMap::new();
    let scene = Scene { snapshot: &play.snapshot, tally: play.tally, local: &nothing, cloud: &nothing };
    let line = status(&scene);
    assert_eq!(line, "devices 2/2  published 123456789  cloud online: 123456000 arrived, 789 wait");
    assert!(line.len() < 80);
}
