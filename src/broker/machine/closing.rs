//! Why and how a connection ends, in words for the log.

use crate::mqtt::CodecError;

/// Why and how a connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// Whether the will is to be published.
    pub lost: bool,
    /// For the log; `None` when the client left in order or the broker wanted it.
    pub complaint: Option<Complaint>,
}

/// What a client did wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Complaint {
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("no whole CONNECT came in time")]
    NoConnect,
    #[error("nothing came within one and a half times the keep-alive")]
    KeepAlive,
    #[error("it takes nothing any more and its queue is full")]
    Stalled,
    #[error("it sent more QoS 1 and 2 messages at once than it was told that it may")]
    ReceiveMaximum,
    #[error(
        "its session can't be kept: the disk refuses it, or there are too many; a client that can do without connects with a clean session"
    )]
    SessionNotKept,
    #[error("its message could not be kept, and MQTT 3.1.1 has no way to say so but to close")]
    NotKept,
    #[error("it asked for the authentication method {0:?}, and none is offered")]
    Authentication(String),
    #[error("it was not let in: {0}")]
    Refused(&'static str),
    #[error("{0}")]
    Protocol(&'static str),
    #[error("its topic has more than {0} levels")]
    TooDeep(usize),
}
