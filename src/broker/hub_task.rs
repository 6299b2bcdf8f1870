//! The task that owns the hub: takes inputs in batches, carries out what the core decided, and answers.
//!
//! Local delivery comes before anything that can wait. While the store has no room, no further input is taken, but its reports are: that is
//! the back-pressure that reaches every publisher, and it can't lock up.
//!
//! `delivering` carries out what the hub decided for those who are there, `storing` what goes to the store and comes back.

mod delivering;
mod storing;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::counters::Counters;
use super::durable::{Owner, Unsettled};
use super::hub::Hub;
use super::local_reader::LocalReader;
use super::outbox::Outbox;
use super::reload::OutletChange;
use super::selector::Selector;
use super::words::{Admission, FromClient, Greeting, Key, ToClient};
use crate::clock::Clock;
use crate::model::{Filter, Message, Monotonic, Publisher, Pulse, Timestamp};
use crate::mqtt::Reason;
use crate::store::{Append, BrokerState, CommitReport, Intake, Page, QueueId, Refusal, SessionReader, StoreError};

/// Inputs taken before what came of them is carried out.
const BATCH: usize = 64;

/// An uplink as the hub sees it: what it wants of each message, and where that goes.
pub struct Outlet {
    /// The queue for what it wants at QoS 1 or 2.
    pub queue: QueueId,
    /// What it is to get. Asked for every message, so it must not block.
    pub select: Box<dyn Selector>,
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
    PublishOnce {
        by: Publisher,
        message: Message,
        intake: Intake,
        done: oneshot::Sender<Result<(), Refusal>>,
    },
    OfferRetained {
        outlet: usize,
        old: bool,
    },
    Subscribe {
        filters: Vec<Filter>,
        reader: LocalReader,
        done: oneshot::Sender<()>,
    },
    /// From now on these limits hold, and so many seconds at most for sessions.
    Configure {
        limits: Box<super::Limits>,
        session_expiry_s: u32,
    },
    /// From now on this is the uplink with that index; none takes it away.
    Outlet(Box<OutletChange>),
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
    pub(super) hub: Hub,
    pub(super) outlets: Vec<(mpsc::Sender<Message>, Arc<AtomicU64>)>,
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
    /// Of [`HubTask::run`].
    pub(super) pulse: Pulse,
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
            pulse: Pulse::default(),
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
            self.pulse.beat();
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
                () = self.clock.sleep(Pulse::EVERY) => {}
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
        self.hub.flush_outlets(self.clock.now());
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
                let token = done.map(|done| self.token(done));
                self.hub.publish_local(&by, message, token, now);
            }
            Input::PublishOnce { by, message, intake, done } => {
                let token = self.token(done);
                self.hub.publish_once(&by, message, token, intake, now);
            }
            Input::OfferRetained { outlet, old } => self.hub.offer_retained(outlet, old, now),
            Input::Subscribe { filters, reader, done } => {
                for filter in filters {
                    let key = self.hub.subscribe_local(filter, reader.room());
                    self.locals.insert(key, reader.clone());
                }
                // When its asker is gone already, the first message finds that out.
                let _ = done.send(());
            }
            Input::Configure { limits, session_expiry_s } => self.hub.configure(*limits, session_expiry_s),
            Input::Outlet(change) => self.change_outlet(*change, now),
        }
    }

    /// A number for someone who wants to know what becomes of a message.
    fn token(&mut self, done: oneshot::Sender<Result<(), Refusal>>) -> u64 {
        self.next_token += 1;
        self.waiting.insert(self.next_token, done);
        self.next_token
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
}

/// The wall time, once the clock has been set.
fn wall(clock: Clock) -> Option<Timestamp> {
    let stamp = clock.stamp();
    stamp.synced.then_some(stamp.wall)
}
