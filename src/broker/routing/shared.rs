//! Shared subscriptions (MQTT 5 §4.8.2): `$share/<group>/<filter>`, of which each message reaches one member.

use super::{Subscription, put};
use crate::broker::words::Seat;
use crate::model::Filter;

const PREFIX: &str = "$share/";

/// What a SUBSCRIBE asks for: a filter, and the group with which it is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) struct Wanted<'a> {
    /// The ShareName; `None` for a subscription of one's own.
    pub group: Option<&'a str>,
    /// What messages are matched against. A part of a valid filter from a level on, so a valid one.
    pub filter: &'a str,
}

/// `$share/…` without a group or without a filter behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) struct BadShare;

impl Wanted<'_> {
    /// Takes a filter apart [MQTT-4.8.2-1] [MQTT-4.8.2-2].
    pub fn of(filter: &Filter) -> Result<Wanted<'_>, BadShare> {
        let Some(shared) = filter.as_str().strip_prefix(PREFIX) else {
            return Ok(Wanted { group: None, filter });
        };
        match shared.split_once('/') {
            Some((group, filter)) if !group.is_empty() && !group.contains(['+', '#']) && !filter.is_empty() => {
                Ok(Wanted { group: Some(group), filter })
            }
            _ => Err(BadShare),
        }
    }
}

/// The groups at one node; nearly always none.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "one word in every node of the tree instead of three")]
pub(super) struct Groups(Option<Box<Vec<Group>>>);

/// Those who share one filter.
#[derive(Debug)]
pub(in crate::broker) struct Group {
    name: Box<str>,
    members: Vec<(Seat, Subscription)>,
    /// Whose turn it is.
    next: usize,
}

impl Group {
    /// The member that gets the next message: in turn, and one that is not `online` only when nobody is.
    pub fn choose(&mut self, online: impl Fn(Seat) -> bool) -> Option<(Seat, &Subscription)> {
        let many = self.members.len();
        let turns = (0..many).map(|step| (self.next + step) % many);
        let at = turns.clone().find(|at| online(self.members[*at].0)).or(turns.clone().next())?;
        self.next = (at + 1) % many;
        let (seat, subscription) = &self.members[at];
        Some((*seat, subscription))
    }
}

impl Groups {
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        self.0.iter_mut().flat_map(|groups| groups.iter_mut())
    }

    /// Adds or replaces; whether it was added.
    pub fn add(&mut self, name: &str, seat: Seat, subscription: Subscription) -> bool {
        let groups = self.0.get_or_insert_default();
        match groups.iter_mut().find(|group| *group.name == *name) {
            Some(group) => put(&mut group.members, seat, subscription),
            None => {
                groups.push(Group { name: name.into(), members: vec![(seat, subscription)], next: 0 });
                true
            }
        }
    }

    /// Takes a member away, and a group that has none any more.
    pub fn remove(&mut self, name: &str, seat: Seat) -> bool {
        let Some(groups) = &mut self.0 else { return false };
        let Some(place) = groups.iter().position(|group| *group.name == *name) else { return false };
        let members = &mut groups[place].members;
        let Some(at) = members.iter().position(|(s, _)| *s == seat) else { return false };
        members.remove(at);
        if members.is_empty() {
            groups.swap_remove(place);
        }
        if groups.is_empty() {
            self.0 = None;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::QoS;

    fn wanted(filter: &str) -> Option<(Option<String>, String)> {
        let filter = Filter::new(filter).unwrap();
        Wanted::of(&filter).ok().map(|wanted| (wanted.group.map(String::from), wanted.filter.to_string()))
    }

    #[test]
    fn a_shared_filter_has_a_group_and_a_filter() {
        let shared = |group: &str, filter: &str| Some((Some(group.to_string()), filter.to_string()));
        assert_eq!(wanted("$share/g/a/+/#"), shared("g", "a/+/#"));
        assert_eq!(wanted("$share/g//"), shared("g", "/"));
        assert_eq!(wanted("$share/g/#"), shared("g", "#"));
        for own in ["a/b", "$SYS/#", "$shared/g/a", "share/g/a", "$share"] {
            assert_eq!(wanted(own), Some((None, own.to_string())));
        }
        for bad in ["$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/#"] {
            assert_eq!(wanted(bad), None, "{bad}");
        }
    }

    #[test]
    fn members_take_turns_and_one_who_is_away_is_chosen_only_when_all_are() {
        let mut groups = Groups::default();
        let key = Seat;
        let subscription = Subscription { qos: QoS::AtMostOnce, no_local: false, retain_as_published: false, id: None };
        (0..3).for_each(|slot| assert!(groups.add("g", key(slot), subscription)));
        assert!(!groups.add("g", key(2), subscription));
        let mut turns = |online: fn(u32) -> bool| -> Vec<u32> {
            let group = groups.iter_mut().next().unwrap();
            (0..6).map(|_| group.choose(|key| online(key.0)).unwrap().0.0).collect()
        };
        assert_eq!(turns(|_| true), [0, 1, 2, 0, 1, 2]);
        assert_eq!(turns(|slot| slot != 1), [0, 2, 0, 2, 0, 2]);
        assert_eq!(turns(|_| false), [0, 1, 2, 0, 1, 2]);
        (0..3).for_each(|slot| assert!(groups.remove("g", key(slot))));
        assert!(groups.is_empty() && !groups.remove("g", key(0)));
    }
}
