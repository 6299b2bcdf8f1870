//! `buses:`: where the wires are and what is spoken on them.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::names::{Named, Noun, named};
use crate::config::address::BusAddress;
use crate::config::fields::Fields;
use crate::config::keys;
use crate::config::problem::{Problem, Problems};
use crate::config::scalar::{Choice, Read, Text, Whole, Wrong};
use crate::config::tree::{Scalar, Span as Place};
use crate::config::units::Span;
use crate::config::yaml::short;
use crate::model::{Bus, DataBits, MaxGap, Parity, Protocol, SerialLine, StopBits, StreamFormat, Transport};

const NOUN: Noun = Noun { one: "bus", many: "buses", shape: &keys::BUS, reserved: &[] };

/// The standard's own setting (Modbus over Serial Line 1.02 §2.5.1): 19200 8E1.
const BAUD: u32 = 19_200;
const TIMEOUT: Duration = Duration::from_millis(500);
const RETRIES: u64 = 1;
/// The most registers of one request (Modbus Application Protocol 1.1b3 §6.3); a longer gap can't be read through.
const MAX_GAP: u64 = 125;
/// More than devices take (Modbus Messaging on TCP/IP Implementation Guide 1.0b §4.2.2 speaks of up to 16).
pub(super) const MAX_IN_FLIGHT: u64 = 64;

const PROTOCOL: Choice<Protocol> = Choice {
    now: &[("modbus-rtu", Protocol::ModbusRtu), ("modbus-tcp", Protocol::ModbusTcp)],
    later: &[
        ("modbus-ascii", "leave this bus out for now"),
        ("lines", "leave this bus out for now"),
        ("frames", "leave this bus out for now"),
    ],
    foreign: &[
        ("rtu", "modbus-rtu"),
        ("tcp", "modbus-tcp"),
        ("modbus", "modbus-rtu"),
        ("serial", "modbus-rtu"),
        ("ascii", "modbus-ascii"),
    ],
};

const PARITY: Choice<Parity> = Choice {
    now: &[("none", Parity::None), ("even", Parity::Even), ("odd", Parity::Odd)],
    later: &[],
    foreign: &[("n", "none"), ("no", "none"), ("false", "none"), ("off", "none"), ("e", "even"), ("o", "odd")],
};

const STOP_BITS: Choice<StopBits> =
    Choice { now: &[("1", StopBits::One), ("2", StopBits::Two)], later: &[], foreign: &[] };

/// A bus as far as it could be understood, so that devices can refer to it even when it has problems.
pub(super) struct KnownBus<'a> {
    pub(super) key: &'a str,
    /// `None` when it has neither `serial` nor `tcp`.
    pub(super) is_serial: Option<bool>,
    pub(super) bus: Option<Bus>,
}

pub(super) fn check<'a>(top: &Fields<'a>, problems: &mut Problems) -> Vec<KnownBus<'a>> {
    let Some(entry) = top.entry("buses") else { return Vec::new() };
    let buses = named(&entry.value, &NOUN, "", &mut Vec::new(), problems);
    let mut ports: HashMap<String, Place> = HashMap::new();
    let mut known: Vec<KnownBus<'a>> = buses.into_iter().map(|named| one(named, &mut ports, problems)).collect();
    // What stands under a bus's name may be no bus at all; a device on it has no mistake of its own.
    let readable: HashSet<&str> = known.iter().map(|bus| bus.key).collect();
    let others = entry.value.entries().unwrap_or_default().iter().map(|entry| entry.key.as_str());
    let others = others.filter(|key| !readable.contains(key));
    known.extend(others.map(|key| KnownBus { key, is_serial: None, bus: None }));
    known
}

fn one<'a>(named: Named<'a>, ports: &mut HashMap<String, Place>, problems: &mut Problems) -> KnownBus<'a> {
    let fields = &named.fields;
    let is_serial = match (fields.entry("serial"), fields.entry("tcp")) {
        (Some(serial), Some(tcp)) => {
            problems.push(
                Problem::at(&tcp.key_span, format!("{} is both a serial line and a TCP connection", fields.whose))
                    .label("and a TCP address")
                    .also(&serial.key_span, "a serial port")
                    .help("keep one of them, or make it two buses"),
            );
            None
        }
        (Some(_), None) => Some(true),
        (None, Some(_)) => Some(false),
        (None, None) if fields.is_translated("serial") || fields.is_translated("tcp") => None,
        (None, None) => {
            fields.missing("serial` or `tcp", "write `serial: /dev/ttyUSB0` or `tcp: 192.168.1.50:502`", problems);
            None
        }
    };
    let bus = settings(&named, is_serial, ports, problems);
    KnownBus { key: named.key, is_serial, bus }
}

