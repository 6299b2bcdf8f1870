//! The store: messages on disk until whoever they are for has acknowledged them.
//!
//! One SQLite database, `queue.db`, with two queues for each uplink, by priority, and the broker's sessions and retained messages; one task that writes, in group
//! commits; a handle for each queue's reader, and one for what waits for sessions. What was reported as committed is there after
//! `kill -9`, and with `durability: full` after a power cut.
//! Rows go when they are acknowledged, or by the queue's policy, which counts, logs and reports what it drops.
//!
//! - [`Append`] in, [`CommitReport`] out: the hub's side (`channel`)
//! - [`Queue`]: the uplink's side: read ahead, acknowledge, put aside. [`Reception`]: what came down through it
//! - [`BrokerWrite`] in, [`BrokerState`] out at the start, [`SessionReader`]: what the broker keeps for itself (`state`)
//! - `plan`, `ranges`: the net effect of many writes; pure. `ledger`: what is on disk of the broker, and which writes can be
//! - `policy`, `age`, `batch`, `episode`, `claims`: what is dropped, when to commit, what is told, what is in flight; pure
//! - `row`, `broker_row`, `properties`, `correction`: what a row holds, its checksum, and times that are made right when it is read
//! - `slot`, `outcome`, `tenant`, `writer`: a queue's part of a group commit, an uplink's two queues, and the task
//! - `absent`: the store when it can't be opened
//! - `open`, `roster`, `data_dir`, `salvage`: opening and closing, and what is done with a damaged file
//! - [`Peek`]: the queues for whoever looks without being the gateway
//! - [`backup`]: copies that are taken and put back
//! - `space`, `disk`, `upkeep`: how much room there is, the reserve file, and when files are made smaller
//! - `sqlite`: the only folder that names sqlx

pub mod backup;

mod absent;
mod age;
mod batch;
mod broker_row;
mod channel;
mod claims;
mod correction;
mod data_dir;
mod disk;
mod episode;
mod error;
mod ledger;
mod open;
mod outcome;
mod peek;
mod pieces;
mod plan;
mod policy;
mod properties;
mod queue;
mod ranges;
mod reception;
mod record;
mod roster;
mod row;
mod salvage;
mod session_reader;
mod slot;
mod space;
mod sqlite;
mod state;
mod tenant;
mod upkeep;
mod writer;

pub use channel::{Append, CommitReport, QueueId, Refusal, Ticket, Urgency, Work};
pub use episode::{GapReason, Loss};
pub use error::StoreError;
pub use open::{Gap, NewQueue, Opened, QueueSpec, Store};
pub use peek::{Aside, Peek, QueueOnDisk};
pub use pieces::{Bundler, Piece};
pub use policy::{Limits, ROW_OVERHEAD};
pub use queue::{Lane, Marks, Queue, Receipts, Rows};
pub use reception::{Intake, Reception};
pub use row::{Entry, Row};
pub use session_reader::{Page, SessionReader};
pub use state::{
    BrokerState, BrokerWrite, SessionId, SessionRecord, SessionState, StoredDelivery, StoredRetained,
    StoredSubscription,
};
