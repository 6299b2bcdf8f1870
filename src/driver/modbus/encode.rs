//! A value becomes registers: the mirror of `decode`, for writes and for simulators. Pure.

use super::decode::is_sentinel;
use super::raw::{self, Masked, Raw};
use crate::model::{Decimal, EnumNames, Naming, Point, PointType, RegisterSource, Value};

/// What has to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoded {
    /// A coil.
    Bit(bool),
    /// Registers, from the point's address on.
    Registers(Vec<Masked>),
}

/// Why a value can't be written to a point, in words for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A text for a number, a number for a switch.
    #[error("{value} is not {wanted}")]
    WrongKind {
        /// As JSON.
        value: String,
        /// "a number", "true or false".
        wanted: &'static str,
    },
    /// Beyond what the type holds.
    #[error("{value} does not fit: {kind} here holds {least} to {greatest}")]
    TooLarge {
        /// As JSON.
        value: String,
        /// The word in YAML.
        kind: &'static str,
        /// After scale and offset.
        least: Decimal,
        /// After scale and offset.
        greatest: Decimal,
    },
    /// Beyond the largest float.
    #[error("{value} is beyond the largest {kind}")]
    TooLargeFloat {
        /// As JSON.
        value: String,
        /// The word in YAML.
        kind: &'static str,
    },
    /// The register counts in steps, and this is between two.
    #[error("{value} can't be held exactly: this point counts in steps of {step}; {nearest} is the nearest")]
    BetweenSteps {
        /// As JSON.
        value: String,
        /// The size of a step.
        step: Decimal,
        /// The nearest value that it can hold.
        nearest: Decimal,
    },
    /// No code has this name.
    #[error("{value} is none of its names: {names}")]
    NoSuchName {
        /// As JSON.
        value: String,
        /// All names, with commas.
        names: String,
    },
    /// A text that is too long, or has characters that the encoding lacks, or ends with a space.
    #[error("{value} is no text that fits into {length} bytes of {encoding} and comes back the same")]
    NoSuchText {
        /// As JSON.
        value: String,
        /// Of the point.
        length: u8,
        /// Of the point.
        encoding: &'static str,
    },
    /// Too few or too many bytes.
    #[error("{value} has {bytes} bytes and this point has {length}")]
    WrongLength {
        /// As JSON.
        value: String,
        /// Of the value.
        bytes: usize,
        /// Of the point.
        length: u8,
    },
    /// It means "no value".
    #[error("{value} would be written as one of the `invalid` values of this point, which stand for no value")]
    Invalid {
        /// As JSON.
        value: String,
    },
    /// The scale factor is in a register, and that has not been read, or holds none.
    #[error("the scale factor of this point is not known: its `scale_from` register has to be read first")]
    NoFactor,
    /// Not a Modbus point.
    #[error("this point has no registers")]
    NoRegisters,
}

/// What has to be written so that reading `point` gives `value`. `factor` is what its `scale_from` register holds now
/// ([`factor_of`](super::factor_of)); it is not needed without one.
///
/// Nothing is bent to fit: what the point can't hold is an error. A number for a floating-point type becomes the nearest float.
pub fn encode(point: &Point, value: &Value, factor: Option<i16>) -> Result<Encoded, EncodeError> {
    let register = point.register().ok_or(EncodeError::NoRegisters)?;
    if register.table.is_bits() {
        return match value {
            Value::Bool(is_set) => Ok(Encoded::Bit(*is_set)),
            _ => Err(wrong_kind(value, "true or false")),
        };
    }
    if let (Some(Naming::Bits(_)), Value::Bits(bits)) = (&point.naming, value) {
        let own = part(register, value, &Raw::Integer(bits.mask().into()))?;
        let set = part(register, value, &Raw::Integer(bits.raw().into()))?;
        let masked = own.iter().zip(set).map(|(own, set)| Masked { value: set.value, mask: own.value });
        return Ok(Encoded::Registers(masked.collect()));
    }
    let raw = raw_of(point, register, value, factor)?;
    if is_sentinel(&raw, register.kind, &point.invalid) {
        return Err(EncodeError::Invalid { value: value.to_string() });
    }
    Ok(Encoded::Registers(part(register, value, &raw)?))
}

