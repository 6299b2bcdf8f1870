//! Codes: the raw values that `enum`, `bits` and `invalid` speak about, before scale and offset.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;

use crate::config::fields::{Fields, read_value};
use crate::config::problem::{Problem, Problems};
use crate::config::scalar::{Exact, Read, Text, Whole, Wrong};
use crate::config::tree::{Entry, Node, Scalar, Span, Value};
use crate::config::yaml::short;
use crate::model::{BitNames, EnumNames, Naming, PointType, Sentinel};

const NAME: Text = Text { wanted: "a name such as overheat", max: 64 };

/// What `enum` or `bits` says.
pub(super) fn naming(fields: &Fields<'_>, kind: Option<PointType>, problems: &mut Problems) -> Option<Naming> {
    if let (Some(first), Some(second)) = (fields.entry("enum"), fields.entry("bits")) {
        problems.push(
            Problem::at(&second.key_span, format!("{} has names for its codes and for its bits", fields.whose))
                .label("names of bits")
                .also(&first.key_span, "names of codes")
                .help("keep one of them; a second point may read the same register in the other way"),
        );
        return None;
    }
    if let Some(entry) = fields.entry("enum") {
        let is_small =
            |range: &RangeInclusive<i128>| *range.start() >= i32::MIN.into() && *range.end() <= u32::MAX.into();
        let codes = whole_numbers(kind).filter(is_small);
        let codes = suits(fields, entry, kind, codes, "a whole number of up to 32 bits, such as u16", problems)?;
        let names = mapping(fields, entry, &Code { codes, kind }, "0: off", problems)?;
        return Some(Naming::Enum(Arc::new(EnumNames::new(names))));
    }
    let entry = fields.entry("bits")?;
    let width = match kind {
        Some(PointType::U8(_)) => Some(8),
        Some(PointType::U16) => Some(16),
        Some(PointType::U32) => Some(32),
        Some(PointType::U64) => Some(64),
        _ => None,
    };
    let bits = width.map(|width| 0..=width - 1);
    let bits = suits(fields, entry, kind, bits, "`bits` for one register, or u8, u32 or u64", problems)?;
    let names = mapping(fields, entry, &Code { codes: bits, kind: None }, "0: low_pressure", problems)?;
    let mut first: HashMap<&str, i64> = HashMap::new();
    for (bit, name) in &names {
        if let Some(other) = first.insert(name, *bit) {
            problems.push(
                Problem::at(&entry.key_span, format!("two bits of {} have one name", fields.whose))
                    .label(format!("bits {other} and {bit} are both `{}`", short(name)))
                    .help("give one of them another name: in the payload each bit has a key"),
            );
        }
    }
    Some(Naming::Bits(Arc::new(BitNames::new(names.iter().map(|(bit, name)| (*bit as u8, Arc::clone(name)))))))
}

/// What `invalid` says: one value or a list.
pub(super) fn invalid(fields: &Fields<'_>, kind: Option<PointType>, problems: &mut Problems) -> Vec<Sentinel> {
    let (Some(entry), Some(kind)) = (fields.entry("invalid"), kind) else { return Vec::new() };
    let single = [Rc::clone(&entry.value)];
    let items = match &entry.value.value {
        Value::List(items) => items.as_slice(),
        _ => &single,
    };
    let subject = fields.subject("invalid");
    let mut read = |node: &Node| match kind {
        PointType::String { .. } => {
            let text = read_value(node, &subject, &Padding, problems)?;
            Some(Sentinel::Text(text.into()))
        }
        kind if kind.is_float() => read_value(node, &subject, &FloatSentinel(kind), problems),
        kind => {
            let codes = whole_numbers(Some(kind))?;
            Some(Sentinel::Integer(read_value(node, &subject, &Code { codes, kind: Some(kind) }, problems)?))
        }
    };
    let sentinels = items.iter().filter_map(|item| read(item)).collect();
    if !kind.is_number() && !matches!(kind, PointType::String { .. }) {
        problems.push(
            Problem::at(&entry.key_span, format!("{} is {}, and has no `invalid`", fields.whose, kind.as_str()))
                .label("only numbers and texts can stand for \"no value\"")
                .help("remove it"),
        );
    }
    sentinels
}

/// `0: off, 1: auto`: a code and a name each.
fn mapping(
    fields: &Fields<'_>,
    entry: &Entry,
    codes: &Code,
    example: &str,
    problems: &mut Problems,
) -> Option<Vec<(i64, Arc<str>)>> {
    let subject = fields.subject(&entry.key);
    if let Value::Told = entry.value.value {
        return None;
    }
    let Some(entries) = entry.value.entries().filter(|entries| !entries.is_empty()) else {
        let at: &Span = if entry.value.is_nothing() { &entry.key_span } else { &entry.value.span };
        problems.push(
            Problem::at(at, format!("{subject} must be numbers with their names"))
                .label(entry.value.describe())
                .help(format!("for example `{}: {{ {example} }}`", entry.key)),
        );
        return None;
    };
    let mut names = Vec::new();
    let mut seen: HashMap<i64, &Entry> = HashMap::new();
    for one in entries {
        // A key is text to YAML; quotes around it change nothing.
        let key = Scalar { text: one.key.clone(), plain: true };
        let node = Node { span: one.key_span.clone(), value: Value::Scalar(key), weight: 1 };
        let code = read_value(&node, &format!("a number in {subject}"), codes, problems);
        let name = read_value(&one.value, &format!("`{}` in {subject}", short(&one.key)), &NAME, problems);
        let (Some(Ok(code)), Some(name)) = (code.map(i64::try_from), name) else { continue };
        if let Some(first) = seen.insert(code, one) {
            problems.push(
                Problem::at(&one.key_span, format!("{code} has two names in {subject}"))
                    .label("and here again")
                    .also(&first.key_span, "here first")
                    .help("keep one of them"),
            );
        }
        names.push((code, Arc::from(name)));
    }
    Some(names)
}

