//! Accepts connections and serves HTTP/1.1 on them, within bounds that no client can exceed.
//!
//! Reading a request has a deadline, answering it has none: a request may wait in a fault for ten minutes, and a stream
//! of events never ends. When a listener has no free slot, it closes the connection that has been quiet the longest, so
//! that clients who hoard connections cannot lock others out.
//!
//! `hyper-util`'s `GracefulShutdown` with a semaphore would replace a third of this. It cannot evict quiet connections,
//! and its timers cost every request.

pub(crate) mod bind;
pub(crate) mod budget;
mod connection;
mod date;
mod ending;
mod opening;
mod registry;
mod rejection;
mod service;
mod state;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, trace, warn};

use budget::ReserveFds;
use connection::Server;
use registry::Connections;

use crate::http::plain::PlainErrors;
use crate::lifecycle::SERVICE;
use crate::run::ServiceClock;

/// How long requests in progress may take after a signal. Together with the end of the session before it, the shutdown
/// takes less than two seconds.
const DRAIN: Duration = Duration::from_millis(900);
/// How often connections are checked for their deadlines.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How long an evicted connection may take to close.
const EVICT_WITHIN: Duration = Duration::from_secs(1);
/// Connections older than this are evicted when `accept()` fails: a client that was just accepted does not pay for what
/// others hold. The clock is up to a second late, so it must be more than that.
const OLD: Duration = Duration::from_secs(2);
/// How long to wait when the system has no descriptor or no memory for a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves `router` on a bound, non-blocking listener with at most `most` connections at a time until `end`, then drains
/// requests in progress for a bounded time. `plain` says which errors do not name this program; responses have the date of
/// `clock`.
///
/// # Errors
/// The runtime cannot register the socket.
pub(crate) async fn serve(
    listener: std::net::TcpListener,
    router: Router,
    most: u32,
    plain: PlainErrors,
    clock: ServiceClock,
    end: CancellationToken,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let server = Server::new(router, Arc::new(Connections::new(most, clock)), plain);
    tokio::select! {
        () = accept(&listener, &server) => {}
        () = end.cancelled() => {}
    }
    drop(listener);
    server.connections.close_all_when_idle();
    let drained = timeout(DRAIN, server.connections.all_closed()).await;
    if drained.is_err() {
        let after_ms = DRAIN.as_millis() as u64;
        warn!(target: SERVICE, after_ms, "Requests are still in progress and are dropped.");
    }
    Ok(())
}

/// Accepts forever.
async fn accept(listener: &TcpListener, server: &Server) {
    let connections = &server.connections;
    let mut reserve = ReserveFds::default();
    reserve.refill();
    let mut check = interval(CHECK_EVERY);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            _ = check.tick(), if connections.any() || reserve.is_short() => {
                connections.close_overdue();
                reserve.refill();
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                if let Some(slot) = slot(connections).await {
                    spawn(server, stream, from, slot);
                }
            }
            Err(error) if is_client_gone(&error) || reserve.release_one() => {
                trace!(target: SERVICE, %error, "Could not accept a connection; trying again.");
            }
            Err(error) => {
                debug!(target: SERVICE, %error, "Could not accept a connection; closing a quiet one.");
                // accept() fails so even if no client waits here; a client of the other listener may need the
                // descriptor.
                connections.evict(OLD);
                sleep(PAUSE).await;
            }
        }
    }
}

/// Whether the client left before it was accepted.
fn is_client_gone(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionRefused | Kind::ConnectionAborted | Kind::ConnectionReset
    )
}

/// A slot for one more connection; none if the evicted connection does not close in time.
async fn slot(connections: &Connections) -> Option<OwnedSemaphorePermit> {
    if let Some(slot) = connections.free_slot() {
        return Some(slot);
    }
    connections.evict(Duration::ZERO);
    timeout(EVICT_WITHIN, connections.next_slot()).await.ok()?
}

fn spawn(server: &Server, stream: TcpStream, from: SocketAddr, slot: OwnedSemaphorePermit) {
    // Responses are small: waiting to fill a packet would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(target: SERVICE, %error, "Could not set TCP_NODELAY.");
    }
    tokio::spawn(server.connection(stream, from, slot));
}
