//! RTU requests over any byte stream: silence before a request, stale answers thrown away, time limits.
//!
//! RTU answers carry no number, so an answer that comes late looks like the answer to the next request. Three things keep
//! it from becoming a wrong value: what has arrived before a request is thrown away; an answer of another unit, function
//! or length is passed over; and a unit that was silent is asked something else only when an answer that takes up to
//! twice the timeout can't come any more. What comes even later can't be told from the next answer: RTU has no means for it.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::super::super::{Failure, Request, WriteFailure};
use super::pdu::{self, Answer, Ask};
use super::rtu_frame::{self, Collector, Echo};
use crate::clock::Clock;
use crate::model::{Fault, Monotonic};

/// After a damaged answer the line counts as quiet again after this long: USB adapters hand over bytes every 16 ms.
const QUIET_AFTER_DAMAGE: Duration = Duration::from_millis(20);
/// An answer is still expected for at least this long after its time was over.
const LEAST_LATENESS: Duration = Duration::from_millis(500);
/// A device that is late is not always equally late.
const UNSTEADINESS: Duration = Duration::from_millis(100);
/// The largest frame in characters (serial line guide §2.5.1).
const MAX_FRAME: u32 = 256;

/// How long things take on a line.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// One character.
    pub character: Duration,
    /// The silence before a frame.
    pub silence: Duration,
    /// How long a device may take to begin its answer.
    pub timeout: Duration,
}

/// Why there is no answer: the request's fault, or the stream's.
#[derive(Debug)]
pub enum Broken<F> {
    /// The stream works.
    Failure(F),
    /// The stream does not, and the request did not go out on it.
    Stream(io::Error),
}

impl<F> From<io::Error> for Broken<F> {
    fn from(error: io::Error) -> Broken<F> {
        Broken::Stream(error)
    }
}

/// A line and what is known about it.
#[derive(Debug)]
pub struct Rtu<T> {
    stream: T,
    timing: Timing,
    clock: Clock,
    /// When the last byte was on the line.
    last_byte: Monotonic,
    /// Requests whose answer may still come.
    unanswered: Vec<Unanswered>,
    /// Whether the adapter says what it is sent, as far as reading has shown.
    has_echo: bool,
    buffer: Box<[u8; 256]>,
}

#[derive(Debug)]
struct Unanswered {
    unit: u8,
    ask: Ask,
    until: Monotonic,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Rtu<T> {
    /// A line that was just opened.
    pub fn new(stream: T, timing: Timing, clock: Clock) -> Rtu<T> {
        let (last_byte, buffer) = (clock.now(), Box::new([0; 256]));
        Rtu { stream, timing, clock, last_byte, unanswered: Vec::new(), has_echo: false, buffer }
    }

    /// Asks `unit` and waits for its answer.
    pub async fn read(&mut self, unit: u8, request: &Request) -> Result<Answer, Broken<Failure>> {
        let ask = Ask::read(request);
        let mut collector = Collector::new(unit, &ask);
        let sent = self.ask(unit, &ask).await?;
        let mut echo = Echo::of(rtu_frame::request_frame(unit, &ask));
        let heard = self.listen(&ask, sent, |bytes| {
            echo.strip(bytes);
            collector.push(bytes).map(|answer| pdu::answer(request, answer)).ok_or(collector.is_damaged())
        });
        let outcome = heard.await?.unwrap_or_else(|| Err(Failure::NoAnswer(collector.verdict())));
        self.has_echo = echo.was_there();
        self.note(unit, &ask, matches!(outcome, Err(Failure::NoAnswer(_))));
        outcome.map_err(Broken::Failure)
    }

    /// Writes and waits for the answer. The request goes out once.
    pub async fn write(&mut self, unit: u8, ask: &Ask) -> Result<(), Broken<WriteFailure>> {
        let mut collector = Collector::new(unit, ask);
        let sent = self.ask(unit, ask).await?;
        let frame = rtu_frame::request_frame(unit, ask);
        // The answer to a write is its request, or begins like it: an echo must not be taken for it.
        let mut echo = (self.has_echo || frame.len() != rtu_frame::answer_len(ask)).then(|| Echo::of(frame));
        let heard = self.listen(ask, sent, |bytes| {
            let bytes = echo.as_mut().map_or_else(|| bytes.to_vec(), |echo| echo.strip(bytes));
            collector.push(&bytes).map(|answer| ask.written(answer)).ok_or(collector.is_damaged())
        });
        let held = |echo: Option<Echo>, collector: &mut Collector| {
            let held = echo.map_or_else(Vec::new, |mut echo| echo.release());
            collector.push(&held).map(|answer| ask.written(answer))
        };
        let outcome = match heard.await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => {
                held(echo, &mut collector).unwrap_or_else(|| Err(WriteFailure::Unanswered(collector.verdict())))
            }
            // It has gone out, and the line after it.
            Err(_) => Err(WriteFailure::Unanswered(Fault::Disconnected)),
        };
        self.note(unit, ask, matches!(outcome, Err(WriteFailure::Unanswered(_))));
        outcome.map_err(Broken::Failure)
    }

