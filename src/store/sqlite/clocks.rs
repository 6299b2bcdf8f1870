//! The table `clocks`: when a start of the machine began, as far as its clock was set later.

use sqlx::Row;

use super::{Database, DbError, Transaction, signed, unsigned};
use crate::model::BootId;
use crate::store::correction::Known;

/// Stands for the whole database.
const NO_QUEUE: i64 = 0;

impl Database {
    /// Notes that a process of this boot has opened the database. True when it is the first.
    pub(in crate::store) async fn enter_boot(&mut self, boot: BootId) -> Result<bool, DbError> {
        let find = sqlx::query("SELECT 1 FROM clocks WHERE queue = ? AND boot = ?").bind(NO_QUEUE).bind(boot.0);
        if find.fetch_optional(&mut self.connection).await?.is_some() {
            return Ok(false);
        }
        sqlx::query("DELETE FROM clocks WHERE queue = ?").bind(NO_QUEUE).execute(&mut self.connection).await?;
        let note = sqlx::query("INSERT INTO clocks VALUES (?, ?, 0, 0)").bind(NO_QUEUE).bind(boot.0);
        note.execute(&mut self.connection).await?;
        Ok(true)
    }

    /// What is known of a queue's boots.
    pub(in crate::store) async fn clocks(&mut self, queue: i64) -> Result<Vec<(BootId, Known)>, DbError> {
        let select = sqlx::query("SELECT boot, began, from_n FROM clocks WHERE queue = ?").bind(queue);
        let rows = select.fetch_all(&mut self.connection).await?;
        let known = |row: &sqlx::sqlite::SqliteRow| -> Result<(BootId, Known), sqlx::Error> {
            let boot = BootId(u32::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0));
            Ok((boot, Known { began: row.try_get(1)?, from_n: unsigned(row.try_get(2)?) }))
        };
        Ok(rows.iter().map(known).collect::<Result<_, _>>()?)
    }

    /// Forgets what is known of boots before this one: no row of theirs is left in the queue.
    pub(in crate::store) async fn forget_clocks(&mut self, queue: i64, but: BootId) -> Result<(), DbError> {
        let forget = sqlx::query("DELETE FROM clocks WHERE queue = ? AND boot <> ?").bind(queue).bind(but.0);
        forget.execute(&mut self.connection).await?;
        Ok(())
    }
}

impl Transaction<'_> {
    /// Keeps when a boot began.
    pub(in crate::store) async fn save_clock(&mut self, queue: i64, boot: BootId, known: Known) -> Result<(), DbError> {
        let save = sqlx::query("INSERT OR REPLACE INTO clocks VALUES (?, ?, ?, ?)");
        let save = save.bind(queue).bind(boot.0).bind(known.began).bind(signed(known.from_n));
        save.execute(&mut *self.0).await?;
        Ok(())
    }
}
