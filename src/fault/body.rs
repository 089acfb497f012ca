//! A body that is sent drop by drop.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::{Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::timer::{FineSleep, FineTimer};

/// The least time between two pieces: a higher rate sends larger ones.
const PIECE: Duration = Duration::from_millis(10);

/// Sends its bytes at an even rate, and all that are left as soon as the fault is stopped.
pub(super) struct Drip {
    rest: Bytes,
    sent: u64,
    per_second: f64,
    began: Instant,
    timer: FineTimer,
    sleep: Option<FineSleep>,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Drip {
    pub(super) fn new(
        body: Bytes,
        per_second: f64,
        timer: &FineTimer,
        stop: &CancellationToken,
    ) -> Self {
        Self {
            rest: body,
            sent: 0,
            per_second,
            began: Instant::now(),
            timer: timer.clone(),
            sleep: None,
            stopped: Box::pin(stop.clone().cancelled_owned()),
        }
    }

    /// The bytes that are due now and not sent yet.
    fn due(&self) -> usize {
        let due = self.began.elapsed().as_secs_f64() * self.per_second;
        // The casts saturate.
        let due = (due as u64).saturating_sub(self.sent);
        usize::try_from(due)
            .unwrap_or(usize::MAX)
            .min(self.rest.len())
    }
}

impl HttpBody for Drip {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if self.stopped.as_mut().poll(cx).is_ready() {
            let rest = std::mem::take(&mut self.rest);
            return Poll::Ready(Some(Ok(Frame::data(rest))));
        }
        loop {
            if let Some(sleep) = &mut self.sleep {
                ready!(Pin::new(sleep).poll(cx));
                self.sleep = None;
                let due = self.due();
                if due > 0 {
                    self.sent += due as u64;
                    let piece = self.rest.split_to(due);
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
            }
            let next = (self.sent + 1) as f64 / self.per_second;
            let next = self.began + Duration::from_secs_f64(next);
            let next = next.max(Instant::now() + PIECE);
            self.sleep = Some(self.timer.sleep_until(next));
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
