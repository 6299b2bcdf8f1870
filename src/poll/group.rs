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
    /// Requests that were refused as a whole. Whatever holds all cells of one will be refused too.
    refused: Vec<Arc<Request>>,
    /// Parts that belong together may be joined again once it is known which of them are refused.
    is_parted: bool,
    /// A refused point was answered: the device has changed, so what it refused before is forgotten.
    is_outdated: bool,
}

/// A request and what became of it.
#[derive(Debug)]
struct Ask {
    request: Arc<Request>,
    /// Index of the planned request that it is, or is a part of.
    origin: usize,
    silent_polls: u32,
    /// Its points are bad because of its silence.
    is_bad: bool,
    is_refused: bool,
    has_answered: bool,
    again_at: Monotonic,
    again: Backoff,
}

impl Ask {
    fn new(request: Arc<Request>, origin: usize) -> Ask {
        let again = Backoff::new(FIRST_AGAIN, RAREST_AGAIN);
        Ask {
            request,
            origin,
            silent_polls: 0,
            is_bad: false,
            is_refused: false,
            has_answered: false,
            again_at: Monotonic::default(),
            again,
        }
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
        let mut group =
            Group { grid, planned, asks: Vec::new(), refused: Vec::new(), is_parted: false, is_outdated: false };
        group.forget();
        group
    }

    /// What is to be asked now.
    pub fn due(&mut self, now: Monotonic) -> impl Iterator<Item = Due> {
        if self.is_outdated {
            self.forget();
        }
        if self.is_parted && self.asks.iter().all(|ask| ask.has_answered || ask.is_refused || ask.is_bad) {
            self.is_parted = false;
            self.join();
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
        self.asks = (0..).zip(&self.planned).map(|(origin, request)| Ask::new(Arc::clone(request), origin)).collect();
        self.refused.clear();
        (self.is_parted, self.is_outdated) = (false, false);
    }

    /// `request` was answered.
    pub fn answered(&mut self, request: &Arc<Request>) {
        let Some(ask) = self.ask(request) else { return };
        let was_refused = ask.is_refused;
        *ask = Ask { has_answered: true, ..Ask::new(Arc::clone(request), ask.origin) };
        self.is_outdated |= was_refused;
    }

    /// Whether `request` was ever answered since the plan was made.
    pub fn has_answered(&mut self, request: &Arc<Request>) -> bool {
        self.ask(request).is_some_and(|ask| ask.has_answered)
    }

    /// `request` was never answered, and the device failed at it: its address may be the reason, or the device may recover. So it
    /// is asked again soon, and then more rarely. Returns whether it fails for the first time while others are answered.
    pub fn failed(&mut self, now: Monotonic, request: &Arc<Request>) -> bool {
        let is_alone = !self.asks.iter().any(|ask| ask.has_answered);
        let Some(ask) = self.ask(request) else { return false };
        let is_new = !ask.is_refused;
        ask.is_refused = true;
        ask.again_at = now + ask.again.wait();
        is_new && !is_alone
    }

    /// `request` was refused, and will be again. Returns whether that is new.
    pub fn refused(&mut self, now: Monotonic, request: &Arc<Request>) -> bool {
        let Some(ask) = self.ask(request) else { return false };
        let is_new = !ask.is_refused;
        *ask = Ask { is_refused: true, again_at: now + REFUSED_AGAIN, ..Ask::new(Arc::clone(request), ask.origin) };
        self.refused.extend(is_new.then(|| Arc::clone(request)));
        is_new
    }

    /// `request` is replaced by smaller ones from now on; returns them.
    pub fn split(&mut self, request: &Arc<Request>, parts: Vec<Request>) -> Vec<Arc<Request>> {
        let parts: Vec<_> = parts.into_iter().map(Arc::new).collect();
        if let Some(at) = self.asks.iter().position(|ask| Arc::ptr_eq(&ask.request, request)) {
            let origin = self.asks[at].origin;
            self.asks.splice(at..=at, parts.iter().map(|part| Ask::new(Arc::clone(part), origin)));
            self.refused.push(Arc::clone(request));
            self.is_parted = true;
        }
        parts
    }

    /// Puts answered neighbours of one planned request together again, unless that would hold all that was refused once.
    ///
    /// Searching for a refused address parts its neighbours again and again; without this they would stay apart.
    fn join(&mut self) {
        let mut joined: Vec<Ask> = Vec::with_capacity(self.asks.len());
        for ask in self.asks.drain(..) {
            let last = joined.last_mut().filter(|last| {
                last.origin == ask.origin && [&**last, &ask].iter().all(|ask| ask.has_answered && ask.silent_polls == 0)
            });
            let whole = last.as_ref().map(|last| hull(&last.request, &ask.request));
            match (last, whole) {
                (Some(last), Some(whole)) if !self.refused.iter().any(|refused| holds(&whole, refused)) => {
                    *last = Ask { has_answered: true, ..Ask::new(Arc::new(whole), ask.origin) };
                }
                _ => joined.push(ask),
            }
        }
        self.asks = joined;
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

/// One request for the points of both.
fn hull(one: &Request, other: &Request) -> Request {
    let address = one.address.min(other.address);
    let end = end(one).max(end(other));
    // Both are parts of one request, so the count of that is enough.
    let count = u16::try_from(end - u32::from(address)).unwrap_or(u16::MAX);
    Request { table: one.table, address, count, points: [&one.points[..], &other.points].concat() }
}

/// Whether `whole` has all cells of `part`.
fn holds(whole: &Request, part: &Request) -> bool {
    whole.table == part.table && whole.address <= part.address && end(part) <= end(whole)
}

fn end(request: &Request) -> u32 {
    u32::from(request.address) + u32::from(request.count)
}
