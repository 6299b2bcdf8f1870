//! Connections that say nothing, half a word, or one letter at a time: they cost nobody else anything, and they end.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fieldway::broker::Limits;
use fieldway::mqtt::{Connect, Version};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{broker_within, listener, paho};
use crate::support::certificates::Authority;
use crate::support::mqtt::{Client, PATIENCE};

const WITHIN: Duration = Duration::from_millis(3_000);

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// The beginning of a TLS record of 512 bytes with a ClientHello in it, and no more of it.
const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03";
const HALF_AN_UPGRADE: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: webs";
const UPGRADE: &[u8] =
    b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
const HALF_A_CONNECT: &[u8] = b"\x10\x0D\x00\x04MQ";

async fn silent(address: SocketAddr, tls: Option<&Authority>, words: &[u8]) -> Box<dyn Stream> {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut stream: Box<dyn Stream> = match tls {
        Some(authority) => Box::new(authority.connect(stream).await.unwrap()),
        None => Box::new(stream),
    };
    stream.write_all(words).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

#[tokio::test]
async fn twenty_silent_connections_on_each_kind_of_listener_delay_nobody_and_end_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ca");
    let tls = authority.files(None);
    let listeners = vec![
        listener(None, None),
        listener(None, Some(&tls)),
        listener(Some("/mqtt"), None),
        listener(Some("/mqtt"), Some(&tls)),
    ];
    let limits = Limits { connect_within: WITHIN, ..Limits::default() };
    let test = broker_within(limits, listeners, vec![]);
    let addresses = test.broker.addresses().to_vec();
    let began = Instant::now();
    let mut silent_ones = Vec::new();
    for n in 0..20 {
        let pick = |choices: &[&'static [u8]]| choices[n % choices.len()];
        let half_a_frame = [UPGRADE, b"\x82\x8F\x00\x00\x00\x00\x10"].concat();
        // Each at a point of its own: nothing said, in the middle of the handshake, after it.
        silent_ones.push(silent(addresses[0], None, pick(&[b"", HALF_A_CONNECT])).await);
        let inside = (n % 4 == 3).then_some(&authority);
        silent_ones.push(silent(addresses[1], inside, pick(&[b"", b"\x16", HALF_A_HELLO, HALF_A_CONNECT])).await);
        silent_ones.push(
            silent(addresses[2], None, if n % 4 == 0 { &half_a_frame } else { pick(&[b"", b"G", HALF_AN_UPGRADE]) })
                .await,
        );
        let inside = (n % 2 == 1).then_some(&authority);
        silent_ones.push(silent(addresses[3], inside, pick(&[b"", HALF_AN_UPGRADE, HALF_A_HELLO, UPGRADE])).await);
    }
    let ca = authority.path();
    for (address, given) in addresses.iter().zip([
        json!({}),
        json!({ "ca": ca }),
        json!({ "path": "/mqtt" }),
        json!({ "path": "/mqtt", "ca": ca, "version": "3.1.1" }),
    ]) {
        let (code, said) = paho(*address, &given).await;
        assert_eq!(code, Some(0), "{said}");
    }
    for mut one in silent_ones {
        let closed = async { while one.read(&mut [0; 1_024]).await.is_ok_and(|bytes| bytes > 0) {} };
        tokio::time::timeout(PATIENCE, closed).await.expect("a silent connection is closed");
    }
    assert!(began.elapsed() >= WITHIN, "they were closed before their time");
    assert_eq!(test.broker.status().clients, 0);
}

#[tokio::test]
async fn a_header_that_comes_letter_by_letter_gets_no_more_time_than_any_other() {
    let limits = Limits { connect_within: Duration::from_millis(600), ..Limits::default() };
    let test = broker_within(limits, vec![listener(Some("/mqtt"), None)], vec![]);
    let began = Instant::now();
    let (mut reader, mut writer) = TcpStream::connect(test.address).await.unwrap().into_split();
    let drip = async {
        for byte in UPGRADE {
            if writer.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let closed = async { while reader.read(&mut [0; 1_024]).await.is_ok_and(|bytes| bytes > 0) {} };
    tokio::select! {
        () = drip => panic!("the whole header was taken"),
        () = closed => {}
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn silent_connections_that_take_every_place_make_room_for_a_client() {
    let limits = Limits { connections: 20, ..Limits::default() };
    let test = broker_within(limits, vec![listener(None, None), listener(Some("/mqtt"), None)], vec![]);
    let mut there = Client::connect(test.address, Connect::new(Version::V5, "was there before")).await;
    let mut silent_ones = Vec::new();
    for n in 0..60 {
        silent_ones.push(TcpStream::connect(test.broker.addresses()[n % 2]).await.unwrap());
    }
    for n in 0..5 {
        let mut client = Client::connect(test.address, Connect::new(Version::V311, format!("c{n}"))).await;
        client.expect_nothing().await;
    }
    there.expect_nothing().await;
}
