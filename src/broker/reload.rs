//! What of a broker can change while it runs: its listeners, users, limits and uplinks. Each part does its own; this hands it out.

use tokio::sync::oneshot;

use super::hub_task::{HubTask, Input, Outlet};
use super::selector::Selector;
use super::{Broker, BrokerError, HubClosed, Limits, Prepared};
use crate::config::BrokerConfig;
use crate::model::{Message, Monotonic};
use crate::store::QueueId;

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

    /// Has the hub serve this uplink from now on, as the one with that index: one that is there, or the next. When this returns, whatever is
    /// published after that goes by it.
    pub async fn set_outlet(&self, index: usize, outlet: Outlet) -> Result<(), HubClosed> {
        self.change_outlet(index, Some(outlet)).await
    }

    /// Has the hub forget an uplink. Its index stays taken.
    pub async fn drop_outlet(&self, index: usize) -> Result<(), HubClosed> {
        self.change_outlet(index, None).await
    }

    async fn change_outlet(&self, index: usize, outlet: Option<Outlet>) -> Result<(), HubClosed> {
        let (done, changed) = oneshot::channel();
        let change = Box::new(OutletChange { index, outlet, done });
        self.handle.inputs.send(Input::Outlet(change)).await.map_err(|_| HubClosed)?;
        changed.await.map_err(|_| HubClosed)
    }
}

/// A change of one uplink, as the hub gets it.
pub(super) struct OutletChange {
    index: usize,
    outlet: Option<Outlet>,
    done: oneshot::Sender<()>,
}

impl std::fmt::Debug for OutletChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutletChange").field("index", &self.index).finish_non_exhaustive()
    }
}

impl HubTask {
    pub(super) fn change_outlet(&mut self, change: OutletChange, now: Monotonic) {
        let OutletChange { index, outlet, done } = change;
        match outlet {
            Some(Outlet { queue, select, live, live_dropped }) => {
                self.hub.set_outlet(index, (queue, select), now);
                let ends = (live, live_dropped);
                match self.outlets.get_mut(index) {
                    Some(before) => *before = ends,
                    None => self.outlets.push(ends),
                }
            }
            None => {
                let wants_nothing: Box<dyn Selector> = Box::new(|_: &Message| None::<Message>);
                self.hub.set_outlet(index, (QueueId::normal(index), wants_nothing), now);
            }
        }
        // Whoever asked for it may have given up.
        let _ = done.send(());
    }
}
