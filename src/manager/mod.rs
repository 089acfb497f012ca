//! The scenario manager: what the HTTP handlers call.
//!
//! It looks scenarios up in the registry, checks whole requests before it touches anything, and hands checked plans
//! to the [`session`] actor. It never asks which scenario it deals with.

pub(crate) mod abort;
pub(crate) mod dry_run;
pub(crate) mod lease;
mod probe_watch;
pub(crate) mod report;
mod request;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod session;
pub(crate) mod terms;
#[cfg(test)]
mod tests;
pub(crate) mod view;

use std::path::Path;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::host::cgroup::Cgroup;
use crate::input::limits::Limits;
use crate::input::suggest::did_you_mean;
use crate::input::{FieldError, Fields, cut};
use crate::plugin::{Conflict, Group, Plugin, PreflightContext, Registry, conflicts_of};
use crate::run::Initiator;
use dry_run::DryRun;
use report::StartReport;
use request::Reader;
pub(crate) use request::plan_entry;
use session::{SessionError, SessionManager, Start};
use view::{ScenarioStatus, View};

/// Why a request to the manager was refused or could not be carried out.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum ManagerError {
    #[error("{:?} is not known; known: {}{}", cut(.name), .known.join(", "), did_you_mean(.name, .known.iter().copied()))]
    UnknownScenario {
        name: String,
        known: Vec<&'static str>,
    },
    /// The operator does not allow this scenario.
    #[error("{0} is not among the scenarios of Limits.Scenarios.")]
    NotAllowed(&'static str),
    /// Every bad value of the request. Nothing was changed.
    #[error("{} values are bad; nothing was changed.", .0.len())]
    Invalid(Vec<FieldError>),
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// One row of the list of scenarios.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct ScenarioSummary {
    /// The name in URLs.
    pub name: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// Whether it runs now.
    pub running: bool,
    /// What it goes wrong with.
    pub group: Group,
    /// JSON Schema of the parameters; only in the description of one scenario.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params_schema: Option<Value>,
    /// The scenarios that it cannot run beside; only in the description of one that has such.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<Conflict>,
}

/// The answer to a start.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Started {
    /// What was started.
    Done(StartReport),
    /// What a start without `dry_run` would do.
    Planned(DryRun),
}

/// The registry, the limits and the session, as the handlers use them; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ScenarioManager {
    registry: Registry,
    /// Commands that need neither the registry nor the limits go here directly.
    pub(crate) sessions: SessionManager,
    limits: Arc<Limits>,
    cgroup: Cgroup,
    upstreams: Arc<[String]>,
    has_admin: bool,
    data_dir: Option<Arc<Path>>,
}

impl ScenarioManager {
    pub(crate) fn new(
        registry: Registry,
        sessions: SessionManager,
        limits: Limits,
        cgroup: Cgroup,
    ) -> Self {
        Self {
            registry,
            sessions,
            limits: Arc::new(limits),
            cgroup,
            upstreams: Arc::default(),
            has_admin: true,
            data_dir: None,
        }
    }

    /// With the upstreams that the service calls.
    pub(crate) fn calling(self, upstreams: Vec<String>) -> Self {
        let upstreams = upstreams.into();
        Self { upstreams, ..self }
    }

    /// With or without an admin listener, and with the folder where runs may write files.
    pub(crate) fn beside(self, has_admin: bool, data_dir: &Path) -> Self {
        Self {
            has_admin,
            data_dir: Some(data_dir.into()),
            ..self
        }
    }

