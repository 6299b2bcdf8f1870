//! Makes a large configuration small in memory: a hundred thousand points are read from a file that needs ten times their room.

use std::collections::HashSet;

use crate::model::{Device, Name};

/// The same devices, with equal names shared, in memory that the reading of the file has left.
///
/// Call it when all else of the reading is freed. What was made last lies above that, and keeps it from going back to the system;
/// the copies lie in it, and then there is nothing above.
pub(super) fn compact(mut devices: Vec<Device>) -> Vec<Device> {
    let mut names: HashSet<Name> = HashSet::new();
    for point in devices.iter_mut().flat_map(|device| &mut device.points) {
        match names.get(&point.name) {
            Some(name) => point.name = name.clone(),
            None => drop(names.insert(point.name.clone())),
        }
    }
    devices.clone()
}
