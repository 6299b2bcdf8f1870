//! `aggregate:` — many readings of a window to one. Pure.
//!
//! Each field is folded by itself: of numbers all folds there are, of texts and switches `count`, `first` and `last`. A bad reading is in no
//! fold; how many there were is said in `bad`. Sums are exact.

use std::borrow::Cow;

use super::cbor::Exact;
use super::json::Json;
use super::subject::TIMES;
use crate::model::{SinceBoot, Stamp};

/// What is asked of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// The arithmetic mean of the readings, each as much as the next.
    Mean,
    /// The sum.
    Sum,
    /// How many good ones there were.
    Count,
    /// The first good one.
    First,
    /// The last good one.
    Last,
}

impl Fold {
    /// All, with the words of the configuration.
    pub const ALL: [(&'static str, Fold); 7] = [
        ("min", Fold::Min),
        ("max", Fold::Max),
        ("mean", Fold::Mean),
        ("sum", Fold::Sum),
        ("count", Fold::Count),
        ("first", Fold::First),
        ("last", Fold::Last),
    ];

    fn word(self) -> &'static str {
        Fold::ALL.iter().find(|(_, fold)| *fold == self).map_or("", |(word, _)| word)
    }
}

/// Fields that one window keeps; more are not folded.
const MAX_FIELDS: usize = 4_096;

/// One topic's open window.
#[derive(Debug, Clone, Default)]
pub struct Window {
    from: Option<Moment>,
    to: Option<Moment>,
    /// The payload is one value, as a point's: then so is the result.
    single: bool,
    fields: Vec<(String, Field)>,
    bad: Vec<(String, u64)>,
    unit: Option<String>,
}

/// When a reading was.
#[derive(Debug, Clone)]
struct Moment {
    ts: String,
    /// What says that its clock had not been set, in its order.
    marks: Vec<(Cow<'static, str>, Json<'static>)>,
}

#[derive(Debug, Clone)]
struct Field {
    count: u64,
    first: Json<'static>,
    last: Json<'static>,
    numbers: Option<Numbers>,
}

#[derive(Debug, Clone)]
struct Numbers {
    min: (f64, String),
    max: (f64, String),
    /// `None` when it is beyond 38 digits; then `rough` is what there is.
    sum: Option<Exact>,
    rough: f64,
    count: u64,
}

