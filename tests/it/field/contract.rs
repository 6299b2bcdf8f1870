//! What every driver of the table owes its bus, whatever it speaks: each is taken through the same troubles.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use fieldway::clock::Clock;
use fieldway::driver::modbus::frames::{ascii_frame, crc16};
use fieldway::driver::{self, serial};
use fieldway::model::{ChecksumKind, Crc, Fault, Protocol, Sample};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Field, parsed};

/// How the device behaves just now.
const GOOD: u8 = 0;
const SILENT: u8 = 1;
const GARBAGE: u8 = 2;
/// Half an answer, then it hangs up.
const CUT: u8 = 3;
/// Answers after 300 ms.
const SLOW: u8 = 4;

/// Three points: `low` holds 10, `high` 90, and the one between them can't be read.
fn yaml(protocol: Protocol, port: u16) -> String {
    let bus = |more: &str| {
        format!(
            "buses: {{ b: {{ tcp: '127.0.0.1:{port}', protocol: {}, timeout: 150ms, retries: 0{more} }} }}\n",
            protocol.as_str()
        )
    };
    let device = |points: &str| format!("devices: {{ d: {{ bus: b, poll: 150ms, {points} }} }}\n");
    match protocol {
        Protocol::ModbusRtu | Protocol::ModbusAscii | Protocol::ModbusTcp => {
            bus(", max_gap: 0")
                + &device("unit_id: 7, points: { low: { holding: 10 }, bad: { holding: 50 }, high: { holding: 90 } }")
        }
        Protocol::Lines => {
            bus(", delimiter: \"\\n\"")
                + &device(
                    r#"points: { low: { request: "?10\n" }, bad: { request: "?50\n" }, high: { request: "?90\n" } }"#,
                )
        }
        Protocol::Frames => {
            bus(", frame: { start: 5A, length: { at: 1 }, checksum: crc16-modbus }")
                + &device(
                    "points: { low: { request: A5 0A, at: 2, type: u8 }, bad: { request: A5 32, at: 20, type: u8 }, \
                     high: { request: A5 5A, at: 2, type: u8 } }",
                )
        }
    }
}

/// The next whole request in what was received: which point it asks for, and its answer.
fn answer(protocol: Protocol, received: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let len = match protocol {
        Protocol::ModbusRtu => 8,
        Protocol::ModbusTcp => 12,
        Protocol::Frames => 2,
        Protocol::ModbusAscii | Protocol::Lines => received.iter().position(|byte| *byte == b'\n')? + 1,
    };
    if received.len() < len {
        return None;
    }
    let request: Vec<u8> = received.drain(..len).collect();
    let pdu = |address: u8| if address == 50 { vec![0x83, 2] } else { vec![3, 2, 0, address] };
    let hex = |at: usize| u8::from_str_radix(std::str::from_utf8(&request[at..at + 2]).unwrap(), 16).unwrap();
    Some(match protocol {
        Protocol::ModbusRtu => {
            let content = [&[request[0]][..], &pdu(request[3])].concat();
            (request[3], [&content[..], &crc16(&content).to_le_bytes()].concat())
        }
        Protocol::ModbusAscii => (hex(7), ascii_frame(hex(1), &pdu(hex(7)))),
        Protocol::ModbusTcp => {
            let pdu = pdu(request[9]);
            (request[9], [&request[..4], &[0, pdu.len() as u8 + 1, request[6]], &pdu].concat())
        }
        Protocol::Lines => {
            let asked = String::from_utf8(request).unwrap();
            let asked = asked.trim_start_matches('?');
            let text = if asked.trim() == "50" { "ERR\n" } else { asked };
            (asked.trim().parse().unwrap(), text.as_bytes().to_vec())
        }
        Protocol::Frames => {
            let content = [0x5A, 6, request[1], 0];
            let sum = serial::checksum(ChecksumKind::Crc(Crc::Modbus), &content) as u16;
            (request[1], [&content[..], &sum.to_le_bytes()].concat())
        }
    })
}

/// Plays the device, one connection after the other.
async fn play(protocol: Protocol, mode: Arc<AtomicU8>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            // An error is the gateway's hanging up.
            tokio::spawn(connection(stream, protocol, Arc::clone(&mode)));
        }
    });
    port
}

