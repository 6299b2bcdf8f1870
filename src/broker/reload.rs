//! What of a broker can change while it runs: its listeners, users, limits and uplinks. Each part does its own; this hands it out.

use tokio::sync::oneshot;

use super::hub_task::{HubTask, Input, OutletChange};
use super::{Broker, BrokerError, HubClosed, Limits, Prepared};
use crate::config::BrokerConfig;

impl Broker {
    /// Does what can fail of a change of the listeners: reads certificates, binds new addresses. Nothing has changed yet.
    pub fn prepare(&self, config: &BrokerConfig) -> Result<Prepared, BrokerError> {
        self.doors.prepare(&config.listeners)
    }

    /// Makes the broker what `config` says. Clients of listeners and users that are what they were stay; the others are sent away (0x98) and
    /// come back as they can. Limits hold for those who come and for what comes: nobody is sent away for a narrower one.
    pub async fn apply(&self, config: &BrokerConfig, prepared: Prepared) -> Result<(), HubClosed> {
        self.logins.replace(&config.users);
        let limits = Limits::from(&config.limits);
        self.pool.resize(limits.queued_bytes);
        self.doors.settings(limits, super::lifecycle::keep_alive_s(config)).await;
        let session_expiry_s = u32::try_from(config.session_expiry.as_secs()).unwrap_or(u32::MAX);
        let input = Input::Configure { limits: Box::new(limits), session_expiry_s };
        self.handle.inputs.send(input).await.map_err(|_| HubClosed)?;
        self.doors.apply(prepared).await;
        Ok(())
    }

    /// Has the hub serve these uplinks from now on. When this returns, no message goes to one that is not among them.
    pub async fn set_outlets(&self, outlets: Vec<OutletChange>) -> Result<(), HubClosed> {
        let (done, changed) = oneshot::channel();
        self.handle.inputs.send(Input::Outlets { outlets, done }).await.map_err(|_| HubClosed)?;
        changed.await.map_err(|_| HubClosed)
    }
}

impl HubTask {
    /// From now on these are the uplinks, in this order.
    pub(super) fn change_outlets(&mut self, changes: Vec<OutletChange>) {
        let known = self.hub.take_outlets().into_iter().zip(std::mem::take(&mut self.outlets));
        let mut known: Vec<_> = known.collect();
        let mut selects = Vec::new();
        for change in changes {
            match change {
                OutletChange::Put(outlet) => {
                    selects.push((outlet.queue, outlet.select));
                    self.outlets.push((outlet.live, outlet.live_dropped));
                }
                OutletChange::Keep(queue) => {
                    let Some(at) = known.iter().position(|((of, _), _)| *of == queue) else { continue };
                    let (select, live) = known.swap_remove(at);
                    selects.push(select);
                    self.outlets.push(live);
                }
            }
        }
        self.hub.set_outlets(selects);
    }
}
