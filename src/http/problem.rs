//! Errors as `application/problem+json` (RFC 9457), on every path.
//!
//! What went wrong inside is mapped to an answer here and nowhere else.

use std::any::Any;

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;

use crate::exam::draw::PlanError;
use crate::exam::drill::ExamError;
use crate::input::FieldError;
use crate::manager::ManagerError;
use crate::manager::report::Detail;
use crate::manager::session::SessionError;

/// What can go wrong, as seen from outside; `row` has the status, the type and the title of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProblemKind {
    MalformedBody,
    MalformedRequest,
    HeadTooLarge,
    MalformedPath,
    NoToken,
    RefusedOrigin,
    Masked,
    ScenarioNotAllowed,
    UnknownScenario,
    UnknownSession,
    UnknownDrill,
    UnknownRoute,
    MethodNotAllowed,
    NotAcceptable,
    BodyTooSlow,
    BodyTooLarge,
    UnsupportedMediaType,
    InvalidParams,
    TooManyScenarios,
    Conflict,
    Halted,
    NoLease,
    DrillOpen,
    DrillClosed,
    NotBlind,
    NeedsLimit,
    NoDrill,
    NoAnswersLeft,
    StartFailed,
    Internal,
    TooManyBodies,
    ShuttingDown,
    UnsupportedVersion,
}

/// Each kind for the reference: status, the end of its type, title.
pub(crate) fn kinds() -> Vec<(u16, &'static str, &'static str)> {
    let mut kinds: Vec<_> = ProblemKind::ALL.into_iter().map(ProblemKind::row).collect();
    kinds.sort_unstable();
    kinds
}

impl ProblemKind {
    #[rustfmt::skip]
    const ALL: [Self; 33] = [
        Self::MalformedBody, Self::MalformedRequest, Self::HeadTooLarge, Self::MalformedPath, Self::NoToken,
        Self::RefusedOrigin, Self::ScenarioNotAllowed, Self::UnknownScenario, Self::UnknownSession, Self::UnknownRoute,
        Self::UnknownDrill, Self::DrillOpen, Self::DrillClosed, Self::NoDrill, Self::NoAnswersLeft,
        Self::Masked, Self::NotBlind, Self::NeedsLimit,
        Self::MethodNotAllowed, Self::NotAcceptable, Self::BodyTooSlow, Self::BodyTooLarge, Self::UnsupportedMediaType,
        Self::InvalidParams, Self::TooManyScenarios, Self::Conflict, Self::Halted, Self::NoLease, Self::StartFailed,
        Self::Internal, Self::TooManyBodies, Self::ShuttingDown, Self::UnsupportedVersion,
    ];

    /// Its HTTP status, the end of its type, and its title.
    #[rustfmt::skip]
    fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::MalformedBody => (400, "malformed-body", "The body is not valid JSON."),
            Self::MalformedRequest => (400, "malformed-request", "The request is not valid HTTP/1.1."),
            Self::HeadTooLarge => (431, "head-too-large", "The request head is too large."),
            Self::MalformedPath => (400, "malformed-path", "The path cannot be decoded."),
            Self::NoToken => (401, "no-token", "A token is required."),
            Self::RefusedOrigin => (403, "refused-origin", "Requests from other sites are refused."),
            Self::Masked => (403, "masked", "Not for this role."),
            Self::ScenarioNotAllowed => (403, "scenario-not-allowed", "The scenario is not allowed."),
            Self::UnknownScenario => (404, "unknown-scenario", "No such scenario."),
            Self::UnknownSession => (404, "unknown-session", "No such session."),
            Self::UnknownDrill => (404, "unknown-drill", "No such drill."),
            Self::UnknownRoute => (404, "unknown-route", "No such route."),
            Self::MethodNotAllowed => (405, "method-not-allowed", "The route does not support this method."),
            Self::NotAcceptable => (406, "not-acceptable", "Every coding of the answer is refused."),
            Self::BodyTooSlow => (408, "body-too-slow", "The body took too long to arrive."),
            Self::BodyTooLarge => (413, "body-too-large", "The body is too large."),
            Self::UnsupportedMediaType => (415, "unsupported-media-type", "The body is not plain UTF-8."),
            Self::InvalidParams => (422, "invalid-params", "One or more values are invalid."),
            Self::TooManyScenarios => (409, "too-many-scenarios", "Too many scenarios at once."),
            Self::Conflict => (409, "conflict", "Two scenarios cannot run together."),
            Self::Halted => (409, "halted", "Starts are refused while halted."),
            Self::NoLease => (409, "no-lease", "There is no lease to renew."),
            Self::DrillOpen => (409, "drill-open", "A drill is open."),
            Self::DrillClosed => (410, "drill-closed", "The drill is closed."),
            Self::NotBlind => (422, "not-blind", "A drill needs a service that is blind."),
            Self::NeedsLimit => (422, "needs-limit", "The preset needs what the service lacks."),
            Self::NoDrill => (422, "no-drill", "No such drill can be opened here."),
            Self::NoAnswersLeft => (429, "no-answers-left", "All answers are used up."),
            Self::StartFailed => (500, "start-failed", "No scenario could start."),
            Self::Internal => (500, "internal", "Internal error."),
            Self::TooManyBodies => (503, "too-many-bodies", "Too many large bodies at once."),
            Self::ShuttingDown => (503, "shutting-down", "The daemon is shutting down."),
            Self::UnsupportedVersion => (505, "unsupported-version", "HTTP/1.1 only."),
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        // Each row has a valid status.
        StatusCode::from_u16(self.row().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(crate) fn title(self) -> &'static str {
        self.row().2
    }

