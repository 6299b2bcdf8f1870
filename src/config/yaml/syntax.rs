//! Syntax errors in words for people who don't speak YAML.
//!
//! A scanner notices a mistake where it can't go on, which is often a line after the one to mend; so the lines
//! around it are looked at too.

use super::{clip, too_deep};
use crate::config::problem::Problem;
use crate::config::tree::Span;

/// How far up the beginning of an open quote is looked for.
const LINES_UP: usize = 50;

/// What the scanner stumbled over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mistake {
    TooDeep,
    Tab,
    /// A text in quotes that does not end.
    OpenQuote,
    /// More after a text in quotes.
    AfterQuote,
    Brackets,
    /// A `:` or a key where none can be.
    Key,
    Backslash,
    /// A character that can't begin a value.
    Character(char),
    Other,
}

/// `at` is where the scanner stopped, `info` what it says itself.
pub(super) fn explain(mistake: Mistake, at: usize, info: &str, text: &str) -> Problem {
    let at = clip(at..text.len(), text).start;
    let span = character(at, text);
    if let (Mistake::Key | Mistake::Other, Some(space)) = (mistake, odd_space(at, text)) {
        return odd(&space, text);
    }
    match mistake {
        Mistake::TooDeep => too_deep(&span),
        Mistake::Tab => tab(at, text),
        Mistake::OpenQuote => quote(at, text),
        Mistake::AfterQuote => Problem::at(&span, "there is more after a text in quotes")
            .label("the text has ended before this")
            .help("look for a quote too many; inside single quotes a quote is written twice"),
        Mistake::Brackets => brackets(at, text),
        Mistake::Key => key(info, at, text),
        Mistake::Backslash => Problem::at(&span, "a backslash in double quotes starts an escape")
            .label("this text has one that does not exist")
            .help("write `\\\\` for a backslash, or use single quotes"),
        Mistake::Character(character) => Problem::at(&span, format!("a value can't begin with `{character}`"))
            .label("this character has a meaning of its own")
            .help("put the text in quotes"),
        Mistake::Other => Problem::at(&span, format!("this is not YAML: {info}"))
            .label("here or just above")
            .help("line keys up with their neighbours and put texts with special characters in quotes"),
    }
}

fn tab(at: usize, text: &str) -> Problem {
    // A tab below a value is noticed at the value, which could go on there.
    let line = line_around(at, text).start;
    let tab = text[line..].find('\t').map_or(at, |tab| line + tab);
    Problem::at(&character(tab, text), "a tab can't indent a line")
        .label("this is a tab")
        .help("indent with spaces, two a level; most editors can replace tabs")
}

/// A character in this line or the one above that looks like a space and is none for YAML; in quotes it may be meant.
fn odd_space(at: usize, text: &str) -> Option<Span> {
    let here = line_around(at, text);
    let above = line_above(here.start, text).map(|above| line_around(above.start, text));
    [Some(here), above].into_iter().flatten().find_map(|line| {
        let unquoted = text[line.clone()].split(['"', '\'']).next().unwrap_or_default();
        let found = unquoted.char_indices().find(|(_, c)| c.is_whitespace() && !c.is_ascii());
        found.map(|(offset, c)| line.start + offset..line.start + offset + c.len_utf8())
    })
}

fn odd(space: &Span, text: &str) -> Problem {
    let code = text[space.clone()].chars().next().map_or(0, u32::from);
    Problem::at(space, "this looks like a space, and is another character")
        .label(format!("U+{code:04X}, not a space"))
        .help("replace it with a space; it often comes along with a text copied from a PDF or a web page")
}

fn brackets(at: usize, text: &str) -> Problem {
    let line = &text[line_around(at, text)];
    // `to: sites/{rest}` and `password: ${NAME}` are fine in a line of their own, and not between brackets.
    let glued = line.as_bytes().windows(2).any(|pair| pair[1] == b'{' && !b" \t{[(,:\"'".contains(&pair[0]));
    let help = match glued {
        true => "between brackets, a text with braces needs quotes: \"sites/{rest}\", \"${NAME}\"",
        false => "look for a missing `,`, `}` or `]` here or just above",
    };
    Problem::at(&character(at, text), "the brackets don't fit together").label("here they went wrong").help(help)
}

