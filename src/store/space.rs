//! How much more the rows may take on the disk, so that it never fills up: on a full one, SQLite can't even delete. Pure.

/// What a look at the disk has found, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Space {
    /// The size of the file system.
    pub total: u64,
    /// What is left of it.
    pub free: u64,
    /// Pages of the database file that hold nothing.
    pub reusable: u64,
    /// The reserve file is there.
    pub reserved: bool,
}

impl Space {
    /// What is left free for SQLite's log and for the rest of the system: a sixteenth, but 1 MiB to 64 MiB.
    fn margin(&self) -> u64 {
        (self.total / 16).clamp(1 << 20, 64 << 20)
    }

    /// The size of the reserve file: what a delete takes, and the log's way into the file.
    pub(super) fn reserve(&self) -> u64 {
        (self.total / 32).clamp(512 << 10, 4 << 20)
    }

    /// Whether there is room to make the reserve file anew.
    pub(super) fn can_reserve(&self) -> bool {
        !self.reserved && self.free >= self.margin() + self.reserve()
    }

    /// How many bytes more all rows together may take. A quarter of the pages that hold nothing is left out: rows do not fill pages.
    pub(super) fn room(&self) -> u64 {
        let missing = if self.reserved { 0 } else { self.reserve() };
        self.free.saturating_sub(self.margin() + missing) + self.reusable / 4 * 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: Space = Space { total: 16 << 30, free: 8 << 30, reusable: 0, reserved: true };

    #[test]
    fn what_the_log_and_the_reserve_need_is_never_given_to_rows() {
        assert_eq!(CARD.room(), (8 << 30) - (64 << 20));
        assert_eq!(Space { free: 64 << 20, ..CARD }.room(), 0);
        assert_eq!(Space { free: 69 << 20, reserved: false, ..CARD }.room(), 1 << 20);
        assert_eq!(Space { free: 0, reusable: 4096, ..CARD }.room(), 3072, "pages of the file itself are used again");
    }

    #[test]
    fn the_reserve_is_made_anew_when_it_leaves_the_margin() {
        let gone = Space { reserved: false, ..CARD };
        assert!(gone.can_reserve() && !CARD.can_reserve());
        assert!(!Space { free: (68 << 20) - 1, ..gone }.can_reserve());
        let tiny = Space { total: 8 << 20, free: 2 << 20, reusable: 0, reserved: false };
        assert_eq!((tiny.reserve(), tiny.can_reserve(), tiny.room()), (512 << 10, true, 512 << 10));
    }
}
