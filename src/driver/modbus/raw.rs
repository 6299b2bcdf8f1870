//! The raw value in a point's own registers, before sentinels, names and scale; and back into registers. Pure.

use super::{float16, text};
use crate::model::{ByteOrder, Decimal, Fault, Half, PointType};

/// What registers hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Raw {
    /// A bit, or whether a register is other than 0.
    Bool(bool),
    /// A whole number, in two's complement, unsigned, or of decimal digits.
    Integer(i128),
    /// A 16-bit or 32-bit float; may be NaN or infinite.
    Single(f32),
    /// A 64-bit float; may be NaN or infinite.
    Double(f64),
    /// A text without its padding.
    Text(String),
    /// Bytes as they are.
    Bytes(Vec<u8>),
}

impl Raw {
    /// A finite number, exactly as it prints; `None` for anything else.
    pub fn exact(&self) -> Option<Decimal> {
        match self {
            Raw::Integer(whole) => Some(Decimal::from(*whole)),
            Raw::Single(x) => Decimal::from_f32(*x),
            Raw::Double(x) => Decimal::from_f64(*x),
            _ => None,
        }
    }

    /// The bits of a floating-point number, right-aligned.
    pub fn pattern(&self, kind: PointType) -> Option<u64> {
        match (self, kind) {
            (Raw::Single(x), PointType::F16) => Some(float16::from_single(*x).into()),
            (Raw::Single(x), _) => Some(x.to_bits().into()),
            (Raw::Double(x), _) => Some(x.to_bits()),
            _ => None,
        }
    }
}

/// The raw value in `own`, the registers of a point.
///
/// Errors with [`Fault::Framing`] when they are not as many as the type takes, [`Fault::NotANumber`] when a BCD digit is above
/// 9, and [`Fault::OutOfRange`] when a text can't be in its encoding. A float may be NaN here.
pub fn read(kind: PointType, order: ByteOrder, own: &[u16]) -> Result<Raw, Fault> {
    let raw = match (kind, own) {
        (PointType::Bool, [only]) => Raw::Bool(*only != 0),
        (PointType::Bit(bit), [only]) => Raw::Bool(only >> (bit & 15) & 1 == 1),
        (PointType::U8(half), [only]) => Raw::Integer(byte(half, *only).into()),
        (PointType::I8(half), [only]) => Raw::Integer(byte(half, *only).cast_signed().into()),
        (PointType::U16, [only]) => Raw::Integer((*only).into()),
        (PointType::I16, [only]) => Raw::Integer(only.cast_signed().into()),
        (PointType::F16, [only]) => Raw::Single(float16::to_single(*only)),
        (PointType::Bcd16, [only]) => Raw::Integer(of_digits((*only).into(), 4).ok_or(Fault::NotANumber)?),
        (PointType::U32, [a, b]) => Raw::Integer(join32(order, [*a, *b]).into()),
        (PointType::I32, [a, b]) => Raw::Integer(join32(order, [*a, *b]).cast_signed().into()),
        (PointType::F32, [a, b]) => Raw::Single(f32::from_bits(join32(order, [*a, *b]))),
        (PointType::Bcd32, [a, b]) => Raw::Integer(of_digits(join32(order, [*a, *b]), 8).ok_or(Fault::NotANumber)?),
        (PointType::U64, [a, b, c, d]) => Raw::Integer(join64(order, [*a, *b, *c, *d]).into()),
        (PointType::I64, [a, b, c, d]) => Raw::Integer(join64(order, [*a, *b, *c, *d]).cast_signed().into()),
        (PointType::F64, [a, b, c, d]) => Raw::Double(f64::from_bits(join64(order, [*a, *b, *c, *d]))),
        (PointType::Bytes { length }, _) => Raw::Bytes(bytes(order, own, length).ok_or(Fault::Framing)?),
        (PointType::String { length, encoding }, _) => {
            let bytes = bytes(order, own, length).ok_or(Fault::Framing)?;
            Raw::Text(text::read(encoding, &bytes).ok_or(Fault::OutOfRange)?)
        }
        _ => return Err(Fault::Framing),
    };
    Ok(raw)
}

