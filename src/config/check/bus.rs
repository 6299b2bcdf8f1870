//! `buses:`: where the wires are and what is spoken on them.

use std::collections::HashSet;
use std::time::Duration;

use super::format;
use super::names::{Named, Noun, named};
use super::telegram::Family;
use super::transport::{self, Taken, Way, refuse, way};
use crate::config::fields::Fields;
use crate::config::keys;
use crate::config::problem::{Problem, Problems};
use crate::config::scalar::{Choice, Read, Switch, Whole, Wrong};
use crate::config::tree::Scalar;
use crate::config::units::Span;
use crate::model::{Bus, MaxGap, Protocol};

const NOUN: Noun = Noun { one: "bus", many: "buses", shape: &keys::BUS, reserved: &[] };

const TIMEOUT: Duration = Duration::from_millis(500);
const RETRIES: u64 = 1;
/// The most registers of one request (Modbus Application Protocol 1.1b3 §6.3); a longer gap can't be read through.
const MAX_GAP: u64 = 125;
/// More than devices take (Modbus Messaging on TCP/IP Implementation Guide 1.0b §4.2.2 speaks of up to 16).
pub(super) const MAX_IN_FLIGHT: u64 = 64;

const PROTOCOL: Choice<Protocol> = Choice {
    now: &[
        ("modbus-rtu", Protocol::ModbusRtu),
        ("modbus-ascii", Protocol::ModbusAscii),
        ("modbus-tcp", Protocol::ModbusTcp),
        ("lines", Protocol::Lines),
        ("frames", Protocol::Frames),
    ],
    later: &[],
    foreign: &[
        ("rtu", "modbus-rtu"),
        ("rtu-over-tcp", "modbus-rtu"),
        ("modbus-rtu-over-tcp", "modbus-rtu"),
        ("tcp", "modbus-tcp"),
        ("modbus", "modbus-rtu"),
        ("serial", "modbus-rtu"),
        ("ascii", "modbus-ascii"),
        ("line", "lines"),
        ("text", "lines"),
        ("nmea", "lines"),
        ("scpi", "lines"),
        ("frame", "frames"),
        ("binary", "frames"),
    ],
};

/// A bus as far as it could be understood, so that devices can refer to it even when it has problems.
pub(super) struct KnownBus<'a> {
    pub(super) key: &'a str,
    /// `None` when it has none, or several, of `serial`, `tcp` and `listen`.
    way: Option<Way>,
    protocol: Option<Protocol>,
    pub(super) bus: Option<Bus>,
}

impl KnownBus<'_> {
    /// What its devices' points are read from.
    pub(super) fn family(&self) -> Option<Family> {
        Some(match self.protocol? {
            Protocol::ModbusRtu | Protocol::ModbusAscii | Protocol::ModbusTcp => Family::Modbus,
            Protocol::Lines => Family::Lines,
            Protocol::Frames => Family::Frames,
        })
    }

    /// Whether its Modbus devices are on a serial line in the end, where each has a unit identifier.
    pub(super) fn is_line(&self) -> Option<bool> {
        match self.protocol {
            Some(Protocol::ModbusRtu | Protocol::ModbusAscii) => Some(true),
            _ => self.way.map(|way| way == Way::Serial),
        }
    }
}

pub(super) fn check<'a>(top: &Fields<'a>, problems: &mut Problems) -> Vec<KnownBus<'a>> {
    let Some(entry) = top.entry("buses") else { return Vec::new() };
    let buses = named(&entry.value, &NOUN, "", &mut Vec::new(), problems);
    let mut taken = Taken::default();
    let mut known: Vec<KnownBus<'a>> = buses.into_iter().map(|named| one(named, &mut taken, problems)).collect();
    // What stands under a bus's name may be no bus at all; a device on it has no mistake of its own.
    let readable: HashSet<&str> = known.iter().map(|bus| bus.key).collect();
    let others = entry.value.entries().unwrap_or_default().iter().map(|entry| entry.key.as_str());
    let others = others.filter(|key| !readable.contains(key));
    known.extend(others.map(|key| KnownBus { key, way: None, protocol: None, bus: None }));
    known
}

fn one<'a>(named: Named<'a>, taken: &mut Taken, problems: &mut Problems) -> KnownBus<'a> {
    let fields = &named.fields;
    let way = way(fields, problems);
    let help =
        "write `protocol: modbus-rtu`, `modbus-tcp` or what else is spoken there: `modbus-ascii`, `lines` or `frames`";
    let protocol = fields.require("protocol", &PROTOCOL, help, problems);
    let bus = settings(&named, way, protocol, taken, problems);
    KnownBus { key: named.key, way, protocol, bus }
}

fn settings(
    named: &Named<'_>,
    way: Option<Way>,
    protocol: Option<Protocol>,
    taken: &mut Taken,
    problems: &mut Problems,
) -> Option<Bus> {
    let fields = &named.fields;
    let timeout = fields.read("timeout", &Span::millis(1..=60_000), problems);
    let retries = fields.read("retries", &Whole(0..=10), problems);
    let max_gap = fields.read("max_gap", &Gap, problems);
    let in_flight = fields.read("in_flight", &Whole(1..=MAX_IN_FLIGHT), problems);
    let echo = fields.read("echo", &Switch, problems);
    if protocol.is_some_and(|protocol| !protocol.is_modbus()) {
        refuse(fields, "max_gap", "is for Modbus", "speaks another protocol", "remove it", problems);
    }
    if protocol == Some(Protocol::ModbusTcp) {
        refuse(fields, "echo", "is for serial lines", "speaks Modbus TCP", "remove it", problems);
    }
    let is_single = way == Some(Way::Serial) || protocol.is_some_and(|protocol| protocol != Protocol::ModbusTcp);
    if let (Some(entry), true, Some(2..)) = (fields.entry("in_flight"), is_single, in_flight) {
        problems.push(
            Problem::at(&entry.value.span, "a serial line carries one request at a time")
                .label("more than one")
                .help("remove it; 1 is the default"),
        );
    }
    let format = format::check(fields, protocol, problems);
    let transport = transport::check(fields, way?, protocol, taken, problems);
    if protocol == Some(Protocol::ModbusTcp) && way == Some(Way::Serial) {
        modbus_tcp_on_a_serial_line(fields, problems);
    }
    Some(Bus {
        timeout: timeout.unwrap_or(TIMEOUT),
        retries: retries.unwrap_or(RETRIES) as u32,
        max_gap: max_gap.unwrap_or(MaxGap::Auto),
        in_flight: in_flight.unwrap_or(1) as u16,
        echo: echo.unwrap_or(false),
        format,
        ..Bus::new(named.name.clone()?, transport?, protocol?)
    })
}

fn modbus_tcp_on_a_serial_line(fields: &Fields<'_>, problems: &mut Problems) {
    let (Some(protocol), Some(serial)) = (fields.entry("protocol"), fields.entry("serial")) else { return };
    problems.push(
        Problem::at(&protocol.value.span, "Modbus TCP needs a network address, and this bus is a serial line")
            .label("this protocol")
            .also(&serial.key_span, "a serial line")
            .help("write `protocol: modbus-rtu`"),
    );
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
