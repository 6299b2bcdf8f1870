//! Quantities with a unit: durations (`250ms 1s 5m 30d`) and sizes (`64KiB 2GiB`). A number without a unit is refused.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::scalar::{Read, Wrong};
use super::tree::Scalar;
use super::types::Rate;
use super::yaml::short;

const DURATIONS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [(&str, u64); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// What people write instead of our units.
const FOREIGN: [(&str, &str); 22] = [
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("hour", "h"),
    ("hours", "h"),
    ("hr", "h"),
    ("day", "d"),
    ("days", "d"),
    ("msec", "ms"),
    ("k", "KiB"),
    ("kb", "KiB"),
    ("m", "MiB"),
    ("mb", "MiB"),
    ("g", "GiB"),
    ("gb", "GiB"),
    ("t", "TiB"),
    ("tb", "TiB"),
];

/// A duration within limits.
pub(super) struct Span(pub(super) RangeInclusive<Duration>);

impl Span {
    pub(super) const fn millis(range: RangeInclusive<u64>) -> Span {
        Span(Duration::from_millis(*range.start())..=Duration::from_millis(*range.end()))
    }
}

impl Read for Span {
    type Out = Duration;

    fn wanted(&self) -> String {
        let [from, to] = [self.0.start(), self.0.end()].map(|d| print(d.as_millis() as u64, &DURATIONS));
        format!("a duration from {from} to {to}")
    }

    fn read(&self, scalar: &Scalar) -> Result<Duration, Wrong> {
        let millis = quantity(&scalar.text, &DURATIONS, "a duration such as 250ms, 1s, 5m, 12h or 30d")?;
        let duration = millis.map(Duration::from_millis).unwrap_or(Duration::MAX);
        in_range(duration, &self.0, &scalar.text)
    }
}

/// Whole seconds from 1 to 65,535, as MQTT's keep-alive counts them.
pub(super) struct KeepAlive;

impl Read for KeepAlive {
    type Out = Duration;

    fn wanted(&self) -> String {
        "a duration of whole seconds from 1s to 65535s".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<Duration, Wrong> {
        let duration = Span::millis(1_000..=65_535_000).read(scalar)?;
        if duration.subsec_nanos() != 0 {
            return Err(Wrong::new(format!("`{}` is not a whole number of seconds", short(&scalar.text))));
        }
        Ok(duration)
    }
}

/// So many messages a second, a minute or an hour: `100/s`.
pub(super) struct PerTime;

const PERIODS: [(&str, u64); 3] = [("s", 1), ("m", 60), ("h", 3_600)];

/// What people write instead.
const FOREIGN_PERIODS: [(&str, &str); 10] = [
    ("sec", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("hour", "h"),
    ("hours", "h"),
    ("hr", "h"),
    ("1s", "s"),
];

impl Read for PerTime {
    type Out = Rate;

    fn wanted(&self) -> String {
        "a rate from 1/h to 1000000/s".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<Rate, Wrong> {
        let text = scalar.text.as_str();
        let shown = short(text);
        let number = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, rest) = text.split_at(number);
        let period = rest.strip_prefix('/');
        let Some((_, seconds)) = PERIODS.iter().find(|(name, _)| period == Some(name)) else {
            let lower = rest.trim_start_matches([' ', '/']).trim_start_matches("per ").to_ascii_lowercase();
            let known = FOREIGN_PERIODS.iter().find(|(theirs, _)| *theirs == lower).map(|(_, ours)| *ours);
            let meant = known.or_else(|| PERIODS.iter().map(|(name, _)| *name).find(|name| *name == lower));
            return Err(match meant {
                _ if digits.is_empty() => Wrong::helped(format!("`{shown}` is no rate"), "write for example 100/s"),
                Some(meant) => {
                    Wrong::helped(format!("`{shown}` is no rate"), format!("did you mean {digits}/{meant}?"))
                }
                None if rest.is_empty() => Wrong::helped(
                    format!("`{shown}` does not say in what time"),
                    format!("write {digits}/s, {digits}/m or {digits}/h"),
                ),
                None => Wrong::helped(
                    format!("`{shown}` is no rate"),
                    "write a whole number of messages and a time: 100/s, 10/m or 500/h",
                ),
            });
        };
        match digits.parse() {
            Ok(0) => Err(Wrong::helped("nothing would ever be sent", "leave `rate_limit` out to send without a limit")),
            Ok(messages @ 1..=1_000_000) => Ok(Rate { messages, per: Duration::from_secs(*seconds) }),
            _ if digits.is_empty() => Err(Wrong::helped(format!("`{shown}` has no number"), "write for example 100/s")),
            _ => Err(Wrong::new(format!("`{shown}` is too much"))),
        }
    }
}

/// A number of bytes within limits.
pub(super) struct Size(pub(super) RangeInclusive<u64>);

impl Read for Size {
    type Out = u64;

    fn wanted(&self) -> String {
        format!("a size from {} to {}", print(*self.0.start(), &SIZES), print(*self.0.end(), &SIZES))
    }

    fn read(&self, scalar: &Scalar) -> Result<u64, Wrong> {
        let bytes = quantity(&scalar.text, &SIZES, "a size such as 64KiB, 500MiB or 2GiB")?;
        in_range(bytes.unwrap_or(u64::MAX), &self.0, &scalar.text)
    }
}

fn in_range<T: PartialOrd>(value: T, range: &RangeInclusive<T>, text: &str) -> Result<T, Wrong> {
    if value < *range.start() {
        return Err(Wrong::new(format!("`{}` is too little", short(text))));
    }
    if value > *range.end() {
        return Err(Wrong::new(format!("`{}` is too much", short(text))));
    }
    Ok(value)
}

/// Digits and a unit; `None` when that is beyond 64 bits.
fn quantity(text: &str, units: &[(&'static str, u64)], like: &str) -> Result<Option<u64>, Wrong> {
    let cut = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | ',' | '_')).unwrap_or(text.len());
    let (digits, unit) = (&text[..cut], text[cut..].trim_start());
    let shown = short(text);
    if digits.is_empty() {
        return Err(Wrong::helped(format!("`{shown}` does not begin with a number"), format!("write {like}")));
    }
    if unit.is_empty() {
        let guesses: Vec<String> = units.iter().take(3).map(|(unit, _)| format!("{digits}{unit}")).collect();
        return Err(Wrong::helped(
            format!("`{shown}` has no unit"),
            format!("write the unit: {} …", guesses.join(", ")),
        ));
    }
    let Some((unit, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        let lower = unit.to_ascii_lowercase();
        let meant =
            units.iter().find(|(name, _)| name.to_ascii_lowercase() == lower).map(|(name, _)| *name).or_else(|| {
                FOREIGN
                    .iter()
                    .find(|(theirs, ours)| *theirs == lower && units.iter().any(|(name, _)| name == ours))
                    .map(|(_, ours)| *ours)
            });
        let label = format!("`{}` is not a unit here", short(unit));
        return Err(match meant {
            Some(meant) => Wrong::helped(label, format!("did you mean {digits}{meant}?")),
            None => Wrong::helped(label, format!("write {like}, with one unit")),
        });
    };
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Wrong::helped(
            format!("`{digits}` is not a whole number"),
            "use a smaller unit: 1500ms instead of 1.5s, 1536MiB instead of 1.5GiB",
        ));
    }
    if text[cut..].starts_with(char::is_whitespace) {
        return Err(Wrong::helped("there is a space before the unit", format!("write {digits}{unit}")));
    }
    Ok(digits.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor)))
}

