//! One publisher and its subscribers, all on one thread so that they take as little of the machine as can be: the broker has the other core.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::task::LocalSet;

use super::brokers::Process;
use super::wire::{self, Packet};

pub const PAYLOAD: usize = 100;
/// Messages written at once.
const CHUNK: usize = 50;
const READ: usize = 128 << 10;
/// What is left out of the figures at the beginning.
const WARM_UP: Duration = Duration::from_millis(300);

/// What is asked of a broker.
#[derive(Clone)]
pub struct Load {
    pub qos: u8,
    pub subscribers: usize,
    /// Messages that may be on their way at once.
    pub window: usize,
    pub duration: Duration,
    /// Paced, with the latency of each message; as fast as it goes otherwise.
    pub per_second: Option<u32>,
}

/// What it did.
pub struct Outcome {
    /// Messages delivered a second, to all subscribers together.
    pub rate: f64,
    /// The part of one core that the broker used.
    pub busy: f64,
    pub latencies_us: Vec<u64>,
}

/// What the tasks of one run share.
struct Shared {
    begin: Instant,
    sent: Cell<usize>,
    /// Messages of the publisher that the broker is done with.
    settled: Cell<usize>,
    delivered: Vec<Cell<usize>>,
    latencies_us: RefCell<Vec<u64>>,
    moved: Notify,
}

impl Shared {
    fn slowest(&self) -> usize {
        self.delivered.iter().map(Cell::get).min().unwrap_or(0)
    }

    fn total(&self) -> usize {
        self.delivered.iter().map(Cell::get).sum()
    }
}

impl Load {
    /// Puts the load on a broker.
    pub fn run(&self, broker: &Process) -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        LocalSet::new().block_on(&runtime, self.drive(broker))
    }

    async fn drive(&self, broker: &Process) -> Outcome {
        let shared = Rc::new(Shared {
            begin: Instant::now(),
            sent: Cell::new(0),
            settled: Cell::new(0),
            delivered: (0..self.subscribers).map(|_| Cell::new(0)).collect(),
            latencies_us: RefCell::default(),
            moved: Notify::new(),
        });
        let mut tasks = Vec::new();
        for index in 0..self.subscribers {
            let mut stream = connect(broker, &format!("subscriber-{index}"), true).await;
            subscribe(&mut stream, self.qos).await;
            tasks.push(tokio::task::spawn_local(subscriber(stream, index, self.per_second.is_some(), shared.clone())));
        }
        let (mut reader, writer) = connect(broker, "publisher", true).await.into_split();
        let answers = Rc::new(RefCell::new(Vec::new()));
        tasks.push(tokio::task::spawn_local(publisher(self.clone(), writer, answers.clone(), shared.clone())));
        let (here, there) = (shared.clone(), answers);
        tasks.push(tokio::task::spawn_local(async move {
            packets(
                &mut reader,
                |packet| match packet.kind {
                    wire::PUBREC => wire::acknowledge(wire::PUBREL, packet.id(), &mut there.borrow_mut()),
                    wire::PUBACK | wire::PUBCOMP => here.settled.set(here.settled.get() + 1),
                    _ => {}
                },
                || here.moved.notify_one(),
            )
            .await;
        }));

        tokio::time::sleep(WARM_UP).await;
        let (begin, before, cpu) = (Instant::now(), shared.total(), broker.cpu());
        shared.latencies_us.borrow_mut().clear();
        tokio::time::sleep(self.duration).await;
        let (elapsed, moved) = (begin.elapsed().as_secs_f64(), shared.total() - before);
        let busy = (broker.cpu() - cpu).as_secs_f64() / elapsed;
        tasks.iter().for_each(|task| task.abort());
        assert!(moved > 0, "{} delivered nothing at QoS {}", broker.name, self.qos);
        Outcome { rate: moved as f64 / elapsed, busy, latencies_us: shared.latencies_us.take() }
    }
}

