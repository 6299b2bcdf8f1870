//! What single values can be: whole numbers, exact decimals, switches, texts and choices.
//!
//! YAML's own guesses (`no` is false, `010` is 8, `0.1` is a binary fraction) are not made: a value is what was typed.

use std::ops::RangeInclusive;

use crate::model::{Decimal, DecimalError};

use super::suggest::did_you_mean;
use super::tree::Scalar;
use super::yaml::short;

/// A way to read one value.
pub(super) trait Read {
    type Out;

    /// What the value must be: "a whole number from 1 to 247".
    fn wanted(&self) -> String;

    fn read(&self, scalar: &Scalar) -> Result<Self::Out, Wrong>;
}

/// Why a value can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is not what is wanted.
    Value {
        /// What it is: "`three` is not a number".
        label: String,
        help: Option<String>,
    },
    /// It would be right in a later version.
    NotYet {
        /// The word that it is known by.
        what: &'static str,
        /// What to do without it.
        instead: String,
    },
}

impl Wrong {
    pub(super) fn new(label: impl Into<String>) -> Wrong {
        Wrong::Value { label: label.into(), help: None }
    }

    pub(super) fn helped(label: impl Into<String>, help: impl Into<String>) -> Wrong {
        Wrong::Value { label: label.into(), help: Some(help.into()) }
    }
}

/// A whole number, decimal or hexadecimal.
pub(super) struct Whole(pub(super) RangeInclusive<u64>);

impl Read for Whole {
    type Out = u64;

    fn wanted(&self) -> String {
        format!("a whole number from {} to {}", self.0.start(), self.0.end())
    }

    fn read(&self, scalar: &Scalar) -> Result<u64, Wrong> {
        let text = scalar.text.as_str();
        let number = whole(text)?;
        match number {
            Some(number) if self.0.contains(&number) => unquoted(number, scalar),
            number if text.starts_with('-') || number.is_some_and(|n| n < *self.0.start()) => {
                Err(Wrong::new(format!("`{}` is less than {}", short(text), self.0.start())))
            }
            _ => Err(Wrong::new(format!("`{}` is more than {}", short(text), self.0.end()))),
        }
    }
}

/// `None` when it is a number, but negative or beyond 64 bits.
fn whole(text: &str) -> Result<Option<u64>, Wrong> {
    let no_number = || format!("`{}` is not a whole number in plain digits", short(text));
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Wrong::helped(format!("`{}` is not a hexadecimal number", short(text)), "for example 0x1F"));
        }
        return Ok(u64::from_str_radix(digits, 16).ok());
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(match (bare_hexadecimal(text), simpler(text)) {
            (Some(digits), _) => Wrong::helped(no_number(), format!("if it is hexadecimal, write 0x{digits}")),
            (None, Some(number)) => Wrong::helped(no_number(), format!("write {number}")),
            (None, None) => Wrong::new(no_number()),
        });
    }
    if digits.len() > 1 && digits.starts_with('0') {
        // YAML 1.1 reads 010 as 8, YAML 1.2 as 10.
        let decimal = digits.trim_start_matches('0');
        return Err(Wrong::helped(
            format!("`{}` could be octal or decimal", short(text)),
            format!("write {}", if decimal.is_empty() { "0" } else { decimal }),
        ));
    }
    Ok(text.strip_prefix('+').unwrap_or(text).parse().ok())
}

/// The digits of `6B`, `6Bh` and `$6B`, which manuals print without `0x`: cut at the letter they would be another number.
fn bare_hexadecimal(text: &str) -> Option<&str> {
    let marked = text.strip_prefix('$').or_else(|| text.strip_suffix(['h', 'H']));
    let digits = marked.unwrap_or(text);
    let is_hexadecimal = !digits.is_empty() && digits.len() <= 16 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let is_plain = digits.bytes().all(|b| b.is_ascii_digit());
    (is_hexadecimal && (marked.is_some() || !is_plain)).then_some(digits)
}

