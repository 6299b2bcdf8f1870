//! The health report `{root}/gateway/health` (`DESIGN.md` §5): a snapshot as JSON, and when it is due.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::model::{
    AcceptStatus, BrokerStatus, BusState, BusStatus, DeviceStatus, Monotonic, QueueStatus, Snapshot, UplinkState,
    UplinkStatus,
};

/// The longest silence between two reports.
const EVERY: Duration = Duration::from_secs(30);
/// The shortest: a line that flaps must not flood the topic.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// Decides when a report is due: every 30 s, and soon after anything changed that is more than a counter.
#[derive(Debug, Default)]
pub struct HealthReport {
    last: Option<(Monotonic, Snapshot)>,
}

impl HealthReport {
    /// The report to publish now, if one is due. Ask at least once a second.
    pub fn due(&mut self, now: Monotonic, snapshot: &Snapshot) -> Option<String> {
        let due = self.last.as_ref().is_none_or(|(when, last)| {
            let silence = now.since(*when);
            silence >= EVERY || (silence >= AT_MOST_EVERY && conditions(last) != conditions(snapshot))
        });
        due.then(|| {
            self.last = Some((now, snapshot.clone()));
            health(snapshot).to_string()
        })
    }
}

/// The report: devices, buses, queues, uplinks, broker and clock. Durations are seconds, sizes bytes.
pub fn health(snapshot: &Snapshot) -> Value {
    let Snapshot { gateway, version, taken, clock_synced, uptime, resident_bytes, stuck, buses, broker, uplinks } =
        snapshot;
    let devices = buses.iter().flat_map(|bus| bus.devices.iter().map(move |device| (bus, device)));
    json!({
        "ts": taken.to_string(),
        "gateway": gateway.as_str(),
        "version": version,
        "uptime_seconds": uptime.as_secs(),
        "clock": if *clock_synced { "synced" } else { "unsynced" },
        "resident_bytes": resident_bytes,
        "stuck": stuck,
        "buses": buses.iter().map(|bus| (bus.bus.to_string(), of_bus(bus))).collect::<Map<_, _>>(),
        "devices": devices.map(|(bus, device)| (device.device.to_string(), of_device(bus, device))).collect::<Map<_, _>>(),
        "broker": broker.as_ref().map(of_broker),
        "uplinks": uplinks.iter().map(|uplink| (uplink.uplink.to_string(), of_uplink(uplink))).collect::<Map<_, _>>(),
        "queues": uplinks.iter().map(|uplink| (uplink.uplink.to_string(), of_queue(&uplink.queue))).collect::<Map<_, _>>(),
    })
}

fn of_bus(status: &BusStatus) -> Value {
    let mut out = json!({"state": status.state.as_str()});
    if let BusState::Down(reason) = &status.state {
        out["reason"] = reason.as_str().into();
    }
    out
}

fn of_device(bus: &BusStatus, status: &DeviceStatus) -> Value {
    let DeviceStatus { device: _, online, fault, last_answer, requests, failures, skipped } = status;
    let mut out = json!({
        "bus": bus.bus.as_str(),
        "state": match online { None => "starting", Some(true) => "online", Some(false) => "offline" },
        "last_answer": last_answer.map(|at| at.to_string()),
        "requests": requests,
        "failures": failures,
        "skipped": skipped,
    });
    if let Some(fault) = fault {
        out["fault"] = fault.as_str().into();
    }
    out
}

fn of_broker(status: &BrokerStatus) -> Value {
    let BrokerStatus { clients, subscriptions, retained, received, sent, dropped } = status;
    json!({
        "clients": clients, "subscriptions": subscriptions, "retained": retained,
        "received": received, "sent": sent, "dropped": dropped,
    })
}

fn of_uplink(status: &UplinkStatus) -> Value {
    let UplinkStatus { uplink: _, state, sent, acknowledged, dropped_qos0, connects, queue: _, accept } = status;
    let AcceptStatus { received, dropped_qos0: received_dropped_qos0, refused } = accept;
    let mut out = json!({
        "state": state.as_str(), "sent": sent, "acknowledged": acknowledged,
        "dropped_qos0": dropped_qos0, "connects": connects,
        "received": received, "received_dropped_qos0": received_dropped_qos0,
    });
    if !refused.is_empty() {
        out["refused_subscriptions"] = json!(refused);
    }
    if let UplinkState::Offline(reason) = state {
        out["reason"] = reason.as_str().into();
    }
    out
}

fn of_queue(status: &QueueStatus) -> Value {
    let QueueStatus { depth, high, bytes, oldest, queued, dropped, set_aside, error } = status;
    let mut out = json!({
        "depth": depth, "high": high, "bytes": bytes, "oldest": oldest.map(|at| at.to_string()),
        "queued": queued, "dropped": dropped, "set_aside": set_aside,
    });
    if let Some(error) = error {
        out["error"] = error.as_str().into();
    }
    out
}

