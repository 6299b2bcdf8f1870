//! mosquitto processes, and a subscriber that times what reaches one: from the first message to the last.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fieldway::model::{Filter, QoS};
use fieldway::mqtt::{Codec, Connect, Packet, Subscribe, SubscribeOptions, Version};

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

/// Counts what reaches a broker, at QoS 0, so that counting costs it little; and says how long `messages` took from the first to the last.
pub fn stopwatch(port: u16, messages: u64) -> JoinHandle<Duration> {
    let mut client = Client::connect(port, "stopwatch");
    let options = SubscribeOptions::new(QoS::AtMostOnce);
    let filters = vec![(Filter::new("plant/#").expect("a filter"), options)];
    client.send(&Packet::Subscribe(Subscribe { packet_id: 1, subscription_id: None, filters, user: Vec::new() }));
    assert!(matches!(client.next(), Packet::SubAck(_)));
    std::thread::spawn(move || {
        let mut begin = None;
        let (mut left, mut buffer) = (messages, Vec::with_capacity(1 << 20));
        let mut bytes = vec![0; 1 << 18];
        while left > 0 {
            let read = client.stream.read(&mut bytes).expect("the broker is there");
            assert!(read > 0, "the broker is there");
            begin.get_or_insert_with(Instant::now);
            buffer.extend_from_slice(&bytes[..read]);
            let mut at = 0;
            // PUBLISH packets and nothing else: a byte, the length in 7 bits a byte, the rest.
            while let Some(size) = packet_size(&buffer[at..]).filter(|size| at + size <= buffer.len()) {
                at += size;
                left = left.saturating_sub(1);
            }
            buffer.drain(..at);
        }
        begin.map(|begin| begin.elapsed()).unwrap_or_default()
    })
}

fn packet_size(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for (i, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * i);
        if byte & 0x80 == 0 {
            return Some(2 + i + length);
        }
    }
    None
}
