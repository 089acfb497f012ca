//! The routes of drills.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::exam::drill::ExamError;
use crate::exam::drill::view::{Accepted, DrillView, History, HistoryQuery, MaskedView};
use crate::exam::preset::PresetList;
use crate::http::Api;
use crate::http::describe::{Answer, Describe, Operation};
use crate::http::extract::{Caller, JsonObject, Name, NoParameters, Parameters, Query};
use crate::http::problem::Problem;
use crate::input::Fields;
use crate::run::Timestamp;

/// The most reports of one history.
const LARGEST_HISTORY: i64 = 10_000;

/// An answer with status 201.
#[derive(Debug)]
pub(in crate::http) struct Created<T>(T);

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, Json(self.0)).into_response()
    }
}

impl<T: JsonSchema> Describe for Created<T> {
    fn describe(operation: &mut Operation) {
        operation.answers.push(Answer::json::<T>("201", "Opened."));
    }
}

/// An answer with status 202.
#[derive(Debug)]
pub(in crate::http) struct Received<T>(T);

impl<T: Serialize> IntoResponse for Received<T> {
    fn into_response(self) -> Response {
        (StatusCode::ACCEPTED, Json(self.0)).into_response()
    }
}

impl<T: JsonSchema> Describe for Received<T> {
    fn describe(operation: &mut Operation) {
        operation
            .answers
            .push(Answer::json::<T>("202", "Accepted."));
    }
}

/// A report as it is computed, byte for byte.
#[derive(Debug)]
pub(in crate::http) struct ReportText(String);

impl IntoResponse for ReportText {
    fn into_response(self) -> Response {
        let json = HeaderValue::from_static("application/json");
        ([(header::CONTENT_TYPE, json)], self.0).into_response()
    }
}

impl Describe for ReportText {
    fn describe(operation: &mut Operation) {
        operation
            .answers
            .push(Answer::json::<Map<String, Value>>("200", "The report."));
    }
}

/// The receipt of what a release system did.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::http) struct EventReceived {
    /// Always.
    accepted: bool,
}

impl Parameters for HistoryQuery {
    fn read(fields: &mut Fields) -> Self {
        let about = "Only drills that were opened then or later.";
        let since = fields.field("since", about).optional();
        let time = |text: &str| serde_json::from_value::<Timestamp>(text.into()).ok();
        let since = since.text("must be a time as in RFC 3339", time);
        let about = "Only drills of this preset.";
        let preset = fields.field("preset", about).optional();
        let preset = preset.text("must be a text", |text| Some(text.to_owned()));
        let about = "The newest so many; 100 by default.";
        let limit = fields.field("limit", about).optional();
        let limit = limit.integer(1..=LARGEST_HISTORY);
        Self {
            since,
            preset,
            limit: limit.map(|limit| limit.unsigned_abs() as usize),
        }
    }
}

/// `POST /api/v1/drills`
pub(in crate::http) async fn open(
    State(api): State<Api>,
    Caller(by): Caller,
    JsonObject(body): JsonObject,
) -> Result<Created<DrillView>, Problem> {
    Ok(Created(api.exam.open(body, by).await?))
}

/// `GET /api/v1/drills`
pub(in crate::http) async fn history(
    State(api): State<Api>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<History>, Problem> {
    Ok(Json(api.exam.history(query).await?))
}

/// `GET /api/v1/drills/current`
pub(in crate::http) async fn current(State(api): State<Api>) -> Result<Json<MaskedView>, Problem> {
    let current = api.exam.current();
    Ok(Json(current.ok_or(ExamError::NotOpen)?))
}

/// `POST /api/v1/drills/{id}/answers`
pub(in crate::http) async fn answer(
    State(api): State<Api>,
    Name(id): Name,
    JsonObject(body): JsonObject,
) -> Result<Received<Accepted>, Problem> {
    Ok(Received(api.exam.answer(&id, body).await?))
}

/// `POST /api/v1/drills/{id}/events`
pub(in crate::http) async fn release_event(
    State(api): State<Api>,
    Name(id): Name,
    JsonObject(body): JsonObject,
) -> Result<Received<EventReceived>, Problem> {
    api.exam.release_event(&id, body).await?;
    Ok(Received(EventReceived { accepted: true }))
}

/// `POST /api/v1/drills/{id}/close`
pub(in crate::http) async fn close(
    State(api): State<Api>,
    Name(id): Name,
    Caller(by): Caller,
    NoParameters: NoParameters,
) -> Result<ReportText, Problem> {
    Ok(ReportText(api.exam.close(&id, by).await?))
}

/// `GET /api/v1/drills/{id}/report`
pub(in crate::http) async fn report(
    State(api): State<Api>,
    Name(id): Name,
) -> Result<ReportText, Problem> {
    Ok(ReportText(api.exam.report(&id)?.0))
}

/// `GET /api/v1/presets`
pub(in crate::http) async fn presets(State(api): State<Api>) -> Json<PresetList> {
    Json(api.exam.presets().list())
}
