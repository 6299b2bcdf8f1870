//! One connection, from CONNACK to its end: rows out, acknowledgements in, and nobody waits for anybody.

use std::time::Duration;

use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::client::{Connection, ConnectionError, Exchanged};
use super::delivery::{Event, Peer, ROW_IDS};
use super::liveness::{Liveness, Pulse};
use super::task::{Uplink, next_live, queue_changed};
use super::verdict::advice;
use crate::model::{Message, Monotonic, Priority, QoS};
use crate::mqtt::{Ack, ConnAck, Disconnect, Packet, Reason};
use crate::store::{Entry, StoreError};

/// Bytes that are put together for one write: enough for the kernel to be busy while the next are written.
const ENOUGH: usize = 64 << 10;

/// Packet ids of the two presence messages.
const ONLINE_ID: u16 = ROW_IDS + 1;
const OFFLINE_ID: u16 = ROW_IDS + 2;

/// Rows are read so many at a time, at least and at most; between them as many as the window holds.
const READ_ROWS: (usize, usize) = (16, 2048);

/// After a failed read of the queue.
const READ_AGAIN: Duration = Duration::from_secs(5);

/// What saying goodbye may take.
const GOODBYE_WITHIN: Duration = Duration::from_millis(800);

/// Why a connection ended.
pub(super) enum End {
    /// The uplink is to stop.
    Stopped,
    /// All is well, but another connection is needed at once.
    Again,
    /// It is gone, or was given up; the text says why and what to try.
    Lost(String),
}

/// What belongs to this connection alone.
struct Link {
    connection: Connection,
    liveness: Liveness,
    /// Bytes written since the start.
    written: u64,
    /// Where among all bytes the last row ends that is written or in the outbox.
    rows_end: u64,
    /// The queue can't be read before this moment.
    read_again: Option<Monotonic>,
    /// The cloud takes no more at once than rows may fill, so that presence has to share their room (MQTT 5, §4.9).
    tight: bool,
    /// Rows wait until the cloud has acknowledged our presence.
    birth_first: bool,
}

impl Uplink {
    /// Serves a connection until it ends.
    pub(super) async fn online(&mut self, connection: Connection, connack: ConnAck) -> End {
        if connack.maximum_qos == QoS::AtMostOnce {
            return End::Lost(format!("the cloud can't keep what is promised: {}", advice(Reason::QOS_NOT_SUPPORTED)));
        }
        let now = self.clock.now();
        let keep_alive =
            connack.server_keep_alive_s.map_or(self.settings.keep_alive, |s| Duration::from_secs(s.into()));
        let liveness = Liveness::new(keep_alive, self.settings.stall_after, now);
        let tight = connack.receive_maximum <= self.settings.window;
        let birth_first = tight && self.settings.presence.is_some();
        let mut link = Link { connection, liveness, written: 0, rows_end: 0, read_again: None, tight, birth_first };
        self.delivery.set_retain_available(connack.retain_available);
        self.delivery
            .connected(Peer { session_present: connack.session_present, receive_maximum: connack.receive_maximum });
        self.report.online(now, &format!("{}:{}", self.settings.host, self.settings.port));
        if let Err(error) = self.tell_presence(&mut link.connection, true) {
            // The cloud takes smaller packets only. That must not keep the rows from going that fit.
            debug!(uplink = %self.settings.name, %error, "the cloud is not told that the gateway is connected");
            link.birth_first = false;
        }
        match self.serve(&mut link).await {
            Ok(End::Stopped) => {
                if timeout(GOODBYE_WITHIN, self.say_goodbye(&mut link)).await.is_err() {
                    debug!(uplink = %self.settings.name, "the cloud did not take the goodbye in time");
                }
                link.connection.close().await;
                End::Stopped
            }
            Ok(end) => end,
            Err(error) => End::Lost(error.to_string()),
        }
    }

    async fn serve(&mut self, link: &mut Link) -> Result<End, ConnectionError> {
        // They may have come together with the CONNACK.
        if let Some(end) = self.take_packets(link)? {
            return Ok(end);
        }
        loop {
            let now = self.clock.now();
            self.fill(link, now);
            if let Some(reason) = self.carry_out_events() {
                self.backoff.be_patient();
                return Ok(End::Lost(format!("the cloud takes no more for now: {reason}; {}", advice(reason))));
            }
            self.pass_on_receipts();
            let awaits_ack = self.delivery.awaits_ack() || link.birth_first;
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
            let deadline =
                [next_step, self.report.deadline(), link.read_again.filter(|at| *at > now)].into_iter().flatten().min();
            let room = link.connection.outbox.len() < ENOUGH;
            tokio::select! {
                () = self.cancel.cancelled() => return Ok(End::Stopped),
                exchanged = link.connection.exchange() => match exchanged? {
                    Exchanged::Wrote(bytes) => link.wrote(self.clock.now(), bytes),
                    Exchanged::Read => if let Some(end) = self.take_packets(link)? {
                        return Ok(end);
                    },
                },
                fetched = urgent.next(), if wants_high => self.take_rows(link, Priority::High, fetched),
                fetched = prefetch.next(), if wants_normal => self.take_rows(link, Priority::Normal, fetched),
                message = next_live(&mut self.live), if room => self.send_live(link, message),
                () = queue_changed(&mut self.queue) => self.report.changed(self.clock.now()),
                () = self.clock.sleep_until(deadline.unwrap_or_default()), if deadline.is_some() => {
                    self.report.tick(self.clock.now());
                }
            }
        }
    }

