//! What a boot profile can ask for, and how it is read from the configuration.

use std::time::Duration;

use serde_json::{Map, Value};

pub(crate) use super::onset::Onset;
use crate::input::{Field, FieldError, Fields, collect};
use crate::manager::plan_entry;
use crate::manager::session::PlannedRun;
use crate::plugin::{Plugin, Registry, conflicts_of};

/// The longest time of a profile: a day.
const LONGEST_S: f64 = 86_400.0;
/// The error of a crash, unless the profile has another.
pub(super) const FATAL: &str =
    "Fatal: cannot connect to the database at db:5432: connection refused (os error 111)";

/// How a version behaves that is bad by its configuration. All times count from the start of the process. The default
/// is a good version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BootProfile {
    /// What starts by itself, each scenario at most once.
    pub scenarios: Vec<BootRun>,
    /// Nothing listens before this time.
    pub start_delay: Duration,
    /// The readiness probe fails before this time.
    pub ready_after: Duration,
    /// The readiness probe fails for good.
    pub never_ready: bool,
    /// The process ends with an error.
    pub fail: Option<Fail>,
    /// The process neither listens nor ends.
    pub hang: bool,
    /// The first boots end with an error.
    pub crash_loop: Option<CrashLoop>,
}

/// A scenario that starts by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BootRun {
    pub name: &'static str,
    /// As given, and known to be valid.
    pub params: Map<String, Value>,
    /// The run ends after this time; none means that it lasts until stopped.
    pub duration: Option<Duration>,
    pub onset: Onset,
}

impl BootRun {
    /// The plan, from the `registry` that the profile was read with.
    pub(crate) fn plan(&self, registry: &[&'static dyn Plugin]) -> Option<PlannedRun> {
        let plugin = registry.iter().find(|plugin| plugin.name() == self.name)?;
        let plan = plugin.plan("", self.params.clone()).ok()?;
        Some(PlannedRun {
            plan,
            after: Duration::ZERO,
            duration: self.duration,
            is_default_duration: false,
            conflicts: conflicts_of(registry, *plugin),
        })
    }
}

/// An error that ends the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fail {
    pub after: Duration,
    /// Whether the daemon listens and serves until then.
    pub listening: bool,
    pub exit_code: u8,
    /// The error in the log.
    pub message: String,
}

/// An error that ends the first boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CrashLoop {
    /// How many boots it ends.
    pub boots: u32,
    pub after: Duration,
    pub exit_code: u8,
}

impl BootProfile {
    /// Reads the members of `Boot`.
    pub(crate) fn read(fields: &mut Fields, registry: Registry) -> Self {
        let about = "Scenarios that start by themselves: as in a composite start, and each with what it \
                     waits for (after, after_requests, when_ready).";
        let mut seen = Vec::new();
        let scenarios = fields.list("scenarios", about, |at, entry| {
            read_run(registry, at, entry, &mut seen)
        });
        let about = "Nothing listens before this time.";
        let start_delay = seconds(fields.field("start_delay", about), 0.0);
        let about = "The readiness probe fails before this time.";
        let ready_after = seconds(fields.field("ready_after", about), 0.0);
        let about = "The readiness probe fails for good.";
        let never_ready = fields.field("never_ready", about).flag(false);
        let fail = fields.optional_section("fail", "An error ends the process.", |fail| Fail {
            after: seconds(fail.field("after", "Exits after this time."), 0.0),
            listening: fail
                .field("listening", "Whether the daemon serves until then.")
                .flag(false),
            exit_code: exit_code(fail),
            message: fail.field("message", "The error in the log.").text(
                "must be a text that is not empty",
                (FATAL.to_owned(), FATAL),
                |text| Some(text.to_owned()).filter(|text| !text.is_empty()),
            ),
        });
        let about = "The process neither listens nor ends.";
        let hang = fields.field("hang", about).flag(false);
        let about =
            "An error ends each of the first boots; these crashes are counted under DataDir.";
        let crash_loop = fields.optional_section("crash_loop", about, |crash| CrashLoop {
            boots: crash
                .field("boots", "How many boots crash before one stays up.")
                .integer(1..=1_000_000, 3),
            after: seconds(crash.field("after", "Exits after this time."), 5.0),
            exit_code: exit_code(crash),
        });
        let boot = Self {
            scenarios,
            start_delay,
            ready_after,
            never_ready,
            fail,
            hang,
            crash_loop,
        };
        boot.refuse_contradictions(fields);
        boot
    }

