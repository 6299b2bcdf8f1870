//! How the bytes on a bus become lines or frames.

use std::time::Duration;

use super::bytes::{Hex, Raw, Signed};
use super::transport::refuse;
use crate::config::fields::{Fields, read_value};
use crate::config::keys;
use crate::config::problem::{Problem, Problems};
use crate::config::scalar::{Choice, Whole};
use crate::config::tree::{Entry, Value};
use crate::config::units::{Size, Span};
use crate::model::{
    ChecksumKind, Crc, Delimiter, FrameChecksum, FrameFormat, FrameLength, FramePlace, LineFormat, Protocol,
    StreamFormat,
};

/// The longest line or frame that may be asked for: more is a file.
const MAX_LENGTH: u64 = 64 << 10;
/// The longest pause inside a telegram.
const MAX_IDLE: u64 = 10_000;

const LINE_CHECKSUM: Choice<bool> =
    Choice { now: &[("none", false), ("nmea", true)], later: &[], foreign: &[("nmea0183", "nmea"), ("xor", "nmea")] };

const CHECKSUM: Choice<ChecksumKind> = Choice {
    now: &[
        ("xor", ChecksumKind::Xor),
        ("sum8", ChecksumKind::Sum8),
        ("sum8-complement", ChecksumKind::Sum8Complement),
        ("sum16", ChecksumKind::Sum16),
        ("crc8", ChecksumKind::Crc(Crc::Crc8)),
        ("crc8-maxim", ChecksumKind::Crc(Crc::Crc8Maxim)),
        ("crc16-modbus", ChecksumKind::Crc(Crc::Modbus)),
        ("crc16-arc", ChecksumKind::Crc(Crc::Arc)),
        ("crc16-usb", ChecksumKind::Crc(Crc::Usb)),
        ("crc16-ccitt", ChecksumKind::Crc(Crc::CcittFalse)),
        ("crc16-xmodem", ChecksumKind::Crc(Crc::Xmodem)),
        ("crc16-kermit", ChecksumKind::Crc(Crc::Kermit)),
        ("crc16-x25", ChecksumKind::Crc(Crc::X25)),
        ("crc16-dnp", ChecksumKind::Crc(Crc::Dnp)),
        ("crc32", ChecksumKind::Crc(Crc::Crc32)),
        ("crc32-mpeg2", ChecksumKind::Crc(Crc::Crc32Mpeg2)),
    ],
    later: &[],
    foreign: &[
        ("sum", "sum8"),
        ("lrc", "sum8-complement"),
        ("bcc", "xor"),
        ("crc16", "crc16-modbus"),
        ("modbus", "crc16-modbus"),
        ("crc16-ccitt-false", "crc16-ccitt"),
        ("crc16-ibm-3740", "crc16-ccitt"),
        ("ccitt", "crc16-ccitt"),
        ("xmodem", "crc16-xmodem"),
        ("crc16-ibm", "crc16-arc"),
        ("crc16-ibm-sdlc", "crc16-x25"),
        ("dallas", "crc8-maxim"),
    ],
};

const BYTE_ORDER: Choice<bool> = Choice {
    now: &[("big", false), ("little", true)],
    later: &[],
    foreign: &[
        ("abcd", "big"),
        ("dcba", "little"),
        ("be", "big"),
        ("le", "little"),
        ("msb", "big"),
        ("lsb", "little"),
        ("high", "big"),
        ("low", "little"),
    ],
};

const LENGTH_TYPE: Choice<bool> =
    Choice { now: &[("u8", false), ("u16", true)], later: &[], foreign: &[("byte", "u8"), ("word", "u16")] };

/// What the bus's own keys say; keys of another protocol are told.
pub(super) fn check(fields: &Fields<'_>, protocol: Option<Protocol>, problems: &mut Problems) -> StreamFormat {
    if protocol.is_some_and(|protocol| protocol != Protocol::Lines) {
        for key in ["delimiter", "idle", "max_length", "checksum"] {
            let help = match protocol {
                Some(Protocol::Frames) => "write it below `frame:`, as far as it is known there",
                _ => "remove it",
            };
            refuse(fields, key, "is for `protocol: lines`", "speaks another", help, problems);
        }
    }
    if protocol.is_some_and(|protocol| protocol != Protocol::Frames) {
        refuse(fields, "frame", "is for `protocol: frames`", "speaks another", "remove it", problems);
    }
    match protocol {
        // What a bus of an unknown protocol says is looked at all the same.
        None => {
            lines(fields, problems);
            fields.entry("frame").and_then(|entry| frame(fields, entry, problems));
            StreamFormat::Modbus
        }
        Some(Protocol::Lines) => StreamFormat::Lines(lines(fields, problems)),
        Some(Protocol::Frames) => {
            let Some(entry) = fields.entry("frame") else {
                let help =
                    "say where a frame begins and ends: `frame: { start: \"59 59\", length: 9, checksum: sum8 }`";
                fields.missing("frame", help, problems);
                return StreamFormat::Frames(FrameFormat::default());
            };
            StreamFormat::Frames(frame(fields, entry, problems).unwrap_or_default())
        }
        Some(_) => StreamFormat::Modbus,
    }
}

fn lines(fields: &Fields<'_>, problems: &mut Problems) -> LineFormat {
    let wanted = "what ends a line, such as \"\\r\\n\"";
    let delimiter = fields.read("delimiter", &Raw { wanted, max: 16 }, problems).map(Delimiter::Bytes);
    let idle = fields.read("idle", &Span::millis(1..=MAX_IDLE), problems);
    let usual = LineFormat::default();
    LineFormat {
        delimiter: delimiter.or(usual.delimiter.filter(|_| fields.entry("idle").is_none())),
        idle,
        max_length: fields.read("max_length", &Size(1..=MAX_LENGTH), problems).map_or(usual.max_length, |n| n as usize),
        nmea_checksum: fields.read("checksum", &LINE_CHECKSUM, problems).unwrap_or(usual.nmea_checksum),
    }
}

