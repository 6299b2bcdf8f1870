//! Wills: published when a client is lost, at once or after the delay that it asked for, and at the latest when its session ends (MQTT 5
//! §3.1.3.2.2). A client that comes back in time to its session has none published.
//!
//! A will that waits is on disk with its session. After a restart it is published when its time has come, or has passed.

use super::super::words::Seat;
use super::Hub;
use super::publishing::Origin;
use crate::model::{Message, Monotonic, Publisher};

/// A will that is to be published, and whose it is.
pub(super) struct LastWill {
    by: Publisher,
    message: Message,
}

impl Hub {
    /// A client was lost and its session goes on. Its will waits for its time; one without a delay is returned, to be published now.
    pub(super) fn postpone_will(&mut self, seat: Seat, since_s: u32, now: Monotonic) -> Option<LastWill> {
        let (_, client) = self.seats.occupant(seat)?;
        let delay_s = client.will.as_ref()?.delay_s;
        if delay_s == 0 {
            return self.take_will(seat);
        }
        let at = now + std::time::Duration::from_secs(delay_s.saturating_sub(since_s).into());
        client.will_at = Some(at);
        self.wills.insert((at, seat));
        None
    }

    /// The will of a client that is away, if one waits: it waits no longer.
    pub(super) fn take_will(&mut self, seat: Seat) -> Option<LastWill> {
        let (_, client) = self.seats.occupant(seat)?;
        if let Some(at) = client.will_at.take() {
            self.wills.remove(&(at, seat));
        }
        let by = Publisher::Client { id: client.id.clone(), user: None };
        client.will.take().map(|will| LastWill { by, message: will.message })
    }

    pub(super) fn publish_will(&mut self, will: Option<LastWill>, now: Monotonic) {
        if let Some(LastWill { by, message }) = will {
            self.publish(Origin::Elsewhere, &by, message, None, now);
        }
    }

