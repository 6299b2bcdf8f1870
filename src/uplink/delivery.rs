//! Delivery at QoS 1: which row goes next, with which packet id, and up to where the cloud has everything. Pure.
//!
//! Start and reconnect are one path. Rows go out in their order; what is not acknowledged when a connection ends is sent again
//! on the next one, with DUP when the cloud still has the session. The packet id follows from the row's number, so that a row has
//! the same one after a crash.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;

use bytes::BytesMut;

use super::envelope::{Envelope, Unfit};
use super::verdict::{self, Verdict};
use crate::model::{Message, Priority, QoS, Timestamp};
use crate::mqtt::{Ack, Acked, Codec, CodecError, Outbound, Reason, Resend, SendError};
use crate::store::{Entry, Row};

/// Packet ids 1 to this belong to rows; those above to whatever else is sent.
pub(super) const ROW_IDS: u16 = 60_000;

/// Of these, ids 1 to this belong to rows of normal priority, the others to those of high priority.
const NORMAL_IDS: u16 = 50_000;

/// The packet ids of a class of rows.
pub(super) const fn ids(class: Priority) -> RangeInclusive<u16> {
    match class {
        Priority::Normal => 1..=NORMAL_IDS,
        Priority::High => NORMAL_IDS + 1..=ROW_IDS,
    }
}

/// A message that was refused without a clear reason is put aside after so many tries.
const TRIES: u8 = 5;

/// What the cloud said about itself in CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    /// It still has the session: what is sent again is a repetition to it.
    pub session_present: bool,
    /// The most it takes at once.
    pub receive_maximum: u16,
}

/// Something that the task has to carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// This row will not be delivered.
    SetAside { n: u64, reason: String },
    /// The connection is to be ended and made again after a while.
    ComeBackLater(Reason),
}

/// The rows of one queue on their way to the cloud.
#[derive(Debug)]
pub(super) struct Delivery {
    class: Priority,
    outbound: Outbound<Row>,
    /// Read ahead, not sent.
    waiting: VecDeque<Entry>,
    /// The last row that was taken off `waiting`.
    passed: u64,
    /// Rows up to here may have been sent before this process started.
    suspect: u64,
    session_present: bool,
    envelope: Envelope,
    refusals: HashMap<u64, u8>,
    events: VecDeque<Event>,
    sent: u64,
    acknowledged: u64,
}

impl Delivery {
    /// Every row up to `done` is acknowledged; rows up to `last` were there before the start. `window` rows may be in flight.
    pub(super) fn new(class: Priority, window: u16, done: u64, last: u64, envelope: Envelope) -> Delivery {
        let ids = ids(class);
        let many = ids.end() - ids.start() + 1;
        Delivery {
            class,
            outbound: Outbound::new(window.min(many), ids),
            waiting: VecDeque::new(),
            passed: done,
            // Acknowledgements come in any order and are recorded late, but no row can have been sent whose id still belonged to another.
            suspect: last.min(done + u64::from(many)),
            session_present: false,
            envelope,
            refusals: HashMap::new(),
            events: VecDeque::new(),
            sent: 0,
            acknowledged: 0,
        }
    }

    /// A CONNACK came.
    pub(super) fn connected(&mut self, peer: Peer) {
        self.session_present = peer.session_present;
        self.outbound.connected(peer.receive_maximum);
    }

    /// The connection is gone. What was read ahead and not sent is forgotten, so that the queue's policy may have it: rows above
    /// the returned number are to be given back. Events stay: a row that was put aside is not in flight any more.
    pub(super) fn disconnected(&mut self) -> u64 {
        self.waiting.clear();
        self.passed
    }

    /// Whether the cloud of this connection keeps retained messages.
    pub(super) fn set_retain_available(&mut self, available: bool) {
        self.envelope.set_retain_available(available);
    }

    /// Appends a message that is in no queue, at its own level; the packet id is 0 at QoS 0 and else above [`ROW_IDS`].
    pub(super) fn write_plain(
        &self,
        codec: &Codec,
        message: &Message,
        packet_id: u16,
        out: &mut BytesMut,
    ) -> Result<(), CodecError> {
        self.envelope.write_plain(codec, message, packet_id, out)
    }

    /// Rows that were read, in order.
    pub(super) fn offer(&mut self, entries: Vec<Entry>) {
        self.waiting.extend(entries);
    }

