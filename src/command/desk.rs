//! Where commands come in and results go out. Pure: it is given the time, and says what to hand to a bus and what to publish.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::check;
use super::history::{History, Known};
use super::outcome::{self, Outcome, Status};
use super::payload::{self, Complaint, Envelope, Json, Target, short};
use super::topics::{Addressee, CommandTopics};
use crate::model::{
    Device, Filter, Message, Monotonic, Name, Naming, Order, OrderReport, Properties, Publisher, QoS, Stamp, Timestamp,
    Topic, TopicError, Value,
};

/// A command that has waited so long for its bus is no longer begun: whoever sent it has long given up.
const WAITS_AT_MOST: Duration = Duration::from_secs(10);
/// What `expires` must be.
pub(super) const EXPIRES: &str = "`expires` must be a time as a text, such as \"2026-11-20T15:04:05Z\"";

/// Commands on their way.
#[derive(Debug)]
pub struct Desk {
    topics: CommandTopics,
    history: History,
    running: HashMap<u64, Running>,
    last_token: u64,
}

/// What to do with a message.
#[derive(Debug)]
pub enum Decision {
    /// Hand this to the bus of its device; then [`Desk::finish`], or [`Desk::refuse`] when it can't be handed over.
    Carry(Order),
    /// Tell this.
    Tell(Answer),
    /// Nothing: it is no command, or is being carried out already.
    Nothing,
}

/// What a command came to.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its result; `None` when its topic would be too long for MQTT.
    pub message: Option<Message>,
    /// Who sent the command.
    pub by: Publisher,
    /// To which device; `None` when there is no such one.
    pub device: Option<Name>,
    /// To which of its points; `None` when to several.
    pub point: Option<Name>,
    /// What it said, at most its beginning.
    pub said: String,
    /// In one word.
    pub status: Status,
    /// Why it is not done.
    pub error: Option<String>,
    /// It is the result of an earlier command with the same id.
    pub is_repeated: bool,
}

/// Why a bus does not take an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// So many wait already.
    Full(usize),
    /// Its task has ended.
    Gone,
}

#[derive(Debug)]
struct Running {
    sender: Sender,
    device: Arc<Device>,
    is_for_device: bool,
    /// Others with the same id that came meanwhile.
    repeated: u32,
}

/// Who sent what to where.
#[derive(Debug, Clone)]
struct Sender {
    by: Publisher,
    topic: Topic,
    device: Option<Name>,
    point: Option<Name>,
    said: String,
    /// As it was sent.
    id: Option<Arc<str>>,
    /// The same for each way to write it.
    known_as: Option<Arc<str>>,
    correlation: Option<Bytes>,
}

