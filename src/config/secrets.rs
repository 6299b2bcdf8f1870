//! Secrets: where they come from, and how they stay out of reports.

use std::path::{Path, PathBuf};

use super::Outside;
use super::check::Context;
use super::fields::Fields;
use super::keys::is_secret;
use super::problem::{Problem, Problems};
use super::scalar::Text;
use super::source::{read_small, reason};
use super::tree::{Node, Span, Value};
use super::types::Secret;

/// MQTT carries a password's length in 16 bits (MQTT 5 §3.1.3.6).
const MAX_PASSWORD: usize = 65_535;

/// `password:` or `password_file:` of an uplink, with the file's path.
pub(super) fn password(
    fields: &Fields<'_>,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<(Secret, Option<PathBuf>)> {
    let (inline, file) = (fields.entry("password"), fields.entry("password_file"));
    if let (Some(inline), Some(file)) = (inline, file) {
        problems.push(
            Problem::at(&file.key_span, format!("{} has two passwords", fields.whose))
                .label("and one from this file")
                .also(&inline.key_span, "one here")
                .help("keep one of the two"),
        );
        return None;
    }
    if file.is_some() {
        return from_file(fields, context, problems);
    }
    let inline = inline?;
    let Some(name) = variable(&inline.value) else {
        problems.push(
            Problem::at(&inline.value.span, "a password is never written into the configuration")
                .label("this must be `${NAME}`")
                .help("put the password into a file of its own and write `password_file: cloud.password`")
                .help("or write `password: ${NAME}` to take it from the environment or from systemd's credentials"),
        );
        return None;
    };
    let found = from_environment(name, context.outside);
    if found.is_none() {
        problems.push(
            Problem::at(&inline.value.span, format!("neither the environment nor systemd's credentials have `{name}`"))
                .label("not set")
                .help("set it for this command too, or use `password_file:`"),
        );
    }
    found.and_then(|text| usable(text, &inline.value, problems)).map(|secret| (secret, None))
}

/// `NAME`, if the value is `${NAME}`.
fn variable(node: &Node) -> Option<&str> {
    let name = node.scalar()?.text.strip_prefix("${")?.strip_suffix('}')?;
    let fits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    fits.then_some(name)
}

/// The variable, else the credential of that name (`LoadCredential=` in the unit, see systemd.exec(5)).
fn from_environment(name: &str, outside: &Outside<'_>) -> Option<String> {
    (outside.env)(name).or_else(|| {
        let folder = (outside.env)("CREDENTIALS_DIRECTORY")?;
        let bytes = (outside.read)(&Path::new(&folder).join(name)).ok()?;
        String::from_utf8(bytes).ok().map(without_line_end)
    })
}

fn from_file(fields: &Fields<'_>, context: &Context<'_>, problems: &mut Problems) -> Option<(Secret, Option<PathBuf>)> {
    let reader = Text { wanted: "the path of a file", max: 4_096 };
    let written = fields.read("password_file", &reader, problems)?;
    let node = &fields.entry("password_file")?.value;
    let path = context.relative(&node.span, &written);
    let shown = path.display();
    match (context.outside.read)(&path).map(String::from_utf8) {
        Ok(Ok(text)) => usable(without_line_end(text), node, problems).map(|secret| (secret, Some(path.clone()))),
        Ok(Err(_)) => {
            problems.push(
                Problem::at(&node.span, format!("the password in {shown} is not UTF-8")).label("not a text file"),
            );
            None
        }
        Err(error) => {
            problems.push(
                Problem::at(&node.span, format!("cannot read the password from {shown}: {}", reason(&error)))
                    .label("this file")
                    .help("a relative path starts at the folder of the configuration"),
            );
            None
        }
    }
}

fn usable(text: String, node: &Node, problems: &mut Problems) -> Option<Secret> {
    sized(text).map_err(|wrong| problems.push(Problem::at(&node.span, wrong).label("read from here"))).ok()
}

fn sized(text: String) -> Result<Secret, &'static str> {
    match text.len() {
        0 => Err("the password is empty"),
        1..=MAX_PASSWORD => Ok(Secret::new(text)),
        _ => Err("the password is longer than MQTT can carry (65535 bytes)"),
    }
}

