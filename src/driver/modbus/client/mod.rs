//! The line: frames out, frames in. The only folder that knows which Modbus library is used.
//!
//! Frames are ours (`rtu_frame`, `ascii_frame`, `tcp_frame`), what is in them is tokio-modbus's (`pdu`), and the two kinds of
//! line add what a field needs: timeouts, silence between frames, stale answers thrown away, lost connections made anew.
//! Why not tokio-modbus's client: `docs/decisions/0004-modbus-client.md`.

mod ascii_frame;
mod framing;
mod identity;
mod line;
mod overlapped;
mod pdu;
mod rtu;
mod rtu_frame;
mod tcp;
mod tcp_frame;

use std::time::Duration;

use super::super::stream::Connector;
use super::super::{Change, Failure, LineError, Request, WriteFailure};
use crate::clock::Clock;
use crate::model::{Bus, Fault, RegisterTable};

pub use framing::Framing;
pub use overlapped::{Over, Overlapped};
use pdu::Ask;
pub use pdu::{Answer, Form, MAX_WRITE_AND_READ};

/// What the fuzzer feeds: everything here that reads bytes from outside.
pub mod frames {
    pub use super::ascii_frame::{Collector as AsciiCollector, frame as ascii_frame};
    pub use super::identity::{Page, page};
    pub use super::pdu::{Answer, Ask, Form, answer};
    pub use super::rtu_frame::{Collector, crc16};
    pub use super::tcp_frame::{Frame, NotModbus, parse};
}

/// One line, speaking one of Modbus's framings.
pub enum Client {
    /// RTU or ASCII frames, one request at a time.
    Line(Box<line::Line>),
    /// Modbus TCP.
    Tcp(tcp::Tcp),
    /// Modbus TCP with several requests at a time.
    Overlapped(Box<Overlapped>),
}

impl Client {
    /// RTU or ASCII; not open yet.
    pub fn line(bus: &Bus, framing: Framing, clock: Clock) -> Client {
        Client::Line(Box::new(line::Line::new(bus, framing, clock)))
    }

    /// Modbus TCP with up to `in_flight` requests at a time; not connected yet.
    pub fn tcp(connector: Connector, timeout: Duration, in_flight: u16, clock: Clock) -> Client {
        let tcp = tcp::Tcp::new(connector, timeout, clock);
        match in_flight {
            0 | 1 => Client::Tcp(tcp),
            more => Client::Overlapped(Box::new(Overlapped::new(tcp, more.into()))),
        }
    }

    /// The client, when it takes several requests at a time.
    pub fn overlapped(&mut self) -> Option<&mut Overlapped> {
        match self {
            Client::Overlapped(overlapped) => Some(overlapped),
            Client::Line(_) | Client::Tcp(_) => None,
        }
    }

    /// How many requests it takes at a time.
    pub fn depth(&self) -> usize {
        match self {
            Client::Overlapped(overlapped) => overlapped.depth(),
            Client::Line(_) | Client::Tcp(_) => 1,
        }
    }

    /// Opens the port or connects.
    pub async fn open(&mut self) -> Result<(), LineError> {
        match self {
            Client::Line(line) => line.open().await,
            Client::Tcp(tcp) => tcp.open().await,
            Client::Overlapped(tcp) => tcp.open().await,
        }
    }

    /// One request to one unit, and its answer.
    pub async fn read(&mut self, unit: u8, request: &Request) -> Result<Answer, Failure> {
        match self {
            Client::Line(line) => line.read(unit, request).await,
            Client::Tcp(tcp) => tcp.read(unit, request).await,
            Client::Overlapped(tcp) => tcp.read(unit, request).await,
        }
    }

    /// One write to one unit, sent at most once. Returns the registers that were read after it, if any.
    pub async fn write(&mut self, unit: u8, change: &Change, form: Form) -> Result<Vec<u16>, WriteFailure> {
        let ask = Ask::write(change, form);
        match self {
            Client::Line(line) => line.write(unit, &ask).await,
            Client::Tcp(tcp) => tcp.write(unit, &ask).await,
            Client::Overlapped(tcp) => tcp.write(unit, &ask).await,
        }
    }

    /// Who `unit` is: object ids (0 vendor, 1 product, 2 revision, …) and their bytes; `None` when it is there and does not say.
    pub async fn identify(&mut self, unit: u8) -> Result<Option<Vec<(u8, Vec<u8>)>>, Failure> {
        // The question that every device answers, if only with a refusal.
        let first = Request { table: RegisterTable::Holding, address: 0, count: 1, points: Vec::new() };
        match self.read(unit, &first).await {
            Ok(_) | Err(Failure::Refused(_)) => {}
            Err(failure) => return Err(failure),
        }
        // Regular access has more; many devices know the basic one only.
        for access in [2, 1] {
            match self.objects(unit, access).await {
                Err(Failure::LineGone(error)) => return Err(error.into()),
                Ok(objects) if !objects.is_empty() => return Ok(Some(objects)),
                _ => {}
            }
        }
        Ok(None)
    }

    async fn objects(&mut self, unit: u8, access: u8) -> Result<Vec<(u8, Vec<u8>)>, Failure> {
        let mut objects: Vec<(u8, Vec<u8>)> = Vec::new();
        let mut next = Some(0);
        while let Some(object) = next {
            let ask = Ask::identify(access, object);
            let answer = match self {
                Client::Line(line) => line.question(unit, &ask).await?,
                Client::Tcp(tcp) => tcp.question(unit, &ask).await?,
                Client::Overlapped(tcp) => tcp.question(unit, &ask).await?,
            };
            let page = identity::page(&answer).ok_or(Failure::NoAnswer(Fault::Framing))?;
            // A device that says the same again and again would never end.
            next = page.next.filter(|next| *next > object && !page.objects.is_empty());
            objects.extend(page.objects);
        }
        Ok(objects)
    }

    /// The longest that [`Client::read`] takes when nothing answers.
    pub fn longest(&self) -> Duration {
        match self {
            Client::Line(line) => line.longest(),
            Client::Tcp(tcp) => tcp.longest(),
            Client::Overlapped(tcp) => tcp.longest(),
        }
    }
}
