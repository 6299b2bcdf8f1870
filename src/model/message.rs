//! A message: what travels on the broker, in the queue and up to the cloud.

use bytes::Bytes;

use super::Topic;

/// MQTT quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// Delivered if all goes well.
    AtMostOnce = 0,
    /// Delivered, perhaps more than once.
    AtLeastOnce = 1,
    /// Delivered once.
    ExactlyOnce = 2,
}

impl QoS {
    /// The level of a wire or YAML number; `None` above 2.
    pub fn from_number(n: u8) -> Option<QoS> {
        match n {
            0 => Some(QoS::AtMostOnce),
            1 => Some(QoS::AtLeastOnce),
            2 => Some(QoS::ExactlyOnce),
            _ => None,
        }
    }
}

/// An application message (MQTT 5 §1.2). Cloning shares topic and payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it is published.
    pub topic: Topic,
    /// Its content, 0 to 268,435,455 bytes.
    pub payload: Bytes,
    /// The level its publisher asked for.
    pub qos: QoS,
    /// Whether it is to be kept for later subscribers.
    pub retain: bool,
    /// What MQTT 5 publishers may add; `None` when there is nothing.
    pub properties: Option<Box<Properties>>,
}

impl Message {
    /// A message without properties.
    pub fn new(topic: Topic, payload: impl Into<Bytes>, qos: QoS, retain: bool) -> Message {
        Message { topic, payload: payload.into(), qos, retain, properties: None }
    }

    /// The bytes of what its publisher chose freely: topic, payload and properties.
    pub fn size(&self) -> usize {
        let properties = self.properties.as_deref().map_or(0, Properties::size);
        self.topic.len() + self.payload.len() + properties
    }
}

/// The properties of an MQTT 5 PUBLISH that belong to the message and not to the connection (§3.3.2.3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Properties {
    /// Payload Format Indicator is 1: the payload is UTF-8.
    pub payload_is_utf8: bool,
    /// Message Expiry Interval in seconds.
    pub message_expiry_s: Option<u32>,
    /// Content Type.
    pub content_type: Option<String>,
    /// Response Topic.
    pub response_topic: Option<Topic>,
    /// Correlation Data.
    pub correlation_data: Option<Bytes>,
    /// User Properties, in the order they came.
    pub user: Vec<(String, String)>,
}

impl Properties {
    /// Bytes of what is long, and of the list of user properties itself, whose entries may be empty.
    fn size(&self) -> usize {
        let texts =
            self.content_type.as_ref().map_or(0, String::len) + self.response_topic.as_ref().map_or(0, |t| t.len());
        let user = self.user.iter().map(|(name, value)| size_of::<(String, String)>() + name.len() + value.len());
        texts + self.correlation_data.as_ref().map_or(0, Bytes::len) + user.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_as_large_as_all_that_its_publisher_put_into_it() {
        let mut message = Message::new(Topic::new("top").unwrap(), "load", QoS::AtLeastOnce, false);
        assert_eq!(message.size(), 7);
        message.properties = Some(Box::new(Properties {
            content_type: Some("x".repeat(10)),
            response_topic: Some(Topic::new("back").unwrap()),
            correlation_data: Some(Bytes::from_static(&[0; 20])),
            user: vec![("a".into(), "b".repeat(1_000)), (String::new(), String::new())],
            ..Properties::default()
        }));
        assert_eq!(message.size(), 7 + 10 + 4 + 20 + 1_001 + 2 * size_of::<(String, String)>());
    }
}
