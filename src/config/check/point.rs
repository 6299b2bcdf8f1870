//! `points:` of a device: what is read, and how it becomes a value.

use std::sync::Arc;

use super::names::{Named, Noun, named};
use super::publish::Defaults;
use super::register::Reference;
use crate::config::fields::Fields;
use crate::config::keys;
use crate::config::problem::{Problem, Problems};
use crate::config::scalar::{Choice, Exact, Text, Whole};
use crate::config::tree::{Entry, Node};
use crate::config::yaml::short;
use crate::model::{Point, PointType, RegisterSource, RegisterTable, Source};

const NOUN: Noun = Noun {
    one: "point",
    many: "points",
    shape: &keys::POINT,
    reserved: &[
        ("availability", "that of the device's `online` and `offline`"),
        ("set", "one that commands to points are sent to"),
        ("result", "one that results of commands are sent to"),
    ],
};

const LATER: &str = "leave this point out for now, or read one of its registers as u16 if that helps";

const TYPE: Choice<PointType> = Choice {
    now: &[
        ("bool", PointType::Bool),
        ("u16", PointType::U16),
        ("i16", PointType::I16),
        ("u32", PointType::U32),
        ("i32", PointType::I32),
        ("f32", PointType::F32),
    ],
    later: &[
        ("bits", LATER),
        ("u8", LATER),
        ("i8", LATER),
        ("u64", LATER),
        ("i64", LATER),
        ("f16", LATER),
        ("f64", LATER),
        ("bcd16", LATER),
        ("bcd32", LATER),
        ("string", LATER),
        ("bytes", LATER),
    ],
    foreign: &[
        ("boolean", "bool"),
        ("bit", "bool"),
        ("uint16", "u16"),
        ("word", "u16"),
        ("ushort", "u16"),
        ("int16", "i16"),
        ("int", "i16"),
        ("short", "i16"),
        ("s16", "i16"),
        ("uint32", "u32"),
        ("dword", "u32"),
        ("int32", "i32"),
        ("s32", "i32"),
        ("float", "f32"),
        ("float32", "f32"),
        ("real", "f32"),
        ("double", "f64"),
        ("float64", "f64"),
    ],
};

const TABLES: [RegisterTable; 4] =
    [RegisterTable::Coil, RegisterTable::Discrete, RegisterTable::Input, RegisterTable::Holding];

const LOCATION: [&str; 5] = ["coil", "discrete", "input", "holding", "register"];

/// The points below `points:` of one device.
pub(super) fn check(node: &Node, device: &str, defaults: &Defaults, problems: &mut Problems) -> Vec<Point> {
    let of = format!(" of `{}`", short(device));
    let points = named(node, &NOUN, &of, &mut Vec::new(), problems);
    points.iter().filter_map(|point| one(point, defaults, problems)).collect()
}

fn one(named: &Named<'_>, defaults: &Defaults, problems: &mut Problems) -> Option<Point> {
    let fields = &named.fields;
    let (location, location_entry) = location(fields, problems).unzip();
    let kind = match fields.entry("type") {
        Some(_) => fields.read("type", &TYPE, problems),
        None => location.map(|(table, _)| if table.is_bits() { PointType::Bool } else { PointType::U16 }),
    };
    if let (Some((table, address)), Some(kind), Some(entry)) = (location, kind, location_entry) {
        check_fit(fields, table, address, kind, entry, problems);
    }
    let scale = fields.read("scale", &Exact, problems);
    if let (Some(scale), Some(entry)) = (&scale, fields.entry("scale"))
        && scale.is_zero()
    {
        problems.push(
            Problem::at(&entry.value.span, format!("{} can't be 0", fields.subject("scale")))
                .label("every value would be 0")
                .help("leave `scale` out for values as they are, or write for example 0.1"),
        );
    }
    let offset = fields.read("offset", &Exact, problems);
    if kind == Some(PointType::Bool) {
        for key in ["scale", "offset"] {
            refuse_for_bool(fields, key, problems);
        }
    }
    let unit = fields.read("unit", &Text { wanted: "a text such as kWh", max: 64 }, problems);
    let settings = defaults.changed(fields, problems);
    let (table, address) = location?;
    let byte_order = settings.byte_order;
    let register = RegisterSource { table, address, kind: kind?, byte_order, scale, offset, scale_from: None };
    Some(Point {
        unit: unit.map(Arc::from),
        poll: settings.poll,
        publish: settings.publish,
        ..Point::new(named.name.clone()?, Source::Register(register))
    })
}

