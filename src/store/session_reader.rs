//! The backlog of sessions, a page at a time: what waits for a client that is away stays on disk.

use super::{SessionId, StoreError, StoredDelivery};

/// Reads what waits for sessions. A clone shares its connection; one page is read at a time.
#[derive(Debug, Clone)]
pub struct SessionReader {}

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
    /// What waits for a session from number `from` on, as far as it is committed: at most `messages`, and none after the one
    /// that reaches `bytes`. A session that is not on disk has nothing.
    pub async fn page(&self, session: SessionId, from: u64, messages: usize, bytes: u64) -> Result<Page, StoreError> {
        let _ = (session, from, messages, bytes);
        Ok(Page::default())
    }
}
