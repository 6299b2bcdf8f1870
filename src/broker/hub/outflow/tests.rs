//! The outflow beside a disk and a client that are as simple as can be, through commits, refusals, connections and restarts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::broker::words::{Published, SubscriptionIds};
use crate::model::{Message, Monotonic, Topic};

const BOUNDS: Bounds = Bounds {
    owed: Amount { messages: 40, bytes: 1 << 20 },
    loaded: Amount { messages: 9, bytes: 1 << 20 },
    in_hand: Amount { messages: 3, bytes: 1 << 20 },
};

fn delivery(qos: QoS) -> Delivery {
    let message = Message::new(Topic::new("t").unwrap(), "x", qos, false);
    let published = Arc::new(Published { message, at: Monotonic::default() });
    let subscription_ids = SubscriptionIds::None;
    Delivery { published, qos, retain: false, from_retained: false, n: 0, dup: false, subscription_ids }
}

fn cost() -> usize {
    delivery(QoS::AtLeastOnce).published.cost()
}

#[derive(Debug, Clone)]
enum Step {
    Owe(QoS),
    Commit(usize),
    Refuse,
    Hand,
    /// The n-th that the client has is acknowledged, as far as it goes at once.
    Answer(usize),
    /// The n-th PUBREC is written.
    Recorded(usize),
    AskPage(usize),
    PageCame,
    PageFailed,
    Connect,
    Disconnect,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => prop::sample::select(&[QoS::AtLeastOnce, QoS::ExactlyOnce][..]).prop_map(Step::Owe),
        6 => (1usize..6).prop_map(Step::Commit),
        2 => Just(Step::Refuse),
        8 => Just(Step::Hand),
        8 => (0usize..4).prop_map(Step::Answer),
        4 => (0usize..3).prop_map(Step::Recorded),
        4 => (1usize..5).prop_map(Step::AskPage),
        4 => Just(Step::PageCame),
        1 => Just(Step::PageFailed),
        2 => Just(Step::Connect),
        2 => Just(Step::Disconnect),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 0..300)
}

type Rows = Vec<(u64, Option<Delivery>)>;

/// What the store and the client know.
#[derive(Default)]
struct World {
    disk: BTreeMap<u64, QoS>,
    recorded: BTreeSet<u64>,
    /// Owed and not settled.
    pending: VecDeque<(u64, QoS)>,
    /// PUBRECs that are being written.
    recording: Vec<u64>,
    /// With the client on this connection, in order, and whether it was told PUBREL.
    client: Vec<(u64, QoS, bool)>,
    last: u64,
    sent: u64,
    done: BTreeSet<u64>,
    next: u64,
    /// The number of the request, the rows, and whether there are more.
    page: Option<(u64, Rows, bool)>,
}

impl World {
    fn hand(&mut self, tested: &mut Outflow) {
        while let Some(handed) = tested.hand(&BOUNDS) {
            let (n, qos, released) = match &handed {
                Handed::Message(delivery) => (delivery.n, delivery.qos, false),
                Handed::PubRel(n) => (*n, QoS::ExactlyOnce, true),
            };
            assert!(n > self.last && !self.done.contains(&n), "{n} after {}", self.last);
            let skipped = self.disk.keys().chain(&self.recorded).find(|m| **m > self.last && **m < n);
            assert_eq!(skipped, None, "left out before {n}");
            assert_eq!(released, self.recorded.contains(&n));
            if let Handed::Message(delivery) = handed {
                assert_eq!(delivery.dup, n <= self.sent, "{n}");
                assert!(qos < QoS::ExactlyOnce || self.disk.contains_key(&n), "{n} is not safe");
            }
            self.last = n;
            self.client.push((n, qos, released));
            assert!(self.client.len() <= BOUNDS.in_hand.messages);
        }
    }

    fn answer(&mut self, tested: &mut Outflow, at: usize) {
        let Some(&(n, qos, released)) = self.client.get(at) else { return };
        if qos == QoS::AtLeastOnce || released {
            assert!(tested.done(n) && !tested.done(n));
            self.client.remove(at);
            self.disk.remove(&n);
            self.recorded.remove(&n);
            self.done.insert(n);
        } else if !self.recording.contains(&n) {
            assert!(tested.record(n) && !tested.record(n));
            self.recording.push(n);
        }
    }

