//! QoS 2 in both directions, packet by packet.

use fieldway::broker::Limits;
use fieldway::model::{Message, QoS, Topic};
use fieldway::mqtt::{Ack, Connect, Packet, Publish, Reason, Version};

use crate::support::mqtt::{Client, start};

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

fn publish(payload: &str, packet_id: u16, dup: bool) -> Packet {
    let message = Message::new(Topic::new("t").unwrap(), payload.to_string(), QoS::ExactlyOnce, false);
    Packet::Publish(Publish { dup, ..Publish::new(&message, packet_id) })
}

#[tokio::test]
async fn a_message_of_qos_2_goes_through_all_four_steps_on_both_sides() {
    let test = start(Limits::default(), Vec::new());
    for version in VERSIONS {
        let mut subscriber = Client::connect(test.address, Connect::new(version, "s")).await;
        assert_eq!(subscriber.subscribe("t", QoS::ExactlyOnce).await, Reason::GRANTED_QOS_2);
        let mut publisher = Client::connect(test.address, Connect::new(version, "p")).await;
        for (packet_id, dup) in [(7, false), (7, true)] {
            publisher.send(&publish("once", packet_id, dup)).await;
            assert_eq!(publisher.receive().await, Some(Packet::PubRec(Ack::success(packet_id))));
        }
        publisher.send(&Packet::PubRel(Ack::success(7))).await;
        assert_eq!(publisher.receive().await, Some(Packet::PubComp(Ack::success(7))));

        let message = subscriber.message().await;
        assert_eq!((message.qos, message.dup, &message.payload[..]), (QoS::ExactlyOnce, false, &b"once"[..]));
        let id = message.packet_id;
        subscriber.send(&Packet::PubRec(Ack::success(id))).await;
        assert_eq!(subscriber.receive().await, Some(Packet::PubRel(Ack::success(id))));
        subscriber.send(&Packet::PubComp(Ack::success(id))).await;
        subscriber.expect_nothing().await;
    }
}

#[tokio::test]
async fn a_subscriber_gets_the_lower_of_what_was_published_and_what_it_asked_for() {
    let test = start(Limits::default(), Vec::new());
    let mut subscriber = Client::connect(test.address, Connect::new(Version::V5, "s")).await;
    subscriber.subscribe("t", QoS::AtLeastOnce).await;
    let mut publisher = Client::connect(test.address, Connect::new(Version::V5, "p")).await;
    publisher.send(&publish("x", 1, false)).await;
    assert_eq!(subscriber.message().await.qos, QoS::AtLeastOnce);
}