    /// The kind for machines.
    pub(crate) fn uri(self) -> String {
        format!("urn:mockserver:problem:{}", self.row().1)
    }
}

/// An answer that says what went wrong.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Problem {
    /// Names the kind of problem for machines.
    pub r#type: Box<str>,
    /// The kind in words.
    pub title: &'static str,
    /// The HTTP status.
    #[serde(serialize_with = "as_number")]
    #[schemars(with = "u16")]
    pub status: StatusCode,
    /// What happened this time.
    pub detail: String,
    /// Every bad value of the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The outcome of each scenario, where none could start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Detail>,
    /// A header of the answer.
    #[serde(skip)]
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

fn as_number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

impl Problem {
    /// The media type of a problem document.
    pub(crate) const MEDIA_TYPE: &'static str = "application/problem+json";

    /// The document.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        // A struct of texts and numbers cannot fail to serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// A problem of the given kind.
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            r#type: kind.uri().into(),
            title: kind.title(),
            status: kind.status(),
            detail: detail.into(),
            errors: Vec::new(),
            details: Vec::new(),
            header: None,
        }
    }

    /// The same with a header of the answer.
    pub(crate) fn with_header(self, name: HeaderName, value: HeaderValue) -> Self {
        let header = Some(Box::new((name, value)));
        Self { header, ..self }
    }

    /// Some values of the request are bad; all of them are listed, up to a number that no honest
    /// mistake reaches.
    pub(crate) fn invalid(mut errors: Vec<FieldError>) -> Self {
        const MOST: usize = 100;
        let detail = match errors.as_slice() {
            // The document itself has an empty pointer.
            [one] if one.pointer.is_empty() => one.detail.clone(),
            [one] => format!("{}: {}", one.pointer, one.detail),
            many if many.len() > MOST => {
                format!(
                    "{} values are invalid, the first {MOST} are listed; nothing was changed.",
                    many.len()
                )
            }
            many => format!("{} values are invalid; nothing was changed.", many.len()),
        };
        errors.truncate(MOST);
        Self {
            errors,
            ..Self::new(ProblemKind::InvalidParams, detail)
        }
    }
}

impl From<ManagerError> for Problem {
    fn from(error: ManagerError) -> Self {
        let detail = error.to_string();
        match error {
            ManagerError::UnknownScenario { .. } => Self::new(ProblemKind::UnknownScenario, detail),
            ManagerError::NotAllowed(_) => Self::new(ProblemKind::ScenarioNotAllowed, detail),
            ManagerError::Invalid(errors) => Self::invalid(errors),
            ManagerError::Session(error) => Self::from(error),
        }
    }
}

