//! Points of devices that speak lines or frames: which telegrams are theirs, where the value is, how they are asked for.

use std::sync::Arc;
use std::time::Duration;

use super::bytes::{Hex, HexPattern, Raw};
use super::cells;
use super::codes;
use super::names::Named;
use super::publish::{self, Defaults};
use crate::config::fields::Fields;
use crate::config::keys;
use crate::config::problem::{Problem, Problems};
use crate::config::scalar::{Choice, Read, Switch, Text, Whole, Wrong};
use crate::config::tree::{Entry, Scalar};
use crate::config::units::Span;
use crate::model::{
    ByteOrder, Encoding, Find, FrameSource, Half, Hearing, LineSource, NmeaField, Pattern, PatternError, Point,
    PointType, Source, TextType,
};

/// What kind of thing a device's points are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Modbus,
    Lines,
    Frames,
}

impl Family {
    const fn speaks(self) -> &'static str {
        match self {
            Family::Modbus => "speaks Modbus",
            Family::Lines => "speaks lines of text",
            Family::Frames => "speaks frames of bytes",
        }
    }
}

/// The keys of a device or a point that only some families have.
const KEYS: [(&str, &[Family]); 22] = {
    use Family::{Frames, Lines, Modbus};
    [
        ("unit_id", &[Modbus]),
        ("max_registers", &[Modbus]),
        ("single_requests", &[Modbus]),
        ("max_in_flight", &[Modbus]),
        ("write_and_read", &[Modbus]),
        ("coil", &[Modbus]),
        ("discrete", &[Modbus]),
        ("input", &[Modbus]),
        ("holding", &[Modbus]),
        ("register", &[Modbus]),
        ("scale_from", &[Modbus]),
        ("byte", &[Modbus]),
        ("write", &[Modbus]),
        ("bit", &[Modbus, Frames]),
        ("length", &[Modbus, Frames]),
        ("encoding", &[Modbus, Frames]),
        ("byte_order", &[Modbus, Frames]),
        ("request", &[Lines, Frames]),
        ("match", &[Lines, Frames]),
        ("nmea", &[Lines]),
        ("decimal", &[Lines]),
        ("at", &[Frames]),
    ]
};
const TIMES: [&str; 2] = ["max_age", "latest_every"];

/// Tells the keys that have no meaning for what the device speaks.
pub(super) fn check_family(fields: &Fields<'_>, family: Family, problems: &mut Problems) {
    let known = KEYS.iter().filter(|(_, families)| !families.contains(&family)).map(|(key, _)| *key);
    let foreign = known.chain(TIMES.into_iter().filter(|_| family == Family::Modbus)).filter(|key| fields.is_key(key));
    for key in foreign {
        let Some(entry) = fields.entry(key) else { continue };
        let help = match family {
            Family::Modbus => {
                "remove it, or is the device on another bus? A point of a Modbus device has `holding:` or the like"
            }
            Family::Lines => "remove it, or is the device on another bus? A point in lines has `match:` or `nmea:`",
            Family::Frames => "remove it, or is the device on another bus? A point in frames has `at:` and `type:`",
        };
        problems.push(
            Problem::at(
                &entry.key_span,
                format!("`{key}` has no meaning here: the bus of {} {}", fields.whose, family.speaks()),
            )
            .label("belongs to another protocol")
            .help(help),
        );
    }
}

/// What a point looks like when its bus could not be understood.
pub(super) fn guess(fields: &Fields<'_>) -> Family {
    let has = |keys: &[&str]| keys.iter().any(|key| fields.is_key(key) && fields.entry(key).is_some());
    if has(&["at"]) {
        Family::Frames
    } else if has(&["match", "nmea", "decimal", "request", "max_age", "latest_every"]) {
        Family::Lines
    } else {
        Family::Modbus
    }
}

/// What a device says for all its points.
#[derive(Debug, Default)]
pub(super) struct Shared {
    request: Option<Arc<[u8]>>,
    /// As it was typed: which of its groups counts depends on the point.
    pattern: Option<String>,
    begins: Option<Vec<Option<u8>>>,
    max_age: Option<Option<Duration>>,
    latest_every: Option<Duration>,
}

