//! Brokers of other makers as the cloud: each gets everything in order, through an outage, at the levels that it has.

use std::collections::HashSet;
use std::process::{Command, Stdio};

use super::*;
use crate::support::cutting_proxy::CuttingProxy;
use crate::support::other_brokers::{Maker, OtherBroker};
use crate::support::peers::Peer;

fn numbered(range: std::ops::Range<u32>, qos: QoS) -> impl Iterator<Item = Message> {
    range.map(move |n| message("out/readings", n.to_string(), qos))
}

/// What a subscriber with a session got, over all its connections.
struct Seen {
    port: u16,
    qos: &'static str,
    peer: Option<Peer>,
    numbers: Vec<u32>,
}

impl Seen {
    /// Makes the session, and goes.
    fn subscribe(port: u16, qos: &'static str) -> Seen {
        let id = ["-h", "127.0.0.1", "-V", "mqttv311", "-i", "watcher", "-c", "-t", "out/#", "-E", "-q", qos];
        // A broker that listens may not be ready yet.
        let subscribed = || {
            let mut command = Command::new("mosquitto_sub");
            let status =
                command.args(id).args(["-p", &port.to_string(), "-W", "5"]).stdin(Stdio::null()).stderr(Stdio::null());
            status.status().expect("mosquitto_sub is needed; ./tests/run installs it").success().then_some(())
        };
        crate::support::wait::wait_for("a subscription", PATIENCE, subscribed);
        Seen { port, qos, peer: None, numbers: Vec::new() }
    }

    /// Comes to the session, and comes back whenever it is cut off.
    fn listen(&mut self) {
        self.peer = None;
        let args = ["-V", "mqttv311", "-i", "watcher", "-c", "-q", self.qos, "-t", "out/#"];
        self.peer = Some(Peer::mosquitto_sub(self.port, &args));
    }

    /// Reads until every number below `count` was there.
    fn until(&mut self, count: u32) {
        let mut missing: HashSet<u32> = (0..count).collect();
        missing.retain(|n| !self.numbers.contains(n));
        let peer = self.peer.as_mut().expect("it listens");
        while !missing.is_empty() {
            let n = peer.line().strip_prefix("out/readings ").and_then(|n| n.parse().ok()).expect("a number");
            missing.remove(&n);
            self.numbers.push(n);
        }
    }

    /// Repetitions aside, the order is that of the queue.
    fn in_order(&self) {
        let mut next = 0;
        for n in &self.numbers {
            assert!(*n <= next, "{n} came before {next}");
            next = next.max(n + 1);
        }
    }
}

/// A backlog drains while the broker is killed and comes back, then another one that came in its absence.
async fn survives_an_outage(maker: Maker, keeps: bool, later: QoS) {
    let mut broker = tokio::task::block_in_place(|| OtherBroker::start(maker));
    let mut seen = tokio::task::block_in_place(|| Seen::subscribe(broker.port(), "1"));
    let proxy = CuttingProxy::start(broker.port());
    let data = tempfile::tempdir().expect("a folder");
    let settings = Settings { longest_delay: Duration::from_secs(1), ..settings(proxy.address(), Version::V311) };
    let mut north = North::start(data.path(), settings).await;
    tokio::task::block_in_place(|| seen.listen());
    north.keep(numbered(0..300, QoS::AtLeastOnce)).await;
    if keeps {
        // In the middle of it.
        north.until("the first of them", |status| status.acknowledged >= 20).await;
    } else {
        north.until("an empty queue", |status| status.queue.depth == 0).await;
        tokio::task::block_in_place(|| seen.until(300));
    }
    broker.kill();
    north.until_offline().await;
    proxy.refuse();
    north.keep(numbered(300..600, later)).await;
    tokio::task::block_in_place(|| {
        broker.start_again();
        if !keeps {
            // Its sessions are gone, too: nothing may come before there is another one. Where they are kept, the watcher comes back by itself.
            Seen::subscribe(broker.port(), "1");
            seen.listen();
        }
    });
    proxy.open();
    north.until("an empty queue", |status| status.queue.depth == 0 && status.queue.queued == 600).await;
    tokio::task::block_in_place(|| seen.until(600));
    seen.in_order();
    assert_eq!(north.status.borrow().queue.set_aside, 0);
    north.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_gets_everything_in_order_through_an_outage() {
    survives_an_outage(Maker::Nats, true, QoS::AtLeastOnce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_gets_everything_in_order_through_an_outage() {
    // It has no QoS 2, and answers it as QoS 1.
    survives_an_outage(Maker::RabbitMq, true, QoS::ExactlyOnce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aedes_gets_everything_in_order_through_an_outage() {
    survives_an_outage(Maker::Aedes, false, QoS::AtLeastOnce).await;
}

/// Over a link that cuts; its session is kept as long as the broker runs.
#[tokio::test(flavor = "multi_thread")]
async fn aedes_gets_everything_once_at_qos_2() {
    let broker = tokio::task::block_in_place(|| OtherBroker::start(Maker::Aedes));
    let mut seen = tokio::task::block_in_place(|| Seen::subscribe(broker.port(), "2"));
    let proxy = CuttingProxy::start(broker.port());
    let data = tempfile::tempdir().expect("a folder");
    let settings = Settings { longest_delay: Duration::from_millis(200), ..settings(proxy.address(), Version::V311) };
    let mut north = North::start(data.path(), settings).await;
    north.until("a connection", |status| status.state == UplinkState::Online).await;
    tokio::task::block_in_place(|| seen.listen());
    proxy.cut_after([500, 2_000, 777, 4_321]);
    north.keep(numbered(0..400, QoS::ExactlyOnce)).await;
    north.until("an empty queue", |status| status.queue.depth == 0 && status.queue.queued == 400).await;
    tokio::task::block_in_place(|| seen.until(400));
    assert!(seen.numbers.iter().copied().eq(0..400), "once and in order: {:?}", seen.numbers);
    north.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_broker_says_that_it_wants_the_older_version() {
    for maker in [Maker::Nats, Maker::Aedes] {
        let broker = tokio::task::block_in_place(|| OtherBroker::start(maker));
        let data = tempfile::tempdir().expect("a folder");
        let address = ([127, 0, 0, 1], broker.port()).into();
        let mut north = North::start(data.path(), settings(address, Version::V5)).await;
        let why = north.until_offline().await;
        assert!(why.contains("set mqtt_version: \"3.1.1\""), "{maker:?}: {why}");
        north.stop().await;
    }
}
