//! Lines and frames on a wire: requests and answers, and what devices say by themselves.
//!
//! Answers carry no number, so after a silence another request waits until a late answer can't come any more; what comes before
//! a request is never its answer. A line that nobody asked for is passed on also while an answer is waited for.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::stream::{Echo, Wire, line_settings};
use super::super::{Failure, Heard, LineError};
use super::collector::{Collector, Piece};
use super::ears::Ears;
use super::extract::extract;
use crate::clock::Clock;
use crate::model::{Bus, Device, Fault, Find, Monotonic, Sample, Source};

/// An answer is still expected for at least this long after its time was over.
const LEAST_LATENESS: Duration = Duration::from_millis(500);
/// A device that is late is not always equally late.
const UNSTEADINESS: Duration = Duration::from_millis(100);
/// When a part of an answer is there, the rest follows without a longer pause.
const SETTLED: Duration = Duration::from_millis(100);
/// A line that is never silent is not waited for longer than this many characters.
const PATIENCE: u32 = 256;
/// A device that dials in may have done so again when it has been silent for this long.
const SILENT_CALLER: Duration = Duration::from_secs(3);
/// How often that is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long devices usually think before they answer.
const TURNAROUND: Duration = Duration::from_millis(20);
/// A day is as good as never.
const NEVER: Duration = Duration::from_secs(86_400);

/// A wire and what is said on it.
pub struct Talk {
    wire: Wire,
    timeout: Duration,
    character: Duration,
    clock: Clock,
    collector: Collector,
    ears: Ears,
    echo: Echo,
    last_byte: Monotonic,
    /// The request that is on its way. It stays when the caller gives up waiting half-way.
    asked: Option<Arc<[u8]>>,
    /// Requests whose answer may still come, and until when.
    unanswered: Vec<(Arc<[u8]>, Monotonic)>,
    /// Requests since the wire was opened.
    requests: u64,
    buffer: Box<[u8; 512]>,
}

/// The answer to one request as far as it came.
struct Answer<'a> {
    device: &'a Device,
    points: &'a [usize],
    request: &'a [u8],
    samples: Vec<Option<Sample>>,
    /// What came that was not it, nor anyone else's.
    fault: Option<Fault>,
    /// Bytes came that no telegram has taken yet.
    is_open: bool,
}

/// How an exchange failed.
enum Broken {
    NoAnswer(Fault),
    Stream(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        Broken::Stream(error)
    }
}

impl Talk {
    /// Not open yet.
    pub fn new(bus: &Bus, collector: Collector, clock: Clock) -> Talk {
        let line = line_settings(&bus.transport);
        Talk {
            wire: Wire::new(&bus.transport, bus.timeout, clock),
            timeout: bus.timeout,
            character: line.character_time(),
            clock,
            collector,
            ears: Ears::default(),
            echo: Echo::new(bus.echo),
            last_byte: clock.now(),
            asked: None,
            unanswered: Vec::new(),
            requests: 0,
            buffer: Box::new([0; 512]),
        }
    }

    /// The devices whose points may come unasked.
    pub fn attach(&mut self, devices: &[Arc<Device>]) {
        self.ears = Ears::new(devices);
        self.ears.opened(self.clock.now());
    }

    /// Opens the wire.
    pub async fn open(&mut self) -> Result<(), LineError> {
        self.wire.open().await?;
        match self.wire.is_serial() {
            true => self.collector.join(),
            false => self.collector.clear(),
        }
        self.echo.forget();
        self.requests = 0;
        self.last_byte = self.clock.now();
        self.ears.opened(self.last_byte);
        Ok(())
    }

    /// What a request and its answer usually take: a few dozen characters, and a moment to think.
    pub fn expected(&self) -> Duration {
        self.character * 48 + TURNAROUND
    }

    /// The longest that [`Talk::read`] takes when nothing answers.
    pub fn longest(&self) -> Duration {
        self.character * 32 + self.timeout
    }

    /// What was heard unasked since the last call.
    pub fn heard(&mut self) -> Vec<Heard> {
        // On a line that is gone nothing is overdue: it is known why nothing comes.
        if self.wire.stream().is_some() {
            self.ears.advance(self.clock.stamp());
        }
        self.ears.take()
    }

    /// Telegrams since the last call that were none.
    pub fn damaged(&mut self) -> u64 {
        self.ears.take_damaged()
    }

