//! Behaviour through real sockets, ptys and processes: one binary, one module a subject.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop")]

mod access;
mod backup;
mod broker;
mod broker_state;
mod clients;
mod commands;
mod config;
mod config_check;
mod config_hostile;
mod config_values;
mod conformance;
mod crash;
mod demo;
mod field;
mod gateway;
mod handouts;
mod kills;
mod modbus;
mod outage;
mod pipeline;
mod plan;
mod queue;
mod read;
mod reload;
mod rules;
mod scan;
mod shipped;
mod status;
mod store;
mod support;
mod templates;
mod upgrade;
mod uplink;
mod web;
