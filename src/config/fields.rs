//! A mapping whose keys are known: tells unknown keys, keys in the wrong place and keys of a later version, and
//! reads the values of the others.

use std::rc::Rc;

use super::keys::{self, Shape};
use super::problem::{Problem, Problems};
use super::scalar::{Read, Wrong};
use super::tree::{Entry, Node, Span, Value};
use super::yaml::short;

/// One mapping, checked against its [`Shape`].
pub(super) struct Fields<'a> {
    shape: &'static Shape,
    entries: &'a [Rc<Entry>],
    /// Where to point when something is missing: the key that names this mapping.
    pub(super) at: Span,
    /// "device `boiler`"
    pub(super) whose: String,
    /// Keys that stand here under another gateway's word; these are not told as missing too.
    translated: Vec<&'static str>,
    /// Keys with a typing mistake. That is told; what they hold is checked all the same.
    mistyped: Vec<(&'static str, &'a Entry)>,
}

impl<'a> Fields<'a> {
    /// `None` when it is no mapping. Nothing at all (`web:`) counts as an empty one.
    pub(super) fn open(
        node: &'a Node,
        shape: &'static Shape,
        at: &Span,
        whose: impl Into<String>,
        problems: &mut Problems,
    ) -> Option<Fields<'a>> {
        let whose = whose.into();
        if let Value::Told = node.value {
            return None;
        }
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            _ if node.is_nothing() => &[],
            _ => {
                let example = shape.example;
                problems.push(
                    Problem::at(&node.span, format!("{whose} must be a group of keys"))
                        .label(node.describe())
                        .help(format!("for example `{example}`, or one key a line, indented by two spaces")),
                );
                return None;
            }
        };
        let mut fields = Fields { shape, entries, at: at.clone(), whose, translated: Vec::new(), mistyped: Vec::new() };
        for entry in entries {
            fields.check_key(entry, problems);
        }
        Some(fields)
    }

    /// The entry of a key that there is in this version.
    pub(super) fn entry(&self, key: &str) -> Option<&'a Entry> {
        debug_assert!(self.shape.names().any(|name| name == key), "{key} is a key of {}", self.shape.what);
        let exact = self.entries.iter().find(|entry| entry.key == key).map(Rc::as_ref);
        exact.or_else(|| self.mistyped.iter().find(|(meant, _)| *meant == key).map(|(_, entry)| *entry))
    }

    /// Whether mappings of this kind have such a key at all.
    pub(super) fn is_key(&self, key: &str) -> bool {
        self.shape.names().any(|name| name == key)
    }

    /// Whether a key is written, also one of a later version.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// "`poll` of device `boiler`"
    pub(super) fn subject(&self, key: &str) -> String {
        format!("`{key}` of {}", self.whose)
    }

    /// The value of a key; `None` when it is not there, or wrong and told.
    pub(super) fn read<R: Read>(&self, key: &str, reader: &R, problems: &mut Problems) -> Option<R::Out> {
        let entry = self.entry(key)?;
        read_value(&entry.value, &self.subject(key), reader, problems)
    }

    /// As [`Fields::read`], but not being there is a problem too.
    pub(super) fn require<R: Read>(
        &self,
        key: &str,
        reader: &R,
        help: &str,
        problems: &mut Problems,
    ) -> Option<R::Out> {
        if self.entry(key).is_none() {
            self.missing(key, help, problems);
        }
        self.read(key, reader, problems)
    }

    /// Whether this key stands here under another gateway's word, which is told already.
    pub(super) fn is_translated(&self, key: &str) -> bool {
        self.translated.contains(&key)
    }

    /// Tells that a key has to be there, unless it is there under another word.
    pub(super) fn missing(&self, key: &str, help: &str, problems: &mut Problems) {
        if self.is_translated(key) {
            return;
        }
        problems.push(
            Problem::at(&self.at, format!("{} has no `{key}`", self.whose))
                .label(format!("`{key}` is missing here"))
                .help(help),
        );
    }

    /// The items of a list; `None` when it is not there, or no list and told.
    pub(super) fn list(
        &self,
        key: &str,
        example: &str,
        problems: &mut Problems,
    ) -> Option<(&'a Entry, &'a [Rc<Node>])> {
        let entry = self.entry(key)?;
        match &entry.value.value {
            Value::List(items) => return Some((entry, items)),
            Value::Told => return None,
            _ => {}
        }
        let at = if entry.value.is_nothing() { &entry.key_span } else { &entry.value.span };
        problems.push(
            Problem::at(at, format!("{} must be a list", self.subject(key)))
                .label(entry.value.describe())
                .help(format!("write each item on a line of its own with a dash: `- {example}`")),
        );
        None
    }

    fn check_key(&mut self, entry: &'a Entry, problems: &mut Problems) {
        let name = entry.key.as_str();
        match self.shape.key(name) {
            Some(_) => {}
            None if problems.is_full() => problems.push(Problem::of_file("unknown key")),
            None => {
                let translated = self.shape.translated(name);
                let mistyped = self.shape.mistyped(name).filter(|_| translated.is_none());
                let problem = self.unknown(entry, translated, mistyped, problems);
                problems.push(problem);
                self.translated.extend(translated);
                self.mistyped.extend(mistyped.map(|meant| (meant, entry)));
            }
        }
    }

    fn unknown(
        &self,
        entry: &Entry,
        translated: Option<&'static str>,
        mistyped: Option<&'static str>,
        problems: &mut Problems,
    ) -> Problem {
        let name = entry.key.as_str();
        let title = format!("`{}` is not a key of {}", short(name), self.shape.what);
        let problem = Problem::at(&entry.key_span, title);
        let is_number = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
        if is_number && entry.value.is_nothing() {
            // `{ scale: 0,1 }` is scale 0 and a key `1` without a value.
            return Problem { title: format!("the number {} stands by itself", short(name)), ..problem }
                .label("no key belongs to it")
                .help("decimals have a point: 0.1, not 0,1");
        }
        // Another's word for a key of this mapping says more than that some other mapping has a key of this name.
        let owner = if translated.is_some() { None } else { keys::owners(name, self.shape).into_iter().next() };
        if let Some(owner) = owner {
            problems.mark_misplaced(name);
            return misplaced(problem, name, owner, self.shape);
        }
        if let Some(shape) = self.looks_misplaced(entry) {
            let (place, what) = home(shape);
            return problem
                .label(format!("this looks like {what}"))
                .help(format!("put it under `{place}:`, indented by two spaces"));
        }
        match translated.or(mistyped) {
            Some(meant) => problem.label("unknown key").help(format!("did you mean `{meant}`?")),
            None => {
                let names: Vec<&str> = self.shape.names().collect();
                problem.label("unknown key").help(format!("the keys of {} are {}", self.shape.what, names.join(", ")))
            }
        }
    }

    /// A device that stands at the top level, for example.
    fn looks_misplaced(&self, entry: &Entry) -> Option<&'static Shape> {
        let inside = entry.value.entries()?;
        keys::looks_like(
            inside.iter().map(|entry| entry.key.as_str()),
            &[&keys::BUS, &keys::DEVICE, &keys::POINT, &keys::UPLINK],
        )
    }
}

