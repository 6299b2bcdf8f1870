//! Messages from the cloud: which are new, when each is answered, which packet ids of QoS 2 are still known. Pure.
//!
//! It outlives connections: a message that was handed over on one and comes again on the next waits for the same ticket.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::accept::{Outcome, Settled, Ticket};
use crate::model::{Message, QoS};
use crate::mqtt::{Answer, Arrival, Inbound, Publish, Reason, Received, TopicAliases};

/// The aliases that an MQTT 5 cloud may use towards us.
pub(super) const ALIASES: u16 = 64;

/// QoS 1 and 2 messages that an MQTT 5 cloud may have open towards us. Not all keep to it.
pub(super) const RECEIVE_MAXIMUM: u16 = 128;

/// What has come down through one uplink and is not finished.
#[derive(Debug)]
pub(super) struct Intake {
    inbound: Inbound,
    aliases: TopicAliases,
    /// The number of the connection.
    connection: u64,
    last_ticket: u64,
    open: HashMap<Ticket, Open>,
    once: BTreeMap<u16, Once>,
    /// Releases that are being written: the number of the order, and the packet id.
    releasing: VecDeque<(u64, u16)>,
}

/// A message that was handed over.
#[derive(Debug, Clone, Copy)]
struct Open {
    /// Where its answer goes.
    connection: u64,
    received: Received,
    /// Its packet id at QoS 2.
    once: Option<u16>,
}

/// Where a packet id of QoS 2 stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Once {
    /// Its message was handed over.
    Taken(Ticket),
    /// Its message is safe.
    Held,
    /// Its PUBREL came, and that is being written with this order.
    Releasing(u64),
}

/// A message to hand over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Handover {
    pub message: Message,
    pub ticket: Ticket,
    /// Its packet id at QoS 2.
    pub once: Option<u16>,
}

/// What follows from a [`Settled`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consequence {
    /// Answers may have become due.
    Answers,
    /// The connection is to be ended: the cloud has to send it again.
    ComeBackLater,
    /// The session that it came on is lost: its packet id is to be forgotten.
    Forget(u16),
}

/// What a PUBREL asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PubRel {
    /// PUBCOMP, which says that it is not known.
    Unknown,
    /// PUBCOMP.
    Complete,
    /// To be written; its order is for [`Intake::releasing`].
    Write,
    /// Nothing: it is being written.
    Wait,
}

impl Intake {
    /// With the packet ids that were found on disk.
    pub(super) fn new(received: &[u16]) -> Intake {
        Intake {
            inbound: Inbound::default(),
            aliases: TopicAliases::new(0),
            connection: 0,
            last_ticket: 0,
            open: HashMap::new(),
            once: received.iter().map(|id| (*id, Once::Held)).collect(),
            releasing: VecDeque::new(),
        }
    }

    /// A CONNACK came. Without a session, ids mean nothing any more: those to be forgotten on disk are returned.
    pub(super) fn connected(&mut self, session_present: bool) -> Vec<u16> {
        self.connection += 1;
        self.inbound = Inbound::default();
        self.aliases = TopicAliases::new(ALIASES);
        let known = self.once.iter().filter(|(_, once)| !matches!(once, Once::Taken(_))).map(|(id, _)| *id);
        if session_present {
            known.for_each(|id| self.inbound.restore(id));
            return Vec::new();
        }
        let gone = known.collect();
        self.once.clear();
        gone
    }

    /// A PUBLISH came: the message to hand over, or nothing when it is a repetition. The error is for the DISCONNECT.
    pub(super) fn publish(&mut self, mut publish: Publish) -> Result<Option<Handover>, Reason> {
        let topic = self.aliases.resolve(publish.topic.take(), publish.topic_alias)?;
        let id = publish.packet_id;
        let (received, once) = match publish.qos {
            QoS::AtMostOnce => (None, None),
            QoS::AtLeastOnce => (Some(self.inbound.receive(id)), None),
            QoS::ExactlyOnce => match self.inbound.receive_once(id) {
                Arrival::New(received) => (Some(received), Some(id)),
                Arrival::Repeated => return Ok(None),
            },
        };
        let connection = self.connection;
        if let (Some(id), Some(received)) = (once, received)
            && let Some(Once::Taken(ticket)) = self.once.get(&id)
        {
            // It came on an earlier connection and is not safe yet.
            if let Some(open) = self.open.get_mut(ticket) {
                (open.connection, open.received) = (connection, received);
            }
            return Ok(None);
        }
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        if let Some(received) = received {
            self.open.insert(ticket, Open { connection, received, once });
        }
        if let Some(id) = once {
            self.once.insert(id, Once::Taken(ticket));
        }
        Ok(Some(Handover { message: publish.into_message(topic), ticket, once }))
    }

