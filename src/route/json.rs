//! JSON payloads as a tree that keeps every digit: a number stays the text it was sent as. Pure.
//!
//! Refused: whatever RFC 8259 does not allow, and what is nested deeper than any payload needs. One tree is made per message, borrowed
//! from its payload, for all rules together.

use std::borrow::Cow;
use std::fmt::Write;

/// Objects and lists may be nested so deep.
pub const MAX_DEPTH: usize = 32;

/// What is wrong with what is nested deeper.
pub(super) const TOO_DEEP: &str = "it is nested too deep";

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Json<'a> {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// As it was written: `21.40` and `1e3` stay what they are.
    Number(Cow<'a, str>),
    /// Without its escapes.
    Text(Cow<'a, str>),
    /// `[…]`
    List(Vec<Json<'a>>),
    /// `{…}`, in the order of the payload. A key that comes twice has its last value, at the place of the first.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// The payload is no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not JSON: at byte {at}, {what}")]
pub struct NoJson {
    /// The first byte that can't be.
    pub at: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

impl<'a> Json<'a> {
    /// Reads a whole payload.
    pub fn parse(payload: &'a [u8]) -> Result<Json<'a>, NoJson> {
        let text = std::str::from_utf8(payload)
            .map_err(|error| NoJson { at: error.valid_up_to(), what: "the bytes are no UTF-8" })?;
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(0)?;
        reader.space();
        if reader.at < text.len() {
            return Err(reader.wrong("there is more after the value"));
        }
        Ok(value)
    }

    /// The member of an object.
    pub fn get(&self, key: &str) -> Option<&Json<'a>> {
        let Json::Object(members) = self else { return None };
        members.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The text of a string.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The members of an object.
    pub fn members(&self) -> Option<&[(Cow<'a, str>, Json<'a>)]> {
        match self {
            Json::Object(members) => Some(members),
            _ => None,
        }
    }

    /// A text.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Json<'a> {
        Json::Text(text.into())
    }

    /// A whole number.
    pub fn whole(number: impl std::fmt::Display) -> Json<'a> {
        Json::Number(number.to_string().into())
    }

    /// Writes it without spaces.
    pub fn write(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(is) => out.push_str(if *is { "true" } else { "false" }),
            Json::Number(digits) => out.push_str(digits),
            Json::Text(text) => write_text(text, out),
            Json::List(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (i, (key, value)) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_text(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

impl std::fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = String::new();
        self.write(&mut out);
        f.write_str(&out)
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[plain..at]);
        plain = at + 1;
        match escape {
            "" => write!(out, "\\u{byte:04x}").expect("writing to a String can't fail"),
            escape => out.push_str(escape),
        }
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn wrong(&self, what: &'static str) -> NoJson {
        NoJson { at: self.at, what }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Json<'a>, NoJson> {
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.list(depth + 1),
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(_) => Err(self.wrong("no value begins like this")),
            None => Err(self.wrong("a value is missing")),
        }
    }

    fn word(&mut self, word: &str, value: Json<'a>) -> Result<Json<'a>, NoJson> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.wrong("no value begins like this"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn number(&mut self) -> Result<Json<'a>, NoJson> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let first = self.at;
        if self.digits() == 0 || (self.at - first > 1 && self.text.as_bytes()[first] == b'0') {
            return Err(self.wrong("this is no number"));
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.wrong("digits are missing"));
            }
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(self.wrong("digits are missing"));
            }
        }
        Ok(Json::Number(Cow::Borrowed(&self.text[start..self.at])))
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        self.at - start
    }

    fn string(&mut self) -> Result<Cow<'a, str>, NoJson> {
        self.at += 1;
        let start = self.at;
        let mut owned: Option<String> = None;
        let mut plain = start;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let rest = &self.text[plain..self.at];
                    self.at += 1;
                    return Ok(match owned {
                        None => Cow::Borrowed(rest),
                        Some(mut text) => {
                            text.push_str(rest);
                            Cow::Owned(text)
                        }
                    });
                }
                Some(b'\\') => {
                    let text = owned.get_or_insert_default();
                    text.push_str(&self.text[plain..self.at]);
                    let escaped = self.escape()?;
                    owned.get_or_insert_default().push(escaped);
                    plain = self.at;
                }
                Some(0..0x20) => return Err(self.wrong("a control character stands in a string")),
                Some(_) => self.at += 1,
                None => return Err(self.wrong("a string does not end")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, NoJson> {
        self.at += 1;
        let escaped = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.code_point(),
            _ => return Err(self.wrong("there is no such escape")),
        };
        self.at += 1;
        Ok(escaped)
    }

    fn code_point(&mut self) -> Result<char, NoJson> {
        let first = self.four_digits()?;
        let code = match first {
            0xD800..0xDC00 => {
                if self.peek() != Some(b'\\') || self.text.as_bytes().get(self.at + 1) != Some(&b'u') {
                    return Err(self.wrong("half of a surrogate pair is missing"));
                }
                self.at += 1;
                let second = self.four_digits()?;
                if !(0xDC00..0xE000).contains(&second) {
                    return Err(self.wrong("half of a surrogate pair is missing"));
                }
                0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
            }
            other => other,
        };
        char::from_u32(code).ok_or_else(|| self.wrong("half of a surrogate pair is missing"))
    }

    /// The four digits after the `u` that the reader stands at.
    fn four_digits(&mut self) -> Result<u32, NoJson> {
        let from = self.at + 1;
        let digits = self.text.get(from..from + 4).filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let code = code.ok_or_else(|| self.wrong("four hexadecimal digits are missing"))?;
        self.at = from + 4;
        Ok(code)
    }

    fn list(&mut self, depth: usize) -> Result<Json<'a>, NoJson> {
        self.open(depth)?;
        let mut items = Vec::new();
        if self.closes(b']') {
            return Ok(Json::List(items));
        }
        loop {
            items.push(self.value(depth)?);
            if !self.goes_on(b']')? {
                return Ok(Json::List(items));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json<'a>, NoJson> {
        self.open(depth)?;
        let mut members: Vec<(Cow<'a, str>, Json<'a>)> = Vec::new();
        if self.closes(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.wrong("a key is missing"));
            }
            let key = self.string()?;
            self.space();
            if self.peek() != Some(b':') {
                return Err(self.wrong("a `:` is missing"));
            }
            self.at += 1;
            let value = self.value(depth)?;
            members.push((key, value));
            if !self.goes_on(b'}')? {
                return Ok(Json::Object(without_repetitions(members)));
            }
        }
    }

    fn open(&mut self, depth: usize) -> Result<(), NoJson> {
        if depth > MAX_DEPTH {
            return Err(self.wrong(TOO_DEEP));
        }
        self.at += 1;
        Ok(())
    }

    fn closes(&mut self, close: u8) -> bool {
        self.space();
        let closes = self.peek() == Some(close);
        self.at += usize::from(closes);
        closes
    }

    fn goes_on(&mut self, close: u8) -> Result<bool, NoJson> {
        self.space();
        let goes_on = match self.peek() {
            Some(b',') => true,
            Some(byte) if byte == close => false,
            _ => return Err(self.wrong("a `,` or the end is missing")),
        };
        self.at += 1;
        Ok(goes_on)
    }
}

