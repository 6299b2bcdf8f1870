//! YAML text to a tree with places. The only file that names granit-parser.
//!
//! Refuses what a configuration has no use for and what would cost memory or time: deep nesting, alias bombs,
//! tags, several documents, keys that are no words. Duplicate keys are problems that name both places.

mod syntax;

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle};

use self::syntax::Mistake;
use crate::config::keys::is_secret;
use crate::config::problem::{Problem, Problems};
use crate::config::secrets::hide_in_tree;
use crate::config::tree::{Entry, Node, Scalar, Span, Value, Word};

/// The deepest configuration of ours has seven levels.
const MAX_DEPTH: usize = 24;
/// Values in a file, aliases counted each time they are used: room for more than 20,000 points.
const MAX_VALUES: usize = 1_000_000;
/// Where a merge key asks for other mappings' entries.
const MERGE: &str = "<<";

/// Reads the document that is this part of the text; places are those of the whole text. `None` when it is not YAML or
/// not acceptable; then `problems` says why. An empty file is a node with nothing in it.
pub(in crate::config) fn parse(whole: &str, part: Span, problems: &mut Problems) -> Option<Rc<Node>> {
    let (text, base) = (&whole[part.clone()], part.start);
    let mut options = granit_parser::options! {
        emit_unresolved_aliases: true,
        // One more than ours, so that our own message comes first.
        flow_nesting_limit: MAX_DEPTH + 1,
        block_nesting_limit: MAX_DEPTH + 1,
    };
    options.set_emit_comments(false);
    let mut builder = Builder::new(whole);
    for step in Parser::new_from_str_with_options(text, options) {
        let (event, span) = match step {
            Ok(step) => step,
            Err(error) => {
                let at = error.marker().byte_offset().unwrap_or(text.len());
                problems.push(syntax::explain(mistake(error.kind()), at, &error.info(), text).shifted(base));
                return None;
            }
        };
        let span = clip(span.byte_range().unwrap_or(0..0), text);
        let span = span.start + base..span.end + base;
        if let Err(problem) = builder.take(event, span, problems) {
            problems.push(problem);
            return None;
        }
    }
    let end = part.end;
    Some(builder.root.unwrap_or_else(|| Rc::new(nothing(end..end))))
}

fn mistake(kind: &ErrorKind) -> Mistake {
    use ErrorKind as K;
    match kind {
        K::RecursionLimitExceeded => Mistake::TooDeep,
        K::TabNotAllowed
        | K::TabInBlockIndentation
        | K::TabInIndentation
        | K::TabInPlainScalar
        | K::TabAtBlockScalarStart => Mistake::Tab,
        K::UnclosedQuotedScalar | K::DocumentIndicatorInQuotedScalar | K::InvalidQuotedScalarIndent => {
            Mistake::OpenQuote
        }
        K::InvalidTrailingSingleQuotedScalar | K::InvalidTrailingDoubleQuotedScalar => Mistake::AfterQuote,
        K::UnclosedFlowCollection { .. }
        | K::MismatchedFlowCollectionEnd { .. }
        | K::MisplacedFlowCollectionEnd
        | K::UnexpectedEofFlowMapping
        | K::UnexpectedEofFlowSequence
        | K::ExpectedFlowMappingSeparator
        | K::ExpectedFlowSequenceSeparator => Mistake::Brackets,
        K::MappingValueNotAllowed | K::SimpleKeyExpected | K::InvalidSimpleKey | K::ExpectedBlockMappingKey => {
            Mistake::Key
        }
        K::UnknownQuotedScalarEscape => Mistake::Backslash,
        K::UnexpectedCharacter { character } => Mistake::Character(*character),
        _ => Mistake::Other,
    }
}

/// A list or map that is still open.
enum Frame {
    List { start: Span, anchor: usize, items: Vec<Rc<Node>>, weight: usize },
    Map { start: Span, anchor: usize, map: OpenMap },
}

#[derive(Default)]
struct OpenMap {
    entries: Vec<Rc<Entry>>,
    places: HashMap<Word, Span>,
    merges: Vec<(Span, Rc<Node>)>,
    pending: Option<Key>,
    weight: usize,
}

enum Key {
    Word(Word, Span),
    Merge(Span),
    /// Already told; its value goes nowhere.
    Refused {
        secret: bool,
    },
}

