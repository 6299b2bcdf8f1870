//! One poll of one device: the requests that are still to be sent, and what they have brought so far. Plain data.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::driver::Request;
use crate::model::{Fault, Monotonic, Reading};

/// A poll that has begun.
#[derive(Debug)]
pub struct Turn {
    /// Its place among turns with the same deadline: who began first goes first.
    pub order: u64,
    /// When it should be over: an interval after it was due. The earliest goes first.
    pub deadline: Monotonic,
    /// When the device's next poll is due. What still waits for a gap by then has waited in vain.
    pub next_due: Monotonic,
    /// Whether it waits for a time when a silence would cost nobody else anything.
    pub patience: Patience,
    /// An offline device is tried: one request decides, and there are no repetitions.
    pub is_probe: bool,
    /// A request that is never answered has waited so long for a gap that it goes ahead without one.
    pub insists: bool,
    /// Still to be sent, the first next.
    pub pending: VecDeque<Pending>,
    /// How many of its requests are under way.
    pub under_way: usize,
    /// Answers that have not been handed on yet.
    pub readings: Vec<Reading>,
    /// The device has answered something in this turn.
    pub is_answered: bool,
    /// The last request's fault, when it had no answer.
    pub fault: Option<Fault>,
}

/// Whether and how long a turn lets others go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// In the order of deadlines.
    None,
    /// Waits for a gap, and gives up when the next poll is due.
    UntilNextDue,
    /// Waits for a gap, and goes ahead without one at that moment.
    Until(Monotonic),
}

/// A request of a turn.
#[derive(Debug, Clone)]
pub struct Pending {
    /// Index of the group that it belongs to.
    pub group: usize,
    /// What to ask.
    pub request: Arc<Request>,
    /// Its points are bad already because it is never answered: one try is enough.
    pub is_silent: bool,
    /// How often it was sent in this turn.
    pub tries: u32,
}
