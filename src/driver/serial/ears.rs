//! What devices say by themselves: whose it is, whether it is a reading yet, and whether it is overdue. Pure.
//!
//! Every line is a reading, as it comes, with its own time. With `latest_every` only the latest of each interval is. A point
//! that has not been heard for its `max_age` is bad, once: an old value never gets a new time.

use std::sync::Arc;

use super::super::Heard;
use super::extract::extract;
use crate::model::{Device, Fault, Hearing, Monotonic, Reading, Sample, Stamp};

/// So much waits to be handed on at most; what comes beyond it within one request is counted as damaged.
const MOST_HEARD: usize = 1000;

/// Everything on a bus that comes unasked.
#[derive(Debug, Default)]
pub struct Ears {
    devices: Vec<Listened>,
    /// What can be handed on.
    heard: Vec<Heard>,
    /// Telegrams that were none since the last time that someone asked.
    damaged: u64,
}

#[derive(Debug)]
struct Listened {
    device: Arc<Device>,
    points: Vec<Ear>,
}

/// One point.
#[derive(Debug)]
struct Ear {
    point: usize,
    /// When it was heard, or the line opened.
    since: Monotonic,
    is_overdue: bool,
    /// With `latest_every`: what will be a reading, and when one may be.
    latest: Option<Reading>,
    next_at: Monotonic,
    /// What was wrong with telegrams since it was heard.
    suspicion: Option<Fault>,
}

/// The points of a device that come unasked.
pub fn unasked(device: &Device) -> impl Iterator<Item = (usize, &Hearing)> {
    let points = device.points.iter().enumerate();
    points.filter_map(|(index, point)| Some((index, point.source.hearing()?))).filter(|(_, h)| h.request.is_none())
}

impl Ears {
    /// Listens for these devices.
    pub fn new(devices: &[Arc<Device>]) -> Ears {
        let ear = |point| Ear {
            point,
            since: Monotonic::default(),
            is_overdue: false,
            latest: None,
            next_at: Monotonic::default(),
            suspicion: None,
        };
        let listened = devices.iter().map(|device| {
            let points = unasked(device).map(|(point, _)| ear(point)).collect();
            Listened { device: Arc::clone(device), points }
        });
        let devices = listened.filter(|listened: &Listened| !listened.points.is_empty()).collect();
        Ears { devices, ..Ears::default() }
    }

    /// Whether anything comes unasked.
    pub fn is_needed(&self) -> bool {
        !self.devices.is_empty()
    }

    /// The line was opened: everything has its full time to be heard.
    pub fn opened(&mut self, now: Monotonic) {
        for ear in self.devices.iter_mut().flat_map(|listened| &mut listened.points) {
            (ear.since, ear.is_overdue, ear.latest, ear.suspicion) = (now, false, None, None);
        }
    }

    /// A telegram came. Returns whether it was anyone's.
    pub fn hear(&mut self, telegram: &[u8], stamp: Stamp) -> bool {
        let mut is_known = false;
        for listened in &mut self.devices {
            let mut readings = Vec::new();
            for ear in &mut listened.points {
                let Some(sample) = extract(&listened.device.points[ear.point], telegram) else { continue };
                is_known = true;
                (ear.since, ear.is_overdue, ear.suspicion) = (stamp.monotonic, false, None);
                let reading = Reading { point: ear.point, sample, stamp };
                match hearing(&listened.device, ear.point).and_then(|hearing| hearing.latest_every) {
                    None => readings.push(reading),
                    Some(every) if ear.next_at <= stamp.monotonic => {
                        ear.next_at = stamp.monotonic + every;
                        ear.latest = None;
                        readings.push(reading);
                    }
                    Some(_) => ear.latest = Some(reading),
                }
            }
            if readings.is_empty() {
                continue;
            }
            if self.heard.len() < MOST_HEARD {
                self.heard.push(Heard { device: Arc::clone(&listened.device), readings, is_there: true });
            } else {
                self.damaged += 1;
            }
        }
        is_known
    }

    /// Something came that is no telegram: it may have been anyone's.
    pub fn damaged(&mut self, fault: Fault) {
        self.damaged += 1;
        for ear in self.devices.iter_mut().flat_map(|listened| &mut listened.points) {
            ear.suspicion = Some(fault);
        }
    }

    /// Turns points bad that are overdue, and makes readings of what has waited for its interval.
    pub fn advance(&mut self, stamp: Stamp) {
        let now = stamp.monotonic;
        for listened in &mut self.devices {
            let mut readings = Vec::new();
            for ear in &mut listened.points {
                let Some(hearing) = hearing(&listened.device, ear.point) else { continue };
                if let Some(latest) = ear.latest.take_if(|_| ear.next_at <= now) {
                    ear.next_at = now + hearing.latest_every.unwrap_or_default();
                    readings.push(latest);
                }
                let is_overdue = hearing.max_age.is_some_and(|most| now >= ear.since + most);
                if is_overdue && !std::mem::replace(&mut ear.is_overdue, true) {
                    let fault = ear.suspicion.unwrap_or(Fault::Timeout);
                    readings.push(Reading { point: ear.point, sample: Sample::Bad(fault), stamp });
                }
            }
            if !readings.is_empty() {
                let is_there = listened.points.iter().any(|ear| !ear.is_overdue);
                self.heard.push(Heard { device: Arc::clone(&listened.device), readings, is_there });
            }
        }
    }

