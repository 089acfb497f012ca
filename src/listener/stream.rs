//! The socket of a connection, as hyper sees it: it records progress in the [`ConnState`], and corrects what hyper does
//! with an early EOF and an unreadable request.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::deferred_eof::DeferredEof;
use super::rejection;
use super::state::ConnState;

#[derive(Debug)]
pub(super) struct MonitoredStream {
    stream: TcpStream,
    eof: DeferredEof,
    state: Arc<ConnState>,
    /// The unsent rest of a response that replaces hyper's own.
    replacement: Option<Bytes>,
}

impl MonitoredStream {
    pub(super) fn new(stream: TcpStream, state: &Arc<ConnState>) -> Self {
        Self {
            stream,
            eof: DeferredEof::default(),
            state: Arc::clone(state),
            replacement: None,
        }
    }

    /// Whether the client has closed the connection, even if bytes from it are still unread.
    fn is_peer_gone(&self) -> bool {
        let ready = self.stream.ready(Interest::READABLE).now_or_never();
        matches!(ready, Some(Ok(ready)) if ready.is_read_closed())
    }

    /// Writes what replaces `bytes`; none if nothing does.
    fn poll_replacement(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Option<Poll<io::Result<usize>>> {
        let pending = self.replacement.take();
        let mut rest = pending.or_else(|| Some(rejection::with_problem(bytes)?.into()))?;
        while !rest.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &rest) {
                Poll::Ready(Ok(sent)) => drop(rest.split_to(sent)),
                Poll::Ready(Err(error)) => return Some(Poll::Ready(Err(error))),
                Poll::Pending => {
                    self.replacement = Some(rest);
                    return Some(Poll::Pending);
                }
            }
        }
        Some(Poll::Ready(Ok(bytes.len())))
    }
}

impl AsyncRead for MonitoredStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.state.note_read();
        let room = buffer.remaining();
        let this = &mut *self;
        let read = ready!(this.eof.poll_read(&mut this.stream, cx, buffer));
        if buffer.remaining() < room {
            self.state.note_bytes();
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for MonitoredStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes whenever its task is woken, so this is where it learns of a hang-up.
        if self.state.take_peer_check() && self.is_peer_gone() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.first().map_or(&[][..], |slice| slice);
        let replaced = self.poll_replacement(cx, first);
        let sent =
            replaced.unwrap_or_else(|| Pin::new(&mut self.stream).poll_write_vectored(cx, slices));
        self.state.note_write(sent.is_ready());
        sent
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
