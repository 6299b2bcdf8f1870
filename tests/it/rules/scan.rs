//! Reads Rust source just well enough to know which paths it names: `use` groups and paths in expressions, outside
//! comments, literals and tests. It is no parser; what it can't see is a path made by a macro or hidden by a rename.

/// What one file says.
#[derive(Debug)]
pub struct Source {
    /// Every path outside tests.
    pub paths: Vec<NamedPath>,
    /// Lines outside test modules.
    pub lines: usize,
}

/// A path as it is written, groups resolved: `use a::{b, c::d}` is `a::b` and `a::c::d`.
#[derive(Debug, PartialEq, Eq)]
pub struct NamedPath {
    /// 1-based.
    pub line: usize,
    /// Never empty.
    pub segments: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    DoubleColon,
    Other(char),
}

type Tokens = Vec<(usize, Token)>;

pub fn scan(text: &str) -> Source {
    let (tokens, test_lines) = without_tests(tokenize(&blank_literals(text)));
    Source { paths: paths(&tokens), lines: text.lines().count() - test_lines }
}

/// The text with comments and literals overwritten by spaces; line breaks stay.
fn blank_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment or literal that begins at `at` ends; `at` itself when none begins there.
fn literal_end(chars: &[char], at: usize) -> usize {
    let next = |n: usize| chars.get(at + n).copied().unwrap_or('\n');
    let find = |from: usize, pattern: &[char]| {
        (from..chars.len()).find(|i| chars[*i..].starts_with(pattern)).map_or(chars.len(), |i| i + pattern.len())
    };
    let in_word = at > 0 && is_word(chars[at - 1]);
    match (next(0), next(1)) {
        ('/', '/') => find(at, &['\n']) - 1,
        ('/', '*') => block_comment_end(chars, at),
        ('"', _) => quoted_end(chars, at, '"'),
        ('b' | 'c', '"') if !in_word => quoted_end(chars, at + 1, '"'),
        ('r' | 'b' | 'c', _) if !in_word => {
            let start = if next(0) == 'r' { at + 1 } else { at + 2 };
            let hashes = chars[start.min(chars.len())..].iter().take_while(|c| **c == '#').count();
            let raw = next(0) == 'r' || next(1) == 'r';
            if raw && chars.get(start + hashes) == Some(&'"') {
                let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                find(start + hashes + 1, &close)
            } else {
                at
            }
        }
        // A character is closed after one, or is escaped; anything else is a lifetime.
        ('\'', '\\') => quoted_end(chars, at, '\''),
        ('\'', _) if next(2) == '\'' => at + 3,
        _ => at,
    }
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i < chars.len() {
        match chars[i..] {
            ['/', '*', ..] => (depth, i) = (depth + 1, i + 2),
            ['*', '/', ..] => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

fn quoted_end(chars: &[char], open: usize, quote: char) -> usize {
    let mut i = open + 1;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            c if c == quote => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn tokenize(text: &str) -> Tokens {
    let mut tokens = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let length = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            let token = match &rest[..length] {
                "::" => Some(Token::DoubleColon),
                word if is_word(first) => Some(Token::Word(word.into())),
                _ if first.is_whitespace() => None,
                _ => Some(Token::Other(first)),
            };
            tokens.extend(token.map(|token| (index + 1, token)));
            rest = &rest[length..];
        }
    }
    tokens
}

/// The tokens without what `#[cfg(test)]` marks, and how many lines that took.
fn without_tests(tokens: Tokens) -> (Tokens, usize) {
    let mut kept = Vec::new();
    let (mut at, mut lines) = (0, 0);
    while at < tokens.len() {
        if is_test_attribute(&tokens[at..]) {
            let end = item_end(&tokens, at);
            lines += tokens[end - 1].0 + 1 - tokens[at].0;
            at = end;
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    (kept, lines)
}

fn is_test_attribute(tokens: &[(usize, Token)]) -> bool {
    let begins = ["#", "[", "cfg", "("].iter().zip(tokens).all(|(wanted, (_, token))| text_of(token) == *wanted);
    let inside = || tokens[4..].iter().map(|(_, token)| text_of(token)).take_while(|text| text != "]");
    begins && inside().any(|word| word == "test") && !inside().any(|word| word == "not" || word == "any")
}

/// One past the item whose attribute begins at `at`: its closing brace, or its semicolon.
fn item_end(tokens: &[(usize, Token)], at: usize) -> usize {
    let (mut braces, mut brackets) = (0i32, 0i32);
    for (i, (_, token)) in tokens.iter().enumerate().skip(at) {
        match token {
            Token::Other('{') => braces += 1,
            Token::Other('}') => {
                braces -= 1;
                if braces == 0 && brackets == 0 {
                    return i + 1;
                }
            }
            Token::Other('[' | '(') => brackets += 1,
            Token::Other(']' | ')') => brackets -= 1,
            Token::Other(';') if braces == 0 && brackets == 0 => return i + 1,
            _ => {}
        }
    }
    tokens.len()
}

fn text_of(token: &Token) -> String {
    match token {
        Token::Word(word) => word.clone(),
        Token::DoubleColon => "::".into(),
        Token::Other(c) => c.to_string(),
    }
}

fn paths(tokens: &[(usize, Token)]) -> Vec<NamedPath> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let before = |n: usize| at.checked_sub(n).map(|i| &tokens[i].1);
        let continues = before(1) == Some(&Token::DoubleColon)
            && matches!(before(2), Some(Token::Word(_) | Token::Other('>')))
            || before(1) == Some(&Token::Other('.'));
        if !matches!(tokens[at].1, Token::Word(_)) || continues {
            at += 1;
            continue;
        }
        let imported = before(1) == Some(&Token::Word("use".into()));
        let first = found.len();
        at = tree(tokens, at, &mut Vec::new(), &mut found);
        // A lone word is a path only where it is imported.
        if found[first..].iter().all(|path| path.segments.len() == 1) && !imported {
            found.truncate(first);
        }
    }
    found
}

/// Reads one path or group at `at`, below `prefix`; returns the index after it.
fn tree(tokens: &[(usize, Token)], mut at: usize, prefix: &mut Vec<String>, found: &mut Vec<NamedPath>) -> usize {
    let depth = prefix.len();
    let line = tokens[at].0;
    loop {
        match tokens.get(at).map(|(_, token)| token) {
            Some(Token::Word(word)) => {
                prefix.push(word.clone());
                at += 1;
            }
            Some(Token::Other('{')) => {
                at += 1;
                while let Some((_, token)) = tokens.get(at) {
                    match token {
                        Token::Other('}') => break,
                        Token::Word(_) | Token::Other('{') => at = tree(tokens, at, prefix, found),
                        _ => at += 1,
                    }
                }
                prefix.truncate(depth);
                return at + 1;
            }
            _ => {}
        }
        match tokens.get(at).map(|(_, token)| token) {
            Some(Token::DoubleColon)
                if matches!(tokens.get(at + 1), Some((_, Token::Word(_) | Token::Other('{' | '*')))) =>
            {
                at += 1;
                if matches!(tokens[at].1, Token::Other('*')) {
                    prefix.push("*".into());
                    at += 1;
                }
            }
            // `as` gives a group's member another name; the path is what was named.
            Some(Token::Word(word)) if word == "as" => at += 2,
            _ => break,
        }
    }
    found.push(NamedPath { line, segments: prefix.clone() });
    prefix.truncate(depth);
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        scan(text).paths.iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn groups_are_taken_apart() {
        assert_eq!(
            found("use crate::{model::{Name, Topic as T}, store, route::*};\nuse sqlx;"),
            ["crate::model::Name", "crate::model::Topic", "crate::store", "crate::route::*", "sqlx"]
        );
    }

    #[test]
    fn paths_in_expressions_and_types_are_found_with_their_lines() {
        let source =
            scan("fn f(x: &crate::model::Name) {\n    let y = Vec::<u8>::new();\n    ::sqlx::query(y.len())\n}");
        let expected = [(1, "crate::model::Name"), (3, "sqlx::query")];
        let seen: Vec<_> = source.paths.iter().map(|p| (p.line, p.segments.join("::"))).collect();
        assert_eq!(seen, expected.map(|(line, path)| (line, path.to_string())));
    }

    #[test]
    fn comments_literals_and_tests_say_nothing() {
        let text = r####"// sqlx::a
/* sqlx::b /* sqlx::c */ sqlx::d */
const A: (&str, &str, char, &str) = ("sqlx::e \" sqlx::f", r#"sqlx::g" "#, '"', "sqlx::h");
fn g<'a>(x: &'a str) { k::l() }
#[cfg(test)]
mod tests {
    use sqlx::i;
    fn f() { let x = [0; 3]; }
}
#[cfg(not(test))]
use m::n;
"####;
        assert_eq!(found(text), ["k::l", "m::n"]);
        assert_eq!(scan(text).lines, 6);
    }
}