    /// Sends a request once nothing can be confused with its answer; returns when its last character will have left.
    async fn ask(&mut self, unit: u8, ask: &Ask) -> io::Result<Monotonic> {
        let settled = self.late_answers_end(unit, ask);
        self.hush(settled).await?;
        self.send(&rtu_frame::request_frame(unit, ask)).await
    }

    /// Remembers a request whose answer may still come.
    fn note(&mut self, unit: u8, ask: &Ask, is_silent: bool) {
        // What answered a repetition may have been the late answer to the first try; then another one is on its way.
        let is_repeated = self.unanswered.iter().any(|late| late.unit == unit && late.ask == *ask);
        if is_silent || is_repeated {
            // The same lateness once more, and what it varies.
            let until = self.clock.now() + self.timing.timeout.max(LEAST_LATENESS) + UNSTEADINESS;
            self.unanswered.push(Unanswered { unit, ask: ask.clone(), until });
        }
    }

    /// Until when an answer of `unit` could be the late one to another request than this. A late answer to the same
    /// request is as good as a new one.
    fn late_answers_end(&mut self, unit: u8, ask: &Ask) -> Monotonic {
        let now = self.clock.now();
        self.unanswered.retain(|late| late.until > now);
        let confusable =
            |late: &&Unanswered| late.unit == unit && late.ask.function() == ask.function() && late.ask != *ask;
        self.unanswered.iter().filter(confusable).map(|late| late.until).max().unwrap_or(now)
    }

    /// Throws away what arrives until the line has been silent for 3.5 characters, and at least until `until`.
    async fn hush(&mut self, until: Monotonic) -> io::Result<()> {
        // A line that is never silent is not waited for longer than its largest frame takes.
        let patience = self.clock.now() + self.timing.character * MAX_FRAME;
        loop {
            let quiet = (self.last_byte + self.timing.silence).max(until);
            let heard = self.hear(quiet).await?;
            if heard == 0 || self.clock.now() > patience.max(until) {
                return Ok(());
            }
        }
    }

    /// Writes a frame; returns when its last character will have left.
    async fn send(&mut self, frame: &[u8]) -> io::Result<Monotonic> {
        let written = tokio::time::timeout(self.timing.timeout, self.stream.write_all(frame)).await;
        written.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "it takes no data"))??;
        self.last_byte = self.clock.now() + characters(self.timing, frame.len());
        Ok(self.last_byte)
    }

    /// Gives what is heard to `take` until that has an answer; `None` when the time is over. `take` says whether only a
    /// damaged answer has come.
    async fn listen<A>(
        &mut self,
        ask: &Ask,
        sent: Monotonic,
        mut take: impl FnMut(&[u8]) -> Result<A, bool>,
    ) -> io::Result<Option<A>> {
        let begin = sent + self.timing.timeout;
        let end = begin + characters(self.timing, rtu_frame::answer_len(ask));
        let mut until = begin;
        loop {
            let heard = self.hear(until).await?;
            let is_damaged = match take(&self.buffer[..heard]) {
                Ok(answer) => return Ok(Some(answer)),
                Err(is_damaged) => is_damaged,
            };
            // A stream without a pause always has something to hear: the clock ends it.
            if heard == 0 || self.clock.now() >= end {
                return Ok(None);
            }
            until = end;
            if is_damaged {
                until = end.min(self.clock.now() + QUIET_AFTER_DAMAGE.max(self.timing.silence));
            }
        }
    }

    /// Waits for bytes, at most until `until`; returns how many are in the buffer, 0 when the time is over.
    async fn hear(&mut self, until: Monotonic) -> io::Result<usize> {
        let left = until.since(self.clock.now());
        match tokio::time::timeout(left, self.stream.read(&mut self.buffer[..])).await {
            Err(_) => Ok(0),
            Ok(Ok(0)) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "hung up")),
            Ok(Ok(heard)) => {
                self.last_byte = self.clock.now();
                Ok(heard)
            }
            Ok(Err(error)) => Err(error),
        }
    }
}

