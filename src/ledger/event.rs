//! The lines of the ledger: one typed [`Event`] for each thing that happened to a fault or to the daemon.
//!
//! An event is one JSON object on one line, on the wire as on disk. Members that do not apply are left out; readers
//! must ignore members that they do not know.

use std::borrow::Cow;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::run::{EndReason, Initiator, Moment, Probe, Reading, RunTag, Shortfall, Timestamp};

/// What happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EventKind {
    /// The daemon started; `boot.previous` says how the process before it ended.
    #[default]
    Boot,
    /// A start was checked and accepted; its effect is not on yet.
    Accepted,
    /// The start was planned for `starts_at`.
    Planned,
    /// The scenario is up: its effect begins.
    Started,
    /// At least half of what is asked at the moment is measured, and more than noise could be.
    Effective,
    /// The measured effect came within the tolerance of its target.
    TargetReached,
    /// Less than that has been measured for a second, while running.
    Lost,
    /// A client asked for the end, the session ends by itself, or the daemon ends: the effect is being
    /// taken off.
    Stopping,
    /// The duration is over: the effect is being taken off.
    Expired,
    /// A later start replaces it: the effect is being taken off.
    Replaced,
    /// It could not start, or could not go on.
    Failed,
    /// All that the run held is released.
    Cleared,
    /// The process is about to exit because a scenario, the boot profile or a second signal asks for it.
    ExitIntent,
    /// All runs are being ended, and starts are refused.
    Halted,
    /// Starts are accepted again.
    Rearmed,
    /// The process did not run for more than a second, from `from` to `to`: it was stopped or frozen, or the machine
    /// was suspended.
    Frozen,
    /// The wall clock was set, by more than half a second: it would have shown `from`, and showed `to`.
    ClockStepped,
    /// Every fault is off and the daemon ends.
    Shutdown,
    /// A drill was opened.
    DrillOpened,
    /// A candidate answered.
    DrillAnswer,
    /// A release system said what it did.
    DrillReleaseEvent,
    /// What the runs of the drill measure at this moment.
    DrillMeasured,
    /// A probe of the service began to fail, or to succeed again.
    DrillProbeFlip,
    /// Someone other than the examiner asked for what says the truth.
    DrillTainted,
    /// The drill is closed, and its faults are off.
    DrillClosed,
}

/// How the process before this one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LastEnd {
    /// A signal shut it down, and it took every fault off.
    Graceful,
    /// It exited on purpose: by a scenario, the boot profile or a second signal.
    Planned,
    /// It vanished: killed, crashed, or the machine went down.
    Unclean,
    /// It vanished, and the evidence points to the kernel's out-of-memory killer.
    SuspectedOutOfMemory,
}

impl LastEnd {
    /// Its name in JSON and in the log.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Graceful => "graceful",
            Self::Planned => "planned",
            Self::Unclean => "unclean",
            Self::SuspectedOutOfMemory => "suspected_out_of_memory",
        }
    }
}

/// What a boot found of the process before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Previous {
    /// Its boot id.
    pub boot_id: String,
    /// How it ended.
    pub end: LastEnd,
    /// The evidence: the planned exit, or the reason of a suspicion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// Its last event.
    pub last_seq: u64,
    /// The last measurement of each run that was live when it vanished.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<LastReading>,
}

/// The last measurement of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LastReading {
    /// The run: the `seq` of its `accepted`.
    pub run_id: u64,
    /// When it was taken, by the clock of the run's session.
    pub time: Timestamp,
    /// What the effect should have measured then.
    pub asked: f64,
    /// What it measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub achieved: Option<f64>,
    /// Where the effect was to go in the end, where that is not what was asked then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    /// The unit of the three.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Cow<'static, str>>,
    /// Since when it had been effective; none where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_since: Option<Timestamp>,
}

