//! A route: what it serves, and what the description of the API says of it.
//!
//! Arguments and answers are taken from the handler's own signature, so that a handler cannot be given
//! another body or another answer without the description following.

use std::future::Future;

use axum::Json;
use axum::extract::State;
use axum::handler::Handler;
use axum::response::sse::Sse;
use axum::response::{IntoResponse, Response};
use axum::routing::{self, MethodRouter};
use http::{HeaderMap, Method};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value};

use super::Api;
use super::body::{JsonObject, Name, NoParameters};
use super::caller::Caller;
use super::problem::{Problem, ProblemKind};
use super::query::{Parameters, Query};
use crate::fault::Surface;
use crate::input::Fields;

/// One route with its one method.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) handler: MethodRouter<Api>,
    /// What the admin listener serves in its place.
    pub(super) on_admin: Option<MethodRouter<Api>>,
    /// Who may ask.
    pub(super) access: Access,
    /// Which faults are before it on the service listener; none are before the way out.
    pub(super) surface: Option<Surface>,
    /// Whether it calls the pretended dependency.
    pub(super) calls_dependency: bool,
    /// The route that the metrics count its requests for.
    pub(super) counts_as: &'static str,
    /// Its name for programs.
    pub(super) id: &'static str,
    /// What it is for, in one line.
    pub(super) summary: &'static str,
    pub(super) operation: Operation,
}

impl Route {
    /// A route that reads, open to everybody.
    pub(super) fn get<H, T, A>(
        path: &'static str,
        id: &'static str,
        summary: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Api> + Described<A>,
        T: 'static,
    {
        Self::new::<H, A>(Method::GET, path, id, summary, routing::get(handler))
    }

    /// A route that changes what runs: it needs the token where one is configured, and no delay of a
    /// fault ever applies to it.
    pub(super) fn post<H, T, A>(
        path: &'static str,
        id: &'static str,
        summary: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Api> + Described<A>,
        T: 'static,
    {
        let route = Self::new::<H, A>(Method::POST, path, id, summary, routing::post(handler));
        let access = Access::Change;
        Self { access, ..route }
            .without_faults()
            .guarded()
            .problem(ProblemKind::ShuttingDown)
    }

    /// A route open to everybody, described by the handler `H`.
    fn new<H: Described<A>, A>(
        method: Method,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
        handler: MethodRouter<Api>,
    ) -> Self {
        Self {
            method,
            path,
            handler,
            on_admin: None,
            access: Access::Open,
            calls_dependency: false,
            counts_as: path,
            surface: Some(Surface::Traffic),
            id,
            summary,
            operation: Operation::of::<H, A>(),
        }
    }

    /// Makes it a read of the control API: no page of another site may ask, and it needs the token where
    /// the configuration says so.
    pub(super) fn control(self) -> Self {
        let access = Access::Read;
        Self { access, ..self }.on(Surface::ControlRead).guarded()
    }

    fn guarded(self) -> Self {
        self.problem(ProblemKind::NoToken)
            .problem(ProblemKind::RefusedOrigin)
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

    /// Makes it another name of the route at `path`.
    pub(super) fn counts_as(self, path: &'static str) -> Self {
        Self {
            counts_as: path,
            ..self
        }
    }

    /// Lets the admin listener serve a handler of its own, which takes and answers the same.
    pub(super) fn on_admin<H, T>(self, handler: H) -> Self
    where
        H: Handler<T, Api>,
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

    /// Adds a problem that the handler's signature does not tell of.
    pub(super) fn problem(mut self, kind: ProblemKind) -> Self {
        self.operation.problems.push(kind);
        self
    }

    /// Adds an answer in JSON that does not come from the handler; `status` may be a range like `4XX`.
    pub(super) fn or_json<T: JsonSchema>(
        mut self,
        status: &'static str,
        about: &'static str,
        example: Value,
    ) -> Self {
        let answer = Answer {
            example: Some(example),
            ..Answer::json::<T>(status, about)
        };
        self.operation.answers.push(answer);
        self
    }

    /// Shows an example of the handler's own answer.
    pub(super) fn example(mut self, example: Value) -> Self {
        if let Some(answer) = self.operation.answers.first_mut() {
            answer.example = Some(example);
        }
        self
    }
}

/// Who may ask a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody: probes, traffic, the description.
    Open,
    /// Who may look at the control API.
    Read,
    /// Who may change what runs.
    Change,
}

/// What a route takes and answers.
#[derive(Debug, Default)]
pub(super) struct Operation {
    /// JSON Schema of the query.
    pub(super) query: Option<Value>,
    /// A header: its name, what it says, and its schema.
    pub(super) header: Option<(&'static str, &'static str, Value)>,
    pub(super) body: Option<Body>,
    pub(super) answers: Vec<Answer>,
    pub(super) problems: Vec<ProblemKind>,
}

impl Operation {
    fn of<H: Described<A>, A>() -> Self {
        let mut operation = Self::default();
        H::describe(&mut operation);
        operation.problems.push(ProblemKind::Internal);
        operation
    }
}

/// What the JSON object in a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// Not said yet.
    Unknown,
    /// Nothing but `{}`.
    Nothing,
    /// The parameters of the scenario in the path.
    Parameters,
    /// A set of scenarios.
    Set,
}

/// One answer that is no problem.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: &'static str,
    pub(super) about: &'static str,
    pub(super) media_type: &'static str,
    pub(super) schema: fn(&mut SchemaGenerator) -> Value,
    pub(super) example: Option<Value>,
}

