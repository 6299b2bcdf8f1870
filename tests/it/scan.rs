//! `fieldway scan` as people run it, against pymodbus servers.

use std::net::TcpListener;
use std::process::{Command, Output};

use crate::support::peers::Peer;

/// Scans a bus that holds unit 3; `bus` is its transport in YAML.
fn scan(bus: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.yaml");
    let yaml = format!(
        "gateway: {{ id: a }}\nbuses: {{ line1: {{ {bus} }} }}\n\
         devices: {{ meter: {{ bus: line1, unit_id: 3, points: {{ a: {{ holding: 10 }} }} }} }}\n"
    );
    std::fs::write(&config, yaml).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fieldway"));
    command.args(["scan", "--config"]).arg(&config).args(arguments).output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn plant(transport: &str) -> (Peer, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let point =
        serde_json::json!({ "table": "holding", "address": 10, "type": "u16", "byte_order": "ABCD", "value": 7 });
    // So long that it takes several answers.
    let url = format!("http://{}.example.com", "x".repeat(200));
    let identity = serde_json::json!({
        "VendorName": "Measure & Co", "ProductCode": "M-100", "MajorMinorRevision": "2.11", "VendorUrl": url, "ModelName": "M"
    });
    let held = serde_json::json!({ "unit_id": 3, "points": [point], "identity": identity });
    serde_json::to_writer(&file, &held).unwrap();
    let mut peer = Peer::start("modbus_plant.py", &[file.path().to_str().unwrap().to_owned(), transport.to_owned()]);
    let at = peer.line();
    (peer, at)
}

#[test]
fn units_that_answer_are_shown_with_what_they_say_they_are() {
    let (_peer, port) = plant("tcp");
    let bus = format!("tcp: '127.0.0.1:{port}', protocol: modbus-tcp");
    let output = scan(&bus, &["line1", "--units", "1-5"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.contains("unit 3 (meter): Measure & Co, M-100, 2.11, http://xxxx"), "{shown}");
    let json = scan(&bus, &["line1", "--units", "3", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    let unit = &json["units"][0];
    assert_eq!((&unit["unit_id"], &unit["devices"][0]), (&3.into(), &"meter".into()));
    assert_eq!(
        (&unit["identification"]["vendor"], &unit["identification"]["model_name"]),
        (&"Measure & Co".into(), &"M".into())
    );
    let nobody = scan(&bus, &["line2"]);
    assert_eq!((nobody.status.code(), text(&nobody.stdout)), (Some(2), String::new()));
}

#[test]
fn a_unit_on_a_serial_line_says_who_it_is_too() {
    let (_peer, path) = plant("rtu");
    let output = scan(&format!("serial: {path}, protocol: modbus-rtu"), &["line1", "--units", "3"]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{shown} {}", text(&output.stderr));
    assert!(shown.starts_with("unit 3 (meter): Measure & Co, M-100, 2.11"), "{shown}");
    assert!(shown.ends_with("1 of 1 unit ids answer\n"), "{shown}");
}

#[test]
fn silence_is_nobody() {
    // Takes connections and says nothing on them.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let bus = format!("tcp: '127.0.0.1:{port}', protocol: modbus-tcp");
    let nobody = scan(&bus, &["line1", "--units", "7,8", "--timeout", "50"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        text(&nobody.stdout).starts_with("0 of 2 unit ids answer; does it need more time?"),
        "{}",
        text(&nobody.stdout)
    );
}
