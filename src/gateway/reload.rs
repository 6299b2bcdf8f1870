//! A new configuration for a gateway that runs: what differs begins and ends, and everything else goes on as if nothing had happened.
//!
//! What can be tried beforehand is tried first, so that a configuration that can't be carried out changes nothing.

use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::commands::Change;
use super::intake::Request;
use super::{Gateway, guard};
use crate::config::{Config, Diff, Fixed, WebConfig};
use crate::model::{Device, Name};
use crate::web::{self, Web, WebError};

impl Gateway {
    /// Takes up another configuration. Returns what differs, in words; empty when nothing does.
    ///
    /// Errors when something can't change while the gateway runs, or can't be had, such as a port that is taken; then nothing has changed.
    pub async fn reload(&mut self, mut config: Config) -> anyhow::Result<String> {
        let devices = self.same_where_equal(std::mem::take(&mut config.devices));
        let diff = Diff::between(&self.config, &self.devices, &config, &devices);
        if !diff.fixed.is_empty() {
            bail!(refusal(&diff.fixed));
        }
        if !diff.uplinks.is_empty() {
            bail!("`uplinks` differ, which takes a restart in this version; nothing was changed");
        }
        let prepared = self.broker.prepare(&config.broker)?;
        if diff.web {
            self.move_web(config.web.as_ref()).await?;
        }
        // From here on nothing is refused any more.
        self.broker.reload_certificates().await;
        self.broker.apply(&config.broker, prepared).await.context("the broker has stopped")?;
        self.change_buses(&config, devices, &diff).await?;
        let uplinks_changed = self.change_uplinks(&config, &diff).await?;
        self.show(&config);
        if uplinks_changed {
            let snapshot = self.board.snapshot();
            let devices = snapshot.buses.iter().flat_map(|bus| &bus.devices);
            let known: Vec<(Name, bool)> =
                devices.filter_map(|device| Some((device.device.clone(), device.online?))).collect();
            self.intake_requests.send(Request::Anew(known)).await.context("the intake has stopped")?;
        }
        self.config = config;
        Ok(diff.summary())
    }

    /// A device that is what it was stays the very one that it was: its last readings are known by it.
    fn same_where_equal(&self, devices: Vec<Device>) -> Vec<Arc<Device>> {
        let same = |device: Device| {
            let known = self.devices.iter().find(|known| known.name == device.name);
            known.filter(|known| ***known == device).cloned().unwrap_or_else(|| Arc::new(device))
        };
        devices.into_iter().map(same).collect()
    }

    async fn change_buses(&mut self, config: &Config, devices: Vec<Arc<Device>>, diff: &Diff) -> anyhow::Result<()> {
        self.devices = devices;
        if diff.buses.is_empty() {
            return Ok(());
        }
        self.buses.stop_some(diff.buses.ending()).await;
        // In this order: what was read of the devices as they were comes before what begins and ends their topics.
        self.intake_requests.send(Request::Devices(self.devices.clone())).await.context("the intake has stopped")?;
        for name in diff.buses.beginning() {
            if let Some(bus) = config.buses.iter().find(|bus| bus.name == *name) {
                self.buses.start(bus, &self.devices, &self.board.progress);
            }
        }
        let (done, changed) = oneshot::channel();
        let change = Change { devices: self.devices.clone(), buses: self.buses.orders(), done };
        self.command_changes.send(change).await.ok().context("the commands' task has stopped")?;
        changed.await.context("the commands' task has stopped")
    }

    /// Whether there is somebody new in the cloud to tell.
    async fn change_uplinks(&mut self, _config: &Config, diff: &Diff) -> anyhow::Result<bool> {
        Ok(!diff.uplinks.is_empty())
    }

    /// Moves the web pages. Where the old address is in the way of the new one it is given up first; if that does not help, it is taken again.
    async fn move_web(&mut self, wanted: Option<&WebConfig>) -> anyhow::Result<()> {
        let Some(wanted) = wanted else {
            self.stop_web().await;
            self.web_config = None;
            return Ok(());
        };
        let (mut web, before) = (self.start_web(wanted).await, self.web_config.clone());
        let shares_port = before.as_ref().is_some_and(|before| before.listen.port() == wanted.listen.port());
        if web.is_err() && shares_port {
            self.stop_web().await;
            web = self.start_web(wanted).await;
        }
        match web {
            Ok(web) => {
                self.stop_web().await;
                self.web = Some(web);
                self.web_config = Some(wanted.clone());
                Ok(())
            }
            Err(error) => {
                if let (Some(before), None) = (before, &self.web) {
                    match self.start_web(&before).await {
                        Ok(web) => self.web = Some(web),
                        Err(error) => warn!(%error, "the web pages are not served any more"),
                    }
                }
                Err(error.into())
            }
        }
    }

    pub(super) async fn start_web(&self, config: &WebConfig) -> Result<(Web, CancellationToken), WebError> {
        let cancel = CancellationToken::new();
        let guard = (!config.listen.ip().is_loopback()).then(|| guard(self.broker.doorkeeper()));
        let pages = self.pages();
        let web = web::start_guarded(config.listen, config.place.clone(), pages, guard, cancel.clone()).await?;
        tracing::info!(address = %web.address(), "web pages, health and metrics are served");
        Ok((web, cancel))
    }

    pub(super) async fn stop_web(&mut self) {
        if let Some((web, cancel)) = self.web.take() {
            cancel.cancel();
            web.stopped().await;
        }
    }
}

/// What can't change while the gateway runs, as one text.
fn refusal(fixed: &[Fixed]) -> String {
    let each = fixed.iter().map(|Fixed { key, running, wanted }| format!("`{key}` is {running} and would be {wanted}"));
    format!(
        "{}: this can't change while the gateway runs, so nothing was changed; `systemctl restart fieldway` takes all of it up",
        each.collect::<Vec<_>>().join(", ")
    )
}
