//! The task of one client: moves bytes between its socket and its machine, and words between its machine and the hub.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::field::display;
use tracing::{debug, info};

use super::Limits;
use super::counters::Counters;
use super::hub_task::{Goodbye, Input};
use super::logins::{Admitted, Logins, Origin};
use super::machine::{Complaint, Freed, Machine};
use super::outbox::Outbox;
use super::places::Known;
use super::pool::Pool;
use super::words::{Greeting, Key, Shown, ToClient};
use crate::clock::Clock;
use crate::model::Monotonic;
use crate::mqtt::Reason;
use crate::random;

/// The read buffer grows within these bounds with what the client sends at once.
const READ_LEAST: usize = 2 << 10;
const READ_MOST: usize = 64 << 10;
/// How long a closing connection may take to get its last bytes out, and then to close its side.
const LAST_WRITE: Duration = Duration::from_millis(500);
const DRAIN: Duration = Duration::from_secs(1);
/// Batches of one client that the hub may have and not be done with: what it can still publish when it is held.
const TURNS: usize = 2;
/// How far ahead the timer is set when nothing is due.
const FAR: Duration = Duration::from_secs(300);

/// What every connection of a broker shares.
#[derive(Clone)]
pub(super) struct Shared {
    pub limits: Limits,
    pub logins: Arc<Logins>,
    pub server_keep_alive_s: Option<u16>,
    pub inputs: mpsc::Sender<Input>,
    pub counters: Arc<Counters>,
    pub pool: Arc<Pool>,
    pub clock: Clock,
    pub stop: CancellationToken,
}

/// Whoever has come through the handshakes.
pub(super) struct Visitor {
    pub origin: Origin,
    /// When the connection was accepted.
    pub at: Monotonic,
    /// To be set when it is somebody.
    pub known: Known,
    /// Cancelled when those who came by this listener have to go.
    pub dismissed: CancellationToken,
}

/// Serves one client until it or the broker ends the connection. `goodbye` is kept for a task that ends out of order.
pub(super) async fn serve<R, W>(
    reader: R,
    writer: W,
    visitor: Visitor,
    shared: Shared,
    goodbye: mpsc::OwnedPermit<Goodbye>,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    Counters::add(&shared.counters.sockets, 1);
    let machine = Machine::new(shared.limits, shared.server_keep_alive_s, random::unique(), visitor.at);
    let outbox = Arc::new(Outbox::new(shared.limits.queue_messages, shared.limits.queue_bytes, shared.pool.clone()));
    let mut connection = Connection {
        reader,
        writer,
        shared,
        machine,
        outbox,
        input: BytesMut::new(),
        read_size: READ_LEAST,
        guard: Guard { permit: Some(goodbye), key: None },
        client_id: None,
        visitor,
        revoked: CancellationToken::new(),
        told_denial: false,
    };
    connection.run().await;
    connection.end().await;
}

struct Connection<R, W> {
    reader: R,
    writer: W,
    shared: Shared,
    machine: Machine,
    outbox: Arc<Outbox>,
    input: BytesMut,
    read_size: usize,
    guard: Guard,
    client_id: Option<Arc<str>>,
    visitor: Visitor,
    /// Cancelled when the user that the client logged in as is changed or gone.
    revoked: CancellationToken,
    told_denial: bool,
}

