//! The server's end of WebSocket as MQTT uses it (MQTT 5 and 3.1.1, §6; RFC 6455): the `mqtt` subprotocol, binary frames only, and frames
//! that need not be packets. This and `websocket_client` are the only files that name tungstenite.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

/// The only subprotocol [MQTT-6.0.0-3], [MQTT-6.0.0-4].
pub(super) const SUBPROTOCOL: &str = "mqtt";
/// Bytes read from the socket at a time.
const READ_SIZE: usize = 4 << 10;
/// The largest frame sent. A client takes packets across frames [MQTT-6.0.0-2], and the buffer for frames stays small.
const FRAME: usize = 16 << 10;
/// Bytes that a client may send before anything is sent to it: room for the largest CONNECT, not for the largest message.
const UNKNOWN_MAY_SEND: usize = 256 << 10;
/// What is answered to something else than an upgrade, a browser's visit for instance.
const BAD_REQUEST: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\n\
    This is an MQTT broker: connect with an MQTT client over WebSocket.\n";

/// Why a connection was not made a WebSocket.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// Another path than the listener's.
    #[error("it asked for the path {0:?}, which is not this listener's")]
    Path(String),
    /// No `mqtt` among the subprotocols.
    #[error("it did not offer the subprotocol `mqtt`, as every MQTT client does")]
    Subprotocol,
    /// No upgrade at all.
    #[error("it sent no WebSocket upgrade: {0}")]
    NoUpgrade(String),
    /// The connection broke.
    #[error("{0}")]
    Broken(io::Error),
}

/// Waits for the upgrade and answers it. It takes as long as the client likes: bound it. `limit` is the largest frame and message taken, in
/// bytes.
#[expect(clippy::result_large_err, reason = "tungstenite's callback refuses with a whole response")]
pub async fn accept<S>(mut stream: S, path: &str, limit: usize) -> Result<WebSocket<S>, UpgradeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut refused = None;
    let judge = |request: &Request, response: Response| {
        judge(request, path, response).map_err(|(why, status)| refusal(status, &refused.insert(why).to_string()))
    };
    // The stream is lent, so that whoever sent something else can still be answered. Bytes after the request are an error in tungstenite, so
    // none can have been read that belong to frames.
    match accept_hdr_async(&mut stream, judge).await {
        Ok(_) => {}
        Err(Error::Io(error)) => return Err(UpgradeError::Broken(error)),
        Err(Error::Protocol(ProtocolError::HandshakeIncomplete)) => {
            return Err(UpgradeError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        Err(error) => {
            let why = match refused {
                Some(why) => why,
                None => {
                    // Whoever has gone by now needs no answer.
                    let _ = stream.write_all(BAD_REQUEST).await;
                    UpgradeError::NoUpgrade(error.to_string())
                }
            };
            let _ = stream.shutdown().await;
            return Err(why);
        }
    }
    let metered = Metered { inner: stream, left: Some(UNKNOWN_MAY_SEND) };
    let frames = WebSocketStream::from_raw_socket(metered, Role::Server, Some(config(limit))).await;
    Ok(WebSocket::over(frames))
}

/// Of either end; `limit` is the largest frame and message taken, in bytes.
pub(super) fn config(limit: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_SIZE)
        .write_buffer_size(0)
        .max_frame_size(Some(limit))
        .max_message_size(Some(limit))
}

fn judge(request: &Request, path: &str, mut response: Response) -> Result<Response, (UpgradeError, StatusCode)> {
    let asked = request.uri().path();
    if asked != path {
        let asked = asked.chars().take(100).collect();
        return Err((UpgradeError::Path(asked), StatusCode::NOT_FOUND));
    }
    if !offers_mqtt(request.headers()) {
        return Err((UpgradeError::Subprotocol, StatusCode::BAD_REQUEST));
    }
    response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    Ok(response)
}

fn offers_mqtt(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|offered| offered.trim() == SUBPROTOCOL)
}

fn refusal(status: StatusCode, why: &str) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(format!("{why}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// The bytes in the binary messages of a WebSocket, without regard to where frames begin. Pings are answered along the way.
pub struct WebSocket<S> {
    frames: WebSocketStream<Metered<S>>,
    /// Of the last message.
    rest: Bytes,
    closed: bool,
}

impl<S> WebSocket<S> {
    pub(super) fn over(frames: WebSocketStream<Metered<S>>) -> WebSocket<S> {
        WebSocket { frames, rest: Bytes::new(), closed: false }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.rest.is_empty() {
                let fits = this.rest.len().min(buffer.remaining());
                buffer.put_slice(&this.rest[..fits]);
                this.rest.advance(fits);
                return Poll::Ready(Ok(()));
            }
            if this.closed {
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut this.frames).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => this.rest = bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) | None => this.closed = true,
                // [MQTT-6.0.0-1]
                Some(Ok(Message::Text(_))) => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "a text frame, and MQTT is binary",
                    )));
                }
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(Pin::new(&mut this.frames).poll_ready(cx)).map_err(broken)?;
        // Somebody who is answered is somebody.
        this.frames.get_mut().left = None;
        let fits = bytes.len().min(FRAME);
        let message = Message::Binary(Bytes::copy_from_slice(&bytes[..fits]));
        Pin::new(&mut this.frames).start_send(message).map_err(broken)?;
        Poll::Ready(Ok(fits))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.frames).poll_flush(cx).map_err(broken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.frames).poll_close(cx)) {
            Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(broken(error))),
        }
    }
}

