//! The ledger's routes: events page by page, events as they happen, and past sessions.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Api;
use super::body::Name;
use super::problem::{Kind, Problem};
use super::query::Query;
use crate::fields::{FieldError, Fields};
use crate::ledger::event::Event;
use crate::ledger::sessions::{self, PastSession};
use crate::ledger::{Ledger, Page};

/// The most events of one page, and how many it has when nothing is said.
const LARGEST_PAGE: i64 = 10_000;
const PAGE: i64 = 1_000;
/// How many events a stream fetches at once.
const BATCH: usize = 64;
/// How often a stream without events says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a stream waits for the last events when the daemon ends: less than its drain.
const LAST_EVENTS: Duration = Duration::from_millis(500);

const NDJSON: &str = "application/x-ndjson";
const CSV: &str = "text/csv; charset=utf-8; header=present";

/// A page of events.
#[derive(Debug, Serialize)]
pub(super) struct EventPage {
    /// Oldest first.
    events: Vec<Arc<Event>>,
    /// The `since` of the next page.
    next: u64,
    /// Events between the `since` that was asked for and the first one here are no longer kept.
    gap: bool,
    /// Whether all of it survives the process.
    durable: bool,
    /// Why not.
    not_durable_because: Option<String>,
}

/// `GET /api/v1/events`
pub(super) async fn list(
    State(api): State<Api>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (since, limit, scenario) = query.read(|fields| {
        let since = fields
            .field("since", "Only events after this one.")
            .integer(0..=i64::MAX, 0);
        let limit = fields
            .field("limit", "The most events to give.")
            .integer(1..=LARGEST_PAGE, PAGE);
        (since, limit, scenario(fields, &api))
    })?;
    // Both are in range, so neither can be cut.
    let (since, limit) = (since.unsigned_abs(), limit.unsigned_abs() as usize);
    let page = api.ledger.page(since, limit, wanted(scenario));
    if wants(&headers, NDJSON) {
        return Ok(ndjson(&page));
    }
    let not_durable_because = api.ledger.not_durable();
    let page = EventPage {
        gap: page.since != since,
        events: page.events,
        next: page.next,
        durable: not_durable_because.is_none(),
        not_durable_because,
    };
    Ok(Json(page).into_response())
}