/// Where mappings of a shape with free names live.
fn home(shape: &Shape) -> (&'static str, &'static str) {
    match shape.what {
        "a bus" => ("buses", "a bus"),
        "a device" => ("devices", "a device"),
        "a point" => ("points", "a point"),
        _ => ("uplinks", "an uplink"),
    }
}

/// A key that belongs one level further up or down, or somewhere else.
pub(super) fn misplaced(problem: Problem, name: &str, owner: &Shape, here: &Shape) -> Problem {
    let belongs = match owner.depth {
        0 => format!("`{name}` belongs at the top level"),
        _ => format!("`{name}` belongs to {}", owner.what),
    };
    let problem = problem.label(belongs);
    match owner.depth {
        0 => problem.help("is it indented too far? The top level has no spaces before it"),
        depth if depth < here.depth => problem.help("is it indented too far?"),
        depth if depth > here.depth => problem.help("is it indented too little?"),
        _ => problem.help(format!("move it there, or remove it: {} has no such thing", here.what)),
    }
}

/// Reads one value; `subject` begins the sentence when it is wrong.
pub(super) fn read_value<R: Read>(node: &Node, subject: &str, reader: &R, problems: &mut Problems) -> Option<R::Out> {
    if let Value::Told = node.value {
        return None;
    }
    let Some(scalar) = node.scalar() else {
        problems.push(Problem::at(&node.span, format!("{subject} must be {}", reader.wanted())).label(node.describe()));
        return None;
    };
    match reader.read(scalar) {
        Ok(value) => Some(value),
        Err(wrong) => {
            problems.push(wrong_value(&node.span, subject, &reader.wanted(), wrong));
            None
        }
    }
}

fn wrong_value(at: &Span, subject: &str, wanted: &str, wrong: Wrong) -> Problem {
    match wrong {
        Wrong::Value { label, help } => {
            Problem::at(at, format!("{subject} must be {wanted}")).label(label).maybe_help(help)
        }
        Wrong::NotYet { what, instead } => {
            Problem::at(at, format!("`{what}` as {subject} is not there yet in this version"))
                .label(format!("it can be {wanted}"))
                .help(instead)
        }
    }
}
