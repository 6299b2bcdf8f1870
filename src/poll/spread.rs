//! Where on their grids the groups of a bus begin. Pure.

use std::sync::Arc;
use std::time::Duration;

use super::scheduler::PlannedGroup;
use crate::model::{Device, Name};

/// Where on their grids the groups of a bus begin, so that not everything is due at one moment.
///
/// Buses differ by a share of their shortest interval that their name gives. On one bus the groups of the shortest interval
/// stay together: read in one go, they leave the longest gaps. Slower ones are dealt out over those moments.
pub struct Spread {
    step: Duration,
    phase: Duration,
}

impl Spread {
    /// For the devices of this bus.
    pub fn new(bus: &Name, devices: &[(Arc<Device>, Vec<PlannedGroup>)]) -> Spread {
        let intervals = devices.iter().flat_map(|(_, groups)| groups.iter().map(|group| group.interval));
        let step = intervals.min().unwrap_or_default();
        // FNV-1a, and a multiplication by the golden ratio so that similar names end up far apart.
        let fnv = bus.bytes().fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let hash = (fnv ^ (fnv >> 15)).wrapping_mul(0x9E37_79B1);
        Spread { step, phase: step.mul_f64(f64::from(hash) / (f64::from(u32::MAX) + 1.0)) }
    }

    /// Where the next group of this interval begins; `slow` counts those that are dealt out.
    pub fn offset(&self, interval: Duration, slow: &mut u32) -> Duration {
        let steps = u32::try_from(interval.as_nanos() / self.step.as_nanos().max(1)).unwrap_or(u32::MAX);
        if steps <= 1 {
            return self.phase;
        }
        *slow += 1;
        self.phase + self.step * (*slow % steps)
    }
}
