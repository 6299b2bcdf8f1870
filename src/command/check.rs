//! Whether a value may be written to a point: `write:`, its limits, and the shape of the value. Pure.
//!
//! Whether the registers can hold it exactly is for the driver to say, which knows them.

use std::sync::Arc;

use super::payload::{Complaint, Json, json, members, short, text};
use crate::model::{BitNames, Bits, Decimal, DecimalError, Naming, Point, PointType, Value, Write};

/// The value to write to a point, or why not.
pub fn value(point: &Point, sent: Json<'_>) -> Result<Value, Complaint> {
    let Some(write) = &point.write else {
        return Err(format!(
            "`{}` is read only; a point with `write: true` in the configuration may be written",
            point.name
        ));
    };
    match (&point.naming, sent) {
        (_, Json::Null) => Err("null is no value".into()),
        (_, Json::List) => Err("a list is no value".into()),
        (Some(Naming::Bits(names)), Json::Object(object)) => bits(names, object),
        (Some(Naming::Bits(names)), _) => {
            let first = names.iter().next().map_or("name", |(_, name)| name);
            Err(format!("an object of its bits is wanted, such as {{\"{first}\":true}}"))
        }
        (_, Json::Object(_)) => Err("an object is no value".into()),
        (Some(Naming::Enum(names)), Json::Text(quoted)) => {
            let name = text(quoted)?;
            let known: Vec<&str> = names.iter().map(|(_, name)| name).collect();
            match names.code(&name) {
                Some(_) => Ok(Value::Text(name.into())),
                None => Err(format!("\"{}\" is none of its names: {}", short(&name), known.join(", "))),
            }
        }
        (Some(Naming::Enum(names)), _) => {
            let known: Vec<String> = names.iter().map(|(_, name)| format!("\"{name}\"")).collect();
            Err(format!("one of its names is wanted: {}", known.join(", ")))
        }
        (None, sent) => plain(point, write, sent),
    }
}

fn plain(point: &Point, write: &Write, sent: Json<'_>) -> Result<Value, Complaint> {
    let kind = point.register().map(|register| register.kind);
    match (kind, sent) {
        (Some(PointType::Bool | PointType::Bit(_)), Json::Bool(is_set)) => Ok(Value::Bool(is_set)),
        (Some(PointType::Bool | PointType::Bit(_)), _) => Err("true or false is wanted".into()),
        (Some(PointType::String { .. }), Json::Text(quoted)) => Ok(Value::Text(text(quoted)?.into())),
        (Some(PointType::String { .. }), _) => Err("a text in quotes is wanted".into()),
        (Some(PointType::Bytes { length }), Json::Text(quoted)) => hex(&text(quoted)?)
            .ok_or_else(|| format!("{} bytes as a text of {} hex digits are wanted", length, u32::from(length) * 2)),
        (Some(PointType::Bytes { length }), _) => {
            Err(format!("{length} bytes as a text of {} hex digits are wanted", u32::from(length) * 2))
        }
        (_, Json::Number(digits)) => number(write, digits),
        (_, Json::Text(quoted)) if text(quoted)?.parse::<Decimal>().is_ok() => {
            Err("a number is wanted, without quotes".into())
        }
        _ => Err("a number is wanted".into()),
    }
}

fn number(write: &Write, digits: &str) -> Result<Value, Complaint> {
    let number: Decimal = digits.parse().map_err(|error| match error {
        DecimalError::TooLong(_) => format!("{} has more digits than any register holds", short(digits)),
        DecimalError::Syntax(_) => format!("{} is no number", short(digits)),
    })?;
    if let Some(min) = write.min.as_ref().filter(|min| number < **min) {
        return Err(format!("{number} is less than {min}, the least that is allowed"));
    }
    if let Some(max) = write.max.as_ref().filter(|max| number > **max) {
        return Err(format!("{number} is more than {max}, the most that is allowed"));
    }
    if let Some(step) = &write.step {
        let zero = Decimal::from(0u16);
        let from = write.min.as_ref().unwrap_or(&zero);
        if number.minus(from).whole_steps(step).is_none() {
            return Err(format!("{number} is between two steps; they are {step} wide and begin at {from}"));
        }
    }
    Ok(Value::Decimal(number))
}

/// The bits that are named; the others stay as they are.
fn bits(names: &BitNames, object: &str) -> Result<Value, Complaint> {
    let mut some = Vec::new();
    let mut set = 0u64;
    for (name, sent) in members(object)? {
        let Some(bit) = names.bit(&name) else {
            let known: Vec<&str> = names.iter().map(|(_, name)| name).collect();
            return Err(format!("`{}` is none of its bits: {}", short(&name), known.join(", ")));
        };
        let Json::Bool(is_set) = json(sent) else { return Err(format!("`{name}` must be true or false")) };
        set |= u64::from(is_set) << bit;
        some.push((bit, Arc::from(name)));
    }
    if some.is_empty() {
        return Err("it names no bit".into());
    }
    Ok(Value::Bits(Bits::new(Arc::new(BitNames::new(some)), set)))
}