/// An open quote runs on until a line can't belong to it.
fn quote(at: usize, text: &str) -> Problem {
    let problem = Problem::at(&character(at, text), "a text in quotes does not end")
        .label("still inside the quotes here")
        .help("close the quotes at the end of the text");
    let mut line = line_around(at, text);
    for _ in 0..LINES_UP {
        for mark in ['"', '\''] {
            let content = &text[line.clone()];
            if content.matches(mark).count() % 2 == 1
                && let Some(open) = content.rfind(mark)
            {
                let open = line.start + open;
                return problem.also(&(open..open + mark.len_utf8()), "perhaps it began here");
            }
        }
        if line.start == 0 {
            break;
        }
        line = line_around(line.start - 1, text);
    }
    problem
}

/// `a: b: c`, or a line without `:` above a key.
fn key(info: &str, at: usize, text: &str) -> Problem {
    let line = line_around(at, text);
    let above = line_above(line.start, text);
    let glued = above.as_ref().and_then(|above| glued_colon(above, text));
    if let Some(above) = above.clone()
        && !text[above.clone()].contains(':')
        && !text[above.clone()].trim_start().starts_with(['-', '#', '[', '{', '"', '\''])
    {
        return Problem::at(&above, "every line is `key: value`, and this one has no `:`")
            .label("is a `:` missing at the end?")
            .also(&character(at, text), "which shows only here");
    }
    let here = text[line.clone()].trim();
    if !here.contains(':') {
        return Problem::at(&trimmed(&line, text), "every line is `key: value`, and this one has no `:`")
            .label("is a `:` missing?")
            .help("with a value there is a space after the `:`");
    }
    if let Some(colon) = glued {
        return Problem::at(&colon, "every line is `key: value`, and this one has no space after its `:`")
            .label("is a space missing here?")
            .also(&character(at, text), "which shows only here");
    }
    if let Some(above) = above.filter(|_| at == trimmed(&line, text).start) {
        let indentation = |line: &Span| line.start - line_around(line.start, text).start;
        return Problem::at(&character(at, text), "this line does not line up with its neighbours")
            .label(format!("indented by {}, the line above by {}", at - line.start, indentation(&above)))
            .help("keys of one group begin in the same column; only below a line that ends with `:` they are indented further");
    }
    if here.matches(": ").count() > 1 || (here.contains(": ") && here.ends_with(':')) {
        return Problem::at(&character(at, text), "there are two `: ` in one line")
            .label("this is the second")
            .help("put a text that contains `: ` in quotes");
    }
    Problem::at(&character(at, text), format!("this line does not fit below the one above: {info}"))
        .label("here")
        .help("line keys up with their neighbours; only below a line that ends with `:` they are indented further")
}

/// The `:` of `bus:plc`, when the line has no other.
fn glued_colon(line: &Span, text: &str) -> Option<Span> {
    let content = &text[line.clone()];
    let (key, value) = content.split_once(':')?;
    let is_key = !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let is_glued = value.starts_with(|c: char| c.is_alphanumeric()) && !value.contains([':', '{', '[']);
    (is_key && is_glued).then(|| line.start + key.len()..line.start + key.len() + 1)
}

fn character(at: usize, text: &str) -> Span {
    let width = text[at..].chars().next().filter(|c| !matches!(c, '\n' | '\r')).map_or(0, char::len_utf8);
    at..at + width
}

/// The line that a byte is in, without its line feed.
fn line_around(at: usize, text: &str) -> Span {
    let start = text[..at].rfind('\n').map_or(0, |feed| feed + 1);
    let end = text[at..].find('\n').map_or(text.len(), |feed| at + feed);
    start..end
}

/// The nearest line above that is neither blank nor a comment, without its indentation.
fn line_above(mut start: usize, text: &str) -> Option<Span> {
    while start > 0 {
        let line = trimmed(&line_around(start - 1, text), text);
        if !line.is_empty() && !text[line.clone()].starts_with('#') {
            return Some(line);
        }
        start = line_around(start - 1, text).start;
    }
    None
}

fn trimmed(line: &Span, text: &str) -> Span {
    let content = &text[line.clone()];
    let start = line.start + (content.len() - content.trim_start().len());
    start..start + content.trim().len()
}
