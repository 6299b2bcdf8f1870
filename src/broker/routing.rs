//! Who gets a message: a tree of topic levels with the subscriptions at its nodes.
//!
//! Wildcards are branches of their own, so a match visits only nodes that can match. A wildcard in first place does not see
//! topics that start with `$` (§4.7.2). Those who share a subscription are a group at the node of its filter.

mod shared;

use std::collections::HashMap;

use super::words::Seat;
use crate::model::{Filter, QoS};

use shared::Groups;
pub(super) use shared::{Group, Wanted};

/// A subscription as the routing needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subscription {
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub id: Option<u32>,
}

/// All subscriptions.
#[derive(Debug, Default)]
pub(super) struct Routes {
    root: Node,
    count: usize,
    shared: usize,
}

/// Who gets a message that matches.
pub(super) enum Found<'a> {
    /// This subscription.
    One(Seat, &'a Subscription),
    /// One member of this group.
    OneOf(&'a mut Group),
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, Node>,
    plus: Option<Box<Node>>,
    here: Ends,
    /// Those that end in `#` below this node; they match this level too (§4.7.1.2).
    hash: Ends,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.plus.is_none() && self.here.is_empty() && self.hash.is_empty()
    }
}

/// The subscriptions whose filter ends at a node.
#[derive(Debug, Default)]
struct Ends {
    each: Vec<(Seat, Subscription)>,
    groups: Groups,
}

impl Ends {
    fn is_empty(&self) -> bool {
        self.each.is_empty() && self.groups.is_empty()
    }

    /// Whether it was not there before.
    fn add(&mut self, group: Option<&str>, seat: Seat, subscription: Subscription) -> bool {
        match group {
            Some(group) => self.groups.add(group, seat, subscription),
            None => put(&mut self.each, seat, subscription),
        }
    }

    fn remove(&mut self, group: Option<&str>, seat: Seat) -> bool {
        match group {
            Some(group) => self.groups.remove(group, seat),
            None => match self.each.iter().position(|(s, _)| *s == seat) {
                Some(at) => {
                    self.each.swap_remove(at);
                    true
                }
                None => false,
            },
        }
    }

    fn visit(&mut self, found: &mut impl FnMut(Found<'_>)) {
        self.each.iter().for_each(|(seat, subscription)| found(Found::One(*seat, subscription)));
        self.groups.iter_mut().for_each(|group| found(Found::OneOf(group)));
    }
}

/// Adds or replaces; whether it was added.
fn put(list: &mut Vec<(Seat, Subscription)>, seat: Seat, subscription: Subscription) -> bool {
    match list.iter_mut().find(|(s, _)| *s == seat) {
        Some(entry) => {
            entry.1 = subscription;
            false
        }
        None => {
            list.push((seat, subscription));
            true
        }
    }
}

impl Routes {
    /// How many there are, shared ones included.
    pub fn len(&self) -> usize {
        self.count
    }

    /// How many of them are shared.
    pub fn shared_len(&self) -> usize {
        self.shared
    }

    /// Whether anybody subscribed to something whose first level is this one, by name.
    pub fn begins_with(&self, level: &str) -> bool {
        self.root.children.contains_key(level)
    }

    /// Adds or replaces the subscription of `seat` to `filter`.
    pub fn subscribe(&mut self, filter: &Filter, seat: Seat, subscription: Subscription) {
        let Ok(Wanted { group, filter }) = Wanted::of(filter) else { return };
        let mut node = &mut self.root;
        let mut hash = false;
        for level in filter.split('/') {
            match level {
                "#" => hash = true,
                "+" => node = node.plus.get_or_insert_default(),
                level => {
                    if !node.children.contains_key(level) {
                        node.children.insert(level.into(), Node::default());
                    }
                    node = node.children.get_mut(level).expect("it has just been inserted");
                }
            }
        }
        let ends = if hash { &mut node.hash } else { &mut node.here };
        if ends.add(group, seat, subscription) {
            self.count += 1;
            self.shared += usize::from(group.is_some());
        }
    }

    /// Takes away the subscription of `seat` to `filter`, and the nodes that nobody needs any more.
    pub fn unsubscribe(&mut self, filter: &Filter, seat: Seat) {
        let Ok(Wanted { group, filter }) = Wanted::of(filter) else { return };
        if remove(&mut self.root, filter.split('/'), group, seat) {
            self.count -= 1;
            self.shared -= usize::from(group.is_some());
        }
    }

