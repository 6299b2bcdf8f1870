//! All keys in one list, each with its place in the file, for the manual.

use super::{ABOUT, Place, Shape, TOP};

/// A key and its place in the file.
#[derive(Debug, Clone)]
pub struct DescribedKey {
    /// From the top: `buses.NAME.baud`, `uplinks.NAME.forward[].topic`. `NAME` is the user's.
    pub path: String,
    /// What is written behind it: "duration".
    pub kind: &'static str,
    /// What holds when it is left out, a value or words; empty when nothing does.
    pub default: &'static str,
    /// One line; code between backquotes.
    pub meaning: &'static str,
}

/// The keys of a configuration, those of a mapping right behind the key that it belongs to.
pub fn every_key() -> Vec<DescribedKey> {
    let mut out = Vec::new();
    describe(&TOP, "", &mut out);
    out
}

/// The keys that only a template has.
pub fn keys_of_about() -> Vec<DescribedKey> {
    let mut out = Vec::new();
    describe(&ABOUT, "about.", &mut out);
    out
}

fn describe(shape: &Shape, before: &str, out: &mut Vec<DescribedKey>) {
    for key in shape.keys {
        let path = format!("{before}{}", key.name);
        let inside = key.inside.map(|(place, shape)| match place {
            Place::One => (format!("{path}."), shape),
            Place::Named => (format!("{path}.NAME."), shape),
            Place::Listed => (format!("{path}[]."), shape),
        });
        out.push(DescribedKey { path, kind: key.kind, default: key.default, meaning: key.meaning });
        if let Some((before, shape)) = inside {
            describe(shape, &before, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::config::keys::ALL;
    use crate::config::{Outside, parse};

    /// A configuration that has each mapping once, with `@PATH@` where a key can be added to it.
    const BASE: &str = "\
gateway: { id: plant-7 @gateway.@ }
broker: { limits: { subscriptions: 1000 } @broker.@ }
buses:
  line: { serial: /dev/ttyUSB0, protocol: modbus-rtu @buses.NAME.@ }
  lines: { tcp: 192.0.2.1:4001, protocol: lines @LINES@ }
  frames: { tcp: 192.0.2.2:4001, protocol: frames, frame: { length: { at: 2 @buses.NAME.frame.length.@ } @buses.NAME.frame.@ } }
devices:
  meter:
    bus: line
    unit_id: 1
    points:
      a: { holding: 1, type: u8 @devices.NAME.points.NAME.@ }
      b: { holding: 2, write: { max: 9 @devices.NAME.points.NAME.write.@ } }
      c: { holding: 3, type: string, length: 4 @STRING@ }
    @devices.NAME.@
  scale:
    bus: lines
    points:
      a: { match: a @TEXT@ }
      b: { nmea: { sentence: GGA, field: 1 @devices.NAME.points.NAME.nmea.@ } }
uplinks:
  cloud:
    url: mqtt://broker.example.com
    queue: { @uplinks.NAME.queue.@ }
    forward:
      - { topic: up @uplinks.NAME.forward[].@ }
      - { topic: more, batch: { @uplinks.NAME.forward[].batch.@ } }
    accept: [{ topic: down @uplinks.NAME.accept[].@ }]
    @uplinks.NAME.@
";

    /// `BASE` with a key in the mapping at `place`, and what it is read as.
    fn read_with(place: &str, line: Option<&str>) -> Result<String, String> {
        let mut text = BASE.to_string();
        if let Some(line) = line {
            let mark = format!("@{place}@");
            let before = text.split(&mark).next().unwrap().trim_end_matches(' ');
            let comma = if before.ends_with(['{', '\n']) { "" } else { ", " };
            text = text.replace(&mark, &format!("{comma}{line}"));
        }
        let marks = regex::Regex::new("@[A-Za-z_.\\[\\]]+@").unwrap();
        let text = marks.replace_all(&text, "").into_owned();
        parse(text.as_bytes(), Path::new("gateway.yaml"), &Outside::nothing())
            .map(|config| format!("{config:#?}"))
            .map_err(|report| format!("{text}\n{report}"))
    }

    #[test]
    fn each_mapping_of_a_configuration_is_reached() {
        let reached: BTreeSet<String> = every_key().into_iter().map(|key| key.path).collect();
        assert_eq!(reached.len(), every_key().len(), "a path is there twice");
        for shape in ALL {
            let all_there = shape
                .keys
                .iter()
                .all(|key| reached.iter().any(|path| path.rsplit('.').next().is_some_and(|last| last == key.name)));
            assert!(all_there, "{} is not reached", shape.what);
        }
    }

    #[test]
    fn each_key_says_what_it_is_in_a_line() {
        for key in every_key().into_iter().chain(keys_of_about()) {
            assert!(!key.kind.is_empty() && !key.meaning.is_empty(), "{}", key.path);
            let line = key.kind.len() + key.default.len() + key.meaning.len();
            assert!(line < 140 && !key.meaning.contains('\n'), "{} says too much", key.path);
            assert_eq!(key.meaning.matches('`').count() % 2, 0, "{}", key.path);
        }
    }

    /// Defaults that say in a word what holds, and could not be written.
    const IN_WORDS: [&str; 8] = ["", "required", "none", "nothing", "anyone", "any", "all", "gateway.id"];

    /// Keys whose `none` is a word to write.
    const NONE_IS_WRITTEN: [&str; 3] =
        ["buses.NAME.checksum", "uplinks.NAME.forward[].compress", "uplinks.NAME.forward[].batch.compress"];

    /// A listener knows where it is written; and what is taken as it is comes out the same when it is multiplied with 1.
    const KNOWN_TO_DIFFER: [&str; 3] =
        ["broker.listeners", "devices.NAME.points.NAME.scale", "devices.NAME.points.NAME.offset"];

    /// The key with its default as one would write it; `None` when that is told in words.
    fn written(key: &DescribedKey) -> Option<String> {
        let name = key.path.rsplit('.').next().unwrap();
        let default = key.default.split(';').next().unwrap();
        let is_word = IN_WORDS.contains(&default) && !NONE_IS_WRITTEN.contains(&key.path.as_str());
        if is_word || default.contains([' ', '\'', '<']) || KNOWN_TO_DIFFER.contains(&key.path.as_str()) {
            return None;
        }
        let as_it_is =
            default.parse::<f64>().is_ok() || ["true", "false"].contains(&default) || default.starts_with('"');
        Some(if as_it_is { format!("{name}: {default}") } else { format!("{name}: {default:?}") })
    }

    #[test]
    fn writing_a_default_changes_nothing() {
        let without = read_with("", None).unwrap();
        let mut tried = 0;
        for key in every_key() {
            let place = match key.path.as_str() {
                "buses.NAME.max_length" | "buses.NAME.checksum" => "LINES",
                "devices.NAME.points.NAME.encoding" => "STRING",
                "devices.NAME.points.NAME.decimal" => "TEXT",
                path => path.rfind('.').map_or("", |dot| &path[..=dot]),
            };
            let Some(line) = written(&key).filter(|_| BASE.contains(&format!("@{place}@"))) else { continue };
            let with = read_with(place, Some(&line)).unwrap_or_else(|told| panic!("{}: {told}", key.path));
            assert!(with == without, "without {}, {line} does not hold", key.path);
            tried += 1;
        }
        assert!(tried > 50, "only {tried} defaults were tried");
    }
}
