//! The task that owns the hub: takes inputs in batches, carries out what the core decided, and answers.
//!
//! Local delivery comes before anything that can wait. While the store has no room, no further input is taken, but its reports are: that is
//! the back-pressure that reaches every publisher, and it can't lock up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::counters::Counters;
use super::durable::{Owner, Unsettled};
use super::hub::{Hub, PageWanted, Select};
use super::local_reader::LocalReader;
use super::outbox::Outbox;
use super::words::{Admission, FromClient, Greeting, Key, ToClient};
use crate::clock::Clock;
use crate::model::{Filter, Message, Monotonic, Publisher, Timestamp};
use crate::mqtt::Reason;
use crate::store::{Append, BrokerState, CommitReport, Page, QueueId, Refusal, SessionReader, StoreError};

/// Inputs taken before what came of them is carried out.
const BATCH: usize = 64;

/// Bytes that the store may have and not have settled before it is handed more; a larger message goes alone. More than one of its group
/// commits takes (4 MiB), so that it has the next one's messages while it writes.
const UNSETTLED: usize = 8 << 20;

/// Messages of a backlog that are read at once, and their bytes.
const PAGE_MESSAGES: usize = 512;
const PAGE_BYTES: u64 = 256 << 10;

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

/// What the store keeps for the broker beside queues. Without it no session outlives its connection and no retained message the process.
#[derive(Debug)]
pub struct Memory {
    /// What was found at the start.
    pub state: BrokerState,
    /// Reads the backlogs of sessions.
    pub reader: SessionReader,
}

