//! What is kept of a session that may outlive its connection, and the forms in which the store has it. Pure.

use std::sync::Arc;

use super::super::Limits;
use super::super::durable::Owner;
use super::super::routing::Subscription;
use super::super::words::{Delivery, Published, Seat, SubscriptionIds};
use super::intake::Intake;
use super::outflow::{Amount, Bounds, Outflow};
use crate::model::{Filter, Message, Monotonic, Timestamp};
use crate::mqtt::{RetainHandling, SubscribeOptions, Will};
use crate::store::{
    SessionId, SessionRecord, SessionState, StoredDelivery, StoredRetained, StoredSubscription, Ticket,
};

/// Messages with a connection beyond its window, so that it never waits for the hub.
const AHEAD: usize = 4;
/// And their bytes, but for one that is larger.
const AHEAD_BYTES: usize = 1 << 20;
/// What may be in memory for one session however many there are, in bytes.
const LEAST_BYTES: usize = 64 << 10;

/// A session of which the store knows.
#[derive(Debug)]
pub(super) struct Kept {
    pub id: SessionId,
    /// Seconds that it outlives its connection; `u32::MAX` never ends.
    pub expiry_s: u32,
    /// When it ends, while there is no connection.
    pub ends_at: Option<Monotonic>,
    /// When its connection ended, if the clock was set.
    pub left_at: Option<Timestamp>,
    pub outflow: Outflow,
    pub intake: Intake,
    /// The ticket of the last message for it.
    pub last_ticket: Ticket,
    /// Whether a message found no room, and none has since.
    pub overflowing: bool,
}

impl Kept {
    /// A new session.
    pub fn new(id: SessionId, expiry_s: u32) -> Kept {
        Kept {
            id,
            expiry_s,
            ends_at: None,
            left_at: None,
            outflow: Outflow::new(),
            intake: Intake::default(),
            last_ticket: Ticket::default(),
            overflowing: false,
        }
    }

    /// A session as the store had it; the seconds that it has been without a connection, if that is known, count against its expiry.
    pub fn restored(state: &SessionState, wall: Option<Timestamp>, now: Monotonic) -> Kept {
        let on_disk = Amount {
            messages: usize::try_from(state.depth).unwrap_or(usize::MAX),
            bytes: usize::try_from(state.bytes).unwrap_or(usize::MAX),
        };
        let SessionRecord { id, expiry_s, left_at, sent, .. } = state.record;
        let first_n = state.recorded.first().map_or(state.first_n, |recorded| state.first_n.min(*recorded));
        let mut kept = Kept {
            outflow: Outflow::restored(first_n, state.next_n, &state.recorded, sent, on_disk),
            intake: Intake::restored(state.received.clone()),
            left_at,
            ..Kept::new(id, expiry_s)
        };
        kept.left(now, elapsed_s(left_at, wall));
        kept
    }

    /// There is no connection, and has been none for so many seconds.
    pub fn left(&mut self, now: Monotonic, since_s: u32) {
        let remaining = std::time::Duration::from_secs(self.expiry_s.saturating_sub(since_s).into());
        self.ends_at = (self.expiry_s < u32::MAX).then(|| now + remaining);
    }

    /// How the store's answers find it.
    pub fn owner(&self, seat: Seat) -> Owner {
        Owner { seat, session: self.id }
    }

    /// As the store is to have it. `left_at` and `sent` are what [`SessionRecord`] says of them.
    pub fn record(
        &self,
        client_id: Arc<str>,
        left_at: Option<Timestamp>,
        sent: u64,
        will: Option<Box<Will>>,
    ) -> SessionRecord {
        SessionRecord { id: self.id, client_id, user: None, expiry_s: self.expiry_s, left_at, sent, will }
    }
}

/// The bounds of a kept session while so many clients are connected: what is in memory for all of them is bounded too, and the more there are
/// the less each has of that. The rest is on disk.
pub(super) fn bounds(limits: &Limits, connected: usize) -> Bounds {
    let share = (limits.queued_bytes / connected.max(1)).max(LEAST_BYTES);
    Bounds {
        owed: Amount { messages: limits.session_messages, bytes: limits.session_bytes },
        loaded: Amount { messages: limits.queue_messages, bytes: limits.queue_bytes.min(share) },
        in_hand: Amount { messages: AHEAD * usize::from(limits.in_flight_out), bytes: AHEAD_BYTES.min(share) },
    }
}

/// A delivery as the store keeps it.
pub(super) fn stored(delivery: &Delivery, wall: Option<Timestamp>) -> StoredDelivery {
    StoredDelivery {
        message: delivery.published.message.clone(),
        qos: delivery.qos,
        retain: delivery.retain,
        subscription_ids: delivery.subscription_ids.as_slice().to_vec(),
        queued: wall,
    }
}

