//! TCP connections that we make: to a device, or to the converter in front of one.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use super::super::LineError;
use crate::clock::Clock;

/// A connection attempt gets at least this long: a lost SYN is repeated after one second.
const LEAST_CONNECT_TIME: Duration = Duration::from_secs(3);
/// The system's next SYN would come three seconds after the first: a host that has just returned is found sooner by another.
const SECOND_ATTEMPT: Duration = Duration::from_secs(2);
/// A peer that is gone without a word is noticed after these, also when nothing is sent to it.
const SILENCE_BEFORE_PROBE: Duration = Duration::from_secs(10);
const PROBE_EVERY: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;
/// What was sent and not acknowledged for so long ends the connection.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// Connects to `host:port`, within `timeout` or three seconds, whichever is longer.
pub async fn connect(host: String, port: u16, timeout: Duration, clock: Clock) -> Result<TcpStream, LineError> {
    let attempt = tokio::time::timeout(timeout.max(LEAST_CONNECT_TIME), any_address(&host, port, clock));
    attempt.await.unwrap_or_else(|_| Err(LineError::Unreachable(address(&host, port))))
}

/// `host:port`, with brackets around an IPv6 address.
pub fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Makes a connection fit for small requests, and notice that its peer is gone.
pub fn prepare(stream: &TcpStream) {
    // A request is one small packet that must not wait for others.
    let _ = stream.set_nodelay(true);
    let keep_alive =
        TcpKeepalive::new().with_time(SILENCE_BEFORE_PROBE).with_interval(PROBE_EVERY).with_retries(PROBES);
    let socket = SockRef::from(stream);
    // Without these it works too, and notices later.
    let _ = socket.set_tcp_keepalive(&keep_alive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
}

async fn any_address(host: &str, port: u16, clock: Clock) -> Result<TcpStream, LineError> {
    let address = address(host, port);
    let unresolved = |cause: String| LineError::Unresolved { address: address.clone(), cause };
    let found = tokio::net::lookup_host((host, port)).await;
    let mut last = unresolved("it has no address".into());
    for candidate in found.map_err(|error| unresolved(error.to_string()))? {
        match twice(candidate, clock).await {
            Ok(stream) => {
                prepare(&stream);
                return Ok(stream);
            }
            Err(error) => last = cant_connect(&address, &error),
        }
    }
    Err(last)
}

async fn twice(candidate: SocketAddr, clock: Clock) -> io::Result<TcpStream> {
    let second = async {
        clock.sleep(SECOND_ATTEMPT).await;
        TcpStream::connect(candidate).await
    };
    tokio::select! {
        first = TcpStream::connect(candidate) => first,
        second = second => second,
    }
}

fn cant_connect(address: &str, error: &io::Error) -> LineError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => LineError::Refused(address.to_owned()),
        io::ErrorKind::TimedOut => LineError::Unreachable(address.to_owned()),
        _ => LineError::Connect { address: address.to_owned(), cause: error.to_string() },
    }
}