/// What a change of is worth a report at once: conditions, not counters, and no texts of errors, which may carry numbers.
fn conditions(snapshot: &Snapshot) -> Vec<(&str, &str)> {
    let mut out = vec![
        ("clock", if snapshot.clock_synced { "synced" } else { "unsynced" }),
        ("broker", if snapshot.broker.is_some() { "listening" } else { "starting" }),
    ];
    out.extend(snapshot.stuck.iter().map(|stuck| ("stuck", stuck.as_str())));
    for bus in &snapshot.buses {
        out.push((&bus.bus, bus.state.as_str()));
        out.extend(bus.devices.iter().map(|device| {
            let state = match (device.online, device.fault) {
                (None, _) => "starting",
                (Some(true), _) => "online",
                (Some(false), fault) => fault.map_or("offline", |fault| fault.as_str()),
            };
            (device.device.as_str(), state)
        }));
    }
    for uplink in &snapshot.uplinks {
        out.push((&uplink.uplink, uplink.state.as_str()));
        out.push(("queue", if uplink.queue.error.is_some() { "failing" } else { "working" }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Fault, Name, Timestamp};

    fn snapshot() -> Snapshot {
        let name = |text| Name::new(text).unwrap();
        Snapshot {
            gateway: name("plant-7"),
            version: "0.1.0",
            taken: Timestamp(1_795_187_045_123),
            clock_synced: true,
            uptime: Duration::from_millis(93_500),
            resident_bytes: Some(12_582_912),
            stuck: Vec::new(),
            buses: vec![BusStatus {
                bus: name("line1"),
                state: BusState::Open,
                busy: Duration::from_secs(9),
                damaged: 0,
                devices: vec![DeviceStatus {
                    device: name("meter_1"),
                    online: Some(true),
                    fault: None,
                    last_answer: Some(Timestamp(1_795_187_045_000)),
                    requests: 93,
                    failures: 0,
                    skipped: 0,
                }],
            }],
            broker: Some(BrokerStatus { clients: 1, ..BrokerStatus::default() }),
            uplinks: vec![UplinkStatus {
                state: UplinkState::Online,
                sent: 90,
                acknowledged: 90,
                connects: 1,
                ..UplinkStatus::starting(name("cloud"))
            }],
        }
    }

    fn parsed(json: &str) -> Value {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_is_wrong_is_named_where_it_is_wrong() {
        let mut snapshot = snapshot();
        snapshot.buses[0].state = BusState::Down("no such file".into());
        snapshot.buses[0].devices[0].online = Some(false);
        snapshot.buses[0].devices[0].fault = Some(Fault::Disconnected);
        snapshot.uplinks[0].state = UplinkState::Offline("connection refused".into());
        snapshot.uplinks[0].queue =
            QueueStatus { depth: 312, error: Some("disk full".into()), ..QueueStatus::default() };
        let report = health(&snapshot);
        assert_eq!(report["buses"]["line1"], json!({"state": "down", "reason": "no such file"}));
        assert_eq!(report["devices"]["meter_1"]["fault"], "disconnected");
        assert_eq!(report["uplinks"]["cloud"]["reason"], "connection refused");
        assert_eq!(report["queues"]["cloud"]["depth"], 312);
        assert_eq!(report["queues"]["cloud"]["error"], "disk full");
    }

    #[test]
    fn the_example_in_the_documentation_is_a_real_report() {
        let page = include_str!("../../docs/topics.md");
        let example = page.split("```json health\n").nth(1).and_then(|rest| rest.split("```").next());
        assert_eq!(parsed(example.expect("an example in docs/topics.md")), health(&snapshot()));
    }

    #[test]
    fn reports_come_every_thirty_seconds_and_soon_after_a_change() {
        let at = Monotonic::from_millis;
        let (mut report, mut now) = (HealthReport::default(), snapshot());
        assert!(report.due(at(0), &now).is_some(), "the first at once");
        now.uplinks[0].sent += 1;
        now.buses[0].devices[0].requests += 1;
        assert_eq!(report.due(at(29_999), &now), None, "counters alone are no change");
        assert!(report.due(at(30_000), &now).is_some());
        now.buses[0].devices[0].online = Some(false);
        assert_eq!(report.due(at(30_500), &now), None, "at most one a second");
        assert!(report.due(at(31_000), &now).is_some());
        assert_eq!(report.due(at(32_000), &now), None, "a change is told once");
        now.uplinks[0].state = UplinkState::Offline("a".into());
        assert!(report.due(at(33_000), &now).is_some());
        now.uplinks[0].state = UplinkState::Offline("b".into());
        assert_eq!(report.due(at(35_000), &now), None, "another reason for the same state is no change");
    }
}
