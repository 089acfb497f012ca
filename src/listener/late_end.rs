//! A stream that tells a hang-up one turn late.
//!
//! A client may hang up as soon as its request is sent; then the request and the end of the stream
//! arrive together. The HTTP server reads on to the end before it polls the handler for the first
//! time, and drops the handler with the connection: a start or a stop would be lost that must be
//! carried out. Here the end is held back for one turn, in which the handler hands its command over.
//! The refused alternative, to let clients close their half of a connection and go on, would keep the
//! requests of clients that gave up waiting in a delay until its end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose end, good or bad, is told one turn after it was met.
#[derive(Debug)]
pub(super) struct LateEnd<S> {
    stream: S,
    /// The end that was met, until it is told.
    end: Option<io::Result<()>>,
}

impl<S> LateEnd<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, end: None }
    }

    pub(super) fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LateEnd<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(end) = self.end.take() {
            return Poll::Ready(end);
        }
        let room = buffer.remaining();
        let read = std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        if read.is_ok() && (buffer.remaining() < room || room == 0) {
            return Poll::Ready(read);
        }
        self.end = Some(read);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LateEnd<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn read(stream: &mut LateEnd<&[u8]>) -> Poll<Vec<u8>> {
        let mut bytes = [0; 8];
        let mut buffer = ReadBuf::new(&mut bytes);
        Pin::new(stream)
            .poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer)
            .map(|end| {
                end.expect("bytes do not fail");
                buffer.filled().to_vec()
            })
    }

    #[test]
    fn bytes_come_at_once_and_the_end_one_turn_late() {
        let mut stream = LateEnd::new(&b"abc"[..]);
        assert_eq!(read(&mut stream), Poll::Ready(b"abc".to_vec()));
        assert_eq!(read(&mut stream), Poll::Pending);
        assert_eq!(read(&mut stream), Poll::Ready(Vec::new()));
    }
}
