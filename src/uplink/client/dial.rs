//! From a server's address to a stream of MQTT bytes: the name, its addresses in turn, TLS and WebSocket as the address says.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::LARGEST_PACKET;
use super::problem::ConnectError;
use crate::clock::Clock;
use crate::config::{ServerConfig, UplinkTls};
use crate::transport::{ClientMaterial, ClientTls, NoUpgrade, Part, WebSocket, Whole, connect_websocket};

/// For the name server.
const RESOLVE_WITHIN: Duration = Duration::from_secs(10);

/// For each address of the host: a lost SYN is repeated three times in it.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// When an address has not answered for so long, the next one is tried beside it (RFC 8305 §5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// A name with more addresses than this is tried at the first of them.
const MOST_ADDRESSES: usize = 16;

/// For TLS, and for the WebSocket's upgrade.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(15);

/// Bytes that the peer's TCP does not acknowledge for so long end the connection (RFC 5482).
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// A server may put several packets into one WebSocket frame.
const LARGEST_FRAME: usize = 4 * LARGEST_PACKET;

pub(super) type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;
pub(super) type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

/// An open stream.
pub(super) struct Wire {
    pub read: ReadHalf,
    pub write: WriteHalf,
    /// What carries it, for what it has to say about later errors.
    pub tls: Option<ClientTls>,
}

/// Opens a stream to `server`. Takes at most about a minute.
pub(super) async fn dial(server: &ServerConfig, files: &UplinkTls, clock: Clock) -> Result<Wire, ConnectError> {
    let stream = reach(&server.host, server.port, clock).await?;
    if !server.encrypted {
        return Ok(match &server.web_socket {
            // Without a lock between the directions: this is the way that has to be fastest.
            None => {
                let (read, write) = stream.into_split();
                Wire { read: Box::new(read), write: Box::new(write), tls: None }
            }
            Some(path) => split(upgrade(stream, server, files, path, None).await?, None),
        });
    }
    let tls = trust(files.clone()).await?;
    let name = files.server_name.as_deref().unwrap_or(&server.host);
    let problem = |problem| ConnectError::Tls { server: server.authority(), problem };
    let shaken = timeout(HANDSHAKE_WITHIN, tls.connect(name, stream)).await;
    let stream = shaken.map_err(|_| ConnectError::Tls {
        server: server.authority(),
        problem: crate::transport::TlsProblem::Broken(io::ErrorKind::TimedOut.into()),
    })?;
    let stream = stream.map_err(problem)?;
    Ok(match &server.web_socket {
        None => split(stream, Some(tls)),
        Some(path) => split(upgrade(stream, server, files, path, Some(&tls)).await?, Some(tls)),
    })
}

fn split<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S, tls: Option<ClientTls>) -> Wire {
    let (read, write) = tokio::io::split(Whole::new(stream));
    Wire { read: Box::new(read), write: Box::new(write), tls }
}

async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    server: &ServerConfig,
    files: &UplinkTls,
    path: &str,
    tls: Option<&ClientTls>,
) -> Result<WebSocket<S>, ConnectError> {
    let usual = if server.encrypted { 443 } else { 80 };
    // Behind a tunnel the name that the certificate is checked for is also the one that the server knows itself by.
    let host = match &files.server_name {
        Some(name) => ServerConfig { host: name.clone(), ..server.clone() }.authority(),
        None => server.authority(),
    };
    let host = host.strip_suffix(&format!(":{usual}")).unwrap_or(&host);
    let answer = timeout(HANDSHAKE_WITHIN, connect_websocket(stream, host, path, LARGEST_FRAME)).await;
    let answer = answer.unwrap_or_else(|_| Err(NoUpgrade::Broken(io::ErrorKind::TimedOut.into())));
    answer.map_err(|problem| {
        let server = server.authority();
        match (&problem, tls) {
            (NoUpgrade::Broken(error), Some(tls)) => match tls.explain(error) {
                Some(problem) => ConnectError::Tls { server, problem },
                None => ConnectError::Upgrade { server, problem },
            },
            _ => ConnectError::Upgrade { server, problem },
        }
    })
}

