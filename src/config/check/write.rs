//! `write`: which points may be written, and within which limits.

use crate::config::fields::{Fields, read_value};
use crate::config::keys;
use crate::config::problem::{Problem, Problems};
use crate::config::scalar::{Exact, Switch};
use crate::config::tree::Entry;
use crate::config::yaml::short;
use crate::model::{Decimal, EnumNames, Naming, PointType, RegisterTable, Write};

/// What `write` says of a point in this table; `None` when the point may only be read.
pub(super) fn check(
    fields: &Fields<'_>,
    table: Option<RegisterTable>,
    kind: Option<PointType>,
    naming: Option<&Naming>,
    problems: &mut Problems,
) -> Option<Write> {
    let entry = fields.entry("write")?;
    let write = match entry.value.scalar() {
        Some(_) => {
            let may = read_value(&entry.value, &fields.subject("write"), &Switch, problems)?;
            may.then(Write::default)?
        }
        None => limits(fields, entry, kind, naming, problems)?,
    };
    if let Some(table @ (RegisterTable::Discrete | RegisterTable::Input)) = table {
        let (what, instead) = match table {
            RegisterTable::Discrete => ("a discrete input", "coil"),
            _ => ("an input register", "holding"),
        };
        problems.push(
            Problem::at(&entry.key_span, format!("{} is {what}, which can only be read", fields.whose))
                .label("there is no way to write it")
                .help(format!("remove `write`, or name the `{instead}` that the manual gives for writing")),
        );
    }
    if let Some(Naming::Enum(names)) = naming {
        refuse_ambiguous(fields, entry, names, problems);
    }
    Some(write)
}

/// A name that two codes have can be read, but nobody knows which of them it writes.
fn refuse_ambiguous(fields: &Fields<'_>, write: &Entry, names: &EnumNames, problems: &mut Problems) {
    for (code, name) in names.iter() {
        let Some(first) = names.code(name).filter(|first| *first != code) else { continue };
        problems.push(
            Problem::at(&write.key_span, format!("which code a name of {} writes is not clear", fields.whose))
                .label(format!("codes {first} and {code} are both `{}`", short(name)))
                .help("give one of them another name; only a point that is not written may have a name twice"),
        );
    }
}

fn limits(
    fields: &Fields<'_>,
    entry: &Entry,
    kind: Option<PointType>,
    naming: Option<&Naming>,
    problems: &mut Problems,
) -> Option<Write> {
    let whose = fields.subject("write");
    let inner = Fields::open(&entry.value, &keys::WRITE, &entry.key_span, whose, problems)?;
    let write = Write {
        min: inner.read("min", &Exact, problems),
        max: inner.read("max", &Exact, problems),
        step: inner.read("step", &Exact, problems),
        only: inner.read("only", &Switch, problems).unwrap_or(false),
    };
    let zero = Decimal::from(0u16);
    if let (Some(step), Some(at)) = (&write.step, inner.entry("step"))
        && *step <= zero
    {
        problems.push(
            Problem::at(&at.value.span, format!("{} must be more than 0", inner.subject("step")))
                .label("no value is a step away from another")
                .help("for example 0.5; leave it out for any value"),
        );
    }
    if let (Some(min), Some(max), Some(at), Some(first)) =
        (&write.min, &write.max, inner.entry("max"), inner.entry("min"))
        && min > max
    {
        problems.push(
            Problem::at(&at.value.span, format!("nothing could be written to {}", fields.whose))
                .label(format!("the most is less than {min}"))
                .also(&first.value.span, "the least")
                .help("are `min` and `max` exchanged?"),
        );
    }
    let is_number = naming.is_none() && kind.is_none_or(PointType::is_number);
    for key in ["min", "max", "step"].into_iter().filter(|_| !is_number) {
        let Some(at) = inner.entry(key) else { continue };
        let help = match naming {
            Some(Naming::Enum(_)) => "what may be written are the names under `enum`",
            Some(Naming::Bits(_)) => "what may be written are the bits under `bits`",
            None => "write `write: true`",
        };
        problems.push(
            Problem::at(&at.key_span, format!("{} is no number, and has no `{key}`", fields.whose))
                .label("has no meaning here")
                .help(help),
        );
    }
    Some(write)
}