impl LastReading {
    /// Of run `run_id` at `time`.
    pub(crate) fn new(
        run_id: u64,
        time: Timestamp,
        reading: &Reading,
        target: Option<f64>,
        effective_since: Option<Timestamp>,
    ) -> Self {
        Self {
            run_id,
            time,
            asked: rounded(reading.asked),
            achieved: reading.achieved.map(rounded),
            target: target.map(rounded),
            unit: unit_of(reading),
            effective_since,
        }
    }
}

/// What a boot knows of its surroundings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct BootFacts {
    /// The daemon's version.
    pub version: Cow<'static, str>,
    /// The process.
    pub pid: u32,
    /// The most memory that the process can have, in bytes.
    pub memory_limit_bytes: u64,
    /// Kills by the out-of-memory killer that the control group has counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
    /// Bytes of a torn last line that were cut off the journal.
    #[serde(default, skip_serializing_if = "is_default")]
    pub healed_bytes: u64,
    /// Lines of the journal that could not be read and were skipped.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unreadable_lines: u64,
    /// The boot profile, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Map<String, Value>>,
    /// The traffic as the configuration has it, with its seed, where there is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Map<String, Value>>,
    /// Which boot of the profile's crash loop this is, from 1; none where this boot will not crash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crashing_boot: Option<u32>,
    /// The boot profile is ignored.
    #[serde(default, skip_serializing_if = "is_default")]
    pub safe_boot: bool,
    /// The process before; none when this is the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One line of the ledger.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Event {
    /// Its place in the ledger: one more than that of the event before, across restarts too.
    pub seq: u64,
    /// When it happened, by the wall clock.
    pub time: Timestamp,
    /// The same in nanoseconds since the daemon started, by a clock that nothing sets. It also runs while the machine is
    /// suspended.
    pub monotonic_ns: u64,
    /// Identifies this boot of the daemon.
    pub boot_id: Cow<'static, str>,
    /// What happened.
    pub kind: EventKind,
    /// The session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The run: the `seq` of its `accepted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<u64>,
    /// The scenario.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<Cow<'static, str>>,
    /// Who asked for it; none where it came by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Initiator>,
    /// The effective parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Map<String, Value>>,
    /// When the run is to start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Timestamp>,
    /// After how many seconds the run ends by itself; of `exit_intent`, after how many the process exits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    /// What the effect should measure at this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<f64>,
    /// What it measures at this moment; of `cleared`, what is left of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub achieved: Option<f64>,
    /// Where the effect goes in the end, where that is not what is asked at this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    /// The unit of the three.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Cow<'static, str>>,
    /// Why less is achieved than was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortfall: Option<Shortfall>,
    /// Why the effect may fall short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Why the run ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<EndReason>,
    /// Details of the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The status that the process will exit with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Of `frozen`: when the process last ran. Of `clock_stepped`: what the wall clock would have shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Of `frozen`: when it ran again. Of `clock_stepped`: what the wall clock showed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// The drill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill_id: Option<String>,
    /// What the event says of the drill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // Boxed, as below.
    pub drill: Option<Box<Map<String, Value>>>,
    /// What a boot knows of its surroundings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // Boxed, or a third of every event would be room for what one in thousands has.
    pub boot: Option<Box<BootFacts>>,
}

impl Event {
    pub(crate) fn moment(&self) -> Moment {
        Moment {
            time: self.time,
            monotonic_ns: self.monotonic_ns,
        }
    }
}

/// An event without a number and a time yet, which [`Ledger::note`](super::Ledger::note) gives it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NewEvent(pub(super) Event);

impl NewEvent {
    pub(crate) fn new(kind: EventKind) -> Self {
        Self(Event {
            kind,
            ..Event::default()
        })
    }

    pub(super) fn boot(facts: BootFacts) -> Self {
        Self(Event {
            kind: EventKind::Boot,
            boot: Some(Box::new(facts)),
            ..Event::default()
        })
    }

    /// Something that happened to the daemon between two times of the wall clock.
    pub(super) fn between(kind: EventKind, from: Timestamp, to: Timestamp) -> Self {
        Self(Event {
            kind,
            from: Some(from),
            to: Some(to),
            ..Event::default()
        })
    }

