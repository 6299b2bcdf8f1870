//! A damaged database, opened to be read and never to be written.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};

use super::open::record;
use super::read::columns;
use super::{DbError, Mark, broker_read, pieces, signed, table};
use crate::store::broker_row::{DeliveryColumns, RetainedColumns, SessionColumns, SubscriptionColumns};
use crate::store::pieces::PieceRow;
use crate::store::record::Record;
use crate::store::row::Columns;
use crate::store::state::SessionId;

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

    /// Up to `rows` pieces of open batches after a number.
    pub(in crate::store) async fn pieces(&mut self, after: u64, rows: u32) -> Result<Vec<PieceRow>, DbError> {
        Ok(pieces::after(&mut self.0, after, rows).await?)
    }

    /// Whether there is any state of a broker.
    pub(in crate::store) async fn has_broker_tables(&mut self) -> bool {
        let find = "SELECT 1 FROM sqlite_schema WHERE name = 'broker'";
        matches!(sqlx::query(find).fetch_optional(&mut self.0).await, Ok(Some(_)))
    }

    /// The highest session id that was ever kept.
    pub(in crate::store) async fn last_session(&mut self) -> Result<u64, DbError> {
        Ok(broker_read::last_session(&mut self.0).await?)
    }

    /// Up to `rows` sessions after `after`.
    pub(in crate::store) async fn sessions(&mut self, after: u64, rows: u32) -> Result<Vec<SessionColumns>, DbError> {
        Ok(broker_read::sessions(&mut self.0, signed(after), rows).await?)
    }

    /// A session's counters.
    pub(in crate::store) async fn mark(&mut self, session: SessionId) -> Result<Option<Mark>, DbError> {
        let select = "SELECT session, next_n, depth, bytes FROM session_marks WHERE session = ?";
        let row = sqlx::query(select).bind(signed(session.0)).fetch_optional(&mut self.0).await?;
        Ok(row.as_ref().map(broker_read::mark))
    }

    /// A session's subscriptions.
    pub(in crate::store) async fn subscriptions(
        &mut self,
        session: SessionId,
    ) -> Result<Vec<SubscriptionColumns>, DbError> {
        let select = "SELECT session, filter, options, id, crc32 FROM subscriptions WHERE session = ? ORDER BY filter";
        let rows = sqlx::query(select).bind(signed(session.0)).fetch_all(&mut self.0).await?;
        Ok(rows.iter().map(broker_read::subscription).collect())
    }

    /// The numbers of a session that wait for PUBCOMP.
    pub(in crate::store) async fn recorded(&mut self, session: SessionId) -> Result<Vec<u64>, DbError> {
        self.numbers("SELECT n FROM recorded WHERE session = ? ORDER BY n", session).await
    }

    /// The packet ids that a session has not released.
    pub(in crate::store) async fn received(&mut self, session: SessionId) -> Result<Vec<u64>, DbError> {
        self.numbers("SELECT packet_id FROM received WHERE session = ? ORDER BY packet_id", session).await
    }

    async fn numbers(&mut self, select: &'static str, session: SessionId) -> Result<Vec<u64>, DbError> {
        let rows = sqlx::query(select).bind(signed(session.0)).fetch_all(&mut self.0).await?;
        Ok(rows.iter().map(|row| broker_read::number(row, 0)).collect())
    }

    /// Up to `rows` deliveries of all sessions after row `after`, each with its row number. The index may be what is damaged: it is not used.
    pub(in crate::store) async fn deliveries(
        &mut self,
        after: u64,
        rows: u32,
    ) -> Result<Vec<(u64, DeliveryColumns)>, DbError> {
        let select = "SELECT session, n, topic, payload, flags, ts, ids, properties, crc32, id FROM deliveries NOT INDEXED \
                      WHERE id > ? ORDER BY id LIMIT ?";
        let found = sqlx::query(select).bind(signed(after)).bind(rows).fetch_all(&mut self.0).await?;
        Ok(found.iter().map(|row| (broker_read::number(row, 9), broker_read::delivery(row))).collect())
    }

    /// Up to `rows` retained messages after row `after`.
    pub(in crate::store) async fn retained(&mut self, after: u64, rows: u32) -> Result<Vec<RetainedColumns>, DbError> {
        Ok(broker_read::retained(&mut self.0, signed(after), rows).await?)
    }

    /// Closes it, as far as it lets itself be closed.
    pub(in crate::store) async fn close(self) {
        // Whatever goes wrong with it now, nothing depends on it any more.
        let _ = self.0.close().await;
    }
}
