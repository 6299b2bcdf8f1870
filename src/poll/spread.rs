//! Where on their grids the groups of a bus begin. Pure.

use std::sync::Arc;
use std::time::Duration;

use super::scheduler::PlannedGroup;
use crate::model::{Device, Monotonic, Name};

/// Groups of different buses begin on a beat that all of them share, or a hundred devices would wake a resting processor
/// a hundred times a second: each of those wakings costs more than the reading that it is for. With ten moments a second for a hundred devices
/// all of it took half as much CPU again as with four.
const BEAT: Duration = Duration::from_millis(250);
/// The beats that an interval is divided into at the least.
const LEAST_BEATS: u32 = 4;

/// Where on their grids the groups of a bus begin, so that not everything is due at one moment.
///
/// Buses differ by a share of their shortest interval that their name gives, in whole beats. On one bus the groups of the
/// shortest interval stay together: read in one go, they leave the longest gaps. Slower ones are dealt out over those moments.
pub struct Spread {
    step: Duration,
    phase: Duration,
}

impl Spread {
    /// For the devices of this bus, whose grids begin at `start`.
    pub fn new(start: Monotonic, bus: &Name, devices: &[(Arc<Device>, Vec<PlannedGroup>)]) -> Spread {
        let intervals = devices.iter().flat_map(|(_, groups)| groups.iter().map(|group| group.interval));
        let step = intervals.min().unwrap_or_default();
        // FNV-1a, and a multiplication by the golden ratio so that similar names end up far apart.
        let fnv = bus.bytes().fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let hash = (fnv ^ (fnv >> 15)).wrapping_mul(0x9E37_79B1);
        let share = step.mul_f64(f64::from(hash) / (f64::from(u32::MAX) + 1.0));
        Spread { step, phase: on_the_beat(start, share, BEAT.min(step / LEAST_BEATS)) }
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

/// The time from `start` to the last beat within `share` of it, or to the first beat when none is that near.
fn on_the_beat(start: Monotonic, share: Duration, beat: Duration) -> Duration {
    let beat = beat.as_nanos().max(1);
    let start = start.0.as_nanos();
    let moment = start.div_ceil(beat).max((start + share.as_nanos()) / beat) * beat;
    Duration::from_nanos(u64::try_from(moment - start).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buses_that_start_at_different_moments_share_their_beats() {
        for (start, share) in [(0, 0), (0, 999), (13, 0), (13, 30), (13, 400), (1_049, 1), (777_777, 731)] {
            let offset = on_the_beat(Monotonic::from_millis(start), Duration::from_millis(share), BEAT);
            assert_eq!((u128::from(start) + offset.as_millis()) % BEAT.as_millis(), 0, "{start} {share}");
            assert!(offset.abs_diff(Duration::from_millis(share)) < BEAT, "{start} {share}: {offset:?}");
        }
    }

    #[test]
    fn an_interval_without_a_length_has_no_phase() {
        assert_eq!(on_the_beat(Monotonic::from_millis(5), Duration::ZERO, Duration::ZERO), Duration::ZERO);
    }
}
