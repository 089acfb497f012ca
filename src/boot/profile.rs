//! What a boot profile can ask for, and how it is read from the configuration.

use std::time::Duration;

use serde_json::{Map, Value};

pub(crate) use super::onset::Onset;
use crate::input::{Field, FieldError, Fields, collect};
use crate::manager::plan_entry;
use crate::manager::session::PlannedRun;
use crate::plugin::Plugin;

/// The longest time of a profile, in seconds: a day.
const LONGEST_S: f64 = 86_400.0;
/// The error of a crash, unless the profile has one of its own.
pub(super) const FATAL: &str =
    "Fatal: cannot connect to the database at db:5432: connection refused (os error 111)";

/// How a version that is bad from birth behaves. All times count from the process's begin. The default
/// is a good version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Boot {
    /// What starts by itself; each scenario stands there once.
    pub scenarios: Vec<BootRun>,
    /// Nothing listens before.
    pub start_delay: Duration,
    /// The readiness probe fails before.
    pub ready_after: Duration,
    /// It fails for good.
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
    /// The scenario.
    pub name: &'static str,
    /// Its parameters as they were given, which are good.
    pub params: Map<String, Value>,
    /// Ends the run by itself; none means until stopped.
    pub duration: Option<Duration>,
    /// When it starts.
    pub onset: Onset,
}

impl BootRun {
    /// The start, made of the `registry` that the profile was read with.
    pub(crate) fn plan(&self, registry: &[&'static dyn Plugin]) -> Option<PlannedRun> {
        let plugin = registry.iter().find(|plugin| plugin.name() == self.name)?;
        let plan = plugin.plan("", self.params.clone()).ok()?;
        Some(PlannedRun {
            plan,
            duration: self.duration,
            is_default_duration: false,
        })
    }
}

/// An error that ends the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fail {
    /// When.
    pub after: Duration,
    /// Whether the daemon listens and serves until then.
    pub listening: bool,
    /// The exit status.
    pub exit_code: u8,
    /// The error in the log.
    pub message: String,
}

/// An error that ends the first boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CrashLoop {
    /// How many boots it ends.
    pub boots: u32,
    /// When.
    pub after: Duration,
    /// The exit status.
    pub exit_code: u8,
}

impl Boot {
    /// Reads the members of `Boot`, with the scenarios of `registry`.
    pub(crate) fn read(fields: &mut Fields, registry: &'static [&'static dyn Plugin]) -> Self {
        let about = "Scenarios that start by themselves: as in a composite start, and each with what is \
                     to be waited for (after, after_requests, when_ready).";
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
            after: seconds(fail.field("after", "When."), 0.0),
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
        let about = "An error ends each of the first boots, which are counted under DataDir.";
        let crash_loop = fields.optional_section("crash_loop", about, |crash| CrashLoop {
            boots: crash
                .field("boots", "How many boots.")
                .integer(1..=1_000_000, 3),
            after: seconds(crash.field("after", "When."), 5.0),
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
        boot.refuse_the_impossible(fields);
        boot
    }

    /// Nothing is dropped silently: what could never happen beside the rest is refused.
    fn refuse_the_impossible(&self, fields: &mut Fields) {
        let alone = Self {
            hang: true,
            ..Self::default()
        };
        if self.hang && *self != alone {
            fields.reject(
                "hang",
                "must stand alone: nothing else happens to a process that hangs",
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
        for (name, _) in needs_listening.iter().filter(|(_, given)| *given) {
            if never_listens {
                fields.reject(
                    name,
                    "has no effect with fail.listening false: nothing ever listens",
                );
            }
        }
        if let Some(fail) = &self.fail {
            // Without `after` it fails as soon as it listens.
            let is_timed = !fail.after.is_zero();
            if fail.listening && is_timed && fail.after < self.start_delay {
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
                fields.reject_at(&at, "never comes with never_ready");
            }
        }
    }
}

fn read_run(
    registry: &'static [&'static dyn Plugin],
    at: &str,
    entry: Value,
    seen: &mut Vec<&'static str>,
) -> Result<(BootRun, Value), Vec<FieldError>> {
    let (mut entry, mut given) = (entry, Map::new());
    if let Value::Object(entry) = &mut entry {
        for key in Onset::KEYS {
            given.extend(entry.remove_entry(key));
        }
    }
    let params = entry.get("params").and_then(Value::as_object).cloned();
    let mut fields = Fields::new(at, given);
    let onset = Onset::read(&mut fields);
    let waited_for = fields.finish();
    let planned = plan_entry(registry, at, entry, seen, &Onset::KEYS);
    let (planned, waited_for) = collect(planned, waited_for)?;
    let run = BootRun {
        name: planned.plan.name,
        params: params.unwrap_or_default(),
        duration: planned.duration,
        onset,
    };
    let mut shown = Map::from_iter([
        ("name".to_owned(), planned.plan.name.into()),
        ("params".to_owned(), planned.plan.params.into()),
    ]);
    if let Some(duration) = planned.duration {
        shown.insert("duration".to_owned(), duration.as_secs_f64().into());
    }
    shown.extend(waited_for);
    Ok((run, shown.into()))
}

/// A time of the profile.
pub(super) fn seconds(field: Field<'_>, default: f64) -> Duration {
    Duration::from_secs_f64(field.unit("s").number(0.0..=LONGEST_S, default))
}

fn exit_code(fields: &mut Fields) -> u8 {
    let about = "The exit status of the process.";
    fields.field("exit_code", about).integer(0..=255, 1)
}
