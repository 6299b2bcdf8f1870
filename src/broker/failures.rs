//! Logins that failed, by address, as a pure table: how long the next answer is held back, and what is told of it.
//!
//! An address with failures pays with time, a right password does not: it is not held back, it only shares its address's few lanes. Whoever
//! does not wait for the answer gains nothing, because the lane stays taken; not so on loopback, where many programs share one address
//! and one that keeps failing must not keep the others out.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::model::Monotonic;

/// Logins of one address that are checked or held back at a time: what an address can guess is this in each [`LONGEST`].
const LANES: usize = 4;
/// The answer to the first failure is held back for so long, each further one for twice as long, up to the longest.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(8);
/// After so long without a failure an address starts anew.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// A failing address is told of at once, and then so seldom.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// Addresses that are remembered. When there are more, the one that has failed least recently is forgotten.
const MOST_ADDRESSES: usize = 1_024;
/// New failing addresses that are told of in one [`TELL_AGAIN`], so that many addresses can't fill the log either.
const MOST_TOLD: u32 = 20;

/// The table.
#[derive(Debug, Default)]
pub(super) struct Failures {
    addresses: HashMap<IpAddr, Address>,
    /// Since when, and how many were told of since.
    told: (Monotonic, u32),
}

#[derive(Debug, Default)]
struct Address {
    failures: u32,
    last: Monotonic,
    checking: usize,
    /// Until when each lane of a failed login stays taken.
    held: VecDeque<Monotonic>,
    told_at: Option<Monotonic>,
    untold: u32,
}

/// What follows from a failed login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failed {
    /// The answer is due then.
    pub until: Monotonic,
    /// To be told now, with how many failures there were since it was told of last; `None` is a repetition.
    pub tell: Option<u32>,
}

impl Failures {
    /// A login of `ip` is to be checked. An error is when to ask again.
    pub fn begin(&mut self, ip: IpAddr, now: Monotonic) -> Result<(), Monotonic> {
        let ip = ip.to_canonical();
        self.make_room(ip, now);
        let address = self.addresses.entry(ip).or_default();
        address.held.retain(|until| *until > now);
        if address.checking + address.held.len() >= LANES {
            let soon = now + Duration::from_millis(50);
            return Err(address.held.iter().min().map_or(soon, |until| (*until).max(soon)));
        }
        address.checking += 1;
        Ok(())
    }

    /// A login that had begun was right, or was given up before anything was known.
    pub fn end(&mut self, ip: IpAddr) {
        let ip = ip.to_canonical();
        let Some(address) = self.addresses.get_mut(&ip) else { return };
        address.checking = address.checking.saturating_sub(1);
        if address.is_blank() {
            self.addresses.remove(&ip);
        }
    }

    /// A login that had begun was wrong.
    pub fn fail(&mut self, ip: IpAddr, now: Monotonic) -> Failed {
        let ip = ip.to_canonical();
        let address = self.addresses.entry(ip).or_default();
        address.checking = address.checking.saturating_sub(1);
        if now.since(address.last) > FORGET_AFTER {
            address.failures = 0;
        }
        let doublings = address.failures.min(10);
        address.failures = address.failures.saturating_add(1);
        address.last = now;
        let until = now + (FIRST * 2_u32.pow(doublings)).min(LONGEST);
        if !ip.is_loopback() {
            address.held.push_back(until);
        }
        Failed { until, tell: self.tell(ip, now) }
    }

    /// Somebody from `ip` had nothing that could be checked. Returns whether to tell of it, as [`Failed::tell`].
    pub fn refuse(&mut self, ip: IpAddr, now: Monotonic) -> Option<u32> {
        let ip = ip.to_canonical();
        self.make_room(ip, now);
        self.addresses.entry(ip).or_default().last = now;
        self.tell(ip, now)
    }

    fn tell(&mut self, ip: IpAddr, now: Monotonic) -> Option<u32> {
        let address = self.addresses.get_mut(&ip)?;
        address.untold = address.untold.saturating_add(1);
        if now.since(self.told.0) > TELL_AGAIN {
            self.told = (now, 0);
        }
        if address.told_at.is_some_and(|at| now.since(at) < TELL_AGAIN) || self.told.1 >= MOST_TOLD {
            return None;
        }
        self.told.1 += 1;
        address.told_at = Some(now);
        Some(std::mem::take(&mut address.untold))
    }