/// With the largest unit that divides it.
fn print(value: u64, units: &[(&str, u64)]) -> String {
    let (unit, factor) =
        units.iter().rev().find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor)).unwrap_or(&units[0]);
    format!("{}{unit}", value / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Scalar {
        Scalar { text: text.into(), plain: true }
    }

    const ANY: Span = Span(Duration::ZERO..=Duration::from_secs(400 * 86_400));

    #[test]
    fn durations_and_sizes_are_a_whole_number_and_a_unit() {
        for (typed, millis) in
            [("250ms", 250), ("1s", 1_000), ("5m", 300_000), ("2h", 7_200_000), ("30d", 2_592_000_000)]
        {
            assert_eq!(ANY.read(&plain(typed)), Ok(Duration::from_millis(millis)));
        }
        let any = Size(0..=u64::MAX);
        for (typed, bytes) in [("64KiB", 65_536), ("2GiB", 1 << 31), ("7B", 7)] {
            assert_eq!(any.read(&plain(typed)), Ok(bytes));
        }
        assert_eq!(ANY.wanted(), "a duration from 0ms to 400d");
        assert_eq!(Size(65_536..=1 << 40).wanted(), "a size from 64KiB to 1TiB");
    }

    #[test]
    fn a_rate_is_a_whole_number_and_a_time() {
        for (typed, messages, seconds) in
            [("100/s", 100, 1), ("10/m", 10, 60), ("1/h", 1, 3_600), ("1000000/s", 1_000_000, 1)]
        {
            assert_eq!(PerTime.read(&plain(typed)), Ok(Rate { messages, per: Duration::from_secs(seconds) }));
        }
        for (typed, hint) in [
            ("100", "write 100/s, 100/m or 100/h"),
            ("100/sec", "did you mean 100/s?"),
            ("100 per minute", "did you mean 100/m?"),
            ("100 /s", "did you mean 100/s?"),
            ("0/s", "leave `rate_limit` out to send without a limit"),
            ("1.5/s", "write a whole number of messages and a time: 100/s, 10/m or 500/h"),
            ("/s", "write for example 100/s"),
            ("fast", "write for example 100/s"),
        ] {
            let Err(Wrong::Value { help, .. }) = PerTime.read(&plain(typed)) else { panic!("{typed}") };
            assert_eq!(help.as_deref(), Some(hint), "{typed}");
        }
        assert!(PerTime.read(&plain("1000001/s")).is_err() && PerTime.read(&plain("99999999999/s")).is_err());
    }

    #[test]
    fn what_people_write_instead_gets_a_hint() {
        let help = |wrong: Wrong| match wrong {
            Wrong::Value { help, .. } => help.unwrap_or_default(),
            other => panic!("{other:?}"),
        };
        for (typed, hint) in [
            ("500", "write the unit: 500ms, 500s, 500m …"),
            ("5min", "did you mean 5m?"),
            ("1S", "did you mean 1s?"),
            ("1 s", "write 1s"),
            ("1.5s", "use a smaller unit: 1500ms instead of 1.5s, 1536MiB instead of 1.5GiB"),
            ("fast", "write a duration such as 250ms, 1s, 5m, 12h or 30d"),
            ("-1s", "write a duration such as 250ms, 1s, 5m, 12h or 30d"),
            ("1h30m", "write a duration such as 250ms, 1s, 5m, 12h or 30d, with one unit"),
        ] {
            assert_eq!(help(ANY.read(&plain(typed)).unwrap_err()), hint, "{typed}");
        }
        assert_eq!(help(Size(0..=9).read(&plain("2GB")).unwrap_err()), "did you mean 2GiB?");
        assert!(ANY.read(&plain("99999999999999999999d")).is_err());
        assert!(ANY.read(&plain("18446744073709551615d")).is_err());
        assert!(KeepAlive.read(&plain("1500ms")).is_err());
    }
}
