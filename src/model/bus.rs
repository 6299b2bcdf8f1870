//! A bus: one serial port or one TCP connection, with the devices on it taking turns.

use std::time::Duration;

use super::Name;

/// One line that carries requests, with its settings. Its devices are polled in turn by one task.
#[derive(Debug, Clone, PartialEq)]
pub struct Bus {
    /// The key under `buses:`.
    pub name: Name,
    /// Where the line is.
    pub transport: Transport,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// How long a device may take to begin its answer; on a serial line the line time of the answer comes on top.
    pub timeout: Duration,
    /// How often a request without an answer is repeated before the poll counts as failed.
    pub retries: u32,
    /// How many unwanted registers the planner may read through rather than start another request.
    pub max_gap: MaxGap,
    /// How many requests may be under way at a time, at least 1; more than 1 needs Modbus TCP.
    pub in_flight: u16,
}

/// Where a bus is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// A serial port.
    Serial(SerialLine),
    /// `host:port` of a Modbus TCP server; IPv6 hosts without brackets.
    Tcp {
        /// Host name or address.
        host: String,
        /// TCP port, never 0.
        port: u16,
    },
}

/// A serial port and its line settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialLine {
    /// Device file, for example `/dev/serial/by-id/…`.
    pub path: String,
    /// Bits per second.
    pub baud: u32,
    /// Data bits a character.
    pub data_bits: DataBits,
    /// Parity bit.
    pub parity: Parity,
    /// Stop bits a character.
    pub stop_bits: StopBits,
}

impl SerialLine {
    /// Bits on the wire for one character: start, data, parity, stop.
    pub fn bits_per_character(&self) -> u32 {
        let data = match self.data_bits {
            DataBits::Seven => 7,
            DataBits::Eight => 8,
        };
        let parity = if self.parity == Parity::None { 0 } else { 1 };
        let stop = match self.stop_bits {
            StopBits::One => 1,
            StopBits::Two => 2,
        };
        1 + data + parity + stop
    }
}

/// Data bits a character. Modbus RTU needs eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum DataBits {
    Seven,
    Eight,
}

/// Parity; even is the default of Modbus over Serial Line 1.02 §2.5.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Parity {
    None,
    Even,
    Odd,
}

/// Stop bits a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum StopBits {
    One,
    Two,
}

/// What is spoken on a bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Modbus RTU on a serial port.
    ModbusRtu,
    /// Modbus TCP.
    ModbusTcp,
}

/// How far the planner reads through registers that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxGap {
    /// As far as that is cheaper than another request on this line.
    Auto,
    /// At most so many registers (or bits).
    Registers(u16),
}
