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
use crate::ledger::history::{self, PastSession, SessionPage, Wanted};

const CSV: &str = "text/csv; charset=utf-8; header=present";

/// The most sessions of one page, and how many it has when nothing is said.
const LARGEST_PAGE: i64 = 10_000;
const PAGE: i64 = 100;

/// The form of an answer.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct Format {
    as_csv: bool,
}

const FORMATS: [(&str, bool); 2] = [("json", false), ("csv", true)];

impl Parameters for Format {
    fn read(fields: &mut Fields) -> Self {
        let format = fields.field("format", "The form of the answer.");
        Self {
            as_csv: format.choice(&FORMATS),
        }
    }
}

const ORDERS: [(&str, bool); 2] = [("asc", false), ("desc", true)];

/// A page of sessions, and its form.
#[derive(Debug)]
pub(in crate::http) struct WantedPage {
    page: Wanted,
    format: Format,
}

impl Parameters for WantedPage {
    fn read(fields: &mut Fields) -> Self {
        let about = "Only sessions that come after this one: the `next` of the page before.";
        let since = fields.field("since", about).integer(0..=i64::MAX, 0);
        let limit = fields
            .field("limit", "The most sessions to give.")
            .integer(1..=LARGEST_PAGE, PAGE);
        let about = "Oldest first (asc) or newest first (desc).";
        let newest_first = fields.field("order", about).choice(&ORDERS);
        Self {
            page: Wanted {
                since: since.unsigned_abs(),
                // In range, so it cannot be cut.
                limit: limit.unsigned_abs() as usize,
                newest_first,
            },
            format: Format::read(fields),
        }
    }
}

impl WantedPage {
    /// The query of the page that follows `page`, if one does.
    fn next(&self, page: &SessionPage) -> Option<String> {
        let name_of = |names: &[(&'static str, bool)], value| {
            let found = names.iter().find(|(_, known)| *known == value);
            found.map_or("", |(name, _)| *name)
        };
        page.more.then(|| {
            format!(
                "?since={}&limit={}&order={}&format={}",
                page.next,
                self.page.limit,
                name_of(&ORDERS, self.page.newest_first),
                name_of(&FORMATS, self.format.as_csv),
            )
        })
    }
}

/// A page of the sessions that the ledger still holds.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::http) struct PastSessions {
    /// Oldest first, or as the query says.
    sessions: Vec<PastSession>,
    /// The `since` of the next page, also in the header `Link`.
    next: u64,
    /// Whether the next page has any sessions now.
    more: bool,
}

/// `GET /api/v1/sessions`
pub(in crate::http) async fn sessions(
    State(api): State<Api>,
    Query(wanted): Query<WantedPage>,
) -> Paged<Form<Json<PastSessions>, Csv>> {
    let mut page = api.ledger.sessions(wanted.page);
    show_now(&api, &mut page.sessions);
    let next = wanted.next(&page);
    let SessionPage {
        sessions,
        next: since,
        more,
    } = page;
    let page = if wanted.format.as_csv {
        Form::Other(Csv(history::csv(&sessions)))
    } else {
        Form::Usual(Json(PastSessions {
            sessions,
            next: since,
            more,
        }))
    };
    Paged { next, page }
}

/// `GET /api/v1/sessions/{id}`
pub(in crate::http) async fn session(
    State(api): State<Api>,
    Name(id): Name,
    Query(format): Query<Format>,
) -> Result<Form<Json<PastSession>, Csv>, Problem> {
    let Some(mut session) = api.ledger.session(&id) else {
        let detail = format!("{id:?} is not in the ledger; GET /api/v1/sessions lists what is.");
        return Err(Problem::new(ProblemKind::UnknownSession, detail));
    };
    show_now(&api, std::slice::from_mut(&mut session));
    Ok(if format.as_csv {
        Form::Other(Csv(history::csv(&[session])))
    } else {
        Form::Usual(Json(session))
    })
}

/// Shows what live runs measure now instead of what their last events say.
fn show_now(api: &Api, sessions: &mut [PastSession]) {
    let view = api.manager.sessions.view();
    let now = api.ledger.now();
    for latest in view.latest.values().filter(|latest| latest.end.is_none()) {
        let (tag, probe) = (&latest.run.tag, &latest.run.probe);
        let of_its_session = sessions
            .iter_mut()
            .filter(|s| s.session_id == tag.session_id);
        for session in of_its_session {
            session.show_now(tag.run_id, &probe.read(), probe.target(), now);
        }
    }
}

/// An answer with the header `Link` to the page that follows, if one does.
#[derive(Debug)]
pub(in crate::http) struct Paged<T> {
    next: Option<String>,
    page: T,
}

impl<T: IntoResponse> IntoResponse for Paged<T> {
    fn into_response(self) -> Response {
        let link = self.next.map(|query| format!("<{query}>; rel=\"next\""));
        let link = link.map(|link| [(header::LINK, link)]);
        (link, self.page).into_response()
    }
}

impl<T: Describe> Describe for Paged<T> {
    fn describe(operation: &mut Operation) {
        T::describe(operation);
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
