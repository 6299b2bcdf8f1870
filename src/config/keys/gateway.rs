//! The keys of the top level, of the gateway itself and of its pages.

use super::{BROKER, BUS, DEVICE, Shape, UPLINK, key};

pub(in crate::config) static TOP: Shape = Shape {
    what: "the top level",
    example: "gateway: { id: plant-7 }",
    depth: 0,
    keys: &[
        key("gateway", "group", "", "who this gateway is").one(&GATEWAY),
        key("broker", "group", "", "the MQTT broker for this machine and its surroundings").one(&BROKER),
        key("web", "group", "no HTTP", "pages for people and probes").one(&WEB),
        key("buses", "groups by name", "", "serial lines and network connections to devices").named(&BUS),
        key("devices", "groups by name", "", "what is read, and over which bus").named(&DEVICE),
        key("uplinks", "groups by name", "", "MQTT brokers elsewhere that messages go to and come from").named(&UPLINK),
        key(
            "include",
            "path, pattern or a list",
            "",
            "other files that are part of this one; `*`, `?` and `[…]` in the name",
        ),
    ],
    foreign: &[("mqtt", "broker"), ("bridges", "uplinks"), ("cloud", "uplinks"), ("http", "web")],
};

pub(in crate::config) static GATEWAY: Shape = Shape {
    what: "`gateway`",
    example: "{ id: plant-7 }",
    depth: 1,
    keys: &[
        key("id", "name", "the host's name", "what this gateway is called, in topics too"),
        key("topic_root", "topic", "fieldway/<id>", "the first levels of every topic of this gateway"),
        key("data_dir", "path", "/var/lib/fieldway", "the folder of queues, sessions and retained messages"),
    ],
    foreign: &[("name", "id"), ("base_topic", "topic_root"), ("topic", "topic_root"), ("data", "data_dir")],
};

pub(in crate::config) static WEB: Shape = Shape {
    what: "`web`",
    example: "{ listen: 127.0.0.1:8080 }",
    depth: 1,
    keys: &[key(
        "listen",
        "IP:PORT",
        "required",
        "where the pages are; other addresses than loopback take `users` of the broker",
    )],
    foreign: &[("address", "listen"), ("port", "listen")],
};
