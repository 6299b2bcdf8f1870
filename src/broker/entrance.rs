//! One listener's way from an accepted socket to a stream of MQTT bytes: TLS, WebSocket, both or neither; and its certificates.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, RwLock};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tracing::{error, info, warn};

use super::BrokerError;
use crate::clock::Clock;
use crate::config::{ListenerConfig, TlsFiles};
use crate::transport::{self, MaterialError, Part, ServerMaterial, ServerTls, UpgradeError, Whole};

/// What there is to know of a listener once it is bound.
#[derive(Debug)]
pub(super) struct Entrance {
    url: String,
    pub on_loopback: bool,
    web_socket: Option<String>,
    tls: Option<Tls>,
}

#[derive(Debug)]
struct Tls {
    files: TlsFiles,
    /// What new handshakes use. The lock is held for a clone.
    current: RwLock<ServerTls>,
}

/// Why the files of a listener can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// One can't be read.
    #[error("cannot read {key} {path}: {cause}")]
    Read {
        /// The key in the configuration.
        key: &'static str,
        /// The file.
        path: String,
        /// What the system said. No `source`: the text has it already.
        cause: io::Error,
    },
    /// One has the wrong content.
    #[error("{key} {path}: {cause}; {}", cause.advice())]
    Unusable {
        /// The key in the configuration.
        key: &'static str,
        /// The file.
        path: String,
        /// What is wrong. No `source`: the text has it already.
        cause: MaterialError,
    },
}

/// Why somebody did not come through.
#[derive(Debug, thiserror::Error)]
pub(super) enum EntryError {
    #[error("the TLS handshake failed: {0}")]
    Tls(io::Error),
    #[error(transparent)]
    WebSocket(UpgradeError),
}

/// A stream of MQTT bytes. Plain TCP stays a type of its own, because most messages of most gateways go through it.
pub(super) enum Opened {
    Plain(TcpStream),
    Wrapped(Box<dyn Duplex>),
}

/// A connection's two directions.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

impl Entrance {
    /// Reads the listener's files.
    pub fn new(config: &ListenerConfig, clock: Clock) -> Result<Entrance, BrokerError> {
        let tls = config.tls.as_ref().map(|files| {
            let current = load(files, clock).map_err(|cause| BrokerError::Certificate {
                url: config.url.clone(),
                place: config.place.clone(),
                cause: Box::new(cause),
            })?;
            Ok(Tls { files: files.clone(), current: RwLock::new(current) })
        });
        Ok(Entrance {
            url: config.url.clone(),
            on_loopback: config.address.ip().is_loopback(),
            web_socket: config.web_socket.clone(),
            tls: tls.transpose()?,
        })
    }

    /// As the configuration calls it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Reads the files again, for handshakes from now on. What can't be used is logged, and what there is stays.
    pub fn reload(&self, clock: Clock) {
        let Some(tls) = &self.tls else { return };
        match load(&tls.files, clock) {
            Ok(new) => {
                *tls.current.write().expect("nothing panics while it is held") = new;
                info!(listener = %self.url, "the certificates were read again");
            }
            Err(error) => {
                error!(listener = %self.url, %error, "the new certificates can't be used; the old ones stay in use");
            }
        }
    }

    /// Takes a connection through its handshakes. It takes as long as the client likes: bound it. Returns the name in its certificate too,
    /// where one was asked for. `limit` is the largest WebSocket frame, in bytes.
    pub async fn open(
        &self,
        stream: TcpStream,
        limit: usize,
    ) -> Result<(Opened, Option<Result<String, String>>), EntryError> {
        let tls = self.tls.as_ref().map(|tls| tls.current.read().expect("nothing panics while it is held").clone());
        match (tls, &self.web_socket) {
            (None, None) => Ok((Opened::Plain(stream), None)),
            (None, Some(path)) => Ok((upgrade(stream, path, limit).await?, None)),
            (Some(tls), path) => {
                let accepted = tls.accept(stream).await.map_err(EntryError::Tls)?;
                let name = accepted.name.map(|name| name.map_err(|why| why.to_string()));
                let opened = match path {
                    None => Opened::Wrapped(Box::new(Whole::new(accepted.stream))),
                    Some(path) => upgrade(accepted.stream, path, limit).await?,
                };
                Ok((opened, name))
            }
        }
    }
}

async fn upgrade<S>(stream: S, path: &str, limit: usize) -> Result<Opened, EntryError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = transport::accept_websocket(stream, path, limit).await.map_err(EntryError::WebSocket)?;
    Ok(Opened::Wrapped(Box::new(Whole::new(stream))))
}

/// Reads and checks the files, and warns of what will trouble clients though it is not wrong.
fn load(files: &TlsFiles, clock: Clock) -> Result<ServerTls, FilesError> {
    let read = |part: Part, path: &Path| {
        fs::read(path).map_err(|cause| FilesError::Read { key: part.key(), path: path.display().to_string(), cause })
    };
    let certificate = read(Part::Certificate, &files.certificate)?;
    let private_key = read(Part::PrivateKey, &files.private_key)?;
    let client_ca = files.client_ca.as_ref().map(|path| read(Part::ClientCa, path)).transpose()?;
    let material =
        ServerMaterial { certificate: &certificate, private_key: &private_key, client_ca: client_ca.as_deref() };
    let path = |part| match part {
        Part::Certificate => &files.certificate,
        Part::PrivateKey => &files.private_key,
        Part::ClientCa => files.client_ca.as_ref().unwrap_or(&files.certificate),
    };
    let tls = ServerTls::new(material).map_err(|(part, cause)| FilesError::Unusable {
        key: part.key(),
        path: path(part).display().to_string(),
        cause,
    })?;
    for (part, doubt) in ServerTls::doubts(material, clock.wall()) {
        warn!(file = %path(part).display(), error = %doubt, "a certificate is out of its time");
    }
    if is_open_to_all(&files.private_key) {
        let file = files.private_key.display();
        warn!(%file, "every user of this machine can read the private key; `chmod o-r` it");
    }
    Ok(tls)
}

fn is_open_to_all(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

/// An arrival at a listener.
pub(super) struct Arrival {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    pub at: crate::model::Monotonic,
    pub entrance: Arc<Entrance>,
}
