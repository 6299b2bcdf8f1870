//! Sessions that are kept, with a store of maps: who is let in, what is written when, and what is left behind.

use std::time::Duration;

use super::super::super::exercise::disk::Disk;
use super::*;

const EXPIRY_S: u32 = 3_600;

/// A hub that keeps sessions, and its store.
fn keeping(limits: Limits) -> (Hub, Disk) {
    let mut hub = Hub::new(limits, Vec::new());
    hub.restore(crate::store::BrokerState::default(), EXPIRY_S, NOW);
    (hub, Disk::default())
}

fn enter(hub: &mut Hub, id: &str, clean_start: bool, expiry_s: u32) -> Key {
    hub.connect(Greeting { client_id: id.into(), clean_start, expiry_s, will: None }, NOW)
}

/// Lets a client in whose session is kept.
fn keep(hub: &mut Hub, disk: &mut Disk, id: &str) -> (Key, Admission) {
    let key = enter(hub, id, false, EXPIRY_S);
    disk.commit(hub, false, NOW);
    match admitted(hub) {
        Some((admitted, Ok(admission))) if admitted == key => (key, admission),
        other => panic!("{id} was not let in: {other:?}"),
    }
}

fn admitted(hub: &mut Hub) -> Option<(Key, Result<Admission, Reason>)> {
    hub.out.admitted.pop()
}

/// Subscribes at QoS 2, and what that was answered once the store has it, or has refused.
fn subscribe_once(hub: &mut Hub, disk: &mut Disk, key: Key, filter: &str, refuse: bool) -> Vec<Reason> {
    let filters = vec![Ok((Filter::new(filter).unwrap(), SubscribeOptions::new(QoS::ExactlyOnce)))];
    hub.client_says(key, FromClient::Subscribe { packet_id: 1, id: None, filters }, NOW);
    assert!(list(hub, key).is_empty(), "answered before the commit");
    disk.commit(hub, refuse, NOW);
    let mut words = Vec::new();
    hub.take_list(key, &mut words);
    match &words[..] {
        [ToClient::SubAck(ack), ..] => ack.reasons.clone(),
        other => panic!("expected SUBACK, got {other:?}"),
    }
}

fn say(hub: &mut Hub, key: Key, topic: &str, qos: QoS, once: Option<u16>) {
    let message = Message::new(Topic::new(topic).unwrap(), "x", qos, false);
    hub.client_says(key, FromClient::Publish { message, received: Some(Received(0)), once }, NOW);
}

#[test]
fn a_client_is_let_in_when_its_session_is_on_disk_and_turned_away_when_it_can_t_be() {
    let (mut hub, mut disk) = keeping(Limits::default());
    let key = enter(&mut hub, "a", false, 60);
    assert_eq!(admitted(&mut hub), None);
    disk.commit(&mut hub, true, NOW);
    assert_eq!(admitted(&mut hub), Some((key, Err(Reason::QUOTA_EXCEEDED))));
    assert_eq!((hub.counts().0, hub.clients.len()), (0, 0));
    let key = enter(&mut hub, "a", false, u32::MAX);
    disk.commit(&mut hub, false, NOW);
    let admission = Admission { key, session_present: false, expiry_s: EXPIRY_S, kept: true, received: Vec::new() };
    assert_eq!(admitted(&mut hub), Some((key, Ok(admission))));
    // A session that was there stays when its next connection can't be written.
    hub.disconnect(key, false, None, NOW);
    disk.commit(&mut hub, false, NOW);
    enter(&mut hub, "a", false, 60);
    disk.commit(&mut hub, true, NOW);
    assert!(matches!(admitted(&mut hub), Some((_, Err(Reason::QUOTA_EXCEEDED)))));
    assert!(keep(&mut hub, &mut disk, "a").1.session_present);
}

#[test]
fn a_clean_start_is_granted_when_the_old_session_can_t_come_back() {
    for refuse in [false, true] {
        let (mut hub, mut disk) = keeping(Limits::default());
        keep(&mut hub, &mut disk, "a");
        let key = enter(&mut hub, "a", true, 0);
        assert_eq!(admitted(&mut hub), None);
        disk.commit(&mut hub, refuse, NOW);
        let clean = Admission { key, session_present: false, expiry_s: 0, kept: false, received: Vec::new() };
        assert_eq!(admitted(&mut hub), Some((key, Ok(clean))));
        enter(&mut hub, "b", true, 0);
        assert!(admitted(&mut hub).is_some(), "nothing was there to forget");
    }
}

