//! Registers and bits become a sample. Pure; any number of cells is taken, too few are a bad sample.

use crate::model::{ByteOrder, Decimal, Fault, Point, PointType, Sample, Value};

/// The cells of an answer, from some address on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cells<'a> {
    /// 16-bit registers, as numbers.
    Registers(&'a [u16]),
    /// Coils or discrete inputs.
    Bits(&'a [bool]),
}

impl<'a> Cells<'a> {
    /// The cells from the `skip`th on; none when there are fewer.
    pub fn from(self, skip: usize) -> Cells<'a> {
        match self {
            Cells::Registers(registers) => Cells::Registers(registers.get(skip..).unwrap_or_default()),
            Cells::Bits(bits) => Cells::Bits(bits.get(skip..).unwrap_or_default()),
        }
    }
}

/// The sample of a point whose first cell is the first of `cells`.
///
/// Bad with [`Fault::Framing`] when there are too few cells or cells of the wrong kind, with [`Fault::NotANumber`] when
/// a float is NaN or infinite.
pub fn decode(point: &Point, cells: Cells<'_>) -> Sample {
    let raw = match cells {
        Cells::Bits([bit, ..]) if point.kind == PointType::Bool => return Sample::Good(Value::Bool(*bit)),
        Cells::Bits(_) => return Sample::Bad(Fault::Framing),
        Cells::Registers(registers) => match (point.kind, registers) {
            (PointType::Bool, [only, ..]) => return Sample::Good(Value::Bool(*only != 0)),
            (PointType::U16, [only, ..]) => i64::from(*only),
            (PointType::I16, [only, ..]) => i64::from(only.cast_signed()),
            (PointType::U32, [first, second, ..]) => i64::from(join(point.byte_order, *first, *second)),
            (PointType::I32, [first, second, ..]) => i64::from(join(point.byte_order, *first, *second).cast_signed()),
            (PointType::F32, [first, second, ..]) => {
                return float(point, f32::from_bits(join(point.byte_order, *first, *second)));
            }
            _ => return Sample::Bad(Fault::Framing),
        },
    };
    match is_scaled(point) {
        false => Sample::Good(Value::Integer(raw)),
        true => scaled(point, &Decimal::from(raw)),
    }
}

fn float(point: &Point, raw: f32) -> Sample {
    match Decimal::from_f32(raw).filter(|_| is_scaled(point)) {
        Some(exact) => scaled(point, &exact),
        None if raw.is_finite() => Sample::Good(Value::Float(raw)),
        None => Sample::Bad(Fault::NotANumber),
    }
}

fn is_scaled(point: &Point) -> bool {
    point.scale.is_some() || point.offset.is_some()
}

fn scaled(point: &Point, raw: &Decimal) -> Sample {
    Sample::Good(Value::Decimal(Decimal::scaled(raw, point.scale.as_ref(), point.offset.as_ref())))
}

