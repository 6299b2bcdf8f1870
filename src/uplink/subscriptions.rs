//! What the cloud is asked to send: SUBSCRIBE after each CONNACK, UNSUBSCRIBE for what left the configuration, and what the cloud says to
//! it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::accept::Subscription;
use super::delivery::ROW_IDS;
use crate::model::{Filter, QoS};
use crate::mqtt::{Packet, Reason, SubAck, Subscribe, Unsubscribe};

/// Packet ids of these requests; those between rows and these belong to presence.
const FIRST_ID: u16 = ROW_IDS + 3;

/// Filters in one request: AWS IoT Core takes no more.
const FILTERS: usize = 8;

/// The subscriptions of one uplink.
#[derive(Debug)]
pub(super) struct Subscriptions {
    wanted: Vec<Subscription>,
    /// What the cloud may know and nobody wants any more.
    unwanted: BTreeSet<Filter>,
    /// Requests of this connection without an answer.
    asked: BTreeMap<u16, Request>,
    /// What the log was told, so that it is told once.
    told: BTreeSet<(Filter, u8)>,
    /// What the cloud does not send, and why.
    refused: BTreeMap<Filter, String>,
}

#[derive(Debug)]
enum Request {
    Subscribe(Vec<(Filter, QoS)>),
    Unsubscribe(Vec<Filter>),
}

/// What the cloud said of one filter, when that is worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    pub filter: Filter,
    pub problem: String,
}

impl Subscriptions {
    /// What is wanted, and what the cloud was last known to be subscribed to.
    pub(super) fn new(wanted: Vec<Subscription>, known: Vec<Filter>) -> Subscriptions {
        let is_wanted = |filter: &Filter| wanted.iter().any(|subscription| subscription.filter == *filter);
        let unwanted = known.into_iter().filter(|filter| !is_wanted(filter)).collect();
        let (asked, told, refused) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Subscriptions { wanted, unwanted, asked, told, refused }
    }

    /// All that the cloud may be subscribed to once [`Subscriptions::requests`] are out.
    pub(super) fn filters(&self) -> Vec<Filter> {
        self.wanted
            .iter()
            .map(|subscription| subscription.filter.clone())
            .chain(self.unwanted.iter().cloned())
            .collect()
    }

    /// Whether the cloud is asked for anything.
    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// A connection was made: what was asked for on another one is not answered on it.
    pub(super) fn connected(&mut self) {
        self.asked.clear();
    }

    /// What is to be sent on a connection. A new session knows nothing that would have to be taken back.
    pub(super) fn requests(&mut self, v5: bool, session_present: bool) -> Vec<Packet> {
        if !session_present {
            self.unwanted.clear();
        }
        let mut packets = Vec::new();
        let mut ids = FIRST_ID..=u16::MAX;
        let unwanted: Vec<Filter> = self.unwanted.iter().cloned().collect();
        for (filters, packet_id) in unwanted.chunks(FILTERS).zip(&mut ids) {
            self.asked.insert(packet_id, Request::Unsubscribe(filters.to_vec()));
            packets.push(Packet::Unsubscribe(Unsubscribe { packet_id, filters: filters.to_vec(), user: Vec::new() }));
        }
        for (part, packet_id) in self.wanted.chunks(FILTERS).zip(&mut ids) {
            let asked = part.iter().map(|subscription| (subscription.filter.clone(), subscription.qos)).collect();
            self.asked.insert(packet_id, Request::Subscribe(asked));
            let filters = part.iter().map(|subscription| (subscription.filter.clone(), subscription.options(v5)));
            let filters = filters.collect();
            packets.push(Packet::Subscribe(Subscribe { packet_id, subscription_id: None, filters, user: Vec::new() }));
        }
        packets
    }

