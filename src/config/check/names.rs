//! Mappings whose keys are names that the user chose: `buses`, `devices`, `points`, `uplinks`.

use std::collections::HashMap;

use crate::config::fields::{Fields, misplaced};
use crate::config::keys::{self, Shape};
use crate::config::problem::{Problem, Problems};
use crate::config::suggest::did_you_mean;
use crate::config::tree::{Entry, Node, Span, Value};
use crate::config::yaml::short;
use crate::model::{Name, NameError};

/// What the names of a mapping stand for.
pub(super) struct Noun {
    /// "device"
    pub(super) one: &'static str,
    /// "devices"
    pub(super) many: &'static str,
    /// What is behind each name.
    pub(super) shape: &'static Shape,
    /// Names that mean something else in topics, with what that is.
    pub(super) reserved: &'static [(&'static str, &'static str)],
}

/// One name with its mapping.
pub(super) struct Named<'a> {
    /// `None` when it is no name; then that is told.
    pub(super) name: Option<Name>,
    pub(super) key: &'a str,
    pub(super) key_span: &'a Span,
    pub(super) fields: Fields<'a>,
}

/// The named mappings below `node`. Keys that belong to another level are told and left out; `stray` gets them.
pub(super) fn named<'a>(
    node: &'a Node,
    noun: &Noun,
    of: &str,
    stray: &mut Vec<&'a str>,
    problems: &mut Problems,
) -> Vec<Named<'a>> {
    let Some(entries) = node.entries() else {
        if !node.is_nothing() && !matches!(node.value, Value::Told) {
            problems.push(
                Problem::at(&node.span, format!("every {}{of} has a name", noun.one))
                    .label(node.describe())
                    .help(format!("write each in a line of its own, for example `name: {}`", noun.shape.example)),
            );
        }
        return Vec::new();
    };
    let mut lower: HashMap<String, &Entry> = HashMap::new();
    let mut found = Vec::new();
    for entry in entries {
        if let Some(problem) = not_a_name(entry, noun) {
            stray.push(&entry.key);
            problems.mark_misplaced(&entry.key);
            problems.push(problem);
            continue;
        }
        let name = check_name(entry, noun, problems);
        if let Some(twin) = lower.insert(entry.key.to_lowercase(), entry) {
            problems.push(
                Problem::at(&entry.key_span, format!("two {} differ only in capital letters", noun.many))
                    .label("and this")
                    .also(&twin.key_span, "this")
                    .help("give one of them another name; people and many cloud services can't tell them apart"),
            );
        }
        let whose = format!("{} `{}`{of}", noun.one, short(&entry.key));
        if let Some(fields) = Fields::open(&entry.value, noun.shape, &entry.key_span, whose, problems) {
            found.push(Named { name, key: &entry.key, key_span: &entry.key_span, fields });
        }
    }
    found
}

/// A known key where a name should be, unless what is below it makes it a name after all.
fn not_a_name(entry: &Entry, noun: &Noun) -> Option<Problem> {
    let inside = entry.value.entries().unwrap_or_default();
    if inside.iter().any(|entry| noun.shape.key(&entry.key).is_some()) {
        return None;
    }
    let name = entry.key.as_str();
    let title = format!("`{}` can't be a {} here", short(name), noun.one);
    let problem = Problem::at(&entry.key_span, title);
    let above = keys::owners(name, noun.shape).into_iter().find(|shape| shape.depth < noun.shape.depth);
    let below = noun.shape.key(name).is_some();
    match (above, below) {
        (Some(above), true) => Some(
            problem
                .label(format!("`{name}` is a key of {} and of {}", above.what, noun.shape.what))
                .help(format!("for {} it is indented too far, for {} too little", above.what, noun.shape.what)),
        ),
        (Some(above), false) => Some(misplaced(problem, name, above, noun.shape)),
        (None, true) => Some(
            problem
                .label(format!("`{name}` belongs to {}", noun.shape.what))
                .help(format!("is it indented too little, or is the {}'s name missing above it?", noun.one)),
        ),
        (None, false) => None,
    }
}

fn check_name(entry: &Entry, noun: &Noun, problems: &mut Problems) -> Option<Name> {
    if let Some((_, meaning)) = noun.reserved.iter().find(|(word, _)| entry.key == **word) {
        problems.push(
            Problem::at(&entry.key_span, format!("a {} can't be called `{}`", noun.one, entry.key))
                .label("this name is taken")
                .help(format!("its topic would be {meaning}; choose another name")),
        );
        return None;
    }
    match Name::new(&entry.key) {
        Ok(name) => Some(name),
        Err(error) => {
            let suggestion = tidy(&entry.key);
            let help = match &error {
                NameError::Empty | NameError::TooLong(_) => None,
                _ => suggestion.map(|name| format!("for example `{name}`")),
            };
            problems.push(
                Problem::at(
                    &entry.key_span,
                    format!("`{}` can't be the name of {}", short(&entry.key), noun.shape.what),
                )
                .label(error.to_string())
                .maybe_help(help),
            );
            None
        }
    }
}

/// The nearest name to what was typed; `None` if nothing is left.
pub(super) fn tidy(text: &str) -> Option<Name> {
    let mut out = String::new();
    for c in text.chars().take(60) {
        match c {
            c if c.is_ascii_alphanumeric() || c == '-' => out.push(c),
            'ä' | 'Ä' => out.push_str("ae"),
            'ö' | 'Ö' => out.push_str("oe"),
            'ü' | 'Ü' => out.push_str("ue"),
            'ß' => out.push_str("ss"),
            _ if out.ends_with('_') => {}
            _ => out.push('_'),
        }
    }
    Name::new(out.trim_matches(['_', '-'])).ok()
}

/// "did you mean", or what there is.
pub(super) fn hint<'n>(wrong: &str, section: &str, names: impl Iterator<Item = &'n str> + Clone) -> String {
    /// More are no help.
    const LISTED: usize = 8;
    if let Some(meant) = did_you_mean(wrong, names.clone()) {
        return format!("did you mean `{meant}`?");
    }
    let some: Vec<&str> = names.clone().take(LISTED).collect();
    match (some.len(), names.count()) {
        (0, _) => format!("there is nothing under `{section}:`"),
        (shown, all) if all > shown => format!("under `{section}:` there are {}, …", some.join(", ")),
        _ => format!("under `{section}:` there is {}", some.join(", ")),
    }
}
