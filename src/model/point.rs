//! A point: one named value of a device, and how its registers become that value.

use std::sync::Arc;
use std::time::Duration;

use super::{Decimal, Name, Publish};

/// The four tables of the Modbus data model (Modbus Application Protocol 1.1b3 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegisterTable {
    /// Read and write bits, function 1.
    Coil,
    /// Read-only bits, function 2.
    Discrete,
    /// Read-only registers, function 4.
    Input,
    /// Read and write registers, function 3.
    Holding,
}

impl RegisterTable {
    /// Whether its cells are bits rather than 16-bit registers.
    pub fn is_bits(self) -> bool {
        matches!(self, RegisterTable::Coil | RegisterTable::Discrete)
    }

    /// The word in YAML.
    pub fn as_str(self) -> &'static str {
        match self {
            RegisterTable::Coil => "coil",
            RegisterTable::Discrete => "discrete",
            RegisterTable::Input => "input",
            RegisterTable::Holding => "holding",
        }
    }
}

/// How the bits of a point are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PointType {
    /// A coil or discrete input; of a register: 0 is false, anything else true.
    Bool,
    /// Unsigned, one register.
    U16,
    /// Two's complement, one register.
    I16,
    /// Unsigned, two registers.
    U32,
    /// Two's complement, two registers.
    I32,
    /// IEEE 754 binary32, two registers.
    F32,
}

impl PointType {
    /// The cells that it occupies: registers, or one bit.
    pub fn width(self) -> u16 {
        match self {
            PointType::Bool | PointType::U16 | PointType::I16 => 1,
            PointType::U32 | PointType::I32 | PointType::F32 => 2,
        }
    }

    /// The word in YAML.
    pub fn as_str(self) -> &'static str {
        match self {
            PointType::Bool => "bool",
            PointType::U16 => "u16",
            PointType::I16 => "i16",
            PointType::U32 => "u32",
            PointType::I32 => "i32",
            PointType::F32 => "f32",
        }
    }
}

/// How the bytes of a value of two registers are ordered, `A` being the most significant byte.
///
/// Values of one register are always big-endian, as Modbus Application Protocol 1.1b3 §4.2 has it, whatever is set here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ByteOrder {
    /// Big-endian, as the Modbus specification has it.
    #[default]
    Abcd,
    /// Low word first.
    Cdab,
    /// Bytes swapped within each word.
    Badc,
    /// Little-endian.
    Dcba,
}

/// One named value of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The key under `points:`.
    pub name: Name,
    /// Which table it is in.
    pub table: RegisterTable,
    /// 0-based protocol address of its first cell; `address + width` never passes 65,536.
    pub address: u16,
    /// How its cells are read.
    pub kind: PointType,
    /// The order of its bytes.
    pub byte_order: ByteOrder,
    /// Multiplied with the raw value; never for `bool`.
    pub scale: Option<Decimal>,
    /// Added after the scale; never for `bool`.
    pub offset: Option<Decimal>,
    /// Printed in payloads as it was typed.
    pub unit: Option<Arc<str>>,
    /// How often it is read.
    pub poll: Duration,
    /// How it is published.
    pub publish: Publish,
}
