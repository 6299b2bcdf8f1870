//! The sample of a point in a telegram. Pure.

use std::sync::Arc;

use super::super::modbus::{Cells, decode_as};
use super::nmea;
use crate::model::{
    Bits, ByteOrder, Decimal, Fault, Find, FrameSource, LineSource, Naming, Point, PointType, RegisterSource,
    RegisterTable, Sample, Sentinel, Source, TextType, Value,
};

/// The sample of a point in a line or frame; `None` when the telegram is not one of the point's.
///
/// Bad with [`Fault::NotANumber`] when the text of a number is none, [`Fault::OutOfRange`] when it is none of its type,
/// [`Fault::Framing`] when a switch is neither on nor off or a frame is too short, and as [`decode_as`] says for frames.
pub fn extract(point: &Point, telegram: &[u8]) -> Option<Sample> {
    match &point.source {
        Source::Register(_) => None,
        Source::Line(line) => of_line(point, line, telegram),
        Source::Frame(frame) => of_frame(point, frame, telegram),
    }
}

fn of_line(point: &Point, source: &LineSource, line: &[u8]) -> Option<Sample> {
    let text = match &source.find {
        Find::Whole => text(line),
        Find::Pattern(pattern) => text(pattern.find(line)?),
        Find::Nmea(field) => match nmea::field(field, line)? {
            Ok(text) => text,
            Err(fault) => return Some(Sample::Bad(fault)),
        },
    };
    Some(value(point, source, &text).map_or_else(Sample::Bad, Sample::Good))
}

/// As UTF-8; bytes that are none become U+FFFD.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.trim_ascii()).into_owned()
}

fn value(point: &Point, source: &LineSource, text: &str) -> Result<Value, Fault> {
    match source.kind {
        TextType::Bool => switch(text).map(Value::Bool).ok_or(Fault::Framing),
        TextType::Text => {
            let is_sentinel = |sentinel: &Sentinel| matches!(sentinel, Sentinel::Text(marked) if **marked == *text);
            if point.invalid.iter().any(is_sentinel) {
                return Err(Fault::Sentinel);
            }
            Ok(Value::Text(text.into()))
        }
        TextType::Number => {
            let number = number(text, source.decimal_comma)?;
            if point.invalid.iter().any(|sentinel| is_marked(sentinel, &number)) {
                return Err(Fault::Sentinel);
            }
            let value = scaled(source, number);
            // JSON knows more numbers than those who read it.
            if value.to_f64().is_finite() { Ok(Value::Decimal(value)) } else { Err(Fault::OutOfRange) }
        }
        TextType::Integer { min, max } => {
            let number = number(text, source.decimal_comma)?;
            if point.invalid.iter().any(|sentinel| is_marked(sentinel, &number)) {
                return Err(Fault::Sentinel);
            }
            let whole = number.whole_steps(&Decimal::from(1_u16)).filter(|whole| (min..=max).contains(whole));
            let whole = whole.ok_or(Fault::OutOfRange)?;
            match &point.naming {
                Some(Naming::Enum(names)) => {
                    let code = i64::try_from(whole).map_err(|_| Fault::OutOfRange)?;
                    names.name(code).map(|name| Value::Text(Arc::clone(name))).ok_or(Fault::NotInEnum(code))
                }
                // The low 64 bits, whatever the sign: a mask is a pattern and not a number.
                Some(Naming::Bits(names)) => Ok(Value::Bits(Bits::new(Arc::clone(names), whole as u64))),
                None if source.scale.is_none() && source.offset.is_none() => Ok(Value::Integer(whole)),
                None => Ok(Value::Decimal(scaled(source, number))),
            }
        }
    }
}

fn scaled(source: &LineSource, number: Decimal) -> Decimal {
    Decimal::scaled(&number, source.scale.as_ref(), source.offset.as_ref())
}

fn is_marked(sentinel: &Sentinel, number: &Decimal) -> bool {
    match sentinel {
        Sentinel::Integer(marked) => Decimal::from(*marked) == *number,
        Sentinel::Float(marked) => Decimal::from_f64(*marked).is_some_and(|marked| marked == *number),
        Sentinel::Pattern(_) | Sentinel::Text(_) => false,
    }
}

/// A decimal number as instruments print it: `+  12.50`, `-1.2E-03`.
fn number(text: &str, decimal_comma: bool) -> Result<Decimal, Fault> {
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'+') => ("", &text[1..]),
        Some(b'-') => ("-", &text[1..]),
        _ => ("", text),
    };
    // Blanks stand between sign and digits on many displays, and nowhere else.
    let digits = digits.trim_start();
    if !digits.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '.' | ',')) {
        return Err(Fault::NotANumber);
    }
    let digits = if decimal_comma { digits.replace('.', "_").replace(',', ".") } else { digits.to_owned() };
    format!("{sign}{digits}").parse().map_err(|_| Fault::NotANumber)
}

fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "on" | "yes" => Some(true),
        "0" | "false" | "off" | "no" => Some(false),
        _ => None,
    }
}

