//! Which bodies are read: UTF-8, as they are. A body that was compressed, or that is text of another charset, would
//! fail as JSON without a word of the reason.

use http::{HeaderMap, HeaderValue, header};

use crate::http::problem::{Problem, ProblemKind};

const BOM: &[u8] = b"\xef\xbb\xbf";
const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
/// One for each level of compression.
const ZLIB: [&[u8]; 4] = [b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"];
const UTF_16_BOM: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// Refuses a body by what its headers say of it.
pub(super) fn check_headers(headers: &HeaderMap) -> Result<(), Problem> {
    let values = |name| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
    };
    let mut codings = values(header::CONTENT_ENCODING)
        .flat_map(|value| value.split(','))
        .map(str::trim);
    let is_coded = |coding: &&str| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity");
    if let Some(coding) = codings.find(is_coded) {
        return Err(coded(coding));
    }
    match values(header::CONTENT_TYPE)
        .filter_map(charset_of)
        .find(|name| !is_utf_8(name))
    {
        Some(name) => Err(other_charset(name)),
        None => Ok(()),
    }
}

/// The text of a body without its byte order mark.
///
/// # Errors
/// The bytes begin as those of a compressed body or of another charset do.
pub(super) fn text_of(body: &[u8]) -> Result<&[u8], Problem> {
    if body.starts_with(GZIP) {
        return Err(coded("gzip"));
    }
    if body.starts_with(ZSTD) {
        return Err(coded("zstd"));
    }
    if ZLIB.iter().any(|begin| body.starts_with(begin)) {
        return Err(coded("deflate"));
    }
    // JSON begins with an ASCII character; with wider ones, every second byte is 0.
    if UTF_16_BOM.iter().any(|mark| body.starts_with(mark)) || body.iter().take(2).any(|b| *b == 0)
    {
        return Err(other_charset("UTF-16"));
    }
    Ok(body.strip_prefix(BOM).unwrap_or(body))
}

fn coded(coding: &str) -> Problem {
    let detail = format!("The body is compressed ({coding}); send it as it is.");
    let identity = HeaderValue::from_static("identity");
    Problem::new(ProblemKind::UnsupportedMediaType, detail)
        .with_header(header::ACCEPT_ENCODING, identity)
}

fn other_charset(name: &str) -> Problem {
    let detail = format!("The charset of the body is {name}; send UTF-8.");
    Problem::new(ProblemKind::UnsupportedMediaType, detail)
}

/// The parameter `charset` of a Content-Type.
fn charset_of(content_type: &str) -> Option<&str> {
    let parameters = content_type
        .split(';')
        .skip(1)
        .filter_map(|one| one.split_once('='));
    parameters
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
        .map(|(_, value)| value.trim().trim_matches('"'))
        .next()
}

/// Or a part of it.
fn is_utf_8(charset: &str) -> bool {
    ["utf-8", "utf8", "us-ascii", "ascii"]
        .iter()
        .any(|name| charset.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use proptest::prelude::*;

    use super::*;

    fn is_read(name: HeaderName, value: &str) -> bool {
        let value = HeaderValue::try_from(value).expect("a value");
        check_headers(&HeaderMap::from_iter([(name, value)])).is_ok()
    }

    #[test]
    fn only_plain_utf_8_is_read() {
        for coding in ["", "identity", "Identity, identity"] {
            assert!(is_read(header::CONTENT_ENCODING, coding), "{coding}");
        }
        for coding in [
            "gzip",
            "x-gzip",
            "BR",
            "deflate",
            "zstd",
            "identity, gzip",
            "aes128gcm",
        ] {
            assert!(!is_read(header::CONTENT_ENCODING, coding), "{coding}");
        }
        for of in [
            "application/json",
            "application/json;charset=utf-8",
            "text/plain; Charset=\"UTF-8\"",
            "application/x-www-form-urlencoded; charset=us-ascii",
            "multipart/form-data; boundary=charset",
            "",
            ";;=",
        ] {
            assert!(is_read(header::CONTENT_TYPE, of), "{of}");
        }
        for of in [
            "text/plain;charset=ISO-8859-1",
            "a/b; x=y; charset = \"utf-16le\"",
            "a/b;charset=",
        ] {
            assert!(!is_read(header::CONTENT_TYPE, of), "{of}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_skipped_and_what_is_no_text_refused() {
        for (body, text) in [
            (&b"\xef\xbb\xbf{}"[..], &b"{}"[..]),
            (b"\xef\xbb\xbf", b""),
            (b"{}", b"{}"),
            (b"x", b"x"),
            (b"", b""),
        ] {
            assert_eq!(text_of(body), Ok(text));
        }
        for body in [
            &b"\x1f\x8b\x08"[..],
            b"\x28\xb5\x2f\xfd\0",
            b"\x78\x01\xab",
            b"\x78\x9c\xab",
            b"\xff\xfe{\0}\0",
            b"\xfe\xff\0{\0}",
            b"{\0}\0",
            b"\0{\0}",
            b"\0\0\0{",
            b"\xff\xfe\0\0",
        ] {
            assert!(text_of(body).is_err(), "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn any_headers_and_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
            text_of(&bytes).ok();
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING] {
                check_headers(&HeaderMap::from_iter([(name, value.clone())])).ok();
            }
        }
    }
}
