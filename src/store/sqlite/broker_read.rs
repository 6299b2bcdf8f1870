//! Reading the broker's state: all but the deliveries at the start, those a page at a time.

use std::path::PathBuf;

use futures_util::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::broker_write::Mark;
use super::open::connect;
use super::{Database, DbError, signed, unsigned};
use crate::model::Durability;
use crate::store::broker_row::{DeliveryColumns, RetainedColumns, SessionColumns, SubscriptionColumns};
use crate::store::policy::ROW_OVERHEAD;
use crate::store::state::SessionId;

/// The page cache in KiB: a session is read forward, each page once.
const READER_CACHE: u32 = 256;

/// Everything that is small, as it lies in the tables.
#[derive(Debug, Default)]
pub(in crate::store) struct BrokerTables {
    pub last_session: u64,
    pub sessions: Vec<SessionColumns>,
    pub marks: Vec<Mark>,
    pub subscriptions: Vec<SubscriptionColumns>,
    pub recorded: Vec<(SessionId, u64)>,
    pub received: Vec<(SessionId, u64)>,
    /// Of each session that has deliveries: the lowest number and the highest.
    pub ends: Vec<(SessionId, u64, u64)>,
}

impl Database {
    /// Reads the small tables, and where each session's deliveries begin and end, whatever lies between.
    pub(in crate::store) async fn broker_tables(&mut self) -> Result<BrokerTables, DbError> {
        Ok(tables(&mut self.connection).await?)
    }

    /// Every retained message.
    pub(in crate::store) async fn retained(&mut self) -> Result<Vec<RetainedColumns>, DbError> {
        Ok(retained(&mut self.connection, 0, u32::MAX).await?)
    }

    /// Number, topic and accounted content of every retained message.
    pub(in crate::store) async fn retained_sizes(&mut self) -> Result<Vec<(i64, String, usize)>, DbError> {
        let select = "SELECT id, topic, octet_length(topic) + octet_length(payload) + coalesce(octet_length(properties), 0) \
                      FROM retained ORDER BY id";
        let rows = sqlx::query(select).fetch_all(&mut self.connection).await?;
        let sizes = |row: &SqliteRow| -> Result<_, sqlx::Error> {
            let size = usize::try_from(row.try_get_unchecked::<i64, _>(2).unwrap_or(0)).unwrap_or(0);
            Ok((row.try_get_unchecked(0)?, text(row, 1), size))
        };
        Ok(rows.iter().map(sizes).collect::<Result<_, _>>()?)
    }

    /// Deletes retained messages by their numbers.
    pub(in crate::store) async fn delete_retained(&mut self, ids: &[i64]) -> Result<(), DbError> {
        for id in ids {
            sqlx::query("DELETE FROM retained WHERE id = ?").bind(id).execute(&mut self.connection).await?;
        }
        Ok(())
    }

    /// Counts every session's deliveries, reading all of them; the numbers that come next are not looked at.
    pub(in crate::store) async fn count_deliveries(&mut self) -> Result<Vec<Mark>, DbError> {
        let select = "SELECT session, 0, count(*), sum(octet_length(topic) + octet_length(payload) \
                      + coalesce(octet_length(ids), 0) + coalesce(octet_length(properties), 0)) \
                      FROM deliveries GROUP BY session";
        let rows = sqlx::query(select).fetch_all(&mut self.connection).await?;
        let whole = |mark: Mark| Mark { bytes: mark.bytes + mark.depth * ROW_OVERHEAD, ..mark };
        Ok(rows.iter().map(|row| whole(mark(row))).collect())
    }

    /// A connection of its own that reads sessions' deliveries.
    pub(in crate::store) fn page_reader(&self) -> PageReader {
        PageReader::new(self.path().to_owned())
    }
}

/// The connection that reads sessions' deliveries.
#[derive(Debug)]
pub(in crate::store) struct PageReader {
    database: PathBuf,
    connection: Option<SqliteConnection>,
}

impl PageReader {
    /// Connects when it first reads.
    pub(in crate::store) fn new(database: PathBuf) -> PageReader {
        PageReader { database, connection: None }
    }

