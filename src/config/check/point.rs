//! `points:` of a device: what is read, and how it becomes a value.

use std::sync::Arc;

use super::cells;
use super::codes;
use super::factor::Factors;
use super::names::{Named, Noun, named};
use super::publish::{self, Defaults};
use super::telegram::{self, Family, Shared};
use super::write;
use crate::config::fields::Fields;
use crate::config::keys;
use crate::config::problem::Problems;
use crate::config::scalar::Text;
use crate::config::tree::Node;
use crate::config::yaml::short;
use crate::model::{Point, Source};

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

/// What a device says about its points.
pub(super) struct Whose<'a> {
    pub(super) device: &'a str,
    /// `None` when its bus could not be understood.
    pub(super) family: Option<Family>,
    pub(super) max_registers: u16,
    /// What it says for its points in lines or frames.
    pub(super) shared: Shared,
    /// Bytes of the frames on its bus, if all have as many.
    pub(super) frame_length: Option<usize>,
    pub(super) defaults: Defaults,
}

/// The points below `points:` of one device.
pub(super) fn check(node: &Node, whose: &Whose<'_>, problems: &mut Problems) -> Vec<Point> {
    let of = format!(" of `{}`", short(whose.device));
    let named = named(node, &NOUN, &of, &mut Vec::new(), problems);
    let mut factors = Factors::new(whose.max_registers);
    let mut points = Vec::with_capacity(named.len());
    for named in &named {
        let family = whose.family.unwrap_or_else(|| telegram::guess(&named.fields));
        if whose.family.is_some() {
            telegram::check_family(&named.fields, family, problems);
        }
        points.push(match family {
            Family::Modbus => modbus(named, whose.max_registers, &whose.defaults, &mut factors, problems),
            Family::Lines => telegram::line(named, &whose.shared, &whose.defaults, problems),
            Family::Frames => telegram::frame(named, &whose.shared, whose.frame_length, &whose.defaults, problems),
        });
    }
    factors.resolve(&named, &mut points, problems);
    points.into_iter().flatten().collect()
}

fn modbus<'a>(
    named: &Named<'a>,
    max_registers: u16,
    defaults: &Defaults,
    factors: &mut Factors<'a>,
    problems: &mut Problems,
) -> Option<Point> {
    let fields: &Fields<'a> = &named.fields;
    let cells = cells::check(fields, max_registers, problems);
    let naming = codes::naming(fields, cells.kind, problems);
    let invalid = codes::invalid(fields, cells.kind, problems);
    factors.note(named, problems);
    let unit = fields.read("unit", &Text { wanted: "a text such as kWh", max: 64 }, problems);
    let settings = defaults.changed(fields, problems);
    publish::refuse_deadband(fields, cells.kind, naming.as_ref(), problems);
    let write = write::check(fields, cells.location.map(|(table, _)| table), cells.kind, naming.as_ref(), problems);
    let register = cells.source(fields, settings.byte_order)?;
    Some(Point {
        write,
        report: settings.report,
        naming,
        invalid,
        unit: unit.map(Arc::from),
        poll: settings.poll,
        publish: settings.publish,
        ..Point::new(named.name.clone()?, Source::Register(register))
    })
}
