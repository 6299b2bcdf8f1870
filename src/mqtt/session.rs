//! The session state of QoS 1 and 2 that both ends keep: what is on its way out, and what still has to be answered.
//!
//! Pure: no time, no socket. The broker's connections and the uplinks decide with it and carry out what it says.
//! It never closes a connection over an acknowledgement that it does not know (§4.3.2 leaves that open; a peer that restarts sends such).

mod in_flight;
mod inbound;
mod outbound;

pub use inbound::{Answer, Arrival, Inbound, Received};
pub use outbound::{Acked, Outbound, Receipt, Resend, SendError, Stage};