struct Builder<'t> {
    text: &'t str,
    open: Vec<Frame>,
    anchors: HashMap<usize, Rc<Node>>,
    documents: usize,
    values: usize,
    /// Short words that were met, each once.
    words: HashSet<Word>,
    root: Option<Rc<Node>>,
}

/// Longer texts hardly come twice.
const SHORT_WORD: usize = 32;

impl<'t> Builder<'t> {
    fn new(text: &'t str) -> Self {
        Builder {
            text,
            open: Vec::new(),
            anchors: HashMap::new(),
            documents: 0,
            values: 0,
            words: HashSet::new(),
            root: None,
        }
    }

    fn word(&mut self, text: &str) -> Word {
        if text.len() > SHORT_WORD {
            return text.into();
        }
        match self.words.get(text) {
            Some(word) => word.clone(),
            None => {
                let word = Word::from(text);
                self.words.insert(word.clone());
                word
            }
        }
    }

    /// An error ends the reading.
    fn take(&mut self, event: Event<'_>, span: Span, problems: &mut Problems) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Problem::at(&span, "a configuration is one YAML document")
                        .label("a second document begins here")
                        .help("remove this `---` and what follows it"));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(tag.is_some(), &span)?;
                let plain = style == ScalarStyle::Plain;
                let value = Value::Scalar(Scalar { text: self.word(&text), plain });
                // A block scalar's span runs on to the next key; its text ends before.
                let span = trim(&span, self.text);
                self.finish(Node { span, value, weight: 1 }, anchor, problems)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_tag(tag.is_some(), &span)?;
                self.enter(Frame::List { start: span, anchor, items: Vec::new(), weight: 1 })?;
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_tag(tag.is_some(), &span)?;
                self.enter(Frame::Map { start: span, anchor, map: OpenMap { weight: 1, ..OpenMap::default() } })?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(frame) = self.open.pop() else { return Ok(()) };
                let (node, anchor) = close(frame, span, self.text, problems);
                self.finish(node, anchor, problems)?;
            }
            Event::Alias(id) => match self.anchors.get(&id) {
                Some(node) => {
                    let node = Rc::clone(node);
                    self.place(node, &span, problems)?;
                }
                None => {
                    return Err(Problem::at(&span, "an alias can't be inside the anchor that it repeats")
                        .label("this would never end"));
                }
            },
            // The name is not repeated: it may be a password that begins with `*`.
            Event::UnresolvedAlias(_) => {
                problems.push(
                    Problem::at(&span, "there is no anchor of this name further up")
                        .label("`*` at the start of a value repeats what has the same name with `&`")
                        .help("if the `*` is part of a text, put the text in quotes"),
                );
                self.place(Rc::new(Node { span: span.clone(), value: Value::Told, weight: 1 }), &span, problems)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn enter(&mut self, frame: Frame) -> Result<(), Problem> {
        self.open.push(frame);
        if self.open.len() <= MAX_DEPTH {
            return Ok(());
        }
        let (Some(Frame::List { start, .. }) | Some(Frame::Map { start, .. })) = self.open.last() else {
            return Ok(());
        };
        Err(too_deep(start))
    }

    fn finish(&mut self, node: Node, anchor: usize, problems: &mut Problems) -> Result<(), Problem> {
        let span = node.span.clone();
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        // What is inside a list or map has been counted already.
        self.put(node, 1, &span, problems)
    }

    /// An alias: its whole node is counted again, because a walk meets all of it again.
    fn place(&mut self, node: Rc<Node>, at: &Span, problems: &mut Problems) -> Result<(), Problem> {
        let weight = node.weight;
        self.put(node, weight, at, problems)
    }

    fn put(&mut self, node: Rc<Node>, count: usize, at: &Span, problems: &mut Problems) -> Result<(), Problem> {
        let is_key = matches!(self.open.last(), Some(Frame::Map { map, .. }) if map.pending.is_none());
        if !is_key {
            self.values = self.values.saturating_add(count);
        }
        if self.values > MAX_VALUES {
            return Err(Problem::at(at, format!("a configuration has at most {MAX_VALUES} values"))
                .label("here there are more")
                .help("repeated aliases (`*name`) count each time"));
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List { items, weight, .. }) => {
                *weight = weight.saturating_add(node.weight);
                items.push(node);
            }
            Some(Frame::Map { map, .. }) => map.put(node, at, problems),
        }
        Ok(())
    }
}

