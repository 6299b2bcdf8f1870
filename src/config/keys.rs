//! Every key that there is, where it belongs, and whether its feature is there yet.

mod bridge;
mod broker;
mod telegram;

use super::suggest::did_you_mean;

pub(super) use bridge::{ACCEPT, AGGREGATE, BATCH, FORWARD};
pub(super) use broker::{BROKER, LIMITS, LISTENER, USER};
pub(super) use telegram::{FRAME, FRAME_CHECKSUM, FRAME_LENGTH, NMEA};

/// A kind of mapping, with its keys.
#[derive(Debug)]
pub(super) struct Shape {
    /// With its article: "a device".
    pub(super) what: &'static str,
    /// A small one, as it can be written in one line.
    pub(super) example: &'static str,
    /// Levels above it in the file; the top is 0.
    pub(super) depth: usize,
    pub(super) keys: &'static [Key],
    /// What other gateways call our keys.
    pub(super) foreign: &'static [(&'static str, &'static str)],
}

/// One key of a [`Shape`].
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// `Some` when the feature is not there yet: what to do without it.
    pub(super) instead: Option<&'static str>,
}

const fn key(name: &'static str) -> Key {
    Key { name, instead: None }
}

const fn later(name: &'static str, instead: &'static str) -> Key {
    Key { name, instead: Some(instead) }
}

impl Shape {
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The keys that may be written in this version.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().filter(|key| key.instead.is_none()).map(|key| key.name)
    }

    /// The key of this shape that another gateway's word stands for.
    pub(super) fn translated(&self, wrong: &str) -> Option<&'static str> {
        let lower = wrong.to_ascii_lowercase();
        self.foreign.iter().find(|(theirs, _)| *theirs == lower).map(|(_, ours)| *ours)
    }

    /// The key of this shape that was most likely mistyped.
    pub(super) fn mistyped(&self, wrong: &str) -> Option<&'static str> {
        did_you_mean(wrong, self.keys.iter().map(|key| key.name))
    }
}

/// Whether a key holds something that must not be shown, even when the key itself is misspelt.
pub(super) fn is_secret(key: &str) -> bool {
    let lower = key.to_ascii_lowercase();
    if matches!(lower.as_str(), "password_file" | "private_key" | "passwd_file") {
        return false;
    }
    ["pass", "pwd", "secret", "token", "pasword", "hash"].iter().any(|word| lower.contains(word))
        || (6..=10).contains(&lower.len()) && did_you_mean(&lower, ["password"]).is_some()
}

/// Shapes that have `name` among their keys, the nearest relatives of `near` first. A word that anything might have says nothing.
pub(super) fn owners(name: &str, near: &Shape) -> Vec<&'static Shape> {
    if name == "name" {
        return Vec::new();
    }
    let mut owners: Vec<&'static Shape> =
        ALL.iter().copied().filter(|shape| shape.what != near.what && shape.key(name).is_some()).collect();
    owners.sort_by_key(|shape| shape.depth.abs_diff(near.depth));
    owners
}

/// The shape that a mapping with these keys looks like, if two of its keys say so.
pub(super) fn looks_like<'a>(
    keys: impl Iterator<Item = &'a str> + Clone,
    among: &[&'static Shape],
) -> Option<&'static Shape> {
    among
        .iter()
        .map(|shape| (keys.clone().filter(|key| shape.key(key).is_some()).count(), *shape))
        .filter(|(hits, _)| *hits >= 2)
        .max_by_key(|(hits, _)| *hits)
        .map(|(_, shape)| shape)
}

pub(super) static TOP: Shape = Shape {
    what: "the top level",
    example: "gateway: { id: plant-7 }",
    depth: 0,
    keys: &[key("gateway"), key("broker"), key("web"), key("buses"), key("devices"), key("uplinks"), key("include")],
    foreign: &[("mqtt", "broker"), ("bridges", "uplinks"), ("cloud", "uplinks"), ("http", "web")],
};

pub(super) static GATEWAY: Shape = Shape {
    what: "`gateway`",
    example: "{ id: plant-7 }",
    depth: 1,
    keys: &[key("id"), key("topic_root"), key("data_dir")],
    foreign: &[("name", "id"), ("base_topic", "topic_root"), ("topic", "topic_root"), ("data", "data_dir")],
};