impl Window {
    /// Takes a payload in. False when there is nothing in it to fold.
    pub fn take(&mut self, json: &Json<'_>, arrived: Stamp) -> bool {
        let (mut values, mut bad): (Vec<(&str, &Json<'_>)>, Vec<&str>) = (Vec::new(), Vec::new());
        let mut single = false;
        match json {
            Json::Object(members) => match (json.get("values"), json.get("value")) {
                (Some(Json::Object(inner)), _) => {
                    values.extend(inner.iter().map(|(key, value)| (key.as_ref(), value)));
                    bad.extend(
                        json.get("bad").and_then(Json::members).into_iter().flatten().map(|(key, _)| key.as_ref()),
                    );
                }
                (_, Some(value)) => {
                    single = true;
                    values.push(("value", value));
                }
                _ if json.get("quality").is_some() => {
                    single = true;
                    bad.push("value");
                }
                _ => values.extend(
                    members.iter().filter(|(key, _)| !TIMES.contains(&key.as_ref())).map(|(k, v)| (k.as_ref(), v)),
                ),
            },
            other => {
                single = true;
                values.push(("value", other));
            }
        }
        values.retain(|(_, value)| !matches!(value, Json::Null | Json::List(_) | Json::Object(_)));
        if values.is_empty() && bad.is_empty() {
            return false;
        }
        self.single = single;
        let at = Moment::of(json, arrived);
        self.from.get_or_insert_with(|| at.clone());
        self.to = Some(at);
        if let Some(unit) = json.get("unit").and_then(Json::as_text) {
            self.unit = Some(unit.to_owned());
        }
        for (name, value) in values {
            self.add(name, value);
        }
        for name in bad {
            match self.bad.iter().position(|(known, _)| known == name) {
                Some(place) => self.bad[place].1 += 1,
                None if self.bad.len() < MAX_FIELDS => self.bad.push((name.to_owned(), 1)),
                None => {}
            }
        }
        true
    }

    fn add(&mut self, name: &str, value: &Json<'_>) {
        let index = match self.fields.iter().position(|(known, _)| known == name) {
            Some(index) => index,
            None if self.fields.len() >= MAX_FIELDS => return,
            None => {
                let field = Field { count: 0, first: owned(value), last: owned(value), numbers: None };
                self.fields.push((name.to_owned(), field));
                self.fields.len() - 1
            }
        };
        let field = &mut self.fields[index].1;
        field.count += 1;
        field.last = owned(value);
        if let Json::Number(digits) = value {
            match &mut field.numbers {
                Some(numbers) => numbers.add(digits),
                none => *none = Some(Numbers::of(digits)),
            }
        }
    }

    /// What the window comes to: `{"ts":…,"from":…,"values":{"flow":{"mean":…}},"bad":{"flow":2}}`, or of single values
    /// `{"ts":…,"from":…,"value":{"mean":…},"bad":2}`. The marks of a clock that had not been set stay with `ts`; there is no `from` of one.
    pub fn close(self, folds: &[Fold]) -> Json<'static> {
        let mut out: Vec<(Cow<'static, str>, Json<'static>)> = Vec::new();
        if let Some(Moment { ts, marks }) = self.to {
            out.push(("ts".into(), Json::text(ts)));
            out.extend(marks);
        }
        out.extend(self.from.filter(|from| from.marks.is_empty()).map(|from| ("from".into(), Json::text(from.ts))));
        let folded = self.fields.into_iter().map(|(name, field)| (Cow::Owned(name), field.fold(folds)));
        let mut values: Vec<(Cow<'static, str>, Json<'static>)> = folded.collect();
        let mut bad: Vec<(Cow<'static, str>, Json<'static>)> =
            self.bad.into_iter().map(|(name, count)| (Cow::Owned(name), Json::whole(count))).collect();
        if self.single {
            out.extend(values.pop().map(|(_, value)| ("value".into(), value)));
            out.push(("bad".into(), bad.pop().map_or(Json::whole(0), |(_, count)| count)));
            out.extend(self.unit.map(|unit| ("unit".into(), Json::text(unit))));
        } else {
            out.push(("values".into(), Json::Object(values)));
            out.push(("bad".into(), Json::Object(bad)));
        }
        Json::Object(out)
    }
}

impl Moment {
    /// A payload's own time; of one that says none, when it came.
    fn of(json: &Json<'_>, arrived: Stamp) -> Moment {
        if let Some(ts) = json.get("ts").and_then(Json::as_text) {
            let marks = TIMES.iter().filter(|key| **key != "ts");
            let marks = marks.filter_map(|key| Some((Cow::Borrowed(*key), owned(json.get(key)?)))).collect();
            return Moment { ts: ts.to_owned(), marks };
        }
        let mut marks: Vec<(Cow<'static, str>, Json<'static>)> = Vec::new();
        if !arrived.synced {
            marks.push(("clock".into(), Json::text("unsynced")));
            if let Some(SinceBoot { boot, uptime_ms }) = arrived.since_boot {
                marks.push(("boot".into(), Json::text(boot.to_string())));
                marks.push(("uptime_ms".into(), Json::whole(uptime_ms)));
            }
        }
        Moment { ts: arrived.wall.to_string(), marks }
    }
}

impl Field {
    fn fold(self, folds: &[Fold]) -> Json<'static> {
        let Field { count, first, last, numbers } = self;
        let one = |fold: &Fold| {
            let numbers = numbers.as_ref();
            let value = match fold {
                Fold::Count => Json::whole(count),
                Fold::First => first.clone(),
                Fold::Last => last.clone(),
                Fold::Min => Json::Number(numbers?.min.1.clone().into()),
                Fold::Max => Json::Number(numbers?.max.1.clone().into()),
                Fold::Sum => numbers?.sum(),
                Fold::Mean => numbers?.mean(),
            };
            Some((Cow::Borrowed(fold.word()), value))
        };
        Json::Object(folds.iter().filter_map(one).collect())
    }
}

impl Numbers {
    fn of(digits: &str) -> Numbers {
        let rough = digits.parse().unwrap_or(0.0);
        let here = (rough, digits.to_owned());
        Numbers { min: here.clone(), max: here, sum: Exact::of(digits), rough, count: 1 }
    }

    fn add(&mut self, digits: &str) {
        let rough: f64 = digits.parse().unwrap_or(0.0);
        // Two counters of 64 bits may be one double: the exact difference decides.
        let less = |a: &str, b: &str, rough: (f64, f64)| match (Exact::of(a), Exact::of(b)) {
            (Some(a), Some(b)) if rough.0 == rough.1 => a
                .plus(Exact { mantissa: -b.mantissa, exponent: b.exponent })
                .is_some_and(|difference| difference.mantissa < 0),
            _ => rough.0 < rough.1,
        };
        if less(digits, &self.min.1, (rough, self.min.0)) {
            self.min = (rough, digits.to_owned());
        }
        if less(&self.max.1, digits, (self.max.0, rough)) {
            self.max = (rough, digits.to_owned());
        }
        self.sum = self.sum.and_then(|sum| sum.plus(Exact::of(digits)?));
        self.rough += rough;
        self.count += 1;
    }

