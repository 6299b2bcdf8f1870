//! The queues as they lie in the file, for whoever wants to look without being the gateway. Nothing is written: it works beside a gateway
//! that runs, with one that does not, and on a disk that can't be written.

use std::path::{Path, PathBuf};

use super::roster;
use super::row::{Columns, Entry};
use super::sqlite::{DbError, View};
use super::{StoreError, record::Record};
use crate::model::{Priority, Timestamp};

/// Rows read at once: a read that lasts would keep the log from being cut.
const ROWS: u32 = 256;

/// A database that was opened to be looked at.
pub struct Peek {
    database: PathBuf,
    view: View,
}

/// One queue of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueOnDisk {
    id: i64,
    /// The uplink's name.
    pub uplink: String,
    /// Which of its two queues.
    pub class: Priority,
    /// The queue's generation.
    pub epoch: u32,
    /// Messages waiting.
    pub depth: u64,
    /// Their bytes as accounted.
    pub bytes: u64,
    /// When the first of them was queued; `None` when there is none, or the clock was not set then.
    pub oldest: Option<Timestamp>,
    /// Given up by policy since the queue was made.
    pub dropped: u64,
    /// Put aside since the queue was made.
    pub set_aside: u64,
}

impl QueueOnDisk {
    /// One with these numbers, for tests of whoever shows them.
    #[cfg(test)]
    pub(crate) fn example(uplink: &str, class: Priority, depth: u64, oldest: Option<Timestamp>) -> QueueOnDisk {
        let uplink = uplink.to_owned();
        QueueOnDisk { id: 1, uplink, class, epoch: 1, depth, bytes: 0, oldest, dropped: 0, set_aside: 0 }
    }
}

/// A message that was put aside, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    id: i64,
    /// The message.
    pub entry: Entry,
    /// Why it was not delivered.
    pub reason: String,
}

impl Peek {
    /// Opens the database of a data directory; `None` when there is none.
    pub async fn open(data_dir: &Path) -> Result<Option<Peek>, StoreError> {
        let database = data_dir.join("queue.db");
        match database.metadata() {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(StoreError::Unreadable { path: database, cause }),
        }
        let view = View::open(&database).await.map_err(|error| failed(&database, &error))?;
        Ok(Some(Peek { database, view }))
    }

    /// Whether what was committed last may be missing: its log lies on a disk that can't be written, where SQLite can't take it into account.
    pub fn is_without_log(&self) -> bool {
        self.view.is_without_log()
    }

    /// All queues, what waits its turn before what goes first; not those that are being deleted.
    pub async fn queues(&mut self) -> Result<Vec<QueueOnDisk>, StoreError> {
        let records = self.view.records().await.map_err(|error| failed(&self.database, &error))?;
        let mut queues = Vec::new();
        for record in &records {
            if let Some((uplink, class)) = roster::owner(&record.name) {
                let oldest = match record.depth {
                    0 => None,
                    _ => self.first(record).await?,
                };
                let Record { id, epoch, depth, bytes, dropped, set_aside, .. } = *record;
                let uplink = uplink.to_owned();
                queues.push(QueueOnDisk { id, uplink, class, epoch, depth, bytes, oldest, dropped, set_aside });
            }
        }
        Ok(queues)
    }

    async fn first(&mut self, record: &Record) -> Result<Option<Timestamp>, StoreError> {
        let rows = self.view.rows(record.id, record.done, 1).await;
        let rows = rows.map_err(|error| failed(&self.database, &error))?;
        Ok(rows.first().filter(|row| row.ts != 0).map(|row| Timestamp(row.ts)))
    }

    /// Some messages of a queue after number `after`, in order; empty at the end.
    pub async fn messages(&mut self, queue: &QueueOnDisk, after: u64) -> Result<Vec<Entry>, StoreError> {
        let rows = self.view.rows(queue.id, after, ROWS).await;
        let rows = rows.map_err(|error| failed(&self.database, &error))?;
        Ok(rows.into_iter().map(Columns::check).collect())
    }

    /// Some of what was put aside of a queue, after the last that was read; empty at the end.
    pub async fn aside(&mut self, queue: &QueueOnDisk, after: Option<&Aside>) -> Result<Vec<Aside>, StoreError> {
        let rows = self.view.aside(queue.id, after.map_or(0, |aside| aside.id), ROWS).await;
        let rows = rows.map_err(|error| failed(&self.database, &error))?;
        let aside = |(id, columns, reason): (i64, Columns, String)| Aside { id, entry: columns.check(), reason };
        Ok(rows.into_iter().map(aside).collect())
    }

    /// Closes it.
    pub async fn close(self) {
        self.view.close().await;
    }
}

fn failed(database: &Path, error: &DbError) -> StoreError {
    StoreError::Database { path: database.to_owned(), problem: error.to_string() }
}
