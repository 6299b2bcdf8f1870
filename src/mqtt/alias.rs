//! Topic aliases that the peer uses towards us (MQTT 5 §3.3.2.3.4).

use super::Reason;
use crate::model::Topic;

/// The aliases of one connection. They end with it.
#[derive(Debug, Default)]
pub struct TopicAliases {
    /// By alias, from 1.
    topics: Vec<Option<Topic>>,
    maximum: u16,
}

impl TopicAliases {
    /// Aliases from 1 to `maximum`, the Topic Alias Maximum that was announced to the peer.
    pub fn new(maximum: u16) -> TopicAliases {
        TopicAliases { topics: Vec::new(), maximum }
    }

    /// The topic of a PUBLISH that names a topic, an alias or both. The error is for the DISCONNECT.
    pub fn resolve(&mut self, topic: Option<Topic>, alias: Option<u16>) -> Result<Topic, Reason> {
        let Some(alias) = alias else { return topic.ok_or(Reason::PROTOCOL_ERROR) };
        if alias == 0 || alias > self.maximum {
            return Err(Reason::TOPIC_ALIAS_INVALID);
        }
        let place = usize::from(alias) - 1;
        match topic {
            Some(topic) => {
                if self.topics.len() <= place {
                    self.topics.resize(place + 1, None);
                }
                self.topics[place] = Some(topic.clone());
                Ok(topic)
            }
            None => self.topics.get(place).cloned().flatten().ok_or(Reason::PROTOCOL_ERROR),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_stands_for_its_last_topic_and_an_unknown_one_is_an_error() {
        let t = |text| Topic::new(text).unwrap();
        let mut aliases = TopicAliases::new(2);
        assert_eq!(aliases.resolve(Some(t("a")), None), Ok(t("a")));
        assert_eq!(aliases.resolve(Some(t("a")), Some(1)), Ok(t("a")));
        assert_eq!(aliases.resolve(None, Some(1)), Ok(t("a")));
        assert_eq!(aliases.resolve(Some(t("b")), Some(1)), Ok(t("b")));
        assert_eq!(aliases.resolve(None, Some(1)), Ok(t("b")));
        assert_eq!(aliases.resolve(None, Some(2)), Err(Reason::PROTOCOL_ERROR));
        assert_eq!(aliases.resolve(Some(t("c")), Some(3)), Err(Reason::TOPIC_ALIAS_INVALID));
        assert_eq!(aliases.resolve(None, None), Err(Reason::PROTOCOL_ERROR));
    }
}
