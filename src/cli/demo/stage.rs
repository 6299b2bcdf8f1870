//! Everything that the demo starts, and its end in order: gateway, cloud, devices, folder.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::broker::Subscription;
use crate::clock::Clock;
use crate::config;
use crate::gateway::Gateway;
use crate::model::{Filter, Message};

use super::cloud::Cloud;
use super::playbill::Places;
use super::simulator::Simulator;
use super::story::Act;

const TEMPLATE: &str = include_str!("gateway.yaml");

/// All that runs.
pub struct Stage {
    /// The real gateway, from a real file.
    pub gateway: Gateway,
    simulator: Simulator,
    cloud: Cloud,
    ports: Ports,
    config: PathBuf,
    folder: TempDir,
}

/// What can be watched: every message on the local broker, and every message at the cloud.
pub struct Views {
    /// On the local broker.
    pub local: Subscription,
    /// At the cloud.
    pub cloud: mpsc::Receiver<Message>,
}

/// Where the listeners are: the usual ports, or free ones when these are taken.
#[derive(Debug, Clone, Copy)]
struct Ports {
    local: SocketAddr,
    cloud: SocketAddr,
    web: SocketAddr,
}

impl Stage {
    /// Starts everything. Errors say what could not be started.
    pub async fn set(clock: Clock) -> anyhow::Result<(Stage, Views)> {
        let folder = tempfile::Builder::new().prefix("fieldway-demo-").tempdir();
        let folder = folder.context("no temporary folder for the demo (TMPDIR says where)")?;
        let simulator = Simulator::start(clock).await?;
        let ports = Ports::choose()?;
        let config = folder.path().join("gateway.yaml");
        let yaml = configuration(simulator.tcp, &simulator.serial, ports);
        std::fs::write(&config, yaml).with_context(|| format!("can't write {}", config.display()))?;
        let (cloud, seen) = Cloud::start(ports.cloud, clock)?;
        let checked = config::load(&config, &|_| None);
        let checked = checked.map_err(|report| anyhow!("{}", report.render(config::Look::Plain)))?;
        let gateway = Gateway::start(checked, clock).await?;
        let everything = Filter::new("fieldway/demo/#").context("the demo's filter")?;
        let local = gateway.hub().subscribe(everything).await?;
        let stage = Stage { gateway, simulator, cloud, ports, config, folder };
        Ok((stage, Views { local, cloud: seen }))
    }

    /// Where everything is.
    pub fn places(&self) -> Places<'_> {
        Places {
            plant: self.simulator.tcp,
            serial: &self.simulator.serial,
            local: self.ports.local,
            web: self.ports.web,
            cloud: self.ports.cloud,
            config: &self.config,
        }
    }

    /// Does what the story asks for.
    pub async fn perform(&mut self, act: Act) -> anyhow::Result<()> {
        match act {
            Act::UnplugMeter => self.simulator.plug_second_meter(false),
            Act::PlugMeterIn => self.simulator.plug_second_meter(true),
            Act::StopCloud => self.cloud.take_down().await,
            Act::StartCloud => self.cloud.bring_back()?,
        }
        Ok(())
    }

    /// Ends everything, the gateway first, and removes the folder.
    pub async fn strike(mut self) -> anyhow::Result<()> {
        self.gateway.stop().await;
        self.cloud.take_down().await;
        let devices = self.simulator.stop().await;
        self.folder.close().context("can't remove the demo's folder")?;
        devices
    }
}

impl Ports {
    fn choose() -> anyhow::Result<Ports> {
        let (local, cloud, web) = (port(1883), port(1884), port(8080));
        let ports = || -> io::Result<Ports> { Ok(Ports { local: local?, cloud: cloud?, web: web? }) };
        ports().context("no free ports on 127.0.0.1")
    }
}

/// `preferred` on loopback, or a free port when it is taken.
fn port(preferred: u16) -> io::Result<SocketAddr> {
    let bind = |port| TcpListener::bind(("127.0.0.1", port));
    bind(preferred).or_else(|_| bind(0))?.local_addr()
}

fn configuration(plant: SocketAddr, serial: &str, ports: Ports) -> String {
    TEMPLATE
        .replace("@PLANT@", &plant.to_string())
        .replace("@SERIAL@", serial)
        .replace("@BROKER@", &ports.local.to_string())
        .replace("@CLOUD@", &ports.cloud.to_string())
        .replace("@WEB@", &ports.web.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_that_the_demo_writes_is_a_good_one() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let ports = Ports { local: address(1883), cloud: address(1884), web: address(8080) };
        let text = configuration(address(5020), "/dev/pts/3", ports);
        assert!(!text.contains('@'), "a placeholder is left");
        let config = config::parse(text.as_bytes(), "gateway.yaml".as_ref(), &config::Outside::nothing());
        let config = config.unwrap_or_else(|report| panic!("{}", report.render(config::Look::Plain)));
        assert_eq!((config.buses.len(), config.devices.len(), config.uplinks.len()), (2, 4, 1));
    }

    #[test]
    fn a_taken_port_is_replaced_by_a_free_one() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().map(|address| address.port());
        let holder = TcpListener::bind(("127.0.0.1", taken.unwrap())).unwrap();
        let preferred = holder.local_addr().unwrap().port();
        let chosen = port(preferred).unwrap().port();
        assert_ne!(chosen, preferred);
        drop(holder);
        assert_eq!(port(chosen).unwrap().port(), chosen);
    }
}
