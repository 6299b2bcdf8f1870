//! Forward rules: which local messages an uplink gets, and in which form.

use crate::model::{Filter, Message, QoS, Topic, TopicError};

use super::Template;

/// One entry of `forward:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardRule {
    /// Messages on these topics.
    pub topic: Filter,
    /// But not on these.
    pub except: Vec<Filter>,
    /// Where they go.
    pub to: Template,
    /// 0 goes out when the uplink is online, else it is dropped and counted; 1 and 2 are queued.
    pub qos: QoS,
    /// What becomes of the retain flag.
    pub retain: RetainRule,
}

/// What becomes of a message's retain flag on its way up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetainRule {
    /// As the publisher set it.
    #[default]
    Keep,
    /// Cleared.
    Never,
    /// Set.
    Always,
}

impl ForwardRule {
    /// Whether this rule takes messages on `topic`.
    pub fn takes(&self, topic: &str) -> bool {
        self.topic.matches(topic) && !self.except.iter().any(|except| except.matches(topic))
    }

    /// The message as it leaves, or why it can't: a template can make a topic that is too long for MQTT.
    pub fn shape(&self, message: &Message, gateway: &str) -> Result<Message, TopicError> {
        let topic = self.to.apply(&message.topic, &self.topic, gateway)?;
        let retain = match self.retain {
            RetainRule::Keep => message.retain,
            RetainRule::Never => false,
            RetainRule::Always => true,
        };
        Ok(Message { topic, qos: self.qos, retain, ..message.clone() })
    }
}

/// The forward rules of one uplink.
#[derive(Debug, Clone)]
pub struct Forwarder {
    rules: Vec<ForwardRule>,
    gateway: String,
    /// Presence reaches the cloud as will and birth. Queued, an old `offline` could arrive after the new `online`.
    presence: Topic,
}

impl Forwarder {
    /// The rules, the gateway's id for `{gateway}`, and the local topic of the gateway's state, which is never queued.
    pub fn new(rules: Vec<ForwardRule>, gateway: &str, presence: Topic) -> Forwarder {
        Forwarder { rules, gateway: gateway.into(), presence }
    }

    /// The message as it leaves by the first rule that takes it; `None` when no rule does.
    ///
    /// The inner error names the rule's index and why its template made no topic for this message.
    pub fn forward(&self, message: &Message) -> Option<Result<Message, (usize, TopicError)>> {
        if message.topic == self.presence {
            return None;
        }
        self.shape(message)
    }

    /// The gateway's state as the cloud sees it, for will and birth; `None` when no rule forwards it.
    pub fn presence(&self, state: &Message) -> Option<Message> {
        self.shape(state).and_then(Result::ok)
    }

    fn shape(&self, message: &Message) -> Option<Result<Message, (usize, TopicError)>> {
        let (index, rule) = self.rules.iter().enumerate().find(|(_, rule)| rule.takes(&message.topic))?;
        Some(rule.shape(message, &self.gateway).map_err(|error| (index, error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Template;

    fn rule(topic: &str, except: &[&str], to: &str, qos: QoS, retain: RetainRule) -> ForwardRule {
        let topic = Filter::new(topic).unwrap();
        let except = except.iter().map(|text| Filter::new(text).unwrap()).collect();
        ForwardRule { to: Template::parse(to, &topic).unwrap(), topic, except, qos, retain }
    }

    fn message(topic: &str, retain: bool) -> Message {
        Message::new(Topic::new(topic).unwrap(), "x", QoS::AtMostOnce, retain)
    }

    fn forwarder() -> Forwarder {
        let rules = vec![
            rule("fw/+/alarm", &[], "alarms/{1}", QoS::AtLeastOnce, RetainRule::Always),
            rule("fw/#", &["fw/+/+/set"], "up/{rest}", QoS::AtLeastOnce, RetainRule::Keep),
            rule("raw/#", &[], "{gateway}/{topic}", QoS::AtMostOnce, RetainRule::Never),
        ];
        Forwarder::new(rules, "p7", Topic::new("fw/gateway/state").unwrap())
    }

    fn forwarded(topic: &str, retain: bool) -> Option<(String, QoS, bool)> {
        let shaped = forwarder().forward(&message(topic, retain))?.unwrap();
        Some((shaped.topic.to_string(), shaped.qos, shaped.retain))
    }

    #[test]
    fn the_first_rule_that_matches_decides_topic_qos_and_retain() {
        assert_eq!(forwarded("fw/boiler/alarm", false), Some(("alarms/boiler".into(), QoS::AtLeastOnce, true)));
        assert_eq!(forwarded("fw/boiler", true), Some(("up/boiler".into(), QoS::AtLeastOnce, true)));
        assert_eq!(forwarded("raw/a/b", true), Some(("p7/raw/a/b".into(), QoS::AtMostOnce, false)));
        assert_eq!(forwarded("other", true), None);
    }

    #[test]
    fn what_a_rule_excepts_is_left_to_the_rules_after_it() {
        assert_eq!(forwarded("fw/boiler/setpoint/set", false), None);
    }

    #[test]
    fn the_gateways_state_is_never_queued_but_has_its_topic_for_will_and_birth() {
        assert_eq!(forwarded("fw/gateway/state", true), None);
        let presence = forwarder().presence(&message("fw/gateway/state", true)).unwrap();
        assert_eq!(presence.topic.as_str(), "up/gateway/state");
    }

    #[test]
    fn a_topic_that_grows_too_long_is_an_error_and_not_a_cut() {
        let long = format!("fw/{}", "x".repeat(65_530));
        let long_prefix = rule("fw/#", &[], "a/long/prefix/{rest}", QoS::AtLeastOnce, RetainRule::Keep);
        let forwarder = Forwarder::new(vec![long_prefix], "p7", Topic::new("s").unwrap());
        assert!(matches!(forwarder.forward(&message(&long, false)), Some(Err((0, TopicError::TooLong(_))))));
    }
}
