//! The task of an uplink: one connection after another, until it is told to stop.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::accept::{Accept, Accepted, Settled};
use super::backoff::Backoff;
use super::client::Connection;
use super::delivery::Start;
use super::echoes::Echoes;
use super::envelope::Envelope;
use super::intake::{Consequence, Intake};
use super::lanes::{Lanes, Standing};
use super::online::End;
use super::pace::Pace;
use super::prefetch::Prefetch;
use super::report::Report;
use super::rota::Rota;
use super::subscriptions::Subscriptions;
use crate::clock::Clock;
use crate::model::{Message, Monotonic, Priority, Pulse, QueueStatus, UplinkStatus};
use crate::mqtt::{ConnAck, Disconnect, Packet, Reason, Version};
use crate::random;
use crate::store::{Marks, Queue, Receipts, Reception};

/// An uplink and all that outlives a connection.
pub(super) struct Uplink {
    pub settings: Arc<Settings>,
    pub clock: Clock,
    pub cancel: CancellationToken,
    pub delivery: Lanes,
    /// What is read ahead of its turn; this and the next by [`Priority`](crate::model::Priority).
    pub prefetch: [Prefetch; 2],
    pub receipts: [Receipts; 2],
    /// What is on disk of what `receipts` were told.
    pub marks: [watch::Receiver<Marks>; 2],
    pub intake: Intake,
    pub subscriptions: Subscriptions,
    pub reception: Reception,
    /// Where messages from the cloud go.
    pub accepted: mpsc::Sender<Accepted>,
    /// What became of them. `None` when nobody will say any more.
    pub settled: Option<mpsc::Receiver<Settled>>,
    /// What was sent and will be sent back; `None` where the protocol sees to that.
    pub echoes: Option<Arc<Mutex<Echoes>>>,
    /// To be told when the cloud has no session of ours.
    pub forgotten: Arc<Notify>,
    pub report: Report,
    pub backoff: Backoff,
    pub rota: Rota,
    pub pace: Pace,
    /// QoS 0 messages, to be sent at once or dropped. `None` when no more will come.
    pub live: Option<mpsc::Receiver<Message>>,
    /// Changes with each commit. `None` when the store is closed.
    pub queue: Option<watch::Receiver<QueueStatus>>,
    /// The configured one, or the one that the cloud gave us.
    client_id: String,
    /// The next session has to begin clean, whatever the server has.
    fresh: bool,
    /// Whose session it is that counts; empty while that is not known.
    session_of: String,
    /// Set while the disk knows of another session than that.
    pub anew: Option<Anew>,
    /// An order of [`Receipts`] that has to be on disk before anything is sent.
    pub hold: [Option<u64>; 2],
    /// The log was told that the cloud takes QoS 1 at most.
    pub told_downgraded: bool,
}

/// Who has the session that counts while none does: no server is called so.
const NOBODY: &str = "-";

/// How far it is with a session that had to begin clean. Until it is noted, nothing is asked or sent in it, and a crash begins it clean once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anew {
    /// To be noted when what was forgotten with the one before is on disk: what [`Uplink::hold`] waits for, and orders of [`Reception`] up to this.
    After(u64),
    /// It is being noted; [`Uplink::hold`] waits for that.
    Noting,
}