/// The longest that a request without an answer keeps the line.
pub fn longest(timing: Timing) -> Duration {
    timing.silence + characters(timing, 8) + timing.timeout
}

fn characters(timing: Timing, count: usize) -> Duration {
    timing.character * u32::try_from(count).unwrap_or(MAX_FRAME)
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;

    use super::rtu_frame::crc16;
    use super::*;
    use crate::model::RegisterTable;

    /// What a device does after one request: waits so many milliseconds, then says this; again and again.
    type Script = Vec<(u64, Vec<u8>)>;

    fn ask(address: u16) -> Request {
        Request { table: RegisterTable::Holding, address, count: 1, points: vec![0] }
    }

    fn frame(content: &[u8]) -> Vec<u8> {
        [content, &crc16(content).to_le_bytes()].concat()
    }

    /// The right answer of a unit whose registers hold their own address.
    fn good(unit: u8, address: u16) -> Vec<u8> {
        let [high, low] = address.to_be_bytes();
        frame(&[unit, 3, 2, high, low])
    }

    fn reading(address: u16) -> Result<Answer, Fault> {
        Ok(Answer::Registers(vec![address]))
    }

    /// A line at 19200 baud with a timeout of 100 ms, and a device that follows a script a request.
    fn line(scripts: Vec<Script>) -> (Rtu<DuplexStream>, Clock) {
        let (near, far) = tokio::io::duplex(1024);
        tokio::spawn(play(far, scripts));
        let timing = Timing {
            character: Duration::from_micros(573),
            silence: Duration::from_micros(2005),
            timeout: Duration::from_millis(100),
        };
        let clock = Clock::start();
        (Rtu::new(near, timing, clock), clock)
    }

    async fn play(mut far: DuplexStream, scripts: Vec<Script>) {
        for script in scripts {
            let mut request = [0; 8];
            far.read_exact(&mut request).await.unwrap();
            for (after, bytes) in script {
                tokio::time::sleep(Duration::from_millis(after)).await;
                far.write_all(&bytes).await.unwrap();
            }
        }
        // Stays on the line, silent.
        let _ = far.read(&mut [0; 8]).await;
    }

    async fn read(rtu: &mut Rtu<DuplexStream>, unit: u8, address: u16) -> Result<Answer, Fault> {
        match rtu.read(unit, &ask(address)).await {
            Ok(answer) => Ok(answer),
            Err(Broken::Failure(Failure::NoAnswer(fault) | Failure::Refused(fault))) => Err(fault),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_bad_answer_has_its_fault_and_the_next_request_its_answer() {
        let mut wrong_checksum = good(1, 10);
        wrong_checksum[4] ^= 1;
        for (script, fault) in [
            (vec![], Fault::Timeout),
            (vec![(5, good(2, 10))], Fault::Framing),
            (vec![(5, frame(&[1, 4, 2, 0, 10]))], Fault::Framing),
            (vec![(5, frame(&[1, 3, 4, 0, 10, 0, 11]))], Fault::Framing),
            (vec![(5, frame(&[1, 3, 1, 10]))], Fault::Framing),
            (vec![(5, good(1, 10)[..4].to_vec())], Fault::Framing),
            (vec![(5, wrong_checksum)], Fault::Crc),
            (vec![(5, frame(&[1, 0x83, 2]))], Fault::IllegalAddress),
            (vec![(5, frame(&[1, 0x83, 6]))], Fault::Busy),
            (vec![(5, frame(&[1, 0x83, 11]))], Fault::GatewayTarget),
        ] {
            let (mut rtu, _) = line(vec![script.clone(), vec![(5, good(2, 20))]]);
            assert_eq!(read(&mut rtu, 1, 10).await, Err(fault), "{script:02X?}");
            assert_eq!(read(&mut rtu, 2, 20).await, reading(20), "after {script:02X?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_pieces_is_put_together() {
        let answer = good(1, 10);
        let pieces = answer.iter().map(|byte| (10, vec![*byte])).collect();
        let (mut rtu, _) = line(vec![pieces]);
        assert_eq!(read(&mut rtu, 1, 10).await, reading(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_of_another_unit_spoils_nothing() {
        // Unit 1 answers 110 ms after its request, in the middle of unit 2's.
        let (mut rtu, _) = line(vec![vec![(110, good(1, 10))], vec![(10, good(2, 20))]]);
        assert_eq!(read(&mut rtu, 1, 10).await, Err(Fault::Timeout));
        assert_eq!(read(&mut rtu, 2, 20).await, reading(20));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_is_not_taken_for_the_answer_to_the_next_request_of_the_same_unit() {
        let (mut rtu, clock) = line(vec![vec![(300, good(1, 10))], vec![(10, good(1, 99))]]);
        assert_eq!(read(&mut rtu, 1, 10).await, Err(Fault::Timeout));
        assert_eq!(read(&mut rtu, 1, 99).await, reading(99));
        assert!(clock.now() > Monotonic::from_millis(600), "the late answer was waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn the_answers_to_a_request_and_its_repetition_both_come_and_the_second_is_thrown_away() {
        let scripts = vec![vec![(150, good(1, 10))], vec![(50, good(1, 10))], vec![(10, good(1, 99))]];
        let (mut rtu, clock) = line(scripts);
        assert_eq!(read(&mut rtu, 1, 10).await, Err(Fault::Timeout));
        assert_eq!(read(&mut rtu, 1, 10).await, reading(10));
        assert!(clock.now() < Monotonic::from_millis(200), "a repetition needs no waiting");
        assert_eq!(read(&mut rtu, 1, 99).await, reading(99));
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_of_two_late_answers_is_not_taken_for_the_answer_to_the_next_request_either() {
        // Both answers come 900 ms after their requests: the first for the repetition, the second when nobody asked for it.
        let scripts = vec![vec![(900, good(1, 10))], vec![(500, good(1, 10))], vec![(10, good(1, 99))]];
        let (mut rtu, _) = line(scripts);
        rtu.timing.timeout = Duration::from_millis(500);
        assert_eq!(read(&mut rtu, 1, 10).await, Err(Fault::Timeout));
        assert_eq!(read(&mut rtu, 1, 10).await, reading(10));
        assert_eq!(read(&mut rtu, 1, 99).await, reading(99));
    }

    #[tokio::test(start_paused = true)]
    async fn garbage_forever_does_not_hold_the_line_and_an_answer_in_it_is_found() {
        let (near, mut far) = tokio::io::duplex(1024);
        tokio::spawn(async move {
            let (mut heard, mut request) = (0, [0; 64]);
            loop {
                tokio::select! {
                    more = far.read(&mut request) => heard += more.unwrap(),
                    () = tokio::time::sleep(Duration::from_millis(1)) => far.write_all(&[0x55, 0x01, 0xAA]).await.unwrap(),
                }
                if heard == 16 {
                    far.write_all(&good(2, 20)).await.unwrap();
                    heard = 0;
                }
            }
        });
        let clock = Clock::start();
        let character = Duration::from_micros(573);
        let timing = Timing { character, silence: Duration::from_micros(2005), timeout: Duration::from_millis(100) };
        let mut rtu = Rtu::new(near, timing, clock);
        assert_eq!(read(&mut rtu, 1, 10).await, Err(Fault::Framing));
        let first = clock.now();
        // At most the largest frame before it, the timeout, and the answer's own time.
        assert!(first < Monotonic::from_millis(147 + 5 + 100 + 5 + 10), "{first:?}");
        assert_eq!(read(&mut rtu, 2, 20).await, reading(20));
    }

    #[tokio::test(start_paused = true)]
    async fn frames_are_separated_by_the_silence() {
        let (mut rtu, clock) = line(vec![vec![(5, good(1, 10))], vec![(5, good(1, 10))]]);
        read(&mut rtu, 1, 10).await.unwrap();
        let answered = clock.now();
        rtu.hush(answered).await.unwrap();
        assert!(clock.now().since(answered) >= Duration::from_micros(2005));
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_hangs_up_is_a_broken_stream() {
        let (near, far) = tokio::io::duplex(64);
        drop(far);
        let timing = Timing { character: Duration::from_micros(573), silence: Duration::ZERO, timeout: Duration::ZERO };
        let mut rtu = Rtu::new(near, timing, Clock::start());
        assert!(matches!(rtu.read(1, &ask(0)).await, Err(Broken::Stream(_))));
    }
}
