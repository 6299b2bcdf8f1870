//! What each rule would do with a message: for `fieldway bridge test`. Pure; nothing is sent, held or counted.

use super::accept::{Accepter, Refused};
use super::bundle::bundle;
use super::fold::Window;
use super::forward::{Surroundings, concluded, shape};
use super::hops;
use super::rule::{ForwardRule, Miss};
use super::subject::Subject;
use crate::model::{Message, Stamp};

/// What one rule would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The message that would leave; `None` for a rule that a rule before it leaves nothing to.
    pub outcome: Option<Result<Message, String>>,
    /// What the rule does besides.
    pub notes: Vec<String>,
}

/// What the forward rules of an uplink would do with a local message.
pub fn up(rules: &[ForwardRule], around: &Surroundings, message: &Message, at: Stamp) -> Vec<Tried> {
    let subject = Subject::new(message, &around.root, at.synced.then_some(at.wall));
    let stop = if message.topic == around.presence {
        Some("the gateway's state reaches the cloud as will and birth, and is not queued".to_owned())
    } else if hops::has_been_at(&around.gateway, &around.uplink, message) {
        Some("it has passed this gateway before".to_owned())
    } else {
        None
    };
    let mut is_done = false;
    let try_rule = |rule: &ForwardRule| {
        if is_done {
            return Tried { outcome: None, notes: Vec::new() };
        }
        if let Some(stop) = &stop {
            return Tried { outcome: Some(Err(stop.clone())), notes: Vec::new() };
        }
        let (outcome, notes) = match leaves(rule, around, &subject, at) {
            Ok((message, notes)) => {
                is_done = !rule.take.goes_on;
                (Ok(message), notes)
            }
            Err(miss) => (Err(miss.to_string()), Vec::new()),
        };
        Tried { outcome: Some(outcome), notes }
    };
    rules.iter().map(try_rule).collect()
}

fn leaves(
    rule: &ForwardRule,
    around: &Surroundings,
    subject: &Subject<'_>,
    at: Stamp,
) -> Result<(Message, Vec<String>), Miss> {
    let topic = rule.take.judge(subject, &around.gateway)?;
    let content = rule.content(subject, &around.gateway)?;
    let mut notes = Vec::new();
    let mut message = if let Some(aggregate) = &rule.aggregate {
        let mut window = Window::default();
        let json = content.json().ok_or(Miss::Nothing)?;
        if !window.take(json, at) {
            return Err(Miss::Nothing);
        }
        notes.push(format!("after {:?}, with all that came by then; this is what it would be alone", aggregate.window));
        concluded(rule, around, subject.message.topic.clone(), window.close(&aggregate.values), at)?
    } else {
        shape(rule, &content, topic)?
    };
    if rule.pace.on_change {
        notes.push("only if it differs from the one before, in more than its time".into());
    }
    if let Some(every) = rule.pace.every {
        notes.push(format!("at most once in {every:?}, the latest"));
    }
    if let Some(batch) = &rule.batch {
        let code = rule.format.bundle().code(rule.compress);
        message.payload = bundle(code, &[message.payload.to_vec()]).into();
        notes.push(format!(
            "in a batch of up to {} after at most {:?}; this is a batch of one",
            batch.messages, batch.delay
        ));
    }
    if rule.is_urgent {
        notes.push("before what is queued without priority".into());
    }
    Ok((message, notes))
}

/// What the accept rules of an uplink would do with a message from the cloud.
pub fn down(
    accepter: &Accepter,
    message: &Message,
    root: &crate::model::Topic,
    gateway: &str,
    at: Stamp,
) -> Vec<Tried> {
    let subject = Subject::new(message, root, at.synced.then_some(at.wall));
    let round = hops::may_pass(gateway, &hops::path(message.properties.as_deref())).map_err(Refused::from);
    let mut is_done = false;
    let rules: Vec<bool> = accepter.rules().map(|rule| rule.take.goes_on).collect();
    let try_rule = |(index, goes_on): (usize, bool)| {
        if is_done {
            return Tried { outcome: None, notes: Vec::new() };
        }
        let (outcome, notes) = match (&round, accepter.try_rule(index, &subject)) {
            (Err(refused), _) => (Err(refused.to_string()), Vec::new()),
            (_, Err(miss)) => (Err(miss.to_string()), Vec::new()),
            (_, Ok(admitted)) => {
                is_done = !goes_on;
                match admitted {
                    Ok(accepted) if accepted.is_command => {
                        (Ok(accepted.message), vec!["a command: the cloud is answered when it has its result".into()])
                    }
                    Ok(accepted) => (Ok(accepted.message), Vec::new()),
                    Err(refused) => (Err(refused.to_string()), Vec::new()),
                }
            }
        };
        Tried { outcome: Some(outcome), notes }
    };
    rules.into_iter().enumerate().map(try_rule).collect()
}