    fn make_room(&mut self, newcomer: IpAddr, now: Monotonic) {
        if self.addresses.len() < MOST_ADDRESSES || self.addresses.contains_key(&newcomer) {
            return;
        }
        let is_over = |address: &Address| address.checking == 0 && now.since(address.last) > FORGET_AFTER;
        self.addresses.retain(|_, address| !is_over(address));
        while self.addresses.len() >= MOST_ADDRESSES {
            let idle = self.addresses.iter().filter(|(_, address)| address.checking == 0);
            let Some(oldest) = idle.min_by_key(|(_, address)| address.last).map(|(ip, _)| *ip) else { return };
            self.addresses.remove(&oldest);
        }
    }
}

impl Address {
    fn is_blank(&self) -> bool {
        self.checking == 0 && self.told_at.is_none() && self.untold == 0 && self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_millis(1_000_000 + seconds * 1_000)
    }

    #[test]
    fn each_failure_doubles_the_wait_up_to_a_bound() {
        let mut failures = Failures::default();
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..8 {
            failures.begin(IP, now).unwrap();
            let failed = failures.fail(IP, now);
            waits.push(failed.until.since(now).as_millis());
            now = failed.until + Duration::from_millis(1);
        }
        assert_eq!(waits, [250, 500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
        failures.begin(IP, now + FORGET_AFTER).unwrap();
        let later = now + FORGET_AFTER;
        assert_eq!(failures.fail(IP, later).until.since(later), FIRST);
    }

    #[test]
    fn guessing_on_many_connections_at_once_is_no_quicker() {
        let mut failures = Failures::default();
        for _ in 0..LANES {
            failures.begin(IP, at(0)).unwrap();
        }
        assert!(failures.begin(IP, at(0)).is_err());
        let mut until = at(0);
        for _ in 0..LANES {
            until = failures.fail(IP, at(0)).until;
        }
        assert!(failures.begin(IP, at(0)).is_err(), "lanes stay taken while answers are held back");
        assert_eq!(failures.begin(IP, until), Ok(()));
        assert_eq!(failures.begin("10.0.0.10".parse().unwrap(), at(0)), Ok(()), "another address has lanes of its own");
    }

    #[test]
    fn a_program_that_keeps_failing_does_not_keep_others_of_this_machine_out() {
        let mut failures = Failures::default();
        let loopback = "127.0.0.1".parse().unwrap();
        for n in 0..100 {
            failures.begin(loopback, at(0)).unwrap();
            assert!(failures.fail(loopback, at(0)).until >= at(0) + (FIRST * (n + 1)).min(LONGEST));
        }
        assert_eq!(failures.begin(loopback, at(0)), Ok(()));
    }

    #[test]
    fn the_first_failure_is_told_at_once_and_repetitions_once_a_minute() {
        let mut failures = Failures::default();
        let tell = |failures: &mut Failures, seconds| {
            failures.begin(IP, at(seconds)).unwrap();
            failures.fail(IP, at(seconds)).tell
        };
        assert_eq!(tell(&mut failures, 0), Some(1));
        assert_eq!(tell(&mut failures, 10), None);
        assert_eq!(tell(&mut failures, 30), None);
        assert_eq!(tell(&mut failures, 61), Some(3));
    }

    #[test]
    fn many_addresses_fill_neither_the_table_nor_the_log() {
        let mut failures = Failures::default();
        let mut told = 0;
        for n in 0..5_000_u32 {
            let ip = IpAddr::from(n.to_be_bytes());
            failures.begin(ip, at(0)).unwrap();
            told += u32::from(failures.fail(ip, at(0)).tell.is_some());
        }
        assert_eq!(failures.addresses.len(), MOST_ADDRESSES);
        assert_eq!(told, MOST_TOLD);
    }

    #[test]
    fn right_logins_leave_nothing_behind() {
        let mut failures = Failures::default();
        for n in 0..5_000_u32 {
            let ip = IpAddr::from(n.to_be_bytes());
            failures.begin(ip, at(0)).unwrap();
            failures.end(ip);
        }
        assert!(failures.addresses.is_empty());
    }
}
