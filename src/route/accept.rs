//! The accept rules of one uplink: what a message from the cloud becomes here, or why it does not come in. Pure.
//!
//! Refused: what has been at this gateway before, commands out of the cloud's memory (retained ones), and values that only this gateway
//! can know, of its own devices and itself.

use std::collections::HashSet;
use std::sync::Arc;

use super::hops::{self, Round};
use super::rule::{AcceptRule, Miss};
use super::subject::{Kind, Place, Subject};
use super::tally::Tally;
use crate::model::{Message, Name, Stamp, Topic};

/// The accept rules of one uplink.
#[derive(Debug)]
pub struct Accepter {
    rules: Vec<(AcceptRule, Arc<Tally>)>,
    uplink: Name,
    gateway: Name,
    root: Topic,
    devices: HashSet<Name>,
}

/// A message that comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// As it is published here.
    pub message: Message,
    /// It asks for something to be written: its result is to go back.
    pub is_command: bool,
}

/// Why a message does not come in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It goes round.
    #[error(transparent)]
    Round(#[from] Round),
    /// No rule takes it.
    #[error("no accept rule takes it")]
    NoRule,
    /// A retained message on a command's topic is old by nature.
    #[error("it is a command, and it was kept by the cloud: those are never obeyed")]
    RetainedCommand,
    /// It would be published where this gateway says what it has read.
    #[error("only this gateway itself publishes on {0}")]
    Ours(Topic),
}

impl Accepter {
    /// The rules of an uplink of this gateway, whose topics begin with `root` and which has these devices.
    pub fn new(rules: Vec<AcceptRule>, uplink: Name, gateway: Name, root: Topic, devices: HashSet<Name>) -> Accepter {
        let rules = rules.into_iter().map(|rule| (rule, Arc::default())).collect();
        Accepter { rules, uplink, gateway, root, devices }
    }

    /// The rules, in their order.
    pub fn rules(&self) -> impl Iterator<Item = &AcceptRule> {
        self.rules.iter().map(|(rule, _)| rule)
    }

    /// The counters of each rule, in their order.
    pub fn tallies(&self) -> Vec<Arc<Tally>> {
        self.rules.iter().map(|(_, tally)| tally.clone()).collect()
    }

    /// What a message becomes here: one message for each rule that takes it. `message` is as it came, retain flag included.
    pub fn accept(&self, message: &Message, at: Stamp) -> Result<Vec<Accepted>, Refused> {
        hops::may_pass(&self.gateway, &hops::path(message.properties.as_deref()))?;
        let subject = Subject::new(message, &self.root, at.synced.then_some(at.wall));
        let mut out = Vec::new();
        let mut refused = Refused::NoRule;
        for (rule, tally) in &self.rules {
            match rule.take.judge(&subject, &self.gateway) {
                Ok(topic) => {
                    tally.take();
                    match self.admit(rule, message, topic) {
                        Ok(accepted) => {
                            tally.leave();
                            out.push(accepted);
                        }
                        Err(why) => refused = why,
                    }
                    if !rule.take.goes_on {
                        break;
                    }
                }
                Err(miss) => tally.miss(miss),
            }
        }
        if out.is_empty() { Err(refused) } else { Ok(out) }
    }

    /// What one rule makes of a message, and why it may not come in by it; for trying out.
    pub(super) fn try_rule(&self, index: usize, subject: &Subject<'_>) -> Result<Result<Accepted, Refused>, Miss> {
        let (rule, _) = &self.rules[index];
        let topic = rule.take.judge(subject, &self.gateway)?;
        Ok(self.admit(rule, subject.message, topic))
    }

    fn admit(&self, rule: &AcceptRule, message: &Message, topic: Topic) -> Result<Accepted, Refused> {
        let place = Place::of(&topic, &self.root);
        let is_command = place.kind == Kind::Command;
        if is_command && message.retain {
            return Err(Refused::RetainedCommand);
        }
        let is_gateways = matches!(place.kind, Kind::Health | Kind::Availability) && place.device.is_none();
        let is_own = place.device.is_some_and(|device| self.devices.contains(device)) && !is_command;
        if is_own || is_gateways {
            return Err(Refused::Ours(topic));
        }
        let mut message = Message {
            topic,
            payload: message.payload.clone(),
            qos: message.qos.min(rule.take.qos),
            // A command is a deed and nothing to keep.
            retain: rule.take.retain.of(message.retain) && !is_command,
            properties: hops::arrived(message.properties.clone()),
        };
        hops::came_by(&self.uplink, &mut message);
        Ok(Accepted { message, is_command })
    }
}

