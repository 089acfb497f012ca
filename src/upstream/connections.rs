//! The open connections to one upstream, and the requests over them.
//!
//! By hand: the client of `hyper-util` runs a task for each connection, which a cancelled call would leave behind for a
//! while, says neither how many are open nor whether one was used before, and bounds the idle ones only.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::addresses::Addresses;
use super::failure::Failure;
use crate::metrics::calls::PoolMeter;
use crate::sync::Lock;

/// How long a connection is kept that no call uses.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// A request without a body.
pub(crate) type Bare = Request<Empty<Bytes>>;

/// The connections that no call uses. Those in use belong to their calls, which close them when they are dropped.
#[derive(Debug)]
pub(crate) struct Connections {
    addresses: Addresses,
    /// The one used last comes last.
    idle: Lock<Vec<(Instant, Connection)>>,
    meter: Option<PoolMeter>,
}

impl Connections {
    pub(crate) fn new(meter: Option<PoolMeter>) -> Self {
        Self::to(Addresses::default(), meter)
    }

    pub(super) fn to(addresses: Addresses, meter: Option<PoolMeter>) -> Self {
        Self {
            addresses,
            idle: Lock::default(),
            meter,
        }
    }

    /// Sends what `request` makes to one of the servers at `address` and reads the answer to its end.
    pub(crate) async fn send(
        &self,
        address: &str,
        request: impl Fn() -> Bare,
    ) -> Result<StatusCode, Failure> {
        let server = self.addresses.one_of(address).await?;
        while let Some(mut kept) = self.take(server) {
            if !kept.is_ready().await {
                continue;
            }
            let request = request();
            let is_idempotent = request.method().is_idempotent();
            match kept.exchange(request).await {
                Ok(status) => {
                    self.keep(kept).await;
                    return Ok(status);
                }
                // The upstream closed the connection while no call used it, as one that restarts does. The request
                // goes out again where it did not reach the upstream, or may reach it twice.
                Err(lost) if lost.is_unanswered && (is_idempotent || lost.error.is_canceled()) => {}
                Err(lost) => return Err(Failure::of_exchange(&lost.error)),
            }
        }
        self.make_room();
        let mut new = self.open(server).await?;
        let status = new.exchange(request()).await;
        let status = status.map_err(|lost| Failure::of_exchange(&lost.error))?;
        self.keep(new).await;
        Ok(status)
    }

    /// A new connection to `server`, or to another one where that takes none.
    async fn open(&self, mut server: SocketAddr) -> Result<Connection, Failure> {
        loop {
            match Connection::open(server).await {
                Ok(new) => return Ok(new),
                Err(failure) => server = self.addresses.instead_of(server).ok_or(failure)?,
            }
        }
    }

    /// The connection to `server` that was used last.
    fn take(&self, server: SocketAddr) -> Option<Connection> {
        let mut idle = self.idle.lock();
        let before = idle.len();
        let now = Instant::now();
        let fresh = idle.partition_point(|(since, _)| now - *since > KEPT_FOR);
        let old: Vec<_> = idle.drain(..fresh).collect();
        let last = idle.iter().rposition(|(_, kept)| kept.server == server);
        let taken = last.map(|last| idle.remove(last));
        let gone = before - idle.len();
        drop(idle);
        drop(old);
        self.count(-i64::try_from(gone).unwrap_or(0));
        taken.map(|(_, connection)| connection)
    }

    /// Closes the connection that was used least lately, where a further one would exceed the pool: it leads to another
    /// server.
    fn make_room(&self) {
        let is_over = self.meter.as_ref().is_some_and(PoolMeter::is_over);
        let mut idle = self.idle.lock();
        let closed = (is_over && !idle.is_empty()).then(|| idle.remove(0));
        drop(idle);
        if closed.is_some() {
            self.count(-1);
        }
    }

    /// Keeps the connection for the next call if it can carry one.
    async fn keep(&self, mut connection: Connection) {
        if connection.is_ready().await {
            self.count(1);
            self.idle.lock().push((Instant::now(), connection));
        }
    }

    fn count(&self, change: i64) {
        if let Some(meter) = &self.meter {
            meter.add_idle(change);
        }
    }
}

/// One connection. It is driven by its call and by no task.
#[derive(Debug)]
struct Connection {
    server: SocketAddr,
    sender: http1::SendRequest<Empty<Bytes>>,
    io: http1::Connection<TokioIo<TcpStream>, Empty<Bytes>>,
    is_over: bool,
}

/// A request without a whole answer.
struct Lost {
    error: hyper::Error,
    /// Whether nothing of the answer came.
    is_unanswered: bool,
}

impl Connection {
    async fn open(server: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(server).await;
        let stream = stream.map_err(|error| Failure::of_connect(&error))?;
        // Without it, the end of a request might wait for the acknowledgement of its beginning.
        stream
            .set_nodelay(true)
            .map_err(|error| Failure::of_connect(&error))?;
        let (sender, io) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failure::of_exchange(&error))?;
        Ok(Self {
            server,
            sender,
            io,
            is_over: false,
        })
    }

    /// Whether it can carry a request: the upstream has neither closed it nor sent anything that was not asked for.
    async fn is_ready(&mut self) -> bool {
        poll_fn(|cx| {
            self.is_over = self.is_over || Pin::new(&mut self.io).poll(cx).is_ready();
            let is_free = matches!(self.sender.poll_ready(cx), Poll::Ready(Ok(())));
            Poll::Ready(!self.is_over && is_free)
        })
        .await
    }

    async fn exchange(&mut self, request: Bare) -> Result<StatusCode, Lost> {
        let exchange = std::pin::pin!(async {
            let lost = |is_unanswered| {
                move |error| Lost {
                    error,
                    is_unanswered,
                }
            };
            let response = self.sender.send_request(request).await;
            let (head, mut body) = response.map_err(lost(true))?.into_parts();
            while let Some(frame) = body.frame().await {
                frame.map_err(lost(false))?;
            }
            Ok(head.status)
        });
        match select(exchange, &mut self.io).await {
            Either::Left((result, _)) => result,
            // The upstream closed the connection: the answer may be here already, or the exchange has the error.
            Either::Right((_, exchange)) => {
                self.is_over = true;
                exchange.await
            }
        }
    }
}
