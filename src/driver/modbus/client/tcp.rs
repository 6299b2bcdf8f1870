//! Modbus TCP: one connection, one request at a time, every answer checked against its request.
//!
//! After a silence or an answer that makes no sense the connection is closed: what still comes on it is nobody's answer.
//! The next request connects anew. A device that dials in keeps its connection after a silence, because it may take minutes to
//! dial again: a late answer has the number of its own request and is passed over.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::super::super::stream::Connector;
use super::super::super::{Failure, LineError, Request, WriteFailure};
use super::pdu::{self, Answer, Ask};
use super::tcp_frame::{self, HEADER, MAX_FRAME};
use crate::clock::Clock;
use crate::model::Fault;

/// A Modbus TCP server and the connection to it.
pub struct Tcp {
    pub(super) connector: Connector,
    pub(super) timeout: Duration,
    pub(super) clock: Clock,
    pub(super) stream: Option<TcpStream>,
    transaction: u16,
    /// The last exchange ended between two frames.
    in_step: bool,
    buffer: Box<[u8; MAX_FRAME]>,
}

/// How an exchange on a connection ended without an answer.
enum Ended {
    /// Nothing came in time, or nothing that is an answer.
    Silent(Fault),
    /// The connection was gone before any of the request was taken.
    NotSent,
    /// The peer closed it.
    Closed {
        /// Some bytes of an answer were there.
        heard: bool,
    },
}

impl Tcp {
    /// Not connected yet.
    pub fn new(connector: Connector, timeout: Duration, clock: Clock) -> Tcp {
        Tcp { connector, timeout, clock, stream: None, transaction: 0, in_step: true, buffer: Box::new([0; MAX_FRAME]) }
    }

    /// Connects, or waits a second for the device to.
    pub async fn open(&mut self) -> Result<(), LineError> {
        self.stream = None;
        self.stream = Some(self.connector.connect().await?);
        Ok(())
    }

    /// One request and its answer; connects first when there is no connection.
    pub async fn read(&mut self, unit: u8, request: &Request) -> Result<Answer, Failure> {
        self.ask(unit, &Ask::read(request), |pdu| pdu::answer(request, pdu)).await
    }

    /// One question that changes nothing, and its answer as it is.
    pub async fn question(&mut self, unit: u8, ask: &Ask) -> Result<Vec<u8>, Failure> {
        self.ask(unit, ask, |pdu| pdu::raw_answer(ask.function(), pdu)).await
    }

    async fn ask<A>(
        &mut self,
        unit: u8,
        ask: &Ask,
        understand: impl Fn(&[u8]) -> Result<A, Failure>,
    ) -> Result<A, Failure> {
        let used_before = self.is_usable();
        if !used_before {
            self.open().await?;
        }
        let mut ended = self.exchange(unit, ask).await;
        // Many devices close a connection that was idle, and a request can cross that. Reading again is harmless.
        if used_before && matches!(ended, Err(Ended::NotSent | Ended::Closed { heard: false })) {
            self.open().await?;
            ended = self.exchange(unit, ask).await;
        }
        let answer = match ended {
            Ok(len) => understand(&self.buffer[HEADER..len]),
            Err(Ended::Silent(fault)) => Err(Failure::NoAnswer(fault)),
            Err(Ended::NotSent | Ended::Closed { .. }) => Err(Failure::NoAnswer(Fault::Disconnected)),
        };
        if let Err(Failure::NoAnswer(fault)) = answer {
            self.lost(fault);
        }
        answer
    }

    /// One write and its answer. It leaves this machine at most once.
    pub async fn write(&mut self, unit: u8, ask: &Ask) -> Result<Vec<u16>, WriteFailure> {
        let used_before = self.is_usable();
        if !used_before {
            self.open().await?;
        }
        let mut ended = self.exchange(unit, ask).await;
        // The system took none of it, so sending it is not sending it again.
        if used_before && matches!(ended, Err(Ended::NotSent)) {
            self.open().await?;
            ended = self.exchange(unit, ask).await;
        }
        let written = match ended {
            Ok(len) => ask.written(&self.buffer[HEADER..len]),
            Err(Ended::Silent(fault)) => Err(WriteFailure::Unanswered(fault)),
            Err(Ended::NotSent | Ended::Closed { .. }) => Err(WriteFailure::Unanswered(Fault::Disconnected)),
        };
        if let Err(WriteFailure::Unanswered(fault)) = written {
            self.lost(fault);
        }
        written
    }

