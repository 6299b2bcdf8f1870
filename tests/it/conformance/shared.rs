//! Shared subscriptions (§4.8.2).

use super::{broker, client};
use crate::support::wire::{
    Connect, Packet, Publish, Value, Version, Wire, ack_with, first, property, subscribe, unique, variable,
};

const V5: Version = Version::V5;

/// Publishes a sentinel that each of `wires` subscribes to, and returns what each got before it.
async fn got(wires: &mut [Wire]) -> Vec<Vec<String>> {
    let end = unique("end");
    let mut out = Vec::new();
    for wire in wires.iter_mut() {
        wire.subscribe(&end, 0).await;
    }
    client(V5).await.publish(Publish::new(&end, "end").qos(1, 0)).await;
    for wire in wires {
        let mut list = Vec::new();
        loop {
            let message = wire.message().await;
            if message.topic() == end {
                break;
            }
            list.push(message.text().to_string());
        }
        out.push(list);
    }
    out
}

/// v5 [MQTT-4.8.2-1], v5 [MQTT-4.8.2-2]
#[tokio::test]
async fn mqtt_v5_4_8_2_1_a_shared_filter_needs_a_name_and_a_filter() {
    for filter in [
        "$share",
        "$share/",
        "$share/g",
        "$share/g/",
        "$share//t",
        "$share/a+/t",
        "$share/a#/t",
        "$share/+/t",
        "$share/g/a#",
    ] {
        let mut wire = client(V5).await;
        wire.send(&subscribe(V5, 1, &[(filter, 1)])).await;
        let next = wire.next().await;
        let refused = match &next {
            Some(Packet::SubAck { codes, .. }) => codes[0] >= 0x80,
            Some(Packet::Disconnect { reason, .. }) => [0x81, 0x82, 0x8F].contains(reason),
            _ => false,
        };
        // `$share` alone is no shared subscription but an ordinary filter that matches nothing.
        assert!(refused || filter == "$share", "{filter:?}: {next:?}");
    }
    let mut wire = client(V5).await;
    assert_eq!(wire.subscribe("$share/a b$ä/t/+/#", 1).await, 1);
}

/// v5 [MQTT-4.8.2-3]
#[tokio::test]
async fn each_message_goes_to_one_of_a_group_and_to_everybody_else() {
    let topic = unique("shared");
    let group = format!("$share/g/{topic}/#");
    let mut wires = Vec::new();
    for filter in [&group, &group, &group, &format!("$share/other/{topic}/+"), &format!("{topic}/a")] {
        let mut wire = client(V5).await;
        wire.subscribe(filter, 1).await;
        wires.push(wire);
    }
    let mut publisher = client(Version::V311).await;
    let all: Vec<String> = (0..30).map(|n| n.to_string()).collect();
    for n in &all {
        publisher.publish(Publish::new(&format!("{topic}/a"), n).qos(1, 0)).await;
    }
    let got = got(&mut wires).await;
    let mut by_group: Vec<String> = got[..3].concat();
    by_group.sort_by_key(|n| n.parse::<u32>().unwrap());
    assert_eq!(by_group, all, "each once");
    assert!(got[..3].iter().all(|list| !list.is_empty()), "nobody is left out: {got:?}");
    assert_eq!(got[3], all);
    assert_eq!(got[4], all);
}

/// v5 [MQTT-4.8.2-3]
#[tokio::test]
async fn mqtt_v5_4_8_2_3_a_member_of_a_group_gets_the_qos_that_it_was_granted() {
    let topic = unique("shared");
    for granted in 0..3 {
        let mut wire = client(V5).await;
        let identifier = variable(property::SUBSCRIPTION_ID, 7);
        assert_eq!(wire.subscribe_with(&identifier, &[(&format!("$share/g/{topic}"), granted)]).await, [granted]);
        client(V5).await.publish(Publish::new(&topic, "x").qos(2, 0)).await;
        let message = wire.message().await;
        assert_eq!((message.qos, message.property(property::SUBSCRIPTION_ID)), (granted, vec![Value::Number(7)]));
        wire.leave().await;
    }
}

