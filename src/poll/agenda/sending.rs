//! What of a device's turn may be sent when, and what counts as under way. Pure.

use super::Agenda;
use crate::model::Monotonic;
use crate::poll::turn::{Patience, Pending};

impl Agenda {
    /// When its pause is over, if it has one now.
    pub(super) fn rest(&self, now: Monotonic) -> Option<Monotonic> {
        (self.rests_until > now).then_some(self.rests_until)
    }

    /// Whether it may be sent something beside `under_way` requests that it has already.
    pub fn takes_another(&self, now: Monotonic) -> bool {
        let most = self.device.quirks.max_in_flight.map_or(usize::MAX, usize::from);
        let turn = self.turn.as_ref().filter(|turn| !turn.pending.is_empty());
        self.rests_until <= now && turn.is_some_and(|turn| turn.under_way < most)
    }

    /// Whether its next request may be in vain: it is sent while nothing else is under way, so that its silence costs nobody an answer.
    pub fn is_doubtful(&self) -> bool {
        let Some(turn) = &self.turn else { return false };
        let is_unproven = !self.is_trusted() && !turn.is_answered;
        is_unproven
            || turn.patience != Patience::None
            || turn.pending.front().is_some_and(|next| next.is_silent || next.tries > 0)
    }

    /// The next request of its turn, which counts as sent now.
    pub fn send(&mut self) -> Option<Pending> {
        let turn = self.turn.as_mut()?;
        let mut asked = turn.pending.pop_front()?;
        asked.tries += 1;
        turn.under_way += 1;
        self.status.requests += 1;
        Some(asked)
    }

    /// A request is over, however it ended; it no longer counts as under way.
    pub fn received(&mut self, now: Monotonic) {
        self.rests_until = now + self.device.quirks.pause;
        if let Some(turn) = &mut self.turn {
            turn.under_way = turn.under_way.saturating_sub(1);
        }
    }

    /// The connection was cut because of another request: this one is sent again as if it never had been.
    pub fn cut(&mut self, mut asked: Pending) {
        asked.tries = asked.tries.saturating_sub(1);
        if let Some(turn) = &mut self.turn {
            turn.pending.push_front(asked);
        }
    }
}
