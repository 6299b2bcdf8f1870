//! Modbus over TCP and over serial lines (RTU and ASCII): requests from points, samples from answers.
//!
//! `plan` decides what is asked together, `client` exchanges frames, `decode` makes values of registers. Only `client`
//! does I/O and only it knows which Modbus library is used.

mod client;
mod cost;
mod decode;
mod encode;
mod float16;
mod plan;
mod raw;
mod text;
mod write;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use client::{Client, Form, Framing, MAX_WRITE_AND_READ, Over};
use cost::Costs;

pub use client::frames;
pub use decode::{Cells, decode, decode_as, factor_of};
pub use encode::{EncodeError, Encoded, encode};
pub use raw::Masked;

use super::stream::{Connector, line_settings};
use super::{
    Change, Driver, DriverError, Ending, Failure, Finished, LineError, Pending, Pipeline, Request, Seen, Unfit,
    WriteFailure, WriteRequest,
};
use crate::clock::Clock;
use crate::model::{Bus, Device, Fault, Point, RegisterTable, Sample, Value};

/// The driver for Modbus RTU, on a serial port or through a converter.
pub(super) fn rtu(bus: &Bus, clock: Clock) -> Result<Box<dyn Driver>, DriverError> {
    Ok(serial(bus, Framing::Rtu, clock))
}

/// The driver for Modbus ASCII, likewise.
pub(super) fn ascii(bus: &Bus, clock: Clock) -> Result<Box<dyn Driver>, DriverError> {
    Ok(serial(bus, Framing::Ascii, clock))
}

fn serial(bus: &Bus, framing: Framing, clock: Clock) -> Box<dyn Driver> {
    let costs = Costs::on_serial(bus.max_gap, &line_settings(&bus.transport), framing.characters());
    Box::new(Modbus::new(Client::line(bus, framing, clock), costs))
}

/// The driver for Modbus TCP.
pub(super) fn tcp(bus: &Bus, clock: Clock) -> Result<Box<dyn Driver>, DriverError> {
    let connector = Connector::new(&bus.transport, bus.timeout, clock)
        .ok_or_else(|| DriverError::WrongTransport { protocol: bus.protocol, transport: bus.transport.clone() })?;
    let client = Client::tcp(connector, bus.timeout, bus.in_flight, clock);
    Ok(Box::new(Modbus::new(client, Costs::on_tcp(bus.max_gap))))
}

struct Modbus {
    client: Client,
    costs: Costs,
    /// What `scale_from` registers held when they were last read, by unit, table and address.
    factors: HashMap<(u8, RegisterTable, u16), i16>,
    /// Units that do not know a way to write, and whether that is about coils.
    unknown: HashSet<(u8, Form, bool)>,
}

impl Modbus {
    fn new(client: Client, costs: Costs) -> Modbus {
        Modbus { client, costs, factors: HashMap::new(), unknown: HashSet::new() }
    }

    fn factor(&self, device: &Device, point: &Point) -> Option<i16> {
        let register = point.register()?;
        self.factors.get(&(device.unit_id, register.table, register.scale_from?)).copied()
    }

    /// The way to write a change, as far as the device is known.
    fn form(&self, device: &Device, change: &Change) -> Form {
        let knows = |form| !self.unknown.contains(&(device.unit_id, form, change.is_coils()));
        match change {
            Change::Registers { values, .. }
                if device.quirks.write_and_read && values.len() <= MAX_WRITE_AND_READ && knows(Form::WriteAndRead) =>
            {
                Form::WriteAndRead
            }
            _ if knows(Form::Single) => Form::Single,
            _ => Form::Multiple,
        }
    }

    /// The samples in an answer, one a point.
    fn decoded(&mut self, device: &Device, request: &Request, cells: Cells<'_>) -> Vec<Sample> {
        self.note_factors(device, request, cells);
        request.points.iter().map(|&index| decode(&device.points[index], cells, request.address)).collect()
    }

    fn finish(&mut self, over: Over) -> Finished {
        let Over { ticket, device, request, result } = over;
        let ending = match result {
            Some(Ok(answer)) => Ending::Answer(self.decoded(&device, &request, answer.as_cells())),
            Some(Err(failure)) => Ending::Failed(failure),
            None => Ending::Cut,
        };
        Finished { ticket, ending }
    }

