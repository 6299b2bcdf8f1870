//! Accepting connections: binds at start, so that a taken port is an error of the start, and never lets one client hold up another.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};
use tracing::{error, info, warn};

use super::BrokerError;
use super::connection::{self, Shared};
use super::hub_task::Goodbye;
use crate::clock::Clock;
use crate::config::ListenerConfig;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: u32 = 1_024;
/// The pause after a failed accept: out of file descriptors, it would fail again at once.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// How long connections may take to end after the stop.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// Binds a listener. A port that was in use a moment ago by an earlier run of this program can be taken again.
pub(super) fn bind(listener: &ListenerConfig) -> Result<TcpListener, BrokerError> {
    let attempt = || -> io::Result<TcpListener> {
        let socket = if listener.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(listener.address)?;
        socket.listen(BACKLOG)
    };
    attempt().map_err(|cause| BrokerError::Listen {
        url: listener.url.clone(),
        place: listener.place.clone(),
        advice: advice(&cause, listener.address),
        cause,
    })
}

fn advice(error: &io::Error, address: SocketAddr) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "another program, perhaps mosquitto, listens there: `ss -ltnp 'sport = :{port}'` shows which; stop it or choose another port"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "no network interface of this machine has the address {}: `ip address` shows which there are",
                address.ip()
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!("port {port} is below 1024 and needs a privilege; choose a higher one, such as 1883")
        }
        _ => "check the address and port".into(),
    }
}

/// Accepts on all listeners until the stop, then waits for the connections to end.
pub(super) async fn accept(listeners: Vec<TcpListener>, shared: Shared, goodbyes: mpsc::Sender<Goodbye>) {
    let room = Arc::new(Semaphore::new(shared.limits.connections));
    let (accepted, mut arrivals) = mpsc::channel(16);
    let mut doors = JoinSet::new();
    for listener in listeners {
        doors.spawn(door(listener, accepted.clone(), shared.clock, shared.stop.clone()));
    }
    drop(accepted);

    let mut connections = JoinSet::new();
    let mut full = false;
    loop {
        tokio::select! {
            arrival = arrivals.recv() => {
                let Some((stream, peer)) = arrival else { break };
                match (room.clone().try_acquire_owned(), goodbyes.clone().try_reserve_owned()) {
                    (Ok(place), Ok(goodbye)) => {
                        full = false;
                        connections.spawn(serve(stream, peer, shared.clone(), goodbye, place));
                    }
                    _ if !std::mem::replace(&mut full, true) => {
                        warn!(%peer, limit = shared.limits.connections, "too many clients; new ones are turned away");
                    }
                    _ => {}
                }
            }
            Some(ended) = connections.join_next() => tell(ended),
        }
    }
    while let Some(ended) = doors.join_next().await {
        tell(ended);
    }
    let rest = async {
        while let Some(ended) = connections.join_next().await {
            tell(ended);
        }
    };
    if tokio::time::timeout(STOP_WITHIN, rest).await.is_err() {
        info!(clients = connections.len(), "clients that did not close in time are cut off");
        connections.shutdown().await;
    }
}

async fn door(
    listener: TcpListener,
    accepted: mpsc::Sender<(TcpStream, SocketAddr)>,
    clock: Clock,
    stop: tokio_util::sync::CancellationToken,
) {
    let mut failing = false;
    loop {
        let arrival = tokio::select! {
            () = stop.cancelled() => return,
            arrival = listener.accept() => arrival,
        };
        match arrival {
            Ok(arrival) => {
                failing = false;
                if accepted.send(arrival).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!(%error, "a connection could not be accepted; trying on");
                }
                clock.sleep(AFTER_FAILURE).await;
            }
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    peer: SocketAddr,
    shared: Shared,
    goodbye: mpsc::OwnedPermit<Goodbye>,
    _place: OwnedSemaphorePermit,
) {
    // Small packets must not wait for each other. A socket that refuses this still works.
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.split();
    connection::serve(reader, writer, peer, shared, goodbye).await;
}

fn tell(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "the task of one client failed; the others are not affected. Please report this");
    }
}
