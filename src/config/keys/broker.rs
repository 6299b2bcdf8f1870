//! The keys of `broker:` and of the mappings in it.

use super::{Shape, key};

pub(in crate::config) static BROKER: Shape = Shape {
    what: "`broker`",
    example: "{ listeners: [mqtt://127.0.0.1:1883] }",
    depth: 1,
    keys: &[
        key("listeners", "list of addresses or groups", "mqtt://127.0.0.1:1883", "where clients connect")
            .listed(&LISTENER),
        key(
            "server_keep_alive",
            "duration",
            "the client's own",
            "the longest that MQTT 5 clients may use, 1s to 65535s",
        ),
        key(
            "session_expiry",
            "duration",
            "7d",
            "for how long the session of a client that is away is kept, 0s to 3650d",
        ),
        key("users", "list of groups", "none", "who may log in; without any, only loopback addresses are taken")
            .listed(&USER),
        key("limits", "group", "", "what one client, and all together, may use").one(&LIMITS),
    ],
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
    keys: &[
        key("url", "address", "required", "`mqtt://`, `mqtts://`, `ws://` or `wss://`, an IP address and a port"),
        key(
            "certificate",
            "path",
            "required with mqtts:// and wss://",
            "PEM: the server's certificate, then those up to its authority",
        ),
        key("private_key", "path", "required with mqtts:// and wss://", "PEM, without a passphrase"),
        key("client_ca", "path", "none", "PEM: clients must show a certificate of one of these authorities"),
    ],
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
    keys: &[
        key("name", "text", "required", "what the client logs in as, or the CN of its certificate; or `anonymous`"),
        key("password_hash", "text", "none", "an argon2id hash, as `fieldway passwd` prints it"),
        key("may_subscribe", "topic filter or a list", "nothing", "`%u` is the user, `%c` the client identifier"),
        key("may_publish", "topic filter or a list", "nothing", "`%u` is the user, `%c` the client identifier"),
        key("deny", "topic filter or a list", "nothing", "what is refused of the above"),
    ],
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
        key("connections", "whole number", "1000", "clients connected at once, 1 to 65535"),
        key("connections_per_address", "whole number", "100", "connections from one address but loopback, 1 to 65535"),
        key("connect_timeout", "duration", "10s", "from the connection to a whole CONNECT, 1s to 5m"),
        key("packet_size", "size", "1MiB", "of a packet, its header included, 1KiB to 256MiB"),
        key("in_flight", "whole number", "100", "messages sent to a client and not acknowledged, 1 to 4000"),
        key(
            "receive_maximum",
            "whole number",
            "1000",
            "messages from a client that are not acknowledged yet, 1 to 65535",
        ),
        key("queue_messages", "whole number", "20000", "what waits in memory for one client, up to 1000000"),
        key("queue_size", "size", "4MiB", "what waits in memory for one client, 64KiB to 1GiB"),
        key("queues_size", "size", "64MiB", "what waits in memory for all clients together, 64KiB to 64GiB"),
        key(
            "stalled_after",
            "duration",
            "30s",
            "when a client with a full queue that takes nothing is disconnected, 1s to 1h",
        ),
        key("sessions", "whole number", "50000", "sessions that may outlive their connection, up to 1000000"),
        key("session_messages", "whole number", "100000", "what is kept on disk for one session, up to 100000000"),
        key("session_size", "size", "64MiB", "what is kept on disk for one session, 64KiB to 1024GiB"),
        key("subscriptions", "whole number", "1000", "subscriptions of one client, up to 100000"),
        key("topic_levels", "whole number", "128", "levels of a topic or filter, 1 to 200"),
        key("retained_messages", "whole number", "100000", "retained messages, up to 10000000"),
        key("retained_size", "size", "64MiB", "retained messages, 64KiB to 64GiB"),
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
