//! Why the store does not open or answer, in words for whoever has to do something about it.

use std::io;
use std::path::PathBuf;

/// A store that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory can't be made or written.
    #[error(
        "can't write to {}: {cause}; create the directory and let the user that runs fieldway write to it, \
         or set gateway.data_dir to another one",
        path.display()
    )]
    DataDir {
        /// The directory, or the file in it.
        path: PathBuf,
        /// What the system said. No `source`: the text has it already.
        cause: io::Error,
    },
    /// The database can't be looked at.
    #[error("can't read {}: {cause}; put `sudo` before the command, or join the gateway's group", path.display())]
    Unreadable {
        /// The database.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Another process holds the lock.
    #[error(
        "another fieldway is using {}; stop it first, or give this one its own gateway.data_dir",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Made by a version that this one knows nothing about.
    #[error(
        "{} was written by a newer fieldway (its schema is version {theirs}, this one knows {ours}); install that version again, \
         or move the file away to begin with an empty queue",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        theirs: i64,
        /// Ours.
        ours: i64,
    },
    /// Two queues of one name.
    #[error("the queue {0:?} is named twice")]
    NamedTwice(String),
    /// The database can't be opened or read.
    #[error("{}: {problem}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What it said.
        problem: String,
    },
    /// The writer is gone: the store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether a gateway that can't open its store may run without one. Not when another gateway has it, and not when the mistake is one of
    /// the configuration, which should show at once.
    pub fn is_survivable(&self) -> bool {
        match self {
            StoreError::DataDir { cause, .. } => {
                matches!(cause.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::StorageFull)
            }
            StoreError::Newer { .. } | StoreError::Database { .. } => true,
            _ => false,
        }
    }
}