/// A delivery as it was stored, its expiry less what has passed. One that has expired expires at once: it may have been sent before, and then it
/// is sent again all the same.
pub(super) fn delivery(stored: StoredDelivery, wall: Option<Timestamp>, now: Monotonic) -> Delivery {
    let StoredDelivery { message, qos, retain, subscription_ids, queued } = stored;
    Delivery {
        published: Arc::new(published(message, queued, wall, now)),
        qos,
        retain,
        from_retained: false,
        n: 0,
        dup: false,
        subscription_ids: match &subscription_ids[..] {
            [] => SubscriptionIds::None,
            [id] => SubscriptionIds::One(*id),
            _ => SubscriptionIds::Many(subscription_ids),
        },
    }
}

/// A retained message as it was stored, its expiry less what has passed.
pub(super) fn retained(stored: StoredRetained, wall: Option<Timestamp>, now: Monotonic) -> Published {
    published(stored.message, stored.at, wall, now)
}

fn published(mut message: Message, at: Option<Timestamp>, wall: Option<Timestamp>, now: Monotonic) -> Published {
    if let Some(seconds) = message.properties.as_mut().and_then(|p| p.message_expiry_s.as_mut()) {
        *seconds = seconds.saturating_sub(elapsed_s(at, wall));
    }
    Published { message, at: now }
}

/// Whole seconds from one moment to the other. None when either is not known: a clock that was not set lets nothing expire.
pub(super) fn elapsed_s(from: Option<Timestamp>, to: Option<Timestamp>) -> u32 {
    let (Some(from), Some(to)) = (from, to) else { return 0 };
    u32::try_from(to.0.saturating_sub(from.0).max(0) / 1_000).unwrap_or(u32::MAX)
}

/// A subscription as the store keeps it.
pub(super) fn stored_subscription(filter: Filter, subscription: &Subscription) -> StoredSubscription {
    let options = SubscribeOptions {
        qos: subscription.qos,
        no_local: subscription.no_local,
        retain_as_published: subscription.retain_as_published,
        // It was for the moment of subscribing.
        retain_handling: RetainHandling::Send,
    };
    StoredSubscription { filter, options, id: subscription.id }
}

/// A subscription as it was stored.
pub(super) fn subscription(stored: &StoredSubscription) -> Subscription {
    let SubscribeOptions { qos, no_local, retain_as_published, .. } = stored.options;
    Subscription { qos, no_local, retain_as_published, id: stored.id }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Properties, QoS, Topic};

    const HOUR: i64 = 3_600_000;
    const NOW: Monotonic = Monotonic::from_millis(5_000);

    fn found(expiry_s: u32, left_at: Option<i64>) -> SessionState {
        SessionState {
            record: Kept::new(SessionId(1), expiry_s).record("a".into(), left_at.map(Timestamp), 0, None),
            subscriptions: Vec::new(),
            received: Vec::new(),
            recorded: Vec::new(),
            depth: 0,
            bytes: 0,
            first_n: 1,
            next_n: 1,
        }
    }

    fn ends_in_s(expiry_s: u32, left_at: Option<i64>, wall: Option<i64>) -> Option<u64> {
        let kept = Kept::restored(&found(expiry_s, left_at), wall.map(Timestamp), NOW);
        kept.ends_at.map(|at| at.since(NOW).as_secs())
    }

    #[test]
    fn the_time_without_power_counts_against_the_expiry_if_both_its_ends_are_known() {
        assert_eq!(ends_in_s(7_200, Some(0), Some(HOUR)), Some(3_600));
        assert_eq!(ends_in_s(7_200, Some(0), Some(9 * HOUR)), Some(0));
        // Connected at the crash, or one of the clocks not set, or set back.
        assert_eq!(ends_in_s(7_200, None, Some(9 * HOUR)), Some(7_200));
        assert_eq!(ends_in_s(7_200, Some(0), None), Some(7_200));
        assert_eq!(ends_in_s(7_200, Some(HOUR), Some(0)), Some(7_200));
        assert_eq!(ends_in_s(u32::MAX, Some(0), Some(HOUR)), None);
    }

    #[test]
    fn a_message_from_the_disk_expires_when_it_would_have_without_the_pause() {
        let mut message = Message::new(Topic::new("t").unwrap(), "x", QoS::AtLeastOnce, false);
        message.properties = Some(Box::new(Properties { message_expiry_s: Some(4_000), ..Properties::default() }));
        let new = Delivery {
            published: Arc::new(Published { message, at: NOW }),
            qos: QoS::AtLeastOnce,
            retain: true,
            from_retained: false,
            n: 0,
            dup: false,
            subscription_ids: SubscriptionIds::Many(vec![1, 2]),
        };
        let kept = stored(&new, Some(Timestamp(0)));
        let back = delivery(kept.clone(), Some(Timestamp(HOUR)), NOW);
        assert_eq!(back.published.message.properties.as_ref().unwrap().message_expiry_s, Some(400));
        assert_eq!((back.retain, back.subscription_ids), (true, SubscriptionIds::Many(vec![1, 2])));
        let late = delivery(kept, Some(Timestamp(2 * HOUR)), NOW);
        assert_eq!(late.published.expires_at(), Some(NOW));
    }
}
