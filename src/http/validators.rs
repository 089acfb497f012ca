//! Validators for answers that are the same as long as the process lives: a client that has one already gets only the
//! word that it is still good.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::Api;

/// The validator of `content`. A weak one: an answer may be compressed.
pub(super) fn etag_of(content: impl Hash) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    let tag = format!("W/\"{:016x}\"", hasher.finish());
    // Of ASCII letters.
    HeaderValue::try_from(tag).unwrap_or_else(|_| HeaderValue::from_static("W/\"\""))
}

/// Adds the validator to a good answer, or answers 304 to a client that has it.
pub(super) async fn validate(State(api): State<Api>, request: Request, next: Next) -> Response {
    let etag = api.description().etag.clone();
    let mut response = match has(request.headers(), &etag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => next.run(request).await,
    };
    if response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED {
        // To be asked for each time: another version of the program may serve another one.
        let no_cache = HeaderValue::from_static("no-cache");
        let vary = HeaderValue::from_static("accept-encoding");
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, no_cache);
        headers.insert(header::VARY, vary);
        headers.insert(header::ETAG, etag);
    }
    response
}

/// Whether the client has it: RFC 9110, section 13.1.2. Weak validators are compared without their mark.
fn has(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let Ok(own) = etag.to_str().map(bare) else {
        return false;
    };
    let lists = headers.get_all(header::IF_NONE_MATCH).iter();
    let mut tags = lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','));
    tags.any(|tag| tag.trim() == "*" || bare(tag) == own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_validator_follows_the_content_and_is_found_in_any_list() {
        let etag = etag_of("a");
        assert_eq!(etag, etag_of("a"));
        assert_ne!(etag, etag_of("b"));
        let text = etag.to_str().expect("a text");
        let has = |list: &str| {
            let value = HeaderValue::try_from(list).expect("a value");
            has(
                &HeaderMap::from_iter([(header::IF_NONE_MATCH, value)]),
                &etag,
            )
        };
        for list in [
            text,
            text.trim_start_matches("W/"),
            "*",
            &format!("\"x\", {text} ,\"y\""),
        ] {
            assert!(has(list), "{list}");
        }
        for list in ["", "\"x\"", "W/", &text[3..text.len() - 1], "W/\"**\""] {
            assert!(!has(list), "{list}");
        }
    }
}