    /// When [`Ears::advance`] has something to do next.
    pub fn wake_at(&self) -> Option<Monotonic> {
        let of = |listened: &Listened, ear: &Ear| {
            let max_age = hearing(&listened.device, ear.point).and_then(|hearing| hearing.max_age);
            let overdue = max_age.filter(|_| !ear.is_overdue).map(|most| ear.since + most);
            let latest = ear.latest.as_ref().map(|_| ear.next_at);
            overdue.into_iter().chain(latest).min()
        };
        self.devices.iter().flat_map(|listened| listened.points.iter().filter_map(|ear| of(listened, ear))).min()
    }

    /// Whether there is something to hand on.
    pub fn has_heard(&self) -> bool {
        !self.heard.is_empty()
    }

    /// What was heard since the last call, in order.
    pub fn take(&mut self) -> Vec<Heard> {
        std::mem::take(&mut self.heard)
    }

    /// Telegrams that were none since the last call.
    pub fn take_damaged(&mut self) -> u64 {
        std::mem::take(&mut self.damaged)
    }
}

fn hearing(device: &Device, point: usize) -> Option<&Hearing> {
    device.points[point].source.hearing()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Find, LineSource, Name, Pattern, Point, Publish, Source, TextType, Timestamp};

    fn at(ms: u64) -> Stamp {
        Stamp { monotonic: Monotonic::from_millis(ms), since_boot: None, wall: Timestamp(ms as i64), synced: true }
    }

    /// A device with points that are heard behind these letters.
    fn ears(points: &[(&str, Hearing)]) -> Ears {
        let point = |(letter, hearing): &(&str, Hearing)| {
            let find = Find::Pattern(Pattern::new(&format!("^{letter}(?<value>.*)"), "p").unwrap());
            let (hearing, kind) = (hearing.clone(), TextType::Number);
            let source = LineSource { hearing, find, kind, decimal_comma: false, scale: None, offset: None };
            Point::new(Name::new(letter).unwrap(), Source::Line(Box::new(source)))
        };
        let device = Device {
            name: Name::new("scale").unwrap(),
            bus: Name::new("line").unwrap(),
            unit_id: 0,
            max_registers: 0,
            quirks: crate::model::Quirks::default(),
            publish: Publish::default(),
            points: points.iter().map(point).collect(),
        };
        let mut ears = Ears::new(&[Arc::new(device)]);
        ears.opened(Monotonic::from_millis(0));
        ears
    }

    fn taken(ears: &mut Ears) -> Vec<String> {
        let show = |reading: &Reading| {
            let sample = match &reading.sample {
                Sample::Good(value) => value.to_string(),
                Sample::Bad(fault) => format!("!{fault}"),
            };
            format!("{}={sample}@{}", reading.point, reading.stamp.wall.0)
        };
        ears.take()
            .iter()
            .map(|heard| {
                let readings: Vec<String> = heard.readings.iter().map(show).collect();
                format!("{} {}", readings.join(" "), if heard.is_there { "there" } else { "gone" })
            })
            .collect()
    }

    fn max_age(ms: u64) -> Hearing {
        Hearing { max_age: Some(Duration::from_millis(ms)), ..Hearing::default() }
    }

    #[test]
    fn every_line_is_a_reading_with_its_own_time() {
        let mut ears = ears(&[("a", Hearing::default()), ("b", Hearing::default())]);
        assert!(ears.hear(b"a1", at(5)) && ears.hear(b"a2", at(6)) && ears.hear(b"b3", at(6)));
        assert!(!ears.hear(b"c4", at(7)));
        assert_eq!(taken(&mut ears), ["0=1@5 there", "0=2@6 there", "1=3@6 there"]);
        assert_eq!(ears.wake_at(), None);
    }

    #[test]
    fn a_point_that_is_not_heard_in_time_is_bad_once_and_says_why() {
        let mut ears = ears(&[("a", max_age(1000)), ("b", max_age(3000))]);
        ears.hear(b"a1", at(500));
        ears.take();
        assert_eq!(ears.wake_at(), Some(Monotonic::from_millis(1500)));
        ears.advance(at(1499));
        assert_eq!(taken(&mut ears), [""; 0]);
        ears.advance(at(1500));
        assert_eq!(taken(&mut ears), ["0=!timeout@1500 there"]);
        ears.damaged(Fault::Crc);
        ears.advance(at(3000));
        assert_eq!(taken(&mut ears), ["1=!crc@3000 gone"]);
        ears.advance(at(9000));
        assert_eq!((taken(&mut ears), ears.take_damaged()), (vec![], 1));
        ears.hear(b"b2", at(9500));
        assert_eq!(taken(&mut ears), ["1=2@9500 there"]);
        assert_eq!(ears.wake_at(), Some(Monotonic::from_millis(12_500)));
    }

    #[test]
    fn with_latest_every_only_the_latest_line_of_an_interval_is_a_reading() {
        let every = Hearing { latest_every: Some(Duration::from_millis(1000)), ..Hearing::default() };
        let mut ears = ears(&[("a", every)]);
        for (line, ms) in [(&b"a1"[..], 100), (b"a2", 200), (b"a3", 900)] {
            ears.hear(line, at(ms));
        }
        assert_eq!(taken(&mut ears), ["0=1@100 there"]);
        assert_eq!(ears.wake_at(), Some(Monotonic::from_millis(1100)));
        ears.advance(at(1100));
        assert_eq!(taken(&mut ears), ["0=3@900 there"], "with the time at which it came");
        ears.advance(at(5000));
        assert_eq!(taken(&mut ears), [""; 0], "and never again");
    }

    #[test]
    fn what_is_never_handed_on_is_bounded() {
        let mut ears = ears(&[("a", Hearing::default())]);
        for n in 0..5000 {
            ears.hear(b"a1", at(n));
        }
        assert_eq!((ears.take().len(), ears.take_damaged()), (MOST_HEARD, 4000));
    }
}