    /// Waits until something is heard, or overdue; for ever when nothing comes unasked, or the wire is closed.
    pub async fn listen(&mut self) -> Result<(), LineError> {
        if !self.ears.is_needed() || self.wire.stream().is_none() {
            return std::future::pending().await;
        }
        loop {
            self.ears.advance(self.clock.stamp());
            if self.ears.has_heard() {
                return Ok(());
            }
            let mut until = self.ears.wake_at().unwrap_or(self.clock.now() + NEVER);
            if self.wire.is_listening() {
                let now = self.clock.now();
                until = until.min(now + LOOK_EVERY);
                if now.since(self.last_byte) >= SILENT_CALLER && self.wire.heard(false) {
                    self.collector.clear();
                }
            }
            if let Err(error) = self.hear(until, None).await {
                return Err(self.wire.fail(&error));
            }
        }
    }

    /// Sends `request` and waits for the answer: one sample a point. May be dropped half-way. Opens a connection anew that the other
    /// end has closed.
    pub async fn read(
        &mut self,
        device: &Device,
        points: &[usize],
        request: &Arc<[u8]>,
    ) -> Result<Vec<Sample>, Failure> {
        if !self.wire.is_usable() && self.wire.is_dialled() {
            self.open().await?;
        }
        loop {
            let used_before = self.requests > 0;
            self.requests += 1;
            match self.exchange(device, points, request).await {
                Ok(samples) => return Ok(samples),
                Err(Broken::NoAnswer(fault)) => return Err(Failure::NoAnswer(fault)),
                Err(Broken::Stream(_)) if used_before && self.wire.is_dialled() => self.open().await?,
                Err(Broken::Stream(error)) => return Err(self.wire.fail(&error).into()),
            }
        }
    }

    async fn exchange(
        &mut self,
        device: &Device,
        points: &[usize],
        request: &Arc<[u8]>,
    ) -> Result<Vec<Sample>, Broken> {
        if let Some(given_up) = self.asked.take() {
            self.expect_late(given_up);
        }
        let settled = self.late_answers_end(request);
        self.hush(settled).await?;
        self.asked = Some(Arc::clone(request));
        let sent = self.send(request).await?;
        let mut answer =
            Answer { device, points, request, samples: vec![None; points.len()], fault: None, is_open: false };
        let heard = self.collect(&mut answer, request, sent).await?;
        self.asked = None;
        // A connection that others are listened to on is not closed for the silence of one.
        if !heard && !self.ears.is_needed() {
            self.wire.heard(false);
        }
        let is_silent = answer.samples.iter().all(Option::is_none);
        let is_repeated = self.unanswered.iter().any(|(late, _)| late == request);
        if is_silent || is_repeated {
            self.expect_late(Arc::clone(request));
        }
        if is_silent {
            return Err(Broken::NoAnswer(answer.verdict()));
        }
        // The device answered, and not about these.
        let missing = answer.fault.unwrap_or(Fault::Framing);
        Ok(answer.samples.into_iter().map(|sample| sample.unwrap_or(Sample::Bad(missing))).collect())
    }

    /// Takes in what comes until the answer is there, or its time is over. Returns whether anything came.
    async fn collect(&mut self, answer: &mut Answer<'_>, request: &[u8], sent: Monotonic) -> io::Result<bool> {
        let begin = sent + self.timeout;
        let end = begin + self.timeout;
        let echo = self.echo;
        let mut filter = echo.filter(request, false);
        let mut heard_any = false;
        loop {
            let is_begun = answer.samples.iter().any(Option::is_some);
            let until = match (is_begun, heard_any) {
                (true, _) => (self.last_byte + SETTLED).min(end),
                (false, true) => end,
                (false, false) => begin,
            };
            let heard = self.hear(until, Some((&mut *answer, &mut filter))).await?;
            heard_any |= heard;
            let is_complete = answer.samples.iter().all(Option::is_some);
            let now = self.clock.now();
            // A stream without a pause always has something to hear: the clock ends it.
            if is_complete || now >= if heard { end } else { until } {
                self.echo.learn(&filter, is_begun || is_complete);
                return Ok(heard_any);
            }
        }
    }

    /// The same lateness once more, and what it varies.
    fn expect_late(&mut self, request: Arc<[u8]>) {
        let until = self.clock.now() + self.timeout.max(LEAST_LATENESS) + UNSTEADINESS;
        self.unanswered.push((request, until));
    }

    /// Until when the answer to another request could still come. A late answer to the same request is as good as a new one.
    fn late_answers_end(&mut self, request: &Arc<[u8]>) -> Monotonic {
        let now = self.clock.now();
        self.unanswered.retain(|(_, until)| *until > now);
        self.unanswered.iter().filter(|(late, _)| late != request).map(|(_, until)| *until).max().unwrap_or(now)
    }