/// Runs an uplink until `cancel`; then it says goodbye and returns within about a second. It never fails: whatever happens, the
/// messages are in the queue, and the cloud is tried again.
///
/// `live` brings QoS 0 messages: sent when online, else dropped and counted. `accept` is what comes down.
pub async fn run(
    settings: Settings,
    queue: Queue,
    live: mpsc::Receiver<Message>,
    accept: Accept,
    clock: Clock,
    status: watch::Sender<UplinkStatus>,
    cancel: CancellationToken,
) {
    let Accept { reception, subscriptions, messages, settled, forgotten } = accept;
    let echoes = (settings.version == Version::V311 && !subscriptions.is_empty()).then(|| {
        let filters = subscriptions.iter().map(|asked| asked.filter.clone()).collect();
        Arc::new(Mutex::new(Echoes::new(filters)))
    });
    let standing = |epoch, done, recorded, last| {
        let envelope = Envelope::new(settings.version, &settings.gateway, epoch).with_echoes(echoes.clone());
        let start = Start { window: settings.window, done, recorded, last, session_lost: settings.session_lost };
        Standing { start, envelope }
    };
    let high = queue.high;
    let normal_stands = standing(queue.epoch, queue.done, queue.recorded, queue.last);
    let high_stands = standing(high.epoch, high.done, high.recorded, high.last);
    // The cloud may know their packet ids, and has to be told how each of them ends.
    queue.receipts.protect(queue.last);
    high.receipts.protect(high.last);
    let mut uplink = Uplink {
        clock,
        cancel,
        delivery: Lanes::new(normal_stands, high_stands),
        prefetch: [Prefetch::new(queue.rows), Prefetch::new(high.rows)],
        marks: [queue.receipts.marks(), high.receipts.marks()],
        receipts: [queue.receipts, high.receipts],
        intake: Intake::new(&reception.received),
        subscriptions: Subscriptions::new(subscriptions, reception.subscribed.clone()),
        reception,
        accepted: messages,
        settled: Some(settled),
        forgotten,
        echoes,
        report: Report::new(settings.name.clone(), status, queue.status.clone()),
        backoff: Backoff::new(settings.longest_delay),
        rota: Rota::new(settings.servers.len()),
        pace: Pace::new(settings.rate_limit),
        live: Some(live),
        queue: Some(queue.status),
        client_id: settings.client_id.clone(),
        fresh: queue.fresh,
        session_of: queue.server,
        anew: None,
        hold: [None, None],
        told_downgraded: false,
        settings: Arc::new(settings),
    };
    uplink.run().await;
    uplink.report.stopped(clock.now());
}

impl Uplink {
    /// Whether a message that came in is one that went out.
    pub(super) fn is_echo(&mut self, message: &Message) -> bool {
        let now = self.clock.now();
        self.echoes.as_ref().is_some_and(|echoes| {
            let mut echoes = echoes.lock().unwrap_or_else(PoisonError::into_inner);
            echoes.set_now(now);
            echoes.is_echo(message)
        })
    }

    /// It is now so late for what is sent.
    pub(super) fn tell_echoes(&self, now: Monotonic) {
        if let Some(echoes) = &self.echoes {
            echoes.lock().unwrap_or_else(PoisonError::into_inner).set_now(now);
        }
    }

    async fn run(&mut self) {
        let mut cleaned = false;
        loop {
            // The server has just ended an old session of ours. Some take one CONNECT a second: such a one is not left for the next at once.
            let worth_another_try = std::mem::take(&mut cleaned);
            let (settings, clock, turn) = (self.settings.clone(), self.clock, self.rota.current());
            // Another server has another session of ours, if any, and its packet ids stand for other messages.
            let elsewhere = !self.session_of.is_empty() && self.session_of != self.session(turn);
            let (client_id, clean_start) = (self.client_id.clone(), self.fresh || elsewhere);
            // What a clean connection put an end to does not count after a crash either, before there is another session.
            let noted = self.anew.and(self.hold[Priority::Normal as usize]).unwrap_or_default();
            let mut marks = self.marks[Priority::Normal as usize].clone();
            let attempt = async move {
                // An error says that the store is closed: so will be this uplink.
                let _ = marks.wait_for(|marks| marks.orders >= noted).await;
                Connection::open(&settings, &settings.servers[turn], &client_id, clean_start, clock).await
            };
            let acknowledged = self.report.counters.acknowledged;
            let (why, lasted) = match self.meanwhile(attempt).await {
                None => return,
                Some(Ok((connection, connack))) => {
                    let since = self.clock.now();
                    self.fresh = clean_start;
                    let end = self.connected(connection, connack).await;
                    let passed = self.delivery.disconnected(matches!(end, End::Closed(_)));
                    self.settle_last_words();
                    for (class, above) in passed.into_iter().enumerate() {
                        self.prefetch[class].settle().await;
                        self.receipts[class].release_above(above);
                    }
                    match end {
                        End::Stopped => return,
                        End::Again => {
                            cleaned = true;
                            continue;
                        }
                        End::Lost(why) | End::Closed(why) => {
                            let lasted = self.clock.now().since(since);
                            self.backoff.ended_after(lasted);
                            (why, Some(lasted))
                        }
                    }
                }
                Some(Err(problem)) => (problem.to_string(), None),
            };
            self.report.offline(self.clock.now(), self.of_server(turn, why), lasted);
            let worked = self.report.counters.acknowledged > acknowledged || lasted.is_some_and(Backoff::is_long);
            let pause = match lasted {
                Some(_) => self.rota.ended(worked),
                None if worth_another_try => self.rota.ended(true),
                None => self.rota.failed(),
            };
            if !pause {
                continue;
            }
            let delay = self.backoff.next(random::fraction());
            let clock = self.clock;
            if self.meanwhile(async move { clock.sleep(delay).await }).await.is_none() {
                return;
            }
        }
    }

