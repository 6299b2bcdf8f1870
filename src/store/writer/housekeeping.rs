//! What the writer does for the disk: room is looked at before it is gone, the reserve is kept, the file and its log are made small again.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::Writer;
use crate::model::Monotonic;
use crate::store::space::Files;
use crate::store::sqlite::DbError;
use crate::store::upkeep::Chore;

/// So old a look at the disk may be when rows are written: what is written in that time is well below what is left free.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl Writer {
    /// Looks how much room there is on the disk, if rows wait and it was not just done.
    pub(super) async fn look_at_space(&mut self, now: Monotonic) {
        let recently = self.looked_at.is_some_and(|last| now.since(last) < LOOK_EVERY);
        let comes = !self.works.is_empty() || self.slots().any(|slot| !slot.arriving.is_empty());
        if comes && !recently {
            self.measure_room(now).await;
        }
    }

    async fn measure_room(&mut self, now: Monotonic) {
        self.looked_at = Some(now);
        // Whatever is wrong will show when something is written.
        let Ok(files) = self.files().await else { return };
        let Ok(space) = self.disk.look(files) else { return };
        self.room = space.room();
        self.ledger.set_room(self.room);
        if space.can_reserve() {
            match self.disk.make_reserve(space.reserve()) {
                Ok(()) => debug!(bytes = space.reserve(), "queue.reserve holds room on the disk"),
                Err(error) => debug!(%error, "can't make queue.reserve"),
            }
        }
    }

    async fn files(&mut self) -> Result<Files, DbError> {
        let (pages, unused) = self.database.figures().await?;
        let length = |path: PathBuf| fs::metadata(path).map_or(0, |file| file.len());
        Ok(Files { pages, unused, file: length(self.data_dir.database()), log: length(self.data_dir.log()) })
    }

    /// The disk is full all the same: gives the reserve back, so that what was delivered can be deleted.
    pub(super) fn make_way(&mut self) {
        self.room = 0;
        self.looked_at = None;
        if self.disk.release() {
            warn!("the disk is full: queue.reserve is given back to it, so that what was delivered can be deleted");
        }
    }

    /// Looks after the files, when it is time to.
    pub(super) async fn keep_house(&mut self) {
        let now = self.clock.now();
        if self.trouble.is_some() || !self.upkeep.is_due(now) {
            return;
        }
        self.measure_room(now).await;
        if let Err(problem) = self.do_chores(now).await {
            debug!(error = %problem, "queue.db can't be made smaller now");
        }
    }

    async fn do_chores(&mut self, now: Monotonic) -> Result<(), DbError> {
        let files = self.files().await?;
        match self.upkeep.chore(now, files) {
            Some(Chore::Rebuild) => {
                self.database.rebuild().await?;
                let took = self.clock.now().since(now);
                let (left, _) = self.database.figures().await?;
                info!(from = files.pages, to = left, ms = took.as_millis(), "queue.db was made smaller");
            }
            Some(Chore::CutLog) => self.database.cut_log().await?,
            None => {}
        }
        Ok(())
    }
}
