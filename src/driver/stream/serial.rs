//! Serial ports: opening one with its settings, and telling why it can't be opened.
//!
//! The path is looked up at each opening: an adapter that returns under another name is found again through its link
//! below `/dev/serial/by-id/`. A port is taken for us alone (TIOCEXCL and a lock), and a lock of another program is respected.

use std::io;

use tokio_serial::{ErrorKind, SerialPort, SerialPortBuilderExt, SerialStream};

use super::super::LineError;
use crate::model::{DataBits, Parity, SerialLine, StopBits};

/// Two ends of a line understand each other up to about this difference of their rates, in percent.
const TOLERANCE: u32 = 3;

/// Opens the port. Errors say what is wrong with it and what to try.
pub fn open(line: &SerialLine) -> Result<SerialStream, LineError> {
    if line.rs485 {
        switch_direction(line)?;
    }
    let stream = tokio_serial::new(&line.path, line.baud)
        .data_bits(data_bits(line))
        .parity(parity(line))
        .stop_bits(stop_bits(line))
        .open_native_async()
        .map_err(|error| cant_open(&line.path, &error))?;
    check_settings(line, &stream)?;
    Ok(stream)
}

/// Has the port's driver switch an RS-485 transceiver with RTS. The setting belongs to the port and outlives this
/// handle, so the serial library that does it and the one that carries the data need not be the same.
fn switch_direction(line: &SerialLine) -> Result<(), LineError> {
    let refused = |error: io::Error| match cant_use(&line.path, error.kind()) {
        Some(known) => known,
        None => LineError::NoRs485 { path: line.path.clone(), cause: error.to_string() },
    };
    let port = serial2::SerialPort::open(&line.path, serial2::KeepSettings).map_err(refused)?;
    port.set_rs4xx_mode(serial2::rs4xx::Rs485Config::new()).map_err(refused)
}

/// A driver may take less than it was asked for without an error. A pseudo-terminal has no wire, so it has no settings.
fn check_settings(line: &SerialLine, stream: &SerialStream) -> Result<(), LineError> {
    if stream.name().is_some_and(|path| is_pseudo_terminal(&path)) {
        return Ok(());
    }
    let rate = stream.baud_rate().ok().filter(|rate| rate.abs_diff(line.baud) > line.baud / 100 * TOLERANCE);
    let refused = if let Some(rate) = rate {
        format!("`baud: {}` (it offers {rate})", line.baud)
    } else if stream.parity().is_ok_and(|set| set != parity(line)) {
        format!("`parity: {}`", line.parity.as_str())
    } else if stream.data_bits().is_ok_and(|set| set != data_bits(line)) {
        format!("`data_bits: {}`", line.data_bits.count())
    } else if stream.stop_bits().is_ok_and(|set| set != stop_bits(line)) {
        format!("`stop_bits: {}`", line.stop_bits.count())
    } else {
        return Ok(());
    };
    Err(LineError::SettingRefused { path: line.path.clone(), setting: refused })
}

fn is_pseudo_terminal(path: &str) -> bool {
    let real = std::fs::canonicalize(path);
    real.is_ok_and(|real| real.starts_with("/dev/pts") || real.starts_with("/dev/pty"))
}

fn data_bits(line: &SerialLine) -> tokio_serial::DataBits {
    match line.data_bits {
        DataBits::Seven => tokio_serial::DataBits::Seven,
        DataBits::Eight => tokio_serial::DataBits::Eight,
    }
}

fn parity(line: &SerialLine) -> tokio_serial::Parity {
    match line.parity {
        Parity::None => tokio_serial::Parity::None,
        Parity::Even => tokio_serial::Parity::Even,
        Parity::Odd => tokio_serial::Parity::Odd,
    }
}

fn stop_bits(line: &SerialLine) -> tokio_serial::StopBits {
    match line.stop_bits {
        StopBits::One => tokio_serial::StopBits::One,
        StopBits::Two => tokio_serial::StopBits::Two,
    }
}

fn cant_open(path: &str, error: &tokio_serial::Error) -> LineError {
    let known = match error.kind() {
        ErrorKind::Io(kind) => cant_use(path, kind),
        // The serial library says so for EBUSY and for a lock that another program holds.
        ErrorKind::NoDevice => Some(LineError::PortBusy(path.to_owned())),
        // It has no kind for EPERM, which is only in its text.
        _ if error.description.contains("not permitted") => Some(LineError::PortShut(path.to_owned())),
        _ => None,
    };
    known.unwrap_or_else(|| LineError::PortUnusable { path: path.to_owned(), cause: error.to_string() })
}

fn cant_use(path: &str, kind: io::ErrorKind) -> Option<LineError> {
    match kind {
        io::ErrorKind::NotFound => Some(LineError::PortMissing(path.to_owned())),
        io::ErrorKind::PermissionDenied => Some(LineError::PortForbidden(path.to_owned())),
        io::ErrorKind::ResourceBusy => Some(LineError::PortBusy(path.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: &str) -> SerialLine {
        SerialLine { path: path.into(), ..SerialLine::new("", 19_200) }
    }

    #[tokio::test]
    async fn a_port_that_can_not_be_opened_says_why() {
        let missing = open(&line("/dev/no-such-port")).unwrap_err();
        assert_eq!(missing, LineError::PortMissing("/dev/no-such-port".into()));
        let error = open(&line("/dev/null")).unwrap_err();
        assert!(matches!(&error, LineError::PortUnusable { path, .. } if path == "/dev/null"), "{error}");
    }

    #[test]
    fn a_port_that_the_service_is_kept_from_says_how_to_allow_it() {
        // As the serial library tells EPERM.
        let refused = tokio_serial::Error::new(ErrorKind::Unknown, "Operation not permitted");
        let error = cant_open("/dev/ttySC0", &refused);
        assert_eq!(error, LineError::PortShut("/dev/ttySC0".into()));
        assert!(error.to_string().contains("DeviceAllow="), "{error}");
    }

    #[tokio::test]
    async fn a_port_that_is_in_use_is_left_alone_until_it_is_free() {
        let (_master, slave) = SerialStream::pair().unwrap();
        let path = slave.name().unwrap();
        drop(slave);
        let first = open(&line(&path)).unwrap();
        assert_eq!(open(&line(&path)).unwrap_err(), LineError::PortBusy(path.clone()));
        drop(first);
        open(&line(&path)).unwrap();
    }

    #[tokio::test]
    async fn a_port_whose_driver_has_no_rs485_says_so() {
        let (_master, slave) = SerialStream::pair().unwrap();
        let path = slave.name().unwrap();
        drop(slave);
        let error = open(&SerialLine { rs485: true, ..line(&path) }).unwrap_err();
        assert!(matches!(&error, LineError::NoRs485 { path: named, .. } if *named == path), "{error}");
        let missing = open(&SerialLine { rs485: true, ..line("/dev/no-such-port") }).unwrap_err();
        assert_eq!(missing, LineError::PortMissing("/dev/no-such-port".into()));
    }
}
