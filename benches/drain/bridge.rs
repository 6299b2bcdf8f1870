//! The same with mosquitto's own bridge, from memory: what is lost at `kill -9` drains fastest. At QoS 1: at QoS 2 it takes minutes, and
//! changes the order.

use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use fieldway::model::{Message, QoS, Topic};
use fieldway::mqtt::{Codec, Packet, Publish, Version};

use super::PAYLOAD;
use super::cloud::{Broker, Client, free_port, stopwatch, topic};

/// Messages that a publisher has under way.
const WINDOW: u64 = 1_000;

/// How long the messages take from the first to the last at the cloud, and the most memory that the bridge had.
pub fn drain(folder: &Path, messages: u64) -> (Duration, u64) {
    let port = free_port();
    let lines = format!(
        "connection cloud\naddress 127.0.0.1:{port}\ntopic plant/# out 1\ncleansession false\nrestart_timeout 1\n\
         remote_clientid bridge\nnotifications false\ntry_private false\n"
    );
    let source = Broker::start(folder, free_port(), &lines);
    fill(source.port, messages);
    let cloud = Broker::start(folder, port, "");
    let took = stopwatch(cloud.port).join().expect("it counts");
    (took, source.peak())
}

/// Publishes at QoS 1, so that the bridge has all of it.
fn fill(port: u16, messages: u64) {
    let mut client = Client::connect(port, "filler");
    let mut codec = Codec::client(Version::V311, 1 << 20);
    let (mut sent, mut acknowledged) = (0, 0);
    while acknowledged < messages {
        let mut out = BytesMut::new();
        while sent < messages && sent - acknowledged < WINDOW {
            let topic = Topic::new(topic(sent + 1, messages)).expect("a topic");
            let message = Message::new(topic, vec![b'x'; PAYLOAD], QoS::AtLeastOnce, false);
            let packet_id = 1 + (sent % 60_000) as u16;
            codec.encode(&Packet::Publish(Publish::new(&message, packet_id)), &mut out).expect("it has a form");
            sent += 1;
        }
        client.write(&out);
        if let Packet::PubAck(_) = client.next() {
            acknowledged += 1;
        }
    }
}
