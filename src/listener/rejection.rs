//! Adds a body to hyper's bare answers to requests that it cannot parse.
//!
//! Such a request never reaches the router, and hyper has no hook for these responses
//! (<https://github.com/hyperium/hyper/issues/3844>). Every error of this API has a body, so the one write
//! that holds hyper's head is recognised by its bytes and extended here. Without this file, a malformed or oversized
//! head would get a 400 or 431 with an empty body.

use http::StatusCode;

use crate::http::edge;
use crate::http::plain::PlainErrors;
use crate::http::problem::{Problem, ProblemKind};

/// How hyper's own response begins, up to its status.
const BEGIN: &[u8] = b"HTTP/1.1 4";
/// Handlers always send a body with such a status.
const NO_BODY: &str = "\r\ncontent-length: 0\r\n";

/// The response to send in place of `written` if that is a bare 400 or 431 of hyper.
pub(super) fn with_body(written: &[u8], plain: PlainErrors) -> Option<Vec<u8>> {
    if !written.starts_with(BEGIN) {
        return None;
    }
    let head = std::str::from_utf8(written).ok()?;
    let (before, after) = head.split_once(NO_BODY)?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let (kind, detail) = match StatusCode::from_u16(status).ok()? {
        StatusCode::BAD_REQUEST => (
            ProblemKind::MalformedRequest,
            "The request line or a header is not HTTP/1.1.",
        ),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => (
            ProblemKind::HeadTooLarge,
            "The request line and the headers may have 16 KiB and 100 headers at most.",
        ),
        _ => return None,
    };
    let (media_type, body) = edge::refusal_text(&Problem::new(kind, detail), plain);
    let length = body.len();
    let head = format!(
        "{before}\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\ncache-control: no-store\r\n{after}"
    );
    Some([head.into_bytes(), body].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: &str = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: now\r\n\r\n";

    #[test]
    fn a_bare_refusal_gets_a_document_of_the_announced_length() {
        let response = with_body(BARE.as_bytes(), PlainErrors::None);
        let response = response.expect("a response with a problem");
        let response = String::from_utf8(response).expect("the response is text");
        let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
        assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
        assert!(head.ends_with("\r\ndate: now"), "{head}");
        let length = format!("\r\ncontent-length: {}\r\n", body.len());
        assert!(head.contains(&length), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).expect("the body is JSON");
        assert_eq!(body["type"], "urn:mockserver:problem:head-too-large");
    }

    #[test]
    fn responses_of_handlers_stay_unchanged() {
        for response in [
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "",
        ] {
            let replaced = with_body(response.as_bytes(), PlainErrors::None);
            assert_eq!(replaced, None, "{response}");
        }
    }
}
