//! Where a bus is: `serial` with its line settings, `tcp`, or `listen`.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::config::address::{BusAddress, FromNetwork, ListenAddress};
use crate::config::fields::{Fields, read_value};
use crate::config::problem::{Problem, Problems};
use crate::config::scalar::{Choice, Read, Switch, Text, Whole, Wrong};
use crate::config::tree::{Scalar, Span as Place};
use crate::config::yaml::short;
use crate::model::{DataBits, Network, Parity, Protocol, SerialLine, StopBits, Transport};

/// The Modbus standard's own setting (Modbus over Serial Line 1.02 §2.5.1): 19200 8E1.
const MODBUS_BAUD: u32 = 19_200;
/// What most other devices come with: 9600 8N1.
const USUAL_BAUD: u32 = 9_600;

const PARITY: Choice<Parity> = Choice {
    now: &[("none", Parity::None), ("even", Parity::Even), ("odd", Parity::Odd)],
    later: &[],
    foreign: &[("n", "none"), ("no", "none"), ("false", "none"), ("off", "none"), ("e", "even"), ("o", "odd")],
};

const STOP_BITS: Choice<StopBits> =
    Choice { now: &[("1", StopBits::One), ("2", StopBits::Two)], later: &[], foreign: &[] };

const SERIAL_KEYS: [&str; 5] = ["baud", "data_bits", "parity", "stop_bits", "rs485"];

/// Which of the three keys is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Serial,
    Tcp,
    Listen,
}

const WAYS: [(&str, Way, &str); 3] = [
    ("serial", Way::Serial, "a serial port"),
    ("tcp", Way::Tcp, "a TCP address"),
    ("listen", Way::Listen, "an address to listen on"),
];

/// What can be had only once.
#[derive(Default)]
pub(super) struct Taken {
    ports: HashMap<String, Place>,
    addresses: HashMap<SocketAddr, Place>,
}

/// Exactly one of `serial`, `tcp` and `listen`.
pub(super) fn way(fields: &Fields<'_>, problems: &mut Problems) -> Option<Way> {
    let found: Vec<_> = WAYS.iter().filter_map(|(key, way, what)| Some((fields.entry(key)?, *way, *what))).collect();
    match found.as_slice() {
        [(_, way, _)] => Some(*way),
        [(first, _, one), (second, _, other), ..] => {
            problems.push(
                Problem::at(&second.key_span, format!("{} is at two places", fields.whose))
                    .label(format!("and {other}"))
                    .also(&first.key_span, *one)
                    .help("keep one of them, or make it two buses"),
            );
            None
        }
        [] if WAYS.iter().any(|(key, ..)| fields.is_translated(key)) => None,
        [] => {
            let help = "write `serial: /dev/ttyUSB0` or `tcp: 192.168.1.50:502`, or `listen: 0.0.0.0:4001` for a device that dials in";
            fields.missing("serial`, `tcp` or `listen", help, problems);
            None
        }
    }
}

pub(super) fn check(
    fields: &Fields<'_>,
    way: Way,
    protocol: Option<Protocol>,
    taken: &mut Taken,
    problems: &mut Problems,
) -> Option<Transport> {
    if way != Way::Serial {
        for key in SERIAL_KEYS {
            let help = "remove it; the line behind a converter is set up in the converter";
            refuse(fields, key, "is for serial lines", "is a network connection", help, problems);
        }
    }
    if way != Way::Listen {
        let help = "remove it; `from` says who may connect where a device dials in";
        refuse(fields, "from", "belongs to `listen`", "has none", help, problems);
    }
    match way {
        Way::Serial => serial(fields, protocol, taken, problems),
        Way::Tcp => {
            let address = fields.read("tcp", &BusAddress, problems)?;
            let is_modbus_tcp = protocol.is_none_or(|protocol| protocol == Protocol::ModbusTcp);
            let Some(port) = address.port.or(is_modbus_tcp.then_some(502)) else {
                let entry = fields.entry("tcp")?;
                problems.push(
                    Problem::at(&entry.value.span, format!("{} has no port", fields.subject("tcp")))
                        .label("a port is missing")
                        .help("write the one that the converter or the device listens on: HOST:4001"),
                );
                return None;
            };
            Some(Transport::Tcp { host: address.host, port })
        }
        Way::Listen => listen(fields, taken, problems),
    }
}

/// Tells that a key has no meaning on this bus.
pub(super) fn refuse(fields: &Fields<'_>, key: &str, is: &str, but: &str, help: &str, problems: &mut Problems) {
    if let Some(entry) = fields.entry(key) {
        problems.push(
            Problem::at(&entry.key_span, format!("`{key}` {is}, and {} {but}", fields.whose))
                .label("has no meaning here")
                .help(help),
        );
    }
}

