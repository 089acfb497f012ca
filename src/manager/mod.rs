//! The scenario manager: what the HTTP handlers call.
//!
//! It looks scenarios up in the registry, checks whole requests before anything is touched, and hands
//! checked plans to the [`session`] actor. It never asks which scenario it holds.

pub mod schema;
pub mod session;
pub mod view;

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::fields::{FieldError, Fields, pointer_to};
use crate::ledger::event::Asker;
use crate::plugin::Plugin;
use session::{PlannedRun, SessionError, SessionManager};
use view::{ScenarioStatus, SessionStatus, StartReport, View};

/// The longest `duration` in seconds: a year.
pub const LONGEST_DURATION_S: f64 = 31_536_000.0;

/// Why a request to the manager was refused or could not be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManagerError {
    /// No scenario of this name; the known ones are in the second part.
    UnknownScenario(String, Vec<&'static str>),
    /// Every bad value of the request. Nothing was changed.
    Invalid(Vec<FieldError>),
    /// The session could not do it.
    Session(SessionError),
}

impl From<SessionError> for ManagerError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

/// One row of the list of scenarios.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ScenarioSummary {
    /// The name in URLs.
    pub name: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// Whether it runs now.
    pub running: bool,
    /// JSON Schema of the parameters, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params_schema: Option<Value>,
}

/// The registry and the session, as the handlers use them; cheap to clone.
#[derive(Debug, Clone)]
pub struct ScenarioManager {
    registry: &'static [&'static dyn Plugin],
    sessions: SessionManager,
}

impl ScenarioManager {
    /// A manager of `registry` whose runs live in `sessions`.
    #[must_use]
    pub fn new(registry: &'static [&'static dyn Plugin], sessions: SessionManager) -> Self {
        Self { registry, sessions }
    }

    /// All scenarios, in the registry's order.
    #[must_use]
    pub fn list(&self) -> Vec<ScenarioSummary> {
        // One view for all rows: a switch between two of them would show a mix of two sets.
        let view = self.sessions.view();
        self.registry
            .iter()
            .map(|plugin| summary(*plugin, &view))
            .collect()
    }

    /// One scenario with the schema of its parameters.
    ///
    /// # Errors
    /// [`ManagerError::UnknownScenario`].
    pub fn describe(&self, name: &str) -> Result<ScenarioSummary, ManagerError> {
        let plugin = self.find(name)?;
        Ok(ScenarioSummary {
            params_schema: Some(plugin.schema()),
            ..summary(plugin, &self.sessions.view())
        })
    }

    /// What the scenario does now, or did last.
    ///
    /// # Errors
    /// [`ManagerError::UnknownScenario`].
    pub fn status(&self, name: &str) -> Result<ScenarioStatus, ManagerError> {
        Ok(self.sessions.view().status(self.find(name)?.name()))
    }

    /// Everything that runs or ran, at one moment.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.sessions.view()
    }

    /// The live session.
    #[must_use]
    pub fn session(&self) -> Option<SessionStatus> {
        self.sessions.view().session.clone()
    }

    /// Starts one scenario beside what runs, for `by`; `body` holds its parameters, flat,
    /// and `duration`.
    ///
    /// # Errors
    /// Any [`ManagerError`]; unless it comes from the session, nothing was changed.
    pub async fn start_one(
        &self,
        name: &str,
        mut body: Map<String, Value>,
        by: Option<Asker>,
    ) -> Result<StartReport, ManagerError> {
        let plugin = self.find(name)?;
        let duration = take_duration("", &mut body);
        let plan = plugin.plan("", body);
        let (duration, plan) = both(duration, plan).map_err(ManagerError::Invalid)?;
        Ok(self
            .sessions
            .start_one(PlannedRun { plan, duration }, by)
            .await?)
    }

    /// Replaces everything that runs by the set in `body`, for `by`.
    ///
    /// # Errors
    /// As [`ScenarioManager::start_one`].
    pub async fn start_set(
        &self,
        body: Map<String, Value>,
        by: Option<Asker>,
    ) -> Result<StartReport, ManagerError> {
        let runs = self.plan_set(body).map_err(ManagerError::Invalid)?;
        Ok(self.sessions.start_set(runs, by).await?)
    }

    /// Stops one scenario; answers when its effect is gone.
    ///
    /// # Errors
    /// [`ManagerError::UnknownScenario`], or the daemon is ending.
    pub async fn stop_one(
        &self,
        name: &str,
        by: Option<Asker>,
    ) -> Result<ScenarioStatus, ManagerError> {
        let name = self.find(name)?.name();
        self.sessions.stop_one(name, by).await?;
        self.status(name)
    }

    /// Stops everything; answers with the names when all effects are gone.
    ///
    /// # Errors
    /// The daemon is ending.
    pub async fn stop_all(&self, by: Option<Asker>) -> Result<Vec<&'static str>, ManagerError> {
        Ok(self.sessions.stop_all(by).await?)
    }

    fn find(&self, name: &str) -> Result<&'static dyn Plugin, ManagerError> {
        let found = self.registry.iter().find(|plugin| plugin.name() == name);
        found
            .copied()
            .ok_or_else(|| ManagerError::UnknownScenario(name.to_owned(), self.names()))
    }

    /// The names of all scenarios, in the registry's order.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.registry.iter().map(|plugin| plugin.name()).collect()
    }

    /// Checks a whole set: every bad value of every entry is told, and nothing is touched.
    fn plan_set(&self, mut body: Map<String, Value>) -> Result<Vec<PlannedRun>, Vec<FieldError>> {
        let entries = body.remove("scenarios");
        let mut errors: Vec<FieldError> = body
            .keys()
            .map(|key| FieldError::new(pointer_to("", key), "unknown key; allowed here: scenarios"))
            .collect();
        let mut runs: Vec<PlannedRun> = Vec::new();
        match entries {
            Some(Value::Array(entries)) if entries.len() > self.registry.len() => {
                // More than one entry each: not worth a look at every one.
                let (found, most) = (entries.len(), self.registry.len());
                let detail =
                    format!("has {found} entries; each of the {most} scenarios may run once");
                errors.push(FieldError::new("/scenarios", detail));
            }
            Some(Value::Array(entries)) if !entries.is_empty() => {
                let mut seen = Vec::new();
                for (i, entry) in entries.into_iter().enumerate() {
                    let at = format!("/scenarios/{i}");
                    match plan_entry(self.registry, &at, entry, &mut seen, &[]) {
                        Ok(run) => runs.push(run),
                        Err(mut found) => errors.append(&mut found),
                    }
                }
            }
            _ => errors.push(FieldError::new(
                "/scenarios",
                "must be a non-empty list of objects with name, params and duration",
            )),
        }
        if errors.is_empty() {
            Ok(runs)
        } else {
            Err(errors)
        }
    }
}

