//! Commands: what a message on a `…/set` topic may do (`DESIGN.md` §5). Pure.
//!
//! [`Desk`] reads the message, checks it against what the configuration allows, remembers its `id`, and makes an order of it for the
//! bus; later it makes a result of what the bus reports. It refuses to write, to wait, and to decide when something is written: that
//! is `poll`'s. Nothing is bent to fit: what is not exactly allowed is rejected, with words for whoever sent it.

mod check;
mod desk;
mod history;
mod outcome;
mod payload;
mod topics;

pub use desk::{Answer, Decision, Desk, Refusal};
pub use outcome::Status;
