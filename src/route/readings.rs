//! Readings become messages: snapshots, per-point messages and availability, on the topics of `DESIGN.md` §5.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Device, DevicePoints, Message, Name, Point, Publish, QoS, Round, Sample, Stamp, Topic, TopicError};

use super::payload;
use super::report::Published;

/// Holds each device's last samples, because a snapshot shows every point as last read.
#[derive(Debug)]
pub struct ReadingRouter {
    root: Topic,
    devices: HashMap<Name, DeviceRoute>,
}

#[derive(Debug)]
struct DeviceRoute {
    device: Arc<Device>,
    snapshot: Topic,
    availability: Topic,
    /// Of the points that have one of their own.
    points: Vec<Option<Topic>>,
    last: Vec<Option<Sample>>,
    on_points: Published,
    in_snapshot: Published,
}

impl ReadingRouter {
    /// Prepares the topics of all devices under `root`. Errors when one would be too long for MQTT.
    pub fn new<'a>(root: &Topic, devices: impl Iterator<Item = &'a Arc<Device>>) -> Result<ReadingRouter, TopicError> {
        let devices = devices.map(|device| Ok((device.name.clone(), DeviceRoute::new(root, device)?)));
        Ok(ReadingRouter { root: root.clone(), devices: devices.collect::<Result<_, TopicError>>()? })
    }

    /// From now on these are the devices. What was read of those that are the same as before is kept. Returns the messages with which topics end
    /// that nobody will publish on any more: what is retained there is taken away, and a device that is gone is offline before that.
    ///
    /// Errors when a topic would be too long for MQTT; then nothing has changed.
    pub fn replace<'a>(&mut self, devices: impl Iterator<Item = &'a Arc<Device>>) -> Result<Vec<Message>, TopicError> {
        let mut new = HashMap::new();
        let mut kept = Vec::new();
        for device in devices {
            match self.devices.get(&device.name) {
                Some(route) if Arc::ptr_eq(&route.device, device) => kept.push(device.name.clone()),
                _ => {
                    new.insert(device.name.clone(), DeviceRoute::new(&self.root, device)?);
                }
            }
        }
        let mut old = std::mem::take(&mut self.devices);
        for name in kept {
            new.extend(old.remove_entry(&name));
        }
        let mut endings = Vec::new();
        for (name, route) in &old {
            let successor = new.get(name);
            if successor.is_none() {
                endings.push(Message::new(route.availability.clone(), "offline", QoS::AtLeastOnce, true));
            }
            let still: Vec<&Topic> = successor.into_iter().flat_map(DeviceRoute::retained).collect();
            let ending = route.retained().filter(|topic| !still.contains(topic));
            endings.extend(ending.map(|topic| Message::new(topic.clone(), "", QoS::AtLeastOnce, true)));
        }
        self.devices = new;
        Ok(endings)
    }

    /// The messages for one finished poll: points with a topic of their own first, then the snapshot. Readings that are no
    /// news, as their points have it, are in no message; a snapshot that is sent is whole all the same.
    pub fn round(&mut self, round: &Round) -> Vec<Message> {
        let device = &round.device;
        // A last round of a device that is another one by now has other points.
        let Some(route) = self.devices.get_mut(&device.name).filter(|route| Arc::ptr_eq(&route.device, device)) else {
            return Vec::new();
        };
        let mut messages = Vec::new();
        let mut newest: Option<Stamp> = None;
        let mut is_news = false;
        for reading in &round.readings {
            let point = &device.points[reading.point];
            let Publish { mode, qos, retain } = point.publish;
            if let Some(topic) = &route.points[reading.point]
                && route.on_points.is_news(point, reading)
            {
                route.on_points.note(point, reading.point, &reading.sample, reading.stamp.monotonic);
                let payload = payload::point(reading.stamp, &reading.sample, point.unit.as_deref());
                messages.push(Message::new(topic.clone(), payload, qos, retain));
            }
            if mode.in_snapshot() {
                is_news = is_news || route.in_snapshot.is_news(point, reading);
                newest = newest.filter(|newest| newest.monotonic > reading.stamp.monotonic).or(Some(reading.stamp));
            }
            route.last[reading.point] = Some(reading.sample.clone());
        }
        if let (Some(stamp), true) = (newest, is_news) {
            messages.push(route.snapshot(device, stamp));
        }
        messages
    }

    /// How the points of every device are doing.
    pub fn points(&self) -> Vec<DevicePoints> {
        self.devices.values().map(DeviceRoute::points).collect()
    }

    /// `online` or `offline`, retained.
    pub fn availability(&self, device: &Name, online: bool) -> Option<Message> {
        let route = self.devices.get(device)?;
        let payload = if online { "online" } else { "offline" };
        Some(Message::new(route.availability.clone(), payload, QoS::AtLeastOnce, true))
    }
}

