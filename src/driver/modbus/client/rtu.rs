//! RTU and ASCII requests over any byte stream: silence before a request, stale answers thrown away, time limits.
//!
//! Serial answers carry no number, so an answer that comes late looks like the answer to the next request. Three things keep
//! it from becoming a wrong value: what has arrived before a request is thrown away; an answer of another unit, function
//! or length is passed over; and a unit that was silent is asked something else only when an answer that takes up to
//! twice the timeout can't come any more. What comes even later can't be told from the next answer: RTU has no means for it.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::super::super::stream::{Echo, Filter};
use super::super::super::{Failure, Request, WriteFailure};
use super::framing::{Collector, Framing};
use super::pdu::{self, Answer, Ask};
use crate::clock::{Alarm, Clock};
use crate::model::{Fault, Monotonic};

/// After a damaged answer the line counts as quiet again after this long: USB adapters hand over bytes every 16 ms.
const QUIET_AFTER_DAMAGE: Duration = Duration::from_millis(20);
/// An answer is still expected for at least this long after its time was over.
const LEAST_LATENESS: Duration = Duration::from_millis(500);
/// A device that is late is not always equally late.
const UNSTEADINESS: Duration = Duration::from_millis(100);
/// The largest RTU frame in characters (serial line guide §2.5.1).
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
    /// The stream does not.
    Stream(io::Error),
}

impl<F> From<io::Error> for Broken<F> {
    fn from(error: io::Error) -> Broken<F> {
        Broken::Stream(error)
    }
}

/// What is known about a line, whichever stream it is on just now.
#[derive(Debug)]
pub struct Rtu {
    framing: Framing,
    timing: Timing,
    clock: Clock,
    alarm: Alarm,
    echo: Echo,
    /// When the last byte was on the line.
    last_byte: Monotonic,
    /// Whether a byte came in answer to the last request, its echo aside, or a late one before it.
    was_heard: bool,
    /// The request that is on its way. It stays when the caller gives up waiting half-way.
    asked: Option<(u8, Ask)>,
    /// Requests whose answer may still come.
    unanswered: Vec<Unanswered>,
    buffer: Box<[u8; 256]>,
}

#[derive(Debug)]
struct Unanswered {
    unit: u8,
    ask: Ask,
    until: Monotonic,
}

impl Rtu {
    /// Nothing was said yet. `alarm` keeps the silences.
    pub fn new(framing: Framing, timing: Timing, echo: Echo, alarm: Alarm, clock: Clock) -> Rtu {
        let (last_byte, buffer) = (clock.now(), Box::new([0; 256]));
        let unanswered = Vec::new();
        Rtu { framing, timing, clock, alarm, echo, last_byte, was_heard: false, asked: None, unanswered, buffer }
    }

    /// The stream was opened anew. Answers may still come: what a converter was sent is on its line.
    pub fn opened(&mut self) {
        self.last_byte = self.clock.now();
        self.echo.forget();
    }

    /// Whether anything came in answer to the last request.
    pub fn was_heard(&self) -> bool {
        self.was_heard
    }

