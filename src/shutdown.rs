//! How the daemon takes the signals that tell it to end, and how a fault may change that.
//!
//! SIGTERM and SIGINT end it: it is not ready any more, every fault stops, what is under way is drained.
//! A run may hang that up, for SIGTERM alone; when the run ends, a signal that it held is followed at
//! once, unless another run takes its place.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::readiness::Readiness;

/// SIGTERM and SIGINT. Handlers are installed even as PID 1, where the kernel has no default for them.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over from now on.
    ///
    /// # Errors
    /// The system does not allow it.
    pub fn new() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self {
            terminate,
            interrupt,
        })
    }

    /// The number of the next signal.
    ///
    /// # Cancel safety
    /// A signal is never lost by dropping the future.
    pub async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        }
    }
}

/// What a fault makes of SIGTERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Nothing, however often it comes.
    Ignore,
    /// The daemon serves on for this time, and only then ends.
    Linger {
        /// How long.
        time: Duration,
        /// Whether the readiness probe goes on to be good meanwhile.
        stay_ready: bool,
    },
    /// The daemon ends, and cuts off the requests that are under way.
    Drop,
}

/// A fault on the shut-down that is in effect.
#[derive(Debug, Clone)]
struct Hang {
    manner: Manner,
    signals: Arc<AtomicU64>,
    /// Cancelled when its run ends.
    over: CancellationToken,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// End, and drain what is under way.
    Drain,
    /// End, and cut off what is under way.
    Drop,
    /// Exit at once, because of this signal.
    AtOnce(i32),
}

/// A handle to the fault on the shut-down, if there is one; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(
    // A std mutex: held to look or to replace, never over an await.
    Arc<Mutex<Option<Hang>>>,
);

impl Shutdown {
    /// Puts `manner` into effect until the guard is dropped.
    #[must_use]
    pub fn hang(&self, manner: Manner) -> HangGuard {
        let hang = Hang {
            manner,
            signals: Arc::default(),
            over: CancellationToken::new(),
        };
        *self.lock() = Some(hang.clone());
        HangGuard {
            of: self.clone(),
            hang,
        }
    }

    /// Waits for the signal that is to be followed. `readiness` ends where the fault says so before that.
    /// `settled` waits until a start that is under way is done: the run that takes the place of one that
    /// held a signal holds it on.
    pub async fn order(
        &self,
        signals: &mut Signals,
        readiness: &Readiness,
        settled: impl AsyncFn(),
    ) -> Order {
        let number = signals.next().await;
        let mut hang = self.current().filter(|_| is_terminate(number));
        while let Some(held_by) = hang {
            held_by.signals.fetch_add(1, Ordering::Relaxed);
            if let Some(order) = held_by.hold(number, signals, readiness).await {
                return order;
            }
            settled().await;
            hang = self.current();
        }
        info!(number, "Signal received: shutting down.");
        Order::Drain
    }

    fn current(&self) -> Option<Hang> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Hang>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hang {
    /// Does with SIGTERM what the fault says. None when its run ends before that tells what is to be done.
    async fn hold(
        &self,
        number: i32,
        signals: &mut Signals,
        readiness: &Readiness,
    ) -> Option<Order> {
        match self.manner {
            Manner::Drop => {
                info!(number, "Signal received: requests under way are dropped.");
                Some(Order::Drop)
            }
            Manner::Linger { time, stay_ready } => {
                let (after_s, ready) = (time.as_secs_f64(), stay_ready);
                info!(
                    number,
                    after_s, ready, "Signal received: shutting down late."
                );
                if !stay_ready {
                    readiness.end();
                }
                tokio::select! {
                    () = sleep(time) => Some(Order::Drain),
                    () = self.over.cancelled() => None,
                    number = signals.next() => Some(Order::AtOnce(number)),
                }
            }
            Manner::Ignore => {
                warn!(number, "Signal received and ignored.");
                self.ignore(signals).await
            }
        }
    }

    /// Until the run ends, or another signal than SIGTERM comes, which is followed.
    async fn ignore(&self, signals: &mut Signals) -> Option<Order> {
        loop {
            tokio::select! {
                () = self.over.cancelled() => return None,
                number = signals.next() => {
                    if !is_terminate(number) {
                        info!(number, "Signal received: shutting down.");
                        return Some(Order::Drain);
                    }
                    self.signals.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

fn is_terminate(number: i32) -> bool {
    number == SignalKind::terminate().as_raw_value()
}

/// Keeps a fault on the shut-down in effect.
#[derive(Debug)]
pub struct HangGuard {
    of: Shutdown,
    hang: Hang,
}

impl HangGuard {
    /// Counts the signals that the fault was met by.
    #[must_use]
    pub fn signals(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.hang.signals)
    }
}

impl Drop for HangGuard {
    fn drop(&mut self) {
        *self.of.lock() = None;
        self.hang.over.cancel();
    }
}
