//! What a session is owed and is on disk alone comes back, a page at a time.

use super::{Entry, Outflow, Paging, Wanted};
use crate::broker::words::Delivery;

/// Below so many messages in memory, and so many bytes, the next page is asked for.
const LOW_MESSAGES: usize = 256;
const LOW_BYTES: usize = 128 << 10;

impl Outflow {
    /// The page to read next, if there is one to be read now. `settled` is whether the store has answered for everything that is owed.
    pub fn wanted(&mut self, settled: bool) -> Option<Wanted> {
        if !self.connected || self.paging != Paging::Idle {
            return None;
        }
        let from = if self.away > 0 {
            let at = self.entries.iter().position(|entry| matches!(entry, Entry::Away { .. }))?;
            self.base + at as u64
        } else if self.end() < self.next && self.loaded.messages < LOW_MESSAGES && self.loaded.bytes < LOW_BYTES {
            self.end()
        } else {
            return None;
        };
        self.paging = Paging::Asked { from, until: self.next, settled };
        self.asked += 1;
        Some(Wanted { from, asked: self.asked })
    }

    /// A page came: rows in order, without a message when that is damaged. `more` is whether there were more when it was read. Returns the
    /// damaged ones, which are done with.
    pub fn load(&mut self, asked: u64, rows: Vec<(u64, Option<Delivery>)>, more: bool) -> Vec<u64> {
        let Paging::Asked { from, until, settled } = self.paging else { return Vec::new() };
        if asked != self.asked {
            return Vec::new();
        }
        let mut damaged = Vec::new();
        let mut at = from;
        for (n, delivery) in rows {
            // Numbers are committed in their order, so what is not there will not come.
            self.skip(at, n);
            at = n + 1;
            match delivery {
                Some(delivery) => self.place(n, delivery),
                None => {
                    damaged.push(n);
                    self.skip_one(n, false);
                }
            }
        }
        if !more && settled {
            self.skip(at, until);
        }
        self.paging = if more || settled { Paging::Idle } else { Paging::AwaitsCommit };
        self.trim();
        damaged
    }

    /// A page could not be read.
    pub fn not_read(&mut self, asked: u64) {
        if asked == self.asked && matches!(self.paging, Paging::Asked { .. }) {
            self.paging = Paging::AwaitsCommit;
        }
    }

    /// Something was committed, or time has passed: a page may have more to tell. True when that was waited for.
    pub fn look_again(&mut self) -> bool {
        let waited = self.paging == Paging::AwaitsCommit;
        if waited {
            self.paging = Paging::Idle;
        }
        waited
    }

    fn place(&mut self, n: u64, mut delivery: Delivery) {
        delivery.n = n;
        let cost = delivery.published.cost();
        let end = self.end();
        let message = Entry::Message { delivery, committed: true };
        match self.entry(n) {
            Some(entry @ Entry::Away { .. }) => {
                *entry = message;
                self.away -= 1;
            }
            // It came to be done meanwhile, or was never away.
            Some(_) => return,
            None if n == end => self.entries.push_back(message),
            None => return,
        }
        self.loaded.add(cost);
    }

    fn skip(&mut self, from: u64, to: u64) {
        for n in from..to {
            self.skip_one(n, true);
        }
    }

    /// This number is nowhere; `hole` when it may have been counted out already.
    fn skip_one(&mut self, n: u64, hole: bool) {
        if n >= self.end() || matches!(self.entry(n), Some(Entry::Away { cost: 0 })) {
            match hole && self.holes > 0 {
                true => self.holes -= 1,
                false => self.owed.take(1, 0),
            }
        }
        if n < self.end() {
            if let Some(entry @ Entry::Away { .. }) = self.entry(n) {
                let cost = match *entry {
                    Entry::Away { cost } => cost as usize,
                    _ => 0,
                };
                *entry = Entry::Done;
                self.away -= 1;
                if cost > 0 {
                    self.owed.take(1, cost);
                }
            }
        } else if self.entries.is_empty() {
            self.base = n + 1;
            self.handed = self.base;
        } else {
            self.entries.push_back(Entry::Done);
        }
    }
}
