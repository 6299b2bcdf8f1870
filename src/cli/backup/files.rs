//! Which files belong to a configuration, and by which names a backup has them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use anyhow::Context;

use super::manifest::Entry;
use super::{CONFIG, ELSEWHERE, archive};

/// What comes with the system or the package, or is not a file at all: it is there on the other machine too, or has to be made there.
const NOT_OURS: &[&str] = &["/proc", "/sys", "/dev", "/run", "/usr/share/fieldway"];

/// A file for a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its path there.
    pub path: String,
    /// Where it is.
    pub from: PathBuf,
    /// Size and checksum, once measured.
    measured: (u64, String),
}

impl Source {
    /// Measures a file.
    pub fn of(path: String, from: PathBuf) -> anyhow::Result<Source> {
        let measured = archive::measure(&from).with_context(|| format!("can't read {}", from.display()))?;
        Ok(Source { path, from, measured })
    }

    /// What the manifest says of it.
    pub fn entry(&self) -> anyhow::Result<Entry> {
        let mode = fs::metadata(&self.from).map(|file| file.permissions().mode() & 0o777);
        let (size, sha256) = self.measured.clone();
        let mode = mode.with_context(|| format!("can't read {}", self.from.display()))?;
        Ok(Entry { path: self.path.clone(), size, sha256, mode })
    }
}

/// The files of the configuration whose first file is `main`, given all that were read for it.
pub fn of_configuration(main: &Path, read: Vec<PathBuf>) -> anyhow::Result<Vec<Source>> {
    let absolute = |path: &Path| std::path::absolute(path).map(|path| plain(&path));
    let folder = absolute(main).context("can't tell where this is")?.parent().unwrap_or(Path::new("/")).to_owned();
    let mut named = Vec::new();
    for file in read.iter().chain([&main.to_owned()]) {
        let file = absolute(file).context("can't tell where this is")?;
        named.extend(name(&file, &folder).map(|name| (name, file)));
    }
    named.sort();
    named.dedup();
    named.into_iter().map(|(name, file)| Source::of(name, file)).collect()
}

/// The name of a file in a backup; `None` for one that does not belong there.
fn name(file: &Path, folder: &Path) -> Option<String> {
    if NOT_OURS.iter().any(|not_ours| file.starts_with(not_ours)) {
        return None;
    }
    let (place, rest) = match file.strip_prefix(folder) {
        Ok(rest) => (CONFIG, rest),
        Err(_) => (ELSEWHERE, file.strip_prefix("/").ok()?),
    };
    Some(format!("{place}/{}", rest.to_str()?))
}

/// Without `.` and `..`, by words alone.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_beside_the_configuration_and_elsewhere_are_told_apart() {
        let folder = Path::new("/etc/fieldway");
        let of = |file: &str| name(&plain(Path::new(file)), folder);
        assert_eq!(of("/etc/fieldway/conf.d/a.yaml").as_deref(), Some("config/conf.d/a.yaml"));
        assert_eq!(of("/etc/fieldway/../ssl/key.pem").as_deref(), Some("elsewhere/etc/ssl/key.pem"));
        assert_eq!(of("/proc/sys/kernel/hostname"), None);
        assert_eq!(of("/usr/share/fieldway/devices/a/b.yaml"), None);
    }
}
