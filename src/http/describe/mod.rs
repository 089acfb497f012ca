//! What the description of the API says of each route.
//!
//! Arguments and answers are taken from the handler's own signature, so that a handler cannot be given another body or
//! another answer without the description following. Examples are data: `examples.json`.
//!
//! Why not `aide`: tried on three of these routes. Its stable release (0.15) needs schemars 0.9; only a pre-release of
//! April 2026 goes with schemars 1. It keeps one response per status and drops the second (the problems of a status,
//! JSON beside NDJSON), knows nothing of `Sse`, and has no place for access, surface or one operation per scenario. The
//! same document took 603 lines of code beside 582 here, and the binary grew by 0.36 MB.

pub(super) mod docs;
pub(crate) mod openapi;

use std::future::Future;

use axum::Json;
use axum::extract::State;
use axum::response::sse::Sse;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value};

use super::Api;
use super::extract::{Caller, JsonObject, Name, NoParameters, Parameters, Query};
use super::problem::{Problem, ProblemKind};
use crate::input::Fields;

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
    pub(super) fn of<H: Handled<A>, A>() -> Self {
        let mut operation = Self::default();
        H::describe(&mut operation);
        operation.problems.push(ProblemKind::Internal);
        operation
    }
}

/// What the JSON object in a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// Not yet described.
    Unknown,
    /// Nothing but `{}`.
    Nothing,
    /// The parameters of the scenario in the path.
    Parameters,
    /// A set of scenarios.
    Set,
    /// A drill to be opened.
    Drill,
    /// An answer to a drill.
    DrillAnswer,
    /// What a release system did.
    ReleaseEvent,
}

/// One answer that is no problem.
#[derive(Debug)]
pub(super) struct Answer {
    /// The status, or a range of them such as `4XX`.
    pub(super) status: &'static str,
    pub(super) about: &'static str,
    pub(super) media_type: &'static str,
    pub(super) schema: fn(&mut SchemaGenerator) -> Value,
}

impl Answer {
    pub(super) fn json<T: JsonSchema>(status: &'static str, about: &'static str) -> Self {
        Self {
            status,
            about,
            media_type: "application/json",
            schema: |generator| generator.subschema_for::<T>().to_value(),
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

/// An answer in its usual form, or in another that the request asked for.
#[derive(Debug)]
pub(super) enum Form<A, B> {
    Usual(A),
    Other(B),
}

impl<A: IntoResponse, B: IntoResponse> IntoResponse for Form<A, B> {
    fn into_response(self) -> Response {
        match self {
            Self::Usual(answer) => answer.into_response(),
            Self::Other(answer) => answer.into_response(),
        }
    }
}

/// Something that a handler takes or answers.
pub(super) trait Describe {
    fn describe(operation: &mut Operation);
}

/// A handler whose arguments and answer can be described.
pub(super) trait Handled<Arguments> {
    fn describe(operation: &mut Operation);
}

macro_rules! handled {
    ($($input:ident)*) => {
        impl<F, R, $($input),*> Handled<($($input,)*)> for F
        where
            F: Fn($($input),*) -> R,
            R: Future<Output: Describe>,
            $($input: Describe,)*
        {
            fn describe(operation: &mut Operation) {
                $($input::describe(operation);)*
                R::Output::describe(operation);
            }
        }
    };
}

handled!();
handled!(A);
handled!(A B);
handled!(A B C);
handled!(A B C D);

impl Describe for State<Api> {
    fn describe(_: &mut Operation) {}
}

impl Describe for Caller {
    fn describe(_: &mut Operation) {}
}

/// Headers choose the form of an answer, whose type describes it.
impl Describe for HeaderMap {
    fn describe(_: &mut Operation) {}
}

impl<T: Parameters> Describe for Query<T> {
    fn describe(operation: &mut Operation) {
        let mut fields = Fields::new("", Map::new());
        T::read(&mut fields);
        operation.query = Some(fields.schema());
        operation.problems.push(ProblemKind::InvalidParams);
    }
}

impl Describe for Name {
    fn describe(operation: &mut Operation) {
        operation.problems.push(ProblemKind::MalformedPath);
    }
}

impl Describe for JsonObject {
    fn describe(operation: &mut Operation) {
        operation.body = Some(Body::Unknown);
        operation.problems.extend([
            ProblemKind::MalformedBody,
            ProblemKind::BodyTooSlow,
            ProblemKind::BodyTooLarge,
            ProblemKind::UnsupportedMediaType,
            ProblemKind::TooManyBodies,
            ProblemKind::InvalidParams,
        ]);
    }
}

impl Describe for NoParameters {
    fn describe(operation: &mut Operation) {
        JsonObject::describe(operation);
        operation.body = Some(Body::Nothing);
    }
}

impl<T: JsonSchema> Describe for Json<T> {
    fn describe(operation: &mut Operation) {
        operation.answers.push(Answer::json::<T>("200", "Done."));
    }
}

impl<T: Describe> Describe for Result<T, Problem> {
    fn describe(operation: &mut Operation) {
        T::describe(operation);
    }
}

impl<A: Describe, B: Describe> Describe for Form<A, B> {
    fn describe(operation: &mut Operation) {
        A::describe(operation);
        B::describe(operation);
    }
}

impl<S> Describe for Sse<S> {
    fn describe(operation: &mut Operation) {
        let about = "Server-sent events, without an end.";
        let answer = Answer::text("text/event-stream", about);
        operation.answers.push(answer);
    }
}
