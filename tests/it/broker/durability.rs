//! An acknowledgement means safe: it comes when the store has reported, not before, and not at all when the store refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fieldway::broker::{Limits, Outlet, PublishError};
use fieldway::model::{Filter, Message, QoS, Topic};
use fieldway::mqtt::{Ack, Connect, Packet, Reason, Version};
use fieldway::store::{Append, CommitReport, QueueId, Refusal, Ticket, Urgency, Work};
use tokio::sync::mpsc;

use crate::support::mqtt::{Client, PATIENCE, TestBroker, start};

/// An uplink that wants `up/#` at `qos`, under another name.
fn outlet(queue: usize, qos: QoS) -> (Outlet, mpsc::Receiver<Message>, Arc<AtomicU64>) {
    let (live, received) = mpsc::channel(4);
    let dropped = Arc::new(AtomicU64::new(0));
    let filter = Filter::new("up/#").unwrap();
    let select = move |message: &Message| {
        let topic = Topic::new(&format!("cloud/{}", message.topic)).unwrap();
        filter.matches(&message.topic).then(|| Message { topic, qos, ..message.clone() })
    };
    let outlet =
        Outlet { queue: QueueId::normal(queue), select: Box::new(select), live, live_dropped: dropped.clone() };
    (outlet, received, dropped)
}

async fn report(test: &TestBroker, through: Ticket, refused: Vec<(Ticket, Refusal)>) {
    test.reports.send(CommitReport { through, refused }).await.unwrap();
}

/// Which queue a message is for.
fn kept_in(append: &Append) -> (QueueId, &Message) {
    match &append.what {
        Work::Message { queue, message } => (*queue, message),
        other => panic!("not a message for a queue: {other:?}"),
    }
}

#[tokio::test]
async fn a_puback_waits_for_the_commit_while_local_subscribers_have_the_message() {
    let mut test = start(Limits::default(), vec![outlet(0, QoS::AtLeastOnce).0, outlet(1, QoS::AtLeastOnce).0]);
    let mut subscriber = Client::connect(test.address, Connect::new(Version::V311, "s")).await;
    subscriber.subscribe("#", QoS::AtMostOnce).await;
    let mut publisher = Client::connect(test.address, Connect::new(Version::V311, "p")).await;
    let kept = publisher.publish("up/a", "kept", QoS::AtLeastOnce, false).await;
    let plain = publisher.publish("elsewhere", "plain", QoS::AtLeastOnce, false).await;
    assert_eq!(&subscriber.message().await.payload[..], b"kept");
    assert_eq!(&subscriber.message().await.payload[..], b"plain");
    // Neither is acknowledged: the first is not safe, and PUBACKs keep the order of the PUBLISHes.
    publisher.expect_nothing().await;

    let (first, second) = (test.appends.recv().await.unwrap(), test.appends.recv().await.unwrap());
    assert_eq!((kept_in(&first).0, kept_in(&second).0), (QueueId::normal(0), QueueId::normal(1)));
    assert_eq!((kept_in(&first).1.topic.as_str(), first.urgency), ("cloud/up/a", Urgency::Awaited));
    assert!(first.ticket < second.ticket);
    report(&test, first.ticket, Vec::new()).await;
    publisher.expect_nothing().await;
    report(&test, second.ticket, Vec::new()).await;
    assert_eq!(publisher.receive().await, Some(Packet::PubAck(Ack::success(kept))));
    let second_ack = publisher.receive().await;
    assert!(matches!(second_ack, Some(Packet::PubAck(ack)) if ack.packet_id == plain), "{second_ack:?}");
}

#[tokio::test]
async fn a_refused_message_is_never_acknowledged_as_safe() {
    let mut test = start(Limits::default(), vec![outlet(0, QoS::AtLeastOnce).0]);
    let mut v5 = Client::connect(test.address, Connect::new(Version::V5, "five")).await;
    let id = v5.publish("up/a", "x", QoS::AtLeastOnce, false).await;
    let ticket = test.appends.recv().await.unwrap().ticket;
    report(&test, ticket, vec![(ticket, Refusal::QueueFull)]).await;
    assert_eq!(v5.receive().await, Some(Packet::PubAck(Ack { packet_id: id, reason: Reason::QUOTA_EXCEEDED })));

    let mut v311 = Client::connect(test.address, Connect::new(Version::V311, "three")).await;
    v311.publish("up/a", "x", QoS::AtLeastOnce, false).await;
    let ticket = test.appends.recv().await.unwrap().ticket;
    report(&test, ticket, vec![(ticket, Refusal::Storage("disk full".into()))]).await;
    assert_eq!(v311.receive().await, None);

    let hub = test.broker.hub();
    let message = Message::new(Topic::new("up/a").unwrap(), "x", QoS::AtLeastOnce, false);
    let committed = tokio::spawn(async move { hub.publish_committed(message).await });
    let ticket = test.appends.recv().await.unwrap().ticket;
    report(&test, ticket, vec![(ticket, Refusal::QueueFull)]).await;
    assert_eq!(committed.await.unwrap(), Err(PublishError::Refused(Refusal::QueueFull)));
}

