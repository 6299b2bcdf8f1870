//! Messages from the peer that are not answered yet, and the packet ids of QoS 2 that it has not released.

use std::collections::VecDeque;

use super::in_flight::InFlight;
use crate::model::QoS;
use crate::mqtt::Reason;

/// QoS 1 and 2 messages from the peer.
///
/// PUBACK and PUBREC go out in the order of the PUBLISHes (§4.6), each once its message is safe. A QoS 2 packet id is known from its PUBLISH to
/// its PUBREL: a repetition in between is not a message, and is answered too, once the first is [MQTT-4.3.3-10].
#[derive(Debug, Default)]
pub struct Inbound {
    waiting: VecDeque<Waiting>,
    /// The number of the first in `waiting`.
    first: u64,
    /// How many in `waiting` are repetitions.
    repeated: usize,
    exactly_once: InFlight<Intake>,
    /// Ids whose PUBLISH came on this connection and whose PUBCOMP has not been sent.
    held: usize,
}

#[derive(Debug)]
struct Waiting {
    packet_id: u16,
    qos: QoS,
    /// Not a message, only to be answered.
    repeated: bool,
    reason: Option<Reason>,
}

/// Where a QoS 2 packet id stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intake {
    /// Its message is not safe yet.
    Taken,
    /// Its PUBREC is on the way; `here` is whether its PUBLISH came on this connection.
    Held { here: bool },
    /// Its PUBREL came; PUBCOMP follows once that is safe.
    Releasing { here: bool },
}

/// The number of a received message, for [`Inbound::release`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Received(pub u64);

/// What a QoS 2 PUBLISH is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// A message.
    New(Received),
    /// A repetition; it is answered from here.
    Repeated,
}

/// A PUBACK (QoS 1) or PUBREC (QoS 2) that may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Of the PUBLISH.
    pub packet_id: u16,
    /// Its level.
    pub qos: QoS,
    /// What became of the message.
    pub reason: Reason,
}

impl Inbound {
    /// A QoS 1 PUBLISH came. Whether more than the announced Receive Maximum is open is for the caller to see ([`Inbound::len`]).
    pub fn receive(&mut self, packet_id: u16) -> Received {
        self.wait(packet_id, QoS::AtLeastOnce)
    }

    /// A QoS 2 PUBLISH came.
    pub fn receive_once(&mut self, packet_id: u16) -> Arrival {
        match self.exactly_once.get(packet_id) {
            Some(intake) => {
                let reason = (*intake != Intake::Taken).then_some(Reason::SUCCESS);
                self.waiting.push_back(Waiting { packet_id, qos: QoS::ExactlyOnce, repeated: true, reason });
                self.repeated += 1;
                Arrival::Repeated
            }
            None => {
                // The table has a place for each of the 65,535 ids but one; without one, every repetition would be taken for new.
                let _ = self.exactly_once.push(packet_id, Intake::Taken);
                Arrival::New(self.wait(packet_id, QoS::ExactlyOnce))
            }
        }
    }

    fn wait(&mut self, packet_id: u16, qos: QoS) -> Received {
        self.waiting.push_back(Waiting { packet_id, qos, repeated: false, reason: None });
        Received(self.first + self.waiting.len() as u64 - 1)
    }

    /// A packet id that a session has from an earlier connection: its message was answered and not released.
    pub fn restore(&mut self, packet_id: u16) {
        let _ = self.exactly_once.push(packet_id, Intake::Held { here: false });
    }

    /// A message may be answered with `reason`, after those before it.
    pub fn release(&mut self, received: Received, reason: Reason) {
        let place = received.0.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        if let Some(entry) = place.and_then(|place| self.waiting.get_mut(place)) {
            entry.reason = Some(reason);
        }
    }

    /// The next answer that may go out now.
    pub fn next_answer(&mut self) -> Option<Answer> {
        let &Waiting { packet_id, qos, repeated, reason: Some(reason) } = self.waiting.front()? else { return None };
        self.waiting.pop_front();
        self.first += 1;
        self.repeated -= usize::from(repeated);
        if qos == QoS::ExactlyOnce && !repeated && self.exactly_once.get(packet_id) == Some(&Intake::Taken) {
            // Its repetitions stand behind it.
            let same = |w: &&mut Waiting| w.repeated && w.packet_id == packet_id && w.reason.is_none();
            let repetitions = self.waiting.iter_mut().filter(same).take(self.repeated);
            repetitions.for_each(|repetition| repetition.reason = Some(reason));
            if reason.is_failure() {
                self.exactly_once.remove(packet_id);
            } else if let Some(intake) = self.exactly_once.get_mut(packet_id) {
                *intake = Intake::Held { here: true };
                self.held += 1;
            }
        }
        Some(Answer { packet_id, qos, reason })
    }

    /// A PUBREL came. False when its id is not known: PUBCOMP says so (0x92) at once. Otherwise PUBCOMP follows [`Inbound::complete`].
    pub fn pubrel(&mut self, packet_id: u16) -> bool {
        match self.exactly_once.get_mut(packet_id) {
            Some(intake) => match *intake {
                Intake::Taken => false,
                Intake::Held { here } | Intake::Releasing { here } => {
                    *intake = Intake::Releasing { here };
                    true
                }
            },
            None => false,
        }
    }

