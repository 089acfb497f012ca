//! Past and present sessions, derived from the ledger.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::Api;
use crate::http::describe::{Answer, Describe, Form, Operation};
use crate::http::extract::{Name, Parameters, Query};
use crate::http::problem::{Problem, ProblemKind};
use crate::input::Fields;
use crate::ledger::history::{self, PastSession};

const CSV: &str = "text/csv; charset=utf-8; header=present";

/// The form of an answer.
#[derive(Debug)]
pub(in crate::http) struct Format {
    as_csv: bool,
}

impl Parameters for Format {
    fn read(fields: &mut Fields) -> Self {
        let format = fields.field("format", "The form of the answer.");
        Self {
            as_csv: format.choice(&[("json", false), ("csv", true)]),
        }
    }
}

/// The sessions that the ledger still holds.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::http) struct PastSessions {
    /// Oldest first.
    sessions: Vec<PastSession>,
}

/// `GET /api/v1/sessions`
pub(in crate::http) async fn sessions(
    State(api): State<Api>,
    Query(format): Query<Format>,
) -> Form<Json<PastSessions>, Csv> {
    let sessions = history::sessions_of(&api.ledger.all());
    if format.as_csv {
        Form::Other(Csv(history::csv(&sessions)))
    } else {
        Form::Usual(Json(PastSessions { sessions }))
    }
}

/// `GET /api/v1/sessions/{id}`
pub(in crate::http) async fn session(
    State(api): State<Api>,
    Name(id): Name,
    Query(format): Query<Format>,
) -> Result<Form<Json<PastSession>, Csv>, Problem> {
    let mut sessions = history::sessions_of(&api.ledger.all());
    sessions.retain(|session| session.session_id == id);
    if format.as_csv && !sessions.is_empty() {
        return Ok(Form::Other(Csv(history::csv(&sessions))));
    }
    match sessions.pop() {
        Some(session) => Ok(Form::Usual(Json(session))),
        None => {
            let detail =
                format!("{id:?} is not in the ledger; GET /api/v1/sessions lists what is.");
            Err(Problem::new(ProblemKind::UnknownSession, detail))
        }
    }
}

/// Sessions as a table.
#[derive(Debug)]
pub(in crate::http) struct Csv(String);

impl IntoResponse for Csv {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, CSV)], self.0).into_response()
    }
}

impl Describe for Csv {
    fn describe(operation: &mut Operation) {
        operation
            .answers
            .push(Answer::text(CSV, "The same as a table."));
    }
}
