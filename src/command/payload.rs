//! The payload of a command: a bare JSON value, or one in an envelope with `id` and `expires`. Pure.
//!
//! Numbers stay the text that they were, so that no digit is lost. Depth costs nothing: what is inside is looked at only where a
//! command has something inside.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The largest payload that is looked at, in bytes: more than 250 registers of text need.
const MAX_PAYLOAD: usize = 64 << 10;
/// The longest `id`, in bytes as JSON.
const MAX_ID: usize = 130;

/// One JSON value, not looked into.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Json<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number as it was typed.
    Number(&'a str),
    /// A text, with its quotes and escapes.
    Text(&'a str),
    /// A list, whatever is in it.
    List,
    /// An object, with its braces.
    Object(&'a str),
}

/// A command as it was sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope<'a> {
    /// What is to be written.
    pub value: Json<'a>,
    /// Its `id`, as JSON.
    pub id: Option<&'a str>,
    /// Its `expires`.
    pub expires: Option<String>,
}

/// Which payload is an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Of a single value: an object is an envelope.
    Point,
    /// Of a value that is an object itself: an object with an object as its `value` is an envelope.
    Bits,
    /// Of several points by name: likewise, with `value` or `values`.
    Device,
}

/// What is wrong, in words for whoever sent it.
pub type Complaint = String;

/// Reads a payload. On an error the `id` may be known all the same.
pub fn read(payload: &[u8], target: Target) -> Result<Envelope<'_>, (Complaint, Option<&str>)> {
    let plain = |complaint: Complaint| (complaint, None);
    if payload.len() > MAX_PAYLOAD {
        let sizes = format!("{} bytes, and a command has at most {MAX_PAYLOAD}", payload.len());
        return Err(plain(format!("the payload has {sizes}")));
    }
    let text = std::str::from_utf8(payload).map_err(|_| plain("the payload is not UTF-8".into()))?;
    if text.trim().is_empty() {
        return Err(plain("the payload is empty; send a JSON value such as 45, true or \"auto\"".into()));
    }
    let whole: &RawValue = serde_json::from_str(text).map_err(|_| plain(not_json(text)))?;
    let bare = json(whole);
    let Json::Object(object) = bare else { return Ok(Envelope { value: bare, id: None, expires: None }) };
    let members = members(object).map_err(plain)?;
    if !is_envelope(&members, target) {
        return Ok(Envelope { value: bare, id: None, expires: None });
    }
    let find = |name: &str| members.iter().find(|(key, _)| key == name).map(|(_, value)| *value);
    let id = find("id").map(id).transpose().map_err(plain)?;
    let told = |complaint: Complaint| (complaint, id);
    let known = |key: &str| matches!(key, "value" | "id" | "expires") || (key == "values" && target == Target::Device);
    if let Some((key, _)) = members.iter().find(|(key, _)| !known(key)) {
        return Err(told(format!("`{}` is not a key of a command: there are value, id and expires", short(key))));
    }
    let value = match (find("value"), find("values")) {
        (Some(_), Some(_)) => return Err(told("a command has `value` or `values`, and this one has both".into())),
        (Some(value), None) | (None, Some(value)) => json(value),
        (None, None) => return Err(told("the command has no `value`".into())),
    };
    let expires = match find("expires").map(json) {
        None => None,
        Some(Json::Text(text)) => Some(self::text(text).map_err(told)?),
        Some(_) => return Err(told(crate::command::desk::EXPIRES.into())),
    };
    Ok(Envelope { value, id, expires })
}

/// The members of an object. Errors when a key is there twice: which one was meant?
pub fn members(object: &str) -> Result<Vec<(String, &RawValue)>, Complaint> {
    serde_json::from_str::<Members<'_>>(object).map(|members| members.0).map_err(|error| match error.is_data() {
        true => error.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
        false => not_json(object),
    })
}

/// What kind of JSON a text that is JSON is.
pub fn json(raw: &RawValue) -> Json<'_> {
    let text = raw.get().trim();
    match text.as_bytes().first() {
        Some(b'n') => Json::Null,
        Some(b't') => Json::Bool(true),
        Some(b'f') => Json::Bool(false),
        Some(b'"') => Json::Text(text),
        Some(b'[') => Json::List,
        Some(b'{') => Json::Object(text),
        _ => Json::Number(text),
    }
}