fn hex(text: &str) -> Option<Value> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = pairs
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
            _ => None,
        })
        .collect();
    bytes.map(|bytes| Value::Bytes(bytes.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Encoding, EnumNames, Name, RegisterSource, RegisterTable, Source};

    fn point(kind: PointType) -> Point {
        let source = Source::Register(RegisterSource::new(RegisterTable::Holding, 0, kind));
        Point { write: Some(Write::default()), ..Point::new(Name::new("p").unwrap(), source) }
    }

    fn checked(point: &Point, sent: &str) -> Result<String, String> {
        let raw = serde_json::from_str(sent).expect("JSON");
        value(point, json(raw)).map(|value| value.to_string())
    }

    #[test]
    fn only_what_the_configuration_allows_may_be_written() {
        let read_only = Point { write: None, ..point(PointType::U16) };
        assert!(checked(&read_only, "1").unwrap_err().starts_with("`p` is read only;"));
        let decimal = |text: &str| Some(text.parse().unwrap());
        let limits = Write { min: decimal("30"), max: decimal("80"), step: decimal("0.5"), only: false };
        let setpoint = Point { write: Some(limits), ..point(PointType::U16) };
        for (sent, result) in [
            ("30", Ok("30")),
            ("80.0", Ok("80.0")),
            ("45.5", Ok("45.5")),
            ("29.999999999999999999", Err("29.999999999999999999 is less than 30, the least that is allowed")),
            ("80.1", Err("80.1 is more than 80, the most that is allowed")),
            ("45.3", Err("45.3 is between two steps; they are 0.5 wide and begin at 30")),
            ("1e999999", Err("1e999999 has more digits than any register holds")),
            ("-1e400", Err("-1e400 is less than 30, the least that is allowed")),
        ] {
            let result = result.map(String::from).map_err(String::from);
            assert_eq!(checked(&setpoint, sent), result, "{sent}");
        }
    }

    #[test]
    fn every_type_takes_its_own_kind_of_value_and_nothing_else() {
        let names = EnumNames::new([(0, "off".into()), (1, "auto".into())]);
        let mode = Point { naming: Some(Naming::Enum(Arc::new(names))), ..point(PointType::U16) };
        let names = BitNames::new([(0, "low".into()), (5, "heat".into())]);
        let alarms = Point { naming: Some(Naming::Bits(Arc::new(names))), ..point(PointType::U16) };
        let text = point(PointType::String { length: 4, encoding: Encoding::Ascii });
        let cases: [(&Point, &[&str]); 6] = [
            (&point(PointType::Bool), &["true", "false"]),
            (&point(PointType::U64), &["18446744073709551615", "-1.5"]),
            (&mode, &["\"auto\""]),
            (&alarms, &["{\"heat\":true}", "{\"low\":false,\"heat\":true}"]),
            (&text, &["\"a\\u00e4\""]),
            (&point(PointType::Bytes { length: 2 }), &["\"00fF\""]),
        ];
        let all = ["null", "[]", "[1]", "{}", "{\"x\":1}", "{\"low\":1}", "\"turbo\"", "\"1\"", "\"0f0\"", "1", "true"];
        for (point, good) in cases {
            for sent in good {
                checked(point, sent).unwrap_or_else(|complaint| panic!("{point:?} {sent}: {complaint}"));
            }
            let taken: Vec<&str> = all.into_iter().filter(|sent| checked(point, sent).is_ok()).collect();
            let expected: &[&str] = match (&point.naming, point.register().unwrap().kind) {
                (Some(_), _) => &[],
                (None, PointType::Bool) => &["true"],
                (None, PointType::String { .. }) => &["\"turbo\"", "\"1\"", "\"0f0\""],
                (None, PointType::Bytes { .. }) => &[],
                _ => &["1"],
            };
            assert_eq!(taken, expected, "{point:?}");
        }
    }

    #[test]
    fn bits_that_are_not_named_are_not_touched() {
        let names = BitNames::new([(0, "low".into()), (5, "heat".into())]);
        let alarms = Point { naming: Some(Naming::Bits(Arc::new(names))), ..point(PointType::U16) };
        let raw = serde_json::from_str("{\"heat\":true}").unwrap();
        let Ok(Value::Bits(bits)) = value(&alarms, json(raw)) else { panic!("bits") };
        assert_eq!((bits.mask(), bits.raw()), (0b10_0000, 0b10_0000));
    }
}