    /// A ticket came back. `can_refuse` is whether the version has a way to.
    pub(super) fn settle(&mut self, settled: Settled, can_refuse: bool) -> Consequence {
        let Settled { ticket, outcome } = settled;
        let Some(Open { connection, received, once }) = self.open.remove(&ticket) else { return Consequence::Answers };
        let reason = match outcome {
            Outcome::Refused if can_refuse => Reason::IMPLEMENTATION_SPECIFIC,
            _ => Reason::SUCCESS,
        };
        if let Some(id) = once {
            match self.once.get(&id) {
                Some(Once::Taken(its)) if *its == ticket => {
                    if outcome == Outcome::Later || reason.is_failure() {
                        self.once.remove(&id);
                    } else {
                        self.once.insert(id, Once::Held);
                    }
                }
                // A new session uses the id, and the one row on disk is its own now.
                Some(_) => return Consequence::Answers,
                None => return Consequence::Forget(id),
            }
        }
        if connection != self.connection {
            // It comes again and is answered then. At QoS 2 that is a repetition.
            if let (Some(id), false) = (once, reason.is_failure() || outcome == Outcome::Later) {
                self.inbound.restore(id);
            }
            return Consequence::Answers;
        }
        if outcome == Outcome::Later {
            return Consequence::ComeBackLater;
        }
        self.inbound.release(received, reason);
        Consequence::Answers
    }

    /// The next PUBACK or PUBREC that may go out.
    pub(super) fn next_answer(&mut self) -> Option<Answer> {
        self.inbound.next_answer()
    }

    /// A PUBREL came.
    pub(super) fn pubrel(&mut self, packet_id: u16) -> PubRel {
        if !self.inbound.pubrel(packet_id) {
            return PubRel::Unknown;
        }
        match self.once.get(&packet_id) {
            Some(Once::Held) => PubRel::Write,
            Some(Once::Releasing(_) | Once::Taken(_)) => PubRel::Wait,
            // Its release was on disk before this repetition came.
            None => {
                self.inbound.complete(packet_id);
                PubRel::Complete
            }
        }
    }

    /// A [`PubRel::Write`] is being written with this order.
    pub(super) fn releasing(&mut self, packet_id: u16, order: u64) {
        self.once.insert(packet_id, Once::Releasing(order));
        self.releasing.push_back((order, packet_id));
    }

    /// Orders up to this one are on disk: the next packet id that gets its PUBCOMP; `None` when there is no more.
    pub(super) fn next_complete(&mut self, carried_out: u64) -> Option<u16> {
        while let Some((order, packet_id)) = self.releasing.pop_front_if(|(order, _)| *order <= carried_out) {
            if self.once.get(&packet_id) != Some(&Once::Releasing(order)) {
                continue;
            }
            self.once.remove(&packet_id);
            if self.inbound.complete(packet_id) {
                return Some(packet_id);
            }
        }
        None
    }

