//! Who may have a connection while places are scarce, as a pure table: so many in all, so many for one address, and whoever has not said who
//! it is makes room for newcomers.
//!
//! A connection that is silent costs nobody else a place: when places run out, the one that has been silent for longest, of the address
//! with most such, has to go. A known client is never sent away for a newcomer.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Number of a connection, never used again.
pub(super) type Number = u64;

/// Set when a client is known.
pub(super) type Known = Arc<AtomicBool>;

/// The table.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    /// From one address other than loopback.
    most_per_address: usize,
    taken: usize,
    next: Number,
    addresses: HashMap<IpAddr, Address>,
}

#[derive(Debug, Default)]
struct Address {
    taken: usize,
    /// In the order in which they came; those that are known by now are taken out when they come up.
    strangers: VecDeque<(Number, Known)>,
}

/// What becomes of a newcomer.
#[derive(Debug)]
pub(super) enum Entry {
    /// It has a place.
    Enter(Number, Known),
    /// It has the place of another, which is to be cut off.
    Instead(Number, Known, Number),
    /// No place is left, and all who have one are known.
    Full,
    /// The same for its address.
    AddressFull,
}

impl Places {
    /// All free.
    pub fn new(most: usize, most_per_address: usize) -> Places {
        Places { most, most_per_address, taken: 0, next: 0, addresses: HashMap::new() }
    }

    /// From now on so many. Those who are there stay, also when they are more.
    pub fn resize(&mut self, most: usize, most_per_address: usize) {
        (self.most, self.most_per_address) = (most, most_per_address);
    }

    /// A connection came from `ip`.
    pub fn enter(&mut self, ip: IpAddr) -> Entry {
        let ip = ip.to_canonical();
        let most_here = if ip.is_loopback() { self.most } else { self.most_per_address };
        let here = self.addresses.get(&ip).map_or(0, |address| address.taken);
        let instead = if here >= most_here {
            match self.oldest_stranger(ip) {
                Some(number) => Some((ip, number)),
                None => return Entry::AddressFull,
            }
        } else if self.taken >= self.most {
            let most =
                |(_, address): &(&IpAddr, &Address)| address.strangers.iter().filter(|(_, known)| !is(known)).count();
            let of = self.addresses.iter().max_by_key(most).map(|(ip, _)| *ip);
            match of.and_then(|ip| Some((ip, self.oldest_stranger(ip)?))) {
                Some(found) => Some(found),
                None => return Entry::Full,
            }
        } else {
            None
        };
        if let Some((of, number)) = instead {
            self.leave(of, number);
        }
        let number = self.next;
        self.next += 1;
        self.taken += 1;
        let known = Known::default();
        let address = self.addresses.entry(ip).or_default();
        address.taken += 1;
        while address.strangers.front().is_some_and(|(_, known)| is(known)) {
            address.strangers.pop_front();
        }
        address.strangers.push_back((number, known.clone()));
        match instead {
            Some((_, other)) => Entry::Instead(number, known, other),
            None => Entry::Enter(number, known),
        }
    }

    /// A connection has ended. Must not be called for one that [`Entry::Instead`] named.
    pub fn leave(&mut self, ip: IpAddr, number: Number) {
        let ip = ip.to_canonical();
        let Some(address) = self.addresses.get_mut(&ip) else { return };
        self.taken -= 1;
        address.taken -= 1;
        if address.taken == 0 {
            self.addresses.remove(&ip);
            return;
        }
        address.strangers.retain(|(other, known)| *other != number && !is(known));
    }

    fn oldest_stranger(&self, ip: IpAddr) -> Option<Number> {
        let strangers = &self.addresses.get(&ip)?.strangers;
        strangers.iter().find(|(_, known)| !is(known)).map(|(number, _)| *number)
    }
}

fn is(known: &Known) -> bool {
    known.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 7));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 8));
    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// Lets one in, known or not, and returns its number and that of the one who had to go.
    fn enter(places: &mut Places, ip: IpAddr, is_known: bool) -> Option<(Number, Option<Number>)> {
        let (number, known, gone) = match places.enter(ip) {
            Entry::Enter(number, known) => (number, known, None),
            Entry::Instead(number, known, gone) => (number, known, Some(gone)),
            Entry::Full | Entry::AddressFull => return None,
        };
        known.store(is_known, Ordering::Relaxed);
        Some((number, gone))
    }

    #[test]
    fn the_oldest_silent_connection_makes_room_and_a_known_client_never() {
        let mut places = Places::new(10, 3);
        assert_eq!(enter(&mut places, LAN, true), Some((0, None)));
        assert_eq!(enter(&mut places, LAN, false), Some((1, None)));
        assert_eq!(enter(&mut places, LAN, false), Some((2, None)));
        assert_eq!(enter(&mut places, LAN, true), Some((3, Some(1))));
        assert_eq!(enter(&mut places, LAN, true), Some((4, Some(2))));
        assert!(matches!(places.enter(LAN), Entry::AddressFull));
        assert_eq!(enter(&mut places, OTHER, true), Some((5, None)));
        places.leave(LAN, 0);
        assert_eq!(enter(&mut places, LAN, true), Some((6, None)));
    }

    #[test]
    fn when_all_is_full_the_address_with_most_silent_connections_gives_one_up() {
        let mut places = Places::new(5, 4);
        for number in 0..4 {
            assert_eq!(enter(&mut places, LAN, false), Some((number, None)));
        }
        assert_eq!(enter(&mut places, OTHER, false), Some((4, None)));
        assert_eq!(enter(&mut places, LOOPBACK, true), Some((5, Some(0))));
        for _ in 0..4 {
            assert!(enter(&mut places, LOOPBACK, true).is_some());
        }
        assert!(matches!(places.enter(LOOPBACK), Entry::AddressFull));
        assert!(matches!(places.enter(OTHER), Entry::Full));
    }

    #[test]
    fn one_address_written_in_two_ways_is_one_address() {
        let mut places = Places::new(10, 1);
        assert!(enter(&mut places, LAN, true).is_some());
        assert!(matches!(places.enter("::ffff:192.168.1.7".parse().unwrap()), Entry::AddressFull));
    }

    #[test]
    fn nothing_is_kept_of_those_who_left() {
        let mut places = Places::new(10, 10);
        for _ in 0..1_000 {
            let (number, _) = enter(&mut places, LAN, true).unwrap();
            places.leave(LAN, number);
        }
        assert!(places.addresses.is_empty() && places.taken == 0);
        let (_, known) = match places.enter(LAN) {
            Entry::Enter(number, known) => (number, known),
            other => panic!("{other:?}"),
        };
        known.store(true, Ordering::Relaxed);
        for _ in 0..1_000 {
            let (number, _) = enter(&mut places, LAN, true).unwrap();
            places.leave(LAN, number);
        }
        assert!(places.addresses[&LAN].strangers.len() <= 1);
    }
}
