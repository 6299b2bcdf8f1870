//! What a kept session is owed at QoS 1 and 2: numbered without gaps, in memory as far as it is needed soon, and otherwise on disk alone. Pure.
//!
//! From `base` on there is an entry for each number that is remembered; behind the last entry everything is on disk. A client that is away
//! costs the few entries that it was sent and has not acknowledged, without their messages. One that is there has what it will be sent next,
//! up to a bound; what comes meanwhile is read back from the disk, a page at a time, as that drains.

mod paging;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use super::super::words::Delivery;
use crate::model::QoS;

/// A message that must not be sent before this one is done: packet ids are given out in a circle of 60,000, and the table of them is to
/// stay small whatever a client leaves unacknowledged.
const SPAN: u64 = 8_192;
/// The bounds of a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Messages owed, and their bytes, wherever they are.
    pub owed: Amount,
    /// Those of them in memory.
    pub loaded: Amount,
    /// Those of them with the connection.
    pub in_hand: Amount,
}

/// So many messages of so many bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub messages: usize,
    pub bytes: usize,
}

impl Amount {
    fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes;
    }

    fn take(&mut self, messages: usize, bytes: usize) {
        self.messages = self.messages.saturating_sub(messages);
        // Nothing has no bytes, whatever was estimated for it.
        self.bytes = if self.messages == 0 { 0 } else { self.bytes.saturating_sub(bytes) };
    }

    fn has_room(&self, bytes: usize, bound: &Amount) -> bool {
        self.messages < bound.messages && self.bytes + bytes <= bound.bytes
    }
}

/// The messages for one session.
#[derive(Debug)]
pub(super) struct Outflow {
    /// The number of the first entry: everything below is done.
    base: u64,
    entries: VecDeque<Entry>,
    /// The number of the next message.
    next: u64,
    /// The first that this connection has not been given.
    handed: u64,
    /// The highest that was sent on any connection: up to here DUP is set.
    sent: u64,
    owed: Amount,
    loaded: Amount,
    in_hand: Amount,
    /// Entries that are to be read.
    away: usize,
    /// Numbers behind the entries that are known not to be on disk.
    holes: usize,
    connected: bool,
    paging: Paging,
    /// Counts the pages asked for, so that a late one is known.
    asked: u64,
}

#[derive(Debug)]
enum Entry {
    /// In memory; `committed` once it is on disk too.
    Message {
        delivery: Delivery,
        committed: bool,
    },
    /// On disk; what it costs, as far as that is known.
    Away {
        cost: u32,
    },
    /// Its PUBREC came and is being written.
    Recording,
    /// Its PUBREC is on disk: PUBREL, and nothing else any more.
    Recorded,
    Done,
}

/// How it stands with reading from the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paging {
    Idle,
    /// A page is being read. What is owed below `until` was then, and if that was `settled`, it is on disk or nowhere.
    Asked {
        from: u64,
        until: u64,
        settled: bool,
    },
    /// The last page ended where the next commit goes on.
    AwaitsCommit,
}

/// A page to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub from: u64,
    /// Comes back with it.
    pub asked: u64,
}

/// What goes to the connection next.
#[derive(Debug)]
pub(super) enum Handed {
    /// This message; its number and DUP are set.
    Message(Delivery),
    /// The PUBREL of this number.
    PubRel(u64),
}

impl Outflow {
    /// Nothing owed.
    pub fn new() -> Outflow {
        Outflow::restored(1, 1, &[], 0, Amount::default())
    }

    /// As it was found on disk: numbers from `first` to below `next`, of which `recorded` wait for their PUBCOMP and `on_disk` have a message.
    pub fn restored(first: u64, next: u64, recorded: &[u64], sent: u64, on_disk: Amount) -> Outflow {
        let mut entries = VecDeque::new();
        let mut away = 0;
        for n in recorded {
            while first + (entries.len() as u64) < *n {
                entries.push_back(Entry::Away { cost: 0 });
                away += 1;
            }
            entries.push_back(Entry::Recorded);
        }
        let owed = Amount { messages: on_disk.messages + recorded.len(), ..on_disk };
        let holes = usize::try_from(next - first).unwrap_or(usize::MAX).saturating_sub(owed.messages);
        Outflow {
            base: first,
            entries,
            next,
            handed: first,
            sent: sent.min(next - 1),
            owed,
            loaded: Amount::default(),
            in_hand: Amount::default(),
            away,
            holes,
            connected: false,
            paging: Paging::Idle,
            asked: 0,
        }
    }

    /// Messages that are not done.
    pub fn owed(&self) -> usize {
        self.owed.messages
    }

