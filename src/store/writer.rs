//! The task that writes: gathers, commits, reports; and goes on when the disk says no.

mod commit;
mod housekeeping;
mod opening;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::batch::{Batch, MAX_ROWS};
use super::channel::{Append, CommitReport, QueueId, Refusal, Ticket, Urgency, Work};
use super::data_dir::DataDir;
use super::disk::Disk;
use super::episode::Loss;
use super::ledger::Ledger;
use super::open::Gap;
use super::pieces::{self, Pieces};
use super::queue::Bell;
use super::reception::Receptions;
use super::row::Stored;
use super::slot::Slot;
use super::sqlite::{Database, DbError};
use super::state::BrokerWrite;
use super::tenant::Tenant;
use super::upkeep::Upkeep;
use crate::clock::Clock;
use crate::model::{Monotonic, Priority, Pulse, Stamp};

pub(super) use opening::Opening;

/// After a failed write the disk is left alone for so long; what comes meanwhile is refused.
const RETRY: Duration = Duration::from_secs(1);

/// The longest that a change of the broker's state waits for its commit when nobody waits for it.
const BROKER_EVERY: Duration = Duration::from_millis(250);

/// What is left of sessions that are gone is deleted in portions, with a pause between them for whoever waits.
const PORTION_EVERY: Duration = Duration::from_millis(20);

/// Rows of a removed uplink that one commit deletes: about 10 ms of work.
const PORTION: u64 = 8192;

/// The writer task's state.
pub(super) struct Writer {
    /// Locked for as long as anything is written in it.
    data_dir: DataDir,
    database: Database,
    tenants: Vec<Tenant>,
    /// Queues of removed uplinks: their rows go a portion a commit.
    dying: Vec<i64>,
    ledger: Ledger,
    receptions: Receptions,
    /// Pieces of open batches.
    pieces: Pieces,
    clock: Clock,
    bell: Arc<Bell>,
    appends: mpsc::Receiver<Append>,
    reports: mpsc::Sender<CommitReport>,
    gaps: mpsc::Sender<Gap>,
    batch: Batch,
    /// Changes of the broker's state for the next commit, in the order they came.
    works: Vec<(Ticket, BrokerWrite)>,
    /// Tickets for the next commit of which all is to be kept or nothing.
    together: HashSet<Ticket>,
    /// The last ticket taken.
    through: Option<Ticket>,
    /// The last ticket reported, or about to be.
    reported: Option<Ticket>,
    /// What is refused with the next report whatever becomes of the commit: messages for queues that do not exist.
    astray: HashMap<Ticket, Refusal>,
    /// A report that the hub has not taken yet; later ones are merged into it, so that the hub never holds up a commit.
    report: Option<CommitReport>,
    trouble: Option<Trouble>,
    /// Of [`Writer::run`].
    pub(super) pulse: Pulse,
    disk: Disk,
    /// How many bytes more rows may take on the disk, and when that was looked at.
    room: u64,
    looked_at: Option<Monotonic>,
    upkeep: Upkeep,
    /// While the clock of this boot has not been set: when to look again.
    clock_look_at: Option<Monotonic>,
}

/// Writing fails.
struct Trouble {
    text: String,
    retry_at: Monotonic,
    /// There is no room on the disk.
    is_full: bool,
}

impl Writer {
    #[expect(clippy::too_many_arguments, reason = "one caller, and each is another end of the store")]
    pub(super) fn new(
        data_dir: DataDir,
        database: Database,
        tenants: Vec<Tenant>,
        dying: Vec<i64>,
        ledger: Ledger,
        receptions: Receptions,
        clock: Clock,
        bell: Arc<Bell>,
        appends: mpsc::Receiver<Append>,
        reports: mpsc::Sender<CommitReport>,
        gaps: mpsc::Sender<Gap>,
    ) -> Writer {
        let disk = Disk::under(data_dir.path());
        Writer {
            data_dir,
            database,
            tenants,
            dying,
            ledger,
            receptions,
            pieces: Pieces::new(pieces::one_by_line, 1, Vec::new()),
            clock,
            bell,
            appends,
            reports,
            gaps,
            batch: Batch::default(),
            works: Vec::new(),
            together: HashSet::new(),
            through: None,
            reported: None,
            astray: HashMap::new(),
            report: None,
            trouble: None,
            pulse: Pulse::default(),
            disk,
            room: u64::MAX,
            looked_at: None,
            upkeep: Upkeep::default(),
            clock_look_at: Some(Monotonic::default()),
        }
    }

