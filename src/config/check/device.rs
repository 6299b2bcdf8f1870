//! `devices:`: the units on the buses.

use std::collections::BTreeMap;

use super::bus::{KnownBus, MAX_IN_FLIGHT};
use super::format;
use super::names::{Named, Noun, hint, named};
use super::point::{self, Whose};
use super::publish::Defaults;
use super::telegram::{self, Family, Shared};
use crate::config::fields::Fields;
use crate::config::keys;
use crate::config::problem::{Problem, Problems};
use crate::config::scalar::{Switch, Text, Whole};
use crate::config::units::Span;
use crate::config::yaml::short;
use crate::model::{Device, Name, Quirks};

const NOUN: Noun = Noun {
    one: "device",
    many: "devices",
    shape: &keys::DEVICE,
    reserved: &[("gateway", "that of the gateway's own state and health")],
};

/// The most registers of one request (Modbus Application Protocol 1.1b3 §6.3).
const MAX_REGISTERS: u64 = 125;
/// What a Modbus TCP device without units behind it takes.
const TCP_UNIT: u8 = 1;

struct Buses<'b, 'a> {
    /// Whether a bus that is not among them is a mistake of its device.
    sought: bool,
    by_name: BTreeMap<&'a str, &'b KnownBus<'a>>,
}

pub(super) fn check(top: &Fields<'_>, buses: &[KnownBus<'_>], problems: &mut Problems) -> Vec<Device> {
    let Some(entry) = top.entry("devices") else { return Vec::new() };
    let mut stray = Vec::new();
    // Without the section every bus would be missing, which is one mistake, not many.
    let sought = top.entry("buses").is_some() || !(top.is_translated("buses") || problems.is_misplaced("buses"));
    let devices = named(&entry.value, &NOUN, "", &mut stray, problems);
    let buses = Buses { sought, by_name: buses.iter().map(|bus| (bus.key, bus)).collect() };
    devices.iter().filter_map(|device| one(device, &buses, &stray, problems)).collect()
}

fn one(named: &Named<'_>, buses: &Buses<'_, '_>, stray: &[&str], problems: &mut Problems) -> Option<Device> {
    let fields = &named.fields;
    let points_node = fields.entry("points").map(|entry| &*entry.value);
    // A key that was found one level up or down is told there; that it is missing here is the same mistake.
    let lost = |key: &str| {
        let inside = points_node.and_then(|node| node.entries()).unwrap_or_default();
        stray.contains(&key) || inside.iter().any(|entry| entry.key == key && entry.value.entries().is_none())
    };
    let bus = match fields.entry("bus") {
        None if lost("bus") => None,
        _ => bus(fields, buses, problems),
    };
    let family = bus.and_then(KnownBus::family);
    if let Some(family) = family {
        telegram::check_family(fields, family, problems);
    }
    let unit_id = match (fields.entry("unit_id"), bus.and_then(KnownBus::is_line)) {
        _ if matches!(family, Some(Family::Lines | Family::Frames)) => Some(0),
        (Some(_), Some(false)) => fields.read("unit_id", &Whole(0..=255), problems).map(|id| id as u8),
        // 0 is a broadcast, which nobody answers; 248 to 255 are reserved (Modbus over Serial Line 1.02 §2.2).
        (Some(_), _) => fields.read("unit_id", &Whole(1..=247), problems).map(|id| id as u8),
        (None, Some(true)) if !lost("unit_id") => {
            let help = "write the number that is set at the device, for example `unit_id: 1`";
            fields.missing("unit_id", help, problems);
            None
        }
        (None, _) => Some(TCP_UNIT),
    };
    let max_registers = fields.read("max_registers", &Whole(1..=MAX_REGISTERS), problems).unwrap_or(MAX_REGISTERS);
    let max_registers = max_registers as u16;
    let quirks = Quirks {
        write_and_read: fields.read("write_and_read", &Switch, problems).unwrap_or(false),
        single_requests: fields.read("single_requests", &Switch, problems).unwrap_or(false),
        pause: fields.read("pause", &Span::millis(1..=60_000), problems).unwrap_or_default(),
        max_in_flight: fields.read("max_in_flight", &Whole(1..=MAX_IN_FLIGHT), problems).map(|most| most as u16),
    };
    let defaults = Defaults::GATEWAY.changed(fields, problems);
    let has_template = fields.has("template");
    let whose = Whose {
        device: named.key,
        family,
        max_registers,
        shared: match family.unwrap_or_else(|| telegram::guess(fields)) {
            Family::Modbus => Shared::default(),
            family => telegram::shared(fields, family, problems),
        },
        frame_length: bus.and_then(|known| format::fixed_length(&known.bus.as_ref()?.format)),
        defaults,
    };
    let points = match points_node {
        Some(node) => point::check(node, &whose, problems),
        None => Vec::new(),
    };
    if let (Some(0), Some(entry)) = (unit_id, fields.entry("unit_id"))
        && let Some(point) = points.iter().find(|point| point.write.is_some())
    {
        problems.push(
            Problem::at(
                &entry.value.span,
                format!("{} can't be written to: unit 0 is all units at once", fields.whose),
            )
            .label("a broadcast, which no device answers")
            .help(format!("use the device's own unit id, or 1 or 255; `{}` has `write`", point.name)),
        );
    }
    if points_node.is_none_or(|node| node.is_nothing() || node.entries().is_some_and(<[_]>::is_empty))
        && !lost("points")
        && !has_template
    {
        let help = match family {
            Some(Family::Lines) => "below `points:` write for example `weight: { match: '^W(?<value>[0-9.]+)' }`",
            Some(Family::Frames) => "below `points:` write for example `distance: { at: 2, type: u16 }`",
            _ => "below `points:` write for example `temperature: { holding: 107, type: i16, scale: 0.1 }`",
        };
        fields.missing("points", help, problems);
    }
    Some(Device {
        name: named.name.clone()?,
        bus: Name::new(bus?.key).ok()?,
        unit_id: unit_id?,
        max_registers,
        quirks,
        publish: whose.defaults.publish,
        points,
    })
}

fn bus<'b, 'a>(fields: &Fields<'_>, buses: &Buses<'b, 'a>, problems: &mut Problems) -> Option<&'b KnownBus<'a>> {
    let reader = Text { wanted: "the name of a bus", max: 4_096 };
    let name = fields.require("bus", &reader, "write the name of a bus: `bus: line1`", problems)?;
    if let Some(known) = buses.by_name.get(name.as_str()) {
        return Some(known);
    }
    if !buses.sought {
        return None;
    }
    if problems.is_full() {
        problems.push(Problem::of_file("unknown bus"));
        return None;
    }
    problems.push(
        Problem::at(&fields.entry("bus")?.value.span, format!("there is no bus `{}`", short(&name)))
            .label(format!("{} is to be on this bus", fields.whose))
            .help(hint(&name, "buses", buses.by_name.keys().copied())),
    );
    None
}
