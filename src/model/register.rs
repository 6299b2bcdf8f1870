//! Where a point lies in the Modbus data model, and how its registers are read.

use super::Decimal;

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
    /// One bit of a register, 0 (the least significant) to 15.
    Bit(u8),
    /// Unsigned, one byte of a register.
    U8(Half),
    /// Two's complement, one byte of a register.
    I8(Half),
    /// Unsigned, one register.
    U16,
    /// Two's complement, one register.
    I16,
    /// Unsigned, two registers.
    U32,
    /// Two's complement, two registers.
    I32,
    /// Unsigned, four registers.
    U64,
    /// Two's complement, four registers.
    I64,
    /// IEEE 754 binary16, one register.
    F16,
    /// IEEE 754 binary32, two registers.
    F32,
    /// IEEE 754 binary64, four registers.
    F64,
    /// Four decimal digits, four bits each, one register.
    Bcd16,
    /// Eight decimal digits, four bits each, two registers.
    Bcd32,
    /// Text, two bytes a register.
    String {
        /// Bytes, 1 to 250; an odd length leaves out the second byte of its last register.
        length: u8,
        /// How bytes become characters.
        encoding: Encoding,
    },
    /// Bytes as they are, two a register.
    Bytes {
        /// How many, 1 to 250; an odd length leaves out the second byte of its last register.
        length: u8,
    },
}

impl PointType {
    /// The cells that it occupies: registers, or one bit.
    pub fn width(self) -> u16 {
        match self {
            PointType::Bool
            | PointType::Bit(_)
            | PointType::U8(_)
            | PointType::I8(_)
            | PointType::U16
            | PointType::I16
            | PointType::F16
            | PointType::Bcd16 => 1,
            PointType::U32 | PointType::I32 | PointType::F32 | PointType::Bcd32 => 2,
            PointType::U64 | PointType::I64 | PointType::F64 => 4,
            PointType::String { length, .. } | PointType::Bytes { length } => u16::from(length).div_ceil(2).max(1),
        }
    }

    /// The word in YAML.
    pub fn as_str(self) -> &'static str {
        match self {
            PointType::Bool => "bool",
            PointType::Bit(_) => "bit",
            PointType::U8(_) => "u8",
            PointType::I8(_) => "i8",
            PointType::U16 => "u16",
            PointType::I16 => "i16",
            PointType::U32 => "u32",
            PointType::I32 => "i32",
            PointType::U64 => "u64",
            PointType::I64 => "i64",
            PointType::F16 => "f16",
            PointType::F32 => "f32",
            PointType::F64 => "f64",
            PointType::Bcd16 => "bcd16",
            PointType::Bcd32 => "bcd32",
            PointType::String { .. } => "string",
            PointType::Bytes { .. } => "bytes",
        }
    }

    /// Whether its raw value is a number, so that scale, offset and limits have a meaning.
    pub fn is_number(self) -> bool {
        !matches!(self, PointType::Bool | PointType::Bit(_) | PointType::String { .. } | PointType::Bytes { .. })
    }

    /// Whether its raw value is a floating-point number.
    pub fn is_float(self) -> bool {
        matches!(self, PointType::F16 | PointType::F32 | PointType::F64)
    }
}

/// Which byte of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Half {
    /// The less significant one, sent second.
    #[default]
    Low,
    /// The more significant one, sent first.
    High,
}

/// How the bytes of a text become characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// Seven bits; a byte from 0x80 on makes the text bad.
    #[default]
    Ascii,
    /// UTF-8.
    Utf8,
    /// ISO 8859-1.
    Latin1,
    /// UTF-16, a code unit a register.
    Utf16,
}

impl Encoding {
    /// The word in YAML.
    pub fn as_str(self) -> &'static str {
        match self {
            Encoding::Ascii => "ascii",
            Encoding::Utf8 => "utf8",
            Encoding::Latin1 => "latin1",
            Encoding::Utf16 => "utf16",
        }
    }
}

/// How the bytes of a value of several registers are ordered, `A` being the most significant byte.
///
/// For 64 bits the same words mean the same moves: `ABCDEFGH`, `GHEFCDAB`, `BADCFEHG` and `HGFEDCBA`. A number of one register
/// is always big-endian, as Modbus Application Protocol 1.1b3 §4.2 has it, whatever is set here. The registers of a text or
/// of bytes are always in the order of their addresses, and `BADC` and `DCBA` swap the two bytes of each.
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

/// Where a register point lies, and how its cells become a raw value and then a number.
#[derive(Debug, Clone, PartialEq)]
pub struct RegisterSource {
    /// Which table it is in.
    pub table: RegisterTable,
    /// 0-based protocol address of its first cell; `address + width` never passes 65,536.
    pub address: u16,
    /// How its cells are read; `Bool` in a table of bits.
    pub kind: PointType,
    /// The order of its bytes.
    pub byte_order: ByteOrder,
    /// Multiplied with the raw value; for numbers only.
    pub scale: Option<Decimal>,
    /// Added after the scale; for numbers only.
    pub offset: Option<Decimal>,
    /// 0-based address of a register of the same table that holds a signed power of ten to multiply with, 0x8000 for "not
    /// implemented" (SunSpec's `sunssf`). It is read in the same answer; for numbers only.
    pub scale_from: Option<u16>,
}

impl RegisterSource {
    /// Big-endian, without scale.
    pub fn new(table: RegisterTable, address: u16, kind: PointType) -> RegisterSource {
        let byte_order = ByteOrder::Abcd;
        RegisterSource { table, address, kind, byte_order, scale: None, offset: None, scale_from: None }
    }

    /// Whether its value is other than its raw value.
    pub fn is_scaled(&self) -> bool {
        self.scale.is_some() || self.offset.is_some() || self.scale_from.is_some()
    }

    /// Cells of the table that it takes: a bit is one, whatever is read from it.
    pub fn width(&self) -> u16 {
        if self.table.is_bits() { 1 } else { self.kind.width() }
    }
}
