//! The hub without tasks: what goes in, and what lies ready to be carried out.

mod kept_sessions;

use super::super::sys::Totals;
use super::super::words::Greeting;
use super::*;
use crate::model::Properties;
use crate::mqtt::{Received, RetainHandling, SubscribeOptions, Will};
use crate::store::{CommitReport, QueueId, Ticket};

const NOW: Monotonic = Monotonic::from_millis(0);

/// A hub with an uplink that wants everything below `up`.
fn hub() -> Hub {
    let select = |message: &Message| message.topic.starts_with("up").then(|| message.clone());
    Hub::new(Limits::default(), vec![(QueueId::normal(0), Box::new(select))])
}

fn connect(hub: &mut Hub, id: &str, will: Option<&str>) -> Key {
    let will = will.map(|topic| Box::new(Will { message: message(topic, "will", false), delay_s: 0 }));
    hub.connect(Greeting { client_id: id.into(), clean_start: true, expiry_s: 0, will }, NOW)
}

fn message(topic: &str, payload: &str, retain: bool) -> Message {
    Message::new(Topic::new(topic).unwrap(), payload.to_string(), QoS::AtLeastOnce, retain)
}

fn subscribe(hub: &mut Hub, key: Key, filter: &str) {
    let options = SubscribeOptions { retain_handling: RetainHandling::Send, ..SubscribeOptions::new(QoS::AtLeastOnce) };
    let filters = vec![Ok((Filter::new(filter).unwrap(), options))];
    hub.client_says(key, FromClient::Subscribe { packet_id: 1, id: None, filters }, NOW);
}

fn publish(hub: &mut Hub, key: Key, topic: &str, received: Option<u64>) {
    let said =
        FromClient::Publish { message: message(topic, "x", false), received: received.map(Received), once: None };
    hub.client_says(key, said, NOW);
}

/// What a client has been given, in short.
fn list(hub: &mut Hub, key: Key) -> Vec<String> {
    let mut list = Vec::new();
    hub.take_list(key, &mut list);
    in_short(&list)
}

fn in_short(list: &[ToClient]) -> Vec<String> {
    list.iter()
        .map(|entry| match entry {
            ToClient::Deliver(d) => {
                format!("{}={}", d.published.message.topic, String::from_utf8_lossy(&d.published.message.payload))
            }
            ToClient::Release(received, reason) => format!("release {} {:02x}", received.0, reason.0),
            ToClient::SubAck(_) | ToClient::UnsubAck(_) => "suback".into(),
            ToClient::More => "more".into(),
            ToClient::PubRel(n) => format!("pubrel {n}"),
            ToClient::Recorded(n) => format!("recorded {n}"),
            ToClient::Complete(id) => format!("complete {id}"),
            ToClient::Close(reason) => format!("close {:02x}", reason.0),
        })
        .collect()
}

#[test]
fn a_late_word_of_a_client_that_was_taken_over_is_not_heard() {
    let mut hub = hub();
    let old = connect(&mut hub, "same", Some("wills"));
    let watcher = connect(&mut hub, "watcher", None);
    subscribe(&mut hub, watcher, "#");
    let new = connect(&mut hub, "same", None);
    let parting = std::mem::take(&mut hub.out.parting);
    assert!(parting.len() == 1 && parting[0].0 == old);
    assert_eq!(in_short(&parting[0].1), ["close 8e"]);
    publish(&mut hub, old, "late", Some(0));
    subscribe(&mut hub, old, "#");
    hub.disconnect(old, true, None, NOW);
    hub.disconnect(old, true, None, NOW);
    // The will came once, the late message not at all, and the new client is still in.
    assert_eq!(list(&mut hub, watcher), ["suback", "wills=will"]);
    publish(&mut hub, new, "alive", Some(0));
    assert_eq!(list(&mut hub, watcher), ["alive=x"]);
    assert_eq!(list(&mut hub, new), ["release 0 00"]);
    assert_eq!(hub.counts(), (2, 1, 0));
}