/// A register to write, and which of its bits are the point's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Masked {
    /// The bits to write; those outside the mask are 0 and mean nothing.
    pub value: u16,
    /// 0xFFFF for a whole register. Otherwise the other bits must be kept: mask write (function 22), or read and write.
    pub mask: u16,
}

/// The registers that hold `raw`, in the order of their addresses, each with the bits that belong to it; `None` when the type
/// can't hold it exactly.
pub fn write(kind: PointType, order: ByteOrder, raw: &Raw) -> Option<Vec<Masked>> {
    let whole =
        |registers: &[u16]| registers.iter().map(|register| Masked { value: *register, mask: u16::MAX }).collect();
    Some(match (kind, raw) {
        (PointType::Bool, Raw::Bool(on)) => whole(&[u16::from(*on)]),
        (PointType::Bit(bit), Raw::Bool(on)) => {
            vec![Masked { value: u16::from(*on) << (bit & 15), mask: 1 << (bit & 15) }]
        }
        (PointType::U8(half), Raw::Integer(i)) => vec![half_of(half, u8::try_from(*i).ok()?)],
        (PointType::I8(half), Raw::Integer(i)) => vec![half_of(half, i8::try_from(*i).ok()?.cast_unsigned())],
        (PointType::U16, Raw::Integer(i)) => whole(&[u16::try_from(*i).ok()?]),
        (PointType::I16, Raw::Integer(i)) => whole(&[i16::try_from(*i).ok()?.cast_unsigned()]),
        (PointType::F16, Raw::Single(x)) => whole(&[float16::from_single(*x)]),
        (PointType::Bcd16, Raw::Integer(i)) => whole(&[u16::try_from(to_digits(*i, 4)?).ok()?]),
        (PointType::U32, Raw::Integer(i)) => whole(&part32(order, u32::try_from(*i).ok()?)),
        (PointType::I32, Raw::Integer(i)) => whole(&part32(order, i32::try_from(*i).ok()?.cast_unsigned())),
        (PointType::F32, Raw::Single(x)) => whole(&part32(order, x.to_bits())),
        (PointType::Bcd32, Raw::Integer(i)) => whole(&part32(order, to_digits(*i, 8)?)),
        (PointType::U64, Raw::Integer(i)) => whole(&part64(order, u64::try_from(*i).ok()?)),
        (PointType::I64, Raw::Integer(i)) => whole(&part64(order, i64::try_from(*i).ok()?.cast_unsigned())),
        (PointType::F64, Raw::Double(x)) => whole(&part64(order, x.to_bits())),
        (PointType::Bytes { length }, Raw::Bytes(bytes)) if bytes.len() == usize::from(length) => pairs(order, bytes),
        (PointType::String { length, encoding }, Raw::Text(text)) => {
            pairs(order, &text::write(encoding, text, length)?)
        }
        _ => return None,
    })
}

/// The least and the greatest whole number that the type holds; `None` for what holds none.
pub fn limits(kind: PointType) -> Option<(i128, i128)> {
    Some(match kind {
        PointType::U8(_) => (0, u8::MAX.into()),
        PointType::I8(_) => (i8::MIN.into(), i8::MAX.into()),
        PointType::U16 => (0, u16::MAX.into()),
        PointType::I16 => (i16::MIN.into(), i16::MAX.into()),
        PointType::U32 => (0, u32::MAX.into()),
        PointType::I32 => (i32::MIN.into(), i32::MAX.into()),
        PointType::U64 => (0, u64::MAX.into()),
        PointType::I64 => (i64::MIN.into(), i64::MAX.into()),
        PointType::Bcd16 => (0, 9_999),
        PointType::Bcd32 => (0, 99_999_999),
        _ => return None,
    })
}

