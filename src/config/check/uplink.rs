//! `uplinks:`: the cloud brokers, each with its queue and its forward rules.

use std::collections::HashMap;
use std::time::Duration;

use super::names::{Named, Noun, named};
use super::{Context, rules, server};
use crate::config::fields::Fields;
use crate::config::keys;
use crate::config::problem::{Problem, Problems};
use crate::config::scalar::{Choice, Text, Whole};
use crate::config::secrets;
use crate::config::tree::Span as Place;
use crate::config::types::{Durability, GatewayConfig, MqttVersion, QueueConfig, ServerConfig, UplinkConfig, WhenFull};
use crate::config::units::{KeepAlive, PerTime, Size, Span};

const NOUN: Noun = Noun { one: "uplink", many: "uplinks", shape: &keys::UPLINK, reserved: &[] };

const KEEP_ALIVE: Duration = Duration::from_secs(60);
const WINDOW: u64 = 100;

const VERSION: Choice<MqttVersion> = Choice {
    now: &[("5", MqttVersion::V5), ("3.1.1", MqttVersion::V311)],
    later: &[],
    foreign: &[
        ("5.0", "5"),
        ("v5", "5"),
        ("mqttv5", "5"),
        ("4", "3.1.1"),
        ("3", "3.1.1"),
        ("3.1", "3.1.1"),
        ("mqttv311", "3.1.1"),
    ],
};

const WHEN_FULL: Choice<WhenFull> = Choice {
    now: &[("drop_oldest", WhenFull::DropOldest), ("drop_newest", WhenFull::DropNewest)],
    later: &[],
    foreign: &[("oldest", "drop_oldest"), ("newest", "drop_newest")],
};

const DURABILITY: Choice<Durability> =
    Choice { now: &[("full", Durability::Full), ("normal", Durability::Normal)], later: &[], foreign: &[] };

const DEFAULT_QUEUE: QueueConfig = QueueConfig {
    max_size: 2 << 30,
    max_age: Duration::from_secs(30 * 86_400),
    when_full: WhenFull::DropOldest,
    durability: Durability::Full,
    commit_every: Duration::from_millis(250),
};

pub(super) fn check(
    top: &Fields<'_>,
    gateway: Option<&GatewayConfig>,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Vec<UplinkConfig> {
    let Some(entry) = top.entry("uplinks") else { return Vec::new() };
    let mut clients: HashMap<(String, u16, String), Place> = HashMap::new();
    let mut uplinks = Vec::new();
    for named in named(&entry.value, &NOUN, "", &mut Vec::new(), problems) {
        let Some(uplink) = one(&named, gateway, context, problems) else { continue };
        let id = &uplink.client_id;
        let as_client = |server: &ServerConfig| (server.host.to_lowercase(), server.port, id.clone());
        if let Some(first) = uplink.servers.iter().find_map(|server| clients.get(&as_client(server))) {
            problems.push(
                Problem::at(named.key_span, format!("two uplinks are client `{id}` at one broker"))
                    .label("and this one")
                    .also(first, "this one")
                    .help("they would cut each other off; give one of them a `client_id` of its own"),
            );
        }
        clients.extend(uplink.servers.iter().map(|server| (as_client(server), named.key_span.clone())));
        uplinks.push(uplink);
    }
    uplinks
}

fn one(
    named: &Named<'_>,
    gateway: Option<&GatewayConfig>,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<UplinkConfig> {
    let fields = &named.fields;
    let servers = server::servers(fields, problems);
    let tls = server::tls(fields, servers.as_deref(), context, problems);
    let client_id = match fields.entry("client_id") {
        Some(_) => fields.read("client_id", &Text { wanted: "a text such as plant-7", max: 256 }, problems),
        None => gateway.map(|gateway| gateway.id.to_string()),
    };
    let username = fields.read("username", &Text { wanted: "a text", max: 65_535 }, problems);
    let password = secrets::password(fields, context, problems);
    let version = fields.read("mqtt_version", &VERSION, problems).unwrap_or(MqttVersion::V5);
    if version == MqttVersion::V311 && fields.entry("username").is_none() {
        let entry = fields.entry("password").or(fields.entry("password_file"));
        if let Some(entry) = entry {
            problems.push(
                Problem::at(&entry.key_span, format!("{} has a password and no `username`", fields.whose))
                    .label("MQTT 3.1.1 sends no password without a user name")
                    .help("write `username:` too, or use `mqtt_version: \"5\"`"),
            );
        }
    }
    let keep_alive = fields.read("keep_alive", &KeepAlive, problems).unwrap_or(KEEP_ALIVE);
    let window = fields.read("window", &Whole(1..=10_000), problems).unwrap_or(WINDOW);
    let rate_limit = fields.read("rate_limit", &PerTime, problems);
    let queue = queue(fields, problems);
    let (forward, accept) = rules::check(fields, context, problems);
    let (password, password_file) = password.map_or((None, None), |(password, file)| (Some(password), file));
    Some(UplinkConfig {
        name: named.name.clone()?,
        servers: servers?,
        tls: tls?,
        client_id: client_id?,
        username,
        password,
        password_file,
        version,
        keep_alive,
        window: window as u16,
        rate_limit,
        queue,
        forward,
        accept,
        place: Some(context.place(named.key_span)),
    })
}

fn queue(uplink: &Fields<'_>, problems: &mut Problems) -> QueueConfig {
    let Some(entry) = uplink.entry("queue") else { return DEFAULT_QUEUE };
    let whose = format!("the queue of {}", uplink.whose);
    let Some(fields) = Fields::open(&entry.value, &keys::QUEUE, &entry.key_span, whose, problems) else {
        return DEFAULT_QUEUE;
    };
    QueueConfig {
        max_size: fields.read("max_size", &Size(1 << 20..=1 << 40), problems).unwrap_or(DEFAULT_QUEUE.max_size),
        max_age: fields
            .read("max_age", &Span::millis(1_000..=3_650 * 86_400_000), problems)
            .unwrap_or(DEFAULT_QUEUE.max_age),
        when_full: fields.read("when_full", &WHEN_FULL, problems).unwrap_or(DEFAULT_QUEUE.when_full),
        durability: fields.read("durability", &DURABILITY, problems).unwrap_or(DEFAULT_QUEUE.durability),
        commit_every: fields
            .read("commit_every", &Span::millis(1..=10_000), problems)
            .unwrap_or(DEFAULT_QUEUE.commit_every),
    }
}