    /// Publishes the wills whose time has come.
    pub(super) fn publish_due_wills(&mut self, now: Monotonic) {
        while let Some((at, seat)) = self.wills.first().copied()
            && at <= now
        {
            // That it has been is written behind what it causes: a crash in between publishes it twice rather than never.
            let will = self.take_will(seat);
            self.publish_will(will, now);
            self.write_absence(seat);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::Limits;
    use super::super::super::words::{FromClient, Greeting, Key, ToClient};
    use super::*;
    use crate::model::{Filter, QoS, Timestamp, Topic};
    use crate::mqtt::{SubscribeOptions, Will};
    use crate::store::{BrokerState, BrokerWrite, CommitReport, SessionRecord, SessionState, Ticket, Work};

    const fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    fn will(delay_s: u32) -> Option<Box<Will>> {
        let message = Message::new(Topic::new("wills").unwrap(), "gone", QoS::AtMostOnce, false);
        Some(Box::new(Will { message, delay_s }))
    }

    struct World {
        hub: Hub,
        watcher: Key,
        /// The session records that were to be written.
        records: Vec<SessionRecord>,
    }

    impl World {
        fn new(sessions: Vec<SessionState>, wall: Option<Timestamp>) -> World {
            let mut hub = Hub::new(Limits::default(), Vec::new());
            hub.set_wall(wall);
            let greeting = Greeting { client_id: "watcher".into(), clean_start: true, expiry_s: 0, will: None };
            let watcher = hub.connect(greeting, at(0));
            let filters = vec![Ok((Filter::new("wills").unwrap(), SubscribeOptions::new(QoS::AtMostOnce)))];
            hub.client_says(watcher, FromClient::Subscribe { packet_id: 1, id: None, filters }, at(0));
            hub.restore(BrokerState { sessions, retained: Vec::new(), last_session: 9, damaged: 0 }, u32::MAX, at(0));
            World { hub, watcher, records: Vec::new() }
        }

        fn connect(&mut self, clean_start: bool, expiry_s: u32, will: Option<Box<Will>>, now: Monotonic) -> Key {
            let key = self.hub.connect(Greeting { client_id: "a".into(), clean_start, expiry_s, will }, now);
            self.store();
            key
        }

        fn store(&mut self) {
            let mut through = Ticket::default();
            for append in self.hub.out.appends.drain(..) {
                through = append.ticket;
                if let Work::Broker(BrokerWrite::Session(record)) = append.what {
                    self.records.push(record);
                }
            }
            self.hub.report(&CommitReport { through, refused: Vec::new() }, at(0));
        }

        fn expire(&mut self, now: Monotonic) {
            self.hub.expire(now);
            self.store();
        }

        /// How many wills were published since the last call.
        fn wills(&mut self) -> usize {
            let mut list = Vec::new();
            self.hub.take_list(self.watcher, &mut list);
            list.iter().filter(|entry| matches!(entry, ToClient::Deliver(_))).count()
        }
    }

    #[test]
    fn a_will_waits_for_its_delay_and_is_on_disk_meanwhile() {
        let mut world = World::new(Vec::new(), None);
        let client = world.connect(true, 100, will(10), at(0));
        world.hub.disconnect(client, true, None, at(5));
        world.store();
        assert_eq!(world.wills(), 0);
        assert!(world.records.last().unwrap().will.is_some());
        world.expire(at(14));
        assert_eq!(world.wills(), 0);
        world.expire(at(15));
        assert_eq!(world.wills(), 1);
        assert!(world.records.last().unwrap().will.is_none());
    }

    #[test]
    fn a_client_that_is_back_in_time_has_no_will_published() {
        let mut world = World::new(Vec::new(), None);
        let client = world.connect(true, 100, will(10), at(0));
        world.hub.disconnect(client, true, None, at(5));
        world.connect(false, 100, None, at(14));
        // Nor does a takeover, of a connection that may have been dead for long.
        world.connect(false, 100, will(10), at(20));
        world.connect(false, 100, will(0), at(21));
        world.expire(at(99));
        assert_eq!(world.wills(), 0);
        world.connect(false, 100, None, at(100));
        assert_eq!(world.wills(), 1, "one without a delay is not spared");
    }

    #[test]
    fn the_end_of_the_session_is_the_end_of_the_delay() {
        // By its expiry, by a clean start in its place, and with the connection.
        let mut world = World::new(Vec::new(), None);
        let client = world.connect(true, 3, will(10), at(0));
        world.hub.disconnect(client, true, None, at(0));
        world.expire(at(3));
        assert_eq!(world.wills(), 1);

        let client = world.connect(true, 100, will(10), at(5));
        world.hub.disconnect(client, true, None, at(5));
        let client = world.connect(true, 100, will(10), at(6));
        assert_eq!(world.wills(), 1);
        world.connect(true, 100, None, at(7));
        assert_eq!(world.wills(), 1, "{client:?} was taken over by a clean start");

        let client = world.connect(true, 0, will(10), at(8));
        world.hub.disconnect(client, true, None, at(9));
        assert_eq!(world.wills(), 1);
        world.expire(at(1_000));
        assert_eq!(world.wills(), 0);
    }

    #[test]
    fn a_clean_disconnect_leaves_no_will_behind() {
        let mut world = World::new(Vec::new(), None);
        let client = world.connect(true, 100, will(0), at(0));
        world.hub.disconnect(client, false, None, at(5));
        world.store();
        world.expire(at(1_000));
        assert_eq!((world.wills(), world.records.last().unwrap().will.is_some()), (0, false));
    }

    #[test]
    fn after_a_restart_a_will_is_published_when_its_time_has_come() {
        let found = |delay_s, left_at: Option<i64>| SessionState {
            record: SessionRecord {
                id: crate::store::SessionId(1),
                client_id: "a".into(),
                user: None,
                expiry_s: u32::MAX,
                left_at: left_at.map(Timestamp),
                sent: 0,
                will: will(delay_s),
            },
            subscriptions: Vec::new(),
            received: Vec::new(),
            recorded: Vec::new(),
            depth: 0,
            bytes: 0,
            first_n: 1,
            next_n: 1,
        };
        let wall = Some(Timestamp(60_000));
        for (delay_s, left_at, due) in [
            // Connected when the broker died: lost with it.
            (0, None, None),
            (10, None, Some(at(10))),
            // Away for a minute.
            (30, Some(0), Some(at(0))),
            (90, Some(0), Some(at(30))),
        ] {
            let mut world = World::new(vec![found(delay_s, left_at)], wall);
            world.store();
            match due {
                Some(due) if due > at(0) => {
                    assert_eq!(world.wills(), 0);
                    assert_eq!(world.hub.wills.first().map(|(at, _)| *at), Some(due));
                }
                _ => {
                    assert_eq!(world.wills(), 1);
                    assert!(world.records.last().unwrap().will.is_none());
                }
            }
        }
    }
}
