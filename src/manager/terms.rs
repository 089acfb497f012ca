//! What a start says beside what it runs: a dry run, a duration, and when the session ends.

use std::ops::Bound;
use std::time::Duration;

use super::abort::AbortWhen;
use super::lease::read_lease;
use crate::input::limits::LONGEST_DURATION_S;
use crate::input::{Fields, Resource};

/// The terms of one start. By default only durations and clients end a session.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Terms {
    /// The period in which the client must renew the session.
    pub lease: Option<Duration>,
    /// The measurements that end the session.
    pub abort_when: AbortWhen,
    /// How many scenarios may run at once.
    pub most_at_once: Option<usize>,
    /// Which of a set's runs end when.
    pub ends: Ends,
}

/// When the runs of a set end that have a duration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Ends {
    /// All when the last of them is over.
    #[default]
    Together,
    /// Each when it is over itself.
    Each,
}

/// The members of a start that single starts and sets share.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) dry_run: bool,
    pub(super) terms: Terms,
}

impl Envelope {
    /// Those of a single start, which `duration` begins.
    pub(super) const NAMES: [&str; 5] = ["duration", "after", "dry_run", "lease", "abort_when"];

    /// Reads each of them; `names` are those of all scenarios.
    pub(super) fn read(
        fields: &mut Fields,
        names: &[&'static str],
        most_at_once: Option<usize>,
    ) -> Self {
        let about = "Only checks the request and shows what it would do.";
        let dry_run = fields.field("dry_run", about).flag(false);
        let lease = read_lease(fields);
        let about = "Ends the session when one of these is measured.";
        let abort_when = fields.object("abort_when", about, |when| AbortWhen::read(when, names));
        let terms = Terms {
            lease,
            abort_when,
            most_at_once,
            ends: Ends::default(),
        };
        Self { dry_run, terms }
    }
}

/// Reads `duration` in seconds; `default_s` applies when the start gives none. None means until stopped.
pub(super) fn read_duration(fields: &mut Fields, default_s: f64) -> Option<Duration> {
    let about = "Ends the run after this time; 0 means until stopped.";
    // Until stopped would be longer than the longest.
    let low = match fields.is_limited(Resource::DurationS) {
        true => Bound::Excluded(0.0),
        false => Bound::Included(0.0),
    };
    let field = fields.field("duration", about);
    let field = field.asks_for(Resource::DurationS);
    let duration = field.seconds_or_zero((low, Bound::Included(LONGEST_DURATION_S)), default_s);
    (!duration.is_zero()).then_some(duration)
}

/// Reads `after` in seconds: how much later than asked for the run starts.
pub(super) fn read_after(fields: &mut Fields) -> Duration {
    let about = "Starts the run this much later; its duration counts from then.";
    let field = fields.field("after", about);
    let field = field.asks_for(Resource::DurationS);
    field.seconds(0.0..=LONGEST_DURATION_S, 0.0)
}

/// Reads `end`, of a set only.
pub(super) fn read_ends(fields: &mut Fields) -> Ends {
    let about = "Whether all runs with a duration end together, when the last of them is over, or each at its own time.";
    let field = fields.field("end", about);
    field.choice(&[("together", Ends::Together), ("each", Ends::Each)])
}
