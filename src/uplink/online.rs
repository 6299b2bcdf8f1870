//! One connection, from CONNACK to its end: rows out, acknowledgements in, and nobody waits for anybody.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::accept::{Accepted, Outcome, Settled};
use super::client::{Connection, ConnectionError, Exchanged};
use super::delivery::{Event, Peer};
use super::liveness::{Liveness, Pulse};
use super::task::{Anew, Uplink, next_live, next_settled, queue_changed};
use super::verdict::advice;
use crate::model::{self, Message, Monotonic, Priority, QoS, SessionLost};
use crate::mqtt::{Ack, ConnAck, Packet, Reason};
use crate::store::{Entry, StoreError};

/// Bytes that are put together for one write: enough for the kernel to be busy while the next are written.
const ENOUGH: usize = 64 << 10;

/// Rows are read so many at a time, at least and at most; between them as many as the window holds.
const READ_ROWS: (usize, usize) = (16, 2048);

/// Reads of the socket before everything else has its turn.
const READS_AT_ONCE: usize = 32;

/// After a failed read of the queue.
const READ_AGAIN: Duration = Duration::from_secs(5);

/// What saying goodbye may take.
const GOODBYE_WITHIN: Duration = Duration::from_millis(800);

/// What the last word on a connection that is given up may take.
const LAST_WORD_WITHIN: Duration = Duration::from_millis(200);

/// Why a connection ended.
pub(super) enum End {
    /// The uplink is to stop.
    Stopped,
    /// All is well, but another connection is needed at once.
    Again,
    /// It is gone, or was given up; the text says why and what to try.
    Lost(String),
    /// The cloud ended it, perhaps for a message that it was sent.
    Closed(String),
}

/// What belongs to this connection alone.
pub(super) struct Link {
    pub connection: Connection,
    pub liveness: Liveness,
    /// Bytes written since the start.
    written: u64,
    /// Where among all bytes the last row ends that is written or in the outbox.
    rows_end: u64,
    /// The queue can't be read before this moment.
    read_again: Option<Monotonic>,
    /// The cloud takes no more at once than rows may fill, so that presence has to share their room (MQTT 5, §4.9).
    pub tight: bool,
    /// Rows wait until the cloud has acknowledged our presence.
    pub birth_first: bool,
    /// A message from the cloud that finds no room. Until it does, nothing is read ([`Uplink::is_stuffed`]).
    pub handover: Option<Accepted>,
}

impl Uplink {
    /// Serves a connection until it ends.
    pub(super) async fn online(&mut self, connection: Connection, connack: ConnAck) -> End {
        if connack.maximum_qos == QoS::AtMostOnce {
            return End::Lost(format!("the cloud can't keep what is promised: {}", advice(Reason::QOS_NOT_SUPPORTED)));
        }
        // Nothing was asked or sent in a session that was begun anew, whatever the cloud says of it: its first CONNACK may have been lost.
        let session_present = connack.session_present && self.anew.is_none();
        let connack = ConnAck { session_present, ..connack };
        let now = self.clock.now();
        let keep_alive =
            connack.server_keep_alive_s.map_or(self.settings.keep_alive, |s| Duration::from_secs(s.into()));
        let liveness = Liveness::new(keep_alive, self.settings.stall_after, now);
        let tight = connack.receive_maximum <= self.settings.window;
        let birth_first = tight && self.settings.presence.is_some();
        let mut link = Link {
            connection,
            liveness,
            written: 0,
            rows_end: 0,
            read_again: None,
            tight,
            birth_first,
            handover: None,
        };
        self.meet(&connack);
        self.subscriptions.connected();
        if !connack.session_present && self.anew.is_none() {
            self.forgotten.notify_one();
        }
        self.report.online(now, &self.settings.servers[self.rota.current()].to_string());
        if let Err(error) = self.tell_presence(&mut link.connection, true) {
            // The cloud takes smaller packets only. That must not keep the rows from going that fit.
            debug!(uplink = %self.settings.name, %error, "the cloud is not told that the gateway is connected");
            link.birth_first = false;
        }
        let mut ordered = if let Some(Anew::After(order)) = self.anew { order } else { 0 };
        for packet_id in self.intake.connected(connack.session_present) {
            ordered = self.reception.release(packet_id);
        }
        if self.anew.is_some() {
            self.anew = Some(Anew::After(ordered));
        } else {
            self.subscribe(&mut link, connack.session_present);
        }
        let served = self.serve(&mut link).await;
        if let Some(Accepted { ticket, .. }) = link.handover.take() {
            // Nobody has taken it: the cloud sends it again.
            self.intake.settle(Settled { ticket, outcome: Outcome::Later }, self.is_v5());
        }
        match served {
            Ok(End::Stopped) => {
                if timeout(GOODBYE_WITHIN, self.say_goodbye(&mut link)).await.is_err() {
                    debug!(uplink = %self.settings.name, "the cloud did not take the goodbye in time");
                }
                link.connection.close().await;
                End::Stopped
            }
            Ok(end) => {
                // A DISCONNECT that says why, if there is one.
                if !link.connection.outbox.is_empty() {
                    let _ = timeout(LAST_WORD_WITHIN, link.connection.write()).await;
                }
                end
            }
            Err(error) if error.is_by_peer() => End::Closed(error.to_string()),
            Err(error) => End::Lost(error.to_string()),
        }
    }

