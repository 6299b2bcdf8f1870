//! Messages on their way to the peer: packet ids, the send window, the steps of QoS 2, repetition after a reconnect.

use std::ops::RangeInclusive;

use super::in_flight::InFlight;
use crate::model::QoS;

/// Messages on their way to the peer.
///
/// `T` is what the caller needs to send a message again. Ids are chosen here ([`Outbound::send`]) or by the caller ([`Outbound::send_as`]).
/// A QoS 2 message is in flight until its PUBCOMP (§4.3.3), and counts against the window until then.
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
    /// Sent on this connection and not finished.
    on_wire: u16,
    /// Of these, those for which it is our turn: their PUBREC came and is not kept yet.
    recording: u16,
    /// And those at QoS 2.
    once: u16,
    /// The most of those.
    most_once: u16,
    /// `on_wire` of others on this connection, and their `once`.
    others: (u16, u16),
    /// While something from before the reconnect waits to be sent again: the last that was. Outer `None`: nothing waits.
    resending: Option<Option<u16>>,
}

#[derive(Debug)]
struct Entry<T> {
    item: T,
    on_wire: bool,
    awaits: Awaits,
}

/// What comes next for a message in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaits {
    /// QoS 1: the peer's PUBACK.
    PubAck,
    /// QoS 2: the peer's PUBREC.
    PubRec,
    /// QoS 2: our own word that the PUBREC is kept ([`Outbound::recorded`]), and with it PUBREL.
    Record,
    /// QoS 2: the peer's PUBCOMP.
    PubComp,
}

/// Why a message can't be sent now; it is given back.
#[derive(Debug, PartialEq, Eq)]
pub enum SendError<T> {
    /// The window is full, or messages from before the reconnect go first.
    Later(T),
    /// The id belongs to a message that is not finished yet.
    IdInUse(T),
}

/// What an acknowledgement finished.
#[derive(Debug, PartialEq, Eq)]
pub enum Acked<T> {
    /// This message.
    Message(T),
    /// Nothing that is known here: a repetition, out of order, or from another time. Not an error.
    Unknown,
}

/// What a PUBREC that is no refusal means.
#[derive(Debug, PartialEq, Eq)]
pub enum Receipt<'a, T> {
    /// It is the first for this message: keep that it came, then say [`Outbound::recorded`] and send PUBREL.
    Record(&'a T),
    /// It is being kept: PUBREL follows then.
    BeingRecorded,
    /// PUBREL was sent already; send it again.
    Again,
    /// No such message: PUBREL says so (0x92).
    Unknown,
}

/// What goes out again after a reconnect.
#[derive(Debug, PartialEq, Eq)]
pub enum Resend<'a, T> {
    /// PUBLISH, with DUP.
    Publish(u16, &'a T),
    /// PUBREL.
    PubRel(u16),
}

