//! Modbus TCP with several requests under way on one connection, told apart by their transaction numbers.
//!
//! A device that works on one at a time answers in order, so each request may take as many timeouts as there were requests
//! before it; but when nothing at all is heard for one timeout, the oldest is the one that is not answered. Its silence costs the
//! connection; the others are cut, and whoever sent them sends them again. So does a frame that makes no sense.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::super::stream::Connecting;
use super::super::super::{Failure, LineError, Request, WriteFailure};
use super::pdu::{self, Answer, Ask};
use super::tcp::Tcp;
use super::tcp_frame::{self, MAX_FRAME};
use crate::model::{Device, Fault, Monotonic};

/// A Modbus TCP server that is sent several requests at a time.
pub struct Overlapped {
    tcp: Tcp,
    depth: usize,
    connecting: Option<Connecting>,
    /// Something was answered on this connection.
    is_proven: bool,
    last_heard: Monotonic,
    under_way: VecDeque<Sent>,
    unsent: Vec<u8>,
    buffer: Vec<u8>,
    filled: usize,
    over: Vec<Over>,
}

struct Sent {
    ticket: u64,
    transaction: u16,
    device: Arc<Device>,
    request: Arc<Request>,
    since: Monotonic,
    until: Monotonic,
}

/// A request that is over.
pub struct Over {
    /// Which.
    pub ticket: u64,
    /// Whom it was sent to.
    pub device: Arc<Device>,
    /// What it asked.
    pub request: Arc<Request>,
    /// `None` when it was cut because of another.
    pub result: Option<Result<Answer, Failure>>,
}

/// What happened on the connection.
enum Heard {
    Bytes(usize),
    Written(usize),
    Nothing,
    Closed,
}

impl Overlapped {
    /// Not connected yet; takes up to `depth` requests at a time.
    pub fn new(tcp: Tcp, depth: usize) -> Overlapped {
        Overlapped {
            last_heard: tcp.clock.now(),
            tcp,
            depth,
            connecting: None,
            is_proven: false,
            under_way: VecDeque::with_capacity(depth),
            unsent: Vec::new(),
            buffer: vec![0; MAX_FRAME * depth.min(16)],
            filled: 0,
            over: Vec::new(),
        }
    }

    /// How many requests it takes.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Connects.
    pub async fn open(&mut self) -> Result<(), LineError> {
        self.disconnect();
        self.tcp.open().await
    }

    /// One request and its answer, while no other is under way.
    pub async fn read(&mut self, unit: u8, request: &Request) -> Result<Answer, Failure> {
        self.tcp.read(unit, request).await
    }

    /// One write, sent at most once, while no other request is under way.
    pub async fn write(&mut self, unit: u8, ask: &Ask) -> Result<Vec<u16>, WriteFailure> {
        self.tcp.write(unit, ask).await
    }

    /// One question and its answer as it is, while no request is under way.
    pub async fn question(&mut self, unit: u8, ask: &Ask) -> Result<Vec<u8>, Failure> {
        self.tcp.question(unit, ask).await
    }

    /// The longest that [`Overlapped::read`] takes when nothing answers.
    pub fn longest(&self) -> Duration {
        self.tcp.longest()
    }

    /// Takes a request; it is sent and answered in [`Overlapped::over`].
    pub fn send(&mut self, ticket: u64, device: Arc<Device>, request: Arc<Request>) {
        let is_first = self.under_way.is_empty();
        if is_first && !self.tcp.is_usable() {
            self.disconnect();
        }
        let transaction = self.tcp.next_transaction();
        let now = self.tcp.clock.now();
        let ahead = u32::try_from(self.under_way.len()).unwrap_or(u32::MAX);
        let until = now + self.tcp.timeout.saturating_mul(ahead.saturating_add(1));
        if self.tcp.stream.is_some() {
            self.unsent.extend(tcp_frame::request_frame(transaction, device.unit_id, &Ask::read(&request)));
        }
        self.under_way.push_back(Sent { ticket, transaction, device, request, since: now, until });
    }

    /// Waits until requests are over; for ever when none is under way. May be dropped half-way and called again.
    pub async fn over(&mut self) -> impl Iterator<Item = Over> {
        while self.over.is_empty() {
            if self.under_way.is_empty() {
                std::future::pending::<()>().await;
            }
            if self.tcp.stream.is_none() {
                self.connect().await;
            } else {
                match self.hear().await {
                    Heard::Bytes(count) => self.take_in(count),
                    Heard::Written(count) => drop(self.unsent.drain(..count)),
                    Heard::Closed => self.closed(),
                    Heard::Nothing => {}
                }
                self.check_time();
            }
        }
        std::mem::take(&mut self.over).into_iter()
    }

