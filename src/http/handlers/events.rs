//! The ledger's routes: events page by page, events as they happen, and past sessions.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use http::request::Parts;
use http::{HeaderMap, header};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::http::Api;
use crate::http::describe::{Answer, Describe, Form, Operation};
use crate::http::extract::{Parameters, Query};
use crate::http::problem::{Problem, ProblemKind};
use crate::input::{FieldError, Fields};
use crate::ledger::event::Event;
use crate::ledger::{EventSlice, Ledger};
use crate::scenarios;

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

/// A page of events.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::http) struct EventPage {
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

/// Some of the events.
#[derive(Debug)]
pub(in crate::http) struct Wanted {
    /// None where the query does not say it.
    since: Option<u64>,
    scenario: Option<&'static str>,
}

impl Parameters for Wanted {
    fn read(fields: &mut Fields) -> Self {
        // Absent is not 0: without it, a stream begins now.
        let given = fields.has("since");
        let since = fields
            .field("since", "Only events after this one.")
            .integer(0..=i64::MAX, 0);
        let names: Vec<_> = scenarios::ALL
            .iter()
            .map(|plugin| (plugin.name(), plugin.name()))
            .collect();
        let scenario = fields
            .field("scenario", "Only events of this scenario.")
            .optional()
            .choice(&names);
        Self {
            since: given.then_some(since.unsigned_abs()),
            scenario,
        }
    }
}

impl Wanted {
    fn filter(&self) -> impl Fn(&Event) -> bool {
        let scenario = self.scenario;
        move |event| scenario.is_none() || event.scenario.as_deref() == scenario
    }
}

/// A page of the wanted events.
#[derive(Debug)]
pub(in crate::http) struct WantedPage {
    events: Wanted,
    limit: usize,
}

impl Parameters for WantedPage {
    fn read(fields: &mut Fields) -> Self {
        let events = Wanted::read(fields);
        let limit = fields
            .field("limit", "The most events to give.")
            .integer(1..=LARGEST_PAGE, PAGE);
        Self {
            events,
            // In range, so it cannot be cut.
            limit: limit.unsigned_abs() as usize,
        }
    }
}

/// `GET /api/v1/events`
pub(in crate::http) async fn list(
    State(api): State<Api>,
    Query(wanted): Query<WantedPage>,
    headers: HeaderMap,
) -> Form<Json<EventPage>, Ndjson> {
    let since = wanted.events.since.unwrap_or_default();
    let page = api
        .ledger
        .events_after(since, wanted.limit, wanted.events.filter());
    if wants(&headers, NDJSON) {
        return Form::Other(Ndjson::of(&page));
    }
    let not_durable_because = api.ledger.not_durable();
    Form::Usual(Json(EventPage {
        gap: page.since != since,
        events: page.events,
        next: page.next,
        durable: not_durable_because.is_none(),
        not_durable_because,
    }))
}