    /// With the pieces of batches that were left open, which are closed at once.
    pub(super) fn with_pieces(mut self, pieces: Pieces) -> Writer {
        if pieces.has_work() {
            self.batch.within(self.clock.now(), Duration::ZERO);
        }
        Writer { pieces, ..self }
    }

    /// Runs until it is cancelled, then commits what was handed in and closes the database.
    pub(super) async fn run(
        mut self,
        mut openings: mpsc::Receiver<Opening>,
        cancel: CancellationToken,
    ) -> Result<(), DbError> {
        let mut incoming = Vec::with_capacity(MAX_ROWS);
        let mut appends_open = true;
        let reports = self.reports.clone();
        self.look_at_leftovers();
        self.upkeep.written(self.clock.now());
        loop {
            self.pulse.beat();
            let now = self.clock.now();
            self.tell_gaps(now);
            if self.batch.is_due(now) {
                self.commit().await;
                continue;
            }
            let deadline = self.deadline();
            tokio::select! {
                () = cancel.cancelled() => break,
                taken = self.appends.recv_many(&mut incoming, self.batch.room()), if appends_open => {
                    appends_open = taken > 0;
                    self.take(&mut incoming);
                }
                Some(opening) = openings.recv() => self.open(opening).await,
                () = self.bell.notify.notified() => self.acknowledgements_came(),
                permit = reports.reserve(), if self.report.is_some() => {
                    // Without anyone to report to, reports are dropped: the hub has ended.
                    if let (Ok(permit), Some(report)) = (permit, self.report.take()) {
                        permit.send(report);
                    }
                }
                () = self.clock.sleep_until(deadline.unwrap_or_default()), if deadline.is_some() => {
                    self.look_at_ages();
                    self.look_at_clock();
                    self.keep_house().await;
                }
                () = self.clock.sleep(Pulse::EVERY) => {}
            }
        }
        self.finish(incoming).await
    }

    async fn finish(mut self, mut incoming: Vec<Append>) -> Result<(), DbError> {
        self.appends.close();
        self.commit().await;
        while self.appends.recv_many(&mut incoming, MAX_ROWS).await > 0 {
            self.take(&mut incoming);
            self.commit().await;
        }
        if let Some(report) = self.report.take() {
            // The hub has ended before, or it takes this one.
            let _ = self.reports.try_send(report);
        }
        self.database.close().await
    }

    /// When something is to be done that nobody sends a word about.
    fn deadline(&self) -> Option<Monotonic> {
        let of_slots = self.slots().flat_map(|slot| [slot.age_deadline(), slot.episode.deadline()]);
        let next =
            of_slots.chain([self.batch.deadline(), self.upkeep.deadline(), self.clock_look_at]).flatten().min()?;
        Some(self.trouble.as_ref().map_or(next, |trouble| next.max(trouble.retry_at)))
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.tenants.iter().flat_map(Tenant::slots)
    }