impl OpenMap {
    fn put(&mut self, node: Rc<Node>, at: &Span, problems: &mut Problems) {
        let Some(key) = self.pending.take() else {
            self.pending = Some(self.key(&node, at, problems));
            return;
        };
        self.weight = self.weight.saturating_add(node.weight);
        match key {
            Key::Word(key, key_span) => self.entries.push(Rc::new(Entry { key, key_span, value: node })),
            Key::Merge(span) => self.merges.push((span, node)),
            Key::Refused { secret } => {
                // It is not in the tree, where secrets are looked for later.
                if secret {
                    problems.hide(&node.span);
                }
                hide_in_tree(&node, problems);
            }
        }
    }

    fn key(&mut self, node: &Node, at: &Span, problems: &mut Problems) -> Key {
        let Value::Scalar(scalar) = &node.value else {
            problems.push(
                Problem::at(at, "a key is a single word")
                    .label(node.describe())
                    .help("a text that starts with `{` or `[` needs quotes"),
            );
            hide_in_tree(node, problems);
            return Key::Refused { secret: false };
        };
        if scalar.plain && scalar.text == MERGE {
            return Key::Merge(at.clone());
        }
        match self.places.entry(scalar.text.clone()) {
            Slot::Vacant(slot) => {
                slot.insert(at.clone());
                Key::Word(scalar.text.clone(), at.clone())
            }
            Slot::Occupied(first) => {
                problems.push(
                    Problem::at(at, format!("`{}` is written twice", short(&scalar.text)))
                        .label("and here again")
                        .also(first.get(), "here first")
                        .help("keep one of them; two of anything need two names"),
                );
                Key::Refused { secret: is_secret(&scalar.text) }
            }
        }
    }

    /// `<<: *defaults`: entries that are not here already.
    fn merge(&mut self, problems: &mut Problems) {
        for (at, source) in std::mem::take(&mut self.merges) {
            let sources: Vec<&Rc<Node>> = match &source.value {
                Value::List(list) => list.iter().collect(),
                _ => vec![&source],
            };
            for source in sources {
                let Some(entries) = source.entries() else {
                    problems.push(
                        Problem::at(&at, "`<<` takes over the keys of another mapping")
                            .label("and this gives it none")
                            .help("write `<<: *name` with `&name` at a mapping further up"),
                    );
                    continue;
                };
                for entry in entries {
                    if let Slot::Vacant(slot) = self.places.entry(entry.key.clone()) {
                        slot.insert(entry.key_span.clone());
                        self.entries.push(Rc::clone(entry));
                    }
                }
            }
        }
    }
}

fn close(frame: Frame, end: Span, text: &str, problems: &mut Problems) -> (Node, usize) {
    match frame {
        Frame::List { start, anchor, items, weight } => {
            (Node { span: trim(&(start.start..end.end), text), value: Value::List(items), weight }, anchor)
        }
        Frame::Map { start, anchor, mut map } => {
            map.merge(problems);
            map.entries.shrink_to_fit();
            let span = trim(&(start.start..end.end), text);
            (Node { span, value: Value::Map(map.entries), weight: map.weight }, anchor)
        }
    }
}

fn nothing(span: Span) -> Node {
    Node { span, value: Value::Scalar(Scalar { text: "".into(), plain: true }), weight: 1 }
}

fn refuse_tag(there: bool, span: &Span) -> Result<(), Problem> {
    if !there {
        return Ok(());
    }
    Err(Problem::at(span, "YAML tags (`!name`) have no meaning here")
        .label("this value has a tag")
        .help("remove the tag; if the `!` is part of a text, put the text in quotes"))
}

fn too_deep(at: &Span) -> Problem {
    Problem::at(at, format!("more than {MAX_DEPTH} levels of nesting"))
        .label("no configuration is that deep")
        .help("look for brackets that are not closed")
}

/// The first characters of a text that may be very long.
pub(in crate::config) fn short(text: &str) -> String {
    const KEEP: usize = 40;
    match text.char_indices().nth(KEEP) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.into(),
    }
}

/// The parser's offsets are trusted to be useful, not to be safe to slice with.
fn clip(span: Span, text: &str) -> Span {
    let floor = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(span.start);
    start..floor(span.end).max(start)
}

/// Without blank space at the end.
fn trim(span: &Span, text: &str) -> Span {
    let kept = text.get(span.clone()).unwrap_or_default().trim_end().len();
    span.start..span.start + kept
}
