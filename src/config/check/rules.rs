//! `forward:` and `accept:` of an uplink: which messages, and where to. What becomes of their payloads is `shaping`'s.

use super::Context;
use super::shaping;
use crate::config::fields::{Fields, read_value};
use crate::config::inside::inside;
use crate::config::keys::{self, Shape};
use crate::config::problem::{Problem, Problems};
use crate::config::scalar::{Choice, Read, Switch, Text, Wrong};
use crate::config::suggest::did_you_mean;
use crate::config::tree::{Node, Scalar, Value};
use crate::model::{Filter, QoS};
use crate::route::cel::When;
use crate::route::{AcceptRule, ForwardRule, Misfit, RetainRule, TEMPLATE_NAMES, Take, Template};

const FORWARD_EXAMPLE: &str = "{ topic: \"fieldway/#\", to: \"sites/{rest}\" }";
const ACCEPT_EXAMPLE: &str = "{ topic: \"sites/plant-7/cmd/#\", to: \"fieldway/plant-7/{rest}\" }";
/// As MQTT can carry it (MQTT 5 §4.7.3).
const MAX_TOPIC: usize = 65_535;

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
pub(super) fn check(
    uplink: &Fields<'_>,
    context: &Context<'_>,
    problems: &mut Problems,
) -> (Vec<ForwardRule>, Vec<AcceptRule>) {
    if uplink.entry("forward").is_none() && uplink.entry("accept").is_none() {
        uplink.missing(
            "forward",
            "without a rule nothing is sent; write for example `forward: [{ topic: \"#\" }]`",
            problems,
        );
        return Default::default();
    }
    let forward = items(uplink, "forward", "forwards", FORWARD_EXAMPLE, problems);
    let forward = forward.iter().enumerate();
    let forward = forward.filter_map(|(n, item)| {
        let (fields, take) = take(item, &keys::FORWARD, "forward", n + 1, uplink, context, problems)?;
        shaping::check(&fields, take, problems)
    });
    let forward = forward.collect();
    let accept = items(uplink, "accept", "accepts", ACCEPT_EXAMPLE, problems);
    let accept = accept.iter().enumerate();
    let accept = accept.filter_map(|(n, item)| {
        let (_, take) = take(item, &keys::ACCEPT, "accept", n + 1, uplink, context, problems)?;
        Some(AcceptRule { take: take? })
    });
    (forward, accept.collect())
}

fn items<'a>(
    uplink: &Fields<'a>,
    key: &str,
    does: &str,
    example: &str,
    problems: &mut Problems,
) -> &'a [std::rc::Rc<Node>] {
    let Some((entry, items)) = uplink.list(key, example, problems) else { return &[] };
    if items.is_empty() {
        problems.push(
            Problem::at(&entry.value.span, format!("{} {does} nothing", uplink.whose))
                .label("this list is empty")
                .help(format!("a rule is for example `- {example}`")),
        );
    }
    items
}

/// What both kinds of rules have. The inner option is `None` when something that is needed is wrong or missing.
fn take<'a>(
    item: &'a Node,
    shape: &'static Shape,
    kind: &str,
    number: usize,
    uplink: &Fields<'_>,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<(Fields<'a>, Option<Take>)> {
    let whose = format!("{kind} rule {number} of {}", uplink.whose);
    let first = match &item.value {
        Value::Map(entries) => entries.first().map_or(&item.span, |entry| &entry.key_span),
        _ => &item.span,
    };
    let fields = Fields::open(item, shape, first, whose, problems)?;
    let example = if kind == "forward" { "fieldway/#" } else { "sites/plant-7/cmd/#" };
    let topic = fields.require("topic", &TopicFilter, &format!("for example `topic: \"{example}\"`"), problems);
    let except = except(&fields, problems);
    let when = when(&fields, context, problems);
    let qos = fields.read("qos", &QOS, problems).unwrap_or(QoS::AtLeastOnce);
    let retain = fields.read("retain", &RETAIN, problems).unwrap_or_default();
    let goes_on = fields.read("continue", &Switch, problems).unwrap_or(false);
    let to = topic.as_ref().and_then(|topic| to(&fields, topic, context, problems));
    let take = match (topic, to, when) {
        (Some(topic), Some(to), Ok(when)) => Some(Take { topic, except, when, to, qos, retain, goes_on }),
        _ => None,
    };
    Some((fields, take))
}

/// The condition, if there is one; an error when it is wrong and told.
fn when(fields: &Fields<'_>, context: &Context<'_>, problems: &mut Problems) -> Result<Option<When>, ()> {
    let Some(entry) = fields.entry("when") else { return Ok(None) };
    let wanted = Text { wanted: "a condition in CEL such as payload.values.flow > 60.0", max: 10_000 };
    let text = fields.read("when", &wanted, problems).ok_or(())?;
    When::new(&text).map(Some).map_err(|error| {
        let at = inside(&entry.value, &error.at, context.files);
        let meant = error.word.as_ref().and_then(|(word, known)| did_you_mean(word, known.iter().copied()));
        let title = format!("{} is no condition", fields.subject("when"));
        let problem = Problem::at(&at, title).label(error.what);
        problems.push(match meant {
            Some(meant) => problem.help(format!("did you mean `{meant}`?")),
            None => problem.maybe_help(error.help),
        });
    })
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

/// The template for the topics of a filter.
fn to(fields: &Fields<'_>, filter: &Filter, context: &Context<'_>, problems: &mut Problems) -> Option<Template> {
    let Some(entry) = fields.entry("to") else { return Some(Template::unchanged()) };
    let wanted = "a topic, perhaps with {topic}, {rest}, {gateway} or {1} in it";
    let text = fields.read("to", &Text { wanted, max: MAX_TOPIC }, problems)?;
    match Template::parse(&text, filter) {
        Ok(template) => Some(template),
        Err(error) => {
            let meant = match &error.what {
                Misfit::UnknownName(name) => did_you_mean(name, TEMPLATE_NAMES),
                _ => None,
            };
            let at = inside(&entry.value, &error.at, context.files);
            let problem =
                Problem::at(&at, format!("{} must be {wanted}", fields.subject("to"))).label(error.to_string());
            problems.push(problem.maybe_help(meant.map(|name| format!("did you mean {{{name}}}?"))));
            None
        }
    }
}