    fn take_rows(&mut self, link: &mut Link, class: Priority, fetched: Result<Vec<Entry>, StoreError>) {
        match fetched {
            Ok(entries) => {
                link.read_again = None;
                self.delivery.offer(class, entries);
            }
            Err(problem) => self.cannot_read(link, &problem),
        }
    }

    /// Tells the store what the cloud has.
    fn pass_on_receipts(&self) {
        for class in Priority::ALL {
            self.receipts[class as usize].acknowledge(self.delivery.done(class));
        }
    }

    /// Puts rows into the outbox.
    fn fill(&mut self, link: &mut Link, now: Monotonic) {
        if link.birth_first {
            return;
        }
        let stamp = self.clock.stamp();
        let wall = stamp.synced.then_some(stamp.wall);
        let idle = !self.delivery.awaits_ack();
        let Connection { codec, outbox, .. } = &mut link.connection;
        if self.delivery.send(codec, wall, ENOUGH, outbox) {
            link.rows_end = link.written + outbox.len() as u64;
            self.report.counters.sent = self.delivery.sent();
            self.report.changed(now);
            if idle {
                link.liveness.progressed(now);
            }
        }
    }

    /// Reads all packets that have come. An end when one of them ends the connection.
    fn take_packets(&mut self, link: &mut Link) -> Result<Option<End>, ConnectionError> {
        let now = self.clock.now();
        while let Some(packet) = link.connection.next_packet()? {
            link.liveness.heard(now);
            match packet {
                Packet::PubAck(ack) => self.take_ack(link, ack, now),
                Packet::PingResp => {}
                Packet::Disconnect(Disconnect { reason, reason_string, .. }) => {
                    let said = reason_string.map(|text| format!(" (it says: {text})")).unwrap_or_default();
                    return Ok(Some(End::Lost(format!(
                        "the cloud ended the connection: {reason}{said}; {}",
                        advice(reason)
                    ))));
                }
                // We subscribe to nothing and send no QoS 2: a leftover of an earlier user of this client id, or a confused broker.
                _ => debug!(uplink = %self.settings.name, "a packet came that means nothing here"),
            }
        }
        Ok(None)
    }

    fn take_ack(&mut self, link: &mut Link, ack: Ack, now: Monotonic) {
        let settled = match ack.packet_id {
            ONLINE_ID | OFFLINE_ID => {
                // Also by a refusal: then there is room, too.
                link.birth_first = false;
                !ack.reason.is_failure()
            }
            _ => self.delivery.acknowledge(ack),
        };
        if settled {
            link.liveness.progressed(now);
            self.backoff.reset();
            self.report.counters.acknowledged = self.delivery.acknowledged();
            self.report.changed(now);
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
    fn carry_out_events(&mut self) -> Option<Reason> {
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

    fn tell_presence(&self, connection: &mut Connection, online: bool) -> Result<(), ConnectionError> {
        let Some(presence) = &self.settings.presence else { return Ok(()) };
        let (payload, id) = if online { (&presence.online, ONLINE_ID) } else { (&presence.offline, OFFLINE_ID) };
        let message = Message::new(presence.topic.clone(), payload.clone(), QoS::AtLeastOnce, true);
        Ok(self.delivery.write_plain(&connection.codec, &message, id, &mut connection.outbox)?)
    }

    /// Publishes that we go, takes the acknowledgements that still come, and disconnects.
    async fn say_goodbye(&mut self, link: &mut Link) {
        let mut untold = self.settings.presence.is_some();
        let mut waits = false;
        let farewell = Disconnect::new(Reason::SUCCESS);
        loop {
            if untold && (!link.tight || (self.delivery.has_room() && !link.birth_first)) {
                untold = false;
                waits = self.tell_presence(&mut link.connection, false).is_ok();
            }
            if !untold && !waits && link.connection.outbox.is_empty() {
                break;
            }
            match link.connection.exchange().await {
                Ok(Exchanged::Wrote(_)) => {}
                Ok(Exchanged::Read) => {
                    while let Ok(Some(packet)) = link.connection.next_packet() {
                        let Packet::PubAck(ack) = packet else { continue };
                        waits &= ack.packet_id != OFFLINE_ID;
                        self.take_ack(link, ack, self.clock.now());
                    }
                    self.carry_out_events();
                    self.pass_on_receipts();
                }
                Err(_) => return,
            }
        }
        if link.connection.push(&Packet::Disconnect(farewell)).is_ok() {
            while !link.connection.outbox.is_empty() && link.connection.write().await.is_ok() {}
        }
        info!(uplink = %self.settings.name, "disconnected in order");
    }
}

impl Link {
    fn wrote(&mut self, now: Monotonic, bytes: usize) {
        self.liveness.wrote(now, self.written < self.rows_end);
        self.written += bytes as u64;
    }
}
