//! Frames of bytes: sensors that send by themselves and meters that are asked.

use std::time::Duration;

use fieldway::driver::serial::checksum;
use fieldway::model::{ChecksumKind, Crc, Fault};
use tokio::io::AsyncReadExt;

use super::{Bench, Field, say};

fn sealed(kind: ChecksumKind, content: &[u8], is_little: bool) -> Vec<u8> {
    let sum = checksum(kind, content).to_be_bytes();
    let mut sum = sum[4 - kind.width()..].to_vec();
    if is_little {
        sum.reverse();
    }
    [content, &sum].concat()
}

#[tokio::test]
async fn a_laser_sensor_is_read_through_garbage_and_damaged_frames() {
    let bench = Bench::new().await;
    let yaml = format!(
        r#"
buses:
  laser: {{ tcp: "127.0.0.1:{}", protocol: frames, frame: {{ start: 59 59, length: 9, checksum: sum8 }} }}
devices:
  distance:
    bus: laser
    max_age: 700ms
    points:
      distance: {{ at: 2, type: u16, byte_order: DCBA, scale: 0.01, unit: m }}
      strength: {{ at: 4, type: u16, byte_order: DCBA, invalid: [0xFFFF] }}
"#,
        bench.port
    );
    let mut field = Field::start(&yaml);
    let mut far = bench.connection().await;
    // 59 59, distance 300 cm, strength 100, temperature, their sum.
    let good = sealed(ChecksumKind::Sum8, &[0x59, 0x59, 0x2C, 0x01, 0x64, 0x00, 0, 0], false);
    let mut bad = good.clone();
    bad[2] = 0x2D;
    say(&mut far, [&[0x59, 0x00, 0xFF][..], &good[3..], &good, &bad, &good[..5], &good].concat()).await;
    assert_eq!(field.readings(4).await, ["distance=3.00", "strength=100", "distance=3.00", "strength=100"]);
    // Only damaged ones from now on.
    say(&mut far, &bad).await;
    assert_eq!(field.until_online(false).await, Some(Fault::Crc));
    assert_eq!(field.readings(2).await, ["distance=!crc", "strength=!crc"]);
    field.stop().await;
}

#[tokio::test]
async fn a_meter_is_asked_and_its_answer_checked() {
    let bench = Bench::new().await;
    let yaml = format!(
        r#"
buses:
  pzem:
    tcp: "127.0.0.1:{}"
    protocol: frames
    timeout: 200ms
    retries: 0
    frame: {{ start: F8, length: {{ at: 2, add: 5 }}, checksum: crc16-modbus }}
devices:
  meter:
    bus: pzem
    request: F8 04 00 00 00 0A 64 64
    match: F8 04
    poll: 300ms
    byte_order: CDAB
    points:
      voltage: {{ at: 3, type: u16, byte_order: ABCD, scale: 0.1, unit: V }}
      current: {{ at: 5, type: u32, scale: 0.001, unit: A }}
      beyond: {{ at: 30, type: u16, byte_order: ABCD }}
"#,
        bench.port
    );
    let mut field = Field::start(&yaml);
    let mut far = bench.connection().await;
    let data = [0x08, 0xFC, 0x04, 0xD2, 0x00, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let answer = sealed(ChecksumKind::Crc(Crc::Modbus), &[&[0xF8, 0x04, 20][..], &data].concat(), true);
    let mut request = [0; 8];
    far.read_exact(&mut request).await.unwrap();
    assert_eq!(request, [0xF8, 0x04, 0, 0, 0, 0x0A, 0x64, 0x64]);
    // The adapter says what it was sent, and then there is noise.
    say(&mut far, [&request[..], &[0xF8, 0xF8, 0x00], &answer].concat()).await;
    assert_eq!(field.readings(3).await, ["voltage=230.0", "current=1.234", "beyond=!framing"]);
    let mut wrong = answer.clone();
    wrong[4] ^= 1;
    for _ in 0..3 {
        far.read_exact(&mut request).await.unwrap();
        say(&mut far, &wrong).await;
    }
    assert_eq!(field.until_online(false).await, Some(Fault::Crc));
    tokio::time::timeout(Duration::from_secs(5), far.read_exact(&mut request)).await.unwrap().unwrap();
    say(&mut far, &answer).await;
    assert_eq!(field.until_online(true).await, None);
    field.stop().await;
}
