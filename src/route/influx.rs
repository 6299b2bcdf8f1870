//! InfluxDB's line protocol: `boiler,gateway=plant-7 flow=21.4,starts=7i 1795187045123000000`. Pure.
//!
//! <https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>: whole numbers are `i`, beyond 63 bits `u`, decimals bare, so
//! that a counter keeps its digits and a point its type. A point that is bad has a field `<point>_fault` instead of its value.

use super::format::{Content, Unfit, twice};
use super::json::Json;
use crate::model::Timestamp;

/// One line, without its end.
pub(super) fn line(content: &Content<'_, '_>) -> Result<String, Unfit> {
    let place = content.subject.place;
    let mut out = String::new();
    match place.device {
        Some(device) => name(device, &[',', ' '], &mut out)?,
        None => out.push_str("message"),
    }
    out.push_str(",gateway=");
    name(content.gateway, &IN_NAMES, &mut out)?;
    if place.device.is_none() {
        out.push_str(",topic=");
        name(&content.subject.message.topic, &IN_NAMES, &mut out)?;
    }
    let mut fields = content.values()?;
    fields.extend(faults(content));
    if fields.is_empty() {
        return Err(Unfit::NoValue);
    }
    if let Some(clock @ Json::Text(_)) = content.json().and_then(|json| json.get("clock")) {
        fields.push(("clock".to_owned(), clock.clone()));
    }
    if let Some(twice) = twice(&fields) {
        return Err(Unfit::Twice(twice.to_owned()));
    }
    for (index, (field, value)) in fields.iter().enumerate() {
        out.push(if index == 0 { ' ' } else { ',' });
        name(field, &IN_NAMES, &mut out)?;
        out.push('=');
        put(value, &mut out)?;
    }
    let own = content.json().and_then(|json| json.get("ts")).and_then(Json::as_text);
    match (own.and_then(Timestamp::nanos_from_rfc3339), content.time()) {
        (Some(nanos), _) => out.push_str(&format!(" {nanos}")),
        (None, Some(at)) => out.push_str(&format!(" {}000000", at.0)),
        (None, None) => {}
    }
    Ok(out)
}

fn faults<'m>(content: &Content<'m, '_>) -> Vec<(String, Json<'m>)> {
    let Some(json) = content.json() else { return Vec::new() };
    if let (Some(point), Some(fault @ Json::Text(_))) = (content.subject.place.point, json.get("fault")) {
        return vec![(format!("{point}_fault"), fault.clone())];
    }
    let Some(Json::Object(bad)) = json.get("bad") else { return Vec::new() };
    bad.iter().map(|(name, fault)| (format!("{name}_fault"), fault.clone())).collect()
}

fn put(value: &Json<'_>, out: &mut String) -> Result<(), Unfit> {
    match value {
        Json::Text(text) => {
            out.push('"');
            for c in text.chars() {
                match c {
                    // A line ends at a line feed, for most who cut a batch into lines.
                    '\n' | '\r' => out.push(' '),
                    '"' | '\\' => out.extend(['\\', c]),
                    c => out.push(c),
                }
            }
            out.push('"');
        }
        Json::Number(digits) if !digits.contains(['.', 'e', 'E']) => {
            out.push_str(digits);
            if digits.parse::<i64>().is_ok() {
                out.push('i');
            } else if digits.parse::<u64>().is_ok() {
                out.push('u');
            }
        }
        Json::Number(digits) if digits.parse::<f64>().is_ok_and(|double| !double.is_finite()) => {
            return Err(Unfit::Number(digits.clone().into_owned()));
        }
        other => other.write(out),
    }
    Ok(())
}

/// What is escaped in the names and values of tags, and in the names of fields.
const IN_NAMES: [char; 3] = [',', '=', ' '];

/// A backslash stands for itself, unless something follows that it would escape: that can't be written.
fn name(text: &str, special: &[char], out: &mut String) -> Result<(), Unfit> {
    let mut escapes = false;
    for c in text.chars() {
        // No name has line ends.
        let c = if matches!(c, '\n' | '\r') { ' ' } else { c };
        if special.contains(&c) {
            if escapes {
                return Err(Unfit::Name(text.to_owned()));
            }
            out.push('\\');
        }
        out.push(c);
        escapes = c == '\\';
    }
    if escapes || text.is_empty() { Err(Unfit::Name(text.to_owned())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Message, QoS, Topic};
    use crate::route::subject::Subject;

    fn of(topic: &str, payload: &str) -> Result<String, Unfit> {
        let message = Message::new(Topic::new(topic).expect("a topic"), payload.to_owned(), QoS::AtLeastOnce, false);
        let root = Topic::new("fw").expect("a topic");
        let subject = Subject::new(&message, &root, None);
        line(&Content { subject: &subject, shaped: None, gateway: "g" })
    }

    #[test]
    fn what_stands_in_names_does_not_end_them() {
        for (topic, payload, expected) in [
            ("fw/a b/c,d", "1", r"a\ b,gateway=g c\,d=1i"),
            ("fw/a", r#"{"values":{"x\ny":1,"u=v":"l\nm \"q\" \\"}}"#, r#"a,gateway=g x\ y=1i,u\=v="l m \"q\" \\""#),
            // Two within a millisecond are two.
            ("fw/a/t", r#"{"ts":"2026-11-20T15:04:05.123456789Z","value":1}"#, "a,gateway=g t=1i 1795187045123456789"),
            ("x/ü", r#"{"C:\\d":true}"#, r"message,gateway=g,topic=x/ü C:\d=true"),
        ] {
            assert_eq!(of(topic, payload).as_deref(), Ok(expected), "{topic} {payload}");
        }
    }

    #[test]
    fn what_line_protocol_can_not_say_is_refused_rather_than_changed() {
        for (topic, payload, expected) in [
            (r"x\", "1", Unfit::Name(r"x\".into())),
            ("x", r#"{"a\\,b":1}"#, Unfit::Name(r"a\,b".into())),
            ("x", r#"{"":1}"#, Unfit::Name(String::new())),
            ("x", r#"{"a":1e999}"#, Unfit::Number("1e999".into())),
            ("x", r#"{"a":{"b":1},"a_b":2}"#, Unfit::Twice("a_b".into())),
            ("fw/b", r#"{"values":{"x_fault":1},"bad":{"x":"crc"}}"#, Unfit::Twice("x_fault".into())),
            ("x", &format!("{}1{}", "[".repeat(40), "]".repeat(40)), Unfit::Unread(subject_too_deep())),
        ] {
            assert_eq!(of(topic, payload), Err(expected), "{topic} {payload}");
        }
    }

    fn subject_too_deep() -> crate::route::subject::Unread {
        Json::parse("[".repeat(40).as_bytes()).expect_err("too deep").into()
    }
}
