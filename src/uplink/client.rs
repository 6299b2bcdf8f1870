//! The connection to a cloud broker: from its address to CONNACK, and the packets after it. `dial` and this are the only files of the uplink
//! with sockets.

mod dial;
mod problem;

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use self::dial::{ReadHalf, Wire, WriteHalf};
use self::problem::NoGreeting;
use super::intake::{ALIASES, RECEIVE_MAXIMUM};
use super::{Presence, Settings};
use crate::clock::Clock;
use crate::config::{Secret, ServerConfig, password_from};
use crate::model::{Message, QoS};
use crate::mqtt::{Codec, CodecError, ConnAck, Connect, Packet, Reason, Version, Will};
use crate::transport::TlsProblem;

pub(super) use self::problem::ConnectError;

/// For CONNACK.
const CONNACK_WITHIN: Duration = Duration::from_secs(20);

/// What comes down is small: commands and settings.
const LARGEST_PACKET: usize = 1 << 20;

/// The cloud keeps our session for so long after a connection was lost, if it will.
const SESSION_EXPIRY_S: u32 = 7 * 86_400;

/// An open connection, CONNACK received.
pub(super) struct Connection {
    pub codec: Codec,
    /// Bytes to be written.
    pub outbox: BytesMut,
    inbox: BytesMut,
    read: ReadHalf,
    write: WriteHalf,
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
        server: &ServerConfig,
        client_id: &str,
        clean_start: bool,
        clock: Clock,
    ) -> Result<(Connection, ConnAck), ConnectError> {
        let password = password(settings).await?;
        let Wire { read, write, tls } = dial::dial(server, &settings.tls, clock).await?;
        let codec = Codec::client(settings.version, LARGEST_PACKET);
        let mut connection = Connection { codec, outbox: BytesMut::new(), inbox: BytesMut::new(), read, write };
        let packet = Packet::Connect(Box::new(connect_packet(settings, password.as_ref(), client_id, clean_start)));
        connection.codec.encode(&packet, &mut connection.outbox).map_err(ConnectError::Connect)?;

        let no_mqtt = |problem| ConnectError::NoMqtt { server: server.authority(), problem };
        let greeting = timeout(CONNACK_WITHIN, connection.greet()).await;
        let answer = greeting.map_err(|_| no_mqtt(NoGreeting::Silence(CONNACK_WITHIN.as_secs())))?;
        let connack = answer.map_err(|error| {
            if let Some(problem) = NoGreeting::of_bytes(&connection.inbox) {
                return no_mqtt(problem);
            }
            let tls_problem = tls.as_ref().and_then(|tls| match &error {
                ConnectionError::Broken(error) if tls.explain(error).is_some() => tls.explain(error),
                ConnectionError::Codec(_) => None,
                _ => tls.owes_a_certificate().then_some(TlsProblem::WantsCertificate),
            });
            match (tls_problem, error) {
                (Some(problem), _) => ConnectError::Tls { server: server.authority(), problem },
                (None, ConnectionError::Closed) => no_mqtt(NoGreeting::Closed),
                (None, ConnectionError::Broken(error)) if is_hang_up(&error) => no_mqtt(NoGreeting::Closed),
                (None, error) => no_mqtt(NoGreeting::Other(error.to_string())),
            }
        })?;
        if connack.reason.is_failure() {
            return Err(ConnectError::refused_by(&connack));
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

    /// Reads what else is there now; false when there is nothing.
    pub(super) async fn read_on(&mut self) -> Result<bool, ConnectionError> {
        tokio::select! {
            biased;
            read = self.read() => read.map(|()| true),
            () = std::future::ready(()) => Ok(false),
        }
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

async fn read(half: &mut ReadHalf, inbox: &mut BytesMut) -> Result<(), ConnectionError> {
    inbox.reserve(4096);
    match half.read_buf(inbox).await? {
        0 => Err(ConnectionError::Closed),
        _ => Ok(()),
    }
}

async fn write(half: &mut WriteHalf, outbox: &mut BytesMut) -> Result<usize, ConnectionError> {
    match half.write_buf(outbox).await? {
        0 => Err(ConnectionError::Closed),
        written => Ok(written),
    }
}

/// The password as it is now: a token in a file may have been renewed since the last connection.
async fn password(settings: &Settings) -> Result<Option<Secret>, ConnectError> {
    let Some(path) = settings.password_file.clone() else { return Ok(settings.password.clone()) };
    let read = path.clone();
    let read = spawn_blocking(move || password_from(&read)).await;
    let read = read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    read.map(Some).map_err(|problem| ConnectError::File { key: "password_file", path, problem })
}

fn is_hang_up(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
    kinds.contains(&error.kind())
}

fn connect_packet(settings: &Settings, password: Option<&Secret>, client_id: &str, clean_start: bool) -> Connect {
    // Configuration keeps it between 1 and 65,535 s.
    let keep_alive_s = u16::try_from(settings.keep_alive.as_secs()).unwrap_or(u16::MAX);
    Connect {
        clean_start,
        keep_alive_s,
        username: settings.username.clone(),
        password: password.map(|password| password.reveal().as_bytes().to_vec().into()),
        will: settings.presence.as_ref().map(|presence| Box::new(will(presence))),
        // A clean session ends with its connection, in MQTT 5 as in 3.1.1: mosquitto 2.0 keeps one that began clean over a restart of its
        // own only when a later connection has resumed it, whatever its expiry.
        session_expiry_s: if settings.version == Version::V5 && !clean_start { SESSION_EXPIRY_S } else { 0 },
        receive_maximum: RECEIVE_MAXIMUM,
        topic_alias_maximum: ALIASES,
        maximum_packet_size: (settings.version == Version::V5).then_some(LARGEST_PACKET as u32),
        ..Connect::new(settings.version, client_id)
    }
}

fn will(presence: &Presence) -> Will {
    let message = Message::new(presence.topic.clone(), presence.offline.clone(), QoS::AtLeastOnce, presence.retain);
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
