//! A device's snapshot as one line for a terminal.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// Characters that are left of 80 after the time in front.
const WIDTH: usize = 71;

/// `local  boiler  supply_temperature 63.4  return_temperature 52.1  pump on`, cut where the line ends. What is no snapshot is shown
/// as it is.
pub fn reading_line(side: &str, device: &str, payload: &str) -> String {
    let mut line = format!("{side}  {device:<11}");
    let snapshot: Snapshot = serde_json::from_str(payload).unwrap_or_default();
    let faults = snapshot.bad.0.iter().map(|(name, fault)| format!("{name} bad: {}", short(fault)));
    let values = snapshot.values.0.iter().map(|(name, value)| format!("{name} {}", short(value)));
    let mut words: Vec<String> = faults.chain(values).collect();
    if words.is_empty() {
        words.push(payload.chars().take(WIDTH).collect());
    }
    for word in words {
        if line.chars().count() + 2 + word.chars().count() > WIDTH {
            break;
        }
        line.push_str("  ");
        line.push_str(&word);
    }
    line
}

#[derive(Default, serde::Deserialize)]
struct Snapshot {
    values: InOrder,
    bad: InOrder,
}

/// An object in the order of its text, which is the order of the configuration.
#[derive(Default)]
struct InOrder(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for InOrder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<InOrder, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = InOrder;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InOrder, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(InOrder(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

fn short(value: &Value) -> String {
    match value {
        Value::Bool(true) => "on".into(),
        Value::Bool(false) => "off".into(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => format!("{float:.1}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_in_a_line_that_fits() {
        let payload =
            r#"{"ts":"t","values":{"pump":true,"supply_temperature":63.44,"fan":1180},"bad":{"flow":"timeout"}}"#;
        let line = reading_line("local", "boiler", payload);
        assert_eq!(line, "local  boiler       flow bad: timeout  pump on  supply_temperature 63.4");
        assert!(line.len() <= WIDTH);
        assert_eq!(reading_line("cloud", "x", "online"), "cloud  x            online");
    }
}
