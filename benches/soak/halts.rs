//! When starts were refused, as far as whoever asks from outside can know it.
//!
//! A halt or a rearm takes effect at some moment between its sending and its answer. So an answer is
//! right if there is any such moment for each that fits it, and wrong if there is none.

use std::time::Instant;

/// What changes whether starts are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Switch {
    Halt,
    Rearm,
}

/// All halts and rearms since a moment at which starts were taken.
#[derive(Debug, Default)]
pub(crate) struct Halts(Vec<Asked>);

#[derive(Debug)]
struct Asked {
    switch: Switch,
    sent: Instant,
    answered: Option<Instant>,
}

/// What a halt may have been at some moment of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Possible {
    pub(crate) on: bool,
    pub(crate) off: bool,
}

impl Halts {
    /// Notes what is about to be sent; gives its number.
    pub(crate) fn sends(&mut self, switch: Switch) -> usize {
        let (sent, answered) = (Instant::now(), None);
        self.0.push(Asked {
            switch,
            sent,
            answered,
        });
        self.0.len() - 1
    }

    /// Notes that this number was answered.
    pub(crate) fn answered(&mut self, number: usize) {
        self.0[number].answered = Some(Instant::now());
    }

    /// What may have been at some moment from `sent` until now.
    pub(crate) fn since(&self, sent: Instant) -> Possible {
        // It came after the one at the latest and before the request at the earliest.
        let surely_undone = |halt: &Asked| {
            self.all(Switch::Rearm)
                .any(|rearm| halt.is_answered_before(rearm.sent) && rearm.is_answered_before(sent))
        };
        let maybe_undone = |halt: &Asked| {
            self.all(Switch::Rearm)
                .any(|rearm| !rearm.is_answered_before(halt.sent))
        };
        Possible {
            on: self.all(Switch::Halt).any(|halt| !surely_undone(halt)),
            off: self
                .all(Switch::Halt)
                .all(|halt| !halt.is_answered_before(sent) || maybe_undone(halt)),
        }
    }

    fn all(&self, switch: Switch) -> impl Iterator<Item = &Asked> {
        self.0.iter().filter(move |asked| asked.switch == switch)
    }
}

impl Asked {
    fn is_answered_before(&self, moment: Instant) -> bool {
        self.answered.is_some_and(|answered| answered < moment)
    }
}
