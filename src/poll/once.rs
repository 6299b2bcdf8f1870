//! Points of a device, read once: for commands that look at a device without the gateway.

use std::collections::VecDeque;

use crate::clock::Clock;
use crate::driver::{Driver, Failure, LineError, Request};
use crate::model::{Device, Fault, Reading, Sample, Stamp};

/// Reads `points` (indices into the device's) on a line that is open. Every point is in the result once, in the order of the
/// device's points; what was refused or not answered is bad.
///
/// A request without an answer is repeated `retries` times; when the first one stays without, the others are not tried.
/// Errors when the line is gone.
pub async fn read(
    driver: &mut dyn Driver,
    device: &Device,
    points: &[usize],
    retries: u32,
    clock: Clock,
) -> Result<Vec<Reading>, LineError> {
    let mut pending: VecDeque<Request> = driver.plan(device, points).into();
    let mut readings = Vec::new();
    let mut is_there = false;
    while let Some(request) = pending.pop_front() {
        let outcome = ask(driver, device, &request, retries).await;
        let stamp = clock.stamp();
        if !pending.is_empty() {
            clock.sleep(device.quirks.pause).await;
        }
        match outcome {
            Ok(samples) => {
                is_there = true;
                let points = request.points.iter().zip(samples);
                readings.extend(points.map(|(&point, sample)| Reading { point, sample, stamp }));
            }
            Err(Failure::Refused(fault)) => {
                is_there = true;
                let parts = driver.split(device, &request, fault);
                if parts.is_empty() {
                    readings.extend(bad(&request, fault, stamp));
                }
                parts.into_iter().rev().for_each(|part| pending.push_front(part));
            }
            Err(Failure::NoAnswer(fault)) => {
                readings.extend(bad(&request, fault, stamp));
                if !is_there {
                    readings.extend(pending.drain(..).flat_map(|request| bad(&request, fault, stamp)));
                }
            }
            Err(Failure::LineGone(error)) => return Err(error),
        }
    }
    readings.sort_by_key(|reading| reading.point);
    Ok(readings)
}

async fn ask(
    driver: &mut dyn Driver,
    device: &Device,
    request: &Request,
    retries: u32,
) -> Result<Vec<Sample>, Failure> {
    let mut tries = 0;
    loop {
        let mut samples = Vec::with_capacity(request.points.len());
        match driver.read(device, request, &mut samples).await {
            Err(Failure::NoAnswer(_)) if tries < retries => tries += 1,
            result => return result.map(|()| samples),
        }
    }
}

fn bad(request: &Request, fault: Fault, stamp: Stamp) -> Vec<Reading> {
    request.points.iter().map(|&point| Reading { point, sample: Sample::Bad(fault), stamp }).collect()
}
