//! mosquitto processes, and a subscriber that takes the time at one: from the first message to the last.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fieldway::model::{Filter, QoS};
use fieldway::mqtt::{Codec, Connect, Packet, Subscribe, SubscribeOptions, Version};

/// The topic of the first message, and that of the last.
const FIRST: &str = "plant/first";
const LAST: &str = "plant/last";

/// The topic of message `n` of so many.
pub fn topic(n: u64, messages: u64) -> &'static str {
    match n {
        1 => FIRST,
        n if n == messages => LAST,
        _ => "plant/boiler",
    }
}

/// A mosquitto, until it is dropped.
pub struct Broker {
    child: Child,
    pub port: u16,
}

impl Broker {
    /// Without persistence and without limits; `lines` come on top.
    pub fn start(folder: &Path, port: u16, lines: &str) -> Broker {
        let config = folder.join(format!("mosquitto-{port}.conf"));
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 0\nlog_type none\n{lines}"
        );
        std::fs::write(&config, text).expect("written");
        let path = ["/usr/sbin/mosquitto", "mosquitto"].into_iter().find(|path| Path::new(path).exists());
        let mut command = Command::new(path.unwrap_or("mosquitto"));
        let child = command.arg("-c").arg(config).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("mosquitto is needed; ./tests/run says how to install what the tests need");
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            std::thread::sleep(Duration::from_millis(2));
        }
        Broker { child, port }
    }

    /// The most memory that it has had, in bytes.
    pub fn peak(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}

/// A client of a broker, connected.
pub struct Client {
    stream: TcpStream,
    codec: Codec,
    inbox: BytesMut,
}

impl Client {
    pub fn connect(port: u16, id: &str) -> Client {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the broker listens");
        let codec = Codec::client(Version::V311, 1 << 20);
        let mut client = Client { stream, codec, inbox: BytesMut::new() };
        client.send(&Packet::Connect(Box::new(Connect::new(Version::V311, id))));
        assert!(matches!(client.next(), Packet::ConnAck(_)));
        client
    }

    pub fn send(&mut self, packet: &Packet) {
        let mut out = BytesMut::new();
        self.codec.encode(packet, &mut out).expect("it has a form");
        self.stream.write_all(&out).expect("the broker is there");
    }

    /// Writes many packets at once.
    pub fn write(&mut self, out: &[u8]) {
        self.stream.write_all(out).expect("the broker is there");
    }

    pub fn next(&mut self) -> Packet {
        loop {
            if let Some(packet) = self.codec.decode(&mut self.inbox).expect("MQTT") {
                return packet;
            }
            let mut bytes = [0; 65_536];
            let read = self.stream.read(&mut bytes).expect("the broker is there");
            assert!(read > 0, "the broker is there");
            self.inbox.extend_from_slice(&bytes[..read]);
        }
    }
}

/// Takes the time at a broker from [`FIRST`] to [`LAST`]. It subscribes to nothing else: a broker that passes everything on measures itself.
pub fn stopwatch(port: u16) -> JoinHandle<Duration> {
    let mut client = Client::connect(port, "stopwatch");
    let options = SubscribeOptions::new(QoS::AtMostOnce);
    let filters = [FIRST, LAST].map(|topic| (Filter::new(topic).expect("a filter"), options)).to_vec();
    client.send(&Packet::Subscribe(Subscribe { packet_id: 1, subscription_id: None, filters, user: Vec::new() }));
    assert!(matches!(client.next(), Packet::SubAck(_)));
    std::thread::spawn(move || {
        let mut next = || match client.next() {
            Packet::Publish(publish) => publish.topic.expect("version 3.1.1 has a topic in each"),
            other => panic!("no PUBLISH: {other:?}"),
        };
        assert_eq!(next().as_str(), FIRST);
        let begin = Instant::now();
        assert_eq!(next().as_str(), LAST);
        begin.elapsed()
    })
}