    /// No answer came, for this reason: what the connection says from now on is hardly an answer.
    fn lost(&mut self, fault: Fault) {
        match fault {
            Fault::Timeout | Fault::Framing if self.connector.is_listening() && self.in_step => {
                // It may have dialled in again because the connection that we know is dead.
                self.stream = self.connector.newest().or(self.stream.take());
            }
            Fault::Timeout | Fault::Framing | Fault::Disconnected => self.stream = None,
            _ => {}
        }
    }

    /// A number that no request of the last 65,535 had.
    pub(super) fn next_transaction(&mut self) -> u16 {
        self.transaction = self.transaction.wrapping_add(1);
        self.transaction
    }

    /// The longest that [`Tcp::read`] takes when nothing answers.
    pub fn longest(&self) -> Duration {
        self.timeout
    }

    /// Whether there is a connection, still open, and with nothing on it that nobody asked for; a device that dials in may
    /// have sent late answers.
    pub(super) fn is_usable(&self) -> bool {
        let Some(stream) = &self.stream else { return false };
        let (mut byte, mut context) = ([0], Context::from_waker(Waker::noop()));
        match stream.poll_peek(&mut context, &mut ReadBuf::new(&mut byte)) {
            Poll::Pending => true,
            Poll::Ready(Ok(1)) => self.connector.is_listening(),
            Poll::Ready(_) => false,
        }
    }

    /// Sends a request and waits for its frame, which is at the start of the buffer then; returns its length.
    async fn exchange(&mut self, unit: u8, ask: &Ask) -> Result<usize, Ended> {
        self.next_transaction();
        let Some(stream) = &mut self.stream else { return Err(Ended::NotSent) };
        let deadline = self.clock.now() + self.timeout;
        let frame = tcp_frame::request_frame(self.transaction, unit, ask);
        let mut left = &frame[..];
        while !left.is_empty() {
            match tokio::time::timeout(self.timeout, stream.write(left)).await {
                Ok(Ok(taken)) if taken > 0 => left = &left[taken..],
                Ok(_) if left.len() == frame.len() => return Err(Ended::NotSent),
                Ok(_) => return Err(Ended::Closed { heard: false }),
                Err(_) => return Err(Ended::Silent(Fault::Timeout)),
            }
        }
        let mut filled = 0;
        let mut heard = false;
        self.in_step = false;
        loop {
            let left = deadline.since(self.clock.now());
            match tokio::time::timeout(left, stream.read(&mut self.buffer[filled..])).await {
                Ok(Ok(0) | Err(_)) => return Err(Ended::Closed { heard }),
                // A stream without a pause always has something to read: the clock ends it.
                Ok(Ok(more)) if !left.is_zero() => filled += more,
                _ => {
                    self.in_step = filled == 0;
                    return Err(Ended::Silent(if heard { Fault::Framing } else { Fault::Timeout }));
                }
            }
            heard = true;
            loop {
                match tcp_frame::parse(&self.buffer[..filled]) {
                    Err(_) => return Err(Ended::Silent(Fault::Framing)),
                    Ok(None) => break,
                    Ok(Some(frame)) if frame.transaction != self.transaction => {
                        // Somebody else's or an old answer: passed over. The clock runs, so a flood of them ends.
                        let len = frame.len;
                        self.buffer.copy_within(len..filled, 0);
                        filled -= len;
                    }
                    Ok(Some(frame)) if frame.unit != unit || frame.len != filled => {
                        return Err(Ended::Silent(Fault::Framing));
                    }
                    Ok(Some(frame)) => return Ok(frame.len),
                }
            }
        }
    }
}
