//! Which cells of a Modbus device a point takes, and how they are read: address, type, scale.

use super::register::Reference;
use crate::config::fields::Fields;
use crate::config::problem::{Problem, Problems};
use crate::config::scalar::{Choice, Exact, Whole};
use crate::config::tree::Entry;
use crate::model::{ByteOrder, Decimal, Encoding, Half, PointType, RegisterSource, RegisterTable};

/// The words of `type:`, of which some need another key to say all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Whole(PointType),
    Bit,
    Bits,
    U8,
    I8,
    String,
    Bytes,
}

const TYPE: Choice<Kind> = Choice {
    now: &[
        ("bool", Kind::Whole(PointType::Bool)),
        ("bit", Kind::Bit),
        ("bits", Kind::Bits),
        ("u8", Kind::U8),
        ("i8", Kind::I8),
        ("u16", Kind::Whole(PointType::U16)),
        ("i16", Kind::Whole(PointType::I16)),
        ("u32", Kind::Whole(PointType::U32)),
        ("i32", Kind::Whole(PointType::I32)),
        ("u64", Kind::Whole(PointType::U64)),
        ("i64", Kind::Whole(PointType::I64)),
        ("f16", Kind::Whole(PointType::F16)),
        ("f32", Kind::Whole(PointType::F32)),
        ("f64", Kind::Whole(PointType::F64)),
        ("bcd16", Kind::Whole(PointType::Bcd16)),
        ("bcd32", Kind::Whole(PointType::Bcd32)),
        ("string", Kind::String),
        ("bytes", Kind::Bytes),
    ],
    later: &[],
    foreign: &[
        ("boolean", "bool"),
        ("bitfield", "bits"),
        ("flags", "bits"),
        ("uint8", "u8"),
        ("byte", "u8"),
        ("int8", "i8"),
        ("uint16", "u16"),
        ("word", "u16"),
        ("ushort", "u16"),
        ("enum", "u16"),
        ("int16", "i16"),
        ("int", "i16"),
        ("short", "i16"),
        ("s16", "i16"),
        ("uint32", "u32"),
        ("dword", "u32"),
        ("int32", "i32"),
        ("s32", "i32"),
        ("uint64", "u64"),
        ("qword", "u64"),
        ("int64", "i64"),
        ("s64", "i64"),
        ("half", "f16"),
        ("float16", "f16"),
        ("float", "f32"),
        ("float32", "f32"),
        ("real", "f32"),
        ("double", "f64"),
        ("float64", "f64"),
        ("lreal", "f64"),
        ("bcd", "bcd16"),
        ("text", "string"),
        ("str", "string"),
        ("ascii", "string"),
        ("raw", "bytes"),
        ("hex", "bytes"),
    ],
};

const HALF: Choice<Half> = Choice {
    now: &[("low", Half::Low), ("high", Half::High)],
    later: &[],
    foreign: &[("lsb", "low"), ("msb", "high"), ("second", "low"), ("first", "high")],
};

const ENCODING: Choice<Encoding> = Choice {
    now: &[
        ("ascii", Encoding::Ascii),
        ("utf8", Encoding::Utf8),
        ("latin1", Encoding::Latin1),
        ("utf16", Encoding::Utf16),
    ],
    later: &[],
    foreign: &[("utf-8", "utf8"), ("utf-16", "utf16"), ("iso-8859-1", "latin1"), ("us-ascii", "ascii")],
};

const TABLES: [RegisterTable; 4] =
    [RegisterTable::Coil, RegisterTable::Discrete, RegisterTable::Input, RegisterTable::Holding];

const LOCATION: [&str; 5] = ["coil", "discrete", "input", "holding", "register"];

/// Two bytes a register, in one answer (Modbus Application Protocol 1.1b3 §6.3).
const MAX_BYTES: u64 = 250;

/// What could be understood of a point's cells.
pub(super) struct Cells {
    pub(super) location: Option<(RegisterTable, u16)>,
    pub(super) kind: Option<PointType>,
    scale: Option<Decimal>,
    offset: Option<Decimal>,
}

