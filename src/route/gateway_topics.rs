//! The gateway's own topics under `{root}/gateway/` (`DESIGN.md` §5).

use serde_json::json;

use crate::model::{Message, QoS, Timestamp, Topic, TopicError};

/// Where the gateway speaks of itself.
#[derive(Debug, Clone)]
pub struct GatewayTopics {
    /// `{root}/gateway/state`
    pub state: Topic,
    /// `{root}/gateway/health`
    pub health: Topic,
    /// `{root}/gateway/gap`
    pub gap: Topic,
}

impl GatewayTopics {
    /// The topics under `root`. Errors when one would be too long for MQTT.
    pub fn new(root: &Topic) -> Result<GatewayTopics, TopicError> {
        let topic = |name: &str| Topic::new(&format!("{root}/gateway/{name}"));
        Ok(GatewayTopics { state: topic("state")?, health: topic("health")?, gap: topic("gap")? })
    }

    /// `online` or `offline`, retained.
    pub fn state_message(&self, online: bool) -> Message {
        let payload = if online { "online" } else { "offline" };
        Message::new(self.state.clone(), payload, QoS::AtLeastOnce, true)
    }

    /// The health report, retained.
    pub fn health_message(&self, json: String) -> Message {
        Message::new(self.health.clone(), json, QoS::AtLeastOnce, true)
    }

    /// What a queue gave up: `dropped` messages, queued between `from` and `to` (`null` where the clock had not been set).
    /// Not retained.
    pub fn gap_message(&self, uplink: &str, dropped: u64, span: [Option<Timestamp>; 2], reason: &str) -> Message {
        let [from, to] = span.map(|at| at.map(|at| at.to_string()));
        let gap = json!({"uplink": uplink, "dropped": dropped, "from": from, "to": to, "reason": reason});
        Message::new(self.gap.clone(), gap.to_string(), QoS::AtLeastOnce, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_says_what_was_lost_and_why() {
        let topics = GatewayTopics::new(&Topic::new("fw/p7").unwrap()).unwrap();
        let gap = topics.gap_message("cloud", 3, [Some(Timestamp(0)), None], "queue_full");
        let parsed: serde_json::Value = serde_json::from_slice(&gap.payload).unwrap();
        assert_eq!(gap.topic.as_str(), "fw/p7/gateway/gap");
        assert_eq!(parsed["dropped"], 3);
        assert_eq!(parsed["from"], "1970-01-01T00:00:00.000Z");
        assert_eq!(parsed["to"], serde_json::Value::Null);
        assert!(!gap.retain);
    }
}
