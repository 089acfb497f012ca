//! The scenario manager: what the HTTP handlers call.
//!
//! It looks scenarios up in the registry, checks whole requests before anything is touched, and hands
//! checked plans to the [`session`] actor. It never asks which scenario it holds.

pub(crate) mod abort;
pub(crate) mod dry_run;
pub(crate) mod lease;
mod request;
pub(crate) mod schema;
pub(crate) mod session;
pub(crate) mod terms;
pub(crate) mod view;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::host::cgroup::Cgroup;
use crate::input::limits::Limits;
use crate::input::{FieldError, Fields};
use crate::plugin::Plugin;
use crate::run::Initiator;
use dry_run::DryRun;
pub(crate) use request::plan_entry;
use request::{Reader, Request};
use session::{Halted, Renewed, SessionError, SessionManager, check_room};
use view::{ScenarioStatus, SessionStatus, StartReport, View};

/// Why a request to the manager was refused or could not be carried out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ManagerError {
    /// No scenario of this name; the known ones are in the second part.
    UnknownScenario(String, Vec<&'static str>),
    /// The operator does not allow this scenario.
    NotAllowed(&'static str),
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
pub(crate) struct ScenarioSummary {
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

/// What came of a start.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Started {
    /// It was done.
    Done(StartReport),
    /// It would be done so.
    Planned(DryRun),
}

/// The registry and the session, as the handlers use them; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ScenarioManager {
    registry: &'static [&'static dyn Plugin],
    sessions: SessionManager,
    limits: Arc<Limits>,
    cgroup: Cgroup,
}

impl ScenarioManager {
    /// A manager of `registry` whose runs live in `sessions` and in `cgroup`, within `limits`.
    pub(crate) fn new(
        registry: &'static [&'static dyn Plugin],
        sessions: SessionManager,
        limits: Limits,
        cgroup: Cgroup,
    ) -> Self {
        Self {
            registry,
            sessions,
            limits: Arc::new(limits),
            cgroup,
        }
    }

    /// Every scenario.
    pub(crate) fn registry(&self) -> &'static [&'static dyn Plugin] {
        self.registry
    }

    /// All scenarios, in the registry's order.
    pub(crate) fn list(&self) -> Vec<ScenarioSummary> {
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
    pub(crate) fn describe(&self, name: &str) -> Result<ScenarioSummary, ManagerError> {
        let plugin = self.find(name)?;
        let fields = Fields::new("", Map::new()).below(self.limits.ceilings(&self.cgroup));
        Ok(ScenarioSummary {
            params_schema: Some(plugin.schema_from(fields)),
            ..summary(plugin, &self.sessions.view())
        })
    }

    /// What the scenario does now, or did last.
    ///
    /// # Errors
    /// [`ManagerError::UnknownScenario`].
    pub(crate) fn status(&self, name: &str) -> Result<ScenarioStatus, ManagerError> {
        Ok(self.sessions.view().status(self.find(name)?.name()))
    }

    /// Everything that runs or ran, at one moment.
    pub(crate) fn view(&self) -> Arc<View> {
        self.sessions.view()
    }

    /// The live session.
    pub(crate) fn session(&self) -> Option<SessionStatus> {
        self.sessions.view().session_now()
    }

    /// Ends everything and refuses every start from now on; answers when all effects are gone.
    ///
    /// # Errors
    /// The daemon is ending.
    pub(crate) async fn halt(&self, by: Option<Initiator>) -> Result<Halted, ManagerError> {
        Ok(self.sessions.halt(by).await?)
    }

    /// Takes starts again.
    ///
    /// # Errors
    /// The daemon is ending.
    pub(crate) async fn rearm(&self, by: Option<Initiator>) -> Result<(), ManagerError> {
        Ok(self.sessions.rearm(by).await?)
    }

    /// Prolongs the lease of the live session. Never waits.
    ///
    /// # Errors
    /// [`SessionError::NoLease`].
    pub(crate) fn renew(&self) -> Result<Renewed, ManagerError> {
        Ok(self.sessions.renew()?)
    }

    /// Starts one scenario beside what runs, for `by`; `body` holds its parameters, flat,
    /// `duration` and `dry_run`.
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
        let request = self.reader().single(plugin, body);
        let mut request = request.map_err(ManagerError::Invalid)?;
        if request.dry_run {
            let mut running = self.running()?;
            let most = request.terms.most_at_once;
            check_room(running.iter().copied(), plugin.name(), most)?;
            running.retain(|running| *running == plugin.name());
            return Ok(Started::Planned(DryRun::of(request, running, &self.cgroup)));
        }
        // A single start has one run.
        let run = request.runs.remove(0);
        let report = self.sessions.start_one(run, request.terms, by).await?;
        Ok(Started::Done(report))
    }

    /// Replaces everything that runs by the set in `body`, for `by`.
    ///
    /// # Errors
    /// As [`ScenarioManager::start_one`].
    pub(crate) async fn start_set(
        &self,
        body: Map<String, Value>,
        by: Option<Initiator>,
    ) -> Result<Started, ManagerError> {
        let request = self.reader().set(body);
        let request = request.map_err(ManagerError::Invalid)?;
        if request.dry_run {
            let running = self.running()?;
            return Ok(Started::Planned(DryRun::of(request, running, &self.cgroup)));
        }
        let Request { runs, terms, .. } = request;
        let report = self.sessions.start_set(runs, terms, by).await?;
        Ok(Started::Done(report))
    }

    /// Stops one scenario; answers when its effect is gone.
    ///
    /// # Errors
    /// [`ManagerError::UnknownScenario`], or the daemon is ending.
    pub(crate) async fn stop_one(
        &self,
        name: &str,
        by: Option<Initiator>,
    ) -> Result<ScenarioStatus, ManagerError> {
        let name = self.find(name)?.name();
        self.sessions.stop_one(name, by).await?;
        self.status(name)
    }

    /// Stops everything; answers with the names when all effects are gone.
    ///
    /// # Errors
    /// The daemon is ending.
    pub(crate) async fn stop_all(
        &self,
        by: Option<Initiator>,
    ) -> Result<Vec<&'static str>, ManagerError> {
        Ok(self.sessions.stop_all(by).await?)
    }

    fn reader(&self) -> Reader<'_> {
        Reader {
            registry: self.registry,
            limits: &self.limits,
            ceilings: self.limits.ceilings(&self.cgroup),
            cgroup: &self.cgroup,
        }
    }

    /// What a start would meet, which a halt refuses.
    fn running(&self) -> Result<Vec<&'static str>, SessionError> {
        let view = self.sessions.view();
        if let Some(since) = view.halted_since {
            return Err(SessionError::Halted(since));
        }
        let running = view.session.as_ref();
        Ok(running.map_or_else(Vec::new, |session| session.report.scenarios.clone()))
    }

    fn find(&self, name: &str) -> Result<&'static dyn Plugin, ManagerError> {
        let found = self.registry.iter().find(|plugin| plugin.name() == name);
        found
            .copied()
            .ok_or_else(|| ManagerError::UnknownScenario(name.to_owned(), self.names()))
    }

    /// The names of all scenarios, in the registry's order.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.registry.iter().map(|plugin| plugin.name()).collect()
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
