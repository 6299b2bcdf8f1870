//! The session state of QoS 1 that both ends keep: what is on its way out, and what still has to be acknowledged.
//!
//! Pure: no time, no socket. The broker's connections and the uplinks decide with it and carry out what it says.
//! It never closes a connection over an acknowledgement that it does not know (§4.3.2 leaves that open; a peer that restarts sends such).

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use super::Reason;
use super::in_flight::InFlight;

/// Messages on their way to the peer: packet ids, the send window, repetition after a reconnect.
///
/// `T` is what the caller needs to send a message again. Ids are chosen here ([`Outbound::send`]) or by the caller ([`Outbound::send_as`]).
#[derive(Debug)]
pub struct Outbound<T> {
    in_flight: InFlight<Entry<T>>,
    /// Ids that are chosen here, in a circle, so that a late acknowledgement seldom meets a new message.
    ids: RangeInclusive<u16>,
    next_id: u16,
    /// What the configuration allows in flight.
    window: u16,
    /// And what the peer does on this connection.
    allowed: u16,
    /// Sent on this connection and not acknowledged.
    on_wire: u16,
    /// While something from before the reconnect waits to be sent again: the last that was. Outer `None`: nothing waits.
    resending: Option<Option<u16>>,
}

#[derive(Debug)]
struct Entry<T> {
    item: T,
    on_wire: bool,
}

/// Why a message can't be sent now; it is given back.
#[derive(Debug, PartialEq, Eq)]
pub enum SendError<T> {
    /// The window is full, or messages from before the reconnect go first.
    Later(T),
    /// The id belongs to a message that is not acknowledged yet.
    IdInUse(T),
}

/// What an acknowledgement settled.
#[derive(Debug, PartialEq, Eq)]
pub enum Acked<T> {
    /// This message.
    Message(T),
    /// Nothing that is known here: a repetition, or from another time. Not an error.
    Unknown,
}

impl<T> Outbound<T> {
    /// Nothing in flight. `window` is at least 1; `ids` are those that [`Outbound::send`] may choose from, 0 not among them.
    pub fn new(window: u16, ids: RangeInclusive<u16>) -> Outbound<T> {
        let first = (*ids.start()).max(1);
        let window = window.max(1);
        Outbound {
            in_flight: InFlight::default(),
            ids: first..=(*ids.end()).max(first),
            next_id: first,
            window,
            allowed: window,
            on_wire: 0,
            resending: None,
        }
    }

    /// A connection was made on which the peer takes `receive_maximum` at once. Everything in flight is to be sent again, the oldest first.
    pub fn connected(&mut self, receive_maximum: u16) {
        self.allowed = self.window.min(receive_maximum.max(1));
        self.on_wire = 0;
        let mut at = self.in_flight.following(None);
        while let Some(id) = at {
            if let Some(entry) = self.in_flight.get_mut(id) {
                entry.on_wire = false;
            }
            at = self.in_flight.following(Some(id));
        }
        self.resending = (self.in_flight.len() > 0).then_some(None);
    }

    /// Whether [`Outbound::send`] would take a message now.
    pub fn can_send(&self) -> bool {
        self.resending.is_none() && self.has_room()
    }

    /// Whether the window has room on this connection, be it for a repetition.
    pub fn has_room(&self) -> bool {
        self.on_wire < self.allowed
    }

    /// Takes a message, chooses its packet id and counts it as sent.
    pub fn send(&mut self, item: T) -> Result<u16, SendError<T>> {
        if !self.can_send() {
            return Err(SendError::Later(item));
        }
        // Some id is free unless all of them are in flight, and then the window would have been larger than the range.
        for _ in self.ids.clone() {
            let id = self.next_id;
            self.next_id = if id >= *self.ids.end() { *self.ids.start() } else { id + 1 };
            if !self.in_flight.contains(id) {
                return self.send_as(id, item).map(|()| id);
            }
        }
        Err(SendError::Later(item))
    }

    /// Takes a message with the id that the caller chose and counts it as sent.
    pub fn send_as(&mut self, id: u16, item: T) -> Result<(), SendError<T>> {
        if self.in_flight.contains(id) {
            return Err(SendError::IdInUse(item));
        }
        if !self.can_send() {
            return Err(SendError::Later(item));
        }
        match self.in_flight.push(id, Entry { item, on_wire: true }) {
            Ok(()) => {
                self.on_wire += 1;
                Ok(())
            }
            Err(entry) => Err(SendError::Later(entry.item)),
        }
    }

    /// Puts a message in flight without sending it, as one that was sent in an earlier life: [`Outbound::connected`] has it sent again.
    /// Gives it back when its id is in use.
    pub fn restore(&mut self, id: u16, item: T) -> Result<(), T> {
        self.in_flight.push(id, Entry { item, on_wire: false }).map_err(|entry| entry.item)
    }

