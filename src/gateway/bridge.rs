//! Bridge rules at work: what uplinks get of what is published here, and what is published here of what they bring.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{debug, info};

use crate::broker::{HubClosed, HubHandle, KeptSubscription, Outgoing, PublishError, Selector, Submitted};
use crate::clock::Clock;
use crate::model::{Filter, Message, Monotonic, Name, Publisher, QoS, Stamp, Topic};
use crate::route::{Accepter, Forwarder, Leaving, Refused, hops, result_topic};
use crate::uplink::{Accepted, Outcome, Settled, Ticket};

/// A command from a cloud is answered after this time, result or not: the cloud must not be kept waiting for ever.
const RESULT_WITHIN: Duration = Duration::from_secs(60);
/// Commands of one uplink whose results are to go back.
const COMMANDS: usize = 1_000;

/// The forward rules of one uplink, as the hub asks them.
pub struct Rules {
    uplink: Name,
    forwarder: Forwarder,
    returns: Returns,
    leaving: Vec<Leaving>,
}

/// Where results of the cloud's commands go when no rule forwards them: by the topic that they are published on here, with the ids of the commands
/// that have one.
#[derive(Debug, Clone, Default)]
pub struct Returns(Arc<Mutex<HashMap<Topic, VecDeque<Return>>>>);

/// The id of a command, and where its result goes.
type Return = (Option<String>, Topic);

impl Returns {
    fn locked(&self) -> MutexGuard<'_, HashMap<Topic, VecDeque<Return>>> {
        // Nothing in it panics halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect(&self, here: Topic, id: Option<String>, there: Topic) {
        let mut expected = self.locked();
        if expected.values().map(VecDeque::len).sum::<usize>() < COMMANDS {
            expected.entry(here).or_default().push_back((id, there));
        }
    }

    fn take(&self, result: &Message) -> Option<Topic> {
        let mut expected = self.locked();
        let waiting = expected.get_mut(&result.topic)?;
        let place = place_of(waiting, &id_of(result));
        let there = place.and_then(|place| waiting.remove(place));
        if waiting.is_empty() {
            expected.remove(&result.topic);
        }
        there.map(|(_, there)| there)
    }
}

impl Rules {
    /// Rules whose commands' results go back as `returns` says.
    pub fn new(uplink: Name, forwarder: Forwarder, returns: Returns) -> Rules {
        Rules { uplink, forwarder, returns, leaving: Vec::new() }
    }

    fn hand_over(&mut self, out: &mut Vec<Outgoing>) {
        out.extend(self.leaving.drain(..).map(|leaving| match leaving {
            Leaving::Live(message) => Outgoing::Live(message),
            Leaving::Queued { message, is_urgent } => Outgoing::Queued { message, is_urgent },
            Leaving::Piece { batch, bundle, is_urgent, message } => {
                Outgoing::Piece { batch, bundle, is_urgent, message }
            }
            Leaving::Close { batch, is_urgent } => Outgoing::Close { batch, is_urgent },
        }));
    }
}

impl Selector for Rules {
    fn take(&mut self, by: &Publisher, message: &Message, at: Stamp, out: &mut Vec<Outgoing>) {
        self.forwarder.take(by, message, at, &mut self.leaving);
        if *by == Publisher::Gateway
            && message.topic.ends_with("/result")
            && hops::is_for(&self.uplink, message)
            && let Some(topic) = self.returns.take(message)
            && self.leaving.is_empty()
        {
            let properties = hops::leaving(message.properties.clone());
            let payload = message.payload.clone();
            let message = Message { topic, payload, qos: QoS::AtLeastOnce, retain: false, properties };
            self.leaving.push(Leaving::Queued { message, is_urgent: false });
        }
        self.hand_over(out);
    }

    fn wants(&mut self, message: &Message) -> bool {
        self.forwarder.wants(&message.topic)
    }

    fn next_due(&self) -> Option<Monotonic> {
        self.forwarder.next_due()
    }

    fn tick(&mut self, at: Stamp, out: &mut Vec<Outgoing>) {
        self.forwarder.tick(at, &mut self.leaving);
        self.hand_over(out);
    }

    fn flush(&mut self, at: Stamp, out: &mut Vec<Outgoing>) {
        self.forwarder.flush(at, &mut self.leaving);
        self.hand_over(out);
    }
}

