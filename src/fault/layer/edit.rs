//! Changes of answers.

use axum::body::{Body, HttpBody};
use axum::response::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::BodyExt;
use tokio_util::sync::CancellationToken;

use crate::fault::body::Drip;
use crate::fault::timer::FineTimer;
use crate::fault::{Edit, Ending};

/// Larger answers are left alone: a change holds all of one in memory.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// The answer as `edit` makes it, where it can be changed and `touch` allows it.
pub(super) async fn apply(
    edit: &Edit,
    mut response: Response,
    (timer, stop): (&FineTimer, &CancellationToken),
    touch: impl Fn() -> bool,
) -> Response {
    let length = response.body().size_hint().exact();
    let length = length.filter(|length| *length <= MOST_BYTES);
    match (edit, length) {
        (Edit::End(Ending::Truncate(after)), Some(length)) => {
            let after = after.unwrap_or(length / 2);
            if after < length && touch() {
                let ending = Ending::Truncate(Some(after));
                response.extensions_mut().insert(ending);
            }
            response
        }
        (Edit::End(Ending::Truncate(_)), None) => response,
        (Edit::End(ending), _) => {
            if touch() {
                response.extensions_mut().insert(*ending);
            }
            response
        }
        (Edit::Drip(per_second), Some(1..)) => {
            let (head, body) = response.into_parts();
            match body.collect().await {
                Ok(body) if touch() => {
                    let drip = Drip::new(body.to_bytes(), *per_second, timer, stop);
                    Response::from_parts(head, Body::new(drip))
                }
                Ok(body) => Response::from_parts(head, Body::from(body.to_bytes())),
                Err(error) => failed(error),
            }
        }
        (Edit::Rewrite(rewrite), Some(1..)) if is_good_json(&response) => {
            let (mut head, body) = response.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) => return failed(error),
            };
            let other = rewrite.of(&body).filter(|_| touch());
            if other.is_some() {
                // The one of the body is added when it is sent.
                head.headers.remove(CONTENT_LENGTH);
            }
            Response::from_parts(head, Body::from(other.unwrap_or(body)))
        }
        (Edit::Drip(_) | Edit::Rewrite(_), _) => response,
    }
}

/// An answer whose body fails, as it would without a fault.
fn failed(error: axum::Error) -> Response {
    Response::new(Body::from_stream(futures_util::stream::once(
        std::future::ready(Err::<axum::body::Bytes, _>(error)),
    )))
}

fn is_good_json(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    response.status().is_success() && kind.eq_ignore_ascii_case("application/json")
}
