//! The wall clock as the service shows it, which a fault may set wrong. The ledger, durations and deadlines have others.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;

use super::Timestamp;

/// The clock; all clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServiceClock(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Looked at first: a clock that is right costs nothing more.
    is_skewed: AtomicBool,
    offset: ArcSwapOption<Offset>,
}

struct Offset(Box<dyn Fn() -> f64 + Send + Sync>);

impl ServiceClock {
    /// The time that it shows.
    pub(crate) fn now(&self) -> Timestamp {
        self.wrong_now().unwrap_or_else(Timestamp::now)
    }

    /// The same where it is wrong; none where it is right.
    pub(crate) fn wrong_now(&self) -> Option<Timestamp> {
        let offset_s = self.offset_s()?;
        Some(Timestamp::now().plus_seconds(offset_s))
    }

    /// By how many seconds it is ahead now; none where it is right.
    pub(crate) fn offset_s(&self) -> Option<f64> {
        if !self.0.is_skewed.load(Ordering::Relaxed) {
            return None;
        }
        let offset = self.0.offset.load();
        offset.as_ref().map(|offset| (offset.0)())
    }

    /// Sets it ahead by the seconds that `offset_s` returns, until the guard is dropped.
    pub(crate) fn set_wrong(
        &self,
        offset_s: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> ClockGuard {
        let offset = Offset(Box::new(offset_s));
        self.0.offset.store(Some(Arc::new(offset)));
        self.0.is_skewed.store(true, Ordering::Relaxed);
        ClockGuard(self.clone())
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Offset").field(&(self.0)()).finish()
    }
}

/// Keeps a clock wrong.
#[derive(Debug)]
pub(crate) struct ClockGuard(ServiceClock);

impl Drop for ClockGuard {
    fn drop(&mut self) {
        self.0.0.is_skewed.store(false, Ordering::Relaxed);
        self.0.0.offset.store(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_wrong_as_long_as_the_guard_lives() {
        let clock = ServiceClock::default();
        assert_eq!(clock.wrong_now(), None);
        let guard = clock.set_wrong(|| -100.0);
        let off = clock.now().seconds_since(Timestamp::now());
        assert!((-100.1..=-99.9).contains(&off), "{off}");
        drop(guard);
        assert_eq!(clock.offset_s(), None);
    }
}