    /// The highest number that was sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// The number behind the last entry.
    fn end(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    fn entry(&mut self, n: u64) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(n.checked_sub(self.base)?).ok()?)
    }

    /// A connection is there. It is given everything that is not done, from the oldest on.
    pub fn connect(&mut self) {
        self.connected = true;
        self.handed = self.base;
        self.in_hand = Amount::default();
    }

    /// The connection has sent messages up to this number.
    pub fn note_sent(&mut self, n: u64) {
        self.sent = self.sent.max(n);
    }

    /// No connection any more: messages are left to the disk.
    pub fn rest(&mut self) {
        self.connected = false;
        self.paging = Paging::Idle;
        self.handed = self.base;
        self.in_hand = Amount::default();
        while self.end() > self.sent + 1 {
            match self.entries.back() {
                Some(Entry::Away { .. }) => self.away -= 1,
                Some(Entry::Done) => self.holes += 1,
                Some(Entry::Message { .. }) => {}
                Some(Entry::Recording | Entry::Recorded) | None => break,
            }
            self.entries.pop_back();
        }
        for entry in &mut self.entries {
            if let Entry::Message { delivery, .. } = entry {
                *entry = Entry::Away { cost: u32::try_from(delivery.published.cost()).unwrap_or(u32::MAX) };
                self.away += 1;
            }
        }
        self.loaded = Amount::default();
        self.entries.shrink_to_fit();
    }

    /// A message for the session; its number, or nothing when there is no room for it.
    pub fn owe(&mut self, mut delivery: Delivery, bounds: &Bounds) -> Option<u64> {
        let cost = delivery.published.cost();
        if !self.owed.has_room(cost, &bounds.owed) {
            return None;
        }
        let n = self.next;
        self.next += 1;
        self.owed.add(cost);
        if self.connected && self.end() == n && self.loaded.has_room(cost, &bounds.loaded) {
            delivery.n = n;
            self.loaded.add(cost);
            self.entries.push_back(Entry::Message { delivery, committed: false });
        }
        Some(n)
    }

    /// The store has it.
    pub fn committed(&mut self, n: u64) {
        if let Some(Entry::Message { committed, .. }) = self.entry(n) {
            *committed = true;
        }
    }

    /// The store did not take it, and its publisher was told. If the connection has it already, it is delivered all the same.
    pub fn refused(&mut self, n: u64, cost: usize) {
        if n >= self.end() {
            self.holes += 1;
            self.owed.take(1, cost);
        } else if n >= self.handed {
            self.done(n);
        }
    }

    /// Its PUBREC came. False when that is not news; else it is to be written, and then [`Outflow::recorded`].
    pub fn record(&mut self, n: u64) -> bool {
        if n >= self.handed {
            return false;
        }
        let Some(entry) = self.entry(n) else { return false };
        let Entry::Message { delivery, .. } = entry else { return false };
        let cost = delivery.published.cost();
        *entry = Entry::Recording;
        self.loaded.take(1, cost);
        self.in_hand.bytes = self.in_hand.bytes.saturating_sub(cost);
        self.owed.bytes = self.owed.bytes.saturating_sub(cost);
        true
    }

    /// Its PUBREC is written. True when the connection waits for this to send PUBREL.
    pub fn recorded(&mut self, n: u64) -> bool {
        match self.entry(n) {
            Some(entry @ Entry::Recording) => *entry = Entry::Recorded,
            _ => return false,
        }
        self.connected && n < self.handed
    }

    /// It is acknowledged, or not to be sent. False when it was done before.
    pub fn done(&mut self, n: u64) -> bool {
        let in_hand = n < self.handed;
        let Some(entry) = self.entry(n) else { return false };
        let cost = match std::mem::replace(entry, Entry::Done) {
            Entry::Done => return false,
            Entry::Message { delivery, .. } => {
                let cost = delivery.published.cost();
                self.loaded.take(1, cost);
                cost
            }
            Entry::Away { cost } => {
                self.away -= 1;
                cost as usize
            }
            Entry::Recording | Entry::Recorded => 0,
        };
        self.owed.take(1, cost);
        if in_hand {
            self.in_hand.take(1, cost);
        }
        self.trim();
        true
    }

    fn trim(&mut self) {
        while let Some(Entry::Done) = self.entries.front() {
            self.entries.pop_front();
            self.base += 1;
        }
        self.handed = self.handed.max(self.base);
    }

    /// What the connection is to be given next, if anything may go now.
    pub fn hand(&mut self, bounds: &Bounds) -> Option<Handed> {
        while self.connected {
            let n = self.handed;
            let (dup, in_hand, early) = (n <= self.sent, self.in_hand, n < self.base + SPAN);
            match self.entry(n)? {
                Entry::Done => self.handed += 1,
                Entry::Recording | Entry::Away { .. } => return None,
                Entry::Recorded => {
                    if in_hand.messages >= bounds.in_hand.messages {
                        return None;
                    }
                    self.in_hand.add(0);
                    self.handed += 1;
                    return Some(Handed::PubRel(n));
                }
                Entry::Message { delivery, committed } => {
                    let cost = delivery.published.cost();
                    let room = in_hand.messages == 0 || in_hand.has_room(cost, &bounds.in_hand);
                    // Before its commit a crash would send a QoS 2 message to the client twice, with two ids.
                    let safe = *committed || delivery.qos < QoS::ExactlyOnce;
                    if !(room && safe && early) {
                        return None;
                    }
                    let delivery = Delivery { dup, ..delivery.clone() };
                    self.in_hand.add(cost);
                    self.handed += 1;
                    return Some(Handed::Message(delivery));
                }
            }
        }
        None
    }
}
