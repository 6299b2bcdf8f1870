//! The task that writes: gathers, commits, reports; and goes on when the disk says no.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use super::batch::{Batch, MAX_ROWS};
use super::channel::{Append, CommitReport, Refusal, Ticket, Urgency, Work};
use super::data_dir::{self, DataDir};
use super::episode::Loss;
use super::ledger::{Ledger, Written};
use super::open::Gap;
use super::plan::Plan;
use super::queue::Bell;
use super::reception::{Carried, Receptions};
use super::row::Stored;
use super::slot::{Outcome, Slot};
use super::sqlite::{Database, DbError, DbErrorKind};
use super::state::BrokerWrite;
use crate::clock::Clock;
use crate::model::{Monotonic, Pulse, Stamp};

/// After a failed write the disk is left alone for so long; what comes meanwhile is refused.
const RETRY: Duration = Duration::from_secs(1);

/// The longest that a change of the broker's state waits for its commit when nobody waits for it.
const BROKER_EVERY: Duration = Duration::from_millis(250);

/// What is left of sessions that are gone is deleted in portions, with a pause between them for whoever waits.
const PORTION_EVERY: Duration = Duration::from_millis(20);

/// The writer task's state.
pub(super) struct Writer {
    /// Locked for as long as anything is written in it.
    data_dir: DataDir,
    database: Database,
    slots: Vec<Slot>,
    ledger: Ledger,
    receptions: Receptions,
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
}

/// Writing fails.
struct Trouble {
    text: String,
    retry_at: Monotonic,
}

/// What a group commit has done.
struct Done<'w> {
    outcomes: Vec<(usize, Outcome)>,
    plan: Plan<'w>,
    written: Option<Written>,
    carried: Vec<Carried>,
    refused: Vec<(Ticket, Refusal)>,
}

/// A group commit that failed.
struct Failure {
    problem: DbError,
    /// COMMIT itself was tried: what it was to commit may be on disk.
    tried: bool,
}

impl From<DbError> for Failure {
    fn from(problem: DbError) -> Failure {
        Failure { problem, tried: false }
    }
}

impl Writer {
    #[expect(clippy::too_many_arguments, reason = "one caller, and each is another end of the store")]
    pub(super) fn new(
        data_dir: DataDir,
        database: Database,
        slots: Vec<Slot>,
        ledger: Ledger,
        receptions: Receptions,
        clock: Clock,
        bell: Arc<Bell>,
        appends: mpsc::Receiver<Append>,
        reports: mpsc::Sender<CommitReport>,
        gaps: mpsc::Sender<Gap>,
    ) -> Writer {
        Writer {
            data_dir,
            database,
            slots,
            ledger,
            receptions,
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
        }
    }

