//! A group commit's statements for the broker's state. Like the queues' they come in fixed shapes, so that they stay prepared.

use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Row, Sqlite};

use super::write::Transaction;
use super::{DbError, signed, unsigned};
use crate::store::broker_row::{DeliveryRow, RetainedColumns, SessionColumns, SubscriptionColumns};
use crate::store::policy::ROW_OVERHEAD;
use crate::store::state::SessionId;

/// Rows an insert takes: as many as possible of the first shape, then of the next. Few steps apart, since a commit for waiting
/// clients often has about as many rows as there are clients, and each statement costs a way to SQLite's thread and back.
const ROW_SHAPES: [usize; 6] = [128, 32, 8, 4, 2, 1];

/// Ranges that a statement takes; what is left over is filled up with ranges that hold nothing.
const RANGE_SHAPES: [usize; 3] = [64, 8, 1];

/// Some numbers of one session: first and last.
pub(in crate::store) type SessionRange = (SessionId, u64, u64);

/// A range that holds nothing.
const NOTHING: SessionRange = (SessionId(0), 1, 0);

/// A session's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Mark {
    pub session: SessionId,
    pub next_n: u64,
    pub depth: u64,
    pub bytes: u64,
}

/// What the deletion of deliveries set free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Freed {
    pub session: SessionId,
    pub rows: u64,
    pub bytes: u64,
}

type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

/// Which deliveries a list of ranges means. The ranges come first in the join: each is one step into the index.
const IN_RANGES: &str = "FROM r CROSS JOIN deliveries d WHERE d.session = r.session AND d.n BETWEEN r.first AND r.last";

