//! One connection to the broker that says exactly what a test wants said.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Ack, ConnAck, Connect, Packet, Publish, Version, ack, first, packet, parse, subscribe_with, unsubscribe};

/// How long a test waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A name that no other test uses, fit for a client id (23 characters) and a topic level.
pub fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{name}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Anything that carries bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection.
pub struct Wire {
    stream: Box<dyn Stream>,
    pub version: Version,
    buffer: Vec<u8>,
    /// Read, but not asked for yet.
    backlog: VecDeque<Packet>,
    next_id: u16,
}

impl Wire {
    /// A TCP connection on which nothing was said.
    pub async fn open(address: SocketAddr, version: Version) -> Wire {
        let stream = TcpStream::connect(address).await.expect("the broker listens");
        stream.set_nodelay(true).expect("a TCP socket takes this");
        Wire::over(Box::new(stream), version)
    }

    /// A connection over any stream.
    pub fn over(stream: Box<dyn Stream>, version: Version) -> Wire {
        Wire { stream, version, buffer: Vec::new(), backlog: VecDeque::new(), next_id: 0 }
    }

    /// Connects and is let in.
    pub async fn connect(address: SocketAddr, connect: &Connect) -> Wire {
        Wire::connect_ack(address, connect).await.0
    }

    /// Connects, is let in, and returns the answer too.
    pub async fn connect_ack(address: SocketAddr, connect: &Connect) -> (Wire, ConnAck) {
        let mut wire = Wire::open(address, connect.version).await;
        let ack = wire.introduce(connect).await;
        (wire, ack)
    }

    /// Sends CONNECT and is let in.
    pub async fn introduce(&mut self, connect: &Connect) -> ConnAck {
        self.send(&connect.bytes()).await;
        // Nothing comes before CONNACK [MQTT-3.2.0-1].
        match self.next().await {
            Some(Packet::ConnAck(ack)) if ack.code == 0 => ack,
            other => panic!("not let in: {other:?}"),
        }
    }

    /// Sends a CONNECT that is not granted; the code in CONNACK, if one came before the connection was closed.
    pub async fn refused(address: SocketAddr, version: Version, connect: &[u8]) -> Option<u8> {
        let mut wire = Wire::open(address, version).await;
        wire.send(connect).await;
        let code = match wire.next().await {
            None => return None,
            Some(Packet::ConnAck(ack)) => ack.code,
            other => panic!("an answer to CONNECT that is none: {other:?}"),
        };
        assert_ne!(code, 0, "let in");
        assert_eq!(wire.next().await, None, "after a refusal the connection is closed [MQTT-3.2.2-7]");
        Some(code)
    }

    /// Sends bytes. A broker that has closed does not mind.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// The next packet; `None` when the broker has closed.
    pub async fn next(&mut self) -> Option<Packet> {
        match self.backlog.pop_front() {
            Some(packet) => Some(packet),
            None => self.read().await,
        }
    }

    async fn read(&mut self) -> Option<Packet> {
        let bytes =
            tokio::time::timeout(PATIENCE, self.frame()).await.expect("the broker said nothing for ten seconds")?;
        Some(parse::packet(self.version, &bytes))
    }