/// Exactly one of `coil`, `discrete`, `input`, `holding` and `register`.
fn location<'a>(fields: &Fields<'a>, problems: &mut Problems) -> Option<((RegisterTable, u16), &'a Entry)> {
    let mut entries: Vec<(&str, &Entry)> =
        LOCATION.into_iter().filter_map(|key| Some((key, fields.entry(key)?))).collect();
    entries.sort_by_key(|(_, entry)| entry.key_span.start);
    let [(key, entry)] = entries.as_slice() else {
        match entries.as_slice() {
            [(_, first), (_, second), ..] => problems.push(
                Problem::at(&second.key_span, format!("{} has two addresses", fields.whose))
                    .label("and another one")
                    .also(&first.key_span, "one address")
                    .help("keep one of coil, discrete, input, holding and register"),
            ),
            // Told already: a typing mistake, or a key of a later version that says where.
            _ if LOCATION.iter().any(|key| fields.is_translated(key)) || fields.has("match") => {}
            _ => problems.push(
                Problem::at(&fields.at, format!("{} has no address", fields.whose))
                    .label("where is it to be read?")
                    .help("counted from 0: `holding: 107` (or input, coil, discrete); as printed in manuals: `register: 40108`"),
            ),
        }
        return None;
    };
    let table = TABLES.into_iter().find(|table| table.as_str() == *key);
    let location = match table {
        Some(table) => {
            let address = fields.read(key, &Whole(0..=65_535), problems)?;
            (table, address as u16)
        }
        None => fields.read("register", &Reference, problems)?,
    };
    Some((location, entry))
}

/// The type against the table and its end.
fn check_fit(
    fields: &Fields<'_>,
    table: RegisterTable,
    address: u16,
    kind: PointType,
    entry: &Entry,
    problems: &mut Problems,
) {
    if table.is_bits() && kind != PointType::Bool {
        let Some(kind_entry) = fields.entry("type") else { return };
        problems.push(
            Problem::at(
                &kind_entry.value.span,
                format!("a {} is a single bit, not {}", table_name(table), kind.as_str()),
            )
            .label("only `bool` fits")
            .also(&entry.key_span, format!("a {}", table_name(table)))
            .help("remove `type`, or read it with `holding:` or `input:` if it is a register"),
        );
        return;
    }
    if u32::from(address) + u32::from(kind.width()) > 65_536 {
        problems.push(
            Problem::at(&entry.value.span, format!("{} goes past the last register", fields.whose))
                .label(format!("{} takes {} registers, and the last one is 65535", kind.as_str(), kind.width()))
                .help("the address is that of the value's first register"),
        );
    }
}

fn table_name(table: RegisterTable) -> &'static str {
    match table {
        RegisterTable::Coil => "coil",
        RegisterTable::Discrete => "discrete input",
        RegisterTable::Input => "input register",
        RegisterTable::Holding => "holding register",
    }
}

fn refuse_for_bool(fields: &Fields<'_>, key: &str, problems: &mut Problems) {
    if let Some(entry) = fields.entry(key) {
        problems.push(
            Problem::at(&entry.key_span, format!("{} is true or false, and has no `{key}`", fields.whose))
                .label("has no meaning for a bool")
                .help("remove it, or give the point a number as `type`, such as u16"),
        );
    }
}