/// The device's own keys.
pub(super) fn shared(fields: &Fields<'_>, family: Family, problems: &mut Problems) -> Shared {
    let request = request(fields, family, problems);
    let max_age = fields.read("max_age", &Age, problems);
    let latest_every = fields.read("latest_every", &Span::millis(1..=86_400_000), problems);
    if request.is_some() {
        refuse_times(fields, problems);
    }
    let (pattern, begins) = match family {
        Family::Frames => (None, fields.read("match", &HexPattern, problems)),
        _ => (
            fields.read("match", &Expression { name: "value" }, problems).map(|pattern| pattern.as_str().to_owned()),
            None,
        ),
    };
    Shared { request, pattern, begins, max_age, latest_every }
}

/// One point in lines.
pub(super) fn line(named: &Named<'_>, device: &Shared, defaults: &Defaults, problems: &mut Problems) -> Option<Point> {
    let fields = &named.fields;
    let defaults = defaults.changed(fields, problems);
    let hearing = hearing(fields, device, Family::Lines, defaults.poll, problems);
    let find = find(named, device, hearing.request.is_some(), problems);
    let kind = fields.read("type", &TEXT_TYPE, problems);
    let kind = if fields.entry("type").is_some() { kind } else { Some(NUMBER) };
    let code = kind.map(|(_, code)| code);
    let decimal_comma = fields.read("decimal", &DECIMAL, problems).unwrap_or(false);
    let (scale, offset) = cells::scaling(fields, code, problems);
    let source = LineSource { hearing, find: find?, kind: kind?.0, decimal_comma, scale, offset };
    point(named, Source::Line(Box::new(source)), code, &defaults, problems)
}

/// One point in frames, which are of `fixed` bytes if that is known.
pub(super) fn frame(
    named: &Named<'_>,
    device: &Shared,
    fixed: Option<usize>,
    defaults: &Defaults,
    problems: &mut Problems,
) -> Option<Point> {
    let fields = &named.fields;
    let defaults = defaults.changed(fields, problems);
    let hearing = hearing(fields, device, Family::Frames, defaults.poll, problems);
    let begins = fields.read("match", &HexPattern, problems).or_else(|| device.begins.clone()).unwrap_or_default();
    let help = "which byte of the frame does it begin with? The first is `at: 0`";
    let at = fields.require("at", &Whole(0..=65_535), help, problems);
    if fields.entry("type").is_none() && fields.entry("bit").is_none() {
        fields.missing("type", "what do its bytes mean? For example `type: u16`", problems);
    }
    let kind = cells::kind(fields, Some(PointType::U8(Half::Low)), problems);
    let (scale, offset) = cells::scaling(fields, kind, problems);
    let source =
        FrameSource { hearing, begins, at: at? as usize, kind: kind?, byte_order: defaults.byte_order, scale, offset };
    check_fit(fields, &source, fixed, problems);
    point(named, Source::Frame(Box::new(source)), kind, &defaults, problems)
}

fn point(
    named: &Named<'_>,
    source: Source,
    kind: Option<PointType>,
    settings: &Defaults,
    problems: &mut Problems,
) -> Option<Point> {
    let fields = &named.fields;
    let unit = fields.read("unit", &Text { wanted: "a text such as kWh", max: 64 }, problems);
    let naming = codes::naming(fields, kind, problems);
    publish::refuse_deadband(fields, kind, naming.as_ref(), problems);
    Some(Point {
        naming,
        invalid: codes::invalid(fields, kind, problems),
        report: settings.report.clone(),
        unit: unit.map(Arc::from),
        poll: settings.poll,
        publish: settings.publish,
        ..Point::new(named.name.clone()?, source)
    })
}

fn hearing(fields: &Fields<'_>, device: &Shared, family: Family, poll: Duration, problems: &mut Problems) -> Hearing {
    let request = request(fields, family, problems).or_else(|| device.request.clone());
    let max_age = fields.read("max_age", &Age, problems).or(device.max_age);
    let latest_every = fields.read("latest_every", &Span::millis(1..=86_400_000), problems).or(device.latest_every);
    if request.is_some() {
        refuse_times(fields, problems);
        return Hearing { request, max_age: None, latest_every: None };
    }
    // Nine telegrams may be lost before it is late.
    Hearing { request, max_age: max_age.unwrap_or(Some(poll * 10)), latest_every }
}

