//! A bus: one serial port or one TCP connection, with the devices on it taking turns.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Name, StreamFormat};

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
    /// The adapter is known to read back what it sends; if not, it is found out.
    pub echo: bool,
    /// How its bytes become telegrams, for `lines` and `frames`.
    pub format: StreamFormat,
}

impl Bus {
    /// A bus with the defaults of `DESIGN.md` §4.
    pub fn new(name: Name, transport: Transport, protocol: Protocol) -> Bus {
        let (timeout, retries) = (Duration::from_millis(500), 1);
        let (max_gap, in_flight, format) = (MaxGap::Auto, 1, StreamFormat::Modbus);
        Bus { name, transport, protocol, timeout, retries, max_gap, in_flight, echo: false, format }
    }
}

/// Where a bus is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// A serial port.
    Serial(SerialLine),
    /// `host:port` of a device, or of the converter in front of it; IPv6 hosts without brackets.
    Tcp {
        /// Host name or address.
        host: String,
        /// TCP port, never 0.
        port: u16,
    },
    /// The device dials in.
    Listen {
        /// Where it is waited for.
        address: SocketAddr,
        /// Who may connect; anyone when it is empty.
        from: Vec<Network>,
    },
}

impl Transport {
    /// What it is, with an article.
    pub fn what(&self) -> &'static str {
        match self {
            Transport::Serial(_) => "a serial port",
            Transport::Tcp { .. } => "TCP",
            Transport::Listen { .. } => "a connection that the device makes",
        }
    }
}

/// A range of addresses, `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// `None` when the prefix is longer than the address: 32 bits, or 128.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Network> {
        (u32::from(prefix) <= if address.is_ipv4() { 32 } else { 128 }).then_some(Network { address, prefix })
    }

    /// Whether `ip` is in it. IPv4 and IPv6 are never in each other.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let differing = (a.to_bits() ^ b.to_bits()).leading_zeros();
                differing >= u32::from(self.prefix)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let differing = (a.to_bits() ^ b.to_bits()).leading_zeros();
                differing >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
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
    /// The port's driver switches an RS-485 transceiver's direction with RTS.
    pub rs485: bool,
}

impl SerialLine {
    /// A port with the settings of the Modbus standard, 8E1 (Modbus over Serial Line 1.02 §2.5.1).
    pub fn new(path: &str, baud: u32) -> SerialLine {
        let (data_bits, parity, stop_bits) = (DataBits::Eight, Parity::Even, StopBits::One);
        SerialLine { path: path.into(), baud, data_bits, parity, stop_bits, rs485: false }
    }

    /// Bits on the wire for one character: start, data, parity, stop.
    pub fn bits_per_character(&self) -> u32 {
        let parity = if self.parity == Parity::None { 0 } else { 1 };
        1 + self.data_bits.count() + parity + self.stop_bits.count()
    }

    /// The time that one character takes on the line.
    pub fn character_time(&self) -> Duration {
        Duration::from_secs(u64::from(self.bits_per_character())) / self.baud.max(1)
    }
}

/// Data bits a character. Modbus RTU needs eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum DataBits {
    Seven,
    Eight,
}

impl DataBits {
    /// How many.
    pub fn count(self) -> u32 {
        match self {
            DataBits::Seven => 7,
            DataBits::Eight => 8,
        }
    }
}

/// Parity; even is the default of Modbus over Serial Line 1.02 §2.5.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Parity {
    None,
    Even,
    Odd,
}

impl Parity {
    /// The word in YAML.
    pub fn as_str(self) -> &'static str {
        match self {
            Parity::None => "none",
            Parity::Even => "even",
            Parity::Odd => "odd",
        }
    }
}

/// Stop bits a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum StopBits {
    One,
    Two,
}

impl StopBits {
    /// How many.
    pub fn count(self) -> u32 {
        match self {
            StopBits::One => 1,
            StopBits::Two => 2,
        }
    }
}

/// What is spoken on a bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Modbus RTU, on a serial port or through a converter.
    ModbusRtu,
    /// Modbus ASCII, likewise.
    ModbusAscii,
    /// Modbus TCP.
    ModbusTcp,
    /// Lines of text.
    Lines,
    /// Frames of bytes.
    Frames,
}

impl Protocol {
    /// Every one that there is.
    pub const ALL: [Protocol; 5] =
        [Protocol::ModbusRtu, Protocol::ModbusAscii, Protocol::ModbusTcp, Protocol::Lines, Protocol::Frames];

    /// The word in YAML.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::ModbusRtu => "modbus-rtu",
            Protocol::ModbusAscii => "modbus-ascii",
            Protocol::ModbusTcp => "modbus-tcp",
            Protocol::Lines => "lines",
            Protocol::Frames => "frames",
        }
    }

    /// Whether its devices have registers and unit identifiers.
    pub fn is_modbus(self) -> bool {
        matches!(self, Protocol::ModbusRtu | Protocol::ModbusAscii | Protocol::ModbusTcp)
    }
}

/// How far the planner reads through registers that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxGap {
    /// As far as that is cheaper than another request on this line.
    Auto,
    /// At most so many registers (or bits).
    Registers(u16),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_the_addresses_that_begin_like_it() {
        let network = |ip: &str, prefix| Network::new(ip.parse().unwrap(), prefix).unwrap();
        let holds = |network: Network, ip: &str| network.contains(ip.parse().unwrap());
        assert!(holds(network("10.0.0.0", 8), "10.255.1.2") && !holds(network("10.0.0.0", 8), "11.0.0.1"));
        assert!(holds(network("192.168.1.7", 32), "192.168.1.7") && !holds(network("192.168.1.7", 32), "192.168.1.6"));
        assert!(holds(network("0.0.0.0", 0), "255.255.255.255") && !holds(network("0.0.0.0", 0), "::1"));
        assert!(holds(network("fd00::", 8), "fdff::1") && !holds(network("fd00::", 8), "fe80::1"));
        assert_eq!(Network::new("10.0.0.0".parse().unwrap(), 33), None);
    }
}
