//! `fieldway demo`: a simulated plant, the real gateway and a stand-in for the cloud, on loopback; no hardware, no root.
//!
//! What is done and said, and when, is decided by [`story`]; whether the cloud has everything, by [`ledger`]. The rest carries that out.

mod cloud;
mod ledger;
mod plant;
mod playbill;
mod reading_line;
mod screen;
mod simulator;
mod stage;
mod story;

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::model::Message;

use ledger::Ledger;
use screen::Screen;
use stage::{Stage, Views};
use story::{Outcome, Scene, Step, Story, Timing};

use super::FAILED;

/// How often the story looks at the scene.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The longest that the end may take (`DESIGN.md` §9).
const STOP_WITHIN: Duration = Duration::from_secs(5);
const ROOT: &str = "fieldway/demo/";
const CLOUD_ROOT: &str = "sites/demo/";
const NO_TERMINAL: &str = "can't write to the terminal";
/// Up there it is the uplink's last will as well, so it may differ from what is queued.
const STATE: &str = "gateway/state";

/// Arguments of `fieldway demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Stop after so many seconds; without it, at Ctrl-C
    #[arg(long, value_name = "N")]
    pub seconds: Option<u64>,
    /// Tell the story in a quarter of a minute
    #[arg(long)]
    pub fast: bool,
    /// No colours
    #[arg(long)]
    pub plain: bool,
}

/// Plays the demo. Fails when it can't be set up, or when the cloud did not get what it should.
pub fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    super::block_on(play(args))?
}

async fn play(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let mut stops = Stops::listen()?;
    let clock = Clock::start();
    let (mut stage, views) = Stage::set(clock).await?;
    let mut screen = Screen::stdout(args.plain);
    let mut show = Show::new(args, clock);
    let told = show.tell(&mut stage, views, &mut screen, &mut stops).await;
    let closing = screen.close();
    // Whatever happened, nothing stays behind.
    match timeout(STOP_WITHIN, stage.strike()).await {
        Ok(struck) => struck?,
        Err(_) => bail!("the demo could not stop within 5 s"),
    }
    match told.and_then(|()| closing.context(NO_TERMINAL)) {
        // `fieldway demo | head`: whoever looked has seen enough.
        Err(error) if is_broken_pipe(&error) => return Ok(ExitCode::SUCCESS),
        other => other?,
    }
    match show.story.outcome() {
        Outcome::Broken => Ok(ExitCode::from(FAILED)),
        Outcome::Complete | Outcome::Unfinished => Ok(ExitCode::SUCCESS),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The ways of asking for an end.
struct Stops {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Stops {
    fn listen() -> anyhow::Result<Stops> {
        let on = |kind| signal(kind).context("can't listen for signals");
        Ok(Stops {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    async fn wanted(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// What has been seen so far, and the story that is made of it.
struct Show {
    story: Story,
    clock: Clock,
    end: Option<Duration>,
    ledger: Ledger,
    local: BTreeMap<String, String>,
    cloud: BTreeMap<String, String>,
}

impl Show {
    fn new(args: &DemoArgs, clock: Clock) -> Show {
        Show {
            story: Story::new(if args.fast { Timing::FAST } else { Timing::NORMAL }),
            clock,
            end: args.seconds.map(Duration::from_secs),
            ledger: Ledger::default(),
            local: BTreeMap::new(),
            cloud: BTreeMap::new(),
        }
    }

    /// Until someone wants it to end, a part of the gateway fails, or nobody reads any more.
    async fn tell(
        &mut self,
        stage: &mut Stage,
        mut views: Views,
        screen: &mut Screen<io::Stdout>,
        stops: &mut Stops,
    ) -> anyhow::Result<()> {
        let begin = self.clock.now();
        screen.text(&playbill::playbill(&stage.places())).context(NO_TERMINAL)?;
        let mut look = begin;
        loop {
            tokio::select! {
                // Local first: what is published here is here before it is at the cloud, and is booked in that order.
                biased;
                () = stops.wanted() => return Ok(()),
                failure = stage.gateway.failed() => return Err(failure),
                Some(message) = views.local.recv() => self.published(&message),
                Some(message) = views.cloud.recv() => self.arrived(&message),
                () = self.clock.sleep_until(look) => {
                    let now = self.clock.now();
                    look = now + LOOK_EVERY;
                    self.look(now.since(begin), stage, screen).await?;
                    if self.end.is_some_and(|end| now.since(begin) >= end) {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn look(&mut self, at: Duration, stage: &mut Stage, screen: &mut Screen<io::Stdout>) -> anyhow::Result<()> {
        let snapshot = stage.gateway.snapshot();
        let tally = self.ledger.tally();
        let scene = Scene { snapshot: &snapshot, tally, local: &self.local, cloud: &self.cloud };
        for step in self.story.step(at, &scene) {
            match step {
                Step::Say(tone, text) => screen.line(at, tone, &text).context(NO_TERMINAL)?,
                Step::Do(act) => stage.perform(act).await?,
            }
        }
        let settled = self.story.outcome() != Outcome::Unfinished;
        screen.status(at, story::status(&scene), settled).context(NO_TERMINAL)
    }

    fn published(&mut self, message: &Message) {
        if let Some(topic) = message.topic.strip_prefix(ROOT).filter(|topic| *topic != STATE) {
            remember(&mut self.local, topic, message);
            self.ledger.published(topic, message);
        }
    }

    fn arrived(&mut self, message: &Message) {
        if let Some(topic) = message.topic.strip_prefix(CLOUD_ROOT).filter(|topic| *topic != STATE) {
            remember(&mut self.cloud, topic, message);
            self.ledger.arrived(topic, message);
        }
    }
}

/// Keeps the last snapshot of each device: what stands directly below the root.
fn remember(latest: &mut BTreeMap<String, String>, topic: &str, message: &Message) {
    if !topic.contains('/') {
        latest.insert(topic.into(), String::from_utf8_lossy(&message.payload).into_owned());
    }
}
