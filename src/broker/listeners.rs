//! Accepting connections: binds at start, so that a taken port is an error of the start, and never lets one client hold up another.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::task::{self, AbortHandle, JoinError, JoinSet};
use tracing::{debug, error, info, warn};

use super::connection::{self, Shared, Visitor};
use super::doors::{Door, Order};
use super::entrance::{Arrival, Opened};
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
    doors: Vec<Door>,
    orders: mpsc::Receiver<Order>,
    shared: Shared,
    goodbyes: mpsc::Sender<Goodbye>,
) {
    let (accepted, arrivals) = mpsc::channel(16);
    let mut hall = Hall {
        places: Places::new(shared.limits.connections, shared.limits.connections_per_address),
        connections: JoinSet::new(),
        taken: HashMap::new(),
        numbers: HashMap::new(),
        turning_away: false,
        shared,
        goodbyes,
        doors: JoinSet::new(),
        accepted,
    };
    doors.into_iter().for_each(|door| hall.open(door));
    hall.receive(arrivals, orders).await;
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
    /// The tasks that accept, and what they hand their arrivals to.
    doors: JoinSet<()>,
    accepted: mpsc::Sender<Arrival>,
}

impl Hall {
    async fn receive(&mut self, mut arrivals: mpsc::Receiver<Arrival>, mut orders: mpsc::Receiver<Order>) {
        let stop = self.shared.stop.clone();
        loop {
            tokio::select! {
                Some(arrival) = arrivals.recv() => self.enter(arrival),
                Some(ended) = self.connections.join_next_with_id() => self.left(ended),
                Some(order) = orders.recv() => self.follow(order),
                // A listener that was closed.
                Some(ended) = self.doors.join_next() => tell(ended.err()),
                () = stop.cancelled() => return,
            }
        }
    }

    fn open(&mut self, door: Door) {
        self.doors.spawn(receive_at(door, self.accepted.clone(), self.shared.clock));
    }

    fn follow(&mut self, order: Order) {
        match order {
            Order::Open(door) => self.open(door),
            Order::Settings { limits, server_keep_alive_s } => {
                self.places.resize(limits.connections, limits.connections_per_address);
                (self.shared.limits, self.shared.server_keep_alive_s) = (limits, server_keep_alive_s);
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
        while let Some(ended) = self.doors.join_next().await {
            tell(ended.err());
        }
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

/// Accepts at one door until it is closed.
async fn receive_at(door: Door, accepted: mpsc::Sender<Arrival>, clock: Clock) {
    let Door { listener, entrance, closed, gone } = door;
    let mut failing = false;
    loop {
        let arrival = tokio::select! {
            () = closed.cancelled() => break,
            arrival = listener.accept() => arrival,
        };
        match arrival {
            Ok((stream, peer)) => {
                failing = false;
                let arrival = Arrival { stream, peer, at: clock.now(), entrance: entrance.borrow().clone() };
                if accepted.send(arrival).await.is_err() {
                    break;
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
    drop(listener);
    // Whoever waits for the address may have it now; often nobody does.
    let _ = gone.send(());
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
        () = entrance.dismissed.cancelled() => return,
    };
    let (opened, certificate) = match opened {
        Ok(opened) => opened,
        Err(error) => return info!(%peer, listener = entrance.url(), %error, "a connection could not be used"),
    };
    let origin = Origin { peer, on_loopback: entrance.on_loopback, certificate };
    let visitor = Visitor { origin, at, known, dismissed: entrance.dismissed.clone() };
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
