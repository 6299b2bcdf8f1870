//! `when:` — conditions in CEL, the Common Expression Language. The only folder that names the crate `cel`.
//!
//! An expression is read and checked once, at load; a message then costs a few lookups. What can't be decided (a missing field, a payload
//! that is no JSON, a text where a number has to be) makes the rule not match and says why; it stops nothing. The cost is bounded: by the
//! length and depth of the expression, by the length of lists that a macro walks through, by the size of regular expressions, and by a
//! budget of lookups in which a large payload weighs more.
//!
//! - `calculate`: arithmetic with JSON's numbers
//! - `check`: what is known to be wrong before any message has come
//! - `rewrite`: our operations in the place of the crate's
//! - `value`: a message's fields as CEL's values, made when they are asked for

mod calculate;
mod check;
mod rewrite;
mod value;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ::cel::common::ast::IdedExpr;
use ::cel::common::types::{self, CelBool, CelString};
use ::cel::common::value::{CowVal, Val};
use ::cel::context::VariableResolver;
use ::cel::{Context, Env, ExecutionError, Value};
use regex::Regex;

use super::subject::{Subject, Unread};

/// The longest expression, in bytes.
pub const MAX_LENGTH: usize = 2_000;
/// How deep its parentheses, and the operations in it, may be nested.
const MAX_DEPTH: usize = 32;
/// For reading an expression.
const STACK: usize = 32 << 20;
/// The compiled size of a regular expression, in bytes: enough for anything that a person writes.
const MAX_REGEX: usize = 256 << 10;
/// What one message may cost: a lookup is 1, and more for a large payload or a long topic that it brings.
const BUDGET: u32 = 20_000;

/// What an expression may ask of a message.
pub const VARIABLES: [&str; 10] =
    ["topic", "topic_levels", "payload", "qos", "retain", "ts", "kind", "device", "point", "quality"];

/// A condition. Cloning is cheap.
#[derive(Clone)]
pub struct When(Arc<Compiled>);

struct Compiled {
    text: String,
    expression: IdedExpr,
    patterns: Vec<Pattern>,
    env: Arc<Env>,
}

/// What a condition says of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Yes,
    /// It does not.
    No,
    /// It can't be told, and why.
    Unclear(String),
}

/// What is wrong with an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct WhenError {
    /// Bytes of the expression.
    pub at: Range<usize>,
    /// What is wrong there.
    pub what: String,
    /// A word that is not known, and those that are.
    pub word: Option<(String, Vec<&'static str>)>,
    /// What to try.
    pub help: Option<String>,
}

impl WhenError {
    fn new(at: Range<usize>, what: impl Into<String>) -> WhenError {
        WhenError { at, what: what.into(), word: None, help: None }
    }

    fn help(self, help: impl Into<String>) -> WhenError {
        WhenError { help: Some(help.into()), ..self }
    }

    fn unknown(self, word: &str, known: impl IntoIterator<Item = &'static str>) -> WhenError {
        WhenError { word: Some((word.into(), known.into_iter().collect())), ..self }
    }
}

impl When {
    /// Reads and checks an expression.
    pub fn new(text: &str) -> Result<When, WhenError> {
        bounded(text)?;
        // The parser calls itself a dozen times for each parenthesis, more than a thread of two MiB has room for.
        let reader = || std::thread::Builder::new().stack_size(STACK);
        std::thread::scope(|scope| match reader().spawn_scoped(scope, || compile(text)) {
            Ok(compiled) => compiled.join().unwrap_or_else(|_| Err(WhenError::new(0..text.len(), "this is not CEL"))),
            Err(_) => Err(WhenError::new(0..text.len(), "there is no memory left to read it")),
        })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Whether it holds for a message.
    pub fn decide(&self, subject: &Subject<'_>) -> Verdict {
        let Compiled { expression, patterns, env, .. } = &*self.0;
        let lookup = Lookup { subject, patterns, spent: AtomicU32::new(0) };
        let mut context = Context::with_env(env.clone());
        context.set_variable_resolver(&lookup);
        match Value::resolve_val(expression, &context) {
            Ok(value) => match value.downcast_ref::<CelBool>() {
                Some(is) if *is.inner() => Verdict::Yes,
                Some(_) => Verdict::No,
                None => Verdict::Unclear(format!(
                    "it comes to a {}, which is neither true nor false",
                    value.get_type().name()
                )),
            },
            Err(error) => Verdict::Unclear(lookup.explain(&error)),
        }
    }
}

fn compile(text: &str) -> Result<When, WhenError> {
    let env = Env::stdlib().with_optional_support(false);
    let program = env.compile(text).map_err(|errors| syntax(text, &errors))?;
    let places = Places { text, info: program.source_info() };
    let whole = check::check(program.expression(), &places)?;
    let mut expression = program.expression().clone();
    let patterns = rewrite::rewrite(&mut expression, &places, whole)?;
    Ok(When(Arc::new(Compiled { text: text.into(), expression, patterns, env: Arc::new(extended(env)) })))
}

impl fmt::Debug for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0.text, f)
    }
}

