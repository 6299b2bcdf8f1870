use std::time::Duration;

use super::*;
use crate::model::{Filter, Timestamp};
use crate::route::{Aggregate, BatchRule, Fold, RetainRule, Take, Template};

fn rule(topic: &str, except: &[&str], to: &str, qos: QoS, retain: RetainRule) -> ForwardRule {
    let topic = Filter::new(topic).unwrap();
    let to = Template::parse(to, &topic).unwrap();
    let except = except.iter().map(|text| Filter::new(text).unwrap()).collect();
    ForwardRule::plain(Take { except, retain, ..Take::all(topic, to, qos) })
}

fn plain(topic: &str, to: &str) -> ForwardRule {
    rule(topic, &[], to, QoS::AtLeastOnce, RetainRule::Keep)
}

fn around() -> Surroundings {
    let topic = |text| Topic::new(text).unwrap();
    let name = |text| Name::new(text).unwrap();
    Surroundings { gateway: name("p7"), root: topic("fw"), presence: topic("fw/gateway/state"), uplink: name("cloud") }
}

fn forwarder(rules: Vec<ForwardRule>) -> Forwarder {
    Forwarder::new(rules, around(), 1)
}

fn at(ms: u64) -> Stamp {
    Stamp { monotonic: Monotonic::from_millis(ms), since_boot: None, wall: Timestamp(ms as i64), synced: true }
}

fn message(topic: &str, payload: &str) -> Message {
    Message::new(Topic::new(topic).unwrap(), payload.to_owned(), QoS::AtMostOnce, false)
}

fn shown(leaving: Leaving) -> String {
    let text = |message: &Message| format!("{} {}", message.topic, String::from_utf8_lossy(&message.payload));
    match leaving {
        Leaving::Live(message) => format!("live {}", text(&message)),
        Leaving::Queued { message, is_urgent } => {
            format!("{}{}", if is_urgent { "urgent " } else { "" }, text(&message))
        }
        Leaving::Piece { batch, message, .. } => format!("piece {batch} {}", text(&message)),
        Leaving::Close { batch, .. } => format!("close {batch}"),
    }
}

impl Forwarder {
    fn gets(&mut self, ms: u64, topic: &str, payload: &str) -> Vec<String> {
        let mut out = Vec::new();
        self.take(&Publisher::Gateway, &message(topic, payload), at(ms), &mut out);
        out.into_iter().map(shown).collect()
    }

    fn ticks(&mut self, ms: u64) -> Vec<String> {
        let mut out = Vec::new();
        self.tick(at(ms), &mut out);
        out.into_iter().map(shown).collect()
    }
}

#[test]
fn the_first_rule_that_takes_a_message_decides_unless_it_says_continue() {
    let mut urgent = plain("fw/+/alarm", "alarms/{1}");
    (urgent.is_urgent, urgent.take.goes_on) = (true, true);
    let rules = vec![
        urgent,
        rule("fw/#", &["fw/+/+/set"], "up/{rest}", QoS::AtLeastOnce, RetainRule::Keep),
        rule("raw/#", &[], "{gateway}/{topic}", QoS::AtMostOnce, RetainRule::Never),
        plain("#", "all/{rest}"),
    ];
    let mut forwarder = forwarder(rules);
    assert_eq!(forwarder.gets(0, "fw/boiler/alarm", "x"), ["urgent alarms/boiler x", "up/boiler/alarm x"]);
    assert_eq!(forwarder.gets(0, "fw/boiler", "x"), ["up/boiler x"]);
    assert_eq!(forwarder.gets(0, "fw/boiler/t/set", "x"), ["all/fw/boiler/t/set x"]);
    assert_eq!(forwarder.gets(0, "raw/a", "x"), ["live p7/raw/a x"]);
    assert_eq!(forwarder.gets(0, "fw/gateway/state", "online"), [""; 0]);
    let presence = forwarder.presence(&message("fw/gateway/state", "online")).unwrap();
    assert_eq!(presence.topic.as_str(), "up/gateway/state");
}

