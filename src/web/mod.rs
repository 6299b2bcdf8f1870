//! HTTP for those who watch the gateway: health, readiness, metrics, and a page that says so.
//!
//! The only folder that names axum, hyper and prometheus-client. It reads snapshots and changes nothing by itself; what is ordered through the
//! control socket is for the gateway to do. A client that is slow or silent costs a bounded buffer for a bounded time, and delays nobody.

mod control;
mod guard;
mod metrics;
mod pages;
mod readiness;
mod socket;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router, middleware};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::config::Place;
use crate::model::Snapshot;

/// A request's line and headers, at most.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// From the first byte a client could send to the end of its headers; also the longest rest between two requests.
const HEADERS_WITHIN: Duration = Duration::from_secs(20);
/// A whole connection. Prometheus reconnects without a word.
const CONNECTION_WITHIN: Duration = Duration::from_secs(120);
/// Connections at a time. One more, and the oldest goes: it had the most time.
const MAX_CONNECTIONS: usize = 64;
/// The rest after a connection could not be taken.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// After a stop, what is being answered may finish for so long.
const FINISH_WITHIN: Duration = Duration::from_secs(1);

pub use control::{Answerer, Question, Reply};
pub use guard::Guard;
pub use pages::Source;
pub use socket::{CONTROL_SOCKET, address as socket_address};

/// Why the pages can't be served.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The address can't be bound.
    #[error("{place}: web.listen: can't listen on {listen}: {cause}. {}", hint(.cause, *.listen))]
    Bind {
        /// Where the configuration says so.
        place: Place,
        /// The address.
        listen: SocketAddr,
        /// What the system said. No `source`: the text has it already.
        cause: io::Error,
    },
    /// The control socket can't be made.
    #[error(
        "can't make the control socket {}: {cause}; `fieldway status` and others reach the gateway through it. Is the folder the \
         gateway's own?",
        path.display()
    )]
    Control {
        /// The socket.
        path: PathBuf,
        /// What the system said. No `source`: the text has it already.
        cause: io::Error,
    },
}

/// What to try when an address can't be bound.
fn hint(error: &io::Error, listen: SocketAddr) -> String {
    let port = listen.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "Another program has this port (`ss -ltnp 'sport = :{port}'` shows which): stop it, or choose another port"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            "This machine has no such address (`ip address` shows which it has); 127.0.0.1 is always there".into()
        }
        io::ErrorKind::PermissionDenied => {
            format!("Ports below 1024 need a right that the gateway does not have: choose one above instead of {port}")
        }
        _ => "Choose another address or port".into(),
    }
}

/// What is served.
#[derive(Clone)]
pub struct Pages {
    /// Gives the gateway's present state; it must be quick.
    pub source: Source,
    /// Answers what is asked at `/api/`.
    pub answerer: Option<Answerer>,
}

impl Pages {
    /// The pages alone.
    pub fn of(source: impl Fn() -> Snapshot + Send + Sync + 'static) -> Pages {
        Pages { source: Arc::new(source), answerer: None }
    }

    fn router(self, takes_orders: bool) -> Router {
        let pages = pages::router(self.source);
        match self.answerer {
            Some(answerer) => pages.merge(control::router(answerer, takes_orders)),
            None => pages,
        }
    }
}

/// The running pages.
#[derive(Debug)]
pub struct Web {
    address: SocketAddr,
    serving: Serving,
}

impl Web {
    /// Where they are served; tells the port when the configuration left it to the system (port 0).
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the pages have ended, which they do once their token is cancelled, within a second or so.
    pub async fn stopped(self) {
        self.serving.stopped().await;
    }
}

/// Pages that are served somewhere.
#[derive(Debug)]
pub struct Serving(JoinHandle<()>);

impl Serving {
    /// Waits until it has ended, which it does once its token is cancelled, within a second or so.
    pub async fn stopped(self) {
        if let Err(error) = self.0.await {
            warn!(error = %error, "the web pages ended badly");
        }
    }
}