fn broken(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
    }
}

/// Bounds what may be read while nobody knows who sends it: frames are put together in memory before MQTT's own limits see them.
pub(super) struct Metered<S> {
    inner: S,
    /// Bytes; `None` without a bound.
    left: Option<usize>,
}

impl<S> Metered<S> {
    /// Of somebody whom we chose to call: MQTT's own limits are enough.
    pub(super) fn unbounded(inner: S) -> Metered<S> {
        Metered { inner, left: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        let read = buffer.filled().len() - before;
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(read).ok_or_else(|| io::Error::other("too much was sent before a CONNECT"))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;

    use super::*;

    const UPGRADE: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    const LIMIT: usize = 1_000;

    /// What the server reads of `bytes`, cut at these places; whatever they are, it ends.
    async fn served(begin: &[u8], bytes: &[u8], cuts: &[usize]) -> Result<Vec<u8>, String> {
        let (ours, theirs) = tokio::io::duplex(64);
        let (mut from_server, mut to_server) = tokio::io::split(theirs);
        let client = async {
            let _ = to_server.write_all(begin).await;
            // Nobody sends frames before the upgrade is answered.
            let mut head = Vec::new();
            while !begin.is_empty() && !head.ends_with(b"\r\n\r\n") {
                head.push(from_server.read_u8().await.expect("a good upgrade is answered"));
            }
            let send = async {
                let mut rest = bytes;
                for cut in cuts {
                    let (now, later) = rest.split_at((*cut).min(rest.len()));
                    let _ = to_server.write_all(now).await;
                    tokio::task::yield_now().await;
                    rest = later;
                }
                let _ = to_server.write_all(rest).await;
                let _ = to_server.shutdown().await;
            };
            let listen = async { while from_server.read(&mut [0; 256]).await.is_ok_and(|bytes| bytes > 0) {} };
            tokio::join!(send, listen)
        };
        let server = async {
            let mut socket = accept(ours, "/mqtt", LIMIT).await.map_err(|error| error.to_string())?;
            let mut read = Vec::new();
            let end = socket.read_to_end(&mut read).await;
            let _ = socket.write_all(b"answer").await;
            let _ = socket.shutdown().await;
            end.map(|_| read).map_err(|error| error.to_string())
        };
        let (_, served) = tokio::join!(client, server);
        served
    }

    fn frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            short @ ..126 => frame.push(0x80 | short as u8),
            long => {
                frame.push(0x80 | 126);
                frame.extend((long as u16).to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    fn run<T>(task: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime
            .block_on(async { tokio::time::timeout(std::time::Duration::from_secs(60), task).await.expect("it ends") })
    }

    proptest! {
        #[test]
        fn any_bytes_for_an_upgrade_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..600), cuts in prop::collection::vec(1_usize..40, 0..20)) {
            let served = run(served(b"", &bytes, &cuts));
            prop_assert!(served.is_err());
        }

        #[test]
        fn any_bytes_for_frames_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..600), cuts in prop::collection::vec(1_usize..40, 0..20)) {
            // Whether they make sense or not, it ends.
            let _ = run(served(UPGRADE, &bytes, &cuts));
        }

        /// The bytes in binary messages come out as they went in, however they were cut into frames and those into segments.
        #[test]
        fn bytes_come_out_in_order_whatever_frames_carry_them(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
            mask in any::<[u8; 4]>(),
            cuts in prop::collection::vec(1_usize..100, 0..40),
        ) {
            let mut bytes = Vec::new();
            for (n, message) in messages.iter().enumerate() {
                if n % 3 == 1 {
                    // In two fragments with a ping between.
                    let (one, two) = message.split_at(message.len() / 2);
                    bytes.extend(frame(0x02, one, mask));
                    bytes.extend(frame(0x89, b"?", mask));
                    bytes.extend(frame(0x80, two, mask));
                } else {
                    bytes.extend(frame(0x82, message, mask));
                }
            }
            bytes.extend(frame(0x88, &[], mask));
            prop_assert_eq!(run(served(UPGRADE, &bytes, &cuts)), Ok(messages.concat()));
        }
    }
}
