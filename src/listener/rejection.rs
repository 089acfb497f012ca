//! What the HTTP server itself answers to a request that it cannot read, told as a problem document.
//!
//! Such a request never gets to the router. The server writes a bare status; here the document is put
//! below it on its way out.

use http::StatusCode;

use crate::http::problem::{Problem, ProblemKind};

/// How an answer of the server's own begins, up to its status.
const BEGIN: &[u8] = b"HTTP/1.1 4";
/// An answer of ours always has a body.
const NO_BODY: &str = "\r\ncontent-length: 0\r\n";

/// What has to be sent instead of `answer` if that is the server's own; none if it is one of ours.
pub(super) fn told(answer: &[u8]) -> Option<Vec<u8>> {
    if !answer.starts_with(BEGIN) {
        return None;
    }
    let head = std::str::from_utf8(answer).ok()?;
    let (before, after) = head.split_once(NO_BODY)?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let problem = match StatusCode::from_u16(status).ok()? {
        StatusCode::BAD_REQUEST => {
            let detail = "The request line or a header is not HTTP/1.1.";
            Problem::new(ProblemKind::MalformedRequest, detail)
        }
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            let detail =
                "The request line and the headers may have 16 KiB and 100 headers at most.";
            Problem::new(ProblemKind::HeadTooLarge, detail)
        }
        _ => return None,
    };
    let body = problem.to_json();
    let length = body.len();
    let head = format!(
        "{before}\r\ncontent-type: {}\r\ncontent-length: {length}\r\n{after}",
        Problem::MEDIA_TYPE
    );
    Some([head.into_bytes(), body].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: now\r\n\r\n";

    #[test]
    fn a_bare_refusal_gets_a_document_of_the_length_that_it_says() {
        let told = String::from_utf8(told(OWN.as_bytes()).expect("told")).expect("a text");
        let (head, body) = told.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
        assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
        assert!(head.ends_with("\r\ndate: now"), "{head}");
        let length = format!("\r\ncontent-length: {}\r\n", body.len());
        assert!(head.contains(&length), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["type"], "urn:mockserver:problem:head-too-large");
    }

    #[test]
    fn what_we_answer_ourselves_is_left_as_it_is() {
        for ours in [
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "",
        ] {
            assert_eq!(told(ours.as_bytes()), None, "{ours}");
        }
    }
}
