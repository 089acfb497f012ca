//! How a connection ends where a fault asks for it: the response carries an [`Ending`], and the connection's own task,
//! which has the socket, carries it out.
//!
//! All that hyper has written before reaches the client first: the end comes with the next flush, which is complete.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{io, net};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use socket2::SockRef;
use tokio::net::TcpStream;

use super::state::ConnState;
use crate::fault::Ending;

/// What a port that speaks TLS answers to something else: a fatal alert, `internal_error`.
const TLS_ALERT: [u8; 7] = [0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x50];
/// How often a closing socket is read: what is unread would reset the connection.
const MOST_READS: usize = 64;

/// The response as it is to be sent; none where nothing of it is.
pub(super) fn of(mut response: Response, state: &Arc<ConnState>) -> Option<Response> {
    match response.extensions_mut().remove::<Ending>() {
        None => Some(response),
        Some(Ending::Truncate(after)) => Some(response.map(|body| {
            Body::new(CutBody {
                whole: body.size_hint(),
                left: after.unwrap_or(0),
                body,
                state: Arc::clone(state),
            })
        })),
        Some(ending) => {
            state.end_by(ending);
            None
        }
    }
}

/// Ends the connection of `stream`, to which all has been written that shall precede the end.
pub(super) fn carry_out(ending: Ending, stream: &TcpStream) -> io::Error {
    let socket = SockRef::from(stream);
    if ending == Ending::Reset {
        // Closing then sends a reset.
        socket.set_linger(Some(Duration::ZERO)).ok();
        return io::ErrorKind::ConnectionReset.into();
    }
    if ending == Ending::Garbage {
        // It fits into the buffer of a socket with nothing else to send.
        stream.try_write(&TLS_ALERT).ok();
    }
    socket.shutdown(net::Shutdown::Write).ok();
    let mut unread = [0; 4096];
    for _ in 0..MOST_READS {
        if !matches!(stream.try_read(&mut unread), Ok(1..)) {
            break;
        }
    }
    io::ErrorKind::BrokenPipe.into()
}

/// The beginning of a body, under a head that promises all of it.
struct CutBody {
    body: Body,
    whole: SizeHint,
    left: u64,
    state: Arc<ConnState>,
}

impl HttpBody for CutBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.left == 0 {
            // The connection flushes once the body has nothing more for now.
            self.state.end_by(Ending::Close);
            return Poll::Pending;
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let mut cut = |mut data: Bytes| {
            let most = usize::try_from(self.left).unwrap_or(usize::MAX);
            data.truncate(most);
            self.left -= data.len() as u64;
            Frame::data(data)
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(Ok(match frame.into_data() {
                Ok(data) => cut(data),
                Err(frame) => frame,
            })),
            other => other,
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.whole
    }
}