pub(super) static WEB: Shape = Shape {
    what: "`web`",
    example: "{ listen: 127.0.0.1:8080 }",
    depth: 1,
    keys: &[key("listen")],
    foreign: &[("address", "listen"), ("port", "listen")],
};

pub(super) static BUS: Shape = Shape {
    what: "a bus",
    example: "{ serial: /dev/ttyUSB0, protocol: modbus-rtu }",
    depth: 2,
    keys: &[
        key("serial"),
        key("tcp"),
        key("listen"),
        key("from"),
        key("protocol"),
        key("baud"),
        key("data_bits"),
        key("parity"),
        key("stop_bits"),
        key("rs485"),
        key("echo"),
        key("timeout"),
        key("retries"),
        key("max_gap"),
        key("in_flight"),
        key("delimiter"),
        key("idle"),
        key("max_length"),
        key("checksum"),
        key("frame"),
    ],
    foreign: &[
        ("host", "tcp"),
        ("address", "tcp"),
        ("port", "serial"),
        ("device", "serial"),
        ("path", "serial"),
        ("baudrate", "baud"),
        ("baud_rate", "baud"),
        ("speed", "baud"),
        ("bytesize", "data_bits"),
        ("databits", "data_bits"),
        ("type", "protocol"),
        ("mode", "protocol"),
        ("separator", "delimiter"),
        ("terminator", "delimiter"),
        ("eol", "delimiter"),
        ("line_end", "delimiter"),
        ("bind", "listen"),
        ("allow", "from"),
        ("rts", "rs485"),
    ],
};

pub(super) static DEVICE: Shape = Shape {
    what: "a device",
    example: "{ bus: line1, unit_id: 1, points: { flow: { holding: 107 } } }",
    depth: 2,
    keys: &[
        key("bus"),
        key("unit_id"),
        key("poll"),
        key("byte_order"),
        key("max_registers"),
        key("single_requests"),
        key("pause"),
        key("max_in_flight"),
        key("request"),
        key("match"),
        key("max_age"),
        key("latest_every"),
        key("write_and_read"),
        key("publish"),
        key("report"),
        key("qos"),
        key("retain"),
        key("points"),
        key("template"),
        key("deadband"),
        key("max_silence"),
    ],
    foreign: &[
        ("slave", "unit_id"),
        ("slave_id", "unit_id"),
        ("unit", "unit_id"),
        ("address", "unit_id"),
        ("interval", "poll"),
        ("poll_interval", "poll"),
        ("scan_interval", "poll"),
        ("registers", "points"),
        ("sensors", "points"),
        ("tags", "points"),
        ("word_order", "byte_order"),
        ("max_read", "max_registers"),
        ("max_read_registers", "max_registers"),
        ("guard_interval_us", "pause"),
        ("request_delay", "pause"),
        ("delay", "pause"),
    ],
};

pub(super) static POINT: Shape = Shape {
    what: "a point",
    example: "{ holding: 107, type: u16 }",
    depth: 4,
    keys: &[
        key("coil"),
        key("discrete"),
        key("input"),
        key("holding"),
        key("register"),
        key("type"),
        key("scale"),
        key("offset"),
        key("scale_from"),
        key("bit"),
        key("byte"),
        key("length"),
        key("encoding"),
        key("enum"),
        key("bits"),
        key("invalid"),
        key("unit"),
        key("poll"),
        key("byte_order"),
        key("publish"),
        key("report"),
        key("qos"),
        key("retain"),
        key("deadband"),
        key("max_silence"),
        key("write"),
        key("match"),
        key("nmea"),
        key("at"),
        key("decimal"),
        key("request"),
        key("max_age"),
        key("latest_every"),
    ],
    foreign: &[
        ("reg", "register"),
        ("data_type", "type"),
        ("datatype", "type"),
        ("format", "type"),
        ("factor", "scale"),
        ("multiplier", "scale"),
        ("gain", "scale"),
        ("discrete_input", "discrete"),
        ("input_register", "input"),
        ("holding_register", "holding"),
        ("unit_of_measurement", "unit"),
        ("interval", "poll"),
        ("scan_interval", "poll"),
        ("word_order", "byte_order"),
        ("swap", "byte_order"),
        ("scale_factor", "scale"),
        ("sf", "scale_from"),
        ("values", "enum"),
        ("map", "enum"),
        ("writable", "write"),
        ("writeable", "write"),
        ("access", "write"),
        ("dead_band", "deadband"),
        ("mask", "bit"),
        ("size", "length"),
        ("charset", "encoding"),
        ("sentinel", "invalid"),
        ("na_value", "invalid"),
        ("error_value", "invalid"),
        ("regex", "match"),
        ("pattern", "match"),
        ("command", "request"),
        ("query", "request"),
    ],
};