/// Takes what one uplink brings, until the uplink has ended.
pub struct Accepting {
    /// The uplink.
    pub uplink: Name,
    /// Its accept rules.
    pub accepter: Accepter,
    /// What it brings.
    pub accepted: mpsc::Receiver<Accepted>,
    /// Where to say what became of it.
    pub settled: mpsc::Sender<Settled>,
    /// Where results go.
    pub returns: Returns,
    /// The way in.
    pub hub: HubHandle,
    /// For times.
    pub clock: Clock,
}

/// The results of commands that are waited for, by topic: with the id of the command, if it has one.
type Waiting = HashMap<Topic, VecDeque<(Option<String>, oneshot::Sender<()>)>>;

impl Accepting {
    /// Runs until the uplink has ended. `results` brings what is published on the topics of [`result_filters`].
    pub async fn run(mut self, mut results: KeptSubscription) -> Result<(), HubClosed> {
        let mut waiting = Waiting::new();
        let mut ends: JoinSet<Option<Settled>> = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.accepted.recv() => match accepted {
                    Some(accepted) => self.take(accepted, &mut waiting, &mut ends).await?,
                    None => return Ok(()),
                },
                Some(end) = ends.join_next() => if let Ok(Some(settled)) = end
                    && self.settled.send(settled).await.is_err()
                {
                    return Ok(());
                },
                result = results.recv() => match result {
                    Some((message, by)) => if by == Publisher::Gateway && hops::is_for(&self.uplink, &message) {
                        answer(&message, &mut waiting);
                    },
                    None => return Err(HubClosed),
                },
            }
        }
    }

    async fn take(
        &self,
        accepted: Accepted,
        waiting: &mut Waiting,
        ends: &mut JoinSet<Option<Settled>>,
    ) -> Result<(), HubClosed> {
        let Accepted { message, once, ticket } = accepted;
        let mut inside = match self.accepter.accept(&message, self.clock.stamp()) {
            Ok(inside) => inside,
            Err(refused) => {
                let outcome = self.refuse(&message, &refused);
                ends.spawn(async move { Some(Settled { ticket, outcome }) });
                return Ok(());
            }
        };
        let (mut outcomes, mut results) = (Vec::new(), Vec::new());
        let last = inside.pop();
        // The id of a QoS 2 message is kept with the last of what it becomes: a crash before that repeats the others rather than lose one.
        let all = inside.into_iter().map(|one| (one, None)).chain(last.map(|last| (last, once)));
        for (one, once) in all {
            if one.is_command {
                results.push(self.await_result(&one.message, &message.topic, waiting));
            }
            let by = Publisher::Uplink(self.uplink.clone());
            outcomes.push(self.hub.submit(by, one.message, once).await?);
        }
        let clock = self.clock;
        ends.spawn(async move { Some(settle(ticket, outcomes, results, clock).await) });
        Ok(())
    }

    /// The result of a command goes back to the cloud, and is waited for.
    fn await_result(&self, command: &Message, there: &Topic, waiting: &mut Waiting) -> oneshot::Receiver<()> {
        let (done, result) = oneshot::channel();
        if let (Some(here), Some(there)) = (result_topic(&command.topic), result_topic(there)) {
            self.returns.expect(here.clone(), id_of(command), there);
            let waiting = waiting.entry(here).or_default();
            waiting.retain(|(_, done)| !done.is_closed());
            waiting.push_back((id_of(command), done));
        }
        result
    }

    fn refuse(&self, message: &Message, refused: &Refused) -> Outcome {
        let topic = message.topic.escape_debug();
        match refused {
            Refused::Round(_) | Refused::NoRule => {
                debug!(uplink = %self.uplink, %topic, error = %refused, "a message from the cloud does not come in");
                Outcome::Taken
            }
            Refused::RetainedCommand | Refused::Ours(_) => {
                info!(uplink = %self.uplink, %topic, error = %refused, "a message from the cloud is refused");
                Outcome::Refused
            }
        }
    }
}

/// Where results of commands are published, below `root`.
pub fn result_filters(root: &Topic) -> Vec<Filter> {
    let below = [format!("{root}/+/result"), format!("{root}/+/+/result")];
    below.iter().filter_map(|filter| Filter::new(filter).ok()).collect()
}

