//! The views that readers see: each from the moment on at which the ledger shows what led to it.
//!
//! So a client that sees that a run is over finds its end in the ledger, and one that finds the end there sees that the
//! run is over.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::ledger::Ledger;
use crate::manager::view::View;
use crate::sync::Lock;

/// Written by the actor alone.
#[derive(Debug)]
pub(super) struct Views {
    ledger: Ledger,
    /// Each with the number of the last event that led to it, oldest first. All but the first may be still to come.
    queue: Lock<VecDeque<(u64, Arc<View>)>>,
}

impl Views {
    pub(super) fn new(ledger: Ledger) -> Self {
        let first = (0, Arc::default());
        Self {
            ledger,
            queue: Lock::new(VecDeque::from([first])),
        }
    }

    /// Adds the view after everything noted so far.
    pub(super) fn push(&self, view: View) {
        let newest = self.ledger.newest();
        self.queue.lock().push_back((newest, Arc::new(view)));
        // Drops what it replaces.
        self.now();
    }

    /// Whether the events that led to them would survive the process.
    pub(super) fn are_durable(&self) -> bool {
        self.ledger.not_durable().is_none()
    }

    /// What readers see now.
    pub(super) fn now(&self) -> Arc<View> {
        let mut queue = self.queue.lock();
        let visible = self.ledger.visible().borrow().newest;
        while queue.get(1).is_some_and(|(seq, _)| *seq <= visible) {
            queue.pop_front();
        }
        // It is never empty.
        queue
            .front()
            .map(|(_, view)| Arc::clone(view))
            .unwrap_or_default()
    }
}