    fn slots_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.tenants.iter_mut().flat_map(Tenant::slots_mut)
    }

    fn take(&mut self, incoming: &mut Vec<Append>) {
        let stamp = self.clock.stamp();
        for Append { ticket, what, urgency } in incoming.drain(..) {
            self.through = Some(ticket);
            match what {
                Work::Together(all) => {
                    self.together.insert(ticket);
                    // Also when there is nothing in it, its ticket is to be settled.
                    self.batch.row(stamp.monotonic, 0, urgency, BROKER_EVERY);
                    all.into_iter().for_each(|what| self.take_one(ticket, what, urgency, stamp));
                }
                what => self.take_one(ticket, what, urgency, stamp),
            }
        }
    }

    fn take_one(&mut self, ticket: Ticket, what: Work, urgency: Urgency, stamp: Stamp) {
        match what {
            Work::Message { queue, message } => {
                let Some(slot) = self.tenants.get_mut(queue.uplink).map(|tenant| tenant.slot(queue.class)) else {
                    error!(queue = queue.uplink, "a message came for a queue that does not exist; it is refused");
                    self.astray.insert(ticket, Refusal::Storage("there is no such queue".into()));
                    self.batch.within(stamp.monotonic, Duration::ZERO);
                    return;
                };
                let queued = stamp.synced.then_some(stamp.wall);
                let bytes = slot.arrive(ticket, Stored::new(message, queued));
                self.batch.row(stamp.monotonic, bytes, urgency, slot.spec.commit_every);
            }
            Work::Piece { queue, piece } => {
                let Some(slot) = self.tenants.get_mut(queue.uplink).map(|tenant| tenant.slot(queue.class)) else {
                    error!(queue = queue.uplink, "a piece came for a queue that does not exist; it is refused");
                    self.astray.insert(ticket, Refusal::Storage("there is no such queue".into()));
                    self.batch.within(stamp.monotonic, Duration::ZERO);
                    return;
                };
                let bytes = piece.message.size() as u64;
                self.batch.row(stamp.monotonic, bytes, urgency, slot.spec.commit_every);
                self.pieces.take(ticket, slot.record.id, piece);
            }
            Work::Close { queue, batch } => {
                if let Some(tenant) = self.tenants.get_mut(queue.uplink) {
                    let slot = tenant.slot(queue.class);
                    self.batch.row(stamp.monotonic, 0, urgency, slot.spec.commit_every);
                    self.pieces.close(queue, slot.record.id, batch);
                }
            }
            Work::Broker(write) => {
                self.batch.row(stamp.monotonic, write.size() as u64, urgency, BROKER_EVERY);
                self.works.push((ticket, write));
            }
            Work::Received(intake) => {
                if self.receptions.take(ticket, intake) {
                    self.batch.row(stamp.monotonic, 0, urgency, BROKER_EVERY);
                } else {
                    error!(uplink = intake.uplink, "a message came from an uplink that does not exist; it is refused");
                    self.astray.insert(ticket, Refusal::Storage("there is no such uplink".into()));
                    self.batch.within(stamp.monotonic, Duration::ZERO);
                }
            }
            Work::Together(all) => all.into_iter().for_each(|what| self.take_one(ticket, what, urgency, stamp)),
        }
    }

    fn acknowledgements_came(&mut self) {
        let hurry = self.bell.hurry.swap(false, Ordering::Relaxed);
        let every = self.tenants.iter().map(|tenant| tenant.spec.commit_every).min().unwrap_or_default();
        self.batch.within(self.clock.now(), if hurry { Duration::ZERO } else { every });
    }

    fn look_at_ages(&mut self) {
        let now = self.clock.now();
        if self.slots().any(|slot| slot.age_deadline().is_some_and(|at| at <= now)) {
            self.batch.within(now, Duration::ZERO);
        }
    }

    /// Whether something is left of what was removed.
    fn has_leftovers(&self) -> bool {
        self.ledger.has_leftovers() || !self.dying.is_empty()
    }

    /// Whether the clock was set, while that is not known.
    fn look_at_clock(&mut self) {
        let stamp = self.clock.stamp();
        if self.clock_look_at.is_none_or(|at| at > stamp.monotonic) {
            return;
        }
        self.tenants.iter_mut().for_each(|tenant| tenant.look_at_clock(stamp));
        let watches = self.slots().any(|slot| slot.clock_watch.watches());
        self.clock_look_at = watches.then_some(stamp.monotonic + RETRY);
        if self.slots().any(|slot| slot.clock_watch.pending().is_some()) {
            self.batch.within(stamp.monotonic, Duration::ZERO);
        }
    }

    fn look_at_leftovers(&mut self) {
        if self.has_leftovers() {
            self.batch.within(self.clock.now(), PORTION_EVERY);
        }
    }

    fn publish(&mut self, stamp: Stamp) {
        let text = self.trouble.as_ref().map(|trouble| trouble.text.as_str());
        for tenant in &mut self.tenants {
            tenant.publish(stamp, text);
        }
    }

    fn tell_gaps(&mut self, now: Monotonic) {
        for uplink in 0..self.tenants.len() {
            for class in Priority::ALL {
                let slot = self.tenants[uplink].slot(class);
                if let Some(loss) = slot.episode.due(now, None) {
                    slot.dirty = true;
                    self.tell(QueueId { uplink, class }, loss, now);
                    self.batch.within(now, RETRY);
                }
            }
        }
    }

    fn tell(&mut self, queue: QueueId, loss: Loss, now: Monotonic) {
        let slot = self.tenants[queue.uplink].slot(queue.class);
        info!(
            uplink = %slot.spec.name,
            messages = loss.dropped,
            reason = loss.reason.as_str(),
            "messages were given up and will not reach the cloud"
        );
        let gap = Gap { uplink: slot.spec.name.clone(), loss };
        if let Err(mpsc::error::TrySendError::Full(_)) = self.gaps.try_send(gap) {
            slot.episode.put_back(now, loss);
        }
    }
}
