//! The file as a tree: what was typed, and where. Nothing here knows what a key means.

use std::borrow::Borrow;
use std::fmt;
use std::ops::{Deref, Range};
use std::rc::Rc;

/// Bytes of the text, both ends on character boundaries.
pub type Span = Range<usize>;

/// A value with its place. Aliases share their node, so a tree is never larger than its file.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) value: Value,
    /// How many values a walk of this node meets, aliases counted each time.
    pub(super) weight: usize,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Value {
    /// A word, a number, a text in quotes, or nothing at all.
    Scalar(Scalar),
    /// `- a`, `[a, b]`
    List(Vec<Rc<Node>>),
    /// `a: 1`, `{a: 1}`; keys are unique.
    Map(Vec<Rc<Entry>>),
    /// Something wrong that has been told already.
    Told,
}

/// A scalar as typed: no YAML type is guessed here, so `0.1` stays `0.1` and `no` stays `no`.
#[derive(Debug)]
pub(super) struct Scalar {
    pub(super) text: Word,
    /// Without quotes.
    pub(super) plain: bool,
}

/// A key or a scalar's text. A file of a hundred thousand points has the same few words again and again, and they share them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Word(Rc<str>);

impl Word {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Word {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Word {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Word {
    fn from(text: &str) -> Word {
        Word(text.into())
    }
}

impl PartialEq<str> for Word {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for Word {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Scalar {
    /// `key:` without a value, `key: null` or `key: ~`.
    pub(super) fn is_nothing(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

/// One `key: value`.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Word,
    pub(super) key_span: Span,
    pub(super) value: Rc<Node>,
}

impl Node {
    /// The scalar, unless it is a list, a map or nothing.
    pub(super) fn scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) if !scalar.is_nothing() => Some(scalar),
            _ => None,
        }
    }

    /// The entries of a map.
    pub(super) fn entries(&self) -> Option<&[Rc<Entry>]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// `key:` without a value, `key: null` or `key: ~`.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.is_nothing())
    }

    /// What it is, in the words of someone who does not know YAML's.
    pub(super) fn describe(&self) -> &'static str {
        match &self.value {
            Value::Scalar(scalar) if scalar.is_nothing() => "nothing is written here",
            Value::Scalar(_) => "this is a single value",
            Value::List(_) => "this is a list",
            Value::Map(_) => "this is a group of keys",
            Value::Told => "this is no value",
        }
    }
}
