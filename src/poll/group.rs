//! The points of a device that share an interval, and the requests that read them. Pure.
//!
//! It remembers what a device would not answer: requests that were split around a refused address, points that it
//! refuses altogether, and requests that it leaves unanswered while it answers others.

use std::sync::Arc;
use std::time::Duration;

use super::backoff::Backoff;
use super::grid::Grid;
use crate::driver::Request;
use crate::model::Monotonic;

/// A refused point is asked for again this often: the answer will hardly change, and the line has better to do.
const REFUSED_AGAIN: Duration = Duration::from_secs(60);
/// A request without an answer for so many polls may be in vain, though the device answers others.
const SILENT_POLLS: u32 = 3;
const FIRST_AGAIN: Duration = Duration::from_secs(1);
const RAREST_AGAIN: Duration = Duration::from_secs(60);

/// One interval's points.
#[derive(Debug)]
pub struct Group {
    /// When it is due.
    pub grid: Grid,
    /// As the planner made them; what is known about the device's refusals is in `asks`.
    planned: Vec<Arc<Request>>,
    asks: Vec<Ask>,
    /// A refused point was answered: the device has changed, so what it refused before is forgotten.
    is_outdated: bool,
}

/// A request and what became of it.
#[derive(Debug)]
struct Ask {
    request: Arc<Request>,
    silent_polls: u32,
    /// Its points are bad because of its silence.
    is_bad: bool,
    is_refused: bool,
    again_at: Monotonic,
    again: Backoff,
}

impl Ask {
    fn new(request: Arc<Request>) -> Ask {
        let again = Backoff::new(FIRST_AGAIN, RAREST_AGAIN);
        Ask { request, silent_polls: 0, is_bad: false, is_refused: false, again_at: Monotonic::default(), again }
    }
}

/// A request that is to be sent, and whether it may be in vain.
#[derive(Debug, Clone)]
pub struct Due {
    /// What to ask.
    pub request: Arc<Request>,
    /// The device has left it unanswered so often that its points are bad.
    pub is_silent: bool,
    /// Polls in a row without an answer to it.
    pub silent_polls: u32,
    /// Since when it could have been asked.
    pub since: Monotonic,
}

impl Group {
    /// Reads `planned` on `grid`.
    pub fn new(grid: Grid, planned: Vec<Request>) -> Group {
        let planned: Vec<_> = planned.into_iter().map(Arc::new).collect();
        let asks = planned.iter().cloned().map(Ask::new).collect();
        Group { grid, planned, asks, is_outdated: false }
    }

    /// What is to be asked now.
    pub fn due(&mut self, now: Monotonic) -> impl Iterator<Item = Due> {
        if self.is_outdated {
            self.forget();
        }
        self.asks.iter().filter(move |ask| ask.again_at <= now).map(|ask| Due {
            request: Arc::clone(&ask.request),
            is_silent: ask.silent_polls >= SILENT_POLLS,
            silent_polls: ask.silent_polls,
            since: ask.again_at,
        })
    }

    /// Back to the plan: whatever the device refused, it may answer now.
    pub fn forget(&mut self) {
        self.asks = self.planned.iter().cloned().map(Ask::new).collect();
        self.is_outdated = false;
    }

    /// `request` was answered.
    pub fn answered(&mut self, request: &Arc<Request>) {
        let Some(ask) = self.ask(request) else { return };
        let was_refused = ask.is_refused;
        *ask = Ask::new(Arc::clone(request));
        self.is_outdated |= was_refused;
    }

    /// `request` was refused, and will be again. Returns whether that is new.
    pub fn refused(&mut self, now: Monotonic, request: &Arc<Request>) -> bool {
        let Some(ask) = self.ask(request) else { return false };
        let is_new = !ask.is_refused;
        *ask = Ask { is_refused: true, again_at: now + REFUSED_AGAIN, ..Ask::new(Arc::clone(request)) };
        is_new
    }

    /// `request` is replaced by smaller ones from now on; returns them.
    pub fn split(&mut self, request: &Arc<Request>, parts: Vec<Request>) -> Vec<Arc<Request>> {
        let parts: Vec<_> = parts.into_iter().map(Arc::new).collect();
        if let Some(at) = self.asks.iter().position(|ask| Arc::ptr_eq(&ask.request, request)) {
            self.asks.splice(at..=at, parts.iter().cloned().map(Ask::new));
        }
        parts
    }

    /// `request` had no answer, with all its repetitions. Returns whether its points are bad from now on.
    ///
    /// They are when the device answers others, `is_partial`: those are published, and what was read before must not
    /// look as fresh beside them. A device that answers nothing has until it is offline.
    pub fn silent(&mut self, now: Monotonic, request: &Arc<Request>, is_partial: bool) -> bool {
        let Some(ask) = self.ask(request) else { return false };
        ask.silent_polls += 1;
        let was_bad = ask.is_bad;
        ask.is_bad |= is_partial || ask.silent_polls >= SILENT_POLLS;
        if ask.silent_polls >= SILENT_POLLS {
            ask.again_at = now + ask.again.wait();
        }
        ask.is_bad && !was_bad
    }

    /// The device answered nothing at all: only the order of the next poll changes, the unanswered goes last.
    pub fn unanswered(&mut self, request: &Arc<Request>) {
        if let Some(ask) = self.ask(request).filter(|ask| ask.silent_polls + 1 < SILENT_POLLS) {
            ask.silent_polls += 1;
        }
    }

    /// All points, once each.
    pub fn points(&self) -> impl Iterator<Item = usize> {
        self.planned.iter().flat_map(|request| request.points.iter().copied())
    }

    fn ask(&mut self, request: &Arc<Request>) -> Option<&mut Ask> {
        self.asks.iter_mut().find(|ask| Arc::ptr_eq(&ask.request, request))
    }
}
