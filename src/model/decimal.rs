//! Exact decimals, so that 214 × 0.1 is 21.4 and a counter keeps every digit. The only file that names bigdecimal.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bigdecimal::{BigDecimal, ToPrimitive, Zero};

/// Scales, offsets and limits are written by people; more digits than this are a mistake or an attack.
const MAX_TYPED_LEN: usize = 64;
/// Powers of ten beyond this can't come from a register, and would let a short text ask for a huge number.
const MAX_TYPED_EXPONENT: u64 = 400;

/// An exact decimal number. Printing keeps the digits that its making gave it: 210 × 0.1 prints as `21.0`.
///
/// As small as a pointer: a hundred thousand points have places for several, and most stay empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(Arc<BigDecimal>);

/// Why a text is no decimal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not of the form `-12.5` or `1e-3`.
    #[error("{0:?} is not a decimal number such as 0.1, -40 or 1e-3")]
    Syntax(String),
    /// More digits, or a larger exponent, than any register needs.
    #[error("{0:?} has more digits than any scale needs")]
    TooLong(String),
}

impl Decimal {
    /// `raw × scale + offset`, exactly.
    pub fn scaled(raw: &Decimal, scale: Option<&Decimal>, offset: Option<&Decimal>) -> Decimal {
        let scaled = match scale {
            Some(scale) => &*raw.0 * &*scale.0,
            None => (*raw.0).clone(),
        };
        Decimal::of(match offset {
            Some(offset) => scaled + &*offset.0,
            None => scaled,
        })
    }

    /// This times 10 to the power of `power`, exactly.
    pub fn times_power_of_ten(&self, power: i16) -> Decimal {
        let (digits, scale) = self.0.as_bigint_and_exponent();
        Decimal::of(BigDecimal::new(digits, scale - i64::from(power)))
    }

    /// This less `other`, exactly.
    pub fn minus(&self, other: &Decimal) -> Decimal {
        Decimal::of(&*self.0 - &*other.0)
    }

    /// This divided by `divisor`, to 100 digits. `None` when the divisor is 0.
    pub fn divided_by(&self, divisor: &Decimal) -> Option<Decimal> {
        (!divisor.is_zero()).then(|| Decimal::of(&*self.0 / &*divisor.0))
    }

    /// How often `step` goes into this: `None` when that is no whole number, or one beyond 128 bits, or the step is 0.
    pub fn whole_steps(&self, step: &Decimal) -> Option<i128> {
        if step.is_zero() || !(&*self.0 % &*step.0).is_zero() {
            return None;
        }
        (&*self.0 / &*step.0).to_i128()
    }

    /// The nearest whole number.
    pub fn nearest_whole(&self) -> Decimal {
        Decimal::of(self.0.round(0))
    }

    /// The distance from 0.
    pub fn magnitude(&self) -> Decimal {
        Decimal::of(self.0.abs())
    }

    /// The shortest decimal that reads back as this `f32`; `None` for NaN and the infinities.
    pub fn from_f32(value: f32) -> Option<Decimal> {
        value.is_finite().then(|| Decimal::of_float_text(&format!("{value:e}")))
    }

    /// The shortest decimal that reads back as this `f64`; `None` for NaN and the infinities.
    pub fn from_f64(value: f64) -> Option<Decimal> {
        value.is_finite().then(|| Decimal::of_float_text(&format!("{value:e}")))
    }

    fn of_float_text(text: &str) -> Decimal {
        Decimal::of(BigDecimal::from_str(text).expect("Rust prints finite floats as digits, a dot and an exponent"))
    }

    fn of(number: BigDecimal) -> Decimal {
        Decimal(Arc::new(number))
    }

    /// Whether this is 0; a scale of zero would turn every value into the offset.
    pub fn is_zero(&self) -> bool {
        *self.0 == 0
    }

    /// The nearest `f32`: an infinity beyond the largest.
    pub fn to_nearest_f32(&self) -> f32 {
        self.to_string().parse().expect("a decimal prints as digits, a dot and an exponent")
    }

    /// The nearest `f64`: an infinity beyond the largest.
    pub fn to_nearest_f64(&self) -> f64 {
        self.to_string().parse().expect("a decimal prints as digits, a dot and an exponent")
    }