    /// The id is free again. True when PUBCOMP is to be sent; false when that was done already.
    pub fn complete(&mut self, packet_id: u16) -> bool {
        let Some(&Intake::Releasing { here }) = self.exactly_once.get(packet_id) else { return false };
        self.exactly_once.remove(packet_id);
        self.held -= usize::from(here);
        true
    }

    /// Messages of this connection that the peer counts against our Receive Maximum: not answered, or at QoS 2 not completed.
    pub fn len(&self) -> usize {
        self.waiting.len() - self.repeated + self.held
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Messages that are not answered yet, and repetitions.
    pub fn unanswered(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn answers_go_out_in_order_and_only_once_released(order in prop::collection::vec((0usize..8, any::<bool>()), 0..100)) {
            let mut tested = Inbound::default();
            let mut waiting: Vec<(Received, u16)> = Vec::new();
            let (mut next, mut answered) = (1u16, 1u16);
            for (pick, once) in order {
                if pick < 3 || waiting.is_empty() {
                    let received = match once {
                        true => match tested.receive_once(next) {
                            Arrival::New(received) => received,
                            Arrival::Repeated => panic!("{next} never came before"),
                        },
                        false => tested.receive(next),
                    };
                    waiting.push((received, next));
                    next += 1;
                } else {
                    let (received, _) = waiting.remove(pick % waiting.len());
                    tested.release(received, Reason::SUCCESS);
                }
                let safe_before = waiting.iter().map(|(_, id)| *id).min().unwrap_or(next);
                while let Some(answer) = tested.next_answer() {
                    prop_assert_eq!((answer.packet_id, answer.reason), (answered, Reason::SUCCESS));
                    answered += 1;
                }
                prop_assert_eq!(answered, safe_before);
            }
        }
    }

    fn new(inbound: &mut Inbound, packet_id: u16) -> Received {
        match inbound.receive_once(packet_id) {
            Arrival::New(received) => received,
            Arrival::Repeated => panic!("{packet_id} is taken for a repetition"),
        }
    }

    fn answers(inbound: &mut Inbound) -> Vec<(u16, u8)> {
        std::iter::from_fn(|| inbound.next_answer()).map(|answer| (answer.packet_id, answer.reason.0)).collect()
    }

    #[test]
    fn a_repetition_before_the_commit_waits_for_the_same_commit() {
        let mut inbound = Inbound::default();
        let first = new(&mut inbound, 5);
        assert_eq!(inbound.receive_once(5), Arrival::Repeated);
        assert_eq!((answers(&mut inbound), inbound.len(), inbound.unanswered()), (vec![], 1, 2));
        assert!(!inbound.pubrel(5), "a PUBREL before its PUBREC");
        inbound.release(first, Reason::SUCCESS);
        // Each is acknowledged [MQTT-4.3.3-10].
        assert_eq!(answers(&mut inbound), [(5, 0), (5, 0)]);
        assert_eq!((inbound.len(), inbound.unanswered()), (1, 0));
    }

    #[test]
    fn a_repetition_of_what_was_refused_does_not_settle_a_new_message_with_its_id() {
        let mut inbound = Inbound::default();
        let refused = new(&mut inbound, 5);
        let other = inbound.receive(6);
        assert_eq!(inbound.receive_once(5), Arrival::Repeated);
        inbound.release(refused, Reason::QUOTA_EXCEEDED);
        assert_eq!(answers(&mut inbound), [(5, 0x97)]);
        let anew = new(&mut inbound, 5);
        inbound.release(other, Reason::SUCCESS);
        assert_eq!(answers(&mut inbound), [(6, 0), (5, 0x97)]);
        inbound.release(anew, Reason::SUCCESS);
        assert_eq!((answers(&mut inbound), inbound.pubrel(5)), (vec![(5, 0)], true));
    }

    #[test]
    fn a_repetition_is_answered_until_its_pubrel_and_the_id_is_new_after_it() {
        let mut inbound = Inbound::default();
        let first = new(&mut inbound, 5);
        inbound.release(first, Reason::NO_MATCHING_SUBSCRIBERS);
        assert_eq!(answers(&mut inbound), [(5, 0x10)]);
        assert_eq!((inbound.receive_once(5), answers(&mut inbound)), (Arrival::Repeated, vec![(5, 0)]));
        assert_eq!((inbound.len(), inbound.unanswered()), (1, 0));
        assert!(inbound.pubrel(5) && inbound.complete(5) && !inbound.complete(5));
        assert!(!inbound.pubrel(5) && inbound.is_empty());
        new(&mut inbound, 5);
    }

    #[test]
    fn a_refused_message_leaves_its_id_free() {
        let mut inbound = Inbound::default();
        let first = new(&mut inbound, 5);
        inbound.release(first, Reason::QUOTA_EXCEEDED);
        assert_eq!(answers(&mut inbound), [(5, 0x97)]);
        assert!(!inbound.pubrel(5));
        new(&mut inbound, 5);
    }

    #[test]
    fn ids_of_an_earlier_connection_are_known_and_not_counted_again() {
        let mut inbound = Inbound::default();
        inbound.restore(5);
        assert_eq!((inbound.receive_once(5), answers(&mut inbound)), (Arrival::Repeated, vec![(5, 0)]));
        assert_eq!(inbound.len(), 0);
        assert!(inbound.pubrel(5) && inbound.complete(5) && inbound.is_empty());
    }
}
