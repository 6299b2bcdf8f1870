//! Commands: who asks for what to be written, and what became of it on the bus. Plain data.

use std::fmt;
use std::sync::Arc;

use super::{Device, Fault, Monotonic, Name, Sample, Value};

/// Who published a message, as far as the gateway knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publisher {
    /// The gateway itself.
    Gateway,
    /// A client of the local broker.
    Client {
        /// Its client identifier.
        id: Arc<str>,
        /// The user that it logged in as; `None` for an anonymous one.
        user: Option<Arc<str>>,
    },
    /// A cloud broker, through the uplink of this name.
    Uplink(Name),
}

impl fmt::Display for Publisher {
    /// For log lines: "client hmi-3 (user operator)".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Publisher::Gateway => f.write_str("the gateway"),
            Publisher::Client { id, user: None } => write!(f, "client {id}"),
            Publisher::Client { id, user: Some(user) } => write!(f, "client {id} (user {user})"),
            Publisher::Uplink(name) => write!(f, "uplink {name}"),
        }
    }
}

/// Values for points of one device, to be written together. It is allowed and in range; whether the types can hold it is for
/// the driver to say.
#[derive(Debug, Clone)]
pub struct Order {
    /// Names it in its [`OrderReport`].
    pub token: u64,
    /// Whose points.
    pub device: Arc<Device>,
    /// Which points (indices into [`Device::points`]), each once, and what they are to be.
    pub values: Vec<(usize, Value)>,
    /// When it may no longer be begun.
    pub until: Monotonic,
}

/// What became of an [`Order`].
#[derive(Debug, Clone, PartialEq)]
pub struct OrderReport {
    /// Of the order.
    pub token: u64,
    /// One a value, in their order.
    pub written: Vec<Written>,
}

/// What became of one value.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// Index into [`Device::points`].
    pub point: usize,
    /// How the write ended.
    pub end: WriteEnd,
    /// What the point was read as after it; `None` when it was not read.
    pub read_back: Option<Sample>,
    /// Whether that is what was to be written.
    pub is_as_wanted: bool,
}

/// How a write ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteEnd {
    /// The device says that it has done it.
    Acknowledged,
    /// The device refused it: nothing was written.
    Refused(Fault),
    /// It was sent, and no answer that can be believed came: it may have been done.
    Unanswered(Fault),
    /// It was not sent.
    NotSent(NotSent),
}

/// Why a write was not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotSent {
    /// The type of the point can't hold the value, or its driver can't write it; in words for whoever sent it.
    Unfit(String),
    /// Another value of the same command is [`NotSent::Unfit`], so none was sent.
    BesideUnfit,
    /// It waited too long, or was too old when it came.
    TooLate,
    /// The device does not answer, with this fault.
    Offline(Fault),
    /// The port or connection can't be used, and why.
    LineDown(String),
    /// An earlier request of the same command was not done, so the rest of it was left undone.
    AfterFailure,
    /// The gateway is being stopped.
    Stopping,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_is_named_as_people_know_it() {
        let client = |user: Option<&str>| Publisher::Client { id: "hmi-3".into(), user: user.map(Into::into) };
        assert_eq!(client(None).to_string(), "client hmi-3");
        assert_eq!(client(Some("operator")).to_string(), "client hmi-3 (user operator)");
        assert_eq!(Publisher::Uplink(Name::new("cloud").unwrap()).to_string(), "uplink cloud");
    }
}
