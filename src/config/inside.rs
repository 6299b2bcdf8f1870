//! Where a piece of a value stands in the file: an expression's mistake is shown at its own column, not at its key.

use std::ops::Range;

use super::files::Files;
use super::tree::{Node, Span};

/// The bytes of the file that hold `part` of a value's text. Where that can't be followed (odd escapes), all of it.
pub(super) fn inside(node: &Node, part: &Range<usize>, files: &Files) -> Span {
    let (Some(scalar), Some(raw)) = (node.scalar(), files.text().get(node.span.clone())) else {
        return node.span.clone();
    };
    let text: &str = &scalar.text;
    let found = match raw.chars().next() {
        Some('\'') if !scalar.plain => quoted(raw, part, |rest| if rest.starts_with("''") { 2 } else { width(rest) }),
        Some('"') if !scalar.plain => quoted(raw, part, escape),
        _ if raw.starts_with(text) => Some(part.clone()),
        _ => lines(raw, text, part),
    };
    let found = found.or_else(|| folded(raw, text, part));
    match found {
        Some(found) if found.end <= raw.len() => node.span.start + found.start..node.span.start + found.end,
        _ => node.span.clone(),
    }
}

fn width(rest: &str) -> usize {
    rest.chars().next().map_or(1, char::len_utf8)
}

/// The bytes that one character takes in double quotes (YAML 1.2.2 §5.7).
fn escape(rest: &str) -> usize {
    if !rest.starts_with('\\') {
        return width(rest);
    }
    match rest.as_bytes().get(1) {
        Some(b'x') => 4,
        Some(b'u') => 6,
        Some(b'U') => 10,
        _ => 2,
    }
}

/// Follows a text in quotes, character by character; `raw_width` says how many bytes the next one takes in the file.
fn quoted(raw: &str, part: &Range<usize>, raw_width: impl Fn(&str) -> usize) -> Option<Range<usize>> {
    let (mut at, mut decoded) = (1, 0);
    let mut start = None;
    loop {
        if decoded >= part.start && start.is_none() {
            start = Some(at);
        }
        if decoded >= part.end {
            return Some(start?..at);
        }
        let rest = raw.get(at..)?;
        // Folded lines are another length than what they come to.
        if rest.is_empty() || rest.starts_with('\n') {
            return None;
        }
        let wide = raw_width(rest);
        // An escape stands for one character; of `\u…` the length is not known without reading it.
        let is_plain = wide == width(rest);
        decoded += if is_plain { wide } else { 1 };
        at += wide;
    }
}

/// Follows a text that has lines of its own (`|` and `>`): each is there as it is, after its indentation.
fn lines(raw: &str, text: &str, part: &Range<usize>) -> Option<Range<usize>> {
    let before = text.get(..part.start)?;
    let (number, column) = (before.matches('\n').count(), part.start - before.rfind('\n').map_or(0, |at| at + 1));
    let mut at = 0;
    let mut wanted = text.lines();
    let mut line = wanted.next()?;
    let mut index = 0;
    for raw_line in raw.split_inclusive('\n') {
        if let Some(start) = raw_line.find(line).filter(|_| !line.is_empty() || raw_line.trim().is_empty()) {
            if index == number {
                let from = at + start + column;
                let length = (part.end - part.start).min(line.len().saturating_sub(column));
                return Some(from..from + length);
            }
            index += 1;
            line = wanted.next()?;
        }
        at += raw_line.len();
    }
    None
}

/// Follows a text whose lines were folded (`>`, or over several lines without it): what is blank there is blank here.
fn folded(raw: &str, text: &str, part: &Range<usize>) -> Option<Range<usize>> {
    let quote = raw.starts_with(['\'', '"']);
    let blank_from = |at: usize| raw[at..].len() - raw[at..].trim_start().len();
    let mut at = usize::from(quote);
    at += blank_from(at);
    let (mut start, mut end) = (None, at);
    for (decoded, c) in text.char_indices() {
        if c.is_whitespace() {
            at += blank_from(at);
            continue;
        }
        if decoded >= part.end {
            break;
        }
        if decoded >= part.start && start.is_none() {
            start = Some(at);
        }
        if !raw[at..].starts_with(c) {
            return None;
        }
        at += c.len_utf8();
        end = at;
    }
    // What is missing at its end has no character of its own.
    Some(start.unwrap_or(end)..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problem::Problems;
    use crate::config::yaml;

    /// What the file has where `wanted` stands in the value of `k`.
    fn shown(yaml_text: &str, wanted: &str) -> String {
        let files = Files::new("g.yaml".as_ref(), yaml_text.to_owned());
        let mut problems = Problems::default();
        let root = yaml::parse(files.text(), 0..yaml_text.len(), &mut problems).expect("valid");
        let node = root.entries().expect("a map")[0].value.clone();
        let text = node.scalar().expect("a text").text.as_str().to_owned();
        let at = text.find(wanted).expect("it is there");
        files.text()[inside(&node, &(at..at + wanted.len()), &files)].to_owned()
    }

    #[test]
    fn a_part_is_found_however_its_text_is_written() {
        for (text, wanted, found) in [
            ("k: a.b > c", "c", "c"),
            ("k: 'a == ''x'' && tpic'", "tpic", "tpic"),
            ("k: 'ä == ''x'' && tpic'", "'x'", "''x''"),
            ("k: \"a == \\\"x\\\" && tpic\"", "tpic", "tpic"),
            ("k: |\n  a.b > c\n  && tpic\n", "tpic", "tpic"),
            ("k: |\n  a.b > c\n  && tpic\n", "> c", "> c"),
            ("k: >\n  a.b > c\n  && tpic\n", "tpic", "tpic"),
            ("k: >-\n  a.b >\n    'ä'\n\n  && tpic == 1\n", "tpic", "tpic"),
            ("k: a.b > c\n  && tpic == 1\n", "tpic", "tpic"),
            ("k: \"a.b > c\n  && tpic == 1\"\n", "tpic", "tpic"),
        ] {
            assert_eq!(shown(text, wanted), found, "{text}");
        }
    }
}
