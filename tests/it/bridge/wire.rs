//! Bytes on the wire per reading, for each format: a message's whole PUBLISH packet.

use bytes::BytesMut;
use fieldway::config;
use fieldway::model::{Message, Monotonic, Publisher, QoS, Stamp, Timestamp, Topic};
use fieldway::mqtt::{Codec, Packet, Publish, Version};
use fieldway::route::{Forwarder, Leaving, Surroundings, bundle};

/// As a point of a boiler is published once a second, the value moving a little.
fn reading(n: i64) -> Message {
    let at = Timestamp(1_795_187_045_123 + n * 1_000 + n % 7);
    let value = format!("{}.{}", 21 + n % 3, (n * 37) % 10);
    let payload = format!(r#"{{"ts":"{at}","value":{value},"quality":"good","unit":"°C"}}"#);
    Message::new(Topic::new("fieldway/plant-7/boiler/supply_temperature").unwrap(), payload, QoS::AtLeastOnce, true)
}

/// What leaves of 100 readings by a rule: the bytes of all packets.
fn bytes_of(shape: &str) -> usize {
    let yaml = format!(
        "gateway: {{ id: plant-7 }}\nuplinks: {{ cloud: {{ url: mqtt://b, forward: [{{ topic: '#', to: 'sites/{{topic}}', {shape} }}] }} }}"
    );
    let config = config::parse(yaml.as_bytes(), "g.yaml".as_ref(), &config::Outside::nothing()).unwrap();
    let uplink = &config.uplinks[0];
    let root = config.gateway.topic_root.clone();
    let presence = Topic::new("none").unwrap();
    let around = Surroundings { gateway: config.gateway.id.clone(), root, presence, uplink: uplink.name.clone() };
    let mut forwarder = Forwarder::new(uplink.forward.clone(), around, 1);
    let mut leaving = Vec::new();
    for n in 0..100 {
        let at =
            Stamp { monotonic: Monotonic::from_millis(n * 10), since_boot: None, wall: Timestamp(0), synced: true };
        forwarder.take(&Publisher::Gateway, &reading(n.cast_signed()), at, &mut leaving);
    }
    let (mut pieces, mut bytes, mut head) = (Vec::new(), 0, None);
    for leaving in leaving {
        match leaving {
            Leaving::Queued { message, .. } => bytes += packet(message),
            Leaving::Piece { bundle, message, .. } => {
                pieces.push(message.payload.to_vec());
                head = Some((bundle, message));
            }
            Leaving::Close { .. } => {
                let (code, message) = head.take().unwrap();
                let payload = bundle(code, &std::mem::take(&mut pieces)).into();
                bytes += packet(Message { payload, ..message });
            }
            Leaving::Live(_) => unreachable!("QoS 1"),
        }
    }
    assert!(pieces.is_empty());
    bytes
}

fn packet(message: Message) -> usize {
    let publish = Publish::new(&message, 1);
    let mut out = BytesMut::new();
    Codec::client(Version::V311, 1 << 20).encode(&Packet::Publish(publish), &mut out).unwrap();
    out.len()
}

#[test]
fn a_batch_of_a_hundred_takes_nine_bytes_a_reading_at_most_with_zstd() {
    let per_reading = |shape: &str| bytes_of(shape) as f64 / 100.0;
    let batch = "batch: { messages: 100, delay: 5s }";
    let single = per_reading("format: json");
    let json = per_reading(&format!("format: json, {batch}"));
    let packed = per_reading(&format!("format: json, compress: zstd, {batch}"));
    let cbor = per_reading(&format!("format: cbor, {batch}"));
    let cbor_packed = per_reading(&format!("format: cbor, compress: zstd, {batch}"));
    println!("json {single}, batch {json}, with zstd {packed}, cbor batch {cbor}, with zstd {cbor_packed}");
    assert!(packed <= 9.0 && cbor_packed <= 9.0, "{packed} {cbor_packed}");
    assert!(json < single && cbor < json, "{single} {json} {cbor}");
}
