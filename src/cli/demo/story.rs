//! What the demo does and says, and when. Pure: it is shown the scene a few times a second and answers with lines and acts.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{Snapshot, UplinkState};

use super::ledger::Tally;
use super::reading_line::reading_line;

/// When the acts happen, since the start.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// The second meter loses its power.
    pub meter_out: Duration,
    /// It has power again.
    pub meter_in: Duration,
    /// The cloud goes away.
    pub cloud_out: Duration,
    /// It is back.
    pub cloud_in: Duration,
    /// Between two lines of the same kind.
    pub pace: Duration,
}

impl Timing {
    /// The pace for a person who reads along.
    pub const NORMAL: Timing = Timing::seconds(6, 12, 20, 35, 3);
    /// For whoever has seen it, and for tests.
    pub const FAST: Timing = Timing::seconds(2, 7, 9, 15, 1);

    const fn seconds(meter_out: u64, meter_in: u64, cloud_out: u64, cloud_in: u64, pace: u64) -> Timing {
        Timing {
            meter_out: Duration::from_secs(meter_out),
            meter_in: Duration::from_secs(meter_in),
            cloud_out: Duration::from_secs(cloud_out),
            cloud_in: Duration::from_secs(cloud_in),
            pace: Duration::from_secs(pace),
        }
    }
}

/// What can be seen at one moment.
#[derive(Debug, Clone)]
pub struct Scene<'a> {
    /// The gateway's own view.
    pub snapshot: &'a Snapshot,
    /// Both sides compared.
    pub tally: Tally,
    /// The last snapshot of each device on the local broker.
    pub local: &'a BTreeMap<String, String>,
    /// The same at the cloud.
    pub cloud: &'a BTreeMap<String, String>,
}

/// What the stage hands are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The second meter loses its power.
    UnplugMeter,
    /// It has power again.
    PlugMeterIn,
    /// The cloud broker goes away.
    StopCloud,
    /// It comes back.
    StartCloud,
}

/// How a line is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// What the demo does.
    Act,
    /// What follows from it.
    Plain,
    /// A proof.
    Good,
    /// A failed one.
    Bad,
}

/// One step of the demo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Tell the person.
    Say(Tone, String),
    /// Do it.
    Do(Act),
}

/// How it ended, or has not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing has been proved.
    Unfinished,
    /// The backlog arrived complete and in order.
    Complete,
    /// Something is missing or out of order, or never came.
    Broken,
}

/// After the cloud is back, the backlog has so long: the longest back-off is 60 s.
const BACKLOG_WITHIN: Duration = Duration::from_secs(120);

/// The demo's course.
#[derive(Debug)]
pub struct Story {
    timing: Timing,
    /// Acts that lie ahead, in order.
    ahead: Vec<(Duration, Act)>,
    next_line: Duration,
    shown: usize,
    cloud: Cloud,
    offline: Vec<String>,
    uplink_online: Option<bool>,
    greeted: bool,
    outcome: Outcome,
}

/// The cloud, as far as the story is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cloud {
    Before,
    Away,
    /// Back, nothing arrived yet: how many had arrived by then, how many were published and how many wait, as of the last look.
    Back {
        since: Duration,
        arrived: u64,
        published: u64,
        waiting: u64,
    },
    /// Arriving: this many have to be accounted for, of which `backlog` had waited.
    Draining {
        since: Duration,
        published: u64,
        backlog: u64,
    },
    Done,
}

impl Story {
    /// A story that begins now.
    pub fn new(timing: Timing) -> Story {
        let acts = [
            (timing.cloud_in, Act::StartCloud),
            (timing.cloud_out, Act::StopCloud),
            (timing.meter_in, Act::PlugMeterIn),
            (timing.meter_out, Act::UnplugMeter),
        ];
        Story {
            timing,
            ahead: acts.into(),
            next_line: Duration::ZERO,
            shown: 0,
            cloud: Cloud::Before,
            offline: Vec::new(),
            uplink_online: None,
            greeted: false,
            outcome: Outcome::Unfinished,
        }
    }

