//! The client's end of WebSocket as MQTT uses it: the upgrade, and what else a server may answer.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, Uri, header};
use tokio_tungstenite::tungstenite::{Error, client::IntoClientRequest};

use super::websocket::{Metered, SUBPROTOCOL, WebSocket, config};

/// Why a server did not make a connection a WebSocket.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum NoUpgrade {
    #[error("there is no WebSocket at this path (HTTP status 404); check the path in url: /mqtt is usual")]
    NoSuchPath,
    #[error(
        "it wants a login before the WebSocket (HTTP status {0}), which fieldway does not have; check host and path in url"
    )]
    Login(u16),
    #[error("it sends us to {1} (HTTP status {0}), and that is not followed; check url")]
    Elsewhere(u16, String),
    #[error("it answers the WebSocket upgrade with HTTP status {0}; check host, port and path in url")]
    Status(u16),
    #[error("it upgrades to WebSocket and does not offer the subprotocol `mqtt`; check the path in url")]
    Subprotocol,
    #[error("it does not speak HTTP, which a WebSocket begins with; check the port in url, or use mqtt:// or mqtts://")]
    NotHttp,
    #[error(
        "it closed the connection instead of upgrading it to WebSocket; check the port in url, and whether it wants wss://"
    )]
    Closed,
    #[error("`{0}` can't be asked for; check url")]
    BadPath(String),
    #[error("the WebSocket upgrade failed: {0}")]
    Other(String),
    /// The connection below broke, perhaps by TLS.
    #[error("the connection broke in the middle of the WebSocket upgrade: {0}")]
    Broken(io::Error),
}

/// Asks for `path`, which begins with `/`, of `authority` (`host:port`), and waits for the answer. It takes as long as the server likes:
/// bound it. `limit` is the largest frame and message taken, in bytes.
pub async fn connect<S>(stream: S, authority: &str, path: &str, limit: usize) -> Result<WebSocket<S>, NoUpgrade>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // The scheme stands for the one of url; whether TLS is below is nobody's business here.
    let bad_path = || NoUpgrade::BadPath(format!("{authority}{path}"));
    let uri = Uri::builder().scheme("ws").authority(authority).path_and_query(path).build().map_err(|_| bad_path())?;
    let mut request = uri.into_client_request().map_err(|_| bad_path())?;
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    let connected = client_async_with_config(request, Metered::unbounded(stream), Some(config(limit))).await;
    match connected {
        Ok((frames, _)) => Ok(WebSocket::over(frames)),
        Err(error) => Err(refusal(error)),
    }
}

fn refusal(error: Error) -> NoUpgrade {
    match error {
        Error::Http(response) => {
            let status = response.status();
            match status {
                StatusCode::NOT_FOUND => NoUpgrade::NoSuchPath,
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                    NoUpgrade::Login(status.as_u16())
                }
                status if status.is_redirection() => {
                    let target = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
                    // A query may hold a token.
                    let target = target.unwrap_or("another place").split('?').next().unwrap_or_default();
                    NoUpgrade::Elsewhere(status.as_u16(), target.chars().take(200).collect())
                }
                status => NoUpgrade::Status(status.as_u16()),
            }
        }
        Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => NoUpgrade::Subprotocol,
        Error::Protocol(ProtocolError::HttparseError(_) | ProtocolError::WrongHttpVersion) => NoUpgrade::NotHttp,
        Error::Protocol(ProtocolError::HandshakeIncomplete) | Error::ConnectionClosed => NoUpgrade::Closed,
        Error::Io(error) => match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
                if error.get_ref().is_none() =>
            {
                NoUpgrade::Closed
            }
            _ => NoUpgrade::Broken(error),
        },
        other => NoUpgrade::Other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    proptest! {
        /// Whatever a server answers, it ends, and is no WebSocket unless it says so.
        #[test]
        fn any_answer_is_survived(begin in prop::bool::ANY, bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let answer = [if begin { &b"HTTP/1.1 101 Switching Protocols\r\n"[..] } else { b"" }, &bytes].concat();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (ours, mut theirs) = tokio::io::duplex(4096);
            let connected = runtime.block_on(async {
                let server = async {
                    let _ = theirs.write_all(&answer).await;
                    let _ = theirs.shutdown().await;
                    while theirs.read(&mut [0; 256]).await.is_ok_and(|read| read > 0) {}
                };
                let client = async { connect(ours, "broker", "/mqtt", 1_000).await.map(drop) };
                tokio::join!(client, server).0
            });
            prop_assert!(connected.is_err());
        }
    }

    /// What becomes of an upgrade that is answered with `answer`, and what was asked.
    async fn answered(answer: &str) -> (Result<(), NoUpgrade>, String) {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let server = async {
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(theirs.read_u8().await.expect("a request"));
            }
            theirs.write_all(answer.as_bytes()).await.expect("the client listens");
            drop(theirs);
            String::from_utf8(asked).expect("text")
        };
        let (connected, asked) = tokio::join!(connect(ours, "broker.example:8083", "/mqtt?x=1", 1_000), server);
        (connected.map(drop), asked)
    }

    #[tokio::test]
    async fn the_upgrade_asks_for_the_path_of_the_host_with_the_subprotocol() {
        let (_, asked) = answered("").await;
        assert!(asked.starts_with("GET /mqtt?x=1 HTTP/1.1\r\nHost: broker.example:8083\r\n"), "{asked}");
        assert!(asked.contains("Sec-WebSocket-Protocol: mqtt\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn whatever_else_is_answered_is_told_with_what_to_look_at() {
        for (answer, told) in [
            ("HTTP/1.1 404 Not Found\r\n\r\n", "check the path"),
            ("HTTP/1.1 403 Forbidden\r\n\r\n", "HTTP status 403"),
            (
                "HTTP/1.1 302 Found\r\nLocation: https://login.example/x?token=secret\r\n\r\n",
                "https://login.example/x (HTTP",
            ),
            ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "HTTP status 502"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "HTTP status 200"),
            ("\x20\x02\x00\x01", "does not speak HTTP"),
            ("\x15\x03\x03\x00\x02\x02\x46", "does not speak HTTP"),
            ("", "closed the connection"),
        ] {
            let said = answered(answer).await.0.expect_err("no upgrade").to_string();
            assert!(said.contains(told) && !said.contains("secret"), "{answer:?}: {said}");
        }
    }
}