/// The whole number in `1_000`, `0o17`, `7.0` or `9600 baud`.
fn simpler(text: &str) -> Option<u64> {
    if let Some(octal) = text.strip_prefix("0o") {
        return u64::from_str_radix(octal, 8).ok();
    }
    let joined: String = text.chars().filter(|c| !matches!(c, '_' | ' ' | '\'')).collect();
    let cut = joined.find(|c: char| !c.is_ascii_digit()).unwrap_or(joined.len());
    let (digits, rest) = joined.split_at(cut);
    let fraction = rest.strip_prefix('.').is_some_and(|zeros| zeros.bytes().all(|b| b == b'0'));
    let unit = rest.chars().all(char::is_alphabetic);
    digits.parse().ok().filter(|_| fraction || unit)
}

/// An exact decimal: scale and offset.
pub(super) struct Exact;

impl Read for Exact {
    type Out = Decimal;

    fn wanted(&self) -> String {
        "a decimal number such as 0.1 or -40".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<Decimal, Wrong> {
        let text = scalar.text.as_str();
        let number = text.parse().map_err(|error| match error {
            DecimalError::TooLong(_) => Wrong::new("more digits than any scale needs"),
            DecimalError::Syntax(_) => {
                let label = format!("`{}` is not a decimal number", short(text));
                let with_point = text.replacen(',', ".", 1);
                match (text.contains(','), with_point.parse::<Decimal>()) {
                    (true, Ok(_)) => Wrong::helped(label, format!("decimals have a point: {with_point}")),
                    _ if text.contains('/') => Wrong::helped(label, "write a fraction as a decimal: 0.1 for 1/10"),
                    _ => Wrong::new(label),
                }
            }
        })?;
        unquoted(number, scalar)
    }
}

/// `true` or `false`.
pub(super) struct Switch;

impl Read for Switch {
    type Out = bool;

    fn wanted(&self) -> String {
        "`true` or `false`".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<bool, Wrong> {
        let meant = match scalar.text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" | "1" => Some(true),
            "false" | "no" | "off" | "n" | "0" => Some(false),
            _ => None,
        };
        match (scalar.text.as_str(), meant) {
            ("true" | "false", Some(value)) => unquoted(value, scalar),
            (text, Some(value)) => {
                Err(Wrong::helped(format!("`{text}` is neither `true` nor `false`"), format!("write {value}")))
            }
            (text, None) => Err(Wrong::new(format!("`{}` is neither `true` nor `false`", short(text)))),
        }
    }
}

/// Any text of at most so many bytes, without control characters.
pub(super) struct Text {
    /// "a text", "the name of a bus".
    pub(super) wanted: &'static str,
    pub(super) max: usize,
}

impl Read for Text {
    type Out = String;

    fn wanted(&self) -> String {
        self.wanted.into()
    }

    fn read(&self, scalar: &Scalar) -> Result<String, Wrong> {
        let text = scalar.text.as_str();
        if text.is_empty() {
            return Err(Wrong::new("nothing is between the quotes"));
        }
        if text.len() > self.max {
            return Err(Wrong::new(format!("{} bytes long; the limit is {}", text.len(), self.max)));
        }
        if text.chars().any(char::is_control) {
            return Err(Wrong::helped("it has a line break or another control character", "write it in one line"));
        }
        if text.starts_with("${") && text.ends_with('}') {
            return Err(Wrong::helped("`${…}` stands for a secret", "only `password:` takes it; write the value here"));
        }
        Ok(text.into())
    }
}

/// One of a few words.
pub(super) struct Choice<T: 'static> {
    pub(super) now: &'static [(&'static str, T)],
    /// Words of a later version, with what to do without them.
    pub(super) later: &'static [(&'static str, &'static str)],
    /// Other people's words for ours.
    pub(super) foreign: &'static [(&'static str, &'static str)],
}

impl<T: Copy> Read for Choice<T> {
    type Out = T;

    fn wanted(&self) -> String {
        match self.now {
            [(only, _)] => format!("`{only}`"),
            words => {
                let words: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
                let (last, first) = words.split_last().expect("a choice has words");
                format!("{} or {last}", first.join(", "))
            }
        }
    }