impl Cells {
    /// `None` when something that is needed is wrong or missing; then that is told.
    pub(super) fn source(self, fields: &Fields<'_>, byte_order: ByteOrder) -> Option<RegisterSource> {
        let ((table, address), kind) = (self.location?, self.kind?);
        // A device's byte order is about its numbers; the bytes of its texts are swapped only where the point says so.
        let is_inherited = fields.entry("byte_order").is_none();
        let is_bytes = matches!(kind, PointType::String { .. } | PointType::Bytes { .. });
        let byte_order = if is_bytes && is_inherited { ByteOrder::Abcd } else { byte_order };
        Some(RegisterSource {
            table,
            address,
            kind,
            byte_order,
            scale: self.scale,
            offset: self.offset,
            scale_from: None,
        })
    }
}

pub(super) fn check(fields: &Fields<'_>, max_registers: u16, problems: &mut Problems) -> Cells {
    let (location, location_entry) = location(fields, problems).unzip();
    let usual = location.map(|(table, _)| if table.is_bits() { PointType::Bool } else { PointType::U16 });
    let kind = kind(fields, usual, problems);
    if let (Some((table, address)), Some(kind), Some(entry)) = (location, kind, location_entry) {
        check_fit(fields, table, address, kind, max_registers, entry, problems);
    }
    let (scale, offset) = scaling(fields, kind, problems);
    check_scalable(fields, "scale_from", kind, problems);
    Cells { location, kind, scale, offset }
}

/// `scale` and `offset` of a value of this type.
pub(super) fn scaling(
    fields: &Fields<'_>,
    kind: Option<PointType>,
    problems: &mut Problems,
) -> (Option<Decimal>, Option<Decimal>) {
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
    for key in ["scale", "offset"] {
        check_scalable(fields, key, kind, problems);
    }
    (scale, offset)
}

/// What `type`, `bit`, `byte`, `length` and `encoding` say together; `usual` without a type.
pub(super) fn kind(fields: &Fields<'_>, usual: Option<PointType>, problems: &mut Problems) -> Option<PointType> {
    let bit = fields.read("bit", &Whole(0..=15), problems);
    let half = fields.read("byte", &HALF, problems);
    let length = fields.read("length", &Whole(1..=MAX_BYTES), problems);
    let encoding = fields.read("encoding", &ENCODING, problems);
    let has = |key: &str| fields.entry(key).is_some();
    let kind = match fields.entry("type") {
        Some(_) => fields.read("type", &TYPE, problems)?,
        None if has("bit") => Kind::Bit,
        None if has("byte") => Kind::U8,
        None => Kind::Whole(usual?),
    };
    // `type: bool` with a bit is that bit.
    let kind = if kind == Kind::Whole(PointType::Bool) && has("bit") { Kind::Bit } else { kind };
    for (key, is_known, of) in [
        ("bit", kind == Kind::Bit, "`type: bit`"),
        ("byte", matches!(kind, Kind::U8 | Kind::I8), "`type: u8` and `type: i8`"),
        ("length", matches!(kind, Kind::String | Kind::Bytes), "`type: string` and `type: bytes`"),
        ("encoding", kind == Kind::String, "`type: string`"),
    ] {
        if let Some(entry) = fields.entry(key).filter(|_| !is_known) {
            problems.push(
                Problem::at(&entry.key_span, format!("`{key}` belongs to {of}"))
                    .label(format!("{} is of another type", fields.whose))
                    .help(format!("remove it, or write {of}")),
            );
        }
    }
    let mut need = |key: &str, help: &str| {
        if !has(key) {
            fields.missing(key, help, problems);
        }
    };
    match kind {
        Kind::Bit => need("bit", "which bit of the register? `bit: 0` is the least significant, `bit: 15` the most"),
        Kind::Bits => need("bits", "name them: `bits: { 0: low_pressure, 5: overheat }`"),
        Kind::String | Kind::Bytes => {
            need("length", "how many bytes? A register has two: `length: 16` are 8 registers")
        }
        _ => {}
    }
    Some(match kind {
        Kind::Whole(kind) => kind,
        Kind::Bit => PointType::Bit(bit? as u8),
        Kind::Bits => PointType::U16,
        Kind::U8 => PointType::U8(half.unwrap_or_default()),
        Kind::I8 => PointType::I8(half.unwrap_or_default()),
        Kind::String => PointType::String { length: length? as u8, encoding: encoding.unwrap_or_default() },
        Kind::Bytes => PointType::Bytes { length: length? as u8 },
    })
}

