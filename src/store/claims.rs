//! Which rows of a queue its reader holds, so that the writer neither drops them nor forgets what was acknowledged.
//!
//! The one piece of state that the reader's side and the writer's side share. It is small, pure, and locked for moments only.

use std::collections::VecDeque;

use super::queue::Marks;

/// Acknowledged rows that one commit may delete; more wake the writer before `commit_every` is over.
const MANY: usize = 4096;

/// How soon the writer should look at what was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    /// It knows already.
    No,
    /// Within the usual commit interval, or, when `true`, now.
    Soon(bool),
}

/// What the next commit deletes because the cloud has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Acknowledged {
    /// Every row up to here.
    pub through: u64,
    /// Their bytes as accounted.
    pub bytes: u64,
    /// Of these, rows that the cloud will never take, and why.
    pub aside: Vec<(u64, String)>,
    /// The uplink has connected with a clean session to this server.
    pub seasoned: Option<String>,
    /// Every row at QoS 2 up to here has its PUBREC.
    pub recorded: u64,
    orders: u64,
}

/// The rows that a reader holds.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Handed out and not yet deleted: number and bytes, rising.
    held: VecDeque<(u64, u64)>,
    held_bytes: u64,
    /// Every row up to here was handed out or is gone.
    cursor: u64,
    acknowledged: u64,
    deleted: u64,
    aside: Vec<(u64, String)>,
    seasoned: Option<String>,
    recorded: u64,
    /// The last order that was given.
    orders: u64,
    on_disk: Marks,
    /// Rows up to here are not dropped, though nobody has read them yet.
    protected: u64,
    /// Rows above this one no earlier life can have had in flight.
    reach: u64,
    /// The rows that a running transaction drops, first to last.
    dropping: Option<(u64, u64)>,
    drops: u64,
    writer_knows: bool,
}

impl Claims {
    /// Nothing is held; every row up to `done` is gone, and those at QoS 2 up to `recorded` have their PUBREC.
    pub(super) fn new(done: u64, recorded: u64) -> Claims {
        let on_disk = Marks { recorded, orders: 0 };
        Claims {
            cursor: done,
            acknowledged: done,
            deleted: done,
            recorded,
            on_disk,
            protected: recorded,
            reach: u64::MAX,
            ..Claims::default()
        }
    }

    /// The row after which to read on.
    pub(super) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Rows up to here may be in flight: those above it may be dropped.
    pub(super) fn floor(&self) -> u64 {
        self.cursor.max(self.protected)
    }

    /// An earlier life can't have had rows above `n` in flight: it may not hold so much.
    pub(super) fn limit_protection(&mut self, n: u64) {
        self.reach = n;
    }

    /// Rows up to `n` are not to be dropped before they are read, as far as they can have been in flight at all.
    pub(super) fn protect(&mut self, n: u64) {
        self.protected = self.protected.max(n.min(self.reach));
    }

    /// How many bytes of `most` are left for more rows.
    pub(super) fn room(&self, most: u64) -> u64 {
        most.saturating_sub(self.held_bytes)
    }

    /// Takes rows that were read after [`Claims::cursor`]. False when some of them are being dropped: read again after the next commit.
    pub(super) fn claim(&mut self, rows: impl Iterator<Item = (u64, u64)> + Clone) -> bool {
        let collides = |n: u64| self.dropping.is_some_and(|(first, last)| (first..=last).contains(&n));
        if rows.clone().any(|(n, _)| collides(n)) {
            return false;
        }
        for (n, bytes) in rows {
            self.held.push_back((n, bytes));
            self.held_bytes += bytes;
            self.cursor = n;
        }
        true
    }

    /// Every row up to `n` that was not handed out is gone.
    pub(super) fn pass(&mut self, n: u64) {
        self.cursor = self.cursor.max(n);
    }

    /// Gives back every row above `n`: it was read and never sent.
    pub(super) fn release_above(&mut self, n: u64) {
        while let Some((_, bytes)) = self.held.pop_back_if(|(held, _)| *held > n) {
            self.held_bytes -= bytes;
        }
        self.cursor = self.cursor.min(n.max(self.acknowledged));
    }

