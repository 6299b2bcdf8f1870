//! Polling: which device on a bus is asked what and when, and what its answers and silences mean.
//!
//! The decisions are a pure state machine: [`scheduler`] for a bus, `agenda` for one of its devices, `group` for the points
//! of one interval, `liveness`, `grid`, `backoff`, `budget` and `overlap` for what their names say; [`load`] says beforehand
//! what a bus will have to do. [`run`] is the short task around it.
//! It refuses to know protocols (that is `driver`) and topics (that is `route`).

mod agenda;
mod backoff;
mod budget;
mod grid;
mod group;
mod liveness;
pub mod load;
pub mod once;
mod orders;
mod overlap;
pub mod scheduler;
#[cfg(test)]
mod simulation;
mod spread;
mod task;
mod turn;

use std::sync::Arc;

use crate::driver::DriverError;
use crate::model::{Device, Fault, Round, Stamp};

pub use agenda::Output;
pub use task::{Mailbox, run};

/// What a bus reports. Events of one device come in the order in which they happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// Readings of one poll of one device.
    Round(Round),
    /// A device came online or went offline. Going offline is followed by a round with all its points bad.
    Availability {
        /// Which.
        device: Arc<Device>,
        /// Whether it answers.
        online: bool,
        /// Why not.
        fault: Option<Fault>,
        /// When.
        stamp: Stamp,
    },
}

/// Why a bus could not be polled, or no longer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PollError {
    /// Nothing speaks the bus's protocol.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The other end of the events is closed.
    #[error("nobody takes the readings any more")]
    NobodyListens,
}
