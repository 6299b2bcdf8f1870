//! How much more the rows may take on the disk, so that it never fills up: on a full one, SQLite can't even delete. Pure.

/// SQLite begins its log anew when it has 4 MiB; a group commit of the largest kind comes on top.
const LOG: u64 = 8 << 20;

/// The database's files, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Files {
    /// All pages, also those that are in the log alone.
    pub pages: u64,
    /// Pages that hold nothing.
    pub unused: u64,
    /// The file.
    pub file: u64,
    /// The log.
    pub log: u64,
}

/// What a look at the disk has found, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Space {
    /// The size of the file system.
    pub total: u64,
    /// What is left of it.
    pub free: u64,
    /// The reserve file is there.
    pub reserved: bool,
    /// What is ours.
    pub files: Files,
}

impl Space {
    /// What is left free: a sixteenth for the rest of the system, but 1 MiB to 64 MiB; what the file lacks of its pages; and what the log lacks
    /// of its usual size.
    fn margin(&self) -> u64 {
        let Files { pages, file, log, .. } = self.files;
        (self.total / 16).clamp(1 << 20, 64 << 20) + pages.saturating_sub(file) + LOG.saturating_sub(log)
    }

    /// The size of the reserve file: what is in the log alone fits into it, so that it can be brought into the file, and that makes the log room again.
    pub(super) fn reserve(&self) -> u64 {
        LOG.min(self.total / 3)
    }

    /// Whether there is room to make the reserve file anew.
    pub(super) fn can_reserve(&self) -> bool {
        !self.reserved && self.free >= self.margin() + self.reserve()
    }

    /// How many bytes more all rows together may take. A quarter of the pages that hold nothing is left out: rows do not fill pages.
    pub(super) fn room(&self) -> u64 {
        let missing = if self.reserved { 0 } else { self.reserve() };
        self.free.saturating_sub(self.margin() + missing) + self.files.unused / 4 * 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: Files = Files { pages: 50 << 20, unused: 0, file: 50 << 20, log: LOG };
    const CARD: Space = Space { total: 16 << 30, free: 8 << 30, reserved: true, files: FILES };

    #[test]
    fn what_the_log_and_the_reserve_need_is_never_given_to_rows() {
        assert_eq!(CARD.room(), (8 << 30) - (64 << 20));
        assert_eq!(Space { free: 64 << 20, ..CARD }.room(), 0);
        assert_eq!(Space { free: 73 << 20, reserved: false, ..CARD }.room(), 1 << 20);
        let inside = Files { unused: 4096, ..FILES };
        assert_eq!(Space { free: 0, files: inside, ..CARD }.room(), 3072, "pages of the file itself are used again");
        let owing = Files { file: 47 << 20, log: 5 << 20, ..FILES };
        assert_eq!(
            Space { free: 70 << 20, files: owing, ..CARD }.room(),
            0,
            "three for the file and three for the log"
        );
    }

    #[test]
    fn the_reserve_is_made_anew_when_it_leaves_the_margin() {
        let gone = Space { reserved: false, ..CARD };
        assert!(gone.can_reserve() && !CARD.can_reserve());
        assert!(!Space { free: (72 << 20) - 1, ..gone }.can_reserve());
        let tiny = Space { total: 16 << 20, free: 12 << 20, reserved: false, files: Files::default() };
        assert_eq!((tiny.reserve(), tiny.can_reserve(), tiny.room()), ((16 << 20) / 3, false, 0));
    }
}
