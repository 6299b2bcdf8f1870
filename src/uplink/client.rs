//! The connection to a cloud broker: the only file of the uplink with sockets.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::intake::{ALIASES, RECEIVE_MAXIMUM};
use super::verdict::advice;
use super::{Presence, Settings};
use crate::model::{Message, QoS};
use crate::mqtt::{Codec, CodecError, ConnAck, Connect, Packet, Reason, Version, Will};

/// For each address of the host: a lost SYN is repeated three times in it.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// For the name server.
const RESOLVE_WITHIN: Duration = Duration::from_secs(10);

/// For CONNACK.
const CONNACK_WITHIN: Duration = Duration::from_secs(20);

/// Bytes that the peer's TCP does not acknowledge for so long end the connection (RFC 5482).
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// What comes down is small: commands and settings.
const LARGEST_PACKET: usize = 1 << 20;

/// The cloud keeps our session for so long after a connection was lost, if it will.
const SESSION_EXPIRY_S: u32 = 7 * 86_400;

/// An open connection, CONNACK received.
#[derive(Debug)]
pub(super) struct Connection {
    pub codec: Codec,
    /// Bytes to be written.
    pub outbox: BytesMut,
    inbox: BytesMut,
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
}

/// Why there is no connection, and what to try.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("the name {host} can't be resolved: {source}; check url, and the name servers in /etc/resolv.conf")]
    Resolve { host: String, source: io::Error },
    #[error("the name {host} has no address; check url")]
    NoAddress { host: String },
    #[error("nothing listens at {address}: {source}; check the port in url, and that the broker runs")]
    Refused { address: SocketAddr, source: io::Error },
    #[error("{address} can't be reached: {source}; look at the network, its routes and firewalls")]
    Unreachable { address: SocketAddr, source: io::Error },
    #[error(
        "{address} accepts connections and does not answer as an MQTT broker would: {problem}; check the port and mqtt_version"
    )]
    NoMqtt { address: SocketAddr, problem: String },
    #[error("the cloud refuses the connection: {reason}{said}; {advice}", advice = advice(*.reason))]
    NotAccepted { reason: Reason, said: String },
    #[error("CONNECT can't be written: {0}; check client_id, username and password")]
    Connect(CodecError),
}

/// What became of a read or a write.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("the cloud closed the connection")]
    Closed,
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("the cloud sent what is no MQTT: {0}")]
    Codec(#[from] CodecError),
}

impl ConnectionError {
    /// Whether the peer ended the connection, as one does that is sent what it can't take.
    pub(super) fn is_by_peer(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match self {
            ConnectionError::Closed => true,
            ConnectionError::Broken(error) => {
                matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
            }
            ConnectionError::Codec(_) => false,
        }
    }
}

impl Connection {
    /// Resolves, connects, and waits for CONNACK. `client_id` is the configured or the assigned one.
    pub(super) async fn open(
        settings: &Settings,
        client_id: &str,
        clean_start: bool,
    ) -> Result<(Connection, ConnAck), ConnectError> {
        let (stream, address) = connect(&settings.host, settings.port).await?;
        let no_mqtt = |problem: String| ConnectError::NoMqtt { address, problem };
        prepare(&stream).map_err(|source| ConnectError::Unreachable { address, source })?;
        let (read, write) = stream.into_split();
        let codec = Codec::client(settings.version, LARGEST_PACKET);
        let mut connection = Connection { codec, outbox: BytesMut::new(), inbox: BytesMut::new(), read, write };
        let packet = Packet::Connect(Box::new(connect_packet(settings, client_id, clean_start)));
        connection.codec.encode(&packet, &mut connection.outbox).map_err(ConnectError::Connect)?;

        let greeting = timeout(CONNACK_WITHIN, connection.greet()).await;
        let answer = greeting.map_err(|_| no_mqtt(format!("no CONNACK within {} s", CONNACK_WITHIN.as_secs())))?;
        let connack = answer.map_err(|error| no_mqtt(error.to_string()))?;
        if connack.reason.is_failure() {
            let said = connack.reason_string.map(|text| format!(" (it says: {text})")).unwrap_or_default();
            return Err(ConnectError::NotAccepted { reason: connack.reason, said });
        }
        if let Some(limit) = connack.maximum_packet_size {
            connection.codec.set_peer_limit(limit as usize);
        }
        Ok((connection, connack))
    }

    async fn greet(&mut self) -> Result<ConnAck, ConnectionError> {
        while !self.outbox.is_empty() {
            self.write().await?;
        }
        loop {
            if refuses_version(&self.inbox) {
                return Ok(ConnAck::new(Reason::UNSUPPORTED_PROTOCOL_VERSION));
            }
            match self.next_packet()? {
                Some(Packet::ConnAck(connack)) => return Ok(*connack),
                Some(_) => return Err(CodecError::Protocol("the first packet is no CONNACK").into()),
                None => self.read().await?,
            }
        }
    }

