//! The hub's side of the store: what is to be written and read, and the answers.

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinError;
use tracing::{error, info};

use super::{HubTask, Reading};
use crate::broker::hub::PageWanted;
use crate::store::CommitReport;

/// Bytes that the store may have and not have settled before it is handed more; a larger message goes alone. More than one of its group
/// commits takes (4 MiB), so that it has the next one's messages while it writes.
const UNSETTLED: usize = 8 << 20;

/// Messages of a backlog that are read at once, and their bytes.
const PAGE_MESSAGES: usize = 512;
const PAGE_BYTES: u64 = 256 << 10;

impl HubTask {
    pub(super) fn report(&mut self, report: Option<CommitReport>) {
        match report {
            Some(report) => {
                self.unsettled.settle(report.through);
                self.hub.report(&report, self.clock.now());
                if report.refused.is_empty() && std::mem::take(&mut self.refusing) {
                    info!("messages are kept again");
                }
            }
            None => self.lose_store(),
        }
    }

    pub(super) fn lose_store(&mut self) {
        let used = !self.outlets.is_empty() || self.reader.is_some();
        if !std::mem::replace(&mut self.store_gone, true) && used {
            error!("the store has stopped; messages that have to be kept are refused from now on");
        }
        self.hub.store_is_gone(self.clock.now());
    }

    /// Has what the hub wants to see of the backlogs read.
    pub(super) fn read_pages(&mut self) {
        let Some(reader) = &self.reader else { return };
        for PageWanted { owner, from, asked } in self.hub.out.pages.drain(..) {
            let reader = reader.clone();
            let read = async move { reader.page(owner.session, from, PAGE_MESSAGES, PAGE_BYTES).await };
            self.readings.spawn(async move { (owner, asked, read.await) });
        }
    }

    pub(super) fn page_came(&mut self, read: Result<Reading, JoinError>) {
        let (owner, asked, page) = match read {
            Ok(read) => read,
            Err(error) => return error!(%error, "reading what waits for a session failed. Please report this"),
        };
        if let Err(error) = &page
            && !std::mem::replace(&mut self.unreadable, true)
        {
            error!(%error, "what waits for a session can't be read; trying again");
        }
        self.unreadable &= page.is_err();
        self.hub.page_came(owner, asked, page.ok(), self.clock.now());
    }

    /// Hands the appends to the store, taking its reports while it has no room.
    pub(super) async fn append(&mut self, reports: &mut mpsc::Receiver<CommitReport>) {
        // Its reports may have more written.
        while !self.hub.out.appends.is_empty() {
            self.hand_over(reports).await;
        }
    }

    pub(super) async fn hand_over(&mut self, reports: &mut mpsc::Receiver<CommitReport>) {
        let mut appends = std::mem::take(&mut self.hub.out.appends).into_iter();
        let store = self.appends.clone();
        let mut next = appends.next();
        while let Some(append) = next.take() {
            if self.store_gone {
                break;
            }
            let (ticket, bytes) = (append.ticket, append.what.size());
            let fits = self.unsettled.bytes() == 0 || self.unsettled.bytes() + bytes <= UNSETTLED;
            // Nearly always there is room, and then nothing has to be waited for.
            let append = match if fits { store.try_send(append) } else { Err(TrySendError::Full(append)) } {
                Ok(()) => {
                    self.unsettled.add(ticket, bytes);
                    next = appends.next();
                    continue;
                }
                Err(TrySendError::Full(append) | TrySendError::Closed(append)) => append,
            };
            tokio::select! {
                room = store.reserve(), if fits => match room {
                    Ok(room) => {
                        room.send(append);
                        self.unsettled.add(ticket, bytes);
                        next = appends.next();
                    }
                    Err(_) => break,
                },
                report = reports.recv() => {
                    next = Some(append);
                    self.report(report);
                    self.flush();
                }
            }
        }
        if self.appends.is_closed() || self.store_gone {
            self.lose_store();
            self.flush();
        }
    }
}
