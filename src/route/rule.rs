//! One bridge rule: which messages it takes, and what it makes of them. Pure; what takes time (`every`, windows, batches) is in `forward`.

use std::time::Duration;

use super::cel::{Verdict, When};
use super::fields::{Fields, NoFields};
use super::fold::Fold;
use super::format::{Content, Format, Unfit};
use super::subject::Subject;
use super::{Template, Unfilled};
use crate::model::{Filter, QoS, Topic};

/// Which messages a rule takes, and where they go. Of both directions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    /// Messages on these topics.
    pub topic: Filter,
    /// But not on these.
    pub except: Vec<Filter>,
    /// Only those for which this holds.
    pub when: Option<When>,
    /// Where they go.
    pub to: Template,
    /// Of a forward rule: 0 goes out when the uplink is online, else it is dropped and counted; 1 and 2 are queued. Of an accept rule: what
    /// is subscribed with, and published with here.
    pub qos: QoS,
    /// What becomes of the retain flag.
    pub retain: RetainRule,
    /// Whether the rules after it see the message too.
    pub goes_on: bool,
}

/// One entry of `forward:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardRule {
    /// Which messages, and where to.
    pub take: Take,
    /// Whether it overtakes what is queued by other rules.
    pub is_urgent: bool,
    /// Which of their fields.
    pub fields: Fields,
    /// How often.
    pub pace: Pace,
    /// Many readings to one.
    pub aggregate: Option<Aggregate>,
    /// What they look like.
    pub format: Format,
    /// Whether they are compressed, with zstd.
    pub compress: bool,
    /// Many messages to one.
    pub batch: Option<BatchRule>,
}

/// One entry of `accept:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptRule {
    /// Which messages, and where to.
    pub take: Take,
}

/// How often messages of one topic leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    /// At most once in this time, the latest.
    pub every: Option<Duration>,
    /// Only when something but the time has changed.
    pub on_change: bool,
}

/// `aggregate:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregate {
    /// From the first message of a topic on.
    pub window: Duration,
    /// What is asked of it.
    pub values: Vec<Fold>,
}

/// `batch:`; what is reached first closes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRule {
    /// So many messages.
    pub messages: usize,
    /// So long after the first.
    pub delay: Duration,
    /// So many bytes, before compression.
    pub size: usize,
}

/// What becomes of a message's retain flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetainRule {
    /// As the publisher set it.
    #[default]
    Keep,
    /// Cleared.
    Never,
    /// Set.
    Always,
}

/// Why a rule does not take a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Miss {
    /// It is about other topics.
    #[error("its topic does not match")]
    Topic,
    /// `except` takes it out.
    #[error("`except` takes it out with {0}")]
    Excepted(Filter),
    /// `when` says no.
    #[error("`when` does not hold")]
    When,
    /// `when` can't tell.
    #[error("`when` can't be told: {0}")]
    Unclear(String),
    /// `to` makes no topic of it.
    #[error("`to` makes no topic: {0}")]
    Unfilled(#[from] Unfilled),
    /// `select` and `rename` find nothing.
    #[error("{0}")]
    Fields(#[from] NoFields),
    /// There is nothing to aggregate.
    #[error("there is no value in it to aggregate")]
    Nothing,
    /// A further topic finds no room.
    #[error("windows of {0} topics are open, and a rule has no more at a time")]
    TooManyTopics(usize),
    /// The format can't hold it.
    #[error("{0}")]
    Unfit(#[from] Unfit),
}

impl RetainRule {
    /// The flag that a message leaves with.
    pub fn of(self, retain: bool) -> bool {
        match self {
            RetainRule::Keep => retain,
            RetainRule::Never => false,
            RetainRule::Always => true,
        }
    }
}

impl Take {
    /// A rule that takes everything that `topic` matches, unchanged.
    pub fn all(topic: Filter, to: Template, qos: QoS) -> Take {
        Take { topic, except: Vec::new(), when: None, to, qos, retain: RetainRule::Keep, goes_on: false }
    }

    /// Where a message goes by this rule, or why it does not.
    pub fn judge(&self, subject: &Subject<'_>, gateway: &str) -> Result<Topic, Miss> {
        let topic = &subject.message.topic;
        if !self.topic.matches(topic) {
            return Err(Miss::Topic);
        }
        if let Some(except) = self.except.iter().find(|except| except.matches(topic)) {
            return Err(Miss::Excepted(except.clone()));
        }
        match self.when.as_ref().map(|when| when.decide(subject)) {
            None | Some(Verdict::Yes) => {}
            Some(Verdict::No) => return Err(Miss::When),
            Some(Verdict::Unclear(why)) => return Err(Miss::Unclear(why)),
        }
        Ok(self.to.apply(topic, &self.topic, gateway, subject.place)?)
    }
}

impl ForwardRule {
    /// A rule that forwards as it is.
    pub fn plain(take: Take) -> ForwardRule {
        ForwardRule {
            take,
            is_urgent: false,
            fields: Fields::default(),
            pace: Pace::default(),
            aggregate: None,
            format: Format::Json,
            compress: false,
            batch: None,
        }
    }

    /// A message's payload with the fields that this rule wants.
    pub fn content<'m, 's>(&self, subject: &'s Subject<'m>, gateway: &'s str) -> Result<Content<'m, 's>, Miss> {
        let shaped = if self.fields.is_all() {
            None
        } else {
            let json = subject.json().map_err(|unread| match unread.hides_json() {
                true => Miss::Unfit(Unfit::Unread(unread)),
                false => NoFields::NoObject.into(),
            })?;
            Some(self.fields.shape(json)?)
        };
        Ok(Content { subject, shaped, gateway })
    }

    /// Whether some messages that its filters and `when` would take are left to the rules after it all the same.
    pub(super) fn may_leave_out(&self) -> bool {
        !self.fields.is_all() || self.aggregate.is_some() || self.format != Format::Json || self.batch.is_some()
    }

    /// Whether a piece of a batch has to say which topic it is from.
    pub fn names_topics(&self) -> bool {
        !self.take.to.tells_apart(&self.take.topic)
    }
}