async fn settle(
    ticket: Ticket,
    outcomes: Vec<Submitted>,
    results: Vec<oneshot::Receiver<()>>,
    clock: Clock,
) -> Settled {
    for outcome in outcomes {
        match outcome.outcome().await {
            Ok(()) => {}
            Err(PublishError::Closed(_) | PublishError::Refused(_)) => {
                return Settled { ticket, outcome: Outcome::Later };
            }
        }
    }
    let until = clock.now() + RESULT_WITHIN;
    for result in results {
        tokio::select! {
            // An error, too, says that no result will come.
            _ = result => {}
            () = clock.sleep_until(until) => {}
        }
    }
    Settled { ticket, outcome: Outcome::Taken }
}

/// A result came: whose command it is of.
fn answer(result: &Message, waiting: &mut Waiting) {
    let Some(commands) = waiting.get_mut(&result.topic) else { return };
    let place = place_of(commands, &id_of(result));
    if let Some((_, done)) = place.and_then(|place| commands.remove(place)) {
        // Who waited may have given up.
        let _ = done.send(());
    }
    if commands.is_empty() {
        waiting.remove(&result.topic);
    }
}

/// The oldest command with this id; without one, what is not known here has the id in another form.
fn place_of<T>(commands: &VecDeque<(Option<String>, T)>, id: &Option<String>) -> Option<usize> {
    let first = || (!commands.is_empty()).then_some(0);
    commands.iter().position(|(of, _)| of == id).or_else(first)
}

fn id_of(message: &Message) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(&message.payload).ok()?;
    json.get("id").filter(|id| !id.is_null()).map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Monotonic, Timestamp};
    use crate::route::Surroundings;

    const AT: Stamp =
        Stamp { monotonic: Monotonic::from_millis(0), since_boot: None, wall: Timestamp(0), synced: true };

    fn topic(text: &str) -> Topic {
        Topic::new(text).expect("a topic")
    }

    /// What leaves of the result of a command that `by` brought.
    fn leaves(rules: &mut Rules, by: Option<&str>, id: &str) -> Vec<String> {
        let payload = format!("{{\"id\":{id},\"status\":\"done\"}}");
        let mut result = Message::new(topic("fw/boiler/t/result"), payload, QoS::AtLeastOnce, false);
        if let Some(uplink) = by {
            hops::is_result_for(uplink, &mut result);
        }
        let mut out = Vec::new();
        rules.take(&Publisher::Gateway, &result, AT, &mut out);
        let shown = |outgoing| match outgoing {
            Outgoing::Queued { message, .. } => {
                assert_eq!(message.properties, None, "whom it is for stays here");
                message.topic.to_string()
            }
            _ => panic!("a result is queued"),
        };
        out.into_iter().map(shown).collect()
    }

    #[test]
    fn a_result_goes_back_to_whoever_sent_the_command_and_to_nobody_else() {
        let uplink = Name::new("cloud").expect("a name");
        let around = Surroundings {
            gateway: Name::new("p7").expect("a name"),
            root: topic("fw"),
            presence: topic("fw/gateway/state"),
            uplink: uplink.clone(),
        };
        let returns = Returns::default();
        let mut rules = Rules::new(uplink, Forwarder::new(Vec::new(), around, 1), returns.clone());
        let here = || topic("fw/boiler/t/result");
        returns.expect(here(), Some("\"a\"".into()), topic("one/result"));
        returns.expect(here(), Some("\"b\"".into()), topic("two/result"));
        returns.expect(here(), None, topic("three/result"));
        // A client here, and another cloud, had something written meanwhile.
        assert_eq!(leaves(&mut rules, None, "\"x\""), [""; 0]);
        assert_eq!(leaves(&mut rules, Some("other"), "\"a\""), [""; 0]);
        // One that is rejected overtakes those that are on the line.
        assert_eq!(leaves(&mut rules, Some("cloud"), "null"), ["three/result"]);
        assert_eq!(leaves(&mut rules, Some("cloud"), "\"b\""), ["two/result"]);
        assert_eq!(leaves(&mut rules, Some("cloud"), "\"a\""), ["one/result"]);
        assert_eq!(leaves(&mut rules, Some("cloud"), "\"a\""), [""; 0]);
    }
}
