//! Delivery: which row goes next, with which packet id and at which level, and up to where the cloud has everything. Pure.
//!
//! Start and reconnect are one path. Rows go out in their order; what is not acknowledged when a connection ends is sent again
//! on the next one, with DUP when the cloud still has the session. The packet id follows from the row's number, so that a row has
//! the same one after a crash. At QoS 2 the PUBREC is on disk before PUBREL goes out; after a crash, what has its PUBREC is
//! released and not published again. `sending` is what goes out.

mod sending;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;

use bytes::BytesMut;

use super::envelope::{Envelope, Unfit};
use super::lane::Lane;
use super::suspicion::{Finding, Suspicion};
use super::verdict::{self, Verdict};
use crate::model::{Message, Priority, QoS, SessionLost};
use crate::mqtt::{Ack, Acked, Codec, CodecError, Outbound, Reason, Receipt};
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

/// What is known at the start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    /// Rows that may be in flight.
    pub window: u16,
    /// Every row up to here is settled.
    pub done: u64,
    /// Every row at QoS 2 up to here has its PUBREC.
    pub recorded: u64,
    /// The last row that there is.
    pub last: u64,
    pub session_lost: SessionLost,
}

/// What the cloud said about itself in CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    /// It still has the session: what is sent again is a repetition to it.
    pub session_present: bool,
    /// The most it takes at once.
    pub receive_maximum: u16,
    /// The highest level that it takes, 1 or 2.
    pub maximum_qos: QoS,
    /// Whether it keeps retained messages.
    pub retain_available: bool,
    pub topic_alias_maximum: u16,
}

/// Something that the task has to carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// This row will not be delivered.
    SetAside { n: u64, reason: String },
    /// The connection is to be ended and made again after a while.
    ComeBackLater(Reason),
}

/// What an acknowledgement comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It says nothing new.
    Nothing,
    /// It says nothing new, and this PUBREL answers it.
    Release(Ack),
    /// The cloud has the message; it is not finished.
    Received,
    /// A row is settled.
    Settled,
}

/// The rows of one queue on their way to the cloud.
#[derive(Debug)]
pub(super) struct Delivery {
    class: Priority,
    outbound: Outbound<Row>,
    lane: Lane,
    /// Read ahead, not sent.
    waiting: VecDeque<Entry>,
    /// There is nothing more to be read.
    drained: bool,
    /// Rows up to here may have been sent before this process started.
    suspect: u64,
    /// Those at QoS 2 up to here had their PUBREC then.
    recorded_before: u64,
    /// And up to here they count as delivered: the session is lost.
    assumed: u64,
    /// PUBRECs are on disk up to here.
    on_disk: u64,
    session_lost: SessionLost,
    peer: Peer,
    /// The cloud has acknowledged something on this connection.
    taken: bool,
    suspicion: Suspicion,
    envelope: Envelope,
    refusals: HashMap<u64, u8>,
    events: VecDeque<Event>,
    sent: u64,
    acknowledged: u64,
    downgraded: bool,
}

impl Delivery {
    /// Nothing is in flight in this life.
    pub(super) fn new(class: Priority, start: Start, envelope: Envelope) -> Delivery {
        let ids = ids(class);
        let many = ids.end() - ids.start() + 1;
        let Start { window, done, recorded, last, session_lost } = start;
        let peer = Peer {
            session_present: false,
            receive_maximum: 1,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            topic_alias_maximum: 0,
        };
        Delivery {
            class,
            outbound: Outbound::new(window.min(many), ids),
            lane: Lane::new(done, recorded),
            waiting: VecDeque::new(),
            drained: false,
            // Acknowledgements come in any order and are recorded late, but no row can have been sent whose id still belonged to another.
            suspect: last.min(done + u64::from(many)),
            recorded_before: recorded,
            assumed: 0,
            on_disk: recorded,
            session_lost,
            peer,
            taken: false,
            suspicion: Suspicion::default(),
            envelope,
            refusals: HashMap::new(),
            events: VecDeque::new(),
            sent: 0,
            acknowledged: 0,
            downgraded: false,
        }
    }

