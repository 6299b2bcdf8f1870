//! One listener's way from an accepted socket to a stream of MQTT bytes: TLS, WebSocket, both or neither; and its certificates.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, RwLock};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::BrokerError;
use crate::clock::Clock;
use crate::config::{ListenerConfig, Place, TlsFiles};
use crate::model::{Monotonic, Timestamp};
use crate::transport::{self, HandshakeError, MaterialError, Part, ServerMaterial, ServerTls, UpgradeError, Whole};

/// What there is to know of a listener once it is bound.
#[derive(Debug)]
pub(super) struct Entrance {
    url: String,
    pub on_loopback: bool,
    /// Cancelled when those who came in here have to go.
    pub dismissed: CancellationToken,
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
    Tls(HandshakeError),
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
            dismissed: CancellationToken::new(),
            web_socket: config.web_socket.clone(),
            tls: tls.transpose()?,
        })
    }

    /// Those who came in here have to go.
    pub fn close(&self) {
        self.dismissed.cancel();
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

/// What will trouble clients or admins of these listeners though it is not wrong: certificates that are out of their time at `now`, and keys
/// that anybody can read. Each with the place of its listener.
pub fn certificate_warnings(listeners: &[ListenerConfig], now: Timestamp) -> Vec<(Option<Place>, String)> {
    let with_files = listeners.iter().filter_map(|listener| Some((listener, listener.tls.as_ref()?)));
    let warnings = with_files.filter_map(|(listener, files)| {
        let contents = Contents::read(files).ok()?;
        let warnings = contents.warnings(files, now).into_iter();
        Some(warnings.map(|warning| (listener.place.clone(), warning)).collect::<Vec<_>>())
    });
    warnings.flatten().collect()
}

/// Reads and checks the files, and logs their warnings.
fn load(files: &TlsFiles, clock: Clock) -> Result<ServerTls, FilesError> {
    let contents = Contents::read(files)?;
    let tls = ServerTls::new(contents.material()).map_err(|(part, cause)| FilesError::Unusable {
        key: part.key(),
        path: path(files, part).display().to_string(),
        cause,
    })?;
    for warning in contents.warnings(files, clock.wall()) {
        warn!("{warning}");
    }
    Ok(tls)
}

/// The contents of a listener's files.
struct Contents {
    certificate: Vec<u8>,
    private_key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Contents, FilesError> {
        let read = |part: Part| {
            let path = path(files, part);
            fs::read(path).map_err(|cause| FilesError::Read {
                key: part.key(),
                path: path.display().to_string(),
                cause,
            })
        };
        Ok(Contents {
            certificate: read(Part::Certificate)?,
            private_key: read(Part::PrivateKey)?,
            client_ca: files.client_ca.as_ref().map(|_| read(Part::ClientCa)).transpose()?,
        })
    }

    fn material(&self) -> ServerMaterial<'_> {
        ServerMaterial {
            certificate: &self.certificate,
            private_key: &self.private_key,
            client_ca: self.client_ca.as_deref(),
        }
    }

    fn warnings(&self, files: &TlsFiles, now: Timestamp) -> Vec<String> {
        let doubts = ServerTls::doubts(self.material(), now).into_iter();
        let doubts = doubts.map(|(part, doubt)| format!("{} {}: {doubt}", part.key(), path(files, part).display()));
        let key = &files.private_key;
        let open = fs::metadata(key).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0);
        let open = open
            .then(|| format!("private_key {}: every user of this machine can read it; `chmod o-r` it", key.display()));
        doubts.chain(open).collect()
    }
}

fn path(files: &TlsFiles, part: Part) -> &Path {
    match part {
        Part::Certificate => &files.certificate,
        Part::PrivateKey => &files.private_key,
        // A listener has no `ca`.
        Part::ClientCa | Part::Ca => files.client_ca.as_ref().unwrap_or(&files.certificate),
    }
}

/// An arrival at a listener.
pub(super) struct Arrival {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    pub at: Monotonic,
    pub entrance: Arc<Entrance>,
}
