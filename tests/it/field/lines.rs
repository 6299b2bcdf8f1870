//! Lines of text: scales, GPS receivers, instruments and barcode readers.

use std::time::Duration;

use fieldway::model::Fault;

use super::vanishing::Cable;
use super::{Bench, Field, read_until, say, stamps};

fn scale(port: u16, device: &str) -> String {
    format!(
        r#"
buses:
  scale: {{ tcp: "127.0.0.1:{port}", protocol: lines, delimiter: "\r\n", timeout: 200ms }}
devices:
  weighbridge:
    bus: scale
    {device}
    points:
      weight: {{ match: '^ST,GS,\s*(?<value>[+-]?\s*[0-9.]+)\s*kg', type: f64, unit: kg }}
"#
    )
}

#[tokio::test]
async fn every_line_of_a_scale_is_a_reading_as_it_comes_and_other_lines_are_none() {
    let bench = Bench::new().await;
    let mut field = Field::start(&scale(bench.port, "max_age: 1m"));
    let mut far = bench.connection().await;
    // Two within a moment, one in pieces, one of another kind, one damaged.
    say(&mut far, "ST,GS,+  12.50kg\r\nST,GS,+  12.60kg\r\nUS,GS,+ 13.00kg\r\nST,GS,+").await;
    assert_eq!(field.readings(2).await, ["weight=12.50", "weight=12.60"]);
    say(&mut far, "   0.10 kg\r\nST,GS,+ ..  kg\r\n").await;
    assert_eq!(field.readings(2).await, ["weight=0.10", "weight=!not_a_number"]);
    field.stop().await;
}