    fn sum(&self) -> Json<'static> {
        match self.sum {
            Some(sum) => Json::Number(sum.text().into()),
            None => float(self.rough),
        }
    }

    fn mean(&self) -> Json<'static> {
        let sum = self.sum.and_then(|sum| sum.text().parse::<f64>().ok()).unwrap_or(self.rough);
        float(sum / self.count as f64)
    }
}

fn float(number: f64) -> Json<'static> {
    if number.is_finite() { Json::Number(format!("{number:?}").into()) } else { Json::Null }
}

fn owned(json: &Json<'_>) -> Json<'static> {
    match json {
        Json::Number(digits) => Json::Number(digits.clone().into_owned().into()),
        Json::Text(text) => Json::Text(text.clone().into_owned().into()),
        Json::Bool(is) => Json::Bool(*is),
        // What has members is taken out before.
        _ => Json::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BootId, Monotonic, Timestamp};

    const AT: Stamp = Stamp {
        monotonic: Monotonic::from_millis(0),
        since_boot: Some(SinceBoot { boot: BootId(0x5f), uptime_ms: 7_000 }),
        wall: Timestamp(1_795_187_045_123),
        synced: true,
    };

    fn folded(payloads: &[&str], folds: &[Fold]) -> String {
        let mut window = Window::default();
        for payload in payloads {
            window.take(&Json::parse(payload.as_bytes()).expect("valid"), AT);
        }
        window.close(folds).to_string()
    }

    #[test]
    fn each_point_of_a_device_is_folded_and_bad_ones_are_counted() {
        let payloads = [
            r#"{"ts":"1","values":{"t":0.1,"mode":"auto"},"bad":{"p":"timeout"}}"#,
            r#"{"ts":"2","values":{"t":0.2,"mode":"off","p":7},"bad":{}}"#,
            r#"{"ts":"3","values":{"t":-0.30,"mode":"off","p":8},"bad":{}}"#,
        ];
        let folds: Vec<Fold> = Fold::ALL.iter().map(|(_, fold)| *fold).collect();
        assert_eq!(
            folded(&payloads, &folds),
            r#"{"ts":"3","from":"1","values":{"t":{"min":-0.30,"max":0.2,"mean":0.0,"sum":0.0,"count":3,"first":0.1,"last":-0.30},"mode":{"count":3,"first":"auto","last":"off"},"p":{"min":7,"max":8,"mean":7.5,"sum":15,"count":2,"first":7,"last":8}},"bad":{"p":1}}"#
        );
    }

    #[test]
    fn single_values_make_a_single_value() {
        let payloads = [
            r#"{"ts":"1","value":18446744073709551614,"quality":"good","unit":"Wh"}"#,
            r#"{"ts":"2","value":18446744073709551615,"quality":"good","unit":"Wh"}"#,
            r#"{"ts":"3","quality":"bad","fault":"timeout"}"#,
        ];
        assert_eq!(
            folded(&payloads, &[Fold::Min, Fold::Max, Fold::Sum]),
            r#"{"ts":"3","from":"1","value":{"min":18446744073709551614,"max":18446744073709551615,"sum":36893488147419103229},"bad":1,"unit":"Wh"}"#
        );
        assert_eq!(
            folded(&["1", "2.5"], &[Fold::Mean]),
            r#"{"ts":"2026-11-20T15:04:05.123Z","from":"2026-11-20T15:04:05.123Z","value":{"mean":1.75},"bad":0}"#
        );
    }

    #[test]
    fn a_time_from_before_the_clock_was_set_stays_marked() {
        let early =
            r#"{"ts":"1970-01-01T00:00:05.000Z","clock":"unsynced","boot":"0000005f","uptime_ms":5000,"value":1}"#;
        let late = r#"{"ts":"2026-11-20T15:04:05.123Z","value":3}"#;
        assert_eq!(
            folded(&[early, early], &[Fold::Sum]),
            r#"{"ts":"1970-01-01T00:00:05.000Z","clock":"unsynced","boot":"0000005f","uptime_ms":5000,"value":{"sum":2},"bad":0}"#
        );
        assert_eq!(
            folded(&[early, late], &[Fold::Sum]),
            r#"{"ts":"2026-11-20T15:04:05.123Z","value":{"sum":4},"bad":0}"#
        );
        let mut window = Window::default();
        window.take(&Json::parse(b"1").expect("valid"), Stamp { synced: false, wall: Timestamp(7_000), ..AT });
        assert_eq!(
            window.close(&[Fold::Sum]).to_string(),
            r#"{"ts":"1970-01-01T00:00:07.000Z","clock":"unsynced","boot":"0000005f","uptime_ms":7000,"value":{"sum":1},"bad":0}"#
        );
    }
}