impl DeviceRoute {
    /// The topics on which something is retained.
    fn retained(&self) -> impl Iterator<Item = &Topic> {
        let snapshot = self.device.publish.retain.then_some(&self.snapshot);
        let points = self.device.points.iter().zip(&self.points);
        let points = points.filter(|(point, _)| point.publish.retain).filter_map(|(_, topic)| topic.as_ref());
        [&self.availability].into_iter().chain(snapshot).chain(points)
    }

    fn points(&self) -> DevicePoints {
        let points = || self.device.points.iter().zip(&self.last);
        let bad = points().filter_map(|(point, last)| match last {
            Some(Sample::Bad(fault)) => Some((point.name.clone(), *fault)),
            _ => None,
        });
        DevicePoints {
            device: self.device.name.clone(),
            count: self.device.points.len(),
            good: self.last.iter().filter(|last| matches!(last, Some(Sample::Good(_)))).count(),
            bad: bad.collect(),
        }
    }

    /// Every point as last read, which is what was published last from now on.
    fn snapshot(&mut self, device: &Device, stamp: Stamp) -> Message {
        let points = device.points.iter().zip(&self.last);
        let known = points
            .filter(|(point, _)| point.publish.mode.in_snapshot())
            .filter_map(|(point, last)| last.as_ref().map(|sample| (&point.name, sample)));
        let payload = payload::snapshot(stamp, known);
        for (index, (point, last)) in device.points.iter().zip(&self.last).enumerate() {
            if let Some(sample) = last {
                self.in_snapshot.note(point, index, sample, stamp.monotonic);
            }
        }
        Message::new(self.snapshot.clone(), payload, device.publish.qos, device.publish.retain)
    }

