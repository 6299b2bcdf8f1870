//! What needs time to pass: keep-alive, expiry, will delays. All of it runs at once, so that the suite waits for the longest and not for the sum.

use std::pin::Pin;
use std::time::{Duration, Instant};

use super::{broker, client};
use crate::support::wire::{
    BOTH, Connect, Publish, Version, Will, Wire, ack, disconnect_with, first, four, packet, property, two, unique,
};

const V5: Version = Version::V5;

/// Lets time pass. What is measured here is the broker's clock, which no test can turn.
async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

type Case = (&'static str, Pin<Box<dyn Future<Output = ()> + Send>>);

/// v311 [MQTT-3.1.2-24], v5 [MQTT-3.1.2-22], v5 [MQTT-3.2.2-22], [MQTT-3.1.2-8], v5 [MQTT-4.1.0-2], v5 [MQTT-3.1.2-23], v5 [MQTT-3.1.3-9],
/// v5 [MQTT-3.3.2-5], v5 [MQTT-3.3.2-6], v5 [MQTT-4.3.3-7]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_1_2_24_what_is_due_after_some_time_happens_then_and_not_before() {
    let mut cases: Vec<Case> = Vec::new();
    for v in BOTH {
        cases.push(("[MQTT-3.1.2-24/22] keep-alive idle", Box::pin(idle_is_closed_after_one_and_a_half(v))));
        cases.push(("[MQTT-3.1.2-24/22] keep-alive receiving", Box::pin(receiving_is_not_speaking(v))));
        cases.push(("[MQTT-3.1.2-24/22] keep-alive kept", Box::pin(any_packet_keeps_it_alive(v))));
        cases.push(("[MQTT-3.1.2-24/22] keep-alive 0", Box::pin(zero_is_none(v))));
    }
    cases.push(("v5 [MQTT-4.1.0-2] session expiry", Box::pin(a_session_expires())));
    cases.push(("v5 [MQTT-4.1.0-2] expiry set at DISCONNECT", Box::pin(disconnect_sets_the_expiry())));
    cases.push(("v5 [MQTT-3.1.2-8] will delay", Box::pin(a_will_waits(Some(60), 2, 2))));
    cases.push(("v5 [MQTT-3.1.2-8] will delay beyond the session", Box::pin(a_will_waits(Some(2), 1_000, 2))));
    cases.push(("v5 [MQTT-3.1.3-9] will delay, back in time", Box::pin(a_will_is_taken_back())));
    cases.push(("v5 [MQTT-3.3.2-5] expiry of queued messages", Box::pin(queued_messages_expire())));
    cases.push(("v5 [MQTT-3.3.2-5] expiry of retained messages", Box::pin(retained_messages_expire())));
    cases.push(("v5 [MQTT-4.3.3-7] no expiry once sent", Box::pin(what_was_sent_does_not_expire())));
    let tasks: Vec<_> = cases.into_iter().map(|(name, case)| (name, tokio::spawn(case))).collect();
    let mut failed = Vec::new();
    for (name, task) in tasks {
        if task.await.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "see above for {failed:#?}");
}

/// Whether `seconds` have passed since `begin`, with some slack after for a busy machine.
fn on_time(begin: Instant, seconds: f64) {
    let took = begin.elapsed().as_secs_f64();
    assert!(took > seconds - 0.1 && took < seconds + 1.5, "{took} s instead of {seconds} s");
}

async fn idle_is_closed_after_one_and_a_half(v: Version) {
    let topic = unique("idle");
    let mut watcher = client(v).await;
    watcher.subscribe(&topic, 0).await;
    let connect = Connect::new(v, &unique("idle")).keep_alive(1).will(Will::new(&topic, "lost"));
    let begin = Instant::now();
    let mut wire = Wire::connect(broker(), &connect).await;
    assert_eq!(wire.closed().await, (v == V5).then_some(0x8D));
    on_time(begin, 1.5);
    assert_eq!(watcher.message().await.text(), "lost");
}

async fn receiving_is_not_speaking(v: Version) {
    let topic = unique("receives");
    let mut wire = Wire::connect(broker(), &Connect::new(v, &unique("receives")).keep_alive(1)).await;
    wire.subscribe(&topic, 0).await;
    let begin = Instant::now();
    let feed = async {
        let mut publisher = client(v).await;
        loop {
            publisher.publish(Publish::new(&topic, "x")).await;
            pass(100).await;
        }
    };
    let reason = tokio::select! { reason = wire.closed() => reason, () = feed => None };
    assert_eq!(reason, (v == V5).then_some(0x8D));
    on_time(begin, 1.5);
}

async fn any_packet_keeps_it_alive(v: Version) {
    let mut wire = Wire::connect(broker(), &Connect::new(v, &unique("alive")).keep_alive(1)).await;
    let topic = unique("alive");
    let said = [packet(first::PINGREQ, &[]), Publish::new(&topic, "x").bytes(v), ack(first::PUBACK, 9)];
    for bytes in said {
        pass(1_000).await;
        wire.send(&bytes).await;
    }
    wire.take("PINGRESP", |packet| matches!(packet, crate::support::wire::Packet::PingResp).then_some(())).await;
    wire.quiet().await;
}

