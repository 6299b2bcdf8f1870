//! The servers of an uplink: its addresses, and what encrypted connections to them trust and show.

use std::collections::HashMap;
use std::rc::Rc;

use super::{Context, material};
use crate::config::cloud_address::UplinkUrl;
use crate::config::fields::{Fields, read_value};
use crate::config::problem::{Problem, Problems};
use crate::config::scalar::{Read, Text, Wrong};
use crate::config::tree::{Node, Scalar, Span, Value};
use crate::config::types::{ServerConfig, UplinkTls};
use crate::transport::{ClientMaterial, ClientTls, is_server_name};

const EXAMPLE: &str = "mqtts://broker.example.com:8883";
/// Each of them may take half a minute to fail.
const MOST_SERVERS: usize = 8;
/// The keys that mean something on an encrypted connection alone.
const TLS_KEYS: [&str; 5] = ["ca", "certificate", "private_key", "alpn", "server_name"];

/// `url:`, one or several. `None` when one is wrong.
pub(super) fn servers(fields: &Fields<'_>, problems: &mut Problems) -> Option<Vec<ServerConfig>> {
    let Some(entry) = fields.entry("url") else {
        fields.missing("url", &format!("for example `url: {EXAMPLE}`"), problems);
        return None;
    };
    let Value::List(items) = &entry.value.value else {
        return Some(vec![read_value(&entry.value, &fields.subject("url"), &UplinkUrl, problems)?]);
    };
    if items.is_empty() || items.len() > MOST_SERVERS {
        let title =
            format!("`url` of {} has {} addresses", fields.whose, if items.is_empty() { "no" } else { "too many" });
        let help =
            format!("it takes 1 to {MOST_SERVERS}, for example `url: [mqtts://a.example.com, mqtts://b.example.com]`");
        problems.push(Problem::at(&entry.value.span, title).label(format!("{} in this list", items.len())).help(help));
        return None;
    }
    let told = problems.count();
    let servers: Vec<(ServerConfig, &Span)> = items.iter().filter_map(|item| one(item, fields, problems)).collect();
    let mut first: HashMap<(String, u16), &Span> = HashMap::new();
    for (server, span) in &servers {
        if let Some(first) = first.insert((server.host.to_lowercase(), server.port), span) {
            problems.push(
                Problem::at(span, format!("{} has one address twice", fields.whose))
                    .label("and again")
                    .also(first, "here")
                    .help("name each server once: a list is for servers that step in for each other"),
            );
        }
    }
    mixed(&servers, fields, problems);
    (problems.count() == told).then(|| servers.into_iter().map(|(server, _)| server).collect())
}

fn one<'a>(item: &'a Rc<Node>, fields: &Fields<'_>, problems: &mut Problems) -> Option<(ServerConfig, &'a Span)> {
    Some((read_value(item, &format!("each `url` of {}", fields.whose), &UplinkUrl, problems)?, &item.span))
}

/// Whoever can cut the encrypted server off must not get the password by that.
fn mixed(servers: &[(ServerConfig, &Span)], fields: &Fields<'_>, problems: &mut Problems) {
    let of = |encrypted| servers.iter().find(move |(server, _)| server.encrypted == encrypted);
    if let (Some((_, safe)), Some((open, at))) = (of(true), of(false)) {
        let scheme = if open.web_socket.is_some() { "wss" } else { "mqtts" };
        problems.push(
            Problem::at(at, format!("{} has encrypted and open addresses", fields.whose))
                .label("this one is not encrypted")
                .also(safe, "this one is")
                .help(format!(
                    "whoever cuts off the one would see login and messages on the other: use {scheme}:// here too"
                )),
        );
    }
}

/// What encrypted connections trust and show: files read and held against each other. `None` when something is wrong.
pub(super) fn tls(
    fields: &Fields<'_>,
    servers: Option<&[ServerConfig]>,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<UplinkTls> {
    if let Some(open) = servers.and_then(|servers| servers.iter().find(|server| !server.encrypted)) {
        for entry in TLS_KEYS.iter().filter_map(|key| fields.entry(key)) {
            let scheme = if open.web_socket.is_some() { "wss" } else { "mqtts" };
            problems.push(
                Problem::at(&entry.key_span, format!("`{}` belongs to an encrypted connection", entry.key))
                    .label(format!("{open} is not encrypted"))
                    .help(format!("write `url: {scheme}://…`, or remove `{}`", entry.key)),
            );
        }
        return Some(UplinkTls::default());
    }
    let told = problems.count();
    let mut file = |key| material::read(fields, key, context, problems);
    let (ca, certificate, private_key) = (file("ca"), file("certificate"), file("private_key"));
    for (key, other) in [("certificate", "private_key"), ("private_key", "certificate")] {
        if let (Some(entry), None) = (fields.entry(key), fields.entry(other)) {
            problems.push(
                Problem::at(&entry.key_span, format!("{} has `{key}` and no `{other}`", fields.whose))
                    .label(format!("`{other}` is missing beside it"))
                    .help("to show a certificate takes both; they may be in one file"),
            );
        }
    }
    let pair = certificate.zip(private_key);
    let content = ClientMaterial {
        ca: ca.as_ref().map(|(_, bytes)| &**bytes),
        identity: pair.as_ref().map(|((_, certificate), (_, key))| (&**certificate, &**key)),
    };
    if let Err((part, error)) = ClientTls::check(content) {
        problems.push(material::unusable(fields, part, &error));
    }
    let alpn = fields.read("alpn", &Protocol, problems);
    let server_name = fields.read("server_name", &ServerName, problems);
    if let (Some(servers), None) = (servers, fields.entry("server_name"))
        && let Some(server) = servers.iter().find(|server| !is_server_name(&server.host))
    {
        let at = fields.entry("url").map_or(&fields.at, |entry| &entry.value.span);
        problems.push(
            Problem::at(at, format!("`{}` can't be in a certificate", server.host))
                .label("no certificate can be for this host")
                .help("set `server_name:` to the name that is in the server's certificate"),
        );
    }
    (problems.count() == told).then(|| UplinkTls {
        ca: ca.map(|(path, _)| path),
        identity: pair.map(|((certificate, _), (key, _))| (certificate, key)),
        alpn,
        server_name,
    })
}

/// `alpn:` (RFC 7301 §3.1).
struct Protocol;

impl Read for Protocol {
    type Out = String;

    fn wanted(&self) -> String {
        "the name of a protocol such as x-amzn-mqtt-ca".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<String, Wrong> {
        Text { wanted: "", max: 255 }.read(scalar)
    }
}

/// `server_name:`
struct ServerName;

impl Read for ServerName {
    type Out = String;

    fn wanted(&self) -> String {
        "the host name that is in the server's certificate".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<String, Wrong> {
        let text = Text { wanted: "", max: 253 }.read(scalar)?;
        if is_server_name(&text) {
            return Ok(text);
        }
        let bare = text.split_once("://").map_or(&*text, |(_, rest)| rest);
        let bare = bare.split(['/', ':']).next().unwrap_or_default();
        let label = format!("`{}` is not a host name", crate::config::yaml::short(&text));
        Err(if is_server_name(bare) { Wrong::helped(label, format!("write {bare}")) } else { Wrong::new(label) })
    }
}