impl Desk {
    /// For commands to these devices under `root`.
    pub fn new<'a>(root: &Topic, devices: impl Iterator<Item = &'a Arc<Device>>) -> Desk {
        let topics = CommandTopics::new(root, devices);
        Desk { topics, history: History::default(), running: HashMap::new(), last_token: 0 }
    }

    /// From now on commands are to these devices. Those that are on their way come to their end, and ids that are known stay so.
    pub fn replace<'a>(&mut self, devices: impl Iterator<Item = &'a Arc<Device>>) {
        self.topics.replace(devices);
    }

    /// What to subscribe to. Errors when one would be too long for MQTT.
    pub fn filters(&self) -> Result<Vec<Filter>, TopicError> {
        self.topics.filters()
    }

    /// A message has come.
    pub fn receive(&mut self, now: Stamp, by: Publisher, message: &Message) -> Decision {
        let Some(addressee) = self.topics.addressee(&message.topic) else { return Decision::Nothing };
        let said = String::from_utf8_lossy(&message.payload[..message.payload.len().min(250)]);
        let (device, point) = match &addressee {
            Addressee::Point(device, index) => (Some(&device.name), Some(&device.points[*index].name)),
            Addressee::Device(device) => (Some(&device.name), None),
            Addressee::Nobody(_) => (None, None),
        };
        let mut sender = Sender {
            by,
            topic: message.topic.clone(),
            device: device.cloned(),
            point: point.cloned(),
            said: short(&said),
            id: None,
            known_as: None,
            correlation: message.properties.as_ref().and_then(|properties| properties.correlation_data.clone()),
        };
        if message.retain {
            // An empty one takes a retained message away, which is what its sender should do.
            if message.payload.is_empty() {
                return Decision::Nothing;
            }
            let why = "a retained message is never obeyed: it would be repeated to everyone who subscribes later, and is \
                       still there at the next start; publish it again without retain";
            return Decision::Tell(self.answer(now, sender, &Outcome::because(Status::Rejected, why), None));
        }
        let target = match &addressee {
            Addressee::Device(_) => Target::Device,
            Addressee::Point(device, index) if matches!(device.points[*index].naming, Some(Naming::Bits(_))) => {
                Target::Bits
            }
            Addressee::Point(..) | Addressee::Nobody(_) => Target::Point,
        };
        let envelope = payload::read(&message.payload, target);
        sender.id = match &envelope {
            Ok(Envelope { id, .. }) | Err((_, id)) => id.map(Arc::from),
        };
        sender.known_as = sender.id.as_deref().map(|id| payload::canonical(id).into());
        if let Some(decision) = self.repeated(now, &sender) {
            return decision;
        }
        // MQTT 5 §3.3.2.3.3: once nothing is left of it, the message must not be delivered any more.
        if message.properties.as_ref().is_some_and(|properties| properties.message_expiry_s == Some(0)) {
            let why = "its Message Expiry Interval was over when it came";
            return Decision::Tell(self.answer(now, sender, &Outcome::because(Status::Expired, why), None));
        }
        let rejected = |why: Complaint| Outcome::because(Status::Rejected, why);
        let envelope = match &addressee {
            Addressee::Nobody(why) => Err((why.clone(), None)),
            _ => envelope,
        };
        let checked = envelope.map_err(|(complaint, _)| rejected(complaint)).and_then(|envelope| {
            let expires = envelope.expires.as_deref().map(|text| expiry(now, text)).transpose()?;
            let wanted = values(&addressee, envelope.value).map_err(rejected)?;
            Ok((wanted, expires))
        });
        match checked {
            Ok((wanted, expires)) => {
                let until = until(now, message, expires);
                let is_for_device = matches!(addressee, Addressee::Device(_));
                Decision::Carry(self.order(now, sender, wanted, until, is_for_device))
            }
            Err(outcome) => Decision::Tell(self.answer(now, sender, &outcome, None)),
        }
    }

    /// The bus does not take the order.
    pub fn refuse(&mut self, now: Stamp, token: u64, refusal: Refusal) -> Vec<Answer> {
        let outcome = match refusal {
            Refusal::Full(waiting) => {
                let why = format!("the bus has {waiting} commands waiting already; send fewer, or wait for results");
                Outcome::because(Status::Rejected, why)
            }
            Refusal::Gone => Outcome::because(Status::Failed, "its bus is being stopped; it was not sent"),
        };
        match self.running.remove(&token) {
            Some(running) => self.answers(now, running, &outcome, None),
            None => Vec::new(),
        }
    }

    /// The bus tells what became of an order.
    pub fn finish(&mut self, now: Stamp, report: &OrderReport) -> Vec<Answer> {
        let Some(running) = self.running.remove(&report.token) else { return Vec::new() };
        let device = Arc::clone(&running.device);
        let outcomes = report.written.iter().map(|written| {
            let name = device.points.get(written.point).map_or("", |point| &point.name);
            (name, Outcome::of(&device, written))
        });
        let outcomes: Vec<(&str, Outcome)> = outcomes.collect();
        if !running.is_for_device
            && let [(_, outcome)] = outcomes.as_slice()
        {
            return self.answers(now, running, outcome, None);
        }
        let worst = outcomes.iter().max_by_key(|(_, outcome)| outcome.status);
        let status = worst.map_or(Status::Done, |(_, outcome)| outcome.status);
        // The one that failed by itself says more than those that were left undone because of it.
        let telling = outcomes.iter().filter(|(_, outcome)| outcome.status == status && outcome.error.is_some());
        let telling =
            telling.min_by_key(|(_, outcome)| outcome.error.as_deref().is_some_and(|e| e.starts_with("not sent")));
        let error = telling.and_then(|(name, outcome)| Some(format!("{name}: {}", outcome.error.as_deref()?)));
        self.answers(now, running, &Outcome { status, value: None, error }, Some(&outcomes))
    }

    /// Nothing will be reported any more.
    pub fn abandon(&mut self, now: Stamp) -> Vec<Answer> {
        let why = "the gateway was stopped meanwhile: it may or may not be done";
        let running: Vec<Running> = self.running.drain().map(|(_, running)| running).collect();
        let outcome = Outcome::because(Status::Unknown, why);
        running.into_iter().flat_map(|running| self.answers(now, running, &outcome, None)).collect()
    }

    /// What to do with a command whose id is known.
    fn repeated(&mut self, now: Stamp, sender: &Sender) -> Option<Decision> {
        let id = sender.known_as.as_deref()?;
        match self.history.find(now.monotonic, &sender.topic, id)? {
            Known::Running(token) => {
                let running = self.running.get_mut(token)?;
                running.repeated += 1;
                Some(Decision::Nothing)
            }
            Known::Done(payload) => {
                let message = message(sender, payload.clone());
                let (status, sender) = (Status::Done, sender.clone());
                Some(Decision::Tell(Answer { is_repeated: true, ..sender.answer(message, status, None) }))
            }
        }
    }

    fn order(&mut self, now: Stamp, sender: Sender, wanted: Wanted, until: Monotonic, is_for_device: bool) -> Order {
        let Wanted { device, values } = wanted;
        self.last_token += 1;
        let token = self.last_token;
        if let Some(id) = &sender.known_as {
            self.history.note(now.monotonic, &sender.topic, id, Known::Running(token));
        }
        self.running.insert(token, Running { sender, device: Arc::clone(&device), is_for_device, repeated: 0 });
        Order { token, device, values, until }
    }

    fn answers(
        &mut self,
        now: Stamp,
        running: Running,
        outcome: &Outcome,
        points: Option<&[(&str, Outcome)]>,
    ) -> Vec<Answer> {
        let answer = self.answer(now, running.sender, outcome, points);
        let again = Answer { is_repeated: true, ..answer.clone() };
        let mut answers = vec![answer];
        answers.resize(1 + running.repeated as usize, again);
        answers
    }

    fn answer(&mut self, now: Stamp, sender: Sender, outcome: &Outcome, points: Option<&[(&str, Outcome)]>) -> Answer {
        let payload = Bytes::from(outcome::result(sender.id.as_deref(), outcome, points, now));
        if let Some(id) = &sender.known_as {
            self.history.note(now.monotonic, &sender.topic, id, Known::Done(payload.clone()));
        }
        let message = message(&sender, payload);
        sender.answer(message, outcome.status, outcome.error.clone())
    }
}