async fn zero_is_none(v: Version) {
    let mut wire = Wire::connect(broker(), &Connect::new(v, &unique("zero"))).await;
    pass(3_500).await;
    wire.quiet().await;
}

async fn a_session_expires() {
    let connect =
        Connect { clean: false, ..Connect::new(V5, &unique("expires")) }.with(four(property::SESSION_EXPIRY, 2));
    let present = async |after| {
        pass(after).await;
        let (wire, ack) = Wire::connect_ack(broker(), &connect).await;
        // Lost, not left: it does not matter for the session.
        drop(wire);
        ack.session_present
    };
    assert!(!present(0).await);
    assert!(present(1_000).await, "in time");
    // The time begins anew with each end of a connection.
    assert!(present(1_300).await, "in time again");
    assert!(!present(3_000).await, "too late");
}

async fn disconnect_sets_the_expiry() {
    let connect =
        Connect { clean: false, ..Connect::new(V5, &unique("changed")) }.with(four(property::SESSION_EXPIRY, 1));
    let mut wire = Wire::connect(broker(), &connect).await;
    wire.send(&disconnect_with(0, &four(property::SESSION_EXPIRY, 60))).await;
    wire.closed().await;
    pass(2_200).await;
    let (_, ack) = Wire::connect_ack(broker(), &connect).await;
    assert!(ack.session_present, "prolonged");
}

async fn a_will_waits(expiry: Option<u32>, delay: u32, expected: u64) {
    let topic = unique("delay");
    let mut watcher = client(V5).await;
    watcher.subscribe(&topic, 0).await;
    let mut connect = Connect::new(V5, &unique("delay"));
    connect.properties = expiry.map_or(Vec::new(), |expiry| four(property::SESSION_EXPIRY, expiry));
    let mut will = Will::new(&topic, "lost");
    will.properties = four(property::WILL_DELAY, delay);
    drop(Wire::connect(broker(), &connect.will(will)).await);
    let begin = Instant::now();
    assert_eq!(watcher.message().await.text(), "lost");
    on_time(begin, expected as f64);
}

async fn a_will_is_taken_back() {
    let topic = unique("back");
    let mut watcher = client(V5).await;
    watcher.subscribe(&topic, 0).await;
    let mut will = Will::new(&topic, "lost");
    will.properties = four(property::WILL_DELAY, 1);
    let connect = Connect::persistent(V5, &unique("back"));
    drop(Wire::connect(broker(), &connect.clone().will(will)).await);
    let _back = Wire::connect(broker(), &connect).await;
    pass(2_000).await;
    watcher.quiet().await;
}

async fn queued_messages_expire() {
    let topic = unique("expiry");
    let connect = Connect::persistent(V5, &unique("expiry"));
    let mut wire = Wire::connect(broker(), &connect).await;
    wire.subscribe(&topic, 2).await;
    wire.leave().await;
    let mut publisher = client(V5).await;
    for (n, seconds) in [(1, Some(1)), (2, Some(100)), (3, None), (4, Some(1))] {
        let list = seconds.map_or(Vec::new(), |seconds| four(property::MESSAGE_EXPIRY, seconds));
        publisher.publish(Publish::new(&topic, n.to_string()).qos(1 + n % 2, 0).with(list)).await;
    }
    pass(2_200).await;
    let mut wire = Wire::connect(broker(), &connect).await;
    let two = wire.message().await;
    let left = match two.property(property::MESSAGE_EXPIRY)[..] {
        [crate::support::wire::Value::Number(left)] => left,
        ref other => panic!("{other:?}"),
    };
    assert!(two.text() == "2" && (90..=98).contains(&left), "{two:?}");
    assert_eq!(wire.message().await.text(), "3");
    wire.quiet().await;
}

async fn retained_messages_expire() {
    let topic = unique("expiry");
    let mut publisher = client(V5).await;
    publisher.publish(Publish::new(&topic, "x").qos(1, 0).retained().with(four(property::MESSAGE_EXPIRY, 1))).await;
    pass(2_200).await;
    publisher.subscribe(&topic, 1).await;
    publisher.quiet().await;
}

async fn what_was_sent_does_not_expire() {
    let topic = unique("sent");
    let connect = Connect::persistent(V5, &unique("sent")).with(two(property::RECEIVE_MAXIMUM, 5));
    let mut wire = Wire::connect(broker(), &connect).await;
    wire.subscribe(&topic, 2).await;
    client(V5).await.publish(Publish::new(&topic, "x").qos(2, 0).with(four(property::MESSAGE_EXPIRY, 1))).await;
    let sent = wire.held().await;
    pass(2_200).await;
    drop(wire);
    let mut wire = Wire::connect(broker(), &connect).await;
    let again = wire.message().await;
    assert_eq!((again.id, again.dup), (sent.id, true));
}
