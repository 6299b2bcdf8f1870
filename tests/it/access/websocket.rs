//! WebSocket: paho through it, and frames as no client would send them.

use std::net::SocketAddr;
use std::time::Duration;

use fieldway::broker::Limits;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{broker, broker_within, listener, paho};
use crate::support::certificates::Authority;
use crate::support::mqtt::PATIENCE;

/// CONNECT of MQTT 3.1.1 as client `a`, and its CONNACK.
const CONNECT: &[u8] = b"\x10\x0D\x00\x04MQTT\x04\x02\x00\x00\x00\x01a";
const CONNACK: &[u8] = b"\x20\x02\x00\x00";
const PINGREQ: &[u8] = b"\xC0\x00";
const PINGRESP: &[u8] = b"\xD0\x00";

const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;

#[tokio::test]
async fn paho_exchanges_messages_over_websocket_and_secure_websocket() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ca");
    let tls = authority.files(None);
    let test = broker(vec![listener(Some("/mqtt"), None), listener(Some("/a/b"), Some(&tls))], vec![]);
    let (plain, secure) = (test.broker.addresses()[0], test.broker.addresses()[1]);
    for version in ["5", "3.1.1"] {
        let (code, said) = paho(plain, &json!({ "version": version, "path": "/mqtt" })).await;
        assert_eq!(code, Some(0), "{said}");
        let given = json!({ "version": version, "path": "/a/b", "ca": authority.path() });
        let (code, said) = paho(secure, &given).await;
        assert_eq!(code, Some(0), "{said}");
    }
}

