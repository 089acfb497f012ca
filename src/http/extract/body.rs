//! Reads what a request says: a JSON object from its body, a name from its path.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRef, FromRequest, FromRequestParts, Path, Request};
use http::header::EXPECT;
use http::request::Parts;
use http_body_util::BodyExt;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{lookalike, media};
use crate::http::problem::{Problem, ProblemKind};
use crate::input::{FieldError, Fields, json};

/// The largest body that is read.
const LARGEST: usize = 64 * 1024;
/// How long a body may take to come.
const WITHIN: Duration = Duration::from_secs(10);
/// Bodies up to this size need no permit; the connection's own memory covers them.
const SMALL: usize = 4 * 1024;
/// How many larger ones may be coming in at a time over one listener: 8 MiB, which no flood of half
/// requests can exceed.
const LARGE_AT_ONCE: usize = 128;
/// How much of a body that is refused is still taken in, and for how long, so that the client gets to read
/// why instead of a broken connection; only as long as there is room for large bodies.
const SWALLOWED: usize = 16 * 1024 * 1024;
const SWALLOW_FOR: Duration = Duration::from_secs(2);

/// The room for large bodies of one listener.
#[derive(Debug, Clone)]
pub(in crate::http) struct LargeBodies(Arc<Semaphore>);

impl Default for LargeBodies {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LARGE_AT_ONCE)))
    }
}

/// A JSON object, whatever the Content-Type says; an empty body is an empty object.
#[derive(Debug)]
pub(in crate::http) struct JsonObject(pub(in crate::http) Map<String, Value>);

/// No parameters: the body is empty, or an empty object.
#[derive(Debug)]
pub(in crate::http) struct NoParameters;

impl<S> FromRequest<S> for NoParameters
where
    LargeBodies: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let JsonObject(object) = JsonObject::from_request(request, state).await?;
        Fields::new("", object)
            .finish()
            .map(|_| Self)
            .map_err(Problem::invalid)
    }
}

impl<S> FromRequest<S> for JsonObject
where
    LargeBodies: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let large_bodies = LargeBodies::from_ref(state);
        let refusal = if request.uri().query().is_some_and(|query| !query.is_empty()) {
            // A dry run asked for in the query must not become a real start.
            let detail = "parameters belong in the body; a query is not read";
            Some(Problem::invalid(vec![FieldError::new("", detail)]))
        } else {
            refusal_unread(&request)
        };
        if let Some(refusal) = refusal {
            // A client that expects a go-ahead has not sent the body yet.
            if !request.headers().contains_key(EXPECT)
                && let Ok(_permit) = large_bodies.0.try_acquire()
            {
                swallow(request.into_body()).await;
            }
            return Err(refusal);
        }
        let bytes = timeout(WITHIN, read(request.into_body(), &large_bodies)).await;
        let bytes = bytes.unwrap_or_else(|_| {
            let detail = format!("The body did not come whole within {} s.", WITHIN.as_secs());
            Err(Problem::new(ProblemKind::BodyTooSlow, detail))
        })?;
        object_of(media::text_of(&bytes)?).map(Self)
    }
}

/// Why a body is refused whatever its bytes are.
fn refusal_unread(request: &Request) -> Option<Problem> {
    let body = request.body();
    if body.size_hint().lower() > LARGEST as u64 {
        return Some(too_large());
    }
    // Without a body, nothing is compressed and there is no charset.
    let headers = (!body.is_end_stream()).then(|| request.headers())?;
    media::check_headers(headers).err()
}

fn object_of(text: &[u8]) -> Result<Map<String, Value>, Problem> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    let not_an_object = |what| {
        let detail = format!("the body must be a JSON object, not {what}");
        Err(Problem::invalid(vec![FieldError::new("", detail)]))
    };
    match json::parse(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(Value::Array(_)) => not_an_object("a list"),
        Ok(Value::String(_)) => not_an_object("a text"),
        Ok(_) => not_an_object("a single value"),
        Err(error) => {
            let hint = lookalike::hint(text).map_or(String::new(), |hint| format!(". {hint}"));
            let detail = format!("{error}{hint}");
            Err(Problem::new(ProblemKind::MalformedBody, detail))
        }
    }
}

async fn read(mut body: Body, room: &LargeBodies) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let mut large = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Problem::new(ProblemKind::MalformedBody, format!("not readable: {error}"))
        })?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if bytes.len() + data.len() > LARGEST {
            swallow(body).await;
            return Err(too_large());
        }
        if bytes.len() + data.len() > SMALL && large.is_none() {
            large = Some(room.0.try_acquire().map_err(|_| too_many())?);
            // No more than is announced, where it is: growing by doubling would take twice as much.
            bytes.reserve_exact(data.len() + expected(&body));
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}

/// How much is still to come, as far as that is known and will be read.
fn expected(body: &Body) -> usize {
    usize::try_from(body.size_hint().lower()).map_or(LARGEST, |bytes| bytes.min(LARGEST))
}

fn too_many() -> Problem {
    let detail = format!(
        "{LARGE_AT_ONCE} bodies of more than {SMALL} bytes are coming in already; try again, or send less."
    );
    Problem::new(ProblemKind::TooManyBodies, detail)
}

fn too_large() -> Problem {
    let detail = format!("A body may have {LARGEST} bytes at most.");
    Problem::new(ProblemKind::BodyTooLarge, detail)
}

async fn swallow(mut body: Body) {
    let rest = async {
        let mut taken = 0;
        while let Some(Ok(frame)) = body.frame().await {
            taken += frame.data_ref().map_or(0, |data| data.len());
            if taken > SWALLOWED {
                break;
            }
        }
    };
    // Whether the client finished or not, it is answered now.
    drop(timeout(SWALLOW_FOR, rest).await);
}

/// The `{name}` of the path.
#[derive(Debug)]
pub(in crate::http) struct Name(pub(in crate::http) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Path::from_request_parts(parts, state)
            .await
            .map(|Path(name)| Self(name))
            .map_err(|error| Problem::new(ProblemKind::MalformedPath, error.body_text()))
    }
}
