//! Which acknowledgements wait for which commits. Pure bookkeeping: tickets rise, reports come in their order.

use std::collections::VecDeque;

use super::words::{Key, Seat};
use crate::mqtt::Received;
use crate::store::{CommitReport, Intake, Refusal, SessionId, Ticket};

/// Who is told when something is safe, or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AckTo {
    /// A client that waits for its PUBACK or PUBREC.
    Client(Key, Received),
    /// A kept session whose QoS 2 message has this packet id; who waits for its PUBREC is in its intake.
    Intake(Owner, u16),
    /// The gateway itself; the number is the caller's.
    Local(u64),
    /// The same, for a cloud's QoS 2 message: its packet id is kept with all that the message causes.
    Once(u64, Intake),
    /// A client that waits to be let in.
    Admission(Key),
    /// A client that waits for the answer to a SUBSCRIBE or UNSUBSCRIBE, by the hub's number for it.
    Request(u64),
    /// The message with this number and cost waits for a kept session.
    Owed(Owner, u64, usize),
    /// The PUBREC for this number came.
    Recorded(Owner, u64),
    /// The PUBREL of this packet id came.
    Released(Owner, u16),
    /// Nobody: the store's own memory of it is brought up to date.
    Nobody,
}

impl AckTo {
    /// Whether a message depends on it.
    pub fn is_message(self) -> bool {
        matches!(self, AckTo::Client(..) | AckTo::Intake(..) | AckTo::Local(_) | AckTo::Once(..) | AckTo::Owed(..))
    }
}

/// A session as the store's answers find it again: its place, and that it is still the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub seat: Seat,
    pub session: SessionId,
}

/// Acknowledgements that wait for the store.
#[derive(Debug, Default)]
pub(super) struct Durable {
    last: Ticket,
    settled: Ticket,
    waiting: VecDeque<Waiting>,
}

/// What the store has been handed and has not settled, in bytes: its channel bounds them by count only.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    appends: VecDeque<(Ticket, usize)>,
    bytes: usize,
}

impl Unsettled {
    /// An append was handed over.
    pub fn add(&mut self, ticket: Ticket, bytes: usize) {
        self.appends.push_back((ticket, bytes));
        self.bytes += bytes;
    }

    /// Every ticket up to this one is settled.
    pub fn settle(&mut self, through: Ticket) {
        while let Some((_, bytes)) = self.appends.pop_front_if(|(ticket, _)| *ticket <= through) {
            self.bytes -= bytes;
        }
    }

    /// The sizes of their messages, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[derive(Debug)]
struct Waiting {
    first: Ticket,
    last: Ticket,
    ack: AckTo,
}

impl Durable {
    /// The ticket of the next append.
    pub fn ticket(&mut self) -> Ticket {
        self.last.0 += 1;
        self.last
    }

    /// The last ticket that was given out.
    pub fn last(&self) -> Ticket {
        self.last
    }

    /// Whether the store has answered for this ticket.
    pub fn is_settled(&self, ticket: Ticket) -> bool {
        ticket <= self.settled
    }

    /// `ack` waits for every ticket from `first` to the last that was given out.
    pub fn wait(&mut self, first: Ticket, ack: AckTo) {
        self.waiting.push_back(Waiting { first, last: self.last, ack });
    }

    /// Calls `settled` for everyone whose tickets are settled now, in the order in which they came; with a refusal when one of them was.
    pub fn report(&mut self, report: &CommitReport, mut settled: impl FnMut(AckTo, Option<&Refusal>)) {
        self.settled = self.settled.max(report.through);
        while let Some(front) = self.waiting.front() {
            if front.last > report.through {
                break;
            }
            // They are in the order of their tickets, and there may be thousands.
            let at = report.refused.partition_point(|(ticket, _)| *ticket < front.first);
            let refusal = report.refused.get(at).filter(|(ticket, _)| *ticket <= front.last);
            settled(front.ack, refusal.map(|(_, refusal)| refusal));
            self.waiting.pop_front();
        }
    }

    /// A report that refuses everything which is not settled yet, for when no report will come any more.
    pub fn refuse_all(&self, why: &str) -> CommitReport {
        let tickets = self.settled.0 + 1..=self.last.0;
        CommitReport {
            through: self.last,
            refused: tickets.map(|t| (Ticket(t), Refusal::Storage(why.into()))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(durable: &mut Durable, through: u64, refused: &[u64]) -> Vec<(u64, bool)> {
        let refused = refused.iter().map(|t| (Ticket(*t), Refusal::QueueFull)).collect();
        let mut all = Vec::new();
        durable.report(&CommitReport { through: Ticket(through), refused }, |ack, refusal| match ack {
            AckTo::Local(n) => all.push((n, refusal.is_none())),
            other => unreachable!("the tests use local acknowledgements, not {other:?}"),
        });
        all
    }

    #[test]
    fn an_acknowledgement_waits_for_all_of_its_tickets_and_one_refusal_refuses_it() {
        let mut durable = Durable::default();
        for (message, outlets) in [(100, 1), (101, 2), (102, 1)] {
            let first = durable.ticket();
            for _ in 1..outlets {
                durable.ticket();
            }
            durable.wait(first, AckTo::Local(message));
        }
        assert_eq!(settled(&mut durable, 2, &[]), [(100, true)]);
        assert_eq!(settled(&mut durable, 3, &[3]), [(101, false)]);
        assert_eq!(settled(&mut durable, 3, &[]), []);
        assert_eq!(settled(&mut durable, 9, &[]), [(102, true)]);
    }

    #[test]
    fn what_the_store_has_settled_is_not_counted_any_more() {
        let mut unsettled = Unsettled::default();
        (1..=3).for_each(|n| unsettled.add(Ticket(n), 10));
        unsettled.settle(Ticket(2));
        assert_eq!(unsettled.bytes(), 10);
        unsettled.settle(Ticket(2));
        unsettled.settle(Ticket(9));
        assert_eq!(unsettled.bytes(), 0);
    }

    #[test]
    fn when_the_store_is_gone_everything_that_waits_is_refused() {
        let mut durable = Durable::default();
        let first = durable.ticket();
        durable.wait(first, AckTo::Local(1));
        let report = durable.refuse_all("gone");
        let mut refused = Vec::new();
        durable.report(&report, |ack, refusal| refused.push((ack, refusal.cloned())));
        assert_eq!(refused, [(AckTo::Local(1), Some(Refusal::Storage("gone".into())))]);
    }
}