/// Sends an upgrade and returns the connection with the head of the answer.
async fn upgrade(address: SocketAddr, path: &str, headers: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match tokio::time::timeout(PATIENCE, stream.read_u8()).await.expect("an answer") {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    (stream, String::from_utf8(head).unwrap())
}

struct Socket(TcpStream);

impl Socket {
    async fn open(address: SocketAddr) -> Socket {
        let (stream, head) = upgrade(address, "/mqtt", "Sec-WebSocket-Protocol: chat, mqtt\r\n").await;
        assert!(
            head.starts_with("HTTP/1.1 101") && head.to_lowercase().contains("sec-websocket-protocol: mqtt"),
            "{head}"
        );
        Socket(stream)
    }

    /// One masked frame (RFC 6455 §5.2); the mask is zero, which is one like any other.
    async fn send(&mut self, opcode: u8, payload: &[u8]) {
        let mut frame = vec![opcode];
        match payload.len() {
            short @ ..126 => frame.push(0x80 | short as u8),
            long => {
                frame.push(0x80 | 127);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        // The broker may have closed by now, which the test sees by what it reads.
        let _ = self.0.write_all(&frame).await;
    }

    /// The next frame of at most 125 bytes: its first byte and its payload; `None` when the broker has closed.
    async fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        let receive = async {
            let (first, length) = (self.0.read_u8().await.ok()?, self.0.read_u8().await.ok()?);
            let mut payload = vec![0; length.into()];
            self.0.read_exact(&mut payload).await.ok()?;
            Some((first, payload))
        };
        tokio::time::timeout(PATIENCE, receive).await.expect("the broker said nothing for ten seconds")
    }

    async fn connected(address: SocketAddr) -> Socket {
        let mut socket = Socket::open(address).await;
        socket.send(BINARY, CONNECT).await;
        assert_eq!(socket.receive().await, Some((BINARY, CONNACK.into())));
        socket
    }

    /// Reads until the broker has closed, and returns whether it said so in a frame.
    async fn closed(&mut self) -> bool {
        let mut told = false;
        while let Some((first, _)) = self.receive().await {
            told |= first == CLOSE;
        }
        told
    }
}

/// MQTT 5 §6, [MQTT-6.0.0-2]: packets and frames have nothing to do with each other.
#[tokio::test]
async fn a_packet_may_span_frames_and_a_frame_may_hold_several_packets() {
    let test = broker(vec![listener(Some("/mqtt"), None)], vec![]);
    let mut socket = Socket::open(test.address).await;
    // One byte a frame, two of them fragments of one message, an empty frame between.
    for byte in &CONNECT[..5] {
        socket.send(BINARY, &[*byte]).await;
    }
    socket.send(BINARY, &[]).await;
    socket.send(0x02, &CONNECT[5..8]).await;
    socket.send(0x89, b"between fragments").await;
    socket.send(0x80, &CONNECT[8..]).await;
    assert_eq!(socket.receive().await, Some((0x8A, b"between fragments".into())), "a ping is answered at once");
    assert_eq!(socket.receive().await, Some((BINARY, CONNACK.into())));
    socket.send(BINARY, &PINGREQ.repeat(3)).await;
    let mut answers = Vec::new();
    while answers.len() < 3 * PINGRESP.len() {
        answers.extend(socket.receive().await.expect("three answers").1);
    }
    assert_eq!(answers, PINGRESP.repeat(3));
    // An unsolicited pong is nothing (RFC 6455 §5.5.3).
    socket.send(0x8A, b"").await;
    socket.send(CLOSE, &1_000_u16.to_be_bytes()).await;
    assert_eq!(socket.receive().await, Some((CLOSE, 1_000_u16.to_be_bytes().into())));
    assert!(!socket.closed().await);
}

/// [MQTT-6.0.0-1] for the text frame; RFC 6455 for the rest.
#[tokio::test]
async fn frames_that_are_not_binary_or_not_allowed_end_the_connection() {
    let limits = Limits { packet_size: 10_000, ..Limits::default() };
    let test = broker_within(limits, vec![listener(Some("/mqtt"), None)], vec![]);
    let large = vec![0; 10_001];
    for (opcode, payload) in [(0x81, PINGREQ), (0x83, PINGREQ), (0xC2, PINGREQ), (0x80, PINGREQ), (BINARY, &large)] {
        let mut socket = Socket::connected(test.address).await;
        socket.send(opcode, payload).await;
        socket.closed().await;
    }
    // Not masked.
    let mut socket = Socket::connected(test.address).await;
    socket.0.write_all(b"\x82\x02\xC0\x00").await.unwrap();
    socket.closed().await;
    // Fragments that never end: bounded by the size of a message.
    let mut socket = Socket::connected(test.address).await;
    socket.send(0x02, &large[..5_000]).await;
    for _ in 0..3 {
        socket.send(0x00, &large[..5_000]).await;
    }
    socket.closed().await;
    // And it still serves others.
    Socket::connected(test.address).await;
}

#[tokio::test]
async fn somebody_unknown_can_not_fill_the_memory_with_a_message() {
    let test = broker(vec![listener(Some("/mqtt"), None)], vec![]);
    let mut socket = Socket::open(test.address).await;
    // Allowed by the size of packets, 1 MiB, but too much for somebody who has not sent a CONNECT.
    socket.send(BINARY, &vec![0x10; 600 << 10]).await;
    socket.closed().await;
}

#[tokio::test]
async fn the_broker_closes_with_a_close_frame() {
    let test = broker(vec![listener(Some("/mqtt"), None)], vec![]);
    let mut socket = Socket::connected(test.address).await;
    // A second CONNECT ends the connection [MQTT-3.1.0-2].
    socket.send(BINARY, CONNECT).await;
    assert!(socket.closed().await);
    let mut socket = Socket::connected(test.address).await;
    let stop = tokio::spawn(test.broker.stop());
    assert!(socket.closed().await);
    stop.await.unwrap();
}

#[tokio::test]
async fn what_is_no_upgrade_for_mqtt_is_told_so() {
    let test = broker(vec![listener(Some("/mqtt"), None)], vec![]);
    for (path, headers, expected) in [
        ("/other", "Sec-WebSocket-Protocol: mqtt\r\n", "HTTP/1.1 404"),
        ("/mqtt", "", "HTTP/1.1 400"),
        ("/mqtt", "Sec-WebSocket-Protocol: mqttv3.1, chat\r\n", "HTTP/1.1 400"),
    ] {
        let (mut stream, head) = upgrade(test.address, path, headers).await;
        assert!(head.starts_with(expected), "{head}");
        let mut rest = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    }
    // Several lines of the header count together (RFC 6455 §11.3.4), and a query does not belong to the path.
    let headers = "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: mqtt\r\n";
    let (_, head) = upgrade(test.address, "/mqtt?x=1", headers).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");

    let mut visit = TcpStream::connect(test.address).await.unwrap();
    visit.write_all(b"GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut page = String::new();
    tokio::time::timeout(PATIENCE, visit.read_to_string(&mut page)).await.unwrap().unwrap();
    assert!(page.starts_with("HTTP/1.1 400") && page.contains("MQTT"), "{page}");

    // MQTT on the WebSocket port, and a header that never ends.
    let mut lost = TcpStream::connect(test.address).await.unwrap();
    lost.write_all(CONNECT).await.unwrap();
    let mut endless = TcpStream::connect(test.address).await.unwrap();
    let line = b"X: 0123456789012345678901234567890123456789012345678901234567890123456789\r\n".repeat(1_000);
    let _ = endless.write_all(b"GET /mqtt HTTP/1.1\r\n").await;
    let _ = endless.write_all(&line).await;
    for mut stream in [lost, endless] {
        let closed = async { while stream.read(&mut [0; 1_024]).await.is_ok_and(|bytes| bytes > 0) {} };
        tokio::time::timeout(PATIENCE + Duration::from_secs(2), closed).await.expect("it is closed");
    }
}