async fn connection(mut stream: TcpStream, protocol: Protocol, mode: Arc<AtomicU8>) -> std::io::Result<()> {
    let (mut received, mut buffer) = (Vec::new(), [0; 256]);
    loop {
        if mode.load(Ordering::SeqCst) == GARBAGE {
            stream.write_all(b"\x55\x03\xAA:0\x5A\xFF,").await?;
        }
        let Ok(read) = tokio::time::timeout(Duration::from_millis(2), stream.read(&mut buffer)).await else { continue };
        match read? {
            0 => return Ok(()),
            count => received.extend_from_slice(&buffer[..count]),
        }
        while let Some((_, answer)) = answer(protocol, &mut received) {
            match mode.load(Ordering::SeqCst) {
                SILENT | GARBAGE => {}
                CUT => {
                    stream.write_all(&answer[..answer.len() / 2]).await?;
                    return Ok(());
                }
                SLOW => {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    stream.write_all(&answer).await?;
                }
                _ => stream.write_all(&answer).await?,
            }
        }
    }
}

/// Readings until there was a good one of `low` and of `high`; what was said of the bad point is returned.
async fn both_are_read(field: &mut Field, context: &str) -> Vec<String> {
    let (mut low, mut high, mut bad) = (false, false, Vec::new());
    while !(low && high) {
        for reading in field.readings(1).await {
            match reading.as_str() {
                "low=10" => low = true,
                "high=90" => high = true,
                other if other.contains("=!") => bad.push(other.to_owned()),
                other => panic!("{context}: a wrong value: {other}"),
            }
        }
    }
    bad
}

async fn keeps_the_contract(protocol: Protocol) {
    let mode = Arc::new(AtomicU8::new(GOOD));
    let port = play(protocol, Arc::clone(&mode)).await;
    let mut field = Field::start(&yaml(protocol, port));
    let set = |value| mode.store(value, Ordering::SeqCst);

    // One bad point among good ones.
    let context = format!("{protocol:?}, one bad point");
    let mut bad = both_are_read(&mut field, &context).await;
    while bad.is_empty() {
        bad = both_are_read(&mut field, &context).await;
    }
    assert!(bad.iter().all(|reading| reading.starts_with("bad=!") && reading != "bad=!timeout"), "{context}: {bad:?}");

    // Timeout, garbage, a connection cut in mid-answer; and back each time.
    for (trouble, faults) in [
        (SILENT, &[Fault::Timeout][..]),
        (GARBAGE, &[Fault::Framing, Fault::Crc]),
        (CUT, &[Fault::Disconnected, Fault::Framing, Fault::Timeout]),
    ] {
        let context = format!("{protocol:?}, trouble {trouble}");
        set(trouble);
        let fault = field.until_online(false).await;
        assert!(fault.is_some_and(|fault| faults.contains(&fault)), "{context}: {fault:?}");
        set(GOOD);
        field.until_online(true).await;
        both_are_read(&mut field, &context).await;
    }
    field.stop().await;

    a_dropped_call_harms_nobody(protocol, port, &mode).await;
}

/// A read that nobody waits for any more: its late answer is not the next one's.
async fn a_dropped_call_harms_nobody(protocol: Protocol, port: u16, mode: &AtomicU8) {
    let config = parsed(&yaml(protocol, port));
    let device = &config.devices[0];
    let mut driver = driver::for_bus(&config.buses[0], Clock::start()).unwrap();
    driver.attach(&[Arc::new(device.clone())]);
    driver.open().await.unwrap();
    let (low, high) = (driver.plan(device, &[0]).remove(0), driver.plan(device, &[2]).remove(0));
    mode.store(SLOW, Ordering::SeqCst);
    let mut samples = Vec::new();
    let given_up = tokio::time::timeout(Duration::from_millis(50), driver.read(device, &low, &mut samples)).await;
    assert!(given_up.is_err(), "{protocol:?}: it was too quick");
    mode.store(GOOD, Ordering::SeqCst);
    let mut samples = Vec::new();
    // The answer to the first may cost the second its own, but never takes its place.
    for _ in 0..5 {
        match driver.read(device, &high, &mut samples).await {
            Ok(()) => break,
            Err(failure) => assert!(samples.is_empty(), "{protocol:?}: {failure}"),
        }
    }
    let [Sample::Good(value)] = &samples[..] else { panic!("{protocol:?}: {samples:?}") };
    assert_eq!(value.to_string(), "90", "{protocol:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_driver_of_the_table_keeps_the_contract() {
    let running = Protocol::ALL.map(|protocol| tokio::spawn(keeps_the_contract(protocol)));
    for one in running {
        one.await.unwrap();
    }
}