async fn publisher(load: Load, mut writer: OwnedWriteHalf, answers: Rc<RefCell<Vec<u8>>>, shared: Rc<Shared>) {
    let (mut out, mut payload) = (Vec::new(), [b'x'; PAYLOAD]);
    loop {
        out.append(&mut answers.borrow_mut());
        let sent = shared.sent.get();
        let settled = if load.qos > 0 { shared.settled.get() } else { usize::MAX };
        let room = load.window.saturating_sub(sent - shared.slowest().min(settled).min(sent));
        // A chunk is worth a system call; less is only sent when it is due.
        let mut many = if room >= CHUNK { CHUNK } else { 0 };
        if let Some(rate) = load.per_second {
            let due = (shared.begin.elapsed().as_secs_f64() * f64::from(rate)) as usize;
            many = due.saturating_sub(sent).min(room);
        }
        for n in sent..sent + many {
            payload[..8].copy_from_slice(&(shared.begin.elapsed().as_nanos() as u64).to_be_bytes());
            wire::publish(load.qos, 1 + (n % 60_000) as u16, &payload, &mut out);
        }
        shared.sent.set(sent + many);
        if !out.is_empty() {
            writer.write_all(&out).await.expect("the broker takes it");
            out.clear();
        } else if load.per_second.is_some() {
            let _ = tokio::time::timeout(Duration::from_millis(1), shared.moved.notified()).await;
        } else {
            shared.moved.notified().await;
        }
    }
}

async fn subscriber(stream: TcpStream, index: usize, timed: bool, shared: Rc<Shared>) {
    let (mut reader, mut writer) = stream.into_split();
    let mut buffer = Vec::with_capacity(READ);
    let mut out = Vec::new();
    loop {
        let mut messages = 0;
        let came = reader.read_buf(&mut buffer).await.expect("the broker stays");
        assert!(came > 0, "the broker closed the connection of a subscriber");
        each(&mut buffer, |packet| match packet.kind {
            wire::PUBLISH => {
                messages += 1;
                let (id, payload) = packet.publish();
                match packet.flags >> 1 & 3 {
                    1 => wire::acknowledge(wire::PUBACK, id, &mut out),
                    2 => wire::acknowledge(wire::PUBREC, id, &mut out),
                    _ => {}
                }
                if timed {
                    let sent = u64::from_be_bytes(payload[..8].try_into().expect("eight bytes"));
                    let took = shared.begin.elapsed().as_nanos() as u64 - sent;
                    shared.latencies_us.borrow_mut().push(took / 1_000);
                }
            }
            wire::PUBREL => wire::acknowledge(wire::PUBCOMP, packet.id(), &mut out),
            _ => {}
        });
        shared.delivered[index].set(shared.delivered[index].get() + messages);
        shared.moved.notify_one();
        if !out.is_empty() {
            writer.write_all(&out).await.expect("the broker takes it");
            out.clear();
        }
    }
}

/// Calls `packet` for each packet that comes and `after` once all that came together are through.
pub async fn packets<R: AsyncReadExt + Unpin>(
    reader: &mut R,
    mut packet: impl FnMut(Packet<'_>),
    mut after: impl FnMut(),
) {
    let mut buffer = Vec::with_capacity(READ);
    loop {
        let came = reader.read_buf(&mut buffer).await.expect("the broker stays");
        assert!(came > 0, "the broker closed the connection of the publisher");
        each(&mut buffer, &mut packet);
        after();
    }
}

fn each(buffer: &mut Vec<u8>, mut packet: impl FnMut(Packet<'_>)) {
    let mut at = 0;
    while let Some((found, length)) = wire::parse(&buffer[at..]) {
        packet(found);
        at += length;
    }
    buffer.drain(..at);
}

/// Connected; the session is kept when `is_clean` is false.
pub async fn connect(broker: &Process, client_id: &str, is_clean: bool) -> TcpStream {
    let mut stream = TcpStream::connect(broker.address).await.expect("the broker listens");
    stream.set_nodelay(true).expect("a TCP socket");
    let mut words = Vec::new();
    wire::connect(client_id, is_clean, &mut words);
    stream.write_all(&words).await.expect("the broker listens");
    expect(&mut stream, wire::CONNACK).await;
    stream
}

pub async fn subscribe(stream: &mut TcpStream, qos: u8) {
    let mut words = Vec::new();
    wire::subscribe(qos, &mut words);
    stream.write_all(&words).await.expect("the broker listens");
    expect(stream, wire::SUBACK).await;
}

/// Reads one packet of this kind, which has nothing behind it yet.
async fn expect(stream: &mut TcpStream, kind: u8) {
    let mut buffer = Vec::new();
    loop {
        let came = stream.read_buf(&mut buffer).await.expect("the broker stays");
        assert!(came > 0, "the broker closed the connection");
        if let Some((packet, _)) = wire::parse(&buffer) {
            assert_eq!(packet.kind, kind);
            return;
        }
    }
}