/// The address of a register that stands by itself: exactly one of `input`, `holding` and `register`.
pub(super) fn register(fields: &Fields<'_>, problems: &mut Problems) -> Option<(RegisterTable, u16)> {
    let (location, entry) = address(fields, &["input", "holding", "register"], problems)?;
    if location.0.is_bits() {
        problems.push(
            Problem::at(&entry.value.span, format!("{} is no register", fields.whose))
                .label(format!("a {} is a single bit", table_name(location.0)))
                .help("references of registers begin with 3 (input) or 4 (holding)"),
        );
        return None;
    }
    Some(location)
}

/// Exactly one of `coil`, `discrete`, `input`, `holding` and `register`.
fn location<'a>(fields: &Fields<'a>, problems: &mut Problems) -> Option<((RegisterTable, u16), &'a Entry)> {
    address(fields, &LOCATION, problems)
}

fn address<'a>(
    fields: &Fields<'a>,
    keys: &[&'static str],
    problems: &mut Problems,
) -> Option<((RegisterTable, u16), &'a Entry)> {
    let mut entries: Vec<(&str, &Entry)> = keys.iter().filter_map(|key| Some((*key, fields.entry(key)?))).collect();
    entries.sort_by_key(|(_, entry)| entry.key_span.start);
    let [(key, entry)] = entries.as_slice() else {
        match entries.as_slice() {
            [(_, first), (_, second), ..] => problems.push(
                Problem::at(&second.key_span, format!("{} has two addresses", fields.whose))
                    .label("and another one")
                    .also(&first.key_span, "one address")
                    .help(format!("keep one of {}", keys.join(", "))),
            ),
            // Told already: a typing mistake, or a key of a later version that says where.
            _ if keys.iter().any(|key| fields.is_translated(key)) || fields.has("match") => {}
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

/// The type against the table, its end, and what the device answers at a time.
fn check_fit(
    fields: &Fields<'_>,
    table: RegisterTable,
    address: u16,
    kind: PointType,
    max_registers: u16,
    entry: &Entry,
    problems: &mut Problems,
) {
    if table.is_bits() && kind != PointType::Bool {
        let Some(kind_entry) = fields.entry("type").or_else(|| fields.entry("bit")).or_else(|| fields.entry("byte"))
        else {
            return;
        };
        problems.push(
            Problem::at(
                &kind_entry.value.span,
                format!("a {} is a single bit, not {}", table_name(table), kind.as_str()),
            )
            .label("only `bool` fits")
            .also(&entry.key_span, format!("a {}", table_name(table)))
            .help(format!("remove `{}`, or read it with `holding:` or `input:` if it is a register", kind_entry.key)),
        );
        return;
    }
    let (width, word) = (kind.width(), kind.as_str());
    if u32::from(address) + u32::from(width) > 65_536 {
        problems.push(
            Problem::at(&entry.value.span, format!("{} goes past the last register", fields.whose))
                .label(format!("{word} takes {width} registers here, and the last one is 65535"))
                .help("the address is that of the value's first register"),
        );
    } else if width > max_registers {
        problems.push(
            Problem::at(&entry.value.span, format!("{} can't be read in one piece", fields.whose))
                .label(format!(
                    "{word} takes {width} registers here, and this device answers {max_registers} at a time"
                ))
                .help("a value that is read in two pieces may be torn; is `max_registers` of the device right?"),
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

fn check_scalable(fields: &Fields<'_>, key: &str, kind: Option<PointType>, problems: &mut Problems) {
    let (Some(entry), Some(kind)) = (fields.entry(key), kind) else { return };
    let (is, what) = match kind {
        PointType::Bool | PointType::Bit(_) => ("is true or false", "a bool"),
        PointType::String { .. } => ("is a text", "a text"),
        PointType::Bytes { .. } => ("is bytes", "bytes"),
        _ if fields.entry("enum").is_some() => ("has names for its values", "a name"),
        _ if fields.entry("bits").is_some() => ("has names for its bits", "named bits"),
        _ => return,
    };
    problems.push(
        Problem::at(&entry.key_span, format!("{} {is}, and has no `{key}`", fields.whose))
            .label(format!("has no meaning for {what}"))
            .help("remove it, or give the point a number as `type`, such as u16"),
    );
}
