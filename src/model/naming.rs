//! Names for codes (`enum:`) and for bits (`bits:`).

use std::fmt;
use std::sync::Arc;

/// What the codes or the bits of a raw value mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    /// One name a code.
    Enum(Arc<EnumNames>),
    /// One name a bit.
    Bits(Arc<BitNames>),
}

/// Names of codes, for types of at most 32 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnumNames(Vec<(i64, Arc<str>)>);

impl EnumNames {
    /// Of codes and names; the last name of a code that is there twice counts.
    pub fn new(names: impl IntoIterator<Item = (i64, Arc<str>)>) -> EnumNames {
        EnumNames(names.into_iter().collect::<std::collections::BTreeMap<_, _>>().into_iter().collect())
    }

    /// The name of a code.
    pub fn name(&self, code: i64) -> Option<&Arc<str>> {
        let at = self.0.binary_search_by_key(&code, |(code, _)| *code).ok()?;
        Some(&self.0[at].1)
    }

    /// The code of a name; the smallest when several have it.
    pub fn code(&self, name: &str) -> Option<i64> {
        self.0.iter().find(|(_, known)| &**known == name).map(|(code, _)| *code)
    }

    /// Codes and names, in the order of the codes.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &str)> {
        self.0.iter().map(|(code, name)| (*code, &**name))
    }
}

/// Names of bits, bit 0 being the least significant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BitNames(Vec<(u8, Arc<str>)>);

impl BitNames {
    /// Of bits (0 to 63) and names, in the order in which they are to be printed.
    pub fn new(names: impl IntoIterator<Item = (u8, Arc<str>)>) -> BitNames {
        BitNames(names.into_iter().filter(|(bit, _)| *bit < 64).collect())
    }

    /// Bits and names.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &str)> {
        self.0.iter().map(|(bit, name)| (*bit, &**name))
    }

    /// The bit of a name.
    pub fn bit(&self, name: &str) -> Option<u8> {
        self.0.iter().find(|(_, known)| &**known == name).map(|(bit, _)| *bit)
    }

    /// All bits that have a name.
    pub fn mask(&self) -> u64 {
        self.0.iter().fold(0, |mask, (bit, _)| mask | 1 << bit)
    }
}

/// The named bits of one raw value.
#[derive(Clone, PartialEq, Eq)]
pub struct Bits {
    names: Arc<BitNames>,
    set: u64,
}

impl Bits {
    /// The named ones among `raw`'s bits; the others are left out.
    pub fn new(names: Arc<BitNames>, raw: u64) -> Bits {
        let set = raw & names.mask();
        Bits { names, set }
    }

    /// The named bits that are set.
    pub fn raw(&self) -> u64 {
        self.set
    }

    /// The bits that have a name here.
    pub fn mask(&self) -> u64 {
        self.names.mask()
    }

    /// Names and whether they are set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, bool)> {
        self.names.iter().map(|(bit, name)| (name, self.set & 1 << bit != 0))
    }
}

impl fmt::Debug for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
