//! What was read: a value, a doubtful value, or a fault. A bad sample has no value, so nobody can publish one.

use std::fmt;

use super::Decimal;

/// A value as it leaves a register, after scale and offset.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A coil, a discrete input, or a register read as `bool`.
    Bool(bool),
    /// An integer without scale or offset.
    Integer(i64),
    /// A 32-bit float without scale or offset; finite. It prints with the fewest digits that read back as the same float.
    Float(f32),
    /// A scaled value, exact.
    Decimal(Decimal),
}

impl fmt::Display for Value {
    /// The value as a JSON token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(b) => write!(f, "{b}"),
            Value::Integer(i) => write!(f, "{i}"),
            // `{:?}` is the shortest text that reads back as the same f32, keeps `.0`, and uses `1e38` for the large: all valid JSON.
            Value::Float(x) => write!(f, "{x:?}"),
            Value::Decimal(d) => write!(f, "{d}"),
        }
    }
}

/// Why a value is published with quality `uncertain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Doubt {
    /// Older than it should be: the device is being retried.
    Stale,
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
    /// A code that the map gives no name.
    NotInEnum,
    /// Outside what the type can carry.
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
            Fault::NotInEnum => "not_in_enum",
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
    /// A value with a reason to doubt it.
    Uncertain(Value, Doubt),
    /// No value, and why.
    Bad(Fault),
}

#[cfg(test)]
mod tests {
    use super::*;

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
        ] {
            assert_eq!(value.to_string(), json);
            serde_json::from_str::<serde_json::Value>(json).expect("valid JSON");
        }
    }
}
