//! The broker about itself: the topics below `$SYS/broker`, named as mosquitto(8) names them. Pure: it is given numbers and the time.
//!
//! They are published every ten seconds while somebody subscribes to them, and only those that changed; a new subscriber gets all at once.
//! Without a subscriber nothing is published, and an idle broker does nothing at all.

use std::collections::HashMap;
use std::time::Duration;

use super::retained::Retained;
use crate::model::{Message, Monotonic, QoS, Topic};

/// What all of them begin with.
pub(super) const ROOT: &str = "$SYS/broker/";
/// How often changes are published: mosquitto's `sys_interval`.
const INTERVAL: Duration = Duration::from_secs(10);
/// The periods over which the load is averaged, in minutes and as their topics say it.
const PERIODS: [(f64, &str); 3] = [(1.0, "1min"), (5.0, "5min"), (15.0, "15min")];
/// What is averaged. The order is that of [`Rates`].
const LOADS: [&str; 9] = [
    "bytes/received",
    "bytes/sent",
    "connections",
    "messages/received",
    "messages/sent",
    "publish/dropped",
    "publish/received",
    "publish/sent",
    "sockets",
];
/// More than there are leaves, and than their texts take.
const ROOM: (usize, usize) = (1_000, 1 << 20);

/// What has been counted since the start.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub bytes_received: u64,
    pub bytes_sent: u64,
    /// Packets of any kind, as mosquitto counts them.
    pub messages_received: u64,
    pub messages_sent: u64,
    pub publish_received: u64,
    pub publish_sent: u64,
    pub publish_dropped: u64,
    pub publish_bytes_received: u64,
    pub publish_bytes_sent: u64,
    pub sockets: u64,
}

/// What there is now.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Holdings {
    pub connected: u64,
    /// Sessions whose client is away.
    pub disconnected: u64,
    /// Sessions that ended because their client stayed away; counted since the start.
    pub expired: u64,
    pub subscriptions: u64,
    pub shared_subscriptions: u64,
    pub retained: u64,
    /// Messages held for somebody, retained ones included, and their payloads.
    pub stored: u64,
    pub stored_bytes: u64,
}

type Rates = [u64; LOADS.len()];

/// The state behind the topics.
#[derive(Debug)]
pub(super) struct Sys {
    /// The leaves, for new subscribers.
    pub retained: Retained,
    /// CONNECTs granted, since the start.
    pub connections: u64,
    /// The most clients at once.
    maximum: u64,
    loads: Loads,
    /// What was published last.
    published: HashMap<String, String>,
    due: Monotonic,
    /// Whether something has happened since the last look at the counters.
    stirred: bool,
}

/// The averages of what is counted, each an amount in a minute.
#[derive(Debug, Default)]
struct Loads {
    at: Monotonic,
    seen: Rates,
    averages: [[f64; PERIODS.len()]; LOADS.len()],
}

impl Default for Sys {
    fn default() -> Sys {
        Sys {
            retained: Retained::new(ROOM.0, ROOM.1),
            connections: 0,
            maximum: 0,
            loads: Loads::default(),
            published: HashMap::new(),
            due: Monotonic(INTERVAL),
            stirred: false,
        }
    }
}

impl Sys {
    /// A client was let in; so many are there now.
    pub fn connected(&mut self, clients: usize) {
        self.connections += 1;
        self.maximum = self.maximum.max(clients as u64);
    }

    /// Something happened: the counters are to be looked at when the interval ends, and not again before something else happens.
    pub fn stir(&mut self) {
        self.stirred = true;
    }

    /// When [`Sys::look`] is due. An idle broker that nobody watches has nothing to look at.
    pub fn next_due(&self, watched: bool) -> Option<Monotonic> {
        (watched || self.stirred).then_some(self.due)
    }

    /// Whether the interval has passed.
    pub fn is_due(&self, now: Monotonic) -> bool {
        now >= self.due
    }

    /// Looks at the counters, for the averages.
    pub fn look(&mut self, totals: &Totals, now: Monotonic) {
        self.loads.sample(rates(totals, self.connections), now);
        self.due = now + INTERVAL;
        self.stirred = false;
    }

    /// All leaves as they are now: topics and payloads.
    pub fn leaves(&self, totals: &Totals, now: &Holdings, uptime: Duration) -> Vec<(String, String)> {
        let numbers = [
            ("clients/total", now.connected + now.disconnected),
            ("clients/connected", now.connected),
            ("clients/active", now.connected),
            ("clients/disconnected", now.disconnected),
            ("clients/inactive", now.disconnected),
            ("clients/expired", now.expired),
            ("clients/maximum", self.maximum),
            ("subscriptions/count", now.subscriptions),
            ("shared_subscriptions/count", now.shared_subscriptions),
            ("retained messages/count", now.retained),
            ("messages/stored", now.stored),
            ("store/messages/count", now.stored),
            ("store/messages/bytes", now.stored_bytes),
            ("messages/received", totals.messages_received),
            ("messages/sent", totals.messages_sent),
            ("publish/messages/received", totals.publish_received),
            ("publish/messages/sent", totals.publish_sent),
            ("publish/messages/dropped", totals.publish_dropped),
            ("publish/bytes/received", totals.publish_bytes_received),
            ("publish/bytes/sent", totals.publish_bytes_sent),
            ("bytes/received", totals.bytes_received),
            ("bytes/sent", totals.bytes_sent),
        ];
        let loads = LOADS.iter().zip(&self.loads.averages).flat_map(|(load, averages)| {
            let periods = PERIODS.iter().zip(averages);
            periods.map(move |((_, period), average)| (format!("load/{load}/{period}"), format!("{average:.2}")))
        });
        let mut leaves = vec![
            ("version".to_string(), concat!("fieldway version ", env!("CARGO_PKG_VERSION")).to_string()),
            ("uptime".to_string(), format!("{} seconds", uptime.as_secs())),
        ];
        leaves.extend(numbers.map(|(name, n)| (name.to_string(), n.to_string())));
        leaves.extend(loads);
        leaves.iter_mut().for_each(|(name, _)| name.insert_str(0, ROOT));
        leaves
    }

