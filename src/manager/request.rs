//! Reads the body of a start into checked plans: every bad value is told, and nothing is touched.

use std::ops::Bound;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::session::PlannedRun;
use super::terms::Terms;
use crate::host::cgroup::Cgroup;
use crate::input::ceilings::{Ceilings, Resource};
use crate::input::limits::{LONGEST_DURATION_S, Limits};
use crate::input::{FieldError, Fields, collect, pointer_to};
use crate::plugin::{Plan, Plugin, PreflightContext};

/// What a start asks for.
#[derive(Debug)]
pub(super) struct Request {
    /// What shall run.
    pub(super) runs: Vec<PlannedRun>,
    /// When it ends by itself.
    pub(super) terms: Terms,
    /// Whether to tell only what would be done.
    pub(super) dry_run: bool,
}

/// The members of a start beside what shall run.
#[derive(Debug)]
pub(super) struct Envelope {
    dry_run: bool,
    terms: Terms,
}

impl Envelope {
    /// Their names.
    const NAMES: [&str; 3] = ["dry_run", "lease", "abort_when"];

    /// Asks `fields` for each of them; `names` are those of all scenarios.
    pub(super) fn read(fields: &mut Fields, names: &[&'static str]) -> Self {
        let about = "Only checks the request and tells what it would do.";
        Self {
            dry_run: fields.field("dry_run", about).flag(false),
            terms: Terms::read(fields, names),
        }
    }
}

/// Asks `fields` for `duration` in seconds; `default_s` is that of a start that gives none.
pub(super) fn read_duration(fields: &mut Fields, default_s: f64) -> f64 {
    let about = "Ends the run by itself after this time; 0 means until stopped.";
    // Until stopped would be longer than the longest.
    let low = match fields.is_limited(Resource::DurationS) {
        true => Bound::Excluded(0.0),
        false => Bound::Included(0.0),
    };
    let field = fields.field("duration", about).unit("s");
    let field = field.asks_for(Resource::DurationS);
    field.number((low, Bound::Included(LONGEST_DURATION_S)), default_s)
}

/// None where a run lasts until it is stopped.
fn lasting(seconds: f64) -> Option<Duration> {
    // Not zero, however small: a zero would mean until stopped.
    let least = Duration::from_nanos(1);
    (seconds > 0.0).then(|| Duration::from_secs_f64(seconds).max(least))
}

/// Checks one `entry` of a set, which stands at `at`, with the scenarios of `registry`, as the
/// configuration may ask for it: without limits. `seen` holds the names before it, `more` are keys that
/// the caller has taken out already.
///
/// # Errors
/// Every bad value.
pub(crate) fn plan_entry(
    registry: &'static [&'static dyn Plugin],
    at: &str,
    entry: Value,
    seen: &mut Vec<&'static str>,
    more: &[&str],
) -> Result<PlannedRun, Vec<FieldError>> {
    let reader = Reader {
        registry,
        limits: &Limits::default(),
        ceilings: Ceilings::default(),
        cgroup: &Cgroup::system(),
    };
    reader.entry(at, entry, seen, more)
}

/// Reads requests under what is allowed at this moment.
#[derive(Debug)]
pub(super) struct Reader<'m> {
    pub(super) registry: &'static [&'static dyn Plugin],
    pub(super) limits: &'m Limits,
    pub(super) ceilings: Ceilings,
    pub(super) cgroup: &'m Cgroup,
}

