//! When starts were refused, as far as clients can know it.
//!
//! A halt or a rearm takes effect at some moment between its request and its answer. An answer is correct if such
//! moments exist that explain it.

use std::time::Instant;

/// What changes whether starts are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Switch {
    Halt,
    Rearm,
}

/// All halts and rearms since a moment at which starts were accepted.
#[derive(Debug, Default)]
pub(crate) struct Halts(Vec<Sent>);

#[derive(Debug)]
struct Sent {
    switch: Switch,
    sent: Instant,
    answered: Option<Instant>,
}

/// Whether the daemon may have been halted, or not halted, at some moment of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PossibleHalt {
    pub(crate) on: bool,
    pub(crate) off: bool,
}

impl Halts {
    /// Records a switch that is about to be sent, and returns its number.
    pub(crate) fn sends(&mut self, switch: Switch) -> usize {
        let (sent, answered) = (Instant::now(), None);
        self.0.push(Sent {
            switch,
            sent,
            answered,
        });
        self.0.len() - 1
    }

    /// Records that the switch of this number was answered.
    pub(crate) fn answered(&mut self, number: usize) {
        self.0[number].answered = Some(Instant::now());
    }

    /// The states from `sent` until now.
    pub(crate) fn since(&self, sent: Instant) -> PossibleHalt {
        // A rearm surely came between the halt and the request.
        let surely_undone = |halt: &Sent| {
            self.all(Switch::Rearm)
                .any(|rearm| halt.is_answered_before(rearm.sent) && rearm.is_answered_before(sent))
        };
        let maybe_undone = |halt: &Sent| {
            self.all(Switch::Rearm)
                .any(|rearm| !rearm.is_answered_before(halt.sent))
        };
        PossibleHalt {
            on: self.all(Switch::Halt).any(|halt| !surely_undone(halt)),
            off: self
                .all(Switch::Halt)
                .all(|halt| !halt.is_answered_before(sent) || maybe_undone(halt)),
        }
    }

    fn all(&self, switch: Switch) -> impl Iterator<Item = &Sent> {
        self.0.iter().filter(move |sent| sent.switch == switch)
    }
}

impl Sent {
    fn is_answered_before(&self, moment: Instant) -> bool {
        self.answered.is_some_and(|answered| answered < moment)
    }
}
