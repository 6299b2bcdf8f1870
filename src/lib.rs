//! Fieldway, an edge gateway: from a register in the field to a subscriber on the plant network and in the cloud.
//!
//! ```text
//! device ─ driver ─ decode ─ Reading ─ route ─┐
//! LAN client ─ PUBLISH ───────────────────────┴─ hub: match ─ deliver ───────────── LAN clients
//!                                                       └─ store: commit ─ PUBACK
//!                                                                   └─ uplink ───── cloud broker
//! ```
//!
//! There is one publish path. A reading and a client's PUBLISH enter the same hub, which delivers them to whoever is
//! subscribed here and has the store commit what an uplink must not lose; only then is the publisher acknowledged.

pub mod broker;
pub mod clock;
pub mod config;
pub mod driver;
pub mod log;
pub mod model;
pub mod mqtt;
pub mod poll;
pub mod process;
pub mod random;
pub mod route;
pub mod store;
pub mod uplink;
pub mod web;