    /// A CONNACK came. When the cloud has lost PUBRECs that are recorded, the mark is to be taken back to the returned number; nothing may be
    /// sent, and [`Delivery::recorded`] not be called, before that is on disk.
    pub(super) fn connected(&mut self, peer: Peer) -> Option<u64> {
        self.peer = peer;
        self.taken = false;
        self.outbound.connected(peer.receive_maximum);
        self.envelope.connected(peer.retain_available, peer.topic_alias_maximum);
        let back_to = if peer.session_present { None } else { self.lose_session() };
        self.outbound.set_levels(|row| sending::level(row, peer.maximum_qos));
        back_to
    }

    fn lose_session(&mut self) -> Option<u64> {
        let recorded = self.lane.recorded().max(self.recorded_before).max(self.on_disk);
        if self.session_lost == SessionLost::AssumeDelivered {
            self.assumed = self.assumed.max(self.recorded_before);
            let released = self.outbound.stages().filter(|(.., stage)| stage.released);
            for (id, n) in released.map(|(id, row, _)| (id, row.n)).collect::<Vec<_>>() {
                self.outbound.withdraw(id);
                self.lane.settle(n);
            }
        }
        self.recorded_before = 0;
        self.outbound.forget_receipts();
        let keep = match self.session_lost {
            SessionLost::Resend => self.done(),
            SessionLost::AssumeDelivered => self.on_disk,
        };
        self.lane.forget_receipts(keep);
        (recorded > self.done()).then_some(keep)
    }

    /// The connection is gone; `by_cloud` says that the cloud closed it without a reason that has nothing to do with messages. What was read
    /// ahead and not sent is forgotten, so that the queue's policy may have it: rows above the returned number are to be given back.
    /// Events stay: a row that was put aside is not in flight any more.
    pub(super) fn disconnected(&mut self, by_cloud: bool) -> u64 {
        self.waiting.clear();
        self.drained = false;
        if self.is_in_question() && self.suspicion.ended(by_cloud, self.taken, self.lane.passed()) == Finding::Oldest {
            let oldest = self
                .outbound
                .stages()
                .find(|(.., stage)| !stage.receipted)
                .map(|(id, row, _)| (id, row.n, row.message.size()));
            if let Some((id, n, size)) = oldest {
                self.give_up(id, n, format!("the cloud closes the connection whenever it gets this message of {size} bytes, and takes others"));
            }
        }
        self.lane.passed()
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
        self.drained = false;
        self.waiting.extend(entries);
    }

    /// There are no more rows than those that were offered.
    pub(super) fn nothing_left(&mut self) {
        self.drained = true;
    }

    /// Rows that wait to be sent.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes a PUBACK.
    pub(super) fn acknowledge(&mut self, ack: Ack) -> Progress {
        if verdict::of_puback(ack.reason) != Verdict::Taken {
            return self.refused(ack, Outbound::acknowledge);
        }
        match self.outbound.acknowledge(ack.packet_id) {
            Acked::Message(row) => {
                self.suspicion.settled(row.n);
                self.settled(row.n)
            }
            Acked::Unknown => match self.outbound.refused(ack.packet_id) {
                // A broker that has no QoS 2 and no way to say so (RabbitMQ, 3.1.1) answers as if it had been QoS 1: it has the message.
                Acked::Message(row) => {
                    self.downgraded = true;
                    self.suspicion.settled(row.n);
                    self.settled(row.n)
                }
                Acked::Unknown => Progress::Nothing,
            },
        }
    }

    /// Takes a PUBREC.
    pub(super) fn receipt(&mut self, ack: Ack) -> Progress {
        if verdict::of_puback(ack.reason) != Verdict::Taken {
            return self.refused(ack, Outbound::refused);
        }
        let packet_id = ack.packet_id;
        match self.outbound.receipt(packet_id) {
            Receipt::Record(row) => {
                self.taken = true;
                self.suspicion.settled(row.n);
                self.lane.receipt(row.n);
                Progress::Received
            }
            Receipt::BeingRecorded => Progress::Nothing,
            Receipt::Again => Progress::Release(Ack::success(packet_id)),
            // Of an earlier life, or of a message that was given up: the id is to be free again.
            Receipt::Unknown => Progress::Release(Ack { packet_id, reason: Reason::PACKET_ID_NOT_FOUND }),
        }
    }