    async fn connect(&mut self) {
        let connecting = self.connecting.get_or_insert_with(|| self.tcp.connector.connect());
        let connected = connecting.as_mut().await;
        self.disconnect();
        match connected {
            Ok(stream) => {
                self.tcp.stream = Some(stream);
                let now = self.tcp.clock.now();
                for (ahead, sent) in (1..).zip(&mut self.under_way) {
                    sent.since = now;
                    sent.until = now + self.tcp.timeout.saturating_mul(ahead);
                    let ask = Ask::read(&sent.request);
                    self.unsent.extend(tcp_frame::request_frame(sent.transaction, sent.device.unit_id, &ask));
                }
            }
            Err(error) => {
                let first = self.under_way.pop_front();
                self.under_way.clear();
                self.over.extend(first.map(|sent| sent.over(Some(Err(Failure::LineGone(error))))));
            }
        }
    }

    /// Sends what is to be sent, and waits for bytes or until the oldest has waited long enough.
    async fn hear(&mut self) -> Heard {
        let Some(until) = self.silent_at() else { return Heard::Nothing };
        let Some(stream) = &mut self.tcp.stream else { return Heard::Closed };
        let (mut reader, mut writer) = stream.split();
        let result: io::Result<Heard> = tokio::select! {
            biased;
            read = reader.read(&mut self.buffer[self.filled..]) => read.map(|count| if count == 0 { Heard::Closed } else { Heard::Bytes(count) }),
            written = writer.write(&self.unsent), if !self.unsent.is_empty() => written.map(Heard::Written),
            () = self.tcp.clock.sleep_until(until) => Ok(Heard::Nothing),
        };
        result.unwrap_or(Heard::Closed)
    }

    fn take_in(&mut self, count: usize) {
        self.filled += count;
        self.last_heard = self.tcp.clock.now();
        let mut from = 0;
        loop {
            let frame = match tcp_frame::parse(&self.buffer[from..self.filled]) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => return self.cut_but(0, Fault::Framing),
            };
            from += frame.len;
            // Nobody's answer, or one that came too late, is passed over; the clock ends a flood of them.
            let Some(at) = self.under_way.iter().position(|sent| sent.transaction == frame.transaction) else {
                continue;
            };
            let sent = &self.under_way[at];
            if frame.unit != sent.device.unit_id {
                return self.cut_but(at, Fault::Framing);
            }
            let result = pdu::answer(&sent.request, frame.pdu);
            if result == Err(Failure::NoAnswer(Fault::Framing)) {
                return self.cut_but(at, Fault::Framing);
            }
            self.is_proven = true;
            if let Some(sent) = self.under_way.remove(at) {
                self.over.push(sent.over(Some(result)));
            }
        }
        self.buffer.copy_within(from..self.filled, 0);
        self.filled -= from;
        if self.under_way.is_empty() && self.filled > 0 {
            // Something that nobody asked for has begun.
            self.disconnect();
        }
    }

    /// When the first of those under way counts as unanswered.
    fn silent_at(&self) -> Option<Monotonic> {
        let oldest = self.under_way.front()?;
        let quiet = oldest.since.max(self.last_heard) + self.tcp.timeout;
        self.under_way.iter().map(|sent| sent.until).min().map(|until| until.min(quiet))
    }

    fn check_time(&mut self) {
        let now = self.tcp.clock.now();
        if self.silent_at().is_some_and(|moment| moment <= now) {
            let late = self.under_way.iter().position(|sent| sent.until <= now).unwrap_or(0);
            self.cut_but(late, if self.filled == 0 { Fault::Timeout } else { Fault::Framing });
        }
    }

    /// The peer closed the connection. Many do when it was idle, and after as many answers as they like.
    fn closed(&mut self) {
        if self.is_proven {
            self.disconnect();
            self.over.extend(self.under_way.drain(..).map(|sent| sent.over(None)));
        } else {
            self.cut_but(0, Fault::Disconnected);
        }
    }

    /// The request at this place is to blame; the others are cut.
    fn cut_but(&mut self, at: usize, fault: Fault) {
        let newest = self.tcp.connector.newest();
        if newest.is_none() && fault == Fault::Timeout && self.tcp.connector.is_listening() {
            // A device that dials in may take minutes to do it again; its late answer is passed over by its number.
            self.last_heard = self.tcp.clock.now();
            self.over.extend(self.under_way.remove(at).map(|sent| sent.over(Some(Err(Failure::NoAnswer(fault))))));
            return;
        }
        self.disconnect();
        self.tcp.stream = newest;
        let blamed = self.under_way.remove(at);
        self.over.extend(self.under_way.drain(..).map(|sent| sent.over(None)));
        self.over.extend(blamed.map(|sent| sent.over(Some(Err(Failure::NoAnswer(fault))))));
    }

    fn disconnect(&mut self) {
        self.tcp.stream = None;
        self.connecting = None;
        self.is_proven = false;
        self.unsent.clear();
        self.filled = 0;
    }
}

impl Sent {
    fn over(self, result: Option<Result<Answer, Failure>>) -> Over {
        Over { ticket: self.ticket, device: self.device, request: self.request, result }
    }
}
