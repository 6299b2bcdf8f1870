//! What an uplink has in the store: two queues, one bound for both of them, one status.
//!
//! Messages of high priority have a queue of their own, with numbers of its own, so that they need not wait for a backlog. When both
//! queues together are at `max_size`, what waits its turn makes room for what is urgent.

use std::collections::HashSet;

use tokio::sync::watch;

use super::channel::Ticket;
use super::episode::GapReason;
use super::open::QueueSpec;
use super::outcome::Outcome;
use super::policy::Bound;
use super::slot::Slot;
use super::sqlite::{Database, DbError, Transaction};
use crate::model::{Priority, QueueStatus, Stamp};

/// One uplink.
pub(super) struct Tenant {
    pub spec: QueueSpec,
    slots: [Slot; 2],
    status: watch::Sender<QueueStatus>,
}

impl Tenant {
    /// With the queue for what waits its turn, and the one for what goes before it.
    pub(super) fn new(spec: QueueSpec, slots: [Slot; 2], status: watch::Sender<QueueStatus>) -> Tenant {
        Tenant { spec, slots, status }
    }

    /// Its queue of this class.
    pub(super) fn slot(&mut self, class: Priority) -> &mut Slot {
        &mut self.slots[class as usize]
    }

    /// Both queues.
    pub(super) fn slots(&self) -> &[Slot; 2] {
        &self.slots
    }

    /// Both queues.
    pub(super) fn slots_mut(&mut self) -> &mut [Slot; 2] {
        &mut self.slots
    }

    /// Whether a commit now has something to do here.
    pub(super) fn has_work(&self, stamp: Stamp) -> bool {
        self.slots.iter().any(|slot| slot.has_work(stamp))
    }

    /// Does this uplink's part of a transaction, without the messages of `excluded` tickets; `None` when it has none. `room` is what all
    /// rows together may take on the disk beyond what they take now, in bytes; what is taken of it here is taken off.
    pub(super) async fn write(
        &mut self,
        tx: &mut Transaction<'_>,
        stamp: Stamp,
        excluded: &HashSet<Ticket>,
        room: &mut u64,
    ) -> Result<Option<[Outcome; 2]>, DbError> {
        if !self.has_work(stamp) {
            return Ok(None);
        }
        let limits = self.spec.limits;
        let [normal, high] = &mut self.slots;
        let mut of_normal = normal.reclaim(tx, stamp).await?;
        let mut of_high = high.reclaim(tx, stamp).await?;
        let before = of_normal.record.bytes + of_high.record.bytes;

        let most = limits.max_size.min(before.saturating_add(*room));
        let reason = if most < limits.max_size { GapReason::DiskFull } else { GapReason::QueueFull };
        let within = |max_size| Bound { max_size, when_full: limits.when_full, reason };
        let urgent = high.arriving_bytes(excluded, most);
        let for_normal = within(most.saturating_sub(of_high.record.bytes + urgent));
        if urgent > 0 {
            normal.yield_room(&mut of_normal, tx, stamp, &for_normal).await?;
        }
        normal.append(&mut of_normal, tx, stamp, excluded, &for_normal).await?;
        let for_high = within(most.saturating_sub(of_normal.record.bytes));
        high.append(&mut of_high, tx, stamp, excluded, &for_high).await?;

        normal.save(&mut of_normal, tx).await?;
        high.save(&mut of_high, tx).await?;
        let after = of_normal.record.bytes + of_high.record.bytes;
        *room = room.saturating_sub(after.saturating_sub(before));
        Ok(Some([of_normal, of_high]))
    }

    /// The transaction is undone.
    pub(super) fn undo(&mut self) {
        self.slots.iter_mut().for_each(Slot::undo);
    }

    /// Looks up since when the oldest row of each queue waits.
    pub(super) async fn refresh(&mut self, database: &mut Database) -> Result<(), DbError> {
        for slot in &mut self.slots {
            slot.refresh(database).await?;
        }
        Ok(())
    }

    /// Looks whether the clock was set.
    pub(super) fn look_at_clock(&mut self, stamp: Stamp) {
        self.slots.iter_mut().for_each(|slot| slot.look_at_clock(stamp));
    }

    /// Tells whoever watches how the queue is doing, and when its age is to be looked at.
    pub(super) fn publish(&mut self, stamp: Stamp, error: Option<&str>) {
        self.look_at_clock(stamp);
        let sum = |of: fn(&Slot) -> u64| self.slots.iter().map(of).sum();
        self.status.send_replace(QueueStatus {
            depth: sum(|slot| slot.record.depth),
            high: self.slots[Priority::High as usize].record.depth,
            bytes: sum(|slot| slot.record.bytes),
            oldest: self.slots.iter().filter_map(Slot::oldest).min(),
            queued: sum(Slot::queued),
            dropped: sum(|slot| slot.record.dropped),
            set_aside: sum(|slot| slot.record.set_aside),
            error: error.map(str::to_owned),
        });
    }
}