    /// The next packet as it came; `None` when the broker has closed.
    async fn frame(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(length) = parse::length(&self.buffer)
                && self.buffer.len() >= length
            {
                let rest = self.buffer.split_off(length);
                return Some(std::mem::replace(&mut self.buffer, rest));
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(bytes) if bytes > 0 => {}
                _ if self.buffer.is_empty() => return None,
                _ => panic!("closed in the middle of a packet: {:x?}", self.buffer),
            }
        }
    }

    /// The next packet that `pick` wants; others wait for whoever asks for them.
    pub async fn take<T>(&mut self, what: &str, pick: impl Fn(&Packet) -> Option<T>) -> T {
        if let Some(at) = self.backlog.iter().position(|packet| pick(packet).is_some()) {
            return self.backlog.remove(at).and_then(|packet| pick(&packet)).expect("it was just found");
        }
        loop {
            match self.read().await {
                None => panic!("closed instead of {what}; before that came {:?}", self.backlog),
                Some(packet) => match pick(&packet) {
                    Some(picked) => return picked,
                    None => {
                        assert!(!matches!(packet, Packet::Disconnect { .. }), "{packet:?} instead of {what}");
                        self.backlog.push_back(packet);
                    }
                },
            }
        }
    }

    /// The next message, not acknowledged.
    pub async fn held(&mut self) -> Publish {
        let pick = |packet: &Packet| if let Packet::Publish(publish) = packet { Some(publish.clone()) } else { None };
        self.take("a PUBLISH", pick).await
    }

    /// The next message, acknowledged as its QoS wants it.
    pub async fn message(&mut self) -> Publish {
        let message = self.held().await;
        self.settle(&message).await;
        message
    }

    /// Acknowledges a message to the end.
    pub async fn settle(&mut self, message: &Publish) {
        match message.qos {
            0 => {}
            1 => self.send(&ack(first::PUBACK, message.id)).await,
            _ => {
                self.send(&ack(first::PUBREC, message.id)).await;
                self.ack(first::PUBREL, message.id).await;
                self.send(&ack(first::PUBCOMP, message.id)).await;
            }
        }
    }

    /// The acknowledgement of this kind for this packet id; its reason.
    pub async fn ack(&mut self, first: u8, id: u16) -> u8 {
        let pick = |packet: &Packet| match packet {
            Packet::Ack(Ack { first: f, id: i, reason, .. }) if *f == first && *i == id => Some(*reason),
            _ => None,
        };
        self.take(&format!("acknowledgement {first:#x} of {id}"), pick).await
    }

    /// Publishes, with an id of its own at QoS 1 and 2, and goes through the exchange. The reason of the first answer, 0 at QoS 0.
    pub async fn publish(&mut self, publish: Publish) -> u8 {
        let id = if publish.qos > 0 { self.id() } else { 0 };
        let publish = Publish { id, ..publish };
        self.send(&publish.bytes(self.version)).await;
        match publish.qos {
            0 => 0,
            1 => self.ack(first::PUBACK, id).await,
            _ => {
                let reason = self.ack(first::PUBREC, id).await;
                if reason < 0x80 {
                    self.send(&ack(first::PUBREL, id)).await;
                    assert_eq!(self.ack(first::PUBCOMP, id).await, 0);
                }
                reason
            }
        }
    }

    /// Subscribes with an options byte, whose lowest two bits are the QoS; the code granted.
    pub async fn subscribe(&mut self, filter: &str, options: u8) -> u8 {
        self.subscribe_with(&[], &[(filter, options)]).await[0]
    }

    /// Subscribes with properties to several filters; a code each.
    pub async fn subscribe_with(&mut self, properties: &[u8], filters: &[(&str, u8)]) -> Vec<u8> {
        let id = self.id();
        self.send(&subscribe_with(self.version, id, properties, filters)).await;
        self.suback(id).await
    }

    /// The codes of the SUBACK with this id.
    pub async fn suback(&mut self, wanted: u16) -> Vec<u8> {
        let pick = |packet: &Packet| match packet {
            Packet::SubAck { id, codes, .. } if *id == wanted => Some(codes.clone()),
            _ => None,
        };
        self.take(&format!("SUBACK {wanted}"), pick).await
    }

    /// Unsubscribes; the codes, none in 3.1.1.
    pub async fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let wanted = self.id();
        self.send(&unsubscribe(self.version, wanted, filters)).await;
        let pick = |packet: &Packet| match packet {
            Packet::UnsubAck { id, codes, .. } if *id == wanted => Some(codes.clone()),
            _ => None,
        };
        self.take(&format!("UNSUBACK {wanted}"), pick).await
    }

    /// Nothing else was on its way: the answer to a PINGREQ comes first.
    pub async fn quiet(&mut self) {
        self.send(&packet(first::PINGREQ, &[])).await;
        assert_eq!(self.next().await, Some(Packet::PingResp));
    }

    /// Reads until the broker closes; the reason of its DISCONNECT, if there was one. Nothing comes after that [MQTT-3.14.4-1].
    pub async fn closed(&mut self) -> Option<u8> {
        while let Some(packet) = self.next().await {
            if let Packet::Disconnect { reason, .. } = packet {
                assert_eq!(self.next().await, None, "a packet after DISCONNECT [MQTT-3.14.4-1]");
                return Some(reason);
            }
        }
        None
    }

    /// Says goodbye and waits until the broker has closed.
    pub async fn leave(mut self) {
        self.send(&super::disconnect()).await;
        assert_eq!(self.closed().await, None, "DISCONNECT is not answered");
    }

    /// The next packet id.
    pub fn id(&mut self) -> u16 {
        self.next_id = self.next_id % 60_000 + 1;
        self.next_id
    }
}