    /// Rows that wait to be sent.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Writes what may go now to `out`, until it holds `enough` bytes, and at most so many messages. True when something was written.
    pub(super) fn send(
        &mut self,
        codec: &Codec,
        wall: Option<Timestamp>,
        enough: usize,
        most: usize,
        out: &mut BytesMut,
    ) -> bool {
        let before = out.len();
        let last = self.sent.saturating_add(most as u64);
        self.resend(codec, wall, enough, last, out);
        while out.len() < enough && self.sent < last && self.outbound.can_send() {
            let Some(entry) = self.waiting.pop_front() else { break };
            let row = match entry {
                Entry::Whole(row) => row,
                Entry::Damaged { n, why } => {
                    self.passed = n;
                    self.events.push_back(Event::SetAside { n, reason: format!("damaged on disk: {why}") });
                    continue;
                }
            };
            let (n, id) = (row.n, packet_id(self.class, row.n));
            if self.outbound.id_in_use(id) {
                // A row of many thousand numbers ago has it. Its turn comes when that one is acknowledged.
                self.waiting.push_front(Entry::Whole(row));
                break;
            }
            let dup = self.session_present && n <= self.suspect;
            if let Err(unfit) = self.envelope.write(codec, &row, id, dup, wall, out) {
                self.passed = n;
                self.set_aside(n, &unfit);
                continue;
            }
            match self.outbound.send_as(id, row, QoS::AtLeastOnce) {
                Ok(()) => (self.passed, self.sent) = (n, self.sent + 1),
                // Neither can be: both were looked at above.
                Err(SendError::Later(row) | SendError::IdInUse(row)) => {
                    self.waiting.push_front(Entry::Whole(row));
                    break;
                }
            }
        }
        out.len() > before
    }

    fn resend(&mut self, codec: &Codec, wall: Option<Timestamp>, enough: usize, last: u64, out: &mut BytesMut) {
        while out.len() < enough && self.sent < last {
            // Nothing was sent at QoS 2, so nothing is repeated as PUBREL.
            let Some(Resend::Publish(id, row)) = self.outbound.next_resend() else { return };
            let n = row.n;
            match self.envelope.write(codec, row, id, self.session_present, wall, out) {
                Ok(()) => self.sent += 1,
                // The cloud takes less than on the last connection.
                Err(unfit) => {
                    self.outbound.withdraw(id);
                    self.set_aside(n, &unfit);
                }
            }
        }
    }

    /// Takes a PUBACK. True when a row is settled by it.
    pub(super) fn acknowledge(&mut self, ack: Ack) -> bool {
        let verdict = verdict::of_puback(ack.reason);
        if verdict == Verdict::Taken {
            return match self.outbound.acknowledge(ack.packet_id) {
                Acked::Message(row) => {
                    self.acknowledged += 1;
                    self.refusals.remove(&row.n);
                    true
                }
                Acked::Unknown => false,
            };
        }
        let Some(n) = self.outbound.iter().find(|(id, _)| *id == ack.packet_id).map(|(_, row)| row.n) else {
            return false;
        };
        let tries = self.refusals.entry(n).or_default();
        *tries = tries.saturating_add(1);
        if verdict == Verdict::Never || (verdict == Verdict::Doubtful && *tries >= TRIES) {
            self.outbound.acknowledge(ack.packet_id);
            self.refusals.remove(&n);
            self.events.push_back(Event::SetAside { n, reason: format!("the cloud refused it: {}", ack.reason) });
            return true;
        }
        self.events.push_back(Event::ComeBackLater(ack.reason));
        false
    }

    fn set_aside(&mut self, n: u64, unfit: &Unfit) {
        self.events.push_back(Event::SetAside { n, reason: unfit.to_string() });
    }

    /// What is to be carried out, before [`Delivery::done`] is acted upon.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Every row up to here is settled: the cloud has it, or it was put aside.
    pub(super) fn done(&self) -> u64 {
        self.outbound.oldest().map_or(self.passed, |(_, row)| row.n - 1)
    }

    /// Rows of other queues that take a part of the window now.
    pub(super) fn share_window(&mut self, others: u16) {
        self.outbound.share_window(others);
    }

    /// Rows on the wire of this connection.
    pub(super) fn on_wire(&self) -> u16 {
        self.outbound.on_wire()
    }

    /// Whether the cloud takes one more message at once.
    pub(super) fn has_room(&self) -> bool {
        self.outbound.has_room()
    }

    /// Whether an acknowledgement can be expected on this connection.
    pub(super) fn awaits_ack(&self) -> bool {
        self.outbound.awaits_ack()
    }

    /// PUBLISH packets written, repetitions included.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Rows that the cloud acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }
}

/// The packet id of a row, one of [`ids`].
fn packet_id(class: Priority, n: u64) -> u16 {
    let ids = ids(class);
    let many = u64::from(ids.end() - ids.start()) + 1;
    // The remainder is below their number.
    ids.start() + (n % many) as u16
}