    /// The next message to send again (with DUP) after a reconnect, counted as sent; `None` when there is none or the window is full.
    pub fn next_resend(&mut self) -> Option<(u16, &T)> {
        let after = self.resending?;
        if self.on_wire >= self.allowed {
            return None;
        }
        let Some(id) = self.in_flight.following(after) else {
            self.resending = None;
            return None;
        };
        // The last one ends the resending, so that new messages need not wait for another call.
        self.resending = self.in_flight.following(Some(id)).map(|_| Some(id));
        self.on_wire += 1;
        let entry = self.in_flight.get_mut(id)?;
        entry.on_wire = true;
        Some((id, &entry.item))
    }

    /// Takes a PUBACK.
    pub fn acknowledge(&mut self, id: u16) -> Acked<T> {
        // Resending goes on after the one before the one that goes.
        if self.resending == Some(Some(id)) {
            self.resending = Some(self.in_flight.previous(id));
        }
        let Some(entry) = self.in_flight.remove(id) else { return Acked::Unknown };
        if entry.on_wire {
            self.on_wire -= 1;
        }
        if self.resending.is_some_and(|after| self.in_flight.following(after).is_none()) {
            self.resending = None;
        }
        Acked::Message(entry.item)
    }

    /// Not acknowledged, sent on this connection or not.
    pub fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether everything has been acknowledged.
    pub fn is_empty(&self) -> bool {
        self.in_flight.len() == 0
    }

    /// Whether an acknowledgement can be expected: something has been sent on this connection.
    pub fn awaits_ack(&self) -> bool {
        self.on_wire > 0
    }

    /// Whether a message with this id is not acknowledged yet.
    pub fn id_in_use(&self, id: u16) -> bool {
        self.in_flight.contains(id)
    }

    /// The oldest that is not acknowledged.
    pub fn oldest(&self) -> Option<(u16, &T)> {
        self.in_flight.first().map(|(id, entry)| (id, &entry.item))
    }

    /// All that is not acknowledged, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &T)> {
        self.in_flight.iter().map(|(id, entry)| (id, &entry.item))
    }
}

/// QoS 1 messages from the peer that are not acknowledged yet.
///
/// PUBACKs go out in the order of the PUBLISHes (§4.6), each once its message is safe.
#[derive(Debug, Default)]
pub struct Inbound {
    waiting: VecDeque<(u16, Option<Reason>)>,
    /// The number of the first in `waiting`.
    first: u64,
}

/// The number of a received message, for [`Inbound::release`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Received(pub u64);

impl Inbound {
    /// A PUBLISH came. Whether more than the announced Receive Maximum wait is for the caller to see ([`Inbound::len`]).
    pub fn receive(&mut self, packet_id: u16) -> Received {
        self.waiting.push_back((packet_id, None));
        Received(self.first + self.waiting.len() as u64 - 1)
    }

    /// A message may be acknowledged with `reason`, after those before it.
    pub fn release(&mut self, received: Received, reason: Reason) {
        let place = received.0.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        if let Some(entry) = place.and_then(|place| self.waiting.get_mut(place)) {
            entry.1 = Some(reason);
        }
    }

    /// The next acknowledgement that may go out now: packet id and reason.
    pub fn next_ack(&mut self) -> Option<(u16, Reason)> {
        let &(packet_id, Some(reason)) = self.waiting.front()? else { return None };
        self.waiting.pop_front();
        self.first += 1;
        Some((packet_id, reason))
    }

