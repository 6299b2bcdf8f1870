//! The JSON that readings leave as (`DESIGN.md` §5). Names are plain ASCII ([`Name`]), so only units need escaping.

use std::fmt::Write;

use crate::model::{Fault, Name, Sample, Stamp, Value, mark_unsynced};

/// `{"ts":…,"values":{…},"bad":{…}}`: every point of a device as last read. Both objects are always there.
pub(super) fn snapshot<'a>(stamp: Stamp, points: impl Iterator<Item = (&'a Name, &'a Sample)> + Clone) -> String {
    let mut out = String::with_capacity(64 + 24 * points.size_hint().0);
    write_stamp(&mut out, stamp);
    out.push_str(",\"values\":{");
    let values = points.clone().filter_map(|(name, sample)| match sample {
        Sample::Good(value) => Some((name, value)),
        Sample::Bad(_) => None,
    });
    for (i, (name, value)) in values.enumerate() {
        put_name(&mut out, i, name);
        put_value(&mut out, value);
    }
    out.push_str("},\"bad\":{");
    let faults = points.filter_map(|(name, sample)| match sample {
        Sample::Bad(fault) => Some((name, fault)),
        _ => None,
    });
    for (i, (name, fault)) in faults.enumerate() {
        put_name(&mut out, i, name);
        put(&mut out, format_args!("\"{fault}\""));
    }
    out.push_str("}}");
    out
}

/// `{"ts":…,"value":21.4,"quality":"good","unit":"°C"}`, or `{"ts":…,"quality":"bad","fault":"timeout"}`.
pub fn point(stamp: Stamp, sample: &Sample, unit: Option<&str>) -> String {
    let mut out = String::with_capacity(96);
    write_stamp(&mut out, stamp);
    match sample {
        Sample::Good(value) => put(&mut out, format_args!(",\"value\":{value},\"quality\":\"good\"")),
        Sample::Bad(fault) => put(&mut out, format_args!(",\"quality\":\"bad\",\"fault\":\"{fault}\"")),
    }
    if let Sample::Bad(Fault::NotInEnum(raw)) = sample {
        put(&mut out, format_args!(",\"raw\":{raw}"));
    }
    if let (Some(unit), false) = (unit, matches!(sample, Sample::Bad(_))) {
        put(&mut out, format_args!(",\"unit\":{}", serde_json::Value::from(unit)));
    }
    out.push('}');
    out
}

fn write_stamp(out: &mut String, stamp: Stamp) {
    put(out, format_args!("{{\"ts\":\"{}\"", stamp.wall));
    if !stamp.synced {
        mark_unsynced(out, stamp.since_boot);
    }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a String can't fail");
}

/// `,"name":`
fn put_name(out: &mut String, index: usize, name: &Name) {
    out.push_str(if index == 0 { "\"" } else { ",\"" });
    out.push_str(name);
    out.push_str("\":");
}

/// As [`Value`] prints, past the formatting machinery where that is most of the work.
fn put_value(out: &mut String, value: &Value) {
    match value {
        Value::Bool(is_set) => out.push_str(if *is_set { "true" } else { "false" }),
        Value::Integer(whole @ 0..=99_999) => {
            let mut digits = [0; 5];
            let mut at = digits.len();
            let mut left = *whole as u32;
            loop {
                at -= 1;
                digits[at] = b'0' + (left % 10) as u8;
                left /= 10;
                if left == 0 {
                    break;
                }
            }
            digits[at..].iter().for_each(|digit| out.push(char::from(*digit)));
        }
        other => put(out, format_args!("{other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Monotonic, Timestamp};

    const AT: Stamp = Stamp {
        monotonic: Monotonic::from_millis(1),
        since_boot: None,
        wall: Timestamp(1_795_187_045_123),
        synced: true,
    };

    #[test]
    fn a_snapshot_holds_good_values_and_the_faults_of_the_others() {
        let names = ["pump", "supply_temperature", "flow"].map(|n| Name::new(n).unwrap());
        let samples = [Sample::Good(Value::Bool(true)), Sample::Good(Value::Float(21.4)), Sample::Bad(Fault::Timeout)];
        assert_eq!(
            snapshot(AT, names.iter().zip(&samples)),
            r#"{"ts":"2026-11-20T15:04:05.123Z","values":{"pump":true,"supply_temperature":21.4},"bad":{"flow":"timeout"}}"#
        );
    }

    #[test]
    fn a_point_carries_value_and_unit_when_good_and_only_the_fault_when_bad() {
        assert_eq!(
            point(AT, &Sample::Good(Value::Integer(7)), Some("\"Nm\"")),
            r#"{"ts":"2026-11-20T15:04:05.123Z","value":7,"quality":"good","unit":"\"Nm\""}"#
        );
        assert_eq!(
            point(AT, &Sample::Bad(Fault::IllegalAddress), Some("°C")),
            r#"{"ts":"2026-11-20T15:04:05.123Z","quality":"bad","fault":"illegal_address"}"#
        );
    }

    #[test]
    fn a_snapshot_prints_values_as_they_print() {
        let name = Name::new("v").unwrap();
        for whole in [0, 7, 10, 65_535, 99_999, 100_000, -1, i128::from(u64::MAX)] {
            let sample = Sample::Good(Value::Integer(whole));
            assert!(snapshot(AT, std::iter::once((&name, &sample))).contains(&format!("{{\"v\":{whole}}}")), "{whole}");
        }
    }

    #[test]
    fn a_code_without_a_name_is_shown_where_there_is_room_for_it() {
        let sample = Sample::Bad(Fault::NotInEnum(-7));
        assert_eq!(
            point(AT, &sample, None),
            r#"{"ts":"2026-11-20T15:04:05.123Z","quality":"bad","fault":"not_in_enum","raw":-7}"#
        );
        let name = Name::new("mode").unwrap();
        assert_eq!(
            snapshot(AT, std::iter::once((&name, &sample))),
            r#"{"ts":"2026-11-20T15:04:05.123Z","values":{},"bad":{"mode":"not_in_enum"}}"#
        );
    }

    #[test]
    fn a_stamp_of_a_clock_that_was_never_set_says_so() {
        let unset = Stamp { wall: Timestamp(5_000), synced: false, ..AT };
        assert_eq!(
            point(unset, &Sample::Good(Value::Integer(7)), None),
            r#"{"ts":"1970-01-01T00:00:05.000Z","clock":"unsynced","value":7,"quality":"good"}"#
        );
    }
}