    /// Remembers the scale factors in an answer, for values that are to be written.
    fn note_factors(&mut self, device: &Device, request: &Request, cells: Cells<'_>) {
        let Cells::Registers(registers) = cells else { return };
        for register in request.points.iter().filter_map(|&index| device.points[index].register()) {
            let Some(address) = register.scale_from else { continue };
            let at = address.checked_sub(request.address).and_then(|skip| registers.get(usize::from(skip)));
            let key = (device.unit_id, register.table, address);
            match at.and_then(|factor| factor_of(factor.cast_signed()).ok()) {
                Some(factor) => self.factors.insert(key, factor),
                None => self.factors.remove(&key),
            };
        }
    }
}

/// What the registers say that were read with a write; nothing of points that need a scale factor too.
fn seen(device: &Device, request: &WriteRequest, registers: &[u16]) -> Seen {
    let Change::Registers { address, values } = &request.change else { return Vec::new() };
    if registers.len() != values.len() {
        return Vec::new();
    }
    let points = request.points.iter().map(|(index, _)| (*index, &device.points[*index]));
    let points = points.filter(|(_, point)| point.register().is_some_and(|register| register.scale_from.is_none()));
    points.map(|(index, point)| (index, decode(point, Cells::Registers(registers), *address))).collect()
}

impl Driver for Modbus {
    fn plan(&self, device: &Device, points: &[usize]) -> Vec<Request> {
        plan::plan(device, points, &self.costs)
    }

    fn split(&self, device: &Device, request: &Request, fault: Fault) -> Vec<Request> {
        match fault {
            // Exception 2 is about an address; some devices say 3 instead, also for more cells than they can answer, and
            // some 4.
            Fault::IllegalAddress | Fault::IllegalValue | Fault::DeviceFailure => plan::split(&device.points, request),
            _ => Vec::new(),
        }
    }

    fn expected(&self, request: &Request) -> Duration {
        self.costs.time(request.table.is_bits(), request.count.into())
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
            samples.extend(self.decoded(device, request, cells.as_cells()));
            Ok(())
        })
    }

    fn plan_writes(&self, device: &Device, values: &[(usize, Value)]) -> Result<Vec<WriteRequest>, Unfit> {
        write::plan(device, values, |point| self.factor(device, point))
    }

    fn write<'a>(
        &'a mut self,
        device: &'a Device,
        request: &'a WriteRequest,
    ) -> Pending<'a, Result<Seen, WriteFailure>> {
        Box::pin(async move {
            let (unit, change) = (device.unit_id, &request.change);
            let mut form = self.form(device, change);
            loop {
                let written = self.client.write(unit, change, form).await;
                // Exception 1 says that the device does not know the function, so it has done nothing: another one is no repetition.
                let is_unknown = written == Err(WriteFailure::Refused(Fault::IllegalFunction));
                match form {
                    Form::WriteAndRead if is_unknown => {
                        self.unknown.insert((unit, Form::WriteAndRead, false));
                        form = self.form(device, change);
                    }
                    Form::Single if is_unknown && change.is_single() => form = Form::Multiple,
                    Form::Multiple if written.is_ok() && change.is_single() => {
                        self.unknown.insert((unit, Form::Single, change.is_coils()));
                        return Ok(Vec::new());
                    }
                    _ => return written.map(|registers| seen(device, request, &registers)),
                }
            }
        })
    }

    fn identify(&mut self, unit_id: u8) -> Pending<'_, Result<Vec<(u8, String)>, Failure>> {
        Box::pin(async move {
            let objects = self.client.identify(unit_id).await?.unwrap_or_default();
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_matches(['\0', ' ']).to_owned();
            Ok(objects.into_iter().map(|(id, bytes)| (id, text(bytes))).collect())
        })
    }

    fn pipeline(&mut self) -> Option<&mut dyn Pipeline> {
        self.client.overlapped().is_some().then_some(self as &mut dyn Pipeline)
    }
}

/// What [`Modbus::pipeline`] gives out: only when its client takes several requests at a time.
impl Pipeline for Modbus {
    fn depth(&self) -> usize {
        self.client.depth()
    }

    fn send(&mut self, ticket: u64, device: Arc<Device>, request: Arc<Request>) {
        if let Some(overlapped) = self.client.overlapped() {
            overlapped.send(ticket, device, request);
        }
    }

    fn finished(&mut self) -> Pending<'_, Vec<Finished>> {
        Box::pin(async {
            let Some(overlapped) = self.client.overlapped() else { return std::future::pending().await };
            let over: Vec<Over> = overlapped.over().await.collect();
            over.into_iter().map(|over| self.finish(over)).collect()
        })
    }
}
