//! What was read: a value, or a fault. A bad sample has no value, so nobody can publish one.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use super::{Bits, Decimal};

/// A value, after scale and offset.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A coil, a discrete input, one bit, or a register read as `bool`.
    Bool(bool),
    /// A whole number without scale or offset, of up to 64 bits with or without a sign.
    Integer(i128),
    /// A 32-bit float without scale or offset; finite. It prints with the fewest digits that read back as the same float.
    Float(f32),
    /// A 64-bit float, likewise.
    Double(f64),
    /// A scaled value, exact.
    Decimal(Decimal),
    /// A text, or the name of an enum's code.
    Text(Arc<str>),
    /// Bytes; lower-case hex in payloads.
    Bytes(Arc<[u8]>),
    /// Named bits; an object of booleans in payloads.
    Bits(Bits),
}

impl Value {
    /// Its number, exactly; `None` for what is none.
    pub fn number(&self) -> Option<Decimal> {
        match self {
            Value::Integer(whole) => Some(Decimal::from(*whole)),
            Value::Float(x) => Decimal::from_f32(*x),
            Value::Double(x) => Decimal::from_f64(*x),
            Value::Decimal(decimal) => Some(decimal.clone()),
            _ => None,
        }
    }

    /// Whether a point that was to become this reads as `read` shows that it has: numbers are compared as numbers, and of bits
    /// only those that this one names.
    pub fn is_shown_by(&self, read: &Value) -> bool {
        match (self, read) {
            (Value::Bits(wanted), Value::Bits(read)) => read.raw() & wanted.mask() == wanted.raw(),
            _ if self == read => true,
            _ => self.number().is_some_and(|number| read.number() == Some(number)),
        }
    }
}

impl fmt::Display for Value {
    /// The value as a JSON token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(b) => f.write_str(if *b { "true" } else { "false" }),
            // Nearly all fit, and 128 bits print more slowly.
            Value::Integer(i) => match i64::try_from(*i) {
                Ok(i) => write!(f, "{i}"),
                Err(_) => write!(f, "{i}"),
            },
            // `{:?}` is the shortest text that reads back as the same f32, keeps `.0`, and uses `1e38` for the large: all valid JSON.
            Value::Float(x) => write!(f, "{x:?}"),
            Value::Double(x) => write!(f, "{x:?}"),
            Value::Decimal(d) => write!(f, "{d}"),
            Value::Text(text) => write_text(f, text),
            Value::Bytes(bytes) => {
                f.write_char('"')?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_char('"')
            }
            Value::Bits(bits) => {
                f.write_char('{')?;
                for (i, (name, is_set)) in bits.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { "," })?;
                    write_text(f, name)?;
                    write!(f, ":{is_set}")?;
                }
                f.write_char('}')
            }
        }
    }
}

/// A JSON string (RFC 8259 §7).
fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            '\r' => f.write_str("\\r")?,
            c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

/// Why a point is bad, in the words that payloads carry (`DESIGN.md` §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// No answer in time.
    Timeout,
    /// Modbus exception 1.
    IllegalFunction,
    /// Modbus exception 2.
    IllegalAddress,
    /// Modbus exception 3.
    IllegalValue,
    /// Modbus exception 4, and any exception code that the specification does not name.
    DeviceFailure,
    /// Modbus exceptions 5 and 6.
    Busy,
    /// Modbus exception 10.
    GatewayPath,
    /// Modbus exception 11.
    GatewayTarget,
    /// A checksum that does not match.
    Crc,
    /// An answer with the wrong unit, function, length or shape.
    Framing,
    /// The port or the connection is gone.
    Disconnected,
    /// A value that the map lists as "invalid".
    Sentinel,
    /// NaN or an infinity.
    NotANumber,
    /// This code, which the map gives no name.
    NotInEnum(i64),
    /// Outside what the type can carry: a text in another encoding, a scale factor beyond 10 to the power of ±10.
    OutOfRange,
}

impl Fault {
    /// The word in payloads, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Timeout => "timeout",
            Fault::IllegalFunction => "illegal_function",
            Fault::IllegalAddress => "illegal_address",
            Fault::IllegalValue => "illegal_value",
            Fault::DeviceFailure => "device_failure",
            Fault::Busy => "busy",
            Fault::GatewayPath => "gateway_path",
            Fault::GatewayTarget => "gateway_target",
            Fault::Crc => "crc",
            Fault::Framing => "framing",
            Fault::Disconnected => "disconnected",
            Fault::Sentinel => "sentinel",
            Fault::NotANumber => "not_a_number",
            Fault::NotInEnum(_) => "not_in_enum",
            Fault::OutOfRange => "out_of_range",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One point, read once.
#[derive(Debug, Clone, PartialEq)]
pub enum Sample {
    /// Fresh and trusted.
    Good(Value),
    /// No value, and why.
    Bad(Fault),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BitNames;

    #[test]
    fn a_value_is_shown_by_the_same_number_and_by_more_bits() {
        let decimal = |text: &str| Value::Decimal(text.parse().unwrap());
        assert!(decimal("45").is_shown_by(&Value::Integer(45)) && decimal("45.0").is_shown_by(&decimal("45")));
        assert!(decimal("21.4").is_shown_by(&Value::Float(21.4)));
        assert!(!decimal("45").is_shown_by(&Value::Integer(46)) && !Value::Bool(true).is_shown_by(&Value::Integer(1)));
        let names = |bits: &[u8]| Arc::new(BitNames::new(bits.iter().map(|bit| (*bit, format!("b{bit}").into()))));
        let read = Value::Bits(Bits::new(names(&[0, 1, 2]), 0b101));
        assert!(Value::Bits(Bits::new(names(&[1, 2]), 0b100)).is_shown_by(&read));
        assert!(!Value::Bits(Bits::new(names(&[1, 2]), 0b110)).is_shown_by(&read));
    }

    fn flags(raw: u64) -> Bits {
        Bits::new(Arc::new(BitNames::new([(0, "low pressure".into()), (5, "overheat".into())])), raw)
    }

    #[test]
    fn values_print_as_json_tokens() {
        for (value, json) in [
            (Value::Bool(true), "true"),
            (Value::Integer(-7), "-7"),
            (Value::Float(21.4), "21.4"),
            (Value::Float(21.0), "21.0"),
            (Value::Float(3.4028235e38), "3.4028235e38"),
            (Value::Float(1e-45), "1e-45"),
            (Value::Float(-0.0), "-0.0"),
            (Value::Integer(u64::MAX.into()), "18446744073709551615"),
            (Value::Double(0.1), "0.1"),
            (Value::Double(1.7976931348623157e308), "1.7976931348623157e308"),
            (Value::Text("21 °C \"a\\b\"\n\u{1}".into()), r#""21 °C \"a\\b\"\n\u0001""#),
            (Value::Bytes([0x00, 0xAB, 0x0F].into()), r#""00ab0f""#),
            (Value::Bits(flags(0)), r#"{"low pressure":false,"overheat":false}"#),
            (Value::Bits(flags(0x8021)), r#"{"low pressure":true,"overheat":true}"#),
        ] {
            assert_eq!(value.to_string(), json);
            serde_json::from_str::<serde_json::Value>(json).expect("valid JSON");
        }
    }
}