#[tokio::test]
async fn a_serial_port_that_is_opened_in_mid_line_gives_no_half_of_a_number() {
    let bench = Bench::new().await;
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("scale");
    let _cable = Cable::plug_in(&port, bench.port);
    let mut far = bench.connection().await;
    let mut field = Field::start(&format!(
        "buses: {{ scale: {{ serial: '{}', protocol: lines }} }}\n\
         devices: {{ weighbridge: {{ bus: scale, max_age: 1m, points: {{ weight: {{ match: '^[0-9.]+' }} }} }} }}\n",
        port.display()
    ));
    // The scale does not pause, so the port is opened somewhere in 112.50.
    let speaking = tokio::spawn(async move {
        loop {
            say(&mut far, "50\r\n112.").await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert_eq!(field.readings(3).await, ["weight=112.50"; 3]);
    speaking.abort();
    field.stop().await;
}

#[tokio::test]
async fn a_value_that_is_not_heard_in_time_is_bad_once_and_no_old_value_gets_a_new_time() {
    let bench = Bench::new().await;
    let mut field = Field::start(&scale(bench.port, "max_age: 400ms"));
    let mut far = bench.connection().await;
    say(&mut far, "ST,GS,+ 1.0kg\r\n").await;
    let good = field.round().await;
    assert_eq!(super::shown(&good), ["weight=1.0"]);
    assert_eq!(field.until_online(false).await, Some(Fault::Timeout));
    let bad = field.round().await;
    assert_eq!(super::shown(&bad), ["weight=!timeout"]);
    let age = stamps(&bad)[0].monotonic.since(stamps(&good)[0].monotonic);
    assert!(age >= Duration::from_millis(400) && age < Duration::from_secs(5), "{age:?}");
    // Nothing more until it speaks again.
    let more = tokio::time::timeout(Duration::from_millis(900), field.next()).await;
    assert!(more.is_err(), "{more:?}");
    say(&mut far, "ST,GS,+ 2.0kg\r\n").await;
    assert_eq!(field.until_online(true).await, None);
    assert_eq!(field.readings(1).await, ["weight=2.0"]);
    field.stop().await;
}

#[tokio::test]
async fn an_endless_line_is_passed_over_and_counted_and_the_next_one_is_read() {
    let bench = Bench::new().await;
    let mut field = Field::start(&scale(bench.port, "max_age: 1m"));
    let mut far = bench.connection().await;
    for _ in 0..64 {
        say(&mut far, [b'x'; 16 << 10]).await;
    }
    say(&mut far, "\r\nST,GS,+ 3.0kg\r\n").await;
    assert_eq!(field.readings(1).await, ["weight=3.0"]);
    assert_eq!(field.status.borrow().damaged, 1);
    field.stop().await;
}

#[tokio::test]
async fn garbage_alone_is_said_to_be_the_reason() {
    let bench = Bench::new().await;
    let yaml = format!(
        r#"
buses: {{ gps: {{ tcp: "127.0.0.1:{}", protocol: lines, checksum: nmea }} }}
devices:
  position:
    bus: gps
    max_age: 500ms
    points:
      satellites: {{ nmea: {{ sentence: GGA, field: 7 }}, type: u8 }}
      altitude: {{ nmea: {{ sentence: GGA, field: 9 }}, unit: m }}
      latitude: {{ nmea: {{ sentence: GGA, field: 2, degrees: true }} }}
      dgps_age: {{ nmea: {{ sentence: GGA, field: 13 }} }}
"#,
        bench.port
    );
    let mut field = Field::start(&yaml);
    let mut far = bench.connection().await;
    let good = "$GPGGA,092750.000,5321.6802,N,00630.3372,W,1,8,1.03,61.7,M,55.2,M,,*76\r\n";
    say(&mut far, good).await;
    assert_eq!(
        field.readings(4).await,
        ["satellites=8", "altitude=61.7", "latitude=53.36133667", "dgps_age=!sentinel"]
    );
    // One digit of another altitude: no reading, and the reason once it is overdue.
    say(&mut far, good.replace("61.7", "61.8")).await;
    assert_eq!(field.until_online(false).await, Some(Fault::Crc));
    let bad = field.readings(4).await;
    assert!(bad.iter().all(|reading| reading.ends_with("=!crc")), "{bad:?}");
    field.stop().await;
}

#[tokio::test]
async fn only_the_latest_line_of_an_interval_counts_when_that_is_wanted() {
    let bench = Bench::new().await;
    let mut field = Field::start(&scale(bench.port, "latest_every: 500ms"));
    let mut far = bench.connection().await;
    for n in 0..50 {
        say(&mut far, format!("ST,GS,+ {n}.0kg\r\n")).await;
    }
    assert_eq!(field.readings(2).await, ["weight=0.0", "weight=49.0"]);
    field.stop().await;
}

#[tokio::test]
async fn a_barcode_reader_without_line_ends_is_cut_by_pauses() {
    let bench = Bench::new().await;
    let yaml = format!(
        r#"
buses: {{ scanner: {{ tcp: "127.0.0.1:{}", protocol: lines, idle: 60ms }} }}
devices:
  door: {{ bus: scanner, max_age: never, points: {{ code: {{ match: ".+", type: string }} }} }}
"#,
        bench.port
    );
    let mut field = Field::start(&yaml);
    let mut far = bench.connection().await;
    say(&mut far, "40063").await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    say(&mut far, "81333931").await;
    assert_eq!(field.readings(1).await, ["code=\"4006381333931\""]);
    say(&mut far, "A-7").await;
    assert_eq!(field.readings(1).await, ["code=\"A-7\""]);
    field.stop().await;
}

/// A multimeter with two questions, and a device beside it that speaks unasked.
fn multimeter(port: u16) -> String {
    format!(
        r#"
buses: {{ lab: {{ tcp: "127.0.0.1:{port}", protocol: lines, delimiter: "\n", timeout: 300ms, retries: 0 }} }}
devices:
  dmm:
    bus: lab
    poll: 200ms
    points:
      voltage: {{ request: "MEAS:VOLT?\n", invalid: [9.9E37] }}
      current: {{ request: "MEAS:CURR?\n", scale: 1000, unit: mA }}
  bell: {{ bus: lab, max_age: never, points: {{ rings: {{ match: 'BELL (?<value>[0-9]+)', type: u64 }} }} }}
"#
    )
}

#[tokio::test]
async fn an_instrument_is_asked_for_each_point_and_what_comes_between_is_not_lost() {
    let bench = Bench::new().await;
    let mut field = Field::start(&multimeter(bench.port));
    let mut far = bench.connection().await;
    assert_eq!(read_until(&mut far, b"\n").await, b"MEAS:VOLT?\n");
    say(&mut far, "BELL 7\n+4.98700000E+00\n").await;
    assert_eq!(read_until(&mut far, b"\n").await, b"MEAS:CURR?\n");
    say(&mut far, "MEAS:CURR?\r\n-1.25E-03\r\n").await;
    let mut readings = field.readings(3).await;
    readings.sort();
    assert_eq!(readings, ["current=-1.25000", "rings=7", "voltage=4.98700000"].map(String::from));
    read_until(&mut far, b"VOLT?\n").await;
    say(&mut far, "+9.90000000E+37\n").await;
    read_until(&mut far, b"CURR?\n").await;
    say(&mut far, "0\n").await;
    assert_eq!(field.readings(2).await, ["voltage=!sentinel", "current=0"]);
    field.stop().await;
}

#[tokio::test]
async fn a_late_answer_is_never_taken_for_the_answer_to_another_question() {
    let bench = Bench::new().await;
    let mut field = Field::start(&multimeter(bench.port));
    // Whatever is asked is answered half a second later, beyond the timeout.
    let serve = tokio::spawn(async move {
        let mut far = bench.connection().await;
        loop {
            let asked = read_until(&mut far, b"\n").await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            say(&mut far, if asked.starts_with(b"MEAS:VOLT") { "230\n" } else { "0.005\n" }).await;
        }
    });
    let deadline = tokio::time::Instant::now() + Duration::from_secs(6);
    let mut seen = Vec::new();
    while let Ok(readings) = tokio::time::timeout_at(deadline, field.readings(1)).await {
        seen.extend(readings);
    }
    assert!(!seen.is_empty());
    let right = ["voltage=230", "current=5.000", "voltage=!timeout", "current=!timeout"];
    assert!(seen.iter().all(|reading| right.contains(&reading.as_str())), "{seen:?}");
    serve.abort();
    field.stop().await;
}

#[tokio::test]
async fn one_answer_gives_several_points_and_one_that_is_missing_spoils_no_other() {
    let bench = Bench::new().await;
    let yaml = format!(
        r#"
buses: {{ lab: {{ tcp: "127.0.0.1:{}", protocol: lines, timeout: 300ms }} }}
devices:
  climate:
    bus: lab
    request: "R\r\n"
    poll: 200ms
    match: '^T(?<temperature>[-0-9,]+) H(?<humidity>[0-9,]*) (?<mode>[0-9])'
    points:
      temperature: {{ decimal: comma }}
      humidity: {{ decimal: comma }}
      mode: {{ type: u8, enum: {{ 0: "off", 1: auto }} }}
      pressure: {{ match: '^P(?<value>[0-9]+)' }}
"#,
        bench.port
    );
    let mut field = Field::start(&yaml);
    let mut far = bench.connection().await;
    read_until(&mut far, b"R\r\n").await;
    say(&mut far, "T-3,50 H41,2 1\r\nP1013\r\n").await;
    assert_eq!(field.readings(4).await, ["temperature=-3.50", "humidity=41.2", "mode=\"auto\"", "pressure=1013"]);
    read_until(&mut far, b"R\r\n").await;
    say(&mut far, "T20,0 H 7\r\n").await;
    assert_eq!(
        field.readings(4).await,
        ["temperature=20.0", "humidity=!not_a_number", "mode=!not_in_enum", "pressure=!framing"]
    );
    field.stop().await;
}
