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
//!
//! | module | what it is |
//! | --- | --- |
//! | [`model`] | the field's words: bus, device, point, reading, message, topic; no I/O |
//! | [`clock`] | the only file that asks the time |
//! | [`password`] | hashes of users' passwords |
//! | [`random`], [`process`] | the only files that draw lots, and that ask the system about this process |
//! | [`config`] | from YAML to a checked [`config::Config`], or a report of everything that is wrong with it |
//! | [`driver`] | the table of drivers; Modbus: planner, decoder, TCP and RTU lines |
//! | [`poll`] | when a bus reads what, as a pure scheduler, and the task that owns the bus |
//! | [`command`] | what a message on `…/set` may do: read, check, remember; pure |
//! | [`route`] | topics, payloads, forward rules, the health report; pure |
//! | [`mqtt`] | packets, codec and session state that the broker and the uplinks share; sans I/O |
//! | [`broker`] | the local broker: the hub, connections, retained messages, wills |
//! | [`store`] | what must not be lost, in SQLite: a queue an uplink, one writer with group commit |
//! | [`transport`] | TLS and WebSocket under MQTT |
//! | [`uplink`] | delivers a queue to a cloud broker, in order, at least once |
//! | [`web`] | health, readiness and metrics over HTTP |
//! | [`gateway`] | builds and wires all of it; the order of start and stop |
//! | [`cli`] | one file a subcommand |
//! | [`log`] | log lines: in the journal with their fields, or on the terminal for people or as JSON |
//!
//! Decisions are made by plain state machines that are given the time and return what to do; thin tasks around them do
//! the I/O. `tests/it/rules.rs` keeps the dependency rules between these modules.

pub mod broker;
pub mod cli;
pub mod clock;
pub mod command;
pub mod config;
pub mod driver;
pub mod gateway;
pub mod log;
pub mod model;
pub mod mqtt;
pub mod password;
pub mod poll;
pub mod process;
pub mod random;
pub mod route;
pub mod store;
pub mod transport;
pub mod uplink;
pub mod web;
