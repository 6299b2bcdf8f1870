//! The QoS 2 messages that a kept session has sent and not released: each is handled once, whatever connections come and go. Pure.

use std::collections::BTreeMap;

use super::super::words::Key;
use crate::mqtt::Received;

/// The packet ids of one session.
#[derive(Debug, Default)]
pub(super) struct Intake {
    ids: BTreeMap<u16, State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its message is being written. Whoever asked last is answered.
    Taken(Key, Received),
    /// Its message is safe.
    Held,
    /// Its PUBREL came, and that is being written.
    Releasing,
}

/// What a PUBLISH is to the session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// A message.
    New,
    /// A repetition of one that is being written: its commit is waited for.
    Waits,
    /// A repetition of one that is safe.
    Safe,
}

impl Intake {
    /// With the ids that were found on disk.
    pub fn restored(ids: Vec<u16>) -> Intake {
        Intake { ids: ids.into_iter().map(|id| (id, State::Held)).collect() }
    }

    /// A PUBLISH came that its connection had not seen before.
    pub fn receive(&mut self, packet_id: u16, key: Key, received: Received) -> Arrival {
        match self.ids.get_mut(&packet_id) {
            None => {
                self.ids.insert(packet_id, State::Taken(key, received));
                Arrival::New
            }
            Some(taken @ State::Taken(..)) => {
                *taken = State::Taken(key, received);
                Arrival::Waits
            }
            Some(State::Held | State::Releasing) => Arrival::Safe,
        }
    }

    /// The message is on disk, or `refused`, which leaves its id free. Returns who waits for that.
    pub fn settle(&mut self, packet_id: u16, refused: bool) -> Option<(Key, Received)> {
        let Some(&State::Taken(key, received)) = self.ids.get(&packet_id) else { return None };
        if refused {
            self.ids.remove(&packet_id);
        } else {
            self.ids.insert(packet_id, State::Held);
        }
        Some((key, received))
    }

    /// A PUBREL came.
    pub fn release(&mut self, packet_id: u16) -> Released {
        match self.ids.get_mut(&packet_id) {
            Some(held @ State::Held) => {
                *held = State::Releasing;
                Released::Write
            }
            Some(State::Releasing) => Released::BeingWritten,
            Some(State::Taken(..)) | None => Released::Unknown,
        }
    }

    /// The PUBREL is on disk.
    pub fn forget(&mut self, packet_id: u16) {
        self.ids.remove(&packet_id);
    }

    /// The ids that a new connection has to know: their messages are safe.
    pub fn held(&self) -> Vec<u16> {
        self.ids.iter().filter(|(_, state)| !matches!(state, State::Taken(..))).map(|(id, _)| *id).collect()
    }
}

/// What a PUBREL is to the session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Released {
    /// It is to be written.
    Write,
    /// It came before, and PUBCOMP follows its commit.
    BeingWritten,
    /// There is nothing to release.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn key(generation: u32) -> Key {
        Key { slot: 0, generation }
    }

    #[test]
    fn a_repetition_on_another_connection_waits_for_the_commit_of_the_first() {
        let mut intake = Intake::default();
        assert_eq!(intake.receive(5, key(0), Received(8)), Arrival::New);
        assert_eq!(intake.receive(5, key(1), Received(0)), Arrival::Waits);
        assert_eq!((intake.held(), intake.release(5)), (vec![], Released::Unknown));
        assert_eq!(intake.settle(5, false), Some((key(1), Received(0))));
        assert_eq!(intake.settle(5, false), None);
        assert_eq!(intake.receive(5, key(2), Received(0)), Arrival::Safe);
    }

    #[test]
    fn an_id_is_known_until_its_release_is_safe() {
        let mut intake = Intake::restored(vec![5]);
        assert_eq!((intake.release(5), intake.release(5)), (Released::Write, Released::BeingWritten));
        assert_eq!(intake.held(), [5]);
        intake.forget(5);
        assert_eq!(intake.release(5), Released::Unknown);
        assert_eq!(intake.receive(5, key(0), Received(0)), Arrival::New);
    }

    #[test]
    fn a_refused_message_may_be_sent_again_under_its_id() {
        let mut intake = Intake::default();
        intake.receive(5, key(0), Received(0));
        assert_eq!(intake.settle(5, true), Some((key(0), Received(0))));
        assert_eq!(intake.receive(5, key(0), Received(1)), Arrival::New);
    }
}
