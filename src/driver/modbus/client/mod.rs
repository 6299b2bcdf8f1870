//! The line: frames out, frames in. The only folder that knows which Modbus and serial libraries are used.
//!
//! Frames are ours (`rtu_frame`, `tcp_frame`), what is in them is tokio-modbus's (`pdu`), and the two lines add what a
//! field needs: timeouts, silence between frames, stale answers thrown away, lost connections made anew.
//! Why not tokio-modbus's client: `docs/decisions/0004-modbus-client.md`.

mod overlapped;
mod pdu;
mod rtu;
mod rtu_frame;
mod serial;
mod tcp;
mod tcp_frame;

use std::time::Duration;

use super::super::{Change, Failure, LineError, Request, WriteFailure};
use crate::clock::Clock;
use crate::model::SerialLine;

pub use overlapped::{Over, Overlapped};
use pdu::Ask;
pub use pdu::{Answer, Form};

/// What the fuzzer feeds: everything here that reads bytes from outside.
pub mod frames {
    pub use super::pdu::{Answer, Ask, Form, answer};
    pub use super::rtu_frame::{Collector, crc16};
    pub use super::tcp_frame::{Frame, NotModbus, parse};
}

/// One line, speaking one of Modbus's framings.
pub enum Client {
    /// RTU frames on a serial port.
    Rtu(serial::Serial),
    /// Modbus TCP.
    Tcp(tcp::Tcp),
    /// Modbus TCP with several requests at a time.
    Overlapped(Box<Overlapped>),
}

impl Client {
    /// RTU on a serial port; not open yet.
    pub fn rtu(line: SerialLine, timeout: Duration, clock: Clock) -> Client {
        Client::Rtu(serial::Serial::new(line, timeout, clock))
    }

    /// Modbus TCP with up to `in_flight` requests at a time; not connected yet.
    pub fn tcp(host: String, port: u16, timeout: Duration, in_flight: u16, clock: Clock) -> Client {
        let tcp = tcp::Tcp::new(host, port, timeout, clock);
        match in_flight {
            0 | 1 => Client::Tcp(tcp),
            more => Client::Overlapped(Box::new(Overlapped::new(tcp, more.into()))),
        }
    }

    /// The client, when it takes several requests at a time.
    pub fn overlapped(&mut self) -> Option<&mut Overlapped> {
        match self {
            Client::Overlapped(overlapped) => Some(overlapped),
            Client::Rtu(_) | Client::Tcp(_) => None,
        }
    }

    /// How many requests it takes at a time.
    pub fn depth(&self) -> usize {
        match self {
            Client::Overlapped(overlapped) => overlapped.depth(),
            Client::Rtu(_) | Client::Tcp(_) => 1,
        }
    }

    /// Opens the port or connects.
    pub async fn open(&mut self) -> Result<(), LineError> {
        match self {
            Client::Rtu(serial) => serial.open(),
            Client::Tcp(tcp) => tcp.open().await,
            Client::Overlapped(tcp) => tcp.open().await,
        }
    }

    /// One request to one unit, and its answer.
    pub async fn read(&mut self, unit: u8, request: &Request) -> Result<Answer, Failure> {
        match self {
            Client::Rtu(serial) => serial.read(unit, request).await,
            Client::Tcp(tcp) => tcp.read(unit, request).await,
            Client::Overlapped(tcp) => tcp.read(unit, request).await,
        }
    }

    /// One write to one unit, sent at most once.
    pub async fn write(&mut self, unit: u8, change: &Change, form: Form) -> Result<(), WriteFailure> {
        let ask = Ask::write(change, form);
        match self {
            Client::Rtu(serial) => serial.write(unit, &ask).await,
            Client::Tcp(tcp) => tcp.write(unit, &ask).await,
            Client::Overlapped(tcp) => tcp.write(unit, &ask).await,
        }
    }

    /// The longest that [`Client::read`] takes when nothing answers.
    pub fn longest(&self) -> Duration {
        match self {
            Client::Rtu(serial) => serial.longest(),
            Client::Tcp(tcp) => tcp.longest(),
            Client::Overlapped(tcp) => tcp.longest(),
        }
    }
}