/// `GET /api/v1/events/stream`
pub(super) async fn stream(
    State(api): State<Api>,
    query: Query,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Problem> {
    let (since, scenario) = query.read(|fields| {
        // Absent is not 0: a stream begins now, unless it is told where.
        let from = fields.has("since");
        let since = fields
            .field("since", "Only events after this one.")
            .integer(0..=i64::MAX, 0);
        (from.then_some(since.unsigned_abs()), scenario(fields, &api))
    })?;
    let since = match headers.get("last-event-id") {
        // What a client that comes back has seen counts more than where it once began.
        Some(id) => Some(last_event_id(id)?),
        None => since,
    };
    let reader = Reader {
        since: since.unwrap_or_else(|| api.ledger.shown().borrow().newest),
        ledger: api.ledger.clone(),
        scenario,
        fetched: VecDeque::new(),
        end: api.end.clone(),
    };
    let events = stream::unfold(reader, async |mut reader| {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// `GET /api/v1/sessions`
pub(super) async fn sessions(State(api): State<Api>, query: Query) -> Result<Response, Problem> {
    let as_csv = query.read(format)?;
    let sessions = sessions::derived(&api.ledger.all());
    Ok(if as_csv {
        csv(&sessions)
    } else {
        Json(json!({ "sessions": sessions })).into_response()
    })
}

/// `GET /api/v1/sessions/{id}`
pub(super) async fn session(
    State(api): State<Api>,
    Name(id): Name,
    query: Query,
) -> Result<Response, Problem> {
    let as_csv = query.read(format)?;
    let mut sessions = sessions::derived(&api.ledger.all());
    sessions.retain(|session| session.session_id == id);
    let Some(session) = sessions.last() else {
        let detail = format!("{id:?} is not in the ledger; GET /api/v1/sessions lists what is.");
        return Err(Problem::new(Kind::UnknownSession, detail));
    };
    Ok(if as_csv {
        csv(&sessions)
    } else {
        Json(session).into_response()
    })
}

/// One reader of the stream. It fetches when its client has taken what there was, so a slow client
/// costs nothing and loses nothing that is still kept.
struct Reader {
    ledger: Ledger,
    since: u64,
    scenario: Option<String>,
    fetched: VecDeque<Arc<Event>>,
    end: CancellationToken,
}

impl Reader {
    /// The next event, when there is one; none at the daemon's end.
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if let Some(event) = self.fetched.pop_front() {
                return Some(told(&event));
            }
            let asked = self.since;
            let page = self
                .ledger
                .page(asked, BATCH, wanted(self.scenario.clone()));
            self.since = page.next;
            self.fetched = page.events.into();
            if page.since != asked {
                return Some(gap(asked, page.since));
            }
            if self.fetched.is_empty() && !self.more().await {
                return None;
            }
        }
    }

    /// Waits for more; false when nothing will come.
    async fn more(&self) -> bool {
        let mut shown = self.ledger.shown();
        let more = shown.wait_for(|shown| shown.newest > self.since || shown.closed);
        let ending = async {
            self.end.cancelled().await;
            tokio::time::sleep(LAST_EVENTS).await;
        };
        tokio::select! {
            biased;
            shown = more => shown.is_ok_and(|shown| shown.newest > self.since),
            () = ending => false,
        }
    }
}

fn told(event: &Event) -> sse::Event {
    let told = sse::Event::default().id(event.seq.to_string());
    // Numbers, texts and lists of them always have a form in JSON.
    told.json_data(event).unwrap_or_default()
}

/// Tells a reader that the events from `asked` up to `since` are not to be had.
fn gap(asked: u64, since: u64) -> sse::Event {
    let data = json!({ "since": asked, "continues_after": since });
    let told = sse::Event::default().event("gap").id(since.to_string());
    told.data(data.to_string())
}

fn last_event_id(id: &HeaderValue) -> Result<u64, Problem> {
    let number = id.to_str().ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| {
        Problem::invalid(vec![FieldError::new(
            "/Last-Event-ID",
            "must be the number of an event",
        )])
    })
}

fn scenario(fields: &mut Fields, api: &Api) -> Option<String> {
    let names = api.manager.names();
    let rule = format!("must be the name of a scenario: {}", names.join(", "));
    let known = |text: &str| names.contains(&text).then(|| text.to_owned());
    let field = fields.field("scenario", "Only events of this scenario.");
    field.optional_text(&rule, known)
}

fn wanted(scenario: Option<String>) -> impl Fn(&Event) -> bool {
    move |event| scenario.is_none() || event.scenario.as_deref() == scenario.as_deref()
}

/// Whether the answer is to be a table.
fn format(fields: &mut Fields) -> bool {
    fields
        .field("format", "The form of the answer.")
        .choice(&[("json", false), ("csv", true)])
}

fn wants(headers: &HeaderMap, media_type: &str) -> bool {
    let ranges = headers.get_all(header::ACCEPT).iter();
    ranges
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.split(';').next())
        .any(|range| range.trim().eq_ignore_ascii_case(media_type))
}

fn ndjson(page: &Page) -> Response {
    let mut lines = Vec::new();
    for event in &page.events {
        // As above: it cannot fail, and a vector takes everything.
        serde_json::to_writer(&mut lines, event).ok();
        lines.push(b'\n');
    }
    ([(header::CONTENT_TYPE, NDJSON)], lines).into_response()
}

fn csv(sessions: &[PastSession]) -> Response {
    ([(header::CONTENT_TYPE, CSV)], sessions::csv(sessions)).into_response()
}
