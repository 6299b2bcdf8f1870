//! Report by exception: which readings differ enough from what was published to be published again. Pure.
//!
//! A reading is compared with the last one that was *published*, so that a value that creeps is told as soon as it has crept a
//! deadband away, however small its steps are.

use std::time::Duration;

use crate::model::{Deadband, Decimal, Monotonic, Point, Reading, ReportMode, Sample, Value};

/// What was published last of each point on one kind of topic. Most points report every reading and need no memory of it.
#[derive(Debug)]
pub(super) struct Published(Vec<Option<Box<(Sample, Monotonic)>>>);

impl Published {
    /// Nothing, for so many points.
    pub(super) fn nothing(points: usize) -> Published {
        Published(vec![None; points])
    }

    /// Whether a reading is worth a message.
    pub(super) fn is_news(&self, point: &Point, reading: &Reading) -> bool {
        let report = &point.report;
        if report.mode == ReportMode::Every {
            return true;
        }
        let Some((last, at)) = self.0[reading.point].as_deref() else { return true };
        let is_silent_too_long = report.max_silence.is_some_and(|most| {
            // Readings come when they come: half an interval early is nearer than half an interval late.
            let tolerance = (point.poll / 2).min(most / 2);
            since(reading, *at) + tolerance >= most
        });
        is_silent_too_long || differs(last, &reading.sample, report.deadband.as_ref())
    }

    /// The reading is in a message.
    pub(super) fn note(&mut self, point: &Point, index: usize, sample: &Sample, at: Monotonic) {
        if point.report.mode == ReportMode::Change {
            self.0[index] = Some(Box::new((sample.clone(), at)));
        }
    }
}

fn since(reading: &Reading, at: Monotonic) -> Duration {
    reading.stamp.monotonic.since(at)
}

/// A change of quality always counts, and so does any change of what is no number.
fn differs(last: &Sample, new: &Sample, deadband: Option<&Deadband>) -> bool {
    match (last, new) {
        (Sample::Good(last), Sample::Good(new)) => is_beyond(last, new, deadband),
        _ => last != new,
    }
}

fn is_beyond(last: &Value, new: &Value, deadband: Option<&Deadband>) -> bool {
    if last == new {
        return false;
    }
    let (Some(deadband), Some(last), Some(new)) = (deadband, last.number(), new.number()) else { return true };
    let change = new.minus(&last).magnitude();
    match deadband {
        Deadband::Absolute(band) => change > *band,
        Deadband::Percent(share) => {
            let hundredfold = Decimal::scaled(&change, Some(&Decimal::from(100u16)), None);
            hundredfold > Decimal::scaled(&last.magnitude(), Some(share), None)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Fault, Name, PointType, RegisterSource, RegisterTable, Report, Source, Stamp, Timestamp};

    fn point(deadband: Option<Deadband>, max_silence_s: Option<u64>) -> Point {
        let source = Source::Register(RegisterSource::new(RegisterTable::Holding, 0, PointType::I32));
        let max_silence = max_silence_s.map(Duration::from_secs);
        let report = Report { mode: ReportMode::Change, deadband, max_silence };
        Point { report, ..Point::new(Name::new("p").unwrap(), source) }
    }

    fn reading(ms: u64, sample: Sample) -> Reading {
        let stamp = Stamp { monotonic: Monotonic::from_millis(ms), since_boot: None, wall: Timestamp(0), synced: true };
        Reading { point: 0, sample, stamp }
    }

    fn good(number: i128) -> Sample {
        Sample::Good(Value::Integer(number))
    }

    fn absolute(text: &str) -> Option<Deadband> {
        Some(Deadband::Absolute(text.parse().unwrap()))
    }

    /// Which of these samples, one a second, are published.
    fn published(point: &Point, samples: Vec<Sample>) -> Vec<usize> {
        let mut last = Published::nothing(1);
        let mut news = Vec::new();
        for (second, sample) in samples.into_iter().enumerate() {
            let reading = reading(second as u64 * 1000, sample);
            if last.is_news(point, &reading) {
                last.note(point, 0, &reading.sample, reading.stamp.monotonic);
                news.push(second);
            }
        }
        news
    }

    #[test]
    fn a_change_is_published_and_what_stays_the_same_is_not() {
        let samples = vec![good(5), good(5), good(6), good(6), good(5)];
        assert_eq!(published(&point(None, None), samples.clone()), [0, 2, 4]);
        let every = Point { report: Report::default(), ..point(None, None) };
        assert_eq!(published(&every, samples), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn what_creeps_is_told_once_it_has_left_the_deadband() {
        let samples = vec![good(100), good(101), good(102), good(103), good(104), good(102), good(101)];
        assert_eq!(published(&point(absolute("2"), None), samples), [0, 3]);
        let percent = Some(Deadband::Percent("2.5".parse().unwrap()));
        assert_eq!(published(&point(percent.clone(), None), vec![good(-200), good(-205), good(-206)]), [0, 2]);
        assert_eq!(published(&point(percent, None), vec![good(0), good(0), good(1)]), [0, 2], "of nothing, anything");
        assert_eq!(published(&point(absolute("0"), None), vec![good(1), good(1), good(2)]), [0, 2]);
    }

    #[test]
    fn a_change_of_quality_is_always_published() {
        let bad = |fault| Sample::Bad(fault);
        let samples = vec![good(5), bad(Fault::Timeout), bad(Fault::Timeout), bad(Fault::Crc), good(5)];
        assert_eq!(published(&point(absolute("100"), None), samples), [0, 1, 3, 4]);
    }

    #[test]
    fn silence_ends_in_time_though_nothing_changes_and_readings_come_a_little_early() {
        assert_eq!(published(&point(None, Some(3)), vec![good(5); 10]), [0, 3, 6, 9]);
        let point = point(None, Some(60));
        let mut last = Published::nothing(1);
        last.note(&point, 0, &good(5), Monotonic::from_millis(10));
        assert!(!last.is_news(&point, &reading(59_000, good(5))));
        assert!(last.is_news(&point, &reading(60_005, good(5))));
    }

    proptest! {
        #[test]
        fn what_subscribers_know_is_never_further_off_than_the_deadband(
            values in prop::collection::vec(-50i128..50, 1..100), band in 0u32..20,
        ) {
            let point = point(absolute(&band.to_string()), None);
            let mut last = Published::nothing(1);
            let mut known = None;
            for (n, value) in values.into_iter().enumerate() {
                let reading = reading(n as u64, good(value));
                if last.is_news(&point, &reading) {
                    last.note(&point, 0, &reading.sample, reading.stamp.monotonic);
                    known = Some(value);
                }
                prop_assert!(known.is_some_and(|known: i128| (known - value).abs() <= i128::from(band)));
            }
        }
    }
}