impl Reader<'_> {
    /// A start of `plugin` alone: its parameters, flat, and the envelope beside them.
    pub(super) fn single(
        &self,
        plugin: &dyn Plugin,
        mut body: Map<String, Value>,
    ) -> Result<Request, Vec<FieldError>> {
        let names = Envelope::NAMES.into_iter().chain(["duration"]);
        let beside = names.filter_map(|name| body.remove_entry(name)).collect();
        let mut fields = self.fields("", beside);
        let is_given = fields.has("duration");
        let default_s = self.limits.default_duration_s.unwrap_or(0.0);
        let duration = lasting(read_duration(&mut fields, default_s));
        let envelope = self.envelope(&mut fields);
        let plan = self.plan(plugin, "", body, duration);
        let (_, plan) = collect(fields.finish(), plan)?;
        let run = PlannedRun {
            plan,
            duration,
            is_default_duration: !is_given && duration.is_some(),
        };
        Ok(Request {
            runs: vec![run],
            terms: envelope.terms,
            dry_run: envelope.dry_run,
        })
    }

    /// A start of the set in `body`.
    pub(super) fn set(&self, body: Map<String, Value>) -> Result<Request, Vec<FieldError>> {
        let mut fields = self.fields("", body);
        let about = "What shall run; each scenario once at most.";
        let entries = fields.field("scenarios", about).optional().any(json!({}));
        let envelope = self.envelope(&mut fields);
        let (_, runs) = collect(fields.finish(), self.entries(entries))?;
        Ok(Request {
            runs,
            terms: envelope.terms,
            dry_run: envelope.dry_run,
        })
    }

    fn entries(&self, entries: Option<Value>) -> Result<Vec<PlannedRun>, Vec<FieldError>> {
        let refuse = |detail: String| Err(vec![FieldError::new("/scenarios", detail)]);
        let entries = match entries {
            Some(Value::Array(entries)) if !entries.is_empty() => entries,
            _ => {
                let rule = "must be a non-empty list of objects with name, params and duration";
                return refuse(rule.to_owned());
            }
        };
        let (found, known) = (entries.len(), self.registry.len());
        if found > known {
            // More than one entry each: not worth a look at every one.
            return refuse(format!(
                "has {found} entries; each of the {known} scenarios may run once"
            ));
        }
        let (mut runs, mut errors, mut seen) = (Vec::new(), Vec::new(), Vec::new());
        if let Some(most) = self
            .limits
            .concurrent_scenarios
            .filter(|most| found > *most)
        {
            let detail = format!(
                "has {found} entries; at most {most} may run at once (Limits.ConcurrentScenarios)"
            );
            errors.push(FieldError::new("/scenarios", detail));
        }
        let mut is_given = false;
        for (i, entry) in entries.into_iter().enumerate() {
            is_given |= entry.get("duration").is_some();
            match self.entry(&format!("/scenarios/{i}"), entry, &mut seen, &[]) {
                Ok(run) => runs.push(run),
                Err(mut found) => errors.append(&mut found),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        // A set ends as one: one duration that is given is enough for all.
        if let Some(seconds) = self.limits.default_duration_s.filter(|_| !is_given) {
            for run in &mut runs {
                (run.duration, run.is_default_duration) = (lasting(seconds), true);
            }
        }
        Ok(runs)
    }

    fn entry(
        &self,
        at: &str,
        entry: Value,
        seen: &mut Vec<&'static str>,
        more: &[&str],
    ) -> Result<PlannedRun, Vec<FieldError>> {
        let Value::Object(mut entry) = entry else {
            let rule = "must be an object with name, params and duration";
            return Err(vec![FieldError::new(at, rule)]);
        };
        let given = match entry.remove("params") {
            None => Ok(Map::new()),
            Some(Value::Object(params)) => Ok(params),
            Some(_) => Err(vec![FieldError::new(
                format!("{at}/params"),
                "must be an object",
            )]),
        };
        let plugin = self.named_plugin(at, entry.remove("name"));
        let once = match &plugin {
            Ok(plugin) => once(at, plugin.name(), seen),
            Err(_) => Ok(()),
        };
        let duration = entry.remove_entry("duration").into_iter().collect();
        let mut fields = self.fields(at, duration);
        let duration = lasting(read_duration(&mut fields, 0.0));
        let plan = collect(plugin, given).and_then(|(plugin, given)| {
            self.plan(plugin, &format!("{at}/params"), given, duration)
        });
        let allowed = [&["name", "params", "duration"], more].concat().join(", ");
        let unknown: Vec<FieldError> = entry
            .keys()
            .map(|key| {
                let detail = format!("unknown key; allowed here: {allowed}");
                FieldError::new(pointer_to(at, key), detail)
            })
            .collect();
        let unknown = if unknown.is_empty() {
            Ok(())
        } else {
            Err(unknown)
        };
        let ((_, plan), _) = collect(collect(fields.finish(), plan), collect(once, unknown))?;
        Ok(PlannedRun {
            plan,
            duration,
            is_default_duration: false,
        })
    }

    fn named_plugin(
        &self,
        at: &str,
        name: Option<Value>,
    ) -> Result<&'static dyn Plugin, Vec<FieldError>> {
        let refuse = |detail: String| Err(vec![FieldError::new(format!("{at}/name"), detail)]);
        let names: Vec<_> = self.registry.iter().map(|plugin| plugin.name()).collect();
        let Some(Value::String(name)) = name else {
            let known = names.join(", ");
            return refuse(format!("must be the name of a scenario: {known}"));
        };
        let Some(plugin) = self.registry.iter().find(|plugin| plugin.name() == name) else {
            let known = names.join(", ");
            return refuse(format!("unknown scenario {name:?}; known: {known}"));
        };
        if !self.limits.allows(&name) {
            return refuse(format!("{name} is not allowed (Limits.Scenarios)"));
        }
        Ok(*plugin)
    }

    /// A start of `plugin` with the parameters `given` at `at`, which could be had here now.
    fn plan(
        &self,
        plugin: &dyn Plugin,
        at: &str,
        given: Map<String, Value>,
        duration: Option<Duration>,
    ) -> Result<Plan, Vec<FieldError>> {
        let plan = plugin.plan_from(self.fields(at, given))?;
        let cgroup = self.cgroup;
        plan.preflight(at, PreflightContext { cgroup, duration })?;
        Ok(plan)
    }

    fn envelope(&self, fields: &mut Fields) -> Envelope {
        let names: Vec<_> = self.registry.iter().map(|plugin| plugin.name()).collect();
        let mut envelope = Envelope::read(fields, &names);
        envelope.terms.most_at_once = self.limits.concurrent_scenarios;
        envelope
    }

    fn fields(&self, at: &str, given: Map<String, Value>) -> Fields {
        Fields::new(at, given).below(self.ceilings.clone())
    }
}

/// Notes that the entry at `at` names `name`; refuses a name that was there before.
fn once(at: &str, name: &'static str, seen: &mut Vec<&'static str>) -> Result<(), Vec<FieldError>> {
    if seen.contains(&name) {
        let detail = format!("{name} stands in the list twice; each may run once");
        return Err(vec![FieldError::new(format!("{at}/name"), detail)]);
    }
    seen.push(name);
    Ok(())
}
