//! A broker that stands in for the cloud: it can be taken down and brought back on its port, and everything that it is sent is seen.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::mpsc;

use crate::broker::{Broker, Limits, Outlet};
use crate::clock::Clock;
use crate::config::{BrokerConfig, ListenerConfig};
use crate::model::{Message, QoS};
use crate::store::{Append, CommitReport, QueueId};

/// Messages that may lie between the cloud and whoever looks: more than any backlog of the demo.
const ROOM: usize = 65_536;

/// The stand-in. It keeps nothing while it is down, not even sessions: the worst that a cloud can do.
#[derive(Debug)]
pub struct Cloud {
    address: SocketAddr,
    clock: Clock,
    seen: mpsc::Sender<Message>,
    up: Option<Up>,
}

/// While it is up.
#[derive(Debug)]
struct Up {
    broker: Broker,
    /// The store's ends of the broker's channels. Nothing is durable here, but a broker whose store is gone would say so.
    _store: (mpsc::Receiver<Append>, mpsc::Sender<CommitReport>),
}

impl Cloud {
    /// A cloud that is up, and every message that it takes. Errors when the address can't be bound.
    pub fn start(address: SocketAddr, clock: Clock) -> anyhow::Result<(Cloud, mpsc::Receiver<Message>)> {
        let (seen, messages) = mpsc::channel(ROOM);
        let mut cloud = Cloud { address, clock, seen, up: None };
        cloud.bring_back()?;
        Ok((cloud, messages))
    }

    /// Brings it back on the same port. Errors when something else has taken the port meanwhile.
    pub fn bring_back(&mut self) -> anyhow::Result<()> {
        let listener = ListenerConfig::plain(self.address);
        let config = BrokerConfig { listeners: vec![listener], ..BrokerConfig::default() };
        // An outlet sees every message from the first on; a subscription would begin a moment too late.
        let outlet = Outlet {
            queue: QueueId::normal(0),
            select: Box::new(|message: &Message| Some(Message { qos: QoS::AtMostOnce, ..message.clone() })),
            live: self.seen.clone(),
            live_dropped: Arc::default(),
        };
        let (appends, taken) = mpsc::channel(1);
        let (reported, reports) = mpsc::channel(1);
        let broker = Broker::start(&config, Limits::default(), vec![outlet], appends, reports, None, self.clock);
        self.up = Some(Up { broker: broker.context("can't bring the cloud up")?, _store: (taken, reported) });
        Ok(())
    }

    /// Takes it down, with everything that it knew.
    pub async fn take_down(&mut self) {
        if let Some(up) = self.up.take() {
            up.broker.stop().await;
        }
    }
}
