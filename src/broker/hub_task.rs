//! The task that owns the hub: takes inputs in batches, carries out what the core decided, and answers.
//!
//! Local delivery comes before anything that can wait. While the store has no room, no further input is taken, but its reports are: that is
//! the back-pressure that reaches every publisher, and it can't lock up.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::durable::Unsettled;
use super::hub::{Hub, Select};
use super::local_room::LocalRoom;
use super::outbox::Outbox;
use super::words::{FromClient, Greeting, Key, Published, ToClient};
use crate::clock::Clock;
use crate::model::{Filter, Message, Monotonic, Publisher};
use crate::store::{Append, CommitReport, QueueId, Refusal};

/// Inputs taken before what came of them is carried out.
const BATCH: usize = 64;

/// Bytes that the store may have and not have settled before it is handed more; a larger message goes alone. More than one of its group
/// commits takes (4 MiB), so that it has the next one's messages while it writes.
const UNSETTLED: usize = 8 << 20;

/// How long publishers are held for a subscriber to drain its queue to a quarter.
const PATIENCE: Duration = Duration::from_millis(50);

/// An uplink as the hub sees it: what it wants of each message, and where that goes.
pub struct Outlet {
    /// The queue for what it wants at QoS 1 or 2.
    pub queue: QueueId,
    /// The message as the uplink is to get it, or nothing. Called for every message, so it must not block.
    pub select: Select,
    /// For what it wants at QoS 0: now or never.
    pub live: mpsc::Sender<Message>,
    /// Counts what `live` had no room for.
    pub live_dropped: Arc<AtomicU64>,
}

/// What reaches the hub.
#[derive(Debug)]
pub(super) enum Input {
    Connect {
        greeting: Greeting,
        outbox: Arc<Outbox>,
        admitted: oneshot::Sender<Key>,
    },
    /// `turn` is given back when the client may send more; the goodbye's last batch has none.
    Client {
        key: Key,
        batch: Vec<FromClient>,
        turn: Option<OwnedSemaphorePermit>,
    },
    Disconnected(Goodbye),
    Publish {
        by: Publisher,
        message: Message,
        done: Option<oneshot::Sender<Result<(), Refusal>>>,
    },
    Subscribe {
        filters: Vec<Filter>,
        reader: LocalReader,
        done: oneshot::Sender<()>,
    },
}

/// Who reads a subscription of the gateway itself.
#[derive(Debug, Clone)]
pub(super) enum LocalReader {
    /// What finds no room is dropped and counted.
    Lossy(mpsc::Sender<Message>, Arc<AtomicU64>),
    /// What finds no room was refused by the hub before it came here.
    Kept(mpsc::Sender<(Arc<Published>, Publisher)>, Arc<LocalRoom>),
}

impl LocalReader {
    fn room(&self) -> Option<Arc<LocalRoom>> {
        match self {
            LocalReader::Lossy(..) => None,
            LocalReader::Kept(_, room) => Some(room.clone()),
        }
    }

    /// Whether it is still there.
    fn give(&self, published: &Arc<Published>, by: Publisher) -> bool {
        match self {
            LocalReader::Lossy(sender, dropped) => match sender.try_send(published.message.clone()) {
                Err(TrySendError::Full(_)) => {
                    dropped.fetch_add(1, Ordering::Relaxed);
                    true
                }
                sent => sent.is_ok(),
            },
            // Its channel has a place for each message that there was room for, so it can only be closed.
            LocalReader::Kept(sender, _) => sender.try_send((published.clone(), by)).is_ok(),
        }
    }
}

/// The end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goodbye {
    pub key: Key,
    /// Whether the will is to be published.
    pub lost: bool,
}

/// Numbers for [`crate::model::BrokerStatus`], written by the hub and the connections.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub clients: AtomicU64,
    pub subscriptions: AtomicU64,
    pub retained: AtomicU64,
    pub received: AtomicU64,
    pub sent: AtomicU64,
    pub dropped: AtomicU64,
}

/// The hub and what it needs to act.
pub(super) struct HubTask {
    hub: Hub,
    outlets: Vec<(mpsc::Sender<Message>, Arc<AtomicU64>)>,
    counters: Arc<Counters>,
    clock: Clock,
    appends: mpsc::Sender<Append>,
    unsettled: Unsettled,
    store_gone: bool,
    outboxes: HashMap<Key, Arc<Outbox>>,
    locals: HashMap<Key, LocalReader>,
    waiting: HashMap<u64, oneshot::Sender<Result<(), Refusal>>>,
    next_token: u64,
    /// Whether the last message that had to be kept could not be, and the last retained one.
    refusing: bool,
    retained_full: bool,
    list: Vec<ToClient>,
    /// Mailboxes that are more than half full.
    pressed: Vec<Arc<Outbox>>,
    /// The turns of clients whose messages were taken since the last look at the mailboxes.
    turns: Vec<OwnedSemaphorePermit>,
    /// Turns that are held, each until certain mailboxes have drained.
    holds: JoinSet<()>,
}