fn serial(
    fields: &Fields<'_>,
    protocol: Option<Protocol>,
    taken: &mut Taken,
    problems: &mut Problems,
) -> Option<Transport> {
    let path = fields.read("serial", &Port, problems);
    let baud = fields.read("baud", &Whole(110..=4_000_000), problems);
    let data_bits = fields.read("data_bits", &Bits(protocol), problems);
    let parity = fields.read("parity", &PARITY, problems);
    let stop_bits = fields.read("stop_bits", &STOP_BITS, problems);
    let rs485 = fields.read("rs485", &Switch, problems);
    let (path, span) = (path?, &fields.entry("serial")?.value.span);
    if let Some(first) = taken.ports.insert(path.clone(), span.clone()) {
        problems.push(
            Problem::at(span, format!("two buses on the port {}", short(&path)))
                .label("and here again")
                .also(&first, "here first")
                .help("one port is one bus: put all devices on that line on the same bus"),
        );
    }
    let is_modbus = protocol.is_none_or(Protocol::is_modbus);
    let usual = SerialLine {
        baud: if is_modbus { MODBUS_BAUD } else { USUAL_BAUD },
        // Modbus over Serial Line 1.02 §2.5.2: ASCII takes seven.
        data_bits: if protocol == Some(Protocol::ModbusAscii) { DataBits::Seven } else { DataBits::Eight },
        parity: if is_modbus { Parity::Even } else { Parity::None },
        ..SerialLine::new(&path, MODBUS_BAUD)
    };
    Some(Transport::Serial(SerialLine {
        baud: baud.map_or(usual.baud, |baud| baud as u32),
        data_bits: data_bits.unwrap_or(usual.data_bits),
        parity: parity.unwrap_or(usual.parity),
        stop_bits: stop_bits.unwrap_or(usual.stop_bits),
        rs485: rs485.unwrap_or(false),
        ..usual
    }))
}

fn listen(fields: &Fields<'_>, taken: &mut Taken, problems: &mut Problems) -> Option<Transport> {
    let from = from(fields, problems);
    let address = fields.read("listen", &ListenAddress, problems)?;
    let span = &fields.entry("listen")?.value.span;
    if let Some(first) = taken.addresses.insert(address, span.clone()) {
        problems.push(
            Problem::at(span, format!("two buses listen on {address}"))
                .label("and here again")
                .also(&first, "here first")
                .help("give each device that dials in a port of its own; that is how they are told apart"),
        );
    }
    Some(Transport::Listen { address, from })
}

fn from(fields: &Fields<'_>, problems: &mut Problems) -> Vec<Network> {
    let Some((_, items)) = fields.list("from", "10.0.0.0/8", problems) else { return Vec::new() };
    let subject = format!("an address in {}", fields.subject("from"));
    items.iter().filter_map(|item| read_value(item, &subject, &FromNetwork, problems)).collect()
}

/// The device file of a serial port.
struct Port;

impl Read for Port {
    type Out = String;

    fn wanted(&self) -> String {
        "the path of a serial port, such as /dev/ttyUSB0".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<String, Wrong> {
        let path = Text { wanted: "", max: 4_096 }.read(scalar)?;
        if path.starts_with('/') {
            return Ok(path);
        }
        Err(Wrong::helped(
            format!("`{}` does not begin with `/`", short(&path)),
            "`ls -l /dev/serial/by-id/` shows the ports that are plugged in; those names survive a restart",
        ))
    }
}

/// Data bits. Modbus RTU frames are bytes (Modbus over Serial Line 1.02 §2.5.1), and so are those of other devices.
struct Bits(Option<Protocol>);

impl Bits {
    fn takes_seven(&self) -> bool {
        matches!(self.0, Some(Protocol::ModbusAscii | Protocol::Lines))
    }
}

impl Read for Bits {
    type Out = DataBits;

    fn wanted(&self) -> String {
        if self.takes_seven() { "7 or 8".into() } else { "8".into() }
    }

    fn read(&self, scalar: &Scalar) -> Result<DataBits, Wrong> {
        match Whole(5..=8).read(scalar)? {
            8 => Ok(DataBits::Eight),
            7 if self.takes_seven() => Ok(DataBits::Seven),
            bits if self.takes_seven() => Err(Wrong::new(format!("{bits} bits can't carry a text"))),
            bits => Err(Wrong::helped(
                format!(
                    "{bits} bits can't carry {}: each character is a whole byte",
                    match self.0 {
                        Some(Protocol::Frames) => "frames",
                        _ => "Modbus RTU",
                    }
                ),
                "remove it; 8 is the default",
            )),
        }
    }
}
