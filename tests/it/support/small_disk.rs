//! A disk of a few megabytes of its own, to be filled and to be made read-only: a tmpfs. Mounting it takes root.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system that is unmounted when this is dropped.
pub struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts one of so many MiB.
    pub fn mount(mib: u32) -> SmallDisk {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={mib}m");
        run(&["mount", "-t", "tmpfs", "-o", &size, "tmpfs"], folder.path());
        SmallDisk { folder }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Writes until there is no room for another byte.
    pub fn fill(&self) {
        let mut ballast = fs::File::options().create(true).append(true).open(self.ballast()).unwrap();
        for size in [1 << 20, 4096, 1] {
            let some = vec![7; size];
            while ballast.write_all(&some).is_ok() {}
        }
    }

    /// Takes away what [`SmallDisk::fill`] wrote.
    pub fn free(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    /// From now on nothing can be written.
    pub fn read_only(&self) {
        run(&["mount", "-o", "remount,ro"], self.path());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

fn run(command: &[&str], path: &Path) {
    let output = Command::new(command[0]).args(&command[1..]).arg(path).output().unwrap();
    assert!(
        output.status.success(),
        "this test needs a small disk, and mounting one needs root: run the tests as root, or in a container that may mount. {} says: {}",
        command.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}
