//! `kill -9` of the real gateway while publishers and subscribers with kept sessions go on at QoS 1 and 2: an acknowledgement means safe.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fieldway::model::{Filter, Message, QoS, Topic};
use fieldway::mqtt::{
    Ack, Arrival, Codec, Connect, Inbound, Outbound, Packet, Publish, Reason, Receipt, Resend, Subscribe,
    SubscribeOptions, Version,
};

use crate::support::chance::Chance;
use crate::support::gateway::GatewayProcess;
use crate::support::wait::{free_port, wait_for};

const PEERS: usize = 4;
/// At least; how long the traffic runs, in which so many kills fall, is for each kill to have something to break.
const KILLS: u32 = 6;
const BETWEEN_KILLS: Duration = Duration::from_millis(700);
const WINDOW: u16 = 20;

fn configuration(folder: &Path, port: u16) -> String {
    format!(
        "gateway: {{ id: kills, data_dir: {data} }}\n\
         broker: {{ listeners: ['mqtt://127.0.0.1:{port}'] }}\n",
        data = folder.join("data").display()
    )
}

/// QoS 1 for the even ones, 2 for the odd ones.
fn qos_of(peer: usize) -> QoS {
    if peer.is_multiple_of(2) { QoS::AtLeastOnce } else { QoS::ExactlyOnce }
}

/// A client's end of one connection.
struct Link {
    stream: TcpStream,
    codec: Codec,
    buffer: BytesMut,
}

