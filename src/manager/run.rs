//! One run of a scenario as the actor keeps it and handlers read it: its effect now, and its end.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::plugin::{Probe, Reading};
use crate::run::{EndReason, Moment, RunTag, Timestamp};
use crate::sync::Lock;

/// What a scenario was asked for and what it achieves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Effect {
    /// Asked, achieved, unit and shortfall.
    #[serde(flatten)]
    pub reading: Reading,
    /// Since when it has been effective without a break of a second: at least half of what is asked at the moment is
    /// measured, and more than noise could be.
    pub effective_since: Option<Timestamp>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct RunEnd {
    /// Why it ended.
    pub reason: EndReason,
    /// When its effect was gone.
    pub at: Timestamp,
    /// The reason in words, where there is more to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// What went wrong, if anything did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The last reading before the effect was taken off.
    pub effect: Effect,
}

/// One run of a scenario, live or ended.
pub(crate) struct Run {
    pub tag: RunTag,
    /// The effective parameters.
    pub params: Map<String, Value>,
    /// None where it could not start.
    pub started_at: Option<Timestamp>,
    /// The first event of its session.
    pub anchor: Moment,
    /// None means until stopped.
    pub expires_at: Option<Timestamp>,
    /// Why the effect may fall short.
    pub warning: Option<String>,
    pub probe: Arc<dyn Probe>,
    pub(super) effect: Lock<Effect>,
}

impl Run {
    /// When `moment` was, by the clock of the session.
    pub(super) fn time_of(&self, moment: Moment) -> Timestamp {
        moment.by_the_clock_at(self.anchor)
    }

    /// Keeps the last observation.
    pub(super) fn remember(&self, effect: Effect) {
        *self.effect.lock() = effect;
    }

    /// A fresh reading with the last observation of how long the effect has held.
    pub(super) fn current_effect(&self) -> Effect {
        Effect {
            reading: self.probe.read(),
            ..self.last_effect()
        }
    }

    /// The last observation.
    pub(crate) fn last_effect(&self) -> Effect {
        self.effect.lock().clone()
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("tag", &self.tag)
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}
