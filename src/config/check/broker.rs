//! `broker:` and `web:`: where this machine listens. No two may want the same address.

use super::Context;
use crate::config::address::{ListenerUrl, WebAddress};
use crate::config::fields::{Fields, read_value};
use crate::config::keys;
use crate::config::problem::{Problem, Problems};
use crate::config::tree::{Node, Value};
use crate::config::types::{BrokerConfig, ListenerConfig, WebConfig};
use crate::config::units::{KeepAlive, Span};

const DEFAULT_LISTENER: &str = "mqtt://127.0.0.1:1883";

/// `broker:`
pub(super) fn check(top: &Fields<'_>, context: &Context<'_>, problems: &mut Problems) -> BrokerConfig {
    let default = || BrokerConfig { listeners: vec![default_listener()], ..BrokerConfig::default() };
    let Some(entry) = top.entry("broker") else { return default() };
    let Some(fields) = Fields::open(&entry.value, &keys::BROKER, &entry.key_span, "`broker`", problems) else {
        return default();
    };
    let server_keep_alive = fields.read("server_keep_alive", &KeepAlive, problems);
    let session_expiry = fields
        .read("session_expiry", &Span::millis(0..=3_650 * 86_400_000), problems)
        .unwrap_or(BrokerConfig::default().session_expiry);
    if fields.entry("listeners").is_none() {
        return BrokerConfig { server_keep_alive, session_expiry, ..default() };
    }
    let mut listeners: Vec<ListenerConfig> = Vec::new();
    let mut nodes: Vec<&Node> = Vec::new();
    if let Some((entry, items)) = fields.list("listeners", DEFAULT_LISTENER, problems) {
        if items.is_empty() {
            problems.push(
                Problem::at(&entry.value.span, "the broker needs a listener")
                    .label("this list is empty")
                    .help(format!("leave `listeners` out for {DEFAULT_LISTENER}")),
            );
        }
        for item in items {
            let Some((node, listener)) = listener(item, context, problems) else { continue };
            if let Some(twin) = listeners.iter().position(|other| other.address == listener.address) {
                problems.push(
                    Problem::at(&node.span, format!("two listeners on {}", listener.address))
                        .label("and here again")
                        .also(&nodes[twin].span, "here first")
                        .help("remove one of them"),
                );
                continue;
            }
            listeners.push(listener);
            nodes.push(node);
        }
    }
    BrokerConfig { listeners, server_keep_alive, session_expiry }
}

/// A listener is an address, or a mapping with `url`.
fn listener<'a>(item: &'a Node, context: &Context<'_>, problems: &mut Problems) -> Option<(&'a Node, ListenerConfig)> {
    let node = match &item.value {
        Value::Map(_) => {
            let fields = Fields::open(item, &keys::LISTENER, &item.span, "this listener", problems)?;
            let Some(entry) = fields.entry("url") else {
                fields.missing("url", &format!("for example `url: {DEFAULT_LISTENER}`"), problems);
                return None;
            };
            &*entry.value
        }
        _ => item,
    };
    let address = read_value(node, "a listener", &ListenerUrl, problems)?;
    let url = node.scalar()?.text.clone();
    Some((node, ListenerConfig { url: url.to_string(), address, place: Some(context.place(&node.span)) }))
}

fn default_listener() -> ListenerConfig {
    ListenerConfig { url: DEFAULT_LISTENER.into(), address: ([127, 0, 0, 1], 1883).into(), place: None }
}

/// `web:`
pub(super) fn check_web(
    top: &Fields<'_>,
    broker: &BrokerConfig,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<WebConfig> {
    let entry = top.entry("web")?;
    let fields = Fields::open(&entry.value, &keys::WEB, &entry.key_span, "`web`", problems)?;
    let listen = fields.require("listen", &WebAddress, "for example `listen: 127.0.0.1:8080`", problems)?;
    let span = &fields.entry("listen")?.value.span;
    if let Some(twin) = broker.listeners.iter().find(|listener| listener.address == listen) {
        let where_else = twin.place.as_ref().map_or("its default".into(), |place| format!("line {}", place.line));
        problems.push(
            Problem::at(span, format!("`web` and the broker can't both listen on {listen}"))
                .label(format!("the broker listens here too ({where_else})"))
                .help("give one of them another port, for example 8080"),
        );
    }
    Some(WebConfig { listen, place: context.place(span) })
}