    fn recorded(&mut self, tested: &mut Outflow, at: usize) {
        if at >= self.recording.len() {
            return;
        }
        let n = self.recording.remove(at);
        self.disk.remove(&n);
        self.recorded.insert(n);
        let waits = self.client.iter_mut().find(|(m, ..)| *m == n);
        assert_eq!(tested.recorded(n), waits.is_some());
        if let Some(entry) = waits {
            entry.2 = true;
        }
    }

    fn settle(&mut self, tested: &mut Outflow, refuse: bool) {
        let Some((n, qos)) = self.pending.pop_front() else { return };
        if refuse {
            tested.refused(n, cost());
            // A QoS 1 message that the client has already is delivered all the same.
        } else {
            // One that the client has acknowledged is gone in the same commit.
            if !self.done.contains(&n) {
                self.disk.insert(n, qos);
            }
            tested.committed(n);
        }
        tested.look_again();
    }

    fn ask_page(&mut self, tested: &mut Outflow, most: usize) {
        let Some(wanted) = tested.wanted(self.pending.is_empty()) else { return };
        let mut rows = self.disk.range(wanted.from..);
        let page: Vec<_> = rows.by_ref().take(most).map(|(n, qos)| (*n, Some(delivery(*qos)))).collect();
        self.page = Some((wanted.asked, page, rows.next().is_some()));
    }

    fn page_came(&mut self, tested: &mut Outflow) {
        if let Some((asked, rows, more)) = self.page.take() {
            assert!(tested.load(asked, rows, more).is_empty());
            if self.pending.is_empty() {
                tested.look_again();
            }
        }
    }

    fn new_connection(&mut self, tested: &mut Outflow) {
        tested.note_sent(self.last);
        self.sent = self.sent.max(self.last);
        self.client.clear();
        self.last = 0;
    }

