//! What a forward rule makes of payloads: fields, pace, windows, formats and batches; and which of these don't go together.

use std::time::Duration;

use crate::config::fields::{Fields, read_value};
use crate::config::keys;
use crate::config::problem::{Problem, Problems};
use crate::config::scalar::{Choice, Read, Switch, Text, Whole, Wrong};
use crate::config::tree::{Entry, Scalar};
use crate::config::units::{Size, Span};
use crate::config::yaml::short;
use crate::model::QoS;
use crate::route::{Aggregate, BatchRule, Fields as Chosen, Fold, Format, ForwardRule, Pace, Take};

/// A batch that says nothing else.
const BATCH: BatchRule = BatchRule { messages: 100, delay: Duration::from_secs(5), size: 256 << 10 };
/// The longest path of a field.
const MAX_PATH: usize = 1_000;

/// The words of `format:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Alone(Format),
    /// `json_batch` is JSON, and in a batch though none is written.
    JsonBatch,
}

const FORMAT: Choice<Word> = Choice {
    now: &[
        ("json", Word::Alone(Format::Json)),
        ("json_batch", Word::JsonBatch),
        ("influx", Word::Alone(Format::Influx)),
        ("value", Word::Alone(Format::Value)),
        ("thingsboard", Word::Alone(Format::ThingsBoard)),
        ("cbor", Word::Alone(Format::Cbor)),
    ],
    later: &[],
    foreign: &[
        ("line_protocol", "influx"),
        ("influxdb", "influx"),
        ("raw", "value"),
        ("plain", "value"),
        ("text", "value"),
        ("array", "json_batch"),
        ("tb", "thingsboard"),
    ],
};

const COMPRESS: Choice<bool> = Choice {
    now: &[("zstd", true), ("none", false)],
    later: &[],
    foreign: &[
        ("true", "zstd"),
        ("zstandard", "zstd"),
        ("gzip", "zstd"),
        ("deflate", "zstd"),
        ("false", "none"),
        ("off", "none"),
    ],
};

const PRIORITY: Choice<bool> = Choice {
    now: &[("normal", false), ("high", true)],
    later: &[],
    foreign: &[("urgent", "high"), ("low", "normal"), ("true", "high")],
};

const FOLD: Choice<Fold> = Choice {
    now: &Fold::ALL,
    later: &[],
    foreign: &[
        ("avg", "mean"),
        ("average", "mean"),
        ("minimum", "min"),
        ("maximum", "max"),
        ("total", "sum"),
        ("n", "count"),
    ],
};

/// Reads the rest of a forward rule. `take` is `None` when what the rule needs is wrong and told; the rest is checked all the same.
pub(super) fn check(fields: &Fields<'_>, take: Option<Take>, problems: &mut Problems) -> Option<ForwardRule> {
    let is_urgent = fields.read("priority", &PRIORITY, problems).unwrap_or(false);
    let chosen = Chosen { select: select(fields, problems), rename: rename(fields, problems) };
    let every = fields.read("every", &Span::millis(100..=7 * 86_400_000), problems);
    let on_change = fields.read("on_change", &Switch, problems).unwrap_or(false);
    let aggregate = aggregate(fields, problems);
    let format = fields.read("format", &FORMAT, problems).unwrap_or(Word::Alone(Format::Json));
    let compress = fields.read("compress", &COMPRESS, problems);
    let (batch, batch_compress) = batch(fields, problems);
    let (format, batch) = match format {
        Word::Alone(format) => (format, batch),
        Word::JsonBatch => (Format::Json, Some(batch.unwrap_or(BATCH))),
    };
    for key in ["every", "on_change"] {
        if let (Some(entry), Some(window)) = (fields.entry(key), fields.entry("aggregate")) {
            problems.push(
                Problem::at(&entry.key_span, format!("`{key}` of {} has no effect", fields.whose))
                    .label("thins out single messages")
                    .also(&window.key_span, "a window leaves one message of all")
                    .help("remove one of the two"),
            );
        }
    }
    let take = take?;
    let batch_key = fields.entry("batch").or(fields.entry("format"));
    if let (Some(_), Some(entry), QoS::AtMostOnce) = (batch, batch_key, take.qos) {
        problems.push(
            Problem::at(&entry.key_span, format!("{} has a batch and `qos: 0`", fields.whose))
                .label("a batch is kept until the cloud has it")
                .help("write `qos: 1`, or remove the batch"),
        );
    }
    if let (true, Some(entry), QoS::AtMostOnce) = (is_urgent, fields.entry("priority"), take.qos) {
        problems.push(
            Problem::at(&entry.key_span, format!("{} has a priority and `qos: 0`", fields.whose))
                .label("orders what is queued, and nothing is")
                .help("write `qos: 1`, or remove `priority`"),
        );
    }
    Some(ForwardRule {
        take,
        is_urgent,
        fields: chosen,
        pace: Pace { every, on_change },
        aggregate,
        format,
        compress: compress.or(batch_compress).unwrap_or(false),
        batch,
    })
}