/// What a JSON text says.
pub fn text(quoted: &str) -> Result<String, Complaint> {
    serde_json::from_str(quoted).map_err(|_| format!("{} is not a text that JSON allows", short(quoted)))
}

/// One text for all ways to write a JSON text or number: `"a"` is `"\u0061"`, and 1 is 1.0 and 10e-1.
pub fn canonical(id: &str) -> String {
    if id.starts_with('"') {
        return text(id).map_or_else(|_| id.to_owned(), |text| serde_json::Value::from(text).to_string());
    }
    let (sign, number) = id.strip_prefix('-').map_or(("", id), |rest| ("-", rest));
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let Ok(exponent) = exponent.parse::<i64>() else { return id.to_owned() };
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return "0".into();
    }
    let trailing = digits.len() - digits.trim_end_matches('0').len();
    let power = exponent.saturating_sub_unsigned(fraction.len() as u64).saturating_add_unsigned(trailing as u64);
    format!("{sign}{significant}e{power}")
}

/// The beginning of something long.
pub fn short(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

fn is_envelope(members: &[(String, &RawValue)], target: Target) -> bool {
    match target {
        Target::Point => true,
        Target::Bits | Target::Device => members.iter().any(|(key, value)| {
            let is_key = key == "value" || (key == "values" && target == Target::Device);
            is_key && matches!(json(value), Json::Object(_))
        }),
    }
}

fn id(raw: &RawValue) -> Result<&str, Complaint> {
    let id = raw.get().trim();
    match json(raw) {
        Json::Text(_) | Json::Number(_) if id.len() <= MAX_ID => Ok(id),
        Json::Text(_) | Json::Number(_) => Err(format!("`id` has {} bytes; {MAX_ID} are enough", id.len())),
        _ => Err("`id` must be a text or a number".into()),
    }
}

fn not_json(text: &str) -> Complaint {
    let text = text.trim();
    let shown = short(text);
    match text {
        "NaN" | "nan" | "Infinity" | "-Infinity" | "inf" | "-inf" => {
            format!("{shown} is not JSON, and no value that could be written")
        }
        _ if text.eq_ignore_ascii_case("on") || text.eq_ignore_ascii_case("true") => {
            format!("{shown} is not JSON; write true")
        }
        _ if text.eq_ignore_ascii_case("off") || text.eq_ignore_ascii_case("false") => {
            format!("{shown} is not JSON; write false")
        }
        _ if text.replacen(',', ".", 1).parse::<f64>().is_ok() && text.contains(',') => {
            format!("{shown} is not JSON; decimals have a point: {}", text.replacen(',', ".", 1))
        }
        _ if text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | ' ')) => {
            format!("{shown} is not JSON; a text has quotes: \"{shown}\"")
        }
        _ => format!("the payload is not JSON: {shown}"),
    }
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'de>, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let (mut seen, mut members) = (HashSet::new(), Vec::new());
                while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if !seen.insert(key.clone()) {
                        return Err(A::Error::custom(format!("`{}` is there twice", short(&key))));
                    }
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point(payload: &str) -> Result<Envelope<'_>, String> {
        read(payload.as_bytes(), Target::Point).map_err(|(complaint, _)| complaint)
    }

    #[test]
    fn a_value_comes_bare_or_in_an_envelope_and_keeps_its_digits() {
        let bare = |value| Ok(Envelope { value, id: None, expires: None });
        assert_eq!(point("45"), bare(Json::Number("45")));
        assert_eq!(point(" 18446744073709551615\n"), bare(Json::Number("18446744073709551615")));
        assert_eq!(point("true"), bare(Json::Bool(true)));
        assert_eq!(point("\"auto\""), bare(Json::Text("\"auto\"")));
        let full = Envelope { value: Json::Number("1.50"), id: Some("\"a-1\""), expires: Some("2026".into()) };
        assert_eq!(point(r#"{"value":1.50,"id":"a-1","expires":"2026"}"#), Ok(full));
        assert_eq!(point(r#"{"value":null,"id":7}"#).unwrap().id, Some("7"));
    }

    #[test]
    fn an_object_is_an_envelope_unless_it_is_the_value() {
        let bits = |payload| read(payload, Target::Bits).unwrap().value;
        assert_eq!(bits(br#"{"low":true}"#), Json::Object(r#"{"low":true}"#));
        assert_eq!(bits(br#"{"value":{"low":true},"id":"1"}"#), Json::Object(r#"{"low":true}"#));
        assert_eq!(bits(br#"{"value":true}"#), Json::Object(r#"{"value":true}"#));
        let device = |payload| read(payload, Target::Device).unwrap();
        assert_eq!(device(br#"{"pump":true,"id":3}"#).id, None, "a point may be called id");
        assert_eq!(device(br#"{"values":{"pump":true},"id":3}"#).id, Some("3"));
    }

    #[test]
    fn what_is_no_command_says_what_to_send() {
        for (payload, complaint) in [
            ("", "the payload is empty; send a JSON value such as 45, true or \"auto\""),
            ("auto", "auto is not JSON; a text has quotes: \"auto\""),
            ("ON", "ON is not JSON; write true"),
            ("4,5", "4,5 is not JSON; decimals have a point: 4.5"),
            ("NaN", "NaN is not JSON, and no value that could be written"),
            ("{", "the payload is not JSON: {"),
            ("45 46", "45 46 is not JSON; a text has quotes: \"45 46\""),
            (r#"{"valeu":45}"#, "`valeu` is not a key of a command: there are value, id and expires"),
            (r#"{"id":"x"}"#, "the command has no `value`"),
            (r#"{"value":1,"value":2}"#, "`value` is there twice"),
            (r#"{"value":1,"id":{}}"#, "`id` must be a text or a number"),
        ] {
            assert_eq!(point(payload), Err(complaint.into()), "{payload}");
        }
        assert!(read(b"\"\xFF\"", Target::Point).is_err());
        assert!(read(&vec![b'1'; MAX_PAYLOAD + 1], Target::Point).is_err());
        let id = read(br#"{"value":1,"id":"x","extra":1}"#, Target::Point).unwrap_err().1;
        assert_eq!(id, Some("\"x\""), "its sender is told all the same");
    }

    #[test]
    fn depth_is_no_danger() {
        let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
        assert_eq!(point(&deep).map(|envelope| envelope.value), Ok(Json::List));
        assert!(point(&"[".repeat(60_000)).is_err());
        let object = format!("{}1{}", r#"{"value":"#.repeat(5_000), "}".repeat(5_000));
        assert!(matches!(point(&object).unwrap().value, Json::Object(_)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_command_or_a_complaint(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            for target in [Target::Point, Target::Bits, Target::Device] {
                let _ = read(&payload, target);
            }
        }

        #[test]
        fn anything_like_json_is_a_command_or_a_complaint(payload in "[\\[\\]{}\":,0-9.eE+a-fvilunxp \\\\-]{0,60}") {
            for target in [Target::Point, Target::Bits, Target::Device] {
                let _ = read(payload.as_bytes(), target);
            }
        }
    }

    #[test]
    fn an_id_is_the_same_however_it_is_written() {
        for same in [
            &["\"a\"", "\"\\u0061\""][..],
            &["\"\u{e4}/\"", "\"\\u00E4\\/\""],
            &["1", "1.0", "1e0", "10e-1", "0.1E1", "1.00e+0"],
            &["-120", "-1.2e2", "-120.0"],
            &["0", "-0", "0.0e5"],
            &["123456789012345678901234567890", "1.2345678901234567890123456789e29"],
        ] {
            let first = canonical(same[0]);
            assert!(same.iter().all(|id| canonical(id) == first), "{same:?}");
        }
        let differ = ["\"a\"", "\"A\"", "1", "10", "-1", "\"1\"", "0.1", "1e1000", "1e99999999999999999999"];
        let texts: HashSet<String> = differ.iter().map(|id| canonical(id)).collect();
        assert_eq!(texts.len(), differ.len(), "{texts:?}");
    }
}
