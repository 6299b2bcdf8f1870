//! `users:` of the broker: who may come in, and what each may do.

use std::collections::HashMap;

use crate::config::fields::{Fields, read_value};
use crate::config::keys;
use crate::config::problem::{Problem, Problems};
use crate::config::scalar::{Read, Text, Wrong};
use crate::config::tree::{Node, Scalar, Span, Value};
use crate::config::types::{ANONYMOUS, UserConfig};
use crate::config::yaml::short;
use crate::model::Filter;
use crate::password::{HashError, PasswordHash};

const EXAMPLE: &str = "{ name: hmi, password_hash: \"$argon2id$…\", may_subscribe: [\"fieldway/#\"] }";
/// MQTT carries a user name's length in 16 bits; nobody's name is as long.
const MAX_NAME: usize = 256;
/// As MQTT can carry it (MQTT 5 §4.7.3).
const MAX_TOPIC: usize = 65_535;

/// The users, in the order of the file. `by_certificate` is whether any listener asks for certificates.
pub(super) fn check(broker: &Fields<'_>, by_certificate: bool, problems: &mut Problems) -> Vec<UserConfig> {
    let Some((entry, items)) = broker.list("users", EXAMPLE, problems) else { return Vec::new() };
    if items.is_empty() {
        problems.push(
            Problem::at(&entry.value.span, "nobody could come in")
                .label("this list is empty")
                .help("leave `users` out, and anyone on this machine may do anything")
                .help(format!("or write for example `- {EXAMPLE}`")),
        );
    }
    let mut first: HashMap<String, Span> = HashMap::new();
    let mut users = Vec::new();
    for (n, item) in items.iter().enumerate() {
        let Some((user, at)) = one(item, n + 1, by_certificate, problems) else { continue };
        if let Some(before) = first.insert(user.name.clone(), at.clone()) {
            problems.push(
                Problem::at(&at, format!("two users are called `{}`", short(&user.name)))
                    .label("and here again")
                    .also(&before, "here first")
                    .help("put the rights of both into one entry, or rename one"),
            );
            continue;
        }
        users.push(user);
    }
    users
}

fn one(item: &Node, number: usize, by_certificate: bool, problems: &mut Problems) -> Option<(UserConfig, Span)> {
    let start = match &item.value {
        Value::Map(entries) => entries.first().map_or(&item.span, |entry| &entry.key_span),
        _ => &item.span,
    };
    let named = item.entries().and_then(|entries| entries.iter().find(|entry| entry.key == "name"));
    let named = named.and_then(|entry| entry.value.scalar()).map(|name| format!("user `{}`", short(&name.text)));
    let whose = named.unwrap_or_else(|| format!("user {number} of the broker"));
    let inline = item.entries().and_then(|entries| entries.iter().find(|entry| is_inline_password(&entry.key)));
    if let Some(inline) = inline {
        problems.push(
            Problem::at(&inline.key_span, "a password is never written into the configuration")
                .label("this must be `password_hash`")
                .help("`fieldway passwd` asks for the password and prints the line to write here"),
        );
        return None;
    }
    let fields = Fields::open(item, &keys::USER, start, whose, problems)?;
    let reader = Text { wanted: "a name", max: MAX_NAME };
    let name = fields.require("name", &reader, "for example `name: hmi`", problems);
    let password_hash = fields.read("password_hash", &Hash, problems);
    let (may_subscribe, may_publish) =
        (patterns(&fields, "may_subscribe", problems), patterns(&fields, "may_publish", problems));
    let deny = patterns(&fields, "deny", problems);
    let name = name?;
    let at = fields.entry("name")?.value.span.clone();
    match fields.entry("password_hash") {
        Some(entry) if name == ANONYMOUS => problems.push(
            Problem::at(&entry.key_span, "`anonymous` can't have a password")
                .label("clients without a login are meant, and they have none")
                .help("remove `password_hash`, or give the user another name"),
        ),
        None if name != ANONYMOUS && !by_certificate && !fields.is_translated("password_hash") => problems.push(
            Problem::at(&at, format!("{} could never log in", fields.whose))
                .label("it has no `password_hash`")
                .help("`fieldway passwd` prints the line to add")
                .help("only listeners with `client_ca` let users in by certificate, and there is none"),
        ),
        _ => {}
    }
    Some((UserConfig { name, password_hash, may_subscribe, may_publish, deny }, at))
}

fn is_inline_password(key: &str) -> bool {
    matches!(key, "password" | "passwd" | "pass" | "password_file")
}

/// A list of filters, or a single one.
fn patterns(fields: &Fields<'_>, key: &'static str, problems: &mut Problems) -> Vec<Filter> {
    let Some(entry) = fields.entry(key) else { return Vec::new() };
    let subject = fields.subject(key);
    let name = fields.entry("name").and_then(|entry| entry.value.scalar()).map(|name| name.text.as_str());
    let reader = Pattern { user: name.unwrap_or_default() };
    if entry.value.scalar().is_some() {
        return read_value(&entry.value, &subject, &reader, problems).into_iter().collect();
    }
    let items = fields.list(key, "\"fieldway/#\"", problems).map(|(_, items)| items).unwrap_or_default();
    items.iter().filter_map(|item| read_value(item, &subject, &reader, problems)).collect()
}

/// A topic filter with `%u` and `%c`.
struct Pattern<'a> {
    user: &'a str,
}

impl Read for Pattern<'_> {
    type Out = Filter;

    fn wanted(&self) -> String {
        "a topic filter such as fieldway/# or clients/%u/+".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<Filter, Wrong> {
        let text = Text { wanted: "", max: MAX_TOPIC }.read(scalar)?;
        let filter = Filter::new(&text).map_err(|error| Wrong::new(error.to_string()))?;
        if let Some(rest) = text.strip_prefix("$share/") {
            let inner = rest.split_once('/').map_or("fieldway/#", |(_, inner)| inner);
            return Err(Wrong::helped(
                "a right is about topics, shared or not",
                format!("without `$share/GROUP/`: {}", short(inner)),
            ));
        }
        if text.contains("%u") && self.user.contains(['+', '#', '/']) {
            return Err(Wrong::helped(
                format!("`%u` would be `{}` here, whose `+`, `#` or `/` would mean other topics", short(self.user)),
                "write the topic out, or rename the user",
            ));
        }
        Ok(filter)
    }
}

/// The hash of a password. What is wrong is never repeated: it may be the password.
struct Hash;

impl Read for Hash {
    type Out = PasswordHash;

    fn wanted(&self) -> String {
        "an argon2id hash as `fieldway passwd` prints it".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<PasswordHash, Wrong> {
        PasswordHash::parse(&scalar.text).map_err(|error| match error {
            HashError::NotPhc if !scalar.text.starts_with('$') => Wrong::helped(
                "this does not look like a hash; is it the password itself?",
                "`fieldway passwd` asks for the password and prints the line to write here",
            ),
            HashError::CutOff | HashError::NotPhc => {
                Wrong::helped(error.to_string(), "was it copied whole, and is it in quotes?")
            }
            _ => Wrong::helped(error.to_string(), "make a new one with `fieldway passwd`"),
        })
    }
}