    fn restart(&mut self) -> Outflow {
        // What was not committed is gone, and so is what was being written.
        self.pending.clear();
        self.recording.clear();
        self.client.clear();
        self.page = None;
        self.last = 0;
        let (first_kept, last_kept) = {
            let mut all: Vec<u64> = self.disk.keys().chain(&self.recorded).copied().collect();
            all.sort_unstable();
            (all.first().copied(), all.last().copied())
        };
        // The store's number is above all that are or were on disk.
        self.next = last_kept.unwrap_or(0).max(self.done.last().copied().unwrap_or(0)) + 1;
        self.sent = self.next - 1;
        let recorded: Vec<u64> = self.recorded.iter().copied().collect();
        let on_disk = Amount { messages: self.disk.len(), bytes: self.disk.len() * 200 };
        Outflow::restored(first_kept.unwrap_or(self.next), self.next, &recorded, u64::MAX, on_disk)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn everything_that_is_safe_reaches_the_client_in_order_until_it_is_done(steps in steps()) {
        let mut tested = Outflow::new();
        let mut world = World { next: 1, ..World::default() };
        let mut connected = false;
        for step in steps {
            match step {
                Step::Owe(qos) => match tested.owe(delivery(qos), &BOUNDS) {
                    Some(n) => {
                        prop_assert_eq!(n, world.next);
                        world.next += 1;
                        world.pending.push_back((n, qos));
                    }
                    None => prop_assert_eq!(tested.owed(), BOUNDS.owed.messages),
                },
                Step::Commit(many) => (0..many).for_each(|_| world.settle(&mut tested, false)),
                Step::Refuse => world.settle(&mut tested, true),
                Step::Hand => world.hand(&mut tested),
                Step::Answer(at) => world.answer(&mut tested, at),
                Step::Recorded(at) => world.recorded(&mut tested, at),
                Step::AskPage(most) => world.ask_page(&mut tested, most),
                Step::PageCame => world.page_came(&mut tested),
                Step::PageFailed => {
                    if let Some((asked, ..)) = world.page.take() {
                        tested.not_read(asked);
                    }
                }
                Step::Connect => {
                    world.new_connection(&mut tested);
                    tested.connect();
                    connected = true;
                }
                Step::Disconnect => {
                    world.new_connection(&mut tested);
                    tested.rest();
                    connected = false;
                }
                Step::Restart => {
                    tested = world.restart();
                    connected = false;
                }
            }
            prop_assert!(connected || tested.hand(&BOUNDS).is_none());
            let known = world.disk.len() + world.recorded.len();
            prop_assert!((known..=BOUNDS.owed.messages).contains(&tested.owed()), "{known} {:?}", tested);
        }
        // A last connection on which everything is settled.
        world.new_connection(&mut tested);
        tested.connect();
        let mut rounds = 0;
        while tested.owed() > 0 || !world.client.is_empty() {
            rounds += 1;
            prop_assert!(rounds < 1_000, "stuck with {} owed: {:?}", tested.owed(), tested);
            tested.look_again();
            while !world.pending.is_empty() {
                world.settle(&mut tested, false);
            }
            world.recorded(&mut tested, 0);
            world.page_came(&mut tested);
            world.ask_page(&mut tested, 3);
            world.hand(&mut tested);
            world.answer(&mut tested, 0);
        }
        prop_assert!(world.disk.is_empty() && world.recorded.is_empty());
        tested.look_again();
        world.ask_page(&mut tested, 3);
        world.page_came(&mut tested);
        prop_assert!(tested.entries.is_empty() && tested.away == 0 && tested.holes == 0, "{:?}", tested);
        prop_assert_eq!((tested.loaded, tested.in_hand), (Amount::default(), Amount::default()));
    }
}

#[test]
fn a_session_whose_client_is_away_costs_what_was_sent_and_not_what_waits() {
    let bounds = Bounds { owed: Amount { messages: 10_000, bytes: 1 << 30 }, ..BOUNDS };
    let mut outflow = Outflow::new();
    outflow.connect();
    (0..3).for_each(|_| assert!(outflow.owe(delivery(QoS::AtLeastOnce), &bounds).is_some()));
    while outflow.hand(&bounds).is_some() {}
    outflow.note_sent(3);
    outflow.rest();
    (0..5_000).for_each(|_| assert!(outflow.owe(delivery(QoS::AtLeastOnce), &bounds).is_some()));
    assert_eq!((outflow.owed(), outflow.entries.len(), outflow.loaded), (5_003, 3, Amount::default()));
}

#[test]
fn a_damaged_row_is_passed_over_and_told() {
    let on_disk = Amount { messages: 3, bytes: 600 };
    let mut outflow = Outflow::restored(5, 8, &[], 0, on_disk);
    outflow.connect();
    let wanted = outflow.wanted(true).unwrap();
    let row = || Some(delivery(QoS::AtLeastOnce));
    assert_eq!(outflow.load(wanted.asked, vec![(5, row()), (6, None), (7, row())], false), [6]);
    let handed: Vec<u64> = std::iter::from_fn(|| outflow.hand(&BOUNDS))
        .map(|handed| match handed {
            Handed::Message(delivery) => delivery.n,
            Handed::PubRel(n) => panic!("{n} was never received"),
        })
        .collect();
    assert_eq!((handed, outflow.owed()), (vec![5, 7], 2));
}

#[test]
fn a_message_that_is_never_acknowledged_does_not_let_others_go_round_their_ids() {
    let many = SPAN as usize + 10;
    let bounds = Bounds {
        owed: Amount { messages: many, bytes: 1 << 30 },
        loaded: Amount { messages: many, bytes: 1 << 30 },
        in_hand: Amount { messages: many, bytes: 1 << 30 },
    };
    let mut outflow = Outflow::new();
    outflow.connect();
    (0..many).for_each(|_| assert!(outflow.owe(delivery(QoS::AtLeastOnce), &bounds).is_some()));
    let mut highest = 0;
    while let Some(Handed::Message(delivery)) = outflow.hand(&bounds) {
        highest = delivery.n;
        if highest > 1 {
            outflow.done(highest);
        }
    }
    assert_eq!(highest, SPAN);
    outflow.done(1);
    assert!(outflow.hand(&bounds).is_some());
}

#[test]
fn a_message_that_was_refused_is_not_owed_whatever_becomes_of_the_connection() {
    let mut outflow = Outflow::new();
    outflow.connect();
    (0..4).for_each(|_| assert!(outflow.owe(delivery(QoS::AtLeastOnce), &BOUNDS).is_some()));
    while outflow.hand(&BOUNDS).is_some() {}
    outflow.refused(4, cost());
    outflow.note_sent(3);
    outflow.rest();
    assert_eq!(outflow.owe(delivery(QoS::AtLeastOnce), &BOUNDS), Some(5));
    outflow.connect();
    let wanted = outflow.wanted(true).unwrap();
    let rows = [1, 2, 3, 5].map(|n| (n, Some(delivery(QoS::AtLeastOnce)))).to_vec();
    outflow.load(wanted.asked, rows, false);
    assert_eq!((outflow.owed(), outflow.holes), (4, 0));
}
