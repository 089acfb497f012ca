//! A checked start of one scenario.

use std::fmt;

use serde_json::{Map, Value};

use super::{Active, BoxFuture, PreflightContext, RunContext, Scenario, StartError};
use crate::input::FieldError;

/// A checked start of one scenario that has had no effect yet.
pub struct Plan {
    /// The scenario's name.
    pub name: &'static str,
    /// The effective parameters, defaults filled in.
    pub params: Map<String, Value>,
    typed: Box<dyn ErasedParams>,
}

/// The typed parameters of a [`Plan`] with their type erased.
trait ErasedParams: Send {
    fn preflight(&self, context: PreflightContext<'_>) -> Result<Option<String>, FieldError>;
    fn start(self: Box<Self>, cx: RunContext) -> BoxFuture<Result<Active, StartError>>;
}

struct ParamsOf<S: Scenario>(S::Params);

impl<S: Scenario> ErasedParams for ParamsOf<S> {
    fn preflight(&self, context: PreflightContext<'_>) -> Result<Option<String>, FieldError> {
        S::preflight(&self.0, context)
    }

    fn start(self: Box<Self>, cx: RunContext) -> BoxFuture<Result<Active, StartError>> {
        Box::pin(S::start(self.0, cx))
    }
}

impl Plan {
    pub(super) fn new<S: Scenario>(params: Map<String, Value>, typed: S::Params) -> Self {
        Self {
            name: S::NAME,
            params,
            typed: Box::new(ParamsOf::<S>(typed)),
        }
    }

    /// As [`Scenario::preflight`]; the parameters are at `at` in the request.
    ///
    /// # Errors
    /// As [`Scenario::preflight`].
    pub(crate) fn preflight(
        &self,
        at: &str,
        context: PreflightContext<'_>,
    ) -> Result<Option<String>, Vec<FieldError>> {
        let checked = self.typed.preflight(context);
        checked.map_err(|error| {
            let pointer = format!("{at}{}", error.pointer);
            vec![FieldError::new(pointer, error.detail)]
        })
    }

    /// Puts the effect on, after another preflight whose warning it keeps: limits may have changed since the request
    /// was checked.
    ///
    /// # Errors
    /// As [`Scenario::preflight`] and [`Scenario::start`].
    pub(crate) async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let warning = self.typed.preflight(cx.preflight());
        let warning = warning.map_err(|error| StartError::new(error.detail))?;
        let active = self.typed.start(cx).await?;
        Ok(Active { warning, ..active })
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("name", &self.name)
            .field("params", &self.params)
            .finish()
    }
}