/// `codes`, if the type has any; else that is told.
fn suits(
    fields: &Fields<'_>,
    entry: &Entry,
    kind: Option<PointType>,
    codes: Option<RangeInclusive<i128>>,
    wanted: &str,
    problems: &mut Problems,
) -> Option<RangeInclusive<i128>> {
    if let (None, Some(kind)) = (&codes, kind) {
        problems.push(
            Problem::at(&entry.key_span, format!("{} is {}, and has no `{}`", fields.whose, kind.as_str(), entry.key))
                .label("these names are for whole numbers")
                .help(format!("remove it, or write as `type` {wanted}")),
        );
    }
    codes
}

/// The codes that a type holds.
fn whole_numbers(kind: Option<PointType>) -> Option<RangeInclusive<i128>> {
    Some(match kind? {
        PointType::U8(_) => 0..=u8::MAX.into(),
        PointType::I8(_) => i8::MIN.into()..=i8::MAX.into(),
        PointType::U16 => 0..=u16::MAX.into(),
        PointType::I16 => i16::MIN.into()..=i16::MAX.into(),
        PointType::U32 => 0..=u32::MAX.into(),
        PointType::I32 => i32::MIN.into()..=i32::MAX.into(),
        PointType::U64 => 0..=u64::MAX.into(),
        PointType::I64 => i64::MIN.into()..=i64::MAX.into(),
        PointType::Bcd16 => 0..=9_999,
        PointType::Bcd32 => 0..=99_999_999,
        _ => return None,
    })
}

/// A raw value: decimal as it is read, or hexadecimal as the bits of the register.
struct Code {
    codes: RangeInclusive<i128>,
    /// Whose bits a hexadecimal number is; `None` when it is a number like any other.
    kind: Option<PointType>,
}

impl Read for Code {
    type Out = i128;

    fn wanted(&self) -> String {
        format!("a whole number from {} to {}", self.codes.start(), self.codes.end())
    }

    fn read(&self, scalar: &Scalar) -> Result<i128, Wrong> {
        let text = scalar.text.as_str();
        let magnitude = |text: &str| {
            let scalar = Scalar { text: text.into(), plain: scalar.plain };
            Whole(0..=u64::MAX).read(&scalar).map(i128::from)
        };
        let code = match text.strip_prefix('-') {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => -magnitude(digits)?,
            _ if is_hexadecimal(text) => self.of_bits(magnitude(text)?, text)?,
            _ => magnitude(text)?,
        };
        match code {
            code if self.codes.contains(&code) => Ok(code),
            code if code < *self.codes.start() => {
                Err(Wrong::new(format!("`{}` is less than {}", short(text), self.codes.start())))
            }
            _ => Err(Wrong::new(format!("`{}` is more than {}", short(text), self.codes.end()))),
        }
    }
}

impl Code {
    /// The number that these bits are in the type.
    fn of_bits(&self, bits: i128, text: &str) -> Result<i128, Wrong> {
        Ok(match self.kind {
            Some(PointType::I8(_)) if bits <= u8::MAX.into() => (bits as u8).cast_signed().into(),
            Some(PointType::I16) if bits <= u16::MAX.into() => (bits as u16).cast_signed().into(),
            Some(PointType::I32) if bits <= u32::MAX.into() => (bits as u32).cast_signed().into(),
            Some(PointType::I64) => (bits as u64).cast_signed().into(),
            Some(PointType::Bcd16 | PointType::Bcd32) => format!("{bits:x}")
                .parse()
                .map_err(|_| Wrong::helped(format!("`{}` is no BCD, and always bad", short(text)), "leave it out"))?,
            _ => bits,
        })
    }
}

/// A float that stands for "no value": a decimal number, or hexadecimal its bits.
struct FloatSentinel(PointType);

impl Read for FloatSentinel {
    type Out = Sentinel;

    fn wanted(&self) -> String {
        format!("a number such as -9999.0, or the bits of an {} such as 0x7F7FFFFF", self.0.as_str())
    }

    fn read(&self, scalar: &Scalar) -> Result<Sentinel, Wrong> {
        let text = scalar.text.as_str();
        if is_hexadecimal(text) {
            let most = u64::MAX >> (64 - 16 * u32::from(self.0.width()));
            return Whole(0..=most).read(scalar).map(Sentinel::Pattern);
        }
        if text
            .trim_start_matches(['.', '-', '+'])
            .get(..3)
            .is_some_and(|word| word.eq_ignore_ascii_case("nan") || word.eq_ignore_ascii_case("inf"))
        {
            return Err(Wrong::helped("NaN and the infinities are always bad", "leave it out"));
        }
        Exact.read(scalar).map(|number| Sentinel::Float(number.to_nearest_f64()))
    }
}

/// A text as it is after its padding is gone; also none at all.
struct Padding;

impl Read for Padding {
    type Out = String;

    fn wanted(&self) -> String {
        "a text such as \"N/A\"".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<String, Wrong> {
        match scalar.text.as_str() {
            text if text.len() > 250 => Err(Wrong::new("longer than any text of a device")),
            text if text.ends_with([' ', '\0']) => {
                Err(Wrong::helped("spaces and NUL at the end are padding, and never read", "remove them"))
            }
            text => Ok(text.into()),
        }
    }
}

fn is_hexadecimal(text: &str) -> bool {
    text.starts_with("0x") || text.starts_with("0X")
}
