//! Sixteen publishers at QoS 1 while a session that is kept gets all of it: each acknowledgement means that the message is on disk.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::LocalSet;

use super::brokers::Process;
use super::load::{PAYLOAD, connect, packets, subscribe};
use super::wire;

const PUBLISHERS: usize = 16;
/// What is left out of the figures at the beginning.
const WARM_UP: Duration = Duration::from_millis(500);

/// What a broker did.
pub struct Outcome {
    /// Messages acknowledged to the publishers a second.
    pub acknowledged: f64,
    /// Messages that the kept session got a second.
    pub delivered: f64,
}

/// Loads a broker; each publisher has up to `window` messages without an answer.
pub fn run(broker: &Process, window: usize, duration: Duration) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, drive(broker, window, duration))
}

async fn drive(broker: &Process, window: usize, duration: Duration) -> Outcome {
    let (acknowledged, delivered) = (Rc::new(Cell::new(0_usize)), Rc::new(Cell::new(0_usize)));
    let mut stream = connect(broker, "kept", false).await;
    subscribe(&mut stream, 1).await;
    let mut tasks = vec![tokio::task::spawn_local(subscriber(stream, delivered.clone()))];
    for index in 0..PUBLISHERS {
        let stream = connect(broker, &format!("publisher-{index}"), true).await;
        tasks.push(tokio::task::spawn_local(publisher(stream, window, acknowledged.clone())));
    }
    tokio::time::sleep(WARM_UP).await;
    let (begin, acknowledged_before, delivered_before) = (Instant::now(), acknowledged.get(), delivered.get());
    tokio::time::sleep(duration).await;
    let seconds = begin.elapsed().as_secs_f64();
    tasks.iter().for_each(|task| task.abort());
    Outcome {
        acknowledged: (acknowledged.get() - acknowledged_before) as f64 / seconds,
        delivered: (delivered.get() - delivered_before) as f64 / seconds,
    }
}

async fn publisher(stream: TcpStream, window: usize, acknowledged: Rc<Cell<usize>>) {
    let (mut reader, mut writer) = stream.into_split();
    let (settled, moved) = (Rc::new(Cell::new(0)), Rc::new(Notify::new()));
    let (here, there) = (settled.clone(), moved.clone());
    let answers = async move {
        let count = |packet: wire::Packet<'_>| {
            if packet.kind == wire::PUBACK {
                here.set(here.get() + 1);
                acknowledged.set(acknowledged.get() + 1);
            }
        };
        packets(&mut reader, count, || there.notify_one()).await;
    };
    let messages = async move {
        let (mut sent, mut out) = (0, Vec::new());
        loop {
            while sent - settled.get() < window {
                wire::publish(1, 1 + (sent % 60_000) as u16, &[b'x'; PAYLOAD], &mut out);
                sent += 1;
            }
            writer.write_all(&out).await.expect("the broker takes it");
            out.clear();
            moved.notified().await;
        }
    };
    let ((), ()) = tokio::join!(answers, messages);
}

async fn subscriber(stream: TcpStream, delivered: Rc<Cell<usize>>) {
    let (mut reader, mut writer) = stream.into_split();
    let (out, moved) = (Rc::new(std::cell::RefCell::new(Vec::new())), Rc::new(Notify::new()));
    let (here, there) = (out.clone(), moved.clone());
    let messages = async move {
        let take = |packet: wire::Packet<'_>| {
            if packet.kind == wire::PUBLISH {
                wire::acknowledge(wire::PUBACK, packet.publish().0, &mut here.borrow_mut());
                delivered.set(delivered.get() + 1);
            }
        };
        packets(&mut reader, take, || there.notify_one()).await;
    };
    let answers = async move {
        loop {
            moved.notified().await;
            let words = out.take();
            writer.write_all(&words).await.expect("the broker takes it");
        }
    };
    let ((), ()): ((), ()) = tokio::join!(messages, answers);
}
