//! `select:` and `rename:`: which fields of a JSON payload go up, and under which names. Pure.
//!
//! A field is named by its path, `values.flow`, or, in a device's reading, by the point alone: `flow` is `values.flow` and `bad.flow`.
//! The time of a reading, and whether its clock was set, always go with it: a value without its time would look right and be wrong.

use std::borrow::Cow;

use super::json::Json;
use super::subject::TIMES;

/// What becomes of a payload's fields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields {
    /// The paths that stay; all when there are none.
    pub select: Vec<String>,
    /// Paths, and the name that the last level of each gets.
    pub rename: Vec<(String, String)>,
}

/// Where a bare name is looked for besides the top.
const GROUPS: [&str; 2] = ["values", "bad"];

/// Why fields can't be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoFields {
    /// It is no JSON object.
    #[error("the payload is no JSON object, so there are no fields to select or rename")]
    NoObject,
    /// None of the selected ones is there.
    #[error("the payload has none of the selected fields")]
    NoneSelected,
}

impl Fields {
    /// Whether there is nothing to do.
    pub fn is_all(&self) -> bool {
        self.select.is_empty() && self.rename.is_empty()
    }

    /// Whether `name` is what one of these members at the top is called now.
    pub(super) fn is_new_name_of(&self, name: &str, members: &[&str]) -> bool {
        self.rename.iter().any(|(from, to)| to == name && members.contains(&from.as_str()))
    }

    /// The payload with what is selected, under its new names.
    pub fn shape<'a>(&self, json: &Json<'a>) -> Result<Json<'a>, NoFields> {
        let Json::Object(members) = json else { return Err(NoFields::NoObject) };
        let is_snapshot = matches!(json.get("values"), Some(Json::Object(_)));
        let mut out = if self.select.is_empty() {
            members.clone()
        } else {
            let paths: Vec<Vec<&str>> = self.select.iter().flat_map(|path| paths(path, is_snapshot, json)).collect();
            let always = |key: &str| TIMES.contains(&key);
            let out = select(members, &paths, &always);
            if out.iter().all(|(key, _)| always(key)) {
                return Err(NoFields::NoneSelected);
            }
            out
        };
        for (path, name) in &self.rename {
            for path in paths(path, is_snapshot, json) {
                rename(&mut out, &path, name);
            }
        }
        Ok(Json::Object(out))
    }
}

/// What a path as it is written stands for in this payload.
fn paths<'p>(path: &'p str, is_snapshot: bool, json: &Json<'_>) -> Vec<Vec<&'p str>> {
    // A key may have dots in it.
    if json.get(path).is_some() {
        return vec![vec![path]];
    }
    let levels: Vec<&str> = path.split('.').collect();
    if is_snapshot && json.get(levels[0]).is_none() {
        let under = |group: &'static str| std::iter::once(group).chain(levels.iter().copied()).collect();
        return GROUPS.map(under).into();
    }
    vec![levels]
}

type Members<'a> = Vec<(Cow<'a, str>, Json<'a>)>;

fn select<'a>(members: &[(Cow<'a, str>, Json<'a>)], paths: &[Vec<&str>], always: &dyn Fn(&str) -> bool) -> Members<'a> {
    let mut out = Members::new();
    for (key, value) in members {
        let here: Vec<Vec<&str>> =
            paths.iter().filter(|path| path.first() == Some(&key.as_ref())).map(|path| path[1..].to_vec()).collect();
        if always(key) || here.iter().any(Vec::is_empty) {
            out.push((key.clone(), value.clone()));
        } else if let (false, Json::Object(inner)) = (here.is_empty(), value) {
            let inner = select(inner, &here, &|_| false);
            if !inner.is_empty() {
                out.push((key.clone(), Json::Object(inner)));
            }
        }
    }
    out
}

fn rename(members: &mut Members<'_>, path: &[&str], name: &str) {
    let [first, rest @ ..] = path else { return };
    let Some(at) = members.iter().position(|(key, _)| key == first) else { return };
    if rest.is_empty() {
        // Two members of one name would be one, or none, to whoever reads it.
        if !members.iter().any(|(key, _)| key == name) {
            members[at].0 = Cow::Owned(name.to_owned());
        }
    } else if let Json::Object(inner) = &mut members[at].1 {
        rename(inner, rest, name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNAPSHOT: &str = r#"{"ts":"T","values":{"flow":18446744073709551615,"t":21.40},"bad":{"p":"timeout"}}"#;

    fn shape(select: &[&str], rename: &[(&str, &str)], payload: &str) -> Result<String, NoFields> {
        let fields = Fields {
            select: select.iter().map(|s| (*s).into()).collect(),
            rename: rename.iter().map(|(from, to)| ((*from).into(), (*to).into())).collect(),
        };
        fields.shape(&Json::parse(payload.as_bytes()).expect("valid")).map(|json| json.to_string())
    }

    #[test]
    fn selected_fields_stay_with_every_digit_and_with_their_time() {
        for (select, expected) in [
            (&["flow"][..], r#"{"ts":"T","values":{"flow":18446744073709551615}}"#),
            (&["values.t"], r#"{"ts":"T","values":{"t":21.40}}"#),
            (&["t", "p"], r#"{"ts":"T","values":{"t":21.40},"bad":{"p":"timeout"}}"#),
            (&["bad"], r#"{"ts":"T","bad":{"p":"timeout"}}"#),
        ] {
            assert_eq!(shape(select, &[], SNAPSHOT).as_deref(), Ok(expected));
        }
        assert_eq!(shape(&["x"], &[], SNAPSHOT), Err(NoFields::NoneSelected));
        assert_eq!(shape(&["x"], &[], "[1]"), Err(NoFields::NoObject));
        assert_eq!(shape(&["a.b"], &[], r#"{"a":{"b":1,"c":2},"a.b":3}"#).as_deref(), Ok(r#"{"a.b":3}"#));
        assert_eq!(shape(&["a.b"], &[], r#"{"a":{"b":1,"c":2}}"#).as_deref(), Ok(r#"{"a":{"b":1}}"#));
    }

    #[test]
    fn renamed_fields_stay_in_their_place_and_never_become_two_of_one_name() {
        assert_eq!(
            shape(&[], &[("flow", "durchfluss"), ("bad.p", "druck"), ("ts", "zeit")], SNAPSHOT).as_deref(),
            Ok(r#"{"zeit":"T","values":{"durchfluss":18446744073709551615,"t":21.40},"bad":{"druck":"timeout"}}"#)
        );
        assert_eq!(shape(&[], &[("flow", "t")], SNAPSHOT).as_deref(), Ok(SNAPSHOT));
    }
}
