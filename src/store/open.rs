//! Opening the store: the directory, the database, its queues, the writer; and closing it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::absent::absent;
use super::channel::{Append, CommitReport, QueueId};
use super::correction::{ClockWatch, Corrections};
use super::data_dir::{self, DataDir};
use super::disk::Disk;
use super::episode::Loss;
use super::ledger::Ledger;
use super::pieces::{Bundler, Pieces, one_by_line};
use super::policy::Limits;
use super::queue::{Bell, Lane, Queue, Receipts, Rows, Shared};
use super::reception::{Reception, Receptions};
use super::record::Record;
use super::roster::{self, Roster};
use super::salvage::salvage;
use super::slot::Slot;
use super::space::Files;
use super::sqlite::{Database, DbError, DbErrorKind, OpenError};
use super::tenant::Tenant;
use super::writer::{Opening, Writer};
use super::{BrokerState, SessionReader, StoreError, batch};
use crate::clock::Clock;
use crate::model::{Durability, Name, Priority, Pulse, QueueStatus, Stamp};

/// A database that was not closed is read through and checked up to this size: about 0.2 s on an SSD, 2 s on a card.
const CHECKED_BYTES: u64 = 64 << 20;

/// What deliveries and retained messages may take on disk, all together and as accounted. The broker bounds each session and what is retained;
/// this holds when there are very many of them.
const BROKER_BYTES: u64 = 1 << 30;

/// Reports of lost messages that may wait to be collected.
pub(super) const GAPS_WAITING: usize = 16;

/// Uplinks that may wait for their queues.
const OPENINGS_WAITING: usize = 4;

/// Reports of commits that may wait; when the hub is behind, they are merged.
pub(super) const REPORTS_WAITING: usize = 64;

/// The most rows that an uplink has in flight.
const LARGEST_WINDOW: u64 = 10_000;

/// How long [`Store::close`] waits for the last commit.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// One queue to open.
#[derive(Debug, Clone)]
pub struct QueueSpec {
    /// The uplink's name. The queue of that name is taken up again.
    pub name: Name,
    /// What it may hold.
    pub limits: Limits,
    /// What its commits survive. There is one writer, so the strictest queue decides for all, the broker's state included.
    pub durability: Durability,
    /// The longest that a row waits for its commit when nobody waits for it.
    pub commit_every: Duration,
}

/// Messages that an uplink will never get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The uplink whose queue they were in.
    pub uplink: Name,
    /// How many, since when, why.
    pub loss: Loss,
}

/// An open store: the ends that its users take.
pub struct Opened {
    /// To be closed last.
    pub store: Store,
    /// One a [`QueueSpec`], in their order; [`QueueId`](super::QueueId) is the index.
    pub queues: Vec<Queue>,
    /// What came through each uplink, in the same order.
    pub receptions: Vec<Reception>,
    /// What is to be kept.
    pub appends: mpsc::Sender<Append>,
    /// What is safe.
    pub reports: mpsc::Receiver<CommitReport>,
    /// What the broker had kept.
    pub broker: BrokerState,
    /// What waits for its sessions.
    pub sessions: SessionReader,
    /// What was lost by policy, once an episode.
    pub gaps: mpsc::Receiver<Gap>,
    /// Above the number of every batch that has pieces.
    pub next_batch: u64,
}

/// An uplink's queues that were opened while the store was at work.
pub struct NewQueue {
    /// Its index: [`QueueId`](super::QueueId) has it.
    pub uplink: usize,
    /// Its rows.
    pub queue: Queue,
    /// What came through it.
    pub reception: Reception,
}

/// The writer task, until it is closed.
pub struct Store {
    pub(super) openings: mpsc::Sender<Opening>,
    pub(super) writer: JoinHandle<Result<(), DbError>>,
    pub(super) cancel: CancellationToken,
    pub(super) pulse: Pulse,
    pub(super) database: PathBuf,
}

