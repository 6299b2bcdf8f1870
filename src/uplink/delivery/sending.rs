//! What goes out: repetitions, then new rows; and one at a time while it is found out which of them the cloud can't take.

use bytes::BytesMut;

use super::{Delivery, Event, packet_id};
use crate::model::{QoS, Timestamp};
use crate::mqtt::{Ack, Codec, Packet, Resend, SendError};
use crate::store::{Entry, Row};
use crate::uplink::envelope::Head;

/// Rows that are put in flight to find one that the cloud takes, at most.
const OTHERS: usize = 1_000;

/// Where the bytes go.
struct Sink<'a> {
    codec: &'a mut Codec,
    /// Now, if the clock is set.
    wall: Option<Timestamp>,
    out: &'a mut BytesMut,
}

impl Delivery {
    /// Writes what may go now to `out`, until it holds `enough` bytes, and at most so many messages. True when something was written.
    pub(in crate::uplink) fn send(
        &mut self,
        codec: &mut Codec,
        wall: Option<Timestamp>,
        enough: usize,
        most: usize,
        out: &mut BytesMut,
    ) -> bool {
        let (before, last) = (out.len(), self.sent.saturating_add(most as u64));
        let mut sink = Sink { codec, wall, out };
        if let Some(behind) = self.suspicion.alone() {
            if most > 0 {
                self.send_one(behind, &mut sink);
            }
            return sink.out.len() > before;
        }
        while sink.out.len() < enough
            && self.sent < last
            && let Some(resend) = self.outbound.next_resend()
        {
            let again = match resend {
                Resend::Publish(id, row) => Again::Publish(id, row.clone()),
                Resend::PubRel(id) => Again::PubRel(id),
            };
            self.repeat(again, &mut sink);
        }
        while sink.out.len() < enough && self.sent < last && self.outbound.can_send() && self.send_next(&mut sink) {}
        sink.out.len() > before
    }

    fn repeat(&mut self, again: Again, sink: &mut Sink<'_>) {
        match again {
            Again::PubRel(id) => release(id, sink),
            Again::Publish(id, row) => {
                let (n, once) = (row.n, row.message.qos == QoS::ExactlyOnce);
                let dup = self.peer.session_present && !self.refusals.contains_key(&n);
                let head = Head { packet_id: id, dup, qos: self.level(&row) };
                match self.envelope.write(sink.codec, &row, head, sink.wall, sink.out) {
                    Ok(()) => self.sent += 1,
                    // The cloud takes less than on the last connection.
                    Err(unfit) => {
                        self.give_up(id, n, unfit.to_string());
                        if once && dup {
                            // It may have it: then its id has to be free again before another message gets it.
                            release(id, sink);
                        }
                    }
                }
            }
        }
    }

    fn level(&mut self, row: &Row) -> QoS {
        let qos = level(row, self.peer.maximum_qos);
        self.downgraded |= qos < row.message.qos;
        qos
    }

