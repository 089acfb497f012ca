//! Reads the body of a start into checked plans: reports every bad value, and touches nothing.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::session::{PlannedRun, Start, end_of};
use super::terms::{Ends, Envelope, read_after, read_duration, read_ends};
use super::{find, names_of};
use crate::host::cgroup::Cgroup;
use crate::input::ceilings::Ceilings;
use crate::input::limits::Limits;
use crate::input::suggest::did_you_mean;
use crate::input::{FieldError, Fields, Resource, collect, cut};
use crate::plugin::{Conflict, Plan, Plugin, PreflightContext, Registry, conflicts_of};

/// A value, or every bad value of its source.
type Checked<T> = Result<T, Vec<FieldError>>;

/// Checks one `entry` of a set at the pointer `at`, as the configuration may ask for it: without limits. `seen` holds
/// the names before it; `more` names keys that the caller has already taken out.
///
/// # Errors
/// Every bad value.
pub(crate) fn plan_entry(
    registry: Registry,
    at: &str,
    entry: Value,
    seen: &mut Vec<&'static str>,
    more: &[&'static str],
) -> Checked<PlannedRun> {
    let cgroup = Cgroup::system();
    let reader = Reader {
        registry,
        limits: &Limits::default(),
        ceilings: Ceilings::default(),
        surroundings: PreflightContext::of(&cgroup),
    };
    reader.entry(at, entry, seen, more)
}

/// Reads requests under the limits of this moment.
#[derive(Debug)]
pub(super) struct Reader<'m> {
    pub(super) registry: Registry,
    pub(super) limits: &'m Limits,
    pub(super) ceilings: Ceilings,
    /// What is known before a start.
    pub(super) surroundings: PreflightContext<'m>,
}

