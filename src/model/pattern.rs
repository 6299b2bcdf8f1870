//! Regular expressions for lines of text. The only file that names regex, whose time is linear in the text whatever the pattern.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

/// The most memory that one compiled pattern may take, in bytes. `(\w{100}){100}` would take more.
const MAX_COMPILED: usize = 1 << 20;
/// The group that holds a value, unless there is one with the point's own name.
const VALUE: &str = "value";

/// A pattern, and which of its groups is the value.
#[derive(Clone)]
pub struct Pattern {
    regex: Regex,
    /// The number of the group; 0 is the whole match.
    group: usize,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// As the library says it, in one line.
    #[error("{0}")]
    Syntax(String),
    /// It would take too much memory.
    #[error("it is too large once its repetitions are written out")]
    TooLarge,
}

impl Pattern {
    /// Compiles a pattern. The value is the group called `name`, or `value`, or else the whole match.
    pub fn new(text: &str, name: &str) -> Result<Pattern, PatternError> {
        let built = RegexBuilder::new(text).size_limit(MAX_COMPILED).dfa_size_limit(MAX_COMPILED).build();
        let regex = built.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => PatternError::TooLarge,
            // Its last line says what is wrong; those before show where, with a caret that needs a fixed width.
            other => {
                let text = other.to_string();
                let last = text.lines().last().unwrap_or_default();
                PatternError::Syntax(last.strip_prefix("error: ").unwrap_or(last).to_owned())
            }
        })?;
        let group = |wanted: &str| regex.capture_names().position(|group| group == Some(wanted));
        let group = group(name).or_else(|| group(VALUE)).unwrap_or(0);
        Ok(Pattern { regex, group })
    }

    /// The value in a line; `None` when the line does not match. A group that took no part is empty.
    pub fn find<'t>(&self, line: &'t [u8]) -> Option<&'t [u8]> {
        if self.group == 0 {
            return self.regex.find(line).map(|found| found.as_bytes());
        }
        let groups = self.regex.captures(line)?;
        Some(groups.get(self.group).map_or(&[], |found| found.as_bytes()))
    }

    /// As it was typed.
    pub fn as_str(&self) -> &str {
        self.regex.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        (self.as_str(), self.group) == (other.as_str(), other.group)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/{}", self.as_str(), self.group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_the_points_group_or_value_or_the_whole_match() {
        let find = |pattern: &str, line: &str| {
            let found = Pattern::new(pattern, "flow").unwrap().find(line.as_bytes()).map(<[u8]>::to_vec);
            found.map(|bytes| String::from_utf8(bytes).unwrap())
        };
        assert_eq!(find("t=(?<value>[0-9.]+)", "t=21.5 C").as_deref(), Some("21.5"));
        assert_eq!(find("(?<value>a)(?<flow>b)", "ab").as_deref(), Some("b"));
        assert_eq!(find("[0-9]+", "code 4711").as_deref(), Some("4711"));
        assert_eq!(find("x(?<value>y)?", "x").as_deref(), Some(""));
        assert_eq!(find("^[0-9]+$", "code 4711"), None);
    }

    #[test]
    fn bytes_that_are_no_text_are_searched_too() {
        let pattern = Pattern::new("°(?<value>.)", "p").unwrap();
        assert_eq!(pattern.find("20 °C".as_bytes()), Some(&b"C"[..]));
        assert_eq!(pattern.find(b"20 \xB0C"), None);
        assert_eq!(Pattern::new(r"(?-u:\xB0)(?<value>.)", "p").unwrap().find(b"20 \xB0C"), Some(&b"C"[..]));
    }

    #[test]
    fn patterns_that_can_not_be_used_say_why_in_one_line() {
        let error = |text: &str| Pattern::new(text, "p").unwrap_err();
        assert_eq!(error("(?<value>[0-9]+").to_string(), "unclosed group");
        assert_eq!(error("*a").to_string(), "repetition operator missing expression");
        assert_eq!(error(r"((\w{100}){100}){10}"), PatternError::TooLarge);
    }
}
