//! Rules that feed each other: what one uplink accepts and another forwards to where the first takes it again, for ever. Pure.
//!
//! What an uplink brought never leaves by it, so one uplink alone can't. Two to the same broker can.

use super::rule::{AcceptRule, ForwardRule, Take};
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
            let mut topics = vec![start.clone()];
            for _ in 0..ROUNDS {
                let local = steps(down.accept.iter().map(|rule| (&rule.take, false)), &topics, gateway, root);
                let shapes = up.forward.iter().map(|rule| (&rule.take, rule.may_leave_out()));
                topics = steps(shapes, &local, gateway, root);
            }
            if !topics.is_empty() {
                return Some(Circle { forward, accept, topic: start });
            }
        }
    }
    None
}

/// So many topics at a time are followed.
const MAX_TOPICS: usize = 64;

/// Where rules may send topics. What `when` will say is not known, so it may hold and it may not: then the rules behind it are asked, as they
/// are when a rule can't bring some payload into its form.
fn steps<'c>(
    rules: impl Iterator<Item = (&'c Take, bool)> + Clone,
    topics: &[Topic],
    gateway: &Name,
    root: &Topic,
) -> Vec<Topic> {
    let mut out = Vec::new();
    for topic in topics {
        for (take, may_leave_out) in rules.clone() {
            if !take.topic.matches(topic) || take.except.iter().any(|except| except.matches(topic)) {
                continue;
            }
            let Ok(next) = take.to.apply(topic, &take.topic, gateway, Place::of(topic, root)) else { continue };
            if !out.contains(&next) && out.len() < MAX_TOPICS {
                out.push(next);
            }
            if take.when.is_none() && !take.goes_on && !may_leave_out {
                break;
            }
        }
    }
    out
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
    use crate::route::Template;
    use crate::route::cel::When;

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

    #[test]
    fn a_rule_that_may_leave_a_message_to_the_next_hides_no_circle() {
        let is_circle = |first: ForwardRule| {
            let forward = [first, ForwardRule::plain(take("a/#", "b/{rest}"))];
            let accept = [AcceptRule { take: take("b/#", "a/{rest}") }];
            let (up, down) = (Side { forward: &forward, accept: &[] }, Side { forward: &[], accept: &accept });
            circle(up, down, &Name::new("p7").unwrap(), &Topic::new("fw/p7").unwrap()).is_some()
        };
        let plain = ForwardRule::plain(take("a/#", "log/{rest}"));
        assert!(!is_circle(plain.clone()), "the second never sees it");
        let mut goes_on = plain.clone();
        goes_on.take.goes_on = true;
        assert!(is_circle(goes_on));
        let mut conditional = plain.clone();
        conditional.take.when = Some(When::new("payload.t > 60").unwrap());
        assert!(is_circle(conditional));
        assert!(is_circle(ForwardRule { format: crate::route::Format::Influx, ..plain }));
    }
}
