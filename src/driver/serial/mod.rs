//! Devices that speak lines of text or frames of bytes: what they are asked and what they say by themselves.
//!
//! `collector` cuts telegrams out of the stream (`lines`, `frames`), `extract` makes samples of them, `ears` knows what comes unasked, and `talk`
//! exchanges them on a wire; only `talk` does I/O.

mod checksum;
mod collector;
mod ears;
mod extract;
mod frames;
mod lines;
mod nmea;
mod talk;

use std::sync::Arc;
use std::time::Duration;

use super::{Driver, DriverError, Failure, Heard, LineError, Pending, Request};
use crate::clock::Clock;
use crate::model::{Bus, Device, Fault, LineFormat, Point, RegisterTable, Sample, StreamFormat};
use talk::Talk;

pub use checksum::checksum;
pub use collector::{Collector, Piece};
pub use extract::extract;

/// The driver for lines of text.
pub(super) fn lines(bus: &Bus, clock: Clock) -> Result<Box<dyn Driver>, DriverError> {
    driver(bus, StreamFormat::Lines(LineFormat::default()), clock)
}

/// The driver for frames of bytes.
pub(super) fn frames(bus: &Bus, clock: Clock) -> Result<Box<dyn Driver>, DriverError> {
    driver(bus, StreamFormat::Frames(Default::default()), clock)
}

/// `usual` is for a bus that does not say how its bytes become telegrams.
fn driver(bus: &Bus, usual: StreamFormat, clock: Clock) -> Result<Box<dyn Driver>, DriverError> {
    let collector = Collector::new(&bus.format).or_else(|| Collector::new(&usual));
    let collector = collector.ok_or(DriverError::NoDriver(bus.protocol))?;
    Ok(Box::new(Serial { talk: Talk::new(bus, collector, clock) }))
}

struct Serial {
    talk: Talk,
}

impl Driver for Serial {
    fn plan(&self, device: &Device, points: &[usize]) -> Vec<Request> {
        let mut requests: Vec<Request> = Vec::new();
        for &index in points {
            let Some(asked) = asked(&device.points[index]) else { continue };
            let same = |request: &&mut Request| asked_by(device, request) == Some(asked);
            match requests.iter_mut().find(same) {
                Some(request) => request.points.push(index),
                None => {
                    requests.push(Request { table: RegisterTable::Holding, address: 0, count: 1, points: vec![index] });
                }
            }
        }
        requests
    }

    fn split(&self, _: &Device, _: &Request, _: Fault) -> Vec<Request> {
        Vec::new()
    }

    fn expected(&self, _: &Request) -> Duration {
        self.talk.expected()
    }

    fn longest(&self) -> Duration {
        self.talk.longest()
    }

    fn open(&mut self) -> Pending<'_, Result<(), LineError>> {
        Box::pin(self.talk.open())
    }

    fn read<'a>(
        &'a mut self,
        device: &'a Device,
        request: &'a Request,
        samples: &'a mut Vec<Sample>,
    ) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            let Some(asked) = asked_by(device, request) else { return Err(Failure::NoAnswer(Fault::Framing)) };
            samples.extend(self.talk.read(device, &request.points, asked).await?);
            Ok(())
        })
    }

    fn attach(&mut self, devices: &[Arc<Device>]) {
        self.talk.attach(devices);
    }

    fn unasked(&self, device: &Device) -> Vec<usize> {
        ears::unasked(device).map(|(point, _)| point).collect()
    }

    fn listen(&mut self) -> Pending<'_, Result<(), LineError>> {
        Box::pin(self.talk.listen())
    }

    fn heard(&mut self) -> Vec<Heard> {
        self.talk.heard()
    }

    fn damaged(&mut self) -> u64 {
        self.talk.damaged()
    }

    fn describe(&self, device: &Device, request: &Request) -> String {
        let asked = asked_by(device, request).map(|asked| asked.escape_ascii().to_string());
        format!("\"{}\"", asked.unwrap_or_default())
    }
}

/// What is sent to get a point.
fn asked(point: &Point) -> Option<&Arc<[u8]>> {
    point.source.hearing()?.request.as_ref()
}

/// What is sent to get all points of a request, which have it in common.
fn asked_by<'a>(device: &'a Device, request: &Request) -> Option<&'a Arc<[u8]>> {
    asked(&device.points[*request.points.first()?])
}
