//! A group commit: all that gathered in one transaction, and what is made of its success or failure.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tracing::{debug, error, info};

use super::{MAX_ROWS, PORTION, RETRY, Trouble, Writer};
use crate::model::{Priority, Stamp};
use crate::store::batch::Batch;
use crate::store::channel::{QueueId, Refusal, Ticket};
use crate::store::data_dir;
use crate::store::ledger::Written;
use crate::store::outcome::Outcome;
use crate::store::plan::Plan;
use crate::store::reception::Carried;
use crate::store::sqlite::{DbError, DbErrorKind};
use crate::store::state::BrokerWrite;
use crate::store::tenant::Tenant;

/// What a group commit has done.
struct Done<'w> {
    outcomes: Vec<(usize, [Outcome; 2])>,
    plan: Plan<'w>,
    written: Option<Written>,
    carried: Vec<Carried>,
    refused: Vec<(Ticket, Refusal)>,
    /// A queue of which no row is left.
    dead: Option<i64>,
    /// What is left of the room on the disk.
    room: u64,
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
    /// One group commit, or the refusal of what was to be in it.
    pub(super) async fn commit(&mut self) {
        let stamp = self.clock.stamp();
        self.batch = Batch::default();
        self.look_at_space(stamp.monotonic).await;
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
            if self.trouble.as_ref().is_some_and(|trouble| trouble.is_full) {
                // With the reserve given back, what is in the log goes into the file, and the log is room again. Where that fails, the rest may not.
                let _ = self.database.cut_log().await;
            }
            let known = self.database.records().await?;
            for slot in self.slots_mut() {
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
                let has_work = self.tenants.iter().any(|tenant| tenant.has_work(stamp)) || self.receptions.has_work();
                if idle && self.dying.is_empty() && self.trouble.is_none() && !has_work {
                    return Ok(Done {
                        outcomes: Vec::new(),
                        plan,
                        written: None,
                        carried: Vec::new(),
                        refused,
                        dead: None,
                        room: self.room,
                    });
                }
                let mut tx = self.database.begin().await?;
                let mut outcomes = Vec::new();
                let mut room = self.room;
                for (i, tenant) in self.tenants.iter_mut().enumerate() {
                    let written = tenant.write(&mut tx, stamp, &without, &mut room).await?;
                    outcomes.extend(written.map(|outcomes| (i, outcomes)));
                }
                let full = outcomes.iter().flat_map(|(_, both)| both).flat_map(|outcome| outcome.refused.iter());
                split = among(&self.together, full.map(|ticket| (*ticket, Refusal::QueueFull)));
                if split.is_empty() {
                    let mut dead = None;
                    if let Some(&queue) = self.dying.first()
                        && !tx.delete_some(queue, PORTION).await?
                    {
                        dead = Some(queue);
                    }
                    let carried = self.receptions.write(&mut tx, &without).await?;
                    let written = if idle { None } else { Some(self.ledger.write(&mut tx, &plan).await?) };
                    tx.commit().await.map_err(|problem| Failure { problem, tried: true })?;
                    return Ok(Done { outcomes, plan, written, carried, refused, dead, room });
                }
                drop(tx);
                self.tenants.iter_mut().for_each(Tenant::undo);
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
        let Done { outcomes, plan, written, carried, mut refused, dead, room } = done;
        self.receptions.settle(&carried);
        if written.is_some() || !outcomes.is_empty() {
            self.upkeep.written(stamp.monotonic);
        }
        self.room = room;
        match written {
            Some(written) => self.ledger.settle(&plan, written),
            None => self.ledger.pass(&plan),
        }
        for (i, outcomes) in outcomes {
            for (class, mut outcome) in Priority::ALL.into_iter().zip(outcomes) {
                refused.extend(outcome.refused.iter().map(|ticket| (*ticket, Refusal::QueueFull)));
                let told = std::mem::take(&mut outcome.told);
                self.tenants[i].slot(class).settle(outcome);
                for loss in told {
                    self.tell(QueueId { uplink: i, class }, loss, stamp.monotonic);
                }
            }
        }
        self.report(refused);
        for tenant in &mut self.tenants {
            if let Err(problem) = tenant.refresh(&mut self.database).await {
                debug!(uplink = %tenant.spec.name, error = %problem, "can't look up the oldest message");
            }
        }
        if let Some(queue) = dead {
            self.dying.retain(|dying| *dying != queue);
            if let Err(problem) = self.database.drop_queue(queue).await {
                debug!(error = %problem, "the table of a removed uplink stays in the file until the next start");
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
        if problem.kind == DbErrorKind::Full {
            self.make_way();
        }
        let is_full = problem.kind == DbErrorKind::Full;
        self.trouble = Some(Trouble { text: text.clone(), retry_at: stamp.monotonic + RETRY, is_full });
        self.tenants.iter_mut().for_each(Tenant::undo);
        self.refuse_arrivals(works, &text);
        self.batch.within(stamp.monotonic, RETRY);
        self.publish(stamp);
    }

    fn refuse_arrivals(&mut self, works: &[(Ticket, BrokerWrite)], text: &str) {
        let received = self.receptions.refuse();
        let arrivals = self.slots_mut().flat_map(|slot| slot.arriving.drain(..).map(|(ticket, _)| ticket));
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
}

/// Those of the refused which are to be kept whole or not at all.
fn among(together: &HashSet<Ticket>, refused: impl Iterator<Item = (Ticket, Refusal)>) -> HashMap<Ticket, Refusal> {
    refused.filter(|(ticket, _)| together.contains(ticket)).collect()
}
