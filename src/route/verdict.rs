//! Is all well? What is wrong with the gateway as a list of sentences, for `fieldway status` and its exit code. Pure.

use serde_json::{Value, json};

use crate::model::{BusState, Snapshot, UplinkState};

/// What there is to say about a gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What is wrong, a sentence each; empty when all is well.
    pub problems: Vec<String>,
    /// What is worth knowing and not wrong.
    pub notes: Vec<String>,
}

impl Verdict {
    /// Of a gateway as it is now.
    pub fn of(snapshot: &Snapshot) -> Verdict {
        let mut verdict = Verdict { problems: snapshot.stuck.clone(), notes: Vec::new() };
        if !snapshot.clock_synced {
            let note =
                "the clock has not been set since the machine started; readings say so, and are corrected once it is";
            verdict.notes.push(note.into());
        }
        for bus in &snapshot.buses {
            match &bus.state {
                BusState::Starting => verdict.notes.push(format!("bus {} is being opened", bus.bus)),
                // Its devices are silent for that reason, and need no sentence each.
                BusState::Down(why) => {
                    verdict.problems.push(format!("bus {} is down: {why}", bus.bus));
                    continue;
                }
                BusState::Open => {}
            }
            let offline = bus.devices.iter().filter(|device| device.online == Some(false));
            verdict.problems.extend(offline.map(|device| match device.fault {
                Some(fault) => format!("device {} is offline: {fault}", device.device),
                None => format!("device {} is offline", device.device),
            }));
        }
        for uplink in &snapshot.uplinks {
            match &uplink.state {
                UplinkState::Starting => verdict.notes.push(format!("uplink {} is connecting", uplink.uplink)),
                UplinkState::Offline(why) => {
                    verdict.problems.push(format!("uplink {} is offline: {why}", uplink.uplink));
                }
                UplinkState::Online => {}
            }
            if let Some(error) = &uplink.queue.error {
                verdict.problems.push(format!("the queue of uplink {} can't be written: {error}", uplink.uplink));
            }
            if uplink.queue.dropped > 0 {
                let count = uplink.queue.dropped;
                verdict
                    .notes
                    .push(format!("uplink {}: {count} messages were dropped since its queue was made", uplink.uplink));
            }
        }
        verdict
    }

    /// `{"status":"ok|wrong","problems":[…],"notes":[…]}`
    pub fn json(&self) -> Value {
        let status = if self.problems.is_empty() { "ok" } else { "wrong" };
        json!({ "status": status, "problems": self.problems, "notes": self.notes })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{BusStatus, DeviceStatus, Fault, Name, Timestamp, UplinkStatus};

    fn snapshot() -> Snapshot {
        let name = |text| Name::new(text).unwrap();
        let device = |text| DeviceStatus {
            device: name(text),
            online: Some(true),
            fault: None,
            last_answer: None,
            requests: 0,
            failures: 0,
            skipped: 0,
        };
        Snapshot {
            gateway: name("plant"),
            version: "1",
            taken: Timestamp(0),
            clock_synced: true,
            uptime: Duration::from_secs(7),
            resident_bytes: None,
            stuck: Vec::new(),
            buses: vec![BusStatus {
                bus: name("line1"),
                state: BusState::Open,
                busy: Duration::ZERO,
                damaged: 0,
                devices: vec![device("a"), device("b")],
            }],
            broker: None,
            uplinks: vec![UplinkStatus { state: UplinkState::Online, ..UplinkStatus::starting(name("cloud")) }],
        }
    }

    #[test]
    fn what_is_offline_or_down_is_wrong_and_what_starts_or_was_dropped_is_not() {
        let mut snapshot = snapshot();
        assert_eq!(Verdict::of(&snapshot), Verdict::default());
        snapshot.clock_synced = false;
        snapshot.uplinks[0].queue.dropped = 3;
        snapshot.buses[0].state = BusState::Starting;
        let verdict = Verdict::of(&snapshot);
        assert_eq!(
            (verdict.problems.len(), verdict.notes.len(), verdict.json()["status"].as_str()),
            (0, 3, Some("ok"))
        );
        snapshot.buses[0].devices[1].online = Some(false);
        snapshot.buses[0].devices[1].fault = Some(Fault::Timeout);
        snapshot.uplinks[0].state = UplinkState::Offline("connection refused".into());
        let verdict = Verdict::of(&snapshot);
        assert_eq!(verdict.problems, ["device b is offline: timeout", "uplink cloud is offline: connection refused"]);
        assert_eq!(verdict.json()["status"], "wrong");
    }

    #[test]
    fn a_bus_that_is_down_is_one_problem_and_not_one_a_device() {
        let mut snapshot = snapshot();
        snapshot.buses[0].state = BusState::Down("no such file".into());
        snapshot.buses[0].devices.iter_mut().for_each(|device| device.online = Some(false));
        assert_eq!(Verdict::of(&snapshot).problems, ["bus line1 is down: no such file"]);
    }
}
