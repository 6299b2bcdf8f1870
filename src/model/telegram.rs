//! What devices say that have no registers: lines of text and frames of bytes, and where points are in them.

use std::sync::Arc;
use std::time::Duration;

use super::{ByteOrder, Decimal, Pattern, PointType};

/// How the bytes on a bus become telegrams.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum StreamFormat {
    /// The protocol says it itself.
    #[default]
    Modbus,
    /// Lines of text.
    Lines(LineFormat),
    /// Frames of bytes.
    Frames(FrameFormat),
}

/// How lines end. At least one of `delimiter` and `idle` is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFormat {
    /// What ends a line.
    pub delimiter: Option<Delimiter>,
    /// A pause of this length ends a line.
    pub idle: Option<Duration>,
    /// The most bytes of a line; a longer one is passed over.
    pub max_length: usize,
    /// Lines without a right NMEA 0183 checksum (`*hh` at their end) are passed over.
    pub nmea_checksum: bool,
}

/// What ends a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delimiter {
    /// CR, LF or both.
    LineEnd,
    /// These bytes; never none.
    Bytes(Vec<u8>),
}

impl Default for LineFormat {
    fn default() -> LineFormat {
        LineFormat { delimiter: Some(Delimiter::LineEnd), idle: None, max_length: 4096, nmea_checksum: false }
    }
}

/// Where frames begin and end. At least one of `length`, `end` and `idle` says where they end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameFormat {
    /// What every frame begins with; may be none.
    pub start: Vec<u8>,
    /// How long a frame is.
    pub length: Option<FrameLength>,
    /// What every frame ends with; may be none.
    pub end: Vec<u8>,
    /// A pause of this length ends a frame, or shows that what has begun is none.
    pub idle: Duration,
    /// The most bytes of a frame.
    pub max_length: usize,
    /// What every frame is checked by.
    pub checksum: Option<FrameChecksum>,
}

impl Default for FrameFormat {
    /// Whatever stands between two pauses.
    fn default() -> FrameFormat {
        let (start, end) = (Vec::new(), Vec::new());
        FrameFormat { start, length: None, end, idle: Duration::from_millis(50), max_length: 1024, checksum: None }
    }
}

/// How long a frame is, from its first byte to its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameLength {
    /// So many bytes.
    Fixed(usize),
    /// A number in the frame says it.
    Field {
        /// Where it is, from the frame's first byte.
        at: usize,
        /// Whether it takes two bytes.
        is_wide: bool,
        /// The low byte first.
        is_little: bool,
        /// What to add to it to get the length of the whole frame; may be negative.
        add: i64,
    },
}

/// A checksum in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameChecksum {
    /// How it is calculated.
    pub kind: ChecksumKind,
    /// Where it is.
    pub at: FramePlace,
    /// The first byte that it covers, from the frame's first.
    pub from: usize,
    /// The byte after the last that it covers; up to the checksum itself when it is `None`.
    pub to: Option<FramePlace>,
    /// The low byte first.
    pub is_little: bool,
}

/// A place in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FramePlace {
    /// So many bytes after its first.
    Start(usize),
    /// So many bytes before its end.
    End(usize),
}

impl FramePlace {
    /// The index in a frame of so many bytes; `None` outside it.
    pub fn index(self, len: usize) -> Option<usize> {
        match self {
            FramePlace::Start(at) => (at <= len).then_some(at),
            FramePlace::End(before) => len.checked_sub(before),
        }
    }
}

/// The checksums that devices use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumKind {
    /// All bytes by exclusive or.
    Xor,
    /// The sum of all bytes, its low 8 bits.
    Sum8,
    /// What makes the sum of all bytes and itself 0.
    Sum8Complement,
    /// The sum of all bytes, 16 bits.
    Sum16,
    /// A CRC of 8, 16 or 32 bits.
    Crc(Crc),
}

