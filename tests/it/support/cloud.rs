//! A stand-in for a cloud broker that says exactly what a test wants, built on our own codec.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use fieldway::mqtt::{Ack, Codec, ConnAck, Connect, Packet, Publish, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Everything that is waited for comes within this or never.
const PATIENCE: Duration = Duration::from_secs(30);

/// A listening socket.
pub struct Cloud(TcpListener);

/// One connection of a client.
pub struct Peer {
    stream: TcpStream,
    codec: Codec,
    inbox: BytesMut,
}

impl Cloud {
    /// Listens on a port of its own.
    pub async fn listen() -> Cloud {
        Cloud(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free"))
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("it is bound")
    }

    /// The next client, before it has said anything.
    pub async fn accept_raw(&self) -> Peer {
        let (stream, _) = timeout(PATIENCE, self.0.accept()).await.expect("a client comes").expect("it connects");
        Peer { stream, codec: Codec::server(1 << 20), inbox: BytesMut::new() }
    }

    /// The next client that stays, and its CONNECT, answered with `connack`. An uplink that has to be rid of a session connects clean first and ends
    /// that at once.
    pub async fn accept(&self, connack: ConnAck) -> (Peer, Connect) {
        let (mut peer, connect) = self.accept_one(connack.clone()).await;
        if !connect.clean_start || connack.reason.is_failure() {
            return (peer, connect);
        }
        peer.end_of_clean_session().await;
        self.accept_one(connack).await
    }

    /// The next client, which has to be rid of a session: it connects clean, for this connection alone, and ends that at once.
    pub async fn accept_clean(&self) {
        let (mut peer, connect) = self.accept_one(ConnAck::new(Reason::SUCCESS)).await;
        assert!(connect.clean_start && connect.session_expiry_s == 0);
        peer.end_of_clean_session().await;
    }

    /// The next client, which wants a session that lasts and whose CONNECT is never answered.
    pub async fn leave_unanswered(&self) {
        let mut peer = self.accept_raw().await;
        assert!(matches!(peer.read().await, Packet::Connect(connect) if !connect.clean_start));
    }

    /// The next client and its CONNECT, answered with `connack`.
    pub async fn accept_one(&self, connack: ConnAck) -> (Peer, Connect) {
        let mut peer = self.accept_raw().await;
        let Packet::Connect(connect) = peer.read().await else { panic!("the first packet is a CONNECT") };
        peer.send(Packet::ConnAck(Box::new(connack))).await;
        (peer, *connect)
    }
}

impl Peer {
    /// The next packet.
    pub async fn read(&mut self) -> Packet {
        self.try_read().await.expect("the client is still there")
    }

    /// The next packet; `None` when the client has closed the connection.
    pub async fn try_read(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.codec.decode(&mut self.inbox).expect("the client speaks MQTT") {
                return Some(packet);
            }
            let read =
                timeout(PATIENCE, self.stream.read_buf(&mut self.inbox)).await.expect("the client says something");
            if matches!(read, Ok(0) | Err(_)) {
                return None;
            }
        }
    }

    /// The client takes its leave and keeps no session.
    async fn end_of_clean_session(&mut self) {
        assert!(matches!(self.read().await, Packet::Disconnect(bye) if bye.reason == Reason::SUCCESS));
        assert!(self.try_read().await.is_none());
    }

    /// The next packet, which is a PUBLISH.
    pub async fn publish(&mut self) -> Publish {
        match self.read().await {
            Packet::Publish(publish) => publish,
            other => panic!("a PUBLISH is due, not {other:?}"),
        }
    }

    /// Whether nothing comes for `quiet`.
    pub async fn is_silent(&mut self, quiet: Duration) -> bool {
        self.inbox.is_empty() && timeout(quiet, self.stream.read_buf(&mut self.inbox)).await.is_err()
    }

    pub async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        self.codec.encode(&packet, &mut bytes).expect("the packet has a form");
        self.send_raw(&bytes).await;
    }

    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the client is still there");
    }

    pub async fn puback(&mut self, packet_id: u16, reason: Reason) {
        self.send(Packet::PubAck(Ack { packet_id, reason })).await;
    }
}
