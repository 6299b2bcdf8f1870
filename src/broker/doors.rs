//! The listeners of a broker that runs: opened, closed and changed while clients come and go.
//!
//! A listener is known by its address. What else of it changes, its certificate files or its path, changes for those who come from then on; the
//! clients that came before are sent away, since they came in by other rules.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::entrance::Entrance;
use super::{BrokerError, Limits, listeners};
use crate::clock::Clock;
use crate::config::ListenerConfig;

/// Orders that may wait.
pub(super) const ORDERS: usize = 64;

/// What the task that accepts is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Accept here, too.
    Open(Door),
    /// From now on these hold, for those who come.
    Settings { limits: Limits, server_keep_alive_s: Option<u16> },
}

/// A bound listener, and how its clients are let in.
#[derive(Debug)]
pub(super) struct Door {
    pub listener: TcpListener,
    pub entrance: watch::Receiver<Arc<Entrance>>,
    /// Ends it.
    pub closed: CancellationToken,
    /// Dropped with the listener's socket.
    pub gone: oneshot::Sender<()>,
}

/// All listeners.
#[derive(Debug)]
pub(super) struct Doors {
    open: Mutex<Vec<Open>>,
    orders: mpsc::Sender<Order>,
    stop: CancellationToken,
    /// The broker's own runtime, which its sockets belong to.
    runtime: Handle,
    clock: Clock,
}

#[derive(Debug)]
struct Open {
    config: ListenerConfig,
    entrance: watch::Sender<Arc<Entrance>>,
    closed: CancellationToken,
    gone: oneshot::Receiver<()>,
}

/// Listeners as they are to be; everything of them that can be tried beforehand has been.
#[derive(Debug)]
pub struct Prepared {
    wanted: Vec<ListenerConfig>,
    /// New ones, bound.
    bound: Vec<(ListenerConfig, TcpListener, Arc<Entrance>)>,
    /// New ones whose port belongs to one that is to be closed.
    later: Vec<(ListenerConfig, Arc<Entrance>)>,
    /// Known addresses that are entered by other rules.
    changed: Vec<(ListenerConfig, Arc<Entrance>)>,
}

impl Doors {
    pub fn new(orders: mpsc::Sender<Order>, stop: CancellationToken, runtime: Handle, clock: Clock) -> Doors {
        Doors { open: Mutex::default(), orders, stop, runtime, clock }
    }

    /// Notes a listener that is bound, and returns what is to be accepted on.
    pub fn note(&self, config: &ListenerConfig, listener: TcpListener, entrance: Arc<Entrance>) -> Door {
        let (swap, entrance) = watch::channel(entrance);
        let closed = self.stop.child_token();
        let (door_gone, gone) = oneshot::channel();
        self.open().push(Open { config: config.clone(), entrance: swap, closed: closed.clone(), gone });
        Door { listener, entrance, closed, gone: door_gone }
    }

    /// Reads the files of listeners with TLS again.
    pub fn reload_certificates(&self) {
        let entrances: Vec<Arc<Entrance>> = self.open().iter().map(|open| open.entrance.borrow().clone()).collect();
        entrances.iter().for_each(|entrance| entrance.reload(self.clock));
    }

    /// Does what can fail: reads certificates and binds new addresses. Nothing has changed yet, whatever this returns.
    pub fn prepare(&self, wanted: &[ListenerConfig]) -> Result<Prepared, BrokerError> {
        let known: Vec<ListenerConfig> = self.open().iter().map(|open| open.config.clone()).collect();
        let mut prepared =
            Prepared { wanted: wanted.to_vec(), bound: Vec::new(), later: Vec::new(), changed: Vec::new() };
        for config in wanted {
            match known.iter().find(|known| known.address == config.address) {
                Some(known) if is_same(known, config) => {}
                Some(_) => prepared.changed.push((config.clone(), Arc::new(Entrance::new(config, self.clock)?))),
                None => {
                    let entrance = Arc::new(Entrance::new(config, self.clock)?);
                    let is_leaving = |known: &&ListenerConfig| {
                        !wanted.iter().any(|wanted| wanted.address == known.address)
                            && known.address.port() == config.address.port()
                    };
                    // From 127.0.0.1 to 0.0.0.0: both at once is more than the system allows.
                    if known.iter().any(|known| is_leaving(&known)) {
                        prepared.later.push((config.clone(), entrance));
                    } else {
                        prepared.bound.push((config.clone(), self.bind(config)?, entrance));
                    }
                }
            }
        }
        Ok(prepared)
    }

    /// Makes it so. What can still fail is told in the log; the rest is done.
    pub async fn apply(&self, prepared: Prepared) {
        let Prepared { wanted, bound, later, changed } = prepared;
        for (config, entrance) in changed {
            if let Some(open) = self.open().iter_mut().find(|open| open.config.address == config.address) {
                open.config = config;
                open.entrance.send_replace(entrance).close();
            }
        }
        let leaving = {
            let mut open = self.open();
            let (stay, leave) = std::mem::take(&mut *open)
                .into_iter()
                .partition(|open| wanted.iter().any(|wanted| wanted.address == open.config.address));
            *open = stay;
            leave
        };
        for Open { config, entrance, closed, gone } in leaving {
            info!(listener = %config.url, "the listener is closed, and its clients are sent away");
            closed.cancel();
            entrance.borrow().close();
            // Its socket is free once its task has dropped it.
            let _ = gone.await;
        }
        for (config, entrance) in later {
            match self.bind(&config) {
                Ok(listener) => self.begin(&config, listener, entrance).await,
                Err(error) => error!(%error, "a new listener is missing until the next reload"),
            }
        }
        for (config, listener, entrance) in bound {
            self.begin(&config, listener, entrance).await;
        }
    }

    /// From now on these hold, for those who come.
    pub async fn settings(&self, limits: Limits, server_keep_alive_s: Option<u16>) {
        // Without a receiver the broker has stopped.
        let _ = self.orders.send(Order::Settings { limits, server_keep_alive_s }).await;
    }

    async fn begin(&self, config: &ListenerConfig, listener: TcpListener, entrance: Arc<Entrance>) {
        let address: Option<SocketAddr> = listener.local_addr().ok();
        let door = self.note(config, listener, entrance);
        if self.orders.send(Order::Open(door)).await.is_ok() {
            info!(listener = %config.url, address = address.map(tracing::field::display), "the broker listens");
        }
    }

    fn bind(&self, config: &ListenerConfig) -> Result<TcpListener, BrokerError> {
        let _inside = self.runtime.enter();
        listeners::bind(config)
    }

    fn open(&self) -> MutexGuard<'_, Vec<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether clients are let in as before; where the file says so is nothing to them.
fn is_same(a: &ListenerConfig, b: &ListenerConfig) -> bool {
    (&a.web_socket, &a.tls) == (&b.web_socket, &b.tls)
}