    /// What happens `now`, in time since the start.
    pub fn step(&mut self, now: Duration, scene: &Scene<'_>) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some((_, act)) = self.ahead.pop_if(|(when, _)| *when <= now) {
            self.act(now, act, scene, &mut steps);
        }
        self.devices(scene.snapshot, &mut steps);
        self.uplink(scene.snapshot, &mut steps);
        self.backlog(now, scene, &mut steps);
        if now >= self.next_line {
            self.next_line = now + self.timing.pace;
            self.at_its_pace(scene, &mut steps);
        }
        steps
    }

    /// How it stands.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    fn act(&mut self, now: Duration, act: Act, scene: &Scene<'_>, steps: &mut Vec<Step>) {
        let text = match act {
            Act::UnplugMeter => "Now meter_2 loses its power.".into(),
            Act::PlugMeterIn => "meter_2 has power again. The gateway finds out when it probes it next.".into(),
            Act::StopCloud => {
                self.cloud = Cloud::Away;
                self.next_line = now + self.timing.pace;
                "Now the cloud goes away. What has to reach it waits on disk.".into()
            }
            Act::StartCloud => {
                let Tally { arrived, published, .. } = scene.tally;
                let waiting = scene.tally.waiting();
                self.cloud = Cloud::Back { since: now, arrived, published, waiting };
                format!(
                    "The cloud is back. {waiting} messages wait; the gateway tries again when its back-off says so."
                )
            }
        };
        steps.push(Step::Say(Tone::Act, text));
        steps.push(Step::Do(act));
    }

    fn devices(&mut self, snapshot: &Snapshot, steps: &mut Vec<Step>) {
        for device in snapshot.buses.iter().flat_map(|bus| &bus.devices) {
            let name = device.device.as_str();
            let known = self.offline.iter().position(|offline| offline == name);
            match (device.online, known) {
                (Some(false), None) => {
                    let fault = device.fault.map_or("no answer", |fault| fault.as_str());
                    let others = if name == "meter_2" { " meter_1 on the same line keeps its interval." } else { "" };
                    steps.push(Step::Say(Tone::Plain, format!("{name} is offline: {fault}.{others}")));
                    self.offline.push(name.into());
                }
                (Some(true), Some(index)) => {
                    steps.push(Step::Say(Tone::Good, format!("{name} answers again.")));
                    self.offline.remove(index);
                }
                _ => {}
            }
        }
    }

    fn uplink(&mut self, snapshot: &Snapshot, steps: &mut Vec<Step>) {
        let Some(uplink) = snapshot.uplinks.first() else { return };
        let online = match &uplink.state {
            UplinkState::Starting => return,
            UplinkState::Online => true,
            UplinkState::Offline(_) => false,
        };
        let before = self.uplink_online.replace(online);
        match (&uplink.state, before) {
            (UplinkState::Offline(why), None | Some(true)) => {
                steps.push(Step::Say(Tone::Plain, format!("The gateway has lost the cloud: {why}")));
            }
            (UplinkState::Online, Some(false)) => {
                steps.push(Step::Say(Tone::Plain, "The gateway is connected to the cloud again.".into()));
            }
            _ => {}
        }
    }

    fn backlog(&mut self, now: Duration, scene: &Scene<'_>, steps: &mut Vec<Step>) {
        let tally = scene.tally;
        self.cloud = match self.cloud {
            Cloud::Back { since, arrived, published, waiting } if tally.arrived > arrived => {
                Cloud::Draining { since, published, backlog: waiting }
            }
            Cloud::Back { since, arrived, .. } => {
                Cloud::Back { since, arrived, published: tally.published, waiting: tally.waiting() }
            }
            other => other,
        };
        let late = |since| now.saturating_sub(since) > BACKLOG_WITHIN;
        match self.cloud {
            Cloud::Draining { published, backlog, .. } if tally.arrived + tally.missing >= published => {
                self.cloud = Cloud::Done;
                self.judge(backlog, tally, steps);
            }
            Cloud::Back { since, .. } | Cloud::Draining { since, .. } if late(since) => {
                self.cloud = Cloud::Done;
                self.outcome = Outcome::Broken;
                let text = format!("THE BACKLOG DID NOT ARRIVE: {} messages still wait.", tally.waiting());
                steps.push(Step::Say(Tone::Bad, text));
            }
            _ => {}
        }
    }

    fn judge(&mut self, backlog: u64, tally: Tally, steps: &mut Vec<Step>) {
        if tally.is_clean() {
            self.outcome = Outcome::Complete;
            let repeated = match tally.repeated {
                0 => String::new(),
                n => format!(" ({n} of them twice, which QoS 1 allows)"),
            };
            let text = format!("backlog of {backlog} messages arrived: complete, in order{repeated}");
            steps.push(Step::Say(Tone::Good, text));
            let rest = "That was all there is to see. Everything keeps running until you press Ctrl-C.";
            steps.push(Step::Say(Tone::Plain, rest.into()));
        } else {
            self.outcome = Outcome::Broken;
            let Tally { missing, late, strange, .. } = tally;
            let text = format!(
                "THE BACKLOG OF {backlog} MESSAGES IS NOT WHAT WAS SENT: {missing} missing, {late} out of order, {strange} unknown"
            );
            steps.push(Step::Say(Tone::Bad, text));
        }
    }

    /// Lines that come again and again while something lasts.
    fn at_its_pace(&mut self, scene: &Scene<'_>, steps: &mut Vec<Step>) {
        match self.cloud {
            Cloud::Before => self.readings(scene, steps),
            Cloud::Away => {
                let depth = scene.snapshot.uplinks.first().map_or(0, |uplink| uplink.queue.depth);
                steps.push(Step::Say(Tone::Plain, format!("buffered on disk: {depth} messages")));
            }
            _ => {}
        }
    }

    fn readings(&mut self, scene: &Scene<'_>, steps: &mut Vec<Step>) {
        let both: Vec<_> = scene.local.iter().filter_map(|(d, local)| Some((d, local, scene.cloud.get(d)?))).collect();
        if both.is_empty() {
            return;
        }
        if !self.greeted {
            self.greeted = true;
            steps.push(Step::Say(Tone::Good, "Readings arrive on the local broker and at the cloud:".into()));
        }
        let (device, local, cloud) = both[self.shown % both.len()];
        self.shown += 1;
        for (side, payload) in [("local", local), ("cloud", cloud)] {
            steps.push(Step::Say(Tone::Plain, reading_line(side, device, payload)));
        }
    }
}

/// One line that always tells how it stands.
pub fn status(scene: &Scene<'_>) -> String {
    let snapshot = scene.snapshot;
    let devices = || snapshot.buses.iter().flat_map(|bus| &bus.devices);
    let online = devices().filter(|device| device.online == Some(true)).count();
    let cloud = match snapshot.uplinks.first().map(|uplink| &uplink.state) {
        Some(UplinkState::Online) => "online",
        Some(UplinkState::Offline(_)) => "away",
        _ => "connecting",
    };
    let Tally { published, arrived, .. } = scene.tally;
    let waiting = scene.tally.waiting();
    format!(
        "devices {online}/{}  published {published}  cloud {cloud}: {arrived} arrived, {waiting} wait",
        devices().count()
    )
}

#[cfg(test)]
mod tests;