    /// Asks `unit` and waits for its answer. May be dropped half-way: the next request waits as after a silence.
    pub async fn read<T>(&mut self, stream: &mut T, unit: u8, request: &Request) -> Result<Answer, Broken<Failure>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let ask = Ask::read(request);
        let sent = self.ask(stream, unit, &ask).await?;
        let heard = self.hear(stream, unit, &ask, sent, |answer| pdu::answer(request, answer)).await?;
        let outcome = heard.unwrap_or_else(|fault| Err(Failure::NoAnswer(fault)));
        self.settle(unit, ask, matches!(outcome, Err(Failure::NoAnswer(_))));
        outcome.map_err(Broken::Failure)
    }

    /// Asks `unit` anything that changes nothing, and waits for its answer as it is.
    pub async fn question<T>(&mut self, stream: &mut T, unit: u8, ask: &Ask) -> Result<Vec<u8>, Broken<Failure>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let sent = self.ask(stream, unit, ask).await?;
        let heard = self.hear(stream, unit, ask, sent, |answer| pdu::raw_answer(ask.function(), answer)).await?;
        let outcome = heard.unwrap_or_else(|fault| Err(Failure::NoAnswer(fault)));
        self.settle(unit, ask.clone(), matches!(outcome, Err(Failure::NoAnswer(_))));
        outcome.map_err(Broken::Failure)
    }

    /// Writes to `unit` and waits for the answer. The request goes out once. [`Broken::Stream`] means that it did not.
    pub async fn write<T>(&mut self, stream: &mut T, unit: u8, ask: &Ask) -> Result<Vec<u16>, Broken<WriteFailure>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let sent = self.ask(stream, unit, ask).await?;
        let outcome = match self.hear(stream, unit, ask, sent, |answer| ask.written(answer)).await {
            Ok(heard) => heard.unwrap_or_else(|fault| Err(WriteFailure::Unanswered(fault))),
            // It has gone out, and the stream after it.
            Err(_) => Err(WriteFailure::Unanswered(Fault::Disconnected)),
        };
        self.settle(unit, ask.clone(), matches!(outcome, Err(WriteFailure::Unanswered(_))));
        outcome.map_err(Broken::Failure)
    }

    /// Sends a request once nothing can be confused with its answer; returns when its last character will have left.
    async fn ask<T>(&mut self, stream: &mut T, unit: u8, ask: &Ask) -> io::Result<Monotonic>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        if let Some((unit, ask)) = self.asked.take() {
            self.expect_late(unit, ask);
        }
        let settled = self.late_answers_end(unit, ask);
        self.was_heard = false;
        self.hush(stream, settled).await?;
        self.asked = Some((unit, ask.clone()));
        self.send(stream, &self.framing.frame(unit, ask.pdu())).await
    }

    /// Waits for the answer and understands it; the error says why there is none.
    async fn hear<T: AsyncRead + Unpin, A, F>(
        &mut self,
        stream: &mut T,
        unit: u8,
        ask: &Ask,
        sent: Monotonic,
        understand: impl FnMut(&[u8]) -> Result<A, F>,
    ) -> io::Result<Result<Result<A, F>, Fault>> {
        let frame = self.framing.frame(unit, ask.pdu());
        let mut collector = self.framing.collector(unit, ask);
        let mut filter = self.echo.filter(&frame, ask.may_be_answer());
        let heard = self.listen(stream, &mut collector, &mut filter, ask, sent, understand).await?;
        // What looks like an answer to a write may be its echo: that teaches nothing.
        if !ask.may_be_answer() {
            self.echo.learn(&filter, matches!(heard, Ok(Ok(_))));
        }
        Ok(heard)
    }

    /// The exchange is over: whether its answer, or another one, may still come.
    fn settle(&mut self, unit: u8, ask: Ask, is_silent: bool) {
        self.asked = None;
        // What answered a repetition may have been the late answer to the first try; then another one is on its way.
        let is_repeated = self.unanswered.iter().any(|late| late.unit == unit && late.ask == ask);
        if is_silent || is_repeated {
            self.expect_late(unit, ask);
        }
    }

    /// The same lateness once more, and what it varies.
    fn expect_late(&mut self, unit: u8, ask: Ask) {
        let until = self.clock.now() + self.timing.timeout.max(LEAST_LATENESS) + UNSTEADINESS;
        self.unanswered.push(Unanswered { unit, ask, until });
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
    async fn hush<T: AsyncRead + Unpin>(&mut self, stream: &mut T, until: Monotonic) -> io::Result<()> {
        // A line that is never silent is not waited for longer than its largest frame takes.
        let patience = self.clock.now() + self.timing.character * MAX_FRAME;
        loop {
            let quiet = (self.last_byte + self.timing.silence).max(until);
            let heard = tokio::select! {
                biased;
                heard = stream.read(&mut self.buffer[..]) => bytes(heard)?,
                () = self.alarm.wait_until(self.clock, quiet) => 0,
            };
            if heard == 0 {
                return Ok(());
            }
            self.was_heard = true;
            self.last_byte = self.clock.now();
            if self.last_byte > patience.max(until) {
                return Ok(());
            }
        }
    }

    /// Writes a frame; returns when its last character will have left.
    async fn send<T: AsyncWrite + Unpin>(&mut self, stream: &mut T, frame: &[u8]) -> io::Result<Monotonic> {
        let written = tokio::time::timeout(self.timing.timeout, stream.write_all(frame)).await;
        written.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "it takes no data"))??;
        self.last_byte = self.clock.now() + characters(self.timing, frame.len());
        Ok(self.last_byte)
    }

    async fn listen<T: AsyncRead + Unpin, A>(
        &mut self,
        stream: &mut T,
        collector: &mut Collector,
        filter: &mut Filter<'_>,
        ask: &Ask,
        sent: Monotonic,
        mut understand: impl FnMut(&[u8]) -> A,
    ) -> io::Result<Result<A, Fault>> {
        let begin = sent + self.timing.timeout;
        let end = begin + characters(self.timing, self.framing.answer_len(ask));
        let mut until = begin;
        loop {
            let left = until.since(self.clock.now());
            let heard = match tokio::time::timeout(left, stream.read(&mut self.buffer[..])).await {
                Err(_) => 0,
                Ok(heard) => bytes(heard)?,
            };
            let now = self.clock.now();
            if heard > 0 {
                // An echo is heard while it is sent, which ends no sooner for that.
                self.last_byte = now.max(self.last_byte);
            }
            let (held_back, rest) = match heard {
                0 => (filter.rest(), &[][..]),
                heard => filter.push(&self.buffer[..heard]),
            };
            self.was_heard |= !held_back.is_empty() || !rest.is_empty();
            for bytes in [held_back, rest] {
                if let Some(answer) = collector.push(bytes) {
                    return Ok(Ok(understand(answer)));
                }
            }
            // A stream without a pause always has something to hear: the clock ends it.
            if heard == 0 || now >= end {
                return Ok(Err(collector.verdict()));
            }
            until = end;
            if collector.is_damaged() {
                until = end.min(now + QUIET_AFTER_DAMAGE.max(self.timing.silence));
            }
        }
    }
}

