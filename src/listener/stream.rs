//! The socket of a connection, as hyper sees it: it records progress in the [`ConnState`], finds out whether a client
//! that has ended its side is still there, and corrects what hyper answers to an unreadable request.
//!
//! A client may end its side as soon as it has sent its request (`nc -N`) and still wait for the answer; one that has
//! given up looks the same. The difference shows only when something is sent: a client that is gone resets the
//! connection. Every answer begins with the same bytes, so while an answer waits they are sent ahead, one a second.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{io, mem};

use axum::body::Bytes;
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::state::ConnState;
use super::{date, ending, opening, rejection};
use crate::http::plain::PlainErrors;

/// How every answer begins.
const BEGIN: &[u8] = b"HTTP/1.";

#[derive(Debug)]
pub(super) struct MonitoredStream {
    stream: TcpStream,
    state: Arc<ConnState>,
    plain: PlainErrors,
    /// Whether nothing has come yet.
    is_new: bool,
    /// How many bytes of [`BEGIN`] were sent ahead of the answer.
    sent_ahead: usize,
    /// Whether they were the beginning of what comes next.
    head_goes_on: bool,
    /// The unsent rest of a response that replaces hyper's own.
    replacement: Option<Bytes>,
}

impl MonitoredStream {
    pub(super) fn new(stream: TcpStream, state: &Arc<ConnState>, plain: PlainErrors) -> Self {
        Self {
            stream,
            state: Arc::clone(state),
            plain,
            is_new: true,
            sent_ahead: 0,
            head_goes_on: false,
            replacement: None,
        }
    }

    /// Watches the socket while a request is answered: hyper does not read it meanwhile.
    fn watch(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.stream.poll_read_ready(cx).is_pending() {
            // The task is woken when something comes.
            return Ok(());
        }
        self.state.note_unread();
        if !self.state.take_peer_check() {
            return Ok(());
        }
        let both = self.stream.ready(Interest::READABLE | Interest::WRITABLE);
        match both.now_or_never() {
            Some(Ok(ready)) if ready.is_write_closed() => {
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Some(Ok(ready)) if ready.is_read_closed() => self.send_ahead(),
            _ => Ok(()),
        }
    }

    /// Sends one more byte of the beginning of the answer.
    fn send_ahead(&mut self) -> io::Result<()> {
        let next = BEGIN.get(self.sent_ahead..=self.sent_ahead);
        let Some(byte) = next.filter(|_| !self.state.is_answer_begun()) else {
            return Ok(());
        };
        match self.stream.try_write(byte) {
            Ok(sent) => self.sent_ahead += sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// What is to be sent in the place of `bytes`: an answer with a body, or with the date that the service shows.
    fn replacement_of(&mut self, bytes: &[u8]) -> Option<Bytes> {
        let is_head = mem::take(&mut self.head_goes_on) || bytes.starts_with(BEGIN);
        let rejection = rejection::with_body(bytes, self.plain);
        let date = self.state.wrong_date().filter(|_| is_head);
        let dated = date.and_then(|date| {
            let answer = rejection.as_deref().unwrap_or(bytes);
            date::replaced(answer, &date)
        });
        dated.or(rejection).map(Bytes::from)
    }

    /// Writes what replaces `bytes`; none if nothing does.
    fn poll_replacement(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Option<Poll<io::Result<usize>>> {
        let pending = self.replacement.take();
        let mut rest = pending.or_else(|| self.replacement_of(bytes))?;
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
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let come = &buffer.filled()[before..];
        if come.is_empty() || self.state.is_answering() {
            return read;
        }
        self.state.note_bytes();
        if mem::take(&mut self.is_new)
            && let Some(refusal) = opening::refusal(come, self.plain)
        {
            // It fits into the buffer of a socket with nothing else to send. Then hyper sees the end.
            self.stream.try_write(&refusal).ok();
            buffer.set_filled(before);
        }
        read
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
        if self.state.is_answering() {
            self.watch(cx)?;
            // All that hyper has written is sent by now.
            if let Some(ending) = self.state.ending() {
                return Poll::Ready(Err(ending::carry_out(ending, &self.stream)));
            }
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
        if self.sent_ahead > 0 {
            // These bytes are with the client already.
            self.state.note_write(true);
            self.head_goes_on = true;
            return Poll::Ready(Ok(mem::take(&mut self.sent_ahead).min(first.len())));
        }
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
