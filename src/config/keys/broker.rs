//! The keys of `broker:` and of the mappings in it.

use super::{Shape, key};

pub(in crate::config) static BROKER: Shape = Shape {
    what: "`broker`",
    example: "{ listeners: [mqtt://127.0.0.1:1883] }",
    depth: 1,
    keys: &[key("listeners"), key("server_keep_alive"), key("session_expiry"), key("users"), key("limits")],
    foreign: &[
        ("listen", "listeners"),
        ("listener", "listeners"),
        ("keep_alive", "server_keep_alive"),
        ("acl", "users"),
        ("logins", "users"),
    ],
};

pub(in crate::config) static LISTENER: Shape = Shape {
    what: "a listener",
    example: "{ url: mqtt://127.0.0.1:1883 }",
    depth: 3,
    keys: &[key("url"), key("certificate"), key("private_key"), key("client_ca")],
    foreign: &[
        ("listen", "url"),
        ("address", "url"),
        ("bind", "url"),
        ("cert", "certificate"),
        ("certfile", "certificate"),
        ("cert_file", "certificate"),
        ("key", "private_key"),
        ("keyfile", "private_key"),
        ("key_file", "private_key"),
        ("ca", "client_ca"),
        ("cafile", "client_ca"),
        ("ca_file", "client_ca"),
    ],
};

pub(in crate::config) static USER: Shape = Shape {
    what: "a user of the broker",
    example: "{ name: hmi, password_hash: \"$argon2id$…\", may_subscribe: [\"fieldway/#\"] }",
    depth: 3,
    keys: &[key("name"), key("password_hash"), key("may_subscribe"), key("may_publish"), key("deny")],
    foreign: &[
        ("user", "name"),
        ("username", "name"),
        ("hash", "password_hash"),
        ("read", "may_subscribe"),
        ("subscribe", "may_subscribe"),
        ("write", "may_publish"),
        ("publish", "may_publish"),
        ("forbid", "deny"),
    ],
};

pub(in crate::config) static LIMITS: Shape = Shape {
    what: "`limits` of the broker",
    example: "{ connections_per_address: 100 }",
    depth: 2,
    keys: &[
        key("connections"),
        key("connections_per_address"),
        key("connect_timeout"),
        key("packet_size"),
        key("in_flight"),
        key("receive_maximum"),
        key("queue_messages"),
        key("queue_size"),
        key("queues_size"),
        key("stalled_after"),
        key("sessions"),
        key("session_messages"),
        key("session_size"),
        key("subscriptions"),
        key("topic_levels"),
        key("retained_messages"),
        key("retained_size"),
    ],
    foreign: &[
        ("connect_within", "connect_timeout"),
        ("max_connections", "connections"),
        ("max_packet_size", "packet_size"),
        ("message_size_limit", "packet_size"),
        ("max_inflight_messages", "in_flight"),
        ("max_queued_messages", "session_messages"),
        ("max_queued_bytes", "session_size"),
    ],
};
