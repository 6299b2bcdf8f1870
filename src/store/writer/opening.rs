//! Queues that come while the store is open: those of an uplink that is new, or that begins anew with other bounds.

use tokio::sync::oneshot;

use super::super::open::{NewQueue, accounted, move_in};
use super::super::sqlite::DbError;
use super::super::{QueueSpec, roster};
use super::Writer;

/// An uplink's queues are wanted.
pub(in crate::store) struct Opening {
    /// Whose, and with which bounds.
    pub spec: QueueSpec,
    /// What became of it; the words say why not.
    pub done: oneshot::Sender<Result<NewQueue, String>>,
}

impl Writer {
    pub(super) async fn open(&mut self, Opening { spec, done }: Opening) {
        self.commit().await;
        let opened = match &self.trouble {
            Some(trouble) => Err(trouble.text.clone()),
            None => self.open_queue(spec).await.map_err(|error| error.to_string()),
        };
        // Whoever asked may have given up; the queue is there all the same.
        let _ = done.send(opened);
    }

    /// Opens an uplink's queues. Those that are open already begin anew: whoever read them has ended, and what it had acknowledged has just
    /// been committed.
    async fn open_queue(&mut self, spec: QueueSpec) -> Result<NewQueue, DbError> {
        let known = self.tenants.iter().position(|tenant| tenant.spec.name == spec.name);
        let records = match known {
            Some(at) => self.tenants[at].slots().each_ref().map(|slot| slot.record.clone()),
            None => roster::take_in(&mut self.database, &spec).await?,
        };
        self.database.harden(spec.durability).await?;
        let others = self.tenants.iter().map(|tenant| &tenant.spec).filter(|other| other.name != spec.name);
        let most = accounted(others.chain([&spec]));
        self.database.limit(most).await?;

        let stamp = self.clock.stamp();
        let (received, subscribed) = self.database.reception(records[0].id).await?;
        let id = records[0].id;
        let path = self.data_dir.database();
        let (queue, mut tenant) =
            move_in(&mut self.database, &path, spec, records, &self.bell, stamp, known.is_none()).await?;
        let uplink = known.unwrap_or(self.tenants.len());
        let reception = self.receptions.put(uplink, id, received, subscribed, self.bell.clone());
        match self.tenants.get_mut(uplink) {
            Some(before) => {
                // What this process has found out about its clock holds.
                for (slot, known) in tenant.slots_mut().iter_mut().zip(before.slots()) {
                    slot.clock_watch = known.clock_watch.clone();
                }
                *before = tenant;
            }
            None => self.tenants.push(tenant),
        }
        Ok(NewQueue { uplink, queue, reception })
    }
}