impl Sender {
    fn answer(self, message: Option<Message>, status: Status, error: Option<String>) -> Answer {
        let Sender { by, device, point, said, .. } = self;
        Answer { message, by, device, point, said, status, error, is_repeated: false }
    }
}

fn message(sender: &Sender, payload: Bytes) -> Option<Message> {
    let topic = CommandTopics::result(&sender.topic).ok()?;
    let mut message = Message::new(topic, payload, QoS::AtLeastOnce, false);
    if sender.correlation.is_some() {
        let properties = Properties { correlation_data: sender.correlation.clone(), ..Properties::default() };
        message.properties = Some(Box::new(properties));
    }
    Some(message)
}

/// Whose points are to become what.
struct Wanted {
    device: Arc<Device>,
    values: Vec<(usize, Value)>,
}

/// What a command wants, when all of it is allowed.
fn values(addressee: &Addressee, sent: Json<'_>) -> Result<Wanted, Complaint> {
    match addressee {
        Addressee::Nobody(why) => Err(why.clone()),
        Addressee::Point(device, index) => {
            let value = check::value(&device.points[*index], sent)?;
            Ok(Wanted { device: Arc::clone(device), values: vec![(*index, value)] })
        }
        Addressee::Device(device) => {
            let Json::Object(object) = sent else {
                return Err("an object of values by point is wanted, such as {\"pump\":true,\"setpoint\":45}".into());
            };
            let mut values = Vec::new();
            for (name, sent) in payload::members(object)? {
                let Some(index) = device.points.iter().position(|point| point.name.as_str() == name) else {
                    return Err(format!("`{}` has no point `{}`", device.name, short(&name)));
                };
                let value = check::value(&device.points[index], payload::json(sent));
                values.push((index, value.map_err(|complaint| format!("{name}: {complaint}"))?));
            }
            if values.is_empty() {
                return Err("it names no point".into());
            }
            Ok(Wanted { device: Arc::clone(device), values })
        }
    }
}

/// When a command expires that says so. Errors when that has passed, and when nobody knows what time it is.
fn expiry(now: Stamp, text: &str) -> Result<Monotonic, Outcome> {
    let Some(moment) = Timestamp::from_rfc3339(text) else {
        return Err(Outcome::because(Status::Rejected, format!("{EXPIRES}, and not {}", short(text))));
    };
    if !now.synced {
        let why = "the gateway's clock has not been set, so it can't tell whether this has expired; it was not sent";
        return Err(Outcome::because(Status::Rejected, why));
    }
    match u64::try_from(moment.0.saturating_sub(now.wall.0)) {
        Ok(left @ 1..) => Ok(now.monotonic + Duration::from_millis(left)),
        _ => Err(Outcome::because(Status::Expired, format!("it expired at {moment}, and it is {} now", now.wall))),
    }
}

/// When the order may no longer be begun.
fn until(now: Stamp, message: &Message, expires: Option<Monotonic>) -> Monotonic {
    let most = now.monotonic + WAITS_AT_MOST;
    // MQTT 5 §3.3.2.3.3: what is left of the Message Expiry Interval.
    let interval = message.properties.as_ref().and_then(|properties| properties.message_expiry_s);
    let interval = interval.map(|seconds| now.monotonic + Duration::from_secs(seconds.into()));
    [expires, interval].into_iter().flatten().fold(most, Monotonic::min)
}

#[cfg(test)]
mod tests;
