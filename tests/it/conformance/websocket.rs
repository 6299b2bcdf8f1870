//! MQTT over WebSocket (§6), in frames that are built here.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::net::TcpStream;

use super::brokers::guarded;
use crate::support::wire::{BOTH, Connect, Publish, Version, Wire, subscribe, unique};

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const PING: u8 = 9;
const FINAL: u8 = 0x80;

/// Asks for a WebSocket; the answer's head.
async fn handshake(address: SocketAddr, subprotocols: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.expect("the broker listens");
    // The key and its answer are those of RFC 6455, §1.3.
    let head = format!(
        "GET /mqtt HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {subprotocols}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(_) => break,
        }
    }
    (stream, String::from_utf8_lossy(&answer).to_lowercase())
}

/// A frame from a client: masked, by zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = match payload.len() {
        n @ 0..=125 => vec![0x80 | n as u8],
        n => [&[0x80 | 126], &(n as u16).to_be_bytes()[..]].concat(),
    };
    [&[first], &length[..], &[0; 4], payload].concat()
}

/// A connection whose bytes go through binary frames cut by `cut`, and a way to send frames of one's own.
async fn open(v: Version, cut: fn(&[u8]) -> Vec<Vec<u8>>) -> (Wire, tokio::sync::mpsc::Sender<Vec<u8>>) {
    let (stream, answer) = handshake(guarded().1, "mqtt").await;
    assert!(answer.starts_with("http/1.1 101"), "{answer}");
    let (frames, mut others) = tokio::sync::mpsc::channel::<Vec<u8>>(4);
    let (near, far) = duplex(1 << 20);
    let (mut from_test, to_test) = split(far);
    let (from_broker, mut to_broker) = stream.into_split();
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_000];
        loop {
            let own = tokio::select! {
                read = from_test.read(&mut buffer) => match read {
                    Ok(bytes) if bytes > 0 => cut(&buffer[..bytes]).concat(),
                    _ => break,
                },
                Some(other) = others.recv() => other,
            };
            if to_broker.write_all(&own).await.is_err() {
                break;
            }
        }
    });
    tokio::spawn(unwrap_frames(from_broker, to_test));
    (Wire::over(Box::new(near), v), frames)
}

/// Hands on what the broker's binary frames carry [MQTT-6.0.0-1]; ends with the connection or its close frame.
async fn unwrap_frames(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::io::WriteHalf<DuplexStream>) {
    let mut message = BINARY;
    while let Ok(first) = from.read_u8().await {
        let length = from.read_u8().await.expect("a whole frame");
        assert!(length < 0x80, "a server does not mask");
        let length = match length {
            126 => usize::from(from.read_u16().await.expect("a whole frame")),
            127 => from.read_u64().await.expect("a whole frame") as usize,
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        from.read_exact(&mut payload).await.expect("a whole frame");
        match first & 0x0F {
            CONTINUATION => {}
            opcode @ (BINARY | TEXT) => message = opcode,
            0x8 => break,
            _ => continue,
        }
        assert_eq!(message, BINARY, "MQTT comes in binary frames [MQTT-6.0.0-1]");
        if to.write_all(&payload).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

fn whole(bytes: &[u8]) -> Vec<Vec<u8>> {
    vec![frame(FINAL | BINARY, bytes)]
}

/// [MQTT-6.0.0-4], v311 [MQTT-7.1.1-1], v5 [MQTT-4.2-1]
#[tokio::test]
async fn mqtt_6_0_0_4_the_subprotocol_that_is_agreed_is_mqtt() {
    for offered in ["mqtt", "other, mqtt", "mqtt, mqttv3.1"] {
        let (_, answer) = handshake(guarded().1, offered).await;
        assert!(answer.starts_with("http/1.1 101") && answer.contains("sec-websocket-protocol: mqtt\r\n"), "{answer}");
        assert!(answer.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
    }
}

/// [MQTT-6.0.0-2]
#[tokio::test]
async fn mqtt_6_0_0_2_frames_and_packets_need_not_begin_or_end_together() {
    let by_byte: fn(&[u8]) -> Vec<Vec<u8>> = |bytes| bytes.iter().map(|byte| frame(FINAL | BINARY, &[*byte])).collect();
    // One message in fragments, with a ping and empty frames between.
    let fragments: fn(&[u8]) -> Vec<Vec<u8>> = |bytes| {
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        vec![
            frame(BINARY, head),
            frame(FINAL | PING, b"?"),
            frame(CONTINUATION, &[]),
            frame(FINAL | CONTINUATION, tail),
            frame(FINAL | BINARY, &[]),
        ]
    };
    for v in BOTH {
        for cut in [whole, by_byte, fragments] {
            let topic = unique("ws");
            let (mut wire, _frames) = open(v, cut).await;
            let publish = Publish::new(&topic, "x").qos(2, 7).bytes(v);
            let connect = Connect::new(v, &unique("ws")).bytes();
            wire.send(&[connect, subscribe(v, 1, &[(&topic, 1)]), publish].concat()).await;
            assert!(matches!(wire.next().await, Some(crate::support::wire::Packet::ConnAck(ack)) if ack.code == 0));
            assert_eq!(wire.suback(1).await, [1]);
            assert_eq!(wire.message().await.text(), "x");
            for size in [100, 126, 65_536, 200_000] {
                wire.publish(Publish::new(&topic, vec![b'x'; size]).qos(1, 0)).await;
                assert_eq!(wire.message().await.payload.len(), size, "{v:?}");
            }
        }
    }
}

/// [MQTT-6.0.0-1]
#[tokio::test]
async fn mqtt_6_0_0_1_a_text_frame_ends_the_connection() {
    for v in BOTH {
        let (mut wire, frames) = open(v, whole).await;
        wire.introduce(&Connect::new(v, &unique("ws"))).await;
        frames.send(frame(FINAL | TEXT, &[0xC0, 0])).await.unwrap();
        let reason = wire.closed().await;
        assert!(matches!(reason, None | Some(0x81 | 0x82)), "{reason:?}");
    }
}
