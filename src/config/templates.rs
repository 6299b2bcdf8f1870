//! Templates: what a kind of device has for points, ready to be named by `template:`.
//!
//! A template is looked for beside the configuration (`devices/maker/model.yaml`), then among those that the system
//! has (`/usr/share/fieldway/devices`), then among those that are part of the program.

use std::io;
use std::path::{Path, PathBuf};

use super::Outside;
use super::fields::Fields;
use super::keys;
use super::problem::Problems;
use super::scalar::Text;
use super::tree::Entry;

/// Where packages put them, and where an administrator's own don't go.
const SYSTEM: &str = "/usr/share/fieldway/devices";

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../config/devices/", $name, ".yaml")))),*]
    };
}

/// Those that are part of the program; a test compares them with the folder.
const BUILT_IN: &[(&str, &str)] = built_in![
    "abb/b21",
    "abb/b23",
    "advantech/adam-4024",
    "advantech/adam-4056so",
    "advantech/adam-6224",
    "carlo-gavazzi/em340",
    "danfoss/fc51",
    "eastron/sdm120",
    "eastron/sdm220",
    "eastron/sdm230",
    "eastron/sdm630",
    "eastron/sdm72d-m",
    "finder/7m38",
    "fronius/inverter",
    "goodwe/et",
    "growatt/tl-x",
    "hipeak/tuf-2000m",
    "huawei/sun2000",
    "inepro/pro380",
    "orno/or-we-514",
    "orno/or-we-516",
    "peacefair/pzem-016",
    "schneider/iem3000",
    "siemens/pac2200",
    "sma/inverter",
    "solaredge/inverter",
    "solaredge/meter",
    "stiebel-eltron/wpm",
    "sungrow/sg",
    "sunspec/inverter",
    "sunspec/meter",
    "tripp-lite/modbuscard",
    "victron/gx",
    "wago/750-ethernet",
    "waveshare/modbus-rtu-relay-d",
    "xy/md02",
];

/// The names of those that are part of the program, in the order of the alphabet.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

/// The text of one that is part of the program.
pub fn text(name: &str) -> Option<&'static str> {
    BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// Whether it can be a name: words of letters, digits, `-`, `_` and `.` with `/` between them, and no way out of the folder.
pub(super) fn is_name(name: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty()
            && !word.starts_with('.')
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    !name.ends_with(".yaml") && !name.ends_with(".yml") && name.split('/').all(is_word)
}

/// The file of a template of the user's own.
pub(super) fn own(name: &str, folder: &Path) -> PathBuf {
    folder.join("devices").join(format!("{name}.yaml"))
}

/// A file that was asked for.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

/// A file that is there and can't be read.
pub(super) struct Unreadable {
    pub(super) path: PathBuf,
    pub(super) error: io::Error,
}

/// A template by its name; `None` when there is none.
pub(super) fn find(name: &str, folder: &Path, outside: &Outside<'_>) -> Result<Option<Found>, Unreadable> {
    for path in [own(name, folder), Path::new(SYSTEM).join(format!("{name}.yaml"))] {
        match (outside.read)(&path) {
            Ok(bytes) => return Ok(Some(Found { path, bytes })),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(Unreadable { path, error }),
        }
    }
    let built_in = |text: &str| Found { path: format!("template {name}").into(), bytes: text.as_bytes().to_vec() };
    Ok(text(name).map(built_in))
}

/// `about:`: who makes it, and where the register map was published.
pub(super) fn check_about(about: &Entry, problems: &mut Problems) {
    let Some(fields) = Fields::open(&about.value, &keys::ABOUT, &about.key_span, "`about`", problems) else { return };
    let text = Text { wanted: "a text", max: 1_000 };
    let help = "a register map that nobody can look up can't be trusted";
    for key in ["maker", "model", "source"] {
        fields.require(key, &text, help, problems);
    }
    for key in ["line", "note"] {
        fields.read(key, &text, problems);
    }
}