fn request(fields: &Fields<'_>, family: Family, problems: &mut Problems) -> Option<Arc<[u8]>> {
    let wanted = "what is sent, such as \"MEAS?\\r\\n\"";
    let bytes = match family {
        Family::Frames => fields.read("request", &Hex { max: 256 }, problems),
        _ => fields.read("request", &Raw { wanted, max: 256 }, problems),
    };
    bytes.map(Arc::from)
}

fn refuse_times(fields: &Fields<'_>, problems: &mut Problems) {
    for entry in TIMES.into_iter().filter_map(|key| fields.entry(key)) {
        problems.push(
            Problem::at(
                &entry.key_span,
                format!("`{}` is for what comes unasked, and {} is asked for", entry.key, fields.whose),
            )
            .label("has no meaning beside a `request`")
            .help("remove it; `poll` says how often it is asked, and without an answer it is bad"),
        );
    }
}

/// Where in which lines the value is: `match`, `nmea`, or all of the answer to a request.
fn find(named: &Named<'_>, device: &Shared, is_asked: bool, problems: &mut Problems) -> Option<Find> {
    let fields = &named.fields;
    let name = named.name.as_ref().map_or("value", |name| name.as_str());
    let own = fields.entry("match").map(|_| fields.read("match", &Expression { name }, problems));
    let nmea = fields.entry("nmea").map(|entry| nmea(fields, entry, problems));
    if let (Some(first), Some(second)) = (fields.entry("match"), fields.entry("nmea")) {
        problems.push(
            Problem::at(&second.key_span, format!("{} is at two places in a line", fields.whose))
                .label("in a field of a sentence")
                .also(&first.key_span, "where a pattern matches")
                .help("keep one of them"),
        );
        return None;
    }
    match (own, nmea, &device.pattern) {
        (Some(pattern), ..) => Some(Find::Pattern(pattern?)),
        (None, Some(field), _) => Some(Find::Nmea(field?)),
        // It was compiled for the device; only the group differs.
        (None, None, Some(text)) => Pattern::new(text, name).ok().map(Find::Pattern),
        (None, None, None) if is_asked => Some(Find::Whole),
        (None, None, None) => {
            let help = "write `match: '^W(?<value>[0-9.]+)'` with the value in the group, or `nmea: { sentence: GGA, field: 9 }`; \
                        if the device has to be asked, `request:`";
            fields.missing("match", help, problems);
            None
        }
    }
}

fn nmea(point: &Fields<'_>, entry: &Entry, problems: &mut Problems) -> Option<NmeaField> {
    let fields = Fields::open(&entry.value, &keys::NMEA, &entry.key_span, point.subject("nmea"), problems)?;
    let sentence = fields.require("sentence", &Sentence, "for example `sentence: GGA`", problems);
    let field =
        fields.require("field", &Whole(1..=60), "which field? 1 is the first after the sentence's name", problems);
    let degrees = fields.read("degrees", &Switch, problems).unwrap_or(false);
    Some(NmeaField { sentence: sentence?.into(), field: field? as usize, degrees })
}

fn check_fit(fields: &Fields<'_>, source: &FrameSource, fixed: Option<usize>, problems: &mut Problems) {
    if let (PointType::Bit(8..), Some(entry)) = (source.kind, fields.entry("bit")) {
        problems.push(
            Problem::at(&entry.value.span, format!("{} is a bit of one byte, 0 to 7", fields.whose))
                .label("beyond that byte")
                .help("count on in the next byte: `at` one higher, `bit` eight less"),
        );
    }
    let is_one_word = source.width() == 2 && matches!(source.byte_order, ByteOrder::Cdab | ByteOrder::Badc);
    if let Some(entry) = fields.entry("byte_order").filter(|_| is_one_word) {
        problems.push(
            Problem::at(
                &entry.value.span,
                format!("{} has two bytes: they come high first or low first", fields.whose),
            )
            .label("for values of four and eight bytes")
            .help("write ABCD for the high byte first, DCBA for the low byte first"),
        );
    }
    let end = source.at + source.width();
    if let (Some(length), Some(entry)) = (fixed.filter(|length| end > *length), fields.entry("at")) {
        problems.push(
            Problem::at(&entry.value.span, format!("{} goes past the end of its frame", fields.whose))
                .label(format!("its last byte is {}, and the frames of this bus have {length}, from 0 on", end - 1))
                .help("`at` counts from the first byte of the frame, `start` included"),
        );
    }
}

const fn whole(code: PointType, min: i128, max: i128) -> (TextType, PointType) {
    (TextType::Integer { min, max }, code)
}