#[tokio::test]
async fn when_the_store_has_no_room_publishers_wait_and_its_reports_still_get_through() {
    let mut test = start(Limits::default(), vec![outlet(0, QoS::AtLeastOnce).0]);
    let hub = test.broker.hub();
    // More than the channel to the store and the hub's own channel hold.
    let flood = tokio::spawn(async move {
        for n in 0..1_000 {
            let message = Message::new(Topic::new("up/a").unwrap(), n.to_string(), QoS::AtLeastOnce, false);
            hub.publish(message).await.unwrap();
        }
    });
    let full = async {
        while test.appends.len() < test.appends.max_capacity() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, full).await.expect("the channel to the store fills");
    assert!(!flood.is_finished());
    for n in 0..1_000 {
        let append = tokio::time::timeout(PATIENCE, test.appends.recv()).await.unwrap().unwrap();
        assert_eq!(&kept_in(&append).1.payload[..], n.to_string().as_bytes());
        assert_eq!(append.urgency, Urgency::Batched);
        report(&test, append.ticket, Vec::new()).await;
    }
    flood.await.unwrap();
}

#[tokio::test]
async fn large_messages_fill_no_memory_while_the_store_is_slower_than_their_publishers() {
    const LARGE: usize = 1 << 20;
    let mut test = start(Limits::default(), vec![outlet(0, QoS::AtLeastOnce).0]);
    let hub = test.broker.hub();
    let flood = tokio::spawn(async move {
        for _ in 0..40 {
            let message = Message::new(Topic::new("up/a").unwrap(), vec![0; LARGE], QoS::AtLeastOnce, false);
            hub.publish(message).await.unwrap();
        }
    });
    let (mut taken, mut settled) = (0, 0);
    while settled < 40 {
        let append = tokio::time::timeout(Duration::from_millis(300), test.appends.recv()).await;
        match append {
            Ok(append) => {
                taken = append.unwrap().ticket.0;
                assert!((taken - settled) * LARGE as u64 <= 8 << 20, "the store has settled {settled} and got {taken}");
            }
            // Nothing more comes before something is settled.
            Err(_) => {
                assert!(taken > settled);
                settled = taken;
                report(&test, Ticket(settled), Vec::new()).await;
            }
        }
    }
    flood.await.unwrap();
}

#[tokio::test]
async fn what_an_uplink_wants_at_qos_0_goes_out_now_or_is_dropped_and_counted() {
    let (outlet, mut live, dropped) = outlet(0, QoS::AtMostOnce);
    let mut test = start(Limits::default(), vec![outlet]);
    let mut client = Client::connect(test.address, Connect::new(Version::V5, "a")).await;
    for n in 0..6 {
        assert_eq!(client.publish_acked("up/a", n.to_string(), false).await, Reason::SUCCESS);
    }
    for n in 0..4 {
        assert_eq!(&live.recv().await.unwrap().payload[..], n.to_string().as_bytes());
    }
    assert_eq!(dropped.load(Ordering::Relaxed), 2);
    assert!(test.appends.try_recv().is_err());
}

#[tokio::test]
async fn without_its_store_the_broker_refuses_what_has_to_be_kept_and_serves_the_rest() {
    let test = start(Limits::default(), vec![outlet(0, QoS::AtLeastOnce).0]);
    let mut client = Client::connect(test.address, Connect::new(Version::V5, "a")).await;
    drop((test.appends, test.reports));
    assert_eq!(client.publish_acked("up/a", "x", false).await, Reason::QUOTA_EXCEEDED);
    assert!(!client.publish_acked("elsewhere", "x", false).await.is_failure());
}

#[tokio::test]
async fn a_storm_of_takeovers_loses_nothing_that_was_acknowledged() {
    let mut test = start(Limits::default(), vec![outlet(0, QoS::AtLeastOnce).0]);
    let (tell, mut told) = mpsc::unbounded_channel();
    let address = test.address;
    let storm = tokio::spawn(async move {
        let mut n = 0u32;
        for round in 0..50 {
            let mut client = Client::connect(address, Connect::new(Version::V5, "same")).await;
            // The next connection takes this one over while its messages are on their way.
            let mut ids = std::collections::HashMap::new();
            for _ in 0..20 {
                let id = client.publish("up/a", n.to_string(), QoS::AtLeastOnce, false).await;
                ids.insert(id, n);
                n += 1;
            }
            for _ in 0..round % 20 {
                let Some(Packet::PubAck(ack)) = client.receive().await else { break };
                tell.send(ids[&ack.packet_id]).unwrap();
            }
            tokio::spawn(async move { client.closed().await });
        }
    });
    let mut stored = std::collections::HashSet::new();
    while let Ok(Some(append)) = tokio::time::timeout(Duration::from_secs(1), test.appends.recv()).await {
        stored.insert(String::from_utf8(kept_in(&append).1.payload.to_vec()).unwrap().parse::<u32>().unwrap());
        report(&test, append.ticket, Vec::new()).await;
    }
    storm.await.unwrap();
    let mut acknowledged = 0;
    while let Some(n) = told.recv().await {
        assert!(stored.contains(&n), "{n} was acknowledged and is not stored");
        acknowledged += 1;
    }
    assert!(acknowledged > 100, "{acknowledged}");
}
