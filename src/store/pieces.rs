//! Pieces of batches, as the writer has them: kept one by one as they come, and made one row of their queue when their batch closes.
//!
//! What a batch holds is what is on disk of it: a piece whose commit failed is in none. Pieces go and the row comes in one transaction.

use std::collections::HashSet;

use tracing::error;

use super::channel::{QueueId, Ticket};
use super::row::{Stored, seal};
use super::sqlite::{Database, DbError, Transaction};
use crate::model::{Message, QoS, Stamp, Topic};

/// Puts the pieces of a batch together; the number is the batch's [`Piece::bundle`].
pub type Bundler = fn(u8, &[Vec<u8>]) -> Vec<u8>;

/// A line each, for whoever has no batches.
pub(super) fn one_by_line(_: u8, pieces: &[Vec<u8>]) -> Vec<u8> {
    pieces.join(&b'\n')
}

/// A part of a message that is not complete.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The batch: a number that no other batch of its queue has.
    pub batch: u64,
    /// How its pieces are put together.
    pub bundle: u8,
    /// Topic, QoS and retain flag of the batch; the payload is this piece.
    pub message: Message,
}

/// The ticket of a message that a batch has become: nobody waits for it.
pub(super) const CLOSED: Ticket = Ticket(u64::MAX);

/// As it lies in the table.
#[derive(Debug, Clone)]
pub(super) struct PieceRow {
    pub id: u64,
    pub queue: i64,
    pub batch: u64,
    pub bundle: u8,
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub crc32: u32,
}

impl PieceRow {
    fn of(id: u64, queue: i64, piece: &Piece) -> PieceRow {
        let Piece { batch, bundle, message } = piece;
        let mut row = PieceRow {
            id,
            queue,
            batch: *batch,
            bundle: *bundle,
            topic: message.topic.to_string(),
            payload: message.payload.to_vec(),
            qos: message.qos as u8,
            retain: message.retain,
            crc32: 0,
        };
        row.crc32 = row.checksum();
        row
    }

    fn checksum(&self) -> u32 {
        let numbers =
            [self.id.cast_signed(), self.batch.cast_signed(), self.bundle.into(), self.qos.into(), self.retain.into()];
        seal(b'P', &numbers, &[Some(self.topic.as_bytes()), Some(&self.payload)])
    }

    /// Whether it is as it was written.
    pub(super) fn is_whole(&self) -> bool {
        self.checksum() == self.crc32
    }

    /// The same for another queue and under another number.
    pub(super) fn moved(mut self, id: u64, queue: i64) -> PieceRow {
        (self.id, self.queue) = (id, queue);
        self.crc32 = self.checksum();
        self
    }
}

/// A batch that is to be closed.
#[derive(Debug)]
struct Closing {
    queue: QueueId,
    id: i64,
    batch: u64,
    /// What it came to in a transaction whose outcome is not known.
    made: Option<Stored>,
}

/// All pieces that wait for the writer.
pub(super) struct Pieces {
    bundler: Bundler,
    next_id: u64,
    arriving: Vec<(Ticket, i64, Piece)>,
    closing: Vec<Closing>,
}

impl Pieces {
    /// With the batches that were left open, which are closed at once.
    pub(super) fn new(bundler: Bundler, next_id: u64, open: Vec<(QueueId, i64, u64)>) -> Pieces {
        let closing = open.into_iter().map(|(queue, id, batch)| Closing { queue, id, batch, made: None }).collect();
        Pieces { bundler, next_id, arriving: Vec::new(), closing }
    }

    /// Whether a commit has something to do here.
    pub(super) fn has_work(&self) -> bool {
        !self.arriving.is_empty() || !self.closing.is_empty()
    }

    /// Takes a piece for the next commit, for the queue with this id.
    pub(super) fn take(&mut self, ticket: Ticket, id: i64, piece: Piece) {
        self.arriving.push((ticket, id, piece));
    }

    /// Has a batch closed with the next commit.
    pub(super) fn close(&mut self, queue: QueueId, id: i64, batch: u64) {
        self.closing.push(Closing { queue, id, batch, made: None });
    }

    /// Does its part of a transaction, without the pieces of `excluded` tickets. Returns the messages that batches have become.
    pub(super) async fn write(
        &mut self,
        tx: &mut Transaction<'_>,
        stamp: Stamp,
        excluded: &HashSet<Ticket>,
    ) -> Result<Vec<(QueueId, Stored)>, DbError> {
        let kept = self.arriving.iter().filter(|(ticket, ..)| !excluded.contains(ticket));
        let rows: Vec<PieceRow> =
            kept.zip(self.next_id..).map(|((_, queue, piece), id)| PieceRow::of(id, *queue, piece)).collect();
        tx.add_pieces(&rows).await?;
        let mut closed = Vec::new();
        for closing in &mut self.closing {
            let rows = tx.take_pieces(closing.id, closing.batch).await?;
            if let Some(stored) = put_together(self.bundler, rows, stamp) {
                closing.made = Some(stored);
            }
            closed.extend(closing.made.clone().map(|stored| (closing.queue, stored)));
        }
        Ok(closed)
    }

    /// The transaction is committed.
    pub(super) fn settle(&mut self) {
        self.next_id += self.arriving.len() as u64;
        self.arriving.clear();
        self.closing.clear();
    }

    /// Nothing of it was kept, as far as is known: the tickets of the pieces. Batches are closed with a later commit.
    pub(super) fn refuse(&mut self, tried: bool) -> Vec<Ticket> {
        if !tried {
            self.closing.iter_mut().for_each(|closing| closing.made = None);
        }
        self.arriving.drain(..).map(|(ticket, ..)| ticket).collect()
    }

    /// Takes away what a commit has left that was reported as failed.
    pub(super) async fn reload(&mut self, database: &mut Database) -> Result<(), DbError> {
        database.forget_pieces_from(self.next_id).await
    }
}

/// The message that a batch's pieces make; `None` when there is none.
fn put_together(bundler: Bundler, rows: Vec<PieceRow>, stamp: Stamp) -> Option<Stored> {
    let found = rows.len();
    let whole: Vec<PieceRow> = rows.into_iter().filter(PieceRow::is_whole).collect();
    if whole.len() < found {
        error!(pieces = found - whole.len(), "pieces of a batch are damaged on disk and left out");
    }
    let first = whole.first()?;
    let topic = Topic::new(&first.topic).ok()?;
    let qos = QoS::from_number(first.qos)?;
    let (bundle, retain) = (first.bundle, first.retain);
    let payloads: Vec<Vec<u8>> = whole.into_iter().map(|row| row.payload).collect();
    let message = Message::new(topic, bundler(bundle, &payloads), qos, retain);
    Some(Stored::new(message, stamp.synced.then_some(stamp.wall)))
}