const NUMBER: (TextType, PointType) = (TextType::Number, PointType::F64);
const TEXT: PointType = PointType::String { length: 250, encoding: Encoding::Utf8 };

/// What the text of a value is, and what codes of such a value look like.
const TEXT_TYPE: Choice<(TextType, PointType)> = Choice {
    now: &[
        ("f64", NUMBER),
        ("f32", (TextType::Number, PointType::F32)),
        ("i64", whole(PointType::I64, i64::MIN as i128, i64::MAX as i128)),
        ("u64", whole(PointType::U64, 0, u64::MAX as i128)),
        ("i32", whole(PointType::I32, i32::MIN as i128, i32::MAX as i128)),
        ("u32", whole(PointType::U32, 0, u32::MAX as i128)),
        ("i16", whole(PointType::I16, i16::MIN as i128, i16::MAX as i128)),
        ("u16", whole(PointType::U16, 0, u16::MAX as i128)),
        ("i8", whole(PointType::I8(Half::Low), i8::MIN as i128, i8::MAX as i128)),
        ("u8", whole(PointType::U8(Half::Low), 0, u8::MAX as i128)),
        ("bool", (TextType::Bool, PointType::Bool)),
        ("string", (TextType::Text, TEXT)),
    ],
    later: &[],
    foreign: &[
        ("number", "f64"),
        ("float", "f64"),
        ("double", "f64"),
        ("float64", "f64"),
        ("decimal", "f64"),
        ("int", "i64"),
        ("integer", "i64"),
        ("int64", "i64"),
        ("uint64", "u64"),
        ("boolean", "bool"),
        ("text", "string"),
        ("str", "string"),
        ("bytes", "string"),
        ("bits", "u16"),
    ],
};

const DECIMAL: Choice<bool> = Choice {
    now: &[("point", false), ("comma", true)],
    later: &[],
    foreign: &[(".", "point"), (",", "comma"), ("dot", "point")],
};

/// A duration, or `never`.
struct Age;

const AGE: Span = Span::millis(1..=365 * 86_400_000);

impl Read for Age {
    type Out = Option<Duration>;

    fn wanted(&self) -> String {
        format!("{}, or `never`", AGE.wanted())
    }

    fn read(&self, scalar: &Scalar) -> Result<Option<Duration>, Wrong> {
        match scalar.text.as_str() {
            "never" => Ok(None),
            "off" | "none" | "no" | "false" => {
                Err(Wrong::helped(format!("`{}` is none of them", scalar.text), "did you mean `never`?"))
            }
            _ => AGE.read(scalar).map(Some),
        }
    }
}

/// A regular expression; its group `name`, or `value`, is the value.
struct Expression<'a> {
    name: &'a str,
}

impl Read for Expression<'_> {
    type Out = Pattern;

    fn wanted(&self) -> String {
        "a regular expression such as '^W(?<value>[0-9.]+)'".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<Pattern, Wrong> {
        let text = scalar.text.as_str();
        if text.is_empty() {
            return Err(Wrong::new("nothing is between the quotes"));
        }
        if text.len() > 1_000 {
            return Err(Wrong::new("longer than any pattern that people understand"));
        }
        Pattern::new(text, self.name).map_err(|error| match error {
            PatternError::TooLarge => Wrong::helped(error.to_string(), "repeat less: `{1,20}` rather than `{1,1000}`"),
            PatternError::Syntax(why) if why.contains("look-around") || why.contains("backreference") => Wrong::helped(
                why,
                "patterns take linear time, which these would not; match more, and take a group of it",
            ),
            PatternError::Syntax(why) => Wrong::helped(why, "single quotes leave backslashes alone: '\\d+'"),
        })
    }
}

/// The name of an NMEA sentence.
struct Sentence;

impl Read for Sentence {
    type Out = String;

    fn wanted(&self) -> String {
        "the name of a sentence such as GGA, or GPGGA of one talker alone".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<String, Wrong> {
        let text = scalar.text.as_str();
        let name = text.strip_prefix(['$', '!']).unwrap_or(text);
        let is_name =
            (3..=8).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        match (is_name, name == text) {
            (true, true) => Ok(name.into()),
            (true, false) => Err(Wrong::helped("without the `$`", format!("write {name}"))),
            _ => Err(Wrong::new("three capital letters, after those of the talker if only one is meant")),
        }
    }
}
