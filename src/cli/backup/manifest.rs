//! The first file of a backup: what follows, how large, with which checksums. Pure: it decides what a backup may hold.

use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use super::{CONFIG, DATA, ELSEWHERE};
use crate::store::backup as store;

/// The version of this layout.
pub const FORMAT: u32 = 1;
/// Whose it is.
pub const PROGRAM: &str = "fieldway";
/// The manifest's name.
pub const NAME: &str = "manifest.json";
/// Its size, at most, in bytes.
pub const MAX_BYTES: u64 = 8 << 20;
/// Files of a configuration, and the bytes of each and of all: more than the checks of a configuration take.
const MAX_FILES: usize = 20_000;
const MAX_FILE: u64 = 16 << 20;
const MAX_FILES_BYTES: u64 = 512 << 20;

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// "fieldway"
    pub program: String,
    /// The version of this layout.
    pub format: u32,
    /// The version of the program that made it.
    pub version: String,
    /// When.
    pub made: String,
    /// `gateway.id`.
    pub gateway: String,
    /// The name of the configuration's first file, below `config/`.
    pub configuration: String,
    /// The version of the database's schema; none when there is no database.
    pub schema: Option<u64>,
    /// What follows, in this order.
    pub files: Vec<Entry>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its path in the backup.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// Of its content, in hexadecimal.
    pub sha256: String,
    /// Who may read it: the lower nine bits of its mode.
    pub mode: u32,
}

/// Why a backup is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("this is no backup of a fieldway gateway")]
    Foreign,
    #[error("this backup was made by a newer fieldway ({version}); restore it with that version or a newer one")]
    Newer { version: String },
    #[error("this backup names a file that can't be in one: {0:?}")]
    Path(String),
    #[error("this backup names {0:?} twice")]
    Twice(String),
    #[error("this backup is larger than a gateway can be: {0}")]
    TooLarge(String),
    #[error("this backup has no configuration: {0:?} is not in it")]
    NoConfiguration(String),
}

impl Manifest {
    /// Whether this program can use such a backup, and every path in it is harmless.
    pub fn check(&self) -> Result<(), Unusable> {
        if self.program != PROGRAM {
            return Err(Unusable::Foreign);
        }
        if self.format > FORMAT || self.schema.is_some_and(|schema| schema > store::schema()) {
            return Err(Unusable::Newer { version: self.version.clone() });
        }
        if self.files.len() > MAX_FILES {
            return Err(Unusable::TooLarge(format!("{} files", self.files.len())));
        }
        let database = format!("{DATA}/{}", store::DATABASE);
        let mut known = std::collections::HashSet::new();
        let mut bytes = 0_u64;
        for file in &self.files {
            if !is_harmless(&file.path) || (file.path.starts_with("data/") && file.path != database) {
                return Err(Unusable::Path(file.path.clone()));
            }
            if !known.insert(file.path.as_str()) {
                return Err(Unusable::Twice(file.path.clone()));
            }
            if file.path == database {
                continue;
            }
            bytes = bytes.saturating_add(file.size);
            if file.size > MAX_FILE || bytes > MAX_FILES_BYTES {
                return Err(Unusable::TooLarge(format!("{} has {} bytes", file.path, file.size)));
            }
        }
        let main = self.main();
        if !known.contains(main.as_str()) {
            return Err(Unusable::NoConfiguration(main));
        }
        Ok(())
    }

    /// The path of the configuration's first file.
    pub fn main(&self) -> String {
        format!("{CONFIG}/{}", self.configuration)
    }
}

/// A path below one of the folders of a backup, made of plain names.
fn is_harmless(path: &str) -> bool {
    let folder = path.split('/').next().unwrap_or_default();
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    let as_written = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    [CONFIG, ELSEWHERE, DATA].contains(&folder)
        && path.contains('/')
        && plain
        && as_written
        && !path.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(path: &str) -> Entry {
        Entry { path: path.into(), size: 10, sha256: String::new(), mode: 0o640 }
    }

    fn manifest(paths: &[&str]) -> Manifest {
        Manifest {
            program: PROGRAM.into(),
            format: FORMAT,
            version: "0.1.0".into(),
            made: String::new(),
            gateway: "plant-7".into(),
            configuration: "gateway.yaml".into(),
            schema: Some(store::schema()),
            files: paths.iter().map(|path| entry(path)).collect(),
        }
    }

    const MAIN: &str = "config/gateway.yaml";

    #[test]
    fn a_backup_has_plain_paths_in_its_three_folders() {
        let good = [MAIN, "config/conf.d/a b.yaml", "elsewhere/etc/ssl/x.pem", "data/queue.db"];
        assert_eq!(manifest(&good).check(), Ok(()));
        for bad in [
            "/etc/passwd",
            "config/../x",
            "config/./x",
            "config//x",
            "config",
            "config/",
            "other/x",
            "data/queue.lock",
            "data/x/queue.db",
            "..",
            "",
            "config/a\nb",
        ] {
            assert_eq!(manifest(&[MAIN, bad]).check(), Err(Unusable::Path(bad.into())), "{bad}");
        }
    }

    #[test]
    fn what_is_foreign_newer_too_large_or_incomplete_is_refused() {
        let check = |change: fn(&mut Manifest)| {
            let mut changed = manifest(&[MAIN, "data/queue.db"]);
            change(&mut changed);
            changed.check()
        };
        assert_eq!(check(|_| ()), Ok(()));
        assert_eq!(check(|m| m.program = "tar".into()), Err(Unusable::Foreign));
        let newer = Err(Unusable::Newer { version: "0.1.0".into() });
        assert_eq!(check(|m| m.format = FORMAT + 1), newer);
        assert_eq!(check(|m| m.schema = Some(store::schema() + 1)), newer);
        assert_eq!(check(|m| m.schema = Some(1)), Ok(()));
        assert!(matches!(check(|m| m.files[0].size = MAX_FILE + 1), Err(Unusable::TooLarge(_))));
        assert_eq!(check(|m| m.files[1].size = 1 << 50), Ok(()), "a queue may be as large as its disk");
        assert!(matches!(check(|m| m.configuration = "other.yaml".into()), Err(Unusable::NoConfiguration(_))));
        assert!(matches!(check(|m| m.files.push(entry(MAIN))), Err(Unusable::Twice(_))));
        let many = |m: &mut Manifest| {
            m.files.extend((0..40).map(|i| Entry { size: MAX_FILE, ..entry(&format!("config/{i}")) }))
        };
        assert!(matches!(check(many), Err(Unusable::TooLarge(_))));
    }

    proptest! {
        #[test]
        fn a_harmless_path_never_leaves_its_folder(path in "(config|data|elsewhere|)?(/|\\.|\\.\\.|a|\\\\|\u{0})*") {
            if is_harmless(&path) {
                let joined = Path::new("/base").join(&path);
                prop_assert!(joined.starts_with("/base/config") || joined.starts_with("/base/data") || joined.starts_with("/base/elsewhere"));
                prop_assert!(!joined.components().any(|part| matches!(part, Component::ParentDir | Component::CurDir)));
            }
        }
    }
}
