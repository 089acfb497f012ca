//! A mutex whose data stays usable after a panic.

use super::{Mutex, MutexGuard, PoisonError};

/// Held for a short time and never across an `.await`, so a std mutex is enough. No holder leaves the data half
/// changed, so a panic of one does not spoil it for the others.
#[derive(Debug, Default)]
pub(crate) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(crate) fn new(data: T) -> Self {
        Self(Mutex::new(data))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
