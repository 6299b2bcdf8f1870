//! Accepting connections: binds at start, so that a taken port is an error of the start, and never lets one client hold up another.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::task::{self, AbortHandle, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::connection::{self, Shared, Visitor};
use super::entrance::{Arrival, Entrance, Opened};
use super::hub_task::Goodbye;
use super::logins::Origin;
use super::places::{Entry, Known, Number, Places};
use super::{BrokerError, Limits};
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
pub(super) async fn accept(
    listeners: Vec<(TcpListener, Arc<Entrance>)>,
    shared: Shared,
    goodbyes: mpsc::Sender<Goodbye>,
) {
    let (accepted, arrivals) = mpsc::channel(16);
    let mut doors = JoinSet::new();
    for (listener, entrance) in listeners {
        doors.spawn(door(listener, entrance, accepted.clone(), shared.clock, shared.stop.clone()));
    }
    drop(accepted);
    let mut hall = Hall {
        places: Places::new(shared.limits.connections, shared.limits.connections_per_address),
        connections: JoinSet::new(),
        taken: HashMap::new(),
        numbers: HashMap::new(),
        turning_away: false,
        shared,
        goodbyes,
    };
    hall.receive(arrivals).await;
    while let Some(ended) = doors.join_next().await {
        tell(ended.err());
    }
    hall.close().await;
}

/// The connections that there are.
struct Hall {
    places: Places,
    connections: JoinSet<()>,
    /// Who has which place.
    taken: HashMap<task::Id, (IpAddr, Number)>,
    numbers: HashMap<Number, AbortHandle>,
    turning_away: bool,
    shared: Shared,
    goodbyes: mpsc::Sender<Goodbye>,
}

impl Hall {
    async fn receive(&mut self, mut arrivals: mpsc::Receiver<Arrival>) {
        loop {
            tokio::select! {
                arrival = arrivals.recv() => match arrival {
                    Some(arrival) => self.enter(arrival),
                    None => return,
                },
                Some(ended) = self.connections.join_next_with_id() => self.left(ended),
            }
        }
    }

    fn enter(&mut self, arrival: Arrival) {
        let peer = arrival.peer;
        // There are twice as many as connections, so it fails only while those that made room for others are not gone yet.
        let Ok(goodbye) = self.goodbyes.clone().try_reserve_owned() else { return self.turn_away(peer, "in all") };
        let (number, known) = match self.places.enter(peer.ip()) {
            Entry::Enter(number, known) => (number, known),
            Entry::Instead(number, known, silent) => {
                if let Some(silent) = self.numbers.remove(&silent) {
                    debug!(%peer, "a connection that has said nothing makes room for this one");
                    self.taken.remove(&silent.id());
                    silent.abort();
                }
                (number, known)
            }
            Entry::Full => return self.turn_away(peer, "in all"),
            Entry::AddressFull => return self.turn_away(peer, "from one address"),
        };
        self.turning_away = false;
        let task = self.connections.spawn(serve(arrival, self.shared.clone(), goodbye, known));
        self.taken.insert(task.id(), (peer.ip(), number));
        self.numbers.insert(number, task);
    }

    fn turn_away(&mut self, peer: SocketAddr, how: &str) {
        if !std::mem::replace(&mut self.turning_away, true) {
            let Limits { connections, connections_per_address, .. } = self.shared.limits;
            warn!(%peer, connections, connections_per_address, "too many clients {how}; new ones are turned away");
        }
    }

    fn left(&mut self, ended: Result<(task::Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        if let Some((ip, number)) = self.taken.remove(&id) {
            self.numbers.remove(&number);
            self.places.leave(ip, number);
        }
        tell(ended.err());
    }

    async fn close(mut self) {
        let rest = async {
            while let Some(ended) = self.connections.join_next().await {
                tell(ended.err());
            }
        };
        if tokio::time::timeout(STOP_WITHIN, rest).await.is_err() {
            info!(clients = self.connections.len(), "clients that did not close in time are cut off");
            self.connections.shutdown().await;
        }
    }
}

async fn door(
    listener: TcpListener,
    entrance: Arc<Entrance>,
    accepted: mpsc::Sender<Arrival>,
    clock: Clock,
    stop: CancellationToken,
) {
    let mut failing = false;
    loop {
        let arrival = tokio::select! {
            () = stop.cancelled() => return,
            arrival = listener.accept() => arrival,
        };
        match arrival {
            Ok((stream, peer)) => {
                failing = false;
                let arrival = Arrival { stream, peer, at: clock.now(), entrance: entrance.clone() };
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

/// Serves one connection, from its handshakes to its end.
async fn serve(arrival: Arrival, shared: Shared, goodbye: mpsc::OwnedPermit<Goodbye>, known: Known) {
    let Arrival { stream, peer, at, entrance } = arrival;
    // Small packets must not wait for each other. A socket that refuses this still works.
    let _ = stream.set_nodelay(true);
    let by = at + shared.limits.connect_within;
    let opened = tokio::select! {
        // A handshake needs much room, and a connection that is open should not keep it.
        opened = Box::pin(entrance.open(stream, shared.limits.packet_size)) => opened,
        () = shared.clock.sleep_until(by) => {
            info!(%peer, listener = entrance.url(), "a connection came no further than its handshake in time and is closed");
            return;
        }
        () = shared.stop.cancelled() => return,
    };
    let (opened, certificate) = match opened {
        Ok(opened) => opened,
        Err(error) => return info!(%peer, listener = entrance.url(), %error, "a connection could not be used"),
    };
    let origin = Origin { peer, on_loopback: entrance.on_loopback, certificate };
    let visitor = Visitor { origin, at, known };
    match opened {
        Opened::Plain(mut stream) => {
            let (reader, writer) = stream.split();
            connection::serve(reader, writer, visitor, shared, goodbye).await;
        }
        Opened::Wrapped(stream) => {
            let (reader, writer) = tokio::io::split(stream);
            connection::serve(reader, writer, visitor, shared, goodbye).await;
        }
    }
}

fn tell(ended: Option<JoinError>) {
    if let Some(error) = ended
        && error.is_panic()
    {
        error!(%error, "the task of one client failed; the others are not affected. Please report this");
    }
}