    /// A request can't be sent: it is larger than what the cloud takes.
    pub(super) fn not_sent(&mut self, packet: &Packet, why: &str) -> Vec<Complaint> {
        let (Packet::Subscribe(Subscribe { packet_id, .. }) | Packet::Unsubscribe(Unsubscribe { packet_id, .. })) =
            packet
        else {
            return Vec::new();
        };
        let Some(Request::Subscribe(filters)) = self.asked.remove(packet_id) else { return Vec::new() };
        let mut complaints = Vec::new();
        for (filter, _) in filters {
            self.complain(&filter, 0, why.to_owned(), &mut complaints);
            self.refused.insert(filter, why.to_owned());
        }
        complaints
    }

    /// Takes a SUBACK, and says what is to be told.
    pub(super) fn suback(&mut self, ack: &SubAck) -> Vec<Complaint> {
        let Some(Request::Subscribe(_)) = self.asked.get(&ack.packet_id) else { return Vec::new() };
        let Some(Request::Subscribe(filters)) = self.asked.remove(&ack.packet_id) else { return Vec::new() };
        let mut complaints = Vec::new();
        for (i, (filter, qos)) in filters.into_iter().enumerate() {
            // One without an answer was not granted.
            let reason = ack.reasons.get(i).copied().unwrap_or(Reason::UNSPECIFIED);
            if reason.is_failure() {
                let problem = format!("the cloud refuses the subscription: {reason}; {}", advice(reason));
                self.complain(&filter, reason.0, problem.clone(), &mut complaints);
                self.refused.insert(filter, problem);
                continue;
            }
            if reason.0 < qos as u8 {
                let problem = format!(
                    "the cloud grants QoS {} and not {}: {}",
                    reason.0,
                    qos as u8,
                    if reason.0 == 0 {
                        "what comes while the uplink is away is lost"
                    } else {
                        "messages may come twice"
                    }
                );
                self.complain(&filter, reason.0, problem, &mut complaints);
            }
            self.refused.remove(&filter);
        }
        complaints
    }

    /// Takes an UNSUBACK: true when what the cloud knows has changed. It complains of what the cloud keeps.
    pub(super) fn unsuback(&mut self, ack: &SubAck) -> (bool, Vec<Complaint>) {
        let Some(Request::Unsubscribe(_)) = self.asked.get(&ack.packet_id) else { return (false, Vec::new()) };
        let Some(Request::Unsubscribe(filters)) = self.asked.remove(&ack.packet_id) else {
            return (false, Vec::new());
        };
        let mut complaints = Vec::new();
        for (i, filter) in filters.into_iter().enumerate() {
            // In 3.1.1 there are no reasons.
            let reason = ack.reasons.get(i).copied().unwrap_or(Reason::SUCCESS);
            if reason.is_failure() {
                let problem = format!("the cloud does not end the subscription: {reason}; {}", advice(reason));
                self.complain(&filter, reason.0, problem, &mut complaints);
            } else {
                self.unwanted.remove(&filter);
            }
        }
        (true, complaints)
    }

    /// Whether the cloud owes an answer.
    pub(super) fn awaits_ack(&self) -> bool {
        !self.asked.is_empty()
    }

    /// What the cloud does not send, and why: a sentence a filter.
    pub(super) fn refused(&self) -> Vec<String> {
        self.refused.iter().map(|(filter, problem)| format!("{}: {problem}", filter.as_str())).collect()
    }

    fn complain(&mut self, filter: &Filter, reason: u8, problem: String, complaints: &mut Vec<Complaint>) {
        if self.told.insert((filter.clone(), reason)) {
            complaints.push(Complaint { filter: filter.clone(), problem });
        }
    }
}