    /// Messages at QoS 1 and 2 that were handed over and whose tickets have not come back.
    pub(super) fn unanswered(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Topic;

    fn publish(packet_id: u16, qos: QoS) -> Publish {
        let message = Message::new(Topic::new("cmd").expect("a topic"), packet_id.to_string(), qos, false);
        Publish::new(&message, packet_id)
    }

    fn handed(intake: &mut Intake, packet_id: u16, qos: QoS) -> Option<Ticket> {
        intake.publish(publish(packet_id, qos)).expect("no protocol error").map(|handover| handover.ticket)
    }

    fn settle(intake: &mut Intake, ticket: Ticket, outcome: Outcome) -> Consequence {
        intake.settle(Settled { ticket, outcome }, true)
    }

    fn answers(intake: &mut Intake) -> Vec<(u16, Reason)> {
        std::iter::from_fn(|| intake.next_answer()).map(|answer| (answer.packet_id, answer.reason)).collect()
    }

    #[test]
    fn answers_wait_for_their_tickets_and_keep_the_order_of_the_messages() {
        let mut intake = Intake::new(&[]);
        intake.connected(false);
        let first = handed(&mut intake, 1, QoS::AtLeastOnce).expect("new");
        let second = handed(&mut intake, 2, QoS::ExactlyOnce).expect("new");
        assert_eq!(settle(&mut intake, second, Outcome::Taken), Consequence::Answers);
        assert_eq!(answers(&mut intake), []);
        settle(&mut intake, first, Outcome::Refused);
        assert_eq!(answers(&mut intake), [(1, Reason::IMPLEMENTATION_SPECIFIC), (2, Reason::SUCCESS)]);
    }

    #[test]
    fn a_repetition_on_another_connection_waits_for_the_ticket_of_the_first_and_is_answered_there() {
        let mut intake = Intake::new(&[]);
        intake.connected(false);
        let ticket = handed(&mut intake, 5, QoS::ExactlyOnce).expect("new");
        intake.connected(true);
        assert_eq!(handed(&mut intake, 5, QoS::ExactlyOnce), None);
        settle(&mut intake, ticket, Outcome::Taken);
        assert_eq!(answers(&mut intake), [(5, Reason::SUCCESS)]);
    }

    #[test]
    fn what_became_safe_between_two_connections_is_a_repetition_on_the_second() {
        let mut intake = Intake::new(&[]);
        intake.connected(false);
        let ticket = handed(&mut intake, 5, QoS::ExactlyOnce).expect("new");
        intake.connected(true);
        settle(&mut intake, ticket, Outcome::Taken);
        assert_eq!(handed(&mut intake, 5, QoS::ExactlyOnce), None);
        assert_eq!(answers(&mut intake), [(5, Reason::SUCCESS)]);
    }

    #[test]
    fn an_id_is_known_from_before_the_start_until_its_release_is_on_disk() {
        let mut intake = Intake::new(&[7]);
        intake.connected(true);
        assert_eq!(handed(&mut intake, 7, QoS::ExactlyOnce), None);
        assert_eq!(answers(&mut intake), [(7, Reason::SUCCESS)]);
        assert_eq!(intake.pubrel(7), PubRel::Write);
        intake.releasing(7, 1);
        assert_eq!((intake.pubrel(7), intake.next_complete(0)), (PubRel::Wait, None));
        assert_eq!((intake.next_complete(1), intake.next_complete(1)), (Some(7), None));
        assert_eq!(intake.pubrel(7), PubRel::Unknown);
        assert!(handed(&mut intake, 7, QoS::ExactlyOnce).is_some());
    }

    #[test]
    fn a_release_that_was_written_between_two_connections_is_completed_when_the_cloud_asks_again() {
        let mut intake = Intake::new(&[7]);
        intake.connected(true);
        assert_eq!(intake.pubrel(7), PubRel::Write);
        intake.releasing(7, 1);
        intake.connected(true);
        assert_eq!(intake.next_complete(1), None, "nothing was asked on this connection");
        assert_eq!(intake.pubrel(7), PubRel::Complete);
    }

    #[test]
    fn a_session_that_is_lost_takes_its_ids_with_it_and_a_late_ticket_does_not_free_the_new_owner() {
        let mut intake = Intake::new(&[7, 8]);
        intake.connected(true);
        let old = handed(&mut intake, 9, QoS::ExactlyOnce).expect("new");
        let orphan = handed(&mut intake, 10, QoS::ExactlyOnce).expect("new");
        assert_eq!(intake.connected(false), [7, 8]);
        let new = handed(&mut intake, 9, QoS::ExactlyOnce).expect("it belongs to the new session");
        assert_eq!(settle(&mut intake, old, Outcome::Taken), Consequence::Answers);
        assert_eq!(settle(&mut intake, orphan, Outcome::Taken), Consequence::Forget(10));
        assert_eq!(answers(&mut intake), []);
        settle(&mut intake, new, Outcome::Taken);
        assert_eq!(answers(&mut intake), [(9, Reason::SUCCESS)]);
    }

    #[test]
    fn what_can_not_be_kept_now_is_left_to_the_cloud() {
        let mut intake = Intake::new(&[]);
        intake.connected(false);
        let ticket = handed(&mut intake, 1, QoS::ExactlyOnce).expect("new");
        assert_eq!(settle(&mut intake, ticket, Outcome::Later), Consequence::ComeBackLater);
        intake.connected(true);
        assert!(handed(&mut intake, 1, QoS::ExactlyOnce).is_some());
    }

    #[test]
    fn an_alias_stands_for_its_topic_on_its_connection_alone() {
        let mut intake = Intake::new(&[]);
        intake.connected(false);
        let mut named = publish(0, QoS::AtMostOnce);
        named.topic_alias = Some(3);
        let alias = Publish { topic: None, ..named.clone() };
        intake.publish(named).expect("a name");
        let handover = intake.publish(alias.clone()).expect("a known alias").expect("a message");
        assert_eq!(&*handover.message.topic, "cmd");
        intake.connected(true);
        assert_eq!(intake.publish(alias), Err(Reason::PROTOCOL_ERROR));
    }
}
