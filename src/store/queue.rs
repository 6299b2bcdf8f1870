//! A queue as its reader has it: rows in order, read ahead and claimed, acknowledged when the cloud has them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::StoreError;
use super::claims::{Claims, Wake};
use super::correction::{Corrections, Known, make_right};
use super::data_dir;
use super::policy::row_bytes;
use super::row::Entry;
use super::sqlite::{DbError, DbErrorKind, Reader};
use crate::model::{BootId, Name, QueueStatus};

/// A queue, as its one reader gets it: what waits its turn, and [`Queue::high`].
pub struct Queue {
    /// The uplink's name.
    pub name: Name,
    /// The queue's generation: random, and another one after the database was lost or replaced. With a row's number it
    /// names a message for good.
    pub epoch: u32,
    /// Whether this queue has never been connected with a clean session: the cloud may hold a session that belongs to an
    /// earlier generation.
    pub fresh: bool,
    /// What [`Receipts::season`] was last told; empty when it never was.
    pub server: String,
    /// Every row up to here was acknowledged when the queue was opened.
    pub done: u64,
    /// Every row at QoS 2 up to here had its PUBREC then.
    pub recorded: u64,
    /// The last row that there was when the queue was opened. Later ones can't have been sent before.
    pub last: u64,
    /// Its rows, to be read in order.
    pub rows: Rows,
    /// What became of them.
    pub receipts: Receipts,
    /// What goes before these rows.
    pub high: Lane,
    /// How it is doing; it changes with every commit.
    pub status: watch::Receiver<QueueStatus>,
}

/// An uplink's queue for messages of high priority: numbers of its own, in a generation of its own, read and acknowledged apart.
pub struct Lane {
    /// See [`Queue::epoch`]; another one than that.
    pub epoch: u32,
    /// See [`Queue::done`].
    pub done: u64,
    /// See [`Queue::recorded`].
    pub recorded: u64,
    /// See [`Queue::last`].
    pub last: u64,
    /// Its rows, to be read in order.
    pub rows: Rows,
    /// What became of them.
    pub receipts: Receipts,
}

/// The rows of a queue, in order, each handed out once.
pub struct Rows {
    pub(super) database: PathBuf,
    pub(super) reader: Reader,
    pub(super) shared: Arc<Shared>,
    /// The number of the last row that is committed. Touched after every transaction.
    pub(super) committed: watch::Receiver<u64>,
    /// A reader may hold this much at most, so that a small queue is not all in flight and keeps something to drop.
    pub(super) most_bytes: u64,
}

/// Tells the store what became of the rows that were read.
#[derive(Debug, Clone)]
pub struct Receipts(pub(super) Arc<Shared>);

/// What is on disk of what the reader had written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// Every row at QoS 2 up to here has its PUBREC.
    pub recorded: u64,
    /// The number of the last order, as [`Receipts::season`] and [`Receipts::reset_recorded`] give them.
    pub orders: u64,
}

/// What the reader's side and the writer's side of a queue share.
#[derive(Debug)]
pub(super) struct Shared {
    claims: Mutex<Claims>,
    corrections: Mutex<Arc<Corrections>>,
    marks: watch::Sender<Marks>,
    bell: Arc<Bell>,
}

/// Wakes the writer for acknowledgements.
#[derive(Debug, Default)]
pub(super) struct Bell {
    pub notify: Notify,
    /// There are so many that the usual interval should not be waited for.
    pub hurry: AtomicBool,
}

impl Shared {
    pub(super) fn new(done: u64, recorded: u64, corrections: Corrections, bell: Arc<Bell>) -> Shared {
        let claims = Claims::new(done, recorded);
        let (marks, _) = watch::channel(claims.marks());
        Shared { claims: Mutex::new(claims), corrections: Mutex::new(Arc::new(corrections)), marks, bell }
    }

    fn corrections(&self) -> Arc<Corrections> {
        self.corrections.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When a boot began is known now.
    pub(super) fn correct(&self, boot: BootId, known: Known) {
        let mut corrections = self.corrections.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut corrections).insert(boot, known);
    }

    /// Tells the reader what is on disk now.
    pub(super) fn announce(&self) {
        let now = self.claims().marks();
        self.marks.send_if_modified(|marks| std::mem::replace(marks, now) != now);
    }

    pub(super) fn claims(&self) -> MutexGuard<'_, Claims> {
        // Nothing in `Claims` panics halfway through a change, so a poisoned lock holds a sound value.
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, wake: Wake) {
        if let Wake::Soon(hurry) = wake {
            self.bell.hurry.fetch_or(hurry, Ordering::Relaxed);
            self.bell.notify.notify_one();
        }
    }
}

