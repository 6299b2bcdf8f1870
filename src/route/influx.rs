//! InfluxDB's line protocol: `boiler,gateway=plant-7 flow=21.4,starts=7i 1795187045123000000`. Pure.
//!
//! <https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>: whole numbers are `i`, beyond 63 bits `u`, decimals bare, so
//! that a counter keeps its digits and a point its type. A point that is bad has a field `<point>_fault` instead of its value.

use super::format::{Content, Unfit};
use super::json::Json;

/// One line, without its end.
pub(super) fn line(content: &Content<'_, '_>) -> Result<String, Unfit> {
    let place = content.subject.place;
    let mut out = String::new();
    match place.device {
        Some(device) => escape(device, &[',', ' '], &mut out),
        None => out.push_str("message"),
    }
    out.push_str(",gateway=");
    escape(content.gateway, &[',', '=', ' '], &mut out);
    if place.device.is_none() {
        out.push_str(",topic=");
        escape(&content.subject.message.topic, &[',', '=', ' '], &mut out);
    }
    let mut separator = ' ';
    let mut field = |name: &str, value: &Json<'_>, out: &mut String| {
        out.push(std::mem::replace(&mut separator, ','));
        escape(name, &[',', '=', ' '], out);
        out.push('=');
        put(value, out);
    };
    let values = content.values();
    values.iter().for_each(|(name, value)| field(name, value, &mut out));
    let faults = faults(content);
    faults.iter().for_each(|(name, fault)| field(name, fault, &mut out));
    if values.is_empty() && faults.is_empty() {
        return Err(Unfit::NoValue);
    }
    if let Some(clock @ Json::Text(_)) = content.json().and_then(|json| json.get("clock")) {
        field("clock", clock, &mut out);
    }
    if let Some(at) = content.time() {
        out.push_str(&format!(" {}000000", at.0));
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

fn put(value: &Json<'_>, out: &mut String) {
    match value {
        Json::Text(text) => {
            out.push('"');
            escape(text, &['"', '\\'], out);
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
        other => other.write(out),
    }
}

/// A line ends at a line feed, whatever is before it.
fn escape(text: &str, special: &[char], out: &mut String) {
    for c in text.chars() {
        match c {
            '\n' | '\r' => out.push(' '),
            c if special.contains(&c) => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
}
