//! Points of a device, read once: for commands that look at a device without the gateway.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::driver::{Driver, Failure, LineError, Request};
use crate::model::{Device, Fault, Reading, Sample, Stamp};

/// A device that speaks by itself is listened to for so long.
const PATIENCE: Duration = Duration::from_secs(15);

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
    let unasked = driver.unasked(device).into_iter().filter(|point| points.contains(point)).collect();
    readings.extend(overhear(driver, device, unasked, clock).await?);
    readings.sort_by_key(|reading| reading.point);
    Ok(readings)
}

/// Waits for points that come unasked, until each has come once or is overdue.
async fn overhear(
    driver: &mut dyn Driver,
    device: &Device,
    mut wanted: Vec<usize>,
    clock: Clock,
) -> Result<Vec<Reading>, LineError> {
    let mut found = Vec::new();
    if wanted.is_empty() {
        return Ok(found);
    }
    driver.attach(&[Arc::new(device.clone())]);
    let deadline = clock.now() + PATIENCE;
    while !wanted.is_empty() && clock.now() < deadline {
        for reading in driver.heard().into_iter().flat_map(|heard| heard.readings) {
            if let Some(at) = wanted.iter().position(|point| *point == reading.point) {
                wanted.swap_remove(at);
                found.push(reading);
            }
        }
        if !wanted.is_empty() {
            tokio::select! {
                heard = driver.listen() => heard?,
                () = clock.sleep_until(deadline) => {}
            }
        }
    }
    let stamp = clock.stamp();
    found.extend(wanted.into_iter().map(|point| Reading { point, sample: Sample::Bad(Fault::Timeout), stamp }));
    Ok(found)
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