#[test]
fn a_seat_that_was_left_is_used_again_under_another_key() {
    let mut hub = hub();
    let first = connect(&mut hub, "a", None);
    hub.disconnect(first, false, None, NOW);
    let second = connect(&mut hub, "b", None);
    assert!(first.slot == second.slot && first != second);
    subscribe(&mut hub, second, "t");
    assert!(list(&mut hub, first).is_empty());
    assert_eq!(list(&mut hub, second), ["suback"]);
}

#[test]
fn local_subscribers_are_served_at_once_and_the_publisher_after_the_commit() {
    let mut hub = hub();
    let (publisher, subscriber) = (connect(&mut hub, "p", None), connect(&mut hub, "s", None));
    subscribe(&mut hub, subscriber, "up/+");
    list(&mut hub, subscriber);
    publish(&mut hub, publisher, "up/a", Some(5));
    assert_eq!(list(&mut hub, subscriber), ["up/a=x"]);
    assert!(list(&mut hub, publisher).is_empty());
    let ticket = hub.out.appends[0].ticket;
    hub.report(&CommitReport { through: ticket, refused: Vec::new() }, NOW);
    assert_eq!(list(&mut hub, publisher), ["release 5 00"]);
}

#[test]
fn a_publisher_that_nobody_listens_to_is_told_so() {
    let mut hub = hub();
    let client = connect(&mut hub, "a", None);
    publish(&mut hub, client, "nobody", Some(0));
    assert_eq!(list(&mut hub, client), ["release 0 10"]);
}

#[test]
fn a_commit_for_a_client_that_is_gone_hurts_nobody() {
    let mut hub = hub();
    let client = connect(&mut hub, "a", None);
    publish(&mut hub, client, "up/a", Some(0));
    hub.disconnect(client, true, None, NOW);
    let next = connect(&mut hub, "b", None);
    hub.report(&CommitReport { through: Ticket(1), refused: Vec::new() }, NOW);
    assert!(list(&mut hub, next).is_empty());
}

#[test]
fn retained_messages_come_in_portions_and_live_ones_in_between() {
    let mut hub = hub();
    let client = connect(&mut hub, "a", None);
    for n in 0..100 {
        hub.publish_local(&Publisher::Gateway, message(&format!("r/{n:03}"), "old", true), None, NOW);
    }
    subscribe(&mut hub, client, "r/#");
    hub.feed(NOW);
    let portion = list(&mut hub, client);
    assert_eq!((portion.len(), &*portion[1], &*portion[65]), (66, "r/000=old", "more"));
    // Until it asks, nothing more comes but what is published now; and what was replaced comes as it is then.
    assert!(!hub.is_feeding());
    hub.publish_local(&Publisher::Gateway, message("r/090", "new", true), None, NOW);
    hub.publish_local(&Publisher::Gateway, message("r/091", "", true), None, NOW);
    assert_eq!(list(&mut hub, client), ["r/090=new", "r/091="]);
    hub.client_says(client, FromClient::Ready, NOW);
    hub.feed(NOW);
    let rest = list(&mut hub, client);
    assert_eq!((rest.len(), &*rest[0], &*rest[26], &*rest[27]), (36, "r/064=old", "r/090=new", "r/092=old"));
    assert_eq!(rest[35], "more");
    assert!(!hub.is_feeding());
}

#[test]
fn a_client_that_subscribes_again_and_again_without_reading_is_owed_one_portion() {
    let mut hub = hub();
    let client = connect(&mut hub, "a", None);
    hub.publish_local(&Publisher::Gateway, message("r/1", "x", true), None, NOW);
    for _ in 0..100 {
        subscribe(&mut hub, client, "r/#");
        hub.client_says(
            client,
            FromClient::Unsubscribe { packet_id: 2, filters: vec![Filter::new("r/#").unwrap()] },
            NOW,
        );
        subscribe(&mut hub, client, "r/#");
        hub.feed(NOW);
    }
    assert!(!hub.is_feeding());
    let portions = list(&mut hub, client).iter().filter(|entry| *entry == "r/1=x").count();
    assert_eq!(portions, 1);
    hub.client_says(client, FromClient::Ready, NOW);
    hub.feed(NOW);
    assert_eq!(list(&mut hub, client), ["r/1=x", "more"]);
}

