//! `scale_from`: the register that holds a point's scale factor, by its address or by the name of a point.

use super::cells;
use super::names::{Named, hint};
use crate::config::fields::{Fields, read_value};
use crate::config::keys;
use crate::config::problem::{Problem, Problems};
use crate::config::scalar::Text;
use crate::config::tree::Entry;
use crate::config::yaml::short;
use crate::model::{Point, PointType, RegisterSource, RegisterTable, Source};

/// The points of a device that take their scale from a register, until all of its points are known.
pub(super) struct Factors<'a> {
    max_registers: u16,
    wanted: Vec<(usize, &'a Entry, From)>,
    seen: usize,
}

enum From {
    Register(RegisterTable, u16),
    Point(String),
}

impl<'a> Factors<'a> {
    pub(super) fn new(max_registers: u16) -> Factors<'a> {
        Factors { max_registers, wanted: Vec::new(), seen: 0 }
    }

    /// Notes what the next point says.
    pub(super) fn note(&mut self, named: &Named<'a>, problems: &mut Problems) {
        let index = self.seen;
        self.seen += 1;
        let fields = &named.fields;
        let Some(entry) = fields.entry("scale_from") else { return };
        let subject = fields.subject("scale_from");
        let from = if entry.value.entries().is_some() {
            let inner = Fields::open(&entry.value, &keys::SCALE_FROM, &entry.key_span, subject, problems);
            inner
                .and_then(|inner| cells::register(&inner, problems))
                .map(|(table, address)| From::Register(table, address))
        } else {
            let wanted = "an address such as { holding: 82 }, or the name of a point";
            read_value(&entry.value, &subject, &Text { wanted, max: 128 }, problems).map(From::Point)
        };
        self.wanted.extend(from.map(|from| (index, entry, from)));
    }

    /// Tells the points where their factors are. `points` are those of `named`, in their order.
    pub(super) fn resolve(self, named: &[Named<'a>], points: &mut [Option<Point>], problems: &mut Problems) {
        for (index, entry, from) in &self.wanted {
            let found = match from {
                From::Register(table, address) => Some((*table, *address)),
                From::Point(name) => self.factor_point(*index, name, entry, named, points, problems),
            };
            let Some(Source::Register(register)) = points[*index].as_mut().map(|point| &mut point.source) else {
                continue;
            };
            let Some((table, address)) = found else { continue };
            if self.is_near(register, table, address, entry, &named[*index].fields.whose, problems) {
                register.scale_from = Some(address);
            }
        }
    }

    /// Where the point that is called so is, if it can hold a factor.
    fn factor_point(
        &self,
        index: usize,
        name: &str,
        entry: &Entry,
        named: &[Named<'a>],
        points: &[Option<Point>],
        problems: &mut Problems,
    ) -> Option<(RegisterTable, u16)> {
        let Some(at) = named.iter().position(|other| other.key == name) else {
            problems.push(
                Problem::at(&entry.value.span, format!("this device has no point `{}`", short(name)))
                    .label("the scale factor is to come from there")
                    .help(hint(name, "points", named.iter().map(|other| other.key))),
            );
            return None;
        };
        if at == index {
            problems.push(itself(entry, &named[index].fields.whose));
            return None;
        }
        let register = points[at].as_ref()?.register()?;
        let is_factor = matches!(register.kind, PointType::I16 | PointType::U16) && !register.is_scaled();
        if !is_factor {
            problems.push(
                Problem::at(&entry.value.span, format!("`{}` can't be a scale factor", short(name)))
                    .label(format!(
                        "it is {}{}",
                        register.kind.as_str(),
                        if register.is_scaled() { " with a scale" } else { "" }
                    ))
                    .also(named[at].key_span, "this point")
                    .help("a scale factor is a power of ten in one register: `type: i16` without a scale"),
            );
            return None;
        }
        Some((register.table, register.address))
    }

    /// Whether one answer can hold both.
    fn is_near(
        &self,
        register: &RegisterSource,
        table: RegisterTable,
        address: u16,
        entry: &Entry,
        whose: &str,
        problems: &mut Problems,
    ) -> bool {
        let own = register.address..register.address.saturating_add(register.width());
        if table == register.table && own.contains(&address) {
            problems.push(itself(entry, whose));
            return false;
        }
        let first = u32::from(register.address.min(address));
        let end = (u32::from(register.address) + u32::from(register.width())).max(u32::from(address) + 1);
        let problem =
            Problem::at(&entry.value.span, format!("{whose} and its scale factor can't be read in one answer"));
        if table != register.table {
            let (there, here) = (table.as_str(), register.table.as_str());
            problems.push(
                problem
                    .label(format!("the factor is in the {there} table, the point in the {here} table"))
                    .help("read apart they might not belong together; does the device have both in one table?"),
            );
        } else if end - first > self.max_registers.into() {
            problems.push(
                problem
                    .label(format!("{} registers from one to the other, {} at a time", end - first, self.max_registers))
                    .help(
                        "read apart they might not belong together; if the factor never changes, write it as `scale`",
                    ),
            );
        } else {
            return true;
        }
        false
    }
}

/// A point can't say itself how it is scaled.
fn itself(entry: &Entry, whose: &str) -> Problem {
    Problem::at(&entry.value.span, format!("{whose} would be its own scale factor"))
        .label("this is the point itself")
        .help("name the register that holds the factor, a power of ten; in SunSpec its name ends with `_SF`")
}