impl PartialEq for When {
    fn eq(&self, other: &When) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for When {}

/// Where the parts of an expression stand.
struct Places<'t> {
    text: &'t str,
    info: &'t ::cel::common::ast::SourceInfo,
}

impl Places<'_> {
    /// The bytes of a function's name; the parser knows where its parenthesis is.
    fn of_function(&self, id: u64, name: &str) -> Range<usize> {
        let at = self.of(id);
        let before = self.text.get(..at.start).unwrap_or_default();
        before.rfind(name).map_or(at, |start| start..start + name.len())
    }

    /// The bytes of a node; those of the whole expression when that is not known.
    fn of(&self, id: u64) -> Range<usize> {
        let Some((first, last)) = self.info.offset_for(id) else { return 0..self.text.len() };
        let boundary = |mut at: usize| {
            while at < self.text.len() && !self.text.is_char_boundary(at) {
                at += 1;
            }
            at.min(self.text.len())
        };
        let (from, to) = (boundary(first as usize), boundary(last as usize + 1));
        from..to.max(from)
    }
}

/// Refuses what would be costly to read, before it is read.
fn bounded(text: &str) -> Result<(), WhenError> {
    if text.trim().is_empty() {
        return Err(WhenError::new(0..text.len(), "the expression is empty"));
    }
    if text.len() > MAX_LENGTH {
        let what = format!("an expression has at most {MAX_LENGTH} bytes, this one has {}", text.len());
        return Err(WhenError::new(0..text.len(), what));
    }
    let (mut open, mut signs, mut choices) = (0usize, 0usize, 0usize);
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            '?' => choices += 1,
            '!' | '-' => signs += 1,
            _ if !c.is_whitespace() => signs = 0,
            _ => {}
        }
        if open > MAX_DEPTH || signs > MAX_DEPTH || choices > MAX_DEPTH {
            return Err(too_deep(at..at + c.len_utf8()));
        }
    }
    Ok(())
}

fn too_deep(at: Range<usize>) -> WhenError {
    WhenError::new(at, format!("the expression is nested deeper than {MAX_DEPTH} levels"))
        .help("make several rules of it, with `continue` where more than one is to match")
}

fn syntax(text: &str, errors: &::cel::ParseErrors) -> WhenError {
    let Some(first) = errors.errors.iter().min_by_key(|error| error.pos) else {
        return WhenError::new(0..text.len(), "this is not CEL");
    };
    let (line, column) = first.pos;
    let start: usize = text.split_inclusive('\n').take(usize::try_from(line - 1).unwrap_or(0)).map(str::len).sum();
    let rest = &text[start..];
    let from =
        rest.char_indices().nth(usize::try_from(column - 1).unwrap_or(0)).map_or(text.len(), |(at, _)| start + at);
    let to = text[from..].chars().next().map_or(from, |c| from + c.len_utf8());
    let said = first.msg.lines().next().unwrap_or_default().trim_start_matches("Syntax error: ");
    // What could have been there is a long list of everything.
    let said = said.split(" expecting ").next().unwrap_or(said);
    let what = match said.rsplit("input ").next() {
        _ if said.contains("<EOF>") => "something is missing at its end".to_owned(),
        Some(word) if said.contains("input ") => format!("{word} can't be here"),
        _ => said.to_owned(),
    };
    let error = WhenError::new(from..to, format!("this is not CEL: {what}"));
    let next = text[from..].trim_start();
    if next.starts_with('=') && !next.starts_with("==") {
        return error.help("two values are compared with `==`");
    }
    for (word, meant) in [("and", "&&"), ("or", "||"), ("not", "!")] {
        if next.split(|c: char| !c.is_alphanumeric()).next() == Some(word) {
            return error.help(format!("write `{meant}` for {word}"));
        }
    }
    error
}

