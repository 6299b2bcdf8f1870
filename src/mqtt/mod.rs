//! The MQTT protocol, sans I/O: packets, their codec, and the session state that both ends of a connection keep.
//!
//! The broker's connections and the uplinks share it. It knows packets alone: no devices, no queue, no socket, no clock.
//!
//! - [`Codec`]: bytes to [`Packet`]s and back, with every check that needs no state.
//! - [`Outbound`]: packet ids, the in-flight window, the steps of QoS 2 and resending. [`Inbound`]: answers in order, once released, and
//!   which QoS 2 messages were there before.
//! - [`TopicAliases`], [`OutgoingAliases`], [`ServerKeepAlive`], [`ClientKeepAlive`]: what their names say.

mod alias;
mod codec;
mod error;
mod frame;
mod keep_alive;
mod packet;
mod publish;
mod reason;
mod session;

pub use alias::{OutgoingAliases, TopicAliases, TopicName};
pub use codec::{Codec, CodecError, Role};
pub use keep_alive::{ClientKeepAlive, KeepAliveStep, ServerKeepAlive};
pub use packet::*;
pub use publish::{PublishRef, encoded_publish_len};
pub use reason::Reason;
pub use session::{Acked, Answer, Arrival, Inbound, Outbound, Receipt, Received, Resend, SendError, Stage};
