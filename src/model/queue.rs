//! The choices that a queue's owner makes.

/// What is dropped when a queue is full. Every drop is counted, logged and told upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest message that is not in flight.
    DropOldest,
    /// The message that has just come.
    DropNewest,
}

/// Which of an uplink's two queues a message waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Priority {
    /// In its turn.
    #[default]
    Normal,
    /// Before everything that is [`Priority::Normal`] (`priority: high` of a forward rule).
    High,
}

impl Priority {
    /// Both, in the order of their numbers.
    pub const ALL: [Priority; 2] = [Priority::Normal, Priority::High];
}

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// `kill -9` (`synchronous=NORMAL`).
    Normal,
    /// Power loss (`synchronous=FULL`).
    Full,
}