    /// Waits until the line has been silent for 3.5 characters, and at least until `until`. What comes is nobody's answer.
    async fn hush(&mut self, until: Monotonic) -> io::Result<()> {
        let patience = (self.clock.now() + self.character * PATIENCE).max(until);
        loop {
            let quiet = (self.last_byte + self.character * 7 / 2).max(until);
            let heard = self.hear(quiet, None).await?;
            let now = self.clock.now();
            if now > patience || (!heard && now >= quiet) {
                break;
            }
        }
        // What has begun would be taken for the beginning of the answer; if it may be anyone's, its end will tell.
        if !self.ears.is_needed() {
            self.collector.clear();
        }
        Ok(())
    }

    /// Writes a request; returns when its last character will have left.
    async fn send(&mut self, request: &[u8]) -> io::Result<Monotonic> {
        let stream = self.wire.stream().ok_or_else(closed)?;
        let written = tokio::time::timeout(self.timeout, stream.write_all(request)).await;
        written.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "it takes no data"))??;
        let characters = u32::try_from(request.len()).unwrap_or(u32::MAX);
        self.last_byte = self.clock.now() + self.character * characters;
        Ok(self.last_byte)
    }

    /// Takes in what comes, once, at most until `until`. Returns whether bytes came, an echo aside.
    async fn hear(
        &mut self,
        until: Monotonic,
        mut waiting: Option<(&mut Answer<'_>, &mut super::super::stream::Filter<'_>)>,
    ) -> io::Result<bool> {
        let pause = self.collector.awaited_pause().map(|pause| self.last_byte + pause);
        let wake = pause.map_or(until, |pause| pause.min(until));
        let stream = self.wire.stream().ok_or_else(closed)?;
        let count = tokio::select! {
            biased;
            count = stream.read(&mut self.buffer[..]) => match count? {
                0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "hung up")),
                count => count,
            },
            () = self.clock.sleep_until(wake) => 0,
        };
        let stamp = self.clock.stamp();
        let ears = &mut self.ears;
        let (held_back, rest) = match (&mut waiting, count) {
            (Some((_, filter)), 0) if until <= stamp.monotonic => (filter.rest(), &[][..]),
            (Some((_, filter)), count) => filter.push(&self.buffer[..count]),
            (None, count) => (&[][..], &self.buffer[..count]),
        };
        let mut found = |piece: Piece<'_>| match piece {
            Piece::Whole(telegram) => {
                let is_known = ears.hear(telegram, stamp);
                if let Some((answer, _)) = &mut waiting {
                    answer.hear(telegram, is_known);
                }
            }
            Piece::Damaged(fault) => {
                ears.damaged(fault);
                if let Some((answer, _)) = &mut waiting {
                    answer.damaged(fault);
                }
            }
        };
        for bytes in [held_back, rest] {
            self.collector.push(bytes, &mut found);
        }
        if count > 0 {
            self.last_byte = stamp.monotonic.max(self.last_byte);
        } else if pause.is_some_and(|pause| pause <= stamp.monotonic) {
            self.collector.pause(&mut found);
        }
        let has_come = !held_back.is_empty() || !rest.is_empty();
        if has_come {
            self.wire.heard(true);
        }
        if let Some((answer, _)) = &mut waiting {
            answer.is_open = self.collector.has_begun();
        }
        Ok(has_come)
    }
}

impl Answer<'_> {
    fn hear(&mut self, telegram: &[u8], is_anyones: bool) {
        let mut is_ours = is_anyones;
        // Where any line would do, neither what somebody said by himself will, nor the request that some instruments repeat.
        let is_no_answer = is_anyones || telegram.trim_ascii() == self.request.trim_ascii();
        for (point, sample) in self.points.iter().zip(&mut self.samples) {
            let point = &self.device.points[*point];
            if is_no_answer && matches!(&point.source, Source::Line(line) if line.find == Find::Whole) {
                is_ours = true;
            } else if let Some(found) = extract(point, telegram) {
                is_ours = true;
                sample.get_or_insert(found);
            }
        }
        if !is_ours {
            self.damaged(Fault::Framing);
        }
    }

    /// A wrong checksum says more than anything else.
    fn damaged(&mut self, fault: Fault) {
        self.fault = self.fault.filter(|before| *before == Fault::Crc).or(Some(fault));
    }

    /// Why there is no sample at all.
    fn verdict(&self) -> Fault {
        match self.fault {
            Some(fault) => fault,
            None if self.is_open => Fault::Framing,
            None => Fault::Timeout,
        }
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "it is not open")
}
