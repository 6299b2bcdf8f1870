//! Devices that refuse, lose, clamp, dawdle and die: a write goes out once, and its result says what is known.

use super::*;

#[tokio::test]
async fn the_result_says_what_is_known_and_no_write_goes_out_twice() {
    let mut plant = Plant::start("60s").await;
    plant.device.set_holding(2, 7);
    for (mood, status, value) in [
        (Mood::Refuses(1), "failed", None),
        (Mood::Refuses(2), "failed", None),
        (Mood::Refuses(3), "failed", None),
        (Mood::Refuses(6), "failed", None),
        (Mood::Refuses(10), "failed", None),
        // Nobody knows whether it was done, so the device is asked.
        (Mood::Refuses(4), "failed", Some(7)),
        (Mood::Refuses(5), "failed", Some(7)),
        (Mood::Refuses(11), "failed", Some(7)),
        (Mood::LosesWrites, "failed", Some(7)),
        (Mood::LosesAnswers, "done", Some(500)),
        (Mood::Clamps(450), "failed", Some(450)),
        (Mood::IsSlow(Duration::from_millis(60)), "done", Some(500)),
        (Mood::Dies, "unknown", None),
        (Mood::OnlyMultiple, "done", Some(500)),
    ] {
        plant.device.set_holding(2, 7);
        plant.device.set_mood(mood);
        plant.writes();
        let result = plant.set("speed", r#"{"value":500}"#).await;
        assert_eq!(result["status"], status, "{mood:?}: {result}");
        assert_eq!(result.get("value"), value.map(Value::from).as_ref(), "{mood:?}: {result}");
        assert_eq!(result["error"].is_null(), status == "done", "{mood:?}: {result}");
        let writes = plant.writes();
        let once: &[(u8, u16, Vec<u16>)] = match mood {
            // Refused because it is unknown, so another function says the same for the first time.
            Mood::OnlyMultiple | Mood::Refuses(1) => &[(6, 2, vec![500]), (16, 2, vec![500])],
            _ => &[(6, 2, vec![500])],
        };
        assert_eq!(writes, once, "{mood:?}");
    }
    // From now on it is asked with the function that it knows.
    plant.device.set_mood(Mood::OnlyMultiple);
    assert_eq!(plant.status("speed", "501").await, "done");
    assert_eq!(plant.writes(), [(16, 2, vec![501])]);
}

#[tokio::test]
async fn a_point_that_is_never_read_is_done_when_the_device_says_so() {
    let mut plant = Plant::start("60s").await;
    let result = plant.set("reset", "1").await;
    assert_eq!((&result["status"], result.get("value")), (&json!("done"), None), "{result}");
    plant.device.set_mood(Mood::LosesAnswers);
    assert_eq!(plant.status("reset", "1").await, "unknown");
    assert_eq!(plant.writes(), [(6, 50, vec![1]), (6, 50, vec![1])]);
}

#[tokio::test]
async fn a_device_that_is_offline_is_told_at_once() {
    let mut plant = Plant::start("100ms").await;
    plant.device.set_mood(Mood::Mute);
    while plant.hear("fw/boiler/availability").await != "offline" {}
    let sent = Instant::now();
    let result = plant.set("speed", "5").await;
    assert_eq!(result["status"], "failed");
    assert!(result["error"].as_str().unwrap().contains("the device is offline (timeout)"), "{result}");
    assert!(sent.elapsed() < Duration::from_secs(1), "{:?}", sent.elapsed());
    assert_eq!(plant.writes(), []);
    plant.device.set_mood(Mood::Well);
    while plant.hear("fw/boiler/availability").await != "online" {}
    assert_eq!(plant.status("speed", "5").await, "done");
}

#[tokio::test]
async fn a_stop_finishes_the_write_that_has_begun_and_tells_the_others() {
    let mut plant = Plant::start("60s").await;
    plant.device.set_mood(Mood::LosesAnswers);
    for n in 0..3 {
        plant.client.publish("fw/boiler/speed/set", n.to_string(), QoS::AtLeastOnce, false).await;
    }
    // Acknowledged, so the commands are with the gateway; the first write waits for its answer.
    let mut acknowledged = 0;
    while acknowledged < 3 {
        acknowledged += i32::from(matches!(plant.client.receive().await, Some(Packet::PubAck(_))));
    }
    plant.gateway.signal("TERM");
    let mut results = Vec::new();
    while results.len() < 3 {
        results.push(plant.hear("fw/boiler/speed/result").await["status"].to_string());
    }
    results.sort();
    assert_eq!(results, ["\"done\"", "\"failed\"", "\"failed\""], "the first is read back, the others were never sent");
    assert_eq!(plant.writes(), [(6, 2, vec![0])]);
    let (status, log) = plant.gateway.ended();
    assert!(status.success(), "{log}");
}

#[tokio::test]
async fn a_device_that_knows_function_23_is_written_and_read_in_one_request() {
    let mut plant = Plant::start_with("60s", "    write_and_read: true\n").await;
    assert_eq!(plant.set("counter", "7").await["value"], json!(7));
    assert_eq!(plant.writes(), [(23, 10, vec![0, 0, 0, 7])]);
    plant.device.set_mood(Mood::Clamps(450));
    let result = plant.set("speed", "500").await;
    assert_eq!((&result["status"], &result["value"]), (&json!("failed"), &json!(450)));
    plant.device.set_mood(Mood::OnlyMultiple);
    plant.writes();
    // It does not know it after all: nothing was done, so it is written in another way, and from now on at once.
    assert_eq!(plant.status("speed", "501").await, "done");
    assert_eq!(plant.status("speed", "502").await, "done");
    assert_eq!(plant.writes(), [(6, 2, vec![501]), (16, 2, vec![501]), (16, 2, vec![502])]);
}
