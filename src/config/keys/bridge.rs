//! The keys of bridge rules, both directions.

use super::{Shape, key};

pub(in crate::config) static FORWARD: Shape = Shape {
    what: "a forward rule",
    example: "{ topic: \"fieldway/#\" }",
    depth: 4,
    keys: &[
        key("topic"),
        key("except"),
        key("when"),
        key("to"),
        key("qos"),
        key("retain"),
        key("priority"),
        key("continue"),
        key("select"),
        key("rename"),
        key("every"),
        key("on_change"),
        key("aggregate"),
        key("format"),
        key("compress"),
        key("batch"),
    ],
    foreign: &[
        ("from", "topic"),
        ("filter", "topic"),
        ("local", "topic"),
        ("remote", "to"),
        ("exclude", "except"),
        ("if", "when"),
        ("where", "when"),
        ("condition", "when"),
        ("fields", "select"),
        ("interval", "every"),
        ("throttle", "every"),
        ("encoding", "format"),
        ("compression", "compress"),
    ],
};

pub(in crate::config) static ACCEPT: Shape = Shape {
    what: "an accept rule",
    example: "{ topic: \"sites/plant-7/cmd/#\", to: \"fieldway/plant-7/{rest}\" }",
    depth: 4,
    keys: &[key("topic"), key("except"), key("when"), key("to"), key("qos"), key("retain"), key("continue")],
    foreign: &[
        ("from", "topic"),
        ("filter", "topic"),
        ("remote", "topic"),
        ("local", "to"),
        ("exclude", "except"),
        ("if", "when"),
        ("where", "when"),
        ("condition", "when"),
    ],
};

pub(in crate::config) static BATCH: Shape = Shape {
    what: "`batch` of a forward rule",
    example: "{ messages: 100, delay: 5s }",
    depth: 5,
    keys: &[key("messages"), key("delay"), key("size"), key("compress")],
    foreign: &[
        ("count", "messages"),
        ("max", "messages"),
        ("timeout", "delay"),
        ("interval", "delay"),
        ("bytes", "size"),
    ],
};

pub(in crate::config) static AGGREGATE: Shape = Shape {
    what: "`aggregate` of a forward rule",
    example: "{ window: 1m, values: [mean, max] }",
    depth: 5,
    keys: &[key("window"), key("values")],
    foreign: &[
        ("every", "window"),
        ("interval", "window"),
        ("period", "window"),
        ("functions", "values"),
        ("folds", "values"),
    ],
};