/// The path of a field: `values.flow`.
struct Path;

impl Read for Path {
    type Out = String;

    fn wanted(&self) -> String {
        "a field such as flow or values.flow".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<String, Wrong> {
        let text = Text { wanted: "", max: MAX_PATH }.read(scalar)?;
        if let Some(field) = text.strip_prefix("payload.") {
            return Err(Wrong::helped("fields are named from the payload on", format!("write {}", short(field))));
        }
        if text.split('.').any(str::is_empty) {
            return Err(Wrong::new("a name between two dots is missing"));
        }
        Ok(text)
    }
}

/// A list of fields, or a single one.
fn select(fields: &Fields<'_>, problems: &mut Problems) -> Vec<String> {
    let subject = fields.subject("select");
    if let Some(entry) = fields.entry("select").filter(|entry| entry.value.scalar().is_some()) {
        return read_value(&entry.value, &subject, &Path, problems).into_iter().collect();
    }
    let Some((entry, items)) = fields.list("select", "values.flow", problems) else { return Vec::new() };
    if items.is_empty() {
        problems.push(
            Problem::at(&entry.value.span, format!("{subject} selects nothing"))
                .label("this list is empty")
                .help("name the fields that go up, or remove it for all of them"),
        );
    }
    items.iter().filter_map(|item| read_value(item, &subject, &Path, problems)).collect()
}

fn rename(fields: &Fields<'_>, problems: &mut Problems) -> Vec<(String, String)> {
    let Some(entry) = fields.entry("rename") else { return Vec::new() };
    let subject = fields.subject("rename");
    let Some(entries) = entry.value.entries() else {
        problems.push(
            Problem::at(&entry.value.span, format!("{subject} must be a group of keys"))
                .label(entry.value.describe())
                .help("each field with its new name: `rename: { flow: durchfluss }`"),
        );
        return Vec::new();
    };
    let mut out: Vec<(String, String)> = Vec::new();
    for Entry { key, key_span, value } in entries.iter().map(AsRef::as_ref) {
        let scalar = Scalar { text: key.clone(), plain: false };
        if let Err(Wrong::Value { label, help }) = Path.read(&scalar) {
            problems.push(Problem::at(key_span, format!("{subject} names no field")).label(label).maybe_help(help));
        }
        let name = Text { wanted: "the new name of a field, such as durchfluss", max: MAX_PATH };
        let Some(name) = read_value(value, &format!("`{}` in {subject}", short(key)), &name, problems) else {
            continue;
        };
        out.push((key.as_str().to_owned(), name));
    }
    out
}

fn aggregate(fields: &Fields<'_>, problems: &mut Problems) -> Option<Aggregate> {
    let entry = fields.entry("aggregate")?;
    let whose = format!("`aggregate` of {}", fields.whose);
    let group = Fields::open(&entry.value, &keys::AGGREGATE, &entry.key_span, whose, problems)?;
    let window = group.require("window", &Span::millis(1_000..=7 * 86_400_000), "for example `window: 1m`", problems);
    let subject = group.subject("values");
    let single = group.entry("values").filter(|entry| entry.value.scalar().is_some());
    let values: Vec<Fold> = match single {
        Some(entry) => read_value(&entry.value, &subject, &FOLD, problems).into_iter().collect(),
        None => {
            if group.entry("values").is_none() {
                group.missing("values", "for example `values: [min, mean, max]`", problems);
            }
            let items = group.list("values", "mean", problems).map(|(_, items)| items).unwrap_or_default();
            items.iter().filter_map(|item| read_value(item, &subject, &FOLD, problems)).collect()
        }
    };
    Some(Aggregate { window: window?, values }).filter(|aggregate| !aggregate.values.is_empty())
}

/// The batch, and what it says of compression.
fn batch(fields: &Fields<'_>, problems: &mut Problems) -> (Option<BatchRule>, Option<bool>) {
    let Some(entry) = fields.entry("batch") else { return (None, None) };
    let whose = format!("`batch` of {}", fields.whose);
    let Some(group) = Fields::open(&entry.value, &keys::BATCH, &entry.key_span, whose, problems) else {
        return (None, None);
    };
    let messages = group.read("messages", &Whole(1..=10_000), problems).map(|messages| messages as usize);
    let delay = group.read("delay", &Span::millis(10..=86_400_000), problems);
    let size = group.read("size", &Size(1 << 10..=8 << 20), problems).map(|size| size as usize);
    let compress = group.read("compress", &COMPRESS, problems);
    let batch = BatchRule {
        messages: messages.unwrap_or(BATCH.messages),
        delay: delay.unwrap_or(BATCH.delay),
        size: size.unwrap_or(BATCH.size),
    };
    (Some(batch), compress)
}