#[test]
fn more_sessions_than_allowed_are_turned_away_and_clean_ones_are_not() {
    let (mut hub, mut disk) = keeping(Limits { sessions: 1, ..Limits::default() });
    let (first, _) = keep(&mut hub, &mut disk, "a");
    enter(&mut hub, "b", false, 60);
    assert!(matches!(admitted(&mut hub), Some((_, Err(Reason::QUOTA_EXCEEDED)))));
    enter(&mut hub, "b", true, 0);
    assert!(matches!(admitted(&mut hub), Some((_, Ok(_)))));
    hub.disconnect(first, false, Some(0), NOW);
    keep(&mut hub, &mut disk, "c");
}

#[test]
fn a_session_ends_when_its_time_is_up_and_not_while_its_client_is_there() {
    let (mut hub, mut disk) = keeping(Limits::default());
    let (key, _) = keep(&mut hub, &mut disk, "a");
    subscribe_once(&mut hub, &mut disk, key, "t", false);
    assert_eq!(hub.ending.len(), 0);
    hub.disconnect(key, true, Some(10), NOW);
    let end = Monotonic(Duration::from_secs(10));
    assert_eq!(hub.ending.first().map(|(at, _)| *at), Some(end));
    hub.expire(Monotonic::from_millis(9_999));
    let (key, admission) = keep(&mut hub, &mut disk, "a");
    assert!(admission.session_present);
    hub.expire(Monotonic(Duration::from_secs(1_000_000)));
    assert_eq!((hub.counts().1, disk.counts().0), (1, 1));
    hub.disconnect(key, true, Some(10), NOW);
    hub.expire(end);
    disk.commit(&mut hub, false, end);
    assert_eq!((hub.counts().1, hub.clients.len(), disk.counts().0), (0, 0, 0));
    assert!(!keep(&mut hub, &mut disk, "a").1.session_present);
}

#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    let (mut hub, mut disk) = keeping(Limits::default());
    for n in 0..20_000 {
        let kept = n % 2 == 0;
        let key = enter(&mut hub, &format!("client-{n}"), true, if kept { 60 } else { 0 });
        let filters = vec![Ok((Filter::new(&format!("own/{n}")).unwrap(), SubscribeOptions::new(QoS::AtLeastOnce)))];
        hub.client_says(key, FromClient::Subscribe { packet_id: 1, id: None, filters }, NOW);
        say(&mut hub, key, &format!("own/{n}"), QoS::AtLeastOnce, None);
        disk.commit(&mut hub, false, NOW);
        while hub.is_feeding() {
            hub.feed(NOW);
        }
        hub.disconnect(key, true, kept.then_some(u32::from(n % 4 == 0)), NOW);
        disk.commit(&mut hub, false, NOW);
        hub.expire(Monotonic(Duration::from_secs(1)));
        hub.out = Outputs { appends: std::mem::take(&mut hub.out.appends), ..Outputs::default() };
    }
    disk.commit(&mut hub, false, NOW);
    assert_eq!((hub.clients.len(), hub.counts().1, hub.kept, hub.ending.len(), hub.requests.len()), (0, 0, 0, 0, 0));
    assert_eq!((disk.counts().0, hub.awaiting_commit.len(), hub.feeding.len()), (0, 0, 0));
    assert_eq!(hub.seats.len(), 1);
}

#[test]
fn a_publisher_is_answered_when_a_client_that_is_away_is_sure_to_get_it() {
    let (mut hub, mut disk) = keeping(Limits::default());
    let (away, _) = keep(&mut hub, &mut disk, "away");
    subscribe_once(&mut hub, &mut disk, away, "t", false);
    hub.disconnect(away, false, None, NOW);
    disk.commit(&mut hub, false, NOW);
    let publisher = connect(&mut hub, "p", None);
    for (refuse, answer) in [(false, "release 0 00"), (true, "release 0 97")] {
        say(&mut hub, publisher, "t", QoS::AtLeastOnce, None);
        assert!(list(&mut hub, publisher).is_empty());
        disk.commit(&mut hub, refuse, NOW);
        assert_eq!(list(&mut hub, publisher), [answer]);
    }
    // What was refused is not waited for.
    let (away, _) = keep(&mut hub, &mut disk, "away");
    assert!(disk.read(&mut hub, NOW));
    assert_eq!(list(&mut hub, away), ["t=x"]);
    hub.client_says(away, FromClient::Done(1, 1), NOW);
    disk.commit(&mut hub, false, NOW);
    say(&mut hub, publisher, "t", QoS::AtLeastOnce, None);
    assert_eq!(list(&mut hub, away), ["t=x"]);
}

