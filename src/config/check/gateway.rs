//! `gateway:`: who this is, where its topics begin and where its data lies.

use std::path::{Path, PathBuf};

use super::Context;
use super::names::tidy;
use crate::config::fields::Fields;
use crate::config::keys;
use crate::config::problem::{Problem, Problems};
use crate::config::scalar::{Read, Text, Wrong};
use crate::config::tree::{Node, Scalar, Span, Value};
use crate::config::types::GatewayConfig;
use crate::config::yaml::short;
use crate::model::{Name, Topic};

/// Where the host's name is: as the Linux kernel has it, and, since the service sees no more of `/proc` than processes, as it is set at the
/// start.
const HOST_NAMES: [&str; 2] = ["/proc/sys/kernel/hostname", "/etc/hostname"];
const DATA_DIR: &str = "/var/lib/fieldway";
/// Leaves room for device, point and verb.
const MAX_ROOT: usize = 1_024;

pub(super) fn check(top: &Fields<'_>, context: &Context<'_>, problems: &mut Problems) -> Option<GatewayConfig> {
    let empty = Node { span: top.at.clone(), value: Value::Map(Vec::new()), weight: 1 };
    let (node, at) = top.entry("gateway").map_or((&empty, &top.at), |entry| (&*entry.value, &entry.key_span));
    let fields = Fields::open(node, &keys::GATEWAY, at, "`gateway`", problems)?;
    let id = match fields.entry("id") {
        Some(_) => fields.read("id", &Id, problems),
        None => host_id(context, at, problems),
    };
    let root = match fields.entry("topic_root") {
        Some(_) => fields.read("topic_root", &Root, problems),
        None => id.as_ref().and_then(|id| Topic::new(&format!("fieldway/{id}")).ok()),
    };
    let data_dir = match fields.entry("data_dir") {
        Some(entry) => fields
            .read("data_dir", &Text { wanted: "the path of a folder", max: 4_096 }, problems)
            .map(|path| context.relative(&entry.value.span, &path)),
        None => Some(PathBuf::from(DATA_DIR)),
    };
    Some(GatewayConfig { id: id?, topic_root: root?, data_dir: data_dir? })
}

/// The host's name without its domain, as an id.
fn host_id(context: &Context<'_>, at: &Span, problems: &mut Problems) -> Option<Name> {
    let read = |file: &&str| (context.outside.read)(Path::new(file)).ok();
    let bytes = HOST_NAMES.iter().find_map(read).unwrap_or_default();
    let host = String::from_utf8_lossy(&bytes).trim().to_lowercase();
    let id = tidy(host.split('.').next().unwrap_or_default());
    if id.is_none() {
        problems.push(
            Problem::at(at, "the gateway has no `id`, and this computer's name can't be one")
                .label(if host.is_empty() {
                    "this computer has no name".into()
                } else {
                    format!("it is called `{}`", short(&host))
                })
                .help("write for example `gateway: { id: plant-7 }`"),
        );
    }
    id
}

/// `id`: `[a-z0-9][a-z0-9_-]*`.
struct Id;

impl Read for Id {
    type Out = Name;

    fn wanted(&self) -> String {
        "a name of a-z, 0-9, `_` and `-`".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<Name, Wrong> {
        let text = scalar.text.as_str();
        let suggestion = tidy(&text.to_lowercase()).map(|name| format!("for example `{name}`"));
        let wrong = |label: String| Wrong::Value { label, help: suggestion.clone() };
        let name = Name::new(text).map_err(|error| wrong(error.to_string()))?;
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(wrong(format!("`{}` has capital letters", short(text))));
        }
        Ok(name)
    }
}

/// `topic_root`: the first levels of every topic of this gateway.
struct Root;

impl Read for Root {
    type Out = Topic;

    fn wanted(&self) -> String {
        "the beginning of a topic, such as fieldway/plant-7".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<Topic, Wrong> {
        let text = Text { wanted: "", max: MAX_ROOT }.read(scalar)?;
        if text.starts_with('$') {
            // MQTT 5 §4.7.2: such topics are the broker's own, and `#` does not match them.
            return Err(Wrong::new("topics that begin with `$` belong to the broker itself"));
        }
        let levels: Vec<&str> = text.split('/').filter(|level| !level.is_empty()).collect();
        if levels.join("/") != text {
            let label = "a `/` at the start or end, or two together, makes a level without a name";
            return Err(match levels.is_empty() {
                true => Wrong::new(label),
                false => Wrong::helped(label, format!("write {}", short(&levels.join("/")))),
            });
        }
        Topic::new(&text).map_err(|error| Wrong::new(error.to_string()))
    }
}
