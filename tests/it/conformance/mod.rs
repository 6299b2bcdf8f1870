//! What the OASIS texts of MQTT 3.1.1 and 5 ask of a server, asked of the real program through real sockets.
//!
//! A test is named after the normative statement that it is about, and its comment lists all that it holds the broker to: `[MQTT-3.3.1-5]` in
//! both versions, `v311 [MQTT-3.1.2-24]` or `v5 [MQTT-3.1.2-22]` in one. `docs/conformance.md` is made of these comments (`coverage`).
//!
//! One broker serves all of it, so that the suite takes seconds: each test has client ids and topics of its own ([`unique`]).

mod brokers;
mod connect;
mod coverage;
mod flow;
mod guarded;
mod malformed;
mod pitfalls;
mod properties;
mod publish;
mod qos2;
mod reasons;
mod resume;
mod retained;
mod session;
mod shared;
mod subscribe;
mod timed;
mod topics;
mod unsubscribe;
mod utf8;
mod websocket;
mod wills;

use brokers::{broker, client};
