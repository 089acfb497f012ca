//! A checked start of one scenario.

use std::fmt;

use serde_json::{Map, Value};

use super::{Active, BoxFuture, PreflightContext, RunContext, Scenario, StartError};
use crate::input::{FieldError, Shape};

/// A checked start of one scenario, without any effect yet.
pub struct Plan {
    /// The scenario's name.
    pub name: &'static str,
    /// The effective parameters, defaults filled in.
    pub params: Map<String, Value>,
    /// The parameters that change while the run lasts.
    pub(crate) shapes: Vec<(String, Shape)>,
    scenario: Box<dyn AnyScenario>,
}

/// A [`Scenario`] with its type erased.
trait AnyScenario: Send {
    fn preflight(&self, context: PreflightContext<'_>) -> Result<Option<String>, FieldError>;
    fn forecast(&self, context: PreflightContext<'_>) -> Map<String, Value>;
    fn start(self: Box<Self>, cx: RunContext) -> BoxFuture<Result<Active, StartError>>;
}

impl<S: Scenario> AnyScenario for S {
    fn preflight(&self, context: PreflightContext<'_>) -> Result<Option<String>, FieldError> {
        Scenario::preflight(self, context)
    }

    fn forecast(&self, context: PreflightContext<'_>) -> Map<String, Value> {
        Scenario::forecast(self, context)
    }

    fn start(self: Box<Self>, cx: RunContext) -> BoxFuture<Result<Active, StartError>> {
        Box::pin(Scenario::start(*self, cx))
    }
}

impl Plan {
    pub(super) fn new<S: Scenario>(
        params: Map<String, Value>,
        shapes: Vec<(String, Shape)>,
        scenario: S,
    ) -> Self {
        Self {
            name: S::NAME,
            params,
            shapes,
            scenario: Box::new(scenario),
        }
    }

    /// As [`Scenario::preflight`]; the parameters are at `at` in the request.
    ///
    /// # Errors
    /// The effect is impossible here; the pointer of the error leads into the request.
    pub(crate) fn preflight(
        &self,
        at: &str,
        context: PreflightContext<'_>,
    ) -> Result<Option<String>, Vec<FieldError>> {
        self.scenario.preflight(context).map_err(|error| {
            let pointer = format!("{at}{}", error.pointer);
            vec![FieldError::new(pointer, error.detail)]
        })
    }

    /// As [`Scenario::forecast`].
    pub(crate) fn forecast(&self, context: PreflightContext<'_>) -> Map<String, Value> {
        self.scenario.forecast(context)
    }

    /// Puts the effect on. Repeats the preflight and keeps its warning, since limits may have changed since the request
    /// was checked.
    ///
    /// # Errors
    /// As [`Scenario::preflight`] and [`Scenario::start`].
    pub(crate) async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let warning = self.scenario.preflight(cx.preflight());
        let warning = warning.map_err(|error| StartError::new(error.detail))?;
        let active = self.scenario.start(cx).await?;
        Ok(Active { warning, ..active })
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("name", &self.name)
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}