fn frame(bus: &Fields<'_>, entry: &Entry, problems: &mut Problems) -> Option<FrameFormat> {
    let fields = Fields::open(&entry.value, &keys::FRAME, &entry.key_span, bus.subject("frame"), problems)?;
    let usual = FrameFormat::default();
    let idle = fields.read("idle", &Span::millis(1..=MAX_IDLE), problems);
    let format = FrameFormat {
        start: fields.read("start", &Hex { max: 16 }, problems).unwrap_or_default(),
        length: fields.entry("length").and_then(|entry| length(&fields, entry, problems)),
        end: fields.read("end", &Hex { max: 16 }, problems).unwrap_or_default(),
        idle: idle.unwrap_or(Duration::from_millis(50)),
        max_length: fields.read("max_length", &Size(1..=MAX_LENGTH), problems).map_or(usual.max_length, |n| n as usize),
        checksum: None,
    };
    let checksum = fields.entry("checksum").and_then(|entry| checksum(&fields, entry, &format, problems));
    if ["length", "end", "idle"].iter().all(|key| fields.entry(key).is_none()) {
        problems.push(
            Problem::at(&fields.at, format!("where does a frame end in {}?", fields.whose))
                .label("neither `length`, `end` nor `idle` says it")
                .help("for example `length: 9`, `length: { at: 2, add: 5 }`, `end: 0D 0A` or `idle: 20ms`"),
        );
    }
    let format = FrameFormat { checksum, ..format };
    if let (Some(FrameLength::Fixed(length)), Some(entry)) = (format.length, fields.entry("length")) {
        let least = format.start.len() + format.end.len() + format.checksum.map_or(0, |sum| sum.kind.width());
        let wrong = if length > format.max_length {
            Some(format!("`max_length` is {} bytes", format.max_length))
        } else if length < least {
            Some(format!("`start`, `end` and `checksum` alone take {least} bytes"))
        } else {
            None
        };
        if let Some(label) = wrong {
            problems.push(
                Problem::at(&entry.value.span, format!("frames of {length} bytes are impossible"))
                    .label(label)
                    .help("`length` counts all bytes of a frame, from the first of `start` to the last of its checksum or `end`"),
            );
        }
    }
    Some(format)
}

/// A number of bytes, or where in the frame it is.
fn length(frame: &Fields<'_>, entry: &Entry, problems: &mut Problems) -> Option<FrameLength> {
    if !matches!(entry.value.value, Value::Map(_)) {
        let length = read_value(&entry.value, &frame.subject("length"), &Whole(1..=MAX_LENGTH), problems)?;
        return Some(FrameLength::Fixed(length as usize));
    }
    let whose = frame.subject("length");
    let fields = Fields::open(&entry.value, &keys::FRAME_LENGTH, &entry.key_span, whose, problems)?;
    let at = fields.require("at", &Whole(0..=255), "which byte holds it? The frame's first is `at: 0`", problems);
    let is_wide = fields.read("type", &LENGTH_TYPE, problems).unwrap_or(false);
    let is_little = fields.read("byte_order", &BYTE_ORDER, problems).unwrap_or(false);
    let add = fields.read("add", &Signed(-65_535..=65_535), problems).unwrap_or(0);
    Some(FrameLength::Field { at: at? as usize, is_wide, is_little, add })
}

/// Its name, or where it is and what it covers too.
fn checksum(frame: &Fields<'_>, entry: &Entry, format: &FrameFormat, problems: &mut Problems) -> Option<FrameChecksum> {
    let usual = |kind: ChecksumKind| FrameChecksum {
        kind,
        at: FramePlace::End(kind.width() + format.end.len()),
        from: 0,
        to: None,
        is_little: kind.is_usually_little(),
    };
    if !matches!(entry.value.value, Value::Map(_)) {
        return read_value(&entry.value, &frame.subject("checksum"), &CHECKSUM, problems).map(usual);
    }
    let whose = frame.subject("checksum");
    let fields = Fields::open(&entry.value, &keys::FRAME_CHECKSUM, &entry.key_span, whose, problems)?;
    let kind = fields.require("type", &CHECKSUM, "for example `type: crc16-modbus`", problems);
    let at = place(&fields, "at", problems);
    let from = fields.read("from", &Whole(0..=MAX_LENGTH), problems);
    let to = place(&fields, "to", problems);
    let is_little = fields.read("byte_order", &BYTE_ORDER, problems);
    let usual = usual(kind?);
    Some(FrameChecksum {
        at: at.unwrap_or(usual.at),
        from: from.map_or(usual.from, |from| from as usize),
        to,
        is_little: is_little.unwrap_or(usual.is_little),
        ..usual
    })
}

/// From the frame's first byte, or, negative, from its end.
fn place(fields: &Fields<'_>, key: &str, problems: &mut Problems) -> Option<FramePlace> {
    let most = MAX_LENGTH as i64;
    let at = fields.read(key, &Signed(-most..=most), problems)?;
    let distance = at.unsigned_abs() as usize;
    Some(if at < 0 { FramePlace::End(distance) } else { FramePlace::Start(distance) })
}

/// The fixed length of a bus's frames, for what lies behind it.
pub(super) fn fixed_length(format: &StreamFormat) -> Option<usize> {
    match format {
        StreamFormat::Frames(FrameFormat { length: Some(FrameLength::Fixed(length)), .. }) => Some(*length),
        _ => None,
    }
}
