//! Values that are bytes: text with its control characters, hexadecimal bytes, and patterns of them.

use crate::config::scalar::{Read, Wrong};
use crate::config::tree::Scalar;
use crate::config::yaml::short;

/// A text that is sent or compared byte by byte: `"MEAS?\r\n"`.
pub(super) struct Raw {
    /// "a text such as …"
    pub(super) wanted: &'static str,
    pub(super) max: usize,
}

impl Read for Raw {
    type Out = Vec<u8>;

    fn wanted(&self) -> String {
        self.wanted.into()
    }

    fn read(&self, scalar: &Scalar) -> Result<Vec<u8>, Wrong> {
        let text = scalar.text.as_str();
        if text.is_empty() {
            return Err(Wrong::new("nothing is between the quotes"));
        }
        if text.len() > self.max {
            return Err(Wrong::new(format!("{} bytes long; the limit is {}", text.len(), self.max)));
        }
        // Only in double quotes does YAML make a line end of it.
        if ["\\r", "\\n", "\\t", "\\x"].iter().any(|escape| text.contains(escape)) {
            return Err(Wrong::helped(
                "here `\\r` is two characters, a backslash and an r",
                format!("write it in double quotes: \"{}\"", short(text)),
            ));
        }
        Ok(text.as_bytes().to_vec())
    }
}

/// Bytes in hexadecimal: `F8 04 00 0A`.
pub(super) struct Hex {
    pub(super) max: usize,
}

impl Read for Hex {
    type Out = Vec<u8>;

    fn wanted(&self) -> String {
        "bytes in hexadecimal, such as F8 04 00 0A".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<Vec<u8>, Wrong> {
        let pattern = pattern(&scalar.text, self.max)?;
        let bytes: Option<Vec<u8>> = pattern.into_iter().collect();
        bytes.ok_or_else(|| Wrong::new("`..` stands for any byte, and here each must be known"))
    }
}

/// What frames begin with: `01 04 ..`.
pub(super) struct HexPattern;

impl Read for HexPattern {
    type Out = Vec<Option<u8>>;

    fn wanted(&self) -> String {
        "what its frames begin with in hexadecimal, such as 01 04, with `..` for any byte".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<Vec<Option<u8>>, Wrong> {
        pattern(&scalar.text, 64)
    }
}

fn pattern(text: &str, max: usize) -> Result<Vec<Option<u8>>, Wrong> {
    let mut bytes = Vec::new();
    for word in text.split([' ', ',', ':', '-']).filter(|word| !word.is_empty()) {
        let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")).unwrap_or(word);
        if !digits.is_ascii() || !digits.len().is_multiple_of(2) || digits.is_empty() {
            return Err(Wrong::helped(format!("`{}` is not whole bytes", short(word)), "each byte has two digits: 0A"));
        }
        for pair in digits.as_bytes().chunks(2) {
            let pair = std::str::from_utf8(pair).unwrap_or_default();
            bytes.push(match pair {
                ".." | "??" => None,
                pair => match u8::from_str_radix(pair, 16) {
                    Ok(byte) if !pair.starts_with('+') => Some(byte),
                    _ => return Err(Wrong::new(format!("`{}` is not a byte in hexadecimal", short(pair)))),
                },
            });
        }
    }
    match bytes.len() {
        0 => Err(Wrong::new("no byte is there")),
        len if len > max => Err(Wrong::new(format!("{len} bytes; the limit is {max}"))),
        _ => Ok(bytes),
    }
}

/// A whole number that may be negative.
pub(super) struct Signed(pub(super) std::ops::RangeInclusive<i64>);

impl Read for Signed {
    type Out = i64;

    fn wanted(&self) -> String {
        format!("a whole number from {} to {}", self.0.start(), self.0.end())
    }

    fn read(&self, scalar: &Scalar) -> Result<i64, Wrong> {
        let text = scalar.text.as_str();
        let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
        let magnitude = Scalar { text: digits.into(), plain: scalar.plain };
        let magnitude = crate::config::scalar::Whole(0..=i64::MAX as u64).read(&magnitude)?;
        let number = sign * magnitude as i64;
        if self.0.contains(&number) {
            return Ok(number);
        }
        Err(Wrong::new(format!("`{}` is not among them", short(text))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Option<Vec<u8>> {
        Hex { max: 4 }.read(&Scalar { text: text.into(), plain: true }).ok()
    }

    #[test]
    fn bytes_are_pairs_of_digits_however_they_are_separated() {
        for text in ["F804", "f8 04", "0xF8, 0x04", "F8:04", "F8-04"] {
            assert_eq!(hex(text), Some(vec![0xF8, 4]), "{text}");
        }
        for text in ["F", "F8 4", "GG", "", "..", "0x", "+1", "é1", "01 02 03 04 05"] {
            assert_eq!(hex(text), None, "{text}");
        }
        let pattern = HexPattern.read(&Scalar { text: "01 .. ??".into(), plain: true });
        assert_eq!(pattern, Ok(vec![Some(1), None, None]));
    }

    #[test]
    fn a_backslash_that_is_not_in_double_quotes_is_told() {
        let raw = Raw { wanted: "a text", max: 16 };
        assert_eq!(raw.read(&Scalar { text: "MEAS?\r\n".into(), plain: false }), Ok(b"MEAS?\r\n".to_vec()));
        assert!(raw.read(&Scalar { text: "MEAS?\\r\\n".into(), plain: true }).is_err());
        assert!(raw.read(&Scalar { text: "x".repeat(17).as_str().into(), plain: true }).is_err());
    }

    #[test]
    fn numbers_may_be_negative() {
        let signed = |text: &str| Signed(-4..=300).read(&Scalar { text: text.into(), plain: true }).ok();
        assert_eq!((signed("-2"), signed("0x10"), signed("-5"), signed("301")), (Some(-2), Some(16), None, None));
    }
}
