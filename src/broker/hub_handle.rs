//! The gateway's own way into the hub: publish with back-pressure, publish and know that it is safe, subscribe.
//!
//! The gateway has no client identifier, so no client can take its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::hub_task::Input;
use super::local_reader::LocalReader;
use super::local_room::{self, LocalRoom};
use super::words::Published;
use crate::clock::Clock;
use crate::model::{Filter, Message, Publisher};
use crate::store::{Intake, Refusal};

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
        let by = Publisher::Gateway;
        self.inputs.send(Input::Publish { by, message, done: None }).await.map_err(|_| HubClosed)
    }

    /// Publishes, and returns when everything durable that depends on the message has it.
    pub async fn publish_committed(&self, message: Message) -> Result<(), PublishError> {
        self.publish_for(Publisher::Gateway, message).await
    }

    /// Publishes what came from elsewhere, such as a cloud's message that an uplink accepts, and returns when everything durable that
    /// depends on it has it.
    pub async fn publish_for(&self, by: Publisher, message: Message) -> Result<(), PublishError> {
        let (done, outcome) = oneshot::channel();
        self.inputs.send(Input::Publish { by, message, done: Some(done) }).await.map_err(|_| HubClosed)?;
        outcome.await.map_err(|_| HubClosed)?.map_err(PublishError::Refused)
    }

    /// The same for a cloud's message at QoS 2: that it came is kept in the commit of all that it causes, so that it is published once,
    /// whatever crashes, until the cloud has released it.
    pub async fn publish_once(&self, by: Publisher, message: Message, intake: Intake) -> Result<(), PublishError> {
        let (done, outcome) = oneshot::channel();
        let input = Input::PublishOnce { by, message, intake, done };
        self.inputs.send(input).await.map_err(|_| HubClosed)?;
        outcome.await.map_err(|_| HubClosed)?.map_err(PublishError::Refused)
    }

    /// Hands in what came from elsewhere, in order, without waiting for what becomes of it; at QoS 2 with the id that is to be kept in the
    /// commit of all that it causes.
    pub async fn submit(&self, by: Publisher, message: Message, once: Option<Intake>) -> Result<Submitted, HubClosed> {
        let (done, outcome) = oneshot::channel();
        let input = match once {
            Some(intake) => Input::PublishOnce { by, message, intake, done },
            None => Input::Publish { by, message, done: Some(done) },
        };
        self.inputs.send(input).await.map_err(|_| HubClosed)?;
        Ok(Submitted(outcome))
    }

    /// Offers what is retained to an uplink, which its index among the outlets names: the cloud may not have it. `old`, only what was
    /// retained before this start.
    pub async fn offer_retained(&self, outlet: usize, old: bool) -> Result<(), HubClosed> {
        self.inputs.send(Input::OfferRetained { outlet, old }).await.map_err(|_| HubClosed)
    }

    /// Subscribes to what is published from now on, with the retain flag as it was published. Ends when the subscription is dropped.
    pub async fn subscribe(&self, filter: Filter) -> Result<Subscription, HubClosed> {
        let (sender, messages) = mpsc::channel(SUBSCRIPTION_ROOM);
        let dropped = Arc::new(AtomicU64::new(0));
        self.subscribe_reader(vec![filter], LocalReader::Lossy(sender, dropped.clone())).await?;
        Ok(Subscription { messages, dropped })
    }

    /// Subscribes to what is published on any of the filters from now on, losing nothing: while its reader is too far behind, messages are
    /// refused, and publishers at QoS 1 and 2 are told so instead of being acknowledged. A message comes once for each filter that it matches.
    pub async fn subscribe_kept(&self, filters: Vec<Filter>) -> Result<KeptSubscription, HubClosed> {
        let (sender, messages) = mpsc::channel(local_room::MESSAGES);
        let room = Arc::new(LocalRoom::default());
        self.subscribe_reader(filters, LocalReader::Kept(sender, room.clone())).await?;
        Ok(KeptSubscription { messages, room })
    }

    async fn subscribe_reader(&self, filters: Vec<Filter>, reader: LocalReader) -> Result<(), HubClosed> {
        let (done, ready) = oneshot::channel();
        self.inputs.send(Input::Subscribe { filters, reader, done }).await.map_err(|_| HubClosed)?;
        ready.await.map_err(|_| HubClosed)
    }
}

/// A message that was handed in.
#[derive(Debug)]
pub struct Submitted(oneshot::Receiver<Result<(), Refusal>>);

impl Submitted {
    /// What became of it: everything durable that depends on it has it, or not.
    pub async fn outcome(self) -> Result<(), PublishError> {
        self.0.await.map_err(|_| HubClosed)?.map_err(PublishError::Refused)
    }
}

/// A subscription of the gateway itself that misses nothing, with who published each message.
#[derive(Debug)]
pub struct KeptSubscription {
    messages: mpsc::Receiver<(Arc<Published>, Publisher)>,
    room: Arc<LocalRoom>,
}

impl KeptSubscription {
    /// The next message and its publisher; `None` when the broker has stopped.
    pub async fn recv(&mut self) -> Option<(Message, Publisher)> {
        let (published, by) = self.messages.recv().await?;
        self.room.give_back(&published);
        Some((published.message.clone(), by))
    }
}

impl KeptSubscription {
    /// As [`KeptSubscription::recv`], with what is left of the message's expiry by now: it may have waited here.
    pub async fn recv_aged(&mut self, clock: Clock) -> Option<(Message, Publisher)> {
        let (published, by) = self.messages.recv().await?;
        self.room.give_back(&published);
        let mut message = published.message.clone();
        if let Some(left) = message.properties.as_mut().and_then(|properties| properties.message_expiry_s.as_mut()) {
            let waited = clock.now().since(published.at).as_secs();
            *left = left.saturating_sub(u32::try_from(waited).unwrap_or(u32::MAX));
        }
        Some((message, by))
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