impl Transaction<'_> {
    /// Writes a session, new or known.
    pub(in crate::store) async fn save_session(&mut self, session: &SessionColumns) -> Result<(), DbError> {
        let insert = "INSERT OR REPLACE INTO sessions (id, client_id, user, expiry_s, left_at, sent, will, crc32) \
                      VALUES (?,?,?,?,?,?,?,?)";
        let query = sqlx::query(insert).bind(session.id).bind(&session.client_id).bind(&session.user);
        let query = query.bind(session.expiry_s).bind(session.left_at).bind(session.sent).bind(&session.will);
        query.bind(i64::from(session.crc32)).execute(&mut *self.0).await?;
        Ok(())
    }

    /// Notes down the highest session id that was ever used.
    pub(in crate::store) async fn save_last_session(&mut self, last: u64) -> Result<(), DbError> {
        let update = "UPDATE broker SET last_session = max(last_session, ?)";
        sqlx::query(update).bind(signed(last)).execute(&mut *self.0).await?;
        Ok(())
    }

    /// Removes all of a session but its deliveries.
    pub(in crate::store) async fn forget_session(&mut self, session: SessionId) -> Result<(), DbError> {
        for delete in [
            "DELETE FROM sessions WHERE id = ?",
            "DELETE FROM session_marks WHERE session = ?",
            "DELETE FROM subscriptions WHERE session = ?",
            "DELETE FROM recorded WHERE session = ?",
            "DELETE FROM received WHERE session = ?",
        ] {
            sqlx::query(delete).bind(signed(session.0)).execute(&mut *self.0).await?;
        }
        Ok(())
    }

    /// Deletes up to `most` deliveries of a session that is over, and says how many there were.
    pub(in crate::store) async fn delete_deliveries(&mut self, session: SessionId, most: u32) -> Result<u64, DbError> {
        let delete = "DELETE FROM deliveries WHERE id IN \
                      (SELECT id FROM deliveries WHERE session = ? ORDER BY n LIMIT ?)";
        let deleted = sqlx::query(delete).bind(signed(session.0)).bind(most).execute(&mut *self.0).await?;
        Ok(deleted.rows_affected())
    }

    /// Makes or replaces a subscription.
    pub(in crate::store) async fn subscribe(&mut self, subscription: &SubscriptionColumns) -> Result<(), DbError> {
        let insert = "INSERT OR REPLACE INTO subscriptions (session, filter, options, id, crc32) VALUES (?,?,?,?,?)";
        let query = sqlx::query(insert).bind(subscription.session).bind(&subscription.filter);
        let query = query.bind(subscription.options).bind(subscription.id).bind(i64::from(subscription.crc32));
        query.execute(&mut *self.0).await?;
        Ok(())
    }

    /// Removes a subscription.
    pub(in crate::store) async fn unsubscribe(&mut self, session: SessionId, filter: &str) -> Result<(), DbError> {
        let delete = "DELETE FROM subscriptions WHERE session = ? AND filter = ?";
        sqlx::query(delete).bind(signed(session.0)).bind(filter).execute(&mut *self.0).await?;
        Ok(())
    }

    /// Appends deliveries.
    pub(in crate::store) async fn queue(&mut self, rows: &[DeliveryRow<'_>]) -> Result<(), DbError> {
        let head =
            "INSERT OR REPLACE INTO deliveries (session, n, topic, payload, flags, ts, ids, properties, crc32) VALUES ";
        self.insert(head, "(?,?,?,?,?,?,?,?,?)", rows, |query, row| {
            let message = &row.delivery.message;
            let query = query.bind(row.session).bind(row.n).bind(message.topic.as_str()).bind(&message.payload[..]);
            let query = query.bind(row.flags).bind(row.ts).bind(row.ids.as_deref()).bind(row.properties.as_deref());
            query.bind(i64::from(row.crc32))
        })
        .await
    }

    /// Lets the messages of deliveries go whose PUBREC came; their numbers wait for PUBCOMP.
    pub(in crate::store) async fn record(&mut self, ranges: &[SessionRange]) -> Result<Vec<Freed>, DbError> {
        let move_over = format!("INSERT OR IGNORE INTO recorded (session, n) SELECT d.session, d.n {IN_RANGES}");
        self.each_shape(&move_over, ranges).await?;
        self.finish(ranges).await
    }

    /// Deletes deliveries and says what that set free.
    pub(in crate::store) async fn finish(&mut self, ranges: &[SessionRange]) -> Result<Vec<Freed>, DbError> {
        // octet_length of a column is in the row's header: long payloads are not read.
        let sum = format!(
            "SELECT d.session, count(*), sum(octet_length(d.topic) + octet_length(d.payload) \
             + coalesce(octet_length(d.ids), 0) + coalesce(octet_length(d.properties), 0)) {IN_RANGES} GROUP BY d.session"
        );
        let delete = format!("DELETE FROM deliveries WHERE id IN (SELECT d.id {IN_RANGES})");
        let mut freed = Vec::new();
        for (sql, part) in shapes(&sum, ranges) {
            for row in bind_ranges(sql, &part).fetch_all(&mut *self.0).await? {
                let rows = unsigned(row.try_get(1)?);
                let bytes = unsigned(row.try_get(2)?) + rows * ROW_OVERHEAD;
                freed.push(Freed { session: SessionId(unsigned(row.try_get(0)?)), rows, bytes });
            }
        }
        if !freed.is_empty() {
            self.each_shape(&delete, ranges).await?;
        }
        Ok(freed)
    }

    /// Writes numbers that wait for PUBCOMP.
    pub(in crate::store) async fn wait_for_completion(&mut self, numbers: &[(SessionId, u64)]) -> Result<(), DbError> {
        let head = "INSERT OR IGNORE INTO recorded (session, n) VALUES ";
        self.insert(head, "(?,?)", numbers, |query, (session, n)| query.bind(signed(session.0)).bind(signed(*n))).await
    }

    /// Deletes numbers that waited for PUBCOMP.
    pub(in crate::store) async fn complete(&mut self, ranges: &[SessionRange]) -> Result<(), DbError> {
        let delete = "DELETE FROM recorded WHERE (session, n) IN (SELECT d.session, d.n FROM r CROSS JOIN recorded d \
                      WHERE d.session = r.session AND d.n BETWEEN r.first AND r.last)";
        self.each_shape(delete, ranges).await
    }

    /// Notes down QoS 2 messages that were taken.
    pub(in crate::store) async fn receive(&mut self, ids: &[(SessionId, u16)]) -> Result<(), DbError> {
        let head = "INSERT OR IGNORE INTO received (session, packet_id) VALUES ";
        self.insert(head, "(?,?)", ids, |query, (session, id)| query.bind(signed(session.0)).bind(i64::from(*id))).await
    }

    /// Forgets QoS 2 messages that were released.
    pub(in crate::store) async fn release(&mut self, ranges: &[SessionRange]) -> Result<(), DbError> {
        let delete = "DELETE FROM received WHERE (session, packet_id) IN (SELECT d.session, d.packet_id FROM r \
                      CROSS JOIN received d WHERE d.session = r.session AND d.packet_id BETWEEN r.first AND r.last)";
        self.each_shape(delete, ranges).await
    }

    /// Writes retained messages, each in place of what has its number.
    pub(in crate::store) async fn retain(&mut self, rows: &[RetainedColumns]) -> Result<(), DbError> {
        let head = "INSERT OR REPLACE INTO retained (id, topic, payload, qos, ts, properties, crc32) VALUES ";
        self.insert(head, "(?,?,?,?,?,?,?)", rows, |query, row| {
            let query = query.bind(row.id).bind(&row.topic[..]).bind(&row.payload[..]).bind(row.qos).bind(row.ts);
            query.bind(row.properties.as_deref()).bind(i64::from(row.crc32))
        })
        .await
    }

    /// Removes the retained messages with these numbers.
    pub(in crate::store) async fn unretain(&mut self, first: u64, last: u64) -> Result<(), DbError> {
        let delete = "DELETE FROM retained WHERE id BETWEEN ? AND ?";
        sqlx::query(delete).bind(signed(first)).bind(signed(last)).execute(&mut *self.0).await?;
        Ok(())
    }

    /// Writes sessions' counters.
    pub(in crate::store) async fn save_marks(&mut self, marks: &[Mark]) -> Result<(), DbError> {
        let head = "INSERT OR REPLACE INTO session_marks (session, next_n, depth, bytes) VALUES ";
        self.insert(head, "(?,?,?,?)", marks, |query, mark| {
            let numbers = [mark.session.0, mark.next_n, mark.depth, mark.bytes];
            numbers.into_iter().fold(query, |query, number| query.bind(signed(number)))
        })
        .await
    }

    async fn insert<'r, T>(
        &mut self,
        head: &str,
        row: &str,
        rows: &'r [T],
        bind: impl Fn(Query<'r>, &'r T) -> Query<'r>,
    ) -> Result<(), DbError> {
        let mut rest = rows;
        for shape in ROW_SHAPES {
            while rest.len() >= shape {
                let (now, later) = rest.split_at(shape);
                let sql = AssertSqlSafe(format!("{head}{}", vec![row; shape].join(",")));
                now.iter().fold(sqlx::query(sql), &bind).execute(&mut *self.0).await?;
                rest = later;
            }
        }
        Ok(())
    }

    async fn each_shape(&mut self, statement: &str, ranges: &[SessionRange]) -> Result<(), DbError> {
        for (sql, part) in shapes(statement, ranges) {
            bind_ranges(sql, &part).execute(&mut *self.0).await?;
        }
        Ok(())
    }
}

/// The statement over a table `r` of ranges, as often as it takes.
fn shapes(statement: &str, ranges: &[SessionRange]) -> Vec<(String, Vec<SessionRange>)> {
    let mut all = Vec::new();
    let mut rest = ranges;
    while !rest.is_empty() {
        // The smallest shape that takes the rest, or the largest there is.
        let shape = RANGE_SHAPES.into_iter().rev().find(|shape| *shape >= rest.len()).unwrap_or(RANGE_SHAPES[0]);
        let (now, later) = rest.split_at(shape.min(rest.len()));
        let mut part = now.to_vec();
        part.resize(shape, NOTHING);
        let values = vec!["(?,?,?)"; shape].join(",");
        all.push((format!("WITH r(session, first, last) AS (VALUES {values}) {statement}"), part));
        rest = later;
    }
    all
}

fn bind_ranges(sql: String, ranges: &[SessionRange]) -> Query<'static> {
    ranges.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, (session, first, last)| {
        query.bind(signed(session.0)).bind(signed(*first)).bind(signed(*last))
    })
}
