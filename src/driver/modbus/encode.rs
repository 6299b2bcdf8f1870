//! A value becomes registers: for simulators and tests, and the mirror of `decode`.

use crate::model::{ByteOrder, PointType, Value};

/// The registers that hold `value`, in the order of their addresses; `None` when the type can't hold it exactly.
pub fn encode(kind: PointType, order: ByteOrder, value: &Value) -> Option<Vec<u16>> {
    let registers = match (kind, value) {
        (PointType::Bool, Value::Bool(on)) => vec![u16::from(*on)],
        (PointType::U16, Value::Integer(i)) => vec![u16::try_from(*i).ok()?],
        (PointType::I16, Value::Integer(i)) => vec![i16::try_from(*i).ok()?.cast_unsigned()],
        (PointType::U32, Value::Integer(i)) => split(order, u32::try_from(*i).ok()?),
        (PointType::I32, Value::Integer(i)) => split(order, i32::try_from(*i).ok()?.cast_unsigned()),
        (PointType::F32, Value::Float(x)) => split(order, x.to_bits()),
        _ => return None,
    };
    Some(registers)
}

fn split(order: ByteOrder, number: u32) -> Vec<u16> {
    let [a, b, c, d] = number.to_be_bytes();
    let bytes = match order {
        ByteOrder::Abcd => [a, b, c, d],
        ByteOrder::Cdab => [c, d, a, b],
        ByteOrder::Badc => [b, a, d, c],
        ByteOrder::Dcba => [d, c, b, a],
    };
    vec![u16::from_be_bytes([bytes[0], bytes[1]]), u16::from_be_bytes([bytes[2], bytes[3]])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_does_not_fit_is_not_bent_to_fit() {
        assert_eq!(encode(PointType::U16, ByteOrder::Abcd, &Value::Integer(65_536)), None);
        assert_eq!(encode(PointType::I16, ByteOrder::Abcd, &Value::Integer(-32_769)), None);
        assert_eq!(encode(PointType::U32, ByteOrder::Abcd, &Value::Integer(-1)), None);
        assert_eq!(encode(PointType::U16, ByteOrder::Abcd, &Value::Bool(true)), None);
    }

    #[test]
    fn the_byte_order_names_the_bytes_as_they_lie_in_the_registers() {
        let number = Value::Integer(0x0A0B_0C0D);
        for (order, registers) in [
            (ByteOrder::Abcd, [0x0A0B, 0x0C0D]),
            (ByteOrder::Cdab, [0x0C0D, 0x0A0B]),
            (ByteOrder::Badc, [0x0B0A, 0x0D0C]),
            (ByteOrder::Dcba, [0x0D0C, 0x0B0A]),
        ] {
            assert_eq!(encode(PointType::U32, order, &number), Some(registers.to_vec()), "{order:?}");
        }
    }
}
