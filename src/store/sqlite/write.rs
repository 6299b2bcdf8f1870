//! A group commit's statements. Inserts take fixed numbers of rows, so that their statements stay prepared.

use sqlx::{AssertSqlSafe, Connection, Row, Sqlite, SqliteConnection};

use super::{Database, DbError, signed, table, unsigned};
use crate::model::Timestamp;
use crate::store::policy::{Candidate, row_bytes};
use crate::store::record::Record;
use crate::store::row::Stored;

/// Rows an insert takes: as many as possible of the first shape, then of the next.
const SHAPES: [usize; 3] = [128, 16, 1];

/// Messages that `aside` keeps of each queue.
const KEPT_ASIDE: i64 = 1000;

/// A group commit in the making. Dropped without [`Transaction::commit`], it leaves no trace.
pub(in crate::store) struct Transaction<'c>(pub(super) sqlx::Transaction<'c, Sqlite>, #[cfg(test)] Fault);

/// What a test has gone wrong with the next commit.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Fault {
    Nothing,
    /// It is undone, as after an error of the disk.
    Undone,
    /// It is on disk, and an error is reported all the same.
    Reported,
}

impl Database {
    /// Starts a group commit.
    pub(in crate::store) async fn begin(&mut self) -> Result<Transaction<'_>, DbError> {
        #[cfg(test)]
        let fault = std::mem::replace(&mut self.fault, Fault::Nothing);
        Ok(Transaction(
            self.connection.begin_with("BEGIN IMMEDIATE").await?,
            #[cfg(test)]
            fault,
        ))
    }
}

impl Transaction<'_> {
    /// Appends rows, numbered from `first`.
    pub(in crate::store) async fn append(&mut self, id: i64, rows: &[(u64, &Stored)]) -> Result<(), DbError> {
        let mut rest = rows;
        for shape in SHAPES {
            while rest.len() >= shape {
                let (now, later) = rest.split_at(shape);
                insert(&mut self.0, id, now).await?;
                rest = later;
            }
        }
        Ok(())
    }

    /// Deletes the first rows of a queue, about `rows` of them. False when there are none any more.
    pub(in crate::store) async fn delete_some(&mut self, id: i64, rows: u64) -> Result<bool, DbError> {
        let sql = format!("DELETE FROM {0} WHERE n < (SELECT min(n) FROM {0}) + ?", table(id));
        let query = sqlx::query(AssertSqlSafe(sql)).bind(signed(rows));
        Ok(query.execute(&mut *self.0).await?.rows_affected() > 0)
    }

    /// Deletes the rows `first` to `last` and says how many there were.
    pub(in crate::store) async fn delete(&mut self, id: i64, first: u64, last: u64) -> Result<u64, DbError> {
        let sql = format!("DELETE FROM {} WHERE n BETWEEN ? AND ?", table(id));
        let query = sqlx::query(AssertSqlSafe(sql)).bind(signed(first)).bind(signed(last));
        Ok(query.execute(&mut *self.0).await?.rows_affected())
    }

    /// The oldest rows above `above`: as many as are needed for `bytes`, but at least one and at most `rows`.
    pub(in crate::store) async fn candidates(
        &mut self,
        id: i64,
        above: u64,
        rows: u32,
    ) -> Result<Vec<Candidate>, DbError> {
        // octet_length of a column is in the row's header: long payloads are not read.
        let sql = format!(
            "SELECT n, ts, octet_length(topic) + octet_length(payload) + coalesce(octet_length(properties), 0) \
             FROM {} WHERE n > ? ORDER BY n LIMIT ?",
            table(id)
        );
        let found = sqlx::query(AssertSqlSafe(sql)).bind(signed(above)).bind(rows).fetch_all(&mut *self.0).await?;
        let candidate = |row: &sqlx::sqlite::SqliteRow| -> Result<Candidate, sqlx::Error> {
            let ts: i64 = row.try_get(1)?;
            let content = usize::try_from(row.try_get::<i64, _>(2)?).unwrap_or(0);
            let queued = (ts != 0).then_some(Timestamp(ts));
            Ok(Candidate { n: unsigned(row.try_get(0)?), bytes: row_bytes(content), queued })
        };
        Ok(found.iter().map(candidate).collect::<Result<_, _>>()?)
    }

    /// Copies a row to `aside` with the reason, and lets the oldest there go when there are too many.
    pub(in crate::store) async fn set_aside(&mut self, id: i64, n: u64, reason: &str) -> Result<(), DbError> {
        let copy = format!(
            "INSERT INTO aside (queue, n, topic, payload, qos, retain, ts, crc32, properties, reason) \
             SELECT ?, n, topic, payload, qos, retain, ts, crc32, properties, ? FROM {} WHERE n = ?",
            table(id)
        );
        sqlx::query(AssertSqlSafe(copy)).bind(id).bind(reason).bind(signed(n)).execute(&mut *self.0).await?;
        let trim = "DELETE FROM aside WHERE queue = ?1 AND id <= \
                    (SELECT id FROM aside WHERE queue = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
        sqlx::query(trim).bind(id).bind(KEPT_ASIDE).execute(&mut *self.0).await?;
        Ok(())
    }

    /// Writes a queue's watermarks and counters.
    pub(in crate::store) async fn save(&mut self, record: &Record) -> Result<(), DbError> {
        let untold = record.untold;
        let time = |ts: Option<Timestamp>| ts.map_or(0, |ts| ts.0);
        sqlx::query(
            "UPDATE queues SET fresh = ?, next_n = ?, done = ?, recorded = ?, depth = ?, bytes = ?, dropped = ?, set_aside = ?, \
             gap_rows = ?, gap_from = ?, gap_to = ?, gap_reason = ? WHERE id = ?",
        )
        .bind(record.fresh)
        .bind(signed(record.next_n))
        .bind(signed(record.done))
        .bind(signed(record.recorded))
        .bind(signed(record.depth))
        .bind(signed(record.bytes))
        .bind(signed(record.dropped))
        .bind(signed(record.set_aside))
        .bind(signed(untold.map_or(0, |loss| loss.dropped)))
        .bind(time(untold.and_then(|loss| loss.from)))
        .bind(time(untold.and_then(|loss| loss.to)))
        .bind(untold.map_or(0, |loss| loss.reason.code()))
        .bind(record.id)
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    /// Makes it so. When this returns, the rows survive what the durability says.
    pub(in crate::store) async fn commit(self) -> Result<(), DbError> {
        #[cfg(test)]
        if self.1 != Fault::Nothing {
            let done = if self.1 == Fault::Reported { self.0.commit().await } else { self.0.rollback().await };
            return done.map_err(DbError::from).and(Err(DbError::damaged("a test says so")));
        }
        Ok(self.0.commit().await?)
    }
}

async fn insert(connection: &mut SqliteConnection, id: i64, rows: &[(u64, &Stored)]) -> Result<(), DbError> {
    let mut sql = format!("INSERT INTO {} (n, topic, payload, qos, retain, ts, crc32, properties) VALUES ", table(id));
    sql.push_str(&vec!["(?,?,?,?,?,?,?,?)"; rows.len()].join(","));
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for (n, row) in rows {
        let message = &row.message;
        query = query
            .bind(signed(*n))
            .bind(message.topic.as_str())
            .bind(&message.payload[..])
            .bind(message.qos as i64)
            .bind(message.retain)
            .bind(row.ts)
            .bind(i64::from(row.checksum(*n)))
            .bind(row.properties.as_deref());
    }
    query.execute(connection).await?;
    Ok(())
}