/// The number of the type that is nearest to `number`.
pub fn nearest(kind: PointType, number: f64) -> f64 {
    match kind {
        PointType::F16 => float16::to_single(float16::from_single(number as f32)).into(),
        PointType::F32 => (number as f32).into(),
        _ => number,
    }
}

fn byte(half: Half, register: u16) -> u8 {
    let [high, low] = register.to_be_bytes();
    match half {
        Half::High => high,
        Half::Low => low,
    }
}

fn half_of(half: Half, byte: u8) -> Masked {
    match half {
        Half::High => Masked { value: u16::from(byte) << 8, mask: 0xFF00 },
        Half::Low => Masked { value: byte.into(), mask: 0x00FF },
    }
}

/// The number whose decimal digits are the hexadecimal ones of `bcd`.
fn of_digits(bcd: u32, digits: u32) -> Option<i128> {
    (0..digits).rev().try_fold(0, |number, place| {
        let digit = bcd >> (place * 4) & 0xF;
        (digit <= 9).then(|| number * 10 + i128::from(digit))
    })
}

fn to_digits(number: i128, digits: u32) -> Option<u32> {
    let number = u32::try_from(number).ok().filter(|number| *number < 10u32.pow(digits))?;
    Some((0..digits).fold(0, |bcd, place| bcd | (number / 10u32.pow(place) % 10) << (place * 4)))
}

/// Registers in the order of the most significant first, from or to the order of their addresses: both are the same moves.
fn reordered<const N: usize>(order: ByteOrder, mut registers: [u16; N]) -> [u16; N] {
    if matches!(order, ByteOrder::Cdab | ByteOrder::Dcba) {
        registers.reverse();
    }
    if matches!(order, ByteOrder::Badc | ByteOrder::Dcba) {
        registers = registers.map(u16::swap_bytes);
    }
    registers
}

fn join32(order: ByteOrder, registers: [u16; 2]) -> u32 {
    reordered(order, registers).into_iter().fold(0, |number, register| number << 16 | u32::from(register))
}

fn join64(order: ByteOrder, registers: [u16; 4]) -> u64 {
    reordered(order, registers).into_iter().fold(0, |number, register| number << 16 | u64::from(register))
}

fn part32(order: ByteOrder, number: u32) -> [u16; 2] {
    reordered(order, [(number >> 16) as u16, number as u16])
}

fn part64(order: ByteOrder, number: u64) -> [u16; 4] {
    reordered(order, [48, 32, 16, 0].map(|place| (number >> place) as u16))
}

fn swaps(order: ByteOrder) -> bool {
    matches!(order, ByteOrder::Badc | ByteOrder::Dcba)
}

/// The first `length` bytes of the registers; `None` when there are fewer.
fn bytes(order: ByteOrder, own: &[u16], length: u8) -> Option<Vec<u8>> {
    let registers = own.iter().map(|register| if swaps(order) { register.swap_bytes() } else { *register });
    let mut bytes: Vec<u8> = registers.flat_map(u16::to_be_bytes).collect();
    (bytes.len() >= usize::from(length)).then(|| {
        bytes.truncate(length.into());
        bytes
    })
}

fn pairs(order: ByteOrder, bytes: &[u8]) -> Vec<Masked> {
    let pair = |pair: &[u8]| match pair {
        [first, second] => Masked { value: u16::from_be_bytes([*first, *second]), mask: u16::MAX },
        // The other byte is not the point's.
        _ => Masked { value: u16::from_be_bytes([pair[0], 0]), mask: 0xFF00 },
    };
    let swap = |Masked { value, mask }: Masked| match swaps(order) {
        true => Masked { value: value.swap_bytes(), mask: mask.swap_bytes() },
        false => Masked { value, mask },
    };
    bytes.chunks(2).map(pair).map(swap).collect()
}