impl Store {
    /// Opens the store in `data_dir` with these queues. Both are made if they do not exist.
    ///
    /// A database that is damaged is moved aside to `queue.db.corrupt-<time>`, and what can be read of it goes into a new one; the
    /// log says so.
    pub async fn open(data_dir: &Path, queues: Vec<QueueSpec>, clock: Clock) -> Result<Opened, StoreError> {
        Store::open_with(data_dir, queues, one_by_line, clock).await
    }

    /// The same where there are batches, whose pieces are put together by `bundler`.
    pub async fn open_with(
        data_dir: &Path,
        queues: Vec<QueueSpec>,
        bundler: Bundler,
        clock: Clock,
    ) -> Result<Opened, StoreError> {
        if let Some(twice) =
            queues.iter().enumerate().find(|(i, q)| queues[..*i].iter().any(|other| other.name == q.name))
        {
            return Err(StoreError::NamedTwice(twice.1.name.to_string()));
        }
        let dir = DataDir::take(data_dir)?;
        let path = dir.database();
        let durability = queues.iter().map(|queue| queue.durability).max().unwrap_or(Durability::Full);
        let mut opened = open_or_replace(&dir, durability, &queues, clock).await;
        if opened.is_err() && is_full(data_dir) && Disk::under(data_dir).release() {
            warn!("the disk is full: queue.reserve is given back to it, so that the queue can be opened");
            opened = open_or_replace(&dir, durability, &queues, clock).await;
        }
        let (mut database, roster) = opened?;
        database.limit(accounted(queues.iter())).await.map_err(|e| in_database(&path, &e))?;
        start(dir, database, roster, queues, BROKER_BYTES, bundler, clock).await.map_err(|e| in_database(&path, &e))
    }

    /// A store that refuses everything, because of what [`Store::open`] has said. What is on disk is left alone. For a gateway that is to go on for
    /// those who are here.
    pub fn refusing(data_dir: &Path, queues: Vec<QueueSpec>, problem: &StoreError, clock: Clock) -> Opened {
        absent(data_dir, queues, problem.to_string(), clock)
    }

    /// Opens an uplink's queues while the store is at work. When it has them already, whoever read them has to have ended: they begin anew, with
    /// these bounds. They are never closed before the store is; those of an uplink that is gone are removed when it is next opened.
    pub async fn open_queue(&self, spec: QueueSpec) -> Result<NewQueue, StoreError> {
        let (done, opened) = oneshot::channel();
        self.openings.send(Opening { spec, done }).await.map_err(|_| StoreError::Closed)?;
        let opened = opened.await.map_err(|_| StoreError::Closed)?;
        opened.map_err(|problem| StoreError::Database { path: self.database.clone(), problem })
    }

    /// Beats while the writer makes progress.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Commits what was handed in, brings the log into the file and closes it, within 2 s. Whoever appends and whoever
    /// reads should have ended before.
    pub async fn close(self) -> Result<(), StoreError> {
        self.cancel.cancel();
        let problem = match tokio::time::timeout(CLOSE_WITHIN, self.writer).await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(panic)) => panic.to_string(),
            Err(_) => "the disk took more than 2 s for the last commit".into(),
        };
        Err(StoreError::Database { path: self.database, problem })
    }
}

