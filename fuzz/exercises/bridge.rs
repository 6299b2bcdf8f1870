//! Whatever a client publishes, bridge rules of every kind take it or leave it: conditions, shapes, formats and batches never panic, what leaves has
//! a valid topic, and what was one JSON value stays one.

use std::sync::OnceLock;

use fieldway::config;
use fieldway::model::{Message, Monotonic, Publisher, QoS, Stamp, Timestamp, Topic};
use fieldway::route::cel::When;
use fieldway::route::json::Json;
use fieldway::route::{ForwardRule, Forwarder, Leaving, Surroundings, bundle};

const RULES: &str = r##"
gateway: { id: g, topic_root: fw }
uplinks:
  cloud:
    url: mqtt://b
    forward:
      - { topic: "#", to: "w/{topic}", when: 'payload.values.t > 60 || payload.list.exists(x, x == payload.t) || payload + 1 > 2', continue: true }
      - { topic: "#", to: "d/{device}/{point}", when: 'ts.getHours() > 6 && quality == "good" && size(payload) > 0', continue: true }
      - { topic: "#", to: "s", select: [flow, a.b], rename: { flow: f, a.b: c }, on_change: true, continue: true }
      - { topic: "#", to: "e/{rest}", every: 1s, format: influx, continue: true }
      - { topic: "#", to: "a/{rest}", aggregate: { window: 1s, values: [min, max, mean, sum, count, first, last] }, format: cbor, continue: true }
      - { topic: "#", to: "v", format: value, continue: true }
      - { topic: "#", to: "t", format: thingsboard, batch: { messages: 2 }, continue: true }
      - { topic: "#", to: "b", format: json_batch, batch: { messages: 2 }, continue: true }
      - { topic: "#", to: "c", format: cbor, compress: zstd, batch: { messages: 3, size: 1KiB }, continue: true }
      - { topic: "#", to: "i", format: influx, batch: { messages: 2 } }
"##;

static LOADED: OnceLock<(Vec<ForwardRule>, Surroundings)> = OnceLock::new();

/// What the fuzzer, and the tests with what it has found, call: the first byte says which topics and how they are cut, a condition comes before
/// the first zero byte.
pub fn exercise(data: &[u8]) {
    let [how, rest @ ..] = data else { return };
    let (rules, around) = LOADED.get_or_init(load);
    let mut forwarder = Forwarder::new(rules.clone(), around.clone(), 1);
    let (condition, payloads) = match rest.iter().position(|byte| *byte == 0) {
        Some(end) => (&rest[..end], &rest[end + 1..]),
        None => (&rest[..0], rest),
    };
    if let Ok(text) = std::str::from_utf8(condition)
        && let Err(error) = When::new(text)
    {
        assert!(text.get(error.at).is_some(), "the place of a mistake is in the expression");
    }
    let mut leaving = Vec::new();
    for (n, payload) in payloads.split(|byte| *byte == 0xff).enumerate() {
        let topic =
            ["fw/boiler", "fw/boiler/flow", "fw/gateway/health", "other//x", "$own"][(usize::from(*how) + n) % 5];
        let message = Message::new(Topic::new(topic).expect("valid"), payload.to_vec(), QoS::AtLeastOnce, how & 8 != 0);
        let at = Stamp {
            monotonic: Monotonic::from_millis(n as u64 * 400),
            since_boot: None,
            wall: Timestamp(0),
            synced: true,
        };
        forwarder.tick(at, &mut leaving);
        forwarder.take(&Publisher::Gateway, &message, at, &mut leaving);
    }
    let at = Stamp { monotonic: Monotonic::from_millis(1 << 30), since_boot: None, wall: Timestamp(0), synced: true };
    forwarder.flush(at, &mut leaving);
    assert_eq!(forwarder.next_due(), None, "nothing waits after a flush");
    let mut pieces: std::collections::BTreeMap<u64, (u8, Vec<Vec<u8>>)> = std::collections::BTreeMap::new();
    for leaving in leaving {
        match leaving {
            Leaving::Piece { batch, bundle, message, .. } => {
                pieces.entry(batch).or_insert((bundle, Vec::new())).1.push(message.payload.to_vec());
            }
            Leaving::Close { batch, .. } => {
                let (code, pieces) = pieces.remove(&batch).expect("a batch has pieces");
                let payload = bundle(code, &pieces);
                if code == 0 {
                    let Ok(Json::List(items)) = Json::parse(&payload) else { panic!("a batch of JSON is an array") };
                    assert_eq!(items.len(), pieces.len());
                }
            }
            Leaving::Queued { .. } | Leaving::Live(_) => {}
        }
    }
    assert!(pieces.is_empty(), "every batch is closed");
}

fn load() -> (Vec<ForwardRule>, Surroundings) {
    let config = config::parse(RULES.as_bytes(), "g.yaml".as_ref(), &config::Outside::nothing());
    let config = config.unwrap_or_else(|report| panic!("{report}"));
    let uplink = &config.uplinks[0];
    let (gateway, root) = (config.gateway.id.clone(), config.gateway.topic_root.clone());
    let presence = Topic::new("fw/gateway/state").expect("valid");
    (uplink.forward.clone(), Surroundings { gateway, root, presence, uplink: uplink.name.clone() })
}