impl HubTask {
    pub fn new(
        limits: super::Limits,
        outlets: Vec<Outlet>,
        counters: Arc<Counters>,
        clock: Clock,
        appends: mpsc::Sender<Append>,
    ) -> HubTask {
        let mut selects = Vec::new();
        let mut lives = Vec::new();
        for outlet in outlets {
            selects.push((outlet.queue, outlet.select));
            lives.push((outlet.live, outlet.live_dropped));
        }
        HubTask {
            hub: Hub::new(limits, selects),
            outlets: lives,
            counters,
            clock,
            appends,
            unsettled: Unsettled::default(),
            store_gone: false,
            outboxes: HashMap::new(),
            locals: HashMap::new(),
            waiting: HashMap::new(),
            next_token: 0,
            refusing: false,
            retained_full: false,
            list: Vec::new(),
            pressed: Vec::new(),
            turns: Vec::new(),
            holds: JoinSet::new(),
        }
    }

    /// Runs until `stop` is cancelled; what has been taken by then is still handed to the store.
    pub async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut goodbyes: mpsc::Receiver<Goodbye>,
        mut reports: mpsc::Receiver<CommitReport>,
        stop: CancellationToken,
    ) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let expiry = self.hub.next_expiry();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                report = reports.recv(), if !self.store_gone => self.report(report),
                Some(goodbye) = goodbyes.recv() => self.hub.disconnect(goodbye.key, goodbye.lost, self.clock.now()),
                Some(ended) = self.holds.join_next() => if let Err(error) = ended {
                    error!(%error, "holding a publisher failed; it goes on");
                },
                taken = inputs.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        break;
                    }
                    let now = self.clock.now();
                    batch.drain(..).for_each(|input| self.input(input, now));
                }
                () = self.clock.sleep_until(expiry.unwrap_or_default()), if expiry.is_some() => {
                    self.hub.expire(self.clock.now());
                }
                // Not at once: the connections, which share the thread, have their turn between two portions.
                () = tokio::task::yield_now(), if self.hub.is_feeding() => {}
            }
            self.hub.feed(self.clock.now());
            self.flush();
            self.append(&mut reports).await;
            self.pace();
        }
        // What was taken from the gateway before the stop still goes its way.
        inputs.close();
        while let Ok(input) = inputs.try_recv() {
            self.input(input, self.clock.now());
        }
        self.flush();
        self.append(&mut reports).await;
        debug!("the hub has stopped");
    }

    fn input(&mut self, input: Input, now: Monotonic) {
        match input {
            Input::Connect { greeting, outbox, admitted } => {
                let key = self.hub.connect(greeting, now);
                self.outboxes.insert(key, outbox);
                // Its task is gone already: nobody else would say goodbye.
                if admitted.send(key).is_err() {
                    self.hub.disconnect(key, true, now);
                }
            }
            Input::Client { key, batch, turn } => {
                if batch.iter().any(|input| matches!(input, FromClient::Publish { .. })) {
                    self.turns.extend(turn);
                }
                batch.into_iter().for_each(|input| self.hub.client_says(key, input, now));
            }
            Input::Disconnected(goodbye) => self.hub.disconnect(goodbye.key, goodbye.lost, now),
            Input::Publish { by, message, done } => {
                let token = done.map(|done| {
                    self.next_token += 1;
                    self.waiting.insert(self.next_token, done);
                    self.next_token
                });
                self.hub.publish_local(by, message, token, now);
            }
            Input::Subscribe { filters, reader, done } => {
                for filter in filters {
                    let key = self.hub.subscribe_local(filter, reader.room());
                    self.locals.insert(key, reader.clone());
                }
                // When its asker is gone already, the first message finds that out.
                let _ = done.send(());
            }
        }
    }

    fn report(&mut self, report: Option<CommitReport>) {
        match report {
            Some(report) => {
                self.unsettled.settle(report.through);
                self.hub.report(&report);
                if report.refused.is_empty() && std::mem::take(&mut self.refusing) {
                    info!("messages for the uplinks are kept again");
                }
            }
            None => self.lose_store(),
        }
    }

    fn lose_store(&mut self) {
        if !std::mem::replace(&mut self.store_gone, true) && !self.outlets.is_empty() {
            error!("the store has stopped; messages that have to be kept are refused from now on");
        }
        self.hub.store_is_gone();
    }

    /// Carries out everything that can't wait.
    fn flush(&mut self) {
        let mut touched = std::mem::take(&mut self.hub.out.touched);
        for key in touched.drain(..) {
            let Some(id) = self.hub.take_list(key, &mut self.list) else { continue };
            let Some(outbox) = self.outboxes.get(&key) else {
                self.list.clear();
                continue;
            };
            if self.list.is_empty() {
                continue;
            }
            let put = outbox.put(&mut self.list);
            if put.pressed {
                self.pressed.push(outbox.clone());
            }
            self.counters.dropped.fetch_add(put.dropped, Ordering::Relaxed);
            if put.overflow_began {
                warn!(
                    client = &*id,
                    "a subscriber is slower than what it subscribed to; messages for it are dropped until it catches up"
                );
            }
        }
        self.hub.out.touched = touched;
        for key in std::mem::take(&mut self.hub.out.removed) {
            self.outboxes.remove(&key);
            self.hub.forget(key);
        }
        for (outlet, message) in self.hub.out.live.drain(..) {
            let (live, dropped) = &self.outlets[outlet];
            if live.try_send(message).is_err() {
                dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        for (key, published, by) in std::mem::take(&mut self.hub.out.local) {
            let Some(reader) = self.locals.get(&key) else { continue };
            if !reader.give(&published, by) {
                self.locals.remove(&key);
                self.hub.unsubscribe_local(key);
            }
        }
        for (token, outcome) in self.hub.out.settled.drain(..) {
            if let Some(done) = self.waiting.remove(&token) {
                // Whoever asked may have gone; then nobody needs the answer.
                let _ = done.send(outcome);
            }
        }
        self.tell_refusals();
        self.count();
    }

    fn tell_refusals(&mut self) {
        let refused = std::mem::take(&mut self.hub.out.refused);
        if let Some(first) = refused.first() {
            self.counters.dropped.fetch_add(refused.len() as u64, Ordering::Relaxed);
            if !std::mem::replace(&mut self.refusing, true) {
                warn!(error = ?first, "messages that have to be kept for an uplink are refused; their publishers are told");
            }
        }
        let refused = std::mem::take(&mut self.hub.out.local_refused);
        if refused > 0 {
            self.counters.dropped.fetch_add(refused, Ordering::Relaxed);
            debug!(messages = refused, "commands come faster than they can be looked at; their publishers are told");
        }
        let retained = std::mem::take(&mut self.hub.out.retained_refused);
        if retained > 0 {
            self.counters.dropped.fetch_add(retained, Ordering::Relaxed);
            if !std::mem::replace(&mut self.retained_full, true) {
                let topic = self.hub.out.retained_refused_topic.take();
                warn!(
                    topic = topic.as_deref(),
                    "no room for more retained messages; subscribers got this one, later ones will not"
                );
            }
        }
    }

    fn count(&mut self) {
        let (clients, subscriptions, retained) = self.hub.counts();
        self.counters.clients.store(clients as u64, Ordering::Relaxed);
        self.counters.subscriptions.store(subscriptions as u64, Ordering::Relaxed);
        self.counters.retained.store(retained as u64, Ordering::Relaxed);
        self.counters.received.fetch_add(std::mem::take(&mut self.hub.out.received), Ordering::Relaxed);
    }

    /// Gives subscribers whose queue fills the time to catch up, so that a burst between quick clients loses nothing: those who published
    /// meanwhile are held, and nobody else. A subscriber that does not catch up is not waited for again before it has.
    fn pace(&mut self) {
        let (turns, pressed) = (std::mem::take(&mut self.turns), std::mem::take(&mut self.pressed));
        if pressed.is_empty() || turns.is_empty() {
            return;
        }
        let (clock, until) = (self.clock, self.clock.now() + PATIENCE);
        self.holds.spawn(async move {
            for outbox in pressed {
                tokio::select! {
                    () = outbox.drained() => {}
                    () = clock.sleep_until(until) => outbox.set_lagging(),
                }
            }
            drop(turns);
        });
    }

    /// Hands the appends to the store, taking its reports while it has no room.
    async fn append(&mut self, reports: &mut mpsc::Receiver<CommitReport>) {
        if self.hub.out.appends.is_empty() {
            return;
        }
        let mut appends = std::mem::take(&mut self.hub.out.appends).into_iter();
        let store = self.appends.clone();
        let mut next = appends.next();
        while let Some(append) = next.take() {
            if self.store_gone {
                break;
            }
            let (ticket, bytes) = (append.ticket, append.message.size());
            let fits = self.unsettled.bytes() == 0 || self.unsettled.bytes() + bytes <= UNSETTLED;
            // Nearly always there is room, and then nothing has to be waited for.
            let append = match if fits { store.try_send(append) } else { Err(TrySendError::Full(append)) } {
                Ok(()) => {
                    self.unsettled.add(ticket, bytes);
                    next = appends.next();
                    continue;
                }
                Err(TrySendError::Full(append) | TrySendError::Closed(append)) => append,
            };
            tokio::select! {
                room = store.reserve(), if fits => match room {
                    Ok(room) => {
                        room.send(append);
                        self.unsettled.add(ticket, bytes);
                        next = appends.next();
                    }
                    Err(_) => break,
                },
                report = reports.recv() => {
                    next = Some(append);
                    self.report(report);
                    self.flush();
                }
            }
        }
        if self.appends.is_closed() || self.store_gone {
            self.lose_store();
            self.flush();
        }
    }
}