#[test]
fn unsubscribing_ends_the_retained_messages_and_subscribing_again_begins_anew() {
    let mut hub = hub();
    let client = connect(&mut hub, "a", None);
    for n in 0..200 {
        hub.publish_local(&Publisher::Gateway, message(&format!("r/{n:03}"), "x", true), None, NOW);
    }
    subscribe(&mut hub, client, "r/#");
    hub.feed(NOW);
    let filters = vec![Filter::new("r/#").unwrap()];
    hub.client_says(client, FromClient::Unsubscribe { packet_id: 2, filters }, NOW);
    subscribe(&mut hub, client, "r/#");
    hub.client_says(client, FromClient::Ready, NOW);
    list(&mut hub, client);
    hub.feed(NOW);
    assert_eq!(list(&mut hub, client)[0], "r/000=x");
}

#[test]
fn an_expired_retained_message_is_not_sent_even_before_it_is_forgotten() {
    let mut hub = hub();
    let mut old = message("r", "x", true);
    old.properties = Some(Box::new(Properties { message_expiry_s: Some(1), ..Properties::default() }));
    hub.publish_local(&Publisher::Gateway, old, None, NOW);
    let later = Monotonic::from_millis(1_000);
    assert_eq!(hub.next_due(), Some(later));
    let client = connect(&mut hub, "a", None);
    subscribe(&mut hub, client, "r");
    hub.feed(later);
    assert_eq!(list(&mut hub, client), ["suback"]);
    hub.expire(later);
    assert_eq!(hub.counts().2, 0);
}

#[test]
fn the_filters_of_a_client_are_limited_by_what_they_cost_and_room_comes_back() {
    let mut hub = hub();
    let client = connect(&mut hub, "a", None);
    for _ in 0..3 {
        for filter in [|n| format!("{n}/{}", "x".repeat(60_000)), |n| format!("{n}{}", "/x".repeat(127))] {
            (0..100).for_each(|n| subscribe(&mut hub, client, &filter(n)));
            let granted = hub.counts().1;
            assert!((30..60).contains(&granted), "{granted}");
            let filters = (0..100).map(|n| Filter::new(&filter(n)).unwrap()).collect();
            hub.client_says(client, FromClient::Unsubscribe { packet_id: 2, filters }, NOW);
            assert_eq!(hub.counts().1, 0);
        }
    }
}

#[test]
fn what_a_kept_subscription_has_no_room_for_is_refused_and_the_others_have_it() {
    let mut hub = hub();
    let room = Arc::new(LocalRoom::default());
    hub.subscribe_local(Filter::new("set").unwrap(), Some(room.clone()));
    let watcher = connect(&mut hub, "watcher", None);
    subscribe(&mut hub, watcher, "set");
    let client = connect(&mut hub, "hmi", None);
    publish(&mut hub, client, "set", Some(0));
    assert_eq!(list(&mut hub, client), ["release 0 00"]);
    let by = Publisher::Client { id: "hmi".into(), user: None };
    assert!(matches!(&hub.out.local[..], [(_, _, who)] if *who == by));
    while room.take(&hub.out.local[0].1) {}
    publish(&mut hub, client, "set", Some(1));
    assert_eq!(list(&mut hub, client), ["release 1 97"]);
    assert_eq!((hub.out.local.len(), hub.out.local_refused), (1, 1));
    assert_eq!(list(&mut hub, watcher), ["suback", "set=x", "set=x"]);
    room.give_back(&hub.out.local[0].1);
}