    /// Takes note of what the cloud says about itself. When it has forgotten the session, that is to be on disk before anything is sent.
    fn meet(&mut self, connack: &ConnAck) {
        let back_to = self.delivery.connected(Peer {
            session_present: connack.session_present,
            receive_maximum: connack.receive_maximum,
            maximum_qos: connack.maximum_qos,
            retain_available: connack.retain_available,
            topic_alias_maximum: connack.topic_alias_maximum,
        });
        for (class, back_to) in back_to.into_iter().enumerate() {
            if let Some(back_to) = back_to {
                self.hold[class] = Some(self.receipts[class].reset_recorded(back_to));
            }
        }
        if back_to == [None, None] {
            return;
        }
        match self.settings.session_lost {
            SessionLost::Resend => warn!(
                uplink = %self.settings.name,
                "the cloud has forgotten the session: messages at QoS 2 that it had not confirmed are sent again, and may come twice"
            ),
            SessionLost::AssumeDelivered => warn!(
                uplink = %self.settings.name,
                "the cloud has forgotten the session: messages at QoS 2 that it had received count as delivered, and may be lost"
            ),
        }
    }

    async fn serve(&mut self, link: &mut Link) -> Result<End, ConnectionError> {
        // They may have come together with the CONNACK.
        if let Some(end) = self.take_packets(link)? {
            return Ok(end);
        }
        loop {
            self.settings.pulse.beat();
            let now = self.clock.now();
            self.complete_released(link)?;
            self.fill(link, now);
            if self.is_stuffed(link) {
                // It is we who don't read.
                link.liveness.heard(now);
                link.liveness.progressed(now);
            }
            if let Some(reason) = self.carry_out_events() {
                self.backoff.be_patient();
                return Ok(End::Lost(format!("the cloud takes no more for now: {reason}; {}", advice(reason))));
            }
            self.pass_on_receipts();
            let awaits_ack = self.delivery.awaits_ack() || link.birth_first || self.subscriptions.awaits_ack();
            let next_step = match link.liveness.step(now, awaits_ack) {
                Pulse::Wait(until) => until,
                Pulse::Ping => {
                    link.connection.push(&Packet::PingReq)?;
                    continue;
                }
                Pulse::Dead(why) => {
                    return Ok(End::Lost(format!("the connection is dead: {why}; look at the network")));
                }
            };
            let (stuffed, hands_over) = (self.is_stuffed(link), link.handover.is_some());
            let reads = link.read_again.is_none_or(|at| at <= now);
            let rows = usize::from(self.settings.window).clamp(READ_ROWS.0, READ_ROWS.1);
            let [wants_normal, wants_high] = Priority::ALL.map(|class| reads && self.delivery.waiting(class) < rows);
            let [prefetch, urgent] = &mut self.prefetch;
            if wants_normal {
                prefetch.start(rows);
            }
            if wants_high {
                urgent.start(rows);
            }
            let [normal_marks, high_marks] = &mut self.marks;
            let read_again = link.read_again.filter(|at| *at > now);
            let deadline =
                [next_step, self.report.deadline(), read_again, self.pace.next(now)].into_iter().flatten().min();
            let room = link.connection.outbox.len() < ENOUGH && self.pace.room(now) > 0;
            tokio::select! {
                () = self.cancel.cancelled() => return Ok(End::Stopped),
                exchanged = link.connection.exchange(!stuffed) => match exchanged? {
                    Exchanged::Wrote(bytes) => link.wrote(self.clock.now(), bytes),
                    Exchanged::Read => if let Some(end) = self.take_all(link).await? {
                        return Ok(end);
                    },
                },
                fetched = urgent.next(), if wants_high => self.take_rows(link, Priority::High, fetched),
                fetched = prefetch.next(), if wants_normal => self.take_rows(link, Priority::Normal, fetched),
                message = next_live(&mut self.live), if room => self.send_live(link, message),
                settled = next_settled(&mut self.settled) => if let Some(settled) = settled
                    && let Some(end) = self.settle(link, settled)?
                {
                    return Ok(end);
                },
                // Whether it is on disk is looked up at the beginning of each round. The store ends after this task.
                () = changed(&mut self.reception.carried_out) => {}
                () = changed(normal_marks) => {}
                () = changed(high_marks) => {}
                permit = self.accepted.clone().reserve_owned(), if hands_over => {
                    // When nobody takes messages any more, this uplink will end, too.
                    if let (Ok(permit), Some(accepted)) = (permit, link.handover.take()) {
                        permit.send(accepted);
                    }
                    if let Some(end) = self.take_packets(link)? {
                        return Ok(end);
                    }
                }
                () = queue_changed(&mut self.queue) => self.report.changed(self.clock.now()),
                () = self.clock.sleep_until(deadline.unwrap_or_default()), if deadline.is_some() => {
                    self.report.tick(self.clock.now());
                }
                () = self.clock.sleep(model::Pulse::EVERY) => {}
            }
        }
    }

