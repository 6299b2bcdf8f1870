//! The disk under the data directory: how much is left on it, and the reserve file that is given up when it is full.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

use super::space::{Files, Space};

/// Holds room on the disk and nothing else.
const RESERVE_FILE: &str = "queue.reserve";

/// The file system that the database is on.
#[derive(Debug)]
pub(super) struct Disk {
    directory: PathBuf,
}

impl Disk {
    /// Of the data directory.
    pub(super) fn under(directory: &Path) -> Disk {
        Disk { directory: directory.to_owned() }
    }

    fn reserve(&self) -> PathBuf {
        self.directory.join(RESERVE_FILE)
    }

    /// What there is beside `files`. Errors when the system does not say.
    pub(super) fn look(&self, files: Files) -> io::Result<Space> {
        let found = statvfs(&self.directory)?;
        let reserved = fs::metadata(self.reserve()).is_ok_and(|file| file.len() > 0);
        Ok(Space {
            total: found.f_blocks.saturating_mul(found.f_frsize),
            free: found.f_bavail.saturating_mul(found.f_frsize),
            reserved,
            files,
        })
    }

    /// Makes the reserve file, with `bytes` of the disk behind it; all of them, or there is no file.
    pub(super) fn make_reserve(&self, bytes: u64) -> io::Result<()> {
        let path = self.reserve();
        let made = OpenOptions::new().write(true).create(true).truncate(true).open(&path).and_then(|f| fill(&f, bytes));
        if made.is_err() {
            self.release();
        }
        made
    }

    /// Gives the reserve back to the disk. False when there was none.
    pub(super) fn release(&self) -> bool {
        fs::remove_file(self.reserve()).is_ok()
    }
}

/// Has the file system set `bytes` apart for a file.
fn fill(mut file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        // Such as FAT: there, what was written is set apart.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let zeros = [0; 64 << 10];
            let mut left = bytes;
            while left > 0 {
                let some = left.min(zeros.len() as u64);
                file.write_all(&zeros[..some as usize])?;
                left -= some;
            }
            file.sync_all()
        }
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_made_seen_and_given_back() {
        let temp = tempfile::tempdir().expect("a directory");
        let disk = Disk::under(temp.path());
        let space = disk.look(Files::default()).expect("it says");
        assert!(!space.reserved && space.total >= space.free && space.total > 0);
        disk.make_reserve(1 << 20).expect("there is room");
        assert!(disk.look(Files::default()).expect("it says").reserved);
        assert!(disk.release() && !disk.release());
    }

    #[test]
    fn a_reserve_for_which_there_is_no_room_is_not_left_half() {
        let temp = tempfile::tempdir().expect("a directory");
        let disk = Disk::under(temp.path());
        let all = disk.look(Files::default()).expect("it says").total;
        assert!(disk.make_reserve(all.saturating_mul(2)).is_err());
        assert!(!disk.look(Files::default()).expect("it says").reserved);
    }
}