/// Few objects repeat a key, and looking for that must not cost the square of their members.
fn without_repetitions<'a>(members: Vec<(Cow<'a, str>, Json<'a>)>) -> Vec<(Cow<'a, str>, Json<'a>)> {
    let mut keys: Vec<&str> = members.iter().map(|(key, _)| key.as_ref()).collect();
    keys.sort_unstable();
    if keys.windows(2).all(|pair| pair[0] != pair[1]) {
        return members;
    }
    let mut places = std::collections::HashMap::new();
    let mut out: Vec<(Cow<'a, str>, Json<'a>)> = Vec::with_capacity(members.len());
    for (key, value) in members {
        match places.get(&key) {
            Some(&place) => {
                let slot: &mut (Cow<'a, str>, Json<'a>) = &mut out[place];
                slot.1 = value;
            }
            None => {
                places.insert(key.clone(), out.len());
                out.push((key, value));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_keep_every_digit() {
        for text in ["18446744073709551615", "21.40", "-0.0", "1E+3", "[0.1,2e-7,123456789012345678901234567890.5]"] {
            assert_eq!(Json::parse(text.as_bytes()).expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            "tru",
            "01",
            "1.",
            "-",
            "+1",
            "[1,]",
            "{\"a\"}",
            "{a:1}",
            "\"\\x\"",
            "\"\\ud800\"",
            "1 2",
            "'a'",
            "\"\n\"",
        ] {
            assert!(Json::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Json::parse(b"\"\xff\"").is_err());
        assert!(Json::parse("[".repeat(MAX_DEPTH + 1).as_bytes()).is_err_and(|e| e.what == "it is nested too deep"));
    }

    #[test]
    fn a_key_that_comes_twice_has_its_last_value() {
        let json = Json::parse(br#"{"a":1,"b":2,"a":3}"#).expect("valid");
        assert_eq!(json.to_string(), r#"{"a":3,"b":2}"#);
    }

    proptest! {
        #[test]
        fn it_takes_what_serde_json_takes_and_reads_the_same(text in "[\\[\\]{}:,\"\\\\ nultrefas0-9.eE+-]{0,24}|\\PC{0,12}") {
            let theirs: Option<serde_json::Value> = serde_json::from_str(&text).ok();
            let ours = Json::parse(text.as_bytes());
            // serde_json refuses numbers beyond a double.
            if let Some(theirs) = theirs {
                let again: serde_json::Value = serde_json::from_str(&ours.expect("valid").to_string()).expect("valid");
                prop_assert_eq!(again, theirs);
            } else if let Ok(json) = ours {
                prop_assert!(text.contains(['e', 'E']), "{json} from {text}");
            }
        }

        #[test]
        fn any_text_comes_back(text in "\\PC{0,40}|[\\x00-\\x1f\"\\\\]{0,9}") {
            let written = Json::text(text.as_str()).to_string();
            prop_assert_eq!(serde_json::from_str::<String>(&written).expect("valid"), text.clone());
            let read = Json::parse(written.as_bytes()).expect("valid");
            prop_assert_eq!(read.as_text(), Some(text.as_str()));
        }
    }
}
