//! Names that become topic levels, JSON keys and log fields.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The longest name accepted, in bytes. A topic holds a root, a device, a point and a verb, and stays well below
/// MQTT's 65,535 bytes with it.
pub const MAX_NAME_BYTES: usize = 128;

/// The name of a bus, device, point, uplink or gateway: letters, digits, `_` and `-`, starting with a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was written.
    #[error("a name can't be empty")]
    Empty,
    /// More than [`MAX_NAME_BYTES`].
    #[error("a name has at most {MAX_NAME_BYTES} characters, this one has {0}")]
    TooLong(usize),
    /// A character that a topic level or a metric label could not carry.
    #[error("a name is made of letters a-z, digits, `_` and `-`, and {0:?} is none of them")]
    BadCharacter(char),
    /// A leading `-` or `_`.
    #[error("a name starts with a letter or a digit, not with {0:?}")]
    BadStart(char),
}

impl Name {
    /// Checks a text and makes it a name.
    pub fn new(text: &str) -> Result<Name, NameError> {
        let first = text.chars().next().ok_or(NameError::Empty)?;
        if text.len() > MAX_NAME_BYTES {
            return Err(NameError::TooLong(text.len()));
        }
        if let Some(bad) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-')) {
            return Err(NameError::BadCharacter(bad));
        }
        if !first.is_ascii_alphanumeric() {
            return Err(NameError::BadStart(first));
        }
        Ok(Name(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_taken_and_others_say_why_not() {
        for good in ["boiler", "U_L1", "plant-7", "7"] {
            assert_eq!(Name::new(good).map(|n| n.to_string()), Ok(good.to_string()));
        }
        assert_eq!(Name::new(""), Err(NameError::Empty));
        assert_eq!(Name::new("a/b"), Err(NameError::BadCharacter('/')));
        assert_eq!(Name::new("kessel_ä"), Err(NameError::BadCharacter('ä')));
        assert_eq!(Name::new("-x"), Err(NameError::BadStart('-')));
        assert_eq!(Name::new(&"x".repeat(129)), Err(NameError::TooLong(129)));
    }
}
