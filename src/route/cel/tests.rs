use proptest::prelude::*;

use super::*;
use crate::model::{Message, QoS, Timestamp, Topic};

const READING: &str = r#"{"ts":"2026-11-20T23:04:05.123Z","values":{"t":60.5,"n":61,"big":18446744073709551615,"on":true,"mode":"auto","list":[1,2.5,"x"]},"bad":{}}"#;

fn decide_on(when: &str, topic: &str, payload: impl Into<bytes::Bytes>) -> Verdict {
    let when = When::new(when).unwrap_or_else(|error| panic!("{when}: {error:?}"));
    let message = Message::new(Topic::new(topic).expect("a topic"), payload, QoS::AtLeastOnce, true);
    when.decide(&Subject::new(&message, &Topic::new("fw/p7").expect("a topic"), Some(Timestamp(0))))
}

fn decide(when: &str) -> Verdict {
    decide_on(when, "fw/p7/boiler", READING)
}

#[track_caller]
fn refused(when: &str) -> (String, String) {
    let error = When::new(when).expect_err(when);
    (when[error.at].to_owned(), error.what)
}

#[test]
fn conditions_hold_or_do_not() {
    for (when, holds) in [
        ("payload.values.t > 60", true),
        ("payload.values.t > 60.0", true),
        ("payload.values.n > 60.5", true),
        ("payload.values.n == 61.0", true),
        ("payload.values.t * 2 == 121", true),
        ("2 + payload.values.t == 62.5", true),
        // As 61.0 / 2: how a number happens to be written decides nothing.
        ("payload.values.n / 2 == 30.5", true),
        ("2 * payload.values.n / 2 == 61 && payload.values.n / 61 == 1", true),
        ("[7, 2].all(x, x / 2 == 3.5 || x / 2 == 1)", true),
        // Whole by nature, and so is the quotient.
        ("ts.getMinutes() / 3 == 1 && size(topic) / 5 == 2 && 7 / 2 == 3", true),
        ("payload.values.big - 1 == 18446744073709551614u && payload.values.big - 1 != payload.values.big", true),
        ("payload.values.big / 1 == 18446744073709551615u && 18446744073709551614u + 1 == payload.values.big", true),
        ("payload.values == payload.values && !(payload.values != payload.values)", true),
        ("payload.values == payload.bad || payload.values == {}", false),
        (
            "{'t': 60.5, 'n': 61, 'big': 18446744073709551615u, 'on': true, 'mode': 'auto', 'list': [1, 2.5, 'x']} == payload.values",
            true,
        ),
        ("{'t': 60.5} == payload.values || {} == payload.values || [] == payload.values", false),
        ("payload.values.list in [[1, 2.5, 'x']] && payload.bad in [{}, 1] && !(payload.bad in [{'a': 1}])", true),
        ("payload.values.list[0u] == 1 && payload.values.list[1.0] == 2.5 && 2.5 in payload.values.list", true),
        ("size(payload.values.list + [7]) == 4 && 7 in payload.values.list + [7]", true),
        ("{} == payload.bad && [1, 2.5, 'x'] == payload.values.list && [payload.bad] == [payload.bad]", true),
        ("payload.values.n * 1.5 > 91", true),
        ("payload.values.big == 18446744073709551615u", true),
        ("payload.values.big > 60", true),
        ("payload.values.mode in ['auto', 'manual']", true),
        ("'t' in payload.values && !('x' in payload.values)", true),
        ("has(payload.values.t) && !has(payload.values.x)", true),
        ("payload.values.list.exists(v, v == 2.5)", true),
        ("payload.values.exists(k, k == 't')", true),
        ("payload.values.list.all(v, v != 7)", true),
        ("payload.values.n * 2 % 5 == 2", true),
        ("size(payload.values.list.filter(v, v != 'x')) == 2", true),
        ("size(payload.values.list.map(v, v)) == 3", true),
        ("size(payload.values) == 6 && payload.bad.size() == 0", true),
        ("payload.bad == {}", true),
        ("topic == 'fw/p7/boiler' && topic_levels[2] == 'boiler' && size(topic_levels) == 3", true),
        ("topic.startsWith('fw/') && topic.endsWith('er') && topic.contains('p7')", true),
        ("topic.matches('^fw/p[0-9]+/') && matches(device, 'boil')", true),
        ("qos == 1 && retain", true),
        ("kind == 'reading' && device == 'boiler' && quality == 'good'", true),
        ("ts > timestamp('2026-11-20T00:00:00Z') && ts.getHours() == 23 && ts.getHours('UTC') == 23", true),
        ("point == 'x' || kind == 'reading'", true),
        ("payload.values.on ? payload.values.t > 60 : false", true),
        ("payload.values.t > 100", false),
        ("payload.values.mode == 'off'", false),
        ("payload.values.on && retain", true),
    ] {
        assert_eq!(decide(when), if holds { Verdict::Yes } else { Verdict::No }, "{when}");
    }
}