#[test]
fn what_an_uplink_brought_or_has_been_here_does_not_leave_by_it() {
    let mut forwarder = forwarder(vec![plain("#", "up/{rest}")]);
    let mut out = Vec::new();
    let other = Publisher::Uplink(Name::new("other").unwrap());
    forwarder.take(&Publisher::Uplink(Name::new("cloud").unwrap()), &message("a", "1"), at(0), &mut out);
    assert_eq!(out, []);
    let mut been = message("a", "1");
    let hops = vec![(hops::HOPS.to_owned(), "p1 p7 p3".to_owned())];
    been.properties = Some(Box::new(crate::model::Properties { user: hops, ..Default::default() }));
    forwarder.take(&other, &been, at(0), &mut out);
    assert_eq!(out, []);
    forwarder.take(&other, &message("a", "1"), at(0), &mut out);
    assert_eq!(out.len(), 1);
}

#[test]
fn a_topic_that_grows_too_long_is_left_and_counted() {
    let mut forwarder = forwarder(vec![plain("fw/#", "a/long/prefix/{rest}"), plain("#", "all")]);
    let long = format!("fw/{}", "x".repeat(65_530));
    assert_eq!(forwarder.gets(0, &long, "1"), ["all 1"]);
    assert_eq!(forwarder.tallies()[0].counts().unshaped, 1);
    assert_eq!(forwarder.gets(0, "fw/p/q", "1").len(), 1);
}

#[test]
fn of_a_topic_the_latest_leaves_at_most_once_in_the_interval() {
    let mut slow = plain("fw/#", "up/{rest}");
    slow.pace.every = Some(Duration::from_secs(10));
    let mut forwarder = forwarder(vec![slow]);
    assert_eq!(forwarder.gets(0, "fw/a", "1"), ["up/a 1"]);
    assert_eq!(forwarder.gets(1_000, "fw/a", "2"), [""; 0]);
    assert_eq!(forwarder.gets(1_500, "fw/b", "1"), ["up/b 1"]);
    assert_eq!(forwarder.gets(9_000, "fw/a", "3"), [""; 0]);
    assert_eq!(forwarder.next_due(), Some(Monotonic::from_millis(10_000)));
    assert_eq!(forwarder.ticks(10_000), ["up/a 3"]);
    assert_eq!(forwarder.gets(12_000, "fw/a", "4"), [""; 0]);
    let mut out = Vec::new();
    forwarder.flush(at(13_000), &mut out);
    assert_eq!(out.into_iter().map(shown).collect::<Vec<_>>(), ["up/a 4"]);
    assert_eq!(forwarder.next_due(), None);
}

