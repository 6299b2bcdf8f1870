//! The data directory: made when missing, written to by one process at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::StoreError;

/// Held open, and locked by the kernel, for as long as the store is in use. The lock goes with the process, however it ends.
const LOCK_FILE: &str = "queue.lock";

/// There after a page turned out to be damaged while the gateway ran.
const SUSPECT_SUFFIX: &str = ".suspect";

/// The successor of a damaged database while it is put together, and once everything is in it that could be read.
const UNFINISHED_SUFFIX: &str = ".salvage";
const WHOLE_SUFFIX: &str = ".salvaged";

/// A copy that is being put back.
const RESTORED_SUFFIX: &str = ".restoring";

/// SQLite's files of one database.
const SUFFIXES: [&str; 3] = ["-shm", "-wal", ""];

/// A data directory that is ours.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if need be, and takes it.
    pub(super) fn take(path: &Path) -> Result<DataDir, StoreError> {
        let unusable = |cause| StoreError::DataDir { path: path.to_owned(), cause };
        fs::create_dir_all(path).map_err(unusable)?;
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK_FILE)).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(DataDir { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(cause)) => Err(unusable(cause)),
        }
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The database's log.
    pub(super) fn log(&self) -> PathBuf {
        with_suffix(&self.database(), "-wal")
    }

    /// The database file.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join("queue.db")
    }

    /// Where the successor of a damaged database is put together. Nothing is there: what an earlier start had begun is not whole.
    pub(super) fn begin_successor(&self) -> Result<PathBuf, StoreError> {
        self.make_way(UNFINISHED_SUFFIX)
    }

    /// Where a copy is put before it takes the database's place.
    pub(super) fn restored(&self) -> PathBuf {
        with_suffix(&self.database(), RESTORED_SUFFIX)
    }

    /// The same, with nothing there.
    pub(super) fn begin_restored(&self) -> Result<PathBuf, StoreError> {
        self.make_way(RESTORED_SUFFIX)
    }

    /// Moves the database aside, with its journal, and the copy in its place. Returns where the database is now, if there was one.
    pub(super) fn replace_by_restored(&self, unix_seconds: i64) -> Result<Option<PathBuf>, StoreError> {
        let aside = self.free_name(&format!("queue.db.before-restore-{unix_seconds}"));
        let was_there = self.database().exists();
        self.move_all(&self.database(), &aside)?;
        self.rename(&self.restored(), &self.database())?;
        self.sync()?;
        Ok(was_there.then_some(aside))
    }

    fn make_way(&self, suffix: &str) -> Result<PathBuf, StoreError> {
        let path = with_suffix(&self.database(), suffix);
        for suffix in SUFFIXES {
            let leftover = with_suffix(&path, suffix);
            match fs::remove_file(&leftover) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::DataDir { path: leftover, cause });
                }
                _ => {}
            }
        }
        Ok(path)
    }

    fn free_name(&self, name: &str) -> PathBuf {
        let mut path = self.path.join(name);
        for attempt in 1.. {
            if !path.exists() {
                break;
            }
            path = self.path.join(format!("{name}-{attempt}"));
        }
        path
    }

    /// A database with its journal.
    fn move_all(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        for suffix in SUFFIXES {
            let part = with_suffix(from, suffix);
            if part.exists() {
                self.rename(&part, &with_suffix(to, suffix))?;
            }
        }
        Ok(())
    }

    /// The successor is whole and closed: from now on it is the one, whenever the process ends.
    pub(super) fn finish_successor(&self) -> Result<(), StoreError> {
        let database = self.database();
        self.rename(&with_suffix(&database, UNFINISHED_SUFFIX), &with_suffix(&database, WHOLE_SUFFIX))?;
        self.sync()
    }

    /// If there is a successor, moves the damaged database aside, with its journal, and the successor in its place. Returns where the
    /// damaged one is now; nothing of it is deleted.
    pub(super) fn replace(&self, unix_seconds: i64) -> Result<Option<PathBuf>, StoreError> {
        let (database, whole) = (self.database(), with_suffix(&self.database(), WHOLE_SUFFIX));
        if !whole.exists() {
            return Ok(None);
        }
        let aside = self.free_name(&format!("queue.db.corrupt-{unix_seconds}"));
        self.move_all(&database, &aside)?;
        self.rename(&whole, &database)?;
        self.sync()?;
        Ok(Some(aside))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        fs::rename(from, to).map_err(|cause| StoreError::DataDir { path: from.to_owned(), cause })
    }

    /// Brings the renames to the disk.
    fn sync(&self) -> Result<(), StoreError> {
        let synced = File::open(&self.path).and_then(|directory| directory.sync_all());
        synced.map_err(|cause| StoreError::DataDir { path: self.path.clone(), cause })
    }

    /// Whether the database is to be read through and checked: it is suspected of damage, or the last process that wrote it did not
    /// get to close it and it has at most `bytes`.
    pub(super) fn wants_check(&self, bytes: u64) -> bool {
        let length = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
        let left_open = length(&with_suffix(&self.database(), "-wal")) > 0 && length(&self.database()) <= bytes;
        with_suffix(&self.database(), SUSPECT_SUFFIX).exists() || left_open
    }

    /// The database was found sound, or was replaced: a suspicion ends with this.
    pub(super) fn trust(&self) {
        // Should it stay, the next start checks once more.
        let _ = fs::remove_file(with_suffix(&self.database(), SUSPECT_SUFFIX));
    }
}

/// Has a database checked at the next start, whatever its size: a page of it turned out to be damaged.
pub(super) fn suspect(database: &Path) -> io::Result<()> {
    File::create(with_suffix(database, SUSPECT_SUFFIX)).map(drop)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_directory_is_made_and_a_second_user_is_refused() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("var/lib");
        let first = DataDir::take(&path).expect("it is made");
        let refused = DataDir::take(&path).expect_err("it is in use");
        assert!(refused.to_string().contains("another fieldway"), "{refused}");
        drop(first);
        DataDir::take(&path).expect("it is free again");
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("file");
        fs::write(&path, "x").expect("written");
        let refused = DataDir::take(&path.join("below")).expect_err("not a directory");
        assert!(refused.to_string().contains("file/below"), "{refused}");
    }

    #[test]
    fn two_damaged_files_of_one_second_are_both_kept() {
        let temp = tempfile::tempdir().expect("a directory");
        let dir = DataDir::take(temp.path()).expect("ours");
        assert!(dir.replace(17).expect("there is nothing to do").is_none());
        fs::write(dir.database(), "one").expect("written");
        for (content, successor) in [("one", "two"), ("two", "three")] {
            fs::write(dir.begin_successor().expect("nothing is in the way"), successor).expect("written");
            dir.finish_successor().expect("renamed");
            let aside = dir.replace(17).expect("moved").expect("there is a successor");
            assert_eq!(fs::read_to_string(aside).expect("there"), content);
            assert_eq!(fs::read_to_string(dir.database()).expect("there"), successor);
        }
    }

    #[test]
    fn what_a_start_that_was_cut_off_had_put_together_is_not_taken_for_the_whole() {
        let temp = tempfile::tempdir().expect("a directory");
        let dir = DataDir::take(temp.path()).expect("ours");
        fs::write(dir.database(), "damaged").expect("written");
        fs::write(dir.begin_successor().expect("nothing is in the way"), "half").expect("written");
        assert!(dir.replace(17).expect("nothing to do").is_none());
        assert_eq!(fs::read_to_string(dir.database()).expect("there"), "damaged");
        assert!(!dir.begin_successor().expect("it is removed").exists());
    }
}