    /// A session's deliveries from number `from` on, in order: at most `rows` of them, and none after the one that reaches `bytes`.
    pub(in crate::store) async fn read(
        &mut self,
        session: SessionId,
        from: u64,
        rows: usize,
        bytes: u64,
    ) -> Result<Vec<DeliveryColumns>, DbError> {
        let found = self.try_read(session, from, rows, bytes).await;
        if found.is_err() {
            self.connection = None;
        }
        Ok(found?)
    }

    async fn try_read(
        &mut self,
        session: SessionId,
        from: u64,
        rows: usize,
        bytes: u64,
    ) -> Result<Vec<DeliveryColumns>, sqlx::Error> {
        let connection = match &mut self.connection {
            Some(open) => open,
            none => none.insert(connect(&self.database, Durability::Normal, READER_CACHE, false).await?),
        };
        const PAGE: &str = "SELECT session, n, topic, payload, flags, ts, ids, properties, crc32 FROM deliveries \
                            WHERE session = ? AND n >= ? ORDER BY n LIMIT ?";
        let query = sqlx::query(PAGE).bind(signed(session.0)).bind(signed(from));
        let mut stream = query.bind(i64::try_from(rows).unwrap_or(i64::MAX)).fetch(connection);
        let mut found = Vec::new();
        let mut total = 0;
        while let Some(row) = stream.try_next().await? {
            let columns = delivery(&row);
            total += columns.stored_bytes();
            found.push(columns);
            if total >= bytes {
                break;
            }
        }
        Ok(found)
    }

    /// Where it reads.
    pub(in crate::store) fn database(&self) -> &std::path::Path {
        &self.database
    }
}

async fn tables(connection: &mut SqliteConnection) -> Result<BrokerTables, sqlx::Error> {
    Ok(BrokerTables {
        last_session: last_session(connection).await?,
        sessions: sessions(connection, 0, u32::MAX).await?,
        marks: marks(connection).await?,
        subscriptions: subscriptions(connection).await?,
        recorded: pairs(connection, "SELECT session, n FROM recorded").await?,
        received: pairs(connection, "SELECT session, packet_id FROM received").await?,
        ends: ends(connection).await?,
    })
}

pub(super) async fn last_session(connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let row = sqlx::query("SELECT max(last_session) FROM broker").fetch_one(connection).await?;
    Ok(number(&row, 0))
}

/// Up to `rows` sessions with ids above `after`.
pub(super) async fn sessions(
    connection: &mut SqliteConnection,
    after: i64,
    rows: u32,
) -> Result<Vec<SessionColumns>, sqlx::Error> {
    let select = "SELECT id, client_id, user, expiry_s, left_at, sent, will, crc32 FROM sessions \
                  WHERE id > ? ORDER BY id LIMIT ?";
    let rows = sqlx::query(select).bind(after).bind(rows).fetch_all(connection).await?;
    Ok(rows.iter().map(session).collect())
}

async fn marks(connection: &mut SqliteConnection) -> Result<Vec<Mark>, sqlx::Error> {
    let rows = sqlx::query("SELECT session, next_n, depth, bytes FROM session_marks").fetch_all(connection).await?;
    Ok(rows.iter().map(mark).collect())
}

async fn subscriptions(connection: &mut SqliteConnection) -> Result<Vec<SubscriptionColumns>, sqlx::Error> {
    let select = "SELECT session, filter, options, id, crc32 FROM subscriptions ORDER BY session, filter";
    let rows = sqlx::query(select).fetch_all(connection).await?;
    Ok(rows.iter().map(subscription).collect())
}

/// A session and a number each.
async fn pairs(connection: &mut SqliteConnection, select: &'static str) -> Result<Vec<(SessionId, u64)>, sqlx::Error> {
    let rows = sqlx::query(select).fetch_all(connection).await?;
    Ok(rows.iter().map(|row| (SessionId(number(row, 0)), number(row, 1))).collect())
}

