//! Why bytes are no packet, or a packet can't become bytes.

use super::Reason;
use crate::model::TopicError;

/// Why decoding or encoding failed. After a decoding error the connection has to be closed: what follows has no known beginning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A packet is longer than this side takes.
    #[error("a packet of {size} bytes was announced, and at most {limit} are taken")]
    TooLarge {
        /// Its length in bytes, fixed header included.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// CONNECT of an unknown protocol level. A CONNACK says so before the connection is closed.
    #[error("MQTT protocol level {level} is not spoken here; 3.1.1 (level 4) and 5 are")]
    UnsupportedVersion {
        /// The level that the client asked for.
        level: u8,
    },
    /// Something else came before CONNECT.
    #[error("the first packet is not a CONNECT; is this an MQTT client, and without TLS on both sides?")]
    NotConnect,
    /// [MQTT-3.1.3-8]; answered with CONNACK 0x02 before the connection is closed.
    #[error("MQTT 3.1.1 allows an empty client identifier only with a clean session")]
    EmptyClientId,
    /// The bytes don't follow the packet's format.
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
    /// The format is right, but this packet may not come, or not with this content.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// A PUBLISH or a will names an impossible topic.
    #[error("invalid topic name: {0}")]
    TopicName(TopicError),
    /// A SUBSCRIBE or UNSUBSCRIBE names an impossible filter.
    #[error("invalid topic filter: {0}")]
    TopicFilter(TopicError),
    /// The peer announced that it would not take so long a packet.
    #[error("the packet has {size} bytes and the peer takes at most {limit}")]
    PeerLimit {
        /// Its length in bytes, fixed header included.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The packet has no form on the wire.
    #[error("the packet can't be written: {0}")]
    Unencodable(&'static str),
}

impl CodecError {
    /// The code for the DISCONNECT or CONNACK that MQTT 5 wants before the connection is closed (§4.13).
    pub fn reason(&self) -> Reason {
        match self {
            CodecError::TooLarge { .. } | CodecError::PeerLimit { .. } => Reason::PACKET_TOO_LARGE,
            CodecError::UnsupportedVersion { .. } => Reason::UNSUPPORTED_PROTOCOL_VERSION,
            CodecError::EmptyClientId => Reason::CLIENT_ID_NOT_VALID,
            CodecError::NotConnect | CodecError::Protocol(_) => Reason::PROTOCOL_ERROR,
            CodecError::Malformed(_) => Reason::MALFORMED_PACKET,
            // [MQTT-1.5.4-2]; the codes for names are for those that are text.
            CodecError::TopicName(TopicError::Nul) | CodecError::TopicFilter(TopicError::Nul) => {
                Reason::MALFORMED_PACKET
            }
            CodecError::TopicName(_) => Reason::TOPIC_NAME_INVALID,
            CodecError::TopicFilter(_) => Reason::TOPIC_FILTER_INVALID,
            CodecError::Unencodable(_) => Reason::IMPLEMENTATION_SPECIFIC,
        }
    }
}
