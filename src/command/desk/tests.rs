//! The desk without a broker and without buses: what goes in, what comes out.

use super::*;
use crate::model::{
    NotSent, Point, PointType, Publish, Quirks, RegisterSource, RegisterTable, Sample, Source, Write, WriteEnd, Written,
};

const NOON: i64 = 1_795_176_000_000;

fn stamp(ms: u64) -> Stamp {
    Stamp {
        monotonic: Monotonic::from_millis(ms),
        since_boot: None,
        wall: Timestamp(NOON + ms.cast_signed()),
        synced: true,
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// `boiler` with the writable `setpoint` (30 to 80) and `pump`, and `flow`, which is read only.
fn desk() -> Desk {
    let point = |text, table, kind, write| {
        let source = Source::Register(RegisterSource::new(table, 0, kind));
        Point { write, ..Point::new(name(text), source) }
    };
    let limits = Write { min: "30".parse().ok(), max: "80".parse().ok(), ..Write::default() };
    let device = Arc::new(Device {
        name: name("boiler"),
        bus: name("bus"),
        unit_id: 1,
        max_registers: 125,
        quirks: Quirks::default(),
        publish: Publish::default(),
        points: vec![
            point("setpoint", RegisterTable::Holding, PointType::U16, Some(limits)),
            point("pump", RegisterTable::Coil, PointType::Bool, Some(Write::default())),
            point("flow", RegisterTable::Input, PointType::U16, None),
        ],
    });
    Desk::new(&Topic::new("fw").unwrap(), [&device].into_iter())
}

fn by() -> Publisher {
    Publisher::Client { id: "hmi".into(), user: None }
}

fn receive(desk: &mut Desk, now: Stamp, topic: &str, payload: &str) -> Decision {
    let message = Message::new(Topic::new(topic).unwrap(), payload.to_owned(), QoS::AtLeastOnce, false);
    desk.receive(now, by(), &message)
}

fn order(decision: Decision) -> Order {
    match decision {
        Decision::Carry(order) => order,
        other => panic!("an order, not {other:?}"),
    }
}

fn result(answer: &Answer) -> serde_json::Value {
    serde_json::from_slice(&answer.message.as_ref().unwrap().payload).unwrap()
}

fn told(decision: Decision) -> serde_json::Value {
    match decision {
        Decision::Tell(answer) => result(&answer),
        other => panic!("an answer, not {other:?}"),
    }
}

fn done(order: &Order, value: i128) -> OrderReport {
    let written = |&(point, _): &(usize, Value)| Written {
        point,
        end: WriteEnd::Acknowledged,
        read_back: Some(Sample::Good(Value::Integer(value))),
        is_as_wanted: true,
    };
    OrderReport { token: order.token, written: order.values.iter().map(written).collect() }
}

#[test]
fn a_command_becomes_an_order_and_its_report_a_result() {
    let mut desk = desk();
    let order = order(receive(&mut desk, stamp(0), "fw/boiler/setpoint/set", r#"{"value":45,"id":"a-1"}"#));
    assert_eq!(order.values, [(0, Value::Decimal(45u16.into()))]);
    assert_eq!(order.until, Monotonic::from_millis(10_000));
    let [answer] = &desk.finish(stamp(20), &done(&order, 45))[..] else { panic!("one answer") };
    let message = answer.message.as_ref().unwrap();
    assert_eq!((message.topic.as_str(), message.retain), ("fw/boiler/setpoint/result", false));
    let expected = r#"{"id":"a-1","status":"done","value":45,"ts":"2026-11-20T12:00:00.020Z"}"#;
    assert_eq!(String::from_utf8_lossy(&message.payload), expected);
    assert_eq!((answer.by.clone(), answer.said.as_str()), (by(), r#"{"value":45,"id":"a-1"}"#));
    assert_eq!(answer.point, Some(name("setpoint")));
}

#[test]
fn what_is_not_allowed_never_becomes_an_order() {
    let mut desk = desk();
    for (topic, payload, error) in [
        ("fw/boiler/setpoint/set", "81", "81 is more than 80, the most that is allowed"),
        ("fw/boiler/setpoint/set", "\"hot\"", "a number is wanted"),
        ("fw/boiler/setpoint/set", "null", "null is no value"),
        ("fw/boiler/pump/set", "1", "true or false is wanted"),
        (
            "fw/boiler/flow/set",
            "1",
            "`flow` is read only; a point with `write: true` in the configuration may be written",
        ),
        ("fw/boiler/valve/set", "1", "`boiler` has no point `valve`"),
        ("fw/oven/set", "{}", "there is no device `oven`"),
        ("fw/boiler/set", "1", "an object of values by point is wanted, such as {\"pump\":true,\"setpoint\":45}"),
        ("fw/boiler/set", "{}", "it names no point"),
        ("fw/boiler/set", r#"{"pump":true,"setpoint":99}"#, "setpoint: 99 is more than 80, the most that is allowed"),
    ] {
        let result = told(receive(&mut desk, stamp(0), topic, payload));
        assert_eq!((&result["status"], &result["error"]), (&"rejected".into(), &error.into()), "{topic} {payload}");
    }
    assert!(desk.running.is_empty());
}

#[test]
fn a_retained_message_is_never_obeyed_and_clearing_it_is_no_command() {
    let mut desk = desk();
    let retained = |payload: &str| {
        Message::new(Topic::new("fw/boiler/setpoint/set").unwrap(), payload.to_owned(), QoS::AtLeastOnce, true)
    };
    assert_eq!(told(desk.receive(stamp(0), by(), &retained("45")))["status"], "rejected");
    assert!(matches!(desk.receive(stamp(0), by(), &retained("")), Decision::Nothing));
    let elsewhere = Message::new(Topic::new("fw/boiler/setpoint").unwrap(), "45", QoS::AtMostOnce, false);
    assert!(matches!(desk.receive(stamp(0), by(), &elsewhere), Decision::Nothing));
}

#[test]
fn a_repeated_id_has_the_first_result_again_and_no_second_order() {
    let mut desk = desk();
    let send = |desk: &mut Desk, ms, payload| receive(desk, stamp(ms), "fw/boiler/setpoint/set", payload);
    let first = order(send(&mut desk, 0, r#"{"value":45,"id":1}"#));
    assert!(matches!(send(&mut desk, 5, r#"{"value":45,"id":1}"#), Decision::Nothing));
    let answers = desk.finish(stamp(20), &done(&first, 45));
    assert_eq!(answers.len(), 2, "each of the two is answered");
    assert_eq!(answers[0].message, answers[1].message);
    assert!(!answers[0].is_repeated && answers[1].is_repeated);
    let again = send(&mut desk, 60_000, r#"{"value":50,"id":1}"#);
    let Decision::Tell(again) = again else { panic!("{again:?}") };
    assert_eq!(again.message, answers[0].message);
    order(receive(&mut desk, stamp(60_000), "fw/boiler/pump/set", r#"{"value":true,"id":1}"#));
    order(send(&mut desk, 600_001, r#"{"value":45,"id":1}"#));
    // Rejections are remembered, too.
    let rejected = told(send(&mut desk, 600_002, r#"{"value":99,"id":2}"#));
    assert_eq!(told(send(&mut desk, 600_003, r#"{"value":45,"id":2}"#)), rejected);
}

#[test]
fn a_command_expires_by_its_own_time_by_its_messages_and_by_waiting() {
    let mut desk = desk();
    let send = |desk: &mut Desk, now, expires: &str| {
        let payload = format!(r#"{{"value":45,"expires":"{expires}"}}"#);
        receive(desk, now, "fw/boiler/setpoint/set", &payload)
    };
    assert_eq!(told(send(&mut desk, stamp(0), "2026-11-20T11:59:59Z"))["status"], "expired");
    assert_eq!(told(send(&mut desk, stamp(0), "2026-11-20T12:00:00Z"))["status"], "expired");
    assert_eq!(told(send(&mut desk, stamp(0), "tomorrow"))["status"], "rejected");
    let soon = order(send(&mut desk, stamp(0), "2026-11-20T13:00:02+01:00"));
    assert_eq!(soon.until, Monotonic::from_millis(2_000));
    assert_eq!(order(send(&mut desk, stamp(0), "2027-01-01T00:00:00Z")).until, Monotonic::from_millis(10_000));
    let unset = Stamp { synced: false, ..stamp(0) };
    assert_eq!(told(send(&mut desk, unset, "2027-01-01T00:00:00Z"))["status"], "rejected");

    let mut message = Message::new(Topic::new("fw/boiler/setpoint/set").unwrap(), "45", QoS::AtMostOnce, false);
    message.properties = Some(Box::new(Properties { message_expiry_s: Some(3), ..Properties::default() }));
    assert_eq!(order(desk.receive(stamp(0), by(), &message)).until, Monotonic::from_millis(3_000));
}

#[test]
fn several_points_have_one_result_that_says_what_became_of_each() {
    let mut desk = desk();
    let payload = r#"{"values":{"pump":true,"setpoint":45},"id":"x"}"#;
    let order = order(receive(&mut desk, stamp(0), "fw/boiler/set", payload));
    assert_eq!(order.values.iter().map(|(point, _)| *point).collect::<Vec<_>>(), [1, 0]);
    let ended = |point, end, read_back: Option<Value>| Written {
        point,
        end,
        is_as_wanted: read_back.is_some(),
        read_back: read_back.map(Sample::Good),
    };
    let report = OrderReport {
        token: order.token,
        written: vec![
            ended(1, WriteEnd::NotSent(NotSent::AfterFailure), None),
            ended(0, WriteEnd::Refused(crate::model::Fault::IllegalValue), None),
        ],
    };
    let [answer] = &desk.finish(stamp(9), &report)[..] else { panic!("one answer") };
    assert_eq!(answer.message.as_ref().unwrap().topic.as_str(), "fw/boiler/result");
    let result = result(answer);
    assert_eq!((&result["status"], &result["id"]), (&"failed".into(), &"x".into()));
    assert!(result["error"].as_str().unwrap().starts_with("setpoint: the device refuses it (illegal_value)"));
    assert!(result["errors"]["pump"].as_str().unwrap().starts_with("not sent"));
    assert_eq!(result["values"], serde_json::json!({}));
}

#[test]
fn a_value_that_the_registers_can_not_hold_rejects_the_whole_command_and_says_why() {
    let mut desk = desk();
    let order = order(receive(&mut desk, stamp(0), "fw/boiler/set", "{\"setpoint\":45,\"pump\":true}"));
    let ended = |(place, (point, _)): (usize, &(usize, Value))| {
        let why = if place == 0 { NotSent::BesideUnfit } else { NotSent::Unfit("it does not fit".into()) };
        Written { point: *point, end: WriteEnd::NotSent(why), read_back: None, is_as_wanted: false }
    };
    let written = order.values.iter().enumerate().map(ended).collect();
    let answers = desk.finish(stamp(1), &OrderReport { token: order.token, written });
    let result = result(&answers[0]);
    assert_eq!(result["status"], "rejected");
    assert_eq!(result["error"], "pump: it does not fit");
}

#[test]
fn a_bus_that_takes_no_more_and_a_gateway_that_stops_are_told() {
    let mut desk = desk();
    let mut send = || order(receive(&mut desk, stamp(0), "fw/boiler/setpoint/set", "45")).token;
    let (full, gone, left) = (send(), send(), send());
    let status = |answers: Vec<Answer>| result(&answers[0])["status"].clone();
    assert_eq!(status(desk.refuse(stamp(0), full, Refusal::Full(1_000))), "rejected");
    assert_eq!(status(desk.refuse(stamp(0), gone, Refusal::Gone)), "failed");
    assert_eq!(status(desk.abandon(stamp(0))), "unknown");
    assert!(desk.finish(stamp(0), &OrderReport { token: left, written: vec![] }).is_empty());
}

#[test]
fn the_correlation_data_of_a_command_comes_back_with_its_result() {
    let mut desk = desk();
    let mut message = Message::new(Topic::new("fw/boiler/setpoint/set").unwrap(), "99", QoS::AtMostOnce, false);
    let correlation_data = Some(Bytes::from_static(b"c-7"));
    message.properties =
        Some(Box::new(Properties { correlation_data: correlation_data.clone(), ..Properties::default() }));
    let Decision::Tell(answer) = desk.receive(stamp(0), by(), &message) else { panic!("an answer") };
    assert_eq!(answer.message.unwrap().properties.unwrap().correlation_data, correlation_data);
}

#[test]
fn a_message_that_has_expired_by_its_own_interval_is_not_obeyed() {
    let mut desk = desk();
    let mut message = Message::new(Topic::new("fw/boiler/pump/set").unwrap(), "true", QoS::AtLeastOnce, false);
    message.properties = Some(Box::new(Properties { message_expiry_s: Some(0), ..Properties::default() }));
    let told = match desk.receive(stamp(5), by(), &message) {
        Decision::Tell(answer) => result(&answer),
        other => panic!("{other:?}"),
    };
    assert_eq!(told["status"], "expired", "{told}");
}

#[test]
fn an_id_that_is_written_another_way_is_the_same_id() {
    let mut desk = desk();
    let first = order(receive(&mut desk, stamp(0), "fw/boiler/setpoint/set", r#"{"value":45,"id":1}"#));
    let again = receive(&mut desk, stamp(1), "fw/boiler/setpoint/set", r#"{"value":45,"id":1.0}"#);
    assert!(matches!(again, Decision::Nothing), "{again:?}");
    assert_eq!(desk.finish(stamp(2), &done(&first, 45)).len(), 2);
    let third = receive(&mut desk, stamp(3), "fw/boiler/setpoint/set", r#"{"value":45,"id":"1"}"#);
    assert!(matches!(third, Decision::Carry(_)), "a text is no number: {third:?}");
}
