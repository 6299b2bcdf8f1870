//! Modbus over TCP and over serial lines (RTU and ASCII): requests from points, samples from answers.
//!
//! `plan` decides what is asked together, `client` exchanges frames, `decode` makes values of registers. Only `client`
//! does I/O and only it knows which Modbus library is used.

mod client;
mod decode;
mod encode;
mod float16;
mod plan;
mod raw;
mod text;

use std::sync::Arc;
use std::time::Duration;

use client::{Client, Framing, Over, Overlapped};
use plan::Gaps;

pub use client::frames;
pub use decode::{Cells, decode, decode_as, factor_of};
pub use encode::{EncodeError, Encoded, encode};
pub use raw::Masked;

use super::stream::{Connector, line_settings};
use super::{Driver, DriverError, Ending, Failure, Finished, LineError, Pending, Pipeline, Request};
use crate::clock::Clock;
use crate::model::{Bus, Device, Fault, Sample};

/// The driver for Modbus RTU, on a serial port or through a converter.
pub(super) fn rtu(bus: &Bus, clock: Clock) -> Result<Box<dyn Driver>, DriverError> {
    Ok(serial(bus, Framing::Rtu, clock))
}

/// The driver for Modbus ASCII, likewise.
pub(super) fn ascii(bus: &Bus, clock: Clock) -> Result<Box<dyn Driver>, DriverError> {
    Ok(serial(bus, Framing::Ascii, clock))
}

fn serial(bus: &Bus, framing: Framing, clock: Clock) -> Box<dyn Driver> {
    let gaps = Gaps::on_serial(bus.max_gap, &line_settings(&bus.transport));
    Box::new(Modbus { client: Client::line(bus, framing, clock), gaps })
}

/// The driver for Modbus TCP.
pub(super) fn tcp(bus: &Bus, clock: Clock) -> Result<Box<dyn Driver>, DriverError> {
    let connector = Connector::new(&bus.transport, bus.timeout, clock)
        .ok_or_else(|| DriverError::WrongTransport { protocol: bus.protocol, transport: bus.transport.clone() })?;
    let client = Client::tcp(connector, bus.timeout, bus.in_flight, clock);
    Ok(Box::new(Modbus { client, gaps: Gaps::on_tcp(bus.max_gap) }))
}

struct Modbus {
    client: Client,
    gaps: Gaps,
}

impl Driver for Modbus {
    fn plan(&self, device: &Device, points: &[usize]) -> Vec<Request> {
        plan::plan(&device.points, points, device.max_registers, self.gaps)
    }

    fn split(&self, device: &Device, request: &Request, fault: Fault) -> Vec<Request> {
        match fault {
            // Exception 2 is about an address; some devices say 3 instead, also for more cells than they can answer.
            Fault::IllegalAddress | Fault::IllegalValue => plan::split(&device.points, request),
            _ => Vec::new(),
        }
    }

    fn longest(&self) -> Duration {
        self.client.longest()
    }

    fn open(&mut self) -> Pending<'_, Result<(), LineError>> {
        Box::pin(self.client.open())
    }

    fn read<'a>(
        &'a mut self,
        device: &'a Device,
        request: &'a Request,
        samples: &'a mut Vec<Sample>,
    ) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            let cells = self.client.read(device.unit_id, request).await?;
            samples.extend(decoded(device, request, cells.as_cells()));
            Ok(())
        })
    }

    fn pipeline(&mut self) -> Option<&mut dyn Pipeline> {
        self.client.overlapped().map(|overlapped| overlapped as &mut dyn Pipeline)
    }
}

impl Pipeline for Overlapped {
    fn depth(&self) -> usize {
        Overlapped::depth(self)
    }

    fn send(&mut self, ticket: u64, device: Arc<Device>, request: Arc<Request>) {
        Overlapped::send(self, ticket, device, request);
    }

    fn finished(&mut self) -> Pending<'_, Vec<Finished>> {
        Box::pin(async { self.over().await.map(finished).collect() })
    }
}

fn finished(Over { ticket, device, request, result }: Over) -> Finished {
    let ending = match result {
        Some(Ok(answer)) => Ending::Answer(decoded(&device, &request, answer.as_cells()).collect()),
        Some(Err(failure)) => Ending::Failed(failure),
        None => Ending::Cut,
    };
    Finished { ticket, ending }
}

fn decoded(device: &Device, request: &Request, cells: Cells<'_>) -> impl Iterator<Item = Sample> {
    request.points.iter().map(move |&index| decode(&device.points[index], cells, request.address))
}
