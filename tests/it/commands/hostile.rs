//! What is sent by mistake or on purpose: each has its result, and nothing of it reaches the device.

use super::*;

#[tokio::test]
async fn nothing_that_is_not_exactly_allowed_is_ever_written() {
    let mut plant = Plant::start("60s").await;
    let deep = format!("{}45{}", "[".repeat(20_000), "]".repeat(20_000));
    let deep_object = format!("{}45{}", r#"{"value":"#.repeat(5_000), "}".repeat(5_000));
    let huge = "x".repeat(1_000_000);
    let many_digits = "4".repeat(5_000);
    let many_keys: String = (0..3_000).map(|n| format!("\"k{n}\":{n},")).collect();
    let many_keys = format!("{{{many_keys}\"value\":45}}");
    let table: Vec<(&str, &[u8], &str)> = vec![
        // malformed
        ("setpoint", b"", "rejected"),
        ("setpoint", b" ", "rejected"),
        ("setpoint", b"forty-five", "rejected"),
        ("setpoint", b"45 46", "rejected"),
        ("setpoint", b"{\"value\":45", "rejected"),
        ("setpoint", b"{\"value\":45}}", "rejected"),
        ("setpoint", b"{value:45}", "rejected"),
        ("setpoint", b"'45'", "rejected"),
        ("setpoint", b"045", "rejected"),
        ("setpoint", b"+45", "rejected"),
        ("setpoint", b"0x2D", "rejected"),
        ("setpoint", b"4,5", "rejected"),
        ("setpoint", b"\xFF\xFE45", "rejected"),
        ("setpoint", b"45\0", "rejected"),
        ("setpoint", b"\xEF\xBB\xBF45", "rejected"),
        ("name", b"\"\xC3\x28\"", "rejected"),
        ("name", b"\"\\ud800\"", "rejected"),
        // huge and deep
        ("setpoint", huge.as_bytes(), "rejected"),
        ("setpoint", deep.as_bytes(), "rejected"),
        ("setpoint", deep_object.as_bytes(), "rejected"),
        ("setpoint", many_digits.as_bytes(), "rejected"),
        ("setpoint", many_keys.as_bytes(), "rejected"),
        ("setpoint", b"1e999999999999", "rejected"),
        ("setpoint", b"-1e-999999999999", "rejected"),
        ("speed", b"1e400", "rejected"),
        // no value, or not of its kind
        ("setpoint", b"null", "rejected"),
        ("setpoint", b"NaN", "rejected"),
        ("setpoint", b"Infinity", "rejected"),
        ("setpoint", b"[45]", "rejected"),
        ("setpoint", b"{}", "rejected"),
        ("setpoint", b"\"45\"", "rejected"),
        ("setpoint", b"true", "rejected"),
        ("setpoint", b"{\"value\":null}", "rejected"),
        ("setpoint", b"{\"value\":{\"value\":45}}", "rejected"),
        ("level", b"NaN", "rejected"),
        ("level", b"\"NaN\"", "rejected"),
        ("level", b"3.5e38", "rejected"),
        ("pump", b"1", "rejected"),
        ("pump", b"\"true\"", "rejected"),
        ("pump", b"ON", "rejected"),
        ("flags", b"{\"nosuch\":true}", "rejected"),
        ("flags", b"{\"low\":1}", "rejected"),
        ("flags", b"{\"low\":true,\"low\":false}", "rejected"),
        ("flags", b"5", "rejected"),
        ("mode", b"1", "rejected"),
        ("mode", b"\"turbo\"", "rejected"),
        ("mode", b"\"AUTO\"", "rejected"),
        ("key", b"\"zz00ff00\"", "rejected"),
        // out of range
        ("setpoint", b"29.5", "rejected"),
        ("setpoint", b"80.5", "rejected"),
        ("setpoint", b"29.99999999999999999999999999999", "rejected"),
        ("setpoint", b"45.3", "rejected"),
        ("setpoint", b"-45", "rejected"),
        ("speed", b"65536", "rejected"),
        ("speed", b"-1", "rejected"),
        ("speed", b"0.5", "rejected"),
        // not writable, or not there
        ("flow", b"1", "rejected"),
        ("nosuch", b"1", "rejected"),
        // envelopes
        ("setpoint", b"{\"value\":45,\"value\":46}", "rejected"),
        ("setpoint", b"{\"valeu\":45}", "rejected"),
        ("setpoint", b"{\"value\":45,\"force\":true}", "rejected"),
        ("setpoint", b"{\"id\":\"x\"}", "rejected"),
        ("setpoint", b"{\"value\":45,\"id\":[]}", "rejected"),
        ("setpoint", b"{\"value\":45,\"expires\":1}", "rejected"),
        ("setpoint", b"{\"value\":45,\"expires\":\"soon\"}", "rejected"),
        // late
        ("setpoint", b"{\"value\":45,\"expires\":\"2026-01-01T00:00:00Z\"}", "expired"),
        ("setpoint", b"{\"value\":45,\"expires\":\"1970-01-01T00:00:00+01:00\"}", "expired"),
    ];
    for (point, payload, status) in table {
        let result = plant.send(&format!("fw/boiler/{point}/set"), payload, false).await;
        let shown = String::from_utf8_lossy(&payload[..payload.len().min(60)]).into_owned();
        assert_eq!(result["status"], status, "{point} {shown}: {result}");
        let error = result["error"].as_str().unwrap_or_default();
        assert!(!error.is_empty() && error.len() < 400, "{point} {shown}: {result}");
    }
    for (topic, payload) in [
        ("fw/boiler/set", "45"),
        ("fw/boiler/set", "{}"),
        ("fw/boiler/set", r#"{"setpoint":45,"nosuch":1}"#),
        ("fw/boiler/set", r#"{"setpoint":45,"flow":1}"#),
        ("fw/boiler/set", r#"{"flags":{"low":true},"flags":{"low":false}}"#),
        ("fw/boiler/set", r#"{"values":{"setpoint":45},"value":{"setpoint":45}}"#),
        ("fw/oven/set", r#"{"setpoint":45}"#),
        ("fw/oven/setpoint/set", "45"),
    ] {
        assert_eq!(plant.send(topic, payload, false).await["status"], "rejected", "{topic} {payload}");
    }
    // Retained: published as such, and found by nobody who comes later.
    let retained = plant.send("fw/boiler/setpoint/set", "45", true).await;
    assert_eq!(retained["status"], "rejected", "{retained}");
    // Taking it away is no command.
    plant.client.publish("fw/boiler/setpoint/set", "", QoS::AtMostOnce, true).await;
    // Not a command at all, though it looks like one.
    for topic in
        ["fw/boiler/setpoint", "fw/boiler/setpoint/Set", "fw/boiler/setpoint/set/", "other/boiler/setpoint/set"]
    {
        plant.client.publish(topic, "45", QoS::AtMostOnce, false).await;
    }
    // Whatever came before, what is right is done.
    assert_eq!(plant.set("setpoint", "45").await["status"], "done");
    assert_eq!(plant.writes(), [(6, 1, vec![450])]);
    let (status, log) = plant.gateway.stop();
    assert!(status.success() && !log.contains("WARN") && !log.contains("ERROR"), "{log}");
    let told = log.matches("a command was rejected").count();
    assert!((1..=20).contains(&told), "{told} rejections fill the log");
}

#[tokio::test]
async fn a_retained_command_is_not_obeyed_by_a_gateway_that_starts_later() {
    let plant = Plant::start("60s").await;
    let Plant { device, gateway, address, folder, .. } = plant;
    let mut sender = connect(address, "sender").await;
    sender.publish_acked("fw/boiler/speed/set", "77", true).await;
    let (_, log) = gateway.stop();
    let again = Plant::gateway(folder.path(), address.port(), device.port(), "60s", "");
    let mut client = connect(address, "later").await;
    client.subscribe("fw/boiler", QoS::AtMostOnce).await;
    client.message().await;
    assert_eq!(device.take_writes(), [], "{log}");
    drop(again);
}

#[tokio::test]
async fn a_will_may_be_a_command_and_is_told_as_its_clients() {
    let mut plant = Plant::start("60s").await;
    let will = Message::new(Topic::new("fw/boiler/pump/set").unwrap(), "false", QoS::AtLeastOnce, false);
    let connect =
        Connect { will: Some(Box::new(Will { message: will, delay_s: 0 })), ..Connect::new(Version::V5, "watchdog") };
    let leaving = Client::connect(plant.address, connect).await;
    drop(leaving);
    assert_eq!(plant.hear("fw/boiler/pump/result").await["status"], "done");
    let (_, log) = plant.gateway.stop();
    assert!(log.lines().any(|line| line.contains("a command to write") && line.contains("client watchdog")), "{log}");
}
