//! The path of a request: one rule for all routes.
//!
//! Paths that RFC 3986, section 6.2.2, calls equivalent are the same route: `/%68ealth` is `/health`, and `%5f` is `_`.
//! What is data stays data: `%2F` is no `/`. A slash at the end makes no difference. Dot segments and empty segments are
//! not resolved: clients do that before they send, and a proxy that guards paths may read them in another way.

use http::uri::PathAndQuery;
use http::{Method, Request, Uri};

use crate::http::problem::{Problem, ProblemKind};

/// Brings the target of a request into the form that the routes have.
pub(super) fn normalise<B>(request: &mut Request<B>) -> Result<(), Problem> {
    let uri = request.uri();
    if uri.scheme().is_none() && is_normal(uri.path()) && request.method() != Method::CONNECT {
        return Ok(());
    }
    let target = normal(request.method(), uri)?;
    *request.uri_mut() = target.into();
    Ok(())
}

/// Whether nothing is to be done, as for nearly every request.
fn is_normal(path: &str) -> bool {
    let has_end_to_cut = path.len() > 1 && path.ends_with('/');
    path.starts_with('/') && !has_end_to_cut && !path.contains('%')
}

fn normal(method: &Method, uri: &Uri) -> Result<PathAndQuery, Problem> {
    let malformed = |why: String| Problem::new(ProblemKind::MalformedRequest, why);
    if method == Method::CONNECT || (method == Method::OPTIONS && uri.path() == "*") {
        let detail =
            format!("{method} {uri}: this is no proxy, and nothing but its routes is served.");
        return Err(Problem::new(ProblemKind::UnknownRoute, detail));
    }
    match uri.scheme_str() {
        None if uri.path().starts_with('/') => {}
        Some("http" | "https") => {}
        _ => return Err(malformed(format!("{method} needs a path, not {uri}."))),
    }
    let mut target =
        normal_path(uri.path()).map_err(|why| Problem::new(ProblemKind::MalformedPath, why))?;
    if let Some(query) = uri.query() {
        target.push('?');
        target.push_str(query);
    }
    target
        .parse()
        .map_err(|error| malformed(format!("{error}.")))
}

/// The path with what needs no encoding decoded and without a slash at its end.
fn normal_path(path: &str) -> Result<String, String> {
    let mut normal = String::with_capacity(path.len());
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, encoded)) = rest.split_once('%') {
        let digits = encoded
            .get(..2)
            .filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let Some(byte) = byte else {
            return Err(format!(
                "A % in {path} is not followed by two hexadecimal digits."
            ));
        };
        normal.push_str(before);
        decoded.extend_from_slice(before.as_bytes());
        decoded.push(byte);
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                normal.push(char::from(byte));
            }
            _ => normal.push_str(&format!("%{byte:02X}")),
        }
        rest = &encoded[2..];
    }
    normal.push_str(rest);
    decoded.extend_from_slice(rest.as_bytes());
    if std::str::from_utf8(&decoded).is_err() {
        return Err(format!("{path} is not UTF-8 once it is decoded."));
    }
    if normal.len() > 1 && normal.ends_with('/') {
        normal.pop();
    }
    Ok(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equivalent_paths_are_one_and_data_stays_data() {
        for (path, is) in [
            ("/%68ealth", "/health"),
            ("/health/", "/health"),
            ("/%68ealth/", "/health"),
            ("/cpu%5fburner", "/cpu_burner"),
            ("/%7E%2d%2E%5F%41%7a%30", "/~-._Az0"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2f", "/a%2F"),
            ("/%2568ealth", "/%2568ealth"),
            ("/%c3%bc", "/%C3%BC"),
            ("/\u{fc}", "/\u{fc}"),
            ("/", "/"),
            ("//", "/"),
            ("/a//", "/a/"),
            ("/a/../b", "/a/../b"),
            ("/%2e%2e/b", "/../b"),
        ] {
            assert_eq!(normal_path(path).as_deref(), Ok(is), "{path}");
        }
        for path in ["/%", "/%6", "/%zz", "/%6\u{fc}", "/%+1", "/%ff", "/%c3"] {
            assert!(normal_path(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_target_is_a_path_or_a_url_of_this_service() {
        let of = |method: &str, target: &str| {
            let uri: Uri = target.parse().expect("a target");
            let method = method.parse().expect("a method");
            normal(&method, &uri).map(|target| target.to_string())
        };
        assert_eq!(of("GET", "http://a/%68?b=%zz/"), Ok("/h?b=%zz/".to_owned()));
        assert_eq!(of("GET", "https://a:1"), Ok("/".to_owned()));
        assert_eq!(of("GET", "/a/?"), Ok("/a?".to_owned()));
        for (method, target, status) in [
            ("CONNECT", "a:1", 404),
            ("OPTIONS", "*", 404),
            ("GET", "*", 400),
            ("GET", "a:1", 400),
            ("GET", "a", 400),
            ("GET", "ftp://a/health", 400),
        ] {
            let problem = of(method, target).expect_err(target);
            assert_eq!(problem.status.as_u16(), status, "{method} {target}");
        }
    }
}
