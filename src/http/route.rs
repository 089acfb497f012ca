//! One route: how it is served, and what the description of the API says of it.

use axum::handler::Handler;
use axum::routing::{self, MethodRouter};
use http::Method;
use schemars::JsonSchema;

use super::Served;
use super::describe::{Answer, Body, Handled, Operation};
use super::problem::ProblemKind;
use crate::fault::Surface;

/// One route with its one method.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) handler: MethodRouter<Served>,
    /// What the admin listener serves instead.
    pub(super) on_admin: Option<MethodRouter<Served>>,
    /// Who may use it.
    pub(super) access: Access,
    /// Which faults are before it on the service listener; none are before the way out.
    pub(super) surface: Option<Surface>,
    /// Whether it calls the pretended dependency.
    pub(super) calls_dependency: bool,
    /// Whether any service has such a route; a blind service listener has no other.
    pub(super) is_ordinary: bool,
    /// Whether its answer stays the same as long as the process lives.
    pub(super) is_fixed: bool,
    /// The route that the metrics count its requests for.
    pub(super) counts_as: &'static str,
    /// Its name for programs.
    pub(super) id: &'static str,
    /// What it is for, in one line.
    pub(super) summary: &'static str,
    pub(super) operation: Operation,
}

impl Route {
    /// A route open to all, described by the handler `H`.
    fn new<H: Handled<A>, A>(
        method: Method,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
        handler: MethodRouter<Served>,
    ) -> Self {
        Self {
            method,
            path,
            handler,
            on_admin: None,
            access: Access::Open,
            calls_dependency: false,
            is_ordinary: false,
            is_fixed: false,
            counts_as: path,
            surface: Some(Surface::Traffic),
            id,
            summary,
            operation: Operation::of::<H, A>(),
        }
    }

    pub(super) fn is_probe(&self) -> bool {
        self.surface.is_some_and(Surface::is_probe)
    }

    /// Makes it a read of the control API: no page of another site may ask, and it needs the token where
    /// the configuration says so.
    pub(super) fn control(self) -> Self {
        let access = Access::Read;
        Self { access, ..self }.on(Surface::ControlRead).guarded()
    }

    /// The same for a route that names faults on the admin listener only: on the service listener it needs no token.
    pub(super) fn control_on_admin(self) -> Self {
        let access = Access::AdminRead;
        Self {
            access,
            ..self.control()
        }
    }

    fn guarded(self) -> Self {
        self.problems(&[ProblemKind::NoToken, ProblemKind::RefusedOrigin])
    }

    /// Puts the route under the faults of another surface.
    pub(super) fn on(self, surface: Surface) -> Self {
        let surface = Some(surface);
        Self { surface, ..self }
    }

    fn without_faults(self) -> Self {
        Self {
            surface: None,
            ..self
        }
    }

    /// Puts the call to the pretended dependency before the handler.
    pub(super) fn calls_dependency(self) -> Self {
        Self {
            calls_dependency: true,
            ..self
        }
    }

    /// Makes it one that any service has.
    pub(super) fn ordinary(self) -> Self {
        Self {
            is_ordinary: true,
            ..self
        }
    }

    /// Gives the answer a validator: it stays the same as long as the process lives.
    pub(super) fn fixed(self) -> Self {
        Self {
            is_fixed: true,
            ..self
        }
    }

    /// Makes it another name of the route at `path`.
    pub(super) fn counts_as(self, path: &'static str) -> Self {
        Self {
            counts_as: path,
            ..self
        }
    }

    /// Sets the handler of the admin listener, with the same arguments and answer.
    pub(super) fn on_admin<H, T>(self, handler: H) -> Self
    where
        H: Handler<T, Served>,
        T: 'static,
    {
        Self {
            on_admin: Some(routing::get(handler)),
            ..self
        }
    }

    /// Says what the JSON object in the body is.
    pub(super) fn takes(mut self, body: Body) -> Self {
        self.operation.body = Some(body);
        self
    }

    /// Adds problems that the handler's signature does not show.
    pub(super) fn problems(mut self, kinds: &[ProblemKind]) -> Self {
        self.operation.problems.extend(kinds);
        self
    }

    /// Adds an answer in JSON that a fault gives; `status` may be a range such as `4XX`.
    pub(super) fn or<T: JsonSchema>(mut self, status: &'static str, about: &'static str) -> Self {
        self.operation
            .answers
            .push(Answer::json::<T>(status, about));
        self
    }
}

/// A read, open to all.
pub(super) fn get<H, T, A>(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    handler: H,
) -> Route
where
    H: Handler<T, Served> + Handled<A>,
    T: 'static,
{
    Route::new::<H, A>(Method::GET, path, id, summary, routing::get(handler))
}

/// A route that changes what runs: it needs the token where one is configured, and no delay of a
/// fault ever applies to it.
pub(super) fn post<H, T, A>(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    handler: H,
) -> Route
where
    H: Handler<T, Served> + Handled<A>,
    T: 'static,
{
    let route = Route::new::<H, A>(Method::POST, path, id, summary, routing::post(handler));
    let access = Access::Change;
    Route { access, ..route }
        .without_faults()
        .guarded()
        .problems(&[ProblemKind::ShuttingDown])
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// All: probes, traffic, the description.
    Open,
    /// Readers of the control API.
    Read,
    /// The same on the admin listener, and all on the service listener, whose answer names no fault.
    AdminRead,
    /// Those who may change what runs.
    Change,
}
