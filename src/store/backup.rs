//! Copies of the store: taken while a gateway runs or not, and put back where none does.

use std::path::{Path, PathBuf};

use super::StoreError;
use super::data_dir::DataDir;
use super::sqlite::{self, OpenError};
use crate::random;

/// The version of the store's schema that this program writes. It reads every earlier one.
pub fn schema() -> u64 {
    sqlite::newest_schema()
}

/// Copies the database in `data_dir` to `to`, which must not exist, as it is at one moment, also while a gateway writes to it. Everything that
/// was acknowledged before this is in it. Returns the version of its schema; `None` when there is no database.
pub async fn copy(data_dir: &Path, to: &Path) -> Result<Option<u64>, StoreError> {
    let path = data_dir.join(DATABASE);
    match path.try_exists() {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(cause) => return Err(StoreError::DataDir { path, cause }),
    }
    let copied = sqlite::copy(&path, to).await;
    copied.map(Some).map_err(|error| StoreError::Database { path, problem: error.to_string() })
}

/// The database's name in the data directory.
pub const DATABASE: &str = "queue.db";

/// A data directory that is ours while a copy is put into it.
#[derive(Debug)]
pub struct Restoring(DataDir);

impl Restoring {
    /// Takes the directory, and makes it if need be. Errors when a gateway runs there.
    pub fn begin(data_dir: &Path) -> Result<Restoring, StoreError> {
        Ok(Restoring(DataDir::take(data_dir)?))
    }

    /// Whether there is a database that would be replaced.
    pub fn has_data(&self) -> bool {
        self.0.database().exists()
    }

    /// Where the copy is to be written to. Nothing is there.
    pub fn place(&self) -> Result<PathBuf, StoreError> {
        self.0.begin_restored()
    }

    /// Checks the copy, brings it to this version's schema and marks that it is a copy: each queue begins a new generation and connects clean
    /// once. Then it takes the database's place. What was there is moved aside, and returned.
    ///
    /// Errors when the copy is damaged or of a newer version; then nothing has changed.
    pub async fn finish(self, unix_seconds: i64) -> Result<Option<PathBuf>, StoreError> {
        let path = self.0.restored();
        sqlite::adopt(&path, random::generation).await.map_err(|error| match error {
            OpenError::Newer { theirs, ours } => StoreError::Newer { path: path.clone(), theirs, ours },
            OpenError::Db(problem) => StoreError::Database { path: path.clone(), problem: problem.to_string() },
        })?;
        self.0.replace_by_restored(unix_seconds)
    }
}
