//! Bytes of registers become texts and back. Pure.

use crate::model::Encoding;

/// The text in `bytes`: what is before the first NUL, without the spaces at its end. `None` when that is no text in this
/// encoding.
pub fn read(encoding: Encoding, bytes: &[u8]) -> Option<String> {
    let text = match encoding {
        Encoding::Ascii => {
            let text = before_nul(bytes);
            text.is_ascii().then(|| String::from_utf8_lossy(text).into_owned())?
        }
        Encoding::Utf8 => String::from_utf8(before_nul(bytes).to_vec()).ok()?,
        Encoding::Latin1 => before_nul(bytes).iter().map(|byte| char::from(*byte)).collect(),
        Encoding::Utf16 => {
            let units = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units.take_while(|unit| *unit != 0)).collect::<Result<_, _>>().ok()?
        }
    };
    Some(text.trim_end_matches(' ').to_owned())
}

/// The bytes of `text`, filled up with NUL to `length`; `None` when a character is not in this encoding, there are too many,
/// or it would not be the same text when it is read.
pub fn write(encoding: Encoding, text: &str, length: u8) -> Option<Vec<u8>> {
    if text.contains('\0') || text.ends_with(' ') {
        return None;
    }
    let mut bytes: Vec<u8> = match encoding {
        Encoding::Ascii if !text.is_ascii() => return None,
        Encoding::Ascii | Encoding::Utf8 => text.as_bytes().to_vec(),
        Encoding::Latin1 => text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<_>>()?,
        Encoding::Utf16 => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
    };
    if bytes.len() > usize::from(length) {
        return None;
    }
    bytes.resize(usize::from(length), 0);
    Some(bytes)
}

fn before_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_no_part_of_a_text_whichever_the_device_uses() {
        for bytes in [&b"SN 42"[..], b"SN 42\0\0\0", b"SN 42   ", b"SN 42 \0x", b"SN 42\0garbage"] {
            assert_eq!(read(Encoding::Ascii, bytes).as_deref(), Some("SN 42"), "{bytes:?}");
        }
        assert_eq!(read(Encoding::Ascii, b"  x").as_deref(), Some("  x"));
        assert_eq!(read(Encoding::Ascii, &[0; 4]).as_deref(), Some(""));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_and_never_replaced() {
        assert_eq!(read(Encoding::Ascii, &[b'a', 0xB0]), None);
        assert_eq!(read(Encoding::Utf8, &[b'a', 0xB0]), None);
        assert_eq!(read(Encoding::Latin1, &[b'a', 0xB0]).as_deref(), Some("a°"));
        assert_eq!(read(Encoding::Utf8, "21 °C\0".as_bytes()).as_deref(), Some("21 °C"));
        assert_eq!(read(Encoding::Utf16, &[0, b'a', 0x20, 0xAC, 0, 0]).as_deref(), Some("a€"));
        assert_eq!(read(Encoding::Utf16, &[0xD8, 0x00]), None);
    }

    #[test]
    fn a_text_that_would_not_come_back_the_same_is_not_written() {
        assert_eq!(write(Encoding::Ascii, "pump", 6).as_deref(), Some(&b"pump\0\0"[..]));
        assert_eq!(write(Encoding::Ascii, "pump", 3), None);
        assert_eq!(write(Encoding::Ascii, "°", 6), None);
        assert_eq!(write(Encoding::Latin1, "€", 6), None);
        assert_eq!(write(Encoding::Utf8, "pump ", 6), None);
        assert_eq!(write(Encoding::Utf8, "a\0b", 6), None);
    }
}