    /// Every row up to `through` is the cloud's.
    pub(super) fn acknowledge(&mut self, through: u64) -> Wake {
        if through <= self.acknowledged {
            return Wake::No;
        }
        self.acknowledged = through;
        self.cursor = self.cursor.max(through);
        let many = self.held.get(MANY).is_some_and(|(n, _)| *n <= through);
        self.wake(many)
    }

    /// Row `n` is to be kept apart and counted; it is acknowledged like the others.
    pub(super) fn set_aside(&mut self, n: u64, reason: String) {
        self.aside.push((n, reason));
    }

    /// The session at this server is the one that counts, or none where no server is called so: the queue is not fresh any more.
    pub(super) fn season(&mut self, server: &str) -> (u64, Wake) {
        self.seasoned = Some(server.to_owned());
        self.order()
    }

    /// Every row at QoS 2 up to `n` has its PUBREC.
    pub(super) fn record(&mut self, n: u64) -> Wake {
        if n <= self.recorded {
            return Wake::No;
        }
        self.recorded = n;
        // The cloud waits for its PUBREL.
        self.wake(true)
    }

    /// What was recorded above `n` does not count any more.
    pub(super) fn reset_recorded(&mut self, n: u64) -> (u64, Wake) {
        self.recorded = n;
        self.order()
    }

    fn order(&mut self) -> (u64, Wake) {
        self.orders += 1;
        (self.orders, self.wake(true))
    }

    /// What is on disk.
    pub(super) fn marks(&self) -> Marks {
        self.on_disk
    }

    fn wake(&mut self, many: bool) -> Wake {
        let known = std::mem::replace(&mut self.writer_knows, true);
        if known && !many { Wake::No } else { Wake::Soon(many) }
    }

    /// Whether there is something for [`Claims::acknowledged`].
    pub(super) fn has_acknowledged(&self) -> bool {
        let marks = Marks { recorded: self.recorded, orders: self.orders };
        self.acknowledged != self.deleted || marks != self.on_disk
    }

    /// What the next commit has to delete; `None` when there is nothing. Later acknowledgements wake the writer again.
    pub(super) fn acknowledged(&mut self) -> Option<Acknowledged> {
        self.writer_knows = false;
        if !self.has_acknowledged() {
            return None;
        }
        let through = self.acknowledged;
        let bytes = self.held.iter().take_while(|(n, _)| *n <= through).map(|(_, bytes)| bytes).sum();
        let aside = self.aside.iter().filter(|(n, _)| *n <= through).cloned().collect();
        let (recorded, orders) = (self.recorded, self.orders);
        Some(Acknowledged { through, bytes, aside, seasoned: self.seasoned.clone(), recorded, orders })
    }

    /// The commit that deleted them is done.
    pub(super) fn deleted(&mut self, acknowledged: &Acknowledged) {
        self.deleted = acknowledged.through;
        self.aside.retain(|(n, _)| *n > acknowledged.through);
        self.seasoned.take_if(|server| acknowledged.seasoned.as_ref() == Some(server));
        self.on_disk = Marks { recorded: acknowledged.recorded, orders: acknowledged.orders };
        while let Some((_, bytes)) = self.held.pop_front_if(|(n, _)| *n <= acknowledged.through) {
            self.held_bytes -= bytes;
        }
    }

    /// Starts dropping rows `first` to `last`. False when the reader has taken some of them since they were looked at.
    pub(super) fn begin_drop(&mut self, first: u64, last: u64) -> bool {
        if first <= self.floor() {
            return false;
        }
        let (first, last) = self.dropping.map_or((first, last), |(f, l)| (f.min(first), l.max(last)));
        self.dropping = Some((first, last));
        true
    }

    /// The transaction that was to drop them is over; `committed`: they are gone.
    pub(super) fn end_drop(&mut self, committed: bool) {
        if self.dropping.take().is_some() && committed {
            self.drops += 1;
        }
    }

