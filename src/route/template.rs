//! Topic templates: `sites/plant-7/{rest}`, checked against the filter they belong to when they are read.

use std::fmt;
use std::ops::Range;

use super::subject::Place;
use crate::model::{Filter, Topic, TopicError};

/// The names that a template knows besides `{1}`, `{2}`, ….
pub const NAMES: [&str; 5] = ["topic", "rest", "gateway", "device", "point"];

/// A parsed template. Everything in it is known to be there when its filter matches, but for `{device}` and `{point}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Topic,
    Rest,
    /// 0-based: `{1}` is `Plus(0)`.
    Plus(usize),
    Gateway,
    Device,
    Point,
}

/// What is wrong with a template, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct TemplateError {
    /// Bytes of the template.
    pub at: Range<usize>,
    /// Why it can't be used.
    pub what: Misfit,
}

/// Why a template can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// `{` without `}`.
    #[error("this `{{` has no `}}`")]
    Unclosed,
    /// `}` without `{`.
    #[error("this `}}` has no `{{`")]
    Unopened,
    /// A name that does not exist.
    #[error(
        "{{{0}}} is not a name that a template knows; there are {{topic}}, {{rest}}, {{gateway}}, {{device}}, {{point}} and {{1}}, {{2}}, … for each `+` of the filter"
    )]
    UnknownName(String),
    /// `{rest}` without `#`.
    #[error("{{rest}} is what `#` matched, and the filter {0:?} has no `#`")]
    NoRest(String),
    /// `{3}` with two `+`.
    #[error("{{{wanted}}} is what the filter's `+` number {wanted} matched, and {filter:?} has {count}")]
    NoSuchPlus {
        /// The number that was asked for, from 1.
        wanted: usize,
        /// How many there are.
        count: usize,
        /// The filter.
        filter: String,
    },
    /// The fixed text can't be part of a topic.
    #[error(transparent)]
    Topic(#[from] TopicError),
}

/// Why a template makes no topic of a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfilled {
    /// `{device}` of a topic that names none.
    #[error("its topic names no device for {{device}}")]
    NoDevice,
    /// `{point}` of a topic that names none.
    #[error("its topic names no point for {{point}}")]
    NoPoint,
    /// What comes out is too long for MQTT, or empty.
    #[error(transparent)]
    Topic(#[from] TopicError),
}

impl Template {
    /// Reads a template for topics that `filter` matches.
    pub fn parse(text: &str, filter: &Filter) -> Result<Template, TemplateError> {
        let mut parts = Vec::new();
        let mut from = 0;
        while let Some(open) = text[from..].find(['{', '}']).map(|at| from + at) {
            let wrong = |what| Err(TemplateError { at: open..open + 1, what });
            if text[open..].starts_with('}') {
                return wrong(Misfit::Unopened);
            }
            let Some(close) = text[open..].find('}').map(|at| open + at) else { return wrong(Misfit::Unclosed) };
            if open > from {
                parts.push(Part::Text(text[from..open].into()));
            }
            let part = parse_name(&text[open + 1..close], filter);
            parts.push(part.map_err(|what| TemplateError { at: open..close + 1, what })?);
            from = close + 1;
        }
        if from < text.len() {
            parts.push(Part::Text(text[from..].into()));
        }
        let template = Template { parts };
        // What a name stands for is a piece of a valid topic, so one sample proves the fixed text.
        let sample = Pieces { topic: "t", plus: vec!["t"; filter.split('/').count()], rest: Some("t"), place: SAMPLE };
        let topic = template.write(&sample, "t").map(|text| Topic::new(&text));
        match topic {
            Ok(Err(error)) => Err(TemplateError { at: 0..text.len(), what: error.into() }),
            _ => Ok(template),
        }
    }

    /// The template that leaves the topic as it is.
    pub fn unchanged() -> Template {
        Template { parts: vec![Part::Topic] }
    }

    /// The new topic for `topic`, which `filter` (the one given to [`Template::parse`]) matches and which is at `place`.
    pub fn apply(&self, topic: &str, filter: &Filter, gateway: &str, place: Place<'_>) -> Result<Topic, Unfilled> {
        let mut pieces = Pieces { topic, plus: Vec::new(), rest: None, place };
        let mut left: Option<&str> = Some(topic);
        for level in filter.split('/') {
            if level == "#" {
                pieces.rest = left;
                break;
            }
            let Some(text) = left else { break };
            let (head, tail) = text.split_once('/').map_or((text, None), |(h, t)| (h, Some(t)));
            if level == "+" {
                pieces.plus.push(head);
            }
            left = tail;
        }
        Ok(Topic::new(&self.write(&pieces, gateway)?)?)
    }