/// The password in a file that was good when the configuration was read, as it is now: a token may have been renewed. The error says what is
/// wrong with it.
pub fn password_from(path: &Path) -> Result<Secret, String> {
    let bytes = read_small(path).map_err(|error| reason(&error))?;
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_string())?;
    sized(without_line_end(text)).map_err(Into::into)
}

/// Editors end a file with a line feed; that is not part of the password.
fn without_line_end(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

/// Hides what is or may be a secret, wherever it stands.
pub(super) fn hide_in_tree(node: &Node, problems: &mut Problems) {
    match &node.value {
        Value::Scalar(scalar) => {
            if has_login(&scalar.text) || secret_in_query(&scalar.text).is_some() {
                problems.hide(&node.span);
            }
        }
        Value::Told => {}
        Value::List(items) => items.iter().for_each(|item| hide_in_tree(item, problems)),
        Value::Map(entries) => {
            for entry in entries {
                if is_secret(&entry.key) && variable(&entry.value).is_none() {
                    problems.hide(&entry.value.span);
                }
                hide_in_tree(&entry.value, problems);
            }
        }
    }
}

/// `mqtt://user:password@host`, with or without its beginning.
pub(super) fn has_login(url: &str) -> bool {
    let (scheme, rest) = url.split_once("://").map_or((None, url), |(scheme, rest)| (Some(scheme), rest));
    rest.split_once('@').is_some_and(|(login, _)| scheme.is_some() || login.contains(':'))
}

/// The key of the first secret in `scheme://host/path?token=…`.
pub(super) fn secret_in_query(url: &str) -> Option<&str> {
    let (_, query) = url.split_once("://")?.1.split_once('?')?;
    query.split('&').filter_map(|pair| pair.split('=').next()).find(|key| is_secret(key))
}

/// As [`hide_in_tree`] for a text that is no tree: line by line, and rather too much than too little.
pub(super) fn hide_in_text(text: &str, part: Span, problems: &mut Problems) {
    let mut start = part.start;
    // The indentation of a line with a secret; what is indented further may be its continuation.
    let mut inside: Option<usize> = None;
    for line in text[part].split_inclusive('\n') {
        let end = start + line.trim_end().len();
        let indent = line.len() - line.trim_start().len();
        if line.trim().is_empty() || inside.is_some_and(|outer| indent > outer) {
            problems.hide(&(start..end));
        } else {
            inside = None;
            if let Some(at) = secret_in(line) {
                problems.hide(&(start + at..end));
                inside = Some(indent);
            }
        }
        start += line.len();
    }
}

/// Where the part of a line begins that may be a secret.
fn secret_in(line: &str) -> Option<usize> {
    // `password=hunter2`, `password hunter2`
    let word = line.trim_start_matches(|c: char| !c.is_alphanumeric());
    let end = word.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(word.len());
    if is_secret(&word[..end]) {
        return Some(line.len() - word.len() + end);
    }
    let mut from = 0;
    while let Some(colon) = line[from..].find(':').map(|at| from + at) {
        if line[colon..].starts_with("://") && line[colon..].contains('@') {
            return Some(colon + 3);
        }
        let key = line[..colon].trim_end_matches(['"', '\'', ' ']);
        let key = key.rsplit(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '-')).next().unwrap_or_default();
        if !key.is_empty() && is_secret(key) {
            return Some(colon + 1);
        }
        from = colon + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_no_yaml_still_keeps_its_secrets() {
        for text in [
            "uplinks: { cloud: { password: hunter2, x",
            "password:\n  hunter2\n]",
            "  \"password\" : hunter2 ]",
            "passwort: 'hunter2",
            "password: |\n    abc\n    hunter2\n  x: ]",
            "url: mqtt://me:hunter2@host ]",
            "password hunter2\nx: ]",
            "- password=hunter2",
        ] {
            let mut problems = Problems::default();
            hide_in_text(text, 0..text.len(), &mut problems);
            let (_, _, secrets) = problems.into_parts();
            let at = text.find("hunter2").expect("it is there");
            assert!(secrets.iter().any(|s| s.start <= at && s.end >= at + 7), "{text:?} {secrets:?}");
        }
    }

    #[test]
    fn a_login_in_an_address_is_noticed() {
        assert!(has_login("mqtt://me:pw@host") && has_login("tcp://me@host"));
        assert!(has_login("me:pw@host:1883"));
        assert!(!has_login("mqtt://host:1883") && !has_login("me@host"));
    }
}
