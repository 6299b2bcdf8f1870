//! Topic templates: `sites/plant-7/{rest}`, checked against the filter they belong to when they are read.

use std::fmt;

use crate::model::{Filter, Topic, TopicError};

/// A parsed template. Everything in it is known to be there when its filter matches.
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
}

/// Why a template can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{` without `}`.
    #[error("a `{{` has no `}}`")]
    Unclosed,
    /// `}` without `{`.
    #[error("a `}}` has no `{{`")]
    Unopened,
    /// A name that does not exist.
    #[error(
        "{{{0}}} is not a name that a template knows; there are {{topic}}, {{rest}}, {{gateway}} and {{1}}, {{2}}, … for each `+` of the filter"
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

impl Template {
    /// Reads a template for topics that `filter` matches.
    pub fn parse(text: &str, filter: &Filter) -> Result<Template, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            if rest[open..].starts_with('}') {
                return Err(TemplateError::Unopened);
            }
            let close = rest[open..].find('}').map(|at| open + at).ok_or(TemplateError::Unclosed)?;
            if open > 0 {
                parts.push(Part::Text(rest[..open].into()));
            }
            parts.push(parse_name(&rest[open + 1..close], filter)?);
            rest = &rest[close + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        let template = Template { parts };
        // What a name stands for is a piece of a valid topic, so one sample proves the fixed text.
        Topic::new(&template.write("t", &vec!["t"; filter.split('/').count()], "t", "t"))?;
        Ok(template)
    }

    /// The template that leaves the topic as it is.
    pub fn unchanged() -> Template {
        Template { parts: vec![Part::Topic] }
    }

    /// The new topic for `topic`, which `filter` (the one given to [`Template::parse`]) matches.
    ///
    /// Errors when the result is empty or too long for MQTT.
    pub fn apply(&self, topic: &Topic, filter: &Filter, gateway: &str) -> Result<Topic, TopicError> {
        let mut plus = Vec::new();
        let mut rest = "";
        let mut left: Option<&str> = Some(topic.as_str());
        for level in filter.split('/') {
            if level == "#" {
                rest = left.unwrap_or("");
                break;
            }
            let Some(text) = left else { break };
            let (head, tail) = text.split_once('/').map_or((text, None), |(h, t)| (h, Some(t)));
            if level == "+" {
                plus.push(head);
            }
            left = tail;
        }
        Topic::new(&self.write(topic, &plus, rest, gateway))
    }

    fn write(&self, topic: &str, plus: &[&str], rest: &str, gateway: &str) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Topic => out.push_str(topic),
                // `a/#` matches `a` too; then there is no rest and no slash before it.
                Part::Rest if rest.is_empty() && out.ends_with('/') => {
                    out.pop();
                }
                Part::Rest => out.push_str(rest),
                Part::Plus(n) => {
                    out.push_str(plus.get(*n).copied().unwrap_or(plus.first().copied().unwrap_or_default()))
                }
                Part::Gateway => out.push_str(gateway),
            }
        }
        out
    }
}

fn parse_name(name: &str, filter: &Filter) -> Result<Part, TemplateError> {
    let count = filter.split('/').filter(|level| *level == "+").count();
    match name {
        "topic" => Ok(Part::Topic),
        "gateway" => Ok(Part::Gateway),
        "rest" if filter.ends_with('#') => Ok(Part::Rest),
        "rest" => Err(TemplateError::NoRest(filter.to_string())),
        number => match number.parse::<usize>() {
            Ok(wanted) if (1..=count).contains(&wanted) => Ok(Part::Plus(wanted - 1)),
            Ok(wanted) => Err(TemplateError::NoSuchPlus { wanted, count, filter: filter.to_string() }),
            Err(_) => Err(TemplateError::UnknownName(name.into())),
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
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(template: &str, filter: &str, topic: &str) -> String {
        let filter = Filter::new(filter).unwrap();
        let template = Template::parse(template, &filter).unwrap();
        template.apply(&Topic::new(topic).unwrap(), &filter, "plant-7").unwrap().to_string()
    }

    fn error(template: &str, filter: &str) -> TemplateError {
        Template::parse(template, &Filter::new(filter).unwrap()).unwrap_err()
    }

    #[test]
    fn names_stand_for_what_the_filter_matched() {
        assert_eq!(apply("sites/{rest}", "fieldway/#", "fieldway/boiler/flow"), "sites/boiler/flow");
        assert_eq!(apply("sites/{rest}", "fieldway/#", "fieldway"), "sites");
        assert_eq!(apply("{2}/{1}", "a/+/b/+", "a/x/b/y"), "y/x");
        assert_eq!(apply("{gateway}/{topic}", "#", "a/b"), "plant-7/a/b");
        assert_eq!(apply("{1}/{rest}", "+//#", "a//b/c"), "a/b/c");
        assert_eq!(apply("x/{1}/y", "+/b", "/b"), "x//y");
    }

    #[test]
    fn a_template_that_could_fail_later_is_refused_when_it_is_read() {
        assert_eq!(error("a/{rest", "a/#"), TemplateError::Unclosed);
        assert_eq!(error("a/rest}", "a/#"), TemplateError::Unopened);
        assert_eq!(error("a/{rst}", "a/#"), TemplateError::UnknownName("rst".into()));
        assert_eq!(error("a/{rest}", "a/+"), TemplateError::NoRest("a/+".into()));
        assert_eq!(error("a/{2}", "a/+"), TemplateError::NoSuchPlus { wanted: 2, count: 1, filter: "a/+".into() });
        assert_eq!(error("a/+/{1}", "+"), TemplateError::Topic(TopicError::WildcardInName));
        assert_eq!(error("", "#"), TemplateError::Topic(TopicError::Empty));
    }
}