    /// An event of the run `tag`.
    pub(crate) fn of(kind: EventKind, tag: &RunTag) -> Self {
        Self(Event {
            kind,
            session_id: Some(tag.session_id.clone()),
            run_id: Some(tag.run_id),
            scenario: Some(tag.scenario.into()),
            ..Event::default()
        })
    }

    /// An event of the drill `id`, with what it says of it.
    pub(crate) fn of_drill(kind: EventKind, id: &str, facts: Map<String, Value>) -> Self {
        Self(Event {
            kind,
            drill_id: Some(id.to_owned()),
            drill: Some(Box::new(facts)),
            ..Event::default()
        })
    }

    pub(crate) fn by(mut self, by: Option<Initiator>) -> Self {
        self.0.by = by;
        self
    }

    pub(crate) fn params(mut self, params: Map<String, Value>) -> Self {
        self.0.params = Some(params);
        self
    }

    /// Adds when the run ends by itself.
    pub(crate) fn duration(mut self, duration: Option<Duration>) -> Self {
        let seconds = duration.map(|duration| duration.as_secs_f64());
        self.0.duration_s = seconds.filter(|seconds| *seconds > 0.0);
        self
    }

    /// Adds when the run is to start.
    pub(crate) fn starts_at(mut self, starts_at: Timestamp) -> Self {
        self.0.starts_at = Some(starts_at);
        self
    }

    pub(crate) fn warning(mut self, warning: Option<String>) -> Self {
        self.0.warning = warning;
        self
    }

    pub(crate) fn reason(mut self, reason: EndReason) -> Self {
        self.0.reason = Some(reason);
        self
    }

    pub(crate) fn because(mut self, because: Option<String>) -> Self {
        self.0.because = because;
        self
    }

    pub(crate) fn error(mut self, error: Option<String>) -> Self {
        self.0.error = error;
        self
    }

    pub(crate) fn exit_code(mut self, exit_code: i32) -> Self {
        self.0.exit_code = Some(exit_code);
        self
    }

    /// Adds what is asked and achieved, and where that goes.
    pub(crate) fn effect(self, reading: &Reading, probe: &dyn Probe) -> Self {
        let Self(event) = self.reading(reading);
        Self(Event {
            target: probe.target().map(rounded),
            ..event
        })
    }

    /// Adds what is asked and achieved.
    pub(crate) fn reading(mut self, reading: &Reading) -> Self {
        let event = &mut self.0;
        event.asked = Some(rounded(reading.asked));
        event.achieved = reading.achieved.map(rounded);
        event.unit = unit_of(reading);
        event.shortfall = reading.shortfall;
        self
    }

    /// Adds what is left of an effect that was taken off.
    pub(crate) fn left(mut self, reading: &Reading, probe: &dyn Probe) -> Self {
        self.0.achieved = probe.left().map(rounded);
        self.0.unit = self.0.achieved.and_then(|_| unit_of(reading));
        self
    }
}

fn unit_of(reading: &Reading) -> Option<Cow<'static, str>> {
    (!reading.unit.is_empty()).then_some(Cow::Borrowed(reading.unit))
}

/// No measurement here is finer than a thousandth, and short lines keep more history.
fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_end_of_a_process_has_one_name() {
        for end in [
            LastEnd::Graceful,
            LastEnd::Planned,
            LastEnd::Unclean,
            LastEnd::SuspectedOutOfMemory,
        ] {
            assert_eq!(json!(end), end.name());
        }
    }

    #[test]
    fn an_event_leaves_out_what_does_not_apply_and_ignores_what_it_does_not_know() {
        let NewEvent(event) = NewEvent::new(EventKind::TargetReached);
        let mut written = serde_json::to_value(&event).expect("json");
        let expected = json!({
            "seq": 0, "time": "1970-01-01T00:00:00.000000Z", "monotonic_ns": 0, "boot_id": "",
            "kind": "target_reached",
        });
        assert_eq!(written, expected);
        written["of_a_later_version"] = json!([1]);
        assert_eq!(
            serde_json::from_value::<Event>(written).expect("an event"),
            event
        );
    }
}
