//! Whether the body of a request was read to its end by the time of the answer.
//!
//! Behind an answer to half a request the server closes the connection, unless the rest is there by then:
//! what is left of the body cannot be told from the next request. A client that is not told so sends that
//! into the closing.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

/// Tells whether something of a body is unread.
#[derive(Debug)]
pub(super) struct Unread(Arc<AtomicBool>);

impl Unread {
    /// The same body, and who watches it; nobody where there is nothing to read.
    pub(super) fn of(body: Incoming) -> (Body, Option<Self>) {
        if http_body::Body::is_end_stream(&body) {
            return (Body::new(body), None);
        }
        let unread = Arc::new(AtomicBool::new(true));
        let watched = Watched {
            body,
            unread: Arc::clone(&unread),
        };
        (Body::new(watched), Some(Self(unread)))
    }

    /// Whether the end was not met yet.
    pub(super) fn is_left(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A body that notes its end.
#[derive(Debug)]
struct Watched {
    body: Incoming,
    unread: Arc<AtomicBool>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() {
            self.unread.store(false, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