/// Checks one `entry` of a set, which stands at `at`, with the scenarios of `registry`; `seen` holds the
/// names before it. `more` are keys that the caller has taken out already.
///
/// # Errors
/// Every bad value.
pub fn plan_entry(
    registry: &[&'static dyn Plugin],
    at: &str,
    entry: Value,
    seen: &mut Vec<&'static str>,
    more: &[&str],
) -> Result<PlannedRun, Vec<FieldError>> {
    let Value::Object(mut entry) = entry else {
        let rule = "must be an object with name, params and duration";
        return Err(vec![FieldError::new(at, rule)]);
    };
    let duration = take_duration(at, &mut entry);
    let given = match entry.remove("params") {
        None => Ok(Map::new()),
        Some(Value::Object(params)) => Ok(params),
        Some(_) => Err(vec![FieldError::new(
            format!("{at}/params"),
            "must be an object",
        )]),
    };
    let plugin = named_plugin(registry, at, entry.remove("name"));
    let once = match &plugin {
        Ok(plugin) => once(at, plugin.name(), seen),
        Err(_) => Ok(()),
    };
    let plan =
        both(plugin, given).and_then(|(plugin, given)| plugin.plan(&format!("{at}/params"), given));
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
    let ((duration, plan), ((), ())) = both(both(duration, plan), both(once, unknown))?;
    Ok(PlannedRun { plan, duration })
}

fn named_plugin(
    registry: &[&'static dyn Plugin],
    at: &str,
    name: Option<Value>,
) -> Result<&'static dyn Plugin, Vec<FieldError>> {
    let refuse = |detail: String| Err(vec![FieldError::new(format!("{at}/name"), detail)]);
    let known: Vec<&str> = registry.iter().map(|plugin| plugin.name()).collect();
    let known = known.join(", ");
    let Some(Value::String(name)) = name else {
        return refuse(format!("must be the name of a scenario: {known}"));
    };
    let found = registry.iter().find(|plugin| plugin.name() == name);
    match found {
        Some(plugin) => Ok(*plugin),
        None => refuse(format!("unknown scenario {name:?}; known: {known}")),
    }
}

fn summary(plugin: &dyn Plugin, view: &View) -> ScenarioSummary {
    ScenarioSummary {
        name: plugin.name(),
        description: plugin.summary(),
        running: view.is_running(plugin.name()),
        params_schema: None,
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

/// Takes `duration` out of a start's object; absent or zero means until stopped.
fn take_duration(
    at: &str,
    body: &mut Map<String, Value>,
) -> Result<Option<Duration>, Vec<FieldError>> {
    let given = body.remove_entry("duration").into_iter().collect();
    let mut fields = Fields::new(at, given);
    let seconds = read_duration(&mut fields);
    fields.finish()?;
    // Not zero, however small: a zero would mean until stopped.
    let least = Duration::from_nanos(1);
    Ok((seconds > 0.0).then(|| Duration::from_secs_f64(seconds).max(least)))
}

fn read_duration(fields: &mut Fields) -> f64 {
    let about = "Ends the run by itself after this time; 0 means until stopped.";
    fields
        .field("duration", about)
        .unit("s")
        .number(0.0..=LONGEST_DURATION_S, 0.0)
}

/// Both values, or the errors of both.
///
/// # Errors
/// Those of both.
pub fn both<A, B>(
    a: Result<A, Vec<FieldError>>,
    b: Result<B, Vec<FieldError>>,
) -> Result<(A, B), Vec<FieldError>> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(mut a), Err(b)) => {
            a.extend(b);
            Err(a)
        }
        (Err(errors), _) | (_, Err(errors)) => Err(errors),
    }
}