#[test]
fn a_qos_2_message_goes_out_after_its_commit_and_what_comes_behind_keeps_its_place() {
    let (mut hub, mut disk) = keeping(Limits::default());
    let (key, _) = keep(&mut hub, &mut disk, "s");
    subscribe_once(&mut hub, &mut disk, key, "#", false);
    let publisher = connect(&mut hub, "p", None);
    say(&mut hub, publisher, "1", QoS::AtLeastOnce, None);
    assert_eq!(list(&mut hub, key), ["1=x"], "QoS 1 need not wait");
    say(&mut hub, publisher, "2", QoS::ExactlyOnce, None);
    say(&mut hub, publisher, "3", QoS::AtLeastOnce, None);
    assert!(list(&mut hub, key).is_empty());
    disk.commit(&mut hub, false, NOW);
    assert_eq!(list(&mut hub, key), ["2=x", "3=x"]);
    // And its PUBREL after that of its PUBREC, which is tried again when it was refused.
    hub.client_says(key, FromClient::Recorded(2), NOW);
    disk.commit(&mut hub, true, NOW);
    assert!(list(&mut hub, key).is_empty());
    let second = Monotonic::from_millis(1_000);
    assert_eq!(hub.next_due(), Some(second));
    hub.expire(second);
    disk.commit(&mut hub, false, second);
    assert_eq!(list(&mut hub, key), ["recorded 2"]);
}

#[test]
fn a_refused_message_of_qos_2_is_no_message_and_its_id_is_free() {
    let (mut hub, mut disk) = keeping(Limits::default());
    let (key, _) = keep(&mut hub, &mut disk, "s");
    subscribe_once(&mut hub, &mut disk, key, "t", false);
    say(&mut hub, key, "t", QoS::ExactlyOnce, Some(7));
    disk.commit(&mut hub, true, NOW);
    assert_eq!(list(&mut hub, key), ["release 0 97"]);
    say(&mut hub, key, "t", QoS::ExactlyOnce, Some(7));
    say(&mut hub, key, "t", QoS::ExactlyOnce, Some(7));
    disk.commit(&mut hub, false, NOW);
    assert_eq!(list(&mut hub, key), ["t=x", "release 0 00"]);
    // PUBCOMP only when a crash would not bring the id back.
    hub.client_says(key, FromClient::PubRel(7), NOW);
    assert!(list(&mut hub, key).is_empty());
    disk.commit(&mut hub, false, NOW);
    assert_eq!(list(&mut hub, key), ["complete 7"]);
}

#[test]
fn a_subscription_that_can_t_be_written_is_refused_and_the_one_before_it_stays() {
    let (mut hub, mut disk) = keeping(Limits::default());
    let (key, _) = keep(&mut hub, &mut disk, "s");
    assert_eq!(subscribe_once(&mut hub, &mut disk, key, "new", true), [Reason::QUOTA_EXCEEDED]);
    assert_eq!(hub.counts().1, 0);
    assert_eq!(subscribe_once(&mut hub, &mut disk, key, "old", false), [Reason::GRANTED_QOS_2]);
    assert_eq!(subscribe_once(&mut hub, &mut disk, key, "old", true), [Reason::QUOTA_EXCEEDED]);
    let publisher = connect(&mut hub, "p", None);
    say(&mut hub, publisher, "new", QoS::AtLeastOnce, None);
    say(&mut hub, publisher, "old", QoS::AtLeastOnce, None);
    assert_eq!(list(&mut hub, key), ["old=x"]);
    hub.client_says(key, FromClient::Unsubscribe { packet_id: 3, filters: vec![Filter::new("old").unwrap()] }, NOW);
    assert!(list(&mut hub, key).is_empty());
    disk.commit(&mut hub, true, NOW);
    let mut words = Vec::new();
    hub.take_list(key, &mut words);
    assert!(matches!(&words[..], [ToClient::UnsubAck(ack)] if ack.reasons == [Reason::UNSPECIFIED]));
}

#[test]
fn a_full_backlog_drops_what_comes_counts_it_and_tells_once() {
    let (mut hub, mut disk) = keeping(Limits { session_messages: 2, ..Limits::default() });
    let (key, _) = keep(&mut hub, &mut disk, "away");
    subscribe_once(&mut hub, &mut disk, key, "t", false);
    hub.disconnect(key, false, None, NOW);
    for _ in 0..5 {
        hub.publish_local(&Publisher::Gateway, message("t", "x", false), None, NOW);
    }
    assert_eq!((hub.out.backlog_dropped, hub.out.overflowing.len()), (3, 1));
    disk.commit(&mut hub, false, NOW);
    let (key, _) = keep(&mut hub, &mut disk, "away");
    disk.read(&mut hub, NOW);
    assert_eq!(list(&mut hub, key).len(), 2);
    hub.client_says(key, FromClient::Done(1, 1), NOW);
    hub.publish_local(&Publisher::Gateway, message("t", "x", false), None, NOW);
    hub.publish_local(&Publisher::Gateway, message("t", "x", false), None, NOW);
    assert_eq!((hub.out.backlog_dropped, hub.out.overflowing.len()), (4, 2), "it was told anew");
}