#[test]
fn what_is_not_there_or_does_not_fit_is_unclear_and_says_why() {
    for (when, why) in [
        ("payload.values.x > 1", "there is no field `x`"),
        ("payload.nothing.x > 1", "there is no field `nothing`"),
        ("point == 'x'", "this message has no `point`"),
        ("payload.values.mode > 1", "'_>_'"),
        ("payload.values.t", "neither true nor false"),
        ("payload.values.n / 0 == 1", "zero"),
    ] {
        let Verdict::Unclear(said) = decide(when) else { panic!("{when}") };
        assert!(said.contains(why), "{when}: {said}");
    }
}

#[test]
fn a_payload_is_json_or_text_or_bytes() {
    assert_eq!(decide_on("payload == 'online'", "a", "online"), Verdict::Yes);
    assert_eq!(decide_on("payload > 21", "a", "21.4"), Verdict::Yes);
    assert_eq!(decide_on("size(payload) == 2", "a", &b"\xff\xfe"[..]), Verdict::Yes);
    assert_eq!(decide_on("payload == b'\\377\\376'", "a", &b"\xff\xfe"[..]), Verdict::Yes);
    let Verdict::Unclear(why) = decide_on("payload.t > 1", "a", "{\"t\":") else { panic!() };
    assert!(why.contains("not JSON"), "{why}");
    let large = format!("[{}1]", " ".repeat(super::super::subject::MAX_READ));
    let Verdict::Unclear(why) = decide_on("payload[0] == 1", "a", large.clone()) else { panic!() };
    assert!(why.contains("at most"), "{why}");
    assert_eq!(decide_on("topic == 'a'", "a", large), Verdict::Yes);
}

#[test]
fn mistakes_are_found_before_any_message_has_come() {
    for (when, at, what) in [
        ("payload.t > 60 &&", "", "this is not CEL"),
        ("tpoic == 'a'", "tpoic", "`tpoic` is not known here"),
        ("payload.x > 1 && temperature > 60", "temperature", "`temperature` is not known here"),
        ("topic", "topic", "it comes to a text, not to true or false"),
        ("payload.t + 1", "payload.t + 1", "it comes to"),
        ("1 + 1", "1 + 1", "it comes to a whole number"),
        ("topic.starts('a')", "starts", "there is no function `starts`"),
        ("topic.startsWith(1)", "startsWith", "does not take a whole number"),
        ("kind == 'readings'", "'readings'", "`kind` is never"),
        ("retain && topic", "topic", "a text where `&&` needs true or false"),
        ("topic.x == 1", "topic.x", "a text has no field `x`"),
        ("topic.matches('(')", "'('", "no regular expression"),
        ("topic.matches(payload.p)", "payload.p", "has to be written here"),
        ("payload.l.all(x, payload.m.exists(y, y == x))", "payload.m", "inside another macro"),
    ] {
        let (place, said) = refused(when);
        assert!(said.contains(what), "{when}: {said}");
        // Operators are known by their sign, so a place may be a part.
        assert!(at.contains(place.as_str()) || place.contains(at), "{when}: {place:?} is not {at:?}");
    }
    assert_eq!(refused("'ä' == topic && tpic == 'b'").0, "tpic");
    assert!(When::new("qos == '1'").is_err_and(|error| error.what == "a whole number is never equal to a text"));
    assert!(When::new("topic = 'a'").is_err_and(|error| error.help.is_some_and(|help| help.contains("`==`"))));
}

