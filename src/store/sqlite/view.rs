//! A connection that only looks, whatever the disk lets it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection};

use super::open::record;
use super::read::columns;
use super::{DbError, signed, table};
use crate::store::record::Record;
use crate::store::row::Columns;

/// A connection that only looks.
pub(in crate::store) struct View {
    connection: SqliteConnection,
    without_log: bool,
}

impl View {
    /// Opens a database that is there.
    ///
    /// SQLite shares its log with a file beside it that it has to write. Where it can't, the database is taken as one that nobody writes.
    pub(in crate::store) async fn open(path: &Path) -> Result<View, DbError> {
        match connect(path, false).await {
            Ok(connection) => Ok(View { connection, without_log: false }),
            Err(problem) => {
                let Ok(connection) = connect(path, true).await else { return Err(problem.into()) };
                let mut log = path.as_os_str().to_owned();
                log.push("-wal");
                let without_log = fs::metadata(log).is_ok_and(|log| log.len() > 0);
                Ok(View { connection, without_log })
            }
        }
    }

    pub(in crate::store) fn is_without_log(&self) -> bool {
        self.without_log
    }

    /// All queues.
    pub(in crate::store) async fn records(&mut self) -> Result<Vec<Record>, DbError> {
        let rows = sqlx::query("SELECT * FROM queues ORDER BY id").fetch_all(&mut self.connection).await?;
        Ok(rows.iter().map(record).collect::<Result<_, _>>()?)
    }

    /// Up to `rows` rows of a queue after `after`, in order.
    pub(in crate::store) async fn rows(&mut self, id: i64, after: u64, rows: u32) -> Result<Vec<Columns>, DbError> {
        let sql = format!(
            "SELECT n, topic, payload, qos, retain, ts, crc32, properties FROM {} WHERE n > ? ORDER BY n LIMIT ?",
            table(id)
        );
        let query = sqlx::query(AssertSqlSafe(sql)).bind(signed(after)).bind(rows);
        let found = query.fetch_all(&mut self.connection).await?;
        Ok(found.iter().map(columns).collect::<Result<_, _>>()?)
    }

    /// Up to `rows` rows that were put aside of a queue after row `after`, with the reasons.
    pub(in crate::store) async fn aside(
        &mut self,
        queue: i64,
        after: i64,
        rows: u32,
    ) -> Result<Vec<(i64, Columns, String)>, DbError> {
        let select = "SELECT n, topic, payload, qos, retain, ts, crc32, properties, id, reason FROM aside \
                      WHERE queue = ? AND id > ? ORDER BY id LIMIT ?";
        let found = sqlx::query(select).bind(queue).bind(after).bind(rows).fetch_all(&mut self.connection).await?;
        let aside = |row: &SqliteRow| Ok((row.try_get(8)?, columns(row)?, row.try_get(9)?));
        Ok(found.iter().map(aside).collect::<Result<_, sqlx::Error>>()?)
    }

    pub(in crate::store) async fn close(self) {
        // Nothing was written.
        let _ = self.connection.close().await;
    }
}

async fn connect(path: &Path, immutable: bool) -> Result<SqliteConnection, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .immutable(immutable)
        .busy_timeout(Duration::from_secs(5))
        .disable_statement_logging();
    let mut connection = options.connect().await?;
    // Only now does it open its files.
    match sqlx::query("SELECT count(*) FROM sqlite_schema").fetch_one(&mut connection).await {
        Ok(_) => Ok(connection),
        Err(error) => {
            connection.close().await?;
            Err(error)
        }
    }
}
