//! Loom's types under the names that `src/sync` gives to the standard library's.

use std::sync::LockResult;
use std::time::Duration;

use loom::sync::WaitTimeoutResult;
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
pub(crate) use loom::sync::{Arc, Mutex, MutexGuard};
pub(crate) use loom::thread::{Builder, JoinHandle};
pub(crate) use std::sync::PoisonError;

#[path = "../../src/sync/lock.rs"]
#[expect(dead_code, reason = "compiled for the models only")]
mod lock;
pub(crate) use lock::Lock;

/// Loom's has no default.
#[derive(Debug)]
pub(crate) struct Condvar(loom::sync::Condvar);

impl Default for Condvar {
    fn default() -> Self {
        Self(loom::sync::Condvar::new())
    }
}

impl Condvar {
    pub(crate) fn wait<'a, T>(&self, held: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.0.wait(held)
    }

    pub(crate) fn wait_timeout<'a, T>(
        &self,
        held: MutexGuard<'a, T>,
        left: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        self.0.wait_timeout(held, left)
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}
