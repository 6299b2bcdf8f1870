//! Modbus RTU or ASCII on a wire: a serial port, a converter's TCP port, or a converter that dials in.

use std::time::Duration;

use super::super::super::stream::{Echo, Wire, line_settings};
use super::super::super::{Failure, LineError, Request, WriteFailure};
use super::super::cost;
use super::framing::Framing;
use super::pdu::{Answer, Ask};
use super::rtu::{self, Broken, Rtu, Timing};
use crate::clock::{Alarm, Clock};
use crate::model::{Bus, Transport};

/// A line and what is said on it.
pub struct Line {
    wire: Wire,
    timing: Timing,
    rtu: Rtu,
    /// Requests since the wire was opened.
    requests: u64,
}

impl Line {
    /// Not open yet.
    pub fn new(bus: &Bus, framing: Framing, clock: Clock) -> Line {
        let line = line_settings(&bus.transport);
        let timing =
            Timing { character: cost::character_time(&line), silence: cost::silence(&line), timeout: bus.timeout };
        // Behind a network nothing is exact.
        let alarm = if matches!(bus.transport, Transport::Serial(_)) { Alarm::precise() } else { Alarm::coarse() };
        let wire = Wire::new(&bus.transport, bus.timeout, clock);
        Line { wire, timing, rtu: Rtu::new(framing, timing, Echo::new(bus.echo), alarm, clock), requests: 0 }
    }

    /// Opens the wire.
    pub async fn open(&mut self) -> Result<(), LineError> {
        self.wire.open().await?;
        self.rtu.opened();
        self.requests = 0;
        Ok(())
    }

    /// One request and its answer. The wire is closed when it fails.
    pub async fn read(&mut self, unit: u8, request: &Request) -> Result<Answer, Failure> {
        if !self.wire.is_usable() && self.wire.is_dialled() {
            self.open().await?;
        }
        loop {
            let used_before = self.requests > 0;
            self.requests += 1;
            let Some(stream) = self.wire.stream() else { return Err(self.wire.fail(&"it is not open").into()) };
            let outcome = self.rtu.read(stream, unit, request).await;
            match outcome {
                Ok(answer) => {
                    self.wire.heard(true);
                    return Ok(answer);
                }
                Err(Broken::Failure(failure)) => {
                    self.wire.heard(self.rtu.was_heard());
                    return Err(failure);
                }
                // Many converters close a connection that was idle, and a request can cross that. Reading again is harmless.
                Err(Broken::Stream(_)) if used_before && self.wire.is_dialled() && !self.rtu.was_heard() => {
                    self.open().await?;
                }
                Err(Broken::Stream(error)) => return Err(self.wire.fail(&error).into()),
            }
        }
    }

    /// One question that changes nothing, and its answer as it is. The wire is closed when it fails.
    pub async fn question(&mut self, unit: u8, ask: &Ask) -> Result<Vec<u8>, Failure> {
        if !self.wire.is_usable() && self.wire.is_dialled() {
            self.open().await?;
        }
        self.requests += 1;
        let Some(stream) = self.wire.stream() else { return Err(self.wire.fail(&"it is not open").into()) };
        match self.rtu.question(stream, unit, ask).await {
            Ok(answer) => Ok(answer),
            Err(Broken::Failure(failure)) => Err(failure),
            Err(Broken::Stream(error)) => Err(self.wire.fail(&error).into()),
        }
    }

    /// One write and its answer; it goes out at most once. The wire is closed when it fails before that.
    pub async fn write(&mut self, unit: u8, ask: &Ask) -> Result<Vec<u16>, WriteFailure> {
        if !self.wire.is_usable() && self.wire.is_dialled() {
            self.open().await?;
        }
        self.requests += 1;
        let Some(stream) = self.wire.stream() else { return Err(self.wire.fail(&"it is not open").into()) };
        let outcome = self.rtu.write(stream, unit, ask).await;
        match outcome {
            Ok(seen) => {
                self.wire.heard(true);
                Ok(seen)
            }
            Err(Broken::Failure(failure)) => {
                self.wire.heard(self.rtu.was_heard());
                Err(failure)
            }
            Err(Broken::Stream(error)) => Err(self.wire.fail(&error).into()),
        }
    }

    /// The longest that [`Line::read`] takes when nothing answers.
    pub fn longest(&self) -> Duration {
        rtu::longest(self.timing)
    }
}