    /// Refuses each member that the others make void, so that nothing is dropped silently.
    fn refuse_contradictions(&self, fields: &mut Fields) {
        let alone = Self {
            hang: true,
            ..Self::default()
        };
        if self.hang && *self != alone {
            fields.reject(
                "hang",
                "excludes every other member: nothing else happens to a process that hangs",
            );
            return;
        }
        if self.never_ready && !self.ready_after.is_zero() {
            fields.reject(
                "ready_after",
                "give either ready_after or never_ready, not both",
            );
        }
        let never_listens = self.fail.as_ref().is_some_and(|fail| !fail.listening);
        let needs_listening = [
            ("scenarios", !self.scenarios.is_empty()),
            ("start_delay", !self.start_delay.is_zero()),
            ("ready_after", !self.ready_after.is_zero()),
            ("never_ready", self.never_ready),
        ];
        for (name, _) in needs_listening
            .iter()
            .filter(|(_, given)| *given && never_listens)
        {
            fields.reject(
                name,
                "has no effect with fail.listening false: nothing ever listens",
            );
        }
        if let Some(fail) = &self.fail {
            // Without `after` it fails as soon as it listens.
            if fail.listening && !fail.after.is_zero() && fail.after < self.start_delay {
                fields.reject_at(
                    "/fail/after",
                    "must not be before start_delay where fail.listening is true",
                );
            }
            let crash = self.crash_loop.as_ref();
            if crash.is_some_and(|crash| fail.after < crash.after) {
                fields.reject(
                    "crash_loop",
                    "has no effect: fail ends each boot before crash_loop.after",
                );
            }
        }
        for (i, run) in self.scenarios.iter().enumerate() {
            if self.never_ready && run.onset.when_ready {
                let at = format!("/scenarios/{i}/when_ready");
                fields.reject_at(&at, "never happens with never_ready");
            }
        }
    }
}

fn read_run(
    registry: Registry,
    at: &str,
    mut entry: Value,
    seen: &mut Vec<&'static str>,
) -> Result<(BootRun, Value), Vec<FieldError>> {
    let mut given = Map::new();
    if let Value::Object(entry) = &mut entry {
        for key in Onset::KEYS {
            given.extend(entry.shift_remove_entry(key));
        }
    }
    let params = entry.get("params").and_then(Value::as_object).cloned();
    let mut fields = Fields::new(at, given);
    let onset = Onset::read(&mut fields);
    let effective_onset = fields.finish();
    let planned = plan_entry(registry, at, entry, seen, &Onset::KEYS);
    let (planned, effective_onset) = collect(planned, effective_onset)?;
    let run = BootRun {
        name: planned.plan.name,
        params: params.unwrap_or_default(),
        duration: planned.duration,
        onset,
    };
    let mut effective = Map::from_iter([
        ("name".to_owned(), planned.plan.name.into()),
        ("params".to_owned(), planned.plan.params.into()),
    ]);
    if let Some(duration) = planned.duration {
        effective.insert("duration".to_owned(), duration.as_secs_f64().into());
    }
    effective.extend(effective_onset);
    Ok((run, effective.into()))
}

pub(super) fn seconds(field: Field<'_>, default: f64) -> Duration {
    field.seconds(0.0..=LONGEST_S, default)
}

fn exit_code(fields: &mut Fields) -> u8 {
    let about = "The exit status of the process.";
    fields.field("exit_code", about).integer(0..=255, 1)
}