    /// What a preflight sees.
    fn surroundings(&self) -> PreflightContext<'_> {
        PreflightContext {
            upstreams: Some(&self.upstreams),
            has_admin: self.has_admin,
            data_dir: self.data_dir.as_deref(),
            ..PreflightContext::of(&self.cgroup)
        }
    }

    /// Every scenario.
    pub(crate) fn registry(&self) -> Registry {
        self.registry
    }

    /// All scenarios, in the registry's order.
    pub(crate) fn list(&self) -> Vec<ScenarioSummary> {
        // One view for all rows: a switch between two of them would show a mix of two sets.
        let view = self.sessions.view();
        let plugins = self.registry.iter();
        plugins.map(|plugin| summary(*plugin, &view)).collect()
    }

    /// One scenario with the schema of its parameters.
    pub(crate) fn describe(&self, name: &str) -> Result<ScenarioSummary, ManagerError> {
        let plugin = self.find(name)?;
        let fields = Fields::new("", Map::new()).below(self.limits.ceilings(&self.cgroup));
        Ok(ScenarioSummary {
            params_schema: Some(plugin.schema_from(fields)),
            conflicts: conflicts_of(self.registry, plugin),
            ..summary(plugin, &self.sessions.view())
        })
    }

    /// What the scenario does now, or did last.
    pub(crate) fn status(&self, name: &str) -> Result<ScenarioStatus, ManagerError> {
        Ok(self.sessions.view().status(self.find(name)?.name()))
    }

    /// Starts one scenario beside what runs; `body` holds its parameters, flat, beside `duration`, `dry_run` and the
    /// rest of the envelope.
    ///
    /// # Errors
    /// Any [`ManagerError`]; unless it comes from the session, nothing was changed.
    pub(crate) async fn start_one(
        &self,
        name: &str,
        body: Map<String, Value>,
        by: Option<Initiator>,
    ) -> Result<Started, ManagerError> {
        let plugin = self.find(name)?;
        if !self.limits.allows(plugin.name()) {
            return Err(ManagerError::NotAllowed(plugin.name()));
        }
        self.start(self.reader().single(plugin, body), by).await
    }

    /// Replaces everything that runs by the set in `body`.
    ///
    /// # Errors
    /// [`ManagerError::Invalid`], where nothing was changed, and those of [`SessionManager::start`].
    pub(crate) async fn start_set(
        &self,
        body: Map<String, Value>,
        by: Option<Initiator>,
    ) -> Result<Started, ManagerError> {
        self.start(self.reader().set(body), by).await
    }

    /// Carries out a checked request, or shows what it would do.
    async fn start(
        &self,
        request: Result<(Start, bool), Vec<FieldError>>,
        by: Option<Initiator>,
    ) -> Result<Started, ManagerError> {
        let (start, is_dry_run) = request.map_err(ManagerError::Invalid)?;
        if !is_dry_run {
            return Ok(Started::Done(self.sessions.start(start, by).await?));
        }
        let view = self.sessions.view();
        if let Some(since) = view.halted_since {
            return Err(SessionError::Halted(since).into());
        }
        let session = view.session.iter();
        let running = session.flat_map(|s| s.report.scenarios.iter().copied());
        let planned = view.planned.keys().copied();
        start.check_beside(running.clone().chain(planned))?;
        let replaced = running.filter(|name| !start.joins || start.starts(name));
        let replaced = replaced.collect();
        Ok(Started::Planned(DryRun::of(
            start,
            replaced,
            self.surroundings(),
        )))
    }

    /// Stops one scenario; answers when its effect is gone.
    pub(crate) async fn stop_one(
        &self,
        name: &str,
        by: Option<Initiator>,
    ) -> Result<ScenarioStatus, ManagerError> {
        let name = self.find(name)?.name();
        self.sessions.stop_one(name, by).await?;
        self.status(name)
    }

    fn reader(&self) -> Reader<'_> {
        Reader {
            registry: self.registry,
            limits: &self.limits,
            ceilings: self.limits.ceilings(&self.cgroup),
            surroundings: self.surroundings(),
        }
    }

    fn find(&self, name: &str) -> Result<&'static dyn Plugin, ManagerError> {
        find(self.registry, name).ok_or_else(|| ManagerError::UnknownScenario {
            name: name.to_owned(),
            known: self.names(),
        })
    }

    /// Whether the operator's limits and the surroundings would let a set with this `body` start. Costs nothing where
    /// there are no limits.
    pub(crate) fn allows(&self, body: Map<String, Value>) -> bool {
        *self.limits == Limits::default() || self.reader().set(body).is_ok()
    }

    /// The names of all scenarios, in the registry's order.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        names_of(self.registry)
    }
}

fn names_of(registry: &[&dyn Plugin]) -> Vec<&'static str> {
    registry.iter().map(|plugin| plugin.name()).collect()
}

fn find(registry: Registry, name: &str) -> Option<&'static dyn Plugin> {
    let mut plugins = registry.iter().copied();
    plugins.find(|plugin| plugin.name() == name)
}

fn summary(plugin: &dyn Plugin, view: &View) -> ScenarioSummary {
    ScenarioSummary {
        name: plugin.name(),
        description: plugin.summary(),
        group: plugin.group(),
        running: view.is_running(plugin.name()),
        params_schema: None,
        conflicts: Vec::new(),
    }
}
