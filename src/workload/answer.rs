//! The bodies of answers.

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::fault::plain_error;

/// What a shop sells.
const NAMES: [&str; 8] = [
    "lamp", "chair", "kettle", "notebook", "backpack", "umbrella", "blanket", "clock",
];

/// A JSON body of exactly `length` bytes, the same for the same `seed`.
pub(super) fn body(length: u32, seed: u64) -> Bytes {
    let length = length as usize;
    let (start, end) = (r#"{"items":["#, r#"],"next":""}"#);
    if length < start.len() + end.len() {
        // Too short for an object.
        let short = match length {
            0 => String::new(),
            1 => "1".to_owned(),
            _ => format!("\"{}\"", "a".repeat(length - 2)),
        };
        return short.into();
    }
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut text = start.to_owned();
    loop {
        let comma = if text.len() == start.len() { "" } else { "," };
        let (id, name) = (
            rng.random_range(1000..100_000),
            rng.random_range(0..NAMES.len()),
        );
        let (price, count) = (rng.random_range(99..20_000), rng.random_range(0..500));
        let item = format!(
            r#"{comma}{{"id":{id},"name":"{}","price_cents":{price},"in_stock":{count}}}"#,
            NAMES[name]
        );
        if text.len() + item.len() + end.len() > length {
            break;
        }
        text += &item;
    }
    let missing = length - text.len() - end.len();
    let cursor: String = (0..missing)
        .map(|_| char::from(b'a' + rng.random_range(0..26)))
        .collect();
    text += &end.replace("\"\"", &format!("\"{cursor}\""));
    text.into()
}

/// An answer with a JSON body.
pub(super) fn json(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// An answer that says nothing but its status, as those of services do to strangers.
pub(super) fn error(status: StatusCode) -> Response {
    json(status, plain_error(status).to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_json_of_the_length_that_was_asked_for() {
        for length in (0..300).chain([4000, 1024 * 1024]) {
            let body = body(length, 7);
            assert_eq!(body.len(), length as usize);
            let is_json = serde_json::from_slice::<serde_json::Value>(&body).is_ok();
            assert!(is_json || length == 0, "{length}: {body:?}");
        }
        assert_eq!(body(500, 1), body(500, 1));
        assert_ne!(body(500, 1), body(500, 2));
    }
}
