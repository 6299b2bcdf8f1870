//! What the store has written, refused or read, and what follows from it for those who wait.

use super::super::durable::{AckTo, Owner};
use super::super::words::{Delivery, Key, ToClient};
use super::Hub;
use super::kept::{self, Kept};
use super::seats::Client;
use crate::model::Monotonic;
use crate::mqtt::Reason;
use crate::store::{BrokerWrite, CommitReport, Page, Refusal, Urgency};

/// A write that was refused is tried again after so long.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

impl Hub {
    /// The store has settled some appends.
    pub fn report(&mut self, report: &CommitReport, now: Monotonic) {
        let mut messages = report.refused.len() as u64;
        let mut settled = Vec::new();
        self.durable.report(report, |ack, refusal| settled.push((ack, refusal.cloned())));
        for (ack, refusal) in settled {
            if refusal.is_some() {
                messages = messages.saturating_sub(u64::from(!ack.is_message()));
                self.again_at.get_or_insert(now + AGAIN);
            }
            self.settle(ack, refusal, Reason::SUCCESS, now);
        }
        if messages > 0 {
            self.out.refused.0 += messages;
            self.out.refused.1 = report.refused.first().map(|(_, refusal)| refusal.clone());
        }
        self.look_for_pages();
    }

    /// No report will come any more: nothing that waits is safe.
    pub fn store_is_gone(&mut self, now: Monotonic) {
        self.store_gone = true;
        let report = self.durable.refuse_all("the store has stopped");
        self.report(&report, now);
        self.again.clear();
    }

    /// Whatever waited is on disk, or refused. `success` is for a publisher whose message is safe.
    pub(super) fn settle(&mut self, ack: AckTo, refusal: Option<Refusal>, success: Reason, now: Monotonic) {
        let reason = if refusal.is_some() { Reason::QUOTA_EXCEEDED } else { success };
        match ack {
            AckTo::Client(key, received) => self.tell(key, ToClient::Release(received, reason)),
            AckTo::Intake(owner, packet_id) => {
                let Some((_, kept)) = self.owned(owner) else { return };
                if let Some((key, received)) = kept.intake.settle(packet_id, refusal.is_some()) {
                    self.tell(key, ToClient::Release(received, reason));
                }
            }
            AckTo::Local(token) | AckTo::Once(token, _) => self.out.settled.push((token, refusal.map_or(Ok(()), Err))),
            AckTo::Admission(key) => {
                // Who wants nothing kept is let in whatever the disk says.
                let is_clean = self.seats.client(key).is_some_and(|client| client.kept.is_none());
                self.admit(key, is_clean || refusal.is_none(), now);
            }
            AckTo::Request(number) => self.answer(number, refusal.is_none()),
            AckTo::Owed(owner, n, cost) => {
                let Some((_, kept)) = self.owned(owner) else { return };
                match refusal {
                    None => kept.outflow.committed(n),
                    Some(_) => kept.outflow.refused(n, cost),
                }
                self.hand(owner.seat);
            }
            AckTo::Recorded(owner, n) => {
                let write = BrokerWrite::Recorded { session: owner.session, n };
                let Some((key, kept)) = self.owned(owner) else { return };
                if refusal.is_some() {
                    return self.again.push((write, ack));
                }
                if kept.outflow.recorded(n) {
                    self.tell(key, ToClient::Recorded(n));
                }
                self.hand(owner.seat);
            }
            AckTo::Released(owner, packet_id) => {
                let write = BrokerWrite::Released { session: owner.session, packet_id };
                let Some((key, kept)) = self.owned(owner) else { return };
                if refusal.is_some() {
                    return self.again.push((write, ack));
                }
                kept.intake.forget(packet_id);
                self.tell(key, ToClient::Complete(packet_id));
            }
            AckTo::Nobody => {}
        }
    }

    /// A page of a backlog was read; `None` when that failed.
    pub fn page_came(&mut self, owner: Owner, asked: u64, page: Option<Page>, now: Monotonic) {
        let wall = self.wall;
        let Some((_, kept)) = self.owned(owner) else { return };
        let Some(Page { deliveries, damaged, next }) = page else {
            kept.outflow.not_read(asked);
            self.awaiting_commit.push(owner);
            self.again_at.get_or_insert(now + AGAIN);
            return;
        };
        let mut rows: Vec<(u64, Option<Delivery>)> = damaged.into_iter().map(|(n, _)| (n, None)).collect();
        rows.extend(deliveries.into_iter().map(|(n, stored)| (n, Some(kept::delivery(stored, wall, now)))));
        rows.sort_by_key(|(n, _)| *n);
        let damaged = kept.outflow.load(asked, rows, next.is_some());
        let last_ticket = kept.last_ticket;
        self.awaiting_commit.push(owner);
        if self.durable.is_settled(last_ticket) {
            // No report is to come for it: what was committed while the page was read is there now.
            self.look_for_pages();
        }
        self.out.damaged += damaged.len() as u64;
        for n in damaged {
            self.write(BrokerWrite::Done { session: owner.session, n }, Urgency::Batched, AckTo::Nobody);
        }
        self.hand(owner.seat);
    }

    /// Sessions that have read everything that was committed look whether there is more.
    pub(super) fn look_for_pages(&mut self) {
        for owner in std::mem::take(&mut self.awaiting_commit) {
            if let Some((_, kept)) = self.owned(owner)
                && kept.outflow.look_again()
            {
                self.hand(owner.seat);
            }
        }
    }

    /// The session that was meant, if it is still there: with it, the key of its last connection.
    pub(super) fn owned(&mut self, owner: Owner) -> Option<(Key, &mut Kept)> {
        let (key, Client { kept, .. }) = self.seats.occupant(owner.seat)?;
        let kept = kept.as_deref_mut().filter(|kept| kept.id == owner.session)?;
        Some((key, kept))
    }
}
