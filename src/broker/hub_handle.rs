//! The gateway's own way into the hub: publish with back-pressure, publish and know that it is safe, subscribe.
//!
//! The gateway has no client identifier, so no client can take its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::hub_task::Input;
use crate::model::{Filter, Message};
use crate::store::Refusal;

/// Messages that a [`Subscription`] holds for its reader.
const SUBSCRIPTION_ROOM: usize = 1_024;

/// A way into the hub. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HubHandle {
    pub(super) inputs: mpsc::Sender<Input>,
}

/// The broker has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the broker has stopped")]
pub struct HubClosed;

/// Why a message is not safe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The broker has stopped.
    #[error(transparent)]
    Closed(#[from] HubClosed),
    /// Local subscribers have it, but a queue that it belongs to is full or could not write it.
    #[error("{}", match .0 {
        Refusal::QueueFull => "a queue is full and keeps what it has".to_string(),
        Refusal::Storage(why) => format!("the store could not keep it: {why}"),
    })]
    Refused(Refusal),
}

impl HubHandle {
    /// Publishes. Waits for room in the hub; does not wait for the store. What the store refuses is counted and logged by the broker.
    pub async fn publish(&self, message: Message) -> Result<(), HubClosed> {
        self.inputs.send(Input::Publish { message, done: None }).await.map_err(|_| HubClosed)
    }

    /// Publishes, and returns when everything durable that depends on the message has it.
    pub async fn publish_committed(&self, message: Message) -> Result<(), PublishError> {
        let (done, outcome) = oneshot::channel();
        self.inputs.send(Input::Publish { message, done: Some(done) }).await.map_err(|_| HubClosed)?;
        outcome.await.map_err(|_| HubClosed)?.map_err(PublishError::Refused)
    }

    /// Subscribes to what is published from now on, with the retain flag as it was published. Ends when the subscription is dropped.
    pub async fn subscribe(&self, filter: Filter) -> Result<Subscription, HubClosed> {
        let (sender, messages) = mpsc::channel(SUBSCRIPTION_ROOM);
        let dropped = Arc::new(AtomicU64::new(0));
        let (done, ready) = oneshot::channel();
        let input = Input::Subscribe { filter, sender, dropped: dropped.clone(), done };
        self.inputs.send(input).await.map_err(|_| HubClosed)?;
        ready.await.map_err(|_| HubClosed)?;
        Ok(Subscription { messages, dropped })
    }
}

/// A subscription of the gateway itself. When its reader is slow, messages are dropped and counted.
#[derive(Debug)]
pub struct Subscription {
    messages: mpsc::Receiver<Message>,
    dropped: Arc<AtomicU64>,
}

impl Subscription {
    /// The next message; `None` when the broker has stopped.
    pub async fn recv(&mut self) -> Option<Message> {
        self.messages.recv().await
    }

    /// Messages that found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
