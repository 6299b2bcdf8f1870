//! Who gets a message: a tree of topic levels with the subscriptions at its nodes.
//!
//! Wildcards are branches of their own, so a match visits only nodes that can match. A wildcard in first place does not see
//! topics that start with `$` (§4.7.2).

use std::collections::HashMap;

use super::words::Key;
use crate::model::{Filter, QoS};

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
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, Node>,
    plus: Option<Box<Node>>,
    here: Vec<(Key, Subscription)>,
    /// Those that end in `#` below this node; they match this level too (§4.7.1.2).
    hash: Vec<(Key, Subscription)>,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.plus.is_none() && self.here.is_empty() && self.hash.is_empty()
    }
}

impl Routes {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Adds or replaces the subscription of `key` to `filter`.
    pub fn subscribe(&mut self, filter: &Filter, key: Key, subscription: Subscription) {
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
        let list = if hash { &mut node.hash } else { &mut node.here };
        match list.iter_mut().find(|(k, _)| *k == key) {
            Some(entry) => entry.1 = subscription,
            None => {
                list.push((key, subscription));
                self.count += 1;
            }
        }
    }

    /// Takes away the subscription of `key` to `filter`, and the nodes that nobody needs any more.
    pub fn unsubscribe(&mut self, filter: &Filter, key: Key) {
        if remove(&mut self.root, filter.split('/'), key) {
            self.count -= 1;
        }
    }

    /// Calls `found` for each subscription that matches a message on `topic`; more than once for a client with several.
    pub fn matches(&self, topic: &str, mut found: impl FnMut(Key, &Subscription)) {
        visit(&self.root, Some(topic), topic.starts_with('$'), &mut found);
    }
}

/// As deep as the filters are: their number of levels is limited where they come in.
fn remove<'a>(node: &mut Node, mut levels: impl Iterator<Item = &'a str>, key: Key) -> bool {
    let take = |list: &mut Vec<(Key, Subscription)>| match list.iter().position(|(k, _)| *k == key) {
        Some(at) => {
            list.swap_remove(at);
            true
        }
        None => false,
    };
    match levels.next() {
        None => take(&mut node.here),
        Some("#") => take(&mut node.hash),
        Some("+") => {
            let Some(child) = &mut node.plus else { return false };
            let removed = remove(child, levels, key);
            if child.is_empty() {
                node.plus = None;
            }
            removed
        }
        Some(level) => {
            let Some(child) = node.children.get_mut(level) else { return false };
            let removed = remove(child, levels, key);
            if child.is_empty() {
                node.children.remove(level);
            }
            removed
        }
    }
}

/// As deep as the filters are, however deep the topic is.
fn visit(node: &Node, rest: Option<&str>, hidden: bool, found: &mut impl FnMut(Key, &Subscription)) {
    if !hidden {
        node.hash.iter().for_each(|(key, subscription)| found(*key, subscription));
    }
    let Some(rest) = rest else {
        node.here.iter().for_each(|(key, subscription)| found(*key, subscription));
        return;
    };
    if node.children.is_empty() && node.plus.is_none() {
        return;
    }
    let (level, rest) = rest.split_once('/').map_or((rest, None), |(level, rest)| (level, Some(rest)));
    if let Some(child) = node.children.get(level) {
        visit(child, rest, false, found);
    }
    if let (Some(child), false) = (&node.plus, hidden) {
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

    fn key(slot: u32) -> Key {
        Key { slot, generation: 0 }
    }

    fn found(routes: &Routes, topic: &str) -> BTreeSet<u32> {
        let mut all = BTreeSet::new();
        routes.matches(topic, |key, _| assert!(all.insert(key.slot), "{topic} found {key:?} twice"));
        all
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_matching_one_by_one_finds(
            filters in prop::collection::vec("([$ab+]?)(/[ab+]?){0,3}(/#)?", 1..20),
            topics in prop::collection::vec("([$ab]?)(/[ab]?){0,4}", 1..20),
            gone in prop::collection::vec(any::<bool>(), 20),
        ) {
            let mut routes = Routes::default();
            let filters: Vec<Filter> = filters.iter().filter_map(|f| Filter::new(f).ok()).collect();
            for (i, filter) in filters.iter().enumerate() {
                routes.subscribe(filter, key(i as u32), AT_QOS_0);
            }
            for (i, filter) in filters.iter().enumerate().filter(|(i, _)| gone[*i]) {
                routes.unsubscribe(filter, key(i as u32));
            }
            let left = || filters.iter().enumerate().filter(|(i, _)| !gone[*i]);
            prop_assert_eq!(routes.len(), left().count());
            for topic in topics.iter().filter(|t| !t.is_empty()) {
                let expected: BTreeSet<u32> = left().filter(|(_, f)| f.matches(topic)).map(|(i, _)| i as u32).collect();
                prop_assert_eq!(found(&routes, topic), expected, "{}", topic);
            }
            for (i, filter) in left() {
                routes.unsubscribe(filter, key(i as u32));
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
        routes.matches("a/b", |_, subscription| assert_eq!(subscription.qos, QoS::AtLeastOnce));
        assert_eq!(found(&routes, "a/b/c/d"), BTreeSet::from([1]));
    }
}