#[test]
fn someone_who_takes_over_a_client_that_waits_to_be_let_in_is_let_in_alone() {
    let (mut hub, mut disk) = keeping(Limits::default());
    let first = enter(&mut hub, "same", false, 60);
    let second = enter(&mut hub, "same", false, 60);
    disk.commit(&mut hub, false, NOW);
    let admitted: Vec<Key> = hub.out.admitted.iter().map(|(key, _)| *key).collect();
    assert_eq!((admitted, hub.out.parting[0].0, hub.counts().0), (vec![second], first, 1));
}

#[test]
fn retained_messages_of_clients_are_written_and_the_gateway_s_own_are_not() {
    let (mut hub, mut disk) = keeping(Limits::default());
    let client = connect(&mut hub, "a", None);
    let mut retain = |hub: &mut Hub, topic: &str, payload: &str| {
        disk.commit(hub, false, NOW);
        let said =
            FromClient::Publish { message: message(topic, payload, true), received: Some(Received(0)), once: None };
        hub.client_says(client, said, NOW);
        assert_eq!(list(hub, client).len(), usize::from(hub.out.appends.is_empty()));
        disk.commit(hub, false, NOW);
        list(hub, client);
        disk.counts().1
    };
    assert_eq!((retain(&mut hub, "r", "x"), retain(&mut hub, "s", "x")), (1, 2));
    // The gateway replaces a client's: the old one must not come back after a restart.
    hub.publish_local(&Publisher::Gateway, message("r", "ours", true), None, NOW);
    assert_eq!((retain(&mut hub, "r", ""), retain(&mut hub, "s", ""), retain(&mut hub, "s", "")), (1, 0, 0));
}

#[test]
fn a_client_that_is_turned_away_does_not_end_its_session() {
    let (mut hub, mut disk) = keeping(Limits::default());
    let (key, _) = keep(&mut hub, &mut disk, "a");
    subscribe_once(&mut hub, &mut disk, key, "t", false);
    hub.disconnect(key, true, None, NOW);
    disk.commit(&mut hub, false, NOW);
    // One that is taken over before it is answered, and the one that takes over: neither wants the session kept, and neither is let in.
    for _ in 0..2 {
        enter(&mut hub, "a", false, 0);
    }
    disk.commit(&mut hub, true, NOW);
    assert!(matches!(admitted(&mut hub), Some((_, Err(Reason::QUOTA_EXCEEDED)))));
    let publisher = connect(&mut hub, "p", None);
    say(&mut hub, publisher, "t", QoS::AtLeastOnce, None);
    disk.commit(&mut hub, false, NOW);
    let (key, admission) = keep(&mut hub, &mut disk, "a");
    assert!(admission.session_present);
    disk.read(&mut hub, NOW);
    assert_eq!(list(&mut hub, key), ["t=x"]);
}

#[test]
fn of_two_requests_for_one_filter_the_one_that_is_granted_counts() {
    let ask = |hub: &mut Hub, key, packet_id| {
        let filters = vec![Ok((Filter::new("t").unwrap(), SubscribeOptions::new(QoS::AtLeastOnce)))];
        hub.client_says(key, FromClient::Subscribe { packet_id, id: None, filters }, NOW);
        hub.out.appends.last().unwrap().ticket
    };
    for (granted, left) in [([false, false], 0), ([false, true], 1), ([true, false], 1)] {
        let (mut hub, mut disk) = keeping(Limits::default());
        let (key, _) = keep(&mut hub, &mut disk, "a");
        let tickets = [ask(&mut hub, key, 1), ask(&mut hub, key, 2)];
        for (ticket, granted) in tickets.into_iter().zip(granted) {
            let refused = (!granted).then_some((ticket, crate::store::Refusal::QueueFull)).into_iter().collect();
            hub.report(&CommitReport { through: ticket, refused }, NOW);
        }
        assert_eq!(hub.counts().1, left, "{granted:?}");
        let filters = vec![Filter::new("t").unwrap()];
        hub.client_says(key, FromClient::Unsubscribe { packet_id: 3, filters }, NOW);
        assert_eq!(hub.counts().1, 0, "{granted:?}");
    }
}