impl Reader<'_> {
    /// A start of `plugin` alone, its parameters flat beside the envelope, and whether it is a dry run.
    pub(super) fn single(
        &self,
        plugin: &dyn Plugin,
        mut body: Map<String, Value>,
    ) -> Checked<(Start, bool)> {
        let names = Envelope::NAMES.into_iter();
        let beside = names
            .filter_map(|name| body.shift_remove_entry(name))
            .collect();
        let mut fields = self.fields("", beside);
        let is_given = fields.has("duration");
        let default_s = self.limits.default_duration_s.unwrap_or(0.0);
        let duration = read_duration(&mut fields, default_s);
        let after = read_after(&mut fields);
        let envelope = self.envelope(&mut fields);
        let params = self.fields("", body).beside(&Envelope::NAMES);
        let place = "a single start has its parameters here, beside duration, and not in params";
        let params = params.elsewhere(["params"], place);
        let plan = self.plan(plugin, "", params, duration);
        let (_, plan) = collect(fields.finish(), plan)?;
        let run = PlannedRun {
            plan,
            after,
            duration,
            is_default_duration: !is_given && duration.is_some(),
            conflicts: conflicts_of(self.registry, plugin),
        };
        Ok((Start::single(run, envelope.terms), envelope.dry_run))
    }

    /// A start of the set in `body`, and whether it is a dry run.
    pub(super) fn set(&self, body: Map<String, Value>) -> Checked<(Start, bool)> {
        let place = "it belongs into the entries of scenarios";
        let mut fields = self.fields("", body);
        fields = fields.elsewhere(["name", "params", "duration", "after"], place);
        let about = "The scenarios to run; each at most once.";
        let entries = fields.field("scenarios", about).optional().any(json!({}));
        let ends = read_ends(&mut fields);
        let mut envelope = self.envelope(&mut fields);
        envelope.terms.ends = ends;
        let (_, runs) = collect(fields.finish(), self.entries(entries, ends))?;
        Ok((Start::set(runs, envelope.terms), envelope.dry_run))
    }

    fn entries(&self, entries: Option<Value>, ends: Ends) -> Checked<Vec<PlannedRun>> {
        let at = "/scenarios";
        let entries = match entries {
            Some(Value::Array(entries)) if !entries.is_empty() => entries,
            _ => {
                let rule = "must be a non-empty list of objects with name and, optionally, params, duration and after";
                return refuse(at, rule);
            }
        };
        let (found, known) = (entries.len(), self.registry.len());
        if found > known {
            // At least one name repeats, so the entries are not worth checking one by one.
            let rule = format!("each of the {known} scenarios may run once");
            return refuse(at, format!("has {found} entries; {rule}"));
        }
        let most = self.limits.concurrent_scenarios;
        let mut all = match most.filter(|most| found > *most) {
            Some(most) => {
                let rule = format!("at most {most} may run at once (Limits.ConcurrentScenarios)");
                refuse(at, format!("has {found} entries; {rule}"))
            }
            None => Ok(Vec::new()),
        };
        let (mut seen, mut is_given) = (Vec::new(), false);
        for (i, entry) in entries.into_iter().enumerate() {
            is_given |= entry.get("duration").is_some();
            let run = self.entry(&format!("{at}/{i}"), entry, &mut seen, &[]);
            all = collect(all, run).map(|(mut runs, run)| {
                runs.push(run);
                runs
            });
        }
        let mut runs = all?;
        // A set that ends as one: one given duration is enough for all.
        let is_enough = is_given && ends == Ends::Together;
        if let Some(seconds) = self.limits.default_duration_s.filter(|_| !is_enough) {
            for run in runs.iter_mut().filter(|run| run.duration.is_none()) {
                run.duration = Some(Duration::from_secs_f64(seconds));
                run.is_default_duration = true;
            }
        }
        self.check_onsets(&runs, ends)?;
        Ok(runs)
    }

    /// Refuses an onset at which the set is over, or that makes a run last longer than one may.
    fn check_onsets(&self, runs: &[PlannedRun], ends: Ends) -> Checked<()> {
        let Some(end) = end_of(runs).filter(|_| ends == Ends::Together) else {
            return Ok(());
        };
        let end_s = end.as_secs_f64();
        let mut errors = Vec::new();
        let mut refuse = |i: usize, detail| {
            errors.push(FieldError::new(format!("/scenarios/{i}/after"), detail));
        };
        for (i, run) in runs.iter().enumerate().filter(|(_, run)| run.after >= end) {
            let after_s = run.after.as_secs_f64();
            refuse(
                i,
                format!("the set is over after {end_s} s, and this would start after {after_s} s"),
            );
        }
        let longest = self.ceilings.of(Resource::DurationS);
        let earliest = runs.iter().map(|run| run.after).min().unwrap_or_default();
        let lasts_s = (end - earliest).as_secs_f64();
        let last = (0..runs.len()).max_by_key(|i| runs[*i].after);
        if let Some((longest, last)) = longest.zip(last)
            && lasts_s > longest.most
            && !runs[last].after.is_zero()
        {
            let most = longest.most;
            refuse(
                last,
                format!("all end together, so that one would last {lasts_s} s, more than {most} s"),
            );
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    fn entry(
        &self,
        at: &str,
        entry: Value,
        seen: &mut Vec<&'static str>,
        more: &[&'static str],
    ) -> Checked<PlannedRun> {
        let Value::Object(entry) = entry else {
            return refuse(
                at,
                "must be an object with name, params, duration and after",
            );
        };
        let plugin = self.named_plugin(at, entry.get("name"));
        let mut fields = self.fields(at, entry);
        if let Ok(plugin) = &plugin {
            fields = fields.elsewhere(parameters_of(*plugin), "a parameter belongs into params");
        }
        if more.is_empty() {
            let place = "it belongs beside scenarios";
            fields = fields.elsewhere(["dry_run", "lease", "abort_when", "end"], place);
        }
        let [_, params] =
            ["name", "params"].map(|key| fields.field(key, "").optional().any(json!({})));
        let duration = read_duration(&mut fields, 0.0);
        let after = read_after(&mut fields);
        for key in more {
            fields.field(key, "").optional().any(json!({}));
        }
        let params = match params {
            None => Ok(Map::new()),
            Some(Value::Object(params)) => Ok(params),
            Some(_) => refuse(format!("{at}/params"), "must be an object"),
        };
        let conflicts = plugin
            .as_ref()
            .map(|plugin| conflicts_of(self.registry, *plugin));
        let conflicts = conflicts.unwrap_or_default();
        let alone = match &plugin {
            Ok(plugin) => collect(
                beside(at, plugin.name(), &conflicts, seen),
                once(at, plugin.name(), seen),
            ),
            Err(_) => Ok(((), ())),
        };
        let plan = collect(plugin, params).and_then(|(plugin, params)| {
            let at = format!("{at}/params");
            let params = self.fields(&at, params);
            let params = params.elsewhere(["duration", "after"], "it belongs beside params");
            self.plan(plugin, &at, params, duration)
        });
        let (_, (plan, _)) = collect(fields.finish(), collect(plan, alone))?;
        Ok(PlannedRun {
            plan,
            after,
            duration,
            is_default_duration: false,
            conflicts,
        })
    }

    fn named_plugin(&self, at: &str, name: Option<&Value>) -> Checked<&'static dyn Plugin> {
        let at = format!("{at}/name");
        let known = || names_of(self.registry).join(", ");
        let Some(Value::String(name)) = name else {
            return refuse(at, format!("must be the name of a scenario: {}", known()));
        };
        let Some(plugin) = find(self.registry, name) else {
            let known = known();
            let meant = did_you_mean(name, names_of(self.registry));
            let name = cut(name);
            return refuse(
                at,
                format!("unknown scenario {name:?}; known: {known}{meant}"),
            );
        };
        if !self.limits.allows(name) {
            return refuse(at, format!("{name} is not allowed (Limits.Scenarios)"));
        }
        Ok(plugin)
    }

    /// A start of `plugin` with the parameters `given` at `at`, with its preflight passed.
    fn plan(
        &self,
        plugin: &dyn Plugin,
        at: &str,
        params: Fields,
        duration: Option<Duration>,
    ) -> Checked<Plan> {
        let plan = plugin.plan_from(params)?;
        let context = PreflightContext {
            duration,
            ..self.surroundings
        };
        plan.preflight(at, context)?;
        Ok(plan)
    }

    fn envelope(&self, fields: &mut Fields) -> Envelope {
        let most_at_once = self.limits.concurrent_scenarios;
        Envelope::read(fields, &names_of(self.registry), most_at_once)
    }

    fn fields(&self, at: &str, given: Map<String, Value>) -> Fields {
        Fields::new(at, given).below(self.ceilings.clone())
    }
}

/// The names of all parameters of `plugin`.
fn parameters_of(plugin: &dyn Plugin) -> Vec<String> {
    let schema = plugin.schema();
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties.map(|(name, _)| name.clone()).collect()
}

fn refuse<T>(at: impl Into<String>, detail: impl Into<String>) -> Checked<T> {
    Err(vec![FieldError::new(at, detail)])
}

/// Adds the `name` of the entry at `at` to `seen`; refuses a name that is there already.
fn once(at: &str, name: &'static str, seen: &mut Vec<&'static str>) -> Checked<()> {
    if seen.contains(&name) {
        let detail = format!("{name} is listed twice; each scenario may run once");
        return refuse(format!("{at}/name"), detail);
    }
    seen.push(name);
    Ok(())
}

/// Refuses the entry `name` at `at` where it cannot run beside one of those `seen` before it in its set.
fn beside(at: &str, name: &str, conflicts: &[Conflict], seen: &[&'static str]) -> Checked<()> {
    let mut conflicts = conflicts.iter();
    match conflicts.find(|conflict| seen.contains(&conflict.name)) {
        Some(Conflict {
            name: other,
            reason,
        }) => refuse(at, format!("{name} cannot run beside {other}: {reason}")),
        None => Ok(()),
    }
}