#[test]
fn a_clouds_message_at_qos_2_is_written_together_with_what_it_causes_and_alone_when_that_is_nothing() {
    let mut hub = hub();
    let by = Publisher::Uplink(crate::model::Name::new("cloud").unwrap());
    let intake = |packet_id| Intake { uplink: 0, packet_id };
    hub.publish_once(&by, message("up/x", "x", false), 1, intake(5), NOW);
    hub.publish_once(&by, message("nobody", "x", false), 2, intake(6), NOW);
    assert!(matches!(&hub.out.appends[0].what, Work::Together(all)
        if matches!(&all[..], [Work::Message { .. }, Work::Received(Intake { packet_id: 5, .. })])));
    assert!(matches!(hub.out.appends[1].what, Work::Received(Intake { packet_id: 6, .. })));
    assert!(hub.out.settled.is_empty(), "neither is safe yet");
    hub.report(&CommitReport { through: hub.out.appends[1].ticket, refused: Vec::new() }, NOW);
    assert_eq!(hub.out.settled, [(1, Ok(())), (2, Ok(()))]);
}

#[test]
fn a_will_names_the_client_that_left_it() {
    let mut hub = hub();
    hub.subscribe_local(Filter::new("#").unwrap(), None);
    let client = connect(&mut hub, "hmi", Some("wills"));
    hub.disconnect(client, true, None, NOW);
    let by = Publisher::Client { id: "hmi".into(), user: None };
    assert!(matches!(&hub.out.local[..], [(_, _, who)] if *who == by));
}

/// The `$SYS` leaves that a client has been given, without what all begin with.
fn leaves(hub: &mut Hub, key: Key) -> Vec<String> {
    let list = list(hub, key).into_iter();
    list.filter_map(|entry| entry.strip_prefix("$SYS/broker/").map(String::from)).collect()
}

#[test]
fn a_subscriber_to_the_broker_itself_is_told_all_at_once_and_then_what_changes() {
    let mut hub = hub();
    let totals = |received| Totals { messages_received: received, ..Totals::default() };
    let [client, other] = [connect(&mut hub, "a", None), connect(&mut hub, "b", None)];
    hub.totals(&totals(0), NOW);
    subscribe(&mut hub, other, "#");
    assert!(!hub.wants_totals(Monotonic::from_millis(5_000)), "# has nothing to do with it");
    subscribe(&mut hub, client, "$SYS/#");
    assert!(hub.wants_totals(Monotonic::from_millis(5_000)));
    hub.totals(&totals(7), Monotonic::from_millis(5_000));
    while hub.is_feeding() {
        hub.feed(Monotonic::from_millis(5_000));
    }
    let first = leaves(&mut hub, client);
    for expected in ["clients/connected=2", "messages/received=7", "subscriptions/count=2", "uptime=5 seconds"] {
        assert!(first.contains(&expected.to_string()), "{expected} in {first:?}");
    }

    // From the next interval on, what has changed.
    assert_eq!(hub.next_due(), Some(Monotonic::from_millis(10_000)));
    hub.totals(&totals(7), Monotonic::from_millis(10_000));
    leaves(&mut hub, client);
    hub.totals(&totals(9), Monotonic::from_millis(20_000));
    let changed = leaves(&mut hub, client);
    assert!(changed.contains(&"messages/received=9".to_string()) && changed.contains(&"uptime=20 seconds".to_string()));
    assert!(!changed.iter().any(|leaf| leaf.starts_with("clients/")), "{changed:?}");
    assert_eq!(leaves(&mut hub, other), [""; 0]);

    // When nobody watches any more, there is nothing to do.
    hub.disconnect(client, false, None, NOW);
    hub.totals(&totals(9), Monotonic::from_millis(30_000));
    assert_eq!(hub.next_due(), None);
}

#[test]
fn an_uplink_that_wants_the_brokers_own_topics_gets_them() {
    let select = |message: &Message| message.topic.starts_with("$SYS/broker/clients/").then(|| message.clone());
    let mut hub = Hub::new(Limits::default(), vec![(QueueId::normal(0), Box::new(select))]);
    hub.totals(&Totals::default(), Monotonic::from_millis(10_000));
    assert_eq!(hub.out.live.len(), 7);
    assert!(hub.next_due().is_some());
}
