//! What comes on a connection: acknowledgements of our messages, messages of the cloud, and its answers to subscriptions.

use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tracing::{debug, warn};

use super::accept::{Accepted, Outcome, Settled};
use super::client::ConnectionError;
use super::delivery::Progress;
use super::goodbye::{OFFLINE_ID, ONLINE_ID};
use super::intake::{Consequence, Handover, PubRel, RECEIVE_MAXIMUM};
use super::online::{End, Link};
use super::subscriptions::Complaint;
use super::task::Uplink;
use super::verdict::{advice, is_about_a_message};
use crate::model::{Monotonic, QoS};
use crate::mqtt::{Ack, Disconnect, Packet, Publish, Reason, Version};
use crate::store::Intake;

/// With so many messages that nobody has answered for, nothing is read: the cloud has to wait. A cloud that keeps to what was announced comes to
/// it only by repeating what an earlier connection brought; one of 3.1.1 was told nothing, and mosquitto 2.0.11 sends thousands more when it has
/// a backlog. A cut, which MQTT 5 suggests (§3.3.4), would be followed by the same again.
const MOST_UNANSWERED: usize = 2 * RECEIVE_MAXIMUM as usize;

impl Uplink {
    /// Reads all packets that have come, until a message finds no room here. An end when one of them ends the connection.
    pub(super) fn take_packets(&mut self, link: &mut Link) -> Result<Option<End>, ConnectionError> {
        let now = self.clock.now();
        while !self.is_stuffed(link)
            && let Some(packet) = link.connection.next_packet()?
        {
            link.liveness.heard(now);
            match packet {
                Packet::PubAck(ack) => self.take_puback(link, ack, now)?,
                Packet::PubRec(ack) => {
                    let progress = self.delivery.receipt(ack);
                    self.take_progress(link, progress, now)?;
                }
                Packet::PubComp(ack) => {
                    let progress = self.delivery.complete(ack);
                    self.take_progress(link, progress, now)?;
                }
                Packet::Publish(publish) => {
                    if let Some(reason) = self.take_message(link, publish)? {
                        return self.expel(link, reason).map(Some);
                    }
                }
                Packet::PubRel(ack) => self.take_release(link, ack.packet_id)?,
                Packet::SubAck(ack) => {
                    let complaints = self.subscriptions.suback(&ack);
                    self.complain(complaints);
                }
                Packet::UnsubAck(ack) => {
                    let (changed, complaints) = self.subscriptions.unsuback(&ack);
                    self.complain(complaints);
                    if changed {
                        self.reception.subscribed(self.subscriptions.filters());
                    }
                }
                Packet::PingResp => {}
                Packet::Disconnect(Disconnect { reason, reason_string, .. }) => {
                    let said = reason_string.map(|text| format!(" (it says: {text})")).unwrap_or_default();
                    let why = format!("the cloud ended the connection: {reason}{said}; {}", advice(reason));
                    return Ok(Some(if is_about_a_message(reason) { End::Closed(why) } else { End::Lost(why) }));
                }
                // A leftover of an earlier user of this client id, or a confused broker.
                _ => debug!(uplink = %self.settings.name, "a packet came that means nothing here"),
            }
        }
        Ok(None)
    }

    /// Whether nothing is to be read now. It ends by itself: with room where the message goes, or with a ticket that comes back.
    pub(super) fn is_stuffed(&self, link: &Link) -> bool {
        link.handover.is_some() || self.intake.unanswered() >= MOST_UNANSWERED
    }

    pub(super) fn take_puback(&mut self, link: &mut Link, ack: Ack, now: Monotonic) -> Result<(), ConnectionError> {
        if matches!(ack.packet_id, ONLINE_ID | OFFLINE_ID) {
            // Also by a refusal: then there is room, too.
            link.birth_first = false;
            link.liveness.progressed(now);
            return Ok(());
        }
        let progress = self.delivery.acknowledge(ack);
        self.take_progress(link, progress, now)
    }

    pub(super) fn take_progress(
        &mut self,
        link: &mut Link,
        progress: Progress,
        now: Monotonic,
    ) -> Result<(), ConnectionError> {
        match progress {
            Progress::Nothing => return Ok(()),
            Progress::Release(Ack { packet_id, reason }) => {
                let reason = if self.is_v5() { reason } else { Reason::SUCCESS };
                return link.connection.push(&Packet::PubRel(Ack { packet_id, reason }));
            }
            Progress::Received => {}
            Progress::Settled => {
                self.backoff.reset();
                self.report.counters.acknowledged = self.delivery.acknowledged();
                self.report.changed(now);
            }
        }
        link.liveness.progressed(now);
        Ok(())
    }