    /// Of these leaves, those that changed since they were published last, to be published now.
    pub fn changes(&mut self, leaves: Vec<(String, String)>) -> Vec<Message> {
        let changed = leaves.into_iter().filter(|(topic, text)| self.published.get(topic) != Some(text));
        let changed: Vec<(String, String)> = changed.collect();
        let messages = changed.iter().filter_map(message).collect();
        self.published.extend(changed);
        messages
    }
}

/// QoS 0: nobody who is away wants to be told later how the broker was.
pub(super) fn message((topic, text): &(String, String)) -> Option<Message> {
    Some(Message::new(Topic::new(topic).ok()?, text.clone(), QoS::AtMostOnce, true))
}

/// In the order of [`LOADS`].
fn rates(totals: &Totals, connections: u64) -> Rates {
    [
        totals.bytes_received,
        totals.bytes_sent,
        connections,
        totals.messages_received,
        totals.messages_sent,
        totals.publish_dropped,
        totals.publish_received,
        totals.publish_sent,
        totals.sockets,
    ]
}

impl Loads {
    /// Exponentially weighted moving averages, as mosquitto's; a longer time since the last sample weighs as much as it is longer.
    fn sample(&mut self, seen: Rates, now: Monotonic) {
        let minutes = now.since(self.at).as_secs_f64() / 60.0;
        if minutes <= 0.0 {
            return;
        }
        for ((averages, before), seen) in self.averages.iter_mut().zip(&self.seen).zip(&seen) {
            let rate = seen.saturating_sub(*before) as f64 / minutes;
            for (average, (period, _)) in averages.iter_mut().zip(PERIODS) {
                *average = rate + (*average - rate) * (-minutes / period).exp();
            }
        }
        (self.at, self.seen) = (now, seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    fn sent(n: u64) -> Totals {
        Totals { bytes_sent: n, ..Totals::default() }
    }

    /// What mosquitto 2.0.11 publishes, but for `heap`, which it leaves out where it can't know.
    #[test]
    fn the_leaves_have_the_names_that_mosquitto_gives_them() {
        let sys = Sys::default();
        let leaves = sys.leaves(&Totals::default(), &Holdings::default(), Duration::from_secs(90));
        let mut names: Vec<&str> =
            leaves.iter().map(|(topic, _)| topic.strip_prefix("$SYS/broker/").unwrap()).collect();
        names.sort_unstable();
        let mut expected: Vec<String> = "bytes/received bytes/sent clients/active clients/connected clients/disconnected \
            clients/expired clients/inactive clients/maximum clients/total messages/received messages/sent messages/stored \
            publish/bytes/received publish/bytes/sent publish/messages/dropped publish/messages/received \
            publish/messages/sent retained_messages/count shared_subscriptions/count store/messages/bytes \
            store/messages/count subscriptions/count uptime version"
            .split_whitespace()
            .map(|name| name.replace("retained_", "retained "))
            .collect();
        for load in LOADS {
            expected.extend(PERIODS.iter().map(|(_, period)| format!("load/{load}/{period}")));
        }
        expected.sort();
        assert_eq!(names, expected);
        assert!(leaves.contains(&("$SYS/broker/uptime".into(), "90 seconds".into())));
        assert!(leaves.contains(&("$SYS/broker/load/sockets/5min".into(), "0.00".into())));
    }

    #[test]
    fn a_steady_rate_becomes_the_average_and_dies_away_when_it_ends() {
        let mut sys = Sys::default();
        // 600 bytes a minute for an hour, looked at every ten seconds.
        (1..=360).for_each(|n| sys.look(&sent(100 * n), at(10 * n)));
        let averages = |sys: &Sys| sys.loads.averages[1].map(|average| average.round());
        assert_eq!(averages(&sys), [600.0, 600.0, 589.0]);
        // Nothing for five minutes: one look at their end says what thirty would.
        sys.look(&sent(36_000), at(3_600 + 300));
        assert_eq!(averages(&sys), [4.0, 221.0, 422.0]);
    }

    #[test]
    fn a_leaf_is_published_when_it_changes() {
        let mut sys = Sys::default();
        let leaves = |n: u64| sys_leaves(n);
        assert_eq!(sys.changes(leaves(1)).len(), sys_leaves(1).len());
        assert!(sys.changes(leaves(1)).is_empty());
        let changed = sys.changes(leaves(2));
        assert_eq!(
            (changed.len(), &*changed[0].topic, &changed[0].payload[..]),
            (1, "$SYS/broker/bytes/sent", &b"2"[..])
        );
        assert!(changed[0].retain && changed[0].qos == QoS::AtMostOnce);
    }

    fn sys_leaves(n: u64) -> Vec<(String, String)> {
        Sys::default().leaves(&sent(n), &Holdings::default(), Duration::ZERO)
    }

    #[test]
    fn nothing_is_due_while_nothing_happens_and_nobody_watches() {
        let mut sys = Sys::default();
        assert_eq!(sys.next_due(false), None);
        sys.stir();
        sys.look(&Totals::default(), at(5));
        assert_eq!((sys.next_due(false), sys.next_due(true)), (None, Some(at(15))));
        sys.stir();
        assert_eq!(sys.next_due(false), Some(at(15)));
        assert!(!sys.is_due(at(14)) && sys.is_due(at(15)));
    }
}
