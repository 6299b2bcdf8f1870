//! `register:`: the 1-based references that device manuals print (Modicon convention), such as 40201 and 400201.

use crate::config::scalar::{Read, Wrong};
use crate::config::tree::Scalar;
use crate::config::yaml::short;
use crate::model::RegisterTable;

/// Table and 0-based address of a reference.
pub(super) struct Reference;

impl Read for Reference {
    type Out = (RegisterTable, u16);

    fn wanted(&self) -> String {
        "a reference of 5 or 6 digits, such as 40201 or 400201".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<(RegisterTable, u16), Wrong> {
        let text = scalar.text.as_str();
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Wrong::helped(
                format!("`{}` is not made of digits", short(text)),
                "for a plain address write `holding:`, `input:`, `coil:` or `discrete:` instead",
            ));
        }
        if !matches!(text.len(), 5 | 6) {
            let label = format!("`{}` has {} digit{}", short(text), text.len(), if text.len() == 1 { "" } else { "s" });
            return Err(Wrong::helped(label, too_short_or_long(text)));
        }
        let table = match text.as_bytes()[0] {
            b'0' => RegisterTable::Coil,
            b'1' => RegisterTable::Discrete,
            b'3' => RegisterTable::Input,
            b'4' => RegisterTable::Holding,
            _ => {
                return Err(Wrong::helped(
                    format!("no table begins with {}", &text[..1]),
                    "0 is for coils, 1 for discrete inputs, 3 for input registers, 4 for holding registers",
                ));
            }
        };
        // At most 99,999.
        let number: u32 = text[1..].parse().unwrap_or(u32::MAX);
        match number.checked_sub(1).map(u16::try_from) {
            Some(Ok(address)) => Ok((table, address)),
            Some(Err(_)) => Err(Wrong::new(format!("the last of its table is {}65536", &text[..1]))),
            None => Err(Wrong::helped(
                "references count from 1",
                format!("the first of its table is {}1", &text[..text.len() - 1]),
            )),
        }
    }
}

fn too_short_or_long(text: &str) -> String {
    match text.parse::<u32>() {
        Ok(number @ 1..=9_999) => {
            format!(
                "if the manual counts from 0: `holding: {number}`; from 1: `register: 4{number:04}` (coil: 0{number:04})"
            )
        }
        Ok(number @ 0..=65_535) => format!("for a plain address write `holding: {number}`"),
        _ => "5 digits reach to x9999, 6 digits to x65536".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(RegisterTable, u16)> {
        Reference.read(&Scalar { text: text.into(), plain: true }).ok()
    }

    #[test]
    fn the_first_digit_is_the_table_and_the_rest_counts_from_one() {
        for (typed, table, address) in [
            ("00001", RegisterTable::Coil, 0),
            ("09999", RegisterTable::Coil, 9_998),
            ("065536", RegisterTable::Coil, 65_535),
            ("10001", RegisterTable::Discrete, 0),
            ("165536", RegisterTable::Discrete, 65_535),
            ("30001", RegisterTable::Input, 0),
            ("39999", RegisterTable::Input, 9_998),
            ("40001", RegisterTable::Holding, 0),
            ("40201", RegisterTable::Holding, 200),
            ("400201", RegisterTable::Holding, 200),
            ("465536", RegisterTable::Holding, 65_535),
        ] {
            assert_eq!(read(typed), Some((table, address)), "{typed}");
        }
        for wrong in [
            "1", "201", "9999", "40000", "400000", "20001", "50001", "465537", "499999", "4000001", "0x9C41", "4x201",
            "-40001", "",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