/// Starts the writer on a database that is open.
pub(super) async fn start(
    dir: DataDir,
    mut database: Database,
    roster: Roster,
    queues: Vec<QueueSpec>,
    broker_bytes: u64,
    bundler: Bundler,
    clock: Clock,
) -> Result<Opened, DbError> {
    let path = dir.database();
    let bell = Arc::new(Bell::default());
    let mut tenants = Vec::new();
    let mut handles = Vec::new();
    let (mut receptions, mut inlets) = (Vec::new(), Receptions::default());
    let stamp = clock.stamp();
    let first = match stamp.since_boot {
        Some(since) => database.enter_boot(since.boot).await?,
        None => true,
    };
    for (spec, [normal, high]) in queues.into_iter().zip(roster.records) {
        let (received, subscribed) = database.reception(normal.id).await?;
        receptions.push(inlets.put(tenants.len(), normal.id, received, subscribed, bell.clone()));
        let (queue, tenant) = move_in(&mut database, &path, spec, [normal, high], &bell, stamp, first).await?;
        handles.push(queue);
        tenants.push(tenant);
    }

    let (highest_piece, highest_batch, open) = database.open_batches().await?;
    let ids = tenants.iter().enumerate().flat_map(|(uplink, tenant)| {
        let id = |(slot, class): (&Slot, Priority)| (slot.record.id, QueueId { uplink, class });
        tenant.slots().iter().zip(Priority::ALL).map(id).collect::<Vec<_>>()
    });
    let queue_of: HashMap<i64, QueueId> = ids.collect();
    let mut left_open = Vec::new();
    for (id, batch) in open {
        match queue_of.get(&id) {
            Some(queue) => left_open.push((*queue, id, batch)),
            None => database.forget_pieces(id).await?,
        }
    }
    let (ledger, broker) = Ledger::load(&mut database, broker_bytes).await?;
    let sessions = SessionReader::new(&database);
    let (appends, appends_rx) = mpsc::channel(batch::MAX_ROWS);
    let (reports_tx, reports) = mpsc::channel(REPORTS_WAITING);
    let (gaps_tx, gaps) = mpsc::channel(GAPS_WAITING);
    let cancel = CancellationToken::new();
    let writer =
        Writer::new(dir, database, tenants, roster.dying, ledger, inlets, clock, bell, appends_rx, reports_tx, gaps_tx)
            .with_pieces(Pieces::new(bundler, highest_piece + 1, left_open));
    let pulse = writer.pulse.clone();
    let (openings, wanted) = mpsc::channel(OPENINGS_WAITING);
    let writer = tokio::spawn(writer.run(wanted, cancel.clone()));
    let store = Store { openings, writer, cancel, pulse, database: path };
    Ok(Opened {
        store,
        queues: handles,
        receptions,
        appends,
        reports,
        broker,
        sessions,
        gaps,
        next_batch: highest_batch + 1,
    })
}

/// Both ends of an uplink's queues. `first`: no other process has had them since the machine started.
pub(super) async fn move_in(
    database: &mut Database,
    path: &Path,
    spec: QueueSpec,
    [normal, high]: [Record; 2],
    bell: &Arc<Bell>,
    stamp: Stamp,
    first: bool,
) -> Result<(Queue, Tenant), DbError> {
    let (status_tx, status) = watch::channel(QueueStatus::default());
    let (fresh, server) = (normal.fresh, normal.server.clone());
    let sent = !fresh;
    let (normal, of_normal) = open_lane(database, path, &spec, normal, bell, stamp, [first, sent]).await?;
    let (high, of_high) = open_lane(database, path, &spec, high, bell, stamp, [first, sent]).await?;
    let Lane { epoch, done, recorded, last, rows, receipts } = normal;
    let name = spec.name.clone();
    let queue = Queue { name, epoch, fresh, server, done, recorded, last, rows, receipts, high, status };
    let mut tenant = Tenant::new(spec, [of_normal, of_high], status_tx);
    tenant.refresh(database).await?;
    tenant.publish(stamp, None);
    Ok((queue, tenant))
}

/// What the database may take on the disk with these queues: rows that do not fill their pages take up to twice what they are accounted with.
pub(super) fn accounted<'a>(queues: impl Iterator<Item = &'a QueueSpec>) -> u64 {
    queues.map(|queue| queue.limits.max_size).fold(BROKER_BYTES, u64::saturating_add).saturating_mul(2)
}

