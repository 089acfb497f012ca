//! What holds for every request before any route, and for every answer after it, on both listeners.

mod host;
mod target;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};

use super::plain::{Plain, PlainErrors, replace_document};
use super::problem::{Problem, ProblemKind};

/// Checks and normalises a request: which host it names, and which path.
///
/// # Errors
/// The answer to a request that no route may see.
pub(crate) fn admit<B>(request: &mut Request<B>) -> Result<(), Problem> {
    host::check(request)?;
    check_coding(request.headers())?;
    target::normalise(request)
}

/// Refuses a body in a transfer coding other than chunks: RFC 9112, section 6.1. hyper would pass it on undecoded.
fn check_coding(headers: &HeaderMap) -> Result<(), Problem> {
    let codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    if codings.into_iter().all(is_chunked) {
        return Ok(());
    }
    let detail = "The body has a transfer coding other than chunked; send it as it is.";
    Err(Problem::new(ProblemKind::MalformedRequest, detail))
}

/// The answer to a request that no route sees because of `problem`.
pub(crate) fn refusal(problem: Problem, plain: PlainErrors) -> Response {
    match plain {
        PlainErrors::None => problem.into_response(),
        PlainErrors::BeforeRoutes | PlainErrors::All => Plain(problem.status).into_response(),
    }
}

/// The media type and the body of such an answer.
pub(crate) fn refusal_text(problem: &Problem, plain: PlainErrors) -> (&'static str, Vec<u8>) {
    match plain {
        PlainErrors::None => (Problem::MEDIA_TYPE, problem.to_json()),
        PlainErrors::BeforeRoutes | PlainErrors::All => {
            (Plain::MEDIA_TYPE, Plain(problem.status).to_json())
        }
    }
}

/// Completes an answer: what runs can change at any moment, so no cache may keep what does not say otherwise.
pub(crate) fn complete(response: &mut Response, plain: PlainErrors) {
    if plain == PlainErrors::All {
        replace_document(response);
        if response.status() != StatusCode::METHOD_NOT_ALLOWED {
            // The router adds it to whatever a fault answers in the place of a refused method.
            response.headers_mut().remove(header::ALLOW);
        }
    }
    let no_store = HeaderValue::from_static("no-store");
    let is_unchanged = response.status() == StatusCode::NOT_MODIFIED;
    let headers = response.headers_mut();
    if is_unchanged {
        // To HEAD the router gives the length of nothing; the one of the answer that the client has is another.
        headers.remove(header::CONTENT_LENGTH);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(no_store);
}