#[test]
fn what_would_cost_too_much_is_refused() {
    for when in [
        format!("{}true{}", "(".repeat(100), ")".repeat(100)),
        format!("{}true", "!".repeat(100)),
        format!("1 {} == 1", "+ 1".repeat(200)),
        format!("topic == '{}'", "x".repeat(MAX_LENGTH)),
        "true ? true : ".repeat(100) + "true",
        "topic.matches('((a{100}){100}){100}')".into(),
    ] {
        assert!(When::new(&when).is_err(), "{when}");
    }
    let long = format!("[{}1]", "1,".repeat(2_000));
    assert!(matches!(decide_on("payload.all(x, x == 1)", "a", long.clone()), Verdict::Unclear(_)));
    assert_eq!(decide_on("size(payload) == 2001 && payload[7] == 1", "a", long), Verdict::Yes);
    let heavy = format!("{{\"l\":[{}1],\"s\":\"{}\"}}", "1,".repeat(1_000), "x".repeat(200_000));
    let Verdict::Unclear(why) = decide_on("payload.l.all(x, payload.s + payload.s != 'y')", "a", heavy) else {
        panic!()
    };
    assert!(why.contains("too much work"), "{why}");
}

#[test]
fn what_is_nested_as_deep_as_it_may_be_is_read_on_a_small_stack() {
    let read = || {
        let deep = format!("{}1{} == {}1{}", "[".repeat(15), "]".repeat(15), "[".repeat(15), "]".repeat(15));
        assert_eq!(decide(&deep), Verdict::Yes);
        assert_eq!(decide(&format!("{}true{}", "(".repeat(32), ")".repeat(32))), Verdict::Yes);
        for open in ["[", "{", "(", "![", "-{", "f("] {
            assert!(When::new(&open.repeat(32)).is_err(), "{open}");
        }
    };
    let small = std::thread::Builder::new().stack_size(1 << 20).spawn(read);
    small.expect("a thread").join().expect("no overflow");
}

#[test]
fn a_long_topic_and_long_lists_cost_no_more_than_they_may() {
    let topic = "a/".repeat(30_000);
    let list = format!("{{\"l\":[{}1]}}", "1,".repeat(1_000));
    let nested = format!("{{\"l\":[{}[1]]}}", "[1],".repeat(1_000));
    for (when, topic, payload) in [
        (
            "payload.l.exists(x, topic_levels[0] == x || topic_levels[1] == x || topic_levels[2] == x)",
            topic.as_str(),
            list.as_str(),
        ),
        ("payload.l.exists(x, topic.matches('(b|c)*d$') || topic.matches('(c|d)*e$'))", topic.as_str(), list.as_str()),
        (
            "payload.l.exists(x, payload.l[0] == [2] || payload.l[1] == [2] || payload.l[2] == [2] || payload.l[3] == [2])",
            "a",
            nested.as_str(),
        ),
    ] {
        let began = std::time::Instant::now();
        assert!(matches!(decide_on(when, topic, payload.to_owned()), Verdict::Unclear(_) | Verdict::No), "{when}");
        // Some milliseconds when optimised; a list that is copied for each lookup would take ten seconds and more.
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{when}: {:?}", began.elapsed());
    }
}

proptest! {
    #[test]
    fn no_expression_and_no_payload_stop_anything(
        when in "[a-z.()'\"<>=!&|?: 0-9\\[\\]{},+*/-]{0,30}|(payload|topic|ts)(\\.[a-z]{1,3}){0,2} ?(==|>|in|\\+) ?(1|'a'|payload)",
        payload in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        match When::new(&when) {
            Ok(when) => {
                let message = Message::new(Topic::new("fw/p7/b").expect("a topic"), payload, QoS::AtMostOnce, false);
                when.decide(&Subject::new(&message, &Topic::new("fw/p7").expect("a topic"), None));
            }
            Err(error) => prop_assert!(when.get(error.at).is_some()),
        }
    }
}
