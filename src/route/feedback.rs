//! Rules that feed each other: what one uplink accepts and another forwards to where the first takes it again, for ever. Pure.
//!
//! What an uplink brought never leaves by it, so one uplink alone can't. Two to the same broker can.

use super::rule::{AcceptRule, ForwardRule};
use super::subject::Place;
use crate::model::{Name, Topic};

/// The rules of one uplink.
#[derive(Debug, Clone, Copy)]
pub struct Side<'c> {
    /// Its forward rules.
    pub forward: &'c [ForwardRule],
    /// Its accept rules.
    pub accept: &'c [AcceptRule],
}

/// Two rules that feed each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circle {
    /// Index of the forward rule.
    pub forward: usize,
    /// Index of the accept rule.
    pub accept: usize,
    /// A topic of the cloud that goes round.
    pub topic: Topic,
}

/// So many times round is for ever.
const ROUNDS: usize = 4;

/// Whether what `up` forwards to a broker is accepted by `down` from the same broker so that `up` forwards it again.
pub fn circle(up: Side<'_>, down: Side<'_>, gateway: &Name, root: &Topic) -> Option<Circle> {
    for (forward, out) in up.forward.iter().enumerate() {
        for (accept, back) in down.accept.iter().enumerate() {
            let reach = out.take.to.reach(&out.take.topic);
            let Some(start) = meet(&reach, &back.take.topic).and_then(|text| Topic::new(&text).ok()) else { continue };
            let mut topic = start.clone();
            let goes_round = (0..ROUNDS).all(|_| {
                let next = step(down.accept.iter().map(|rule| &rule.take), &topic, gateway, root)
                    .and_then(|local| step(up.forward.iter().map(|rule| &rule.take), &local, gateway, root));
                next.is_some_and(|next| {
                    topic = next;
                    true
                })
            });
            if goes_round {
                return Some(Circle { forward, accept, topic: start });
            }
        }
    }
    None
}

/// Where the first rule that may take a topic sends it. What `when` will say is not known, so it may.
fn step<'c>(
    mut rules: impl Iterator<Item = &'c super::Take>,
    topic: &Topic,
    gateway: &Name,
    root: &Topic,
) -> Option<Topic> {
    let takes =
        |take: &&super::Take| take.topic.matches(topic) && !take.except.iter().any(|except| except.matches(topic));
    let rule = rules.find(takes)?;
    rule.to.apply(topic, &rule.topic, gateway, Place::of(topic, root)).ok()
}

/// A topic that both filters match.
fn meet(one: &str, other: &str) -> Option<String> {
    let concrete =
        |level: &str| if matches!(level, "+" | "#") { "x".to_owned() } else { level.replace(['+', '#'], "x") };
    let (mut left, mut right) = (one.split('/'), other.split('/'));
    let mut out: Vec<String> = Vec::new();
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Some(out.join("/")),
            (Some("#"), None) | (None, Some("#")) => return Some(out.join("/")),
            (None, _) | (_, None) => return None,
            (Some("#"), Some(level)) => {
                out.push(concrete(level));
                out.extend(right.map(concrete));
                return Some(out.join("/"));
            }
            (Some(level), Some("#")) => {
                out.push(concrete(level));
                out.extend(left.map(concrete));
                return Some(out.join("/"));
            }
            (Some("+"), Some(level)) | (Some(level), Some("+")) => out.push(concrete(level)),
            (Some(a), Some(b)) if a == b => out.push(a.to_owned()),
            // A name within a level, as `site-{gateway}`, may be the other's.
            (Some(a), Some(b)) if a.contains('+') => out.push(b.to_owned()),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Filter, QoS};
    use crate::route::{Take, Template};

    fn take(topic: &str, to: &str) -> Take {
        let topic = Filter::new(topic).unwrap();
        let to = Template::parse(to, &topic).unwrap();
        Take::all(topic, to, QoS::AtLeastOnce)
    }

    fn is_circle(forward: (&str, &str), accept: (&str, &str)) -> Option<String> {
        let forward = [ForwardRule::plain(take(forward.0, forward.1))];
        let accept = [AcceptRule { take: take(accept.0, accept.1) }];
        let (up, down) = (Side { forward: &forward, accept: &[] }, Side { forward: &[], accept: &accept });
        let found = circle(up, down, &Name::new("p7").unwrap(), &Topic::new("fw/p7").unwrap());
        found.map(|circle| circle.topic.to_string())
    }

    #[test]
    fn rules_that_feed_each_other_are_found_with_a_topic_that_goes_round() {
        assert_eq!(is_circle(("a/#", "b/{rest}"), ("b/#", "a/{rest}")).as_deref(), Some("b/x"));
        assert_eq!(is_circle(("#", "{topic}"), ("#", "{topic}")).as_deref(), Some("x"));
        assert_eq!(is_circle(("a/#", "b/{rest}"), ("b/#", "a/down/{rest}")).as_deref(), Some("b/x"));
    }

    #[test]
    fn rules_that_only_look_alike_are_not() {
        assert_eq!(is_circle(("fw/#", "s/{rest}"), ("s/cmd/#", "fw/{rest}")), None);
        assert_eq!(is_circle(("a/#", "b/{rest}"), ("c/#", "a/{rest}")), None);
        assert_eq!(is_circle(("a/#", "b/{rest}"), ("b/#", "d/{rest}")), None);
        assert_eq!(is_circle(("a/+", "b/{1}"), ("b/+", "a/{1}/x")), None);
    }
}
