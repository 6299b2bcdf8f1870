//! A small MQTT client that says exactly what a test wants said, and a broker in the test's own process.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use fieldway::broker::{Broker, Limits, Outlet};
use fieldway::clock::Clock;
use fieldway::config::{BrokerConfig, ListenerConfig};
use fieldway::model::{Filter, Message, QoS, Topic};
use fieldway::mqtt::{
    Ack, Codec, ConnAck, Connect, Packet, Publish, Reason, Subscribe, SubscribeOptions, Unsubscribe, Version,
};
use fieldway::store::{Append, CommitReport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// How long a test waits for what has to come.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A broker on a free port of loopback, and the store's ends of its channels.
pub struct TestBroker {
    pub broker: Broker,
    pub address: SocketAddr,
    pub appends: mpsc::Receiver<Append>,
    pub reports: mpsc::Sender<CommitReport>,
}

pub fn start(limits: Limits, outlets: Vec<Outlet>) -> TestBroker {
    start_with(&config("127.0.0.1:0"), limits, outlets)
}

pub fn start_with(config: &BrokerConfig, limits: Limits, outlets: Vec<Outlet>) -> TestBroker {
    let (to_store, appends) = mpsc::channel(64);
    let (reports, from_store) = mpsc::channel(64);
    let broker = Broker::start(config, limits, outlets, to_store, from_store, None, Clock::start()).unwrap();
    let address = broker.addresses()[0];
    TestBroker { broker, address, appends, reports }
}

/// `broker:` with one listener.
pub fn config(address: &str) -> BrokerConfig {
    let listener = ListenerConfig::plain(address.parse().unwrap());
    BrokerConfig { listeners: vec![listener], ..BrokerConfig::default() }
}

/// One connection.
pub struct Client {
    pub stream: TcpStream,
    pub codec: Codec,
    buffer: BytesMut,
    next_id: u16,
}

impl Client {
    /// A TCP connection on which nothing was said.
    pub async fn silent(address: SocketAddr, version: Version) -> Client {
        let stream = TcpStream::connect(address).await.unwrap();
        Client { stream, codec: Codec::client(version, 256 << 20), buffer: BytesMut::new(), next_id: 1 }
    }

    /// Connects and is let in.
    pub async fn connect(address: SocketAddr, connect: Connect) -> Client {
        let (client, ack) = Client::connect_ack(address, connect).await;
        assert_eq!(ack.reason, Reason::SUCCESS);
        client
    }

    /// Connects, and returns the answer too.
    pub async fn connect_ack(address: SocketAddr, connect: Connect) -> (Client, ConnAck) {
        let mut client = Client::silent(address, connect.version).await;
        client.send(&Packet::Connect(Box::new(connect))).await;
        match client.receive().await {
            Some(Packet::ConnAck(ack)) => (client, *ack),
            other => panic!("expected CONNACK, got {other:?}"),
        }
    }

    pub async fn send(&mut self, packet: &Packet) {
        let mut wire = BytesMut::new();
        self.codec.encode(packet, &mut wire).unwrap();
        self.stream.write_all(&wire).await.unwrap();
    }

    /// The next packet; `None` when the broker has closed.
    pub async fn receive(&mut self) -> Option<Packet> {
        let receive = async {
            loop {
                if let Some(packet) = self.codec.decode(&mut self.buffer).unwrap() {
                    return Some(packet);
                }
                match self.stream.read_buf(&mut self.buffer).await {
                    Ok(bytes) if bytes > 0 => {}
                    _ => return None,
                }
            }
        };
        tokio::time::timeout(PATIENCE, receive).await.expect("the broker said nothing for ten seconds")
    }

    /// The next packet, which has to be a PUBLISH.
    pub async fn message(&mut self) -> Publish {
        match self.receive().await {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("expected PUBLISH, got {other:?}"),
        }
    }

    /// Proves that nothing else was on its way: the answer to a PINGREQ comes first.
    pub async fn expect_nothing(&mut self) {
        self.send(&Packet::PingReq).await;
        assert_eq!(self.receive().await, Some(Packet::PingResp));
    }

    /// Reads until the broker closes; returns the reason of its DISCONNECT, if there was one.
    pub async fn closed(&mut self) -> Option<Reason> {
        let mut reason = None;
        while let Some(packet) = self.receive().await {
            if let Packet::Disconnect(disconnect) = packet {
                reason = Some(disconnect.reason);
            }
        }
        reason
    }

    pub async fn subscribe(&mut self, filter: &str, qos: QoS) -> Reason {
        self.subscribe_with(filter, SubscribeOptions::new(qos), None).await
    }

    pub async fn subscribe_with(&mut self, filter: &str, options: SubscribeOptions, id: Option<u32>) -> Reason {
        let packet_id = self.packet_id();
        let filters = vec![(Filter::new(filter).unwrap(), options)];
        let subscribe = Subscribe { packet_id, subscription_id: id, filters, user: Vec::new() };
        self.send(&Packet::Subscribe(subscribe)).await;
        match self.receive().await {
            Some(Packet::SubAck(ack)) if ack.packet_id == packet_id => ack.reasons[0],
            other => panic!("expected SUBACK, got {other:?}"),
        }
    }

    pub async fn unsubscribe(&mut self, filter: &str) {
        let packet_id = self.packet_id();
        let filters = vec![Filter::new(filter).unwrap()];
        self.send(&Packet::Unsubscribe(Unsubscribe { packet_id, filters, user: Vec::new() })).await;
        assert!(matches!(self.receive().await, Some(Packet::UnsubAck(_))));
    }

    /// Publishes; at QoS 1 the packet id is returned and the PUBACK is still to come.
    pub async fn publish(&mut self, topic: &str, payload: impl Into<Vec<u8>>, qos: QoS, retain: bool) -> u16 {
        let id = if qos == QoS::AtMostOnce { 0 } else { self.packet_id() };
        let message = Message::new(Topic::new(topic).unwrap(), payload.into(), qos, retain);
        self.send(&Packet::Publish(Publish::new(&message, id))).await;
        id
    }

    /// Publishes at QoS 1 and waits for the PUBACK; returns its reason.
    pub async fn publish_acked(&mut self, topic: &str, payload: impl Into<Vec<u8>>, retain: bool) -> Reason {
        let id = self.publish(topic, payload, QoS::AtLeastOnce, retain).await;
        match self.receive().await {
            Some(Packet::PubAck(ack)) if ack.packet_id == id => ack.reason,
            other => panic!("expected PUBACK, got {other:?}"),
        }
    }

    pub async fn acknowledge(&mut self, packet_id: u16) {
        self.send(&Packet::PubAck(Ack::success(packet_id))).await;
    }

    fn packet_id(&mut self) -> u16 {
        self.next_id = self.next_id % 60_000 + 1;
        self.next_id
    }
}
