//! What a write and its read-back mean for the device. Pure.

use std::sync::Arc;

use super::{Agenda, Shared};
use crate::model::{Fault, Reading, Round, Stamp};
use crate::poll::Event;
use crate::poll::liveness::Health;
use crate::poll::orders::Gate;

impl Agenda {
    /// Whether and from when on it may be written to. One that went with its line is tried: it may be back with it.
    pub fn gate(&self) -> Gate {
        match self.liveness.health() {
            Health::Offline(fault) if !self.liveness.lost_with_line() => Gate::Offline(fault),
            _ => Gate::From(self.rests_until),
        }
    }

    /// It answered a write, if only with a refusal.
    pub fn answered_write(&mut self, stamp: Stamp, shared: &mut Shared) {
        self.is_there(stamp, shared);
    }

    /// It was read back, or answered a write with what it holds. What its turn has read of these points is older and is forgotten; the rest goes first.
    pub fn read_back(&mut self, stamp: Stamp, readings: Vec<Reading>, shared: &mut Shared) {
        self.is_there(stamp, shared);
        if let Some(turn) = &mut self.turn {
            turn.readings.retain(|old| readings.iter().all(|new| new.point != old.point));
        }
        self.hand_on(shared);
        if !readings.is_empty() {
            shared.send(Event::Round(Round { device: Arc::clone(&self.device), readings }));
        }
    }

    /// It answered neither a write nor the read-back: as much as a failed poll, so that many commands can't keep the line from the others.
    pub fn ignored_write(&mut self, stamp: Stamp, fault: Fault, shared: &mut Shared) {
        self.status.failures += 1;
        if self.liveness.poll_failed(stamp.monotonic, fault) {
            self.hand_on(shared);
            self.turn = None;
            self.go_offline(stamp, fault, shared);
        }
    }
}
