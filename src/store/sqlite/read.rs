//! Reading a queue in order, on a connection of its own: in WAL mode the writer does not wait for it, nor it for the writer.

use std::path::PathBuf;

use futures_util::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::open::connect;
use super::{DbError, signed, table, unsigned};
use crate::model::Durability;
use crate::store::policy::row_bytes;
use crate::store::row::Columns;

/// Rows that are asked for at a time, at least: as many may wait between SQLite's thread and ours, however large they are.
const FEWEST: usize = 16;

/// And at first, when their size is not known.
const AT_FIRST: usize = 128;

/// A reader's page cache in KiB: it reads forward, each page once.
const READER_CACHE: u32 = 256;

/// The connection that reads one queue.
pub(in crate::store) struct Reader {
    database: PathBuf,
    connection: Option<SqliteConnection>,
    sql: String,
    /// Rows that are asked for at a time, at most, by the size of those that came last.
    most: usize,
}

impl Reader {
    /// Of the queue with this id. Connects when it first reads.
    pub(in crate::store) fn new(database: PathBuf, queue: i64) -> Reader {
        let sql = format!(
            "SELECT n, topic, payload, qos, retain, ts, crc32, properties FROM {} WHERE n > ? ORDER BY n LIMIT ?",
            table(queue)
        );
        Reader { database, connection: None, sql, most: AT_FIRST }
    }

    /// The rows after `after`, in order: at most `rows` of them, fewer when they are large, and none after the one that reaches `bytes`.
    pub(in crate::store) async fn read(
        &mut self,
        after: u64,
        rows: usize,
        bytes: u64,
    ) -> Result<Vec<Columns>, DbError> {
        let found = self.try_read(after, rows, bytes).await;
        if found.is_err() {
            self.connection = None;
        }
        Ok(found?)
    }

    async fn try_read(&mut self, after: u64, rows: usize, bytes: u64) -> Result<Vec<Columns>, sqlx::Error> {
        let connection = match &mut self.connection {
            Some(open) => open,
            none => none.insert(connect(&self.database, Durability::Normal, READER_CACHE, false).await?),
        };
        let query = sqlx::query(AssertSqlSafe(self.sql.clone()));
        let rows = i64::try_from(rows.min(self.most)).unwrap_or(i64::MAX);
        let mut stream = query.bind(signed(after)).bind(rows).fetch(connection);
        let mut found = Vec::new();
        let mut total = 0;
        while let Some(row) = stream.try_next().await? {
            let columns = columns(&row)?;
            total += row_bytes(columns.content_bytes());
            found.push(columns);
            if total >= bytes {
                break;
            }
        }
        if let Some(average) = total.checked_div(found.len() as u64) {
            self.most = usize::try_from(bytes.saturating_mul(2) / average.max(1)).unwrap_or(usize::MAX).max(FEWEST);
        }
        Ok(found)
    }
}

/// The columns as they are, whatever is in them: a damaged row may hold any type, and its number is all that is sure.
pub(super) fn columns(row: &SqliteRow) -> Result<Columns, sqlx::Error> {
    let text = |column| row.try_get_unchecked::<&[u8], _>(column).map(|b| String::from_utf8_lossy(b).into_owned());
    Ok(Columns {
        n: unsigned(row.try_get_unchecked(0)?),
        topic: text(1).unwrap_or_default(),
        payload: row.try_get_unchecked(2).unwrap_or_default(),
        qos: row.try_get_unchecked(3).unwrap_or(-1),
        retain: row.try_get_unchecked(4).unwrap_or(-1),
        ts: row.try_get_unchecked(5).unwrap_or(0),
        crc32: u32::try_from(row.try_get_unchecked::<i64, _>(6).unwrap_or(-1)).unwrap_or(0),
        properties: row.try_get_unchecked(7).unwrap_or_default(),
    })
}