/// What was read; nothing is the end of the stream.
fn bytes(heard: io::Result<usize>) -> io::Result<usize> {
    match heard? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "hung up")),
        heard => Ok(heard),
    }
}

/// The longest that a request without an answer keeps the line.
pub fn longest(timing: Timing) -> Duration {
    timing.silence + characters(timing, 8) + timing.timeout
}

fn characters(timing: Timing, count: usize) -> Duration {
    timing.character * u32::try_from(count).unwrap_or(2 * MAX_FRAME)
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;

    use super::super::pdu::Form;
    use super::super::rtu_frame::{self, crc16};
    use super::*;
    use crate::driver::Change;
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
    fn line(scripts: Vec<Script>) -> (Line, Clock) {
        let (near, far) = tokio::io::duplex(1024);
        tokio::spawn(play(far, scripts));
        let clock = Clock::start();
        (Line { rtu: rtu(clock), near }, clock)
    }

    fn rtu(clock: Clock) -> Rtu {
        let timing = Timing {
            character: Duration::from_micros(573),
            silence: Duration::from_micros(2005),
            timeout: Duration::from_millis(100),
        };
        Rtu::new(Framing::Rtu, timing, Echo::new(false), Alarm::coarse(), clock)
    }

    struct Line {
        rtu: Rtu,
        near: DuplexStream,
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

    async fn read(line: &mut Line, unit: u8, address: u16) -> Result<Answer, Fault> {
        match line.rtu.read(&mut line.near, unit, &ask(address)).await {
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
        rtu.rtu.timing.timeout = Duration::from_millis(500);
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
        let mut rtu = Line { rtu: rtu(clock), near };
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
        rtu.rtu.hush(&mut rtu.near, answered).await.unwrap();
        assert!(clock.now().since(answered) >= Duration::from_micros(2005));
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_hangs_up_is_a_broken_stream() {
        let (mut near, far) = tokio::io::duplex(64);
        drop(far);
        assert!(matches!(rtu(Clock::start()).read(&mut near, 1, &ask(0)).await, Err(Broken::Stream(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_was_given_up_half_way_is_as_good_as_unanswered() {
        let (mut rtu, clock) = line(vec![vec![(300, good(1, 10))], vec![(10, good(1, 99))]]);
        assert!(tokio::time::timeout(Duration::from_millis(50), read(&mut rtu, 1, 10)).await.is_err());
        assert_eq!(read(&mut rtu, 1, 99).await, reading(99));
        assert!(clock.now() > Monotonic::from_millis(600), "the late answer was waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn an_adapter_that_echoes_is_as_good_as_any_and_an_echo_alone_is_a_silence() {
        let echo = |address| rtu_frame::frame(1, Ask::read(&ask(address)).pdu());
        let scripts = vec![
            vec![(1, [echo(10), good(1, 10)].concat())],
            vec![(1, echo(11)), (20, good(1, 11))],
            vec![(1, echo(12))],
        ];
        let (mut rtu, _) = line(scripts);
        assert_eq!(read(&mut rtu, 1, 10).await, reading(10));
        assert_eq!(read(&mut rtu, 1, 11).await, reading(11));
        assert_eq!(read(&mut rtu, 1, 12).await, Err(Fault::Timeout));
        assert!(!rtu.rtu.was_heard());
    }

    /// Register `address` of unit 1 becomes `value`.
    async fn write(line: &mut Line, address: u16, value: u16) -> Result<(), WriteFailure> {
        let ask = Ask::write(&Change::Registers { address, values: vec![value] }, Form::Single);
        match line.rtu.write(&mut line.near, 1, &ask).await {
            Ok(_) => Ok(()),
            Err(Broken::Failure(failure)) => Err(failure),
            Err(Broken::Stream(error)) => panic!("{error}"),
        }
    }

    fn written(address: u16, value: u16) -> Vec<u8> {
        let ([a, b], [c, d]) = (address.to_be_bytes(), value.to_be_bytes());
        frame(&[1, 6, a, b, c, d])
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_is_acknowledged_refused_or_unanswered_and_goes_out_once() {
        for (script, outcome) in [
            (vec![(5, written(10, 7))], Ok(())),
            (vec![(5, frame(&[1, 0x86, 3]))], Err(WriteFailure::Refused(Fault::IllegalValue))),
            (vec![(5, frame(&[1, 0x86, 11]))], Err(WriteFailure::Unanswered(Fault::GatewayTarget))),
            (vec![], Err(WriteFailure::Unanswered(Fault::Timeout))),
            (vec![(5, written(10, 8))], Err(WriteFailure::Unanswered(Fault::Framing))),
            (vec![(5, good(1, 10))], Err(WriteFailure::Unanswered(Fault::Framing))),
        ] {
            let (mut line, _) = line(vec![script.clone(), vec![(5, good(1, 20))]]);
            assert_eq!(write(&mut line, 10, 7).await, outcome, "{script:02X?}");
            // The script counts requests: had it been sent twice, this would not be answered.
            assert_eq!(read(&mut line, 1, 20).await, reading(20), "after {script:02X?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_echo_that_is_known_is_not_taken_for_an_acknowledgement() {
        let echo = rtu_frame::frame(1, Ask::read(&ask(10)).pdu());
        let scripts = vec![
            vec![(1, [echo, good(1, 10)].concat())],
            vec![(1, written(10, 7))],
            vec![(1, written(10, 8)), (20, written(10, 8))],
        ];
        let (mut line, _) = line(scripts);
        assert_eq!(read(&mut line, 1, 10).await, reading(10));
        assert_eq!(write(&mut line, 10, 7).await, Err(WriteFailure::Unanswered(Fault::Timeout)));
        assert_eq!(write(&mut line, 10, 8).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_acknowledgement_is_not_taken_for_that_of_the_next_write() {
        let (mut line, clock) = line(vec![vec![(300, written(10, 7))], vec![(10, written(10, 8))]]);
        assert_eq!(write(&mut line, 10, 7).await, Err(WriteFailure::Unanswered(Fault::Timeout)));
        assert_eq!(write(&mut line, 10, 8).await, Ok(()));
        assert!(clock.now() > Monotonic::from_millis(600), "the late answer was waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn ascii_frames_are_exchanged_in_the_same_way() {
        let (near, mut far) = tokio::io::duplex(1024);
        tokio::spawn(async move {
            let mut request = [0; 17];
            far.read_exact(&mut request).await.unwrap();
            assert_eq!(&request, b":0103000A0001F1\r\n");
            far.write_all(b"noise:0103").await.unwrap();
            far.write_all(b":010302000AF0\r\n").await.unwrap();
            far.read_exact(&mut request).await.unwrap();
            far.write_all(b":010302000AF1\r\n").await.unwrap();
            let _ = far.read(&mut request).await;
        });
        let clock = Clock::start();
        let mut line = Line { rtu: Rtu { framing: Framing::Ascii, ..rtu(clock) }, near };
        assert_eq!(read(&mut line, 1, 10).await, reading(10));
        assert_eq!(read(&mut line, 1, 10).await, Err(Fault::Crc));
    }

    #[tokio::test]
    async fn no_gap_is_shorter_than_the_silence_however_fast_the_device_is() {
        let (near, mut far) = tokio::io::duplex(1024);
        let clock = Clock::start();
        let device = tokio::spawn(async move {
            let (mut request, mut answered, mut shortest) = ([0; 8], None, Duration::MAX);
            while far.read_exact(&mut request).await.is_ok() {
                let now = clock.now();
                shortest = answered.map_or(shortest, |before| shortest.min(now.since(before)));
                // Before it is sent: what the other end measures begins later.
                answered = Some(clock.now());
                far.write_all(&good(1, 10)).await.unwrap();
            }
            shortest
        });
        let silence = Duration::from_micros(1750);
        let timing = Timing { character: Duration::from_micros(87), silence, timeout: Duration::from_secs(5) };
        let rtu = Rtu::new(Framing::Rtu, timing, Echo::new(false), Alarm::precise(), clock);
        let mut line = Line { rtu, near };
        for _ in 0..50 {
            assert_eq!(read(&mut line, 1, 10).await, reading(10));
        }
        drop(line);
        let shortest = device.await.unwrap();
        assert!(shortest >= silence, "{shortest:?}");
    }
}
