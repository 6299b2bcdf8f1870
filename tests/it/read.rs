//! `fieldway read` as people run it, against a pymodbus server.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::peers::Peer;

fn read(config: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fieldway"));
    command.args(["read", "--config"]).arg(config).args(arguments).output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn points_are_read_once_and_shown_as_text_or_as_they_would_be_published() {
    let folder = tempfile::tempdir().unwrap();
    let plant = folder.path().join("plant.json");
    let point = |address: u16, value: u32| serde_json::json!({ "table": "holding", "address": address, "type": "u16", "byte_order": "ABCD", "value": value });
    let held = serde_json::json!({ "unit_id": 3, "points": [point(10, 214), point(11, 7), point(65_535, 0x8000)] });
    std::fs::write(&plant, held.to_string()).unwrap();
    let mut peer = Peer::start("modbus_plant.py", &[plant.to_str().unwrap().to_owned(), "tcp".to_owned()]);
    let config = folder.path().join("gateway.yaml");
    let yaml = format!(
        "gateway: {{ id: a }}\n\
         buses: {{ plc: {{ tcp: '127.0.0.1:{}', protocol: modbus-tcp }} }}\n\
         devices:\n\
         \x20 boiler:\n\
         \x20   bus: plc\n\
         \x20   unit_id: 3\n\
         \x20   points:\n\
         \x20     supply_temperature: {{ holding: 10, type: i16, scale: 0.1, unit: \"°C\" }}\n\
         \x20     mode: {{ holding: 11, enum: {{ 0: off }} }}\n\
         \x20     nowhere: {{ holding: 12 }}\n\
         \x20     last: {{ register: 465536, bit: 15, poll: 1h }}\n",
        peer.line()
    );
    std::fs::write(&config, yaml).unwrap();

    let all = read(&config, &["boiler"]);
    let expected = "supply_temperature  21.4 °C\nmode                bad: 7 is not_in_enum\n\
                    nowhere             bad: illegal_address\nlast                true\n";
    assert_eq!((text(&all.stdout).as_str(), all.status.code()), (expected, Some(1)), "{}", text(&all.stderr));

    let good = read(&config, &["--json", "boiler", "last", "supply_temperature"]);
    let json: serde_json::Value = serde_json::from_slice(&good.stdout).expect("JSON");
    assert_eq!((&json["device"], good.status.code()), (&"boiler".into(), Some(0)));
    assert_eq!(json["points"]["last"]["value"], true);
    let temperature = &json["points"]["supply_temperature"];
    assert_eq!((&temperature["value"], &temperature["unit"]), (&21.4.into(), &"°C".into()));

    for (arguments, told) in [
        (&["boilr"][..], "there is no device `boilr`; there is boiler"),
        (&["boiler", "flow"], "device `boiler` has no point `flow`"),
    ] {
        let wrong = read(&config, arguments);
        assert_eq!((wrong.status.code(), text(&wrong.stdout)), (Some(2), String::new()));
        assert!(text(&wrong.stderr).contains(told), "{}", text(&wrong.stderr));
    }
    drop(peer);
    let gone = read(&config, &["boiler"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(text(&gone.stderr).contains("connection refused"), "{}", text(&gone.stderr));
}