/// What reaches the hub.
#[derive(Debug)]
pub(super) enum Input {
    Connect {
        greeting: Greeting,
        outbox: Arc<Outbox>,
        admitted: oneshot::Sender<Result<Admission, Reason>>,
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

/// The end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goodbye {
    pub key: Key,
    /// Whether the will is to be published.
    pub lost: bool,
    /// The Session Expiry Interval that the client wants at its end, if it said so.
    pub expiry_s: Option<u32>,
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
    reader: Option<SessionReader>,
    /// Pages that are being read.
    readings: JoinSet<Reading>,
    unreadable: bool,
    outboxes: HashMap<Key, Arc<Outbox>>,
    /// That of a client that was told to go for the sake of the others, as long as there is something in it.
    condemned: Weak<Outbox>,
    /// Clients that wait to be let in.
    entering: HashMap<Key, oneshot::Sender<Result<Admission, Reason>>>,
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

/// A page that was asked for, and what came.
type Reading = (Owner, u64, Result<Page, StoreError>);

impl HubTask {
    pub fn new(
        limits: super::Limits,
        outlets: Vec<Outlet>,
        counters: Arc<Counters>,
        clock: Clock,
        appends: mpsc::Sender<Append>,
        memory: Option<(Memory, u32)>,
    ) -> HubTask {
        let mut selects = Vec::new();
        let mut lives = Vec::new();
        for outlet in outlets {
            selects.push((outlet.queue, outlet.select));
            lives.push((outlet.live, outlet.live_dropped));
        }
        let mut hub = Hub::new(limits, selects);
        let mut reader = None;
        if let Some((memory, session_expiry_s)) = memory {
            hub.set_wall(wall(clock));
            hub.restore(memory.state, session_expiry_s, clock.now());
            reader = Some(memory.reader);
        }
        HubTask {
            hub,
            outlets: lives,
            counters,
            clock,
            appends,
            unsettled: Unsettled::default(),
            store_gone: false,
            reader,
            readings: JoinSet::new(),
            unreadable: false,
            outboxes: HashMap::new(),
            condemned: Weak::new(),
            entering: HashMap::new(),
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
        // What the restored sessions and retained messages left to be written.
        self.flush();
        self.append(&mut reports).await;
        loop {
            self.hub.set_wall(wall(self.clock));
            let due = self.hub.next_due();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                report = reports.recv(), if !self.store_gone => self.report(report),
                Some(goodbye) = goodbyes.recv() => self.goodbye(goodbye, self.clock.now()),
                Some(read) = self.readings.join_next() => self.page_came(read),
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
                () = self.clock.sleep_until(due.unwrap_or_default()), if due.is_some() => {
                    self.hub.expire(self.clock.now());
                }
                // Not at once: the connections, which share the thread, have their turn between two portions.
                () = tokio::task::yield_now(), if self.hub.is_feeding() => {}
            }
            let now = self.clock.now();
            if self.hub.wants_totals(now) {
                self.hub.totals(&self.counters.totals(), now);
            }
            self.hub.feed(now);
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
                if let Some(old) = self.hub.connection_of(&greeting.client_id) {
                    self.note_sent(old);
                }
                let key = self.hub.connect(greeting, now);
                self.outboxes.insert(key, outbox);
                self.entering.insert(key, admitted);
            }
            Input::Client { key, batch, turn } => {
                if batch.iter().any(|input| matches!(input, FromClient::Publish { .. })) {
                    self.turns.extend(turn);
                }
                batch.into_iter().for_each(|input| self.hub.client_says(key, input, now));
            }
            Input::Disconnected(goodbye) => self.goodbye(goodbye, now),
            Input::Publish { by, message, done } => {
                let token = done.map(|done| {
                    self.next_token += 1;
                    self.waiting.insert(self.next_token, done);
                    self.next_token
                });
                self.hub.publish_local(&by, message, token, now);
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

    fn goodbye(&mut self, goodbye: Goodbye, now: Monotonic) {
        self.note_sent(goodbye.key);
        self.hub.disconnect(goodbye.key, goodbye.lost, goodbye.expiry_s, now);
    }

    /// Before a connection's session goes on without it: how far that came.
    fn note_sent(&mut self, key: Key) {
        if let Some(outbox) = self.outboxes.get(&key) {
            self.hub.note_sent(key, outbox.sent());
        }
    }

    fn page_came(&mut self, read: Result<Reading, JoinError>) {
        let (owner, asked, page) = match read {
            Ok(read) => read,
            Err(error) => return error!(%error, "reading what waits for a session failed. Please report this"),
        };
        if let Err(error) = &page
            && !std::mem::replace(&mut self.unreadable, true)
        {
            error!(%error, "what waits for a session can't be read; trying again");
        }
        self.unreadable &= page.is_err();
        self.hub.page_came(owner, asked, page.ok(), self.clock.now());
    }

    fn report(&mut self, report: Option<CommitReport>) {
        match report {
            Some(report) => {
                self.unsettled.settle(report.through);
                self.hub.report(&report, self.clock.now());
                if report.refused.is_empty() && std::mem::take(&mut self.refusing) {
                    info!("messages are kept again");
                }
            }
            None => self.lose_store(),
        }
    }

    fn lose_store(&mut self) {
        if !std::mem::replace(&mut self.store_gone, true) && !self.outlets.is_empty() {
            error!("the store has stopped; messages that have to be kept are refused from now on");
        }
        self.hub.store_is_gone(self.clock.now());
    }

    /// Lets clients in, or not.
    fn admit(&mut self) {
        for (key, outcome) in std::mem::take(&mut self.hub.out.admitted) {
            let is_in = outcome.is_ok();
            let Some(admitted) = self.entering.remove(&key) else { continue };
            // Its task is gone already: nobody else would say goodbye.
            if admitted.send(outcome).is_err() && is_in {
                self.hub.disconnect(key, true, None, self.clock.now());
            }
        }
    }

    /// Carries out everything that can't wait.
    fn flush(&mut self) {
        self.admit();
        for (key, mut last_words) in std::mem::take(&mut self.hub.out.parting) {
            self.entering.remove(&key);
            if let Some(outbox) = self.outboxes.remove(&key) {
                outbox.put(&mut last_words);
            }
        }
        if let Some(reader) = &self.reader {
            for PageWanted { owner, from, asked } in self.hub.out.pages.drain(..) {
                let reader = reader.clone();
                self.readings.spawn(async move {
                    (owner, asked, reader.page(owner.session, from, PAGE_MESSAGES, PAGE_BYTES).await)
                });
            }
        }
        let mut touched = std::mem::take(&mut self.hub.out.touched);
        let mut starved = false;
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
            starved |= put.starved;
            if put.overflow_began {
                warn!(
                    client = &*id,
                    "a subscriber is slower than what it subscribed to; messages for it are dropped until it catches up"
                );
            }
        }
        self.hub.out.touched = touched;
        if starved {
            self.relieve();
        }
        for key in std::mem::take(&mut self.hub.out.removed) {
            self.outboxes.remove(&key);
            self.entering.remove(&key);
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

    /// What waits for all clients together has reached its bound: the one that holds most of it has to go, and once at a time.
    fn relieve(&mut self) {
        if self.condemned.upgrade().is_some() {
            return;
        }
        let Some(outbox) = self.outboxes.values().max_by_key(|outbox| outbox.bytes()) else { return };
        self.condemned = Arc::downgrade(outbox);
        warn!(
            bytes = outbox.bytes(),
            "the messages that wait for slow subscribers have no more room; the slowest is disconnected"
        );
        outbox.put(&mut vec![ToClient::Close(Reason::QUOTA_EXCEEDED)]);
    }

    fn tell_refusals(&mut self) {
        let (refused, why) = std::mem::take(&mut self.hub.out.refused);
        if refused > 0 {
            self.counters.dropped.fetch_add(refused, Ordering::Relaxed);
            if !std::mem::replace(&mut self.refusing, true) {
                warn!(error = ?why, "messages that have to be kept are refused; their publishers are told");
            }
        }
        let refused = std::mem::take(&mut self.hub.out.local_refused);
        if refused > 0 {
            self.counters.dropped.fetch_add(refused, Ordering::Relaxed);
            debug!(messages = refused, "commands come faster than they can be looked at; their publishers are told");
        }
        let dropped = std::mem::take(&mut self.hub.out.backlog_dropped) + std::mem::take(&mut self.hub.out.damaged);
        self.counters.dropped.fetch_add(dropped, Ordering::Relaxed);
        for client in self.hub.out.overflowing.drain(..) {
            warn!(
                client = &*client,
                "as much waits for a client as is kept for one; further messages for it are dropped until it fetches some"
            );
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
        Counters::add(&self.counters.received, std::mem::take(&mut self.hub.out.received));
        Counters::add(&self.counters.received_bytes, std::mem::take(&mut self.hub.out.received_bytes));
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
        // Its reports may have more written.
        while !self.hub.out.appends.is_empty() {
            self.hand_over(reports).await;
        }
    }

    async fn hand_over(&mut self, reports: &mut mpsc::Receiver<CommitReport>) {
        let mut appends = std::mem::take(&mut self.hub.out.appends).into_iter();
        let store = self.appends.clone();
        let mut next = appends.next();
        while let Some(append) = next.take() {
            if self.store_gone {
                break;
            }
            let (ticket, bytes) = (append.ticket, append.what.size());
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

/// The wall time, once the clock has been set.
fn wall(clock: Clock) -> Option<Timestamp> {
    let stamp = clock.stamp();
    stamp.synced.then_some(stamp.wall)
}
