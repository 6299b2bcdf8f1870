//! The local broker on real sockets: by raw packets here, by other people's clients in [`clients`].

mod clients;
mod durability;
mod endings;
mod exactly_once;
mod kept_messages;
mod limits;
mod memory;
mod messages;
mod mqtt5;
mod retained;
mod sessions;
mod shared;
mod sys;
