//! Delays the end of a stream by one poll, so that a client may hang up as soon as it has sent a command.
//!
//! The request and the end of the stream then arrive together. hyper takes a read EOF for a lost connection
//! (<https://github.com/hyperium/hyper/pull/1981>, <https://github.com/hyperium/hyper/issues/3879>): it reads to the
//! EOF before it polls the handler for the first time, then drops the handler, and a start or stop would be lost. With
//! the EOF one poll late, the handler runs first and hands its command over.
//!
//! `http1::Builder::half_close` is no alternative: hyper would keep the requests of clients that gave up waiting in a
//! delay until the delay ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// The EOF or error of a stream that the next read returns.
#[derive(Debug, Default)]
pub(super) struct DeferredEof(Option<io::Result<()>>);

impl DeferredEof {
    /// Reads from `stream`, which must be the same in every call.
    pub(super) fn poll_read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(end) = self.0.take() {
            return Poll::Ready(end);
        }
        let room = buffer.remaining();
        let read = ready!(Pin::new(stream).poll_read(cx, buffer));
        if read.is_ok() && (buffer.remaining() < room || room == 0) {
            return Poll::Ready(read);
        }
        self.0 = Some(read);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn bytes_arrive_at_once_and_the_eof_one_poll_late() {
        let (mut stream, mut eof) = (&b"abc"[..], DeferredEof::default());
        let mut read = || {
            let mut bytes = [0; 8];
            let mut buffer = ReadBuf::new(&mut bytes);
            let mut cx = Context::from_waker(Waker::noop());
            eof.poll_read(&mut stream, &mut cx, &mut buffer)
                .map(|read| {
                    read.expect("a slice never fails");
                    buffer.filled().to_vec()
                })
        };
        assert_eq!(read(), Poll::Ready(b"abc".to_vec()));
        assert_eq!(read(), Poll::Pending);
        assert_eq!(read(), Poll::Ready(Vec::new()));
    }
}
