//! Topic names and topic filters, checked once and then trusted (MQTT 3.1.1 and 5, §4.7).

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The longest topic or filter, in bytes: MQTT writes the length in 16 bits (§1.5.4).
const MAX_BYTES: usize = 65_535;

/// A valid topic name: not empty, no wildcard, no control character. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<str>);

/// A valid topic filter: wildcards only as whole levels, `#` only at the end. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter(Arc<str>);

/// Why a text is no topic name or no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Zero length (§4.7.3).
    #[error("a topic can't be empty")]
    Empty,
    /// Longer than the wire can carry.
    #[error("a topic has at most 65535 bytes, this one has {0}")]
    TooLong(usize),
    /// U+0000 (§1.5.4).
    #[error("a topic can't contain the NUL character")]
    Nul,
    /// See [`unfit_character`].
    #[error("a topic can't contain {0:?}: brokers take control characters and non-characters for a broken packet")]
    Character(char),
    /// `+` or `#` in a name that is published to.
    #[error("`+` and `#` stand for other levels and can't be in the topic of a message")]
    WildcardInName,
    /// `a/b+`: a wildcard is a whole level.
    #[error("`+` and `#` stand alone between slashes: {0:?} mixes one with other characters")]
    WildcardNotWholeLevel(String),
    /// `a/#/b`.
    #[error("`#` is only allowed as the last level")]
    HashNotLast,
}

/// The first character of `text` for which a receiver may end the connection (MQTT 5, §1.5.4; 3.1.1, §1.5.3): a control character or
/// a non-character. mosquitto does so, and a message with one would be sent to it again and again.
pub fn unfit_character(text: &str) -> Option<char> {
    let is_non_character = |c: char| matches!(c, '\u{FDD0}'..='\u{FDEF}') || u32::from(c) & 0xFFFE == 0xFFFE;
    text.chars().find(|c| c.is_control() || is_non_character(*c))
}

fn check_text(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > MAX_BYTES {
        return Err(TopicError::TooLong(text.len()));
    }
    if text.contains('\0') {
        return Err(TopicError::Nul);
    }
    match unfit_character(text) {
        Some(unfit) => Err(TopicError::Character(unfit)),
        None => Ok(()),
    }
}

impl Topic {
    /// Checks a text and makes it a topic name.
    pub fn new(text: &str) -> Result<Topic, TopicError> {
        check_text(text)?;
        if text.contains(['+', '#']) {
            return Err(TopicError::WildcardInName);
        }
        Ok(Topic(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Filter {
    /// Checks a text and makes it a filter. `$share/…` is the broker's affair and is an ordinary filter here.
    pub fn new(text: &str) -> Result<Filter, TopicError> {
        check_text(text)?;
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            match level {
                "+" => {}
                "#" if levels.peek().is_some() => return Err(TopicError::HashNotLast),
                "#" => {}
                other if other.contains(['+', '#']) => return Err(TopicError::WildcardNotWholeLevel(other.into())),
                _ => {}
            }
        }
        Ok(Filter(text.into()))
    }

    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a message on `topic` matches. A wildcard in first place does not match a topic that starts with `$` (§4.7.2).
    pub fn matches(&self, topic: &str) -> bool {
        filter_matches(&self.0, topic)
    }
}

/// [`Filter::matches`] for a filter that is known to be valid.
pub fn filter_matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            // `#` includes the parent level: `a/#` matches `a` (§4.7.1.2).
            ("#", _) => return true,
            (_, None) => return false,
            ("+", Some(_)) => {}
            (exact, Some(level)) if exact == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

macro_rules! text_like {
    ($($t:ty),*) => {$(
        impl Deref for $t {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
        impl std::borrow::Borrow<str> for $t {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )*};
}
text_like!(Topic, Filter);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_wildcards_nul_or_nothing_are_refused() {
        assert_eq!(Topic::new(""), Err(TopicError::Empty));
        assert_eq!(Topic::new("a/+"), Err(TopicError::WildcardInName));
        assert_eq!(Topic::new("a\0"), Err(TopicError::Nul));
        assert_eq!(Topic::new(&"x".repeat(65_536)), Err(TopicError::TooLong(65_536)));
        assert!(Topic::new("ärinä/temp").is_ok() && Topic::new("/").is_ok());
    }

    #[test]
    fn characters_for_which_a_broker_may_end_the_connection_are_refused() {
        for unfit in ['\u{1}', '\n', '\u{7F}', '\u{85}', '\u{FDD0}', '\u{FFFE}', '\u{FFFF}', '\u{1FFFE}', '\u{10FFFF}']
        {
            let text = format!("plant/{unfit}");
            assert_eq!(Topic::new(&text), Err(TopicError::Character(unfit)));
            assert_eq!(Filter::new(&text), Err(TopicError::Character(unfit)));
        }
        assert!(Topic::new("\u{FEFF} ~ \u{A0} \u{FFFD} \u{1F600}").is_ok());
    }

    #[test]
    fn filters_take_wildcards_only_as_whole_levels_and_hash_only_last() {
        for good in ["#", "+", "a/+/b", "a/#", "/", "+/+", "$SYS/#", "a//b"] {
            assert!(Filter::new(good).is_ok(), "{good}");
        }
        assert_eq!(Filter::new("a/#/b"), Err(TopicError::HashNotLast));
        assert_eq!(Filter::new("a/b+"), Err(TopicError::WildcardNotWholeLevel("b+".into())));
        assert_eq!(Filter::new("a#"), Err(TopicError::WildcardNotWholeLevel("a#".into())));
    }

    #[test]
    fn matching_follows_the_examples_of_the_specification() {
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/uptime", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/uptime", true),
            ("a/b", "a/B", false),
            ("a//b", "a/b", false),
        ] {
            assert_eq!(filter_matches(filter, topic), expected, "{filter} on {topic}");
        }
    }
}