/// Where the result of a command goes that came on `topic` of the cloud: beside it.
pub fn result_topic(topic: &Topic) -> Option<Topic> {
    let base = topic.strip_suffix("/set").unwrap_or(topic);
    Topic::new(&format!("{base}/result")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Filter, Monotonic, Properties, QoS, Timestamp};
    use crate::route::rule::Take;
    use crate::route::{RetainRule, Template};

    const AT: Stamp =
        Stamp { monotonic: Monotonic::from_millis(1), since_boot: None, wall: Timestamp(1_000), synced: true };

    fn accepter() -> Accepter {
        let rule = |topic: &str, to: &str, goes_on| {
            let topic = Filter::new(topic).unwrap();
            let to = Template::parse(to, &topic).unwrap();
            AcceptRule { take: Take { goes_on, retain: RetainRule::Keep, ..Take::all(topic, to, QoS::AtLeastOnce) } }
        };
        let rules =
            vec![rule("log/#", "log/{rest}", true), rule("log/a", "b", false), rule("s/#", "fw/p7/{rest}", false)];
        let devices = HashSet::from([Name::new("boiler").unwrap()]);
        Accepter::new(
            rules,
            Name::new("cloud").unwrap(),
            Name::new("p7").unwrap(),
            Topic::new("fw/p7").unwrap(),
            devices,
        )
    }

    fn accept(topic: &str, retain: bool) -> Result<Vec<(String, bool)>, Refused> {
        let message = Message::new(Topic::new(topic).unwrap(), "1", QoS::ExactlyOnce, retain);
        let accepted = accepter().accept(&message, AT)?;
        assert!(accepted.iter().all(|a| a.message.qos == QoS::AtLeastOnce));
        Ok(accepted.into_iter().map(|a| (a.message.topic.to_string(), a.is_command)).collect())
    }

    #[test]
    fn a_message_comes_in_by_each_rule_that_takes_it() {
        assert_eq!(accept("log/a", true), Ok(vec![("log/a".into(), false), ("b".into(), false)]));
        assert_eq!(accept("s/notes", false), Ok(vec![("fw/p7/notes".into(), false)]));
        assert_eq!(accept("other", false), Err(Refused::NoRule));
    }

    #[test]
    fn commands_come_in_unless_they_are_retained_and_forged_readings_never() {
        assert_eq!(accept("s/boiler/setpoint/set", false), Ok(vec![("fw/p7/boiler/setpoint/set".into(), true)]));
        assert_eq!(accept("s/boiler/setpoint/set", true), Err(Refused::RetainedCommand));
        for own in [
            "s/boiler",
            "s/boiler/flow",
            "s/boiler/availability",
            "s/boiler/flow/result",
            "s/gateway/state",
            "s/gateway/health",
        ] {
            assert!(matches!(accept(own, false), Err(Refused::Ours(_))), "{own}");
        }
    }

    #[test]
    fn what_has_been_here_does_not_come_in_again() {
        let properties = Properties { user: vec![("gateway".into(), "p7".into())], ..Properties::default() };
        let mut message = Message::new(Topic::new("log/a").unwrap(), "1", QoS::AtLeastOnce, false);
        message.properties = Some(Box::new(properties));
        assert_eq!(accepter().accept(&message, AT), Err(Refused::Round(Round::Back("p7".into()))));
    }

    #[test]
    fn a_result_goes_beside_its_command() {
        let result = |topic: &str| result_topic(&Topic::new(topic).unwrap()).unwrap().to_string();
        assert_eq!(result("sites/p7/cmd/boiler/setpoint/set"), "sites/p7/cmd/boiler/setpoint/result");
        assert_eq!(result("sites/p7/heat"), "sites/p7/heat/result");
    }
}