/// Of a template; a configuration has no such key.
pub(super) static ABOUT: Shape = Shape {
    what: "`about`",
    example: "{ maker: Eastron, model: SDM120, source: \"SDM120 Modbus protocol, V2.4\" }",
    depth: 1,
    keys: &[key("maker"), key("model"), key("source"), key("line"), key("note")],
    foreign: &[("manufacturer", "maker"), ("vendor", "maker"), ("device", "model"), ("url", "source")],
};

pub(super) static SCALE_FROM: Shape = Shape {
    what: "`scale_from` of a point",
    example: "{ holding: 82 }",
    depth: 5,
    keys: &[key("input"), key("holding"), key("register")],
    foreign: &[("reg", "register"), ("address", "holding")],
};

pub(super) static WRITE: Shape = Shape {
    what: "`write` of a point",
    example: "{ min: 30, max: 80 }",
    depth: 5,
    keys: &[key("min"), key("max"), key("step"), key("only")],
    foreign: &[("minimum", "min"), ("maximum", "max"), ("from", "min"), ("to", "max"), ("write_only", "only")],
};

pub(super) static UPLINK: Shape = Shape {
    what: "an uplink",
    example: "{ url: mqtt://broker.example.com, forward: [{ topic: \"#\" }] }",
    depth: 2,
    keys: &[
        key("url"),
        key("ca"),
        key("certificate"),
        key("private_key"),
        key("server_name"),
        key("alpn"),
        key("client_id"),
        key("username"),
        key("password"),
        key("password_file"),
        key("mqtt_version"),
        key("keep_alive"),
        key("window"),
        key("rate_limit"),
        key("queue"),
        key("forward"),
        key("accept"),
        later("session_lost", "messages go with QoS 1: what the cloud has not acknowledged is sent again"),
    ],
    foreign: &[
        ("host", "url"),
        ("server", "url"),
        ("broker", "url"),
        ("address", "url"),
        ("user", "username"),
        ("login", "username"),
        ("clientid", "client_id"),
        ("version", "mqtt_version"),
        ("protocol", "mqtt_version"),
        ("urls", "url"),
        ("servers", "url"),
        ("addresses", "url"),
        ("cafile", "ca"),
        ("ca_file", "ca"),
        ("ca_cert", "ca"),
        ("tls_ca", "ca"),
        ("cert", "certificate"),
        ("certfile", "certificate"),
        ("cert_file", "certificate"),
        ("client_cert", "certificate"),
        ("tls_cert", "certificate"),
        ("key", "private_key"),
        ("keyfile", "private_key"),
        ("key_file", "private_key"),
        ("client_key", "private_key"),
        ("tls_key", "private_key"),
        ("sni", "server_name"),
        ("tls_server_name", "server_name"),
        ("rate", "rate_limit"),
        ("max_rate", "rate_limit"),
        ("buffer", "queue"),
        ("topics", "forward"),
        ("subscribe", "accept"),
    ],
};

pub(super) static QUEUE: Shape = Shape {
    what: "`queue` of an uplink",
    example: "{ max_size: 2GiB }",
    depth: 3,
    keys: &[key("max_size"), key("max_age"), key("when_full"), key("durability"), key("commit_every")],
    foreign: &[("size", "max_size"), ("age", "max_age"), ("limit", "max_size")],
};

/// In the order in which a hint names them when several have a key.
pub(super) static ALL: [&Shape; 22] = [
    &TOP,
    &GATEWAY,
    &BROKER,
    &WEB,
    &BUS,
    &DEVICE,
    &POINT,
    &FRAME,
    &FRAME_LENGTH,
    &FRAME_CHECKSUM,
    &NMEA,
    &UPLINK,
    &QUEUE,
    &FORWARD,
    &LISTENER,
    &USER,
    &LIMITS,
    &SCALE_FROM,
    &WRITE,
    &BATCH,
    &AGGREGATE,
    &ACCEPT,
];