    /// Messages not acknowledged yet.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether all are acknowledged.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Send,
        SendAs(u16),
        /// The n-th in flight is acknowledged.
        Ack(usize),
        AckAnything(u16),
        Resend,
        Reconnect(u16),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Send),
            2 => (1u16..30).prop_map(Step::SendAs),
            4 => (0usize..20).prop_map(Step::Ack),
            1 => any::<u16>().prop_map(Step::AckAnything),
            3 => Just(Step::Resend),
            1 => (1u16..12).prop_map(Step::Reconnect),
        ];
        prop::collection::vec(step, 0..300)
    }

    /// What is in flight: id, message, sent on this connection.
    type Model = VecDeque<(u16, u32, bool)>;

    fn acknowledge(tested: &mut Outbound<u32>, model: &mut Model, id: u16) -> Option<u32> {
        let expected = model.iter().position(|(i, ..)| *i == id).and_then(|at| model.remove(at)).map(|(_, n, _)| n);
        match tested.acknowledge(id) {
            Acked::Message(n) => {
                assert_eq!(Some(n), expected);
                Some(n)
            }
            Acked::Unknown => {
                assert_eq!(expected, None);
                None
            }
        }
    }

    fn resend(tested: &mut Outbound<u32>, model: &mut Model, allowed: u16) -> bool {
        let room = model.iter().filter(|(.., wire)| *wire).count() < usize::from(allowed);
        let expected = model.iter_mut().find(|(.., wire)| !wire).filter(|_| room);
        let got = tested.next_resend().map(|(id, n)| (id, *n));
        assert_eq!(got, expected.as_deref().map(|(id, n, _)| (*id, *n)));
        if let Some(entry) = expected {
            entry.2 = true;
        }
        got.is_some()
    }

    proptest! {
        #[test]
        fn the_window_holds_and_nothing_is_lost_or_reordered(window in 1u16..10, steps in steps()) {
            let mut tested = Outbound::new(window, 1..=20);
            let mut model = Model::new();
            let mut allowed = window;
            let (mut next, mut settled) = (0u32, Vec::new());
            for step in steps {
                match step {
                    Step::Send | Step::SendAs(_) => {
                        let free = model.iter().all(|(.., wire)| *wire) && model.len() < usize::from(allowed);
                        prop_assert_eq!(tested.can_send(), free);
                        let sent = match step {
                            Step::SendAs(id) => tested.send_as(id, next).map(|()| id),
                            _ => tested.send(next),
                        };
                        match sent {
                            Ok(id) => {
                                prop_assert!(free && model.iter().all(|(i, ..)| *i != id));
                                model.push_back((id, next, true));
                                next += 1;
                            }
                            Err(SendError::Later(_)) => prop_assert!(!free),
                            Err(SendError::IdInUse(_)) => {
                                prop_assert!(matches!(step, Step::SendAs(id) if model.iter().any(|(i, ..)| *i == id)));
                            }
                        }
                    }
                    Step::Ack(n) => {
                        if let Some(&(id, ..)) = model.get(n) {
                            settled.extend(acknowledge(&mut tested, &mut model, id));
                        }
                    }
                    Step::AckAnything(id) => settled.extend(acknowledge(&mut tested, &mut model, id)),
                    Step::Resend => {
                        resend(&mut tested, &mut model, allowed);
                    }
                    Step::Reconnect(receive_maximum) => {
                        tested.connected(receive_maximum);
                        allowed = window.min(receive_maximum);
                        model.iter_mut().for_each(|entry| entry.2 = false);
                    }
                }
                let on_wire = model.iter().filter(|(.., wire)| *wire).count();
                prop_assert!(on_wire <= usize::from(allowed));
                prop_assert_eq!(tested.awaits_ack(), on_wire > 0);
                prop_assert!(tested.iter().map(|(id, n)| (id, *n)).eq(model.iter().map(|(id, n, _)| (*id, *n))));
            }
            // A last connection: everything that was taken is settled, once.
            tested.connected(u16::MAX);
            model.iter_mut().for_each(|entry| entry.2 = false);
            while let Some((id, _)) = tested.oldest() {
                while resend(&mut tested, &mut model, window) {}
                settled.extend(acknowledge(&mut tested, &mut model, id));
            }
            settled.sort_unstable();
            prop_assert!(settled.into_iter().eq(0..next));
        }

        #[test]
        fn acknowledgements_go_out_in_order_and_only_once_released(order in prop::collection::vec(0usize..8, 0..100)) {
            let mut tested = Inbound::default();
            let mut waiting: Vec<(Received, u16)> = Vec::new();
            let (mut next, mut acknowledged) = (1u16, 1u16);
            for pick in order {
                if pick < 3 || waiting.is_empty() {
                    waiting.push((tested.receive(next), next));
                    next += 1;
                } else {
                    let (received, _) = waiting.remove(pick % waiting.len());
                    tested.release(received, Reason::SUCCESS);
                }
                let safe_before = waiting.iter().map(|(_, id)| *id).min().unwrap_or(next);
                while let Some((id, reason)) = tested.next_ack() {
                    prop_assert_eq!((id, reason), (acknowledged, Reason::SUCCESS));
                    acknowledged += 1;
                }
                prop_assert_eq!(acknowledged, safe_before);
            }
        }
    }

    #[test]
    fn a_message_from_an_earlier_life_is_sent_again_before_new_ones() {
        let mut session = Outbound::new(2, 1..=10);
        assert_eq!(session.restore(7, "old"), Ok(()));
        session.connected(10);
        assert_eq!(session.send("new"), Err(SendError::Later("new")));
        assert_eq!(session.next_resend(), Some((7, &"old")));
        assert_eq!(session.send("new"), Ok(1));
        assert_eq!(session.send("too many"), Err(SendError::Later("too many")));
        assert_eq!(session.acknowledge(7), Acked::Message("old"));
        assert_eq!(session.acknowledge(7), Acked::Unknown);
    }
}
