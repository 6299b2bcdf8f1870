//! The words between whoever has something to keep (the hub) and the writer task that keeps it.
//!
//! The hub sends [`Append`]s on a bounded channel, numbered by itself with rising tickets; the writer answers with a
//! [`CommitReport`] a group commit. Tickets are reported in order, so one number says what is safe.

use super::pieces::Piece;
use super::reception::Intake;
use super::state::BrokerWrite;
use crate::model::{Message, Priority};

/// Which queue of the store: an uplink's, and which of its two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId {
    /// An index into the list that the store was opened with.
    pub uplink: usize,
    /// Messages of high priority have a table, numbers and packet ids of their own.
    pub class: Priority,
}

impl QueueId {
    /// The queue of an uplink for what waits its turn.
    pub const fn normal(uplink: usize) -> QueueId {
        QueueId { uplink, class: Priority::Normal }
    }

    /// Its queue for what goes before that.
    pub const fn high(uplink: usize) -> QueueId {
        QueueId { uplink, class: Priority::High }
    }

    /// The queue of the same uplink for this class.
    pub const fn of(self, class: Priority) -> QueueId {
        QueueId { class, ..self }
    }
}

/// The number of one append, rising by at least one from each to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Ticket(pub u64);

/// How soon a commit is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Within the queue's `commit_every`: nobody waits for it.
    Batched,
    /// A client waits for its PUBACK: commit as soon as the writer is free.
    Awaited,
}

/// Something to keep.
#[derive(Debug, Clone)]
pub struct Append {
    /// Comes back in the report.
    pub ticket: Ticket,
    /// What.
    pub what: Work,
    /// How soon.
    pub urgency: Urgency,
}

/// What there is to keep. Everything is carried out in the order in which it is handed in.
#[derive(Debug, Clone)]
pub enum Work {
    /// A message for a queue.
    Message {
        /// Where to.
        queue: QueueId,
        /// As it will leave: topic, payload and QoS are final.
        message: Message,
    },
    /// A piece of a batch.
    Piece {
        /// Where the batch goes when it closes.
        queue: QueueId,
        /// What.
        piece: Piece,
    },
    /// A batch has all its pieces: it becomes one message of its queue.
    Close {
        /// Where it goes.
        queue: QueueId,
        /// Which.
        batch: u64,
    },
    /// A change of the broker's own state.
    Broker(BrokerWrite),
    /// The packet id of a cloud's QoS 2 message. Put it [together](Work::Together) with all that the message causes.
    Received(Intake),
    /// All of these in one commit, or none of them.
    Together(Vec<Work>),
}

impl Work {
    /// The bytes of what its publisher chose freely.
    pub fn size(&self) -> usize {
        match self {
            Work::Message { message, .. } | Work::Piece { piece: Piece { message, .. }, .. } => message.size(),
            Work::Close { .. } => 0,
            Work::Broker(write) => write.size(),
            Work::Received(_) => 0,
            Work::Together(all) => all.iter().map(Work::size).sum(),
        }
    }
}

/// What a group commit, or its failure, settled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitReport {
    /// Every ticket up to this one is settled: safe, unless it is listed below.
    pub through: Ticket,
    /// Those that were not kept, and must not be acknowledged.
    pub refused: Vec<(Ticket, Refusal)>,
}

/// Why a message was not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The queue is at `max_size` and its policy is `drop_newest`, or the message alone is larger than the queue.
    #[error("the queue is full")]
    QueueFull,
    /// The disk or the database said no.
    #[error("{0}")]
    Storage(String),
}
