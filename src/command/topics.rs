//! Which topics are commands, and to whom. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Device, Filter, Name, Topic, TopicError};

/// The last level of a command, and of its result.
const SET: &str = "set";
const RESULT: &str = "result";

/// The devices and where they are told what to do.
#[derive(Debug)]
pub struct CommandTopics {
    root: Topic,
    devices: HashMap<Name, Arc<Device>>,
}

/// To whom a command is.
#[derive(Debug, Clone)]
pub enum Addressee {
    /// To one point, by its index.
    Point(Arc<Device>, usize),
    /// To several points of a device.
    Device(Arc<Device>),
    /// To nobody: the words say who is not there.
    Nobody(String),
}

impl CommandTopics {
    /// Of these devices under `root`.
    pub fn new<'a>(root: &Topic, devices: impl Iterator<Item = &'a Arc<Device>>) -> CommandTopics {
        let devices = devices.map(|device| (device.name.clone(), Arc::clone(device))).collect();
        CommandTopics { root: root.clone(), devices }
    }

    /// From now on of these devices.
    pub fn replace<'a>(&mut self, devices: impl Iterator<Item = &'a Arc<Device>>) {
        self.devices = devices.map(|device| (device.name.clone(), Arc::clone(device))).collect();
    }

    /// What to subscribe to. Errors when one would be too long for MQTT.
    pub fn filters(&self) -> Result<Vec<Filter>, TopicError> {
        let root = &self.root;
        Ok(vec![Filter::new(&format!("{root}/+/{SET}"))?, Filter::new(&format!("{root}/+/+/{SET}"))?])
    }

    /// To whom a message on that topic is; `None` when it is no command.
    pub fn addressee(&self, topic: &str) -> Option<Addressee> {
        let rest = topic.strip_prefix(self.root.as_str())?.strip_prefix('/')?;
        let levels: Vec<&str> = rest.split('/').collect();
        let (device, point) = match levels[..] {
            [device, SET] => (device, None),
            [device, point, SET] => (device, Some(point)),
            _ => return None,
        };
        let Some(device) = self.devices.get(device) else {
            return Some(Addressee::Nobody(format!("there is no device `{device}`")));
        };
        let Some(point) = point else { return Some(Addressee::Device(Arc::clone(device))) };
        match device.points.iter().position(|known| known.name.as_str() == point) {
            Some(index) => Some(Addressee::Point(Arc::clone(device), index)),
            None => Some(Addressee::Nobody(format!("`{}` has no point `{point}`", device.name))),
        }
    }

    /// Where the result of a command goes. Errors when that is too long for MQTT.
    pub fn result(command: &Topic) -> Result<Topic, TopicError> {
        let stem = command.strip_suffix(SET).unwrap_or(command);
        Topic::new(&format!("{stem}{RESULT}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Point, PointType, Publish, Quirks, RegisterSource, RegisterTable, Source};

    #[test]
    fn a_command_names_a_point_a_device_or_nobody() {
        let name = |text| Name::new(text).unwrap();
        let source = Source::Register(RegisterSource::new(RegisterTable::Coil, 0, PointType::Bool));
        let device = Arc::new(Device {
            name: name("boiler"),
            bus: name("bus"),
            unit_id: 1,
            max_registers: 125,
            quirks: Quirks::default(),
            publish: Publish::default(),
            points: vec![Point::new(name("pump"), source)],
        });
        let topics = CommandTopics::new(&Topic::new("fw/p7").unwrap(), [&device].into_iter());
        let to = |topic: &str| match topics.addressee(topic) {
            Some(Addressee::Point(device, index)) => format!("{} {}", device.name, device.points[index].name),
            Some(Addressee::Device(device)) => device.name.to_string(),
            Some(Addressee::Nobody(words)) => words,
            None => "-".into(),
        };
        for (topic, expected) in [
            ("fw/p7/boiler/pump/set", "boiler pump"),
            ("fw/p7/boiler/set", "boiler"),
            ("fw/p7/boiler/flow/set", "`boiler` has no point `flow`"),
            ("fw/p7/x/set", "there is no device `x`"),
            ("fw/p7/set", "-"),
            ("fw/p7/boiler/pump/result", "-"),
            ("fw/p7x/boiler/set", "-"),
            ("fw/p7/boiler/pump/x/set", "-"),
        ] {
            assert_eq!(to(topic), expected, "{topic}");
        }
        let result = CommandTopics::result(&Topic::new("fw/p7/boiler/pump/set").unwrap());
        assert_eq!(result.unwrap().as_str(), "fw/p7/boiler/pump/result");
        for (filter, topic) in topics.filters().unwrap().iter().zip(["fw/p7/boiler/set", "fw/p7/boiler/pump/set"]) {
            assert!(filter.matches(topic));
        }
    }
}
