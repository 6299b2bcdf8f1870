//! Two questions, two answers. Healthy: does everything make progress? Ready: has everything had its first try?
//!
//! Being away from the cloud is neither: the gateway exists for that. A restart would not help, so nothing that restarts
//! programs should see it as illness.

use serde_json::{Value, json};

use crate::model::{BusState, Snapshot, UplinkState};

/// Whether every part makes progress, and the body that says so.
pub fn health(snapshot: &Snapshot) -> (bool, Value) {
    let healthy = snapshot.stuck.is_empty();
    let body = json!({
        "status": if healthy { "ok" } else { "stuck" },
        "stuck": snapshot.stuck,
        "version": snapshot.version,
        "uptime_seconds": snapshot.uptime.as_secs(),
    });
    (healthy, body)
}

/// Whether the broker listens and every bus and uplink has had its first try, and the body that says what is missing.
/// `notes` says what is ready and yet not as it should be.
pub fn readiness(snapshot: &Snapshot) -> (bool, Value) {
    let (mut waiting, mut notes) = (Vec::new(), Vec::new());
    if snapshot.broker.is_none() {
        waiting.push("the broker does not listen yet".to_string());
    }
    for bus in &snapshot.buses {
        match &bus.state {
            BusState::Starting => waiting.push(format!("bus {} has not been opened yet", bus.bus)),
            BusState::Down(why) => notes.push(format!("bus {} is down: {why}", bus.bus)),
            BusState::Open => {}
        }
    }
    for uplink in &snapshot.uplinks {
        match &uplink.state {
            UplinkState::Starting => waiting.push(format!("uplink {} is connecting for the first time", uplink.uplink)),
            UplinkState::Offline(why) => notes.push(format!(
                "uplink {} is offline: {why}; {} messages wait in its queue",
                uplink.uplink, uplink.queue.depth
            )),
            UplinkState::Online => {}
        }
    }
    let ready = waiting.is_empty();
    (ready, json!({"status": if ready { "ready" } else { "starting" }, "waiting_for": waiting, "notes": notes}))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{BrokerStatus, BusStatus, Name, QueueStatus, Timestamp, UplinkStatus};

    fn starting() -> Snapshot {
        Snapshot {
            gateway: Name::new("plant").unwrap(),
            version: "1",
            taken: Timestamp(0),
            clock_synced: true,
            uptime: Duration::from_secs(7),
            resident_bytes: None,
            stuck: Vec::new(),
            buses: vec![BusStatus {
                bus: Name::new("line1").unwrap(),
                state: BusState::Starting,
                busy: Duration::ZERO,
                damaged: 0,
                devices: Vec::new(),
            }],
            broker: None,
            uplinks: vec![UplinkStatus {
                queue: QueueStatus { depth: 4, ..QueueStatus::default() },
                ..UplinkStatus::starting(Name::new("cloud").unwrap())
            }],
        }
    }

    #[test]
    fn a_gateway_that_starts_says_what_it_waits_for() {
        let (ready, body) = readiness(&starting());
        assert!(!ready);
        assert_eq!(body["waiting_for"].as_array().unwrap().len(), 3, "{body}");
    }

    #[test]
    fn a_gateway_without_its_cloud_and_a_bus_is_ready_and_says_so() {
        let mut snapshot = starting();
        snapshot.broker = Some(BrokerStatus::default());
        snapshot.buses[0].state = BusState::Down("no such file".into());
        snapshot.uplinks[0].state = UplinkState::Offline("connection refused".into());
        let (ready, body) = readiness(&snapshot);
        assert!(ready, "{body}");
        assert_eq!(body["notes"][0], "bus line1 is down: no such file");
        assert_eq!(body["notes"][1], "uplink cloud is offline: connection refused; 4 messages wait in its queue");
    }

    #[test]
    fn only_a_part_that_is_stuck_makes_it_unhealthy() {
        let mut snapshot = starting();
        assert!(health(&snapshot).0);
        snapshot.stuck.push("bus line1 ended".into());
        let (healthy, body) = health(&snapshot);
        assert!(!healthy);
        assert_eq!(body["stuck"][0], "bus line1 ended");
    }
}
