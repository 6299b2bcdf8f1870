//! The serial port: opening it, telling why it can't be opened, and noticing that it is gone.

use std::io;
use std::time::Duration;

use tokio_serial::{ErrorKind, SerialPortBuilderExt, SerialStream};

use super::super::super::{Failure, LineError, Request, WriteFailure};
use super::super::plan;
use super::pdu::{Answer, Ask};
use super::rtu::{self, Broken, Rtu, Timing};
use crate::clock::Clock;
use crate::model::{DataBits, Parity, SerialLine, StopBits};

/// RTU on a serial port.
pub struct Serial {
    line: SerialLine,
    timing: Timing,
    clock: Clock,
    rtu: Option<Rtu<SerialStream>>,
}

impl Serial {
    /// Not open yet.
    pub fn new(line: SerialLine, timeout: Duration, clock: Clock) -> Serial {
        let timing = Timing { character: plan::character_time(&line), silence: plan::silence(&line), timeout };
        Serial { line, timing, clock, rtu: None }
    }

    /// Opens the port with its settings. The path is looked up each time: an adapter may come back as another device.
    pub fn open(&mut self) -> Result<(), LineError> {
        // The old descriptor holds a lock on the port, which may be the same.
        self.rtu = None;
        let stream = tokio_serial::new(&self.line.path, self.line.baud)
            .data_bits(match self.line.data_bits {
                DataBits::Seven => tokio_serial::DataBits::Seven,
                DataBits::Eight => tokio_serial::DataBits::Eight,
            })
            .parity(match self.line.parity {
                Parity::None => tokio_serial::Parity::None,
                Parity::Even => tokio_serial::Parity::Even,
                Parity::Odd => tokio_serial::Parity::Odd,
            })
            .stop_bits(match self.line.stop_bits {
                StopBits::One => tokio_serial::StopBits::One,
                StopBits::Two => tokio_serial::StopBits::Two,
            })
            .open_native_async()
            .map_err(|error| cant_open(&self.line.path, &error))?;
        self.rtu = Some(Rtu::new(stream, self.timing, self.clock));
        Ok(())
    }

    /// One request and its answer. The port is closed when it fails.
    pub async fn read(&mut self, unit: u8, request: &Request) -> Result<Answer, Failure> {
        let Some(rtu) = &mut self.rtu else { return Err(self.gone(&"it is not open").into()) };
        match rtu.read(unit, request).await {
            Ok(answer) => Ok(answer),
            Err(Broken::Failure(failure)) => Err(failure),
            Err(Broken::Stream(error)) => {
                self.rtu = None;
                Err(self.gone(&error).into())
            }
        }
    }

    /// One write and its answer. The port is closed when it fails before the request has gone out.
    pub async fn write(&mut self, unit: u8, ask: &Ask) -> Result<(), WriteFailure> {
        let Some(rtu) = &mut self.rtu else { return Err(self.gone(&"it is not open").into()) };
        match rtu.write(unit, ask).await {
            Ok(()) => Ok(()),
            Err(Broken::Failure(failure)) => Err(failure),
            Err(Broken::Stream(error)) => {
                self.rtu = None;
                Err(self.gone(&error).into())
            }
        }
    }

    /// The longest that [`Serial::read`] takes when nothing answers.
    pub fn longest(&self) -> Duration {
        rtu::longest(self.timing)
    }

    fn gone(&self, cause: &dyn std::fmt::Display) -> LineError {
        LineError::PortGone { path: self.line.path.clone(), cause: cause.to_string() }
    }
}

fn cant_open(path: &str, error: &tokio_serial::Error) -> LineError {
    let path = path.to_owned();
    match error.kind() {
        ErrorKind::Io(io::ErrorKind::NotFound) => LineError::PortMissing(path),
        ErrorKind::Io(io::ErrorKind::PermissionDenied) => LineError::PortForbidden(path),
        // The serial library says so for EBUSY and for a lock that another program holds.
        ErrorKind::NoDevice => LineError::PortBusy(path),
        _ => LineError::PortUnusable { path, cause: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &str) -> Result<(), LineError> {
        let line = SerialLine {
            path: path.into(),
            baud: 19_200,
            data_bits: DataBits::Eight,
            parity: Parity::Even,
            stop_bits: StopBits::One,
        };
        Serial::new(line, Duration::from_millis(100), Clock::start()).open()
    }

    #[tokio::test]
    async fn a_port_that_can_not_be_opened_says_why() {
        assert_eq!(open("/dev/no-such-port"), Err(LineError::PortMissing("/dev/no-such-port".into())));
        let error = open("/dev/null").unwrap_err();
        assert!(matches!(&error, LineError::PortUnusable { path, .. } if path == "/dev/null"), "{error}");
    }
}