    /// Takes what was read, and what comes meanwhile: acknowledgements arrive one by one, and a round of everything for each would cost more
    /// than they do.
    async fn take_all(&mut self, link: &mut Link) -> Result<Option<End>, ConnectionError> {
        for _ in 0..READS_AT_ONCE {
            if let Some(end) = self.take_packets(link)? {
                return Ok(Some(end));
            }
            if self.is_stuffed(link) || !link.connection.read_on().await? {
                break;
            }
        }
        self.take_packets(link)
    }

    fn take_rows(&mut self, link: &mut Link, class: Priority, fetched: Result<Vec<Entry>, StoreError>) {
        match fetched {
            Ok(entries) => {
                link.read_again = None;
                if self.prefetch[class as usize].is_at_end() {
                    self.delivery.nothing_left(class);
                } else {
                    self.delivery.offer(class, entries);
                }
            }
            Err(problem) => self.cannot_read(link, &problem),
        }
    }

    /// Tells the store what the cloud has. It commits one after the other, and what comes during a commit is company in the next.
    pub(super) fn pass_on_receipts(&self) {
        for class in Priority::ALL {
            let receipts = &self.receipts[class as usize];
            receipts.record(self.delivery.to_record(class));
            receipts.acknowledge(self.delivery.done(class));
        }
    }

    /// Goes on with a session that began anew when the disk is as far.
    fn begin_session(&mut self, link: &mut Link, now: Monotonic) {
        if self.hold != [None, None] {
            return;
        }
        match self.anew {
            Some(Anew::After(order)) if *self.reception.carried_out.borrow() >= order => self.note_session(),
            Some(Anew::Noting) => {
                self.anew = None;
                self.forgotten.notify_one();
                self.subscribe(link, false);
                link.liveness.progressed(now);
            }
            _ => {}
        }
    }

