//! What holds for a session beside what runs in it: when it ends by itself.

use std::time::Duration;

use super::abort::AbortWhen;
use super::lease::LONGEST_LEASE_S;
use crate::input::{Fields, above};

/// The terms of one start. By default nothing ends a session but its durations and its clients.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Terms {
    /// The client must renew the session so often.
    pub lease: Option<Duration>,
    /// Measures that end it.
    pub abort_when: AbortWhen,
    /// How many scenarios may run at once.
    pub most_at_once: Option<usize>,
}

impl Terms {
    /// Asks `fields` for what a request may say of it; `names` are those of all scenarios.
    pub(crate) fn read(fields: &mut Fields, names: &[&'static str]) -> Self {
        let about =
            "Ends the session by itself unless it is renewed within this time, again and again.";
        let lease = fields
            .field("lease", about)
            .unit("s")
            .optional()
            .number(above(0.0, LONGEST_LEASE_S));
        let about = "Ends the session by itself when one of these is measured.";
        let abort_when = fields.object("abort_when", about, |when| AbortWhen::read(when, names));
        Self {
            lease: lease.map(Duration::from_secs_f64),
            abort_when,
            most_at_once: None,
        }
    }
}
