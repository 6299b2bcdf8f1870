//! Registers and bits become a sample. Pure; any number of cells is taken, too few are a bad sample.

use std::sync::Arc;

use super::raw::{self, Raw};
use crate::model::{
    BitNames, Bits, Decimal, EnumNames, Fault, Naming, Point, PointType, RegisterSource, Sample, Sentinel, Value,
};

/// A register that holds a scale factor says "not implemented" with this (SunSpec Device Information Model §4.2.1, `sunssf`).
const NO_FACTOR: i16 = i16::MIN;
/// The powers of ten that a scale factor may be (same place).
const FACTORS: std::ops::RangeInclusive<i16> = -10..=10;

/// The cells of an answer, from some address on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cells<'a> {
    /// 16-bit registers, as numbers.
    Registers(&'a [u16]),
    /// Coils or discrete inputs.
    Bits(&'a [bool]),
}

/// The sample of a point in an answer whose first cell has the address `first`.
///
/// Bad with [`Fault::Framing`] when its cells are not all there or of the wrong kind, [`Fault::Sentinel`] when its raw value
/// is one of `invalid:` or its scale factor is not implemented, [`Fault::NotANumber`] for NaN, an infinity or a BCD digit
/// above 9, [`Fault::NotInEnum`] for a code without a name, and [`Fault::OutOfRange`] for bytes that are no text in their
/// encoding and scale factors beyond ±10.
pub fn decode(point: &Point, cells: Cells<'_>, first: u16) -> Sample {
    let Some(register) = point.register() else { return Sample::Bad(Fault::Framing) };
    decode_as(register, point, cells, first)
}

/// As [`decode`], for a point whose bytes came another way than in registers of its own.
pub fn decode_as(register: &RegisterSource, point: &Point, cells: Cells<'_>, first: u16) -> Sample {
    match sample(point, register, cells, first) {
        Ok(value) => Sample::Good(value),
        Err(fault) => Sample::Bad(fault),
    }
}

fn sample(point: &Point, register: &RegisterSource, cells: Cells<'_>, first: u16) -> Result<Value, Fault> {
    let skip = usize::from(register.address.checked_sub(first).ok_or(Fault::Framing)?);
    let raw = match cells {
        Cells::Bits(bits) if register.kind == PointType::Bool => Raw::Bool(*bits.get(skip).ok_or(Fault::Framing)?),
        Cells::Bits(_) => return Err(Fault::Framing),
        Cells::Registers(registers) => {
            let width = usize::from(register.kind.width());
            let own = registers.get(skip..skip + width).ok_or(Fault::Framing)?;
            raw::read(register.kind, register.byte_order, own)?
        }
    };
    if !point.invalid.is_empty() && is_sentinel(&raw, register.kind, &point.invalid) {
        return Err(Fault::Sentinel);
    }
    match (&point.naming, &raw) {
        (Some(Naming::Enum(names)), Raw::Integer(code)) => named(names, *code),
        (Some(Naming::Bits(names)), Raw::Integer(bits)) => Ok(flags(names, *bits)),
        _ => match raw {
            Raw::Bool(is_set) => Ok(Value::Bool(is_set)),
            Raw::Text(text) => Ok(Value::Text(text.into())),
            Raw::Bytes(bytes) => Ok(Value::Bytes(bytes.into())),
            Raw::Integer(whole) if !register.is_scaled() => Ok(Value::Integer(whole)),
            Raw::Single(x) if !register.is_scaled() && x.is_finite() => Ok(Value::Float(x)),
            Raw::Double(x) if !register.is_scaled() && x.is_finite() => Ok(Value::Double(x)),
            number => {
                let exact = number.exact().ok_or(Fault::NotANumber)?;
                let power = factor(register, cells, first)?;
                Ok(Value::Decimal(scaled(register, exact, power)))
            }
        },
    }
}

fn named(names: &EnumNames, code: i128) -> Result<Value, Fault> {
    let code = i64::try_from(code).map_err(|_| Fault::OutOfRange)?;
    names.name(code).map(|name| Value::Text(Arc::clone(name))).ok_or(Fault::NotInEnum(code))
}

fn flags(names: &Arc<BitNames>, bits: i128) -> Value {
    // The low 64 bits, whatever the sign: a mask is a pattern and not a number.
    Value::Bits(Bits::new(Arc::clone(names), bits as u64))
}

fn scaled(register: &RegisterSource, raw: Decimal, power: i16) -> Decimal {
    let raw = if power == 0 { raw } else { raw.times_power_of_ten(power) };
    Decimal::scaled(&raw, register.scale.as_ref(), register.offset.as_ref())
}

/// The power of ten that the point's scale register holds; 0 without one.
fn factor(register: &RegisterSource, cells: Cells<'_>, first: u16) -> Result<i16, Fault> {
    let Some(address) = register.scale_from else { return Ok(0) };
    let Cells::Registers(registers) = cells else { return Err(Fault::Framing) };
    let skip = usize::from(address.checked_sub(first).ok_or(Fault::Framing)?);
    factor_of(registers.get(skip).ok_or(Fault::Framing)?.cast_signed())
}

/// The power of ten that a scale register with this content stands for.
///
/// Errors with [`Fault::Sentinel`] for "not implemented" and [`Fault::OutOfRange`] for anything beyond ±10.
pub fn factor_of(register: i16) -> Result<i16, Fault> {
    match register {
        NO_FACTOR => Err(Fault::Sentinel),
        power if FACTORS.contains(&power) => Ok(power),
        _ => Err(Fault::OutOfRange),
    }
}

/// Whether a raw value is one of `invalid:`.
pub(super) fn is_sentinel(raw: &Raw, kind: PointType, invalid: &[Sentinel]) -> bool {
    invalid.iter().any(|sentinel| match (raw, sentinel) {
        (Raw::Integer(raw), Sentinel::Integer(marked)) => raw == marked,
        (Raw::Single(raw), Sentinel::Float(marked)) => raw::nearest(kind, *marked) == f64::from(*raw),
        (Raw::Double(raw), Sentinel::Float(marked)) => raw == marked,
        (Raw::Single(_) | Raw::Double(_), Sentinel::Pattern(marked)) => raw.pattern(kind) == Some(*marked),
        (Raw::Text(raw), Sentinel::Text(marked)) => **raw == **marked,
        _ => false,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::{Encoded, encode};
    use super::*;
    use crate::model::{ByteOrder, Encoding, Half, Name, RegisterTable, Source};

    pub fn point(table: RegisterTable, address: u16, kind: PointType, byte_order: ByteOrder) -> Point {
        let name = Name::new(&format!("{}{address}", table.as_str())).unwrap();
        let register = RegisterSource { byte_order, ..RegisterSource::new(table, address, kind) };
        Point::new(name, Source::Register(register))
    }

    fn holding(kind: PointType, byte_order: ByteOrder) -> Point {
        point(RegisterTable::Holding, 0, kind, byte_order)
    }

    fn with(mut point: Point, change: impl FnOnce(&mut RegisterSource)) -> Point {
        let Source::Register(register) = &mut point.source else { unreachable!("a register") };
        change(register);
        point
    }

    const ORDERS: [ByteOrder; 4] = [ByteOrder::Abcd, ByteOrder::Cdab, ByteOrder::Badc, ByteOrder::Dcba];
    const KINDS: [PointType; 19] = [
        PointType::Bool,
        PointType::U16,
        PointType::I16,
        PointType::U32,
        PointType::I32,
        PointType::F32,
        PointType::Bit(0),
        PointType::U8(Half::Low),
        PointType::I8(Half::Low),
        PointType::U8(Half::High),
        PointType::I8(Half::High),
        PointType::U64,
        PointType::I64,
        PointType::F16,
        PointType::F64,
        PointType::Bcd16,
        PointType::Bcd32,
        PointType::Bytes { length: 5 },
        PointType::String { length: 6, encoding: Encoding::Ascii },
    ];

    /// Each case is a folder with `points.txt`, a line a point, and `expected.txt`, a line a sample.
    #[test]
    fn golden_cases_decode_as_written_down() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/decode");
        let mut cases = 0;
        for case in std::fs::read_dir(&root).unwrap() {
            let folder = case.unwrap().path();
            let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
            let lines = |text: &str| -> Vec<String> {
                let kept = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
                kept.map(|line| line.trim().to_owned()).collect()
            };
            let actual: Vec<String> = lines(&read("points.txt")).iter().map(|line| sample_of(line)).collect();
            assert_eq!(actual, lines(&read("expected.txt")), "{}", folder.display());
            cases += 1;
        }
        assert!(cases >= 4, "only {cases} cases found under {}", root.display());
    }

    /// `i16 ABCD scale offset F80C 0001`, with `-` for no scale or offset; bits are `on` and `off`.
    fn sample_of(line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let kind = KINDS.into_iter().find(|kind| kind.as_str() == words[0]).unwrap();
        let order = ORDERS.into_iter().find(|o| format!("{o:?}").eq_ignore_ascii_case(words[1])).unwrap();
        let number = |word: &str| (word != "-").then(|| word.parse::<Decimal>().unwrap());
        let point = with(holding(kind, order), |register| {
            register.scale = number(words[2]);
            register.offset = number(words[3]);
        });
        let sample = if words[4..].iter().any(|word| matches!(*word, "on" | "off")) {
            let bits: Vec<bool> = words[4..].iter().map(|word| *word == "on").collect();
            decode(&point, Cells::Bits(&bits), 0)
        } else {
            let registers: Vec<u16> = words[4..].iter().filter_map(|word| u16::from_str_radix(word, 16).ok()).collect();
            decode(&point, Cells::Registers(&registers), 0)
        };
        match sample {
            Sample::Good(value) => value.to_string(),
            Sample::Bad(fault) => format!("bad {fault}"),
        }
    }

    fn read(point: &Point, registers: &[u16]) -> String {
        match decode(point, Cells::Registers(registers), 0) {
            Sample::Good(value) => value.to_string(),
            Sample::Bad(fault) => format!("{fault:?}"),
        }
    }

    #[test]
    fn codes_and_bits_have_their_names_and_a_code_without_one_is_bad_and_shown() {
        let names = EnumNames::new([(0, "off".into()), (2, "manual".into())]);
        let mode = Point { naming: Some(Naming::Enum(Arc::new(names))), ..holding(PointType::U16, ByteOrder::Abcd) };
        assert_eq!([0, 2, 3].map(|code| read(&mode, &[code])), [r#""off""#, r#""manual""#, "NotInEnum(3)"]);
        let names = BitNames::new([(0, "low_pressure".into()), (31, "overheat".into())]);
        let alarms = Point { naming: Some(Naming::Bits(Arc::new(names))), ..holding(PointType::U32, ByteOrder::Cdab) };
        assert_eq!(read(&alarms, &[0x0002, 0x8000]), r#"{"low_pressure":false,"overheat":true}"#);
        let Sample::Good(value) = decode(&alarms, Cells::Registers(&[0x0003, 0x8000]), 0) else { panic!("good") };
        let own = [raw::Masked { value: 1, mask: 1 }, raw::Masked { value: 0x8000, mask: 0x8000 }];
        assert_eq!(encode(&alarms, &value, None), Ok(Encoded::Registers(own.to_vec())));
    }

    #[test]
    fn a_raw_value_that_stands_for_none_is_bad_whatever_the_scale() {
        let with_invalid = |kind, invalid: Vec<Sentinel>| {
            let point = with(holding(kind, ByteOrder::Abcd), |register| register.scale = "0.1".parse().ok());
            Point { invalid, ..point }
        };
        let temperature = with_invalid(PointType::I16, vec![Sentinel::Integer(-32_768), Sentinel::Integer(32_767)]);
        assert_eq!([0x8000, 0x7FFF, 0x8001].map(|raw| read(&temperature, &[raw])), ["Sentinel", "Sentinel", "-3276.7"]);
        let flow = with_invalid(PointType::F32, vec![Sentinel::Float(-9999.9), Sentinel::Pattern(0x7FC0_0001)]);
        let [a, b] = [(-9999.9f32).to_bits() >> 16, (-9999.9f32).to_bits() & 0xFFFF].map(|half| half as u16);
        assert_eq!(read(&flow, &[a, b]), "Sentinel");
        assert_eq!(read(&flow, &[0x7FC0, 1]), "Sentinel");
        assert_eq!(read(&flow, &[0x7FC0, 0]), "NotANumber");
        let error = encode(&temperature, &Value::Decimal("3276.7".parse().unwrap()), None).unwrap_err();
        assert!(matches!(error, super::super::EncodeError::Invalid { .. }), "{error}");
    }

    #[test]
    fn a_scale_factor_is_a_power_of_ten_beside_the_point() {
        let power = with(point(RegisterTable::Holding, 1, PointType::I16, ByteOrder::Abcd), |register| {
            register.scale_from = Some(0);
        });
        for (factor, text) in [
            (0, "1234"),
            (-2, "12.34"),
            (3, "1234000"),
            (-10, "0.0000001234"),
            (i16::MIN, "Sentinel"),
            (11, "OutOfRange"),
            (-11, "OutOfRange"),
        ] {
            assert_eq!(read(&power, &[factor.cast_unsigned(), 1234]), text, "{factor}");
        }
        assert_eq!(decode(&power, Cells::Registers(&[1234]), 1), Sample::Bad(Fault::Framing), "not in this answer");
    }

    fn registers(encoded: &Encoded) -> Vec<u16> {
        match encoded {
            Encoded::Registers(masked) => masked.iter().map(|one| one.value).collect(),
            Encoded::Bit(is_set) => panic!("a coil: {is_set}"),
        }
    }

    proptest! {
        #[test]
        fn any_registers_give_a_sample_and_too_few_a_framing_fault(
            kind in prop::sample::select(&KINDS[..]),
            order in prop::sample::select(&ORDERS[..]),
            registers in prop::collection::vec(any::<u16>(), 0..6),
            bits in prop::collection::vec(any::<bool>(), 0..3),
            address in 0u16..5,
        ) {
            let point = point(RegisterTable::Holding, address, kind, order);
            let left = registers.len().saturating_sub(address.into());
            let sample = decode(&point, Cells::Registers(&registers), 0);
            prop_assert_eq!(sample == Sample::Bad(Fault::Framing), left < usize::from(kind.width()));
            let sample = decode(&point, Cells::Bits(&bits), 0);
            let is_there = kind == PointType::Bool && bits.len() > usize::from(address);
            prop_assert_eq!(sample == Sample::Bad(Fault::Framing), !is_there);
            prop_assert_eq!(decode(&point, Cells::Registers(&registers), address + 1), Sample::Bad(Fault::Framing));
        }

        #[test]
        fn writing_what_was_read_writes_the_same_bits_and_reads_the_same_value(
            kind in prop::sample::select(&KINDS[..]),
            order in prop::sample::select(&ORDERS[..]),
            raw in prop::array::uniform4(any::<u16>()),
            scale in prop::option::of(prop::sample::select(&["0.1", "0.001", "7", "1000", "-0.5", "1e-7", "0.3"][..])),
            offset in prop::option::of(prop::sample::select(&["0", "-40", "273.15", "1e9"][..])),
            factor in prop::option::of(-10i16..=10),
        ) {
            let point = with(holding(kind, order), |register| {
                if kind.is_number() {
                    register.scale = scale.map(|text| text.parse().unwrap());
                    register.offset = offset.map(|text| text.parse().unwrap());
                    register.scale_from = factor.map(|_| 4);
                }
            });
            let mut cells = raw.to_vec();
            cells.push(factor.unwrap_or_default().cast_unsigned());
            let Sample::Good(value) = decode(&point, Cells::Registers(&cells), 0) else { return Ok(()) };
            let encoded = encode(&point, &value, factor).unwrap();
            let Encoded::Registers(masked) = &encoded else { panic!("no coil") };
            for (at, one) in masked.iter().enumerate() {
                cells[at] = cells[at] & !one.mask | one.value;
                prop_assert_eq!(one.value & !one.mask, 0, "a bit outside the mask");
            }
            prop_assert_eq!(masked.len(), usize::from(kind.width()));
            prop_assert_eq!(decode(&point, Cells::Registers(&cells), 0), Sample::Good(value));
            // Texts lose what is behind their end, a bool everything but zero, and a scaled -0.0 its sign.
            let is_exact = !matches!(kind, PointType::Bool | PointType::String { .. }) && !kind.is_float();
            if is_exact {
                prop_assert_eq!(&cells[..4], &raw[..]);
            }
        }

        #[test]
        fn a_scale_never_rounds(raw in any::<i16>(), digits in 0u32..6) {
            let scale = Decimal::from_f64(1.0 / 10f64.powi(digits.cast_signed())).unwrap();
            let point = with(holding(PointType::I16, ByteOrder::Abcd), |register| register.scale = Some(scale));
            let cells = [raw.cast_unsigned()];
            let Sample::Good(Value::Decimal(value)) = decode(&point, Cells::Registers(&cells), 0) else {
                panic!("a scaled integer is a decimal");
            };
            let back = Decimal::scaled(&value, Some(&10f64.powi(digits.cast_signed()).to_string().parse().unwrap()), None);
            prop_assert_eq!(back, Decimal::from(raw));
        }

        #[test]
        fn a_whole_number_is_encoded_when_it_fits_and_refused_with_the_limits_when_not(
            kind in prop::sample::select(&KINDS[..]),
            number in prop_oneof![any::<i64>().prop_map(i128::from), any::<u64>().prop_map(i128::from), -70_000i128..70_000],
        ) {
            let Some((least, greatest)) = raw::limits(kind) else { return Ok(()) };
            let point = holding(kind, ByteOrder::Abcd);
            match encode(&point, &Value::Integer(number), None) {
                Ok(encoded) => {
                    prop_assert!((least..=greatest).contains(&number));
                    let sample = decode(&point, Cells::Registers(&registers(&encoded)), 0);
                    prop_assert_eq!(sample, Sample::Good(Value::Integer(number)));
                }
                Err(error) => {
                    prop_assert!(!(least..=greatest).contains(&number));
                    prop_assert!(error.to_string().contains(&greatest.to_string()), "{}", error);
                }
            }
        }
    }
}