/// What to try when a SUBACK or UNSUBACK gives this reason (MQTT 5, §3.9.3). 3.1.1 has but one failure.
fn advice(reason: Reason) -> &'static str {
    match reason {
        Reason::NOT_AUTHORIZED => "have the cloud allow this client to subscribe to it",
        Reason::TOPIC_FILTER_INVALID => "check the topic of the accept rule",
        Reason::WILDCARDS_NOT_SUPPORTED => "the cloud knows no wildcards: write the topics out",
        Reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED => "the cloud knows no shared subscriptions",
        Reason::QUOTA_EXCEEDED => "the cloud takes no more subscriptions of this client",
        _ => "look at what the cloud allows this client, and at its log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Filter {
        Filter::new(text).expect("a filter")
    }

    fn subscription(text: &str) -> Subscription {
        Subscription { filter: filter(text), qos: QoS::AtLeastOnce, no_local: true }
    }

    fn packet_id(packet: &Packet) -> u16 {
        match packet {
            Packet::Subscribe(subscribe) => subscribe.packet_id,
            Packet::Unsubscribe(unsubscribe) => unsubscribe.packet_id,
            other => panic!("no request: {other:?}"),
        }
    }

    #[test]
    fn requests_take_eight_filters_each_under_ids_of_their_own() {
        let wanted = (0..17).map(|n| subscription(&format!("cmd/{n}"))).collect();
        let mut subscriptions = Subscriptions::new(wanted, Vec::new());
        let packets = subscriptions.requests(true, false);
        assert_eq!(packets.iter().map(packet_id).collect::<Vec<_>>(), [60_003, 60_004, 60_005]);
        assert!(
            matches!(&packets[2], Packet::Subscribe(last) if last.filters.len() == 1 && last.filters[0].1.no_local)
        );
        assert!(
            matches!(&subscriptions.requests(false, false)[0], Packet::Subscribe(old) if !old.filters[0].1.no_local)
        );
    }

    #[test]
    fn a_refusal_is_told_once_with_the_filter_and_stays_in_the_status_until_it_is_granted() {
        let mut subscriptions = Subscriptions::new(vec![subscription("a/#"), subscription("b/#")], Vec::new());
        for first in [true, false] {
            let id = packet_id(&subscriptions.requests(true, true)[0]);
            assert!(subscriptions.awaits_ack());
            let ack = SubAck { packet_id: id, reasons: vec![Reason::GRANTED_QOS_1, Reason::NOT_AUTHORIZED] };
            let complaints = subscriptions.suback(&ack);
            assert_eq!(complaints.len(), usize::from(first));
            assert!(complaints.iter().all(|c| c.filter == filter("b/#") && c.problem.contains("not authorized")));
            assert!(subscriptions.refused()[0].starts_with("b/#: the cloud refuses"));
        }
        let id = packet_id(&subscriptions.requests(true, true)[0]);
        let granted = SubAck { packet_id: id, reasons: vec![Reason::SUCCESS, Reason::GRANTED_QOS_1] };
        let complaints = subscriptions.suback(&granted);
        assert!(complaints[0].problem.contains("grants QoS 0 and not 1"), "{complaints:?}");
        assert!(subscriptions.refused().is_empty() && !subscriptions.awaits_ack());
    }

    #[test]
    fn what_left_the_configuration_is_taken_back_from_a_session_that_has_it() {
        let known = vec![filter("old/#"), filter("a/#")];
        let mut subscriptions = Subscriptions::new(vec![subscription("a/#")], known);
        assert_eq!(subscriptions.filters().len(), 2);
        let packets = subscriptions.requests(true, true);
        let Packet::Unsubscribe(unsubscribe) = &packets[0] else { panic!("{packets:?}") };
        assert_eq!(unsubscribe.filters, [filter("old/#")]);
        let ack = SubAck { packet_id: unsubscribe.packet_id, reasons: Vec::new() };
        assert_eq!(subscriptions.unsuback(&ack), (true, Vec::new()));
        assert_eq!(subscriptions.filters(), [filter("a/#")]);
        assert_eq!(subscriptions.requests(true, true).len(), 1);
    }

    #[test]
    fn a_new_session_has_nothing_to_be_taken_back() {
        let mut subscriptions = Subscriptions::new(Vec::new(), vec![filter("old/#")]);
        assert!(subscriptions.requests(true, false).is_empty() && subscriptions.filters().is_empty());
    }
}
