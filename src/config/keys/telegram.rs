//! The keys of devices that speak lines or frames, below those of their buses and points.

use super::{Shape, key};

pub(in crate::config) static FRAME: Shape = Shape {
    what: "`frame` of a bus",
    example: "{ start: \"59 59\", length: 9, checksum: sum8 }",
    depth: 3,
    keys: &[key("start"), key("length"), key("end"), key("idle"), key("max_length"), key("checksum")],
    foreign: &[
        ("header", "start"),
        ("prefix", "start"),
        ("sync", "start"),
        ("delimiter", "end"),
        ("crc", "checksum"),
        ("size", "length"),
    ],
};

pub(in crate::config) static FRAME_LENGTH: Shape = Shape {
    what: "`length` of a frame",
    example: "{ at: 2, add: 5 }",
    depth: 4,
    keys: &[key("at"), key("type"), key("byte_order"), key("add")],
    foreign: &[("offset", "at"), ("position", "at")],
};

pub(in crate::config) static FRAME_CHECKSUM: Shape = Shape {
    what: "`checksum` of a frame",
    example: "{ type: crc16-modbus, at: -2 }",
    depth: 4,
    keys: &[key("type"), key("at"), key("from"), key("to"), key("byte_order")],
    foreign: &[("algorithm", "type"), ("offset", "at"), ("position", "at")],
};

pub(in crate::config) static NMEA: Shape = Shape {
    what: "`nmea` of a point",
    example: "{ sentence: GGA, field: 9 }",
    depth: 5,
    keys: &[key("sentence"), key("field"), key("degrees")],
    foreign: &[("index", "field"), ("message", "sentence")],
};
