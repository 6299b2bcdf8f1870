//! Arithmetic with JSON's numbers, which are whole and decimal as they happen to be written: both go together, whole ones of 64 bits keep every
//! digit, and 21 / 2 is what 21.0 / 2 is.

use ::cel::common::ast::operators;
use ::cel::common::types::{self, CelDouble, CelInt, CelUInt};
use ::cel::common::value::CowVal;
use ::cel::{Env, ExecutionError};

use super::{Args, Outcome};

/// What takes the place of an operation. `is_whole`: both sides are whole by nature, as `qos`, `size(…)` and hours are, and so is their quotient.
pub(super) fn ours(operator: &str, is_whole: bool) -> Option<&'static str> {
    Some(match operator {
        operators::ADD => "@add",
        operators::SUBSTRACT => "@sub",
        operators::MULTIPLY => "@mul",
        operators::DIVIDE if is_whole => "@div",
        operators::DIVIDE => "@ratio",
        _ => return None,
    })
}

/// Makes them known.
pub(super) fn add_to(env: &mut Env) {
    let any = || vec![types::DYN_TYPE, types::DYN_TYPE];
    let proof = "no function of the standard library begins with @";
    env.add_overload("@add", "ours_add", any(), add).expect(proof);
    env.add_overload("@sub", "ours_sub", any(), subtract).expect(proof);
    env.add_overload("@mul", "ours_mul", any(), multiply).expect(proof);
    env.add_overload("@div", "ours_div", any(), divide).expect(proof);
    env.add_overload("@ratio", "ours_ratio", any(), ratio).expect(proof);
}

enum Number {
    Int(i64),
    UInt(u64),
    Decimal(f64),
}

impl Number {
    fn of(value: &CowVal<'_, '_>) -> Option<Number> {
        let double = || value.downcast_ref::<CelDouble>().map(|d| Number::Decimal(*d.inner()));
        let int = || value.downcast_ref::<CelInt>().map(|i| Number::Int(*i.inner()));
        let uint = || value.downcast_ref::<CelUInt>().map(|u| Number::UInt(*u.inner()));
        int().or_else(double).or_else(uint)
    }

    fn whole(&self) -> Option<i128> {
        match self {
            Number::Int(int) => Some((*int).into()),
            Number::UInt(uint) => Some((*uint).into()),
            Number::Decimal(_) => None,
        }
    }

    fn decimal(&self) -> f64 {
        match self {
            Number::Int(int) => *int as f64,
            Number::UInt(uint) => *uint as f64,
            Number::Decimal(double) => *double,
        }
    }
}

/// With every digit as long as 64 bits hold it.
fn of_whole<'b, 'v>(whole: i128) -> CowVal<'b, 'v> {
    match (i64::try_from(whole), u64::try_from(whole)) {
        (Ok(int), _) => CowVal::owned(CelInt::from(int)),
        (_, Ok(uint)) => CowVal::owned(CelUInt::from(uint)),
        _ => CowVal::owned(CelDouble::from(whole as f64)),
    }
}

macro_rules! calculate {
    ($name:ident, $operator:tt, $checked:ident, $trait_of:ident, $method:ident, $word:literal) => {
        fn $name<'b, 'v>(args: Args<'b, 'v>) -> Outcome<'b, 'v> {
            if let (Some(left), Some(right)) = (Number::of(&args[0]), Number::of(&args[1])) {
                match (&left, &right) {
                    (Number::Int(_), Number::UInt(_)) | (Number::UInt(_), Number::Int(_)) => {
                        let whole = left.whole().zip(right.whole()).and_then(|(left, right)| left.$checked(right));
                        return whole.map(of_whole).ok_or_else(|| ExecutionError::function_error($word, "by zero"));
                    }
                    (Number::Decimal(_), Number::Decimal(_)) => {}
                    (Number::Decimal(_), _) | (_, Number::Decimal(_)) => {
                        return Ok(CowVal::owned(CelDouble::from(left.decimal() $operator right.decimal())));
                    }
                    _ => {}
                }
            }
            let unfit = || ExecutionError::no_such_overload($word, args.iter().map(|a| a.get_type().name().to_owned()).collect());
            let able = args[0].$trait_of().ok_or_else(unfit)?;
            Ok(CowVal::Owned(able.$method(args[1].as_ref())?.into_owned()))
        }
    };
}
calculate!(add, +, checked_add, as_adder, add, "+");
calculate!(subtract, -, checked_sub, as_subtractor, sub, "-");
calculate!(multiply, *, checked_mul, as_multiplier, mul, "*");
calculate!(divide, /, checked_div, as_divider, div, "/");

/// Whole numbers that don't go into each other make a decimal.
fn ratio<'b, 'v>(args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    if let (Some(left), Some(right)) = (Number::of(&args[0]), Number::of(&args[1]))
        && let (Some(over), Some(under)) = (left.whole(), right.whole())
        && under != 0
    {
        return Ok(match over % under {
            0 => of_whole(over / under),
            _ => CowVal::owned(CelDouble::from(left.decimal() / right.decimal())),
        });
    }
    divide(args)
}
