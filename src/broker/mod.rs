//! The local broker: MQTT 3.1.1 and 5 for clients on the plant network, and the one path that every message takes.
//!
//! A message enters the hub from a client, from the gateway ([`HubHandle::publish`]) or, later, from a cloud. It reaches local
//! subscribers at once; each [`Outlet`] that wants it at QoS 1 or 2 has it written to its queue, each kept session to its backlog, and only then is the
//! publisher acknowledged.
//!
//! The hub is a pure core (`hub`, `routing`, `retained`, `durable`) owned by one task (`hub_task`); each connection is a pure
//! machine (`machine`) moved by one task (`connection`). Between the two is a bounded `outbox`.
//!
//! A session that outlives its connection is kept in the hub and, with what waits for it and the retained messages of clients, in the store
//! ([`Memory`]); without a store sessions end with their connections, and MQTT 5 clients are told so. The gateway publishes its own retained
//! messages again after a restart. At an orderly stop clients are told that the server shuts down, and no will is published.

mod access;
mod connection;
mod counters;
mod doors;
mod durable;
mod entrance;
#[doc(hidden)]
pub mod exercise;
mod failures;
mod hub;
mod hub_handle;
mod hub_task;
mod lifecycle;
mod limits;
mod listeners;
mod local_reader;
mod local_room;
mod logins;
mod machine;
mod outbox;
mod places;
mod pool;
mod reload;
mod retained;
mod routing;
mod selector;
mod sys;
mod words;

pub use doors::Prepared;
pub use entrance::{FilesError, certificate_warnings};
pub use hub_handle::{HubClosed, HubHandle, KeptSubscription, PublishError, Submitted, Subscription};
pub use hub_task::{Memory, Outlet};
pub use lifecycle::{Broker, BrokerError};
pub use limits::Limits;
pub use logins::Doorkeeper;
pub use selector::{Outgoing, Selector};
