//! How the daemon takes the signals that tell it to end, and how a fault may change that.
//!
//! SIGTERM and SIGINT end it: it is not ready any more, every fault stops, what is under way is drained.
//! A run may hang that up, for SIGTERM alone; when the run ends, a signal that it held is followed at
//! once.

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
    pub async fn order(&self, signals: &mut Signals, readiness: &Readiness) -> Order {
        let number = signals.next().await;
        let hang = self.lock().clone();
        let Some(hang) = hang.filter(|_| is_terminate(number)) else {
            info!(number, "Signal received: shutting down.");
            return Order::Drain;
        };
        hang.signals.fetch_add(1, Ordering::Relaxed);
        match hang.manner {
            Manner::Drop => {
                info!(number, "Signal received: requests under way are dropped.");
                Order::Drop
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
                    () = sleep(time) => Order::Drain,
                    () = hang.over.cancelled() => Order::Drain,
                    number = signals.next() => Order::AtOnce(number),
                }
            }
            Manner::Ignore => {
                warn!(number, "Signal received and ignored.");
                hang.ignore(signals).await;
                info!("Shutting down.");
                Order::Drain
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Hang>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hang {
    /// Until the run ends, or another signal than SIGTERM comes.
    async fn ignore(&self, signals: &mut Signals) {
        loop {
            tokio::select! {
                () = self.over.cancelled() => return,
                number = signals.next() => {
                    if !is_terminate(number) {
                        return;
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
