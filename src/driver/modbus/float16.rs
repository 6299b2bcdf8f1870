//! IEEE 754 binary16. Pure.

/// The value of these bits. Where it is finite: the decimal with the fewest digits that reads back as the same bits, so that
/// 0x2E66 is 0.1 and not 0.099975586.
pub fn to_single(bits: u16) -> f32 {
    let exact = exactly(bits);
    if !exact.is_finite() || exact == 0.0 {
        return exact;
    }
    // Five digits tell all of them apart.
    let shorter = (0..5).filter_map(|digits| format!("{exact:.digits$e}").parse::<f32>().ok());
    shorter.into_iter().find(|candidate| from_single(*candidate) == bits).unwrap_or(exact)
}

/// The nearest binary16, ties to even; an infinity when it is beyond the largest.
pub fn from_single(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    if value.is_nan() {
        return sign | 0x7E00;
    }
    let magnitude = value.abs();
    // Halfway between the largest, 65504, and what would be the next.
    if magnitude >= 65_520.0 {
        return sign | 0x7C00;
    }
    // The unit in the last place: 2^-24 below the smallest normal number, 2^(exponent - 10) above.
    let exponent = ((bits >> 23 & 0xFF) as i32 - 127).max(-14);
    let steps = (f64::from(magnitude) * f64::from(10 - exponent).exp2()).round_ties_even() as u32;
    // A subnormal number is its steps; a normal one has its hidden bit, 1024, among them, which carries into the exponent.
    let encoded = steps + ((exponent + 14) as u32) * 1024;
    sign | u16::try_from(encoded).expect("below 65520 the exponent is at most 15, and 2048 + 29 × 1024 fit in 16 bits")
}

fn exactly(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (bits >> 10 & 0x1F, f32::from(bits & 0x3FF));
    let magnitude = match exponent {
        0 => fraction * (-24f32).exp2(),
        0x1F if fraction == 0.0 => f32::INFINITY,
        0x1F => f32::NAN,
        _ => (fraction + 1024.0) * (f32::from(exponent) - 25.0).exp2(),
    };
    sign * magnitude
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_bits_have_known_values() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x8000, -0.0),
            (0x0001, 6e-8),
            (0x03FF, 6.1e-5),
            (0x0400, 6.104e-5),
            (0x2E66, 0.1),
            (0x3C00, 1.0),
            (0x4D5C, 21.44),
            (0xC000, -2.0),
            (0x7BFF, 65500.0),
            (0x7C00, f32::INFINITY),
            (0xFC00, f32::NEG_INFINITY),
        ] {
            assert_eq!(to_single(bits).to_bits(), f32::to_bits(value), "{bits:#06x}");
        }
        assert!(to_single(0x7C01).is_nan() && to_single(0xFFFF).is_nan());
    }

    #[test]
    fn every_number_comes_back_as_the_same_bits_exactly_and_shortened() {
        for bits in 0..=u16::MAX {
            if bits & 0x7C00 == 0x7C00 && bits & 0x3FF != 0 {
                continue;
            }
            assert_eq!(from_single(exactly(bits)), bits, "{bits:#06x}");
            assert_eq!(from_single(to_single(bits)), bits, "{bits:#06x}");
        }
    }

    #[test]
    fn what_lies_between_two_numbers_goes_to_the_nearer_and_from_the_middle_to_the_even_one() {
        assert_eq!(from_single(1.0 + 1.0 / 2048.0), 0x3C00);
        assert_eq!(from_single(1.0 + 3.0 / 2048.0), 0x3C02);
        assert_eq!(from_single(65_519.9), 0x7BFF);
        assert_eq!(from_single(65_520.0), 0x7C00);
        assert_eq!(from_single((-25f32).exp2()), 0);
        assert_eq!(from_single(-1e-9), 0x8000);
    }
}
