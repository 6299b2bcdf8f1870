//! The two framings of Modbus on a serial line, behind one face. Pure.

use super::pdu::Ask;
use super::{ascii_frame, rtu_frame};
use crate::model::Fault;

/// How frames are written on a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Bytes and a CRC.
    Rtu,
    /// Hexadecimal digits between a colon and a line end.
    Ascii,
}

/// Collects the answer to one request.
#[derive(Debug)]
pub enum Collector {
    /// RTU.
    Rtu(rtu_frame::Collector),
    /// ASCII.
    Ascii(ascii_frame::Collector),
}

impl Framing {
    /// Characters a byte.
    pub fn characters(self) -> u32 {
        match self {
            Framing::Rtu => 1,
            Framing::Ascii => 2,
        }
    }

    /// The frame that carries a PDU to `unit`.
    pub fn frame(self, unit: u8, pdu: &[u8]) -> Vec<u8> {
        match self {
            Framing::Rtu => rtu_frame::frame(unit, pdu),
            Framing::Ascii => ascii_frame::frame(unit, pdu),
        }
    }

    /// Waits for the answer of `unit` to `ask`.
    pub fn collector(self, unit: u8, ask: &Ask) -> Collector {
        match self {
            Framing::Rtu => Collector::Rtu(rtu_frame::Collector::new(unit, ask)),
            Framing::Ascii => Collector::Ascii(ascii_frame::Collector::new(unit, ask)),
        }
    }

    /// Characters of the whole answer to a request.
    pub fn answer_len(self, ask: &Ask) -> usize {
        match self {
            Framing::Rtu => rtu_frame::answer_len(ask),
            Framing::Ascii => ascii_frame::answer_len(ask),
        }
    }
}

impl Collector {
    /// Takes bytes from the line; returns the PDU of the answer once it is there.
    pub fn push(&mut self, bytes: &[u8]) -> Option<&[u8]> {
        match self {
            Collector::Rtu(collector) => collector.push(bytes),
            Collector::Ascii(collector) => collector.push(bytes),
        }
    }

    /// Whether an answer came damaged, and nothing is left that could still become one.
    pub fn is_damaged(&self) -> bool {
        match self {
            Collector::Rtu(collector) => collector.is_damaged(),
            Collector::Ascii(collector) => collector.is_damaged(),
        }
    }

    /// What to say when the time is over.
    pub fn verdict(&self) -> Fault {
        match self {
            Collector::Rtu(collector) => collector.verdict(),
            Collector::Ascii(collector) => collector.verdict(),
        }
    }
}
