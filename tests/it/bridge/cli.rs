//! `fieldway bridge` as a person uses it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use fieldway::cli::bridge::import::convert;
use fieldway::config;
use fieldway::mqtt::{Connect, Version};
use serde_json::Value;

use crate::support::gateway::{FIELDWAY, GatewayProcess};
use crate::support::mqtt::Client;
use crate::support::wait::{free_port, wait_for};

const RULES: &str = "gateway: { id: plant-7, topic_root: fw, data_dir: data }\nbroker: { listeners: ['mqtt://127.0.0.1:PORT'] }\n\
    uplinks:\n  cloud:\n    url: mqtt://127.0.0.1:1\n    forward:\n\
    \x20     - { topic: 'alarms/#', to: 'up/{rest}', when: payload.level > 2, priority: high }\n\
    \x20     - { topic: 'fw/#', to: 'sites/{rest}' }\n    accept:\n      - { topic: 'cmd/#', to: 'fw/{rest}' }\n";

fn bridge(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(FIELDWAY).arg("bridge").args(arguments).current_dir(folder).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_message_can_be_tried_without_sending_anything() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("g.yaml"), RULES.replace("PORT", "1883")).unwrap();
    let test = |more: &[&str]| bridge(folder.path(), &[&["test", "--config", "g.yaml"], more].concat());
    let shown = text(&test(&["--topic", "alarms/a", "--payload", r#"{"level":3}"#]));
    assert_eq!(
        shown,
        "uplink cloud, forward:\n  rule 1  alarms/# -> up/{rest}\n    yes\n    up/a  qos 1, 11 bytes\n    {\"level\":3}\n    \
         (before what is queued without priority)\n  rule 2  fw/# -> sites/{rest}\n    not asked: a rule before it took the message\n"
    );
    let shown = text(&test(&["--topic", "alarms/a", "--payload", r#"{"level":1}"#]));
    assert!(shown.contains("no: `when` does not hold") && shown.ends_with("  nothing leaves\n"), "{shown}");
    let json: Value = serde_json::from_str(&text(&test(&["--topic", "fw/x", "--payload", "1", "--json"]))).unwrap();
    assert_eq!(json["uplinks"][0]["rules"][1]["message"]["topic"], "sites/x");
    assert_eq!(json["uplinks"][0]["rules"][0]["reason"], "its topic does not match");
    let down = text(&test(&["--topic", "cmd/boiler/t/set", "--payload", "1", "--direction", "down"]));
    assert!(down.contains("fw/boiler/t/set") && down.contains("a command"), "{down}");
    let wrong = test(&["--topic", "a/+"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert_eq!(test(&["--topic", "a", "--uplink", "clod"]).status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_are_shown_with_what_the_running_gateway_has_counted() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let yaml = RULES.replace("PORT", &port.to_string());
    fs::write(folder.path().join("gateway.yaml"), &yaml).unwrap();
    let inspect = || text(&bridge(folder.path(), &["inspect", "--config", "gateway.yaml"]));
    assert!(inspect().contains("no gateway runs"), "{}", inspect());
    let gateway = GatewayProcess::start(folder.path(), &yaml, port);
    let mut client = Client::connect(([127, 0, 0, 1], port).into(), Connect::new(Version::V5, "publisher")).await;
    client.publish_acked("alarms/a", r#"{"level":3}"#, false).await;
    client.publish_acked("alarms/a", "text", false).await;
    let counted = wait_for("the counts", Duration::from_secs(20), || {
        let shown = inspect();
        shown.contains("taken 1, left 1, when false 0, when unclear 1, not shaped 0").then_some(shown)
    });
    assert!(
        counted.contains("up   1  alarms/# -> up/{rest}") && counted.contains("down 1  cmd/# -> fw/{rest}"),
        "{counted}"
    );
    assert!(counted.contains("last: `when` can't be told"), "{counted}");
    gateway.stop();
}

#[test]
fn a_mosquitto_conf_becomes_a_configuration_that_is_right() {
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mosquitto/bridges.conf"));
    let yaml = convert(&source.unwrap());
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mosquitto/expected.yaml");
    if std::env::var_os("FIELDWAY_BLESS").is_some() {
        fs::write(&expected, &yaml).unwrap();
    }
    assert_eq!(yaml, fs::read_to_string(&expected).unwrap_or_default());
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cloud.password"), "secret").unwrap();
    let file = folder.path().join("gateway.yaml");
    fs::write(&file, format!("gateway: {{ id: plant-7 }}\n{yaml}")).unwrap();
    let config = config::load(&file, &|_| None).unwrap_or_else(|report| panic!("{report}\n{yaml}"));
    assert_eq!(config.uplinks.len(), 2);
    let cloud = &config.uplinks[0];
    assert_eq!((cloud.forward.len(), cloud.accept.len()), (3, 2));
    assert!(!yaml.contains("hunter2"), "no password is printed");
}