/// Steps from session to session through the index, and to both ends of each.
async fn ends(connection: &mut SqliteConnection) -> Result<Vec<(SessionId, u64, u64)>, sqlx::Error> {
    let select = "WITH RECURSIVE s(session) AS (\
                    SELECT min(session) FROM deliveries \
                    UNION ALL SELECT (SELECT min(session) FROM deliveries WHERE session > s.session) FROM s \
                    WHERE s.session IS NOT NULL) \
                  SELECT session, (SELECT min(n) FROM deliveries d WHERE d.session = s.session), \
                  (SELECT max(n) FROM deliveries d WHERE d.session = s.session) FROM s WHERE session IS NOT NULL";
    let rows = sqlx::query(select).fetch_all(connection).await?;
    Ok(rows.iter().map(|row| (SessionId(number(row, 0)), number(row, 1), number(row, 2))).collect())
}

/// Up to `rows` retained messages with numbers above `after`.
pub(super) async fn retained(
    connection: &mut SqliteConnection,
    after: i64,
    rows: u32,
) -> Result<Vec<RetainedColumns>, sqlx::Error> {
    let select = "SELECT id, topic, payload, qos, ts, properties, crc32 FROM retained WHERE id > ? ORDER BY id LIMIT ?";
    let found = sqlx::query(select).bind(after).bind(rows).fetch_all(connection).await?;
    let columns = |row: &SqliteRow| RetainedColumns {
        id: row.try_get_unchecked(0).unwrap_or(0),
        topic: text(row, 1),
        payload: row.try_get_unchecked(2).unwrap_or_default(),
        qos: row.try_get_unchecked(3).unwrap_or(-1),
        ts: row.try_get_unchecked(4).unwrap_or(0),
        properties: row.try_get_unchecked(5).unwrap_or_default(),
        crc32: checksum(row, 6),
    };
    Ok(found.iter().map(columns).collect())
}

pub(super) fn mark(row: &SqliteRow) -> Mark {
    Mark { session: SessionId(number(row, 0)), next_n: number(row, 1), depth: number(row, 2), bytes: number(row, 3) }
}

pub(super) fn subscription(row: &SqliteRow) -> SubscriptionColumns {
    SubscriptionColumns {
        session: row.try_get_unchecked(0).unwrap_or(0),
        filter: text(row, 1),
        options: row.try_get_unchecked(2).unwrap_or(-1),
        id: row.try_get_unchecked(3).unwrap_or_default(),
        crc32: checksum(row, 4),
    }
}

fn session(row: &SqliteRow) -> SessionColumns {
    SessionColumns {
        id: row.try_get_unchecked(0).unwrap_or(0),
        client_id: text(row, 1),
        user: row.try_get_unchecked::<Option<&[u8]>, _>(2).ok().flatten().map(lossy),
        expiry_s: row.try_get_unchecked(3).unwrap_or(-1),
        left_at: row.try_get_unchecked(4).unwrap_or(0),
        sent: row.try_get_unchecked(5).unwrap_or(0),
        will: row.try_get_unchecked(6).unwrap_or_default(),
        crc32: checksum(row, 7),
    }
}

/// The columns as they are, whatever is in them: the checksum tells.
pub(super) fn delivery(row: &SqliteRow) -> DeliveryColumns {
    DeliveryColumns {
        session: row.try_get_unchecked(0).unwrap_or(0),
        n: row.try_get_unchecked(1).unwrap_or(0),
        topic: text(row, 2),
        payload: row.try_get_unchecked(3).unwrap_or_default(),
        flags: row.try_get_unchecked(4).unwrap_or(-1),
        ts: row.try_get_unchecked(5).unwrap_or(0),
        ids: row.try_get_unchecked(6).unwrap_or_default(),
        properties: row.try_get_unchecked(7).unwrap_or_default(),
        crc32: checksum(row, 8),
    }
}

pub(super) fn number(row: &SqliteRow, column: usize) -> u64 {
    unsigned(row.try_get_unchecked(column).unwrap_or(0))
}

fn text(row: &SqliteRow, column: usize) -> String {
    row.try_get_unchecked::<&[u8], _>(column).map(lossy).unwrap_or_default()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn checksum(row: &SqliteRow, column: usize) -> u32 {
    u32::try_from(row.try_get_unchecked::<i64, _>(column).unwrap_or(-1)).unwrap_or(0)
}