    /// Whether topics that differ and match `filter` become topics that differ: everything that the wildcards match is there, and a slash
    /// says where each begins.
    pub fn tells_apart(&self, filter: &Filter) -> bool {
        let has = |part: &Part| self.parts.contains(part);
        if has(&Part::Topic) {
            return true;
        }
        let plus = filter.split('/').filter(|level| *level == "+").count();
        if !(0..plus).all(|n| has(&Part::Plus(n))) || filter.ends_with('#') && !has(&Part::Rest) {
            return false;
        }
        let mut is_apart = true;
        self.parts.iter().all(|part| match part {
            Part::Text(text) => {
                is_apart |= text.contains('/');
                true
            }
            Part::Gateway => true,
            _ => std::mem::replace(&mut is_apart, false),
        })
    }

    /// The topics that come out, as a filter: `+` and `#` where the names are.
    pub fn reach(&self, filter: &Filter) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Topic => out.push_str(filter),
                Part::Rest => out.push('#'),
                _ => out.push('+'),
            }
        }
        out
    }

    fn write(&self, pieces: &Pieces<'_>, gateway: &str) -> Result<String, Unfilled> {
        let Pieces { topic, plus, rest, place } = pieces;
        let mut out = String::new();
        let mut parts = self.parts.iter().peekable();
        while let Some(part) = parts.next() {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Topic => out.push_str(topic),
                // `a/#` matches `a` too; then there is no rest, and no slash before it, or else after it.
                Part::Rest if rest.is_none() && out.ends_with('/') => {
                    out.pop();
                }
                Part::Rest if rest.is_none() && out.is_empty() => {
                    if let Some(Part::Text(text)) = parts.next_if(|next| matches!(next, Part::Text(_))) {
                        out.push_str(text.strip_prefix('/').unwrap_or(text));
                    }
                }
                Part::Rest => out.push_str(rest.unwrap_or_default()),
                Part::Plus(n) => out.push_str(plus.get(*n).copied().unwrap_or_default()),
                Part::Gateway => out.push_str(gateway),
                Part::Device => out.push_str(place.device.ok_or(Unfilled::NoDevice)?),
                Part::Point => out.push_str(place.point.ok_or(Unfilled::NoPoint)?),
            }
        }
        Ok(out)
    }
}

/// What the names of a template stand for.
struct Pieces<'t> {
    topic: &'t str,
    plus: Vec<&'t str>,
    /// `None` when `#` matched no level at all.
    rest: Option<&'t str>,
    place: Place<'t>,
}

const SAMPLE: Place<'static> = Place { kind: super::subject::Kind::Reading, device: Some("t"), point: Some("t") };