/// The CRCs, by the names that their catalogue and manuals use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Crc {
    Crc8,
    Crc8Maxim,
    Modbus,
    Arc,
    Usb,
    CcittFalse,
    Xmodem,
    Kermit,
    X25,
    Dnp,
    Crc32,
    Crc32Mpeg2,
}

impl ChecksumKind {
    /// Bytes that it takes in a frame.
    pub fn width(self) -> usize {
        match self {
            ChecksumKind::Xor | ChecksumKind::Sum8 | ChecksumKind::Sum8Complement => 1,
            ChecksumKind::Sum16 => 2,
            ChecksumKind::Crc(Crc::Crc8 | Crc::Crc8Maxim) => 1,
            ChecksumKind::Crc(Crc::Crc32 | Crc::Crc32Mpeg2) => 4,
            ChecksumKind::Crc(_) => 2,
        }
    }

    /// Whether devices send its low byte first, unless their manual says otherwise.
    pub fn is_usually_little(self) -> bool {
        matches!(self, ChecksumKind::Crc(Crc::Modbus | Crc::Arc | Crc::Usb | Crc::Kermit | Crc::X25 | Crc::Dnp))
    }
}

/// How a point's telegram comes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hearing {
    /// What is sent to get it; the device sends it by itself when it is `None`.
    pub request: Option<Arc<[u8]>>,
    /// Without a request: a value turns bad when the next one does not come within this time; never when it is `None`.
    pub max_age: Option<Duration>,
    /// Without a request: only the latest value of each such interval is a reading.
    pub latest_every: Option<Duration>,
}

/// A point in lines of text.
#[derive(Debug, Clone, PartialEq)]
pub struct LineSource {
    /// How its lines come.
    pub hearing: Hearing,
    /// Which lines they are, and where the value is.
    pub find: Find,
    /// What the text of the value is.
    pub kind: TextType,
    /// The decimal separator is a comma.
    pub decimal_comma: bool,
    /// Multiplied with the value; for numbers only.
    pub scale: Option<Decimal>,
    /// Added after the scale; for numbers only.
    pub offset: Option<Decimal>,
}

/// Where in a line a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Find {
    /// All of it, but for blanks around it.
    Whole,
    /// Where a pattern finds it.
    Pattern(Pattern),
    /// In a field of a sentence of NMEA 0183.
    Nmea(NmeaField),
}

/// A field of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NmeaField {
    /// `GGA`, whoever sends it, or with the talker: `GPGGA`.
    pub sentence: Arc<str>,
    /// 1 is the first after the sentence's name.
    pub field: usize,
    /// It is a position, `ddmm.mmmm` with the hemisphere in the next field, wanted in degrees.
    pub degrees: bool,
}

/// What the text of a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextType {
    /// `1 true on yes` and `0 false off no`.
    Bool,
    /// A whole number within these limits.
    Integer {
        /// The least.
        min: i128,
        /// The greatest.
        max: i128,
    },
    /// A decimal number; every digit counts.
    Number,
    /// A text.
    Text,
}

/// A point in frames of bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameSource {
    /// How its frames come.
    pub hearing: Hearing,
    /// Which frames they are: what they begin with, `None` for any byte.
    pub begins: Vec<Option<u8>>,
    /// Its first byte, from the frame's first.
    pub at: usize,
    /// What its bytes are.
    pub kind: PointType,
    /// The order of its bytes, also of two.
    pub byte_order: ByteOrder,
    /// Multiplied with the value; for numbers only.
    pub scale: Option<Decimal>,
    /// Added after the scale; for numbers only.
    pub offset: Option<Decimal>,
}

impl FrameSource {
    /// Bytes that it takes.
    pub fn width(&self) -> usize {
        match self.kind {
            PointType::Bool | PointType::Bit(_) | PointType::U8(_) | PointType::I8(_) => 1,
            PointType::String { length, .. } | PointType::Bytes { length } => usize::from(length),
            registers => usize::from(registers.width()) * 2,
        }
    }
}
