//! A hang-up, told one turn late.
//!
//! A client may hang up as soon as its request is sent; then the request and the end of the stream
//! arrive together. The HTTP server reads on to the end before it polls the handler for the first
//! time, and drops the handler with the connection: a start or a stop would be lost that must be
//! carried out. Here the end is held back for one turn, in which the handler hands its command over.
//! The refused alternative, to let clients close their half of a connection and go on, would keep the
//! requests of clients that gave up waiting in a delay until its end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// The end of a stream, good or bad, from when it was met until it is told one turn after.
#[derive(Debug, Default)]
pub(super) struct LateEnd(Option<io::Result<()>>);

impl LateEnd {
    /// Reads from `stream`, which must be the same in every call; its end comes one turn late.
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
    fn bytes_come_at_once_and_the_end_one_turn_late() {
        let (mut stream, mut end) = (&b"abc"[..], LateEnd::default());
        let mut read = || {
            let mut bytes = [0; 8];
            let mut buffer = ReadBuf::new(&mut bytes);
            let mut cx = Context::from_waker(Waker::noop());
            end.poll_read(&mut stream, &mut cx, &mut buffer)
                .map(|read| {
                    read.expect("bytes do not fail");
                    buffer.filled().to_vec()
                })
        };
        assert_eq!(read(), Poll::Ready(b"abc".to_vec()));
        assert_eq!(read(), Poll::Pending);
        assert_eq!(read(), Poll::Ready(Vec::new()));
    }
}
