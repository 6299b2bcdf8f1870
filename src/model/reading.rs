//! Readings: samples with the time of their own response.

use std::sync::Arc;

use super::{Device, Monotonic, Sample, SinceBoot, Timestamp};

/// When a response arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Orders readings; never jumps.
    pub monotonic: Monotonic,
    /// The same for whoever has to make the wall time right later, also after a restart of this process; `None` where the system does not say.
    pub since_boot: Option<SinceBoot>,
    /// What payloads print.
    pub wall: Timestamp,
    /// Whether the wall clock had been set by then. A Raspberry Pi has no clock of its own and starts in the past.
    pub synced: bool,
}

/// One point of a device, as one response (or its absence) gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Index into [`Device::points`].
    pub point: usize,
    /// Its value or fault.
    pub sample: Sample,
    /// When its own response arrived, or its request failed.
    pub stamp: Stamp,
}

/// What one poll of a device brought: every point that was due, once.
#[derive(Debug, Clone)]
pub struct Round {
    /// The device.
    pub device: Arc<Device>,
    /// Its due points; never empty.
    pub readings: Vec<Reading>,
}
