//! Byte streams for drivers: a serial port, a TCP connection that we make, or one that a device makes to us.
//!
//! A [`Wire`] is opened, fails, and is opened again, by the same code for all three; what is on it is the driver's. It refuses to
//! decide when to try again: that is the scheduler's.

mod connector;
mod dial;
mod echo;
mod listen;
mod serial;

use std::fmt::Display;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_serial::SerialStream;

use super::LineError;
use crate::clock::Clock;
use crate::model::{SerialLine, Transport};

pub use connector::{Connecting, Connector};
pub use echo::{Echo, Filter};

/// So many requests in a row without a byte in answer, and a TCP connection is made anew: its other end may be gone.
const SILENT_REQUESTS: u32 = 3;

/// The rate to expect on the line behind a converter: the usual one, and slower than most. A silence that is too long
/// costs a few milliseconds, one that is too short costs answers.
const BEHIND_CONVERTER: u32 = 9600;

/// The settings of the serial line that requests end up on.
pub fn line_settings(transport: &Transport) -> SerialLine {
    match transport {
        Transport::Serial(line) => line.clone(),
        Transport::Tcp { .. } | Transport::Listen { .. } => SerialLine::new("", BEHIND_CONVERTER),
    }
}

/// One line, open or not.
#[derive(Debug)]
pub struct Wire {
    place: Place,
    stream: Option<Stream>,
    silent_requests: u32,
}

#[derive(Debug)]
enum Place {
    Serial(SerialLine),
    Tcp(Connector),
}

impl Wire {
    /// Not open yet. `timeout` is a device's, for connecting.
    pub fn new(transport: &Transport, timeout: Duration, clock: Clock) -> Wire {
        let place = match transport {
            Transport::Serial(line) => Place::Serial(line.clone()),
            Transport::Tcp { host, port } => Place::Tcp(Connector::dial(host, *port, timeout, clock)),
            Transport::Listen { address, from } => Place::Tcp(Connector::listen(*address, from)),
        };
        Wire { place, stream: None, silent_requests: 0 }
    }

    /// Opens the line, closing what is open. A device that has to dial in is waited for a second.
    pub async fn open(&mut self) -> Result<(), LineError> {
        // The old descriptor holds a lock on a serial port, which may be the same.
        self.stream = None;
        self.silent_requests = 0;
        self.stream = Some(match &mut self.place {
            Place::Serial(line) => Stream::Serial(serial::open(line)?),
            Place::Tcp(connector) => Stream::Tcp(connector.connect().await?),
        });
        Ok(())
    }

    /// The open stream.
    pub fn stream(&mut self) -> Option<&mut Stream> {
        self.stream.as_mut()
    }

    /// Whether it is open, and as far as anyone knows not closed by its other end.
    pub fn is_usable(&self) -> bool {
        match &self.stream {
            Some(Stream::Tcp(stream)) => {
                let mut byte = [0];
                let mut buffer = ReadBuf::new(&mut byte);
                // What has arrived and nobody asked for is the driver's to throw away.
                let peeked = stream.poll_peek(&mut Context::from_waker(std::task::Waker::noop()), &mut buffer);
                matches!(peeked, Poll::Pending | Poll::Ready(Ok(1)))
            }
            Some(Stream::Serial(_)) => true,
            None => false,
        }
    }

    /// Whether it can be opened again at once when it turns out to be closed.
    pub fn is_dialled(&self) -> bool {
        matches!(&self.place, Place::Tcp(connector) if !connector.is_listening())
    }

    /// Whether it is a serial port, on which somebody may be speaking when it is opened.
    pub fn is_serial(&self) -> bool {
        matches!(self.place, Place::Serial(_))
    }

    /// Whether the device dials in.
    pub fn is_listening(&self) -> bool {
        matches!(&self.place, Place::Tcp(connector) if connector.is_listening())
    }

    /// A request had no byte in answer, or (`heard`) some. A TCP connection that stays silent is closed, and a device
    /// that has dialled in again meanwhile takes over from its own dead connection; returns whether it did.
    pub fn heard(&mut self, heard: bool) -> bool {
        self.silent_requests = if heard { 0 } else { self.silent_requests + 1 };
        if heard {
            return false;
        }
        let Place::Tcp(connector) = &mut self.place else { return false };
        if let Some(newest) = connector.newest() {
            self.stream = Some(Stream::Tcp(newest));
            return true;
        }
        if self.silent_requests >= SILENT_REQUESTS && !connector.is_listening() {
            self.stream = None;
        }
        false
    }

    /// Closes it because it failed, and says so.
    pub fn fail(&mut self, cause: &dyn Display) -> LineError {
        self.stream = None;
        match &self.place {
            Place::Serial(line) => LineError::PortGone { path: line.path.clone(), cause: cause.to_string() },
            Place::Tcp(connector) => connector.gone(cause),
        }
    }
}

/// An open line.
#[derive(Debug)]
pub enum Stream {
    /// A serial port.
    Serial(SerialStream),
    /// A TCP connection, whoever made it.
    Tcp(TcpStream),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Serial(port) => Pin::new(port).poll_read(cx, buf),
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Serial(port) => Pin::new(port).poll_write(cx, bytes),
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is kept here, and waiting for a serial port to send would block the runtime.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Serial(port) => Pin::new(port).poll_shutdown(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
