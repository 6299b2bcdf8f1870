//! Topic aliases (MQTT 5 §3.3.2.3.4): those that the peer uses towards us, and those that we use towards it.

use std::collections::HashMap;

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

/// The aliases that one connection uses towards its peer. They end with it.
///
/// A topic gets one when it comes first. When all are given away, a newcomer takes the place of one that was not used while the hand went
/// round once: topics that come again and again keep theirs, however many others pass by.
#[derive(Debug, Default)]
pub struct OutgoingAliases {
    maximum: u16,
    by_topic: HashMap<Topic, u16>,
    /// By alias, from 1.
    given: Vec<(Topic, bool)>,
    hand: usize,
}

/// How a PUBLISH may name its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicName {
    /// In full.
    Full,
    /// In full, and the peer is to remember it under this alias. To be confirmed by [`OutgoingAliases::assign`] when it is sent so.
    Assigning(u16),
    /// By this alias alone.
    Alias(u16),
}

impl OutgoingAliases {
    /// Aliases from 1 to `maximum`: the least of what the peer announced and what is kept for it. 0 is none.
    pub fn new(maximum: u16) -> OutgoingAliases {
        OutgoingAliases { maximum, ..OutgoingAliases::default() }
    }

    /// How to name the topic of the next PUBLISH.
    pub fn name(&mut self, topic: &Topic) -> TopicName {
        if self.maximum == 0 {
            return TopicName::Full;
        }
        if let Some(alias) = self.by_topic.get(topic) {
            self.given[usize::from(*alias) - 1].1 = true;
            return TopicName::Alias(*alias);
        }
        if self.given.len() < usize::from(self.maximum) {
            return TopicName::Assigning(self.given.len() as u16 + 1);
        }
        let at = self.hand;
        if std::mem::take(&mut self.given[at].1) {
            self.hand = (at + 1) % self.given.len();
            return TopicName::Full;
        }
        TopicName::Assigning(at as u16 + 1)
    }

    /// The PUBLISH that gives `alias` to `topic` is on its way.
    pub fn assign(&mut self, alias: u16, topic: &Topic) {
        let place = usize::from(alias) - 1;
        match self.given.get_mut(place) {
            Some(old) => {
                self.by_topic.remove(&old.0);
                *old = (topic.clone(), true);
                self.hand = (place + 1) % self.given.len();
            }
            None => self.given.push((topic.clone(), true)),
        }
        self.by_topic.insert(topic.clone(), alias);
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

    #[test]
    fn topics_that_come_again_keep_their_aliases_and_one_that_does_not_loses_its_own() {
        let t = |text| Topic::new(text).unwrap();
        let mut aliases = OutgoingAliases::new(2);
        for (alias, topic) in [(1, "a"), (2, "b")] {
            assert_eq!(aliases.name(&t(topic)), TopicName::Assigning(alias));
            // Not sent that way, for want of room in the packet: nothing is remembered.
            assert_eq!(aliases.name(&t(topic)), TopicName::Assigning(alias));
            aliases.assign(alias, &t(topic));
            assert_eq!(aliases.name(&t(topic)), TopicName::Alias(alias));
        }
        // Others pass by once each; `a` comes again in between.
        for passing in ["c", "d", "e", "f"] {
            if let TopicName::Assigning(alias) = aliases.name(&t(passing)) {
                assert_eq!(alias, 2);
                aliases.assign(alias, &t(passing));
            }
            assert_eq!(aliases.name(&t("a")), TopicName::Alias(1));
        }
        assert_ne!(aliases.name(&t("b")), TopicName::Alias(2));
        assert_eq!(OutgoingAliases::new(0).name(&t("a")), TopicName::Full);
    }

    proptest::proptest! {
        #[test]
        fn the_peer_always_knows_which_topic_is_meant(maximum in 0u16..4, topics in proptest::collection::vec(0u8..6, 0..200)) {
            let mut ours = OutgoingAliases::new(maximum);
            let mut theirs = TopicAliases::new(maximum);
            for n in topics {
                let topic = Topic::new(&format!("t{n}")).unwrap();
                let resolved = match ours.name(&topic) {
                    TopicName::Full => theirs.resolve(Some(topic.clone()), None),
                    TopicName::Assigning(alias) => {
                        ours.assign(alias, &topic);
                        theirs.resolve(Some(topic.clone()), Some(alias))
                    }
                    TopicName::Alias(alias) => theirs.resolve(None, Some(alias)),
                };
                proptest::prop_assert_eq!(resolved, Ok(topic));
            }
        }
    }
}