/// Two registers, in the order of their addresses, as one 32-bit number.
fn join(order: ByteOrder, first: u16, second: u16) -> u32 {
    let ([a, b], [c, d]) = (first.to_be_bytes(), second.to_be_bytes());
    u32::from_be_bytes(match order {
        ByteOrder::Abcd => [a, b, c, d],
        ByteOrder::Cdab => [c, d, a, b],
        ByteOrder::Badc => [b, a, d, c],
        ByteOrder::Dcba => [d, c, b, a],
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::encode;
    use super::*;
    use crate::model::{Name, Publish, PublishMode, QoS, RegisterTable};

    pub fn point(table: RegisterTable, address: u16, kind: PointType, byte_order: ByteOrder) -> Point {
        Point {
            name: Name::new(&format!("{}{address}", table.as_str())).unwrap(),
            table,
            address,
            kind,
            byte_order,
            scale: None,
            offset: None,
            unit: None,
            poll: Duration::from_secs(1),
            publish: Publish { mode: PublishMode::Device, qos: QoS::AtMostOnce, retain: true },
        }
    }

    fn holding(kind: PointType, byte_order: ByteOrder) -> Point {
        point(RegisterTable::Holding, 0, kind, byte_order)
    }

    const ORDERS: [ByteOrder; 4] = [ByteOrder::Abcd, ByteOrder::Cdab, ByteOrder::Badc, ByteOrder::Dcba];
    const KINDS: [PointType; 6] =
        [PointType::Bool, PointType::U16, PointType::I16, PointType::U32, PointType::I32, PointType::F32];

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
        let point = Point { scale: number(words[2]), offset: number(words[3]), ..holding(kind, order) };
        let sample = if words[4..].iter().any(|word| matches!(*word, "on" | "off")) {
            let bits: Vec<bool> = words[4..].iter().map(|word| *word == "on").collect();
            decode(&point, Cells::Bits(&bits))
        } else {
            let registers: Vec<u16> = words[4..].iter().map(|word| u16::from_str_radix(word, 16).unwrap()).collect();
            decode(&point, Cells::Registers(&registers))
        };
        match sample {
            Sample::Good(value) => value.to_string(),
            Sample::Uncertain(value, doubt) => format!("{value} {doubt:?}"),
            Sample::Bad(fault) => format!("bad {fault}"),
        }
    }

    fn any_kind() -> impl Strategy<Value = (PointType, ByteOrder)> {
        (prop::sample::select(&KINDS[..]), prop::sample::select(&ORDERS[..]))
    }

    proptest! {
        #[test]
        fn any_registers_give_a_sample_and_too_few_a_framing_fault(
            (kind, order) in any_kind(),
            registers in prop::collection::vec(any::<u16>(), 0..4),
            bits in prop::collection::vec(any::<bool>(), 0..3),
            skip in 0usize..5,
        ) {
            let point = holding(kind, order);
            let left = registers.len().saturating_sub(skip);
            let sample = decode(&point, Cells::Registers(&registers).from(skip));
            prop_assert_eq!(sample == Sample::Bad(Fault::Framing), left < usize::from(kind.width()));
            let sample = decode(&point, Cells::Bits(&bits).from(skip));
            prop_assert_eq!(sample == Sample::Bad(Fault::Framing), kind != PointType::Bool || bits.len() <= skip);
        }

        #[test]
        fn decoding_what_was_encoded_gives_the_value_back(
            (kind, order) in any_kind(),
            number in any::<i64>(),
            float in any::<f32>(),
        ) {
            let value = match kind {
                PointType::Bool => Value::Bool(number & 1 == 1),
                PointType::U16 => Value::Integer(i64::from(number as u16)),
                PointType::I16 => Value::Integer(i64::from(number as i16)),
                PointType::U32 => Value::Integer(i64::from(number as u32)),
                PointType::I32 => Value::Integer(i64::from(number as i32)),
                PointType::F32 => Value::Float(if float.is_finite() { float } else { 0.5 }),
            };
            let registers = encode(kind, order, &value).expect("in range");
            prop_assert_eq!(decode(&holding(kind, order), Cells::Registers(&registers)), Sample::Good(value));
        }

        #[test]
        fn a_scale_never_rounds(raw in any::<i16>(), digits in 0u32..6) {
            let scale = Decimal::from_f64(1.0 / 10f64.powi(digits.cast_signed())).unwrap();
            let point = Point { scale: Some(scale), ..holding(PointType::I16, ByteOrder::Abcd) };
            let Sample::Good(Value::Decimal(value)) = decode(&point, Cells::Registers(&[raw.cast_unsigned()])) else {
                panic!("a scaled integer is a decimal");
            };
            let back = Decimal::scaled(&value, Some(&10f64.powi(digits.cast_signed()).to_string().parse().unwrap()), None);
            prop_assert_eq!(back, Decimal::from(raw));
        }
    }
}