/// Says goodbye to the hub if the task ends without having done so, by a panic for instance.
struct Guard {
    permit: Option<mpsc::OwnedPermit<Goodbye>>,
    key: Option<Key>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let (Some(permit), Some(key)) = (self.permit.take(), self.key) {
            permit.send(Goodbye { key, lost: true, expiry_s: None });
        }
    }
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Connection<R, W> {
    async fn run(&mut self) {
        let clock = self.shared.clock;
        let hub = self.shared.inputs.clone();
        let turns = Arc::new(Semaphore::new(TURNS));
        let mut wake_at = clock.now() + FAR;
        let mut timer = pin!(clock.sleep_until(wake_at));
        let mut taken = VecDeque::new();
        let stop = self.shared.stop.clone();
        let mut stopped = pin!(stop.cancelled());
        let mut dismissed = pin!(self.visitor.dismissed.clone().cancelled_owned());
        let mut revoked = pin!(self.revoked.clone().cancelled_owned());
        loop {
            let now = clock.now();
            if let Some(greeting) = self.machine.receive(&mut self.input, now) {
                self.ask(greeting).await;
                revoked.set(self.revoked.clone().cancelled_owned());
                continue;
            }
            self.take_from_hub(&mut taken, now);
            if self.machine.closing().is_some() {
                return;
            }
            // The timer is only moved forward: a deadline that moved back is met by looking again when it fires.
            if let Some(deadline) = self.machine.deadline().filter(|deadline| *deadline < wake_at) {
                wake_at = deadline;
                timer.set(clock.sleep_until(wake_at));
            }
            self.make_room();
            // In no fixed order: a client that is sent much without end is still listened to.
            tokio::select! {
                written = self.writer.write_buf(&mut self.machine.out), if !self.machine.out.is_empty() => match written {
                    Ok(bytes) if bytes > 0 => {
                        Counters::add(&self.shared.counters.bytes_out, bytes as u64);
                        self.machine.wrote(bytes, clock.now());
                    }
                    _ => self.machine.broke(),
                },
                room = room(&hub, &turns), if !self.machine.to_hub.is_empty() => match (room, self.guard.key) {
                    (Some((room, turn)), Some(key)) => {
                        room.send(Input::Client { key, batch: std::mem::take(&mut self.machine.to_hub), turn: Some(turn) });
                    }
                    _ => self.machine.close(Reason::SERVER_SHUTTING_DOWN),
                },
                () = self.outbox.changed() => {}
                read = self.reader.read_buf(&mut self.input), if self.machine.wants_read() => match read {
                    Ok(bytes) if bytes > 0 => self.grew(bytes),
                    _ => self.machine.broke(),
                },
                () = &mut timer => {
                    let now = clock.now();
                    self.machine.tick(now);
                    self.shrink();
                    taken.shrink_to(0);
                    wake_at = self.machine.deadline().unwrap_or(now + FAR);
                    timer.set(clock.sleep_until(wake_at));
                }
                () = &mut dismissed => self.machine.close(Reason::ADMINISTRATIVE_ACTION),
                () = &mut revoked => self.machine.close(Reason::ADMINISTRATIVE_ACTION),
                () = &mut stopped => {
                    // What was published before the stop is still delivered, such as the gateway's own goodbye.
                    self.take_from_hub(&mut taken, clock.now());
                    self.machine.close(Reason::SERVER_SHUTTING_DOWN);
                }
            }
        }
    }

    fn take_from_hub(&mut self, taken: &mut VecDeque<ToClient>, now: Monotonic) {
        self.outbox.take(taken);
        taken.drain(..).for_each(|what| self.machine.hub_says(what));
        let freed = self.machine.pump(now);
        self.account(freed, now);
        self.tell_denial();
    }

    /// Asks who it is, then asks the hub to let it in.
    async fn ask(&mut self, mut greeting: Greeting) {
        let login = self.machine.take_login();
        let by = self.visitor.at + self.shared.limits.connect_within;
        let admitted = tokio::select! {
            admitted = Box::pin(self.shared.logins.admit(&self.visitor.origin, login, &greeting.client_id, by)) => admitted,
            () = self.shared.stop.cancelled() => return self.machine.close(Reason::SERVER_SHUTTING_DOWN),
        };
        self.client_id = Some(greeting.client_id.clone());
        let granted = admitted.and_then(|Admitted { rights, revoked }| {
            greeting.client_id = rights.owned(&greeting.client_id);
            self.revoked = revoked;
            self.machine.grant(rights, greeting.will.as_ref().map(|will| &will.message))
        });
        if let Err(refusal) = granted {
            return self.machine.deny(refusal);
        }
        // Before the hub hears of it: from now on nobody may cut it off for a newcomer.
        self.visitor.known.store(true, Ordering::Relaxed);
        let (admitted, answer) = oneshot::channel();
        let input = Input::Connect { greeting, outbox: self.outbox.clone(), admitted };
        let sent = self.shared.inputs.send(input).await;
        match (sent, answer.await) {
            (Ok(()), Ok(Ok(admission))) => {
                self.guard.key = Some(admission.key);
                self.machine.admitted(&admission);
            }
            (Ok(()), Ok(Err(reason))) => self.machine.refused(reason),
            _ => self.machine.close(Reason::SERVER_SHUTTING_DOWN),
        }
    }

    fn make_room(&mut self) {
        if self.input.capacity() - self.input.len() < READ_LEAST / 2 {
            self.input.reserve(self.read_size);
        }
    }

    fn grew(&mut self, bytes: usize) {
        Counters::add(&self.shared.counters.bytes_in, bytes as u64);
        if bytes >= self.read_size / 2 {
            self.read_size = (self.read_size * 2).min(READ_MOST);
        } else if self.read_size > READ_LEAST && bytes < self.read_size / 8 {
            self.read_size /= 2;
        }
    }

    /// Gives back the buffers that a burst left behind. The timer comes now and then, so a quiet connection ends up small.
    fn shrink(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        self.read_size = READ_LEAST;
        self.machine.shrink();
        self.outbox.shrink();
    }

    fn account(&mut self, freed: Freed, now: Monotonic) {
        if freed.messages > 0 {
            self.outbox.release(freed.messages, freed.bytes);
        }
        if self.machine.sent > 0 {
            self.outbox.note_sent(self.machine.sent);
        }
        self.machine.note_backlog(self.outbox.is_overflowed(), now);
        let (tally, counters) = (std::mem::take(&mut self.machine.tally), &self.shared.counters);
        Counters::add(&counters.sent, tally.sent);
        Counters::add(&counters.sent_bytes, tally.sent_bytes);
        Counters::add(&counters.dropped, tally.dropped);
        Counters::add(&counters.packets_in, tally.packets_in);
        Counters::add(&counters.packets_out, tally.packets_out);
    }

    /// Who may not do something learns it from its answers, if its protocol has any; whoever set it up learns it here, once.
    fn tell_denial(&mut self) {
        let Some(denied) = self.machine.denied.take() else { return };
        let (peer, client) = (self.visitor.origin.peer, self.client_id.as_deref().map(|id| display(Shown(id))));
        let denied = Shown(&denied);
        if std::mem::replace(&mut self.told_denial, true) {
            debug!(%peer, client, topic = %denied, "a client may not do this");
        } else {
            info!(%peer, client, topic = %denied, "a client may not publish or subscribe to this; more of the kind is not told");
        }
    }

    /// Says goodbye to the hub and to the client.
    async fn end(&mut self) {
        let peer = self.visitor.origin.peer;
        let closing = self.machine.closing().cloned();
        let client = self.client_id.as_deref().map(|id| display(Shown(id)));
        match closing.as_ref().and_then(|closing| closing.complaint.as_ref()) {
            // Why has been told already, and somebody who keeps trying is told of seldom.
            Some(Complaint::Refused(why)) => debug!(%peer, error = why, "a client was not let in"),
            Some(complaint) => {
                info!(%peer, client, error = %Shown(&complaint.to_string()), "a client was disconnected")
            }
            None => debug!(%peer, client, "a client is gone"),
        }
        let lost = closing.is_none_or(|closing| closing.lost);
        let expiry_s = self.machine.expiry_at_end;
        let (hub, key) = (self.shared.inputs.clone(), self.guard.key);
        let batch = std::mem::take(&mut self.machine.to_hub);
        let to_hub = async {
            let Some(key) = key else { return };
            // What the client sent before it left counts. On an error the hub has stopped, and knows nobody any more.
            if !batch.is_empty() {
                let _ = hub.send(Input::Client { key, batch, turn: None }).await;
            }
            let _ = hub.send(Input::Disconnected(Goodbye { key, lost, expiry_s })).await;
        };
        let out = std::mem::take(&mut self.machine.out);
        Counters::add(&self.shared.counters.bytes_out, out.len() as u64);
        tokio::join!(to_hub, last_words(&mut self.reader, &mut self.writer, &out));
        self.guard.key = None;
    }
}

