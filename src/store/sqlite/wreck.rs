//! A damaged database, opened to be read and never to be written.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};

use super::open::record;
use super::read::columns;
use super::{DbError, signed, table};
use crate::store::record::Record;
use crate::store::row::Columns;

/// What is left of a database.
pub(in crate::store) struct Wreck(SqliteConnection);

impl Wreck {
    /// Opens it read-only: SQLite takes its log into account and brings nothing of it into the file.
    pub(in crate::store) async fn open(path: &Path) -> Result<Wreck, DbError> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).disable_statement_logging();
        let mut connection = options.connect().await?;
        // Without this SQLite reads nothing at all of a file that is shorter than its header says.
        sqlx::query("PRAGMA writable_schema = ON").execute(&mut connection).await?;
        Ok(Wreck(connection))
    }

    /// The queues that it knows.
    pub(in crate::store) async fn records(&mut self) -> Result<Vec<Record>, DbError> {
        let rows = sqlx::query("SELECT * FROM queues ORDER BY id").fetch_all(&mut self.0).await?;
        Ok(rows.iter().map(record).collect::<Result<_, _>>()?)
    }

    /// Up to `rows` rows of a queue after `after`, in order. Fails when it meets a page that can't be.
    pub(in crate::store) async fn rows(&mut self, id: i64, after: u64, rows: u32) -> Result<Vec<Columns>, DbError> {
        let sql = format!(
            "SELECT n, topic, payload, qos, retain, ts, crc32, properties FROM {} WHERE n > ? ORDER BY n LIMIT ?",
            table(id)
        );
        let found = sqlx::query(AssertSqlSafe(sql)).bind(signed(after)).bind(rows).fetch_all(&mut self.0).await?;
        Ok(found.iter().map(columns).collect::<Result<_, _>>()?)
    }

    /// Closes it, as far as it lets itself be closed.
    pub(in crate::store) async fn close(self) {
        // Whatever goes wrong with it now, nothing depends on it any more.
        let _ = self.0.close().await;
    }
}
