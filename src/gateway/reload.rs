//! A new configuration for a gateway that runs: what differs begins and ends, and everything else goes on as if nothing had happened.
//!
//! What can be tried beforehand is tried first, so that a configuration that can't be carried out changes nothing.

use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::commands::Change;
use super::intake::Request;
use super::{Gateway, guard};
use crate::config::{Config, Diff, Fixed, UplinkConfig, WebConfig};
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
        let prepared = self.broker.prepare(&config.broker)?;
        if diff.web {
            self.move_web(config.web.as_ref()).await?;
        }
        // From here on nothing is refused any more.
        self.broker.reload_certificates().await;
        self.broker.apply(&config.broker, prepared).await.context("the broker has stopped")?;
        self.change_buses(&config, devices, &diff).await?;
        let failed = self.change_uplinks(&config, &diff).await?;
        // As if they were not there: the next reload tries again.
        config.uplinks.retain(|uplink| !failed.contains(&uplink.name));
        self.show(&config);
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

    /// Returns the uplinks that should run and can't.
    async fn change_uplinks(&mut self, config: &Config, diff: &Diff) -> anyhow::Result<Vec<Name>> {
        let anew = self.anew(config, diff);
        let ending: Vec<String> = diff.uplinks.removed.iter().chain(&anew).map(Name::to_string).collect();
        self.uplinks.stop_some(&ending).await;
        self.accepts.stop_some(&ending).await;
        for name in &diff.uplinks.removed {
            let Some((index, messages)) = self.keeping.forget(name) else { continue };
            self.broker.drop_outlet(index).await.context("the broker has stopped")?;
            if messages > 0 {
                warn!(
                    uplink = %name,
                    messages,
                    "the uplink is not in the configuration any more, and messages wait in its queue: they are kept until the gateway is \
                     started again, and are sent if the uplink is back before that"
                );
            }
        }
        let wanted = |name: &Name| config.uplinks.iter().find(|uplink| uplink.name == *name);
        let (hub, mut failed) = (self.broker.hub(), Vec::new());
        for uplink in diff.uplinks.changed.iter().filter(|name| !anew.contains(name)).filter_map(wanted) {
            let Some((index, outlet)) = self.keeping.new_rules(&config.gateway, uplink) else { continue };
            self.broker.set_outlet(index, outlet).await.context("the broker has stopped")?;
            hub.offer_retained(index, false).await.context("the broker has stopped")?;
        }
        for uplink in diff.uplinks.added.iter().chain(&anew).filter_map(wanted) {
            match self.keeping.open_one(&config.gateway, uplink, &self.devices).await {
                Ok((index, outlet)) => {
                    self.broker.set_outlet(index, outlet).await.context("the broker has stopped")?;
                    // What is retained is the present state of things, of which a new cloud knows nothing.
                    hub.offer_retained(index, false).await.context("the broker has stopped")?;
                }
                Err(error) => {
                    error!(uplink = %uplink.name, %error, "the uplink can't be started; the next reload tries again");
                    failed.push(uplink.name.clone());
                }
            }
        }
        let root = &config.gateway.topic_root;
        self.keeping
            .start_intakes(&mut self.accepts, &hub, root, self.clock)
            .await
            .context("the broker has stopped")?;
        self.keeping.start_uplinks(&mut self.uplinks, &self.board.progress);
        Ok(failed)
    }

    /// Uplinks that were there and have to begin anew: more than their rules differs, or they may write to other devices.
    fn anew(&self, config: &Config, diff: &Diff) -> Vec<Name> {
        let moved = !(diff.devices.added.is_empty() && diff.devices.removed.is_empty());
        let begins = |new: &&UplinkConfig| {
            let Some(old) = self.config.uplinks.iter().find(|old| old.name == new.name) else { return false };
            let by_rules = diff.rules.contains(&new.name);
            let is_told_alike = || self.keeping.has_same_presence(&config.gateway, old, new);
            (diff.uplinks.changed.contains(&new.name) && !(by_rules && is_told_alike()))
                || (moved && !new.accept.is_empty())
        };
        config.uplinks.iter().filter(begins).map(|uplink| uplink.name.clone()).collect()
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
