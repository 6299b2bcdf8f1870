//! What bridge rules cost: messages a second on one core through no condition and through several, and bytes on the wire for each format.
//!
//! `cargo bench --bench bridge`

use std::time::{Duration, Instant};

use bytes::BytesMut;
use fieldway::config::{self, Config};
use fieldway::model::{Message, Monotonic, Publisher, QoS, Stamp, Timestamp, Topic};
use fieldway::mqtt::{Codec, Packet, Publish, Version};
use fieldway::route::{Forwarder, Leaving, Surroundings, bundle};

const FOR: Duration = Duration::from_secs(1);

fn main() {
    println!("messages a second on one core; a device of 5 points, and of 200");
    let none = rate("", 5);
    for (what, shape) in [
        ("no condition", ""),
        ("topic", "when: 'topic.startsWith(\"fieldway/\")'"),
        ("one field", "when: payload.values.p3 > 60.0"),
        ("type and two fields", "when: 'kind == \"reading\" && payload.values.p1 > 1 && payload.values.p3 < 90.5'"),
        ("select", "select: [p1, p3]"),
        ("cbor", "format: cbor"),
        ("influx", "format: influx"),
        ("batch of 100, zstd", "batch: { messages: 100 }, compress: zstd"),
    ] {
        let (small, large) = (rate(shape, 5), rate(shape, 200));
        println!("{what:22} {small:>10.0} {:>5.0} % {large:>10.0}", 100.0 * small / none);
    }
    println!("\nbytes on the wire for a reading of one point, MQTT 3.1.1, QoS 1");
    let single = bytes_of("format: json", 1);
    for (what, format) in [("json", "format: json"), ("cbor", "format: cbor"), ("influx", "format: influx")] {
        let row = [
            ("1", String::new(), 1),
            ("20", "batch: { messages: 20 }".into(), 20),
            ("100", "batch: { messages: 100 }".into(), 100),
        ];
        for (many, batch, count) in row {
            let plain = bytes_of(&[format, &batch].join(", "), count);
            let packed = bytes_of(&[format, "compress: zstd", &batch].join(", "), count);
            println!(
                "{what:8} {many:>4} {plain:>8.1} {packed:>8.1} with zstd, {:>4.1} % of json alone",
                100.0 * packed / single
            );
        }
    }
}

fn forwarder(shape: &str) -> Forwarder {
    let shape = shape.trim_end_matches(", ");
    let yaml = format!(
        "gateway: {{ id: plant-7 }}\nuplinks: {{ cloud: {{ url: mqtt://b, forward: [{{ topic: 'fieldway/#', to: 'sites/{{rest}}', {shape} }}] }} }}"
    );
    let config: Config = config::parse(yaml.as_bytes(), "g.yaml".as_ref(), &config::Outside::nothing())
        .unwrap_or_else(|report| panic!("{report}"));
    let uplink = &config.uplinks[0];
    let (gateway, root) = (config.gateway.id.clone(), config.gateway.topic_root.clone());
    let presence = Topic::new("fieldway/plant-7/gateway/state").expect("a topic");
    let around = Surroundings { gateway, root, presence, uplink: uplink.name.clone() };
    Forwarder::new(uplink.forward.clone(), around, 1)
}

fn stamp(ms: u64) -> Stamp {
    Stamp { monotonic: Monotonic::from_millis(ms), since_boot: None, wall: Timestamp(0), synced: true }
}

/// A device's reading with so many points.
fn snapshot(points: usize, n: usize) -> Message {
    let values: Vec<String> = (0..points).map(|p| format!("\"p{p}\":{}.{}", 20 * p % 100, n % 10)).collect();
    let payload = format!("{{\"ts\":\"2026-11-20T15:04:05.123Z\",\"values\":{{{}}},\"bad\":{{}}}}", values.join(","));
    Message::new(Topic::new("fieldway/plant-7/boiler").expect("a topic"), payload, QoS::AtLeastOnce, true)
}

fn rate(shape: &str, points: usize) -> f64 {
    let mut forwarder = forwarder(shape);
    let messages: Vec<Message> = (0..64).map(|n| snapshot(points, n)).collect();
    let mut leaving = Vec::new();
    let (began, mut done) = (Instant::now(), 0u64);
    let mut pieces = Vec::new();
    while began.elapsed() < FOR {
        for message in &messages {
            forwarder.take(&Publisher::Gateway, message, stamp(0), &mut leaving);
        }
        for leaving in leaving.drain(..) {
            match leaving {
                Leaving::Piece { message, .. } => pieces.push(message.payload.to_vec()),
                Leaving::Close { .. } => drop(std::hint::black_box(bundle(0x80, &std::mem::take(&mut pieces)))),
                other => drop(std::hint::black_box(other)),
            }
        }
        done += messages.len() as u64;
    }
    done as f64 / began.elapsed().as_secs_f64()
}

/// A point's reading, a second after the one before.
fn reading(n: i64) -> Message {
    let at = Timestamp(1_795_187_045_123 + n * 1_000 + n % 7);
    let payload = format!(r#"{{"ts":"{at}","value":{}.{},"quality":"good","unit":"°C"}}"#, 21 + n % 3, (n * 37) % 10);
    let topic = Topic::new("fieldway/plant-7/boiler/supply_temperature").expect("a topic");
    Message::new(topic, payload, QoS::AtLeastOnce, true)
}

fn bytes_of(shape: &str, count: i64) -> f64 {
    let mut forwarder = forwarder(shape);
    let mut leaving = Vec::new();
    for n in 0..count {
        forwarder.take(&Publisher::Gateway, &reading(n), stamp(n.unsigned_abs() * 10), &mut leaving);
    }
    forwarder.flush(stamp(1 << 30), &mut leaving);
    let (mut bytes, mut pieces, mut head) = (0, Vec::new(), None);
    for leaving in leaving {
        match leaving {
            Leaving::Queued { message, .. } => bytes += packet(&message),
            Leaving::Piece { bundle, message, .. } => {
                pieces.push(message.payload.to_vec());
                head = Some((bundle, message));
            }
            Leaving::Close { .. } => {
                let Some((code, message)) = head.take() else { continue };
                let payload = bundle(code, &std::mem::take(&mut pieces)).into();
                bytes += packet(&Message { payload, ..message });
            }
            Leaving::Live(_) => {}
        }
    }
    bytes as f64 / count as f64
}

fn packet(message: &Message) -> usize {
    let mut out = BytesMut::new();
    let mut codec = Codec::client(Version::V311, 1 << 20);
    codec.encode(&Packet::Publish(Publish::new(message, 1)), &mut out).expect("it fits");
    out.len()
}