/// `GET /api/v1/events/stream`
pub(in crate::http) async fn stream(
    State(api): State<Api>,
    Query(wanted): Query<Wanted>,
    LastEventId(last): LastEventId,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    // What a client that comes back has seen counts more than where it once began.
    let since = last.or(wanted.since);
    let reader = Reader {
        since: since.unwrap_or_else(|| api.ledger.visible().borrow().newest),
        ledger: api.ledger.clone(),
        wanted,
        fetched: VecDeque::new(),
        end: api.end.clone(),
    };
    let events = stream::unfold(reader, async |mut reader| {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

/// One reader of the stream. It fetches when its client has taken what there was, so a slow client
/// costs nothing and loses nothing that is still kept.
struct Reader {
    ledger: Ledger,
    since: u64,
    wanted: Wanted,
    fetched: VecDeque<Arc<Event>>,
    end: CancellationToken,
}

impl Reader {
    /// The next event, when there is one; none at the daemon's end.
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if let Some(event) = self.fetched.pop_front() {
                return Some(to_sse(&event));
            }
            let asked = self.since;
            let page = self.ledger.events_after(asked, BATCH, self.wanted.filter());
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
        let mut visible = self.ledger.visible();
        let more = visible.wait_for(|visible| visible.newest > self.since || visible.closed);
        let ending = async {
            self.end.cancelled().await;
            tokio::time::sleep(LAST_EVENTS).await;
        };
        tokio::select! {
            biased;
            visible = more => visible.is_ok_and(|visible| visible.newest > self.since),
            () = ending => false,
        }
    }
}

fn to_sse(event: &Event) -> sse::Event {
    let sent = sse::Event::default().id(event.seq.to_string());
    // Numbers, texts and lists of them always have a form in JSON.
    sent.json_data(event).unwrap_or_default()
}

/// The notice that the events from `asked` up to `since` are gone.
fn gap(asked: u64, since: u64) -> sse::Event {
    let data = json!({ "since": asked, "continues_after": since });
    let notice = sse::Event::default().event("gap").id(since.to_string());
    notice.data(data.to_string())
}

/// The header by which a client that comes back says what it has seen.
#[derive(Debug)]
pub(in crate::http) struct LastEventId(Option<u64>);

const LAST_EVENT_ID: &str = "Last-Event-ID";

impl<S: Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(id) = parts.headers.get(LAST_EVENT_ID) else {
            return Ok(Self(None));
        };
        let number = id.to_str().ok().and_then(|text| text.parse().ok());
        number.map(|number| Self(Some(number))).ok_or_else(|| {
            let pointer = format!("/{LAST_EVENT_ID}");
            Problem::invalid(vec![FieldError::new(
                pointer,
                "must be the number of an event",
            )])
        })
    }
}

impl Describe for LastEventId {
    fn describe(operation: &mut Operation) {
        let about = "Only events after this one; goes before `since`.";
        let number = json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX });
        operation.header = Some((LAST_EVENT_ID, about, number));
        operation.problems.push(ProblemKind::InvalidParams);
    }
}

fn wants(headers: &HeaderMap, media_type: &str) -> bool {
    let ranges = headers.get_all(header::ACCEPT).iter();
    ranges
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.split(';').next())
        .any(|range| range.trim().eq_ignore_ascii_case(media_type))
}

/// Events, one a line.
#[derive(Debug)]
pub(in crate::http) struct Ndjson(Vec<u8>);

impl Ndjson {
    fn of(page: &EventSlice) -> Self {
        let mut lines = Vec::new();
        for event in &page.events {
            // As above: it cannot fail, and a vector takes everything.
            serde_json::to_writer(&mut lines, event).ok();
            lines.push(b'\n');
        }
        Self(lines)
    }
}

impl IntoResponse for Ndjson {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, NDJSON)], self.0).into_response()
    }
}

impl Describe for Ndjson {
    fn describe(operation: &mut Operation) {
        operation
            .answers
            .push(Answer::text(NDJSON, "The same, one event a line."));
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};
    use proptest::prelude::*;

    use super::*;

    fn read_id(value: HeaderValue) -> Result<Option<u64>, Problem> {
        let request = Request::builder().header(LAST_EVENT_ID, value).body(());
        let (mut parts, ()) = request.expect("a request").into_parts();
        let reading = LastEventId::from_request_parts(&mut parts, &());
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let LastEventId(id) = runtime.expect("a runtime").block_on(reading)?;
        Ok(id)
    }

    proptest! {
        #[test]
        fn the_number_of_an_event_is_read_back(number: u64) {
            prop_assert_eq!(read_id(number.into()), Ok(Some(number)));
        }

        #[test]
        fn any_other_id_is_refused_with_a_reason(
            bytes in prop::collection::vec(any::<u8>(), 0..24),
        ) {
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            let number = value.to_str().ok().and_then(|text| text.parse::<u64>().ok());
            match read_id(value) {
                Ok(id) => prop_assert_eq!(id, number),
                Err(problem) => {
                    prop_assert_eq!(number, None);
                    prop_assert_eq!(&problem.errors[0].pointer, "/Last-Event-ID");
                }
            }
        }

        #[test]
        fn any_accept_header_is_read(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, value);
            wants(&headers, NDJSON);
            headers.append(header::ACCEPT, HeaderValue::from_static("*/*, Application/X-NDJSON;q=1"));
            prop_assert!(wants(&headers, NDJSON));
        }
    }
}
