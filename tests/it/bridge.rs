//! Bridge rules: what they match, make and send, both ways, through the real gateway and real brokers.

mod arbitrary;
mod batches;
mod births;
mod cli;
mod commands;
mod goldens;
mod loops;
mod wire;
