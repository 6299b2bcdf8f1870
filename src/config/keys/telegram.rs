//! The keys of devices that speak lines or frames, below those of their buses and points.

use super::{Shape, key};

pub(in crate::config) static FRAME: Shape = Shape {
    what: "`frame` of a bus",
    example: "{ start: \"59 59\", length: 9, checksum: sum8 }",
    depth: 3,
    keys: &[
        key("start", "bytes", "none", "what every frame begins with: `59 59`"),
        key("length", "whole number or group", "none", "all bytes of a frame, or where its length is")
            .one(&FRAME_LENGTH),
        key("end", "bytes", "none", "what every frame ends with"),
        key("idle", "duration", "50ms", "a pause that ends a frame where nothing else does"),
        key("max_length", "size", "1KiB", "a longer frame is none"),
        key("checksum", "word or group", "none", "what a frame is checked with: `crc16-modbus`, `sum8` and so on")
            .one(&FRAME_CHECKSUM),
    ],
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
    keys: &[
        key("at", "whole number", "required", "the byte where the length is, counted from 0"),
        key("type", "word", "u8", "how it is written: `u8` or `u16`"),
        key("byte_order", "word", "big", "`little` or `big`"),
        key("add", "whole number", "0", "what makes it the length of the whole frame"),
    ],
    foreign: &[("offset", "at"), ("position", "at")],
};

pub(in crate::config) static FRAME_CHECKSUM: Shape = Shape {
    what: "`checksum` of a frame",
    example: "{ type: crc16-modbus, at: -2 }",
    depth: 4,
    keys: &[
        key("type", "word", "required", "`crc16-modbus`, `sum8` and so on"),
        key(
            "at",
            "whole number",
            "the last thing before end",
            "where it stands; negative numbers count from the frame's end",
        ),
        key("from", "whole number", "0", "the first byte that it covers"),
        key(
            "to",
            "whole number",
            "where it stands",
            "where what it covers ends; negative numbers count from the frame's end",
        ),
        key("byte_order", "word", "as its type has it", "`little` or `big`"),
    ],
    foreign: &[("algorithm", "type"), ("offset", "at"), ("position", "at")],
};

pub(in crate::config) static NMEA: Shape = Shape {
    what: "`nmea` of a point",
    example: "{ sentence: GGA, field: 9 }",
    depth: 5,
    keys: &[
        key("sentence", "text", "required", "its three letters: `GGA`"),
        key("field", "whole number", "required", "which field of it, counted from 1"),
        key("degrees", "switch", "false", "whether it is a position, in degrees and minutes"),
    ],
    foreign: &[("index", "field"), ("message", "sentence")],
};
