//! The keys of bridge rules, both directions.

use super::{Shape, key};

pub(in crate::config) static FORWARD: Shape = Shape {
    what: "a forward rule",
    example: "{ topic: \"fieldway/#\" }",
    depth: 4,
    keys: &[
        key(
            "topic",
            "topic filter",
            "required",
            "which messages of the local broker; the first rule that takes one decides",
        ),
        key("except", "topic filter or a list", "none", "which of them this rule leaves alone"),
        key("when", "condition", "none", "in CEL, on topic, content and type of the message"),
        key("to", "topic template", "{topic}", "the topic at the cloud"),
        key("qos", "whole number", "1", "0, 1 or 2"),
        key("retain", "word", "keep", "`keep` as published here, `never` or `always`"),
        key("priority", "word", "normal", "`high` goes before everything that waits; or `normal`"),
        key("continue", "switch", "false", "whether the rules after it see the message too"),
        key("select", "list of fields", "all", "which fields of the content go"),
        key("rename", "names by field", "none", "new names for fields"),
        key("every", "duration", "none", "at most one message of each topic in this time, 100ms to 7d"),
        key("on_change", "switch", "false", "only what differs in more than its time"),
        key("aggregate", "group", "none", "one message a window and topic").one(&AGGREGATE),
        key("format", "word", "json", "`json`, `json_batch`, `influx`, `value`, `thingsboard` or `cbor`"),
        key("compress", "word", "none", "`zstd` or `none`"),
        key("batch", "group", "none", "many messages to one").one(&BATCH),
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
    keys: &[
        key("topic", "topic filter", "required", "which messages of the cloud; the first rule that takes one decides"),
        key("except", "topic filter or a list", "none", "which of them this rule leaves alone"),
        key("when", "condition", "none", "in CEL, on topic, content and type of the message"),
        key("to", "topic template", "{topic}", "the local topic"),
        key("qos", "whole number", "1", "0, 1 or 2: of the subscription, and here"),
        key("retain", "word", "keep", "`keep` as published there, `never` or `always`"),
        key("continue", "switch", "false", "whether the rules after it see the message too"),
    ],
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
    keys: &[
        key("messages", "whole number", "100", "as many close it, up to 10000"),
        key("delay", "duration", "5s", "so long after the first it is closed, up to 1d"),
        key("size", "size", "256KiB", "as much closes it, up to 8MiB"),
        key("compress", "word", "none", "`zstd` or `none`"),
    ],
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
    keys: &[
        key("window", "duration", "required", "from message to message, 1s to 7d"),
        key("values", "list of words", "required", "`min`, `max`, `mean`, `sum`, `count`, `first` and `last`"),
    ],
    foreign: &[
        ("every", "window"),
        ("interval", "window"),
        ("period", "window"),
        ("functions", "values"),
        ("folds", "values"),
    ],
};
