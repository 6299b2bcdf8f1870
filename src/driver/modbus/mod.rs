//! Modbus over TCP and over serial lines (RTU): requests from points, samples from answers.
//!
//! `plan` decides what is asked together, `client` exchanges frames, `decode` makes values of registers. Only `client`
//! does I/O and only it knows which Modbus and serial libraries are used.

mod client;
mod decode;
mod encode;
mod float16;
mod plan;
mod raw;
mod text;

use std::time::Duration;

use client::Client;
use plan::Gaps;

pub use client::frames;
pub use decode::{Cells, decode, factor_of};
pub use encode::{EncodeError, Encoded, encode};
pub use raw::Masked;

use super::{Driver, DriverError, Failure, LineError, Pending, Request};
use crate::clock::Clock;
use crate::model::{Bus, Device, Fault, Sample, Transport};

/// The driver for Modbus RTU on a serial port.
pub(super) fn rtu(bus: &Bus, clock: Clock) -> Result<Box<dyn Driver>, DriverError> {
    match &bus.transport {
        Transport::Serial(line) => {
            let client = Client::rtu(line.clone(), bus.timeout, clock);
            Ok(Box::new(Modbus { client, gaps: Gaps::on_serial(bus.max_gap, line) }))
        }
        Transport::Tcp { .. } => Err(wrong_transport(bus)),
    }
}

/// The driver for Modbus TCP.
pub(super) fn tcp(bus: &Bus, clock: Clock) -> Result<Box<dyn Driver>, DriverError> {
    match &bus.transport {
        Transport::Tcp { host, port } => {
            let client = Client::tcp(host.clone(), *port, bus.timeout, clock);
            Ok(Box::new(Modbus { client, gaps: Gaps::on_tcp(bus.max_gap) }))
        }
        Transport::Serial(_) => Err(wrong_transport(bus)),
    }
}

fn wrong_transport(bus: &Bus) -> DriverError {
    DriverError::WrongTransport { protocol: bus.protocol, transport: bus.transport.clone() }
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
            let points = request.points.iter().map(|&index| &device.points[index]);
            samples.extend(points.map(|point| decode(point, cells.as_cells(), request.address)));
            Ok(())
        })
    }
}