impl Rows {
    /// The next rows that are committed and were not read yet, in order: at most `rows`, and none after the one that reaches
    /// `bytes`. They are the caller's until they are acknowledged or [`Receipts::release_above`]; the policy leaves them alone.
    ///
    /// Empty when there is nothing new, or when the reader holds a quarter of what the queue may hold: then wait with [`Rows::changed`].
    pub async fn read(&mut self, rows: usize, bytes: u64) -> Result<Vec<Entry>, StoreError> {
        let last = *self.committed.borrow_and_update();
        let (cursor, room, drops) = {
            let claims = self.shared.claims();
            (claims.cursor(), claims.room(self.most_bytes), claims.drops())
        };
        if cursor >= last || rows == 0 || room == 0 {
            return Ok(Vec::new());
        }
        let found = self
            .reader
            .read(cursor, rows, bytes.min(room))
            .await
            .map_err(|error| unreadable(&self.database, &error))?;
        let mut claims = self.shared.claims();
        if claims.drops() != drops {
            // Some of them may have been dropped, and counted so, since they were read. The commit that did it wakes whoever waits.
            return Ok(Vec::new());
        }
        if found.is_empty() {
            claims.pass(last);
        }
        let sizes = found.iter().map(|columns| (columns.n, row_bytes(columns.content_bytes())));
        if !claims.claim(sizes) {
            return Ok(Vec::new());
        }
        drop(claims);
        let corrections = self.shared.corrections();
        let entries = found.into_iter().map(super::row::Columns::check);
        if corrections.is_empty() {
            return Ok(entries.collect());
        }
        Ok(entries.map(|entry| make_right(&corrections, entry)).collect())
    }

    /// Waits for the next commit after the last [`Rows::read`]. Fails when the store is closed.
    pub async fn changed(&mut self) -> Result<(), StoreError> {
        self.committed.changed().await.map_err(|_| StoreError::Closed)
    }
}

/// What a reader says that could not read. Damage is noted down for the next start.
pub(super) fn unreadable(database: &Path, error: &DbError) -> StoreError {
    let mut problem = error.to_string();
    if error.kind == DbErrorKind::Damaged && data_dir::suspect(database).is_ok() {
        problem += "; restart the gateway: the file is then checked, and what can be read of it is salvaged";
    }
    StoreError::Database { path: database.to_owned(), problem }
}

impl Receipts {
    /// The cloud has every row up to `through`. They are deleted with the next group commit.
    pub fn acknowledge(&self, through: u64) {
        let wake = self.0.claims().acknowledge(through);
        self.0.wake(wake);
    }

    /// Row `n` can't be delivered. It is kept apart with the reason, counted and reported; to be called before the
    /// [`Receipts::acknowledge`] that passes it.
    pub fn set_aside(&self, n: u64, reason: String) {
        self.0.claims().set_aside(n, reason);
    }

    /// Gives rows above `n` back: they were read and never sent. The next [`Rows::read`] has them again.
    pub fn release_above(&self, n: u64) {
        self.0.claims().release_above(n);
    }

    /// Rows up to `through` may be in flight from an earlier life, and are not dropped before they are read: those of them that a reader could
    /// hold at once.
    pub fn protect(&self, through: u64) {
        self.0.claims().protect(through);
    }

    /// Every row at QoS 2 up to `through` has its PUBREC. Once [`Marks::recorded`] says so, PUBREL may be sent.
    pub fn record(&self, through: u64) {
        let wake = self.0.claims().record(through);
        self.0.wake(wake);
    }

    /// The cloud has lost the session: PUBRECs are recorded up to `to` and no further. Returns the number of this order; nothing may be
    /// sent before [`Marks::orders`] has come to it, or a crash could have messages released that the new session never had.
    pub fn reset_recorded(&self, to: u64) -> u64 {
        let (order, wake) = self.0.claims().reset_recorded(to);
        self.0.wake(wake);
        order
    }

    /// The session at this server is the one that counts, or none where no server is called so. Returns the number of this order; nothing may be sent
    /// before [`Marks::orders`] has come to it, or a crash could have the session thrown away that has it, or taken for one that has it.
    pub fn season(&self, server: &str) -> u64 {
        let (order, wake) = self.0.claims().season(server);
        self.0.wake(wake);
        order
    }

    /// What of this is on disk, as it changes.
    pub fn marks(&self) -> watch::Receiver<Marks> {
        self.0.marks.subscribe()
    }
}
