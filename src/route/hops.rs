//! The way that a message has come, so that none comes back to where it was. Pure.
//!
//! Every message that leaves by MQTT 5 names the gateway that sent it in the user property `gateway`. What is accepted from a cloud
//! carries on whom it has passed in `fieldway-hops`, from the first to the last. A gateway that finds itself there refuses the message.
//! MQTT 3.1.1 has no room for that: there, what an uplink brought never leaves by it again, and what it sent is known to the uplink when it
//! comes back.

use crate::model::{Message, Properties};

/// The user property with the gateways that a message has passed, separated by spaces.
pub const HOPS: &str = "fieldway-hops";
/// The user property with the gateway that sent it last.
pub const SENDER: &str = "gateway";
/// Of a retained message that an uplink brought, which one; it stays in this gateway. Who published what is retained is not known any more
/// when it is offered to an uplink that has lost everything.
pub const FROM: &str = "fieldway-from";
/// Of the result of a command that an uplink brought, which one; it stays in this gateway.
pub const FOR: &str = "fieldway-for";
/// What a sender adds beside it: of no meaning beyond the next hop.
const MARKS: [&str; 3] = [SENDER, "epoch", "n"];

/// A message passes at most so many gateways.
pub const MAX_HOPS: usize = 8;

/// Why a message goes no further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Round {
    /// It has been here.
    #[error("it has passed this gateway before: {0}")]
    Back(String),
    /// It has been at too many places.
    #[error("it has passed {MAX_HOPS} gateways: {0}")]
    TooFar(String),
}

/// The gateways that a message from a cloud has passed, first to last.
pub fn path(properties: Option<&Properties>) -> Vec<&str> {
    let user = properties.map(|properties| properties.user.as_slice()).unwrap_or_default();
    let hops = user.iter().filter(|(name, _)| name == HOPS).flat_map(|(_, value)| value.split(' '));
    let mut sender = user.iter().filter(|(name, _)| name == SENDER).map(|(_, value)| value.as_str());
    let mut path: Vec<&str> = hops.filter(|id| !id.is_empty()).collect();
    // The last of them: a gateway that passed one on left none of an earlier sender.
    path.extend(sender.next_back());
    path
}

/// Whether a message may go on from the gateway `own`.
pub fn may_pass(own: &str, path: &[&str]) -> Result<(), Round> {
    if path.contains(&own) {
        return Err(Round::Back(path.join(" ")));
    }
    if path.len() >= MAX_HOPS {
        return Err(Round::TooFar(path.join(" ")));
    }
    Ok(())
}

/// What came from a cloud, as it is published here: the way that it has come is kept, and the sender's marks are not.
pub fn arrived(properties: Option<Box<Properties>>) -> Option<Box<Properties>> {
    let mut properties = properties?;
    let passed = path(Some(&properties)).join(" ");
    let is_ours = |name: &str| name == HOPS || name == FROM || name == FOR || MARKS.contains(&name);
    properties.user.retain(|(name, _)| !is_ours(name));
    if !passed.is_empty() {
        properties.user.push((HOPS.into(), passed));
    }
    (*properties != Properties::default()).then_some(properties)
}

/// Notes which uplink a retained message came by.
pub fn came_by(uplink: &str, message: &mut Message) {
    if message.retain {
        message.properties.get_or_insert_default().user.push((FROM.into(), uplink.into()));
    }
}

/// Notes which uplink brought the command that this is the result of.
pub fn is_result_for(uplink: &str, message: &mut Message) {
    message.properties.get_or_insert_default().user.push((FOR.into(), uplink.into()));
}

/// Whether this is the result of a command that an uplink brought.
pub fn is_for(uplink: &str, message: &Message) -> bool {
    let user = message.properties.as_deref().map(|properties| properties.user.as_slice()).unwrap_or_default();
    user.iter().any(|(name, value)| name == FOR && value == uplink)
}

/// Without what only this gateway is to know.
pub fn leaving(properties: Option<Box<Properties>>) -> Option<Box<Properties>> {
    let mut properties = properties?;
    properties.user.retain(|(name, _)| name != FROM && name != FOR);
    (*properties != Properties::default()).then_some(properties)
}

/// Whether a local message carries a way that leads through the gateway `own` (it was here, and came back by a client) or came by
/// this uplink.
pub fn has_been_at(own: &str, uplink: &str, message: &Message) -> bool {
    let user = message.properties.as_deref().map(|properties| properties.user.as_slice()).unwrap_or_default();
    user.iter()
        .any(|(name, value)| name == FROM && value == uplink || name == HOPS && value.split(' ').any(|id| id == own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(user: &[(&str, &str)]) -> Option<Box<Properties>> {
        let user = user.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Some(Box::new(Properties { user, ..Properties::default() }))
    }

    #[test]
    fn the_way_of_a_message_grows_with_each_gateway_and_ends_where_it_was() {
        let from_a = arrived(with(&[("gateway", "a"), ("epoch", "1"), ("n", "7"), ("own", "x")]));
        assert_eq!(from_a, with(&[("own", "x"), (HOPS, "a")]));
        let from_b = with(&[("own", "x"), (HOPS, "a"), ("gateway", "b"), ("epoch", "2"), ("n", "1")]);
        assert_eq!(path(from_b.as_deref()), ["a", "b"]);
        assert!(may_pass("a", &path(from_b.as_deref())).is_err() && may_pass("c", &path(from_b.as_deref())).is_ok());
        assert_eq!(arrived(with(&[("n", "1")])), None);
        assert!(matches!(may_pass("x", &["y"; MAX_HOPS]), Err(Round::TooFar(_))));
    }
}