    /// Takes a PUBCOMP. One that says that the id is unknown (0x92) comes when an earlier one was lost: it is as good.
    pub(super) fn complete(&mut self, ack: Ack) -> Progress {
        match self.outbound.complete(ack.packet_id) {
            Acked::Message(row) => self.settled(row.n),
            Acked::Unknown => Progress::Nothing,
        }
    }

    fn settled(&mut self, n: u64) -> Progress {
        self.lane.settle(n);
        self.refusals.remove(&n);
        self.acknowledged += 1;
        self.taken = true;
        Progress::Settled
    }

    fn refused(&mut self, ack: Ack, finish: impl Fn(&mut Outbound<Row>, u16) -> Acked<Row>) -> Progress {
        let Some(n) = self.outbound.iter().find(|(id, _)| *id == ack.packet_id).map(|(_, row)| row.n) else {
            return Progress::Nothing;
        };
        let verdict = verdict::of_puback(ack.reason);
        let tries = self.refusals.entry(n).or_default();
        *tries = tries.saturating_add(1);
        let is_final = verdict == Verdict::Never || (verdict == Verdict::Doubtful && *tries >= TRIES);
        if !is_final {
            self.events.push_back(Event::ComeBackLater(ack.reason));
            return Progress::Nothing;
        }
        // An answer that does not belong to what was sent finishes nothing.
        if finish(&mut self.outbound, ack.packet_id) == Acked::Unknown {
            return Progress::Nothing;
        }
        self.lane.settle(n);
        self.suspicion.settled(n);
        self.refusals.remove(&n);
        self.taken = true;
        self.events.push_back(Event::SetAside { n, reason: format!("the cloud refused it: {}", ack.reason) });
        Progress::Settled
    }

    fn give_up(&mut self, packet_id: u16, n: u64, reason: String) {
        self.outbound.withdraw(packet_id);
        self.lane.settle(n);
        self.refusals.remove(&n);
        self.events.push_back(Event::SetAside { n, reason });
    }

    fn set_aside(&mut self, n: u64, unfit: &Unfit) {
        self.events.push_back(Event::SetAside { n, reason: unfit.to_string() });
    }

    /// PUBRECs are on disk up to `through`: gives `release` the packet ids whose PUBREL is to go out now.
    pub(super) fn recorded(&mut self, through: u64, mut release: impl FnMut(u16)) {
        self.on_disk = through;
        while let Some(n) = self.lane.next_release(through) {
            let id = packet_id(self.class, n);
            if self.outbound.recorded(id) {
                release(id);
            }
        }
    }

    /// Up to here, PUBRECs are to be on disk.
    pub(super) fn to_record(&self) -> u64 {
        self.lane.recorded()
    }

    /// What is to be carried out, before [`Delivery::done`] is acted upon.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Every row up to here is settled: the cloud has it, or it was put aside.
    pub(super) fn done(&self) -> u64 {
        self.lane.done()
    }

    /// Whether the cloud may have closed the connection for a row of this queue.
    pub(super) fn is_in_question(&self) -> bool {
        self.outbound.stages().any(|(.., stage)| stage.on_wire && !stage.receipted)
    }

    /// Whether rows go one at a time, to find the one that the cloud can't take.
    pub(super) fn is_on_trial(&self) -> bool {
        self.suspicion.alone().is_some()
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

    /// Whether messages at QoS 2 went out at QoS 1 since this was asked last: the cloud takes no more.
    pub(super) fn take_downgraded(&mut self) -> bool {
        std::mem::take(&mut self.downgraded)
    }
}

/// The packet id of a row, one of [`ids`].
fn packet_id(class: Priority, n: u64) -> u16 {
    let ids = ids(class);
    let many = u64::from(ids.end() - ids.start()) + 1;
    // The remainder is below their number.
    ids.start() + (n % many) as u16
}