impl From<ExamError> for Problem {
    fn from(error: ExamError) -> Self {
        let kind = match error {
            ExamError::Invalid(errors) => return Self::invalid(errors),
            ExamError::Manager(error) => return Self::from(error),
            ExamError::Open(_) | ExamError::StillOpen(_) => ProblemKind::DrillOpen,
            ExamError::Closed(_) => ProblemKind::DrillClosed,
            ExamError::NotOpen | ExamError::UnknownDrill(_) => ProblemKind::UnknownDrill,
            ExamError::NoAnswersLeft(_) => ProblemKind::NoAnswersLeft,
            ExamError::NotBlind => ProblemKind::NotBlind,
            ExamError::Plan(PlanError::Needs { .. }) => ProblemKind::NeedsLimit,
            ExamError::Plan(_) | ExamError::NoStore(_) | ExamError::NoStoreForEnd { .. } => {
                ProblemKind::NoDrill
            }
            ExamError::NoTraffic(_)
            | ExamError::NoThread(_)
            | ExamError::Unreadable { .. }
            | ExamError::Unread { .. } => ProblemKind::Internal,
            ExamError::Ending => ProblemKind::ShuttingDown,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        let kind = match &error {
            SessionError::NoRoom(_) => ProblemKind::TooManyScenarios,
            SessionError::Conflict { .. } => ProblemKind::Conflict,
            SessionError::Halted(_) => ProblemKind::Halted,
            SessionError::NoLease => ProblemKind::NoLease,
            SessionError::NothingStarted(_) => ProblemKind::StartFailed,
            SessionError::SignalHeldBack(_) | SessionError::Closed => ProblemKind::ShuttingDown,
        };
        let problem = Self::new(kind, error.to_string());
        match error {
            SessionError::NothingStarted(report) => Self {
                details: report.details,
                ..problem
            },
            _ => problem,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.to_json()).into_response();
        let json = HeaderValue::from_static(Self::MEDIA_TYPE);
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
            .headers_mut()
            .extend(self.header.map(|header| *header));
        response
    }
}

/// What is said to a client that accepts no form of an answer, not even the one without compression.
pub(super) fn instead_of_406(answer: impl IntoResponse) -> Response {
    let answer = answer.into_response();
    match answer.status() {
        StatusCode::NOT_ACCEPTABLE => {
            let detail = "Accept-Encoding refuses all that is offered: gzip, and identity.";
            Problem::new(ProblemKind::NotAcceptable, detail).into_response()
        }
        _ => answer,
    }
}

/// The answer where a handler panicked. The panic's text is in the log and not for the client.
pub(crate) fn panicked(_panic: Box<dyn Any + Send + 'static>) -> Response {
    Problem::new(ProblemKind::Internal, "See the daemon's log.").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::report::StartReport;
    use crate::plugin::Conflict;
    use crate::run::Timestamp;

    #[test]
    fn a_fault_of_the_document_itself_is_reported_without_a_place() {
        let whole = Problem::invalid(vec![FieldError::new("", "must be an object")]);
        assert_eq!(whole.detail, "must be an object");
        let member = Problem::invalid(vec![FieldError::new("/a", "bad")]);
        assert_eq!(member.detail, "/a: bad");
    }

    #[test]
    fn each_error_has_its_status_and_type() {
        let report = StartReport::new("session-1".into(), Vec::new());
        let session = ManagerError::Session;
        let table = [
            (
                ManagerError::UnknownScenario {
                    name: "x".into(),
                    known: vec!["a"],
                },
                404,
                "unknown-scenario",
            ),
            (
                ManagerError::Invalid(vec![FieldError::new("/p", "bad")]),
                422,
                "invalid-params",
            ),
            (
                ManagerError::NotAllowed("crash"),
                403,
                "scenario-not-allowed",
            ),
            (session(SessionError::NoRoom(1)), 409, "too-many-scenarios"),
            (
                session(SessionError::Conflict {
                    starts: "a",
                    conflict: Conflict {
                        name: "b",
                        reason: "Both want all",
                    },
                }),
                409,
                "conflict",
            ),
            (
                session(SessionError::Halted(Timestamp::now())),
                409,
                "halted",
            ),
            (session(SessionError::NoLease), 409, "no-lease"),
            (
                session(SessionError::NothingStarted(report)),
                500,
                "start-failed",
            ),
            (session(SessionError::Closed), 503, "shutting-down"),
        ];
        for (error, status, kind) in table {
            let problem = Problem::from(error);
            assert_eq!(problem.status.as_u16(), status);
            assert_eq!(*problem.r#type, format!("urn:mockserver:problem:{kind}"));
            assert_eq!(problem.errors.is_empty(), status != 422);
        }
    }
}
