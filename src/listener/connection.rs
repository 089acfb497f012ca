//! One connection: HTTP/1.1 over a socket, noting what it is at and doing what it is told.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::{Body, Bytes};
use futures_util::FutureExt;
use http::{HeaderValue, Request, Response, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tower::Service;
use tracing::trace;

use super::connections::{Connections, Order, Phase, Watch};
use super::late_end::LateEnd;
use super::rejection;
use super::unread::Unread;
use crate::http::Client;

/// The most bytes of a request's line and headers together.
const LARGEST_HEAD: usize = 16 * 1024;

/// What every connection of a listener is served with.
#[derive(Debug)]
pub(super) struct Serving {
    router: Router,
    http: http1::Builder,
    pub(super) connections: Arc<Connections>,
}

impl Serving {
    pub(super) fn new(router: Router, connections: Arc<Connections>) -> Self {
        let mut http = http1::Builder::new();
        // The heads are timed from outside: a timer of the connection's own would cost every request.
        http.header_read_timeout(None).max_buf_size(LARGEST_HEAD);
        Self {
            router,
            http,
            connections,
        }
    }

    /// Serves a new connection until one side closes it.
    pub(super) fn connection(
        &self,
        stream: TcpStream,
        from: SocketAddr,
        slot: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send + use<> {
        let member = self.connections.join(slot);
        let http = self.http.clone();
        let service = Answering {
            router: self.router.clone(),
            client: Client::at(from),
            watch: Arc::clone(&member.watch),
        };
        async move {
            // The last to go.
            let member = member;
            let watch = &member.watch;
            // A client that says nothing costs a socket and no buffers.
            if !says_something(&stream, watch).await {
                return;
            }
            let stream = Watched {
                stream,
                end: LateEnd::default(),
                watch: Arc::clone(watch),
                instead: None,
            };
            let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
            let served = poll_fn(|cx| {
                match watch.order(cx.waker()) {
                    Order::Stay => {}
                    Order::Leave => connection.as_mut().graceful_shutdown(),
                    Order::Break => return Poll::Ready(Ok(())),
                }
                connection.as_mut().poll(cx)
            });
            if let Err(error) = served.await {
                trace!(%error, "A connection ended.");
            }
        }
    }
}

/// Waits for the first bytes, or for the end of the connection; false when it has to go before.
async fn says_something(stream: &TcpStream, watch: &Watch) -> bool {
    let mut readable = pin!(stream.readable());
    poll_fn(|cx| {
        if watch.order(cx.waker()) == Order::Stay {
            readable.as_mut().poll(cx).map(|readable| readable.is_ok())
        } else {
            Poll::Ready(false)
        }
    })
    .await
}

/// Whether the client has closed the connection, however much of what it sent is still to be read.
fn hung_up(stream: &TcpStream) -> bool {
    let ready = stream.ready(Interest::READABLE).now_or_never();
    matches!(ready, Some(Ok(ready)) if ready.is_read_closed())
}

/// A stream that notes when bytes come and when none are taken, and that tells why a request could not be
/// read.
#[derive(Debug)]
struct Watched {
    stream: TcpStream,
    end: LateEnd,
    watch: Arc<Watch>,
    /// What is still to be sent of an answer in the place of the server's own.
    instead: Option<Bytes>,
}

impl Watched {
    fn noted<T>(&self, sent: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.watch.note_sent(sent.is_ready());
        sent
    }

    /// Sends what is to be sent in the place of `bytes`; none if these are to be sent themselves.
    fn poll_instead(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Option<Poll<io::Result<usize>>> {
        let mut rest = self
            .instead
            .take()
            .or_else(|| Some(rejection::told(bytes)?.into()))?;
        while !rest.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &rest) {
                Poll::Ready(Ok(sent)) => drop(rest.split_to(sent)),
                Poll::Ready(Err(error)) => return Some(Poll::Ready(Err(error))),
                Poll::Pending => {
                    self.instead = Some(rest);
                    return Some(Poll::Pending);
                }
            }
        }
        Some(Poll::Ready(Ok(bytes.len())))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.watch.note_reading();
        let room = buffer.remaining();
        let this = &mut *self;
        let read = ready!(this.end.poll_read(&mut this.stream, cx, buffer));
        if buffer.remaining() < room {
            self.watch.note_bytes();
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let instead = self.poll_instead(cx, bytes);
        let sent = instead.unwrap_or_else(|| Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.noted(sent)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The server flushes whenever it is woken.
        if self.watch.shall_look() && hung_up(&self.stream) {
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
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = pieces.first().map_or(&[][..], |piece| piece);
        let instead = self.poll_instead(cx, first);
        let sent =
            instead.unwrap_or_else(|| Pin::new(&mut self.stream).poll_write_vectored(cx, pieces));
        self.noted(sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The router behind a connection, noting when a request is being answered.
#[derive(Debug)]
struct Answering {
    router: Router,
    client: Client,
    watch: Arc<Watch>,
}

impl hyper::service::Service<Request<Incoming>> for Answering {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        self.watch.enter_answer();
        let under_way = UnderWay(Arc::clone(&self.watch));
        let (head, body) = request.into_parts();
        let (body, unread) = Unread::of(body);
        let mut request = Request::from_parts(head, body);
        request.extensions_mut().insert(self.client);
        Answer {
            // A router is always ready.
            response: self.router.clone().call(request),
            under_way: Some(under_way),
            unread,
        }
    }
}

/// A request that is being answered, until its answer is handed over whole.
#[derive(Debug)]
struct UnderWay(Arc<Watch>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.enter(Phase::Idle);
    }
}

pin_project! {
    /// The answer to come.
    struct Answer {
        #[pin]
        response: <Router as Service<Request<Body>>>::Future,
        under_way: Option<UnderWay>,
        unread: Option<Unread>,
    }
}

impl Future for Answer {
    type Output = Result<Response<AnswerBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.response.poll(cx));
        let under_way = this.under_way.take();
        if this.unread.as_ref().is_some_and(Unread::is_left) {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        Poll::Ready(Ok(response.map(|body| AnswerBody {
            body,
            _under_way: under_way,
        })))
    }
}

/// The body of an answer, under way until it is dropped.
#[derive(Debug)]
struct AnswerBody {
    body: Body,
    _under_way: Option<UnderWay>,
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
