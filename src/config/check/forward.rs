//! `forward:` of an uplink: which messages go up, and under which topic.

use crate::config::fields::{Fields, read_value};
use crate::config::keys;
use crate::config::problem::{Problem, Problems};
use crate::config::scalar::{Choice, Read, Text, Wrong};
use crate::config::suggest::did_you_mean;
use crate::config::tree::{Node, Scalar, Value};
use crate::model::{Filter, QoS};
use crate::route::{ForwardRule, RetainRule, Template, TemplateError};

const EXAMPLE: &str = "{ topic: \"fieldway/#\", to: \"sites/{rest}\" }";
/// As MQTT can carry it (MQTT 5 §4.7.3).
const MAX_TOPIC: usize = 65_535;

/// Upwards there is also exactly once.
const QOS: Choice<QoS> = Choice {
    now: &[("0", QoS::AtMostOnce), ("1", QoS::AtLeastOnce), ("2", QoS::ExactlyOnce)],
    later: &[],
    foreign: &[],
};

const RETAIN: Choice<RetainRule> = Choice {
    now: &[("keep", RetainRule::Keep), ("never", RetainRule::Never), ("always", RetainRule::Always)],
    later: &[],
    foreign: &[("true", "always"), ("false", "never"), ("yes", "always"), ("no", "never")],
};

/// The rules of one uplink, in the order of the file.
pub(super) fn check(uplink: &Fields<'_>, problems: &mut Problems) -> Vec<ForwardRule> {
    if uplink.entry("forward").is_none() {
        uplink.missing(
            "forward",
            "without a rule nothing is sent; write for example `forward: [{ topic: \"#\" }]`",
            problems,
        );
        return Vec::new();
    }
    let Some((entry, items)) = uplink.list("forward", EXAMPLE, problems) else { return Vec::new() };
    if items.is_empty() {
        problems.push(
            Problem::at(&entry.value.span, format!("{} forwards nothing", uplink.whose))
                .label("this list is empty")
                .help(format!("a rule is for example `- {EXAMPLE}`")),
        );
    }
    items.iter().enumerate().filter_map(|(n, item)| rule(item, n + 1, uplink, problems)).collect()
}

fn rule(item: &Node, number: usize, uplink: &Fields<'_>, problems: &mut Problems) -> Option<ForwardRule> {
    let whose = format!("forward rule {number} of {}", uplink.whose);
    let first = match &item.value {
        Value::Map(entries) => entries.first().map_or(&item.span, |entry| &entry.key_span),
        _ => &item.span,
    };
    let fields = Fields::open(item, &keys::FORWARD, first, whose, problems)?;
    let topic = fields.require("topic", &TopicFilter, "for example `topic: \"fieldway/#\"`", problems);
    let except = except(&fields, problems);
    let qos = fields.read("qos", &QOS, problems).unwrap_or(QoS::AtLeastOnce);
    let retain = fields.read("retain", &RETAIN, problems).unwrap_or_default();
    let topic = topic?;
    let to = match fields.entry("to") {
        Some(_) => fields.read("to", &To(&topic), problems)?,
        None => Template::unchanged(),
    };
    Some(ForwardRule { topic, except, to, qos, retain })
}

/// A list of filters, or a single one.
fn except(fields: &Fields<'_>, problems: &mut Problems) -> Vec<Filter> {
    let subject = fields.subject("except");
    let single = fields.entry("except").filter(|entry| entry.value.scalar().is_some());
    if let Some(entry) = single {
        return read_value(&entry.value, &subject, &TopicFilter, problems).into_iter().collect();
    }
    let items = fields.list("except", "\"fieldway/+/+/set\"", problems).map(|(_, items)| items).unwrap_or_default();
    items.iter().filter_map(|item| read_value(item, &subject, &TopicFilter, problems)).collect()
}

/// A topic filter of MQTT.
struct TopicFilter;

impl Read for TopicFilter {
    type Out = Filter;

    fn wanted(&self) -> String {
        "a topic filter such as fieldway/plant-7/#".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<Filter, Wrong> {
        let text = Text { wanted: "", max: MAX_TOPIC }.read(scalar)?;
        let filter = Filter::new(&text).map_err(|error| Wrong::new(error.to_string()))?;
        if text.starts_with("$share/") {
            return Err(Wrong::new("shared subscriptions are for clients; a rule gets every message"));
        }
        Ok(filter)
    }
}

/// A template for the topics of a filter.
struct To<'f>(&'f Filter);

impl Read for To<'_> {
    type Out = Template;

    fn wanted(&self) -> String {
        "a topic, perhaps with {topic}, {rest}, {gateway} or {1} in it".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<Template, Wrong> {
        let text = Text { wanted: "", max: MAX_TOPIC }.read(scalar)?;
        Template::parse(&text, self.0).map_err(|error| {
            let meant = match &error {
                TemplateError::UnknownName(name) => did_you_mean(name, ["topic", "rest", "gateway"]),
                _ => None,
            };
            Wrong::Value { label: error.to_string(), help: meant.map(|name| format!("did you mean {{{name}}}?")) }
        })
    }
}