    fn new(root: &Topic, device: &Arc<Device>) -> Result<DeviceRoute, TopicError> {
        let topic = |name: &str| Topic::new(&format!("{root}/{}/{name}", device.name));
        let own_topic = |point: &Point| point.publish.mode.on_own_topic().then(|| topic(&point.name)).transpose();
        Ok(DeviceRoute {
            device: Arc::clone(device),
            snapshot: Topic::new(&format!("{root}/{}", device.name))?,
            availability: topic("availability")?,
            points: device.points.iter().map(own_topic).collect::<Result<_, _>>()?,
            last: vec![None; device.points.len()],
            on_points: Published::nothing(device.points.len()),
            in_snapshot: Published::nothing(device.points.len()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Fault, Monotonic, PointType, Publish, PublishMode, Quirks, Reading, RegisterSource, RegisterTable, Report,
        ReportMode, Source, Stamp, Timestamp, Value,
    };

    fn publish(mode: PublishMode) -> Publish {
        Publish { mode, qos: QoS::AtLeastOnce, retain: true }
    }

    fn point(name: &str, mode: PublishMode) -> Point {
        let register = RegisterSource::new(RegisterTable::Holding, 0, PointType::U16);
        Point {
            unit: Some("V".into()),
            publish: publish(mode),
            ..Point::new(Name::new(name).unwrap(), Source::Register(register))
        }
    }

    fn device(points: Vec<Point>) -> Arc<Device> {
        Arc::new(Device {
            name: Name::new("meter").unwrap(),
            bus: Name::new("line").unwrap(),
            unit_id: 1,
            max_registers: 125,
            quirks: Quirks::default(),
            publish: publish(PublishMode::Device),
            points,
        })
    }

    fn reading(point: usize, ms: u64, sample: Sample) -> Reading {
        let stamp =
            Stamp { monotonic: Monotonic::from_millis(ms), since_boot: None, wall: Timestamp(ms as i64), synced: true };
        Reading { point, sample, stamp }
    }

    fn texts(messages: &[Message]) -> Vec<(String, String)> {
        let text = |m: &Message| (m.topic.to_string(), String::from_utf8_lossy(&m.payload).into_owned());
        messages.iter().map(text).collect()
    }

    #[test]
    fn a_snapshot_shows_every_point_as_last_read_with_the_time_of_the_newest_response() {
        let meter = device(vec![point("a", PublishMode::Device), point("b", PublishMode::Device)]);
        let mut router = ReadingRouter::new(&Topic::new("fw").unwrap(), [&meter].into_iter()).unwrap();
        let first =
            vec![reading(0, 1000, Sample::Good(Value::Integer(1))), reading(1, 1200, Sample::Good(Value::Integer(2)))];
        router.round(&Round { device: meter.clone(), readings: first });
        let second = vec![reading(1, 2000, Sample::Bad(Fault::Sentinel))];
        let messages = router.round(&Round { device: meter, readings: second });
        assert_eq!(
            texts(&messages),
            [(
                "fw/meter".into(),
                r#"{"ts":"1970-01-01T00:00:02.000Z","values":{"a":1},"bad":{"b":"sentinel"}}"#.into()
            )]
        );
    }

    #[test]
    fn points_with_topics_of_their_own_are_published_there_and_in_the_snapshot_only_when_both() {
        let meter = device(vec![point("own", PublishMode::Points), point("both", PublishMode::Both)]);
        let mut router = ReadingRouter::new(&Topic::new("fw").unwrap(), [&meter].into_iter()).unwrap();
        let readings =
            vec![reading(0, 1000, Sample::Good(Value::Integer(1))), reading(1, 1000, Sample::Good(Value::Integer(2)))];
        let messages = texts(&router.round(&Round { device: meter, readings }));
        let topics: Vec<_> = messages.iter().map(|(topic, _)| topic.as_str()).collect();
        assert_eq!(topics, ["fw/meter/own", "fw/meter/both", "fw/meter"]);
        assert_eq!(messages[2].1, r#"{"ts":"1970-01-01T00:00:01.000Z","values":{"both":2},"bad":{}}"#);
    }

    #[test]
    fn a_round_of_points_that_no_snapshot_carries_publishes_no_snapshot() {
        let meter = device(vec![point("own", PublishMode::Points)]);
        let mut router = ReadingRouter::new(&Topic::new("fw").unwrap(), [&meter].into_iter()).unwrap();
        let readings = vec![reading(0, 1000, Sample::Good(Value::Integer(1)))];
        assert_eq!(router.round(&Round { device: meter, readings }).len(), 1);
    }

    #[test]
    fn a_snapshot_is_sent_when_any_of_its_points_has_news_and_is_whole() {
        let change = Report { mode: ReportMode::Change, deadband: None, max_silence: None };
        let quiet = |name, mode| Point { report: change.clone(), ..point(name, mode) };
        let meter = device(vec![quiet("a", PublishMode::Both), quiet("b", PublishMode::Device)]);
        let mut router = ReadingRouter::new(&Topic::new("fw").unwrap(), [&meter].into_iter()).unwrap();
        let mut topics = |ms, a, b| {
            let good = |value| Sample::Good(Value::Integer(value));
            let readings = vec![reading(0, ms, good(a)), reading(1, ms, good(b))];
            texts(&router.round(&Round { device: meter.clone(), readings }))
        };
        assert_eq!(topics(1000, 1, 2).len(), 2);
        assert_eq!(topics(2000, 1, 2), []);
        let whole = r#"{"ts":"1970-01-01T00:00:03.000Z","values":{"a":1,"b":3},"bad":{}}"#;
        assert_eq!(topics(3000, 1, 3), [("fw/meter".to_owned(), whole.to_owned())]);
        let last: Vec<String> = topics(4000, 7, 3).into_iter().map(|(topic, _)| topic).collect();
        assert_eq!(last, ["fw/meter/a", "fw/meter"]);
    }

    #[test]
    fn availability_is_retained_on_the_devices_own_topic() {
        let meter = device(vec![]);
        let router = ReadingRouter::new(&Topic::new("fw").unwrap(), [&meter].into_iter()).unwrap();
        let message = router.availability(&meter.name, false).unwrap();
        assert_eq!((message.topic.as_str(), message.retain), ("fw/meter/availability", true));
        assert_eq!(message.payload, "offline");
    }

    #[test]
    fn topics_that_nobody_publishes_on_any_more_end_and_what_stays_keeps_its_readings() {
        let stays = device(vec![point("a", PublishMode::Device)]);
        let named = |name, points| Arc::new(Device { name: Name::new(name).unwrap(), ..(*device(points)).clone() });
        let goes = named("gone", vec![point("x", PublishMode::Points)]);
        let changes = named("changed", vec![point("x", PublishMode::Both), point("y", PublishMode::Points)]);
        let root = Topic::new("fw").unwrap();
        let mut router = ReadingRouter::new(&root, [&stays, &goes, &changes].into_iter()).unwrap();
        let readings = vec![reading(0, 1000, Sample::Good(Value::Integer(1)))];
        router.round(&Round { device: stays.clone(), readings });

        let changed = named("changed", vec![point("x", PublishMode::Both)]);
        let mut endings = texts(&router.replace([&stays, &changed].into_iter()).unwrap());
        endings.sort();
        let ended = |topic: &str, payload: &str| (topic.to_owned(), payload.to_owned());
        assert_eq!(
            endings,
            [
                ended("fw/changed/y", ""),
                ended("fw/gone", ""),
                ended("fw/gone/availability", ""),
                ended("fw/gone/availability", "offline"),
                ended("fw/gone/x", ""),
            ]
        );
        let points = router.points();
        assert_eq!(points.iter().map(|device| device.good).sum::<usize>(), 1, "{points:?}");
        // The last words of a task that has ended are about points that are no more.
        let late = Round { device: changes, readings: vec![reading(1, 2000, Sample::Good(Value::Integer(1)))] };
        assert_eq!(router.round(&late), []);
    }
}
