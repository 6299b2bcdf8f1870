//! Where TCP connections come from: we dial, or the device does.

use std::fmt::Display;
use std::pin::Pin;
use std::time::Duration;

use tokio::net::TcpStream;

use super::super::LineError;
use super::dial;
use super::listen::Listening;
use crate::clock::Clock;
use crate::model::{Network, Transport};

/// Makes connections, one at a time.
#[derive(Debug)]
pub struct Connector(Way);

/// A connection on its way, independent of who asked for it.
pub type Connecting = Pin<Box<dyn Future<Output = Result<TcpStream, LineError>> + Send>>;

#[derive(Debug)]
enum Way {
    Dial { host: String, port: u16, timeout: Duration, clock: Clock },
    Listen(Listening),
}

impl Connector {
    /// `None` for a serial port. `timeout` is a device's, for connecting.
    pub fn new(transport: &Transport, timeout: Duration, clock: Clock) -> Option<Connector> {
        match transport {
            Transport::Serial(_) => None,
            Transport::Tcp { host, port } => Some(Connector::dial(host, *port, timeout, clock)),
            Transport::Listen { address, from } => Some(Connector::listen(*address, from)),
        }
    }

    pub(super) fn dial(host: &str, port: u16, timeout: Duration, clock: Clock) -> Connector {
        Connector(Way::Dial { host: host.to_owned(), port, timeout, clock })
    }

    pub(super) fn listen(address: std::net::SocketAddr, from: &[Network]) -> Connector {
        Connector(Way::Listen(Listening::new(address, from)))
    }

    /// A connection: ours within three seconds or the timeout, or the device's within a second.
    pub fn connect(&mut self) -> Connecting {
        match &mut self.0 {
            Way::Dial { host, port, timeout, clock } => Box::pin(dial::connect(host.clone(), *port, *timeout, *clock)),
            Way::Listen(listening) => Box::pin(listening.accept()),
        }
    }

    /// Whether the device dials: then a connection that is closed may not come back for minutes.
    pub fn is_listening(&self) -> bool {
        matches!(self.0, Way::Listen(_))
    }

    /// A connection that the device has made while it still had one. Ask only when the first one is dead or silent.
    pub fn newest(&self) -> Option<TcpStream> {
        let Way::Listen(listening) = &self.0 else { return None };
        let newest = listening.newest()?;
        tracing::info!(address = %listening.address(), "the device has dialled in again");
        Some(newest)
    }

    /// What to say when a connection has ended.
    pub fn gone(&self, cause: &dyn Display) -> LineError {
        let cause = cause.to_string();
        match &self.0 {
            Way::Dial { host, port, .. } => LineError::ConnectionGone { address: dial::address(host, *port), cause },
            Way::Listen(listening) => LineError::CallerGone { address: listening.address(), cause },
        }
    }
}