    /// Puts rows into the outbox.
    fn fill(&mut self, link: &mut Link, now: Monotonic) {
        let most = self.pace.room(now);
        let idle = !self.delivery.awaits_ack();
        let Connection { codec, outbox, .. } = &mut link.connection;
        let mut released = false;
        for class in Priority::ALL {
            let on_disk = *self.marks[class as usize].borrow_and_update();
            let hold = &mut self.hold[class as usize];
            hold.take_if(|order| *order <= on_disk.orders);
            if hold.is_none() {
                self.delivery.recorded(class, on_disk.recorded, |packet_id| {
                    let pubrel = Packet::PubRel(Ack::success(packet_id));
                    codec.encode(&pubrel, outbox).expect("a PUBREL of an id above 0 has a form in both versions");
                    released = true;
                });
            }
        }
        if idle && released {
            // It was the disk that was waited for, and the cloud's time begins now.
            link.liveness.progressed(now);
        }
        self.begin_session(link, now);
        if link.birth_first || self.hold != [None, None] || self.anew.is_some() || most == 0 {
            return;
        }
        self.tell_echoes(now);
        let stamp = self.clock.stamp();
        let wall = stamp.synced.then_some(stamp.wall);
        let Connection { codec, outbox, .. } = &mut link.connection;
        if self.delivery.send(codec, wall, ENOUGH, most, outbox) {
            link.rows_end = link.written + outbox.len() as u64;
            let written =
                self.delivery.sent() - std::mem::replace(&mut self.report.counters.sent, self.delivery.sent());
            self.pace.sent(usize::try_from(written).unwrap_or(usize::MAX), now);
            if self.delivery.take_downgraded() && !std::mem::replace(&mut self.told_downgraded, true) {
                warn!(
                    uplink = %self.settings.name,
                    "the cloud takes QoS 1 at most: messages with qos: 2 go at QoS 1, and may come twice after a cut"
                );
            }
            self.report.changed(now);
            if idle {
                link.liveness.progressed(now);
            }
        }
    }

    /// Acts upon what came in the connection's last packets: refusals, such as one that was followed by DISCONNECT, and acknowledgements.
    pub(super) fn settle_last_words(&mut self) {
        if self.carry_out_events().is_some() {
            self.backoff.be_patient();
        }
        self.pass_on_receipts();
    }

    /// A reason when the connection is to be ended and tried again later.
    pub(super) fn carry_out_events(&mut self) -> Option<Reason> {
        let mut later = None;
        while let Some((class, event)) = self.delivery.poll_event() {
            match event {
                Event::SetAside { n, reason } => {
                    warn!(uplink = %self.settings.name, n, error = %reason, "a message can't be delivered and was put aside");
                    self.receipts[class as usize].set_aside(n, reason);
                }
                Event::ComeBackLater(reason) => later = Some(reason),
            }
        }
        later
    }

    fn send_live(&mut self, link: &mut Link, message: Option<Message>) {
        let Some(message) = message else { return };
        self.pace.sent(1, self.clock.now());
        let sent = self.delivery.write_plain(&link.connection.codec, &message, 0, &mut link.connection.outbox);
        if let Err(error) = sent {
            debug!(uplink = %self.settings.name, error = %error, "a QoS 0 message can't be sent");
            self.report.counters.dropped_qos0 += 1;
            self.report.changed(self.clock.now());
        }
    }

    fn cannot_read(&mut self, link: &mut Link, problem: &StoreError) {
        if link.read_again.is_none() {
            warn!(uplink = %self.settings.name, error = %problem, "the queue can't be read; trying again");
        }
        link.read_again = Some(self.clock.now() + READ_AGAIN);
    }
}

/// Waits until it has changed; for ever when it will not any more. Cancel-safe.
async fn changed<T>(watched: &mut watch::Receiver<T>) {
    if watched.changed().await.is_err() {
        std::future::pending().await
    }
}

impl Link {
    fn wrote(&mut self, now: Monotonic, bytes: usize) {
        self.liveness.wrote(now, self.written < self.rows_end);
        self.written += bytes as u64;
    }
}
