//! Ways to a device: through a converter, by Modbus ASCII, or the device dials in.

use std::net::SocketAddr;
use std::time::Duration;

use fieldway::driver::modbus::frames::crc16;
use fieldway::model::{BusState, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Bench, Field, PATIENCE, say};
use crate::support::wait::free_port;

fn rtu(content: &[u8]) -> Vec<u8> {
    [content, &crc16(content).to_le_bytes()].concat()
}

/// A device that dials in, as a modem does: until somebody listens.
async fn dial(port: u16) -> TcpStream {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => return stream,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn listening(port: u16, more: &str) -> String {
    format!(
        r#"
buses: {{ modem: {{ listen: "127.0.0.1:{port}", {more}, timeout: 200ms, retries: 0 }} }}
devices: {{ pump: {{ bus: modem, unit_id: 7, poll: 200ms, points: {{ flow: {{ holding: 1 }} }} }} }}
"#
    )
}

/// Answers RTU requests for one register with `value` until the other end hangs up.
async fn answer_rtu(mut stream: TcpStream, value: u8) {
    let mut request = [0; 8];
    while stream.read_exact(&mut request).await.is_ok() {
        if stream.write_all(&rtu(&[7, 3, 2, 0, value])).await.is_err() {
            break;
        }
    }
}

/// Answers Modbus TCP requests for one register with `value` until the other end hangs up.
async fn answer_tcp(mut stream: TcpStream, value: u8) {
    let mut request = [0; 12];
    while stream.read_exact(&mut request).await.is_ok() {
        let answer = [&request[..4], &[0, 5, 7, 3, 2, 0, value]].concat();
        if stream.write_all(&answer).await.is_err() {
            break;
        }
    }
}

#[tokio::test]
async fn a_device_that_dials_in_is_polled_and_may_dial_in_again() {
    for (more, is_tcp) in [("protocol: modbus-rtu", false), ("protocol: modbus-tcp", true)] {
        let port = free_port();
        let mut field = Field::start(&listening(port, more));
        assert_eq!(field.until_online(false).await, Some(Fault::Disconnected));
        let why = field.status.borrow().state.clone();
        assert!(matches!(&why, BusState::Down(why) if why.contains("no device has connected")), "{why:?}");
        let serve = |stream, value| async move {
            if is_tcp { answer_tcp(stream, value).await } else { answer_rtu(stream, value).await }
        };
        let first = tokio::spawn(serve(dial(port).await, 1));
        assert_eq!(field.until_online(true).await, None);
        assert_eq!(field.readings(1).await, ["flow=1"]);
        // A second one waits while the first one answers.
        let second = tokio::spawn(serve(dial(port).await, 2));
        assert_eq!(field.readings(3).await, ["flow=1"; 3]);
        // The first hangs up: the second takes over without a word from anyone.
        first.abort();
        field.until("flow=2").await;
        second.abort();
        field.stop().await;
    }
}

#[tokio::test]
async fn a_device_that_dials_in_again_takes_over_from_its_own_dead_connection() {
    for (more, is_tcp) in
        [("protocol: modbus-rtu", false), ("protocol: modbus-tcp", true), ("protocol: modbus-tcp, in_flight: 4", true)]
    {
        let port = free_port();
        let mut field = Field::start(&listening(port, more));
        // It is open and says nothing, as one is whose modem has lost the network.
        let _dead = dial(port).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let again = dial(port).await;
        tokio::spawn(async move { if is_tcp { answer_tcp(again, 3).await } else { answer_rtu(again, 3).await } });
        field.until("flow=3").await;
        field.stop().await;
    }
}

#[tokio::test]
async fn a_slow_device_that_dialled_in_over_modbus_tcp_keeps_its_connection() {
    let port = free_port();
    let mut field = Field::start(&listening(port, "protocol: modbus-tcp"));
    let mut far = dial(port).await;
    let mut request = [0; 12];
    far.read_exact(&mut request).await.unwrap();
    let late = [&request[..4], &[0, 5, 7, 3, 2, 0, 9]].concat();
    far.read_exact(&mut request).await.unwrap();
    // The answer to the first request comes with that to the second.
    say(&mut far, [late, [&request[..4], &[0, 5, 7, 3, 2, 0, 10]].concat()].concat()).await;
    assert_eq!(field.readings(1).await, ["flow=10"]);
    tokio::spawn(answer_tcp(far, 11));
    field.until("flow=11").await;
    field.stop().await;
}

#[tokio::test]
async fn strangers_are_turned_away_where_from_says_who_may_connect() {
    let port = free_port();
    let mut field = Field::start(&listening(port, "from: [10.0.0.0/8], protocol: modbus-rtu"));
    let mut stranger = dial(port).await;
    let read = tokio::time::timeout(PATIENCE, stranger.read(&mut [0])).await.expect("it is closed");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    assert_eq!(field.until_online(false).await, Some(Fault::Disconnected));
    field.stop().await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_said_and_used_once_it_is_free() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = taken.local_addr().unwrap();
    let mut field = Field::start(&listening(address.port(), "protocol: modbus-rtu"));
    assert_eq!(field.until_online(false).await, Some(Fault::Disconnected));
    let why = field.status.borrow().state.clone();
    assert!(matches!(&why, BusState::Down(why) if why.contains("can't listen there")), "{why:?}");
    drop(taken);
    tokio::spawn(answer_rtu(dial(address.port()).await, 4));
    field.until("flow=4").await;
    field.stop().await;
}

#[tokio::test]
async fn rtu_through_a_converter_that_closes_idle_connections_is_read_without_a_fault() {
    let bench = Bench::new().await;
    let yaml = format!(
        r#"
buses: {{ line: {{ tcp: "127.0.0.1:{}", protocol: modbus-rtu, timeout: 500ms }} }}
devices: {{ pump: {{ bus: line, unit_id: 7, poll: 50ms, points: {{ flow: {{ holding: 1 }} }} }} }}
"#,
        bench.port
    );
    let mut field = Field::start(&yaml);
    for n in 0..8 {
        let mut far = bench.connection().await;
        let mut request = [0; 8];
        far.read_exact(&mut request).await.unwrap();
        assert_eq!(request[..], rtu(&[7, 3, 0, 1, 0, 1]));
        say(&mut far, rtu(&[7, 3, 2, 0, n])).await;
        assert_eq!(field.readings(1).await, [format!("flow={n}")]);
    }
    assert_eq!(field.status.borrow().devices[0].failures, 0);
    field.stop().await;
}

#[tokio::test]
async fn units_behind_a_converter_are_told_apart_when_one_is_late() {
    let bench = Bench::new().await;
    let yaml = format!(
        r#"
buses: {{ line: {{ tcp: "127.0.0.1:{}", protocol: modbus-rtu, timeout: 100ms, retries: 0 }} }}
devices:
  late: {{ bus: line, unit_id: 1, poll: 300ms, points: {{ a: {{ holding: 1 }} }} }}
  good: {{ bus: line, unit_id: 2, poll: 300ms, points: {{ b: {{ holding: 1 }} }} }}
"#,
        bench.port
    );
    let mut field = Field::start(&yaml);
    let mut far = bench.connection().await;
    // Unit 1 answers when unit 2 is asked, right before its answer.
    let serve = tokio::spawn(async move {
        let (mut request, mut late) = ([0; 8], Vec::new());
        while far.read_exact(&mut request).await.is_ok() {
            let answer = rtu(&[request[0], 3, 2, 0, request[0] * 11]);
            if request[0] == 1 {
                late = answer;
            } else {
                say(&mut far, [std::mem::take(&mut late), answer].concat()).await;
            }
        }
    });
    let mut good = 0;
    while good < 6 {
        for reading in field.readings(1).await {
            assert!(["a=!timeout", "a=11", "b=22"].contains(&reading.as_str()), "{reading}");
            good += usize::from(reading == "b=22");
        }
    }
    serve.abort();
    field.stop().await;
}

#[tokio::test]
async fn a_device_that_dials_in_and_speaks_by_itself_takes_over_from_its_own_dead_connection() {
    let port = free_port();
    let mut field = Field::start(&format!(
        "buses: {{ modem: {{ listen: '127.0.0.1:{port}', protocol: lines }} }}\n\
         devices: {{ well: {{ bus: modem, max_age: 1m, points: {{ level: {{ match: 'L=(?<value>[0-9.]+)' }} }} }} }}\n"
    ));
    let mut first = dial(port).await;
    say(&mut first, "L=1.5\nL=").await;
    assert_eq!(field.readings(1).await, ["level=1.5"]);
    // It lost its network in mid-line, and dials again.
    let mut again = dial(port).await;
    say(&mut again, "L=2.5\n").await;
    assert_eq!(field.readings(1).await, ["level=2.5"]);
    field.stop().await;
}