fn raw_of(point: &Point, register: &RegisterSource, value: &Value, factor: Option<i16>) -> Result<Raw, EncodeError> {
    match (&point.naming, register.kind, value) {
        (Some(Naming::Enum(names)), _, Value::Text(name)) => {
            let code = names.code(name).ok_or_else(|| no_such_name(value, names))?;
            Ok(Raw::Integer(code.into()))
        }
        (Some(Naming::Enum(names)), ..) => Err(no_such_name(value, names)),
        (Some(Naming::Bits(_)), ..) => Err(wrong_kind(value, "an object of true and false by name")),
        (None, PointType::Bool | PointType::Bit(_), Value::Bool(is_set)) => Ok(Raw::Bool(*is_set)),
        (None, PointType::Bool | PointType::Bit(_), _) => Err(wrong_kind(value, "true or false")),
        (None, PointType::String { .. }, Value::Text(text)) => Ok(Raw::Text((**text).to_owned())),
        (None, PointType::String { .. }, _) => Err(wrong_kind(value, "a text")),
        (None, PointType::Bytes { .. }, Value::Bytes(bytes)) => Ok(Raw::Bytes(bytes.to_vec())),
        (None, PointType::Bytes { .. }, _) => Err(wrong_kind(value, "bytes in hex")),
        (None, PointType::F32 | PointType::F16, Value::Float(x)) if !register.is_scaled() => Ok(Raw::Single(*x)),
        (None, PointType::F64, Value::Double(x)) if !register.is_scaled() => Ok(Raw::Double(*x)),
        (None, kind, _) => {
            let number = value.number().ok_or_else(|| wrong_kind(value, "a number"))?;
            let step = step(register, factor)?;
            let above = register.offset.as_ref().map_or_else(|| number.clone(), |offset| number.minus(offset));
            if kind.is_float() { float(kind, value, &above, &step) } else { whole(register, value, &above, &step) }
        }
    }
}

/// What a raw 1 is worth.
pub(super) fn step(register: &RegisterSource, factor: Option<i16>) -> Result<Decimal, EncodeError> {
    let scale = register.scale.clone().unwrap_or_else(|| Decimal::from(1u16));
    match register.scale_from {
        None => Ok(scale),
        Some(_) => Ok(scale.times_power_of_ten(factor.ok_or(EncodeError::NoFactor)?)),
    }
}

fn whole(register: &RegisterSource, value: &Value, above: &Decimal, step: &Decimal) -> Result<Raw, EncodeError> {
    let at = |raw: &Decimal| Decimal::scaled(raw, Some(step), register.offset.as_ref());
    let (least, greatest) = raw::limits(register.kind).ok_or_else(|| wrong_kind(value, "a number"))?;
    let quotient = above.divided_by(step).ok_or(EncodeError::NoFactor)?;
    if quotient < Decimal::from(least) || quotient > Decimal::from(greatest) {
        let (one, other) = (at(&least.into()), at(&greatest.into()));
        let (least, greatest) = if one <= other { (one, other) } else { (other, one) };
        return Err(EncodeError::TooLarge { value: value.to_string(), kind: register.kind.as_str(), least, greatest });
    }
    match above.whole_steps(step) {
        Some(raw) => Ok(Raw::Integer(raw)),
        None => {
            let nearest = at(&quotient.nearest_whole());
            Err(EncodeError::BetweenSteps { value: value.to_string(), step: step.magnitude(), nearest })
        }
    }
}

fn float(kind: PointType, value: &Value, above: &Decimal, step: &Decimal) -> Result<Raw, EncodeError> {
    let quotient = above.divided_by(step).ok_or(EncodeError::NoFactor)?;
    // A decimal prints as a text that Rust reads to the nearest float.
    let nearest = raw::nearest(kind, quotient.to_nearest_f64());
    if !nearest.is_finite() {
        return Err(EncodeError::TooLargeFloat { value: value.to_string(), kind: kind.as_str() });
    }
    Ok(match kind {
        PointType::F64 => Raw::Double(nearest),
        PointType::F32 => Raw::Single(quotient.to_nearest_f32()),
        _ => Raw::Single(nearest as f32),
    })
}

fn part(register: &RegisterSource, value: &Value, raw: &Raw) -> Result<Vec<Masked>, EncodeError> {
    raw::write(register.kind, register.byte_order, raw).ok_or_else(|| match (register.kind, raw) {
        (PointType::String { length, encoding }, _) => {
            EncodeError::NoSuchText { value: value.to_string(), length, encoding: encoding.as_str() }
        }
        (PointType::Bytes { length }, Raw::Bytes(bytes)) => {
            EncodeError::WrongLength { value: value.to_string(), bytes: bytes.len(), length }
        }
        // The code of a name, or a mask, that the type can't hold; `config` refuses those.
        (kind, _) => {
            let (least, greatest) = raw::limits(kind).unwrap_or_default();
            let (least, greatest) = (least.into(), greatest.into());
            EncodeError::TooLarge { value: value.to_string(), kind: kind.as_str(), least, greatest }
        }
    })
}

fn wrong_kind(value: &Value, wanted: &'static str) -> EncodeError {
    EncodeError::WrongKind { value: value.to_string(), wanted }
}

fn no_such_name(value: &Value, names: &EnumNames) -> EncodeError {
    let names: Vec<&str> = names.iter().map(|(_, name)| name).collect();
    EncodeError::NoSuchName { value: value.to_string(), names: names.join(", ") }
}
