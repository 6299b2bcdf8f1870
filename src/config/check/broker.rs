//! `broker:` and `web:`: where this machine listens, and who may come in. No two may want the same address.

use std::net::SocketAddr;

use super::{Context, listener, users};
use crate::config::address::WebAddress;
use crate::config::fields::Fields;
use crate::config::keys;
use crate::config::problem::{Problem, Problems};
use crate::config::scalar::Whole;
use crate::config::tree::{Node, Span as Place};
use crate::config::types::{ANONYMOUS, BrokerConfig, LimitsConfig, ListenerConfig, UserConfig, WebConfig};
use crate::config::units::{KeepAlive, Size, Span};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const DEFAULT_LISTENER: &str = "mqtt://127.0.0.1:1883";

/// One address has no more ports to come from.
const MOST_CONNECTIONS: u64 = 65_535;
const CONNECT_TIMEOUT: Span = Span::millis(1_000..=300_000);

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
    let limits = limits(&fields, problems);
    let (listeners, nodes) = match fields.entry("listeners") {
        Some(_) => listeners(&fields, context, problems),
        None => (vec![default_listener()], Vec::new()),
    };
    let by_certificate = listeners.iter().any(|l| l.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()));
    let users = users::check(&fields, by_certificate, problems);
    for (listener, node) in listeners.iter().zip(nodes) {
        let instead = listener.url.replacen(&listener.address.ip().to_string(), "127.0.0.1", 1);
        beyond_loopback(listener.address, &node.span, (fields.entry("users").is_some(), &users), &instead, problems);
    }
    BrokerConfig { listeners, server_keep_alive, session_expiry, users, limits }
}

fn limits(broker: &Fields<'_>, problems: &mut Problems) -> LimitsConfig {
    let Some(entry) = broker.entry("limits") else { return LimitsConfig::default() };
    let whose = "`limits` of the broker";
    let Some(fields) = Fields::open(&entry.value, &keys::LIMITS, &entry.key_span, whose, problems) else {
        return LimitsConfig::default();
    };
    let mut count = |key, range| fields.read(key, &Whole(range), problems).map(as_usize);
    let connections = count("connections", 1..=MOST_CONNECTIONS);
    let connections_per_address = count("connections_per_address", 1..=MOST_CONNECTIONS);
    let in_flight = count("in_flight", 1..=4_000).and_then(|n| u16::try_from(n).ok());
    let receive_maximum = count("receive_maximum", 1..=65_535).and_then(|n| u16::try_from(n).ok());
    let queue_messages = count("queue_messages", 1..=1_000_000);
    let sessions = count("sessions", 1..=1_000_000);
    let session_messages = count("session_messages", 1..=100_000_000);
    let subscriptions = count("subscriptions", 1..=100_000);
    let topic_levels = count("topic_levels", 1..=200);
    let retained_messages = count("retained_messages", 1..=10_000_000);
    let mut size = |key, range| fields.read(key, &Size(range), problems).map(as_usize);
    let packet_size = size("packet_size", KIB..=256 * MIB);
    let queue_size = size("queue_size", 64 * KIB..=GIB);
    let queues_size = size("queues_size", 64 * KIB..=64 * GIB);
    let session_size = size("session_size", 64 * KIB..=1_024 * GIB);
    let retained_size = size("retained_size", 64 * KIB..=64 * GIB);
    if let (Some(one), Some(all), Some(entry)) = (queue_size, queues_size, fields.entry("queues_size"))
        && one > all
    {
        problems.push(
            Problem::at(&entry.value.span, "all queues together can't be smaller than one of them")
                .label("less than `queue_size`")
                .help("make `queues_size` larger, or `queue_size` smaller"),
        );
    }
    LimitsConfig {
        connections,
        connections_per_address,
        connect_timeout: fields.read("connect_timeout", &CONNECT_TIMEOUT, problems),
        packet_size,
        in_flight,
        receive_maximum,
        queue_messages,
        queue_size,
        queues_size,
        stalled_after: fields.read("stalled_after", &Span::millis(1_000..=3_600_000), problems),
        sessions,
        session_messages,
        session_size,
        subscriptions,
        topic_levels,
        retained_messages,
        retained_size,
    }
}

/// A number that the range of its key keeps within 64 bits; on a smaller machine, as much as there is.
fn as_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The listeners that can be read, and where the address of each stands.
fn listeners<'a>(
    broker: &Fields<'a>,
    context: &Context<'_>,
    problems: &mut Problems,
) -> (Vec<ListenerConfig>, Vec<&'a Node>) {
    let mut listeners: Vec<ListenerConfig> = Vec::new();
    let mut nodes: Vec<&Node> = Vec::new();
    let Some((entry, items)) = broker.list("listeners", DEFAULT_LISTENER, problems) else {
        return (listeners, nodes);
    };
    if items.is_empty() {
        problems.push(
            Problem::at(&entry.value.span, "the broker needs a listener")
                .label("this list is empty")
                .help(format!("leave `listeners` out for {DEFAULT_LISTENER}")),
        );
    }
    for item in items {
        let Some((node, listener)) = listener::check(item, context, problems) else { continue };
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
    (listeners, nodes)
}

fn default_listener() -> ListenerConfig {
    ListenerConfig::plain(([127, 0, 0, 1], 1883).into())
}

/// What can be reached from the network needs somebody who can log in. `users` come with whether there is such a key.
fn beyond_loopback(
    address: SocketAddr,
    at: &Place,
    users: (bool, &[UserConfig]),
    instead: &str,
    problems: &mut Problems,
) {
    let nobody = users.1.iter().all(|user| user.name == ANONYMOUS);
    // When the key is there and nothing in it can be read, that has been told.
    if address.ip().is_loopback() || !nobody || (users.0 && users.1.is_empty()) {
        return;
    }
    let (title, help) = match users.0 {
        false => (
            "listening beyond this machine takes users",
            "list who may come in under `broker.users`; `fieldway passwd --name NAME` makes an entry",
        ),
        true => (
            "listening beyond this machine takes users who can log in",
            "`anonymous` is for loopback listeners; `fieldway passwd --name NAME` makes an entry for somebody else",
        ),
    };
    problems.push(
        Problem::at(at, title)
            .label(format!("{address} can be reached from the network"))
            .help(help)
            .help(format!("or write {instead}")),
    );
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
    let has_users = top.entry("broker").is_some_and(|broker| {
        broker.value.entries().is_some_and(|entries| entries.iter().any(|entry| entry.key == "users"))
    });
    beyond_loopback(listen, span, (has_users, &broker.users), &format!("127.0.0.1:{}", listen.port()), problems);
    Some(WebConfig { listen, place: context.place(span) })
}
