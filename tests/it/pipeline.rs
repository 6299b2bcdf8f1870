//! From a register to a subscriber: pymodbus on a TCP port and on a pty, the real gateway, and mosquitto's own client.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use serde_json::{Value, json};

use crate::support::chance::Chance;
use crate::support::gateway::GatewayProcess;
use crate::support::peers::Peer;
use crate::support::wait::free_port;

const POINTS: usize = 200;
const ORDERS: [&str; 4] = ["ABCD", "CDAB", "BADC", "DCBA"];
const TYPES: [&str; 5] = ["u16", "i16", "u32", "i32", "f32"];
/// Scale and offset as they are typed, and as whole numbers over 10^digits.
const SCALES: [(&str, i128, &str, i128, u32); 4] =
    [("1", 1, "0", 0, 0), ("0.1", 1, "0", 0, 1), ("0.001", 1, "-40", -40_000, 3), ("2.5", 25, "0.5", 5, 1)];

/// One point: what pymodbus holds, how the gateway is told to read it, what has to come out.
struct Case {
    name: String,
    plant: Value,
    yaml: String,
    expected: Value,
}

fn case(index: usize, address: u16, chance: &mut Chance) -> Case {
    let table = ["coil", "discrete", "input", "holding"][index % 4];
    let order = ORDERS[index / 4 % 4];
    if index % 4 < 2 {
        let on = chance.fraction() < 0.5;
        return Case {
            name: format!("p{index}"),
            plant: json!({"table": table, "address": address, "type": "bool", "byte_order": "ABCD", "value": on}),
            yaml: format!("{{ {table}: {address} }}"),
            expected: json!(on),
        };
    }
    let kind = TYPES[index / 2 % 5];
    let (value, expected, scaling) = if kind == "f32" {
        // Sevenths have no short decimal: every bit of the float counts.
        let float = ((chance.fraction() - 0.5) * 1e6 / 7.0) as f32;
        (json!(f64::from(float)), json!(float.to_string().parse::<f64>().unwrap()), String::new())
    } else {
        let (low, high): (i64, i64) = match kind {
            "u16" => (0, u16::MAX.into()),
            "i16" => (i16::MIN.into(), i16::MAX.into()),
            "u32" => (0, u32::MAX.into()),
            _ => (i32::MIN.into(), i32::MAX.into()),
        };
        // The ends of the range as well as what lies between.
        let raw = match index % 7 {
            0 => low,
            1 => high,
            _ => low + ((high - low) as f64 * chance.fraction()) as i64,
        };
        let (scale, factor, offset, addend, digits) = SCALES[index / 8 % 4];
        let exact = i128::from(raw) * factor + addend;
        let expected: f64 = format!("{exact}e-{digits}").parse().unwrap();
        (json!(raw), json!(expected), format!(", scale: {scale}, offset: {offset}"))
    };
    Case {
        name: format!("p{index}"),
        plant: json!({"table": table, "address": address, "type": kind, "byte_order": order, "value": value}),
        yaml: format!("{{ {table}: {address}, type: {kind}, byte_order: {order}{scaling} }}"),
        expected,
    }
}

/// Points over the whole range of addresses, both ends included, some side by side and some far apart.
fn cases(chance: &mut Chance) -> Vec<Case> {
    let mut address = 0u32;
    let mut cases = Vec::new();
    for index in 0..POINTS {
        cases.push(case(index, u16::try_from(address).unwrap(), chance));
        address += 2 + if chance.fraction() < 0.2 { (chance.fraction() * 1_000.0) as u32 } else { 0 };
    }
    let last = case(3, 65_534, chance);
    cases.push(Case { name: "last".into(), ..last });
    cases
}

fn device(name: &str, bus: &str, publish: &str, cases: &[Case]) -> String {
    let mut yaml = format!("  {name}:\n    bus: {bus}\n    unit_id: 7\n    publish: {publish}\n    points:\n");
    for case in cases {
        writeln!(yaml, "      {}: {}", case.name, case.yaml).unwrap();
    }
    yaml
}

fn assert_same(got: &Value, case: &Case, where_: &str) {
    // Numbers compare by value: 21.0 and 21 are the same reading.
    let same = match (got.as_f64(), case.expected.as_f64()) {
        (Some(got), Some(expected)) => got == expected,
        _ => *got == case.expected,
    };
    assert!(same, "{where_}: {} is {got}, expected {} from {} {}", case.name, case.expected, case.plant, case.yaml);
}

#[test]
fn every_value_of_two_hundred_points_reaches_a_subscriber_as_pymodbus_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let cases = cases(&mut Chance::seeded_or_new());
    let plant = json!({"unit_id": 7, "points": cases.iter().map(|case| case.plant.clone()).collect::<Vec<_>>()});
    let file = folder.path().join("plant.json");
    fs::write(&file, plant.to_string()).unwrap();
    let file = file.display().to_string();
    let mut tcp = Peer::start("modbus_plant.py", &[file.clone(), "tcp".into()]);
    let mut rtu = Peer::start("modbus_plant.py", &[file, "rtu".into()]);
    let port = free_port();
    let yaml = format!(
        "gateway: {{ id: pipe, topic_root: fw, data_dir: . }}\nbroker: {{ listeners: ['mqtt://127.0.0.1:{port}'] }}\n\
         buses:\n\
         \x20 plc: {{ tcp: '127.0.0.1:{}', protocol: modbus-tcp }}\n\
         \x20 line: {{ serial: '{}', protocol: modbus-rtu, baud: 115200 }}\n\
         devices:\n{}{}",
        tcp.line(),
        rtu.line(),
        device("over_tcp", "plc", "both", &cases),
        device("over_rtu", "line", "device", &cases),
    );
    let gateway = GatewayProcess::start(folder.path(), &yaml, port);

    for version in ["mqttv311", "mqttv5"] {
        let mut subscriber =
            Peer::mosquitto_sub(port, &["-V", version, "-q", "1", "-t", "fw/+", "-t", "fw/over_tcp/+"]);
        let mut latest: BTreeMap<String, Value> = BTreeMap::new();
        let is_whole = |snapshot: Option<&Value>| {
            snapshot.is_some_and(|payload| payload["values"].as_object().is_some_and(|v| v.len() == cases.len()))
        };
        while !(is_whole(latest.get("fw/over_tcp"))
            && is_whole(latest.get("fw/over_rtu"))
            && cases.iter().all(|case| latest.contains_key(&format!("fw/over_tcp/{}", case.name))))
        {
            let line = subscriber.line();
            let (topic, payload) = line.split_once(' ').unwrap();
            // `availability` is a bare word.
            latest.insert(topic.into(), serde_json::from_str(payload).unwrap_or(Value::Null));
        }
        for case in &cases {
            for device in ["fw/over_tcp", "fw/over_rtu"] {
                assert_same(&latest[device]["values"][&case.name], case, &format!("{version} {device}"));
            }
            let own = &latest[&format!("fw/over_tcp/{}", case.name)];
            assert_same(&own["value"], case, &format!("{version} own topic"));
            assert_eq!(own["quality"], "good");
        }
        assert_eq!(latest["fw/over_rtu"]["bad"], json!({}));
    }
    let (status, log) = gateway.stop();
    assert!(status.success() && !log.contains("WARN") && !log.contains("ERROR"), "{status}\n{log}");
}
