//! From bytes to telegrams: one face for lines and frames. Pure, and bounded whatever comes.

use std::time::Duration;

use super::{frames::FrameCollector, lines::LineCollector};
use crate::model::{Fault, StreamFormat};

/// What was cut out of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A line or a frame, checked.
    Whole(&'a [u8]),
    /// Something that was none: [`Fault::Crc`] when only its checksum is wrong, else [`Fault::Framing`].
    Damaged(Fault),
}

/// Collects telegrams of either kind.
#[derive(Debug)]
pub enum Collector {
    /// Lines of text.
    Lines(LineCollector),
    /// Frames of bytes.
    Frames(FrameCollector),
}

impl Collector {
    /// `None` for a format that has no telegrams.
    pub fn new(format: &StreamFormat) -> Option<Collector> {
        match format {
            StreamFormat::Modbus => None,
            StreamFormat::Lines(format) => Some(Collector::Lines(LineCollector::new(format.clone()))),
            StreamFormat::Frames(format) => Some(Collector::Frames(FrameCollector::new(format.clone()))),
        }
    }

    /// Takes bytes from the line; `found` gets what they complete, in order.
    pub fn push(&mut self, bytes: &[u8], found: &mut dyn FnMut(Piece<'_>)) {
        match self {
            Collector::Lines(lines) => lines.push(bytes, found),
            Collector::Frames(frames) => frames.push(bytes, found),
        }
    }

    /// The pause after which [`Collector::pause`] is to be called; `None` when pauses say nothing, or nothing is kept.
    pub fn awaited_pause(&self) -> Option<Duration> {
        match self {
            Collector::Lines(lines) => lines.awaited_pause(),
            Collector::Frames(frames) => frames.awaited_pause(),
        }
    }

    /// Whether bytes are kept that are no telegram yet.
    pub fn has_begun(&self) -> bool {
        match self {
            Collector::Lines(lines) => lines.has_begun(),
            Collector::Frames(frames) => frames.has_begun(),
        }
    }

    /// The line has been silent for so long.
    pub fn pause(&mut self, found: &mut dyn FnMut(Piece<'_>)) {
        match self {
            Collector::Lines(lines) => lines.pause(found),
            Collector::Frames(frames) => frames.pause(found),
        }
    }

    /// Forgets what has begun: the stream is another.
    pub fn clear(&mut self) {
        match self {
            Collector::Lines(lines) => lines.clear(),
            Collector::Frames(frames) => frames.clear(),
        }
    }

    /// Forgets what has begun, on a line on which somebody may be speaking already: what comes first may be the rest of something.
    pub fn join(&mut self) {
        match self {
            Collector::Lines(lines) => lines.join(),
            Collector::Frames(frames) => frames.join(),
        }
    }
}