    /// Runs until it is cancelled, then commits what was handed in and closes the database.
    pub(super) async fn run(mut self, cancel: CancellationToken) -> Result<(), DbError> {
        let mut incoming = Vec::with_capacity(MAX_ROWS);
        let mut appends_open = true;
        let reports = self.reports.clone();
        self.look_at_leftovers();
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
                () = self.bell.notify.notified() => self.acknowledgements_came(),
                permit = reports.reserve(), if self.report.is_some() => {
                    // Without anyone to report to, reports are dropped: the hub has ended.
                    if let (Ok(permit), Some(report)) = (permit, self.report.take()) {
                        permit.send(report);
                    }
                }
                () = self.clock.sleep_until(deadline.unwrap_or_default()), if deadline.is_some() => {
                    self.look_at_ages();
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
        let of_slots = self.slots.iter().flat_map(|slot| [slot.age_deadline(), slot.episode.deadline()]);
        let next = of_slots.chain([self.batch.deadline()]).flatten().min()?;
        Some(self.trouble.as_ref().map_or(next, |trouble| next.max(trouble.retry_at)))
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
                let Some(slot) = self.slots.get_mut(queue.0) else {
                    error!(queue = queue.0, "a message came for a queue that does not exist; it is refused");
                    self.astray.insert(ticket, Refusal::Storage("there is no such queue".into()));
                    self.batch.within(stamp.monotonic, Duration::ZERO);
                    return;
                };
                let queued = stamp.synced.then_some(stamp.wall);
                let bytes = slot.arrive(ticket, Stored::new(message, queued));
                self.batch.row(stamp.monotonic, bytes, urgency, slot.spec.commit_every);
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
        let every = self.slots.iter().map(|slot| slot.spec.commit_every).min().unwrap_or_default();
        self.batch.within(self.clock.now(), if hurry { Duration::ZERO } else { every });
    }

    fn look_at_ages(&mut self) {
        let now = self.clock.now();
        if self.slots.iter().any(|slot| slot.age_deadline().is_some_and(|at| at <= now)) {
            self.batch.within(now, Duration::ZERO);
        }
    }

    fn look_at_leftovers(&mut self) {
        if self.ledger.has_leftovers() {
            self.batch.within(self.clock.now(), PORTION_EVERY);
        }
    }

    /// One group commit, or the refusal of what was to be in it.
    async fn commit(&mut self) {
        let stamp = self.clock.stamp();
        self.batch = Batch::default();
        let works = std::mem::take(&mut self.works);
        if let Some(trouble) = self.trouble.as_ref().filter(|trouble| trouble.retry_at > stamp.monotonic) {
            // Acknowledgements and ages wait for the next try.
            self.batch.within(trouble.retry_at, Duration::ZERO);
            let text = trouble.text.clone();
            self.ledger.refuse(&works, false);
            self.refuse_arrivals(&works, &text);
        } else {
            match self.write(&works, stamp).await {
                Ok(done) => self.settle(done, stamp).await,
                Err(failure) => {
                    self.ledger.refuse(&works, failure.tried);
                    self.fail(&works, &failure.problem, stamp);
                }
            }
        }
        self.look_at_leftovers();
        // Its room is used again, unless a burst has left much.
        self.works = works;
        self.works.clear();
        self.works.shrink_to(MAX_ROWS);
    }

    async fn write<'w>(&mut self, works: &'w [(Ticket, BrokerWrite)], stamp: Stamp) -> Result<Done<'w>, Failure> {
        self.database.is_in_place()?;
        if self.trouble.is_some() {
            // A commit that failed may be on disk all the same: what the file says counts.
            self.database.reopen().await?;
            let known = self.database.records().await?;
            for slot in &mut self.slots {
                if let Some(record) = known.iter().find(|record| record.id == slot.record.id) {
                    slot.reload(record);
                }
            }
            self.ledger.reload(&mut self.database).await?;
        }
        let mut excluded = self.astray.clone();
        loop {
            let without: HashSet<Ticket> = excluded.keys().copied().collect();
            let (plan, refused) = self.ledger.plan(works, &without);
            let mut split = among(&self.together, refused.iter().cloned());
            if split.is_empty() {
                let idle = plan.is_empty() && !self.ledger.has_leftovers();
                let has_work = self.slots.iter().any(|slot| slot.has_work(stamp)) || self.receptions.has_work();
                if idle && self.trouble.is_none() && !has_work {
                    return Ok(Done { outcomes: Vec::new(), plan, written: None, carried: Vec::new(), refused });
                }
                let mut tx = self.database.begin().await?;
                let mut outcomes = Vec::new();
                for (i, slot) in self.slots.iter_mut().enumerate() {
                    outcomes.extend(slot.write(&mut tx, stamp, &without).await?.map(|outcome| (i, outcome)));
                }
                let full = outcomes.iter().flat_map(|(_, outcome)| outcome.refused.iter());
                split = among(&self.together, full.map(|ticket| (*ticket, Refusal::QueueFull)));
                if split.is_empty() {
                    let carried = self.receptions.write(&mut tx, &without).await?;
                    let written = if idle { None } else { Some(self.ledger.write(&mut tx, &plan).await?) };
                    tx.commit().await.map_err(|problem| Failure { problem, tried: true })?;
                    return Ok(Done { outcomes, plan, written, carried, refused });
                }
                drop(tx);
                self.slots.iter_mut().for_each(Slot::undo);
            }
            // A part of these can't be kept, so nothing of them is: all is planned anew without them.
            self.astray.extend(split.clone());
            excluded.extend(split);
        }
    }

    async fn settle(&mut self, done: Done<'_>, stamp: Stamp) {
        if self.trouble.take().is_some() {
            info!("the queue can be written again");
        }
        let Done { outcomes, plan, written, carried, mut refused } = done;
        self.receptions.settle(&carried);
        match written {
            Some(written) => self.ledger.settle(&plan, written),
            None => self.ledger.pass(&plan),
        }
        for (i, mut outcome) in outcomes {
            refused.extend(outcome.refused.iter().map(|ticket| (*ticket, Refusal::QueueFull)));
            let told = std::mem::take(&mut outcome.told);
            self.slots[i].settle(outcome);
            for loss in told {
                self.tell(i, loss, stamp.monotonic);
            }
        }
        self.report(refused);
        for slot in &mut self.slots {
            if let Err(problem) = slot.refresh(&mut self.database).await {
                debug!(uplink = %slot.spec.name, error = %problem, "can't look up the oldest message");
            }
        }
        self.publish(stamp);
    }

    fn fail(&mut self, works: &[(Ticket, BrokerWrite)], problem: &DbError, stamp: Stamp) {
        let text = problem.to_string();
        if self.trouble.as_ref().is_none_or(|trouble| trouble.text != text) {
            error!(error = %text, "the queue can't be written: what has to be kept is refused until it can");
            if problem.kind == DbErrorKind::Damaged {
                error!(
                    "restart the gateway: queue.db is then checked, moved aside, and what can be read of it is salvaged"
                );
                if let Err(error) = data_dir::suspect(&self.data_dir.database()) {
                    debug!(error = %error, "can't note down that the database is to be checked");
                }
            }
        }
        self.trouble = Some(Trouble { text: text.clone(), retry_at: stamp.monotonic + RETRY });
        for slot in &mut self.slots {
            slot.undo();
        }
        self.refuse_arrivals(works, &text);
        self.batch.within(stamp.monotonic, RETRY);
        self.publish(stamp);
    }

    fn refuse_arrivals(&mut self, works: &[(Ticket, BrokerWrite)], text: &str) {
        let arrivals = self.slots.iter_mut().flat_map(|slot| slot.arriving.drain(..).map(|(ticket, _)| ticket));
        let received = self.receptions.refuse();
        let tickets = arrivals.chain(works.iter().map(|(ticket, _)| *ticket)).chain(received);
        let refused = tickets.map(|ticket| (ticket, Refusal::Storage(text.to_owned()))).collect();
        self.report(refused);
    }

    /// Reports everything that was taken as settled, these as refused. Only a commit, or its failure, settles anything.
    fn report(&mut self, mut refused: Vec<(Ticket, Refusal)>) {
        self.together.clear();
        // Why it had to be refused in any case comes first.
        refused.splice(0..0, self.astray.drain());
        let Some(through) = self.through else { return };
        refused.sort_by_key(|(ticket, _)| *ticket);
        refused.dedup_by_key(|(ticket, _)| *ticket);
        if self.reported < Some(through) {
            self.reported = Some(through);
            let report = self.report.get_or_insert_default();
            report.through = through;
            report.refused.extend(refused);
        }
    }

    fn publish(&mut self, stamp: Stamp) {
        let text = self.trouble.as_ref().map(|trouble| trouble.text.as_str());
        for slot in &mut self.slots {
            slot.publish(stamp, text);
        }
    }

    fn tell_gaps(&mut self, now: Monotonic) {
        for i in 0..self.slots.len() {
            if let Some(loss) = self.slots[i].episode.due(now, None) {
                self.tell(i, loss, now);
                self.slots[i].dirty = true;
                self.batch.within(now, RETRY);
            }
        }
    }

    fn tell(&mut self, i: usize, loss: Loss, now: Monotonic) {
        let slot = &mut self.slots[i];
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

/// Those of the refused which are to be kept whole or not at all.
fn among(together: &HashSet<Ticket>, refused: impl Iterator<Item = (Ticket, Refusal)>) -> HashMap<Ticket, Refusal> {
    refused.filter(|(ticket, _)| together.contains(ticket)).collect()
}