fn of_frame(point: &Point, source: &FrameSource, frame: &[u8]) -> Option<Sample> {
    let begins = frame.len() >= source.begins.len()
        && source.begins.iter().zip(frame).all(|(wanted, byte)| wanted.is_none_or(|wanted| wanted == *byte));
    if !begins {
        return None;
    }
    let width = source.width();
    let Some(own) = frame.get(source.at..source.at + width) else { return Some(Sample::Bad(Fault::Framing)) };
    let register = RegisterSource {
        scale: source.scale.clone(),
        offset: source.offset.clone(),
        ..RegisterSource::new(RegisterTable::Holding, 0, source.kind)
    };
    let registers = registers(own, source);
    Some(decode_as(&register, point, Cells::Registers(&registers), 0))
}

/// The bytes as registers in Modbus's order, so that what reads those reads them too.
fn registers(own: &[u8], source: &FrameSource) -> Vec<u16> {
    let is_number = !matches!(source.kind, PointType::String { .. } | PointType::Bytes { .. });
    let mut bytes = own.to_vec();
    match source.byte_order {
        _ if !is_number => {}
        ByteOrder::Abcd => {}
        ByteOrder::Dcba => bytes.reverse(),
        ByteOrder::Badc => bytes.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1)),
        ByteOrder::Cdab => {
            bytes.reverse();
            bytes.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
        }
    }
    if let [only] = bytes[..] {
        return vec![if is_number { only.into() } else { u16::from_be_bytes([only, 0]) }];
    }
    bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Encoding, EnumNames, Half, Hearing, Name, NmeaField, Pattern};

    fn point(source: Source) -> Point {
        Point::new(Name::new("p").unwrap(), source)
    }

    fn line(find: &str, kind: TextType) -> LineSource {
        let find = Find::Pattern(Pattern::new(find, "p").unwrap());
        LineSource { hearing: Hearing::default(), find, kind, decimal_comma: false, scale: None, offset: None }
    }

    fn read(source: &LineSource, text: &str) -> String {
        show(extract(&point(Source::Line(Box::new(source.clone()))), text.as_bytes()))
    }

    fn show(sample: Option<Sample>) -> String {
        match sample {
            None => "none".into(),
            Some(Sample::Good(value)) => value.to_string(),
            Some(Sample::Bad(fault)) => format!("!{fault}"),
        }
    }

    const I64: TextType = TextType::Integer { min: i64::MIN as i128, max: i64::MAX as i128 };
    const U64: TextType = TextType::Integer { min: 0, max: u64::MAX as i128 };

    #[test]
    fn numbers_keep_every_digit_that_was_sent() {
        let weight = line(r"^ST,GS,\s*(?<value>[+-]?\s*[0-9.]+)\s*kg", TextType::Number);
        assert_eq!(read(&weight, "ST,GS,+  12.50kg"), "12.50");
        assert_eq!(read(&weight, "ST,GS, -0.10 kg"), "-0.10");
        assert_eq!(read(&weight, "US,GS,+  12.50kg"), "none");
        assert_eq!(read(&weight, "ST,GS,..kg"), "!not_a_number");
        let grams = LineSource { scale: "1000".parse().ok(), offset: "0.5".parse().ok(), ..weight };
        assert_eq!(read(&grams, "ST,GS,+  12.50kg"), "12500.50");
        let any = line("(?<value>.*)", TextType::Number);
        for (text, value) in [
            ("-1.2E-03", "-0.0012"),
            ("+9.9E37", "99000000000000000000000000000000000000"),
            ("OL", "!not_a_number"),
            ("nan", "!not_a_number"),
            ("inf", "!not_a_number"),
            ("--5", "!not_a_number"),
            ("1_000", "!not_a_number"),
            ("12,5", "!not_a_number"),
            ("", "!not_a_number"),
            ("1e99999", "!not_a_number"),
            ("1e390", "!out_of_range"),
        ] {
            assert_eq!(read(&any, text), value, "{text}");
        }
        let german = LineSource { decimal_comma: true, ..any };
        assert_eq!((read(&german, "12,50"), read(&german, "1.234,5")), ("12.50".into(), "!not_a_number".into()));
    }

    #[test]
    fn whole_numbers_have_limits_and_no_fraction() {
        let counter = line("(?<value>.*)", U64);
        assert_eq!(read(&counter, "18446744073709551615"), "18446744073709551615");
        assert_eq!(read(&counter, "18446744073709551616"), "!out_of_range");
        assert_eq!(read(&counter, "-1"), "!out_of_range");
        assert_eq!(read(&line("(?<value>.*)", I64), "-7"), "-7");
        assert_eq!(read(&line("(?<value>.*)", I64), "7.5"), "!out_of_range");
        assert_eq!(read(&line("(?<value>.*)", I64), "7.0"), "7");
    }

    #[test]
    fn switches_texts_and_codes_are_what_they_say() {
        assert_eq!(read(&line("(?<value>.*)", TextType::Bool), "ON"), "true");
        assert_eq!(read(&line("(?<value>.*)", TextType::Bool), "maybe"), "!framing");
        assert_eq!(read(&line("^(?<value>.+)$", TextType::Text), " 4006381333931 "), "\"4006381333931\"");
        let mut mode = point(Source::Line(Box::new(line("M(?<value>[0-9])", I64))));
        let names = EnumNames::new([(0, "off".into()), (1, "on".into())]);
        mode.naming = Some(Naming::Enum(Arc::new(names)));
        assert_eq!(show(extract(&mode, b"M1")), "\"on\"");
        assert_eq!(show(extract(&mode, b"M7")), "!not_in_enum");
        let mut volt = point(Source::Line(Box::new(line("(?<value>.*)", TextType::Number))));
        volt.invalid = vec![Sentinel::Float(9.9e37)];
        assert_eq!(show(extract(&volt, b"+9.90000000E+37")), "!sentinel");
    }

    #[test]
    fn nmea_fields_are_points() {
        let find = Find::Nmea(NmeaField { sentence: "GGA".into(), field: 9, degrees: false });
        let height = LineSource { find, ..line("", TextType::Number) };
        let gga = "$GPGGA,092750.000,5321.6802,N,00630.3372,W,1,8,1.03,61.7,M,55.2,M,,*76";
        assert_eq!(read(&height, gga), "61.7");
        assert_eq!(read(&height, "$GPRMC,1*00"), "none");
        assert_eq!(read(&height, &gga.replace("61.7", "61.8")), "!crc");
    }

    fn frame(at: usize, kind: PointType, byte_order: ByteOrder) -> FrameSource {
        let hearing = Hearing::default();
        FrameSource { hearing, begins: vec![], at, kind, byte_order, scale: None, offset: None }
    }

    fn bytes(source: FrameSource, frame: &[u8]) -> String {
        show(extract(&point(Source::Frame(Box::new(source))), frame))
    }

    #[test]
    fn fields_of_a_frame_are_read_at_any_byte_in_any_order() {
        let data = [0x59, 0x59, 0x2C, 0x01, 0x0A, 0x0B, 0x0C, 0x0D, 0xFF];
        assert_eq!(bytes(frame(2, PointType::U16, ByteOrder::Dcba), &data), "300");
        assert_eq!(bytes(frame(2, PointType::U16, ByteOrder::Abcd), &data), "11265");
        assert_eq!(bytes(frame(4, PointType::U32, ByteOrder::Abcd), &data), "168496141");
        assert_eq!(bytes(frame(4, PointType::U32, ByteOrder::Dcba), &data), "218893066");
        assert_eq!(bytes(frame(4, PointType::U32, ByteOrder::Cdab), &data), (0x0C0D_0A0B).to_string());
        assert_eq!(bytes(frame(4, PointType::U32, ByteOrder::Badc), &data), (0x0B0A_0D0C).to_string());
        assert_eq!(bytes(frame(8, PointType::I8(Half::Low), ByteOrder::Abcd), &data), "-1");
        assert_eq!(bytes(frame(8, PointType::Bit(7), ByteOrder::Abcd), &data), "true");
        assert_eq!(bytes(frame(8, PointType::U16, ByteOrder::Abcd), &data), "!framing");
        let text = PointType::String { length: 3, encoding: Encoding::Ascii };
        assert_eq!(bytes(frame(1, text, ByteOrder::Dcba), b"xABCy"), "\"ABC\"");
        assert_eq!(bytes(frame(1, PointType::Bytes { length: 1 }, ByteOrder::Abcd), &data), "\"59\"");
        let centimetres = FrameSource { scale: "0.01".parse().ok(), ..frame(2, PointType::U16, ByteOrder::Dcba) };
        assert_eq!(bytes(centimetres, &data), "3.00");
    }

    #[test]
    fn a_frame_that_begins_otherwise_is_another_points() {
        let begins = vec![Some(0x59), None, Some(0x2C)];
        let source = FrameSource { begins, ..frame(3, PointType::U8(Half::Low), ByteOrder::Abcd) };
        assert_eq!(bytes(source.clone(), &[0x59, 0, 0x2C, 7]), "7");
        assert_eq!(bytes(source.clone(), &[0x59, 0, 0x2D, 7]), "none");
        assert_eq!(bytes(source, &[0x59, 0]), "none");
    }

    proptest! {
        #[test]
        fn any_telegram_is_a_sample_or_none(telegram in prop::collection::vec(any::<u8>(), 0..80), at in 0usize..70) {
            for order in [ByteOrder::Abcd, ByteOrder::Cdab, ByteOrder::Badc, ByteOrder::Dcba] {
                extract(&point(Source::Frame(Box::new(frame(at, PointType::F64, order)))), &telegram);
            }
            extract(&point(Source::Line(Box::new(line("(?<value>[^,]*)", TextType::Number)))), &telegram);
            extract(&point(Source::Line(Box::new(line("(?<value>[^,]*)", I64)))), &telegram);
        }
    }
}
