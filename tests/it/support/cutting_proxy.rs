//! A TCP proxy that behaves like a bad mobile link: it cuts in mid-packet, swallows, and refuses, as it is told.
//!
//! It runs in a thread of its own, so that tests with and without a runtime can use it.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::wait::wait_for;

/// A server that reads at all has taken a few kilobytes by then.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of the next packet that still pass when a running connection is cut: less than the shortest PUBLISH.
const MID_PACKET: u64 = 5;

/// The proxy, until it is dropped.
pub struct CuttingProxy {
    address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
    mode: watch::Sender<Mode>,
    counts: Arc<Counts>,
    _ends_with_it: DropGuard,
}

#[derive(Default)]
struct Counts {
    accepted: AtomicU64,
    /// Connections up to this one are half-open.
    frozen: AtomicU64,
    /// Pieces from a client that were read and are not yet with the server, nor gone.
    under_way: AtomicU64,
}

impl Counts {
    fn is_frozen(&self, connection: u64) -> bool {
        connection <= self.frozen.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Plan {
    /// The next connections are cut after so many bytes from the client, one each.
    cuts: VecDeque<u64>,
    cut: u64,
    /// Cuts that wait for a connection that has sent its first bytes and sends more.
    pending: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Everything goes through.
    Open,
    /// Bytes of the server are taken and go nowhere; those of the client pass.
    SwallowAnswers,
    /// Bytes of both sides are taken and go nowhere; nobody is told.
    Swallow,
    /// New connections end at once.
    Refuse,
}

impl CuttingProxy {
    /// Listens on a loopback port of its own and passes on to `target`, another one.
    pub fn start(target: u16) -> CuttingProxy {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        listener.set_nonblocking(true).expect("a socket can");
        let address = listener.local_addr().expect("it is bound");
        let plan = Arc::new(Mutex::new(Plan::default()));
        let (mode, watched) = watch::channel(Mode::Open);
        let end = CancellationToken::new();
        let counts = Arc::new(Counts::default());
        let (its_plan, its_counts, its_end) = (plan.clone(), counts.clone(), end.clone());
        thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(its_end.run_until_cancelled(async {
                let listener = TcpListener::from_std(listener).expect("it does not block");
                accept(listener, (Ipv4Addr::LOCALHOST, target).into(), its_plan, its_counts, watched).await;
            }));
        });
        CuttingProxy { address, plan, mode, counts, _ends_with_it: end.drop_guard() }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port of [`CuttingProxy::address`].
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Cuts a connection a few bytes into the next packets that its client sends: the running one or, between two, the next one once
    /// its CONNECT is through.
    pub fn cut_mid_packet(&self) {
        self.plan().pending += 1;
    }

    /// Cuts each of the next connections after so many bytes from the client.
    pub fn cut_after(&self, bytes: impl IntoIterator<Item = u64>) {
        self.plan().cuts.extend(bytes);
    }

    /// Lets everything through again.
    pub fn open(&self) {
        self.mode.send_replace(Mode::Open);
    }

    /// From now on the answers of the server are lost and nobody is told.
    pub fn swallow_answers(&self) {
        self.mode.send_replace(Mode::SwallowAnswers);
    }

    /// From now on everything is lost and nobody is told: a half-open connection. When this returns, what passed before is with the server's kernel.
    pub fn swallow(&self) {
        self.mode.send_replace(Mode::Swallow);
        let written = || (self.counts.under_way.load(Ordering::SeqCst) == 0).then_some(());
        wait_for("what passed the proxy to be written", PATIENCE, written);
    }

    /// The connections that there are carry nothing any more and nobody is told, whatever becomes of the server. New ones are whole.
    pub fn half_open(&self) {
        self.counts.frozen.store(self.counts.accepted.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// From now on new connections end at once. Those that there are go on.
    pub fn refuse(&self) {
        self.mode.send_replace(Mode::Refuse);
    }

    /// Connections that were cut as planned.
    pub fn cuts(&self) -> u64 {
        self.plan().cut
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().expect("nobody panics with it")
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    plan: Arc<Mutex<Plan>>,
    counts: Arc<Counts>,
    mode: watch::Receiver<Mode>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        if *mode.borrow() == Mode::Refuse {
            continue;
        }
        let cut = plan.lock().expect("nobody panics with it").cuts.pop_front();
        let number = counts.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        connections.spawn(pass(client, target, cut, plan.clone(), (counts.clone(), number), mode.clone()));
    }
}

async fn pass(
    client: TcpStream,
    target: SocketAddr,
    cut: Option<u64>,
    plan: Arc<Mutex<Plan>>,
    (counts, number): (Arc<Counts>, u64),
    mode: watch::Receiver<Mode>,
) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let upward = async {
        let mut left = cut.unwrap_or(u64::MAX);
        let locked = || plan.lock().expect("nobody panics with it");
        let mut greeted = false;
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = from_client.read(&mut bytes).await {
            // Counted before it looks: whoever changes the mode and sees nothing counted knows that nothing more passes.
            let _under_way = UnderWay::begin(&counts.under_way);
            if *mode.borrow() == Mode::Swallow || counts.is_frozen(number) {
                continue;
            }
            if std::mem::replace(&mut greeted, true) && take_one(&mut locked().pending) {
                left = left.min(MID_PACKET);
            }
            let passed = usize::try_from(left).unwrap_or(usize::MAX).min(read);
            if to_server.write_all(&bytes[..passed]).await.is_err() {
                return;
            }
            left -= passed as u64;
            if left == 0 {
                locked().cut += 1;
                return;
            }
        }
    };
    let downward = async {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = from_server.read(&mut bytes).await {
            if matches!(*mode.borrow(), Mode::Swallow | Mode::SwallowAnswers) || counts.is_frozen(number) {
                continue;
            }
            if to_client.write_all(&bytes[..read]).await.is_err() {
                return;
            }
        }
        if counts.is_frozen(number) {
            std::future::pending().await
        }
    };
    // When either way ends, both do, and both sockets are dropped in the middle of whatever they carried.
    tokio::select! {
        () = upward => {}
        () = downward => {}
    }
}

/// Counts one, until it is dropped.
struct UnderWay<'a>(&'a AtomicU64);

impl UnderWay<'_> {
    fn begin(count: &AtomicU64) -> UnderWay<'_> {
        count.fetch_add(1, Ordering::SeqCst);
        UnderWay(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Takes one of `count`, if there is one.
fn take_one(count: &mut u64) -> bool {
    let some = *count > 0;
    *count -= u64::from(some);
    some
}
