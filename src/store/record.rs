//! What is known of a queue without looking at its rows: its watermarks and counters, as one row of the table `queues`.

use super::episode::Loss;

/// One queue. Every group commit that touches the queue writes it, so it never disagrees with the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Names the table: `queue_<id>`.
    pub id: i64,
    pub name: String,
    /// The generation: random, drawn when the queue was made.
    pub epoch: u32,
    /// Never connected with a clean session so far.
    pub fresh: bool,
    /// Whose session `recorded` and the packet ids in flight belong to; empty while that is not known.
    pub server: String,
    /// The next row's number.
    pub next_n: u64,
    /// Every row up to here is acknowledged and deleted.
    pub done: u64,
    /// Every row up to here has its PUBREC (QoS 2).
    pub recorded: u64,
    /// Rows waiting.
    pub depth: u64,
    /// Their bytes as accounted.
    pub bytes: u64,
    /// Given up by policy since the queue was made.
    pub dropped: u64,
    /// Put aside since the queue was made.
    pub set_aside: u64,
    /// Lost and not yet told upstream.
    pub untold: Option<Loss>,
}

impl Record {
    /// Counts rows out that were deleted.
    pub(super) fn remove(&mut self, rows: u64, bytes: u64) {
        self.depth = self.depth.saturating_sub(rows);
        // An empty queue has no bytes, whatever damaged rows claimed to be.
        self.bytes = if self.depth == 0 { 0 } else { self.bytes.saturating_sub(bytes) };
    }
}
