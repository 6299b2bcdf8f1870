//! A copy of the database as it is at one moment, and what has to be changed in one before it is used again.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use super::open::{Database, OpenError};
use super::{DbError, unsigned};
use crate::model::Durability;

/// Numbers of each session that are passed over, so that no packet id comes again soon that its client may still hold for a message of which
/// the copy does not know.
const PASSED_OVER: i64 = 30_000;

/// Copies the database at `path` to `to`, which must not exist, as it is now; whoever writes to it goes on. Returns its schema's version.
pub(in crate::store) async fn copy(path: &Path, to: &Path) -> Result<u64, DbError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(Duration::from_secs(30))
        .disable_statement_logging();
    let mut connection = options.connect().await?;
    let copied = async {
        let version =
            sqlx::query("SELECT coalesce(max(version), 0) FROM _sqlx_migrations").fetch_one(&mut connection).await?;
        // One statement, and so one read transaction: all of it is of one moment.
        sqlx::query("VACUUM INTO ?").bind(to.to_string_lossy().into_owned()).execute(&mut connection).await?;
        Ok(unsigned(version.try_get(0)?))
    };
    let copied = copied.await;
    connection.close().await?;
    copied
}

/// Brings a copy to this version's schema, and marks that time has passed since: what it says of the other ends is not so any more.
pub(in crate::store) async fn adopt(path: &Path, mut epoch: impl FnMut() -> u32) -> Result<(), OpenError> {
    let mut database = Database::open(path, Durability::Full, true).await?;
    let adopted = async {
        let mut tx = database.connection.begin().await?;
        // The cloud may have had messages under numbers that are given out again now: a new generation, which connects clean once.
        let queues = sqlx::query("SELECT id FROM queues").fetch_all(&mut *tx).await?;
        for queue in queues {
            let id: i64 = queue.try_get(0)?;
            sqlx::query("UPDATE queues SET epoch = ?, fresh = 1, recorded = done WHERE id = ?")
                .bind(epoch())
                .bind(id)
                .execute(&mut *tx)
                .await?;
        }
        // A packet id that was taken when the copy was made may stand for another message by now, and that one would be taken for a repetition.
        for table in ["received", "uplink_received", "uplink_subscribed"] {
            sqlx::query(AssertSqlSafe(format!("DELETE FROM {table}"))).execute(&mut *tx).await?;
        }
        sqlx::query("UPDATE session_marks SET next_n = next_n + ?").bind(PASSED_OVER).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    };
    let adopted: Result<(), DbError> = adopted.await;
    let closed = database.close().await;
    Ok(adopted.and(closed)?)
}