    /// The nearest `f64`, for comparisons that need no exactness.
    pub fn to_f64(&self) -> f64 {
        self.0.to_f64().unwrap_or(f64::NAN)
    }
}

macro_rules! from_integer {
    ($($t:ty),*) => {$(
        impl From<$t> for Decimal {
            fn from(value: $t) -> Decimal {
                Decimal::of(BigDecimal::from(value))
            }
        }
    )*};
}
from_integer!(u16, i16, u32, i32, u64, i64, i128);

impl FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Decimal, DecimalError> {
        if text.len() > MAX_TYPED_LEN {
            return Err(DecimalError::TooLong(text.into()));
        }
        // bigdecimal also takes `1_000`, `+.5e+1`, and `.-5` as -0.05; a YAML number has no underscores, so neither have we.
        if text.contains('_') || text.contains(".+") || text.contains(".-") {
            return Err(DecimalError::Syntax(text.into()));
        }
        let parsed = BigDecimal::from_str(text).map_err(|_| DecimalError::Syntax(text.into()))?;
        if parsed.fractional_digit_count().unsigned_abs() > MAX_TYPED_EXPONENT {
            return Err(DecimalError::TooLong(text.into()));
        }
        Ok(Decimal::of(parsed))
    }
}

impl fmt::Display for Decimal {
    /// A JSON number: plain digits while that is readable, an exponent for the very large and very small.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (digits, scale) = self.0.as_bigint_and_exponent();
        let digits = digits.to_string();
        let magnitude = digits.trim_start_matches('-').len() as i64 - scale;
        if (-9..=40).contains(&magnitude) || digits == "0" {
            f.write_str(&self.0.to_plain_string())
        } else {
            write!(f, "{digits}e{}", -scale)
        }
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Decimal {
        text.parse().expect("a literal of this test")
    }

    #[test]
    fn scaling_is_exact_and_keeps_the_resolution_of_the_scale() {
        let scaled = |raw: i32, scale: &str, offset: &str| {
            Decimal::scaled(&raw.into(), Some(&d(scale)), Some(&d(offset))).to_string()
        };
        assert_eq!(scaled(214, "0.1", "0"), "21.4");
        assert_eq!(scaled(210, "0.1", "0"), "21.0");
        assert_eq!(scaled(3, "0.1", "0.2"), "0.5");
        assert_eq!(scaled(-32768, "0.01", "-40"), "-367.68");
        assert_eq!(scaled(7, "1000", "0"), "7000");
    }

    #[test]
    fn a_64_bit_counter_keeps_every_digit() {
        let raw = Decimal::from(u64::MAX);
        assert_eq!(raw.to_string(), "18446744073709551615");
        assert_eq!(Decimal::scaled(&raw, Some(&d("0.001")), None).to_string(), "18446744073709551.615");
    }

    #[test]
    fn a_float_is_its_shortest_text_and_not_its_binary_expansion() {
        assert_eq!(Decimal::from_f32(21.4).map(|v| v.to_string()).as_deref(), Some("21.4"));
        assert_eq!(Decimal::from_f32(f32::NAN), None);
        assert_eq!(Decimal::from_f32(f32::INFINITY), None);
        let tiny = Decimal::from_f32(f32::MIN_POSITIVE).expect("finite");
        assert_eq!(Decimal::scaled(&tiny, Some(&d("0.1")), None).to_string().parse::<f64>(), Ok(1.1754944e-39));
        let huge = Decimal::from_f32(f32::MAX).expect("finite");
        assert_eq!(huge.to_string().parse::<f32>(), Ok(f32::MAX));
    }

    #[test]
    fn texts_that_are_no_decimals_are_refused() {
        for bad in ["", "abc", "0x10", "1_000", "1.2.3", ".-5", "+.+5", "NaN", "inf"] {
            assert_eq!(bad.parse::<Decimal>(), Err(DecimalError::Syntax(bad.into())));
        }
        assert!(matches!("1e99999".parse::<Decimal>(), Err(DecimalError::TooLong(_))));
        assert!(matches!("1".repeat(65).parse::<Decimal>(), Err(DecimalError::TooLong(_))));
        // The exponents at the ends of 64 bits.
        for huge in ["1e9223372036854775807", "1e9223372036854775808", "-1e-9223372036854775807"] {
            assert!(matches!(huge.parse::<Decimal>(), Err(DecimalError::TooLong(_))), "{huge}");
        }
    }
}