fn parse_name(name: &str, filter: &Filter) -> Result<Part, Misfit> {
    let count = filter.split('/').filter(|level| *level == "+").count();
    match name {
        "topic" => Ok(Part::Topic),
        "gateway" => Ok(Part::Gateway),
        "device" => Ok(Part::Device),
        "point" => Ok(Part::Point),
        "rest" if filter.ends_with('#') => Ok(Part::Rest),
        "rest" => Err(Misfit::NoRest(filter.to_string())),
        number => match number.parse::<usize>() {
            Ok(wanted) if (1..=count).contains(&wanted) => Ok(Part::Plus(wanted - 1)),
            Ok(wanted) => Err(Misfit::NoSuchPlus { wanted, count, filter: filter.to_string() }),
            Err(_) => Err(Misfit::UnknownName(name.into())),
        },
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Topic => f.write_str("{topic}"),
            Part::Rest => f.write_str("{rest}"),
            Part::Plus(n) => write!(f, "{{{}}}", n + 1),
            Part::Gateway => f.write_str("{gateway}"),
            Part::Device => f.write_str("{device}"),
            Part::Point => f.write_str("{point}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn try_apply(template: &str, filter: &str, topic: &str) -> Result<Topic, Unfilled> {
        let filter = Filter::new(filter).unwrap();
        let template = Template::parse(template, &filter).unwrap();
        template.apply(topic, &filter, "plant-7", Place::of(topic, "fieldway"))
    }

    fn apply(template: &str, filter: &str, topic: &str) -> String {
        try_apply(template, filter, topic).unwrap().to_string()
    }

    fn error(template: &str, filter: &str) -> (Range<usize>, Misfit) {
        let error = Template::parse(template, &Filter::new(filter).unwrap()).unwrap_err();
        (error.at, error.what)
    }

    #[test]
    fn names_stand_for_what_the_filter_matched() {
        assert_eq!(apply("sites/{rest}", "fieldway/#", "fieldway/boiler/flow"), "sites/boiler/flow");
        assert_eq!(apply("sites/{rest}", "fieldway/#", "fieldway"), "sites");
        assert_eq!(apply("sites/{rest}", "fieldway/#", "fieldway/"), "sites/");
        assert_eq!(apply("{rest}/x", "#", "a"), "a/x");
        assert_eq!(apply("{rest}/x", "a/#", "a/"), "/x");
        assert_eq!(apply("{rest}/x", "a/#", "a"), "x");
        assert_eq!(apply("{2}/{1}", "a/+/b/+", "a/x/b/y"), "y/x");
        assert_eq!(apply("{gateway}/{topic}", "#", "a/b"), "plant-7/a/b");
        assert_eq!(apply("{1}/{rest}", "+//#", "a//b/c"), "a/b/c");
        assert_eq!(apply("x/{1}/y", "+/b", "/b"), "x//y");
        assert_eq!(apply("{device}:{point}", "fieldway/#", "fieldway/boiler/flow"), "boiler:flow");
    }

    #[test]
    fn a_topic_without_a_point_makes_no_topic_with_one() {
        assert_eq!(try_apply("{point}", "fieldway/#", "fieldway/boiler"), Err(Unfilled::NoPoint));
        assert_eq!(try_apply("{device}", "#", "other/boiler"), Err(Unfilled::NoDevice));
    }

    #[test]
    fn a_template_that_could_fail_later_is_refused_when_it_is_read() {
        assert_eq!(error("a/{rest", "a/#"), (2..3, Misfit::Unclosed));
        assert_eq!(error("a/rest}", "a/#"), (6..7, Misfit::Unopened));
        assert_eq!(error("a/{rst}", "a/#"), (2..7, Misfit::UnknownName("rst".into())));
        assert_eq!(error("a/{rest}", "a/+"), (2..8, Misfit::NoRest("a/+".into())));
        let no_such = Misfit::NoSuchPlus { wanted: 2, count: 1, filter: "a/+".into() };
        assert_eq!(error("a/{2}", "a/+"), (2..5, no_such));
        assert_eq!(error("a/+/{1}", "+"), (0..7, Misfit::Topic(TopicError::WildcardInName)));
        assert_eq!(error("", "#"), (0..0, Misfit::Topic(TopicError::Empty)));
    }

    #[test]
    fn it_is_known_which_topics_come_out_and_whether_they_differ() {
        for (template, filter, reach, apart) in [
            ("sites/{rest}", "a/#", "sites/#", true),
            ("sites/{1}", "a/+/+", "sites/+", false),
            ("all", "a/#", "all", false),
            ("one", "a/b", "one", true),
            ("{gateway}/{topic}", "a/+", "+/a/+", true),
            ("{1}/x-{rest}", "+/a/#", "+/x-#", true),
            // `a`, `bc` and `ab`, `c` would be one.
            ("{1}{2}", "+/+", "++", false),
            ("{1}-{2}", "+/+", "+-+", false),
            // The point and its result would be one.
            ("{device}/{point}", "fw/#", "+/+", false),
        ] {
            let filter = Filter::new(filter).unwrap();
            let template = Template::parse(template, &filter).unwrap();
            assert_eq!((template.reach(&filter).as_str(), template.tells_apart(&filter)), (reach, apart));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_template_or_is_refused_within_its_bounds(text in "[{}a-z0-9/+#]{0,20}|\\PC{0,10}", topic in "a(/[a-z+]{0,3}){0,3}") {
            let filter = Filter::new("a/+/#").unwrap();
            match Template::parse(&text, &filter) {
                Ok(template) => {
                    prop_assert_eq!(template.to_string(), text);
                    if let Ok(topic) = Topic::new(&topic) && filter.matches(&topic) {
                        let _ = template.apply(&topic, &filter, "p7", Place::of(&topic, "a"));
                    }
                }
                Err(error) => prop_assert!(text.get(error.at).is_some()),
            }
        }
    }
}
