//! The database: one file, one connection that writes, one that reads for each queue. The only folder that names sqlx.
//!
//! Tables are plain `INTEGER PRIMARY KEY`, appended in order and deleted by range: a second index, a composite key
//! WITHOUT ROWID or AUTOINCREMENT cost 30 to 60 % more bytes written.

mod broker_read;
mod broker_write;
mod clocks;
mod open;
mod read;
mod reception;
mod snapshot;
mod view;
mod wreck;
mod write;

use std::fmt;

pub(super) use self::broker_read::{BrokerTables, PageReader};
pub(super) use self::broker_write::{Freed, Mark, SessionRange};
pub(super) use self::open::{Database, OpenError, newest_schema};
pub(super) use self::read::Reader;
pub(super) use self::snapshot::{adopt, copy};
pub(super) use self::view::View;
pub(super) use self::wreck::Wreck;
#[cfg(test)]
pub(super) use self::write::Fault;
pub(super) use self::write::Transaction;

/// A statement or a connection that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DbError {
    pub kind: DbErrorKind,
    text: String,
}

/// What a failure means for whoever has to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DbErrorKind {
    /// No room on the disk.
    Full,
    /// The file or its file system can't be written.
    ReadOnly,
    /// The file is not what it should be.
    Damaged,
    /// The file was removed or replaced while it was open.
    Gone,
    /// Anything else: the disk's errors, permissions, locks.
    Other,
}

impl DbError {
    /// What the database holds can't be.
    pub(super) fn damaged(text: &str) -> DbError {
        DbError { kind: DbErrorKind::Damaged, text: text.to_owned() }
    }
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            DbErrorKind::Full => write!(f, "the disk is full ({}); free some space on it", self.text),
            DbErrorKind::ReadOnly => {
                write!(f, "the file system is read-only ({}); look at its mount and its health", self.text)
            }
            DbErrorKind::Damaged => write!(f, "the database is damaged ({})", self.text),
            DbErrorKind::Gone => {
                write!(
                    f,
                    "the file was removed or replaced while the gateway ran ({}); put it back, or restart the gateway",
                    self.text
                )
            }
            DbErrorKind::Other => write!(f, "the database answers: {}", self.text),
        }
    }
}

impl std::error::Error for DbError {}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> DbError {
        // Primary result codes (https://www.sqlite.org/rescode.html); the extended code has them in its low byte.
        let code = error.as_database_error().and_then(|e| e.code()).and_then(|code| code.parse::<i32>().ok());
        let kind = match code.map(|code| code & 0xff) {
            Some(13) => DbErrorKind::Full,
            Some(8) => DbErrorKind::ReadOnly,
            Some(11 | 26) => DbErrorKind::Damaged,
            _ => DbErrorKind::Other,
        };
        DbError { kind, text: error.to_string() }
    }
}

/// The table of queue `id`.
fn table(id: i64) -> String {
    format!("queue_{id}")
}

/// SQLite's integers are signed; our numbers start at 1 and would take 29,000 years at 10 million a second to get there.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