/// Where a message in flight stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// It was sent on this connection.
    pub on_wire: bool,
    /// QoS 2: its PUBREC came.
    pub receipted: bool,
    /// QoS 2: and is kept, so that PUBREL goes out or has gone.
    pub released: bool,
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
            recording: 0,
            once: 0,
            most_once: u16::MAX,
            others: (0, 0),
            resending: None,
        }
    }

    /// A connection was made on which the peer takes `receive_maximum` at once. Everything in flight is to be sent again, the oldest first.
    pub fn connected(&mut self, receive_maximum: u16) {
        self.allowed = self.window.min(receive_maximum.max(1));
        (self.on_wire, self.recording, self.once, self.others) = (0, 0, 0, (0, 0));
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
        self.on_wire.saturating_add(self.others.0) < self.allowed
    }

    /// Whether there may be one more at QoS 2.
    pub fn has_room_once(&self) -> bool {
        self.has_room() && self.once.saturating_add(self.others.1) < self.most_once
    }

    /// At most so many, at least 1, may be on the wire at QoS 2: for a peer that has no way to say what it takes.
    pub fn limit_once(&mut self, most: u16) {
        self.most_once = most.max(1);
    }

    /// Tells how much of the window is taken by others that send on this connection, and how much of that at QoS 2.
    pub fn share_window(&mut self, others: u16, once: u16) {
        self.others = (others, once);
    }

    /// Messages at QoS 2 that are sent on this connection and not finished.
    pub fn on_wire_once(&self) -> u16 {
        self.once
    }

    /// Messages that are sent on this connection and not finished.
    pub fn on_wire(&self) -> u16 {
        self.on_wire
    }

    /// Takes a message of QoS 1 or 2, chooses its packet id and counts it as sent.
    pub fn send(&mut self, item: T, qos: QoS) -> Result<u16, SendError<T>> {
        if !self.can_send() || (qos == QoS::ExactlyOnce && !self.has_room_once()) {
            return Err(SendError::Later(item));
        }
        // Some id is free unless all of them are in flight, and then the window would have been larger than the range.
        for _ in self.ids.clone() {
            let id = self.next_id;
            self.next_id = if id >= *self.ids.end() { *self.ids.start() } else { id + 1 };
            if !self.in_flight.contains(id) {
                return self.send_as(id, item, qos).map(|()| id);
            }
        }
        Err(SendError::Later(item))
    }

    /// Takes a message of QoS 1 or 2 with the id that the caller chose and counts it as sent.
    pub fn send_as(&mut self, id: u16, item: T, qos: QoS) -> Result<(), SendError<T>> {
        let awaits = if qos == QoS::ExactlyOnce { Awaits::PubRec } else { Awaits::PubAck };
        self.start(id, item, awaits)
    }

    /// Takes a message whose PUBREC came in an earlier life, to go on with PUBREL, and counts it as sent.
    pub fn release_as(&mut self, id: u16, item: T) -> Result<(), SendError<T>> {
        self.start(id, item, Awaits::PubComp)
    }

    fn start(&mut self, id: u16, item: T, awaits: Awaits) -> Result<(), SendError<T>> {
        if self.in_flight.contains(id) {
            return Err(SendError::IdInUse(item));
        }
        let is_once = awaits != Awaits::PubAck;
        if !self.can_send() || (is_once && !self.has_room_once()) {
            return Err(SendError::Later(item));
        }
        match self.in_flight.push(id, Entry { item, on_wire: true, awaits }) {
            Ok(()) => {
                self.on_wire += 1;
                self.once += u16::from(is_once);
                Ok(())
            }
            Err(entry) => Err(SendError::Later(entry.item)),
        }
    }

    /// Puts a message in flight without sending it, as one that was sent in an earlier life: [`Outbound::connected`] has it sent again.
    /// `recorded` says that its PUBREC came. Gives it back when its id is in use.
    pub fn restore(&mut self, id: u16, item: T, qos: QoS, recorded: bool) -> Result<(), T> {
        let awaits = match qos {
            QoS::ExactlyOnce if recorded => Awaits::PubComp,
            QoS::ExactlyOnce => Awaits::PubRec,
            _ => Awaits::PubAck,
        };
        self.in_flight.push(id, Entry { item, on_wire: false, awaits }).map_err(|entry| entry.item)
    }

    /// What is next to be sent again after a reconnect, counted as sent; `None` when there is nothing or the window is full.
    pub fn next_resend(&mut self) -> Option<Resend<'_, T>> {
        let id = loop {
            let after = self.resending?;
            if !self.has_room() {
                return None;
            }
            let Some(id) = self.in_flight.following(after) else {
                self.resending = None;
                return None;
            };
            if !self.has_room_for(id) {
                return None;
            }
            // The last one ends the resending, so that new messages need not wait for another call.
            self.resending = self.in_flight.following(Some(id)).map(|_| Some(id));
            let entry = self.in_flight.get_mut(id)?;
            if std::mem::replace(&mut entry.on_wire, true) {
                // It was repeated before its turn.
                continue;
            }
            self.on_wire += 1;
            self.once += u16::from(entry.awaits != Awaits::PubAck);
            // The PUBREL of one whose PUBREC is being kept comes with `recorded`.
            if entry.awaits != Awaits::Record {
                break id;
            }
            self.recording += 1;
        };
        let entry = self.in_flight.get(id)?;
        Some(if entry.awaits == Awaits::PubComp { Resend::PubRel(id) } else { Resend::Publish(id, &entry.item) })
    }

    /// Sends this message again before its turn and counts it as sent; `None` when it is not there, was sent on this connection, or the
    /// window is full.
    pub fn repeat(&mut self, id: u16) -> Option<Resend<'_, T>> {
        if !self.has_room() || !self.has_room_for(id) {
            return None;
        }
        let entry = self.in_flight.get_mut(id).filter(|entry| !entry.on_wire && entry.awaits != Awaits::Record)?;
        entry.on_wire = true;
        self.on_wire += 1;
        self.once += u16::from(entry.awaits != Awaits::PubAck);
        Some(if entry.awaits == Awaits::PubComp { Resend::PubRel(id) } else { Resend::Publish(id, &entry.item) })
    }

    /// Whether the limit of those at QoS 2 lets this one go, or has nothing to do with it.
    fn has_room_for(&self, id: u16) -> bool {
        self.has_room_once()
            || self.in_flight.get(id).is_none_or(|entry| entry.on_wire || entry.awaits == Awaits::PubAck)
    }

    /// The peer has lost the session: what has its PUBREC is a message like the others again.
    pub fn forget_receipts(&mut self) {
        self.change(|_, awaits| if awaits == Awaits::PubAck { awaits } else { Awaits::PubRec });
    }

    /// The peer takes other levels than before: what has no PUBREC is sent again at this one.
    pub fn set_levels(&mut self, level: impl Fn(&T) -> QoS) {
        self.change(|item, awaits| match awaits {
            Awaits::PubAck | Awaits::PubRec if level(item) == QoS::ExactlyOnce => Awaits::PubRec,
            Awaits::PubAck | Awaits::PubRec => Awaits::PubAck,
            later => later,
        });
    }

    fn change(&mut self, to: impl Fn(&T, Awaits) -> Awaits) {
        let mut at = self.in_flight.following(None);
        while let Some(id) = at {
            if let Some(entry) = self.in_flight.get_mut(id) {
                let awaits = to(&entry.item, entry.awaits);
                let before = std::mem::replace(&mut entry.awaits, awaits);
                if entry.on_wire {
                    self.recording -= u16::from(before == Awaits::Record && awaits != Awaits::Record);
                    self.once -= u16::from(before != Awaits::PubAck);
                    self.once += u16::from(awaits != Awaits::PubAck);
                }
            }
            at = self.in_flight.following(Some(id));
        }
    }

    /// Takes a PUBACK.
    pub fn acknowledge(&mut self, id: u16) -> Acked<T> {
        self.finish(id, |awaits| awaits == Awaits::PubAck)
    }

    /// Takes a PUBREC that is no refusal.
    pub fn receipt(&mut self, id: u16) -> Receipt<'_, T> {
        let Some(entry) = self.in_flight.get_mut(id) else { return Receipt::Unknown };
        match entry.awaits {
            Awaits::PubAck => Receipt::Unknown,
            Awaits::PubRec => {
                entry.awaits = Awaits::Record;
                self.recording += u16::from(entry.on_wire);
                Receipt::Record(&entry.item)
            }
            Awaits::Record => Receipt::BeingRecorded,
            Awaits::PubComp => Receipt::Again,
        }
    }

    /// Takes a PUBREC that is a refusal (0x80 and above): the message is finished.
    pub fn refused(&mut self, id: u16) -> Acked<T> {
        self.finish(id, |awaits| awaits == Awaits::PubRec)
    }

    /// The PUBREC of this message is kept; true when PUBREL is to be sent now.
    pub fn recorded(&mut self, id: u16) -> bool {
        match self.in_flight.get_mut(id) {
            Some(entry) if entry.awaits == Awaits::Record => {
                entry.awaits = Awaits::PubComp;
                self.recording -= u16::from(entry.on_wire);
                entry.on_wire
            }
            _ => false,
        }
    }

    /// Takes a PUBCOMP.
    pub fn complete(&mut self, id: u16) -> Acked<T> {
        self.finish(id, |awaits| awaits == Awaits::PubComp)
    }

    /// Gives an id back whose message will not be sent after all.
    pub fn withdraw(&mut self, id: u16) -> Acked<T> {
        self.finish(id, |_| true)
    }

    fn finish(&mut self, id: u16, expected: impl Fn(Awaits) -> bool) -> Acked<T> {
        if !self.in_flight.get(id).is_some_and(|entry| expected(entry.awaits)) {
            return Acked::Unknown;
        }
        // Resending goes on after the one before the one that goes.
        if self.resending == Some(Some(id)) {
            self.resending = Some(self.in_flight.previous(id));
        }
        let Some(entry) = self.in_flight.remove(id) else { return Acked::Unknown };
        if entry.on_wire {
            self.on_wire -= 1;
            self.recording -= u16::from(entry.awaits == Awaits::Record);
            self.once -= u16::from(entry.awaits != Awaits::PubAck);
        }
        if self.resending.is_some_and(|after| self.in_flight.following(after).is_none()) {
            self.resending = None;
        }
        Acked::Message(entry.item)
    }

    /// Not finished, sent on this connection or not.
    pub fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether everything is finished.
    pub fn is_empty(&self) -> bool {
        self.in_flight.len() == 0
    }

    /// Whether an acknowledgement can be expected: something has been sent on this connection, and it is the peer's turn.
    pub fn awaits_ack(&self) -> bool {
        self.on_wire > self.recording
    }

    /// Whether a message with this id is not finished yet.
    pub fn id_in_use(&self, id: u16) -> bool {
        self.in_flight.contains(id)
    }

    /// The oldest that is not finished.
    pub fn oldest(&self) -> Option<(u16, &T)> {
        self.in_flight.first().map(|(id, entry)| (id, &entry.item))
    }

    /// The same with where each stands.
    pub fn stages(&self) -> impl Iterator<Item = (u16, &T, Stage)> {
        self.in_flight.iter().map(|(id, entry)| {
            let receipted = matches!(entry.awaits, Awaits::Record | Awaits::PubComp);
            let stage = Stage { on_wire: entry.on_wire, receipted, released: entry.awaits == Awaits::PubComp };
            (id, &entry.item, stage)
        })
    }

    /// All that is not finished, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &T)> {
        self.in_flight.iter().map(|(id, entry)| (id, &entry.item))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Send(QoS),
        SendAs(u16, QoS),
        /// The next acknowledgement that the n-th in flight awaits.
        Answer(usize),
        Anything(u16, u8),
        Resend,
        Reconnect(u16),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let qos = prop::sample::select(&[QoS::AtLeastOnce, QoS::ExactlyOnce][..]);
        let step = prop_oneof![
            4 => qos.clone().prop_map(Step::Send),
            2 => (1u16..30, qos).prop_map(|(id, qos)| Step::SendAs(id, qos)),
            8 => (0usize..20).prop_map(Step::Answer),
            1 => (any::<u16>(), 0u8..5).prop_map(|(id, what)| Step::Anything(id, what)),
            1 => (1u16..30, 0u8..5).prop_map(|(id, what)| Step::Anything(id, what)),
            3 => Just(Step::Resend),
            1 => (1u16..12).prop_map(Step::Reconnect),
        ];
        prop::collection::vec(step, 0..300)
    }

    struct Flying {
        id: u16,
        n: u32,
        on_wire: bool,
        awaits: Awaits,
    }

    /// What is in flight, in order.
    type Model = VecDeque<Flying>;

    /// Plays an acknowledgement or `recorded` against both; the message that it finished.
    fn answer(tested: &mut Outbound<u32>, model: &mut Model, id: u16, what: Awaits) -> Option<u32> {
        let at = model.iter().position(|f| f.id == id);
        let expected = at.filter(|at| model[*at].awaits == what);
        match what {
            Awaits::PubRec => {
                let receipt = match at.map(|at| model[at].awaits) {
                    None | Some(Awaits::PubAck) => Receipt::Unknown,
                    Some(Awaits::PubRec) => Receipt::Record(&model[expected.unwrap()].n),
                    Some(Awaits::Record) => Receipt::BeingRecorded,
                    Some(Awaits::PubComp) => Receipt::Again,
                };
                assert_eq!(tested.receipt(id), receipt);
            }
            Awaits::Record => {
                assert_eq!(tested.recorded(id), expected.is_some_and(|at| model[at].on_wire));
            }
            Awaits::PubAck | Awaits::PubComp => {
                let acked = if what == Awaits::PubAck { tested.acknowledge(id) } else { tested.complete(id) };
                let message = expected.and_then(|at| model.remove(at)).map(|f| f.n);
                assert_eq!(acked, message.map_or(Acked::Unknown, Acked::Message));
                return message;
            }
        }
        if let Some(at) = expected {
            model[at].awaits = if what == Awaits::PubRec { Awaits::Record } else { Awaits::PubComp };
        }
        None
    }

    fn resend(tested: &mut Outbound<u32>, model: &mut Model, allowed: u16) -> bool {
        let mut expected = None;
        while model.iter().filter(|f| f.on_wire).count() < usize::from(allowed) {
            let Some(next) = model.iter_mut().find(|f| !f.on_wire) else { break };
            next.on_wire = true;
            if next.awaits != Awaits::Record {
                expected = Some((next.id, (next.awaits != Awaits::PubComp).then_some(next.n)));
                break;
            }
        }
        let got = tested.next_resend().map(|resend| match resend {
            Resend::Publish(id, n) => (id, Some(*n)),
            Resend::PubRel(id) => (id, None),
        });
        assert_eq!(got, expected);
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
                    Step::Send(qos) | Step::SendAs(_, qos) => {
                        let free = model.iter().all(|f| f.on_wire) && model.len() < usize::from(allowed);
                        prop_assert_eq!(tested.can_send(), free);
                        let sent = match step {
                            Step::SendAs(id, qos) => tested.send_as(id, next, qos).map(|()| id),
                            _ => tested.send(next, qos),
                        };
                        match sent {
                            Ok(id) => {
                                prop_assert!(free && model.iter().all(|f| f.id != id));
                                let awaits = if qos == QoS::ExactlyOnce { Awaits::PubRec } else { Awaits::PubAck };
                                model.push_back(Flying { id, n: next, on_wire: true, awaits });
                                next += 1;
                            }
                            Err(SendError::Later(_)) => prop_assert!(!free),
                            Err(SendError::IdInUse(_)) => {
                                prop_assert!(matches!(step, Step::SendAs(id, _) if model.iter().any(|f| f.id == id)));
                            }
                        }
                    }
                    Step::Answer(n) => {
                        if let Some(&Flying { id, awaits, .. }) = model.get(n) {
                            settled.extend(answer(&mut tested, &mut model, id, awaits));
                        }
                    }
                    Step::Anything(id, 4) => {
                        let at = model.iter().position(|f| f.id == id && f.awaits == Awaits::PubRec);
                        let message = at.and_then(|at| model.remove(at)).map(|f| f.n);
                        prop_assert_eq!(tested.refused(id), message.map_or(Acked::Unknown, Acked::Message));
                        settled.extend(message);
                    }
                    Step::Anything(id, what) => {
                        let what = [Awaits::PubAck, Awaits::PubRec, Awaits::Record, Awaits::PubComp][usize::from(what)];
                        settled.extend(answer(&mut tested, &mut model, id, what));
                    }
                    Step::Resend => {
                        resend(&mut tested, &mut model, allowed);
                    }
                    Step::Reconnect(receive_maximum) => {
                        tested.connected(receive_maximum);
                        allowed = window.min(receive_maximum);
                        model.iter_mut().for_each(|f| f.on_wire = false);
                    }
                }
                let on_wire = model.iter().filter(|f| f.on_wire).count();
                prop_assert!(on_wire <= usize::from(allowed));
                let theirs = model.iter().filter(|f| f.on_wire && f.awaits != Awaits::Record).count();
                prop_assert_eq!(tested.awaits_ack(), theirs > 0);
                prop_assert!(tested.iter().map(|(id, n)| (id, *n)).eq(model.iter().map(|f| (f.id, f.n))));
            }
            // A last connection: everything that was taken is settled, once.
            tested.connected(u16::MAX);
            model.iter_mut().for_each(|f| f.on_wire = false);
            while let Some((id, _)) = tested.oldest() {
                while resend(&mut tested, &mut model, window) {}
                let awaits = model[0].awaits;
                settled.extend(answer(&mut tested, &mut model, id, awaits));
            }
            settled.sort_unstable();
            prop_assert!(settled.into_iter().eq(0..next));
        }
    }

    #[test]
    fn what_is_left_from_an_earlier_life_goes_first_and_counts_against_the_window() {
        let mut session = Outbound::new(2, 1..=10);
        assert_eq!(session.restore(7, "recorded", QoS::ExactlyOnce, true), Ok(()));
        assert_eq!(session.restore(8, "sent", QoS::ExactlyOnce, false), Ok(()));
        session.connected(10);
        assert_eq!(session.send("new", QoS::AtLeastOnce), Err(SendError::Later("new")));
        assert_eq!(session.next_resend(), Some(Resend::PubRel(7)));
        assert_eq!(session.next_resend(), Some(Resend::Publish(8, &"sent")));
        assert_eq!(session.send("new", QoS::AtLeastOnce), Err(SendError::Later("new")));
        assert_eq!(session.complete(7), Acked::Message("recorded"));
        assert_eq!(session.send("new", QoS::AtLeastOnce), Ok(1));
        assert_eq!(session.complete(7), Acked::Unknown);
    }

    #[test]
    fn a_limit_of_those_at_qos_2_holds_them_back_and_no_others() {
        let mut session = Outbound::new(10, 1..=20);
        session.limit_once(2);
        session.share_window(1, 1);
        assert_eq!(session.send("first", QoS::ExactlyOnce), Ok(1));
        assert_eq!(session.send("second", QoS::ExactlyOnce), Err(SendError::Later("second")));
        assert!(session.can_send() && !session.has_room_once());
        assert_eq!(session.send("plain", QoS::AtLeastOnce), Ok(2));
        session.share_window(0, 0);
        assert_eq!(session.send("second", QoS::ExactlyOnce), Ok(3));
        session.connected(10);
        session.limit_once(1);
        assert_eq!(session.next_resend(), Some(Resend::Publish(1, &"first")));
        assert_eq!(session.next_resend(), Some(Resend::Publish(2, &"plain")));
        assert_eq!(session.next_resend(), None, "in their order");
        assert!(session.receipt(1) == Receipt::Record(&"first") && session.recorded(1));
        assert_eq!(session.next_resend(), None, "until PUBCOMP");
        assert_eq!((session.complete(1), session.on_wire_once()), (Acked::Message("first"), 0));
        assert_eq!(session.next_resend(), Some(Resend::Publish(3, &"second")));
    }

    #[test]
    fn a_pubrec_that_no_subscriber_matched_is_a_success_and_a_failure_ends_the_message() {
        let mut session = Outbound::new(2, 1..=10);
        for item in ["a", "b"] {
            session.send(item, QoS::ExactlyOnce).unwrap();
        }
        assert!(session.receipt(1) == Receipt::Record(&"a") && session.recorded(1));
        assert_eq!((session.refused(1), session.refused(2)), (Acked::Unknown, Acked::Message("b")));
        assert_eq!(session.acknowledge(1), Acked::Unknown, "a PUBACK is no answer at QoS 2");
    }
}
