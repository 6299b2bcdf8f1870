//! A device: a Modbus unit on a bus, with its points.

use std::time::Duration;

use super::{Name, Point, QoS};

/// One unit on a bus.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// The key under `devices:`.
    pub name: Name,
    /// The bus that it is on.
    pub bus: Name,
    /// Modbus unit identifier: 1 to 247 on a serial line, 0 to 255 over TCP.
    pub unit_id: u8,
    /// The most registers that one answer may carry, 1 to 125 (Modbus Application Protocol 1.1b3 §6.3).
    pub max_registers: u16,
    /// What it can't do that others can.
    pub quirks: Quirks,
    /// How its snapshot `{root}/{device}` is published; per-point settings are in each [`Point`].
    pub publish: Publish,
    /// In the order of the file.
    pub points: Vec<Point>,
}

/// What a device can't do that others can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quirks {
    /// It knows function 23: a write of registers and its read-back are one request.
    pub write_and_read: bool,
    /// Each point is read by a request of its own.
    pub single_requests: bool,
    /// It is left alone for so long after each answer.
    pub pause: Duration,
    /// The most requests that it may have under way at a time, when its bus takes more; at least 1.
    pub max_in_flight: Option<u16>,
}

/// How readings leave as messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish {
    /// Which topics carry it.
    pub mode: PublishMode,
    /// Quality of service on the local broker and towards forward rules.
    pub qos: QoS,
    /// Whether the broker keeps the last one.
    pub retain: bool,
}

impl Default for Publish {
    /// In the snapshot, QoS 1, retained.
    fn default() -> Publish {
        Publish { mode: PublishMode::Device, qos: QoS::AtLeastOnce, retain: true }
    }
}

/// Which topics carry a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishMode {
    /// In the snapshot on `{root}/{device}`.
    Device,
    /// On `{root}/{device}/{point}`.
    Points,
    /// On both.
    Both,
}

impl PublishMode {
    /// Whether the device's snapshot carries it.
    pub fn in_snapshot(self) -> bool {
        self != PublishMode::Points
    }

    /// Whether it has a topic of its own.
    pub fn on_own_topic(self) -> bool {
        self != PublishMode::Device
    }
}