fn settings(
    named: &Named<'_>,
    is_serial: Option<bool>,
    ports: &mut HashMap<String, Place>,
    problems: &mut Problems,
) -> Option<Bus> {
    let fields = &named.fields;
    let protocol =
        fields.require("protocol", &PROTOCOL, "write `protocol: modbus-rtu` or `protocol: modbus-tcp`", problems);
    let timeout = fields.read("timeout", &Span::millis(1..=60_000), problems);
    let retries = fields.read("retries", &Whole(0..=10), problems);
    let max_gap = fields.read("max_gap", &Gap, problems);
    let in_flight = fields.read("in_flight", &Whole(1..=MAX_IN_FLIGHT), problems);
    if let (Some(entry), Some(true), Some(2..)) = (fields.entry("in_flight"), is_serial, in_flight) {
        problems.push(
            Problem::at(&entry.value.span, "a serial line carries one request at a time")
                .label("more than one")
                .help("remove it; 1 is the default"),
        );
    }
    let transport = match is_serial? {
        true => serial(fields, ports, problems),
        false => tcp(fields, problems),
    };
    check_protocol(fields, protocol?, is_serial?, problems);
    Some(Bus {
        name: named.name.clone()?,
        transport: transport?,
        protocol: protocol?,
        timeout: timeout.unwrap_or(TIMEOUT),
        retries: retries.unwrap_or(RETRIES) as u32,
        max_gap: max_gap.unwrap_or(MaxGap::Auto),
        echo: false,
        in_flight: in_flight.unwrap_or(1) as u16,
        format: StreamFormat::Modbus,
    })
}

fn check_protocol(fields: &Fields<'_>, protocol: Protocol, is_serial: bool, problems: &mut Problems) {
    let Some(entry) = fields.entry("protocol") else { return };
    let (title, help) = match (protocol, is_serial) {
        (Protocol::ModbusTcp, true) => {
            ("Modbus TCP needs a network address, and this bus is a serial line", "write `protocol: modbus-rtu`")
        }
        (Protocol::ModbusRtu, false) => (
            "Modbus RTU over TCP is not there yet in this version",
            "if the other end speaks Modbus TCP (most do, on port 502), write `protocol: modbus-tcp`",
        ),
        _ => return,
    };
    let (place, label) = if is_serial { ("serial", "a serial line") } else { ("tcp", "a network address") };
    let mut problem = Problem::at(&entry.value.span, title).label("this protocol").help(help);
    if let Some(entry) = fields.entry(place) {
        problem = problem.also(&entry.key_span, label);
    }
    problems.push(problem);
}

fn serial(fields: &Fields<'_>, ports: &mut HashMap<String, Place>, problems: &mut Problems) -> Option<Transport> {
    let path = fields.read("serial", &Port, problems);
    let baud = fields.read("baud", &Whole(110..=4_000_000), problems);
    fields.read("data_bits", &EightBits, problems);
    let parity = fields.read("parity", &PARITY, problems);
    let stop_bits = fields.read("stop_bits", &STOP_BITS, problems);
    let (path, span) = (path?, &fields.entry("serial")?.value.span);
    if let Some(first) = ports.insert(path.clone(), span.clone()) {
        problems.push(
            Problem::at(span, format!("two buses on the port {}", short(&path)))
                .label("and here again")
                .also(&first, "here first")
                .help("one port is one bus: put all devices on that line on the same bus"),
        );
    }
    Some(Transport::Serial(SerialLine {
        path,
        baud: baud.map_or(BAUD, |baud| baud as u32),
        data_bits: DataBits::Eight,
        parity: parity.unwrap_or(Parity::Even),
        stop_bits: stop_bits.unwrap_or(StopBits::One),
        rs485: false,
    }))
}

fn tcp(fields: &Fields<'_>, problems: &mut Problems) -> Option<Transport> {
    for key in ["baud", "data_bits", "parity", "stop_bits"] {
        if let Some(entry) = fields.entry(key) {
            problems.push(
                Problem::at(
                    &entry.key_span,
                    format!("`{key}` is for serial lines, and {} is a TCP connection", fields.whose),
                )
                .label("has no meaning here")
                .help("remove it; the line behind a converter is set up in the converter"),
            );
        }
    }
    let address = fields.read("tcp", &BusAddress, problems)?;
    Some(Transport::Tcp { host: address.host, port: address.port })
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

/// Modbus RTU frames are bytes (Modbus over Serial Line 1.02 §2.5.1); seven bits are for Modbus ASCII.
struct EightBits;

impl Read for EightBits {
    type Out = ();

    fn wanted(&self) -> String {
        "8".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<(), Wrong> {
        match Whole(5..=8).read(scalar)? {
            8 => Ok(()),
            bits => Err(Wrong::helped(
                format!("{bits} bits can't carry Modbus RTU, which sends whole bytes"),
                "remove it; 8 is the default",
            )),
        }
    }
}

/// `auto` or a number of registers.
struct Gap;

impl Read for Gap {
    type Out = MaxGap;

    fn wanted(&self) -> String {
        format!("`auto` or a whole number from 0 to {MAX_GAP}")
    }

    fn read(&self, scalar: &Scalar) -> Result<MaxGap, Wrong> {
        if scalar.text == "auto" {
            return Ok(MaxGap::Auto);
        }
        Whole(0..=MAX_GAP).read(scalar).map(|registers| MaxGap::Registers(registers as u16))
    }
}
