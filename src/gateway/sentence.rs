//! How the gateway is doing, in one line for `systemctl status`: "polling 12 devices, cloud: 1,204 queued".

use crate::model::{BusState, QueueStatus, Snapshot, UplinkState, UplinkStatus};

/// Uplinks that are named; of more, only their number is told.
const NAMED: usize = 3;

/// What it does now, what is wrong first. One line without line ends.
pub fn of(snapshot: &Snapshot) -> String {
    let mut parts: Vec<String> = snapshot.stuck.iter().map(|what| format!("stuck: {what}")).collect();
    parts.push(devices(snapshot));
    parts.extend(buses(snapshot));
    parts.extend(snapshot.uplinks.iter().take(NAMED).map(uplink));
    if let Some(more) = snapshot.uplinks.len().checked_sub(NAMED).filter(|more| *more > 0) {
        parts.push(format!("and {more} more uplinks"));
    }
    if !snapshot.clock_synced {
        parts.push("the clock is not set yet".into());
    }
    parts.join(", ")
}

fn devices(snapshot: &Snapshot) -> String {
    let all = || snapshot.buses.iter().flat_map(|bus| &bus.devices);
    let offline = all().filter(|device| device.online == Some(false)).count();
    match (all().count(), offline) {
        (0, _) => "no devices are configured yet".into(),
        (n, 0) => format!("polling {}", counted(n, "device", "devices")),
        (n, offline) => format!("polling {}, {offline} of them offline", counted(n, "device", "devices")),
    }
}

fn buses(snapshot: &Snapshot) -> Option<String> {
    let down: Vec<_> = snapshot.buses.iter().filter(|bus| matches!(bus.state, BusState::Down(_))).collect();
    match down.as_slice() {
        [] => None,
        [bus] => Some(format!("bus {} is down", bus.bus)),
        more => Some(format!("{} buses are down", more.len())),
    }
}

fn uplink(UplinkStatus { uplink, state, queue, .. }: &UplinkStatus) -> String {
    let QueueStatus { depth, error, .. } = queue;
    let queued = (*depth > 0).then(|| format!("{} queued", grouped(*depth)));
    let state = match (state, &queued) {
        (UplinkState::Starting, _) => Some("connecting"),
        (UplinkState::Online, None) => Some("online"),
        (UplinkState::Online, Some(_)) => None,
        (UplinkState::Offline(_), _) => Some("offline"),
    };
    let trouble = error.as_ref().map(|_| "the disk refuses more");
    let words = [state, queued.as_deref(), trouble];
    format!("{uplink}: {}", words.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{} {}", grouped(n as u64), if n == 1 { one } else { many })
}

/// 1204 is "1,204".
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{BusStatus, DeviceStatus, Name, Timestamp};

    fn name(text: impl AsRef<str>) -> Name {
        Name::new(text.as_ref()).unwrap()
    }

    fn device(n: usize) -> DeviceStatus {
        DeviceStatus {
            device: name(format!("meter{n}")),
            online: Some(true),
            fault: None,
            last_answer: None,
            requests: 0,
            failures: 0,
            skipped: 0,
        }
    }

    fn cloud(state: UplinkState, depth: u64) -> UplinkStatus {
        let queue = QueueStatus { depth, ..QueueStatus::default() };
        UplinkStatus { state, queue, ..UplinkStatus::starting(name("cloud")) }
    }

    fn snapshot(devices: usize, uplinks: Vec<UplinkStatus>) -> Snapshot {
        let line = BusStatus {
            bus: name("line1"),
            state: BusState::Open,
            busy: Duration::ZERO,
            damaged: 0,
            devices: (0..devices).map(device).collect(),
        };
        Snapshot {
            gateway: name("plant-7"),
            version: "1",
            taken: Timestamp(0),
            clock_synced: true,
            uptime: Duration::ZERO,
            resident_bytes: None,
            stuck: Vec::new(),
            buses: if devices > 0 { vec![line] } else { Vec::new() },
            broker: None,
            uplinks,
        }
    }

    #[test]
    fn it_says_what_is_polled_and_what_waits() {
        assert_eq!(of(&snapshot(0, vec![])), "no devices are configured yet");
        assert_eq!(of(&snapshot(1, vec![])), "polling 1 device");
        let queued = snapshot(12, vec![cloud(UplinkState::Online, 1_204)]);
        assert_eq!(of(&queued), "polling 12 devices, cloud: 1,204 queued");
        assert_eq!(of(&snapshot(2, vec![cloud(UplinkState::Online, 0)])), "polling 2 devices, cloud: online");
        let many = vec![cloud(UplinkState::Starting, 0); 5];
        assert!(of(&snapshot(2, many)).ends_with("cloud: connecting, and 2 more uplinks"));
    }

    #[test]
    fn what_is_wrong_is_in_it() {
        let mut ill = snapshot(12, vec![cloud(UplinkState::Offline("refused".into()), 1_234_567)]);
        ill.buses[0].devices[3].online = Some(false);
        ill.buses[0].state = BusState::Down("no such file".into());
        ill.uplinks[0].queue.error = Some("disk full".into());
        ill.clock_synced = false;
        ill.stuck.push("the store has made no progress for 40 s".into());
        assert_eq!(
            of(&ill),
            "stuck: the store has made no progress for 40 s, polling 12 devices, 1 of them offline, bus line1 is down, \
             cloud: offline, 1,234,567 queued, the disk refuses more, the clock is not set yet"
        );
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(grouped(n), text);
        }
    }
}
