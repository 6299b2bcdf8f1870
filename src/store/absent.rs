//! The store when it can't be opened: nothing is kept, and nobody is told that it was. The gateway goes on for those who are here.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::batch::MAX_ROWS;
use super::channel::{Append, CommitReport, Refusal};
use super::data_dir::DataDir;
use super::open::{GAPS_WAITING, Opened, QueueSpec, REPORTS_WAITING, Store};
use super::queue::{Bell, Lane, Queue, Receipts, Rows, Shared};
use super::reception::Receptions;
use super::sqlite::{PageReader, Reader};
use super::{BrokerState, SessionReader};
use crate::clock::Clock;
use crate::model::{Pulse, QueueStatus};

/// The ends of a store that refuses everything because of `problem`. What is on disk is left alone, and the queues look empty.
pub(super) fn absent(data_dir: &Path, queues: Vec<QueueSpec>, problem: String, clock: Clock) -> Opened {
    let database = data_dir.join("queue.db");
    let bell = Arc::new(Bell::default());
    let (mut handles, mut receptions, mut inlets) = (Vec::new(), Vec::new(), Receptions::default());
    // They are held so that nobody takes the store for one that was closed.
    let mut held = Vec::new();
    for spec in queues {
        let lane = || {
            let shared = Arc::new(Shared::new(0, 0, Default::default(), bell.clone()));
            let (committed_tx, committed) = watch::channel(0);
            let reader = Reader::new(database.clone(), 0);
            let rows = Rows { database: database.clone(), reader, shared: shared.clone(), committed, most_bytes: 0 };
            (Lane { epoch: 0, done: 0, recorded: 0, last: 0, rows, receipts: Receipts(shared) }, committed_tx)
        };
        let ((normal, first), (high, second)) = (lane(), lane());
        let (status_tx, status) =
            watch::channel(QueueStatus { error: Some(problem.clone()), ..QueueStatus::default() });
        held.push((first, second, status_tx));
        receptions.push(inlets.put(receptions.len(), 0, Vec::new(), Vec::new(), bell.clone()));
        let Lane { epoch, done, recorded, last, rows, receipts } = normal;
        // Not fresh: the session at the cloud belongs to what is on disk.
        let fresh = false;
        handles.push(Queue {
            name: spec.name,
            epoch,
            fresh,
            server: String::new(),
            done,
            recorded,
            last,
            rows,
            receipts,
            high,
            status,
        });
    }
    let (appends, mut appends_rx) = mpsc::channel::<Append>(MAX_ROWS);
    let (reports_tx, reports) = mpsc::channel(REPORTS_WAITING);
    let (gaps_tx, gaps) = mpsc::channel(GAPS_WAITING);
    let cancel = CancellationToken::new();
    let cancelled = cancel.clone();
    let pulse = Pulse::default();
    let alive = pulse.clone();
    // If the directory can be taken, no second gateway is to take it.
    let lock = DataDir::take(data_dir);
    let writer = tokio::spawn(async move {
        let _held = (held, inlets, gaps_tx, lock);
        let refuse_all = async {
            while let Some(Append { ticket, .. }) = appends_rx.recv().await {
                let refused = vec![(ticket, Refusal::Storage(problem.clone()))];
                if reports_tx.send(CommitReport { through: ticket, refused }).await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        let beat = async {
            loop {
                alive.beat();
                clock.sleep(Pulse::EVERY).await;
            }
        };
        tokio::select! {
            () = cancelled.cancelled() => {}
            () = refuse_all => {}
            () = beat => {}
        }
        Ok(())
    });
    // Nobody opens queues here: who asks for one is told that the store is closed.
    let (openings, _) = mpsc::channel(1);
    let store = Store { openings, writer, cancel, pulse, database: database.clone() };
    let sessions = SessionReader::of(PageReader::new(database));
    let broker = BrokerState::default();
    Opened { store, queues: handles, receptions, appends, reports, broker, sessions, gaps, next_batch: 1 }
}