impl Answer {
    fn json<T: JsonSchema>(status: &'static str, about: &'static str) -> Self {
        Self {
            status,
            about,
            media_type: "application/json",
            schema: |generator| generator.subschema_for::<T>().to_value(),
            example: None,
        }
    }

    /// A text of another type.
    pub(super) fn text(media_type: &'static str, about: &'static str) -> Self {
        Self {
            media_type,
            ..Self::json::<String>("200", about)
        }
    }
}

/// An answer in one form or in another.
#[derive(Debug)]
pub(super) enum Either<A, B> {
    /// What is given to who asks for nothing else.
    Usual(A),
    /// What may be asked for.
    Other(B),
}

impl<A: IntoResponse, B: IntoResponse> IntoResponse for Either<A, B> {
    fn into_response(self) -> Response {
        match self {
            Self::Usual(answer) => answer.into_response(),
            Self::Other(answer) => answer.into_response(),
        }
    }
}

/// A function whose arguments and answer can be described.
pub(super) trait Described<Arguments> {
    fn describe(operation: &mut Operation);
}

/// Something that a handler takes.
pub(super) trait Input {
    fn describe(operation: &mut Operation);
}

/// Something that a handler answers.
pub(super) trait Output {
    fn describe(operation: &mut Operation);
}

macro_rules! described {
    ($($input:ident)*) => {
        impl<F, R, $($input),*> Described<($($input,)*)> for F
        where
            F: Fn($($input),*) -> R,
            R: Future<Output: Output>,
            $($input: Input,)*
        {
            fn describe(operation: &mut Operation) {
                $($input::describe(operation);)*
                R::Output::describe(operation);
            }
        }
    };
}

described!();
described!(A);
described!(A B);
described!(A B C);
described!(A B C D);

impl Input for State<Api> {
    fn describe(_: &mut Operation) {}
}

impl Input for Caller {
    fn describe(_: &mut Operation) {}
}

/// Headers choose the form of an answer, which its type tells of.
impl Input for HeaderMap {
    fn describe(_: &mut Operation) {}
}

impl<T: Parameters> Input for Query<T> {
    fn describe(operation: &mut Operation) {
        let mut fields = Fields::new("", Map::new());
        T::read(&mut fields);
        operation.query = Some(fields.schema());
        operation.problems.push(ProblemKind::InvalidParams);
    }
}

impl Input for Name {
    fn describe(operation: &mut Operation) {
        operation.problems.push(ProblemKind::MalformedPath);
    }
}

impl Input for JsonObject {
    fn describe(operation: &mut Operation) {
        operation.body = Some(Body::Unknown);
        operation.problems.extend([
            ProblemKind::MalformedBody,
            ProblemKind::BodyTooSlow,
            ProblemKind::BodyTooLarge,
            ProblemKind::TooManyBodies,
            ProblemKind::InvalidParams,
        ]);
    }
}

impl Input for NoParameters {
    fn describe(operation: &mut Operation) {
        <JsonObject as Input>::describe(operation);
        operation.body = Some(Body::Nothing);
    }
}

impl<T: JsonSchema> Output for Json<T> {
    fn describe(operation: &mut Operation) {
        operation.answers.push(Answer::json::<T>("200", "Done."));
    }
}

impl<T: Output> Output for Result<T, Problem> {
    fn describe(operation: &mut Operation) {
        T::describe(operation);
    }
}

impl<A: Output, B: Output> Output for Either<A, B> {
    fn describe(operation: &mut Operation) {
        A::describe(operation);
        B::describe(operation);
    }
}

impl<S> Output for Sse<S> {
    fn describe(operation: &mut Operation) {
        let about = "Server-sent events, without an end.";
        operation
            .answers
            .push(Answer::text("text/event-stream", about));
    }
}
