//! The backlog of sessions, a page at a time: what waits for a client that is away stays on disk.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::broker_row::DeliveryColumns;
use super::queue::unreadable;
use super::sqlite::{Database, PageReader};
use super::{SessionId, StoreError, StoredDelivery};

/// Reads what waits for sessions, on a connection of its own that never waits for the writer. A clone shares it; one page is read at a time.
#[derive(Debug, Clone)]
pub struct SessionReader(Arc<Mutex<PageReader>>);

/// Some of what waits for a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// In order. Numbers that are done or [recorded](super::SessionState::recorded) are not among them.
    pub deliveries: Vec<(u64, StoredDelivery)>,
    /// Rows that are not as they were stored, and what is wrong with each. They must not be sent: count them, and say that they are
    /// [done](super::BrokerWrite::Done).
    pub damaged: Vec<(u64, String)>,
    /// Where the next page begins. `None` at the end of what was committed when this one was read.
    pub next: Option<u64>,
}

impl SessionReader {
    pub(super) fn new(database: &Database) -> SessionReader {
        SessionReader::of(database.page_reader())
    }

    pub(super) fn of(reader: PageReader) -> SessionReader {
        SessionReader(Arc::new(Mutex::new(reader)))
    }

    /// What waits for a session from number `from` on, as far as it is committed: at most `messages`, and none after the one
    /// that reaches `bytes`; at least one, if there is one. A session that is not on disk has nothing.
    ///
    /// A delivery whose commit was reported is there, and may be until the commit that says it is done was reported.
    pub async fn page(&self, session: SessionId, from: u64, messages: usize, bytes: u64) -> Result<Page, StoreError> {
        let mut reader = self.0.lock().await;
        let messages = messages.max(1);
        let rows = reader.read(session, from, messages, bytes).await;
        let rows = rows.map_err(|error| unreadable(reader.database(), &error))?;
        let total: u64 = rows.iter().map(DeliveryColumns::stored_bytes).sum();
        let more = rows.len() == messages || total >= bytes;
        let mut page = Page { next: rows.last().filter(|_| more).map(|row| row.number() + 1), ..Page::default() };
        for columns in rows {
            let n = columns.number();
            match columns.check() {
                Ok(delivery) => page.deliveries.push((n, delivery)),
                Err(why) => page.damaged.push((n, why)),
            }
        }
        Ok(page)
    }
}
