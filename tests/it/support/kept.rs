//! A broker in the test's own process with a store of its own, which can be stopped and started again on the same data.

use std::net::SocketAddr;
use std::path::Path;

use fieldway::broker::{Broker, Limits, Memory};
use fieldway::clock::Clock;
use fieldway::config::BrokerConfig;
use fieldway::store::{Opened, Store};

use super::mqtt::config;

/// A broker that keeps sessions and retained messages in a folder.
pub struct KeptBroker {
    pub broker: Broker,
    pub address: SocketAddr,
    store: Store,
}

impl KeptBroker {
    pub async fn start(folder: &Path) -> KeptBroker {
        KeptBroker::start_with(folder, Limits::default(), config("127.0.0.1:0")).await
    }

    pub async fn start_with(folder: &Path, limits: Limits, config: BrokerConfig) -> KeptBroker {
        let clock = Clock::start();
        let Opened { store, appends, reports, broker: state, sessions: reader, .. } =
            Store::open(folder, Vec::new(), clock).await.unwrap();
        let memory = Some(Memory { state, reader });
        let broker = Broker::start(&config, limits, Vec::new(), appends, reports, memory, clock).unwrap();
        let address = broker.addresses()[0];
        KeptBroker { broker, address, store }
    }

    /// An orderly stop: clients are sent away, and what was handed in is committed.
    pub async fn stop(self) {
        self.broker.stop().await;
        self.store.close().await.unwrap();
    }
}
