//! Every key that there is, where it belongs, and what it means in a line. The manual is written from this; what a value may be is
//! for `check` to decide.

mod bridge;
mod broker;
mod bus;
mod device;
mod every;
mod gateway;
mod telegram;
mod uplink;

use super::suggest::did_you_mean;

pub(super) use bridge::{ACCEPT, AGGREGATE, BATCH, FORWARD};
pub(super) use broker::{BROKER, LIMITS, LISTENER, USER};
pub(super) use bus::BUS;
pub(super) use device::{ABOUT, DEVICE, POINT, SCALE_FROM, WRITE};
pub use every::{DescribedKey, every_key, keys_of_about};
pub(super) use gateway::{GATEWAY, TOP, WEB};
pub(super) use telegram::{FRAME, FRAME_CHECKSUM, FRAME_LENGTH, NMEA};
pub(super) use uplink::{QUEUE, UPLINK};

/// A kind of mapping, with its keys.
#[derive(Debug)]
pub(super) struct Shape {
    /// With its article: "a device".
    pub(super) what: &'static str,
    /// A small one, as it can be written in one line.
    pub(super) example: &'static str,
    /// Levels above it in the file; the top is 0.
    pub(super) depth: usize,
    pub(super) keys: &'static [Key],
    /// What other gateways call our keys.
    pub(super) foreign: &'static [(&'static str, &'static str)],
}

/// One key of a [`Shape`].
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// What is written behind it: "duration".
    kind: &'static str,
    /// What holds when it is left out, a value or words; empty when nothing does.
    default: &'static str,
    /// One line; code between backquotes.
    meaning: &'static str,
    /// The mapping that may stand there.
    inside: Option<(Place, &'static Shape)>,
}

/// How a mapping stands behind a key.
#[derive(Debug, Clone, Copy)]
enum Place {
    One,
    /// Several, each behind a name of the user's.
    Named,
    /// Several, in a list.
    Listed,
}

const fn key(name: &'static str, kind: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { name, kind, default, meaning, inside: None }
}

impl Key {
    const fn one(self, shape: &'static Shape) -> Key {
        Key { inside: Some((Place::One, shape)), ..self }
    }

    const fn named(self, shape: &'static Shape) -> Key {
        Key { inside: Some((Place::Named, shape)), ..self }
    }

    const fn listed(self, shape: &'static Shape) -> Key {
        Key { inside: Some((Place::Listed, shape)), ..self }
    }
}

impl Shape {
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The names of all keys.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }

    /// The key of this shape that another gateway's word stands for.
    pub(super) fn translated(&self, wrong: &str) -> Option<&'static str> {
        let lower = wrong.to_ascii_lowercase();
        self.foreign.iter().find(|(theirs, _)| *theirs == lower).map(|(_, ours)| *ours)
    }

    /// The key of this shape that was most likely mistyped.
    pub(super) fn mistyped(&self, wrong: &str) -> Option<&'static str> {
        did_you_mean(wrong, self.keys.iter().map(|key| key.name))
    }
}

/// Whether a key holds something that must not be shown, even when the key itself is misspelt.
pub(super) fn is_secret(key: &str) -> bool {
    let lower = key.to_ascii_lowercase();
    if matches!(lower.as_str(), "password_file" | "private_key" | "passwd_file") {
        return false;
    }
    ["pass", "pwd", "secret", "token", "pasword", "hash"].iter().any(|word| lower.contains(word))
        || (6..=10).contains(&lower.len()) && did_you_mean(&lower, ["password"]).is_some()
}

/// Shapes that have `name` among their keys, the nearest relatives of `near` first. A word that anything might have says nothing.
pub(super) fn owners(name: &str, near: &Shape) -> Vec<&'static Shape> {
    if name == "name" {
        return Vec::new();
    }
    let mut owners: Vec<&'static Shape> =
        ALL.iter().copied().filter(|shape| shape.what != near.what && shape.key(name).is_some()).collect();
    owners.sort_by_key(|shape| shape.depth.abs_diff(near.depth));
    owners
}

/// The shape that a mapping with these keys looks like, if two of its keys say so.
pub(super) fn looks_like<'a>(
    keys: impl Iterator<Item = &'a str> + Clone,
    among: &[&'static Shape],
) -> Option<&'static Shape> {
    among
        .iter()
        .map(|shape| (keys.clone().filter(|key| shape.key(key).is_some()).count(), *shape))
        .filter(|(hits, _)| *hits >= 2)
        .max_by_key(|(hits, _)| *hits)
        .map(|(_, shape)| shape)
}

/// In the order in which a hint names them when several have a key.
pub(super) static ALL: [&Shape; 22] = [
    &TOP,
    &GATEWAY,
    &BROKER,
    &WEB,
    &BUS,
    &DEVICE,
    &POINT,
    &FRAME,
    &FRAME_LENGTH,
    &FRAME_CHECKSUM,
    &NMEA,
    &UPLINK,
    &QUEUE,
    &FORWARD,
    &LISTENER,
    &USER,
    &LIMITS,
    &SCALE_FROM,
    &WRITE,
    &BATCH,
    &AGGREGATE,
    &ACCEPT,
];