/// v5 [MQTT-3.3.1-9]
#[tokio::test]
async fn a_shared_subscription_brings_no_retained_messages() {
    let topic = unique("shared");
    let mut publisher = client(V5).await;
    publisher.publish(Publish::new(&topic, "kept").qos(1, 0).retained()).await;
    let mut wire = client(V5).await;
    wire.subscribe(&format!("$share/g/{topic}"), 1).await;
    assert_eq!(got(&mut [wire]).await, [[""; 0]]);
    publisher.publish(Publish::new(&topic, "").qos(1, 0).retained()).await;
}

/// v5 [MQTT-4.8.2-4]
#[tokio::test]
async fn mqtt_v5_4_8_2_4_a_qos_2_message_that_was_begun_is_completed_with_the_same_client() {
    let topic = unique("shared");
    let connect = Connect::persistent(V5, &unique("shared"));
    let mut chosen = Wire::connect(broker(), &connect).await;
    chosen.subscribe(&format!("$share/g/{topic}"), 2).await;
    client(V5).await.publish(Publish::new(&topic, "x").qos(2, 0)).await;
    let begun = chosen.held().await;
    let mut other = client(V5).await;
    other.subscribe(&format!("$share/g/{topic}"), 2).await;
    drop(chosen);
    let mut chosen = Wire::connect(broker(), &connect).await;
    let again = chosen.message().await;
    assert_eq!((again.id, again.dup), (begun.id, true));
    assert_eq!(got(&mut [other]).await, [[""; 0]]);
}

/// v5 [MQTT-4.8.2-5]
#[tokio::test]
async fn mqtt_v5_4_8_2_5_a_qos_2_message_that_was_begun_ends_with_the_session_of_its_client() {
    let topic = unique("shared");
    let group = format!("$share/g/{topic}");
    let mut chosen = client(V5).await;
    chosen.subscribe(&group, 2).await;
    client(V5).await.publish(Publish::new(&topic, "x").qos(2, 0)).await;
    chosen.held().await;
    let mut other = client(V5).await;
    other.subscribe(&group, 2).await;
    drop(chosen);
    assert_eq!(got(&mut [other]).await, [[""; 0]]);
}

/// v5 [MQTT-4.8.2-6]
#[tokio::test]
async fn mqtt_v5_4_8_2_6_what_a_member_refuses_is_given_to_nobody_else() {
    let topic = unique("shared");
    let group = format!("$share/g/{topic}");
    let (mut refuser, mut other) = (client(V5).await, client(V5).await);
    refuser.subscribe(&group, 2).await;
    let mut publisher = client(V5).await;
    for (qos, answer) in [(1, first::PUBACK), (2, first::PUBREC)] {
        publisher.publish(Publish::new(&topic, "x").qos(qos, 0)).await;
        let message = refuser.held().await;
        if qos == 1 {
            other.subscribe(&group, 2).await;
        }
        refuser.send(&ack_with(answer, message.id, 0x83)).await;
        refuser.quiet().await;
        other.unsubscribe(&[&group]).await;
    }
    assert_eq!(got(&mut [other]).await, [[""; 0]]);
}

/// v5 [MQTT-3.10.4-1]
#[tokio::test]
async fn leaving_a_group_leaves_the_others_in_it() {
    let topic = unique("shared");
    let group = format!("$share/g/{topic}");
    let (mut goes, mut stays) = (client(V5).await, client(V5).await);
    goes.subscribe(&group, 1).await;
    stays.subscribe(&group, 1).await;
    assert_eq!(goes.unsubscribe(&[&topic]).await, [0x11], "that is another subscription");
    assert_eq!(goes.unsubscribe(&[&group]).await, [0]);
    let mut publisher = client(V5).await;
    for n in 0..4 {
        publisher.publish(Publish::new(&topic, n.to_string()).qos(1, 0)).await;
        assert_eq!(stays.message().await.text(), n.to_string());
    }
    goes.quiet().await;
}