    /// Sends the next row that waits. False when there is none, or it has to wait.
    fn send_next(&mut self, sink: &mut Sink<'_>) -> bool {
        let Some(entry) = self.waiting.pop_front() else { return false };
        let row = match entry {
            Entry::Whole(row) => row,
            Entry::Damaged { n, why } => {
                self.lane.pass(n);
                self.events.push_back(Event::SetAside { n, reason: format!("damaged on disk: {why}") });
                return true;
            }
        };
        let (n, id, once) = (row.n, packet_id(self.class, row.n), row.message.qos == QoS::ExactlyOnce);
        if self.outbound.id_in_use(id) {
            // A row of many thousand numbers ago has it. Its turn comes when that one is acknowledged.
            self.waiting.push_front(Entry::Whole(row));
            return false;
        }
        if once && n <= self.assumed {
            self.lane.pass(n);
            return true;
        }
        let recorded = once && n <= self.recorded_before;
        if (recorded || level(&row, self.peer.maximum_qos) == QoS::ExactlyOnce) && !self.outbound.has_room_once() {
            self.waiting.push_front(Entry::Whole(row));
            return false;
        }
        let started = if recorded {
            let released = self.outbound.release_as(id, row);
            if released.is_ok() {
                release(id, sink);
            }
            released
        } else {
            let dup = self.peer.session_present && n <= self.suspect;
            let qos = self.level(&row);
            let head = Head { packet_id: id, dup, qos };
            if let Err(unfit) = self.envelope.write(sink.codec, &row, head, sink.wall, sink.out) {
                self.lane.pass(n);
                self.set_aside(n, &unfit);
                if once && dup {
                    release(id, sink);
                }
                return true;
            }
            self.sent += 1;
            self.outbound.send_as(id, row, qos)
        };
        match started {
            Ok(()) if recorded => self.lane.start_recorded(n),
            Ok(()) => self.lane.start(n, once),
            // Neither can be: both were looked at above.
            Err(SendError::Later(row) | SendError::IdInUse(row)) => {
                self.waiting.push_front(Entry::Whole(row));
                return false;
            }
        }
        true
    }

    /// While rows go one at a time: the one that is `behind` the oldest, unless one is out.
    fn send_one(&mut self, behind: usize, sink: &mut Sink<'_>) {
        let releases = self.outbound.stages().filter(|(.., stage)| stage.released && !stage.on_wire);
        for id in releases.map(|(id, ..)| id).collect::<Vec<_>>() {
            if self.outbound.repeat(id).is_some() {
                release(id, sink);
            }
        }
        if self.outbound.stages().any(|(.., stage)| stage.on_wire && !stage.released) {
            return;
        }
        let candidate = |delivery: &Delivery| {
            delivery.outbound.stages().filter(|(.., stage)| !stage.receipted).nth(behind).map(|(id, ..)| id)
        };
        let mut id = candidate(self);
        while id.is_none() && behind < OTHERS && self.put_in_flight() {
            id = candidate(self);
        }
        let Some(id) = id else {
            // Perhaps it is being read.
            if behind > 0 && (self.drained || behind >= OTHERS) {
                self.suspicion.nobody_there();
            }
            return;
        };
        if let Some(Resend::Publish(id, row)) = self.outbound.repeat(id) {
            let again = Again::Publish(id, row.clone());
            self.repeat(again, sink);
        }
    }

    /// Puts the next row that waits in flight without sending it. False when there is none.
    fn put_in_flight(&mut self) -> bool {
        match self.waiting.pop_front() {
            Some(Entry::Whole(row)) => {
                let (n, once, qos) = (row.n, row.message.qos == QoS::ExactlyOnce, self.level(&row));
                let recorded = once && n <= self.recorded_before;
                if once && n <= self.assumed {
                    self.lane.pass(n);
                    return true;
                }
                match self.outbound.restore(packet_id(self.class, n), row, qos, recorded) {
                    Ok(()) if recorded => self.lane.start_recorded(n),
                    Ok(()) => self.lane.start(n, once),
                    Err(row) => {
                        self.waiting.push_front(Entry::Whole(row));
                        return false;
                    }
                }
            }
            Some(Entry::Damaged { n, why }) => {
                self.lane.pass(n);
                self.events.push_back(Event::SetAside { n, reason: format!("damaged on disk: {why}") });
            }
            None => return false,
        }
        true
    }
}

/// A [`Resend`] that borrows nothing.
enum Again {
    Publish(u16, Row),
    PubRel(u16),
}

/// A row of a queue goes out at QoS 1 or 2, at most at what the cloud takes.
pub(super) fn level(row: &Row, most: QoS) -> QoS {
    row.message.qos.max(QoS::AtLeastOnce).min(most)
}

fn release(packet_id: u16, sink: &mut Sink<'_>) {
    let pubrel = Packet::PubRel(Ack::success(packet_id));
    sink.codec
        .encode(&pubrel, sink.out)
        .expect("a PUBREL of an id above 0 has a form in both versions, and four bytes");
}
