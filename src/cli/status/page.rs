//! What `/api/status` says, as a page for people. Pure: it is given the answer and returns lines.

use serde_json::{Map, Value};

use super::table::{Cell, Paint, Table, Tone, wrap};
use crate::model::Timestamp;

/// The whole page.
pub fn lines(status: &Value, paint: Paint) -> Vec<String> {
    let mut lines = head(status, paint);
    let now = time(&status["ts"]);
    for table in [buses(status), devices(status, now), uplinks(status, now)].into_iter().flatten() {
        lines.push(String::new());
        lines.extend(table.lines(paint));
    }
    lines.extend([String::new(), broker(&status["broker"])]);
    let told = |key: &str| status["health"][key].as_array().cloned().unwrap_or_default();
    let (problems, notes) = (told("problems"), told("notes"));
    if !(problems.is_empty() && notes.is_empty()) {
        lines.push(String::new());
    }
    for (tone, sentences) in [(Tone::Bad, problems), (Tone::Odd, notes)] {
        for sentence in sentences {
            let wrapped = wrap("! ", text(&sentence));
            lines.extend(wrapped.iter().map(|line| paint.text(tone, line)));
        }
    }
    lines
}

fn head(status: &Value, paint: Paint) -> Vec<String> {
    let up = duration(number(&status["uptime_seconds"]));
    let verdict = match status["health"]["problems"].as_array().map_or(0, Vec::len) {
        0 => paint.text(Tone::Good, "all is well"),
        1 => paint.text(Tone::Bad, "1 problem"),
        n => paint.text(Tone::Bad, &format!("{n} problems")),
    };
    let clock = match status["clock"].as_str() {
        Some("synced") => "clock set".to_owned(),
        _ => paint.text(Tone::Odd, "clock not set"),
    };
    let memory = status["resident_bytes"].as_u64().map_or(String::new(), |bytes| format!(", memory {}", size(bytes)));
    vec![
        format!("fieldway {}, gateway {}: {verdict}", text(&status["version"]), text(&status["gateway"])),
        format!("up {up}, {clock}{memory}, store {}", size(number(&status["store"]["bytes"]))),
        format!("configuration {}", text(&status["config"])),
    ]
}

fn buses(status: &Value) -> Option<Table> {
    let mut table = Table::new(&["BUS", "STATE", ""]);
    for (name, bus) in entries(&status["buses"])? {
        let why = Cell::text(Tone::Plain, text(&bus["reason"]));
        table.row(vec![Cell::text(Tone::Plain, name), state(&bus["state"]), why]);
    }
    Some(table)
}

fn devices(status: &Value, now: Option<Timestamp>) -> Option<Table> {
    let mut table = Table::new(&["DEVICE", "BUS", "STATE", "LAST ANSWER", "POINTS", "ASKED", "FAILED", "SKIPPED"]);
    for (name, device) in entries(&status["devices"])? {
        let state = match device["fault"].as_str() {
            Some(fault) => Cell::text(Tone::Bad, fault),
            None => state(&device["state"]),
        };
        table.row(vec![
            Cell::text(Tone::Plain, name),
            Cell::text(Tone::Faint, text(&device["bus"])),
            state,
            Cell::number(Tone::Plain, age(&device["last_answer"], now)),
            points(&device["points"]),
            count(&device["requests"], Tone::Plain),
            count(&device["failures"], Tone::Plain),
            count(&device["skipped"], Tone::Plain),
        ]);
    }
    Some(table)
}

/// "14", "12/14 good", "0/4 good"; nothing where the gateway was too busy to say.
fn points(points: &Value) -> Cell {
    let [count, good, bad] = ["count", "good", "bad"].map(|key| number(&points[key]));
    let some = format!("{}/{} good", grouped(good), grouped(count));
    match points {
        Value::Null => Cell::text(Tone::Plain, ""),
        _ if good == count => Cell::text(Tone::Plain, grouped(count)),
        _ if good > 0 || bad == 0 => Cell::text(Tone::Odd, some),
        _ => Cell::text(Tone::Bad, some),
    }
}

fn uplinks(status: &Value, now: Option<Timestamp>) -> Option<Table> {
    let mut table = Table::new(&["UPLINK", "STATE", "QUEUED", "SIZE", "OLDEST", "RATE", "IN FLIGHT", "DROPPED"]);
    for (name, uplink) in entries(&status["uplinks"])? {
        let queue = &status["queues"][name.as_str()];
        let rate = uplink["rate"].as_f64().map_or(String::new(), |rate| format!("{}/s", rounded(rate)));
        let dropped = number(&queue["dropped"]) + number(&uplink["dropped_qos0"]);
        let tone = if dropped > 0 { Tone::Odd } else { Tone::Plain };
        table.row(vec![
            Cell::text(Tone::Plain, name),
            state(&uplink["state"]),
            count(&queue["depth"], Tone::Plain),
            Cell::number(Tone::Plain, size(number(&queue["bytes"]))),
            Cell::number(Tone::Plain, age(&queue["oldest"], now)),
            Cell::number(Tone::Plain, rate),
            count(&uplink["in_flight"], Tone::Plain),
            Cell::number(tone, grouped(dropped)),
        ]);
    }
    Some(table)
}