    /// A PUBLISH came. A reason when the connection has to be ended for it.
    fn take_message(&mut self, link: &mut Link, publish: Publish) -> Result<Option<Reason>, ConnectionError> {
        let qos = publish.qos;
        let handover = match self.intake.publish(publish) {
            Ok(handover) => handover,
            Err(reason) => return Ok(Some(reason)),
        };
        let Some(Handover { mut message, ticket, once }) = handover else {
            return self.answer(link).map(|()| None);
        };
        if self.subscriptions.is_empty() {
            // Nothing was asked for: a leftover of an earlier user of this client id, or of an earlier configuration.
            debug!(uplink = %self.settings.name, topic = %message.topic, "a message came that nobody asked for");
            self.intake.settle(Settled { ticket, outcome: Outcome::Taken }, self.is_v5());
            return self.answer(link).map(|()| None);
        }
        if self.is_echo(&message) {
            debug!(uplink = %self.settings.name, topic = %message.topic, "a message of ours came back");
            self.intake.settle(Settled { ticket, outcome: Outcome::Taken }, self.is_v5());
            return self.answer(link).map(|()| None);
        }
        self.report.accept.received += 1;
        self.report.changed(self.clock.now());
        // Out of the read buffer, which whoever keeps the message would otherwise keep in memory whole.
        message.payload = Bytes::copy_from_slice(&message.payload);
        let once = once.map(|packet_id| Intake { uplink: self.reception.uplink, packet_id });
        match self.accepted.try_send(Accepted { message, once, ticket }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) if qos == QoS::AtMostOnce => self.report.accept.dropped_qos0 += 1,
            Err(TrySendError::Full(accepted)) => link.handover = Some(accepted),
            // Whoever takes messages has ended, and so will this uplink.
            Err(TrySendError::Closed(_)) => debug!(uplink = %self.settings.name, "nobody takes messages any more"),
        }
        Ok(None)
    }

    fn take_release(&mut self, link: &mut Link, packet_id: u16) -> Result<(), ConnectionError> {
        let reason = match self.intake.pubrel(packet_id) {
            PubRel::Unknown if self.is_v5() => Reason::PACKET_ID_NOT_FOUND,
            PubRel::Unknown | PubRel::Complete => Reason::SUCCESS,
            PubRel::Write => {
                let order = self.reception.release(packet_id);
                self.intake.releasing(packet_id, order);
                return Ok(());
            }
            PubRel::Wait => return Ok(()),
        };
        link.connection.push(&Packet::PubComp(Ack { packet_id, reason }))
    }

    /// What became of a message. An end when the cloud has to send it again.
    pub(super) fn settle(&mut self, link: &mut Link, settled: Settled) -> Result<Option<End>, ConnectionError> {
        let was_stuffed = self.is_stuffed(link);
        match self.intake.settle(settled, self.is_v5()) {
            Consequence::Answers => self.answer(link)?,
            Consequence::Forget(packet_id) => _ = self.reception.release(packet_id),
            Consequence::ComeBackLater => {
                self.backoff.be_patient();
                return Ok(Some(End::Lost(
                    "a message from the cloud can't be kept now; the cloud is asked for it again later".into(),
                )));
            }
        }
        if was_stuffed { self.take_packets(link) } else { Ok(None) }
    }

    fn answer(&mut self, link: &mut Link) -> Result<(), ConnectionError> {
        while let Some(answer) = self.intake.next_answer() {
            let ack = Ack { packet_id: answer.packet_id, reason: answer.reason };
            let exactly_once = answer.qos == QoS::ExactlyOnce;
            link.connection.push(&if exactly_once { Packet::PubRec(ack) } else { Packet::PubAck(ack) })?;
        }
        Ok(())
    }

    /// Sends the PUBCOMPs of packet ids whose release is on disk.
    pub(super) fn complete_released(&mut self, link: &mut Link) -> Result<(), ConnectionError> {
        let carried_out = *self.reception.carried_out.borrow_and_update();
        while let Some(packet_id) = self.intake.next_complete(carried_out) {
            link.connection.push(&Packet::PubComp(Ack::success(packet_id)))?;
        }
        Ok(())
    }

    /// Asks for what is wanted, and takes back what is not wanted any more.
    pub(super) fn subscribe(&mut self, link: &mut Link, session_present: bool) {
        let before = self.reception.subscribed.clone();
        let packets = self.subscriptions.requests(self.is_v5(), session_present);
        let filters = self.subscriptions.filters();
        // Before the cloud knows of them, so that whatever it knows can be taken back.
        if filters != before {
            self.reception.subscribed(filters.clone());
            self.reception.subscribed = filters;
        }
        for packet in packets {
            if let Err(error) = link.connection.push(&packet) {
                let complaints = self.subscriptions.not_sent(&packet, &error.to_string());
                self.complain(complaints);
            }
        }
    }

    fn complain(&mut self, complaints: Vec<Complaint>) {
        for Complaint { filter, problem } in complaints {
            warn!(uplink = %self.settings.name, filter = filter.as_str(), error = %problem, "a subscription at the cloud is not as it was asked for");
        }
        let refused = self.subscriptions.refused();
        if refused != self.report.accept.refused {
            self.report.accept.refused = refused;
            self.report.changed(self.clock.now());
        }
    }

    /// Ends the connection for what the cloud sent on it.
    fn expel(&self, link: &mut Link, reason: Reason) -> Result<End, ConnectionError> {
        if self.is_v5() {
            link.connection.push(&Packet::Disconnect(Disconnect::new(reason)))?;
        }
        Ok(End::Lost(format!("the cloud sent what it should not have: {reason}; look at its log, and at its version")))
    }

    pub(super) fn is_v5(&self) -> bool {
        self.settings.version == Version::V5
    }
}
