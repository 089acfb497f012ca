//! Clients that speak something else than HTTP/1, by what they begin with, and an answer that each understands.
//!
//! hyper would close the connection without a word, or call a good request of another version malformed.

use std::sync::Once;

use tracing::warn;

use crate::http::edge;
use crate::http::plain::PlainErrors;
use crate::http::problem::{Problem, ProblemKind};
use crate::lifecycle::SERVICE;

/// The first line of the preface of HTTP/2, which a client sends that is sure that the server speaks it.
const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n";
/// A TLS record with the beginning of a handshake, of any version.
const TLS: &[u8] = b"\x16\x03";
/// The words that every such answer has.
const HTTP_1_ONLY: &str = "This port speaks HTTP/1.1 only.";

/// The answer to `bytes`, with which a connection begins, if they are not HTTP/1; none if they are, or if they are too few
/// or no HTTP at all.
pub(super) fn refusal(bytes: &[u8], plain: PlainErrors) -> Option<Vec<u8>> {
    if bytes.starts_with(TLS) {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            warn!(target: SERVICE, "A client speaks TLS (https://) to a port that speaks plain HTTP.")
        });
        let detail =
            "This is TLS, and this port speaks plain HTTP: use http:// instead of https://.";
        return Some(answer(ProblemKind::MalformedRequest, detail, plain));
    }
    if bytes.starts_with(HTTP_2) {
        return Some(goaway());
    }
    is_other_version(bytes).then(|| answer(ProblemKind::UnsupportedVersion, HTTP_1_ONLY, plain))
}

/// Whether the first line ends with another version of HTTP.
fn is_other_version(bytes: &[u8]) -> bool {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return false;
    };
    let line = bytes[..end].trim_ascii_end();
    let version = line.rsplit(|byte| *byte == b' ').next();
    version
        .and_then(|version| version.strip_prefix(b"HTTP/"))
        .is_some_and(|number| {
            let is_number = |part: &[u8]| part.len() == 1 && part[0].is_ascii_digit();
            number.split(|byte| *byte == b'.').all(is_number) && !matches!(number, b"1.0" | b"1.1")
        })
}

fn answer(kind: ProblemKind, detail: &str, plain: PlainErrors) -> Vec<u8> {
    let status = kind.status();
    let (media_type, body) = edge::refusal_text(&Problem::new(kind, detail), plain);
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
         connection: close\r\n\r\n",
        body.len(),
    );
    [head.into_bytes(), body].concat()
}

/// What RFC 9113 has for this case: no settings, then the end of the connection with the error `HTTP_1_1_REQUIRED`. A
/// client would take a text for a broken frame and say so instead of the reason. The reason is in the frame, in words.
fn goaway() -> Vec<u8> {
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    const HTTP_1_1_REQUIRED: u32 = 0xd;
    let frame = |kind: u8, payload: &[u8]| {
        // Of a few bytes.
        let [.., high, middle, low] = payload.len().to_be_bytes();
        [&[high, middle, low, kind, 0, 0, 0, 0, 0], payload].concat()
    };
    let last_stream = [0; 4];
    let reason = [
        &last_stream,
        &HTTP_1_1_REQUIRED.to_be_bytes()[..],
        HTTP_1_ONLY.as_bytes(),
    ];
    [frame(SETTINGS, &[]), frame(GOAWAY, &reason.concat())].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(bytes: &[u8]) -> Option<String> {
        refusal(bytes, PlainErrors::None)
            .map(|answer| String::from_utf8_lossy(&answer).into_owned())
    }

    #[test]
    fn other_protocols_are_distinguished_from_http_1() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"GET / HTTP/1.0\n",
            b"GET /",
            b"",
            b"\r\nGET / HTTP/1.1\r\n",
            b"x\r\n",
            b"GET / HTTP/1.11\r\n",
            b"GET / HTTP/x\r\n",
            b"GET /HTTP/2.0\r\n",
            b"GET / http/2.0\r\n",
            b"PRI",
        ] {
            assert_eq!(refused(bytes), None, "{bytes:?}");
        }
        for line in [
            "GET / HTTP/2.0\r\n",
            "POST /x HTTP/3\r\n",
            "GET / HTTP/9.9\nHost: x",
            "GET / HTTP/0.9\r\n",
        ] {
            let answer = refused(line.as_bytes()).expect(line);
            assert!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
            assert!(answer.contains(HTTP_1_ONLY), "{answer}");
        }
        let answer = refused(b"\x16\x03\x01\x02\0").expect("an answer to TLS");
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("http://"),
            "{answer}"
        );
    }

    #[test]
    fn http_2_gets_its_own_frames() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let answer = refusal(preface, PlainErrors::None).expect("an answer to HTTP/2");
        let (settings, goaway) = answer.split_at(9);
        assert_eq!(settings, [0, 0, 0, 4, 0, 0, 0, 0, 0]);
        assert_eq!(goaway[..9], [0, 0, 8 + 31, 7, 0, 0, 0, 0, 0]);
        assert_eq!(goaway[9..17], [0, 0, 0, 0, 0, 0, 0, 0xd]);
        assert_eq!(&goaway[17..], HTTP_1_ONLY.as_bytes());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            refusal(&bytes, PlainErrors::None);
        }
    }
}