    /// Calls `found` for each subscription that matches a message on `topic`, more than once for a client with several, and once for each
    /// group that shares one.
    pub fn matches(&mut self, topic: &str, mut found: impl FnMut(Found<'_>)) {
        visit(&mut self.root, Some(topic), topic.starts_with('$'), &mut found);
    }
}

/// As deep as the filters are: their number of levels is limited where they come in.
fn remove<'a>(node: &mut Node, mut levels: impl Iterator<Item = &'a str>, group: Option<&str>, seat: Seat) -> bool {
    match levels.next() {
        None => node.here.remove(group, seat),
        Some("#") => node.hash.remove(group, seat),
        Some("+") => {
            let Some(child) = &mut node.plus else { return false };
            let removed = remove(child, levels, group, seat);
            if child.is_empty() {
                node.plus = None;
            }
            removed
        }
        Some(level) => {
            let Some(child) = node.children.get_mut(level) else { return false };
            let removed = remove(child, levels, group, seat);
            if child.is_empty() {
                node.children.remove(level);
            }
            removed
        }
    }
}

/// As deep as the filters are, however deep the topic is.
fn visit(node: &mut Node, rest: Option<&str>, hidden: bool, found: &mut impl FnMut(Found<'_>)) {
    if !hidden {
        node.hash.visit(found);
    }
    let Some(rest) = rest else {
        node.here.visit(found);
        return;
    };
    if node.children.is_empty() && node.plus.is_none() {
        return;
    }
    let (level, rest) = rest.split_once('/').map_or((rest, None), |(level, rest)| (level, Some(rest)));
    if let Some(child) = node.children.get_mut(level) {
        visit(child, rest, false, found);
    }
    if let (Some(child), false) = (&mut node.plus, hidden) {
        visit(child, rest, false, found);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const AT_QOS_0: Subscription =
        Subscription { qos: QoS::AtMostOnce, no_local: false, retain_as_published: false, id: None };

    fn key(slot: u32) -> Seat {
        Seat(slot)
    }

    fn found(routes: &mut Routes, topic: &str) -> BTreeSet<u32> {
        let mut all = BTreeSet::new();
        routes.matches(topic, |found| match found {
            Found::One(key, _) => assert!(all.insert(key.0), "{topic} found {key:?} twice"),
            Found::OneOf(group) => {
                let (key, _) = group.choose(|_| true).expect("a group has members");
                assert!(all.insert(key.0), "{topic} found {key:?} twice");
            }
        });
        all
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_matching_one_by_one_finds(
            filters in prop::collection::vec("([$ab+]?)(/[ab+]?){0,3}(/#)?", 1..20),
            shared in prop::collection::vec(any::<bool>(), 20),
            topics in prop::collection::vec("([$ab]?)(/[ab]?){0,4}", 1..20),
            gone in prop::collection::vec(any::<bool>(), 20),
        ) {
            let mut routes = Routes::default();
            let filters: Vec<Filter> = filters.iter().filter_map(|f| Filter::new(f).ok()).collect();
            // Some in a group of their own: shared or not, a filter matches the same topics.
            let asked = |i: usize| match (shared[i], &filters[i]) {
                (true, filter) => Filter::new(&format!("$share/{i}/{filter}")).unwrap(),
                (false, filter) => filter.clone(),
            };
            for i in 0..filters.len() {
                routes.subscribe(&asked(i), key(i as u32), AT_QOS_0);
            }
            for i in (0..filters.len()).filter(|i| gone[*i]) {
                routes.unsubscribe(&asked(i), key(i as u32));
            }
            let left = || filters.iter().enumerate().filter(|(i, _)| !gone[*i]);
            prop_assert_eq!(routes.len(), left().count());
            for topic in topics.iter().filter(|t| !t.is_empty()) {
                let expected: BTreeSet<u32> = left().filter(|(_, f)| f.matches(topic)).map(|(i, _)| i as u32).collect();
                prop_assert_eq!(found(&mut routes, topic), expected, "{}", topic);
            }
            prop_assert_eq!(routes.shared_len(), left().filter(|(i, _)| shared[*i]).count());
            for (i, _) in left() {
                routes.unsubscribe(&asked(i), key(i as u32));
            }
            prop_assert!(routes.root.is_empty());
        }
    }

    #[test]
    fn subscribing_again_replaces_and_removing_a_stranger_changes_nothing() {
        let mut routes = Routes::default();
        let filter = Filter::new("a/+/#").unwrap();
        routes.subscribe(&filter, key(1), AT_QOS_0);
        routes.subscribe(&filter, key(1), Subscription { qos: QoS::AtLeastOnce, ..AT_QOS_0 });
        routes.unsubscribe(&filter, key(2));
        assert_eq!(routes.len(), 1);
        routes.matches("a/b", |found| match found {
            Found::One(_, subscription) => assert_eq!(subscription.qos, QoS::AtLeastOnce),
            Found::OneOf(_) => panic!("nobody shares"),
        });
        assert_eq!(found(&mut routes, "a/b/c/d"), BTreeSet::from([1]));
    }
}