/// The files as they are now: a certificate that was renewed is taken with the next connection.
async fn trust(files: UplinkTls) -> Result<ClientTls, ConnectError> {
    let read = |part: Part, path: &PathBuf| {
        std::fs::read(path).map_err(|error| ConnectError::File {
            key: part.key(),
            path: path.clone(),
            problem: format!("it can't be read: {error}"),
        })
    };
    let task = spawn_blocking(move || {
        let ca = files.ca.as_ref().map(|path| read(Part::Ca, path)).transpose()?;
        let identity = match &files.identity {
            Some((certificate, key)) => Some((read(Part::Certificate, certificate)?, read(Part::PrivateKey, key)?)),
            None => None,
        };
        let material = ClientMaterial {
            ca: ca.as_deref(),
            identity: identity.as_ref().map(|(certificate, key)| (&**certificate, &**key)),
        };
        ClientTls::new(material, files.alpn.as_deref()).map_err(|(part, error)| {
            let path = match (part, &files.identity) {
                (Part::Certificate, Some((certificate, _))) => Some(certificate),
                (Part::PrivateKey, Some((_, key))) => Some(key),
                _ => files.ca.as_ref(),
            };
            ConnectError::unusable(part, path.cloned().unwrap_or_default(), &error)
        })
    });
    task.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

async fn reach(host: &str, port: u16, clock: Clock) -> Result<TcpStream, ConnectError> {
    let found = timeout(RESOLVE_WITHIN, lookup_host((host, port))).await;
    let silent = |_| ConnectError::Resolve {
        host: host.into(),
        problem: format!("no answer within {} s", RESOLVE_WITHIN.as_secs()),
    };
    let addresses = found.map_err(silent)?.map_err(|error| ConnectError::unresolved(host, &error))?;
    race(in_turn(addresses.collect()), clock).await.map_err(|failures| {
        let failures = failures.into_iter().map(|(address, error)| (address.ip(), error)).collect();
        ConnectError::unreached(host, port, failures, CONNECT_WITHIN.as_secs())
    })
}

/// IPv6 and IPv4 by turns, as each family is sorted, beginning with the first (RFC 8305 §4): a host whose one family goes nowhere is not
/// waited for at each of its addresses.
fn in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut sorted = Vec::new();
    loop {
        match (first.next(), second.next()) {
            (None, None) => break,
            (a, b) => sorted.extend(a.into_iter().chain(b)),
        }
    }
    sorted.dedup();
    sorted.truncate(MOST_ADDRESSES);
    sorted
}

/// The first address that answers. The next one is tried when one fails or is slow, and those before it go on.
async fn race(addresses: Vec<SocketAddr>, clock: Clock) -> Result<TcpStream, Vec<(SocketAddr, io::Error)>> {
    let mut addresses = addresses.into_iter().peekable();
    let mut attempts = JoinSet::new();
    let mut failures = Vec::new();
    loop {
        if let Some(address) = addresses.next() {
            attempts.spawn(async move { (address, connect(address).await) });
        }
        tokio::select! {
            done = attempts.join_next() => match done {
                Some(Ok((_, Ok(stream)))) => {
                    attempts.shutdown().await;
                    return Ok(stream);
                }
                Some(Ok((address, Err(error)))) => failures.push((address, error)),
                Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
                None => return Err(failures),
            },
            () = clock.sleep(NEXT_ADDRESS_AFTER), if addresses.peek().is_some() => {}
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let connected = timeout(CONNECT_WITHIN, TcpStream::connect(address)).await;
    let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_USER_TIMEOUT))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn addresses_of_both_families_are_tried_by_turns() {
        let addresses = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let found = addresses(&["[::1]:1", "[::2]:1", "10.0.0.1:1", "[::3]:1", "10.0.0.2:1"]);
        let sorted = addresses(&["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1", "[::3]:1"]);
        assert_eq!(in_turn(found), sorted);
        assert_eq!(in_turn(Vec::new()), []);
        let many: Vec<SocketAddr> = (0..100).map(|n| SocketAddr::from(([10, 0, 0, n], 1))).collect();
        assert_eq!(in_turn(many).len(), MOST_ADDRESSES);
    }

    #[tokio::test]
    async fn an_address_that_refuses_costs_the_next_ones_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = TcpListener::bind("127.0.0.2:0").await.unwrap().local_addr().unwrap();
        let open = listener.local_addr().unwrap();
        let stream = race(vec![closed, open], Clock::start()).await.expect("the second one answers");
        assert_eq!(stream.peer_addr().unwrap(), open);
        let failures = race(vec![closed, closed], Clock::start()).await.expect_err("nobody answers");
        assert_eq!(failures.len(), 2);
        assert!(race(Vec::new(), Clock::start()).await.expect_err("nobody is there").is_empty());
    }
}
