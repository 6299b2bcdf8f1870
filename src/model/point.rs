//! A point: one named value of a device, where it comes from, what its codes mean, and how it is published.

use std::sync::Arc;
use std::time::Duration;

use super::{Decimal, FrameSource, Hearing, LineSource, Name, Naming, Publish, RegisterSource};

/// One named value of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The key under `points:`.
    pub name: Name,
    /// Where its raw value comes from.
    pub source: Source,
    /// What the codes or the bits of its raw value mean (`enum:`, `bits:`).
    pub naming: Option<Naming>,
    /// Raw values that stand for "no value"; a reading of one is bad.
    pub invalid: Vec<Sentinel>,
    /// Printed in payloads as it was typed.
    pub unit: Option<Arc<str>>,
    /// How often it is read.
    pub poll: Duration,
    /// Whether and within which limits it may be set; `None` when it may only be read.
    pub write: Option<Write>,
    /// Which of its readings are published.
    pub report: Report,
    /// How they are published.
    pub publish: Publish,
}

impl Point {
    /// A point with the defaults of `DESIGN.md` §4: read every second, never written, every reading published in the snapshot.
    pub fn new(name: Name, source: Source) -> Point {
        Point {
            name,
            source,
            naming: None,
            invalid: Vec::new(),
            unit: None,
            poll: Duration::from_secs(1),
            write: None,
            report: Report::default(),
            publish: Publish::default(),
        }
    }

    /// Whether it is ever read.
    pub fn is_read(&self) -> bool {
        !self.write.as_ref().is_some_and(|write| write.only)
    }

    /// Its registers, when it is one of a Modbus device.
    pub fn register(&self) -> Option<&RegisterSource> {
        match &self.source {
            Source::Register(register) => Some(register),
            Source::Line(_) | Source::Frame(_) => None,
        }
    }
}

/// Where a point's raw value comes from, a variant for each kind of device. The rarer ones are boxed: a gateway may have a
/// hundred thousand registers.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Cells of a Modbus device.
    Register(RegisterSource),
    /// Lines of text.
    Line(Box<LineSource>),
    /// Frames of bytes.
    Frame(Box<FrameSource>),
}

impl Source {
    /// How its telegrams come; `None` for registers, which are always asked for.
    pub fn hearing(&self) -> Option<&Hearing> {
        match self {
            Source::Register(_) => None,
            Source::Line(line) => Some(&line.hearing),
            Source::Frame(frame) => Some(&frame.hearing),
        }
    }
}

/// A raw value, before scale and offset, that stands for "no value".
#[derive(Debug, Clone, PartialEq)]
pub enum Sentinel {
    /// This whole number, of a type of whole numbers.
    Integer(i128),
    /// This number, of a floating-point type.
    Float(f64),
    /// These bits of a floating-point type, right-aligned.
    Pattern(u64),
    /// This text.
    Text(Arc<str>),
}

/// `write:`: the limits of a point that may be set. They are about the scaled value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Write {
    /// The least value that is taken.
    pub min: Option<Decimal>,
    /// The greatest value that is taken.
    pub max: Option<Decimal>,
    /// Values are `min` (or 0) and whole steps from it; more than 0.
    pub step: Option<Decimal>,
    /// The device can't be asked what it holds there, so the point is never read.
    pub only: bool,
}

/// Which readings of a point are published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// `report:`
    pub mode: ReportMode,
    /// A change that is not larger than this is none.
    pub deadband: Option<Deadband>,
    /// With [`ReportMode::Change`]: a reading is published after this time even without a change.
    pub max_silence: Option<Duration>,
}

/// `report:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReportMode {
    /// Every reading.
    #[default]
    Every,
    /// Readings that differ from the last one published.
    Change,
}

/// `deadband:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deadband {
    /// In the point's own unit; not negative.
    Absolute(Decimal),
    /// Of the last published value, in percent; not negative.
    Percent(Decimal),
}
