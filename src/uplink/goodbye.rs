//! Presence: the message that the gateway is there, and how it leaves in order.

use tracing::info;

use super::client::{Connection, ConnectionError};
use super::delivery::ROW_IDS;
use super::online::Link;
use super::task::Uplink;
use crate::model::{Message, QoS};
use crate::mqtt::{Disconnect, Packet, Reason};

/// Packet ids of the two presence messages.
pub(super) const ONLINE_ID: u16 = ROW_IDS + 1;
pub(super) const OFFLINE_ID: u16 = ROW_IDS + 2;

impl Uplink {
    /// Publishes that the gateway is connected, or not any more.
    pub(super) fn tell_presence(&mut self, connection: &mut Connection, online: bool) -> Result<(), ConnectionError> {
        let Some(presence) = &self.settings.presence else { return Ok(()) };
        self.pace.sent(1, self.clock.now());
        let (payload, id) = if online { (&presence.online, ONLINE_ID) } else { (&presence.offline, OFFLINE_ID) };
        let message = Message::new(presence.topic.clone(), payload.clone(), QoS::AtLeastOnce, presence.retain);
        Ok(self.delivery.write_plain(&connection.codec, &message, id, &mut connection.outbox)?)
    }

    /// Publishes that we go, takes the acknowledgements that still come, and disconnects.
    pub(super) async fn say_goodbye(&mut self, link: &mut Link) {
        let mut untold = self.settings.presence.is_some();
        let mut waits = false;
        let farewell = Disconnect::new(Reason::SUCCESS);
        loop {
            // Some may have been left unread.
            while let Ok(Some(packet)) = link.connection.next_packet() {
                let now = self.clock.now();
                let taken = match packet {
                    Packet::PubAck(ack) => {
                        waits &= ack.packet_id != OFFLINE_ID;
                        self.take_puback(link, ack, now)
                    }
                    Packet::PubRec(ack) => {
                        let progress = self.delivery.receipt(ack);
                        self.take_progress(link, progress, now)
                    }
                    Packet::PubComp(ack) => {
                        let progress = self.delivery.complete(ack);
                        self.take_progress(link, progress, now)
                    }
                    _ => Ok(()),
                };
                if taken.is_err() {
                    return;
                }
            }
            self.settle_last_words();
            if untold && (!link.tight || (self.delivery.has_room() && !link.birth_first)) {
                untold = false;
                waits = self.tell_presence(&mut link.connection, false).is_ok();
            }
            if !untold && !waits && link.connection.outbox.is_empty() {
                break;
            }
            if link.connection.exchange(true).await.is_err() {
                return;
            }
        }
        if link.connection.push(&Packet::Disconnect(farewell)).is_ok() {
            while !link.connection.outbox.is_empty() && link.connection.write().await.is_ok() {}
        }
        info!(uplink = %self.settings.name, "disconnected in order");
    }
}