/// A queue's two ends: the reader's, and the writer's. `first`: no other process has had it since the machine started; `sent`: some of it may
/// have been sent.
async fn open_lane(
    database: &mut Database,
    path: &Path,
    spec: &QueueSpec,
    record: Record,
    bell: &Arc<Bell>,
    stamp: Stamp,
    [first, sent]: [bool; 2],
) -> Result<(Lane, Slot), DbError> {
    let last = record.next_n - 1;
    let boot = stamp.since_boot.map(|since| since.boot);
    if let (0, Some(boot)) = (record.depth, boot) {
        database.forget_clocks(record.id, boot).await?;
    }
    let corrections: Corrections = database.clocks(record.id).await?.into_iter().collect();
    // A clock that is set and was before leaves nothing to be made right.
    let is_known = boot.is_none_or(|boot| corrections.contains_key(&boot));
    let nothing = stamp.synced && (first || record.depth == 0);
    let watch = ClockWatch::new(is_known || nothing, first, sent, record.done, last);
    let shared = Arc::new(Shared::new(record.done, record.recorded, corrections, bell.clone()));
    let most_bytes = spec.limits.max_size / 4;
    match database
        .reach(record.id, record.done, most_bytes, record.recorded.saturating_sub(record.done) + LARGEST_WINDOW)
        .await
    {
        Ok(reach) => shared.claims().limit_protection(reach.unwrap_or(record.done)),
        // Whoever reads those rows will see and say so.
        Err(problem) => debug!(error = %problem, "can't look up which messages may have been in flight"),
    }
    let (committed_tx, committed) = watch::channel(last);
    let rows = Rows {
        database: path.to_owned(),
        reader: database.reader(record.id),
        shared: shared.clone(),
        committed,
        most_bytes,
    };
    let receipts = Receipts(shared.clone());
    let lane = Lane { epoch: record.epoch, done: record.done, recorded: record.recorded, last, rows, receipts };
    Ok((lane, Slot::new(spec.clone(), record, shared, committed_tx, watch)))
}

/// Whether there is next to nothing left on the disk.
fn is_full(data_dir: &Path) -> bool {
    Disk::under(data_dir).look(Files::default()).is_ok_and(|space| space.free < space.reserve())
}

fn in_database(path: &Path, error: &DbError) -> StoreError {
    StoreError::Database { path: path.to_owned(), problem: error.to_string() }
}

async fn open_or_replace(
    dir: &DataDir,
    durability: Durability,
    queues: &[QueueSpec],
    clock: Clock,
) -> Result<(Database, Roster), StoreError> {
    let path = dir.database();
    let refuse = |error| match error {
        OpenError::Newer { theirs, ours } => StoreError::Newer { path: path.clone(), theirs, ours },
        OpenError::Db(problem) => in_database(&path, &problem),
    };
    // An earlier start may have been cut off before the last step.
    put_in_place(dir, clock)?;
    if fs::metadata(&path).is_ok_and(|file| file.len() == 0) {
        warn!(
            "queue.db is empty, which a power cut can do to a file that was just made; if there was something in it, it is gone, and a new one is begun"
        );
    }
    let check = dir.wants_check(CHECKED_BYTES);
    let problem = match open_all(&path, durability, check, queues).await {
        Ok(opened) => {
            dir.trust();
            return Ok(opened);
        }
        Err(OpenError::Db(problem)) if problem.kind == DbErrorKind::Damaged => problem,
        Err(other) => return Err(refuse(other)),
    };
    error!(error = %problem, "queue.db is damaged: a new one is begun with what can be read of it");
    // Whatever cuts this start off, a full disk for one, the next one salvages again. Opening may have removed the log that had this
    // one check.
    data_dir::suspect(&path).map_err(|cause| StoreError::DataDir { path: path.clone(), cause })?;
    let successor = dir.begin_successor()?;
    let mut database = Database::open(&successor, durability, false).await.map_err(refuse)?;
    let salvaged = salvage(&path, &mut database).await;
    let closed = database.close().await;
    salvaged.and(closed).map_err(|problem| in_database(&successor, &problem))?;
    dir.finish_successor()?;
    put_in_place(dir, clock)?;
    dir.trust();
    open_all(&path, durability, false, queues).await.map_err(refuse)
}