#[test]
fn what_has_not_changed_but_for_its_time_stays() {
    let mut quiet = plain("fw/#", "up/{rest}");
    quiet.pace.on_change = true;
    let mut forwarder = forwarder(vec![quiet]);
    assert_eq!(forwarder.gets(0, "fw/a", r#"{"ts":"1","value":1}"#).len(), 1);
    assert_eq!(forwarder.gets(0, "fw/a", r#"{"ts":"2","value":1}"#).len(), 0);
    assert_eq!(forwarder.gets(0, "fw/b", r#"{"ts":"2","value":1}"#).len(), 1);
    assert_eq!(forwarder.gets(0, "fw/a", r#"{"ts":"3","value":2}"#).len(), 1);
    assert_eq!(forwarder.gets(0, "fw/a", "text").len(), 1);
    assert_eq!(forwarder.gets(0, "fw/a", "text").len(), 0);
}

#[test]
fn a_value_that_went_back_before_its_time_came_has_not_changed() {
    let mut quiet = plain("fw/#", "up/{rest}");
    quiet.pace = crate::route::Pace { every: Some(Duration::from_secs(10)), on_change: true };
    let mut forwarder = forwarder(vec![quiet]);
    assert_eq!(forwarder.gets(0, "fw/a", "1"), ["up/a 1"]);
    assert_eq!(forwarder.gets(1_000, "fw/a", "2"), [""; 0]);
    assert_eq!(forwarder.gets(2_000, "fw/a", "1"), [""; 0]);
    assert_eq!(forwarder.ticks(10_000), [""; 0]);
    assert_eq!(forwarder.next_due(), None);
    assert_eq!(forwarder.gets(11_000, "fw/a", "1"), [""; 0]);
    assert_eq!(forwarder.gets(12_000, "fw/a", "2"), ["up/a 2"]);
    assert_eq!(forwarder.gets(13_000, "fw/a", "3"), [""; 0]);
    assert_eq!(forwarder.ticks(22_000), ["up/a 3"]);
}

#[test]
fn a_time_with_a_new_name_is_still_a_time() {
    let mut quiet = plain("fw/#", "up/{rest}");
    quiet.pace.on_change = true;
    quiet.fields.rename = vec![("ts".into(), "zeit".into())];
    let mut forwarder = forwarder(vec![quiet]);
    assert_eq!(forwarder.gets(0, "fw/a", r#"{"ts":"1","value":1}"#), [r#"up/a {"zeit":"1","value":1}"#]);
    assert_eq!(forwarder.gets(0, "fw/a", r#"{"ts":"2","value":1}"#), [""; 0]);
}

#[test]
fn the_gateways_state_is_retained_as_its_rule_says() {
    for (retain, expected) in [(RetainRule::Keep, true), (RetainRule::Never, false)] {
        let forwarder = forwarder(vec![rule("fw/#", &[], "up/{rest}", QoS::AtLeastOnce, retain)]);
        let state = Message { retain: true, ..message("fw/gateway/state", "online") };
        assert_eq!(forwarder.presence(&state).map(|state| state.retain), Some(expected));
    }
}

#[test]
fn a_message_can_be_tried_and_is_then_as_it_leaves() {
    let mut folding = rule("fw/#", &[], "up/{rest}", QoS::AtLeastOnce, RetainRule::Keep);
    folding.aggregate = Some(Aggregate { window: Duration::from_secs(60), values: vec![Fold::Max] });
    let rules = vec![folding];
    let retained = Message { retain: true, ..message("fw/a/t", r#"{"ts":"T","value":1}"#) };
    let tried = crate::route::try_up(&rules, &around(), &retained, at(0));
    let mut forwarder = forwarder(rules);
    let mut out = Vec::new();
    forwarder.take(&Publisher::Gateway, &retained, at(0), &mut out);
    forwarder.tick(at(60_000), &mut out);
    let [Leaving::Queued { message, .. }] = out.as_slice() else { panic!("{out:?}") };
    assert_eq!(tried[0].outcome.as_ref(), Some(&Ok(message.clone())));
}

#[test]
fn a_payloads_own_topic_is_not_lost_in_a_batch() {
    let mut batched = plain("fw/#", "up");
    batched.batch = Some(BatchRule { messages: 3, delay: Duration::from_secs(5), size: 1_000 });
    let mut forwarder = forwarder(vec![batched]);
    assert_eq!(
        forwarder.gets(0, "fw/a", r#"{"topic":"mine","v":1}"#),
        [r#"piece 1 up {"topic":"fw/a","value":{"topic":"mine","v":1}}"#]
    );
}

#[test]
fn json_that_is_not_looked_into_is_no_text() {
    let mut batched = plain("fw/#", "up");
    batched.batch = Some(BatchRule { messages: 3, delay: Duration::from_secs(5), size: 1_000 });
    let mut forwarder = forwarder(vec![batched, plain("#", "rest")]);
    let deep = format!("{}1{}", "[".repeat(33), "]".repeat(33));
    assert_eq!(forwarder.gets(0, "fw/a", &deep), [format!("rest {deep}")]);
    let large = format!("[{}1]", " ".repeat(300 << 10));
    assert_eq!(forwarder.gets(0, "fw/a", &large), [format!("rest {large}")]);
    assert_eq!(forwarder.tallies()[0].counts().unshaped, 2);
}

#[test]
fn a_window_begins_with_its_first_reading_and_leaves_one_message() {
    let mut folding = plain("fw/#", "up/{rest}");
    folding.aggregate = Some(Aggregate { window: Duration::from_secs(60), values: vec![Fold::Mean, Fold::Count] });
    let mut forwarder = forwarder(vec![folding]);
    for (ms, value) in [(0, 1), (1_000, 2), (59_000, 6)] {
        let payload = format!(r#"{{"ts":"{ms}","value":{value},"quality":"good"}}"#);
        assert_eq!(forwarder.gets(ms, "fw/a/t", &payload), [""; 0]);
    }
    assert_eq!(forwarder.ticks(60_000), [r#"up/a/t {"ts":"59000","from":"0","value":{"mean":3.0,"count":3},"bad":0}"#]);
    assert_eq!(forwarder.next_due(), None);
    assert_eq!(forwarder.gets(61_000, "fw/a/t", "no value at all: text"), [""; 0]);
}

#[test]
fn a_batch_closes_by_count_by_size_and_by_time() {
    let mut batched = plain("fw/#", "up");
    batched.batch = Some(BatchRule { messages: 3, delay: Duration::from_secs(5), size: 100 });
    let mut forwarder = forwarder(vec![batched]);
    assert_eq!(forwarder.gets(0, "fw/a", "1"), [r#"piece 1 up {"topic":"fw/a","value":1}"#]);
    assert_eq!(forwarder.gets(0, "fw/b", "{\"v\":2}"), [r#"piece 1 up {"topic":"fw/b","v":2}"#]);
    assert_eq!(forwarder.gets(0, "fw/c", "3"), [r#"piece 1 up {"topic":"fw/c","value":3}"#, "close 1"]);
    assert_eq!(forwarder.gets(1_000, "fw/c", "4").len(), 1);
    assert_eq!(forwarder.next_due(), Some(Monotonic::from_millis(6_000)));
    let large = format!("\"{}\"", "x".repeat(90));
    let leaving = forwarder.gets(2_000, "fw/c", &large);
    assert_eq!((leaving[0].as_str(), leaving.len(), leaving[2].as_str()), ("close 2", 3, "close 3"));
    assert_eq!(forwarder.gets(3_000, "fw/c", "5").len(), 1);
    assert_eq!(forwarder.ticks(8_000), ["close 4"]);
    assert_eq!(forwarder.next_due(), None);
}

#[test]
fn a_message_that_no_rule_can_tell_about_goes_to_the_next_and_is_counted() {
    let mut hot = plain("fw/#", "hot");
    hot.take.when = Some(crate::route::cel::When::new("payload.values.t > 60").unwrap());
    let mut forwarder = forwarder(vec![hot, plain("#", "rest")]);
    assert_eq!(forwarder.gets(0, "fw/a", r#"{"values":{"t":61}}"#), [r#"hot {"values":{"t":61}}"#]);
    assert_eq!(forwarder.gets(0, "fw/a", r#"{"values":{"t":6}}"#), [r#"rest {"values":{"t":6}}"#]);
    assert_eq!(forwarder.gets(0, "fw/a", "{}"), ["rest {}"]);
    assert_eq!(forwarder.gets(0, "fw/a", "online"), ["rest online"]);
    let counts = forwarder.tallies()[0].counts();
    assert_eq!((counts.taken, counts.unmatched, counts.unclear), (1, 1, 2));
    assert_eq!(
        counts.last_reason.as_deref(),
        Some("`when` can't be told: the payload is no object: it is not JSON: at byte 0, no value begins like this"),
        "the last"
    );
}