/// A compiled regular expression, as a value that `matches` takes.
#[derive(Debug, Clone)]
struct Pattern(Regex);

static PATTERN: types::Type = types::Type::new_unspecified_type("fieldway.pattern");

impl Val for Pattern {
    fn get_type(&self) -> &types::Type {
        &PATTERN
    }

    fn cel_type() -> &'static types::Type {
        &PATTERN
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

impl ::cel::common::value::StaticVal for Pattern {}

/// The names of our own operations begin with `@`, as no identifier does.
const MATCHES: &str = "@matches";
const PATTERNS: &str = "@pattern";
const IN_LIST: &str = "@in_list";

/// The standard environment with our operations.
fn extended(mut env: Env) -> Env {
    calculate::add_to(&mut env);
    env.add_overload(IN_LIST, "ours_in", vec![types::DYN_TYPE, types::DYN_TYPE], in_list)
        .expect("no function of the standard library begins with @");
    env.add_overload(MATCHES, "ours_matches", vec![types::STRING_TYPE, types::DYN_TYPE], matches)
        .expect("no function of the standard library begins with @");
    env
}

type Args<'b, 'v> = Vec<CowVal<'b, 'v>>;
type Outcome<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

fn matches<'b, 'v>(args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    let text = args[0].downcast_ref::<CelString>();
    let pattern = args[1].downcast_ref::<Pattern>();
    let (Some(text), Some(Pattern(regex))) = (text, pattern) else {
        return Err(ExecutionError::function_error("matches", "it needs a text and a pattern"));
    };
    Ok(CowVal::owned(CelBool::from(regex.is_match(text.inner()))))
}

/// Whether a list that was written down has a value, of a payload perhaps.
fn in_list<'b, 'v>(args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    let Some(list) = args[1].as_iterable() else {
        return Err(ExecutionError::function_error("in", "it needs a list"));
    };
    let mut items = list.iter();
    while let Some(item) = items.next() {
        if args[0].equals(item) || item.equals(args[0].as_ref()) {
            return Ok(CowVal::owned(CelBool::from(true)));
        }
    }
    Ok(CowVal::owned(CelBool::from(false)))
}

/// Looks up what an expression names, and keeps account of it.
struct Lookup<'m, 's> {
    subject: &'s Subject<'m>,
    patterns: &'s [Pattern],
    spent: AtomicU32,
}

impl VariableResolver for Lookup<'_, '_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        if let Some(index) = name.strip_prefix(PATTERNS) {
            return self.patterns.get(index.parse::<usize>().ok()?).map(|pattern| CowVal::Borrowed(pattern));
        }
        let message = self.subject.message;
        let weight = match name {
            "payload" => message.payload.len() >> 8,
            "topic" => message.topic.len() >> 10,
            // A list is made of it.
            "topic_levels" => message.topic.len() >> 6,
            _ => 0,
        };
        let cost = 1 + u32::try_from(weight).unwrap_or(BUDGET);
        if self.spent.fetch_add(cost, Ordering::Relaxed) > BUDGET {
            return None;
        }
        value::variable(self.subject, name)
    }
}

impl Lookup<'_, '_> {
    fn explain(&self, error: &ExecutionError) -> String {
        if self.spent.load(Ordering::Relaxed) > BUDGET {
            return "it is too much work for this payload".into();
        }
        let text = match error {
            ExecutionError::NoSuchKey(key) => format!("there is no field `{key}`"),
            ExecutionError::UndeclaredReference(name) if VARIABLES.contains(&name.as_str()) => {
                match self.subject.json() {
                    Err(unread @ Unread::TooLarge(_)) if name.as_str() == "payload" => unread.to_string(),
                    _ => format!("this message has no `{name}`"),
                }
            }
            other => match self.subject.json() {
                Err(Unread::NoJson(no)) => format!("the payload is no object: {no}"),
                _ => other.to_string(),
            },
        };
        // Values are part of some of them.
        text.chars().take(300).collect()
    }
}

#[cfg(test)]
mod tests;
