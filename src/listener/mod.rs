//! Accepts connections and serves HTTP/1.1 on them, within bounds that no client can stretch.
//!
//! Only reading is timed, never answering: a request may wait in a fault for ten minutes, and a stream of
//! events has no end. Where no more connections may be open, the one that has been quiet for the longest
//! makes room for the next, so that a listener can always be reached, whoever holds its connections.

pub(crate) mod bind;
pub(crate) mod budget;
mod connection;
mod connections;
mod late_end;
mod rejection;
mod spare;
mod unread;

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

use connection::Serving;
use connections::Connections;
use spare::Spare;

/// How long requests that are under way may take after a signal. With the end of the session before
/// it, the whole shut-down stays below two seconds.
const DRAIN: Duration = Duration::from_millis(900);
/// How often connections are looked at that may have been quiet for too long.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a connection that was told to make room may take.
const ROOM_WITHIN: Duration = Duration::from_secs(1);
/// How long nothing is accepted where the system has no descriptor or no memory for a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves `router` on a bound, non-blocking listener, on `most` connections at a time, until `end`;
/// then drains what is under way for a bounded time.
///
/// # Errors
/// The runtime cannot watch the socket.
pub(crate) async fn serve(
    listener: std::net::TcpListener,
    router: Router,
    most: u32,
    end: CancellationToken,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let serving = Serving::new(router, Arc::new(Connections::new(most)));
    tokio::select! {
        () = accept(&listener, &serving) => {}
        () = end.cancelled() => {}
    }
    drop(listener);
    serving.connections.let_all_leave();
    if timeout(DRAIN, serving.connections.all_left())
        .await
        .is_err()
    {
        warn!(
            after_ms = DRAIN.as_millis() as u64,
            "Requests are still under way and are dropped."
        );
    }
    Ok(())
}

/// Accepts for ever.
async fn accept(listener: &TcpListener, serving: &Serving) {
    let connections = &serving.connections;
    let mut spare = Spare::default();
    spare.refill();
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            _ = look.tick(), if connections.any() || spare.is_short() => {
                connections.close_overdue();
                spare.refill();
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                if let Some(slot) = slot(connections).await {
                    admit(serving, stream, from, slot);
                }
            }
            Err(error) if is_of_the_client(&error) || spare.give_up() => {
                trace!(%error, "A connection is accepted at a second try.");
            }
            Err(error) => {
                debug!(%error, "A connection cannot be accepted.");
                // The system says so even when nobody waits here; then somebody may wait elsewhere.
                connections.make_room_of_old();
                sleep(PAUSE).await;
            }
        }
    }
}

/// Whether a client went away before it was accepted.
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionRefused | Kind::ConnectionAborted | Kind::ConnectionReset
    )
}

/// A slot for one more connection; none when nobody leaves although told to.
async fn slot(connections: &Connections) -> Option<OwnedSemaphorePermit> {
    if let Some(slot) = connections.free_slot() {
        return Some(slot);
    }
    connections.make_room();
    timeout(ROOM_WITHIN, connections.next_slot()).await.ok()?
}

fn admit(serving: &Serving, stream: TcpStream, from: SocketAddr, slot: OwnedSemaphorePermit) {
    // Answers are small: waiting to fill a packet would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "A connection keeps its delay.");
    }
    tokio::spawn(serving.connection(stream, from, slot));
}