impl Link {
    /// Connects, again and again while the gateway is away, and resumes the session.
    fn connect(port: u16, id: &str, version: Version, had_session: bool) -> Link {
        loop {
            let attempt = || -> Option<Link> {
                let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
                stream.set_read_timeout(Some(Duration::from_millis(20))).ok()?;
                stream.set_nodelay(true).ok()?;
                let mut link = Link { stream, codec: Codec::client(version, 1 << 20), buffer: BytesMut::new() };
                let session_expiry_s = if version == Version::V5 { 3_600 } else { 0 };
                let connect = Connect { clean_start: false, session_expiry_s, ..Connect::new(version, id) };
                link.send(&Packet::Connect(Box::new(connect))).ok()?;
                let deadline = Instant::now() + Duration::from_secs(5);
                while Instant::now() < deadline {
                    match link.receive().ok()? {
                        Some(Packet::ConnAck(ack)) => {
                            assert_eq!(ack.reason, Reason::SUCCESS);
                            assert!(ack.session_present || !had_session, "the session of {id} is lost");
                            return Some(link);
                        }
                        Some(other) => panic!("expected CONNACK, got {other:?}"),
                        None => {}
                    }
                }
                None
            };
            if let Some(link) = attempt() {
                return link;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn send(&mut self, packet: &Packet) -> std::io::Result<()> {
        let mut wire = BytesMut::new();
        self.codec.encode(packet, &mut wire).unwrap();
        self.stream.write_all(&wire)
    }

    /// The next packet; `None` when nothing came for a moment.
    fn receive(&mut self) -> std::io::Result<Option<Packet>> {
        loop {
            if let Some(packet) = self.codec.decode(&mut self.buffer).unwrap() {
                return Ok(Some(packet));
            }
            let mut bytes = [0; 4_096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.buffer.extend_from_slice(&bytes[..read]),
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Publishes numbers until it is told to stop and all are acknowledged; how many there were.
fn publisher(port: u16, peer: usize, stop: &AtomicBool, acknowledged: &AtomicU32) -> u32 {
    let version = if peer < 2 { Version::V5 } else { Version::V311 };
    let mut outbound: Outbound<u32> = Outbound::new(WINDOW, 1..=1_000);
    let (mut next, mut had_session) = (0, false);
    loop {
        let mut link = Link::connect(port, &format!("publisher-{peer}"), version, had_session);
        had_session = true;
        outbound.connected(u16::MAX);
        let mut run = || -> std::io::Result<()> {
            loop {
                while let Some(resend) = outbound.next_resend() {
                    let packet = match resend {
                        Resend::Publish(id, &n) => numbered(peer, n, id, true),
                        Resend::PubRel(id) => Packet::PubRel(Ack::success(id)),
                    };
                    link.send(&packet)?;
                }
                while !stop.load(Ordering::Relaxed)
                    && let Ok(id) = outbound.send(next, qos_of(peer))
                {
                    next += 1;
                    link.send(&numbered(peer, next - 1, id, false))?;
                }
                if stop.load(Ordering::Relaxed) && outbound.is_empty() {
                    return Ok(());
                }
                match link.receive()? {
                    Some(Packet::PubAck(ack)) => {
                        assert_eq!(ack.reason, Reason::SUCCESS);
                        outbound.acknowledge(ack.packet_id);
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                    Some(Packet::PubRec(ack)) => {
                        assert_eq!(ack.reason, Reason::SUCCESS);
                        if let Receipt::Record(_) = outbound.receipt(ack.packet_id) {
                            outbound.recorded(ack.packet_id);
                        }
                        link.send(&Packet::PubRel(Ack::success(ack.packet_id)))?;
                    }
                    Some(Packet::PubComp(ack)) => {
                        outbound.complete(ack.packet_id);
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                    _ => {}
                }
            }
        };
        if run().is_ok() {
            return next;
        }
    }
}

/// Every tenth is retained too, each on a topic of its own.
fn numbered(peer: usize, n: u32, id: u16, dup: bool) -> Packet {
    let retain = n.is_multiple_of(10);
    let topic = if retain { format!("k/{peer}/{n}") } else { format!("k/{peer}/x") };
    let message = Message::new(Topic::new(&topic).unwrap(), n.to_string(), qos_of(peer), retain);
    Packet::Publish(Publish { dup, ..Publish::new(&message, id) })
}

/// What a subscriber got: publisher, number, level.
type Got = Vec<(usize, u32, QoS)>;

fn subscriber(port: u16, peer: usize, stop: &AtomicBool, got: &Mutex<Got>) {
    let version = if peer < 2 { Version::V311 } else { Version::V5 };
    let mut inbound = Inbound::default();
    let mut had_session = false;
    while !stop.load(Ordering::Relaxed) {
        let mut link = Link::connect(port, &format!("subscriber-{peer}"), version, had_session);
        let mut run = || -> std::io::Result<()> {
            if !had_session {
                let filters = vec![(Filter::new("k/#").unwrap(), SubscribeOptions::new(qos_of(peer)))];
                link.send(&Packet::Subscribe(Subscribe {
                    packet_id: 1,
                    subscription_id: None,
                    filters,
                    user: Vec::new(),
                }))?;
            }
            while !stop.load(Ordering::Relaxed) {
                match link.receive()? {
                    Some(Packet::SubAck(_)) => had_session = true,
                    Some(Packet::Publish(publish)) => {
                        let topic = publish.topic.as_ref().unwrap();
                        let from: usize = topic.split('/').nth(1).unwrap().parse().unwrap();
                        let n: u32 = String::from_utf8_lossy(&publish.payload).parse().unwrap();
                        if publish.qos == QoS::ExactlyOnce {
                            if let Arrival::New(received) = inbound.receive_once(publish.packet_id) {
                                got.lock().unwrap().push((from, n, publish.qos));
                                inbound.release(received, Reason::SUCCESS);
                            }
                            while let Some(answer) = inbound.next_answer() {
                                link.send(&Packet::PubRec(Ack::success(answer.packet_id)))?;
                            }
                        } else {
                            got.lock().unwrap().push((from, n, publish.qos));
                            link.send(&Packet::PubAck(Ack::success(publish.packet_id)))?;
                        }
                    }
                    Some(Packet::PubRel(ack)) => {
                        inbound.pubrel(ack.packet_id);
                        inbound.complete(ack.packet_id);
                        link.send(&Packet::PubComp(Ack::success(ack.packet_id)))?;
                    }
                    _ => {}
                }
            }
            Ok(())
        };
        // A connection that broke is made again.
        let _ = run();
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_qos_2_comes_once_through_kills_at_random_moments() {
    let folder = tempfile::tempdir().unwrap();
    let mut chance = Chance::seeded_or_new();
    let kills = std::env::var("FIELDWAY_TEST_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let port = free_port();
    let yaml = configuration(folder.path(), port);
    let mut gateway = GatewayProcess::start(folder.path(), &yaml, port);

    let (stop_publishing, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let got: Vec<Arc<Mutex<Got>>> = (0..PEERS).map(|_| Arc::default()).collect();
    let subscribers: Vec<_> = (0..PEERS)
        .map(|peer| {
            let (stop, got) = (stop.clone(), got[peer].clone());
            thread::spawn(move || subscriber(port, peer, &stop, &got))
        })
        .collect();
    thread::sleep(Duration::from_millis(300));
    let acknowledged = Arc::new(AtomicU32::new(0));
    let publishers: Vec<_> = (0..PEERS)
        .map(|peer| {
            let (stop, acknowledged) = (stop_publishing.clone(), acknowledged.clone());
            thread::spawn(move || publisher(port, peer, &stop, &acknowledged))
        })
        .collect();
    for _ in 0..kills {
        thread::sleep(BETWEEN_KILLS.mul_f64(0.5 + chance.fraction()));
        let before = acknowledged.load(Ordering::Relaxed);
        gateway.kill();
        gateway = GatewayProcess::start(folder.path(), &yaml, port);
        wait_for("traffic after a kill", Duration::from_secs(20), || {
            (acknowledged.load(Ordering::Relaxed) > before).then_some(())
        });
    }
    stop_publishing.store(true, Ordering::Relaxed);
    let published: Vec<u32> = publishers.into_iter().map(|publisher| publisher.join().unwrap()).collect();
    let total: u32 = published.iter().sum();
    println!("{kills} kill -9, seed {}: {total} acknowledged", chance.seed());
    wait_for("the last messages", Duration::from_secs(30), || {
        let complete = got.iter().all(|got| {
            let distinct: BTreeSet<_> = got.lock().unwrap().iter().map(|(from, n, _)| (*from, *n)).collect();
            distinct.len() as u32 >= total
        });
        complete.then_some(())
    });
    // A duplicate would come behind.
    thread::sleep(Duration::from_millis(300));
    stop.store(true, Ordering::Relaxed);
    subscribers.into_iter().for_each(|subscriber| subscriber.join().unwrap());

    for (peer, got) in got.iter().enumerate() {
        let got = got.lock().unwrap();
        for (from, published) in published.iter().enumerate() {
            for retained in [false, true] {
                // Order is promised for each topic; those of retained messages have one each.
                let mut seen = BTreeSet::new();
                let numbers =
                    got.iter().filter(|(p, n, _)| *p == from && n.is_multiple_of(10) == retained).map(|(_, n, _)| *n);
                let mut firsts: Vec<u32> = numbers.filter(|n| seen.insert(*n)).collect();
                if retained {
                    firsts.sort_unstable();
                }
                let expected = (0..*published).filter(|n| n.is_multiple_of(10) == retained);
                assert!(firsts.iter().copied().eq(expected), "subscriber {peer} of publisher {from}: {firsts:?}");
            }
            let mut once = BTreeSet::new();
            let twice = got.iter().filter(|(p, n, qos)| *p == from && *qos == QoS::ExactlyOnce && !once.insert(*n));
            assert_eq!(twice.count(), 0, "subscriber {peer} of publisher {from} got something twice at QoS 2");
        }
    }
    // Whoever comes now gets all that was retained.
    let mut link = Link::connect(port, "late", Version::V5, false);
    let filters = vec![(Filter::new("k/#").unwrap(), SubscribeOptions::new(QoS::AtMostOnce))];
    link.send(&Packet::Subscribe(Subscribe { packet_id: 1, subscription_id: None, filters, user: Vec::new() }))
        .unwrap();
    let expected: u32 = published.iter().map(|published| published.div_ceil(10)).sum();
    let mut retained = 0;
    let deadline = Instant::now() + Duration::from_secs(20);
    while retained < expected {
        assert!(Instant::now() < deadline, "{retained} of {expected} retained messages");
        retained += u32::from(matches!(link.receive().unwrap(), Some(Packet::Publish(_))));
    }
    let (status, log) = gateway.stop();
    assert!(status.success(), "{status}\n{log}");
}
