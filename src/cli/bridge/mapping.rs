//! Rules in a few words, as tables show them.

use crate::model::QoS;
use crate::route::{AcceptRule, ForwardRule, RetainRule, Take};

/// What a rule does besides matching a topic: `qos 1, when payload.t > 60, every 10s`.
pub(super) fn of_forward(rule: &ForwardRule) -> String {
    let mut words = of_take(&rule.take);
    if rule.is_urgent {
        words.push("priority high".into());
    }
    if !rule.fields.select.is_empty() {
        words.push(format!("select {}", rule.fields.select.join(" ")));
    }
    if !rule.fields.rename.is_empty() {
        words.push("rename".into());
    }
    words.extend(rule.pace.every.map(|every| format!("every {every:?}")));
    if rule.pace.on_change {
        words.push("on change".into());
    }
    words.extend(rule.aggregate.as_ref().map(|aggregate| format!("aggregate {:?}", aggregate.window)));
    if rule.format != crate::route::Format::Json {
        words.push(format!("format {}", format!("{:?}", rule.format).to_lowercase()));
    }
    words.extend(rule.batch.map(|batch| format!("batch {} or {:?}", batch.messages, batch.delay)));
    if rule.compress {
        words.push("zstd".into());
    }
    words.join(", ")
}

/// The same for the way down.
pub(super) fn of_accept(rule: &AcceptRule) -> String {
    of_take(&rule.take).join(", ")
}

fn of_take(take: &Take) -> Vec<String> {
    let mut words = vec![format!("qos {}", qos(take.qos))];
    match take.retain {
        RetainRule::Keep => {}
        RetainRule::Never => words.push("retain never".into()),
        RetainRule::Always => words.push("retain always".into()),
    }
    if !take.except.is_empty() {
        let except: Vec<&str> = take.except.iter().map(|except| except.as_str()).collect();
        words.push(format!("except {}", except.join(" ")));
    }
    words.extend(take.when.as_ref().map(|when| format!("when {}", when.text())));
    if take.goes_on {
        words.push("continue".into());
    }
    words
}

/// Its number.
pub(super) fn qos(qos: QoS) -> u8 {
    qos as u8
}