/// Waits until this client has a turn and the hub has room; `None` when the hub has stopped.
async fn room<'a>(
    hub: &'a mpsc::Sender<Input>,
    turns: &Arc<Semaphore>,
) -> Option<(mpsc::Permit<'a, Input>, OwnedSemaphorePermit)> {
    let turn = turns.clone().acquire_owned().await.ok()?;
    Some((hub.reserve().await.ok()?, turn))
}

/// A socket that is closed with bytes unread is reset, and a reset overtakes the DISCONNECT: so half-close, and read on a little.
async fn last_words<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(reader: &mut R, writer: &mut W, out: &[u8]) {
    let write = async {
        writer.write_all(out).await?;
        writer.shutdown().await
    };
    if !matches!(tokio::time::timeout(LAST_WRITE, write).await, Ok(Ok(()))) {
        return;
    }
    let drain = async {
        let mut unread = [0; 1_024];
        while reader.read(&mut unread).await.is_ok_and(|bytes| bytes > 0) {}
    };
    // A client that keeps its side open has had its time.
    let _ = tokio::time::timeout(DRAIN, drain).await;
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::ReadBuf;

    use super::super::words::Admission;
    use super::*;

    /// Sends a CONNECT, then fails as no socket should.
    struct Broken {
        words: &'static [u8],
    }

    impl AsyncRead for Broken {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            assert!(!self.words.is_empty(), "this panic is part of the test");
            buffer.put_slice(std::mem::take(&mut self.words));
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_connection_that_panics_is_taken_leave_of_all_the_same() {
        let (inputs, mut hub) = mpsc::channel(1);
        let (goodbyes, mut left) = mpsc::channel(1);
        let clock = Clock::start();
        let shared = Shared {
            limits: Limits::default(),
            logins: Arc::new(Logins::new(&[], clock)),
            server_keep_alive_s: None,
            inputs,
            counters: Arc::default(),
            pool: Arc::new(Pool::new(1 << 20)),
            clock,
            stop: CancellationToken::new(),
        };
        let goodbye = goodbyes.reserve_owned().await.unwrap();
        let reader = Broken { words: b"\x10\x0D\x00\x04MQTT\x04\x02\x00\x00\x00\x01a" };
        let origin = Origin { peer: "127.0.0.1:1".parse().unwrap(), on_loopback: true, certificate: None };
        let visitor = Visitor { origin, at: clock.now(), known: Known::default(), dismissed: CancellationToken::new() };
        let task = tokio::spawn(serve(reader, tokio::io::sink(), visitor, shared, goodbye));
        let key = Key { slot: 7, generation: 1 };
        match hub.recv().await {
            Some(Input::Connect { admitted, .. }) => {
                let admission =
                    Admission { key, session_present: false, expiry_s: 0, kept: false, received: Vec::new() };
                admitted.send(Ok(admission)).unwrap();
            }
            other => panic!("expected a greeting, got {other:?}"),
        }
        assert!(task.await.unwrap_err().is_panic());
        let goodbye = left.recv().await.unwrap();
        assert!(goodbye.key == key && goodbye.lost);
    }
}