/// Binds `listen` and serves the pages to everybody until `cancel`. `source` is asked for a snapshot at each request: it must be quick.
///
/// Errors when the address can't be bound, naming `place`.
pub async fn start<S>(listen: SocketAddr, place: Place, source: S, cancel: CancellationToken) -> Result<Web, WebError>
where
    S: Fn() -> Snapshot + Send + Sync + 'static,
{
    start_guarded(listen, place, Pages::of(source), None, cancel).await
}

/// As [`start`], to those whom `guard` lets in.
pub async fn start_guarded(
    listen: SocketAddr,
    place: Place,
    pages: Pages,
    guard: Option<Guard>,
    cancel: CancellationToken,
) -> Result<Web, WebError> {
    let failed = |cause| WebError::Bind { place: place.clone(), listen, cause };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let mut pages = pages.router(false);
    if let Some(guard) = guard {
        pages = pages.layer(middleware::from_fn_with_state(guard, guard::ask));
    }
    Ok(Web { address, serving: Serving(tokio::spawn(accept(Door::Tcp(listener), pages, cancel))) })
}

/// Makes the control socket in `folder`, which nobody else uses, and serves the pages and takes orders there until `cancel`.
///
/// Errors when it can't be made.
pub fn start_control(folder: &Path, pages: Pages, cancel: CancellationToken) -> Result<Serving, WebError> {
    let listener =
        socket::bind(folder).map_err(|cause| WebError::Control { path: folder.join(CONTROL_SOCKET), cause })?;
    Ok(Serving(tokio::spawn(accept(Door::Unix(listener), pages.router(true), cancel))))
}

/// Where connections come from.
enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
}

enum Caller {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Door {
    async fn accept(&self) -> io::Result<Caller> {
        match self {
            Door::Tcp(listener) => listener.accept().await.map(|(stream, peer)| Caller::Tcp(stream, peer)),
            Door::Unix(listener) => listener.accept().await.map(|(stream, _)| Caller::Unix(stream)),
        }
    }
}

impl Caller {
    async fn serve(self, pages: Router, cancel: CancellationToken) {
        match self {
            Caller::Tcp(stream, peer) => serve(stream, pages.layer(Extension(peer)), cancel).await,
            Caller::Unix(stream) => serve(stream, pages, cancel).await,
        }
    }
}

async fn accept(door: Door, pages: Router, cancel: CancellationToken) {
    let mut connections = JoinSet::new();
    let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
    let mut failing = false;
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended && error.is_panic() {
                    warn!(error = %error, "a connection to the web pages ended badly");
                }
                oldest_first.retain(|connection| !connection.is_finished());
            }
            accepted = door.accept() => match accepted {
                Ok(caller) => {
                    failing = false;
                    if oldest_first.len() >= MAX_CONNECTIONS && let Some(oldest) = oldest_first.pop_front() {
                        oldest.abort();
                    }
                    oldest_first.push_back(connections.spawn(caller.serve(pages.clone(), cancel.clone())));
                }
                Err(error) => {
                    if !failing {
                        warn!(error = %error, "can't take connections to the web pages; trying again every second");
                    }
                    failing = true;
                    // Out of file descriptors, mostly: trying again at once would only burn time.
                    if tokio::time::timeout(RETRY_AFTER, cancel.cancelled()).await.is_ok() {
                        break;
                    }
                }
            },
        }
    }
    let finished = async { while connections.join_next().await.is_some() {} };
    // What is still there after this is aborted when the set is dropped.
    let _ = tokio::time::timeout(FINISH_WITHIN, finished).await;
}

async fn serve<S>(stream: S, pages: Router, cancel: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(pages));
    let mut connection = std::pin::pin!(connection);
    let served = async {
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = cancel.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            }
        }
    };
    match tokio::time::timeout(CONNECTION_WITHIN, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(error = %error, "a connection to the web pages broke off"),
        Err(_) => debug!("a connection to the web pages took too long"),
    }
}
