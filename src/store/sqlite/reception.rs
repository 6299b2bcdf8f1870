//! What came through an uplink, in its tables.

use sqlx::Row;

use super::{Database, DbError, Transaction};
use crate::model::Filter;

impl Database {
    /// The packet ids that a cloud has not released, and the filters that it knows. What is no filter is left out.
    pub(in crate::store) async fn reception(&mut self, queue: i64) -> Result<(Vec<u16>, Vec<Filter>), DbError> {
        let received = sqlx::query("SELECT packet_id FROM uplink_received WHERE queue = ? ORDER BY packet_id")
            .bind(queue)
            .fetch_all(&mut self.connection)
            .await?;
        let received = received.iter().filter_map(|row| u16::try_from(row.try_get::<i64, _>(0).ok()?).ok());
        let subscribed = sqlx::query("SELECT filter FROM uplink_subscribed WHERE queue = ? ORDER BY filter")
            .bind(queue)
            .fetch_all(&mut self.connection)
            .await?;
        let subscribed = subscribed.iter().filter_map(|row| Filter::new(row.try_get::<&str, _>(0).ok()?).ok());
        Ok((received.collect(), subscribed.collect()))
    }
}

impl Transaction<'_> {
    /// Keeps the packet id of a message.
    pub(in crate::store) async fn take_in(&mut self, queue: i64, packet_id: u16) -> Result<(), DbError> {
        let sql = "INSERT OR IGNORE INTO uplink_received (queue, packet_id) VALUES (?, ?)";
        sqlx::query(sql).bind(queue).bind(packet_id).execute(&mut *self.0).await?;
        Ok(())
    }

    /// Forgets a packet id, if it is there.
    pub(in crate::store) async fn let_go(&mut self, queue: i64, packet_id: u16) -> Result<(), DbError> {
        let sql = "DELETE FROM uplink_received WHERE queue = ? AND packet_id = ?";
        sqlx::query(sql).bind(queue).bind(packet_id).execute(&mut *self.0).await?;
        Ok(())
    }

    /// Keeps these filters in place of those that were kept.
    pub(in crate::store) async fn set_subscribed(&mut self, queue: i64, filters: &[Filter]) -> Result<(), DbError> {
        sqlx::query("DELETE FROM uplink_subscribed WHERE queue = ?").bind(queue).execute(&mut *self.0).await?;
        for filter in filters {
            let sql = "INSERT OR IGNORE INTO uplink_subscribed (queue, filter) VALUES (?, ?)";
            sqlx::query(sql).bind(queue).bind(filter.as_str()).execute(&mut *self.0).await?;
        }
        Ok(())
    }
}
