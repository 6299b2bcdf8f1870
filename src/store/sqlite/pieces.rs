//! Pieces of batches, in their table.

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::{Database, DbError, Transaction, signed, unsigned};
use crate::store::pieces::PieceRow;

/// Rows an insert takes: as many as possible of the first shape, then of the next.
const SHAPES: [usize; 3] = [64, 8, 1];

const COLUMNS: &str = "id, queue, batch, bundle, topic, payload, qos, retain, crc32";

impl Database {
    /// The highest number and the highest batch of any piece, and each batch that is open: its queue's id, and its number.
    pub(in crate::store) async fn open_batches(&mut self) -> Result<(u64, u64, Vec<(i64, u64)>), DbError> {
        let highest = sqlx::query("SELECT coalesce(max(id), 0), coalesce(max(batch), 0) FROM pieces");
        let highest = highest.fetch_one(&mut self.connection).await?;
        let open = sqlx::query("SELECT DISTINCT queue, batch FROM pieces ORDER BY queue, batch");
        let open = open.fetch_all(&mut self.connection).await?;
        let open = open.iter().map(|row| Ok((row.try_get(0)?, unsigned(row.try_get(1)?))));
        Ok((unsigned(highest.try_get(0)?), unsigned(highest.try_get(1)?), open.collect::<Result<_, sqlx::Error>>()?))
    }

    /// Deletes the pieces of a queue that is gone.
    pub(in crate::store) async fn forget_pieces(&mut self, queue: i64) -> Result<(), DbError> {
        let delete = sqlx::query("DELETE FROM pieces WHERE queue = ?").bind(queue);
        delete.execute(&mut self.connection).await?;
        Ok(())
    }

    /// Deletes the pieces from a number on.
    pub(in crate::store) async fn forget_pieces_from(&mut self, id: u64) -> Result<(), DbError> {
        let delete = sqlx::query("DELETE FROM pieces WHERE id >= ?").bind(signed(id));
        delete.execute(&mut self.connection).await?;
        Ok(())
    }
}

impl Transaction<'_> {
    /// Adds pieces.
    pub(in crate::store) async fn add_pieces(&mut self, rows: &[PieceRow]) -> Result<(), DbError> {
        let mut rest = rows;
        for shape in SHAPES {
            while rest.len() >= shape {
                let (now, later) = rest.split_at(shape);
                let values = vec!["(?,?,?,?,?,?,?,?,?)"; shape].join(",");
                let mut query = sqlx::query(AssertSqlSafe(format!("INSERT INTO pieces ({COLUMNS}) VALUES {values}")));
                for row in now {
                    query = query
                        .bind(signed(row.id))
                        .bind(row.queue)
                        .bind(signed(row.batch))
                        .bind(row.bundle)
                        .bind(row.topic.as_str())
                        .bind(&row.payload[..])
                        .bind(row.qos)
                        .bind(row.retain)
                        .bind(i64::from(row.crc32));
                }
                query.execute(&mut *self.0).await?;
                rest = later;
            }
        }
        Ok(())
    }

    /// The pieces of a batch, in their order; they are gone with this transaction.
    pub(in crate::store) async fn take_pieces(&mut self, queue: i64, batch: u64) -> Result<Vec<PieceRow>, DbError> {
        let select = format!("SELECT {COLUMNS} FROM pieces WHERE queue = ? AND batch = ? ORDER BY id");
        let query = sqlx::query(AssertSqlSafe(select)).bind(queue).bind(signed(batch));
        let rows = query.fetch_all(&mut *self.0).await?;
        let delete = sqlx::query("DELETE FROM pieces WHERE queue = ? AND batch = ?").bind(queue).bind(signed(batch));
        delete.execute(&mut *self.0).await?;
        Ok(rows.iter().map(piece).collect())
    }
}

/// Up to `rows` pieces of a damaged database after a number.
pub(super) async fn after(
    connection: &mut SqliteConnection,
    after: u64,
    rows: u32,
) -> Result<Vec<PieceRow>, sqlx::Error> {
    let select = format!("SELECT {COLUMNS} FROM pieces WHERE id > ? ORDER BY id LIMIT ?");
    let found = sqlx::query(AssertSqlSafe(select)).bind(signed(after)).bind(rows).fetch_all(connection).await?;
    Ok(found.iter().map(piece).collect())
}

/// The columns as they are, whatever is in them: the checksum tells.
fn piece(row: &SqliteRow) -> PieceRow {
    let number = |column| row.try_get_unchecked::<i64, _>(column).unwrap_or(-1);
    let bytes = |column| row.try_get_unchecked::<&[u8], _>(column).unwrap_or_default();
    PieceRow {
        id: unsigned(number(0)),
        queue: number(1),
        batch: unsigned(number(2)),
        bundle: u8::try_from(number(3)).unwrap_or(u8::MAX),
        topic: String::from_utf8_lossy(bytes(4)).into_owned(),
        payload: bytes(5).to_vec(),
        qos: u8::try_from(number(6)).unwrap_or(u8::MAX),
        retain: number(7) != 0,
        crc32: u32::try_from(number(8)).unwrap_or(0),
    }
}
