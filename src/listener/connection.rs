//! One connection: HTTP/1.1 over a socket, from its first byte until one side closes it.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tracing::trace;

use super::registry::Connections;
use super::service::RouterService;
use super::state::{ConnCommand, ConnState};
use super::stream::MonitoredStream;
use crate::http::Client;
use crate::http::plain::PlainErrors;
use crate::lifecycle::SERVICE;

/// The most bytes of a request's line and headers together.
const LARGEST_HEAD: usize = 16 * 1024;

/// Serves all connections of one listener.
#[derive(Debug)]
pub(super) struct Server {
    router: Router,
    http: http1::Builder,
    plain: PlainErrors,
    pub(super) connections: Arc<Connections>,
}

impl Server {
    pub(super) fn new(router: Router, connections: Arc<Connections>, plain: PlainErrors) -> Self {
        let mut http = http1::Builder::new();
        // `ConnState` times the heads: hyper's timer would cost every request.
        http.header_read_timeout(None).max_buf_size(LARGEST_HEAD);
        // A client may end its side and wait for the answer; `MonitoredStream` finds those that are gone.
        http.half_close(true);
        Self {
            router,
            http,
            plain,
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
        let entry = self.connections.join(slot);
        let http = self.http.clone();
        let state = Arc::clone(&entry.state);
        let (client, plain) = (Client::at(from), self.plain);
        let service = RouterService::new(self.router.clone(), client, &state, plain);
        async move {
            // Dropped last: its slot is free only when the socket is closed.
            let _entry = entry;
            // hyper allocates its buffers at once; a client that sends nothing shall cost only a socket.
            if !first_byte(&stream, &state).await {
                return;
            }
            let stream = MonitoredStream::new(stream, &state, plain);
            let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
            let served = poll_fn(|cx| {
                match state.command(cx.waker()) {
                    ConnCommand::Continue => {}
                    ConnCommand::CloseWhenIdle => connection.as_mut().graceful_shutdown(),
                    ConnCommand::CloseNow => return Poll::Ready(Ok(())),
                }
                connection.as_mut().poll(cx)
            });
            if let Err(error) = served.await {
                trace!(target: SERVICE, %error, "A connection ended with an error.");
            }
        }
    }
}

/// Waits for the first byte or the EOF; false if the connection has to close before.
async fn first_byte(stream: &TcpStream, state: &ConnState) -> bool {
    let mut readable = pin!(stream.readable());
    poll_fn(|cx| {
        if state.command(cx.waker()) == ConnCommand::Continue {
            readable.as_mut().poll(cx).map(|readable| readable.is_ok())
        } else {
            Poll::Ready(false)
        }
    })
    .await
}