    /// What tells the session at this server from those at others, and of other clients.
    fn session(&self, turn: usize) -> String {
        format!("{} {}", self.settings.servers[turn].authority().to_lowercase(), self.settings.client_id)
    }

    /// What was forgotten for the session that was begun is on disk: so shall be whose session it is.
    pub(super) fn note_session(&mut self) {
        let [normal, _] = &self.receipts;
        self.hold[Priority::Normal as usize] = Some(normal.season(&self.session_of));
        self.anew = Some(Anew::Noting);
    }

    /// Which server it is about, where there are several.
    fn of_server(&self, turn: usize, why: String) -> String {
        let servers = &self.settings.servers;
        if servers.len() > 1 { format!("{}: {why}", servers[turn]) } else { why }
    }

    async fn connected(&mut self, mut connection: Connection, connack: ConnAck) -> End {
        if let Some(assigned) = &connack.assigned_client_id {
            self.client_id.clone_from(assigned);
        }
        if std::mem::take(&mut self.fresh) {
            // What there was is gone, and this session goes with its connection: the one to keep is begun by the next.
            self.session_of = self.session(self.rota.current());
            self.anew.get_or_insert(Anew::After(0));
            let [normal, _] = &self.receipts;
            self.hold[Priority::Normal as usize] = Some(normal.season(NOBODY));
            return match connection.push(&Packet::Disconnect(Disconnect::new(Reason::SUCCESS))) {
                Ok(()) => hang_up(connection).await,
                Err(error) => End::Lost(error.to_string()),
            };
        }
        self.online(connection, connack).await
    }

    /// Waits for `task` while nobody is connected: QoS 0 messages are dropped and counted, and the queue's state is passed on.
    /// `None` when the uplink is to stop.
    async fn meanwhile<T>(&mut self, task: impl Future<Output = T>) -> Option<T> {
        let mut task = std::pin::pin!(task);
        loop {
            self.settings.pulse.beat();
            let deadline = self.report.deadline();
            tokio::select! {
                () = self.cancel.cancelled() => return None,
                done = &mut task => return Some(done),
                message = next_live(&mut self.live) => {
                    self.report.counters.dropped_qos0 += u64::from(message.is_some());
                    self.report.changed(self.clock.now());
                }
                () = queue_changed(&mut self.queue) => self.report.changed(self.clock.now()),
                settled = next_settled(&mut self.settled) => if let Some(settled) = settled {
                    self.settle_away(settled);
                },
                () = self.clock.sleep_until(deadline.unwrap_or_default()), if deadline.is_some() => {
                    self.report.tick(self.clock.now());
                }
                () = self.clock.sleep(Pulse::EVERY) => {}
            }
        }
    }

    /// A ticket came back while nobody is connected who could be told.
    fn settle_away(&mut self, settled: Settled) {
        if let Consequence::Forget(packet_id) = self.intake.settle(settled, self.settings.version == Version::V5) {
            self.reception.release(packet_id);
        }
    }
}

/// Ends a connection in order; another is to follow at once.
async fn hang_up(mut connection: Connection) -> End {
    while !connection.outbox.is_empty() {
        if let Err(error) = connection.write().await {
            return End::Lost(error.to_string());
        }
    }
    connection.close().await;
    End::Again
}

/// The next QoS 0 message; waits for ever when there will be none. Cancel-safe.
pub(super) async fn next_live(live: &mut Option<mpsc::Receiver<Message>>) -> Option<Message> {
    let message = match live {
        Some(open) => open.recv().await,
        None => std::future::pending().await,
    };
    if message.is_none() {
        *live = None;
    }
    message
}

/// The next message's end; waits for ever when there will be none. Cancel-safe.
pub(super) async fn next_settled(settled: &mut Option<mpsc::Receiver<Settled>>) -> Option<Settled> {
    let next = match settled {
        Some(open) => open.recv().await,
        None => std::future::pending().await,
    };
    if next.is_none() {
        *settled = None;
    }
    next
}

/// Waits until the queue has changed; for ever when the store is closed. Cancel-safe.
pub(super) async fn queue_changed(queue: &mut Option<watch::Receiver<QueueStatus>>) {
    let closed = match queue {
        Some(open) => open.changed().await.is_err(),
        None => std::future::pending().await,
    };
    if closed {
        *queue = None;
    }
}
