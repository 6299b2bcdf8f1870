//! A stream that keeps no bytes back: what it says was written has been given to the socket.
//!
//! TLS and WebSocket streams take bytes into a buffer of their own and want to be flushed. Whoever writes MQTT does not flush, and counts what
//! was written to see whether a client has stalled.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Wraps a buffering stream. After a pending write the same bytes must be offered again, as loops that drain one buffer do.
#[derive(Debug)]
pub struct Whole<S> {
    inner: S,
    /// Bytes that the inner stream has and the socket does not.
    owed: usize,
}

impl<S> Whole<S> {
    /// Wraps `inner`.
    pub fn new(inner: S) -> Whole<S> {
        Whole { inner, owed: 0 }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Whole<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.owed == 0 {
            this.owed = ready!(Pin::new(&mut this.inner).poll_write(cx, bytes))?;
        }
        ready!(Pin::new(&mut this.inner).poll_flush(cx))?;
        Poll::Ready(Ok(std::mem::take(&mut this.owed).min(bytes.len())))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Whole<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
    use tokio::time::{Duration, timeout};

    use super::*;

    #[tokio::test]
    async fn what_was_written_has_left() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut stream = Whole::new(BufWriter::new(ours));
        assert_eq!(stream.write(b"hello").await.unwrap(), 5);
        let mut read = [0; 5];
        theirs.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello");
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_was_given_up_in_the_middle_is_not_repeated() {
        let (ours, mut theirs) = tokio::io::duplex(4);
        let mut stream = Whole::new(BufWriter::new(ours));
        let cut = timeout(Duration::from_secs(1), stream.write(b"0123456789")).await;
        assert!(cut.is_err(), "the pipe holds four bytes");
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).await.unwrap();
            all
        });
        assert_eq!(stream.write(b"0123456789abc").await.unwrap(), 10);
        stream.write_all(b"abc").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(reader.await.unwrap(), b"0123456789abc");
    }
}
