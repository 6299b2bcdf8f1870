//! Devices that dial in, behind 4G modems for example: one connection at a time.
//!
//! Nothing tells who is at the other end: whoever reaches the port can pretend to be the device. `from:` narrows it down.
//! While a connection works, another one waits; it takes over once the first one is closed or has been silent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::super::LineError;
use super::dial;
use crate::model::Network;

/// A device that is not there is waited for so long at a time.
const WAIT: Duration = Duration::from_secs(1);
/// Connections that may wait to be looked at.
const BACKLOG: i32 = 8;

/// A port that devices connect to.
#[derive(Debug, Clone)]
pub struct Listening {
    address: SocketAddr,
    from: Arc<[Network]>,
    listener: Option<Arc<TcpListener>>,
    /// A stranger was turned away; the log says so once.
    has_warned: Arc<AtomicBool>,
}

impl Listening {
    /// Not bound yet. Without `from` anyone may connect.
    pub fn new(address: SocketAddr, from: &[Network]) -> Listening {
        Listening { address, from: from.into(), listener: None, has_warned: Arc::default() }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection, waited for a second. Independent of this one, which may be used meanwhile.
    pub fn accept(&mut self) -> impl Future<Output = Result<TcpStream, LineError>> + Send + use<> {
        let bound = self.bind();
        let this = self.clone();
        async move {
            bound?;
            if let Some(newest) = this.newest() {
                return Ok(newest);
            }
            tokio::time::timeout(WAIT, this.welcome_one()).await.unwrap_or(Err(LineError::NobodyDialsIn(this.address)))
        }
    }

    /// The newest of the connections that wait; the older ones are given up by whoever made it.
    pub fn newest(&self) -> Option<TcpStream> {
        let mut newest = None;
        let mut context = Context::from_waker(Waker::noop());
        // As many as can wait at a time: more come only from someone who wants to keep us here.
        for _ in 0..BACKLOG {
            let Poll::Ready(Ok((stream, peer))) = self.listener.as_ref()?.poll_accept(&mut context) else { break };
            newest = self.welcome(stream, peer).or(newest);
        }
        newest
    }

    async fn welcome_one(&self) -> Result<TcpStream, LineError> {
        loop {
            let Some(listener) = &self.listener else { return Err(LineError::NobodyDialsIn(self.address)) };
            let (stream, peer) = listener.accept().await.map_err(|error| self.cant_listen(&error))?;
            if let Some(stream) = self.welcome(stream, peer) {
                return Ok(stream);
            }
        }
    }

    fn welcome(&self, stream: TcpStream, peer: SocketAddr) -> Option<TcpStream> {
        let ip = peer.ip().to_canonical();
        if self.from.is_empty() || self.from.iter().any(|network| network.contains(ip)) {
            dial::prepare(&stream);
            return Some(stream);
        }
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(address = %self.address, %peer, "a connection from outside `from:` was turned away; others like it are not reported");
        }
        None
    }

    fn bind(&mut self) -> Result<(), LineError> {
        if self.listener.is_none() {
            self.listener = Some(Arc::new(bound(self.address).map_err(|error| self.cant_listen(&error))?));
        }
        Ok(())
    }

    fn cant_listen(&self, error: &std::io::Error) -> LineError {
        LineError::CantListen { address: self.address, cause: error.to_string() }
    }
}

fn bound(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
