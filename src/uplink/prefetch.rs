//! Rows read ahead: the next ones come from the disk while others are on the wire.
//!
//! They are read by a task of their own. It is woken for every few rows, and the uplink's task, which looks at everything whenever it is
//! woken, only for all of them.

use std::future::pending;

use tokio::task::JoinHandle;

use crate::store::{Entry, Rows, StoreError};

/// Bytes read at once, at most and then the rest of the row.
const BYTES: u64 = 1 << 20;

type Fetched = (Rows, Result<Vec<Entry>, StoreError>);

/// The reading end of a queue, perhaps busy reading.
pub(super) struct Prefetch(State);

enum State {
    /// There may be something to read.
    Ready(Rows),
    /// There was not, until something is committed.
    Waiting(Rows),
    /// Being read.
    Busy(JoinHandle<Fetched>),
    /// The store is closed.
    Ended,
}

impl Prefetch {
    pub(super) fn new(rows: Rows) -> Prefetch {
        Prefetch(State::Ready(rows))
    }

    /// Starts reading up to `rows` rows, unless it is reading already or waits for a commit.
    pub(super) fn start(&mut self, rows: usize) {
        self.0 = match std::mem::replace(&mut self.0, State::Ended) {
            State::Ready(mut source) => State::Busy(tokio::spawn(async move {
                let entries = source.read(rows, BYTES).await;
                (source, entries)
            })),
            other => other,
        };
    }

    /// Waits for what is being read or, when nothing was there, for the next commit: then it is empty. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Vec<Entry>, StoreError> {
        match &mut self.0 {
            State::Busy(fetch) => {
                // It is not cancelled, so it has ended or panicked; then so does the uplink's task.
                let (rows, entries) = fetch.await.expect("reading rows does not panic");
                let nothing = entries.as_ref().is_ok_and(Vec::is_empty);
                self.0 = if nothing { State::Waiting(rows) } else { State::Ready(rows) };
                entries
            }
            State::Waiting(rows) => {
                let closed = rows.changed().await.is_err();
                self.0 = match std::mem::replace(&mut self.0, State::Ended) {
                    State::Waiting(rows) if !closed => State::Ready(rows),
                    _ => State::Ended,
                };
                Ok(Vec::new())
            }
            State::Ready(_) | State::Ended => pending().await,
        }
    }

    /// Whether everything that is committed was read.
    pub(super) fn is_at_end(&self) -> bool {
        matches!(self.0, State::Waiting(_))
    }

    /// Lets a read come to its end and forgets what it brought. The caller gives those rows back, so there is something to read.
    pub(super) async fn settle(&mut self) {
        if let State::Busy(_) = self.0 {
            // What it brings, or why it brings nothing, will show again when it is read again.
            let _ = self.next().await;
        }
        self.0 = match std::mem::replace(&mut self.0, State::Ended) {
            State::Waiting(rows) => State::Ready(rows),
            other => other,
        };
    }
}
