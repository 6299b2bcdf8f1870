//! Rules and messages with what leaves, as folders: `gateway.yaml`, `messages.txt` and `expected.txt`, which `FIELDWAY_BLESS=1` writes anew.
//!
//! A line of `messages.txt` is `up` or `down`, with `!` when retained, the topic, and the payload.

use std::collections::HashSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use fieldway::config::{self, Config};
use fieldway::model::{Message, Monotonic, QoS, Stamp, Timestamp, Topic};
use fieldway::route::{Accepter, GatewayTopics, Surroundings, Tried, try_down, try_up, unzstd};

const AT: Stamp =
    Stamp { monotonic: Monotonic::from_millis(0), since_boot: None, wall: Timestamp(1_795_187_045_123), synced: true };

#[test]
fn each_rule_does_with_each_message_what_is_written_down() {
    let folders = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bridge");
    let (mut asked, mut messages) = (0, 0);
    for folder in fs::read_dir(folders).unwrap().map(|folder| folder.unwrap().path()) {
        let config = config::load(&folder.join("gateway.yaml"), &|_| None).unwrap_or_else(|report| panic!("{report}"));
        let mut out = String::new();
        for line in fs::read_to_string(folder.join("messages.txt")).unwrap().lines() {
            messages += 1;
            asked += trial(&config, line, &mut out);
        }
        let expected = folder.join("expected.txt");
        if std::env::var_os("FIELDWAY_BLESS").is_some() {
            fs::write(&expected, &out).unwrap();
        }
        assert_eq!(out, fs::read_to_string(&expected).unwrap_or_default(), "{}", folder.display());
    }
    assert!(messages >= 80 && asked >= 500, "{messages} messages, {asked} rules asked");
}

fn trial(config: &Config, line: &str, out: &mut String) -> usize {
    let (direction, rest) = line.split_once(' ').unwrap();
    // `my notes/…`: a topic may have blanks; the payload begins after the last blank before a `{`, or after the first.
    let cut = rest.find(" {").or_else(|| rest.find(' ')).unwrap_or(rest.len());
    let (topic, payload) = (&rest[..cut], rest[cut..].trim_start());
    let topic = Topic::new(topic).unwrap();
    let message = Message::new(topic, payload.to_owned(), QoS::AtLeastOnce, direction.ends_with('!'));
    let (gateway, uplink) = (&config.gateway, &config.uplinks[0]);
    let root = &gateway.topic_root;
    let tried = if direction.starts_with("up") {
        let presence = GatewayTopics::new(root).unwrap().state;
        let (gateway, root, uplink_name) = (gateway.id.clone(), root.clone(), uplink.name.clone());
        let around = Surroundings { gateway, root, presence, uplink: uplink_name };
        try_up(&uplink.forward, &around, &message, AT)
    } else {
        let devices: HashSet<_> = config.devices.iter().map(|device| device.name.clone()).collect();
        let (name, rules) = (uplink.name.clone(), uplink.accept.clone());
        let accepter = Accepter::new(rules, name, gateway.id.clone(), root.clone(), devices);
        try_down(&accepter, &message, root, &gateway.id, AT)
    };
    writeln!(out, "{line}").unwrap();
    for (index, Tried { outcome, .. }) in tried.iter().enumerate() {
        match outcome {
            // Most rules are about other topics.
            None => {}
            Some(Err(why)) if why == "its topic does not match" => {}
            Some(Err(why)) => writeln!(out, "  {} no: {why}", index + 1).unwrap(),
            Some(Ok(message)) => {
                let retained = if message.retain { " retained" } else { "" };
                let (topic, qos) = (&message.topic, message.qos as u8);
                writeln!(out, "  {} {topic} qos {qos}{retained} {}", index + 1, shown(&message.payload)).unwrap();
            }
        }
    }
    tried.iter().filter(|tried| tried.outcome.is_some()).count()
}

fn shown(payload: &[u8]) -> String {
    match std::str::from_utf8(payload) {
        Ok(text) => text.replace('\n', "\\n"),
        Err(_) => match unzstd(payload, 1 << 20) {
            Some(text) => format!("zstd({})", String::from_utf8_lossy(&text)),
            None => payload.iter().map(|byte| format!("{byte:02x}")).collect(),
        },
    }
}