fn broker(broker: &Value) -> String {
    if broker.is_null() {
        return "broker: does not listen yet".into();
    }
    let [clients, subscriptions, retained, received, sent, dropped] =
        ["clients", "subscriptions", "retained", "received", "sent", "dropped"]
            .map(|key| grouped(number(&broker[key])));
    let sessions = broker["sessions"].as_u64().map_or(String::new(), |count| format!(", {} sessions", grouped(count)));
    format!(
        "broker: {clients} clients{sessions}, {subscriptions} subscriptions, {retained} retained; \
         {received} in, {sent} out, {dropped} dropped"
    )
}

fn entries(value: &Value) -> Option<&Map<String, Value>> {
    value.as_object().filter(|entries| !entries.is_empty())
}

fn state(value: &Value) -> Cell {
    let word = text(value);
    let tone = match word {
        "open" | "online" => Tone::Good,
        "starting" => Tone::Odd,
        _ => Tone::Bad,
    };
    Cell::text(tone, word)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn time(value: &Value) -> Option<Timestamp> {
    Timestamp::from_rfc3339(value.as_str()?)
}

fn count(value: &Value, tone: Tone) -> Cell {
    Cell::number(tone, value.as_u64().map_or(String::new(), grouped))
}

/// "3 s ago"; nothing when it is not known.
fn age(value: &Value, now: Option<Timestamp>) -> String {
    let (Some(then), Some(now)) = (time(value), now) else { return String::new() };
    let ms = now.0.saturating_sub(then.0);
    // A clock that was set back must not make an age of nonsense.
    match u64::try_from(ms / 1000) {
        Ok(0) => "now".into(),
        Ok(seconds) => format!("{} ago", duration(seconds)),
        Err(_) => "ahead".into(),
    }
}

/// "45 s", "12 min", "3 h", "5 d".
fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// "512 B", "12 kB", "1.2 GB".
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 99.5 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

fn rounded(rate: f64) -> String {
    if rate >= 10.0 || rate == 0.0 { grouped(rate.round() as u64) } else { format!("{rate:.1}") }
}

/// 1,234,567
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
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
    use serde_json::json;

    use super::*;

    #[test]
    fn the_page_has_every_part_and_is_at_most_eighty_wide() {
        let status = json!({
            "ts": "2026-11-20T15:04:05.123Z", "gateway": "plant-7", "version": "0.1.0", "uptime_seconds": 93_500,
            "clock": "unsynced", "resident_bytes": 12_582_912, "config": "/etc/fieldway/gateway.yaml",
            "store": { "bytes": 1_234_567 },
            "buses": { "line1": { "state": "down", "reason": "there is no /dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A1-if00-port0; is the adapter plugged in?" } },
            "devices": {
                "boiler_in_the_cellar_of_the_north_wing": { "bus": "line1", "state": "online",
                    "last_answer": "2026-11-20T15:04:01Z", "points": { "count": 14, "good": 12, "bad": 2 },
                    "requests": 1_234_567, "failures": 0, "skipped": 3 },
                "meter": { "bus": "line1", "state": "offline", "fault": "timeout", "last_answer": null,
                    "points": { "count": 4, "good": 0, "bad": 4 }, "requests": 5, "failures": 5, "skipped": 0 },
            },
            "uplinks": { "cloud": { "state": "offline", "rate": 12.25, "dropped_qos0": 2, "in_flight": 7 } },
            "queues": { "cloud": { "depth": 312, "bytes": 62_400, "oldest": "2026-11-20T13:04:05Z", "dropped": 1 } },
            "broker": { "clients": 2, "subscriptions": 5, "retained": 14, "received": 1_204, "sent": 3_801, "dropped": 0 },
            "health": { "problems": ["bus line1 is down: there is none"], "notes": ["the clock has not been set"] },
        });
        let lines = lines(&status, Paint(false));
        let page = lines.join("\n");
        assert!(lines.iter().all(|line| line.chars().count() <= 80 && !line.ends_with(' ')), "{page}");
        for expected in [
            "fieldway 0.1.0, gateway plant-7: 1 problem",
            "up 25 h, clock not set, memory 12.6 MB, store 1.2 MB",
            "12/14 good",
            "4 s ago",
            "timeout",
            "2 h ago",
            "12/s",
            "62.4 kB",
            "broker: 2 clients, 5 subscriptions, 14 retained; 1,204 in, 3,801 out, 0 dropped",
            "! bus line1 is down: there is none",
            "! the clock has not been set",
        ] {
            assert!(page.contains(expected), "{expected}\n{page}");
        }
    }

    #[test]
    fn numbers_are_told_as_people_say_them() {
        assert_eq!([999, 1_000, 99_400, 1_500_000_000].map(size), ["999 B", "1.0 kB", "99.4 kB", "1.5 GB"]);
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([119, 120, 7_200, 172_800].map(duration), ["119 s", "2 min", "2 h", "2 d"]);
        assert_eq!([0.0, 0.25, 12.6].map(rounded), ["0", "0.2", "13"]);
    }
}