    fn read(&self, scalar: &Scalar) -> Result<T, Wrong> {
        let text = scalar.text.as_str();
        if let Some((_, value)) = self.now.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        let meant = self.meant(text);
        let later = self.later.iter().find(|(word, _)| *word == text || Some(*word) == meant);
        if let Some((what, instead)) = later {
            return Err(Wrong::NotYet { what, instead: (*instead).into() });
        }
        let label = format!("`{}` is not one of them", short(text));
        Err(match meant {
            Some(meant) => Wrong::helped(label, format!("did you mean `{meant}`?")),
            None => Wrong::new(label),
        })
    }
}

impl<T> Choice<T> {
    /// The word of ours that a wrong one stands for.
    fn meant(&self, text: &str) -> Option<&'static str> {
        let lower = text.to_ascii_lowercase();
        let translate = |word: &str| self.foreign.iter().find(|(theirs, _)| *theirs == word).map(|(_, ours)| *ours);
        let ours = self.now.iter().map(|(word, _)| *word).chain(self.later.iter().map(|(word, _)| *word));
        let all = ours.chain(self.foreign.iter().map(|(theirs, _)| *theirs));
        translate(&lower).or_else(|| did_you_mean(text, all).map(|word| translate(word).unwrap_or(word)))
    }
}

/// What is right but for its quotes. To YAML a number in quotes is a text, and they were hardly meant.
fn unquoted<T>(value: T, scalar: &Scalar) -> Result<T, Wrong> {
    if scalar.plain {
        return Ok(value);
    }
    Err(Wrong::helped("in quotes it is a text", format!("write {} without quotes", short(&scalar.text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Scalar {
        Scalar { text: text.into(), plain: true }
    }

    fn help(wrong: Wrong) -> String {
        match wrong {
            Wrong::Value { help, .. } => help.unwrap_or_default(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn whole_numbers_are_decimal_or_hexadecimal_and_never_octal() {
        let address = Whole(0..=65_535);
        for (typed, number) in [("0", 0), ("107", 107), ("0x10", 16), ("0xFFFF", 65_535), ("+7", 7)] {
            assert_eq!(address.read(&plain(typed)), Ok(number), "{typed}");
        }
        for (typed, hint) in [
            ("010", "write 10"),
            ("1_000", "write 1000"),
            ("00", "write 0"),
            ("0xZZ", "for example 0x1F"),
            ("1.0", "write 1"),
            ("0o17", "write 15"),
            ("9600 baud", "write 9600"),
            ("1.5", ""),
        ] {
            assert_eq!(help(address.read(&plain(typed)).unwrap_err()), hint, "{typed}");
        }
        for wrong in ["65536", "-1", "0x10000", "99999999999999999999999", "three", "0o17", ""] {
            assert!(address.read(&plain(wrong)).is_err(), "{wrong}");
        }
        let quoted = Scalar { text: "7".into(), plain: false };
        assert_eq!(help(address.read(&quoted).unwrap_err()), "write 7 without quotes");
    }

    #[test]
    fn decimals_keep_their_digits_and_a_comma_gets_its_hint() {
        assert_eq!(Exact.read(&plain("0.10")).map(|d| d.to_string()), Ok("0.10".into()));
        assert_eq!(Exact.read(&plain("-40")).map(|d| d.to_string()), Ok("-40".into()));
        assert_eq!(help(Exact.read(&plain("0,1")).unwrap_err()), "decimals have a point: 0.1");
        assert!(Exact.read(&plain(".nan")).is_err() && Exact.read(&plain("0x10")).is_err());
    }

    #[test]
    fn only_true_and_false_are_switches() {
        assert_eq!(Switch.read(&plain("true")), Ok(true));
        for (typed, hint) in [("yes", "write true"), ("off", "write false"), ("True", "write true"), ("perhaps", "")] {
            assert_eq!(help(Switch.read(&plain(typed)).unwrap_err()), hint, "{typed}");
        }
    }
}