    /// Reads what has come, at least a byte. Cancel-safe.
    pub(super) async fn read(&mut self) -> Result<(), ConnectionError> {
        read(&mut self.read, &mut self.inbox).await
    }

    /// Writes some of the outbox and says how much. Cancel-safe.
    pub(super) async fn write(&mut self) -> Result<usize, ConnectionError> {
        write(&mut self.write, &mut self.outbox).await
    }

    /// Whichever of [`Connection::read`] and [`Connection::write`] can go on first; without `may_read`, only the latter.
    pub(super) async fn exchange(&mut self, may_read: bool) -> Result<Exchanged, ConnectionError> {
        if !may_read {
            if self.outbox.is_empty() {
                return std::future::pending().await;
            }
            return self.write().await.map(Exchanged::Wrote);
        }
        if self.outbox.is_empty() {
            self.read().await?;
            return Ok(Exchanged::Read);
        }
        tokio::select! {
            result = read(&mut self.read, &mut self.inbox) => result.map(|()| Exchanged::Read),
            result = write(&mut self.write, &mut self.outbox) => result.map(Exchanged::Wrote),
        }
    }

    /// The next packet of what was read.
    pub(super) fn next_packet(&mut self) -> Result<Option<Packet>, ConnectionError> {
        Ok(self.codec.decode(&mut self.inbox)?)
    }

    /// Sends a packet when the outbox is written.
    pub(super) fn push(&mut self, packet: &Packet) -> Result<(), ConnectionError> {
        Ok(self.codec.encode(packet, &mut self.outbox)?)
    }

    /// Closes our direction, so that what was written arrives.
    pub(super) async fn close(mut self) {
        // It is over either way.
        let _ = self.write.shutdown().await;
    }
}

/// What [`Connection::exchange`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exchanged {
    /// Something came.
    Read,
    /// So many bytes went.
    Wrote(usize),
}

async fn read(half: &mut OwnedReadHalf, inbox: &mut BytesMut) -> Result<(), ConnectionError> {
    inbox.reserve(4096);
    match half.read_buf(inbox).await? {
        0 => Err(ConnectionError::Closed),
        _ => Ok(()),
    }
}

async fn write(half: &mut OwnedWriteHalf, outbox: &mut BytesMut) -> Result<usize, ConnectionError> {
    match half.write_buf(outbox).await? {
        0 => Err(ConnectionError::Closed),
        written => Ok(written),
    }
}

async fn connect(host: &str, port: u16) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let resolve = |source| ConnectError::Resolve { host: host.to_owned(), source };
    let found = timeout(RESOLVE_WITHIN, lookup_host((host, port))).await;
    let addresses = found.map_err(|_| resolve(io::ErrorKind::TimedOut.into()))?.map_err(resolve)?;
    let mut problem = ConnectError::NoAddress { host: host.to_owned() };
    for address in addresses {
        let connected = timeout(CONNECT_WITHIN, TcpStream::connect(address)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => return Ok((stream, address)),
            Err(source) if source.kind() == io::ErrorKind::ConnectionRefused => {
                problem = ConnectError::Refused { address, source };
            }
            Err(source) => problem = ConnectError::Unreachable { address, source },
        }
    }
    Err(problem)
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_USER_TIMEOUT))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
    Ok(())
}

fn connect_packet(settings: &Settings, client_id: &str, clean_start: bool) -> Connect {
    // Configuration keeps it between 1 and 65,535 s.
    let keep_alive_s = u16::try_from(settings.keep_alive.as_secs()).unwrap_or(u16::MAX);
    Connect {
        clean_start,
        keep_alive_s,
        username: settings.username.clone(),
        password: settings.password.as_ref().map(|password| password.reveal().as_bytes().to_vec().into()),
        will: settings.presence.as_ref().map(|presence| Box::new(will(presence))),
        session_expiry_s: if settings.version == Version::V5 { SESSION_EXPIRY_S } else { 0 },
        receive_maximum: RECEIVE_MAXIMUM,
        topic_alias_maximum: ALIASES,
        maximum_packet_size: (settings.version == Version::V5).then_some(LARGEST_PACKET as u32),
        ..Connect::new(settings.version, client_id)
    }
}

fn will(presence: &Presence) -> Will {
    let message = Message::new(presence.topic.clone(), presence.offline.clone(), QoS::AtLeastOnce, true);
    Will { message, delay_s: 0 }
}

/// A broker of 3.1.1 refuses version 5 in its own form, which is no packet of version 5.
fn refuses_version(inbox: &[u8]) -> bool {
    matches!(inbox, [0x20, 2, _, 1, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_brokers_refusal_is_understood() {
        // CONNACK of 3.1.1, two bytes long, no session, return code 1: unacceptable protocol version.
        assert!(refuses_version(&[0x20, 0x02, 0x00, 0x01]));
        assert!(!refuses_version(&[0x20, 0x03, 0x00, 0x01, 0x00]));
        assert!(!refuses_version(&[0x20, 0x02]));
    }
}
