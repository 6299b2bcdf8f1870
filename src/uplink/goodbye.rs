//! Presence: the message that the gateway is there, and how it leaves in order.

use tracing::info;

use super::client::{Connection, ConnectionError, Exchanged};
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
        let message = Message::new(presence.topic.clone(), payload.clone(), QoS::AtLeastOnce, true);
        Ok(self.delivery.write_plain(&connection.codec, &message, id, &mut connection.outbox)?)
    }

    /// Publishes that we go, takes the acknowledgements that still come, and disconnects.
    pub(super) async fn say_goodbye(&mut self, link: &mut Link) {
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
            match link.connection.exchange(true).await {
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
