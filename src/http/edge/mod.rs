//! What holds for every request before any route, and for every answer after it, on both listeners.

mod host;
mod target;

use http::{HeaderValue, Request, Response, header};

use super::problem::Problem;

/// Checks and normalises a request: which host it names, and which path.
///
/// # Errors
/// The answer to a request that no route may see.
pub(crate) fn admit<B>(request: &mut Request<B>) -> Result<(), Problem> {
    host::check(request)?;
    target::normalise(request)
}

/// Completes an answer: what runs can change at any moment, so no cache may keep what does not say otherwise.
pub(crate) fn complete<B>(response: &mut Response<B>) {
    let no_store = HeaderValue::from_static("no-store");
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(no_store);
}
