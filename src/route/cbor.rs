//! JSON as CBOR (RFC 8949), with every digit: what a double would round becomes a decimal fraction (tag 4, §3.4.4). Pure.

use super::json::Json;

/// Appends one item.
pub fn write(json: &Json<'_>, out: &mut Vec<u8>) {
    match json {
        Json::Null => out.push(0xf6),
        Json::Bool(is) => out.push(if *is { 0xf5 } else { 0xf4 }),
        Json::Number(digits) => number(digits, out),
        Json::Text(text) => write_text(text, out),
        Json::List(items) => {
            head(4, items.len() as u64, out);
            items.iter().for_each(|item| write(item, out));
        }
        Json::Object(members) => {
            head(5, members.len() as u64, out);
            for (key, value) in members {
                write_text(key, out);
                write(value, out);
            }
        }
    }
}

/// Appends a text.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    head(3, text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

/// Appends a byte string.
pub fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    head(2, bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Begins an array of `items`.
pub fn begin_array(items: usize, out: &mut Vec<u8>) {
    head(4, items as u64, out);
}

/// The major type and its argument in the fewest bytes (§4.2.1).
fn head(major: u8, argument: u64, out: &mut Vec<u8>) {
    let major = major << 5;
    match argument {
        0..24 => out.push(major | argument as u8),
        24..=0xff => out.extend([major | 24, argument as u8]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend((argument as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend((argument as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend(argument.to_be_bytes());
        }
    }
}

fn number(digits: &str, out: &mut Vec<u8>) {
    let is_whole = !digits.contains(['.', 'e', 'E']) && digits != "-0";
    match Exact::of(digits) {
        Some(Exact { mantissa, exponent: 0 }) if is_whole => whole(mantissa, out),
        // So many digits survive the way through a double and back (IEEE 754: 15), near the ends of its range fewer.
        Some(Exact { mantissa, .. }) if mantissa.unsigned_abs() < 10u128.pow(15) && survives(digits) => {
            float(digits, out);
        }
        Some(Exact { mantissa, exponent }) => {
            fraction(exponent.into(), out);
            whole(mantissa, out);
        }
        None => long(digits, out),
    }
}

/// Begins a decimal fraction; its mantissa follows.
fn fraction(exponent: i128, out: &mut Vec<u8>) {
    head(6, 4, out);
    begin_array(2, out);
    whole(exponent, out);
}

/// Whether a double says the same number in its shortest digits.
fn survives(digits: &str) -> bool {
    let least = |digits: &str| {
        let Exact { mut mantissa, mut exponent } = Exact::of(digits)?;
        while mantissa != 0 && mantissa % 10 == 0 {
            (mantissa, exponent) = (mantissa / 10, exponent + 1);
        }
        Some((mantissa, if mantissa == 0 { 0 } else { exponent }))
    };
    digits.parse::<f64>().is_ok_and(|double| double.is_finite() && least(digits) == least(&format!("{double:e}")))
}

/// A number longer than that is a text: no measurement has one, and turning it to bits costs the square of its length.
const MAX_DIGITS: usize = 200;

/// A number of more than 38 digits, or with an exponent of more than three.
fn long(digits: &str, out: &mut Vec<u8>) {
    let (number, power) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let (before, after) = number.split_once('.').unwrap_or((number, ""));
    let is_negative = before.starts_with('-');
    let all = format!("{}{after}", before.trim_start_matches('-'));
    let exponent = power.parse::<i32>().map(|power| i128::from(power) - after.len() as i128);
    let (Ok(exponent), true) = (exponent, all.len() <= MAX_DIGITS) else { return write_text(digits, out) };
    if let Ok(mantissa) = format!("{}{all}", if is_negative { "-" } else { "" }).parse::<i128>() {
        if mantissa == 0 {
            return float("0.0", out);
        }
        fraction(exponent, out);
        return whole(mantissa, out);
    }
    // Base 256, the least first.
    let mut bytes: Vec<u8> = Vec::new();
    for digit in all.bytes() {
        let mut carry = u32::from(digit - b'0');
        for byte in &mut bytes {
            carry += u32::from(*byte) * 10;
            *byte = carry as u8;
            carry >>= 8;
        }
        if carry > 0 {
            bytes.push(carry as u8);
        }
    }
    if exponent != 0 {
        fraction(exponent, out);
    }
    if is_negative {
        // A negative bignum is -1 - n (§3.4.3).
        for byte in &mut bytes {
            let (less, borrows) = byte.overflowing_sub(1);
            *byte = less;
            if !borrows {
                break;
            }
        }
    }
    head(6, 2 + u64::from(is_negative), out);
    bytes.reverse();
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
    write_bytes(&bytes[start..], out);
}

fn whole(number: i128, out: &mut Vec<u8>) {
    let (major, magnitude) = if number < 0 { (1, !number as u128) } else { (0, number as u128) };
    match u64::try_from(magnitude) {
        Ok(small) => head(major, small, out),
        Err(_) => {
            // A bignum (§3.4.3).
            head(6, 2 + u64::from(major), out);
            let bytes = magnitude.to_be_bytes();
            let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
            write_bytes(&bytes[start..], out);
        }
    }
}

fn float(digits: &str, out: &mut Vec<u8>) {
    let double = digits.parse::<f64>().unwrap_or(f64::NAN);
    let single = double as f32;
    if f64::from(single).to_bits() == double.to_bits() {
        out.push(0xfa);
        out.extend(single.to_be_bytes());
    } else {
        out.push(0xfb);
        out.extend(double.to_be_bytes());
    }
}

/// A decimal number as `mantissa × 10^exponent`, without zeros at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exact {
    pub mantissa: i128,
    pub exponent: i32,
}

impl Exact {
    /// Of a JSON number; `None` beyond 38 digits or an exponent of four.
    pub(super) fn of(digits: &str) -> Option<Exact> {
        let (number, power) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let power: i32 = power.parse().ok().filter(|power: &i32| power.abs() < 1_000)?;
        let mut mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
        let mut exponent = power - i32::try_from(fraction.len()).ok()?;
        if !fraction.is_empty() || power != 0 {
            while exponent < 0 && mantissa != 0 && mantissa % 10 == 0 {
                mantissa /= 10;
                exponent += 1;
            }
        }
        Some(Exact { mantissa, exponent: if mantissa == 0 { 0 } else { exponent } })
    }

    /// Both together, exactly; `None` beyond 38 digits.
    pub(super) fn plus(self, other: Exact) -> Option<Exact> {
        let exponent = self.exponent.min(other.exponent);
        let at = |number: Exact| {
            let power = 10i128.checked_pow(u32::try_from(number.exponent - exponent).ok()?)?;
            number.mantissa.checked_mul(power)
        };
        Some(Exact { mantissa: at(self)?.checked_add(at(other)?)?, exponent })
    }

    /// In plain digits.
    pub(super) fn text(self) -> String {
        let Exact { mantissa, exponent } = self;
        let digits = mantissa.unsigned_abs().to_string();
        let sign = if mantissa < 0 { "-" } else { "" };
        match usize::try_from(-exponent) {
            Ok(0) => format!("{sign}{digits}"),
            Ok(places) if places < 40 => {
                let padded = format!("{digits:0>width$}", width = places + 1);
                let (whole, fraction) = padded.split_at(padded.len() - places);
                format!("{sign}{whole}.{fraction}")
            }
            _ => format!("{sign}{digits}e{exponent}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(json: &str) -> String {
        let mut out = Vec::new();
        write(&Json::parse(json.as_bytes()).expect("valid"), &mut out);
        out.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The first twelve are of RFC 8949, appendix A.
    #[test]
    fn items_are_as_the_specification_writes_them() {
        for (json, expected) in [
            ("0", "00"),
            ("23", "17"),
            ("24", "1818"),
            ("1000", "1903e8"),
            ("1000000000000", "1b000000e8d4a51000"),
            ("18446744073709551615", "1bffffffffffffffff"),
            ("18446744073709551616", "c249010000000000000000"),
            ("-18446744073709551616", "3bffffffffffffffff"),
            ("-1000", "3903e7"),
            ("[1,[2,3],[4,5]]", "8301820203820405"),
            (r#"{"a":1,"b":[2,3]}"#, "a26161016162820203"),
            (r#"["a",{"b":"c"},false,true,null]"#, "856161a161626163f4f5f6"),
            ("\"ü\"", "62c3bc"),
            ("1.1", "fb3ff199999999999a"),
            ("0.5", "fa3f000000"),
            // Through a double, it would end in .616.
            ("18446744073709551.615", "c482221bffffffffffffffff"),
            ("-0", "fa80000000"),
            ("1e400", "c48219019001"),
            ("-1e-400", "c48239018f20"),
            ("5e-324", "fb0000000000000001"),
            ("123456789012345e-330", "c4823901491b00007048860ddf79"),
            // 2^128, and a byte more below zero.
            ("340282366920938463463374607431768211456", "c2510100000000000000000000000000000000"),
            ("-340282366920938463463374607431768211457", "c3510100000000000000000000000000000000"),
            ("340282366920938463463374607431768211456.5", "c48220c2510a00000000000000000000000000000005"),
            ("0e9999", "fa00000000"),
            ("1e9999", "c48219270f01"),
        ] {
            assert_eq!(hex(json), expected, "{json}");
        }
    }

    #[test]
    fn sums_are_exact() {
        let sum = |a: &str, b: &str| Exact::of(a).and_then(|a| a.plus(Exact::of(b)?)).map(Exact::text);
        assert_eq!(sum("0.1", "0.2").as_deref(), Some("0.3"));
        assert_eq!(sum("18446744073709551615", "0.5").as_deref(), Some("18446744073709551615.5"));
        assert_eq!(sum("1e3", "-0.25").as_deref(), Some("999.75"));
        assert_eq!(sum("1e900", "1"), None);
    }
}
