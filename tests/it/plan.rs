//! `fieldway plan` as people run it.

use std::fs;
use std::process::{Command, Output};

fn plan(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fieldway")).arg("plan").args(arguments).output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn a_plan_shows_each_request_and_what_can_not_be_met_and_exits_with_1_then() {
    let output = plan(&["--config", "tests/golden/plan/gateway.yaml"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), String::new()));
    let golden = "tests/golden/plan/expected.txt";
    if std::env::var_os("FIELDWAY_BLESS").is_some() {
        fs::write(golden, &output.stdout).unwrap();
    }
    assert_eq!(text(&output.stdout), fs::read_to_string(golden).unwrap(), "FIELDWAY_BLESS=1 writes it anew");
}

#[test]
fn json_has_every_point_of_every_request() {
    let output = plan(&["--json", "--config", "tests/golden/plan/gateway.yaml"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let buses = json["buses"].as_array().unwrap();
    let points = |bus: &serde_json::Value| {
        let requests = bus["requests"].as_array().unwrap();
        requests.iter().map(|request| request["points"].as_array().unwrap().len()).sum::<usize>()
    };
    assert_eq!(buses.iter().map(points).collect::<Vec<_>>(), [7, 7, 3]);
    assert_eq!(buses[0]["baud"], 9600);
    assert_eq!(buses[1]["missed"][0]["device"], "pump");
    assert!(buses[2]["load_percent"].as_f64().unwrap() < 1.0 && buses[2]["missed"].as_array().unwrap().is_empty());
}

#[test]
fn a_plan_that_can_be_met_exits_with_0_and_a_wrong_configuration_with_2() {
    assert_eq!(plan(&["--config", "tests/golden/config/good-smallest/gateway.yaml"]).status.code(), Some(0));
    let wrong = plan(&["--config", "tests/golden/config/names/gateway.yaml"]);
    assert_eq!((wrong.status.code(), text(&wrong.stdout)), (Some(2), String::new()));
}