    /// How often rows were dropped: what was read before the last time may be gone.
    pub(super) fn drops(&self) -> u64 {
        self.drops
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(range: std::ops::RangeInclusive<u64>) -> impl Iterator<Item = (u64, u64)> + Clone {
        range.map(|n| (n, 10))
    }

    #[test]
    fn rows_that_a_reader_holds_are_not_dropped() {
        let mut claims = Claims::new(0, 0);
        assert!(claims.claim(rows(1..=5)));
        assert!(!claims.begin_drop(5, 9));
        assert!(claims.begin_drop(6, 9));
    }

    #[test]
    fn rows_that_are_being_dropped_are_not_handed_out() {
        let mut claims = Claims::new(0, 0);
        assert!(claims.begin_drop(1, 3));
        assert!(!claims.claim(rows(1..=5)));
        assert_eq!(claims.cursor(), 0);
        claims.end_drop(false);
        assert_eq!(claims.drops(), 0);
        assert!(claims.begin_drop(1, 3));
        claims.end_drop(true);
        assert_eq!(claims.drops(), 1);
        assert!(claims.claim(rows(4..=5)));
    }

    #[test]
    fn what_was_read_and_not_sent_is_given_back() {
        let mut claims = Claims::new(10, 0);
        claims.claim(rows(11..=20));
        claims.release_above(13);
        assert_eq!(claims.cursor(), 13);
        assert_eq!(claims.room(100), 70);
        assert!(claims.begin_drop(14, 20));
    }

    #[test]
    fn the_writer_is_woken_once_until_it_has_looked() {
        let mut claims = Claims::new(0, 0);
        claims.claim(rows(1..=5));
        assert_eq!(claims.acknowledge(2), Wake::Soon(false));
        assert_eq!(claims.acknowledge(3), Wake::No);
        claims.set_aside(4, "no".into());
        let acknowledged = claims.acknowledged().expect("three rows");
        assert_eq!((acknowledged.through, acknowledged.bytes, acknowledged.aside.len()), (3, 30, 0));
        assert_eq!(claims.acknowledge(5), Wake::Soon(false));
        claims.deleted(&acknowledged);
        let acknowledged = claims.acknowledged().expect("two more, one of them aside");
        assert_eq!((acknowledged.through, acknowledged.bytes, acknowledged.aside.len()), (5, 20, 1));
        claims.deleted(&acknowledged);
        assert_eq!(claims.acknowledged(), None);
    }

    #[test]
    fn a_commit_that_failed_leaves_everything_to_the_next() {
        let mut claims = Claims::new(0, 0);
        claims.claim(rows(1..=5));
        claims.acknowledge(5);
        assert_eq!(claims.acknowledged(), claims.acknowledged());
    }

    #[test]
    fn what_may_be_in_flight_from_an_earlier_life_is_not_dropped() {
        let mut claims = Claims::new(10, 12);
        assert!(!claims.begin_drop(12, 20));
        claims.protect(15);
        assert!(!claims.begin_drop(15, 20));
        claims.limit_protection(16);
        claims.protect(18);
        assert!(!claims.begin_drop(16, 20));
        assert!(claims.begin_drop(17, 20));
    }

    #[test]
    fn orders_are_on_disk_with_the_commit_that_had_them_and_a_later_one_waits_for_another() {
        let mut claims = Claims::new(0, 7);
        assert_eq!(claims.record(7), Wake::No);
        assert_eq!(claims.record(9), Wake::Soon(true));
        assert_eq!(claims.reset_recorded(3), (1, Wake::Soon(true)));
        let commit = claims.acknowledged().expect("something to write");
        assert_eq!(claims.season("cloud").0, 2);
        claims.deleted(&commit);
        assert_eq!(claims.marks(), Marks { recorded: 3, orders: 1 });
        let commit = claims.acknowledged().expect("the season");
        assert_eq!(commit.seasoned.as_deref(), Some("cloud"));
        claims.deleted(&commit);
        assert_eq!((claims.marks().orders, claims.acknowledged()), (2, None));
    }
}