/// Moves a successor that is whole to its place, if there is one.
fn put_in_place(dir: &DataDir, clock: Clock) -> Result<(), StoreError> {
    if let Some(aside) = dir.replace(clock.wall().0 / 1000)? {
        warn!(file = %aside.display(), "the damaged queue.db was moved aside; nothing deletes it");
    }
    Ok(())
}

pub(super) async fn open_all(
    path: &Path,
    durability: Durability,
    check: bool,
    queues: &[QueueSpec],
) -> Result<(Database, Roster), OpenError> {
    let mut database = Database::open(path, durability, check).await?;
    match roster::call(&mut database, queues).await {
        Ok(roster) => Ok((database, roster)),
        Err(error) => {
            database.abandon().await;
            Err(OpenError::Db(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{QueueId, Refusal, Ticket, Urgency, Work};
    use super::*;
    use crate::model::{Message, QoS, Topic, WhenFull};

    async fn keep(opened: &mut Opened, ticket: u64) -> Option<Refusal> {
        let message = Message::new(Topic::new("t").expect("a topic"), vec![7; 4000], QoS::AtLeastOnce, false);
        let append = Append {
            ticket: Ticket(ticket),
            what: Work::Message { queue: QueueId::normal(0), message },
            urgency: Urgency::Awaited,
        };
        opened.appends.send(append).await.expect("the writer runs");
        let report = opened.reports.recv().await.expect("the writer runs");
        assert_eq!(report.through, Ticket(ticket));
        report.refused.into_iter().map(|(_, why)| why).next()
    }

    #[tokio::test]
    async fn a_full_disk_refuses_what_comes_keeps_what_is_there_and_is_noticed_when_it_has_room_again() {
        let temp = tempfile::tempdir().expect("a directory");
        let dir = DataDir::take(temp.path()).expect("ours");
        let limits = Limits { max_size: 1 << 20, max_age: Duration::from_secs(60), when_full: WhenFull::DropOldest };
        let name = Name::new("cloud").expect("a name");
        let commit_every = Duration::from_millis(1);
        let specs = vec![QueueSpec { name, limits, durability: Durability::Full, commit_every }];
        let (mut database, roster) =
            open_all(&dir.database(), Durability::Full, false, &specs).await.expect("it opens");
        database.fill_disk(4).await.expect("limited");
        let mut opened =
            start(dir, database, roster, specs, BROKER_BYTES, one_by_line, Clock::start()).await.expect("it starts");
        let status = opened.queues[0].status.clone();

        let mut kept = 0;
        let refusal = loop {
            match keep(&mut opened, kept + 1).await {
                None => kept += 1,
                Some(refusal) => break refusal,
            }
        };
        assert!(matches!(&refusal, Refusal::Storage(why) if why.contains("disk is full")), "{refusal:?}");
        assert!(kept > 0 && status.borrow().error.as_deref().is_some_and(|e| e.contains("free some space")));
        assert_eq!(status.borrow().depth, kept);
        let again = keep(&mut opened, kept + 2).await;
        assert!(matches!(again, Some(Refusal::Storage(_))), "the disk is left alone for a second: {again:?}");

        // The limit goes with the connection that had it, as space is freed.
        let mut watch = status.clone();
        let recovered = watch.wait_for(|status| status.error.is_none());
        tokio::time::timeout(Duration::from_secs(20), recovered).await.expect("by itself").expect("the writer runs");
        assert_eq!(keep(&mut opened, kept + 3).await, None);
        let rows = opened.queues[0].rows.read(100, u64::MAX).await.expect("it reads");
        assert!(rows.iter().map(super::super::Entry::n).eq(1..=kept + 1), "{rows:?}");
        opened.store.close().await.expect("it closes");
    }
}
